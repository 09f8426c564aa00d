package dns_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"postroad/dns"
	"postroad/dns/dnstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const zones = `
$ORIGIN example.org.
@       IN SOA ns hostmaster 1 60 60 60 30
        IN MX 10 mx1
        IN MX 20 mx2.example.org.
        IN TXT "v=spf1 " "mx -all"
mx1     IN A 127.0.0.9
        IN AAAA ::1
mx2     IN A 127.0.0.10
null    IN MX 0 .
alias   IN CNAME www
www     IN A 127.0.0.11
loop1   IN CNAME loop2
loop2   IN CNAME loop1
dangling IN CNAME nothing
outside IN CNAME host.other.test.
c0 IN CNAME c1
c1 IN CNAME c2
c2 IN CNAME c3
c3 IN CNAME c4
c4 IN CNAME c5
c5 IN CNAME c6
c6 IN CNAME c7
c7 IN CNAME c8
c8 IN CNAME c9
c9 IN CNAME c10
c10 IN A 127.0.0.1
*.wild  IN A 127.0.0.12
_25._tcp.mx1 IN TLSA 3 1 1 00ff
escaped IN TXT "a\"b\\c\009d"
xn--bcher-kva IN A 127.0.0.13
$ORIGIN example.net.
@ IN A 127.0.0.20
`

func start(t *testing.T) *dnstest.Server {
	t.Helper()
	s, err := dnstest.Start("127.0.0.1:0", zones)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestLookup(t *testing.T) {
	r := start(t).Resolver()
	for _, c := range []struct {
		name, ask string
		t         dns.Type
		want      string // records, or the kind of error
		canonical string
	}{
		{"MX", "Example.ORG.", dns.TypeMX, "10 mx1.example.org,20 mx2.example.org", "example.org"},
		{"null MX", "null.example.org", dns.TypeMX, "0 ", "null.example.org"},
		{"CNAME followed", "alias.example.org", dns.TypeA, "127.0.0.11", "www.example.org"},
		{"CNAME itself", "alias.example.org", dns.TypeCNAME, "www.example.org", "alias.example.org"},
		{"CNAME in a circle", "loop1.example.org", dns.TypeA, dns.ErrTemporary.Error(), ""},
		{"CNAMEs without end", "c0.example.org", dns.TypeA, dns.ErrTemporary.Error(), ""},
		{"CNAMEs just short enough", "c2.example.org", dns.TypeA, "127.0.0.1", "c10.example.org"},
		{"CNAME to nothing", "dangling.example.org", dns.TypeA, dns.ErrNXDomain.Error(), ""},
		{"CNAME out of the zones", "outside.example.org", dns.TypeA, dns.ErrTemporary.Error(), ""},
		{"TXT joined", "example.org", dns.TypeTXT, "v=spf1 mx -all", "example.org"},
		{"TXT escapes", "escaped.example.org", dns.TypeTXT, "a\"b\\c\td", "escaped.example.org"},
		{"wildcard", "x.y.wild.example.org", dns.TypeA, "127.0.0.12", "x.y.wild.example.org"},
		{"no such name", "nope.example.org", dns.TypeA, dns.ErrNXDomain.Error(), ""},
		{"no data", "mx2.example.org", dns.TypeAAAA, dns.ErrNoData.Error(), ""},
		{"empty non-terminal", "_tcp.mx1.example.org", dns.TypeA, dns.ErrNoData.Error(), ""},
		{"refused", "example.com", dns.TypeA, dns.ErrTemporary.Error(), ""},
		{"international", "bücher.example.org", dns.TypeA, "127.0.0.13", "xn--bcher-kva.example.org"},
		{"implied SOA", "nope.example.net", dns.TypeA, dns.ErrNXDomain.Error(), ""},
		{"reverse made from A", "10.0.0.127.in-addr.arpa", dns.TypePTR, "mx2.example.org", "10.0.0.127.in-addr.arpa"},
		{"reverse of nothing", "99.0.0.127.in-addr.arpa", dns.TypePTR, dns.ErrNXDomain.Error(), ""},
		{"empty name", "", dns.TypeA, dns.ErrName.Error(), ""},
		{"empty label", "a..b", dns.TypeA, dns.ErrName.Error(), ""},
		{"long label", strings.Repeat("a", 64) + ".org", dns.TypeA, dns.ErrName.Error(), ""},
		{"long name", strings.Repeat("a.", 127) + "org", dns.TypeA, dns.ErrName.Error(), ""},
		{"escape in a name", `a\.b.example.org`, dns.TypeA, dns.ErrName.Error(), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := r.Lookup(t.Context(), c.ask, c.t)
			if err != nil {
				var e *dns.Error
				if !errors.As(err, &e) || e.Kind.Error() != c.want {
					t.Fatalf("error %v, want %q", err, c.want)
				}
				return
			}
			var got []string
			for _, rec := range a.Records {
				switch c.t {
				case dns.TypeMX:
					got = append(got, fmt.Sprintf("%d %s", rec.Preference, rec.Host))
				case dns.TypeTXT:
					got = append(got, rec.Text)
				case dns.TypeA, dns.TypeAAAA:
					got = append(got, rec.Addr.String())
				default:
					got = append(got, rec.Host)
				}
			}
			if s := strings.Join(got, ","); s != c.want || a.Canonical != c.canonical {
				t.Fatalf("got %q at %q, want %q at %q", s, a.Canonical, c.want, c.canonical)
			}
		})
	}
}

func TestTyped(t *testing.T) {
	s := start(t)
	r, ctx := s.Resolver(), t.Context()
	mx, _, err := dns.LookupMX(ctx, r, "example.org")
	if want := []dns.MX{{10, "mx1.example.org"}, {20, "mx2.example.org"}}; err != nil || !cmp.Equal(mx, want) {
		t.Fatalf("MX %v %v", mx, err)
	}
	addrs, err := dns.LookupAddrs(ctx, r, "mx1.example.org")
	if err != nil || len(addrs.V4) != 1 || addrs.V6[0] != netip.IPv6Loopback() {
		t.Fatalf("addresses %v %v", addrs, err)
	}
	if _, err = dns.LookupAddrs(ctx, r, "nope.example.org"); !dns.IsNotFound(err) {
		t.Fatalf("addresses of nothing: %v", err)
	}
	names, _, err := dns.LookupPTR(ctx, r, netip.MustParseAddr("127.0.0.9"))
	if err != nil || !cmp.Equal(names, []string{"mx1.example.org"}) {
		t.Fatalf("PTR %v %v", names, err)
	}
	tlsa, _, err := dns.LookupTLSA(ctx, r, 25, "mx1.example.org")
	if want := []dns.TLSA{{3, 1, 1, []byte{0, 255}}}; err != nil || !cmp.Equal(tlsa, want) {
		t.Fatalf("TLSA %v %v", tlsa, err)
	}
	c, _, err := dns.LookupCNAME(ctx, r, "alias.example.org")
	if err != nil || c != "www.example.org" {
		t.Fatalf("CNAME %v %v", c, err)
	}
	if n := dns.ReverseName(netip.MustParseAddr("2001:db8::1")); !strings.HasPrefix(n, "1.0.0.0.") || !strings.HasSuffix(n, "8.b.d.0.1.0.0.2.ip6.arpa") {
		t.Fatal(n)
	}
}

func TestOneFamilyFails(t *testing.T) {
	s := start(t)
	s.Set("mx2.example.org", dnstest.Fault{Rcode: 2})
	if _, err := dns.LookupAddrs(t.Context(), s.Resolver(), "mx2.example.org"); !dns.IsTemporary(err) {
		t.Fatalf("got %v", err)
	}
}

func TestAuthentic(t *testing.T) {
	s := start(t)
	r := s.Resolver()
	s.Authentic(true)
	for name, want := range map[string]bool{"example.org": true, "www.example.org": false} {
		s.Set("www.example.org", dnstest.Fault{Insecure: true})
		a, err := r.Lookup(t.Context(), name, dns.TypeA)
		if name == "example.org" && !errors.Is(err, dns.ErrNoData) {
			t.Fatal(err)
		}
		if a.Authentic != want {
			t.Errorf("%s: authentic %v", name, a.Authentic)
		}
	}
	s.Authentic(false)
	if a, _ := r.Lookup(t.Context(), "mx1.example.org", dns.TypeA); a.Authentic {
		t.Error("authentic without AD")
	}
}

func TestFailures(t *testing.T) {
	s := start(t)
	r := s.Resolver()
	s.Set("mx1.example.org", dnstest.Fault{Bogus: true})
	s.Set("mx2.example.org", dnstest.Fault{Rcode: 2})
	s.Set("www.example.org", dnstest.Fault{Truncate: true})
	s.Set("null.example.org", dnstest.Fault{Drop: true})
	if _, err := r.Lookup(t.Context(), "mx1.example.org", dns.TypeA); !errors.Is(err, dns.ErrBogus) || !dns.IsTemporary(err) {
		t.Errorf("bogus: %v", err)
	}
	if _, err := r.Lookup(t.Context(), "mx2.example.org", dns.TypeA); !errors.Is(err, dns.ErrTemporary) {
		t.Errorf("servfail: %v", err)
	}
	if a, err := r.Lookup(t.Context(), "www.example.org", dns.TypeA); err != nil || len(a.Records) != 1 {
		t.Errorf("truncated: %v %v", a, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := r.Lookup(ctx, "null.example.org", dns.TypeMX); !errors.Is(err, dns.ErrTemporary) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("silent: %v", err)
	}
	s.Set("null.example.org", dnstest.Fault{Rcode: 2})
	if _, err := r.Lookup(t.Context(), "null.example.org", dns.TypeMX); !errors.Is(err, dns.ErrTemporary) {
		t.Errorf("after silence: %v", err)
	}
}

func TestNextServer(t *testing.T) {
	s := start(t)
	dead, err := dnstest.Start("127.0.0.1:0", "")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	r, err := dns.NewStub(dns.Options{Servers: []netip.AddrPort{dead.Addr, s.Addr}, MixCase: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Lookup(t.Context(), "www.example.org", dns.TypeA); err != nil {
		t.Fatal(err)
	}
	if q := s.Queries()[0]; strings.ToLower(q) == q {
		t.Errorf("asked %q: no letter in upper case", q)
	}
}

func TestCache(t *testing.T) {
	s := start(t)
	r, err := dns.NewStub(dns.Options{Servers: []netip.AddrPort{s.Addr}, CacheMax: 2})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(name string) {
		t.Helper()
		if _, err := r.Lookup(t.Context(), name, dns.TypeA); dns.IsTemporary(err) {
			t.Fatal(err)
		}
	}
	for range 3 {
		ask("www.example.org")
		ask("nope.example.org")
	}
	if n := len(s.Queries()); n != 2 {
		t.Fatalf("%d questions for two names", n)
	}
	ask("mx1.example.org") // drops www, the least recently used
	ask("nope.example.org")
	ask("www.example.org")
	if n := len(s.Queries()); n != 4 {
		t.Fatalf("%d questions, want 4", n)
	}
}

func TestSingleFlight(t *testing.T) {
	s := start(t)
	s.Set("www.example.org", dnstest.Fault{Delay: 200 * time.Millisecond})
	r := s.Resolver()
	errs := make(chan error)
	for range 20 {
		go func() {
			_, err := r.Lookup(t.Context(), "www.example.org", dns.TypeA)
			errs <- err
		}()
	}
	for range 20 {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	if n := len(s.Queries()); n > 5 {
		t.Fatalf("%d questions for 20 at one time", n)
	}
}

func BenchmarkCached(b *testing.B) {
	s, err := dnstest.Start("127.0.0.1:0", zones)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	r, _ := dns.NewStub(dns.Options{Servers: []netip.AddrPort{s.Addr}})
	for b.Loop() {
		if _, err := r.Lookup(b.Context(), "example.org", dns.TypeMX); err != nil {
			b.Fatal(err)
		}
	}
}
