package imapd

import (
	"bytes"
	"io"
	"unicode"
	"unicode/utf8"

	"postroad/imap"
	"postroad/message"
)

// judgeRecord decides by what is stored of a message, and by its octets once q.body is
// there.
func (q *query) judgeRecord(k *imap.SearchKey) truth {
	r, n := q.record, q.needles[k]
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
		return q.inParts(n, false)
	case imap.SearchText:
		if q.inHeader(n) == yes {
			return yes
		}
		return q.inParts(n, true)
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

// inHeader looks into the whole header, names included.
func (q *query) inHeader(n *needle) truth { return truthOf(n.inFields(q.top())) }

func (n *needle) inFields(block []byte) bool {
	for f := range message.Fields(block) {
		if n.in([]byte(string(f.Name) + ": " + f.Text())) {
			return true
		}
	}
	return false
}

// inParts looks into the texts of the message as their readers see them: decoded, in any
// charset. With headers the header blocks of parts are looked into too (RFC 9051, 6.4.4,
// TEXT: "including MIME header fields").
func (q *query) inParts(n *needle, headers bool) truth {
	if q.parsed == nil {
		if q.parsed, q.err = message.Decode(q.record.Structure); q.err != nil {
			return no
		}
	}
	found := no
	q.parsed.Root.Walk(func(p *message.Part) bool {
		if (headers || p.Message != nil) && p != q.parsed.Root {
			block := make([]byte, p.Header.Size())
			if _, err := q.body.ReadAt(block, p.Header.Start); err != nil && err != io.EOF {
				q.err = err
				return false
			}
			if n.inFields(block) {
				found = yes
				return false
			}
		}
		if p.Type == "text" {
			there, err := n.inReader(p.Text(q.body))
			if err != nil {
				q.err = err
				return false
			}
			if there {
				found = yes
				return false
			}
		}
		return true
	})
	return found
}

// needle is a text to look for, case folded.
type needle struct {
	folded []byte
	text   []byte // what was folded last, reused
}

func newNeedle(s string) *needle { return &needle{folded: fold(nil, []byte(s))} }

// in tells whether the needle is in a text, without regard to case (RFC 9051, 6.4.4).
func (n *needle) in(text []byte) bool {
	if len(n.folded) == 0 {
		return true
	}
	n.text = fold(n.text[:0], text)
	return bytes.Contains(n.text, n.folded)
}

// searchChunk is how much of a text is folded at a time, in octets.
const searchChunk = 32 << 10

// inReader is in for a text of any length, read once.
func (n *needle) inReader(r io.Reader) (bool, error) {
	if len(n.folded) == 0 {
		return true, nil
	}
	chunk := make([]byte, searchChunk)
	n.text = n.text[:0]
	kept := 0 // octets of chunk that are the beginning of a character
	for {
		k, err := r.Read(chunk[kept:])
		have := chunk[:kept+k]
		whole := len(have)
		if err == nil {
			whole -= partial(have)
		}
		n.text = fold(n.text, have[:whole])
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

// partial is the number of octets at the end of b that begin a character and do not end it.
func partial(b []byte) int {
	for i := 1; i < utf8.UTFMax && i <= len(b); i++ {
		if c := b[len(b)-i]; utf8.RuneStart(c) {
			if utf8.FullRune(b[len(b)-i:]) {
				return 0
			}
			return i
		}
	}
	return 0
}

// fold appends text with the differences of case taken out, and white space of folded
// lines as it is.
func fold(dst, text []byte) []byte {
	for len(text) > 0 {
		if c := text[0]; c < utf8.RuneSelf {
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			dst = append(dst, c)
			text = text[1:]
			continue
		}
		r, size := utf8.DecodeRune(text)
		dst = utf8.AppendRune(dst, unicode.ToLower(unicode.ToUpper(r)))
		text = text[size:]
	}
	return dst
}
