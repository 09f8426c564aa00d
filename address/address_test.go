package address

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, in   string
		want       Address
		text, wire string // String and ASCII, when they are not in
	}{
		{"plain", "Alice@Example.ORG", Address{"Alice", "example.org"}, "Alice@example.org", "Alice@example.org"},
		{"atext", "a!#$%&'*+-/=?^_`{|}~9.b@b", Address{"a!#$%&'*+-/=?^_`{|}~9.b", "b"}, "", ""},
		{"quoted", `"a b"@c`, Address{"a b", "c"}, "", ""},
		{"quoted without need", `"a.b"@c`, Address{"a.b", "c"}, "a.b@c", "a.b@c"},
		{"quoted pair", `"a\"\\\b"@c`, Address{`a"\b`, "c"}, `"a\"\\b"@c`, `"a\"\\b"@c`},
		{"quoted @", `"a@b"@c`, Address{"a@b", "c"}, "", ""},
		{"quoted dots", `"a..b."@c`, Address{"a..b.", "c"}, "", ""},
		{"quoted nothing", `""@c`, Address{"", "c"}, "", ""},
		{"IPv4", "a@[192.0.2.1]", Address{"a", "[192.0.2.1]"}, "", ""},
		{"IPv6", "a@[ipv6:2001:DB8:0::1]", Address{"a", "[IPv6:2001:db8::1]"}, "a@[IPv6:2001:db8::1]", "a@[IPv6:2001:db8::1]"},
		{"IPv6 with IPv4", "a@[IPv6:::ffff:192.0.2.1]", Address{"a", "[IPv6:::ffff:192.0.2.1]"}, "", ""},
		{"UTF-8 local part", "mü@b", Address{"mü", "b"}, "", ""},
		{"U-label", "a@Bücher.example", Address{"a", "bücher.example"}, "a@bücher.example", "a@xn--bcher-kva.example"},
		{"decomposed U-label", "a@bu\u0308cher.example", Address{"a", "bücher.example"}, "a@bücher.example", "a@xn--bcher-kva.example"},
		{"A-label", "a@XN--BCHER-KVA.example", Address{"a", "bücher.example"}, "a@bücher.example", "a@xn--bcher-kva.example"},
		{"no A-label", "a@xn--ü-.example", Address{}, "", ""},
		{"looks like an A-label", "a@xn--zzzzzz99999.example", Address{"a", "xn--zzzzzz99999.example"}, "", ""},
		{"digits", "1@2.3.4", Address{"1", "2.3.4"}, "", ""},
		{"local part of 64", strings.Repeat("a", 64) + "@b", Address{strings.Repeat("a", 64), "b"}, "", ""},
		{"empty", "", Address{}, "", ""},
		{"no @", "a", Address{}, "", ""},
		{"no local part", "@b", Address{}, "", ""},
		{"no domain", "a@", Address{}, "", ""},
		{"two @", "a@b@c", Address{}, "", ""},
		{"dot at start", ".a@b", Address{}, "", ""},
		{"dot at end", "a.@b", Address{}, "", ""},
		{"two dots", "a..b@c", Address{}, "", ""},
		{"space", "a b@c", Address{}, "", ""},
		{"space behind", "a@b ", Address{}, "", ""},
		{"comment", "a(x)@b", Address{}, "", ""},
		{"half quoted", `"a"b@c`, Address{}, "", ""},
		{"quote without end", `"a@b`, Address{}, "", ""},
		{"control", "a\x01@b", Address{}, "", ""},
		{"quoted control", "\"a\x01\"@b", Address{}, "", ""},
		{"quoted CR LF", "\"a\r\nb\"@c", Address{}, "", ""},
		{"escaped control", "\"a\\\x01\"@b", Address{}, "", ""},
		{"NUL", "a\x00b@c", Address{}, "", ""},
		{"DEL", "\"\x7f\"@c", Address{}, "", ""},
		{"C1 control", "a\u0085@b", Address{}, "", ""},
		{"line separator", "a\u2028@b", Address{}, "", ""},
		{"not UTF-8", "a\xff@b", Address{}, "", ""},
		{"domain not UTF-8", "a@b\xff", Address{}, "", ""},
		{"empty label", "a@b..c", Address{}, "", ""},
		{"dot behind domain", "a@b.", Address{}, "", ""},
		{"dot before domain", "a@.b", Address{}, "", ""},
		{"hyphen before", "a@-b", Address{}, "", ""},
		{"hyphen behind", "a@b-", Address{}, "", ""},
		{"underscore", "a@b_c", Address{}, "", ""},
		{"full width dot", "a@b\uff0ec", Address{"a", "b.c"}, "a@b.c", "a@b.c"},
		{"bad literal", "a@[1.2.3]", Address{}, "", ""},
		{"literal with leading zero", "a@[192.0.2.01]", Address{}, "", ""},
		{"literal without tag", "a@[::1]", Address{}, "", ""},
		{"literal with zone", "a@[IPv6:fe80::1%eth0]", Address{}, "", ""},
		{"IPv4 with tag", "a@[IPv6:192.0.2.1]", Address{}, "", ""},
		{"unknown tag", "a@[x:y]", Address{}, "", ""},
		{"open literal", "a@[192.0.2.1", Address{}, "", ""},
		{"text behind literal", "a@[192.0.2.1]x", Address{}, "", ""},
		{"local part of 65", strings.Repeat("a", 65) + "@b", Address{}, "", ""},
		{"label of 64", "a@" + strings.Repeat("a", 64), Address{}, "", ""},
		{"domain of 256", "a@" + strings.Repeat("a.", 127) + "aa", Address{}, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := Parse(c.in)
			if (err != nil) != (c.want == Address{}) || a != c.want {
				t.Fatalf("got %q %v", a, err)
			}
			if err != nil {
				if !errors.Is(err, ErrSyntax) && !errors.Is(err, ErrLong) {
					t.Errorf("error %v", err)
				}
				return
			}
			text, wire := c.text, c.wire
			if text == "" {
				text, wire = c.in, c.in
			}
			if a.String() != text || a.ASCII() != wire {
				t.Errorf("String %q ASCII %q, want %q %q", a.String(), a.ASCII(), text, wire)
			}
			for _, s := range []string{text, wire} {
				if back, err := Parse(s); err != nil || back != a {
					t.Errorf("%q is read as %q %v", s, back, err)
				}
			}
		})
	}
}

