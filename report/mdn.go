package report

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"postroad/message"
)

// MDN is the machine's part of a message disposition notification, a read receipt (RFC
// 8098, 3.1).
type MDN struct {
	ReportingUA       string       // name and product of the program, as the field has it
	Gateway           string       // MDN-Gateway with its type, "dns; gateway.example"; empty: none
	Original          TypedAddress // zero when it is not known
	Final             TypedAddress
	OriginalMessageID string // with angle brackets; empty: the message had none
	Disposition       Disposition
	Errors            []string        // texts of the Error fields
	Extensions        []message.Param // names as written; each once
}

// Disposition is what was done with a message (RFC 8098, 3.2.6). All words are in lower
// case.
type Disposition struct {
	ActionMode  string // ManualAction or AutomaticAction
	SendingMode string // SentManually or SentAutomatically
	Type        string // Displayed, Deleted, Dispatched, Processed; another one's word as it is
	Modifiers   []string
}

// The words of a Disposition, in lower case.
const (
	ManualAction      = "manual-action"
	AutomaticAction   = "automatic-action"
	SentManually      = "mdn-sent-manually"
	SentAutomatically = "mdn-sent-automatically"

	Displayed  = "displayed"
	Deleted    = "deleted"
	Dispatched = "dispatched"
	Processed  = "processed"
)

// Limits of what is read of a foreign MDN.
const (
	mdnMax          = 64 << 10 // octets of the machine's part
	mdnFieldsMax    = 100      // Error and extension fields
	mdnValueMax     = 4 << 10  // octets of one value; the rest is cut
	mdnModifiersMax = 16
	mdnModeWordsMax = 4 // words of a mode that are looked at
)

// ErrNoMDN says that a message has no disposition notification.
var ErrNoMDN = errors.New("report: no disposition notification")

// AppendDisposition appends the fields as the body of a message/disposition-notification
// part. All of it is ASCII.
func (m *MDN) AppendDisposition(dst []byte) []byte {
	var h message.Header
	add := func(name, value string) {
		if value != "" {
			h.Add(name, ascii(value))
		}
	}
	add("Reporting-UA", m.ReportingUA)
	add("MDN-Gateway", m.Gateway)
	if !m.Original.IsZero() {
		add("Original-Recipient", m.Original.String())
	}
	add("Final-Recipient", m.Final.String())
	if isMessageID(m.OriginalMessageID) {
		add("Original-Message-ID", m.OriginalMessageID)
	}
	add("Disposition", m.Disposition.String())
	for _, e := range m.Errors {
		add("Error", e)
	}
	for _, e := range m.Extensions {
		if IsExtensionField(e.Name) {
			add(e.Name, e.Value)
		}
	}
	return append(dst, h.Bytes()...)
}

// String writes the value of the Disposition field, with the sending mode as RFC 8098
// spells it.
func (d Disposition) String() string {
	sending := d.SendingMode
	if rest, ok := strings.CutPrefix(sending, "mdn-"); ok {
		sending = "MDN-" + rest
	}
	s := d.ActionMode + "/" + sending + "; " + d.Type
	if len(d.Modifiers) > 0 {
		s += "/" + strings.Join(d.Modifiers, ",")
	}
	return s
}

// mdnFields are the names that RFC 8098 gives a meaning.
var mdnFields = []string{"reporting-ua", "mdn-gateway", "original-recipient", "final-recipient", "original-message-id", "disposition", "error"}

// IsExtensionField tells whether a name can be that of an extension field (RFC 8098, 3.3):
// a field's name that has no meaning of its own there.
func IsExtensionField(name string) bool {
	for i := range len(name) {
		if name[i] <= ' ' || name[i] > '~' || name[i] == ':' {
			return false
		}
	}
	return name != "" && len(name) <= 64 && !slices.Contains(mdnFields, strings.ToLower(name))
}

// FindMDN reads the MDN that the message carries, whose octets are in r: the part
// message/disposition-notification, or message/global-disposition-notification, of a
// multipart/report at its top (RFC 8098, 3; RFC 6533, 4.6).
func FindMDN(m *message.Message, r io.ReaderAt) (*MDN, error) {
	if !m.Root.Is("multipart", "report") {
		return nil, ErrNoMDN
	}
	for _, p := range m.Root.Children {
		if !p.Is("message", "disposition-notification") && !p.Is("message", "global-disposition-notification") {
			continue
		}
		b, err := io.ReadAll(io.LimitReader(p.Decoded(r), mdnMax))
		if err != nil {
			return nil, fmt.Errorf("read the disposition notification: %w", err)
		}
		return ParseDisposition(b)
	}
	return nil, ErrNoMDN
}

