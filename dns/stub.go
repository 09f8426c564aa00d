package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/miekg/dns"
)

// Options of a Stub. The zero value is the machine's own resolver.
type Options struct {
	Servers    []netip.AddrPort // asked in this order; empty: from ResolvConf
	ResolvConf string           // path, "" is /etc/resolv.conf
	TrustAD    bool             // believe the AD bit of servers that are not on loopback
	Timeout    time.Duration    // for the first try, doubled with each round; 0: TimeoutDefault
	Rounds     int              // over all servers; 0: RoundsDefault
	MixCase    bool             // random case in questions against forged answers ("0x20")
	CacheMax   int              // answers kept; 0: CacheMaxDefault, below 0: none
	// Dial opens connections, nil: the network. For "udp" the connection must keep
	// datagrams apart.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Defaults and limits of a Stub.
const (
	TimeoutDefault  = 2 * time.Second
	RoundsDefault   = 3
	CacheMaxDefault = 20_000 // answers
	serversMax      = 8
	chainMax        = 8 // CNAMEs followed; RFC 1034, 3.6.2 asks for a bound
	lookupMax       = 30 * time.Second
)

// Stub is a Resolver that asks recursive name servers. It keeps answers for their TTL,
// and many who ask the same at one time share one question.
type Stub struct {
	options Options
	cache   *cache
	flights flights
}

// NewStub makes a Stub. It reads resolv.conf only when no servers are given.
func NewStub(o Options) (*Stub, error) {
	if len(o.Servers) == 0 {
		path := o.ResolvConf
		if path == "" {
			path = "/etc/resolv.conf"
		}
		conf, err := readResolvConf(path)
		if err != nil {
			return nil, fmt.Errorf("read name servers: %w", err)
		}
		o.Servers, o.TrustAD = conf.servers, o.TrustAD || conf.trustAD
	}
	if len(o.Servers) > serversMax {
		o.Servers = o.Servers[:serversMax]
	}
	if o.Timeout <= 0 {
		o.Timeout = TimeoutDefault
	}
	if o.Rounds <= 0 {
		o.Rounds = RoundsDefault
	}
	if o.CacheMax == 0 {
		o.CacheMax = CacheMaxDefault
	}
	if o.Dial == nil {
		var d net.Dialer
		o.Dial = d.DialContext
	}
	return &Stub{options: o, cache: newCache(o.CacheMax)}, nil
}

// Lookup implements Resolver.
func (s *Stub) Lookup(ctx context.Context, name string, t Type) (Answer, error) {
	n, ok := Normalize(name)
	if !ok {
		return Answer{}, &Error{Name: name, Type: t, Kind: ErrName}
	}
	q := question{n, t}
	if a, err, ok := s.cache.get(q); ok {
		return a, err
	}
	a, err, done := s.flights.do(ctx, q, func() (Answer, error) {
		// The question outlives the one who asked first: others may wait for it.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookupMax)
		defer cancel()
		a, ttl, err := s.resolve(ctx, q)
		s.cache.put(q, a, err, ttl)
		return a, err
	})
	if !done {
		return Answer{}, &Error{Name: n, Type: t, Kind: ErrTemporary, Err: ctx.Err()}
	}
	return a, err
}

// resolve asks, follows CNAMEs that the server left open, and says how long the result
// may be kept.
func (s *Stub) resolve(ctx context.Context, q question) (Answer, time.Duration, error) {
	a := Answer{Name: q.name, Canonical: q.name, Authentic: true, TTL: ttlMax}
	fail := func(kind, cause error) error { return &Error{Name: q.name, Type: q.t, Kind: kind, Err: cause} }
	for links := 0; links <= chainMax; {
		m, trusted, err := s.ask(ctx, question{a.Canonical, q.t})
		if err != nil {
			kind := ErrTemporary
			if errors.Is(err, ErrBogus) {
				kind, err = ErrBogus, nil
			}
			a.Authentic = false
			return a, failureTTL, fail(kind, err)
		}
		a.Authentic = a.Authentic && trusted && m.AuthenticatedData
		n := follow(&a, m.Answer, q.t, chainMax-links)
		links += n
		switch {
		case len(a.Records) > 0:
			return a, a.TTL, nil
		case m.Rcode == dns.RcodeNameError:
			ttl := negativeTTL(m, &a)
			return a, ttl, fail(ErrNXDomain, nil)
		case n == 0 || hasSOA(m):
			ttl := negativeTTL(m, &a)
			return a, ttl, fail(ErrNoData, nil)
		}
	}
	a.Authentic = false
	return a, failureTTL, fail(ErrTemporary, fmt.Errorf("more than %d CNAMEs", chainMax))
}

// follow walks the chain from a.Canonical through the records, at most max links, and
// takes the records of type t at its end. It returns the number of links.
func follow(a *Answer, rrs []dns.RR, t Type, max int) int {
	for links := 0; ; links++ {
		next := ""
		for _, rr := range rrs {
			h := rr.Header()
			if owner, ok := Normalize(h.Name); !ok || owner != a.Canonical || h.Class != dns.ClassINET {
				continue
			}
			ttl := time.Duration(h.Ttl) * time.Second
			if Type(h.Rrtype) == t {
				if rec, ok := convert(rr); ok && len(a.Records) < recordMax {
					a.Records = append(a.Records, rec)
					a.TTL = min(a.TTL, ttl)
				}
			} else if c, ok := rr.(*dns.CNAME); ok && next == "" {
				if target, ok := Normalize(c.Target); ok {
					next = target
					a.TTL = min(a.TTL, ttl)
				}
			}
		}
		if len(a.Records) > 0 || next == "" {
			return links
		}
		a.Canonical = next
		if links == max {
			return links + 1
		}
	}
}

// convert gives our form of a record.
func convert(rr dns.RR) (r Record, ok bool) {
	host := func(name string) string {
		n, good := Normalize(name)
		ok = good || name == "."
		return n
	}
	switch rr := rr.(type) {
	case *dns.A:
		r.Addr, ok = netip.AddrFromSlice(rr.A)
		r.Addr = r.Addr.Unmap()
	case *dns.AAAA:
		r.Addr, ok = netip.AddrFromSlice(rr.AAAA)
	case *dns.MX:
		r.Preference, r.Host = rr.Preference, host(rr.Mx)
	case *dns.PTR:
		r.Host = host(rr.Ptr)
	case *dns.CNAME:
		r.Host = host(rr.Target)
	case *dns.TXT:
		r.Text, ok = joinText(rr.Txt), true
	case *dns.TLSA:
		var data []byte
		data, ok = decodeHex(rr.Certificate)
		r.TLSA = TLSA{rr.Usage, rr.Selector, rr.MatchingType, data}
	}
	return r, ok
}

// hasSOA tells whether the server said that nothing more is there (RFC 2308, 2.2).
func hasSOA(m *dns.Msg) bool {
	for _, rr := range m.Ns {
		if rr.Header().Rrtype == dns.TypeSOA {
			return true
		}
	}
	return false
}

// negativeTTL is how long "nothing there" may be kept: the SOA's own TTL or its minimum,
// whichever is less; without a SOA not at all (RFC 2308, 5).
func negativeTTL(m *dns.Msg, a *Answer) time.Duration {
	ttl := time.Duration(0)
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			ttl = time.Duration(min(soa.Hdr.Ttl, soa.Minttl)) * time.Second
		}
	}
	a.TTL = min(a.TTL, ttl, negativeTTLMax)
	return a.TTL
}
