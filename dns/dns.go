// Package dns asks a recursive resolver and tells whether it vouches for the answer by
// DNSSEC: what mail needs of the DNS, and no more.
//
// The main type is [Resolver]; [Stub] is the real one, dnstest has a server for tests.
// Typed look-ups (LookupMX, LookupAddr …) stand on any Resolver. The package does not
// validate signatures: it trusts the AD bit of a resolver on loopback or of one that the
// configuration names as trusted, and asks for it over whatever path leads there.
//
// RFC 1034, 1035, 2308 (negative answers), 3596 (AAAA), 6840 (5.7, 5.8: AD), 6891
// (EDNS0), 6698 (TLSA), 7766 (TCP), 8914 (extended errors), 9520 (cached failures).
package dns

import (
	"context"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/idna"
)

// Type is a type of resource record.
type Type uint16

// The types that mail asks for.
const (
	TypeA     Type = 1
	TypeCNAME Type = 5
	TypePTR   Type = 12
	TypeMX    Type = 15
	TypeTXT   Type = 16
	TypeAAAA  Type = 28
	TypeTLSA  Type = 52
)

// typeNames are the mnemonics of RFC 1035, 3596 and 6698.
var typeNames = map[Type]string{
	TypeA: "A", TypeCNAME: "CNAME", TypePTR: "PTR", TypeMX: "MX",
	TypeTXT: "TXT", TypeAAAA: "AAAA", TypeTLSA: "TLSA",
}

func (t Type) String() string {
	if s, ok := typeNames[t]; ok {
		return s
	}
	return "TYPE?"
}

// Resolver answers questions. Implementations may be used by many goroutines at once.
type Resolver interface {
	// Lookup asks for the records of one type at a name, which may be international and
	// may end in a dot; no search list is applied. CNAMEs are followed. The error is an
	// *Error; with ErrNXDomain and ErrNoData the Answer's Authentic and TTL are set all
	// the same, because "provably nothing there" is an answer. The Answer is shared with
	// other callers and must not be changed.
	Lookup(ctx context.Context, name string, t Type) (Answer, error)
}

// Answer is what a name has of one type.
type Answer struct {
	Name      string   // asked for: lower case, A-labels, no final dot
	Canonical string   // where the chain of CNAMEs ended; Name when there was none
	Records   []Record // of the type asked for
	Authentic bool     // each step was vouched for by a trusted validating resolver (AD)
	TTL       time.Duration
}

// Record is one resource record; which fields are set depends on the type.
type Record struct {
	Addr       netip.Addr // A, AAAA
	Host       string     // MX, PTR, CNAME: lower case, no final dot; "" is the root (null MX)
	Preference uint16     // MX
	Text       string     // TXT, its strings joined (RFC 7208, 3.3)
	TLSA       TLSA
}

// TLSA is an association of a certificate with a port (RFC 6698, 2.1).
type TLSA struct {
	Usage, Selector, MatchingType uint8
	Data                          []byte
}

// Limits of names and answers.
const (
	nameMax   = 253 // octets without the final dot (RFC 1035, 3.1)
	labelMax  = 63  // octets
	recordMax = 512 // records kept of one answer
)

// toASCII maps for look-up, without the host name rules that underscores would break.
var toASCII = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.StrictDomainName(false))

// Normalize gives the form in which names are asked for and compared: A-labels, lower
// case, no final dot. ok is false for what cannot be a name in the DNS.
func Normalize(name string) (_ string, ok bool) {
	name = strings.TrimSuffix(name, ".")
	if len(name) > 4*nameMax {
		return "", false
	}
	for i := 0; i < len(name); i++ {
		if name[i] >= 0x80 {
			a, err := toASCII.ToASCII(name)
			if err != nil {
				return "", false
			}
			name = a
			break
		}
	}
	if name == "" || len(name) > nameMax {
		return "", false
	}
	for label := range strings.SplitSeq(name, ".") {
		if len(label) == 0 || len(label) > labelMax {
			return "", false
		}
	}
	for i := 0; i < len(name); i++ {
		// Master file syntax has escapes for these; no mail domain needs them.
		if c := name[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`\"();@$`, c) >= 0 {
			return "", false
		}
	}
	return strings.ToLower(name), true
}
