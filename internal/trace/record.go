package trace

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"postroad/internal/mailflow"
)

const (
	// textMax is how many octets of a text are kept.
	textMax = 1024
	// addressMax is how many octets of an address are kept: a path of RFC 5321, 4.5.3.1.3,
	// with room for international names.
	addressMax = 512
	// recordMax is about where a record of events is full and the next one begins.
	recordMax = 24 << 10
	// recordFormat is the first octet of a record.
	recordFormat = 1
)

// errDamaged means that a record does not read.
var errDamaged = errors.New("trace: damaged record")

// The layout of an event within a record: kind, 1 octet; time, a signed varint of
// microseconds since the mail's id; then tagged fields, each a uvarint of tag and either a
// uvarint or a length and octets; a zero tag ends it. A record is its format and events,
// so that events can be added at the end. Tags are stored and never change.
const (
	tagEnd = iota
	tagMessageID
	tagSender
	tagRecipient // once for each
	tagProtocol
	tagClient
	tagTLS
	tagSize
	tagCheck
	tagVerdict
	tagTransport
	tagNextHop
	tagAccount
	tagMailbox
	tagUID
	tagRule
	tagRemoteMTA
	tagReply
	tagNextTry
	tagRelated
	tagText
	tagContinued // the event goes on with more recipients of the one before
)

// tagNames are how Event.String names the details that appear once, in this order.
var tagNames = [...]string{
	tagMessageID: "message-id", tagSender: "sender", tagProtocol: "protocol",
	tagClient: "client", tagTLS: "tls", tagSize: "size", tagCheck: "check",
	tagVerdict: "verdict", tagTransport: "transport", tagNextHop: "next-hop",
	tagAccount: "account", tagMailbox: "mailbox", tagUID: "uid", tagRule: "rule",
	tagRemoteMTA: "remote-mta", tagReply: "reply", tagRelated: "related", tagText: "text",
}

// text is the detail with a tag, nil where that is no text.
func (e *Event) text(tag uint64) *string {
	switch tag {
	case tagMessageID:
		return &e.MessageID
	case tagSender:
		return &e.Sender
	case tagProtocol:
		return &e.Protocol
	case tagClient:
		return &e.Client
	case tagTLS:
		return &e.TLS
	case tagCheck:
		return &e.Check
	case tagVerdict:
		return &e.Verdict
	case tagTransport:
		return &e.Transport
	case tagNextHop:
		return &e.NextHop
	case tagMailbox:
		return &e.Mailbox
	case tagRule:
		return &e.Rule
	case tagRemoteMTA:
		return &e.RemoteMTA
	case tagReply:
		return &e.Reply
	case tagText:
		return &e.Text
	}
	return nil
}

// number is the detail with a tag as it is written, 0 where that is no number.
func (e *Event) number(tag uint64) uint64 {
	switch tag {
	case tagSize:
		return uint64(e.Size)
	case tagAccount:
		return uint64(e.Account)
	case tagUID:
		return uint64(e.UID)
	case tagRelated:
		return uint64(e.Related)
	case tagNextTry:
		if !e.NextTry.IsZero() {
			return uint64(e.NextTry.UnixMicro())
		}
	}
	return 0
}

// setNumber takes over what number gave; unknown tags are of a later version and are left
// out.
func (e *Event) setNumber(tag, n uint64) {
	switch tag {
	case tagSize:
		e.Size = int64(n)
	case tagAccount:
		e.Account = mailflow.AccountID(n)
	case tagUID:
		e.UID = uint32(n)
	case tagRelated:
		e.Related = mailflow.ID(n)
	case tagNextTry:
		e.NextTry = time.UnixMicro(int64(n)).UTC()
	}
}

// numeric tells the tags whose value is a number.
func numeric(tag uint64) bool {
	switch tag {
	case tagSize, tagAccount, tagUID, tagNextTry, tagRelated, tagContinued:
		return true
	}
	return false
}

// appendText writes a text field, cut at most octets.
func appendText(buf []byte, tag uint64, s string, most int) []byte {
	s = s[:min(len(s), most)]
	buf = binary.AppendUvarint(buf, tag)
	buf = binary.AppendUvarint(buf, uint64(len(s)))
	return append(buf, s...)
}

// appendNumber writes a number field.
func appendNumber(buf []byte, tag, n uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(buf, tag), n)
}

// appendHead begins an event.
func (e *Event) appendHead(buf []byte) []byte {
	return binary.AppendVarint(append(buf, byte(e.Kind)), e.Time.Sub(e.Mail.Time()).Microseconds())
}

// encode gives the event as one or more events of at most about recordMax octets: one with
// very many recipients goes on in others.
func (e *Event) encode() [][]byte {
	var parts [][]byte
	buf := e.appendHead(make([]byte, 0, 256))
	for tag := uint64(tagMessageID); tag < tagContinued; tag++ {
		if text := e.text(tag); text != nil && *text != "" {
			buf = appendText(buf, tag, *text, textMax)
		} else if n := e.number(tag); n != 0 {
			buf = appendNumber(buf, tag, n)
		}
	}
	for _, r := range e.Recipients {
		if len(buf) > recordMax-2*addressMax {
			parts = append(parts, append(buf, tagEnd))
			buf = appendNumber(e.appendHead(nil), tagContinued, 1)
		}
		buf = appendText(buf, tagRecipient, r, addressMax)
	}
	return append(parts, append(buf, tagEnd))
}

// parseRecord reads a record of events of a mail and adds them to those before.
func parseRecord(mail mailflow.ID, record []byte, events []Event) ([]Event, error) {
	if len(record) == 0 || record[0] != recordFormat {
		return events, errDamaged
	}
	r := reader{buf: record[1:]}
	for len(r.buf) > 0 && !r.bad {
		e, continued := r.event(mail)
		if !continued || len(events) == 0 {
			events = append(events, e)
			continue
		}
		last := &events[len(events)-1]
		last.Recipients = append(last.Recipients, e.Recipients...)
	}
	if r.bad {
		return events, fmt.Errorf("mail %s: %w", mail, errDamaged)
	}
	return events, nil
}

// reader takes a record apart until something is wrong.
type reader struct {
	buf []byte
	bad bool
}

// fail makes the rest unreadable.
func (r *reader) fail() { r.buf, r.bad = nil, true }

func (r *reader) uvarint() uint64 {
	n, size := binary.Uvarint(r.buf)
	if size <= 0 {
		r.fail()
		return 0
	}
	r.buf = r.buf[size:]
	return n
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.buf)) {
		r.fail()
		return nil
	}
	taken := r.buf[:n]
	r.buf = r.buf[n:]
	return taken
}

// event reads one event and whether it continues the one before.
func (r *reader) event(mail mailflow.ID) (e Event, continued bool) {
	e.Mail = mail
	if kind := r.take(1); len(kind) == 1 {
		e.Kind = Kind(kind[0])
	}
	after, size := binary.Varint(r.buf)
	if size <= 0 {
		r.fail()
		return e, false
	}
	r.buf = r.buf[size:]
	e.Time = mail.Time().Add(time.Duration(after) * time.Microsecond)
	for {
		tag := r.uvarint()
		switch {
		case r.bad || tag == tagEnd:
			return e, continued
		case numeric(tag):
			n := r.uvarint()
			continued = continued || tag == tagContinued
			e.setNumber(tag, n)
		default:
			value := r.take(r.uvarint())
			if text := e.text(tag); text != nil {
				*text = string(value)
			} else if tag == tagRecipient {
				e.Recipients = append(e.Recipients, string(value))
			}
		}
	}
}
