package message

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func crlf(s string) []byte { return []byte(strings.ReplaceAll(s, "\n", "\r\n")) }

// shape prints the tree in one line: types and the octets of each leaf.
func shape(b []byte, p *Part) string {
	s := p.MediaType()
	switch {
	case p.Multipart():
		var c []string
		for _, q := range p.Children {
			c = append(c, shape(b, q))
		}
		s += "(" + strings.Join(c, " ") + ")"
	case p.Message != nil:
		s += "[" + shape(b, p.Message.Root) + "]"
	default:
		s += fmt.Sprintf(":%q/%d", b[p.Body.Start:p.Body.End], p.Lines)
	}
	return s
}

func TestStructure(t *testing.T) {
	for _, c := range []struct {
		name, in, want string
		defects        Defects
	}{
		{"empty", "", `text/plain:""/0`, DefectHeaderEnd},
		{"header only", "Subject: x\n", `text/plain:""/0`, DefectHeaderEnd},
		{"header without line end", "Subject: x", `text/plain:""/0`, DefectHeaderEnd},
		{"empty line only", "\n", `text/plain:""/0`, 0},
		{"body only", "hello\nyou", `text/plain:"hello\r\nyou"/2`, DefectHeaderEnd},
		{"plain", "Subject: x\n\nhello\n", `text/plain:"hello\r\n"/1`, 0},
		{"no line end", "Subject: x\n\nhello", `text/plain:"hello"/1`, 0},
		{"junk ends header", "Subject: x\nno field here\nTo: a@b\n\nx\n", `text/plain:"no field here\r\nTo: a@b\r\n\r\nx\r\n"/4`, DefectHeaderEnd},
		{"mailbox line", "From alice Mon Nov 23\nSubject: x\n\nb\n", `text/plain:"b\r\n"/1`, DefectHeaderJunk},
		{"two parts", "Content-Type: multipart/mixed; boundary=b\n\npreamble\n--b\n\none\n--b\nContent-Type: text/html\n\n\ntwo\n\n--b--\nepilogue\n",
			`multipart/mixed(text/plain:"one"/1 text/html:"\r\ntwo\r\n"/2)`, 0},
		{"white space behind boundary", "Content-Type: multipart/mixed; boundary=b\n\n--b \t\n\none\n--b-- \n", `multipart/mixed(text/plain:"one"/1)`, 0},
		{"longer line is no boundary", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\n--bc\n--b-\n--\n-\n--b--", `multipart/mixed(text/plain:"--bc\r\n--b-\r\n--\r\n-"/4)`, 0},
		{"missing end", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n", `multipart/mixed(text/plain:"one\r\n"/1)`, DefectMultipartEnd},
		{"empty parts", "Content-Type: multipart/mixed; boundary=b\n\n--b\n--b\n\n--b\n\n\n--b--\n",
			`multipart/mixed(text/plain:""/0 text/plain:""/0 text/plain:""/0)`, DefectHeaderEnd},
		{"inner end missing", "Content-Type: multipart/mixed; boundary=out\n\n--out\nContent-Type: multipart/alternative; boundary=in\n\n--in\n\na\n--out\n\nb\n--out--\n",
			`multipart/mixed(multipart/alternative(text/plain:"a"/1) text/plain:"b"/1)`, DefectMultipartEnd},
		{"boundary within the header of a part", "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/html\n--b\n\nx\n--b--\n",
			`multipart/mixed(text/html:""/0 text/plain:"x"/1)`, DefectHeaderEnd},
		{"no boundary parameter", "Content-Type: multipart/mixed\n\n--b\n\nx\n--b--\n", `text/plain:"--b\r\n\r\nx\r\n--b--\r\n"/4`, DefectBoundary},
		{"boundary never found", "Content-Type: multipart/mixed; boundary=q\n\nx\n", `text/plain:"x\r\n"/1`, DefectBoundary | DefectMultipartEnd},
		{"only the end is found", "Content-Type: multipart/mixed; boundary=q\n\nx\n--q--\n", `text/plain:"x\r\n--q--\r\n"/2`, DefectBoundary},
		{"digest", "Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: in\n\nx\n--b--\n", `multipart/digest(message/rfc822[text/plain:"x"/1])`, 0},
		{"message", "Content-Type: message/rfc822\n\nSubject: in\nContent-Type: text/html\n\nx\n", `message/rfc822[text/html:"x\r\n"/1]`, 0},
		{"empty message in a part", "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\n--b--\n", `multipart/mixed(message/rfc822[text/plain:""/0])`, DefectHeaderEnd},
		{"encoded message", "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\neA==\n", `application/octet-stream:"eA==\r\n"/1`, DefectEncoding},
		{"same boundary inside", "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--b--\n--b\n\ny\n--b--\n",
			`multipart/mixed(multipart/mixed(text/plain:"x"/1) text/plain:"y"/1)`, 0},
		{"after the end nothing opens", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--b--\n--b\n\ny\n", `multipart/mixed(text/plain:"x"/1)`, 0},
		{"boundary with comment and quotes", "Content-Type: multipart/mixed (c); boundary=\"a b\\\"c\"\n\n--a b\"c\n\nx\n--a b\"c--\n", `multipart/mixed(text/plain:"x"/1)`, 0},
		{"type unreadable", "Content-Type: foo\n\nx\n", `text/plain:"x\r\n"/1`, DefectContentType},
		{"unknown encoding", "Content-Transfer-Encoding: rot13\n\nx\n", `text/plain:"x\r\n"/1`, DefectEncoding},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := crlf(c.in)
			m := mustParse(t, b)
			checkTree(t, m, int64(len(b)))
			checkStored(t, m)
			if got := shape(b, m.Root); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if m.Defects != c.defects {
				t.Errorf("defects %q, want %q", defectNames(m.Defects), defectNames(c.defects))
			}
		})
	}
}

func TestOctetDefects(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     Defects
		eight    bool
	}{
		{"clean", "A: b\r\n\r\nx\r\n", 0, false},
		{"bare LF", "A: b\r\n\r\nx\n", DefectBareLF, false},
		{"bare CR", "A: b\r\n\r\nx\ry\r\n", DefectBareCR, false},
		{"CR CR LF", "A: b\r\n\r\nx\r\r\n", DefectBareCR, false},
		{"NUL", "A: b\r\n\r\nx\x00\r\n", DefectNUL, false},
		{"998 octets", "A: b\r\n\r\n" + strings.Repeat("x", 998) + "\r\n", 0, false},
		{"999 octets", "A: b\r\n\r\n" + strings.Repeat("x", 999) + "\r\n", DefectLongLine, false},
		{"UTF-8 in header", "A: ü\r\n\r\nx\r\n", 0, true},
		{"Latin-1 in header", "A: \xfc\r\n\r\nx\r\n", DefectHeaderEightBit, true},
		{"8 bit in body", "A: b\r\n\r\n\xfc\r\n", 0, true},
		{"two Froms", "From: a@b\r\nFrom: c@d\r\n\r\n", DefectRepeatedField, false},
		{"date", "Date: yesterday\r\n\r\n", DefectDate, false},
		{"address", "To: somebody\r\n\r\n", DefectAddress, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, size := range []int{1, 3, 1 << 20} {
				m, err := parseChunks([]byte(c.in), func() int { return size })
				if err != nil {
					t.Fatal(err)
				}
				if m.Defects != c.want || m.EightBit != c.eight {
					t.Errorf("in chunks of %d: %q %v, want %q %v", size, defectNames(m.Defects), m.EightBit, defectNames(c.want), c.eight)
				}
			}
		})
	}
}

