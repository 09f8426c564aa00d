package sieve

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// comparator is a way to compare strings (RFC 4790).
type comparator uint8

const (
	asciiCasemap comparator = iota // the default (RFC 5228, 2.7.3)
	octet
	asciiNumeric
	unicodeCasemap
)

// comparatorNamed returns a comparator and the extension it needs.
func comparatorNamed(name string) (c comparator, e extension, ok bool) {
	switch name {
	case "i;octet":
		return octet, base, true
	case "i;ascii-casemap":
		return asciiCasemap, base, true
	case "i;ascii-numeric":
		return asciiNumeric, extNumeric, true
	case "i;unicode-casemap":
		return unicodeCasemap, extUnicode, true
	}
	return 0, base, false
}

// fold returns the form of s in which equal strings are equal octets. Of i;ascii-numeric
// that is the number without leading zeros, empty for what is none: positive infinity
// (RFC 4790, 9.1.1).
func (c comparator) fold(s string) string {
	switch c {
	case asciiCasemap:
		return upperASCII(s)
	case unicodeCasemap:
		return unicodeFold(s)
	case asciiNumeric:
		n := 0
		for n < len(s) && isDigit(s[n]) {
			n++
		}
		if n == 0 {
			return ""
		}
		if z := strings.TrimLeft(s[:n], "0"); z != "" {
			return z
		}
		return "0"
	}
	return s
}

// order compares two folded strings.
func (c comparator) order(a, b string) int {
	if c != asciiNumeric {
		return strings.Compare(a, b)
	}
	switch {
	case a == b:
		return 0
	case a == "":
		return 1
	case b == "":
		return -1
	case len(a) != len(b):
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

// upperASCII is the mapping of RFC 4790, 9.2.1. It returns s itself where nothing changes.
func upperASCII(s string) string {
	for i := range len(s) {
		if c := s[i]; 'a' <= c && c <= 'z' {
			b := []byte(s)
			upperBytes(b[i:])
			return string(b)
		}
	}
	return s
}

func upperBytes(b []byte) {
	for i, c := range b {
		if 'a' <= c && c <= 'z' {
			b[i] = c - ('a' - 'A')
		}
	}
}

// unicodeFold is the mapping of RFC 5051, 2: title case, then full decomposition.
func unicodeFold(s string) string {
	folded, _ := unicodeFoldOffsets(s, false)
	return folded
}

// unicodeFoldOffsets returns besides where in s each octet of the result is from, and the
// length of s behind the last.
func unicodeFoldOffsets(s string, offsets bool) (string, []int) {
	var at []int
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r < utf8.RuneSelf {
			if 'a' <= r && r <= 'z' {
				r -= 'a' - 'A'
			}
			b = append(b, byte(r))
		} else if r == utf8.RuneError && n == 1 {
			b = append(b, s[i])
		} else {
			var buf [utf8.UTFMax]byte
			w := utf8.EncodeRune(buf[:], unicode.ToTitle(r))
			b = norm.NFKD.Append(b, buf[:w]...)
		}
		for offsets && len(at) < len(b) {
			at = append(at, i)
		}
		i += n
	}
	if offsets {
		at = append(at, len(s))
	}
	return string(b), at
}
