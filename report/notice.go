package report

import (
	"bytes"
	"io"
	"strings"
	"time"

	"postroad/address"
	"postroad/message"
)

// Notice is a DSN on its way out: the multipart/report around it (RFC 6522, 3).
type Notice struct {
	DSN
	From      message.Mailbox
	To        address.Address
	Subject   string
	Date      time.Time
	MessageID string // with angle brackets
	InReplyTo string // Message-ID of the mail it is about, empty: it has none
	Text      string // for people; any line ends

	Original        io.Reader // what is returned: a whole message or its header; nil: nothing
	OriginalHeaders bool      // Original is a header
	OriginalUTF8    bool      // its header is UTF-8: message/global (RFC 6533, 4)
	OriginalEight   bool      // it has octets above 127
}

// Reader returns the octets of the notice. It reads Original, and can be called once. But
// for To and what Original holds the notice is 7 bit.
func (n *Notice) Reader() (io.Reader, error) {
	e := &message.Entity{Type: "multipart", Subtype: "report", Params: message.Params{{Name: "report-type", Value: "delivery-status"}}}
	h := &e.Header
	h.AddAddresses("From", message.AddressList{n.From})
	if n.To.NeedsUTF8() {
		h.Add("To", n.To.String())
	} else {
		h.Add("To", n.To.ASCII())
	}
	h.AddText("Subject", n.Subject)
	h.AddDate("Date", n.Date)
	h.Add("Message-ID", n.MessageID)
	if isMessageID(n.InReplyTo) {
		h.Add("In-Reply-To", n.InReplyTo)
		h.Add("References", n.InReplyTo)
	}
	h.Add("Auto-Submitted", "auto-replied") // RFC 3834, 5
	h.Add("MIME-Version", "1.0")
	e.Parts = []*message.Entity{
		n.part("text", "plain", "Notification", "", strings.NewReader(n.Text)),
		n.part("message", "delivery-status", "Delivery report", "", bytes.NewReader(n.AppendStatus(nil))),
	}
	if n.Original != nil {
		e.Parts = append(e.Parts, n.original())
	}
	return e.Reader()
}

func (n *Notice) part(typ, subtype, description, encoding string, body io.Reader) *message.Entity {
	p := &message.Entity{Type: typ, Subtype: subtype, Encoding: encoding, Body: body}
	p.Header.Add("Content-Description", description)
	return p
}

// original makes the third part. A message or header with UTF-8 goes as message/global,
// encoded, because the way back may know 7 bits only (RFC 6533, 4.5); any other message
// cannot be encoded (RFC 2046, 5.2.1).
func (n *Notice) original() *message.Entity {
	encoding := "7bit"
	if n.OriginalEight {
		encoding = "8bit"
	}
	if n.OriginalUTF8 {
		encoding = "base64"
	}
	switch {
	case n.OriginalHeaders && n.OriginalUTF8:
		return n.part("message", "global-headers", "Header of the message", encoding, n.Original)
	case n.OriginalHeaders:
		return n.part("text", "rfc822-headers", "Header of the message", encoding, n.Original)
	case n.OriginalUTF8:
		return n.part("message", "global", "The message", encoding, n.Original)
	}
	return n.part("message", "rfc822", "The message", encoding, n.Original)
}

// isMessageID tells whether a stranger's Message-ID may be written into a header of ours.
func isMessageID(s string) bool {
	if len(s) < len("<>") || s[0] != '<' || s[len(s)-1] != '>' {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
