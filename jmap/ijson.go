package jmap

import (
	"bytes"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// DepthMax is how deep values of a request may nest.
const DepthMax = 128

// namesListMax is how many members of an object are compared one by one for duplicates;
// with more a table is made.
const namesListMax = 16

// SyntaxError is where a text is no I-JSON, and why.
type SyntaxError struct {
	Offset int // in octets
	Text   string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("octet %d: %s", e.Offset, e.Text) }

// CheckIJSON tells whether a text is one value of I-JSON (RFC 7493): JSON in UTF-8 (2.1)
// without surrogates and noncharacters, numbers within the range of binary64 (2.2), no name
// twice in an object (2.3); and that it nests no deeper than DepthMax. It is a *SyntaxError
// when not. Time and memory are in proportion to the text.
func CheckIJSON(text []byte) error {
	s := scanner{text: text, strict: true}
	if _, err := s.value(DepthMax); err != nil {
		return err
	}
	s.space()
	if s.at != len(text) {
		return s.fail("something follows the value")
	}
	return nil
}

// scanner goes over JSON without building anything. Without strict the text has been
// checked, or was written by us.
type scanner struct {
	text   []byte
	at     int
	strict bool
}

func (s *scanner) fail(format string, a ...any) error {
	return &SyntaxError{s.at, fmt.Sprintf(format, a...)}
}

// space skips white space.
func (s *scanner) space() {
	for s.at < len(s.text) {
		switch s.text[s.at] {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return
		}
	}
}

// next is the octet behind white space, 0 at the end.
func (s *scanner) next() byte {
	s.space()
	if s.at < len(s.text) {
		return s.text[s.at]
	}
	return 0
}

// value goes over one value and returns its text.
func (s *scanner) value(depth int) ([]byte, error) {
	c := s.next()
	from := s.at
	var err error
	switch {
	case depth == 0:
		err = s.fail("nested more than %d deep", DepthMax)
	case c == '{':
		err = s.object(depth, func([]byte, []byte) error { return nil })
	case c == '[':
		err = s.array(depth, func([]byte) error { return nil })
	case c == '"':
		_, err = s.str()
	case c == '-' || c >= '0' && c <= '9':
		err = s.number()
	default:
		err = s.literal()
	}
	if err != nil {
		return nil, err
	}
	return s.text[from:s.at], nil
}

func (s *scanner) literal() error {
	for _, word := range [...]string{"true", "false", "null"} {
		if bytes.HasPrefix(s.text[s.at:], []byte(word)) {
			s.at += len(word)
			return nil
		}
	}
	return s.fail("a value is missing")
}

// object goes over an object and calls f with each name, unescaped, and each value's text.
func (s *scanner) object(depth int, f func(name, value []byte) error) error {
	s.at++
	if s.next() == '}' {
		s.at++
		return nil
	}
	var seen names
	for {
		if s.next() != '"' {
			return s.fail("a name is missing")
		}
		name, err := s.str()
		if err != nil {
			return err
		}
		if s.strict && !seen.add(name) {
			return s.fail("the name %.40q is there twice", name)
		}
		if s.next() != ':' {
			return s.fail("a colon is missing")
		}
		s.at++
		value, err := s.value(depth - 1)
		if err != nil {
			return err
		}
		if err := f(name, value); err != nil {
			return err
		}
		switch s.next() {
		case ',':
			s.at++
		case '}':
			s.at++
			return nil
		default:
			return s.fail("neither comma nor end of an object")
		}
	}
}

// array goes over an array and calls f with each item's text.
func (s *scanner) array(depth int, f func(item []byte) error) error {
	s.at++
	if s.next() == ']' {
		s.at++
		return nil
	}
	for {
		item, err := s.value(depth - 1)
		if err != nil {
			return err
		}
		if err := f(item); err != nil {
			return err
		}
		switch s.next() {
		case ',':
			s.at++
		case ']':
			s.at++
			return nil
		default:
			return s.fail("neither comma nor end of an array")
		}
	}
}

// names are those of an object.
type names struct {
	few  [namesListMax][]byte
	n    int
	many map[string]struct{}
}

// add returns false for a name that is there.
func (l *names) add(name []byte) bool {
	for _, other := range l.few[:min(l.n, namesListMax)] {
		if bytes.Equal(other, name) {
			return false
		}
	}
	if l.n < namesListMax {
		l.few[l.n] = name
		l.n++
		return true
	}
	if l.many == nil {
		l.many = map[string]struct{}{}
	}
	before := len(l.many)
	l.many[string(name)] = struct{}{}
	return len(l.many) > before
}

// str goes over a string and returns what it says.
func (s *scanner) str() ([]byte, error) {
	s.at++
	from := s.at
	var out []byte // once there is an escape
	for s.at < len(s.text) {
		switch c := s.text[s.at]; {
		case c == '"':
			s.at++
			if out == nil {
				return s.text[from : s.at-1], nil
			}
			return out, nil
		case c == '\\':
			if out == nil {
				out = append(make([]byte, 0, s.at-from+16), s.text[from:s.at]...)
			}
			r, err := s.escape()
			if err != nil {
				return nil, err
			}
			out = utf8.AppendRune(out, r)
		case c < ' ':
			return nil, s.fail("a control character in a string")
		case c < utf8.RuneSelf:
			s.at++
			if out != nil {
				out = append(out, c)
			}
		default:
			r, n := utf8.DecodeRune(s.text[s.at:])
			if r == utf8.RuneError && n == 1 {
				return nil, s.fail("no UTF-8")
			}
			if s.strict && noncharacter(r) {
				return nil, s.fail("a noncharacter in a string")
			}
			if out != nil {
				out = append(out, s.text[s.at:s.at+n]...)
			}
			s.at += n
		}
	}
	return nil, s.fail("a string without end")
}

// escape reads a character behind a backslash.
func (s *scanner) escape() (rune, error) {
	s.at++
	if s.at == len(s.text) {
		return 0, s.fail("a string without end")
	}
	c := s.text[s.at]
	s.at++
	switch c {
	case '"', '\\', '/':
		return rune(c), nil
	case 'b':
		return '\b', nil
	case 'f':
		return '\f', nil
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 't':
		return '\t', nil
	case 'u':
	default:
		return 0, s.fail("an unknown escape")
	}
	r, err := s.hex()
	if err != nil {
		return 0, err
	}
	if utf16.IsSurrogate(r) {
		if !bytes.HasPrefix(s.text[s.at:], []byte(`\u`)) {
			return 0, s.fail("half of a surrogate pair")
		}
		s.at += 2
		low, err := s.hex()
		if err != nil {
			return 0, err
		}
		if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
			return 0, s.fail("half of a surrogate pair")
		}
	}
	if s.strict && noncharacter(r) {
		return 0, s.fail("a noncharacter in a string")
	}
	return r, nil
}

