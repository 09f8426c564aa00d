package message

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestBuild composes a message and parses it again.
func TestBuild(t *testing.T) {
	e := &Entity{Type: "multipart", Subtype: "mixed"}
	h := &e.Header
	h.AddAddresses("From", AddressList{{Name: "Alice Müller", Local: "alice", Host: "example.org"}})
	h.AddAddresses("To", AddressList{
		{Kind: KindGroupStart, Name: "The \"team\""}, {Name: "Bob, the builder", Local: "bob smith", Host: "example.com"},
		{Local: "carol", Host: "example.com"}, {Kind: KindGroupEnd}, {Local: "dave", Host: "example.net"}})
	h.AddText("Subject", "Grüße aus Köln und eine sehr lange Zeile, damit gefaltet werden muss, 日本語も")
	h.AddDate("Date", time.Date(2026, 11, 23, 17, 0, 0, 0, time.FixedZone("", 3600)))
	h.Add("Message-ID", "<1@example.org>")
	h.Add("MIME-Version", "1.0")
	pdf := bytes.Repeat([]byte{0, 1, 2, 0xff}, 10_000)
	long := strings.Repeat("Wort ", 300) + "Ende  \nFrom here\n.\nüber = gut\n"
	e.Parts = []*Entity{
		{Body: strings.NewReader("plain\nASCII\n")},
		{Type: "text", Subtype: "html", Body: strings.NewReader(long)},
		{Type: "application", Subtype: "pdf", Body: bytes.NewReader(pdf), Disposition: "attachment",
			DispParams: Params{{"filename", "Übersicht über alles, was in diesem Jahr geschah und noch geschehen wird.pdf"}}},
		{Type: "message", Subtype: "rfc822", Body: strings.NewReader("Subject: in\r\n\r\n\xfc\r\n")},
	}
	var out bytes.Buffer
	if _, err := e.WriteTo(&out); err != nil {
		t.Fatal(err)
	}
	b := out.Bytes()
	m := mustParse(t, b)
	if m.Defects != 0 {
		t.Errorf("defects %s", defectNames(m.Defects))
	}
	checkLines(t, b)
	if m.Subject != "Grüße aus Köln und eine sehr lange Zeile, damit gefaltet werden muss, 日本語も" {
		t.Errorf("subject %q", m.Subject)
	}
	if len(m.From) != 1 || m.From[0].Name != "Alice Müller" || m.From[0].AddrSpec() != "alice@example.org" {
		t.Errorf("from %+v", m.From)
	}
	if len(m.To) != 5 || m.To[0].Name != `The "team"` || m.To[1].Name != "Bob, the builder" || m.To[1].AddrSpec() != `"bob smith"@example.com` {
		t.Errorf("to %+v", m.To)
	}
	want := []struct{ media, encoding, charset, body string }{
		{"text/plain", "7bit", "us-ascii", "plain\r\nASCII\r\n"},
		{"text/html", "quoted-printable", "utf-8", strings.ReplaceAll(long, "\n", "\r\n")},
		{"application/pdf", "base64", "", string(pdf)},
		{"message/rfc822", "8bit", "", "Subject: in\r\n\r\n\xfc\r\n"},
	}
	for i, w := range want {
		p := m.Root.Children[i]
		body, err := io.ReadAll(p.Decoded(bytes.NewReader(b)))
		if err != nil || p.MediaType() != w.media || p.Encoding != w.encoding || p.Charset() != w.charset || string(body) != w.body {
			t.Errorf("part %d: %s %s %s %.300q %v", i, p.MediaType(), p.Encoding, p.Charset(), body, err)
		}
	}
	if name := m.Root.Children[2].Filename(); name != "Übersicht über alles, was in diesem Jahr geschah und noch geschehen wird.pdf" {
		t.Errorf("file name %q", name)
	}
	if m.Root.Encoding != "8bit" {
		t.Errorf("encoding of the whole: %s", m.Root.Encoding)
	}
}

