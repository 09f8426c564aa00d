// Package address parses, compares and prints mail addresses and SMTP paths.
//
// The main type is [Address]. [Parse] reads a mailbox, [ParsePath] what stands between
// the angle brackets of MAIL and RCPT; both refuse whatever the grammar does not allow,
// and control octets never pass. Header fields, which need a lenient reader, are the
// business of package message. The package looks nothing up and knows no mailboxes.
//
// RFC 5321 (4.1.2), RFC 5322 (3.4.1), RFC 6531, RFC 5890 (IDNA), RFC 8265 (PRECIS).
package address

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Limits in octets; RFC 5321, 4.5.3.1, has them as what every server must at least take.
const (
	// LocalMax bounds the local part of a mailbox that [Parse] reads. [ParsePath] is
	// bound by PathMax alone: return paths that carry the recipient (VERP, SRS) are
	// often longer than 64 octets, and RFC 5321, 4.5.3.1, asks not to refuse them.
	LocalMax  = 64
	DomainMax = 255
	PathMax   = 256 // with the angle brackets, without a source route
	LabelMax  = 63  // RFC 1035, 2.3.4
	RouteMax  = 1024
)

// Errors of the parsers; what they return wraps one of these.
var (
	ErrSyntax = errors.New("malformed address")
	ErrLong   = errors.New("address too long")
)

// Address is a mailbox at a domain, as RFC 5321 means it. Local is without quotes and
// backslashes, in the case it was given; Domain is in lower case, Unicode (U-labels) for
// international names, or an address literal with its brackets. The zero Address is the
// null path <> (RFC 5321, 4.5.5); Local "postmaster" with no Domain is <Postmaster>.
type Address struct {
	Local, Domain string
}

// IsNull tells whether a is the null path.
func (a Address) IsNull() bool { return a == Address{} }

// IsPostmaster tells whether a is <Postmaster> without a domain (RFC 5321, 4.1.1.3).
func (a Address) IsPostmaster() bool {
	return a.Domain == "" && strings.EqualFold(a.Local, postmaster)
}

// IsLiteral tells whether the domain is an address literal (RFC 5321, 4.1.3).
func (a Address) IsLiteral() bool { return strings.HasPrefix(a.Domain, "[") }

// NeedsUTF8 tells whether a can only be sent to servers with SMTPUTF8: its local part
// is not ASCII (RFC 6531, 3.2). An international domain alone goes as A-labels.
func (a Address) NeedsUTF8() bool { return !isASCII(a.Local) }

// String returns the mailbox as Unicode, the local part quoted where it needs to be. The
// null path is the empty string.
func (a Address) String() string { return join(a.Local, a.Domain) }

// ASCII returns the mailbox with the domain as A-labels. A local part that is not ASCII
// stays as it is: see [Address.NeedsUTF8].
func (a Address) ASCII() string { return join(a.Local, DomainASCII(a.Domain)) }

// Path returns the mailbox between angle brackets, as MAIL and RCPT want it: with U-labels
// for a server with SMTPUTF8, with A-labels for others.
func (a Address) Path(smtputf8 bool) string {
	if smtputf8 {
		return "<" + a.String() + ">"
	}
	return "<" + a.ASCII() + ">"
}

// Key is the form for look-ups: two addresses that mean the same mailbox by our rules
// have the same key. The local part is folded by [FoldLocal]; its quoting plays no part.
// The key of the null path is empty.
func (a Address) Key() string {
	local := FoldLocal(a.Local)
	if a.Domain == "" {
		return local
	}
	return local + "@" + a.Domain
}

// Canonical is the address with its local part folded as in [Address.Key].
func (a Address) Canonical() Address {
	return Address{Local: FoldLocal(a.Local), Domain: a.Domain}
}

// Equal tells whether a and b have the same key.
func (a Address) Equal(b Address) bool {
	return a == b || a.Domain == b.Domain && FoldLocal(a.Local) == FoldLocal(b.Local)
}

// SplitDetail splits a local part at the first separator (RFC 5233, 1: user and detail).
// Without a separator, or with nothing before it, ok is false and user is all of the
// local part.
func (a Address) SplitDetail(separator string) (user, detail string, ok bool) {
	if separator == "" {
		return a.Local, "", false
	}
	user, detail, ok = strings.Cut(a.Local, separator)
	if !ok || user == "" {
		return a.Local, "", false
	}
	return user, detail, true
}

// join prints local part and domain with an @ between.
func join(local, domain string) string {
	if local == "" && domain == "" {
		return ""
	}
	if domain == "" {
		return quoteLocal(local)
	}
	return quoteLocal(local) + "@" + domain
}

// quoteLocal returns the local part as a Dot-string where it is one, else as a
// Quoted-string, which no receiver may need (RFC 5321, 4.1.2).
func quoteLocal(local string) string {
	if isDotString(local) {
		return local
	}
	b := make([]byte, 0, len(local)+4)
	b = append(b, '"')
	for i := 0; i < len(local); i++ {
		if local[i] == '"' || local[i] == '\\' {
			b = append(b, '\\')
		}
		b = append(b, local[i])
	}
	return string(append(b, '"'))
}

// isDotString tells whether s is atoms joined by single dots.
func isDotString(s string) bool {
	if s == "" || s[0] == '.' || s[len(s)-1] == '.' || strings.Contains(s, "..") {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] != '.' && !isAtext(s[i]) {
			return false
		}
	}
	return true
}

// isAtext is RFC 5322, 3.2.3, with the octets of UTF-8 that RFC 6531, 3.3, adds.
func isAtext(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c >= utf8.RuneSelf:
		return true
	}
	return strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func syntaxError(what string) error { return fmt.Errorf("%w: %s", ErrSyntax, what) }
