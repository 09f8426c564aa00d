package message

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"unicode/utf8"
)

// fuzzSeeds are messages that reach the corners of the parser.
func fuzzSeeds() []string {
	return []string{
		"",
		"\r\n",
		"Subject: x\r\n\r\nbody\r\n",
		"From: a@b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\ntwo\r\n--b--\r\nend",
		"Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: in\n\nx\n--b\n--b--\n",
		"Content-Type: text/html; charset=utf-7\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<p>+AOQ-=3D&amp;<!-- -->\r\n",
		"Content-Type: text/plain; charset*0*=iso-2022-jp''; charset*1=x; name=\"=?utf-8?b?w7w=?=\"\r\nContent-Transfer-Encoding: base64\r\n\r\nQUJD=RA==\r\n",
		"To: A <a@b>, \"x\\\"y\" <@r,@s:l@[192.0.2.1]>, g: h (i) j@k;, \xfc <\xfc@\xfc>\r\nDate: 1 Jan 70 1:2 EST\r\nReferences: <a@b><c>\r\n\r\n",
		"References: <>\r\nIn-Reply-To: < >\r\n\r\n",
		string(smallMessage()),
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range fuzzSeeds() {
		f.Add([]byte(s), byte(7))
	}
	for _, b := range vectors(f) {
		f.Add(b, byte(100))
	}
	f.Fuzz(func(t *testing.T, b []byte, chunk byte) {
		m, err := parseChunks(b, func() int { return len(b) })
		got, err2 := parseChunks(b, func() int { return int(chunk) })
		if (err != nil) != (err2 != nil) {
			t.Fatalf("%v, in chunks %v", err, err2)
		}
		if err != nil {
			return
		}
		if dump(m) != dump(got) {
			t.Fatalf("in chunks of %d:\n%s\nin one:\n%s", chunk, dump(got), dump(m))
		}
		checkTree(t, m, int64(len(b)))
		checkStored(t, m)
		if !utf8.ValidString(m.Preview) || len(m.Preview) > PreviewMax || !utf8.ValidString(m.Subject) {
			t.Fatalf("preview %q subject %q", m.Preview, m.Subject)
		}
		m.Root.Walk(func(p *Part) bool {
			text, err := io.ReadAll(p.Text(bytes.NewReader(b)))
			if err != nil || !utf8.Valid(text) {
				t.Fatalf("text %q: %v", text, err)
			}
			HTMLText(text)
			return true
		})
	})
}

func FuzzDecode(f *testing.F) {
	for _, s := range fuzzSeeds() {
		f.Add(mustParse(f, []byte(s)).AppendBinary(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Decode(b)
		Find(b, 1, 2)
		if err != nil {
			return
		}
		again, err := Decode(m.AppendBinary(nil))
		if err != nil {
			t.Fatal(err)
		}
		if dump(again) != dump(m) {
			t.Fatalf("%s\nagain:\n%s", dump(m), dump(again))
		}
	})
}

func FuzzHeader(f *testing.F) {
	f.Add([]byte("A: b\r\n c\r\nD : e\r\njunk\r\n\r\nbody"))
	f.Add([]byte("Content-Type: text/plain; a*0=b; a*1*=%fc; c\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		at := 0
		for field := range Fields(b) {
			if field.Start != at || field.End <= field.Start || field.End > len(b) {
				t.Fatalf("field %d-%d after %d", field.Start, field.End, at)
			}
			at = field.End
			if strings.ContainsAny(field.Unfolded(), "\r\n\x00") || !utf8.ValidString(field.Text()) {
				t.Fatalf("%q %q", field.Unfolded(), field.Text())
			}
			s := tokens{s: field.Unfolded()}
			s.params(ParamsMax)
			ParseDate(field.Unfolded())
		}
		end := HeaderEnd(b)
		edited, err := io.ReadAll(EditHeader(bytes.NewReader(b), len(b), func(h []byte) ([]byte, error) {
			if !bytes.Equal(h, b[:end]) {
				t.Fatalf("header %q, want %q", h, b[:end])
			}
			return h, nil
		}))
		if err != nil || !bytes.Equal(edited, b) {
			t.Fatalf("%q %v", edited, err)
		}
		m, err := parseChunks(b, func() int { return len(b) })
		if err == nil && m.Root.Header.End != int64(end) {
			t.Fatalf("header ends at %d, for the parser at %d", end, m.Root.Header.End)
		}
	})
}

func FuzzAddressList(f *testing.F) {
	for _, s := range []string{"a@b", "A B <a@b>, c@d (e)", "g: a@b, <c@d>;, e", `"q\"" <"x y"@[IPv6:::1]>`, "<@a,@b:c@d>", "a@b@c <", "=?utf-8?q?=fc?= <a@\xfc>", "a . b @ c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		groups := 0
		for _, a := range ParseAddressList(s) {
			switch a.Kind {
			case KindGroupStart:
				groups++
			case KindGroupEnd:
				groups--
			}
			if groups < 0 || groups > 1 || !utf8.ValidString(a.Name+a.Local+a.Host) {
				t.Fatalf("%+v", a)
			}
		}
		if groups != 0 && strings.Count(s, ":") < AddressesMax/2 {
			t.Fatal("a group without end")
		}
	})
}

func FuzzWord(f *testing.F) {
	for _, s := range []string{"=?utf-8?q?a_b?=", "=?iso-2022-jp?b?GyRC?= =?iso-2022-jp?b?JCIbKEI=?=", "a =?x?= b", "=?utf-8*de?B?w7w?= x", "=?utf-7?q?+AOQ-?="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d := DecodeWords(s); !utf8.ValidString(d) {
			t.Fatalf("%q", d)
		}
		clean := strings.ToValidUTF8(oneLine(s), "\uFFFD")
		encoded := EncodeWords(clean)
		if got := DecodeWords(encoded); got != clean {
			t.Fatalf("%q encoded as %q is decoded as %q", clean, encoded, got)
		}
		for i := range len(encoded) {
			if encoded[i] >= 0x80 || encoded[i] < ' ' {
				t.Fatalf("%q", encoded)
			}
		}
	})
}

// FuzzDecoder reads an encoded body through readers of different chunks.
func FuzzDecoder(f *testing.F) {
	f.Add([]byte("QUJD\r\nREVG\r\n"), true)
	f.Add([]byte("a=20b=\r\nc =  \r\nd=3"), false)
	f.Fuzz(func(t *testing.T, b []byte, base64 bool) {
		encoding := "quoted-printable"
		if base64 {
			encoding = "base64"
		}
		want, err := io.ReadAll(NewDecoder(bytes.NewReader(bytes.Clone(b)), encoding))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(NewDecoder(&slowReader{bytes.Clone(b)}, encoding))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("%q in small chunks, %q in one", got, want)
		}
	})
}

// slowReader gives three octets at a time.
type slowReader struct{ b []byte }

func (r *slowReader) Read(p []byte) (int, error) {
	if len(r.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.b[:min(3, len(r.b))])
	r.b = r.b[n:]
	return n, nil
}
