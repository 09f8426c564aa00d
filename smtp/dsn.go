package smtp

import (
	"strconv"
	"strings"
)

// DSNReturn says how much of the message a failure notice brings back (RFC 3461, 4.3).
type DSNReturn uint8

// The values of RET.
const (
	ReturnUnset   DSNReturn = iota // not given: the reporting server chooses
	ReturnFull                     // RET=FULL
	ReturnHeaders                  // RET=HDRS
)

// String returns the value of RET, empty when it was not given.
func (r DSNReturn) String() string {
	switch r {
	case ReturnFull:
		return "FULL"
	case ReturnHeaders:
		return "HDRS"
	}
	return ""
}

// DSNNotify is a set of the occasions for a notice (RFC 3461, 4.1). The zero value is
// "not given": failures and perhaps delays are told.
type DSNNotify uint8

// The occasions of NOTIFY. NotifyNever stands alone.
const (
	NotifyNever DSNNotify = 1 << iota
	NotifySuccess
	NotifyFailure
	NotifyDelay
)

// Has tells whether n asks for the occasion.
func (n DSNNotify) Has(occasion DSNNotify) bool { return n&occasion != 0 }

// String returns the value of NOTIFY, empty when it was not given.
func (n DSNNotify) String() string {
	if n&NotifyNever != 0 {
		return "NEVER"
	}
	var words []string
	for _, w := range notifyWords {
		if n&w.occasion != 0 {
			words = append(words, w.word)
		}
	}
	return strings.Join(words, ",")
}

var notifyWords = [...]struct {
	occasion DSNNotify
	word     string
}{
	{NotifySuccess, "SUCCESS"},
	{NotifyFailure, "FAILURE"},
	{NotifyDelay, "DELAY"},
}

// ParseDSNNotify reads the value of NOTIFY (RFC 3461, 4.1).
func ParseDSNNotify(s string) (DSNNotify, bool) {
	if strings.EqualFold(s, "NEVER") {
		return NotifyNever, true
	}
	var n DSNNotify
	for more := true; more; {
		var word string
		word, s, more = strings.Cut(s, ",")
		found := false
		for _, w := range notifyWords {
			if strings.EqualFold(word, w.word) && n&w.occasion == 0 {
				n |= w.occasion
				found = true
			}
		}
		if !found {
			return 0, false
		}
	}
	return n, true
}

const upperHex = "0123456789ABCDEF"

// AppendXtext appends s as xtext (RFC 3461, 4): what is not a printable ASCII character,
// and '+' and '=', become a plus sign and two hexadecimal digits.
func AppendXtext(b []byte, s string) []byte {
	for i := range len(s) {
		c := s[i]
		if c < '!' || c > '~' || c == '+' || c == '=' {
			b = append(b, '+', upperHex[c>>4], upperHex[c&15])
		} else {
			b = append(b, c)
		}
	}
	return b
}

// DecodeXtext is the inverse of AppendXtext. Octets above 127 pass as they are, for
// utf-8-addr-unitext (RFC 6533, 3); the caller checks that SMTPUTF8 was given. It tells
// whether s was xtext.
func DecodeXtext(s string) (string, bool) {
	if strings.IndexByte(s, '+') < 0 {
		return s, isXchars(s)
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '+' {
			b = append(b, s[i])
			continue
		}
		if i+2 >= len(s) || !isUpperHex(s[i+1]) || !isUpperHex(s[i+2]) {
			return "", false
		}
		v, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", false
		}
		b = append(b, byte(v))
		i += 2
	}
	return string(b), isXchars(s)
}

func isUpperHex(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'F'
}

// isXchars tells whether s is made of xchar and '+' alone.
func isXchars(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < '!' || c == 0x7f || c == '=' {
			return false
		}
	}
	return true
}
