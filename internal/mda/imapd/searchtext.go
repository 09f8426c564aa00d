package imapd

import (
	"bytes"
	"errors"
	"io"

	"postroad/imap"
	"postroad/internal/search"
	"postroad/message"
)

// judgeRecord decides by what is stored of a message, and by its octets once q.body is
// there.
func (q *query) judgeRecord(k *imap.SearchKey) truth {
	r, n := q.record, q.needles[k]
	if f := q.index.queries[k]; f != nil {
		return q.judgeFuzzy(k, f)
	}
	switch k.Op {
	case imap.SearchThreadID:
		return truthOf(q.ids[k] != 0 && r.Thread == q.ids[k])
	case imap.SearchSentBefore, imap.SearchSentOn, imap.SearchSentSince:
		if r.Sent == 0 {
			return no
		}
		// RFC 9051, 6.4.4: the day as the Date field has it, whatever its zone.
		return onDay(r.Sent+int64(r.SentZone)*60, k.Date, k.Op, imap.SearchSentBefore)
	case imap.SearchSubject:
		return q.summary(n, r.Subject, "Subject")
	case imap.SearchFrom:
		return q.summary(n, r.From, "From")
	case imap.SearchTo:
		return q.summary(n, r.To, "To")
	case imap.SearchCc:
		return q.summary(n, r.Cc, "Cc")
	case imap.SearchBcc:
		return q.summary(n, r.Bcc, "Bcc")
	}
	if q.body == nil {
		return unknown
	}
	switch k.Op {
	case imap.SearchHeader:
		return q.inField(n, k.Field)
	case imap.SearchBody:
		return q.inTexts(n, search.FieldsOf(search.FieldBody))
	case imap.SearchText:
		return q.inTexts(n, search.FieldsOf(search.FieldHeader, search.FieldBody))
	}
	return no
}

// summary looks into a decoded field that is stored with the message; where it was cut,
// into the message.
func (q *query) summary(n *needle, text []byte, field string) truth {
	if n.in(text) {
		return yes
	}
	if !q.record.Truncated {
		return no
	}
	if q.body == nil {
		return unknown
	}
	return q.inField(n, field)
}

// messageText is what was read of an open message.
type messageText struct {
	parsed *message.Message
	header []byte
}

// top returns the header block of the message.
func (q *query) top() []byte {
	if q.header != nil || q.err != nil {
		return q.header
	}
	at, _, err := message.Find(q.record.Structure)
	if err != nil {
		q.err = err
		return nil
	}
	q.header = make([]byte, at.Header.Size())
	if _, err := q.body.ReadAt(q.header, at.Header.Start); err != nil && err != io.EOF {
		q.err = err
	}
	return q.header
}

// inField looks into all header fields of a name; an empty needle is in any of them
// (RFC 9051, 6.4.4, HEADER).
func (q *query) inField(n *needle, name string) truth {
	for f := range message.Fields(q.top()) {
		if f.Is(name) && n.in([]byte(f.Text())) {
			return yes
		}
	}
	return no
}

// errFound ends the reading of texts.
var errFound = errors.New("found")

// inTexts looks into the texts of the message as their readers see them: decoded, in any
// charset, HTML without its tags; header fields with their names, those of parts too
// (RFC 9051, 6.4.4, TEXT: "including MIME header fields").
func (q *query) inTexts(n *needle, fields search.Fields) truth {
	m := q.message()
	if m == nil {
		return no
	}
	err := search.EachText(m, q.body, fields, func(_ search.Field, text io.Reader) error {
		there, err := n.inReader(text)
		if err == nil && there {
			err = errFound
		}
		return err
	})
	if err == errFound {
		return yes
	}
	q.err = err
	return no
}

// message is the structure of the open message; nil with q.err set where it cannot be read.
func (q *query) message() *message.Message {
	if q.parsed == nil && q.err == nil {
		q.parsed, q.err = message.Decode(q.record.Structure)
	}
	return q.parsed
}

// needle is a text to look for, case folded.
type needle struct {
	folded []byte
	text   []byte // what was folded last, reused
	chunk  []byte // read last, reused
}

func newNeedle(s string) *needle { return &needle{folded: search.AppendFolded(nil, []byte(s))} }

// in tells whether the needle is in a text, without regard to case (RFC 9051, 6.4.4).
func (n *needle) in(text []byte) bool {
	if len(n.folded) == 0 {
		return true
	}
	n.text = search.AppendFolded(n.text[:0], text)
	return bytes.Contains(n.text, n.folded)
}

// searchChunk is how much of a text is folded at a time, in octets.
const searchChunk = 32 << 10

// inReader is in for a text of any length, read once.
func (n *needle) inReader(r io.Reader) (bool, error) {
	if len(n.folded) == 0 {
		return true, nil
	}
	if n.chunk == nil {
		n.chunk = make([]byte, searchChunk)
	}
	chunk := n.chunk
	n.text = n.text[:0]
	kept := 0 // octets of chunk that are the beginning of a character
	for {
		k, err := r.Read(chunk[kept:])
		have := chunk[:kept+k]
		whole := len(have)
		if err == nil {
			whole -= search.Partial(have)
		}
		n.text = search.AppendFolded(n.text, have[:whole])
		if bytes.Contains(n.text, n.folded) {
			return true, nil
		}
		if err == io.EOF {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if over := len(n.text) - len(n.folded) + 1; over > 0 {
			n.text = append(n.text[:0], n.text[over:]...)
		}
		kept = copy(chunk, have[whole:])
	}
}
