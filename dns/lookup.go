package dns

import (
	"context"
	"net/netip"
	"strconv"
	"strings"
)

// MX is one mail exchanger (RFC 5321, 5.1).
type MX struct {
	Preference uint16
	Host       string // "" for the root: null MX (RFC 7505)
}

// LookupMX returns the exchangers of a domain in the order of the answer.
func LookupMX(ctx context.Context, r Resolver, domain string) ([]MX, Answer, error) {
	a, err := r.Lookup(ctx, domain, TypeMX)
	if err != nil {
		return nil, a, err
	}
	mx := make([]MX, len(a.Records))
	for i, rec := range a.Records {
		mx[i] = MX{rec.Preference, rec.Host}
	}
	return mx, a, nil
}

// LookupA returns the IPv4 addresses of a host.
func LookupA(ctx context.Context, r Resolver, host string) ([]netip.Addr, Answer, error) {
	return lookupAddrs(ctx, r, host, TypeA)
}

// LookupAAAA returns the IPv6 addresses of a host.
func LookupAAAA(ctx context.Context, r Resolver, host string) ([]netip.Addr, Answer, error) {
	return lookupAddrs(ctx, r, host, TypeAAAA)
}

func lookupAddrs(ctx context.Context, r Resolver, host string, t Type) ([]netip.Addr, Answer, error) {
	a, err := r.Lookup(ctx, host, t)
	if err != nil {
		return nil, a, err
	}
	addrs := make([]netip.Addr, len(a.Records))
	for i, rec := range a.Records {
		addrs[i] = rec.Addr
	}
	return addrs, a, nil
}

// Addrs are the addresses of a host in both families.
type Addrs struct {
	V4, V6    []netip.Addr
	Authentic bool // both answers were
}

// LookupAddrs asks for both families at once. With addresses of one family a failure of
// the other is no error; without any, a temporary failure outweighs "not there".
func LookupAddrs(ctx context.Context, r Resolver, host string) (Addrs, error) {
	type reply struct {
		addrs  []netip.Addr
		answer Answer
		err    error
	}
	six := make(chan reply, 1)
	go func() {
		addrs, a, err := LookupAAAA(ctx, r, host)
		six <- reply{addrs, a, err}
	}()
	v4, a4, err4 := LookupA(ctx, r, host)
	v6 := <-six
	res := Addrs{V4: v4, V6: v6.addrs, Authentic: a4.Authentic && v6.answer.Authentic}
	switch {
	case len(res.V4)+len(res.V6) > 0:
		return res, nil
	case IsTemporary(err4):
		return res, err4
	case IsTemporary(v6.err):
		return res, v6.err
	}
	return res, err4
}

// LookupPTR returns the names of an address (RFC 1035, 3.5; RFC 3596, 2.5).
func LookupPTR(ctx context.Context, r Resolver, addr netip.Addr) ([]string, Answer, error) {
	a, err := r.Lookup(ctx, ReverseName(addr), TypePTR)
	if err != nil {
		return nil, a, err
	}
	names := make([]string, len(a.Records))
	for i, rec := range a.Records {
		names[i] = rec.Host
	}
	return names, a, nil
}

// LookupTXT returns the texts at a name.
func LookupTXT(ctx context.Context, r Resolver, name string) ([]string, Answer, error) {
	a, err := r.Lookup(ctx, name, TypeTXT)
	if err != nil {
		return nil, a, err
	}
	texts := make([]string, len(a.Records))
	for i, rec := range a.Records {
		texts[i] = rec.Text
	}
	return texts, a, nil
}

// LookupTLSA returns the associations for a TCP port of a host (RFC 6698, 3).
func LookupTLSA(ctx context.Context, r Resolver, port uint16, host string) ([]TLSA, Answer, error) {
	a, err := r.Lookup(ctx, "_"+strconv.Itoa(int(port))+"._tcp."+host, TypeTLSA)
	if err != nil {
		return nil, a, err
	}
	recs := make([]TLSA, len(a.Records))
	for i, rec := range a.Records {
		recs[i] = rec.TLSA
	}
	return recs, a, nil
}

// LookupCNAME returns the name that a name is an alias of.
func LookupCNAME(ctx context.Context, r Resolver, name string) (string, Answer, error) {
	a, err := r.Lookup(ctx, name, TypeCNAME)
	if err != nil {
		return "", a, err
	}
	return a.Records[0].Host, a, nil
}

// ReverseName is the name under which the PTR records of an address stand.
func ReverseName(addr netip.Addr) string {
	const hex = "0123456789abcdef"
	addr = addr.Unmap()
	b := addr.AsSlice()
	var s strings.Builder
	for i := len(b) - 1; i >= 0; i-- {
		if addr.Is4() {
			s.WriteString(strconv.Itoa(int(b[i])) + ".")
		} else {
			s.Write([]byte{hex[b[i]&15], '.', hex[b[i]>>4], '.'})
		}
	}
	if addr.Is4() {
		return s.String() + "in-addr.arpa"
	}
	return s.String() + "ip6.arpa"
}
