// Package dnstest serves zones written as text, for tests: over UDP and TCP on an address
// of the loopback net, to our own resolver and to real peers (a Postfix asks it through
// resolv.conf). It can be told to fail, to be slow, to be silent, to truncate, and to
// vouch for its answers.
//
// The main type is [Server]. It is authoritative for its zones and refuses all else; it
// recurses nowhere and signs nothing.
//
// RFC 1034, 1035 (5: master files), 2308, 4592 (wildcards).
package dnstest

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	mdns "postroad/dns"
)

// chainMax is how many CNAMEs the server follows within its own zones.
const chainMax = 16

// Server answers from its zones.
type Server struct {
	Addr netip.AddrPort // of UDP and TCP both

	udp, tcp *dns.Server
	done     sync.WaitGroup

	mu        sync.Mutex // guards all below
	records   map[string][]dns.RR
	zones     map[string]*dns.SOA
	faults    map[string]Fault
	authentic bool
	queries   []string
}

// Fault is how a name misbehaves.
type Fault struct {
	Rcode    int           // answer with this code instead, 0: as the zone says
	Delay    time.Duration // before any answer
	Drop     bool          // no answer at all
	Truncate bool          // over UDP only the TC bit
	Bogus    bool          // SERVFAIL to all who do not set CD, as a validating server would
	Insecure bool          // no AD bit though the server gives it elsewhere
}

// Start serves the zones at addr, "127.0.0.1:0" for a free port. Zones are written in
// master file syntax with $ORIGIN and $TTL; a zone is what has a SOA, and where no SOA is
// written each $ORIGIN is given one.
func Start(addr, zones string) (*Server, error) {
	s := &Server{records: map[string][]dns.RR{}, zones: map[string]*dns.SOA{}, faults: map[string]Fault{}}
	if err := s.Add(zones); err != nil {
		return nil, err
	}
	pc, l, err := listen(addr)
	if err != nil {
		return nil, fmt.Errorf("dnstest: %w", err)
	}
	s.Addr = l.Addr().(*net.TCPAddr).AddrPort()
	s.udp = &dns.Server{PacketConn: pc, Handler: s}
	s.tcp = &dns.Server{Listener: l, Handler: s}
	for _, srv := range []*dns.Server{s.udp, s.tcp} {
		started := make(chan struct{})
		srv.NotifyStartedFunc = func() { close(started) }
		s.done.Go(func() { srv.ActivateAndServe() })
		<-started
	}
	return s, nil
}

// listen finds one port that is free for both protocols.
func listen(addr string) (net.PacketConn, net.Listener, error) {
	for try := 0; ; try++ {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return nil, nil, err
		}
		pc, err := net.ListenPacket("udp", l.Addr().String())
		if err == nil {
			return pc, l, nil
		}
		l.Close()
		if try == 20 || !strings.HasSuffix(addr, ":0") {
			return nil, nil, err
		}
	}
}

// Close ends the server and waits for it.
func (s *Server) Close() error {
	err := s.udp.Shutdown()
	if err2 := s.tcp.Shutdown(); err == nil {
		err = err2
	}
	s.done.Wait()
	return err
}

// Resolver returns a stub resolver that asks this server only.
func (s *Server) Resolver() *mdns.Stub {
	stub, err := mdns.NewStub(mdns.Options{Servers: []netip.AddrPort{s.Addr}, CacheMax: -1, Timeout: time.Second, Rounds: 2})
	if err != nil {
		panic(err) // not with servers given
	}
	return stub
}

// Add reads more zones, or more records of known ones.
func (s *Server) Add(zones string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	zp := dns.NewZoneParser(strings.NewReader(zones), ".", "")
	zp.SetDefaultTTL(60)
	for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
		name := strings.ToLower(rr.Header().Name)
		if soa, ok := rr.(*dns.SOA); ok {
			s.zones[name] = soa
		}
		s.records[name] = append(s.records[name], rr)
	}
	if err := zp.Err(); err != nil {
		return fmt.Errorf("dnstest: read zones: %w", err)
	}
	for line := range strings.Lines(zones) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == "$ORIGIN" {
			s.addSOA(strings.ToLower(dns.Fqdn(f[1])))
		}
	}
	return nil
}

// addSOA makes origin a zone if it is none. It needs s.mu.
func (s *Server) addSOA(origin string) {
	if s.zones[origin] != nil {
		return
	}
	soa, err := dns.NewRR(origin + " 60 IN SOA ns." + origin + " hostmaster." + origin + " 1 60 60 60 60")
	if err != nil {
		return // origin is no name; the zone parser has said so
	}
	s.zones[origin] = soa.(*dns.SOA)
	s.records[origin] = append(s.records[origin], soa)
}

// Set lets a name misbehave, or behave again with the zero Fault. The name "*" stands
// for every name that has no fault of its own.
func (s *Server) Set(name string, f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if name != "*" {
		name = strings.ToLower(dns.Fqdn(name))
	}
	s.faults[name] = f
}

// Authentic turns the AD bit on or off, for all names and all who ask.
func (s *Server) Authentic(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.authentic = on
}

// Queries lists what was asked so far, as "name TYPE" with the name as it came.
func (s *Server) Queries() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.queries...)
}

