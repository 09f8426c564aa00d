package address

import (
	"strings"

	"golang.org/x/net/idna"
	"golang.org/x/text/secure/precis"
)

// lookup maps to lower case and NFC and checks labels as RFC 5891, 5, has it for
// look-ups; registrars are the ones who judge stricter.
var lookup = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.Transitional(false), idna.StrictDomainName(true))

// FoldLocal returns the form of a local part under which accounts are kept: PRECIS
// UsernameCaseMapped (RFC 8265, 3.3) where the text is a valid username, plain lower case
// where it is not.
func FoldLocal(local string) string {
	if isASCII(local) {
		return strings.ToLower(local) // what the profile does with ASCII
	}
	if s, err := precis.UsernameCaseMapped.String(local); err == nil {
		return s
	}
	return strings.ToLower(local)
}

// domainUnicode checks a domain name and returns it in lower case with U-labels.
func domainUnicode(s string) (string, error) {
	if isASCII(s) {
		s = strings.ToLower(s)
		if err := checkLabels(s); err != nil {
			return "", err
		}
		if !strings.Contains(s, "xn--") {
			return s, nil
		}
		// A label that only looks like an A-label is a good name in the DNS, so it
		// stays as it is; so does one whose U-label leads elsewhere.
		u, err := lookup.ToUnicode(s)
		if err != nil || len(u) > DomainMax {
			return s, nil
		}
		if a, err := lookup.ToASCII(u); err != nil || a != s {
			return s, nil
		}
		return u, nil
	}
	for label := range strings.SplitSeq(s, ".") {
		if len(label) > 4 && strings.EqualFold(label[:4], "xn--") && !isASCII(label) {
			return "", syntaxError("A-label that is not ASCII")
		}
	}
	a, err := lookup.ToASCII(s)
	if err != nil {
		return "", syntaxError("international domain name")
	}
	u, err := lookup.ToUnicode(a)
	if err != nil {
		return "", syntaxError("international domain name")
	}
	if back, err := lookup.ToASCII(u); err != nil || back != a {
		return "", syntaxError("international domain name")
	}
	if len(u) > DomainMax || len(a) > DomainMax {
		return "", ErrLong
	}
	return u, checkLabels(a)
}

// checkLabels holds an ASCII domain to RFC 5321, 4.1.2: sub-domain = Let-dig [Ldh-str].
func checkLabels(s string) error {
	for label := range strings.SplitSeq(s, ".") {
		if label == "" {
			return syntaxError("empty label in the domain")
		}
		if len(label) > LabelMax {
			return ErrLong
		}
		if label[0] == '-' || label[len(label)-1] == '-' {
			return syntaxError("hyphen at the edge of a label")
		}
		for i := 0; i < len(label); i++ {
			if c := label[i]; c == '.' || c >= 0x80 || !isDomainOctet(c) {
				return syntaxError("domain")
			}
		}
	}
	return nil
}

// DomainASCII returns a domain, as [Address] holds it, with A-labels. Address literals
// and names that are ASCII already are returned as they are.
func DomainASCII(domain string) string {
	if isASCII(domain) {
		return domain
	}
	if a, err := lookup.ToASCII(domain); err == nil {
		return a
	}
	return domain // never for a Domain that Parse made
}
