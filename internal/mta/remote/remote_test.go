package remote

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postroad/dns"
	"postroad/dns/dnstest"
	"postroad/internal/mailflow"
	"postroad/sasl"
	"postroad/smtp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	taken = "2 250 2.0.0 "
	mx1   = "192.0.2.1:25"
	mx2   = "192.0.2.2:25"
)

func TestWhere(t *testing.T) {
	literal := mailflow.NextHop{Transport: "smtp", Domain: "[192.0.2.1]", NoMX: true}
	for _, c := range []struct {
		name, want string
		hop        mailflow.NextHop
		down       []string // servers that are not there
		fault      dnstest.Fault
	}{
		{name: "best first", hop: byMX("two.test"), want: taken + "mx1.two.test"},
		{name: "second", hop: byMX("two.test"), down: []string{mx1}, want: taken + "mx2.two.test"},
		{name: "none", hop: byMX("two.test"), down: []string{mx1, mx2}, want: "4 451 4.4.1 us"},
		{name: "implicit", hop: byMX("implicit.test"), want: taken + "implicit.test"},
		{name: "implicit by AAAA", hop: byMX("v6.implicit.test"), want: taken + "v6.implicit.test"},
		{name: "both families, one down", hop: byMX("dual.odd.test"), down: []string{"[2001:db8::1]:25"}, want: taken + "dual.odd.test"},
		{name: "both families, the other down", hop: byMX("dual.odd.test"), down: []string{mx1}, want: taken + "dual.odd.test"},
		{name: "neither MX nor address", hop: byMX("nothing.implicit.test"), want: "5 550 5.1.2 us"},
		{name: "alias", hop: byMX("alias.implicit.test"), want: taken + "mx1.two.test"},
		{name: "no such domain", hop: byMX("x.implicit.test"), want: "5 550 5.1.2 us"},
		{name: "null MX", hop: byMX("null.test"), want: "5 556 5.1.10 us"},
		{name: "root among others", hop: byMX("halfnull.test"), want: taken + "mx1.two.test"},
		{name: "better than us", hop: byMX("ours.test"), want: taken + "mx1.two.test"},
		{name: "only better ones are tried", hop: byMX("ours.test"), down: []string{mx1}, want: "4 451 4.4.1 us"},
		{name: "we are best", hop: byMX("first.ours.test"), want: "5 554 5.4.6 us"},
		{name: "we are as good", hop: byMX("same.ours.test"), want: "5 554 5.4.6 us"},
		{name: "another name of ours", hop: byMX("byaddr.ours.test"), want: "5 554 5.4.6 us"},
		{name: "MX is an address", hop: byMX("literal.odd.test"), want: "5 550 5.4.4 us"},
		{name: "MX on loopback", hop: byMX("loopback.odd.test"), want: "5 550 5.4.4 us"},
		{name: "MX is unspecified", hop: byMX("any.odd.test"), want: "5 550 5.4.4 us"},
		{name: "MX without address", hop: byMX("noaddr.odd.test"), want: "5 550 5.4.4 us"},
		{name: "no answer", hop: byMX("two.test"), fault: dnstest.Fault{Rcode: 2}, want: "4 451 4.4.3 us"},
		{name: "bogus answer", hop: byMX("two.test"), fault: dnstest.Fault{Bogus: true}, want: "4 451 4.4.3 us"},
		{name: "not a name", hop: byMX("a..b"), want: "5 550 5.1.2 us"},
		{name: "literal", hop: literal, want: taken + "[192.0.2.1]"},
		{name: "literal on loopback", hop: mailflow.NextHop{Transport: "smtp", Domain: "[127.0.0.1]", NoMX: true}, want: "5 550 5.4.4 us"},
		{name: "configured on loopback", hop: mailflow.NextHop{Transport: "smtp", Domain: "[127.0.0.1]", NoMX: true, Port: 2525}, want: taken + "[127.0.0.1]"},
		{name: "own listener", hop: mailflow.NextHop{Transport: "smtp", Domain: "[192.0.2.99]", NoMX: true}, want: "5 554 5.4.6 us"},
		{name: "host without MX", hop: mailflow.NextHop{Transport: "smtp", Domain: "mx2.two.test", NoMX: true}, want: taken + "mx2.two.test"},
		{name: "international", hop: byMX("bücher.test"), want: "4 451 4.4.3 us"}, // the server has no such zone
	} {
		t.Run(c.name, func(t *testing.T) {
			n := netOf{mx1: {}, mx2: {}, "[2001:db8::1]:25": {}, "127.0.0.1:2525": {}, "127.0.0.1:25": {}, "192.0.2.99:25": {}}
			for _, d := range c.down {
				delete(n, d)
			}
			s := newSite(t, n, func(o *Options) { o.Listeners = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.99:25")} })
			s.names.Set("two.test", c.fault)
			if got := s.deliver(s.mail("a@x.test"), c.hop); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestLoopbackAllowedAndListenerOfAllAddresses(t *testing.T) {
	n := netOf{"127.0.0.1:25": {}}
	s := newSite(t, n, func(o *Options) { o.AllowLoopback = true })
	if got := s.deliver(s.mail("a@x.test"), byMX("loopback.odd.test")); got != taken+"lo.odd.test" {
		t.Error(got)
	}
	s = newSite(t, n, func(o *Options) {
		o.AllowLoopback = true
		o.Listeners = []netip.AddrPort{netip.MustParseAddrPort("[::]:25")}
	})
	if got := s.deliver(s.mail("a@x.test"), byMX("loopback.odd.test")); got != "5 554 5.4.6 us" {
		t.Error(got)
	}
}

func TestEqualPreferenceIsRandom(t *testing.T) {
	s := newSite(t, netOf{mx1: {}, mx2: {}}, nil)
	s.names.Add("$ORIGIN even.test.\n@ IN MX 10 mx1.two.test.\n@ IN MX 10 mx2.two.test.\n")
	first := map[string]int{}
	for range 40 {
		hosts, err := s.transport.hosts(t.Context(), byMX("even.test"))
		if err != nil || len(hosts) != 2 {
			t.Fatal(hosts, err)
		}
		first[hosts[0].name]++
	}
	if len(first) != 2 {
		t.Errorf("40 times the same order: %v", first)
	}
}

func TestAnswers(t *testing.T) {
	esmtp := []string{"PIPELINING", "8BITMIME", "DSN"}
	for _, c := range []struct {
		name   string
		first  *server
		second *server
		to     []string
		want   string
	}{
		{name: "some refused", first: &server{caps: esmtp, replies: map[string]string{"RCPT b@": "550 5.1.1 nobody"}}, second: &server{},
			to: []string{"a@two.test", "b@two.test"}, want: taken + "mx1.two.test; 5 550 5.1.1 mx1.two.test"},
		{name: "some put off, taken by the next", first: &server{caps: esmtp, replies: map[string]string{"RCPT b@": "450 4.2.0 grey"}}, second: &server{},
			to: []string{"a@two.test", "b@two.test"}, want: taken + "mx1.two.test; " + taken + "mx2.two.test"},
		{name: "put off by all", first: &server{replies: map[string]string{"MAIL": "451 4.3.0 busy"}}, second: &server{replies: map[string]string{"END": "452 4.3.1 full"}},
			to: []string{"a@two.test"}, want: "4 452 4.3.1 mx2.two.test"},
		{name: "put off, the next is down", first: &server{replies: map[string]string{"MAIL": "451 4.3.0 busy"}},
			to: []string{"a@two.test"}, want: "4 451 4.3.0 mx1.two.test"},
		{name: "refused at the end, the next is not asked", first: &server{caps: esmtp, replies: map[string]string{"END": "554 5.6.0 spam"}}, second: &server{},
			to: []string{"a@two.test"}, want: "5 554 5.6.0 mx1.two.test"},
		{name: "greeting 4yz", first: &server{greeting: "421 4.3.2 busy"}, second: &server{}, to: []string{"a@two.test"}, want: taken + "mx2.two.test"},
		{name: "greeting 5yz", first: &server{greeting: "554 5.7.1 go away"}, second: &server{}, to: []string{"a@two.test"}, want: taken + "mx2.two.test"},
		{name: "greeting 5yz by all", first: &server{greeting: "554 5.7.1 go away"}, second: &server{greeting: "554 5.7.1 go away"},
			to: []string{"a@two.test"}, want: "5 554 5.7.1 mx2.two.test"},
		{name: "greeting 5yz, the next is down", first: &server{greeting: "554 5.7.1 go away"}, to: []string{"a@two.test"}, want: "4 451 4.4.1 us"},
		{name: "hangs up at MAIL", first: &server{hangUp: "MAIL"}, second: &server{}, to: []string{"a@two.test"}, want: taken + "mx2.two.test"},
		{name: "hangs up in the content", first: &server{hangUp: "END"}, second: &server{}, to: []string{"a@two.test"}, want: "4 451 4.4.2 us"},
		{name: "few at once", first: &server{few: 2, caps: esmtp}, to: []string{"a@two.test", "b@two.test", "c@two.test"},
			want: taken + "mx1.two.test; " + taken + "mx1.two.test; " + taken + "mx1.two.test"},
		{name: "few at once by LIMITS", first: &server{few: 2, caps: append([]string{"LIMITS RCPTMAX=2"}, esmtp...)}, to: []string{"a@two.test", "b@two.test", "c@two.test"},
			want: taken + "mx1.two.test; " + taken + "mx1.two.test; " + taken + "mx1.two.test"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := netOf{mx1: c.first}
			if c.second != nil {
				n[mx2] = c.second
			}
			s := newSite(t, n, nil)
			if got := s.deliver(s.mail(c.to...), byMX("two.test")); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestReuse(t *testing.T) {
	srv := &server{caps: []string{"PIPELINING"}}
	s := newSite(t, netOf{mx1: srv}, func(o *Options) { o.ReuseMax = 3 })
	for range 7 {
		if got := s.deliver(s.mail("a@two.test"), byMX("two.test")); got != taken+"mx1.two.test" {
			t.Fatal(got)
		}
	}
	if conns, mails := srv.count(); conns != 3 || mails != 7 {
		t.Errorf("%d connections for %d mails, at most three each", conns, mails)
	}
}

func TestReuseOfTheDead(t *testing.T) {
	for name, srv := range map[string]*server{
		"hung up":        {},
		"421 at MAIL":    {replies: map[string]string{}},
		"hangs up later": {hangUp: "MAIL", hangUpAt: 99},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, netOf{mx1: srv}, nil)
			if got := s.deliver(s.mail("a@two.test"), byMX("two.test")); got != taken+"mx1.two.test" {
				t.Fatal(got)
			}
			c := s.transport.pool.take(byMX("two.test"))
			if c == nil {
				t.Fatal("no idle connection")
			}
			switch name {
			case "hung up":
				c.client.Close()
				s.transport.pool.idle[c.hop] = append(s.transport.pool.idle[c.hop], c)
				s.transport.pool.count++
				c.expires = time.NewTimer(time.Hour)
				c.idle = time.Now()
			default:
				srv.mu.Lock()
				if name == "421 at MAIL" {
					srv.replies["MAIL"] = "421 4.4.2 bye"
				} else {
					srv.hangUpAt = 1
				}
				srv.mu.Unlock()
				s.transport.pool.give(c)
			}
			want := taken + "mx1.two.test"
			if name == "421 at MAIL" { // the new connection says so too
				want = "4 421 4.4.2 mx1.two.test"
			}
			if got := s.deliver(s.mail("a@two.test"), byMX("two.test")); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			if conns, _ := srv.count(); conns != 2 {
				t.Errorf("%d connections", conns)
			}
		})
	}
}

func TestIdleConnectionsEnd(t *testing.T) {
	srv := &server{}
	s := newSite(t, netOf{mx1: srv}, func(o *Options) { o.IdleTimeout = 20 * time.Millisecond })
	s.deliver(s.mail("a@two.test"), byMX("two.test"))
	for begin := time.Now(); srv.said("QUIT") == 0; time.Sleep(time.Millisecond) {
		if time.Since(begin) > 5*time.Second {
			t.Fatal("no QUIT")
		}
	}
	if s.transport.pool.take(byMX("two.test")) != nil {
		t.Error("still in the pool")
	}
}

func TestTLS(t *testing.T) {
	config, _ := certificate(t, "mx1.two.test")
	broken := config.Clone()
	broken.MinVersion, broken.MaxVersion = tlsTooNew, tlsTooNew
	for _, c := range []struct {
		name    string
		server  *server
		options TLSOptions
		want    string
		tls     bool
		conns   int
	}{
		{name: "offered", server: &server{tls: config}, want: taken + "mx1.two.test", tls: true, conns: 1},
		{name: "not offered", server: &server{}, want: taken + "mx1.two.test", conns: 1},
		{name: "off", server: &server{tls: config}, options: TLSOptions{Off: true}, want: taken + "mx1.two.test", conns: 1},
		{name: "refused", server: &server{tls: config, replies: map[string]string{"STARTTLS": "454 4.7.0 not now"}}, want: taken + "mx1.two.test", conns: 1},
		{name: "refused, no fallback", server: &server{tls: config, replies: map[string]string{"STARTTLS": "454 4.7.0 not now"}}, options: TLSOptions{NoFallback: true},
			want: "4 454 4.7.0 mx1.two.test", conns: 1},
		{name: "handshake fails", server: &server{tls: broken}, want: taken + "mx1.two.test", conns: 2},
		{name: "handshake fails, no fallback", server: &server{tls: broken}, options: TLSOptions{NoFallback: true}, want: "4 451 4.7.5 us", conns: 1},
		{name: "injected behind STARTTLS", server: &server{tls: config, inject: "250 fooled\r\n"}, want: "4 451 4.7.0 us", conns: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t, netOf{mx1: c.server}, func(o *Options) { o.TLS = c.options })
			s.names.Add("$ORIGIN one.test.\n@ IN MX 1 mx1.two.test.\n")
			m := s.mail("a@one.test")
			if got := s.deliver(m, byMX("one.test")); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if conns, _ := c.server.count(); conns != c.conns {
				t.Errorf("%d connections", conns)
			}
			if st := s.transport.Deliver(t.Context(), m, byMX("one.test")); c.tls != (st[0].TLS != "") || c.tls && (!strings.HasPrefix(st[0].TLS, "TLS 1.3 TLS_") || st[0].RemoteAddr.String() != mx1) {
				t.Errorf("status tells %+v", st[0])
			}
		})
	}
}

// tlsTooNew is a version that no client has.
const tlsTooNew = 0x0399

func TestRelayHost(t *testing.T) {
	config, roots := certificate(t, "smart.test")
	hop := mailflow.NextHop{Transport: "smtp", Domain: "smart.test", NoMX: true, Port: 587, Relay: "smart"}
	for _, c := range []struct {
		name   string
		server *server
		change func(*Options)
		want   string
	}{
		{name: "log in", server: &server{tls: config, caps: []string{"AUTH PLAIN"}}, change: func(o *Options) { o.TLS.Roots = roots }, want: taken + "smart.test"},
		{name: "certificate of nobody", server: &server{tls: config, caps: []string{"AUTH PLAIN"}}, want: "4 451 4.7.5 us"},
		{name: "any certificate", server: &server{tls: config, caps: []string{"AUTH PLAIN"}},
			change: func(o *Options) {
				o.Relays["smart"] = Relay{Credentials: sasl.Credentials{User: "u", Password: "p"}, AnyCertificate: true}
			}, want: taken + "smart.test"},
		{name: "no TLS", server: &server{caps: []string{"AUTH PLAIN"}}, change: func(o *Options) { o.TLS.Roots = roots }, want: "4 451 4.7.5 us"},
		{name: "wrong password", server: &server{tls: config, caps: []string{"AUTH PLAIN"}, replies: map[string]string{"AUTH": "535 5.7.8 no"}},
			change: func(o *Options) { o.TLS.Roots = roots }, want: "4 451 4.7.8 us"},
		{name: "no mechanism", server: &server{tls: config}, change: func(o *Options) { o.TLS.Roots = roots }, want: "4 451 4.7.8 us"},
		{name: "no credentials", server: &server{tls: config}, change: func(o *Options) { o.Relays = nil }, want: "4 451 4.7.8 us"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t, netOf{"192.0.2.7:587": c.server}, func(o *Options) {
				o.Relays = map[string]Relay{"smart": {Credentials: sasl.Credentials{User: "u", Password: "p"}}}
				if c.change != nil {
					c.change(o)
				}
			})
			s.names.Add("$ORIGIN smart.test.\n@ IN A 192.0.2.7\n")
			if got := s.deliver(s.mail("a@x.test"), hop); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if strings.HasPrefix(c.want, "4 451 4.7.5") && c.server.said("AUTH") > 0 {
				t.Error("the password was sent")
			}
		})
	}
}

// TestRelayLevels: what the configuration demands of a relay host without log-in.
func TestRelayLevels(t *testing.T) {
	config, roots := certificate(t, "smart.test")
	other, _ := certificate(t, "other.test")
	for _, c := range []struct {
		name   string
		server *server
		relay  Relay
		want   string
		tls    bool
	}{
		{name: "may, not offered", server: &server{}, want: taken + "smart.test"},
		{name: "encrypt, any certificate", server: &server{tls: other}, relay: Relay{TLS: TLSEncrypt}, want: taken + "smart.test", tls: true},
		{name: "encrypt, not offered", server: &server{}, relay: Relay{TLS: TLSEncrypt}, want: "4 451 4.7.5 us"},
		{name: "encrypt, refused", server: &server{tls: config, replies: map[string]string{"STARTTLS": "454 4.7.0 not now"}}, relay: Relay{TLS: TLSEncrypt}, want: "4 454 4.7.0 smart.test"},
		{name: "verify", server: &server{tls: config}, relay: Relay{TLS: TLSVerify}, want: taken + "smart.test", tls: true},
		{name: "verify, another's certificate", server: &server{tls: other}, relay: Relay{TLS: TLSVerify}, want: "4 451 4.7.5 us"},
		{name: "implicit", server: &server{tls: config, implicit: true}, relay: Relay{ImplicitTLS: true}, want: taken + "smart.test", tls: true},
		{name: "implicit, verify, another's certificate", server: &server{tls: other, implicit: true}, relay: Relay{ImplicitTLS: true, TLS: TLSVerify}, want: "4 451 4.7.5 us"},
		{name: "implicit, in the clear there", server: &server{}, relay: Relay{ImplicitTLS: true}, want: "4 451 4.7.5 us"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t, netOf{"192.0.2.7:2587": c.server}, func(o *Options) {
				o.TLS.Roots, o.Relays = roots, map[string]Relay{"smart": c.relay}
			})
			s.names.Add("$ORIGIN smart.test.\n@ IN A 192.0.2.7\n")
			hop := mailflow.NextHop{Transport: "smtp", Domain: "smart.test", NoMX: true, Port: 2587, Relay: "smart"}
			if got := s.deliver(s.mail("a@x.test"), hop); got != c.want {
				t.Fatalf("got %q, want %q", got, c.want)
			}
			if sent := c.server.said("MAIL"); (sent > 0) != strings.HasPrefix(c.want, taken) {
				t.Errorf("%d MAIL", sent)
			}
			if st := s.transport.Deliver(t.Context(), s.mail("a@x.test"), hop); c.tls != (st[0].TLS != "") {
				t.Errorf("status tells %+v", st[0])
			}
		})
	}
}

