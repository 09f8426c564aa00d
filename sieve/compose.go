package sieve

import (
	"fmt"
	"io"
	"strings"
	"time"

	"postroad/message"
)

// Compose writes the answer as a message (RFC 5230, 5; RFC 3834, 3). messageID has its
// angle brackets; empty: none is written. The return path of the answer is null.
func (v *Vacation) Compose(messageID string, now time.Time) ([]byte, error) {
	h := automaticHeader(messageID, now)
	h.AddAddresses("From", v.From)
	h.AddAddresses("To", message.AddressList{{Local: v.To.Local, Host: v.To.Domain}})
	h.AddText("Subject", v.Subject)
	if v.InReplyTo != "" {
		h.Add("In-Reply-To", v.InReplyTo)
	}
	addReferences(h, v.References)
	h.Add("Auto-Submitted", "auto-replied")
	return composed(h, v.Text, v.MIME)
}

// Compose writes the notification as a message (RFC 5436, 2.7). messageID has its angle
// brackets; empty: none is written.
func (n *Notify) Compose(messageID string, now time.Time) ([]byte, error) {
	h := &message.Header{}
	submitted := message.Params{}
	if !n.Owner.IsNull() {
		submitted = append(submitted, message.Param{Name: "owner-email", Value: n.Owner.ASCII()})
	}
	h.AddParams("Auto-Submitted", "auto-notified", submitted)
	h.AddDate("Date", now)
	if messageID != "" {
		h.Add("Message-ID", messageID)
	}
	h.AddAddresses("From", n.From)
	h.AddAddresses("To", n.To)
	h.AddAddresses("Cc", n.Cc)
	h.AddText("Subject", n.Subject)
	addReferences(h, n.References)
	if n.Importance != 2 {
		h.Add("Importance", map[int]string{1: "high", 3: "low"}[n.Importance])
	}
	for _, f := range n.Header {
		h.AddText(f.Name, f.Text)
	}
	return composed(h, n.Body, false)
}

func automaticHeader(messageID string, now time.Time) *message.Header {
	h := &message.Header{}
	h.AddDate("Date", now)
	if messageID != "" {
		h.Add("Message-ID", messageID)
	}
	return h
}

func addReferences(h *message.Header, ids []string) {
	if len(ids) > 0 {
		h.Add("References", strings.Join(ids, " "))
	}
}

// composed puts header and text together; with mime the text has its own MIME header.
func composed(h *message.Header, text string, mime bool) ([]byte, error) {
	h.Add("MIME-Version", "1.0")
	if mime {
		text = withoutVersion(text)
		if message.HeaderEnd([]byte(text)) == 0 {
			text = "\r\n" + text
		}
		return append(h.Bytes(), text...), nil
	}
	e := &message.Entity{Header: *h, Type: "text", Subtype: "plain", Body: strings.NewReader(text)}
	r, err := e.Reader()
	if err != nil {
		return nil, fmt.Errorf("sieve: compose: %w", err)
	}
	return io.ReadAll(r)
}

// withoutVersion takes MIME-Version out of the header of an entity: the message has its
// own.
func withoutVersion(text string) string {
	n := message.HeaderEnd([]byte(text))
	return string(message.RemoveFields([]byte(text[:n]), "MIME-Version")) + text[n:]
}
