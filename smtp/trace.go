package smtp

import (
	"crypto/tls"
	"net/netip"
	"time"

	"postroad/address"
)

// Trace is what one server adds at the top of a message: its Received field (RFC 5321,
// 4.4). Empty parts are left out.
type Trace struct {
	Helo   string     // as the client gave it
	Name   string     // of the client, as somebody trusted told it
	Client netip.Addr // of the client
	By     string     // our name
	With   string     // protocol (RFC 3848)
	ID     string     // of the mail in transit
	For    address.Address
	UTF8   bool // the message is one with SMTPUTF8
	TLS    *tls.ConnectionState
	At     time.Time
}

// AppendTo appends the field with its CRLF. Whatever the client gave itself for a name,
// it stays one word and one field.
func (t *Trace) AppendTo(b []byte) []byte {
	b = append(b, "Received:"...)
	if t.Helo != "" {
		b = appendWord(append(b, " from "...), t.Helo)
		if t.Client.IsValid() {
			b = append(b, " ("...)
			if t.Name != "" {
				b = append(appendWord(b, t.Name), ' ')
			}
			b = append(appendLiteral(b, t.Client), ')')
		}
		b = append(b, "\r\n\t"...)
	} else {
		b = append(b, ' ')
	}
	b = append(append(b, "by "...), t.By...)
	if t.With != "" {
		b = append(append(b, " with "...), t.With...)
	}
	if t.ID != "" {
		b = append(append(b, " id "...), t.ID...)
	}
	if !t.For.IsNull() {
		b = append(append(b, "\r\n\tfor "...), t.For.Path(t.UTF8)...)
	}
	if t.TLS != nil {
		// RFC 8314, 4.3: the "tls" clause names the cipher suite.
		b = append(append(b, "\r\n\ttls "...), tls.CipherSuiteName(t.TLS.CipherSuite)...)
	}
	b = append(b, ";\r\n\t"...)
	b = t.At.AppendFormat(b, "Mon, 2 Jan 2006 15:04:05 -0700")
	return append(b, '\r', '\n')
}

// appendLiteral appends an address literal (RFC 5321, 4.1.3).
func appendLiteral(b []byte, a netip.Addr) []byte {
	a = a.Unmap().WithZone("")
	b = append(b, '[')
	if a.Is6() {
		b = append(b, "IPv6:"...)
	}
	return append(a.AppendTo(b), ']')
}

// wordMax is the longest name in a field, in octets.
const wordMax = 255

// appendWord appends a name made of the characters of domains and address literals; any
// other becomes a question mark.
func appendWord(b []byte, s string) []byte {
	for i := range min(len(s), wordMax) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9',
			c == '-', c == '.', c == '_', c == ':', c == '[', c == ']':
			b = append(b, c)
		default:
			b = append(b, '?')
		}
	}
	return b
}

// DescribeTLS tells version and cipher suite, empty without TLS.
func DescribeTLS(s *tls.ConnectionState) string {
	if s == nil {
		return ""
	}
	return tls.VersionName(s.Version) + " " + tls.CipherSuiteName(s.CipherSuite)
}