func TestParsePath(t *testing.T) {
	long := strings.Repeat("a", 100) + "@b"
	for _, c := range []struct {
		name, in string
		want     Address
		octets   int // 0: an error
	}{
		{"null", "<>", Address{}, 2},
		{"null with parameters", "<> SIZE=1", Address{}, 2},
		{"mailbox", "<a@b> SIZE=1", Address{"a", "b"}, 5},
		{"bracket in quotes", `<"a>b"@c>x`, Address{"a>b", "c"}, 9},
		{"postmaster", "<PostMaster>", Address{"postmaster", ""}, 12},
		{"postmaster somewhere", "<Postmaster@b>", Address{"Postmaster", "b"}, 14},
		{"route", "<@a,@b.c:d@e>", Address{"d", "e"}, 13},
		{"route of one", "<@a:d@e>", Address{"d", "e"}, 8},
		{"VERP over 64 octets", "<" + long + ">", Address{strings.Repeat("a", 100), "b"}, len(long) + 2},
		{"no brackets", "a@b", Address{}, 0},
		{"no end", "<a@b", Address{}, 0},
		{"only an end", "<a@b x>", Address{}, 0},
		{"space first", "< a@b>", Address{}, 0},
		{"space only", "< >", Address{}, 0},
		{"no domain", "<a>", Address{}, 0},
		{"route without mailbox", "<@a:>", Address{}, 0},
		{"route without colon", "<@a>", Address{}, 0},
		{"route with empty domain", "<@a,:b@c>", Address{}, 0},
		{"route before postmaster", "<@a:postmaster>", Address{}, 0},
		{"route to null", "<@a:>", Address{}, 0},
		{"CR LF", "<a@b\r\n>", Address{}, 0},
		{"two brackets", "<<a@b>>", Address{}, 0},
		{"empty", "", Address{}, 0},
		{"open only", "<", Address{}, 0},
		{"path of 257", "<" + strings.Repeat("a", 253) + "@b>", Address{}, 0},
		{"endless route", "<" + strings.Repeat("@a,", 1000) + "@a:b@c>", Address{}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, n, err := ParsePath(c.in)
			if a != c.want || n != c.octets || (err != nil) != (c.octets == 0) {
				t.Errorf("got %q %d %v", a, n, err)
			}
		})
	}
	if a := (Address{"mü", "bücher.example"}); a.Path(true) != "<mü@bücher.example>" || a.Path(false) != "<mü@xn--bcher-kva.example>" || !a.NeedsUTF8() {
		t.Error(a.Path(true), a.Path(false))
	}
	var null Address
	if null.Path(false) != "<>" || !null.IsNull() || null.Key() != "" || null.IsPostmaster() {
		t.Error("null path")
	}
	if p := (Address{Local: "postmaster"}); p.Path(false) != "<postmaster>" || !p.IsPostmaster() || p.IsNull() || p.Key() != "postmaster" {
		t.Error("postmaster")
	}
}