func parseChunks(b []byte, size func() int) (*Message, error) {
	p := NewParser(Limits{})
	for len(b) > 0 {
		n := min(max(size(), 1), len(b))
		p.Write(bytes.Clone(b[:n])) // the parser may keep nothing of it
		b = b[n:]
	}
	return p.Close()
}

// TestChunks parses foreign and random messages in random chunks: the result is that of
// one chunk.
func TestChunks(t *testing.T) {
	var corpus [][]byte
	for _, b := range vectors(t) {
		corpus = append(corpus, b)
	}
	for _, seed := range fuzzSeeds() {
		corpus = append(corpus, []byte(seed))
	}
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SampledFrom(corpus).Draw(t, "message")
		if rapid.Bool().Draw(t, "random") {
			b = randomMessage(t)
		}
		want, wantErr := parseChunks(b, func() int { return len(b) })
		most := rapid.SampledFrom([]int{1, 3, 20, 200, 2000}).Draw(t, "most")
		got, err := parseChunks(b, func() int { return rapid.IntRange(1, most).Draw(t, "chunk") })
		if (err != nil) != (wantErr != nil) {
			t.Fatalf("%v, in one chunk %v", err, wantErr)
		}
		if err == nil && dump(got) != dump(want) {
			t.Fatalf("%q\n%s\nin one chunk:\n%s", b, dump(got), dump(want))
		}
	})
}