// ServeDNS implements dns.Handler.
func (s *Server) ServeDNS(w dns.ResponseWriter, req *dns.Msg) {
	if len(req.Question) != 1 {
		return
	}
	q := req.Question[0]
	name := strings.ToLower(q.Name)
	s.mu.Lock()
	s.queries = append(s.queries, strings.TrimSuffix(q.Name, ".")+" "+dns.TypeToString[q.Qtype])
	f, ok := s.faults[name]
	if !ok {
		f = s.faults["*"]
	}
	authentic := s.authentic && !f.Insecure
	m := new(dns.Msg)
	m.SetReply(req)
	m.RecursionAvailable = true
	s.answer(m, name, q.Qtype)
	s.mu.Unlock()

	time.Sleep(f.Delay)
	_, udp := w.LocalAddr().(*net.UDPAddr)
	switch {
	case f.Drop:
		return
	case f.Bogus && !req.CheckingDisabled:
		m.Rcode, m.Answer, m.Ns = dns.RcodeServerFailure, nil, nil
	case f.Rcode != 0:
		m.Rcode, m.Answer, m.Ns = f.Rcode, nil, nil
	case f.Truncate && udp:
		m.Truncated, m.Answer, m.Ns = true, nil, nil
	default:
		m.AuthenticatedData = authentic && !f.Bogus
	}
	size := dns.MaxMsgSize
	if opt := req.IsEdns0(); opt != nil {
		m.SetEdns0(opt.UDPSize(), opt.Do())
		size = int(opt.UDPSize())
	} else if udp {
		size = dns.MinMsgSize
	}
	if udp {
		m.Truncate(size)
	}
	w.WriteMsg(m)
}

// answer fills m from the zones. It needs s.mu.
func (s *Server) answer(m *dns.Msg, name string, t uint16) {
	m.Authoritative = true
	for range chainMax {
		zone := s.zoneOf(name)
		rrs, exists := s.find(name, zone)
		if len(rrs) == 0 && t == dns.TypePTR {
			rrs = s.reverse(name)
		}
		found, target := false, ""
		for _, rr := range rrs {
			if ht := rr.Header().Rrtype; ht == t || t == dns.TypeANY {
				m.Answer = append(m.Answer, rr)
				found = true
			} else if c, ok := rr.(*dns.CNAME); ok {
				m.Answer = append(m.Answer, rr)
				target = strings.ToLower(c.Target)
			}
		}
		switch {
		case found:
			return
		case target != "":
			name = target
			continue
		case zone == nil && len(m.Answer) == 0:
			m.Rcode = dns.RcodeRefused
		case zone == nil && !isReverse(name):
			// The chain leaves our zones; another server would have to go on.
		case !exists && len(rrs) == 0:
			m.Rcode = dns.RcodeNameError
		}
		if zone != nil {
			m.Ns = append(m.Ns, zone)
		} else if isReverse(name) {
			m.Rcode = dns.RcodeNameError
		}
		return
	}
}

// zoneOf finds the closest zone above a name. It needs s.mu.
func (s *Server) zoneOf(name string) *dns.SOA {
	for off, end := 0, false; !end; off, end = dns.NextLabel(name, off) {
		if soa := s.zones[name[off:]]; soa != nil {
			return soa
		}
	}
	return s.zones["."]
}

// find gives the records of a name, of a wildcard where the name does not exist (RFC
// 4592), and tells whether the name exists. It needs s.mu.
func (s *Server) find(name string, zone *dns.SOA) (rrs []dns.RR, exists bool) {
	if rrs = s.records[name]; len(rrs) > 0 {
		return rrs, true
	}
	for owner := range s.records {
		if dns.IsSubDomain(name, owner) {
			return nil, true // an empty non-terminal
		}
	}
	if zone == nil {
		return nil, false
	}
	for off, end := dns.NextLabel(name, 0); !end && len(name)-off >= len(zone.Hdr.Name); off, end = dns.NextLabel(name, off) {
		for _, rr := range s.records["*."+name[off:]] {
			c := dns.Copy(rr)
			c.Header().Name = name
			rrs = append(rrs, c)
		}
		if len(rrs) > 0 || len(s.records[name[off:]]) > 0 {
			break
		}
	}
	return rrs, len(rrs) > 0
}

// isReverse tells whether a name is of the reverse trees.
func isReverse(name string) bool {
	return dns.IsSubDomain("in-addr.arpa.", name) || dns.IsSubDomain("ip6.arpa.", name)
}

// reverse makes PTR records from the address records of all zones, so that a test need
// not write them down. It needs s.mu.
func (s *Server) reverse(name string) (rrs []dns.RR) {
	if !isReverse(name) {
		return nil
	}
	for owner, all := range s.records {
		for _, rr := range all {
			var addr netip.Addr
			switch rr := rr.(type) {
			case *dns.A:
				addr, _ = netip.AddrFromSlice(rr.A.To4())
			case *dns.AAAA:
				addr, _ = netip.AddrFromSlice(rr.AAAA)
			}
			if addr.IsValid() && mdns.ReverseName(addr)+"." == name {
				h := dns.RR_Header{Name: name, Rrtype: dns.TypePTR, Class: dns.ClassINET, Ttl: rr.Header().Ttl}
				rrs = append(rrs, &dns.PTR{Hdr: h, Ptr: owner})
			}
		}
	}
	return rrs
}
