package message

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestHeaderText(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"plain", "  hello  world", "hello  world"},
		{"a word", "=?utf-8?Q?gr=C3=BC=C3=9Fe?= an =?iso-8859-1?B?9g==?=", "grüße an ö"},
		{"between words white space goes", "=?utf-8?Q?a?=  =?utf-8?Q?b?=", "ab"},
		{"words without space between", "=?utf-8?Q?a?==?utf-8?Q?b?=", "ab"},
		{"not alone", "x=?utf-8?Q?a?= =?utf-8?Q?b?=y", "x=?utf-8?Q?a?= =?utf-8?Q?b?=y"},
		{"a charset that nobody knows", "=?klingon?Q?a?=", "=?klingon?Q?a?="},
		{"controls in a word", "=?utf-8?Q?a=0D=0A=00b?=", "ab"},
		{"composed", "=?utf-8?Q?u=CC=88?= u\u0308", "ü ü"},
		{"not UTF-8", "gr\xfc\xdfe", "grüße"},
		{"broken octets in a word", "=?utf-8?Q?a=FF?=", "a\uFFFD"},
		{"false starts", "=?=?=?", "=?=?=?"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := HeaderText(c.in); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestHeaderRaw(t *testing.T) {
	for in, want := range map[string]string{" a\r\n b": " a\r\n b", "\x00a\xff\xfeb": "a\uFFFDb", "ü": "ü"} {
		if got := HeaderRaw([]byte(in)); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestMessageIDForms(t *testing.T) {
	for _, c := range []struct {
		in   string
		want []string
	}{
		{"<a@b>", []string{"a@b"}},
		{" <a@b>\t(comment <no@id>) <c@ d>", []string{"a@b", "c@d"}},
		{"Your message of <x@y>", []string{"x@y"}},
		{`<"(q"@b> <c@d>`, []string{`"(q"@b`, "c@d"}},
		{"none", nil},
		{"<>", nil},
		{"", nil},
	} {
		if got := ParseMessageIDs(c.in); !cmp.Equal(got, c.want) {
			t.Errorf("%q: %q, want %q", c.in, got, c.want)
		}
	}
	if got := ParseMessageIDs(strings.Repeat("<a@b> ", 1000)); len(got) != ReferencesMax {
		t.Errorf("%d of a thousand ids", len(got))
	}
}

func TestParseURLs(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     []string
	}{
		{"one", "<mailto:list-request@host.com?subject=subscribe>", []string{"mailto:list-request@host.com?subject=subscribe"}},
		{"two with comments", "(Use this command to join the list)\t<mailto:list-manager@host.com?body=subscribe%20list>, <http://x/ (no comment)>(FTP)",
			[]string{"mailto:list-manager@host.com?body=subscribe%20list", "http://x/(nocomment)"}},
		{"folded within", "<http://x/ y>", []string{"http://x/y"}},
		{"NO", "NO (posting not allowed on this list)", nil},
		{"no end", "<http://x", nil},
		{"empty", "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := ParseURLs(c.in); !cmp.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
	if got := ParseURLs(strings.Repeat("<a:b>,", 1000)); len(got) != URLsMax {
		t.Errorf("%d of a thousand URLs", len(got))
	}
}

func FuzzForms(f *testing.F) {
	f.Add("=?utf-8?Q?a=0D?= (c <x@y>) <a:b>, \"=?\" <")
	f.Add("(((((<<<>>>")
	f.Add("=?utf-8?B?4pyT?==?utf-7?Q?+AAo-?=")
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 4096 {
			return
		}
		if text := HeaderText(s); !utf8.ValidString(text) {
			t.Errorf("%q: text is %q", s, text)
		}
		if raw := HeaderRaw([]byte(s)); !utf8.ValidString(raw) || strings.Contains(raw, "\x00") {
			t.Errorf("%q: raw is %q", s, raw)
		}
		for _, id := range ParseMessageIDs(s) {
			if id == "" || strings.ContainsAny(id, "<> \t") {
				t.Errorf("%q: msg-id %q", s, id)
			}
		}
		for _, u := range ParseURLs(s) {
			if u == "" || strings.IndexFunc(u, unicode.IsSpace) == 0 {
				t.Errorf("%q: URL %q", s, u)
			}
		}
		_ = StripComments(s)
		_ = KnownCharset(s)
	})
}

// TestTextReader tells what was malformed, however small the reads are.
func TestTextReader(t *testing.T) {
	for _, c := range []struct {
		charset, in, want string
		malformed         bool
	}{
		{"utf-8", "grüße\uFFFD", "grüße\uFFFD", false},
		{"utf-8", "gr\xfc", "gr\uFFFD", true},
		{"us-ascii", "plain", "plain", false},
		{"us-ascii", "gr\xfc", "grü", true},
		{"", "grün", "grün", true},
		{"iso-8859-1", "gr\xfc", "grü", false},
		{"shift_jis", "\x82\xa0", "あ", false},
		{"shift_jis", "ab\xff", "ab\uFFFD", true},
		{"windows-1251", "\xcf", "П", false},
	} {
		r := NewTextReader(strings.NewReader(c.in), c.charset)
		var got []byte
		for p := make([]byte, 1); ; {
			n, err := r.Read(p)
			got = append(got, p[:n]...)
			if err != nil {
				break
			}
		}
		if string(got) != c.want || r.Malformed() != c.malformed {
			t.Errorf("%s %q: %q, malformed %v", c.charset, c.in, got, r.Malformed())
		}
	}
}
