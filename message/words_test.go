package message

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

func TestDecodeWords(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"nothing", "plain text", "plain text"},
		{"RFC 2047 example", "=?US-ASCII?Q?Keith_Moore?= <moore@cs.utk.edu>", "Keith Moore <moore@cs.utk.edu>"},
		{"q", "=?ISO-8859-1?Q?Patrik_F=E4ltstr=F6m?=", "Patrik Fältström"},
		{"b", "=?ISO-8859-1?B?SWYgeW91IGNhbiByZWFkIHRoaXMgeW8=?= =?ISO-8859-2?B?dSB1bmRlcnN0YW5kIHRoZSBleGFtcGxlLg==?=", "If you can read this you understand the example."},
		{"space between words", "=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=", "ab"},
		{"underscore keeps the space", "=?ISO-8859-1?Q?a_?= =?ISO-8859-2?Q?b?=", "a b"},
		{"word and text", "=?ISO-8859-1?Q?a?= b", "a b"},
		{"text and word", "(a =?ISO-8859-1?Q?b?=)", "(a b)"},
		{"character cut in two", "=?utf-8?B?w7w=?= =?utf-8?B?wg==?= =?utf-8?B?qQ==?=", "ü©"},
		{"shift state across words", "=?iso-2022-jp?B?GyRCJCI=?= =?iso-2022-jp?B?JCQbKEI=?=", "あい"},
		{"language", "=?utf-8*de?Q?Gr=C3=BC=C3=9Fe?=", "Grüße"},
		{"no padding", "=?utf-8?B?w7w?=", "ü"},
		{"unknown charset", "=?x-nobody?Q?=C3=BC?=", "ü"},
		{"not closed", "=?utf-8?Q?abc", "=?utf-8?Q?abc"},
		{"other encoding", "=?utf-8?X?abc?=", "=?utf-8?X?abc?="},
		{"empty", "a =?utf-8?Q??= b", "a  b"},
		{"line end inside", "=?utf-8?Q?a=0D=0ABcc:_x?=", "a  Bcc: x"},
		{"Latin-1 in the raw", "Gr\xfc\xdfe", "Grüße"},
		{"UTF-7", "=?utf-7?Q?Gr+APwA3w-e?=", "Grüße"},
		{"koi8-r", "=?koi8-r?B?8NLJ18XU?=", "Привет"},
		{"gb2312", "=?gb2312?B?xOO6ww==?=", "你好"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := DecodeWords(c.in); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestParams(t *testing.T) {
	for _, c := range []struct {
		name, in, want string
		ok             bool
	}{
		{"token and quoted", `text/plain; charset=UTF-8; name="a \"b\" c"`, `charset=UTF-8 name=a "b" c`, true},
		{"RFC 2231 continuations", `message/external-body; access-type=URL; URL*0="ftp://"; URL*1="cs.utk.edu/pub/moore/bulk-mailer.tar"`,
			`access-type=URL url=ftp://cs.utk.edu/pub/moore/bulk-mailer.tar`, true},
		{"RFC 2231 charset", `application/x-stuff; title*=us-ascii'en-us'This%20is%20%2A%2A%2Afun%2A%2A%2A`, `title=This is ***fun***`, true},
		{"RFC 2231 both", `application/x-stuff; title*0*=us-ascii'en'This%20is%20even%20more%20; title*1*=%2A%2A%2Afun%2A%2A%2A%20; title*2="isn't it!"`,
			`title=This is even more ***fun*** isn't it!`, true},
		{"out of order", `a/b; n*1=y; n*0=x`, `n=xy`, true},
		{"gap", `a/b; n*0=x; n*2=z`, `n=x`, true},
		{"extended beats plain", `a/b; filename="?.txt"; filename*=utf-8''%C3%BC.txt`, `filename=ü.txt`, true},
		{"encoded word", `a/b; name="=?utf-8?Q?=C3=BC?="`, `name=ü`, true},
		{"split in the middle of a character", `a/b; n*0*=utf-8''%C3; n*1*=%BC`, `n=ü`, true},
		{"no quotes", `a/b; filename=my file.txt; x=y`, `filename=my file.txt x=y`, true},
		{"no semicolon", `text/html charset=utf-8`, `charset=utf-8`, true},
		{"comments", `text/plain (a); (b) charset (c) = (d) x (e)`, `charset=x`, true},
		{"twice", `a/b; x=1; x=2`, `x=1`, true},
		{"empty ones", `a/b;; ;x=1;`, `x=1`, true},
		{"no value", `a/b; x; y=1`, `y=1`, false},
		{"no end of quotes", `a/b; x="abc`, `x=abc`, true},
		{"boundary stays raw", `multipart/mixed; boundary="=?utf-8?Q?x?="`, `boundary==?utf-8?Q?x?=`, true},
		{"bad percent", `a/b; x*=utf-8''%zz%4`, `x=%zz%4`, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &tokens{s: c.in}
			s.until("; \t(")
			params, ok := s.params(ParamsMax)
			var got []string
			for _, p := range params {
				got = append(got, p.Name+"="+p.Value)
			}
			if strings.Join(got, " ") != c.want || ok != c.ok {
				t.Errorf("got %q %v, want %q %v", got, ok, c.want, c.ok)
			}
		})
	}
}