// hex reads four hexadecimal digits.
func (s *scanner) hex() (rune, error) {
	if s.at+4 > len(s.text) {
		return 0, s.fail("a string without end")
	}
	var r rune
	for _, c := range s.text[s.at : s.at+4] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return 0, s.fail("no hexadecimal digit")
		}
	}
	s.at += 4
	return r, nil
}

// noncharacter tells whether Unicode keeps the code point for nobody's use.
func noncharacter(r rune) bool { return r >= 0xFDD0 && r <= 0xFDEF || r&0xFFFE == 0xFFFE }

// digits skips digits and returns how many.
func (s *scanner) digits() int {
	from := s.at
	for s.at < len(s.text) && s.text[s.at] >= '0' && s.text[s.at] <= '9' {
		s.at++
	}
	return s.at - from
}

// safeDigits is the length up to which a number without exponent is within binary64.
const safeDigits = 300

// number goes over a number.
func (s *scanner) number() error {
	from := s.at
	if s.text[s.at] == '-' {
		s.at++
	}
	zero := s.at < len(s.text) && s.text[s.at] == '0'
	if n := s.digits(); n == 0 || zero && n > 1 {
		return s.fail("no number")
	}
	if s.at < len(s.text) && s.text[s.at] == '.' {
		s.at++
		if s.digits() == 0 {
			return s.fail("no digit behind the point")
		}
	}
	exponent := s.at < len(s.text) && s.text[s.at]|0x20 == 'e'
	if exponent {
		s.at++
		if s.at < len(s.text) && (s.text[s.at] == '+' || s.text[s.at] == '-') {
			s.at++
		}
		if s.digits() == 0 {
			return s.fail("no digit in the exponent")
		}
	}
	if s.strict && (exponent || s.at-from > safeDigits) {
		if _, err := strconv.ParseFloat(string(s.text[from:s.at]), 64); err != nil {
			return s.fail("a number beyond binary64")
		}
	}
	return nil
}

// members calls f for each member of an object that has been checked; false: it is none.
func members(raw []byte, f func(name, value []byte) error) (bool, error) {
	s := scanner{text: raw}
	if s.next() != '{' {
		return false, nil
	}
	return true, s.object(depthOwn, f)
}

// items calls f for each item of an array that has been checked; false: it is none.
func items(raw []byte, f func(item []byte) error) (bool, error) {
	s := scanner{text: raw}
	if s.next() != '[' {
		return false, nil
	}
	return true, s.array(depthOwn, f)
}

// depthOwn is how deep values of a response may nest to be referred to.
const depthOwn = 4 * DepthMax

// text reads a string that has been checked.
func text(raw []byte) (string, bool) {
	s := scanner{text: raw}
	if s.next() != '"' {
		return "", false
	}
	b, err := s.str()
	return string(b), err == nil
}
