package imap

import (
	"strings"
	"testing"

	"postroad/message"
)

func parse(t testing.TB, text string) (*message.Message, []byte) {
	b := strings.ReplaceAll(text, "\n", "\r\n")
	m, err := message.Parse(strings.NewReader(b), message.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return m, []byte(b)
}

func TestEnvelope(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"nothing", "\n", `(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)`},
		{"empty fields", "Subject:\nFrom:\nDate:\n\n", `("" "" NIL NIL NIL NIL NIL NIL NIL NIL)`},
		{"sender", "From: a@x\nSender: b@x\n\n",
			`(NIL NIL ((NIL NIL "a" "x")) ((NIL NIL "b" "x")) ((NIL NIL "a" "x")) NIL NIL NIL NIL NIL)`},
		{"eight bit", "Subject: Gr\u00fc\u00dfe\n\n", "(NIL {7}\r\nGr\u00fc\u00dfe NIL NIL NIL NIL NIL NIL NIL NIL)"},
		{"encoded words stay", "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\n\n", `(NIL "=?utf-8?q?Gr=C3=BC=C3=9Fe?=" NIL NIL NIL NIL NIL NIL NIL NIL)`},
	} {
		m, _ := parse(t, test.text)
		if got := string(AppendEnvelope(nil, m)); got != test.want {
			t.Errorf("%s:\n %s\nwant\n %s", test.name, got, test.want)
		}
	}
}

func TestBodyStructure(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"plain", "\nhi\n", `("TEXT" "PLAIN" NIL NIL NIL "7BIT" 4 1 NIL NIL NIL NIL)`},
		{"image", "Content-Type: image/png\nContent-MD5: abc\nContent-Location: u\nContent-Language: de\n\nx",
			`("IMAGE" "PNG" NIL NIL NIL "7BIT" 1 "abc" NIL "de" "u")`},
		{"encoded message", "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\neA==\n",
			`("APPLICATION" "OCTET-STREAM" NIL NIL NIL "BASE64" 6 NIL NIL NIL NIL)`},
		{"disposition", "Content-Disposition: attachment; filename=\"a\\\"b\"\n\n",
			`("TEXT" "PLAIN" NIL NIL NIL "7BIT" 0 0 NIL ("attachment" ("filename" "a\"b")) NIL NIL)`},
	} {
		m, _ := parse(t, test.text)
		if got := string(AppendBodyStructure(nil, m.Root, true)); got != test.want {
			t.Errorf("%s:\n %s\nwant\n %s", test.name, got, test.want)
		}
	}
}

// TestBodyStructureOpaque renders a message in a message that has no structure: the
// syntax still wants an envelope and a body.
func TestBodyStructureOpaque(t *testing.T) {
	p := &message.Part{Type: "message", Subtype: "rfc822", Encoding: "7bit", Lines: 3}
	want := `("MESSAGE" "RFC822" NIL NIL NIL "7BIT" 0 (NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL) ("TEXT" "PLAIN" NIL NIL NIL "7BIT" 0 0) 3)`
	if got := string(AppendBodyStructure(nil, p, false)); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// TestSections reads the sections of RFC 9051, 6.4.5.1, from a message of that shape, by
// the structure and by what Find reads from its stored form.
func TestSections(t *testing.T) {
	m, body := parse(t, `Subject: top
Content-Type: multipart/mixed; boundary=a

--a

one
--a
Content-Type: application/octet-stream

two
--a
Content-Type: message/rfc822

Subject: three
Content-Type: multipart/mixed; boundary=b

--b

3.1
--b
Content-Type: application/octet-stream

3.2
--b--
--a--
`)
	stored := m.AppendBinary(nil)
	for _, test := range []struct{ section, want string }{
		{"[HEADER]", "Subject: top\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n"},
		{"[1]", "one"},
		{"[1.MIME]", "\r\n"},
		{"[2]", "two"},
		{"[2.MIME]", "Content-Type: application/octet-stream\r\n\r\n"},
		{"[3.HEADER]", "Subject: three\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"},
		{"[3.MIME]", "Content-Type: message/rfc822\r\n\r\n"},
		{"[3.1]", "3.1"},
		{"[3.2]", "3.2"},
		{"[3.2.MIME]", "Content-Type: application/octet-stream\r\n\r\n"},
		{"[2.HEADER]", "NIL"},
		{"[1.TEXT]", "NIL"},
		{"[4]", "NIL"},
		{"[3.3]", "NIL"},
		{"[1.1]", "NIL"},
	} {
		d := NewDecoder([]byte(test.section))
		var s Section
		if d.Section(&s); d.Err() != nil {
			t.Fatal(d.Err())
		}
		got := "NIL"
		if span, ok := s.ResolveIn(m); ok {
			got = string(body[span.Start:span.End])
		}
		if got != test.want {
			t.Errorf("%s: %q, want %q", test.section, got, test.want)
		}
		found := "NIL"
		if f, there, err := message.Find(stored, s.Part...); err == nil && there {
			if span, ok := s.Resolve(f); ok {
				found = string(body[span.Start:span.End])
			}
		}
		if found != test.want {
			t.Errorf("%s by Find: %q, want %q", test.section, found, test.want)
		}
	}
}

func TestAppendFields(t *testing.T) {
	block := []byte("To: a\r\nX-Long: one\r\n two\r\njunk\r\nto: b\r\n\r\n")
	some := Section{Specifier: HeaderFields, Fields: []string{"TO"}}
	if got := string(some.AppendFields(nil, block)); got != "To: a\r\nto: b\r\n\r\n" {
		t.Errorf("%q", got)
	}
	not := Section{Specifier: HeaderFieldsNot, Fields: []string{"TO"}}
	if got := string(not.AppendFields(nil, block)); got != "X-Long: one\r\n two\r\n\r\n" {
		t.Errorf("%q", got)
	}
}