func TestAddressList(t *testing.T) {
	for _, c := range []struct {
		name, in, want string
		ok             bool
	}{
		{"bare", "a@b.org", "[|a|b.org]", true},
		{"name", "Alice B. Carol <a@b.org>", "[Alice B. Carol|a|b.org]", true},
		{"quoted name", `"B, \"A\"" <a@b.org>`, `[B, "A"|a|b.org]`, true},
		{"comment as name", "a@b.org (Alice)", "[Alice|a|b.org]", true},
		{"list with empty entries", "a@b, ,c@d,", "[|a|b] [|c|d]", true},
		{"RFC 5322 A.1.3", "A Group:Ed Jones <c@a.test>,joe@where.test,John <jdoe@one.test>;", "{A Group} [Ed Jones|c|a.test] [|joe|where.test] [John|jdoe|one.test] {}", true},
		{"empty group", "Undisclosed recipients:;", "{Undisclosed recipients} {}", true},
		{"RFC 5322 A.5", "Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>", "[Pete|pete|silly.test]", true},
		{"RFC 5322 A.6.1 route", "Mary <@node.test:mary@example.net>", "[Mary|mary|example.net via @node.test]", true},
		{"RFC 5322 A.6.3 spaces", "John <jdoe@one.test>, jdoe@test . example, x@ a. b", "[John|jdoe|one.test] [|jdoe|test.example] [|x|a.b]", true},
		{"quoted local part", `"john doe"@b.org`, "[|john doe|b.org]", true},
		{"quoted local part in brackets", `X <"john doe"@b.org>`, "[X|john doe|b.org]", true},
		{"literal", "a@[IPv6:::1]", "[|a|[IPv6:::1]]", true},
		{"encoded name", "=?utf-8?Q?M=C3=BCller?= <m@b.org>", "[Müller|m|b.org]", true},
		{"two encoded words", "=?utf-8?Q?M=C3?= =?utf-8?Q?=BCller?= <m@b.org>", "[Müller|m|b.org]", true},
		{"Latin-1 name", "M\xfcller <m@b.org>", "[Müller|m|b.org]", true},
		{"UTF-8 address", "<mü@bücher.example>", "[|mü|bücher.example]", true},
		{"address as name", "a@b.org <a@b.org>", "[a@b.org|a|b.org]", false},
		{"no domain", "postmaster", "[|postmaster|]", false},
		{"semicolons", "a@b; c@d", "[|a|b] [|c|d]", false},
		{"no closing bracket", "A <a@b, c@d", "[A|a|b] [|c|d]", false},
		{"group without end", "g: a@b", "{g} [|a|b] {}", false},
		{"empty brackets", "<>", "[||]", true},
		{"two @", "a@b@c", "[|a|b@c]", false},
		{"words before a bare address", "Alice a@b", "[Alice|a|b]", true},
		{"empty", "", "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			list, ok := parseAddressList(c.in, AddressesMax)
			var got []string
			for _, a := range list {
				switch a.Kind {
				case KindGroupStart:
					got = append(got, "{"+a.Name+"}")
				case KindGroupEnd:
					got = append(got, "{}")
				default:
					s := a.Name + "|" + a.Local + "|" + a.Host
					if a.Route != "" {
						s += " via " + a.Route
					}
					got = append(got, "["+s+"]")
				}
			}
			if strings.Join(got, " ") != c.want || ok != c.ok {
				t.Errorf("got %s %v, want %s %v", got, ok, c.want, c.ok)
			}
		})
	}
}