func TestLMTP(t *testing.T) {
	srv := &server{lmtp: true, caps: []string{"PIPELINING"}, replies: map[string]string{"END": "452 4.2.2 full"}}
	s := newSite(t, netOf{"192.0.2.1:24": srv, "/run/lmtp": {lmtp: true}}, nil)
	hop := mailflow.NextHop{Transport: "lmtp", Domain: "[192.0.2.1]", NoMX: true}
	if got := s.deliver(s.mail("a@x.test", "b@x.test"), hop); got != "4 452 4.2.2 [192.0.2.1]; 1 250 2.0.0 [192.0.2.1]" {
		t.Error(got)
	}
	if srv.said("LHLO ME.TEST") != 1 {
		t.Error("no LHLO")
	}
	if got := s.deliver(s.mail("a@x.test"), mailflow.NextHop{Transport: "lmtp", Domain: "unix:/run/lmtp", NoMX: true}); got != "1 250 2.0.0 localhost" {
		t.Error(got)
	}
}

func TestParameters(t *testing.T) {
	srv := &server{caps: []string{"PIPELINING", "8BITMIME", "DSN", "SIZE 1000000", "MT-PRIORITY", "DELIVERBY"}}
	s := newSite(t, netOf{mx1: srv}, nil)
	m := s.mail("a@two.test")
	m.EightBit, m.Return, m.EnvID, m.Priority = true, smtp.ReturnHeaders, "id+1", 3
	m.DeliverBy = &smtp.DeliverBy{Within: time.Hour, Return: true}
	m.Received = time.Now().Add(-time.Minute)
	m.Recipients[0].Notify, m.Recipients[0].Original = smtp.NotifySuccess, "rfc822;o@two.test"
	st := s.transport.Deliver(t.Context(), m, byMX("two.test"))
	if st[0].Action != mailflow.Relayed || !st[0].PassedOn {
		t.Fatalf("%+v", st[0])
	}
	all := strings.Join(srv.log, "\n")
	for _, want := range []string{"BODY=8BITMIME", "RET=HDRS", "ENVID=id+2B1", "MT-PRIORITY=3", "BY=35", ";R", "NOTIFY=SUCCESS", "ORCPT=rfc822;o@two.test", "SIZE="} {
		if !strings.Contains(all, want) {
			t.Errorf("no %s in\n%s", want, all)
		}
	}
}

