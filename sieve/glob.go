package sieve

import (
	"strings"
	"unicode/utf8"
)

// glob is a pattern of :matches (RFC 5228, 2.7.1), folded for its comparator: segments
// with a star between any two.
type glob struct {
	segments []segment
	octets   bool // "?" is one octet (i;octet), else one character
}

// segment is literals with question marks between them: marks[i] stand before
// literals[i].
type segment struct {
	literals []string
	marks    []int
	trailing int // marks behind the last literal
}

// newGlob reads a pattern that is folded already. A backslash takes the meaning from what
// follows it.
func newGlob(pattern string, octets bool) *glob {
	g := &glob{octets: octets}
	var s segment
	var literal []byte
	marks := 0
	flush := func() {
		if len(literal) > 0 {
			s.literals = append(s.literals, string(literal))
			s.marks = append(s.marks, marks)
			literal, marks = literal[:0], 0
		}
	}
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; c {
		case '*':
			flush()
			s.trailing, marks = marks, 0
			g.segments = append(g.segments, s)
			s = segment{}
		case '?':
			flush()
			marks++
		default:
			if c == '\\' && i+1 < len(pattern) {
				i++
			}
			literal = append(literal, pattern[i])
		}
	}
	flush()
	s.trailing = marks
	g.segments = append(g.segments, s)
	return g
}

// span is a range of the value that a wildcard matched.
type span struct{ start, end int }

// match compares a folded value, and appends what each wildcard matched, from left to
// right and as little as possible (RFC 5229, 3.2). It counts the octets compared in work
// and gives up over most.
func (g *glob) match(value string, spans []span, work *int, most int) ([]span, bool) {
	last := len(g.segments) - 1
	at := 0
	for i := range g.segments {
		s := &g.segments[i]
		if i == 0 {
			out, end, ok := s.at(g, value, 0, spans, work)
			if !ok || last == 0 && end != len(value) {
				return spans, false
			}
			spans, at = out, end
			continue
		}
		star := len(spans)
		spans = append(spans, span{at, at})
		found := false
		for pos := at; pos <= len(value) && *work <= most; pos = g.next(value, pos) {
			if pos = s.skip(value, pos, work); pos < 0 {
				return spans, false
			}
			out, end, ok := s.at(g, value, pos, spans, work)
			if ok && (i < last || end == len(value)) {
				spans, at, found = out, end, true
				spans[star].end = pos
				break
			}
		}
		if !found {
			return spans, false
		}
	}
	return spans, true
}

// skip returns the first place from pos at which the segment can begin, −1 for none.
func (s *segment) skip(value string, pos int, work *int) int {
	if len(s.literals) == 0 || s.marks[0] > 0 {
		return pos
	}
	n := strings.Index(value[pos:], s.literals[0])
	if n < 0 {
		*work += len(value) - pos
		return -1
	}
	*work += n
	return pos + n
}

// next is the place behind one character.
func (g *glob) next(value string, pos int) int {
	if pos >= len(value) {
		return len(value) + 1
	}
	if g.octets || value[pos] < utf8.RuneSelf {
		return pos + 1
	}
	_, n := utf8.DecodeRuneInString(value[pos:])
	return pos + n
}

// at matches the segment exactly at pos.
func (s *segment) at(g *glob, value string, pos int, spans []span, work *int) ([]span, int, bool) {
	for i := 0; i <= len(s.literals); i++ {
		marks := s.trailing
		if i < len(s.literals) {
			marks = s.marks[i]
		}
		for range marks {
			next := g.next(value, pos)
			if next > len(value) {
				return spans, 0, false
			}
			spans = append(spans, span{pos, next})
			pos = next
		}
		if i < len(s.literals) {
			*work += len(s.literals[i])
			if !strings.HasPrefix(value[pos:], s.literals[i]) {
				return spans, 0, false
			}
			pos += len(s.literals[i])
		}
	}
	return spans, pos, true
}