func TestParseDate(t *testing.T) {
	for in, want := range map[string]string{
		"Fri, 21 Nov 1997 09:55:06 -0600":                 "1997-11-21T09:55:06-06:00",
		"21 Nov 97 09:55:06 GMT":                          "1997-11-21T09:55:06Z",
		"Fri, 21 Nov 1997 09(comment):   55  :  06 -0600": "",
		"Mon, 1 Jan 2024 00:00 +0000":                     "2024-01-01T00:00:00Z",
		"Mon, 01 Jan 2024 00:00:00 EST":                   "2024-01-01T00:00:00-05:00",
		"Mon, 01 Jan 2024 00:00:00 -0000 (UTC)":           "2024-01-01T00:00:00Z",
		"01-Jan-2024 10:11:12 +0130":                      "2024-01-01T10:11:12+01:30",
		"Mon,1 Jan 2024 10:11:12":                         "2024-01-01T10:11:12Z",
		"Monday, 1 January 2024 10:11:12 +0000":           "2024-01-01T10:11:12Z",
		"Mon Jan  1 10:11:12 2024":                        "2024-01-01T10:11:12Z",
		"1 Jan 24 10.11.12 +0000":                         "2024-01-01T10:11:12Z",
		"1 Jan 103 10:11:12 +0000":                        "2003-01-01T10:11:12Z",
		"31 Dec 2016 23:59:60 +0000":                      "2017-01-01T00:00:00Z",
		"30 Feb 2024 10:11:12 +0000":                      "",
		"1 Jan 2024 25:00:00 +0000":                       "",
		"1 Foo 2024 10:00:00 +0000":                       "",
		"yesterday":                                       "",
		"":                                                "",
		"1 Jan 2024 10:11:12 +9999":                       "2024-01-01T10:11:12Z",
	} {
		got, ok := ParseDate(in)
		if ok != (want != "") || ok && got.Format(time.RFC3339) != want {
			t.Errorf("%q: %v %v, want %s", in, got, ok, want)
		}
		if ok {
			if back, ok := ParseDate(FormatDate(got)); !ok || !back.Equal(got) {
				t.Errorf("%q: printed as %q, read as %v", in, FormatDate(got), back)
			}
		}
	}
}

func TestDecoder(t *testing.T) {
	long := strings.Repeat("x", 3*decodeChunk)
	for _, c := range []struct{ name, encoding, in, want string }{
		{"base64", "base64", "SGVsbG8s\r\nIHlvdQ==\r\n", "Hello, you"},
		{"base64 in odd lines", "base64", "S\r\nGV\nsbG8\r\n", "Hello"},
		{"base64 with foreign octets", "base64", "SG*Vs bG8\x00=", "Hello"},
		{"base64 joined after padding", "base64", "SGVsbG8=SGVsbG8=", "HelloHello"},
		{"base64 without padding", "base64", "SGVsbG8", "Hello"},
		{"base64 with a single symbol left", "base64", "SGVsbG8sA", "Hello,"},
		{"base64 nothing", "base64", "\r\n", ""},
		{"base64 only padding", "base64", "====", ""},
		{"quoted-printable", "quoted-printable", "a=3Db=\r\nc =20 \r\n=C3=bc\r\n", "a=bc  \r\nü\r\n"},
		{"quoted-printable malformed", "quoted-printable", "a=zz=4\r\n=", "a=zz=4\r\n"},
		{"quoted-printable LF", "quoted-printable", "a=\nb\nc", "ab\nc"},
		{"quoted-printable endless line", "quoted-printable", long + "=3D" + long, long + "=" + long},
		{"8bit", "8bit", "a=3D", "a=3D"},
		{"unknown", "x-uuencode", "begin", "begin"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, r := range []io.Reader{strings.NewReader(c.in), &slowReader{[]byte(c.in)}} {
				got, err := io.ReadAll(NewDecoder(r, c.encoding))
				if err != nil || string(got) != c.want {
					t.Errorf("got %.200q %v, want %.200q", got, err, c.want)
				}
			}
			var b bytes.Buffer
			if _, err := io.Copy(&b, NewDecoder(strings.NewReader(c.in), c.encoding)); err != nil || b.String() != c.want {
				t.Errorf("copied %.200q %v, want %.200q", b.String(), err, c.want)
			}
		})
	}
}

