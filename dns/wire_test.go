package dns

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

func TestResolvConf(t *testing.T) {
	c := parseResolvConf("# comment\nnameserver 192.0.2.1 # one\nnameserver ::1\nnameserver 127.0.0.1:5353\nnameserver junk\nsearch x\noptions rotate trust-ad\n")
	want := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53"), netip.MustParseAddrPort("[::1]:53"), netip.MustParseAddrPort("127.0.0.1:5353")}
	if !slices.Equal(c.servers, want) || !c.trustAD {
		t.Fatalf("%+v", c)
	}
}

// fakeServer answers over pipes: handle gets each question and returns datagrams.
func fakeServer(t *testing.T, servers []string, trustAD bool, handle func(req *dns.Msg) [][]byte) *Stub {
	t.Helper()
	var addrs []netip.AddrPort
	for _, s := range servers {
		addrs = append(addrs, netip.MustParseAddrPort(s))
	}
	s, err := NewStub(Options{Servers: addrs, TrustAD: trustAD, Dial: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			buf := make([]byte, 4096)
			n, err := theirs.Read(buf)
			if err != nil {
				return
			}
			req := new(dns.Msg)
			if err := req.Unpack(buf[:n]); err != nil {
				t.Error(err)
			}
			for _, d := range handle(req) {
				theirs.Write(d)
			}
		}()
		return ours, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func reply(req *dns.Msg, change func(m *dns.Msg)) []byte {
	m := new(dns.Msg)
	m.SetReply(req)
	rr, _ := dns.NewRR(req.Question[0].Name + " 60 IN A 192.0.2.1")
	m.Answer = append(m.Answer, rr)
	change(m)
	b, _ := m.Pack()
	return b
}

func TestForgedAnswers(t *testing.T) {
	s := fakeServer(t, []string{"127.0.0.1:53"}, false, func(req *dns.Msg) [][]byte {
		poison := func(m *dns.Msg) { m.Answer[0].(*dns.A).A = net.IPv4(6, 6, 6, 6) }
		return [][]byte{
			{1, 2, 3},
			reply(req, func(m *dns.Msg) { poison(m); m.Id++ }),
			reply(req, func(m *dns.Msg) { poison(m); m.Question[0].Name = "other.test." }),
			reply(req, func(m *dns.Msg) { poison(m); m.Response = false }),
			reply(req, func(m *dns.Msg) {}),
		}
	})
	a, err := s.Lookup(t.Context(), "example.org", TypeA)
	if err != nil || a.Records[0].Addr != netip.MustParseAddr("192.0.2.1") {
		t.Fatalf("%v %v", a, err)
	}
}

func TestForeignRecordsPassedOver(t *testing.T) {
	s := fakeServer(t, []string{"127.0.0.1:53"}, false, func(req *dns.Msg) [][]byte {
		return [][]byte{reply(req, func(m *dns.Msg) {
			rr, _ := dns.NewRR("victim.test. 60 IN A 6.6.6.6")
			m.Answer = append([]dns.RR{rr}, m.Answer...)
		})}
	})
	a, err := s.Lookup(t.Context(), "example.org", TypeA)
	if err != nil || len(a.Records) != 1 || a.Records[0].Addr != netip.MustParseAddr("192.0.2.1") {
		t.Fatalf("%v %v", a, err)
	}
}

func TestWhoIsTrusted(t *testing.T) {
	for server, byConfig := range map[string]bool{"127.0.0.1:53": true, "[::1]:53": true, "192.0.2.53:53": false} {
		for _, trustAD := range []bool{false, true} {
			s := fakeServer(t, []string{server}, trustAD, func(req *dns.Msg) [][]byte {
				return [][]byte{reply(req, func(m *dns.Msg) { m.AuthenticatedData = true })}
			})
			a, err := s.Lookup(t.Context(), "example.org", TypeA)
			if err != nil || a.Authentic != (byConfig || trustAD) {
				t.Errorf("%s, trust-ad %v: %v %v", server, trustAD, a.Authentic, err)
			}
		}
	}
}

func TestWithoutEDNS(t *testing.T) {
	s := fakeServer(t, []string{"127.0.0.1:53"}, false, func(req *dns.Msg) [][]byte {
		return [][]byte{reply(req, func(m *dns.Msg) {
			if req.IsEdns0() != nil {
				m.Rcode, m.Answer, m.Question = dns.RcodeFormatError, nil, nil
			}
		})}
	})
	if _, err := s.Lookup(t.Context(), "example.org", TypeA); err != nil {
		t.Fatal(err)
	}
}

func TestExpiryAndSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		var silent atomic.Bool
		s := fakeServer(t, []string{"127.0.0.1:53"}, false, func(req *dns.Msg) [][]byte {
			asked.Add(1)
			if silent.Load() {
				return nil
			}
			return [][]byte{reply(req, func(m *dns.Msg) {})}
		})
		look := func() error { _, err := s.Lookup(t.Context(), "example.org", TypeA); return err }
		look()
		time.Sleep(59 * time.Second)
		if err := look(); err != nil || asked.Load() != 1 {
			t.Fatalf("asked %d times within the TTL, %v", asked.Load(), err)
		}
		time.Sleep(2 * time.Second)
		if err := look(); err != nil || asked.Load() != 2 {
			t.Fatalf("asked %d times after the TTL, %v", asked.Load(), err)
		}
		time.Sleep(61 * time.Second)
		silent.Store(true)
		begin := time.Now()
		if err := look(); !IsTemporary(err) {
			t.Fatal(err)
		}
		if d := time.Since(begin); d != 14*time.Second { // 2 + 4 + 8
			t.Fatalf("gave up after %v", d)
		}
		if look(); asked.Load() != 5 {
			t.Fatalf("a failure just met was asked for again: %d", asked.Load())
		}
		silent.Store(false)
		time.Sleep(failureTTL + time.Millisecond)
		if err := look(); err != nil {
			t.Fatalf("after the failure: %v", err)
		}
	})
}

// FuzzAnswer feeds whatever a server may send to all that reads it.
func FuzzAnswer(f *testing.F) {
	req := new(dns.Msg)
	req.SetQuestion("a.test.", dns.TypeA)
	req.Id = 1
	f.Add(reply(req, func(m *dns.Msg) {}))
	f.Add(reply(req, func(m *dns.Msg) {
		rr, _ := dns.NewRR("a.test. 1 IN CNAME b.test.")
		m.Answer = []dns.RR{rr}
	}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > tcpSizeMax {
			return
		}
		if len(b) > 2 {
			binary.BigEndian.PutUint16(b, 1)
		}
		m := new(dns.Msg)
		if m.Unpack(b) != nil || isAnswer(m, req) != nil {
			return
		}
		for _, typ := range []Type{TypeA, TypeMX, TypeTXT, TypeTLSA, TypePTR, TypeAAAA, TypeCNAME} {
			a := Answer{Canonical: "a.test", TTL: ttlMax}
			if n := follow(&a, m.Answer, typ, chainMax); n > chainMax+1 || len(a.Records) > recordMax {
				t.Fatalf("%d links, %d records", n, len(a.Records))
			}
			negativeTTL(m, &a)
		}
	})
}