// randomMessage strings lines together that matter to the parser.
func randomMessage(t *rapid.T) []byte {
	line := rapid.SampledFrom([]string{"", "--a", "--a--", "--b", "--b--", "--ab", "-", "--", "text", " folded", "From me", "Subject: =?utf-8?q?x?=",
		"Content-Type: multipart/mixed; boundary=a", "Content-Type: multipart/digest; boundary=b", "Content-Type: message/rfc822",
		"Content-Type: text/html", "Content-Transfer-Encoding: base64", strings.Repeat("x", 1300), "--a" + strings.Repeat(" ", 1300),
		"X: " + strings.Repeat("y", 3000), "--" + strings.Repeat("z", 1251), "\r", "x\r", "\x00ü\xff"})
	eol := rapid.SampledFrom([]string{"\r\n", "\r\n", "\r\n", "\n", ""})
	var b []byte
	for range rapid.IntRange(0, 40).Draw(t, "lines") {
		b = append(b, line.Draw(t, "line")...)
		b = append(b, eol.Draw(t, "eol")...)
	}
	return b
}

// TestParts numbers parts as the example of RFC 9051, 6.4.5.1, does.
func TestParts(t *testing.T) {
	b := crlf(`Content-Type: multipart/mixed; boundary=0

--0
Content-Type: text/plain

1
--0
Content-Type: application/octet-stream

2
--0
Content-Type: message/rfc822

Content-Type: multipart/mixed; boundary=3

--3
Content-Type: text/plain

3.1
--3
Content-Type: application/octet-stream

3.2
--3--
--0
Content-Type: multipart/mixed; boundary=4

--4
Content-Type: image/gif

4.1
--4
Content-Type: message/rfc822

Content-Type: multipart/mixed; boundary=42

--42
Content-Type: text/plain

4.2.1
--42
Content-Type: multipart/alternative; boundary=422

--422
Content-Type: text/plain

4.2.2.1
--422
Content-Type: text/richtext

4.2.2.2
--422--
--42--
--4--
--0--
`)
	m := mustParse(t, b)
	checkStored(t, m)
	for _, path := range [][]int{{1}, {2}, {3, 1}, {3, 2}, {4, 1}, {4, 2, 1}, {4, 2, 2, 1}, {4, 2, 2, 2}} {
		want := strings.Trim(strings.ReplaceAll(fmt.Sprint(path), " ", "."), "[]")
		p := m.Part(path...)
		if p == nil {
			t.Errorf("no part %s", want)
			continue
		}
		if got := string(b[p.Body.Start:p.Body.End]); got != want {
			t.Errorf("part %s is %q", want, got)
		}
	}
	for _, path := range [][]int{{0}, {5}, {1, 1}, {3, 3}, {4, 2, 2, 3}, {4, 1, 1}, {-1}} {
		if m.Part(path...) != nil {
			t.Errorf("there is a part %v", path)
		}
	}
	if p := m.Part(4, 2); p == nil || p.Message == nil {
		t.Error("part 4.2 is no message")
	}
}