// checkLines holds what we write to RFC 5322, 2.1.1: 78 octets in a line of the header.
func checkLines(t testing.TB, b []byte) {
	t.Helper()
	head := b[:HeaderEnd(b)]
	for _, line := range strings.Split(string(head), "\r\n") {
		if len(line) > 78 {
			t.Errorf("%d octets: %q", len(line), line)
		}
	}
	if bytes.Count(b, []byte("\n")) != bytes.Count(b, []byte("\r\n")) || bytes.Count(b, []byte("\r")) != bytes.Count(b, []byte("\r\n")) {
		t.Error("CR or LF alone")
	}
}

// TestEncodings sends random octets through each encoding and back.
func TestEncodings(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var body []byte
		if rapid.Bool().Draw(t, "text") {
			body = []byte(strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", " ", "\t", "\r\n", "=", ".", "From ", "ü", strings.Repeat("y", 75), strings.Repeat(" ", 80)}), 0, 60).Draw(t, "words"), ""))
		} else {
			body = rapid.SliceOfN(rapid.Byte(), 0, 500).Draw(t, "octets")
		}
		if rapid.Bool().Draw(t, "large") {
			body = bytes.Repeat(body, decodeChunk/(len(body)+1)*2)
		}
		text := bytes.ContainsAny(body, "\r\n")
		for _, encoding := range []string{"base64", "quoted-printable"} {
			if encoding == "quoted-printable" && !textLines(body) {
				continue
			}
			encoded, err := io.ReadAll(newEncoder(bytes.NewReader(bytes.Clone(body)), encoding, text && textLines(body)))
			if err != nil {
				t.Fatal(err)
			}
			for _, line := range bytes.Split(encoded, []byte("\r\n")) {
				if len(line) > 76 || bytes.ContainsAny(line, "\r\n") {
					t.Fatalf("%s: line %q", encoding, line)
				}
			}
			back, err := io.ReadAll(NewDecoder(bytes.NewReader(encoded), encoding))
			if err != nil || !bytes.Equal(back, body) {
				t.Fatalf("%s: %q encoded as %q is decoded as %q, %v", encoding, body, encoded, back, err)
			}
		}
	})
}

// textLines tells whether b has no CR or LF but as CRLF.
func textLines(b []byte) bool {
	n := bytes.Count(b, []byte("\r\n"))
	return bytes.Count(b, []byte("\r")) == n && bytes.Count(b, []byte("\n")) == n
}

// TestHeaderInjection: no text given to a Header becomes a field of its own.
func TestHeaderInjection(t *testing.T) {
	evil := "x\r\nBcc: victim@example.org\r\n\r\nbody\nmore\x00"
	var h Header
	h.AddText("Subject", evil)
	h.Add("X-Add", evil)
	h.AddAddresses("To", AddressList{{Name: evil, Local: evil, Host: "b"}})
	h.AddParams("Content-Type", "text/plain", Params{{"name", evil}})
	n := 0
	for f := range Fields(append(h.Bytes(), "\r\n"...)) {
		n++
		if f.Is("Bcc") || f.Name == nil {
			t.Errorf("field %q", f.Value)
		}
	}
	if n != 4 {
		t.Errorf("%d fields in %q", n, h.Bytes())
	}
}

func TestEditHeader(t *testing.T) {
	edit := func(h []byte) ([]byte, error) {
		h = RemoveFields(h, "Bcc", "x-old")
		return InsertFields(h, []byte("Date: now\r\n")), nil
	}
	for _, c := range []struct{ name, in, want string }{
		{"plain", "Bcc: a\r\n b\r\nTo: c\r\nX-OLD: d\r\n\r\nBcc: body\r\n", "To: c\r\nDate: now\r\n\r\nBcc: body\r\n"},
		{"LF", "Bcc: a\nTo: c\n\nbody\n", "To: c\nDate: now\r\n\nbody\n"},
		{"no body", "To: c\r\n", "To: c\r\nDate: now\r\n"},
		{"no line end", "To: c", "To: c\r\nDate: now\r\n"},
		{"no header", "\r\nbody", "Date: now\r\n\r\nbody"},
		{"nothing", "", "Date: now\r\n"},
		{"junk", "To: c\r\nthis is body\r\n", "To: c\r\nDate: now\r\nthis is body\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, r := range []io.Reader{strings.NewReader(c.in), &slowReader{[]byte(c.in)}} {
				got, err := io.ReadAll(EditHeader(r, 1000, edit))
				if err != nil || string(got) != c.want {
					t.Errorf("got %q %v, want %q", got, err, c.want)
				}
			}
		})
	}
	large := strings.Repeat("A: b\r\n", 2000)
	if _, err := io.ReadAll(EditHeader(strings.NewReader(large), 1000, edit)); !errors.Is(err, ErrHeaderTooLarge) {
		t.Errorf("large header: %v", err)
	}
	body := strings.Repeat("x", 100_000)
	if got, err := io.ReadAll(EditHeader(strings.NewReader(body), 1000, edit)); err != nil || string(got) != "Date: now\r\n"+body {
		t.Errorf("endless line: %.100q %v", got, err)
	}
	refused := errors.New("refused")
	if _, err := io.ReadAll(EditHeader(strings.NewReader("\r\n"), 1000, func([]byte) ([]byte, error) { return nil, refused })); err != refused {
		t.Errorf("error of edit: %v", err)
	}
}

