package imap

import (
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"
)

// Decoder reads the words of the formal syntax (RFC 9051, 9) from bytes. Literals stand in
// the bytes as they stood on the wire: "{5}", CRLF, five octets. After the first error
// every method returns a zero value and reads nothing, so a command is read without
// looking at each step; Err tells what was wrong and where.
type Decoder struct {
	b        []byte
	pos      int
	err      *SyntaxError
	utf8Mode bool
	keys     int // search keys seen
}

// SyntaxError is what was wrong with a command or response, and where.
type SyntaxError struct {
	Offset int // in octets
	What   string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("%s at octet %d", e.What, e.Offset) }

// NewDecoder reads b, which must not change while strings are read from it.
func NewDecoder(b []byte) *Decoder { return &Decoder{b: b} }

// SetUTF8 tells whether quoted strings and mailbox names are UTF-8: after ENABLE
// UTF8=ACCEPT or IMAP4rev2.
func (d *Decoder) SetUTF8(on bool) { d.utf8Mode = on }

// Err returns the first error, a *SyntaxError.
func (d *Decoder) Err() error {
	if d.err == nil {
		return nil
	}
	return d.err
}

// OK tells whether there was no error.
func (d *Decoder) OK() bool { return d.err == nil }

// Pos returns how many octets have been read.
func (d *Decoder) Pos() int { return d.pos }

// Fail sets the error at the present place, if there is none.
func (d *Decoder) Fail(what string) {
	if d.err == nil {
		d.err = &SyntaxError{d.pos, what}
	}
}

// Done tells whether everything has been read, or an error stops reading.
func (d *Decoder) Done() bool { return d.err != nil || d.pos >= len(d.b) }

// End asks that everything has been read.
func (d *Decoder) End() {
	if d.err == nil && d.pos < len(d.b) {
		d.Fail("unexpected text")
	}
}

// peek returns the next octet, 0 at the end or after an error.
func (d *Decoder) peek() byte {
	if d.err != nil || d.pos >= len(d.b) {
		return 0
	}
	return d.b[d.pos]
}

// Next tells whether c comes next.
func (d *Decoder) Next(c byte) bool { return d.peek() == c && !d.Done() }

// Skip reads c if it comes next, and tells.
func (d *Decoder) Skip(c byte) bool {
	if d.Next(c) {
		d.pos++
		return true
	}
	return false
}

// Expect reads c.
func (d *Decoder) Expect(c byte) {
	if !d.Skip(c) {
		d.Fail("expected " + quoteByte(c))
	}
}

func quoteByte(c byte) string {
	if c == ' ' {
		return "a space"
	}
	return `"` + string(rune(c)) + `"`
}

// SP reads one space.
func (d *Decoder) SP() { d.Expect(' ') }

// word reads octets that f accepts, at least one.
func (d *Decoder) word(f func(byte) bool, what string) []byte {
	start := d.pos
	for d.err == nil && d.pos < len(d.b) && f(d.b[d.pos]) {
		d.pos++
	}
	if d.pos == start {
		d.Fail("expected " + what)
	}
	return d.b[start:d.pos]
}

// Atom reads an atom.
func (d *Decoder) Atom() string { return string(d.word(isAtomChar, "an atom")) }

// Keyword reads an atom in upper case: a command, an item, a search key.
func (d *Decoder) Keyword() string {
	w := d.word(isAtomChar, "a word")
	for i := range w {
		if upper(w[i]) != w[i] {
			return strings.ToUpper(string(w))
		}
	}
	return string(w)
}

// Tag reads a command's tag (RFC 9051, 9: astring characters without "+").
func (d *Decoder) Tag() string {
	return string(d.word(func(c byte) bool { return isAStringChar(c) && c != '+' }, "a tag"))
}

// AString reads an atom-like word or a string.
func (d *Decoder) AString() string {
	if c := d.peek(); c == '"' || c == '{' {
		return d.ReadString()
	}
	return string(d.word(isAStringChar, "a string"))
}

// ReadString reads a quoted string or a literal.
func (d *Decoder) ReadString() string {
	switch d.peek() {
	case '"':
		return d.quoted()
	case '{':
		return string(d.literal())
	}
	d.Fail("expected a string")
	return ""
}

// NString reads a string or NIL; false for NIL.
func (d *Decoder) NString() (string, bool) {
	if c := d.peek(); c == '"' || c == '{' {
		return d.ReadString(), true
	}
	if d.SkipWord("NIL") {
		return "", false
	}
	d.Fail("expected a string or NIL")
	return "", false
}

// SkipWord reads the word, in any case, if it comes next and ends there.
func (d *Decoder) SkipWord(word string) bool {
	if d.err != nil || len(d.b)-d.pos < len(word) ||
		!EqualFold(string(d.b[d.pos:d.pos+len(word)]), word) {
		return false
	}
	if end := d.pos + len(word); end < len(d.b) && isAtomChar(d.b[end]) {
		return false
	}
	d.pos += len(word)
	return true
}