func TestKey(t *testing.T) {
	parse := func(s string) Address {
		a, err := Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"Alice@Example.org", "alice@example.ORG", true},
		{`"alice"@example.org`, "ALICE@example.org", true},
		{"MÜ@b", "mü@b", true},
		{"mu\u0308@b", "mü@b", true},
		{"\uff4d@b", "m@b", true}, // full width, as PRECIS maps it
		{"a@bücher.example", "a@xn--bcher-kva.example", true},
		{"alice+x@b", "alice@b", false},
		{"alice@a", "alice@b", false},
		{`"a@b"@c`, "a@b", false},
		{`"A B"@c`, `"a b"@c`, true},
		{`"Ä B"@c`, `"ä b"@c`, true}, // no username for the space, so lower case
	} {
		a, b := parse(c.a), parse(c.b)
		if a.Equal(b) != c.same || (a.Key() == b.Key()) != c.same || (a.Canonical() == b.Canonical()) != c.same {
			t.Errorf("%s, %s: %v %q %q", c.a, c.b, a.Equal(b), a.Key(), b.Key())
		}
	}
}

func TestSplitDetail(t *testing.T) {
	for _, c := range []struct {
		local, separator, user, detail string
		ok                             bool
	}{
		{"alice+lists", "+", "alice", "lists", true},
		{"alice+a+b", "+", "alice", "a+b", true},
		{"alice+", "+", "alice", "", true},
		{"alice", "+", "alice", "", false},
		{"+alice", "+", "+alice", "", false},
		{"alice--x", "--", "alice", "x", true},
		{"alice+x", "", "alice+x", "", false},
	} {
		user, detail, ok := Address{c.local, "b"}.SplitDetail(c.separator)
		if user != c.user || detail != c.detail || ok != c.ok {
			t.Errorf("%s at %q: %q %q %v", c.local, c.separator, user, detail, ok)
		}
	}
}

func TestParseDomain(t *testing.T) {
	for in, want := range map[string]string{"Example.ORG": "example.org", "xn--bcher-kva.de": "bücher.de", "[192.0.2.1]": "[192.0.2.1]", "a b": "", "": "", "a.": "", "a@b": ""} {
		if got, err := ParseDomain(in); got != want || (err != nil) != (want == "") {
			t.Errorf("%q: %q %v", in, got, err)
		}
	}
	if ip, ok := LiteralIP("[IPv6:2001:db8::1]"); !ok || ip != netip.MustParseAddr("2001:db8::1") {
		t.Error(ip, ok)
	}
	for _, s := range []string{"example.org", "[x]", "", "[192.0.2.1]x"} {
		if _, ok := LiteralIP(s); ok {
			t.Errorf("%q is a literal", s)
		}
	}
}

// TestLocalRoundTrip prints and reads any local part without control characters.
func TestLocalRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := Address{rapid.StringOfN(rapid.RuneFrom([]rune(` !"@.\<>,;:()[]aZ0üЖ`)), 0, 30, LocalMax).Draw(t, "local"), "example.org"}
		for _, s := range []string{a.String(), a.ASCII()} {
			back, err := Parse(s)
			if err != nil || back != a {
				t.Fatalf("%q printed as %q is read as %q, %v", a, s, back, err)
			}
		}
		back, n, err := ParsePath(a.Path(true) + " X=<>")
		if err != nil || back != a || n != len(a.Path(true)) {
			t.Fatalf("%q: %q %d %v", a.Path(true), back, n, err)
		}
	})
}

func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"<>", "<a@b>", `<"a\"b"@[IPv6:::1]>`, "<@a,@b:c@d>", "<Postmaster>", "<mü@bücher.example>", "<a@xn--bcher-kva>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, n, err := ParsePath(s)
		if err != nil {
			return
		}
		if n < 2 || n > len(s) || s[n-1] != '>' {
			t.Fatalf("%d octets of %q", n, s)
		}
		for _, c := range a.Local + a.Domain {
			if c < ' ' || c == 0x7f || c >= 0x80 && c < 0xa0 || c == 0xfffd && !strings.ContainsRune(s, c) {
				t.Fatalf("%q from %q", a, s)
			}
		}
		for _, path := range []string{a.Path(true), a.Path(false)} {
			back, m, err := ParsePath(path)
			if errors.Is(err, ErrLong) {
				continue // the other form of the domain, or its quotes, may be longer
			}
			if err != nil || back != a || m != len(path) {
				t.Fatalf("%q printed as %q is read as %q, %v", a, path, back, err)
			}
		}
		if !a.Equal(a.Canonical()) || a.Canonical().Key() != a.Key() {
			t.Fatalf("%q is not equal to its canonical form %q", a, a.Canonical())
		}
	})
}
