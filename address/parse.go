package address

import (
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"
)

// postmaster is the one local part that may stand without a domain.
const postmaster = "postmaster"

// Parse reads a mailbox, local@domain, and nothing before or after it.
func Parse(s string) (Address, error) {
	if len(s) > PathMax-len("<>") {
		return Address{}, ErrLong
	}
	a, n, err := parseMailbox(s)
	switch {
	case err != nil:
		return Address{}, err
	case n != len(s):
		return Address{}, syntaxError("text after the domain")
	case len(a.Local) > LocalMax:
		return Address{}, ErrLong
	}
	return a, nil
}

// ParsePath reads the path at the start of s, which must begin with "<": "<>", a mailbox
// in angle brackets, "<Postmaster>" (RFC 5321, 4.1.1.3), or a source route, which is
// accepted and dropped (RFC 5321, appendix F.2). It returns how many octets of s the path
// takes, ">" included; what follows is the caller's. Whether "<>" or "<Postmaster>" is
// allowed where it stands is for the caller to say too.
func ParsePath(s string) (a Address, octets int, err error) {
	if s == "" || s[0] != '<' {
		return Address{}, 0, syntaxError("no < before the address")
	}
	i := 1
	if strings.HasPrefix(s[i:], ">") {
		return Address{}, i + 1, nil
	}
	if strings.HasPrefix(s[i:], "@") {
		n, err := skipRoute(s[i:])
		if err != nil {
			return Address{}, 0, err
		}
		i += n
	}
	if i == 1 && len(s) > len(postmaster)+1 && s[len(postmaster)+1] == '>' &&
		strings.EqualFold(s[1:len(postmaster)+1], postmaster) {
		return Address{Local: postmaster}, len(postmaster) + 2, nil
	}
	a, n, err := parseMailbox(s[i:])
	switch {
	case err != nil:
		return Address{}, 0, err
	case n > PathMax-len("<>"):
		return Address{}, 0, ErrLong
	case i+n >= len(s) || s[i+n] != '>':
		return Address{}, 0, syntaxError("no > after the address")
	}
	return a, i + n + 1, nil
}

// ParseDomain reads a domain name, in U-labels or A-labels, or an address literal, and
// nothing else. The result is as in [Address].
func ParseDomain(s string) (string, error) {
	d, n, err := parseDomain(s)
	if err == nil && n != len(s) {
		err = syntaxError("text after the domain")
	}
	if err != nil {
		return "", err
	}
	return d, nil
}

// skipRoute passes over "@a,@b:" and returns its length; the domains must be well formed.
func skipRoute(s string) (int, error) {
	i := 0
	for {
		if i >= len(s) || s[i] != '@' {
			return 0, syntaxError("source route")
		}
		_, n, err := parseDomain(s[i+1:])
		if err != nil {
			return 0, err
		}
		i += 1 + n
		switch {
		case i >= len(s) || i > RouteMax:
			return 0, syntaxError("source route")
		case s[i] == ':':
			return i + 1, nil
		case s[i] != ',':
			return 0, syntaxError("source route")
		}
		i++
	}
}

// parseMailbox reads local@domain at the start of s and returns its length in octets.
func parseMailbox(s string) (Address, int, error) {
	var local string
	var n int
	var err error
	if strings.HasPrefix(s, `"`) {
		local, n, err = parseQuoted(s)
	} else {
		local, n, err = parseDotString(s)
	}
	if err != nil {
		return Address{}, 0, err
	}
	if !validText(local) {
		return Address{}, 0, syntaxError("local part is not UTF-8 or has control characters")
	}
	if n >= len(s) || s[n] != '@' {
		return Address{}, 0, syntaxError("no @ after the local part")
	}
	domain, m, err := parseDomain(s[n+1:])
	if err != nil {
		return Address{}, 0, err
	}
	return Address{Local: local, Domain: domain}, n + 1 + m, nil
}

// parseDotString reads RFC 5321, 4.1.2: Dot-string = Atom *("." Atom).
func parseDotString(s string) (string, int, error) {
	n := 0
	for n < len(s) && n <= PathMax && (s[n] == '.' || isAtext(s[n])) {
		n++
	}
	if n > PathMax {
		return "", 0, ErrLong
	}
	if !isDotString(s[:n]) {
		return "", 0, syntaxError("local part")
	}
	return s[:n], n, nil
}

// parseQuoted reads RFC 5321, 4.1.2: Quoted-string, with UTF-8 as RFC 6531 adds it.
func parseQuoted(s string) (string, int, error) {
	var b strings.Builder
	for i := 1; i < len(s) && i <= PathMax; i++ {
		c := s[i]
		switch {
		case c == '"':
			return b.String(), i + 1, nil
		case c == '\\':
			i++
			if i >= len(s) || s[i] < ' ' || s[i] > '~' {
				return "", 0, syntaxError("quoted pair in the local part")
			}
			b.WriteByte(s[i])
		case c < ' ' || c == 0x7f:
			return "", 0, syntaxError("control character in the local part")
		default:
			b.WriteByte(c)
		}
	}
	return "", 0, syntaxError("quoted local part without end")
}

// validText tells whether s is UTF-8 without control characters, C1 included.
func validText(s string) bool {
	if isASCII(s) {
		return true // octets below space were refused where they were read
	}
	for i, r := range s {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return false
		}
		if r == utf8.RuneError {
			if _, size := utf8.DecodeRuneInString(s[i:]); size == 1 {
				return false
			}
		}
	}
	return true
}

// parseDomain reads a domain or an address literal at the start of s.
func parseDomain(s string) (string, int, error) {
	if strings.HasPrefix(s, "[") {
		return parseLiteral(s)
	}
	n := 0
	for n < len(s) && n <= DomainMax && isDomainOctet(s[n]) {
		n++
	}
	if n > DomainMax {
		return "", 0, ErrLong
	}
	d, err := domainUnicode(s[:n])
	return d, n, err
}

func isDomainOctet(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '-' || c == '.' || c >= utf8.RuneSelf
}

// parseLiteral reads RFC 5321, 4.1.3: [192.0.2.1] or [IPv6:2001:db8::1]. Other tags have
// never been registered and are refused. The result has the address in its one
// canonical spelling.
func parseLiteral(s string) (string, int, error) {
	const tag = "IPv6:"
	end := strings.IndexByte(s[:min(len(s), DomainMax)], ']')
	if end < 0 {
		return "", 0, syntaxError("address literal without ]")
	}
	text := s[1:end]
	v6 := len(text) >= len(tag) && strings.EqualFold(text[:len(tag)], tag)
	if v6 {
		text = text[len(tag):]
	}
	ip, err := netip.ParseAddr(text)
	if err != nil || ip.Zone() != "" || ip.Is4() == v6 {
		return "", 0, syntaxError("address literal")
	}
	if v6 {
		return "[" + tag + ip.String() + "]", end + 1, nil
	}
	return "[" + ip.String() + "]", end + 1, nil
}

// LiteralIP returns the IP address of a literal as it stands in Address.Domain.
func LiteralIP(domain string) (netip.Addr, bool) {
	d, n, err := domain, 0, error(nil)
	if !strings.HasPrefix(d, "[") {
		return netip.Addr{}, false
	}
	if d, n, err = parseLiteral(domain); err != nil || n != len(domain) {
		return netip.Addr{}, false
	}
	ip, err := netip.ParseAddr(strings.TrimPrefix(d[1:len(d)-1], "IPv6:"))
	return ip, err == nil
}
