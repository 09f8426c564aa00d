package report

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"postroad/message"
	"postroad/smtp"
)

// Limits of what is read of a foreign DSN.
const (
	StatusMax     = 1 << 20 // octets of the machine's part
	RecipientsMax = 10_000
)

// ErrNoReport says that a message has no delivery status.
var ErrNoReport = errors.New("report: no delivery status")

// Find reads the DSN that the message carries, whose octets are in r: the part
// message/delivery-status, or message/global-delivery-status, of a multipart/report at its
// top (RFC 6522, 3; RFC 6533, 4.4).
func Find(m *message.Message, r io.ReaderAt) (*DSN, error) {
	if !m.Root.Is("multipart", "report") {
		return nil, ErrNoReport
	}
	for _, p := range m.Root.Children {
		if !p.Is("message", "delivery-status") && !p.Is("message", "global-delivery-status") {
			continue
		}
		b, err := io.ReadAll(io.LimitReader(p.Decoded(r), StatusMax))
		if err != nil {
			return nil, fmt.Errorf("read the delivery status: %w", err)
		}
		return ParseStatus(b)
	}
	return nil, ErrNoReport
}

// ParseStatus reads the body of a delivery-status part. It takes what it understands; the
// only error is ErrNoReport, where not one recipient is named.
func ParseStatus(b []byte) (*DSN, error) {
	d := new(DSN)
	first := true
	for len(b) > 0 && len(d.Recipients) < RecipientsMax {
		group := b[:blockEnd(b)]
		b = b[len(group):]
		if len(bytes.TrimSpace(group)) == 0 {
			continue
		}
		if r, ok := parseRecipient(group); ok {
			d.Recipients = append(d.Recipients, r)
		}
		if first {
			d.parseMessageFields(group)
			first = false
		}
	}
	if len(d.Recipients) == 0 {
		return nil, ErrNoReport
	}
	return d, nil
}

// blockEnd returns the length of the fields up to and with the next empty line.
func blockEnd(b []byte) int {
	for i := 0; i < len(b); {
		n := bytes.IndexByte(b[i:], '\n')
		if n < 0 {
			break
		}
		i += n + 1
		if len(bytes.Trim(b[i-n-1:i], " \t\r\n")) == 0 {
			return i
		}
	}
	return len(b)
}

// parseMessageFields reads RFC 3464, 2.2.
func (d *DSN) parseMessageFields(group []byte) {
	for f := range message.Fields(group) {
		switch strings.ToLower(string(f.Name)) {
		case "original-envelope-id":
			d.EnvelopeID = f.Text()
		case "reporting-mta":
			d.ReportingMTA = typedText(f.Text())
		case "received-from-mta":
			d.ReceivedFrom = typedText(f.Text())
		case "arrival-date":
			d.Arrival = parseTime(f)
		}
	}
}

// parseRecipient reads RFC 3464, 2.3; ok is false for a group without recipient.
func parseRecipient(group []byte) (r Recipient, ok bool) {
	for f := range message.Fields(group) {
		switch strings.ToLower(string(f.Name)) {
		case "original-recipient":
			r.Original = ParseTypedAddress(f.Unfolded())
		case "final-recipient":
			r.Final, ok = ParseTypedAddress(f.Unfolded()), true
		case "action":
			word, _, _ := strings.Cut(f.Unfolded(), " ") // some write a comment behind it
			r.Action = Action(strings.ToLower(word))
		case "status":
			r.Status, _, _ = smtp.ParseEnhancedCode(f.Unfolded())
		case "remote-mta":
			r.RemoteMTA = typedText(f.Text())
		case "diagnostic-code":
			r.Diagnostic = typedText(f.Text())
		case "last-attempt-date":
			r.LastAttempt = parseTime(f)
		case "final-log-id":
			r.LogID = f.Text()
		case "will-retry-until":
			r.RetryUntil = parseTime(f)
		}
	}
	return r, ok
}

// typedText returns what stands behind the type of "dns; host" or "smtp; text".
func typedText(s string) string {
	kind, text, ok := strings.Cut(s, ";")
	if !ok || strings.ContainsAny(strings.TrimSpace(kind), " <>@") {
		return s
	}
	return strings.TrimSpace(text)
}

func parseTime(f message.Field) time.Time {
	t, ok := message.ParseDate(f.Unfolded())
	if !ok {
		return time.Time{}
	}
	return t
}