func (d *Decoder) quoted() string {
	d.Expect('"')
	start, escaped, high := d.pos, false, false
	for i := d.pos; i < len(d.b); i++ {
		switch c := d.b[i]; {
		case c == '"':
			s := d.b[start:i]
			if high && !utf8.Valid(s) {
				d.Fail("invalid UTF-8 in a quoted string")
				return ""
			}
			d.pos = i + 1
			if escaped {
				return unescape(s)
			}
			return string(s)
		case c == '\\':
			i++
			if i >= len(d.b) || d.b[i] != '"' && d.b[i] != '\\' {
				d.pos = i
				d.Fail("only a quote or a backslash may follow a backslash")
				return ""
			}
			escaped = true
		case c == '\r', c == '\n', c == 0:
			d.pos = i
			d.Fail("quoted string without end")
			return ""
		case c >= 0x80:
			// Not allowed before ENABLE, but clients send passwords so.
			high = true
		}
	}
	d.Fail("quoted string without end")
	return ""
}

func unescape(s []byte) string {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' {
			i++
		}
		out = append(out, s[i])
	}
	return string(out)
}

// literal reads "{n}" or "{n+}", CRLF, n octets.
func (d *Decoder) literal() []byte {
	s := d.literal8()
	if i := strings.IndexByte(string(s), 0); i >= 0 {
		d.Fail("NUL in a literal") // RFC 9051, 4.3
		return nil
	}
	return s
}

// literal8 is literal with NUL octets allowed; "~" stands before it and has been read.
func (d *Decoder) literal8() []byte {
	d.Expect('{')
	n := d.Number64()
	d.Skip('+')
	d.Expect('}')
	d.Expect('\r')
	d.Expect('\n')
	if d.err == nil && n > uint64(len(d.b)-d.pos) {
		d.Fail("literal longer than the text")
	}
	if d.err != nil {
		return nil
	}
	s := d.b[d.pos : d.pos+int(n)]
	d.pos += int(n)
	return s
}

// Number64 reads a number of at most 63 bits.
func (d *Decoder) Number64() uint64 {
	start := d.pos
	var n uint64
	for c := d.peek(); c >= '0' && c <= '9'; c = d.peek() {
		if n > (math.MaxInt64-uint64(c-'0'))/10 {
			d.Fail("number too large")
			return 0
		}
		n = 10*n + uint64(c-'0')
		d.pos++
	}
	if d.pos == start {
		d.Fail("expected a number")
	}
	return n
}

// Number reads a number of 32 bits.
func (d *Decoder) Number() uint32 {
	n := d.Number64()
	if n > math.MaxUint32 {
		d.Fail("number too large")
		return 0
	}
	return uint32(n)
}

// NonZero reads a number of 32 bits above 0.
func (d *Decoder) NonZero() uint32 {
	n := d.Number()
	if n == 0 {
		d.Fail("0 is not allowed here")
	}
	return n
}

// List reads "(", what item reads, any times, with a space between, and ")".
func (d *Decoder) List(item func()) {
	d.Expect('(')
	if d.Skip(')') {
		return
	}
	for d.OK() {
		item()
		if d.Skip(')') {
			return
		}
		d.SP()
	}
}

// Mailbox reads a mailbox name and returns it in UTF-8.
func (d *Decoder) Mailbox() string {
	at := d.pos
	wire := d.AString()
	if d.err != nil {
		return ""
	}
	name, err := DecodeMailbox(wire, d.utf8Mode)
	if err != nil {
		d.err = &SyntaxError{at, "not a mailbox name"}
	}
	return name
}

// ListMailbox reads a pattern of LIST: wildcards need no quotes.
func (d *Decoder) ListMailbox() string {
	at := d.pos
	var wire string
	if c := d.peek(); c == '"' || c == '{' {
		wire = d.ReadString()
	} else {
		wire = string(d.word(func(c byte) bool { return isAStringChar(c) || c == '*' || c == '%' }, "a pattern"))
	}
	if d.err != nil {
		return ""
	}
	if len(wire) > MailboxBytesMax {
		d.err = &SyntaxError{at, "pattern too long"}
		return ""
	}
	if !d.utf8Mode {
		// A pattern may cut an encoded name apart, so it is no error if it cannot be decoded.
		if name, err := decodeUTF7(wire); err == nil {
			return name
		}
	}
	return wire
}

// Flag reads a flag or keyword.
func (d *Decoder) Flag() Flag {
	start := d.pos
	d.Skip('\\')
	d.word(isAtomChar, "a flag")
	if d.err == nil && d.pos-start > KeywordBytesMax {
		d.Fail("flag too long")
	}
	if d.err != nil {
		return ""
	}
	return CanonicalFlag(Flag(d.b[start:d.pos]))
}

