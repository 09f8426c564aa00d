package imapclient

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"

	"postroad/imap"
)

func newReader(text string) *reader {
	return &reader{b: bufio.NewReader(strings.NewReader(text))}
}

func TestResponse(t *testing.T) {
	for _, test := range []struct {
		text string
		want func(*Response) bool
	}{
		{"* OK [CAPABILITY IMAP4rev1] ready\r\n", func(r *Response) bool {
			return r.Status == imap.OK && r.Code == "CAPABILITY IMAP4rev1" && r.Text == "ready"
		}},
		{"a1 NO [TRYCREATE] no\r\n", func(r *Response) bool { return r.Tag == "a1" && r.Status == imap.NO && r.Code == "TRYCREATE" }},
		{"* BYE\r\n", func(r *Response) bool { return r.Status == imap.BYE && r.Text == "" }},
		{"+ idling\r\n", func(r *Response) bool { return r.Tag == "+" && r.Text == "idling" }},
		{"+\r\n", func(r *Response) bool { return r.Tag == "+" && r.Text == "" }},
		{"* 172 EXISTS\r\n", func(r *Response) bool { return r.Name == "EXISTS" && r.Number == 172 }},
		{"* SEARCH\r\n", func(r *Response) bool { return r.Name == "SEARCH" && len(r.Values) == 0 }},
		{"* SEARCH 1 2 \r\n", func(r *Response) bool { return len(r.Values) == 2 && r.Values[1].Number() == 2 }},
		{"* LIST (\\Noselect) \"/\" {3}\r\nfoo\r\n", func(r *Response) bool {
			return r.Values[0].List[0].Text == `\Noselect` && r.Values[2].Text == "foo" && r.Values[2].Kind == String
		}},
		{"* 1 FETCH (FLAGS () BODY[HEADER.FIELDS (TO)] {4}\r\nTo: UID 5 X NIL)\r\n", func(r *Response) bool {
			i := r.Items()
			return i["BODY[HEADER.FIELDS (TO)]"].Text == "To: " && i["UID"].Number() == 5 && i["X"].Kind == Nil
		}},
		{"* 1 FETCH (BINARY[1]<0> ~{2}\r\n\x00\x01)\r\n", func(r *Response) bool { return r.Items()["BINARY[1]<0>"].Text == "\x00\x01" }},
		{"* THREAD (2)(3 6 (4 23)(44 7 96))\r\n", func(r *Response) bool {
			return len(r.Values) == 0 && string(imap.AppendThreads(nil, r.Threads)) == "(2)(3 6 (4 23)(44 7 96))"
		}},
		{"* THREAD \r\n", func(r *Response) bool { return r.Name == "THREAD" && len(r.Threads) == 0 }},
		{"* ESEARCH (TAG \"B01\") UID ADDTO (0 32768:32769)\r\n", func(r *Response) bool {
			return len(r.Values) == 4 && r.Values[3].List[1].Text == "32768:32769"
		}},
	} {
		r, err := newReader(test.text).next()
		if err != nil || !test.want(r) {
			t.Errorf("%q: %+v, %v", test.text, r, err)
		}
	}
	for _, bad := range []string{
		"*\r\n", "* \r\n", "* 1 FETCH (\r\n", "* LIST (a\r\n", "* 1 FETCH (BODY[ \r\n", "* LIST {x}\r\n", "* LIST {5}\r\nab", "\r\n",
		"a1 FETCH\r\n", "* OK text", "* LIST \"a\r\n", "* 1 FETCH (a))\r\n", "* LIST " + strings.Repeat("(", depthMax+2),
		"* LIST {99999999999999999999}\r\n", "* LIST {-1}\r\n",
		"* THREAD (1\r\n", "* THREAD 1\r\n", "* THREAD (1)) \r\n",
	} {
		if r, err := newReader(bad).next(); err == nil {
			t.Errorf("%q was taken for %+v", bad, r)
		}
	}
	if _, err := newReader("* LIST {20000000}\r\n").next(); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a literal over the limit: %v", err)
	}
	for _, text := range []string{strings.Repeat("x", 200), `"` + strings.Repeat("x", 200), strings.Repeat(`"xxxxxxxxx" `, 20)} {
		p := newReader("* LIST " + text)
		p.most = 100
		if _, err := p.next(); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%.20s… over the limit: %v", text, err)
		}
	}
}

// TestLiteralFunc streams one literal and leaves half of it.
func TestLiteralFunc(t *testing.T) {
	p := newReader("* 1 FETCH (UID 3 BODY[] {6}\r\nabcdef FLAGS ())\r\n* 2 EXISTS\r\n")
	p.literal = func(seq uint32, item string, size int64, r io.Reader) error {
		b := make([]byte, 3)
		if _, err := io.ReadFull(r, b); err != nil || string(b) != "abc" || seq != 1 || item != "BODY[]" || size != 6 {
			t.Errorf("%q, %d, %s, %d, %v", b, seq, item, size, err)
		}
		return nil
	}
	r, err := p.next()
	if err != nil || r.Items()["FLAGS"].Kind != List || r.Items()["BODY[]"].Size != 6 {
		t.Fatalf("%+v, %v", r, err)
	}
	if r, err = p.next(); err != nil || r.Name != "EXISTS" {
		t.Fatalf("%+v, %v", r, err)
	}
}

// FuzzResponse reads whatever a server may send.
func FuzzResponse(f *testing.F) {
	for _, s := range []string{
		"* OK [X Y] ready\r\n", "* 1 FETCH (FLAGS (\\Seen) BODY[] {3}\r\nabc)\r\n", "* LIST () NIL \"a\\\"b\"\r\n", "+ \r\n",
		"* ESEARCH (TAG \"a\") UID ALL 1:3\r\na OK\r\n", "* 5 FETCH (ENVELOPE (NIL NIL ((NIL NIL \"a\" \"b\"))))\r\n",
		"* THREAD (2)(3 6 (4 23)(44 7 96))\r\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p := newReader(text)
		p.literal = func(_ uint32, _ string, size int64, r io.Reader) error {
			_, err := io.Copy(io.Discard, r)
			return err
		}
		for {
			r, err := p.next()
			if err != nil {
				return
			}
			if r.Tag == "" || r.Status == "" && r.Name == "" && r.Tag != "+" {
				t.Fatalf("%+v", r)
			}
			for _, v := range r.Values {
				_ = v.String()
			}
			r.Items()
		}
	})
}
