package message

import (
	"bytes"
	"iter"
	"strings"
)

// Field is one header field of a block. Its slices are the block's.
type Field struct {
	Name       []byte // as written; nil for a line that is no field
	Value      []byte // behind the colon, without the last line end, still folded
	Start, End int    // of the whole field in the block, with its last line end
}

// Fields yields the fields of a raw header block (the octets of Part.Header) in their
// order, up to the empty line or the end of the block. A line that is no field is given
// with a nil Name and itself as Value.
func Fields(block []byte) iter.Seq[Field] {
	return func(yield func(Field) bool) {
		for i := 0; i < len(block); {
			f, ok := nextField(block, i)
			if !ok || !yield(f) {
				return
			}
			i = f.End
		}
	}
}

// nextField reads the field that starts at i; ok is false at the empty line.
func nextField(block []byte, i int) (f Field, ok bool) {
	f.Start = i
	end := lineEnd(block, i)
	line := trimEOL(block[i:end])
	if len(line) == 0 {
		return f, false
	}
	for end < len(block) && (block[end] == ' ' || block[end] == '\t') {
		end = lineEnd(block, end)
	}
	f.End = end
	whole := trimEOL(block[i:end])
	name, colon := splitName(line)
	if name == nil {
		f.Value = whole
		return f, true
	}
	f.Name, f.Value = name, whole[colon+1:]
	return f, true
}

// lineEnd returns the index behind the LF of the line that starts at i.
func lineEnd(b []byte, i int) int {
	if n := bytes.IndexByte(b[i:], '\n'); n >= 0 {
		return i + n + 1
	}
	return len(b)
}

// trimEOL takes one CRLF or LF off the end.
func trimEOL(b []byte) []byte {
	n := len(b)
	if n > 0 && b[n-1] == '\n' {
		n--
		if n > 0 && b[n-1] == '\r' {
			n--
		}
	}
	return b[:n]
}

// splitName returns the field name of a line and where its colon is; nil when the line is
// no field. White space before the colon is obsolete but seen (RFC 5322, 4.5).
func splitName(line []byte) ([]byte, int) {
	colon := bytes.IndexByte(line, ':')
	n := colon
	for n > 0 && (line[n-1] == ' ' || line[n-1] == '\t') {
		n--
	}
	if n <= 0 {
		return nil, 0
	}
	for _, c := range line[:n] {
		if c < 33 || c > 126 { // RFC 5322, 3.6.8: ftext
			return nil, 0
		}
	}
	return line[:n], colon
}

// Is tells whether the field has the name, in any case.
func (f Field) Is(name string) bool { return equalFold(f.Name, name) }

// Unfolded returns the value on one line: line ends before white space are gone (RFC 5322,
// 2.2.3), other CR, LF and NUL are spaces, white space at both ends is cut.
func (f Field) Unfolded() string { return unfold(f.Value) }

// Text returns the value unfolded with encoded words decoded, as UTF-8.
func (f Field) Text() string { return DecodeWords(f.Unfolded()) }

// equalFold compares a name with a constant without regard to the case of ASCII letters.
func equalFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i := range b {
		if lower(b[i]) != lower(s[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}

// unfold does the work of Field.Unfolded, with one allocation.
func unfold(b []byte) string {
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isSpace(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	if !hasLineOctets(b) {
		return string(b)
	}
	var s strings.Builder
	s.Grow(len(b))
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '\r' && i+2 < len(b) && b[i+1] == '\n' && isWSP(b[i+2]):
			i++
		case c == '\n' && i+1 < len(b) && isWSP(b[i+1]):
		case c == '\r' || c == '\n' || c == 0:
			s.WriteByte(' ')
		default:
			s.WriteByte(c)
		}
	}
	return s.String()
}

// hasLineOctets tells whether b has CR, LF or NUL.
func hasLineOctets(b []byte) bool {
	for _, c := range b {
		if c == '\r' || c == '\n' || c == 0 {
			return true
		}
	}
	return false
}

func isSpace(c byte) bool { return isWSP(c) || c == '\r' || c == '\n' }

func isWSP(c byte) bool { return c == ' ' || c == '\t' }