func TestNewMessageID(t *testing.T) {
	a, b := NewMessageID("example.org"), NewMessageID("example.org")
	if a == b || len(messageIDs(a)) != 1 || !strings.HasSuffix(a, "@example.org>") {
		t.Errorf("%s %s", a, b)
	}
}

func TestAddRaw(t *testing.T) {
	for _, c := range []struct {
		name, field, value string
		ok                 bool
	}{
		{"plain", "X-A", " b", true},
		{"folded", "X-A", " b\r\n c\r\n\td", true},
		{"UTF-8", "X-A", " grün", true},
		{"empty", "X-A", "", true},
		{"a field of its own", "X-A", " b\r\nBcc: c", false},
		{"the end of the header", "X-A", " b\r\n\r\n", false},
		{"a line of white space", "X-A", " b\r\n \r\n c", false},
		{"LF", "X-A", " b\n c", false},
		{"CR", "X-A", " b\r c", false},
		{"NUL", "X-A", " b\x00", false},
		{"not UTF-8", "X-A", "\xff", false},
		{"no name", "", " b", false},
		{"a colon in the name", "X:A", " b", false},
		{"a space in the name", "X A", " b", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var h Header
			if ok := h.AddRaw(c.field, c.value); ok != c.ok || len(h.Bytes()) > 0 != ok {
				t.Fatalf("%v, wrote %q", ok, h.Bytes())
			}
			if c.ok && string(h.Bytes()) != c.field+":"+c.value+"\r\n" {
				t.Errorf("%q", h.Bytes())
			}
		})
	}
}

// TestVerbatim writes texts that come back as they were.
func TestVerbatim(t *testing.T) {
	for _, c := range []struct{ in, encoding string }{
		{"a\r\nb\r\n", "7bit"},
		{"a\r\nb", "7bit"},
		{"a\nb\n", "base64"},
		{"a\rb", "base64"},
		{"a\r", "base64"},
		{"grün\r\n", "base64"},
		{strings.Repeat("x", 2000), "base64"},
		{"", "7bit"},
	} {
		for _, multipart := range []bool{false, true} {
			leaf := &Entity{Type: "text", Subtype: "plain", Params: Params{{"charset", "utf-8"}}, Body: strings.NewReader(c.in), Verbatim: true}
			e, path := leaf, []int{1}
			if multipart {
				e, path = &Entity{Type: "multipart", Subtype: "mixed", Parts: []*Entity{leaf, {Body: strings.NewReader("x")}}}, []int{1}
			}
			var b bytes.Buffer
			if _, err := e.WriteTo(&b); err != nil {
				t.Fatal(err)
			}
			m, err := Parse(bytes.NewReader(b.Bytes()), Limits{})
			if err != nil {
				t.Fatal(err)
			}
			p := m.Part(path...)
			got, err := io.ReadAll(p.Decoded(bytes.NewReader(b.Bytes())))
			if err != nil || string(got) != c.in || p.Encoding != c.encoding {
				t.Errorf("%q in %s (multipart %v): %q %v", c.in, p.Encoding, multipart, got, err)
			}
		}
	}
}