// ParseDisposition reads the body of a disposition-notification part. It takes what it
// understands, also what ends with an empty line too many; the only error is ErrNoMDN,
// where there is no readable Disposition field.
func ParseDisposition(b []byte) (*MDN, error) {
	m := new(MDN)
	found := false
	for f := range message.Fields(bytes.TrimLeft(b, "\r\n")) {
		switch strings.ToLower(string(f.Name)) {
		case "":
		case "reporting-ua":
			m.ReportingUA = mdnText(f)
		case "mdn-gateway":
			m.Gateway = mdnText(f)
		case "original-recipient":
			m.Original = ParseTypedAddress(mdnText(f))
		case "final-recipient":
			m.Final = ParseTypedAddress(mdnText(f))
		case "original-message-id":
			if ids := message.ParseMessageIDs(mdnText(f)); len(ids) > 0 {
				m.OriginalMessageID = "<" + ids[0] + ">"
			}
		case "disposition":
			var ok bool
			if m.Disposition, ok = ParseDispositionMode(mdnText(f)); ok {
				found = true
			}
		case "error":
			if len(m.Errors) < mdnFieldsMax {
				m.Errors = append(m.Errors, mdnText(f))
			}
		default:
			m.extension(f)
		}
	}
	if !found {
		return nil, ErrNoMDN
	}
	return m, nil
}

// extension keeps a field that RFC 8098 does not know; the first of a name counts.
func (m *MDN) extension(f message.Field) {
	name := string(f.Name)
	if len(m.Extensions) >= mdnFieldsMax || !IsExtensionField(name) {
		return
	}
	for _, e := range m.Extensions {
		if strings.EqualFold(e.Name, name) {
			return
		}
	}
	m.Extensions = append(m.Extensions, message.Param{Name: name, Value: mdnText(f)})
}

// mdnText is the value of a field on one line.
func mdnText(f message.Field) string {
	s := f.Text()
	if len(s) > mdnValueMax {
		s = strings.ToValidUTF8(s[:mdnValueMax], "")
	}
	return s
}

// ParseDispositionMode reads the value of a Disposition field in any spelling (RFC 8098,
// 3.2.6), comments left out. ok is false where it has no type.
func ParseDispositionMode(s string) (d Disposition, ok bool) {
	s = strings.ToLower(message.StripComments(s))
	mode, what, cut := strings.Cut(s, ";")
	if !cut {
		return d, false
	}
	for i, word := range strings.Split(mode, "/") {
		switch word = strings.TrimSpace(word); {
		case i >= mdnModeWordsMax:
		case word == ManualAction || word == AutomaticAction:
			d.ActionMode = word
		case word == SentManually || word == SentAutomatically:
			d.SendingMode = word
		}
	}
	kind, modifiers, _ := strings.Cut(what, "/")
	if d.Type = strings.TrimSpace(kind); !isDispositionWord(d.Type) {
		return Disposition{}, false
	}
	for word := range strings.SplitSeq(modifiers, ",") {
		if word = strings.TrimSpace(word); isDispositionWord(word) && len(d.Modifiers) < mdnModifiersMax {
			d.Modifiers = append(d.Modifiers, word)
		}
	}
	return d, true
}

// isDispositionWord tells whether s is one word, as near to an Atom as is needed to read it
// back.
func isDispositionWord(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' || strings.IndexByte("();,/", s[i]) >= 0 {
			return false
		}
	}
	return s != ""
}

// Receipt is an MDN on its way out: the multipart/report around it (RFC 8098, 3).
type Receipt struct {
	MDN
	From      message.AddressList
	To        message.AddressList
	Subject   string
	Date      time.Time
	MessageID string // with angle brackets
	Text      string // for people; any line ends

	Original        io.Reader // what is returned: a whole message or its header; nil: nothing
	OriginalHeaders bool      // Original is a header
	OriginalUTF8    bool      // its header is UTF-8: message/global (RFC 6533, 4)
	OriginalEight   bool      // it has octets above 127
}

// Reader returns the octets of the receipt. It reads Original, and can be called once.
func (r *Receipt) Reader() (io.Reader, error) {
	e := &message.Entity{Type: "multipart", Subtype: "report", Params: message.Params{{Name: "report-type", Value: "disposition-notification"}}}
	h := &e.Header
	h.AddAddresses("From", r.From)
	h.AddAddresses("To", r.To)
	h.AddText("Subject", r.Subject)
	h.AddDate("Date", r.Date)
	h.Add("Message-ID", r.MessageID)
	if isMessageID(r.OriginalMessageID) {
		h.Add("In-Reply-To", r.OriginalMessageID)
		h.Add("References", r.OriginalMessageID)
	}
	if r.Disposition.SendingMode == SentAutomatically {
		h.Add("Auto-Submitted", "auto-replied") // RFC 3834, 5
	}
	h.Add("MIME-Version", "1.0")
	n := Notice{Original: r.Original, OriginalHeaders: r.OriginalHeaders, OriginalUTF8: r.OriginalUTF8, OriginalEight: r.OriginalEight}
	e.Parts = []*message.Entity{
		n.part("text", "plain", "Notification", "", strings.NewReader(r.Text)),
		n.part("message", "disposition-notification", "Disposition notification", "", bytes.NewReader(r.AppendDisposition(nil))),
	}
	if r.Original != nil {
		e.Parts = append(e.Parts, n.original())
	}
	return e.Reader()
}
