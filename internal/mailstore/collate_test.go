package mailstore

import (
	"strings"
	"testing"
)

func TestSortSubject(t *testing.T) {
	for _, c := range []struct {
		name, subject, base string
		reply               bool
	}{
		{"plain", "Hello", "Hello", false},
		{"blanks", " a\t b \r\n c ", "a b c", false},
		{"re", "Re: Hello", "Hello", true},
		{"re with blanks", "RE  :   Hello", "Hello", true},
		{"fw and fwd", "Fw: FWD: Hello", "Hello", true},
		{"other languages stay", "AW: Hello", "AW: Hello", false},
		{"re with blob", "Re [2]: Hello", "Hello", true},
		{"blob before re", "[list] Re: Hello", "Hello", true},
		{"blobs before re", "[a] [b]Re: [c] Hello", "Hello", true},
		{"blob", "[list] Hello", "Hello", false},
		{"blob alone is the subject", "[list]", "[list]", false},
		{"last blob is the subject", "[a] [b] [c]", "[c]", false},
		{"blob with blob in it is none", "[a[b]] c", "[a[b]] c", false},
		{"no end of the blob", "[a Hello", "[a Hello", false},
		{"trailer", "Hello (fwd) (FWD)", "Hello", true},
		{"trailer alone", "(fwd)", "", true},
		{"fwd header", "[Fwd: Hello]", "Hello", true},
		{"fwd header inside", "[fwd: [fwd: re: Hello (fwd)]]", "Hello", true},
		{"fwd blob that something follows", "[fwd: a] b", "b", false},
		{"re alone", "Re:", "", true},
		{"word that begins so", "Reply: x", "Reply: x", false},
		{"re without colon", "re", "re", false},
		{"colon later", "Re x: y", "Re x: y", false},
		{"empty", "", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if base, reply := sortSubject(c.subject); base != c.base || reply != c.reply {
				t.Errorf("got %q %v, want %q %v", base, reply, c.base, c.reply)
			}
		})
	}
	// Not quadratic: this takes minutes if each blob looks at all behind it.
	if base, _ := sortSubject(strings.Repeat("[]", 1<<19)); base != "[]" {
		t.Errorf("many blobs: %q", base)
	}
	if base, _ := sortSubject(strings.Repeat("[fwd:", 1<<17) + strings.Repeat("]", 1<<17)); base != "" {
		t.Errorf("many forwards: %d octets", len(base))
	}
}

func FuzzSortSubject(f *testing.F) {
	for _, s := range []string{"Re: [x] y (fwd)", "[fwd: [a] re: b]", "\xff re: \x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		base, _ := sortSubject(s)
		again, reply := sortSubject(base)
		if again != base || reply {
			t.Errorf("%q has the base %q, which has %q", s, base, again)
		}
	})
}

func TestCasemap(t *testing.T) {
	for _, c := range [][2]string{
		{"Hello", "HELLO"},
		{"ünï", "U\u0308NI\u0308"},
		{"\u01c4", "Dz\u030c"}, // the example of RFC 5051, 2
		{"ｆｕｌｌ", "FULL"},
		{"straße", "STRAßE"},
	} {
		if got := casemap(c[0]); got != c[1] {
			t.Errorf("%q: %q, want %q", c[0], got, c[1])
		}
	}
}

func TestNormalMessageID(t *testing.T) {
	for _, c := range [][2]string{
		{`<"01KF8JCEOCBS0045PS"@xxx.yyy.com>`, "01KF8JCEOCBS0045PS@xxx.yyy.com"}, // RFC 5256, 3
		{"<01KF8JCEOCBS0045PS@xxx.yyy.com>", "01KF8JCEOCBS0045PS@xxx.yyy.com"},
		{`<"a\"b"@c>`, `a"b@c`},
		{"no id", ""},
		{"<>", ""},
	} {
		if got := normalMessageID(c[0]); got != c[1] {
			t.Errorf("%s: %q, want %q", c[0], got, c[1])
		}
	}
}