// FlagList reads flags in parentheses.
func (d *Decoder) FlagList() []Flag {
	flags := []Flag{}
	d.List(func() { flags = append(flags, d.Flag()) })
	return flags
}

// NumSet reads a sequence set, of UIDs or of sequence numbers.
func (d *Decoder) NumSet(uid bool) NumSet {
	if d.Skip('$') {
		return NumSet{UID: true, Saved: true}
	}
	s := NumSet{UID: uid}
	for d.OK() {
		r := Range{First: d.seqNumber()}
		r.Last = r.First
		if d.Skip(':') {
			r.Last = d.seqNumber()
		}
		if s.Ranges = append(s.Ranges, r); len(s.Ranges) > SetRangesMax {
			d.Fail("set too long")
		}
		if !d.Skip(',') {
			break
		}
	}
	return s
}

func (d *Decoder) seqNumber() uint32 {
	if d.Skip('*') {
		return 0
	}
	return d.NonZero()
}

// UIDSet reads a set without "*" and "$".
func (d *Decoder) UIDSet() UIDSet {
	at := d.pos
	s := d.NumSet(true)
	for _, r := range s.Ranges {
		if r.First == 0 || r.Last == 0 {
			s.Saved = true
		}
	}
	if d.err == nil && s.Saved {
		d.err = &SyntaxError{at, `"*" and "$" are not allowed here`}
	}
	if d.err != nil {
		return nil
	}
	return s.Resolve(0)
}

// Date reads a date, quoted or not (date of RFC 9051, 9).
func (d *Decoder) Date() time.Time {
	quoted := d.Skip('"')
	at := d.pos
	day := int(d.Number())
	d.Expect('-')
	month := d.month()
	d.Expect('-')
	year := d.digits(4)
	if quoted {
		d.Expect('"')
	}
	return d.date(at, year, month, day, 0, 0, 0, time.UTC)
}

// date makes a time if there is such a day and time.
func (d *Decoder) date(at, year, month, day, hour, minute, second int, zone *time.Location) time.Time {
	if d.err != nil {
		return time.Time{}
	}
	t := time.Date(year, time.Month(month), day, hour, minute, min(second, 59), 0, zone)
	if t.Day() != day || hour > 23 || minute > 59 || second > 60 { // 60: a leap second
		d.err = &SyntaxError{at, "no such date or time"}
		return time.Time{}
	}
	return t
}

// month reads the three letters of a month.
func (d *Decoder) month() int {
	if d.err == nil && len(d.b)-d.pos >= 3 {
		for m := range 12 {
			if EqualFold(string(d.b[d.pos:d.pos+3]), months[3*m:3*m+3]) {
				d.pos += 3
				return m + 1
			}
		}
	}
	d.Fail("expected a month")
	return 0
}

// digits reads a number of just n digits.
func (d *Decoder) digits(n int) int {
	v := 0
	for range n {
		c := d.peek()
		if c < '0' || c > '9' {
			d.Fail("expected a digit")
			return 0
		}
		v = 10*v + int(c-'0')
		d.pos++
	}
	return v
}

// DateTime reads date and time in quotes (date-time of RFC 9051, 9).
func (d *Decoder) DateTime() time.Time {
	d.Expect('"')
	at := d.pos
	var day int
	if d.Skip(' ') {
		day = d.digits(1)
	} else if day = d.digits(1); !d.Next('-') {
		day = 10*day + d.digits(1)
	}
	d.Expect('-')
	month := d.month()
	d.Expect('-')
	year := d.digits(4)
	d.SP()
	hour := d.digits(2)
	d.Expect(':')
	minute := d.digits(2)
	d.Expect(':')
	second := d.digits(2)
	d.SP()
	zone := d.zone()
	d.Expect('"')
	return d.date(at, year, month, day, hour, minute, second, zone)
}

func (d *Decoder) zone() *time.Location {
	sign := 1
	if d.Skip('-') {
		sign = -1
	} else {
		d.Expect('+')
	}
	hours, minutes := d.digits(2), d.digits(2)
	if minutes > 59 {
		d.Fail("no such time zone")
	}
	return time.FixedZone("", sign*(hours*3600+minutes*60))
}

// Continue goes on in b, which begins with what was read so far and has more behind it.
func (d *Decoder) Continue(b []byte) { d.b = b }

// Word reads letters, digits and the octets of extra, at least one; what names it for an
// error.
func (d *Decoder) Word(extra, what string) string {
	return string(d.word(func(c byte) bool {
		return c >= '0' && c <= '9' || upper(c) >= 'A' && upper(c) <= 'Z' || strings.IndexByte(extra, c) >= 0
	}, what))
}