func TestDeliverByNotSupported(t *testing.T) {
	srv := &server{caps: []string{"DSN"}}
	s := newSite(t, netOf{mx1: srv}, nil)
	m := s.mail("a@two.test")
	m.DeliverBy = &smtp.DeliverBy{Within: time.Hour, Return: true}
	if got := s.deliver(m, byMX("two.test")); got != "5 554 5.3.3 us" {
		t.Error(got)
	}
	m.DeliverBy.Return = false
	st := s.transport.Deliver(t.Context(), m, byMX("two.test"))
	if st[0].Action != mailflow.Relayed || st[0].PassedOn || srv.said("RCPT TO:<A@TWO.TEST> NOTIFY=FAILURE,DELAY") != 1 {
		t.Errorf("%+v\n%s", st[0], strings.Join(srv.log, "\n"))
	}
}

func TestContextEnds(t *testing.T) {
	s := newSite(t, netOf{mx1: {}}, func(o *Options) {
		o.Dial = netOf{}.dial
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	st := s.transport.Deliver(ctx, s.mail("a@two.test"), byMX("two.test"))
	if st[0].Action != mailflow.Delayed || !st[0].LocalMTA {
		t.Errorf("%+v", st[0])
	}
	// The question outlives who asked it; wait for its answer.
	if _, err := s.transport.options.Resolver.Lookup(t.Context(), "two.test", dns.TypeMX); err != nil {
		t.Error(err)
	}
}

func BenchmarkDeliver(b *testing.B) {
	srv := &server{caps: []string{"PIPELINING"}}
	t := &testing.T{}
	s := newSite(t, netOf{mx1: srv}, nil)
	defer s.names.Close()
	defer s.transport.Close()
	m := s.mail("a@two.test")
	b.ReportAllocs()
	for b.Loop() {
		if st := s.transport.Deliver(b.Context(), m, byMX("two.test")); st[0].Action != mailflow.Relayed {
			b.Fatal(st[0].Reply)
		}
	}
}
