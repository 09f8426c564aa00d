package report

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// encodeEmbedded writes an address as RFC 6533, 3: utf-8-addr-xtext. What is no QCHAR
// becomes \x{HEX}.
func encodeEmbedded(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r <= ' ' || r == '+' || r == '=' || r == '\\' || r > '~':
			fmt.Fprintf(&b, `\x{%02X}`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// decodeEmbedded undoes encodeEmbedded. What is no escape stays as it is; no escape gives
// a control character.
func decodeEmbedded(s string) string {
	const open, digitsMax = `\x{`, 6
	if !strings.Contains(s, open) {
		return s
	}
	var b strings.Builder
	for {
		i := strings.Index(s, open)
		if i < 0 {
			b.WriteString(s)
			return b.String()
		}
		b.WriteString(s[:i])
		s = s[i:]
		n := strings.IndexByte(s[:min(len(s), len(open)+digitsMax+1)], '}')
		if n > len(open) {
			v, err := strconv.ParseUint(s[len(open):n], 16, 32)
			if r := rune(v); err == nil && utf8.ValidRune(r) && r >= ' ' && (r < 0x7f || r >= 0xa0) {
				b.WriteRune(r)
				s = s[n+1:]
				continue
			}
		}
		b.WriteString(open)
		s = s[len(open):]
	}
}
