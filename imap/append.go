package imap

import (
	"strconv"
	"time"
)

// isAtomChar tells whether c may stand in an atom (ATOM-CHAR of RFC 9051, 9).
func isAtomChar(c byte) bool {
	return atomChars[c]&1 != 0
}

// isAStringChar tells whether c may stand in an astring without quotes: an atom's, or "]".
func isAStringChar(c byte) bool { return atomChars[c]&1 != 0 || c == ']' }

// atomChars has 1 for ATOM-CHAR, and 2 for what a quoted string takes as it is.
var atomChars = func() (t [256]byte) {
	for c := 0x20; c < 0x7f; c++ {
		switch byte(c) {
		case '"', '\\':
		case '(', ')', '{', ' ', '%', '*', ']':
			t[c] = 2
		default:
			t[c] = 3
		}
	}
	t['\t'] = 2
	return t
}()

// AppendString appends s as a string that every client can read: quoted if it is short
// and of ASCII without CR, LF, NUL, else a literal. NUL octets, which no string can have
// (RFC 9051, 4.3), are left out. No mode of the protocol forbids either form.
func AppendString[T string | []byte](dst []byte, s T) []byte {
	if len(s) > quotedMax {
		return appendLiteral(dst, s)
	}
	start := len(dst)
	dst = append(dst, '"')
	for i := range len(s) {
		c := s[i]
		if atomChars[c]&2 == 0 {
			if c != '"' && c != '\\' {
				return appendLiteral(dst[:start], s)
			}
			dst = append(dst, '\\')
		}
		dst = append(dst, c)
	}
	return append(dst, '"')
}

// quotedMax is the longest string that is quoted, in octets. RFC 2683, 3.2.1.5, asks for
// lines of at most 1,000 octets where a literal can help it.
const quotedMax = 900

func appendLiteral[T string | []byte](dst []byte, s T) []byte {
	nul := 0
	for i := range len(s) {
		if s[i] == 0 {
			nul++
		}
	}
	dst = append(dst, '{')
	dst = strconv.AppendInt(dst, int64(len(s)-nul), 10)
	dst = append(dst, "}\r\n"...)
	if nul == 0 {
		return append(dst, s...)
	}
	for i := range len(s) {
		if s[i] != 0 {
			dst = append(dst, s[i])
		}
	}
	return dst
}

// AppendAString appends s as an atom where it can be one, else as [AppendString] does.
func AppendAString(dst []byte, s string) []byte {
	if s == "" || EqualFold(s, "NIL") {
		return AppendString(dst, s)
	}
	for i := range len(s) {
		if !isAStringChar(s[i]) {
			return AppendString(dst, s)
		}
	}
	return append(dst, s...)
}

// AppendUTF8String appends s, which is UTF-8, quoted even where it is not ASCII, as
// clients understand after ENABLE UTF8=ACCEPT or IMAP4rev2 (RFC 6855, 3; RFC 9051, 4.3).
func AppendUTF8String(dst []byte, s string) []byte {
	if len(s) > quotedMax || !isText(s) {
		return AppendString(dst, s)
	}
	dst = append(dst, '"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, s[i])
	}
	return append(dst, '"')
}

// AppendFlags appends a list of flags in parentheses.
func AppendFlags(dst []byte, flags []Flag) []byte {
	dst = append(dst, '(')
	for i, f := range flags {
		if i > 0 {
			dst = append(dst, ' ')
		}
		dst = append(dst, f...)
	}
	return append(dst, ')')
}

const months = "JanFebMarAprMayJunJulAugSepOctNovDec"

// AppendDateTime appends date and time as INTERNALDATE has it, quotes included (date-time
// of RFC 9051, 9).
func AppendDateTime(dst []byte, t time.Time) []byte {
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	_, zone := t.Zone()
	sign := byte('+')
	if zone < 0 {
		sign, zone = '-', -zone
	}
	zone /= 60
	year = min(max(year, 0), 9999)
	dst = append(dst, '"')
	if day < 10 {
		dst = append(dst, ' ', byte('0'+day))
	} else {
		dst = two(dst, day)
	}
	dst = append(dst, '-')
	dst = append(dst, months[3*(month-1):3*month]...)
	dst = append(dst, '-')
	dst = two(dst, year/100)
	dst = two(dst, year%100)
	dst = append(dst, ' ')
	dst = two(dst, hour)
	dst = append(dst, ':')
	dst = two(dst, minute)
	dst = append(dst, ':')
	dst = two(dst, second)
	dst = append(dst, ' ', sign)
	dst = two(dst, zone/60)
	dst = two(dst, zone%60)
	return append(dst, '"')
}

func two(dst []byte, n int) []byte {
	return append(dst, byte('0'+n/10%10), byte('0'+n%10))
}

// AppendDate appends the day of t as search keys have it: 1-Feb-1994.
func AppendDate(dst []byte, t time.Time) []byte {
	dst = strconv.AppendInt(dst, int64(t.Day()), 10)
	dst = append(dst, '-')
	dst = append(dst, months[3*(t.Month()-1):3*t.Month()]...)
	dst = append(dst, '-')
	year := min(max(t.Year(), 0), 9999)
	return two(two(dst, year/100), year%100)
}