func TestCharsets(t *testing.T) {
	for _, c := range []struct{ charset, in, want string }{
		{"utf-8", "ü\xff!", "ü\uFFFD!"},
		{"us-ascii", "ü\xfc", "üü"},
		{"", "\x80", "€"},
		{"x-unknown", "\x80", "€"},
		{"ISO-8859-1", "\xfc", "ü"},
		{"latin1", "\xfc", "ü"},
		{"windows-1251", "\xcf", "П"},
		{"cp1252", "\x80", "€"},
		{"iso-8859-15", "\xa4", "€"},
		{"shift_jis", "\x82\xa0", "あ"},
		{"iso-2022-jp", "\x1b$B$\"\x1b(B", "あ"},
		{"iso-2022-kr", "x", "x"},
		{"gb18030", "\xc4\xe3", "你"},
		{"big5", "\xa7A", "你"},
		{"euc-kr", "\xc7\xd1", "한"},
		{"utf-7", "a +AOQ-b +2D3eAA- +- +", "a äb 😀 + "},
		{"utf-7", "+2D0-x", "\uFFFDx"},
		{"utf-16", "\xff\xfeH\x00", "H"},
		{"utf-16be", "\x00H", "H"},
		{"cp437", "\x81", "ü"},
	} {
		for _, r := range []io.Reader{strings.NewReader(c.in), &slowReader{[]byte(c.in)}} {
			got, err := io.ReadAll(NewCharsetReader(r, c.charset))
			if err != nil || string(got) != c.want {
				t.Errorf("%s: %q is %q %v, want %q", c.charset, c.in, got, err, c.want)
			}
		}
	}
}

func TestHTML(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"text", "a  b\nc", "a b c"},
		{"blocks", "<p>a</p><p>b<br/>c</p><div>d</div>", "a\nb\nc\nd"},
		{"inline", "a<b>b</b>c <i>d</i>", "abc d"},
		{"entities", "&lt;&amp;&#252;&#xFC;&uuml;&nbsp;&nosuch;&", "<&üüü &nosuch;&"},
		{"no semicolon", "&ampx &copy 2", "&x © 2"},
		{"script", "a<script>if (a<b) document.write('</p>')</script>b<STYLE>x</STYLE >c", "abc"},
		{"comment", "a<!-- <p> -- > -->b<!-->c<!---->d", "abcd"},
		{"conditional", "a<!--[if mso]>no<![endif]-->b<![if !mso]>c<![endif]>", "abc"},
		{"attribute with >", `a<img alt="x>y" title='">'>b`, "a b"},
		{"no tag", "1 < 2 <3 <<b>x", "1 < 2 <3 <x"},
		{"not closed", "a<b", "a"},
		{"declaration", "<!DOCTYPE html><?xml version='1'?>a", "a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := string(HTMLText([]byte(c.in))); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			got, err := io.ReadAll(NewHTMLReader(&slowReader{[]byte(c.in)}))
			if err != nil || string(got) != c.want {
				t.Errorf("in small chunks %q %v, want %q", got, err, c.want)
			}
		})
	}
}

func TestUnfold(t *testing.T) {
	for in, want := range map[string]string{
		" a\r\n b\r\n\tc ": "a b\tc",
		"a\n b":            "a b",
		"a\rb\x00c":        "a b c",
		"\r\n \r\n ":       "",
	} {
		if got := unfold([]byte(in)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func ExampleFields() {
	for f := range Fields([]byte("Subject: one\r\n two\r\nX : y\r\n\r\nbody")) {
		fmt.Printf("%s|%s\n", f.Name, f.Unfolded())
	}
	// Output:
	// Subject|one two
	// X|y
}

func TestParseParams(t *testing.T) {
	for _, c := range []struct{ in, first, params string }{
		{"text/plain; charset=utf-8", "text/plain", "charset=utf-8"},
		{" (c) attachment ; FileName*=utf-8''b%C3%A4d.com; size=3", "attachment", "filename=bäd.com size=3"},
		{"auto-replied", "auto-replied", ""},
		{"", "", ""},
		{"; x=y", "", "x=y"},
		{"a b=c", "a", "b=c"},
	} {
		first, params := ParseParams(c.in)
		var got []string
		for _, p := range params {
			got = append(got, p.Name+"="+p.Value)
		}
		if first != c.first || strings.Join(got, " ") != c.params {
			t.Errorf("%q: %q, %q", c.in, first, got)
		}
	}
}