func TestHeaderTooLarge(t *testing.T) {
	field := "X: " + strings.Repeat("y", 70) + "\r\n"
	for _, c := range []struct {
		name, in string
		want     error
	}{
		{"1000 fields", strings.Repeat("A: b\r\n", 1000) + "\r\nbody", nil},
		{"1001 fields", strings.Repeat("A: b\r\n", 1001) + "\r\nbody", ErrHeaderTooLarge},
		{"1001 lines of one field", "A: b\r\n" + strings.Repeat(" c\r\n", 1001) + "\r\nbody", nil},
		{"1 MB in lines", "A: b\r\n" + strings.Repeat(" "+field, HeaderOctetsMax/len(field)+1) + "\r\nbody", ErrHeaderTooLarge},
		{"10 MB line", "A: " + strings.Repeat("x", 10<<20) + "\r\n\r\nbody", ErrHeaderTooLarge},
		{"10 MB line without end", "A: " + strings.Repeat("x", 10<<20), ErrHeaderTooLarge},
		{"10 MB line that is no field", strings.Repeat("x", 10<<20), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, size := range []int{1000, 32 << 10, 20 << 20} {
				if _, err := parseChunks([]byte(c.in), func() int { return size }); !errors.Is(err, c.want) {
					t.Errorf("in chunks of %d: %v, want %v", size, err, c.want)
				}
			}
		})
	}
}

