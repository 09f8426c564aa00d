package route

import (
	"context"
	"errors"
	"testing"

	"postroad/address"
	"postroad/internal/directory"
	"postroad/internal/mailflow"
	"postroad/smtp"
)

func TestParseNextHop(t *testing.T) {
	for _, c := range []struct {
		in   string
		want mailflow.NextHop // zero: an error
	}{
		{"example.net", mailflow.NextHop{Transport: "smtp", Domain: "example.net"}},
		{"example.net:587", mailflow.NextHop{Transport: "smtp", Domain: "example.net", Port: 587}},
		{"smtp:[Mail.example.net]", mailflow.NextHop{Transport: "smtp", Domain: "mail.example.net", NoMX: true}},
		{"[192.0.2.1]:2525", mailflow.NextHop{Transport: "smtp", Domain: "[192.0.2.1]", Port: 2525, NoMX: true}},
		{"[2001:db8::1]", mailflow.NextHop{Transport: "smtp", Domain: "[IPv6:2001:db8::1]", NoMX: true}},
		{"[IPv6:2001:db8::1]:25", mailflow.NextHop{Transport: "smtp", Domain: "[IPv6:2001:db8::1]", Port: 25, NoMX: true}},
		{"lmtp:[127.0.0.1]:24", mailflow.NextHop{Transport: "lmtp", Domain: "[127.0.0.1]", Port: 24, NoMX: true}},
		{"lmtp:dovecot.example.net", mailflow.NextHop{Transport: "lmtp", Domain: "dovecot.example.net", NoMX: true}},
		{"lmtp:unix:/run/dovecot/lmtp", mailflow.NextHop{Transport: "lmtp", Domain: "unix:/run/dovecot/lmtp", NoMX: true}},
		{"", mailflow.NextHop{}},
		{"[", mailflow.NextHop{}},
		{"[]", mailflow.NextHop{}},
		{"[a.test]x", mailflow.NextHop{}},
		{"a.test:", mailflow.NextHop{}},
		{"a.test:0", mailflow.NextHop{}},
		{"a.test:65536", mailflow.NextHop{}},
		{"a b", mailflow.NextHop{}},
		{"lmtp:", mailflow.NextHop{}},
	} {
		t.Run(c.in, func(t *testing.T) {
			got, err := ParseNextHop(c.in)
			if (err != nil) != (c.want == mailflow.NextHop{}) || err == nil && got != c.want {
				t.Fatalf("got %+v, %v", got, err)
			}
			if err == nil {
				if again, err := ParseNextHop(Format(got)); err != nil || again != got {
					t.Fatalf("%q gives %+v, %v", Format(got), again, err)
				}
			}
		})
	}
}

func FuzzParseNextHop(f *testing.F) {
	for _, s := range []string{"a.test", "[::1]:25", "lmtp:unix:/x", "smtp:[a]", "[IPv6:::1]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		hop, err := ParseNextHop(s)
		if err != nil {
			return
		}
		if again, err := ParseNextHop(Format(hop)); err != nil || again != hop {
			t.Fatalf("%q is %+v, printed %q, read %+v, %v", s, hop, Format(hop), again, err)
		}
	})
}

// fakeDirectory knows the domain ours.test.
type fakeDirectory struct{ err error }

func (d fakeDirectory) Resolve(_ context.Context, a address.Address) (directory.Target, error) {
	switch {
	case d.err != nil:
		return directory.Target{}, d.err
	case a.Domain == "ours.test" && a.Local == "nobody":
		return directory.Target{Kind: directory.Unknown}, nil
	case a.Domain == "ours.test" || a.IsPostmaster():
		return directory.Target{Kind: directory.Mailbox}, nil
	}
	return directory.Target{}, nil
}

func TestRoute(t *testing.T) {
	direct := Options{Directory: fakeDirectory{}, NextHops: map[string]NextHop{
		"dovecot.ours.test": {Hop: "lmtp:[127.0.0.1]:24"},
		".corp.test":        {Hop: "[gw.corp.test]", Name: "gw"},
		".b.corp.test":      {Hop: "[gw2.corp.test]"},
		"bücher.test":       {Hop: "[b.test]"},
	}}
	relayed := Options{Directory: fakeDirectory{}, RelayHost: "[smart.test]:587", RelayName: "smart"}
	for _, c := range []struct {
		name    string
		options Options
		to      address.Address
		want    string // "local", a next hop and its credentials, or a reply
	}{
		{"ours", direct, address.Address{Local: "a", Domain: "ours.test"}, "local"},
		{"ours, nobody there", direct, address.Address{Local: "nobody", Domain: "ours.test"}, "local"},
		{"postmaster", direct, address.Address{Local: "postmaster"}, "local"},
		{"by MX", direct, address.Address{Local: "a", Domain: "else.test"}, "else.test "},
		{"next hop of the domain", direct, address.Address{Local: "a", Domain: "dovecot.ours.test"}, "lmtp:[127.0.0.1]:24 "},
		{"next hop from above", direct, address.Address{Local: "a", Domain: "x.y.corp.test"}, "[gw.corp.test] gw"},
		{"nearest next hop from above", direct, address.Address{Local: "a", Domain: "x.b.corp.test"}, "[gw2.corp.test] "},
		{"the domain itself is not below itself", direct, address.Address{Local: "a", Domain: "corp.test"}, "corp.test "},
		{"international", direct, address.Address{Local: "a", Domain: "bücher.test"}, "[b.test] "},
		{"literal", direct, address.Address{Local: "a", Domain: "[192.0.2.1]"}, "[192.0.2.1] "},
		{"literal of no known kind", direct, address.Address{Local: "a", Domain: "[x25:1]"}, "550 5.1.2 The address literal cannot be used"},
		{"null", direct, address.Address{}, "553 5.1.3 The null path is no recipient"},
		{"no domain", direct, address.Address{Local: "x"}, "550 5.1.2 The address has no domain"},
		{"relay host", relayed, address.Address{Local: "a", Domain: "else.test"}, "[smart.test]:587 smart"},
		{"ours before the relay host", relayed, address.Address{Local: "a", Domain: "ours.test"}, "local"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := New(c.options)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			route, err := r.Route(t.Context(), c.to)
			var e *smtp.Error
			switch {
			case errors.As(err, &e):
				got = e.Reply.String()
			case err != nil:
				t.Fatal(err)
			case route.Local:
				got = "local"
			default:
				got = Format(route.Hop) + " " + route.Hop.Relay
			}
			if got != c.want {
				t.Fatalf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestRouteErrors(t *testing.T) {
	broken := errors.New("disk on fire")
	r, err := New(Options{Directory: fakeDirectory{broken}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Route(t.Context(), address.Address{Local: "a", Domain: "b.test"}); !errors.Is(err, broken) {
		t.Fatalf("got %v", err)
	}
	for name, o := range map[string]Options{
		"relay host": {RelayHost: "["},
		"domain":     {NextHops: map[string]NextHop{"a b": {Hop: "x.test"}}},
		"hop":        {NextHops: map[string]NextHop{"a.test": {Hop: ""}}},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