// TestHostile parses what was made to cost time or memory. Each must be done in a time
// that only a linear parser reaches, with a margin of an order of magnitude.
func TestHostile(t *testing.T) {
	nested := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
		}
		return b.String()
	}
	for _, c := range []struct {
		name, in string
		check    func(*testing.T, *Message)
	}{
		{"100,000 nested multiparts", nested(100_000), func(t *testing.T, m *Message) {
			if !m.Defects.Has(DefectDepth) {
				t.Error("no defect")
			}
		}},
		{"100 open boundaries, lines that nearly match", nested(99) + "\r\n" + strings.Repeat("--b\r\n", 1<<20), nil},
		{"million parts", "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n\r\n", 1_000_000), func(t *testing.T, m *Message) {
			if n := len(m.Root.Children); n >= PartsMax || n < PartsMax-2 || !m.Defects.Has(DefectParts) {
				t.Errorf("%d parts, %s", n, defectNames(m.Defects))
			}
		}},
		{"million digest parts", "Content-Type: multipart/digest; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n\r\n", 1_000_000), nil},
		{"nested messages", strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 100_000), func(t *testing.T, m *Message) {
			if !m.Defects.Has(DefectDepth) {
				t.Error("no defect")
			}
		}},
		{"comments", "To: " + strings.Repeat("(", 1<<19) + "\r\n\r\n", nil},
		{"angles", "To: " + strings.Repeat("<", 1<<19) + "\r\n\r\n", nil},
		{"angles and commas", "To: " + strings.Repeat("<a,", 1<<18) + "\r\n\r\n", nil},
		{"routes", "To: " + strings.Repeat("<@,", 1<<18) + "\r\n\r\n", nil},
		{"at signs", "To: " + strings.Repeat("a@", 1<<18) + "\r\n\r\n", nil},
		{"quotes", "To: " + strings.Repeat(`"`, 1<<19) + "\r\n\r\n", nil},
		{"words and angles", "To: " + strings.Repeat(`a <b@c> `, 1<<16) + "\r\n\r\n", nil},
		{"groups", "To: " + strings.Repeat(`a:;`, 1<<18) + "\r\n\r\n", func(t *testing.T, m *Message) {
			if len(m.To) > AddressesMax+1 {
				t.Errorf("%d entries", len(m.To))
			}
		}},
		{"dots", "To: " + strings.Repeat(`a . `, 1<<17) + "\r\n\r\n", nil},
		{"word starts", "Subject: " + strings.Repeat("=?a?q?x", 1<<17) + "\r\n\r\n", nil},
		{"words of many charsets", "Subject: " + strings.Repeat("=?a?q?x?= =?b?q?x?= ", 1<<15) + "\r\n\r\n", nil},
		{"parameters", "Content-Type: text/plain" + strings.Repeat("; a*0*=x", 1<<16) + "\r\n\r\n", func(t *testing.T, m *Message) {
			if !m.Defects.Has(DefectParams) || len(m.Root.Params) > ParamsMax {
				t.Errorf("%d parameters", len(m.Root.Params))
			}
		}},
		{"message ids", "References: " + strings.Repeat("<", 1<<18) + strings.Repeat("<a@b>", 1<<17) + "\r\n\r\n", func(t *testing.T, m *Message) {
			if len(m.References) > ReferencesMax {
				t.Errorf("%d references", len(m.References))
			}
		}},
		{"folds", "Subject: a\r\n" + strings.Repeat(" \r\n", 1<<18) + "\r\n", nil},
		{"HTML", "Content-Type: text/html\r\n\r\n" + strings.Repeat("<a <!--&", 1<<20), nil},
		{"summary of parts", "Content-Type: multipart/mixed; boundary=b\r\n\r\n" +
			strings.Repeat("--b\r\nContent-Description: "+strings.Repeat("x", 4000)+"\r\n\r\n", 5000), func(t *testing.T, m *Message) {
			if n := len(m.AppendBinary(nil)); n > 2*SummaryMax || !m.Defects.Has(DefectSummary) {
				t.Errorf("%d octets stored, %s", n, defectNames(m.Defects))
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			start := time.Now()
			m, err := parseChunks([]byte(c.in), func() int { return 64 << 10 })
			if err != nil {
				t.Fatal(err)
			}
			took := time.Since(start)
			if took > 10*time.Second {
				t.Errorf("%d octets took %v", len(c.in), took)
			}
			checkTree(t, m, int64(len(c.in)))
			if c.check != nil {
				c.check(t, m)
			}
			if _, err := Decode(m.AppendBinary(nil)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestPreview(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"plain", "\nHello  you,\n\tand\u00a0you\n", "Hello you, and you"},
		{"quoted-printable", "Content-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\nGr=FC=\n=DFe\n", "Grüße"},
		{"base64", "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\nR3LDvMOfZQ==\n", "Grüße"},
		{"HTML", "Content-Type: text/html\n\n<html><head><title>no</title><style>p{}</style></head><body><p>Hello&nbsp;&amp; <b>you</b><br>there</p>\n", "Hello & you there"},
		{"plain before HTML", "Content-Type: multipart/alternative; boundary=b\n\n--b\nContent-Type: text/html\n\n<p>html\n--b\n\nplain\n--b--\n", "plain"},
		{"HTML when plain is empty", "Content-Type: multipart/alternative; boundary=b\n\n--b\n\n \n--b\nContent-Type: text/html\n\n<p>html\n--b--\n", "html"},
		{"no attachment", "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Disposition: attachment\n\nno\n--b\n\nyes\n--b--\n", "yes"},
		{"padding is left out", "Content-Type: text/html; charset=utf-8\n\n<div>Hi\u034f\u200c\u00ad\u200c there\u202e</div>\n", "Hi there"},
		{"cut at a character", "Content-Type: text/plain; charset=utf-8\n\n" + strings.Repeat("ü", 300), strings.Repeat("ü", 128)},
		{"UTF-16", "Content-Type: text/plain; charset=utf-16le\nContent-Transfer-Encoding: base64\n\nSABpAA==\n", "Hi"},
		{"none", "Content-Type: image/gif\n\nGIF89a", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := mustParse(t, crlf(c.in)).Preview; got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestHasAttachment(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     bool
	}{
		{"text", "\nx\n", false},
		{"attached text", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--b\nContent-Disposition: attachment\n\ny\n--b--\n", true},
		{"PDF", "Content-Type: application/pdf\n\nx\n", true},
		{"image in related", "Content-Type: multipart/related; boundary=b\n\n--b\nContent-Type: text/html\n\nx\n--b\nContent-Type: image/png\nContent-ID: <a@b>\n\ny\n--b--\n", false},
		{"signature", "Content-Type: multipart/signed; boundary=b\n\n--b\n\nx\n--b\nContent-Type: application/pgp-signature; name=s.asc\n\ny\n--b--\n", false},
		{"bounce", "Content-Type: multipart/report; boundary=b\n\n--b\n\nx\n--b\nContent-Type: message/delivery-status\n\ny\n--b\nContent-Type: message/rfc822\n\ny: z\n\n--b--\n", false},
		{"forwarded message", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--b\nContent-Type: message/rfc822\n\ny: z\n\n--b--\n", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := mustParse(t, crlf(c.in)).HasAttachment; got != c.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestSummary(t *testing.T) {
	m := mustParse(t, crlf(`Received: a
Received: b
From: Alice <alice@example.org>
Sender: bob@example.org
Reply-To: list@example.org
To: a@example.org
To: b@example.org
Cc: Friends: c@example.org, d@example.org;
Subject: =?iso-8859-1?q?Gr=FC=DFe?=
	from here
Date: Mon, 23 Nov 2026 17:00:00 +0100
Message-ID: <1@example.org> (comment)
In-Reply-To: Your message of Monday <0@example.org>
References: <a@b> <c@d>
	<broken
	@e>
Auto-Submitted: Auto-Replied; x=y
Precedence: Bulk
List-Id: A list <list.example.org>
MIME-Version: 1.0

x
`))
	if m.Received != 2 || !m.List || m.ListID != "list.example.org" || m.Precedence != "bulk" || m.AutoSubmitted != "auto-replied" {
		t.Errorf("%+v", m)
	}
	if m.Subject != "Grüße from here" || m.RawSubject != "=?iso-8859-1?q?Gr=FC=DFe?=\tfrom here" && m.RawSubject != "=?iso-8859-1?q?Gr=FC=DFe?= from here" {
		t.Errorf("subject %q raw %q", m.Subject, m.RawSubject)
	}
	if m.MessageID != "<1@example.org>" || fmt.Sprint(m.InReplyTo) != "[<0@example.org>]" || fmt.Sprint(m.References) != "[<a@b> <c@d> <broken@e>]" {
		t.Errorf("ids %q %q %q", m.MessageID, m.InReplyTo, m.References)
	}
	if !m.Date.Equal(time.Date(2026, 11, 23, 16, 0, 0, 0, time.UTC)) {
		t.Errorf("date %v", m.Date)
	}
	if len(m.To) != 2 || len(m.Cc) != 4 || len(m.Cc.Mailboxes()) != 2 || m.Cc[0].Kind != KindGroupStart || m.Cc[0].Name != "Friends" {
		t.Errorf("to %v cc %v", m.To, m.Cc)
	}
	checkStored(t, m)
}

func TestShift(t *testing.T) {
	fields := []byte("Return-Path: <a@b>\r\n")
	for name, b := range vectors(t) {
		if bytes.HasPrefix(b, []byte(" ")) {
			continue
		}
		m := mustParse(t, b)
		m.Shift(int64(len(fields)))
		want := mustParse(t, append(bytes.Clone(fields), b...))
		want.Fields, m.Fields = 0, 0
		if dump(m) != dump(want) {
			t.Errorf("%s:\n%s\nwant:\n%s", name, dump(m), dump(want))
		}
		r := Prepend(fields, bytes.NewReader(b))
		got, err := io.ReadAll(io.NewSectionReader(r, 0, m.Size))
		if err != nil || !bytes.Equal(got, append(bytes.Clone(fields), b...)) {
			t.Errorf("%s: read %q, %v", name, got, err)
		}
	}
}
