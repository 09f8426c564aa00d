package report

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"postroad/address"
	"postroad/message"
	"postroad/smtp"
)

var example = DSN{
	EnvelopeID:   "QQ314159",
	ReportingMTA: "mail.example.org",
	ReceivedFrom: "client.example.org",
	Arrival:      time.Date(2026, 11, 23, 17, 0, 0, 0, time.UTC),
	Recipients: []Recipient{
		{
			Original:    TypedAddress{"rfc822", "bob@example.com"},
			Final:       TypedAddress{"rfc822", "robert@example.com"},
			Action:      Failed,
			Status:      smtp.EnhancedCode{5, 1, 1},
			RemoteMTA:   "mx.example.com",
			Diagnostic:  "550 5.1.1 No such user",
			LastAttempt: time.Date(2026, 11, 23, 17, 5, 0, 0, time.UTC),
			LogID:       "0123",
		},
		{
			Final:      TypedAddress{"utf-8", "mü+x@bücher.example"},
			Action:     Delayed,
			Status:     smtp.EnhancedCode{4, 4, 1},
			RetryUntil: time.Date(2026, 11, 28, 17, 0, 0, 0, time.UTC),
		},
	},
}

func TestAppendStatus(t *testing.T) {
	want := strings.ReplaceAll(`Original-Envelope-Id: QQ314159
Reporting-MTA: dns; mail.example.org
Received-From-MTA: dns; client.example.org
Arrival-Date: Mon, 23 Nov 2026 17:00:00 +0000

Original-Recipient: rfc822; bob@example.com
Final-Recipient: rfc822; robert@example.com
Action: failed
Status: 5.1.1
Remote-MTA: dns; mx.example.com
Diagnostic-Code: smtp; 550 5.1.1 No such user
Last-Attempt-Date: Mon, 23 Nov 2026 17:05:00 +0000
Final-Log-Id: 0123

Final-Recipient: utf-8; m\x{FC}\x{2B}x@b\x{FC}cher.example
Action: delayed
Status: 4.4.1
Will-Retry-Until: Sat, 28 Nov 2026 17:00:00 +0000
`, "\n", "\r\n")
	got := example.AppendStatus(nil)
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	back, err := ParseStatus(got)
	if err != nil || !cmp.Equal(*back, example) {
		t.Error(err, cmp.Diff(example, *back))
	}
}

// TestParseStatus reads reports as other systems write them.
func TestParseStatus(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     DSN
	}{
		{"RFC 3464, appendix E.1", `Reporting-MTA: dns; cs.utk.edu

Original-Recipient: rfc822;louisl@larry.slip.umd.edu
Final-Recipient: rfc822;louisl@larry.slip.umd.edu
Action: failed
Status: 4.0.0
Diagnostic-Code: smtp; 426 connection timed out
Last-Attempt-Date: Thu, 7 Jul 1994 17:15:49 -0400
`, DSN{ReportingMTA: "cs.utk.edu", Recipients: []Recipient{{
			Original: TypedAddress{"rfc822", "louisl@larry.slip.umd.edu"}, Final: TypedAddress{"rfc822", "louisl@larry.slip.umd.edu"},
			Action: Failed, Status: smtp.EnhancedCode{4, 0, 0}, Diagnostic: "426 connection timed out",
			LastAttempt: time.Date(1994, 7, 7, 17, 15, 49, 0, time.FixedZone("", -4*3600))}}}},
		{"one group, folded, comments", "Reporting-MTA: x\r\nFinal-Recipient: RFC822;\r\n a@b\r\nAction: Failed (bad address)\r\nStatus: 5.1.1 (unknown)\r\n",
			DSN{ReportingMTA: "x", Recipients: []Recipient{{Final: TypedAddress{"rfc822", "a@b"}, Action: Failed, Status: smtp.EnhancedCode{5, 1, 1}}}}},
		{"spaces between the groups", "Reporting-MTA: dns; x\n \n\n\nFinal-Recipient: a@b\n", DSN{ReportingMTA: "x", Recipients: []Recipient{{Final: TypedAddress{"rfc822", "a@b"}}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ParseStatus([]byte(c.in))
			if err != nil || !cmp.Equal(*got, c.want) {
				t.Error(err, cmp.Diff(c.want, *got))
			}
		})
	}
	for _, in := range []string{"", "Reporting-MTA: dns; x\r\n\r\n", "no field\r\n"} {
		if d, err := ParseStatus([]byte(in)); !errors.Is(err, ErrNoReport) {
			t.Errorf("%q: %v %v", in, d, err)
		}
	}
}

func TestFind(t *testing.T) {
	original := "From: alice@example.org\r\nSubject: Gr\xc3\xbc\xc3\x9fe\r\n"
	for _, c := range []struct {
		name     string
		notice   Notice
		third    string
		encoding string
	}{
		{"headers", Notice{Original: strings.NewReader("A: b\r\n"), OriginalHeaders: true}, "text/rfc822-headers", "7bit"},
		{"UTF-8 headers", Notice{Original: strings.NewReader(original), OriginalHeaders: true, OriginalUTF8: true, OriginalEight: true}, "message/global-headers", "base64"},
		{"message", Notice{Original: strings.NewReader("A: b\r\n\r\n\xfc\r\n"), OriginalEight: true}, "message/rfc822", "8bit"},
		{"UTF-8 message", Notice{Original: strings.NewReader(original + "\r\nx\r\n"), OriginalUTF8: true, OriginalEight: true}, "application/octet-stream", "base64"},
		{"nothing", Notice{}, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := c.notice
			n.DSN = example
			n.From = message.Mailbox{Name: "Mail System", Local: "MAILER-DAEMON", Host: "mail.example.org"}
			n.To = address.Address{Local: "alice", Domain: "example.org"}
			n.Subject, n.Text = "Not delivered: Grüße", "Grüße\nzurück\n"
			n.MessageID, n.InReplyTo = "<n@example.org>", "<1@example.org>"
			n.Date = example.Arrival
			r, err := n.Reader()
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			m, err := message.Parse(bytes.NewReader(b), message.Limits{})
			if err != nil || m.Defects&^message.DefectEncoding != 0 {
				t.Fatalf("%v, defects %b", err, m.Defects)
			}
			d, err := Find(m, bytes.NewReader(b))
			if err != nil || !cmp.Equal(*d, example) {
				t.Error(err, cmp.Diff(example, *d))
			}
			parts := m.Root.Children
			if m.Root.Params.Get("report-type") != "delivery-status" || m.AutoSubmitted != "auto-replied" || m.HasAttachment && c.third != "application/octet-stream" {
				t.Errorf("%+v", m)
			}
			if c.third == "" {
				if len(parts) != 2 {
					t.Errorf("%d parts", len(parts))
				}
				return
			}
			if p := parts[2]; p.MediaType() != c.third || p.Encoding != c.encoding {
				t.Errorf("third part %s %s", p.MediaType(), p.Encoding)
			}
			want := "message/global"
			if c.third == "application/octet-stream" && !bytes.Contains(b, []byte(want)) {
				t.Errorf("no %s", want)
			}
		})
	}
	plain, _ := message.Parse(strings.NewReader("Subject: x\r\n\r\n"), message.Limits{})
	if _, err := Find(plain, strings.NewReader("")); !errors.Is(err, ErrNoReport) {
		t.Error(err)
	}
}

// TestForeignMessage takes the report out of a message of the vectors of package message.
func TestForeignMessage(t *testing.T) {
	b, err := os.ReadFile("../message/testdata/vectors/python_msg_16.txt")
	if err != nil {
		t.Fatal(err)
	}
	m, err := message.Parse(bytes.NewReader(b), message.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	d, err := Find(m, bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Recipients) != 1 || d.Recipients[0].Final.Address != "jangel1@cougar.noc.ucla.edu" || d.Recipients[0].Action != Failed {
		t.Errorf("%+v", d)
	}
}

func TestEmbedded(t *testing.T) {
	for in, want := range map[string]string{
		`m\x{FC}`: "mü", `\x{1F600}`: "😀", `\x{5C}`: `\`, `\x{0D}`: `\x{0D}`, `\x{`: `\x{`, `\x{}`: `\x{}`, `\x{D800}`: `\x{D800}`, `\x{0000000FC}`: `\x{0000000FC}`,
	} {
		if got := decodeEmbedded(in); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringMatching(`[ -~äЖ日😀]*`).Draw(t, "address")
		e := encodeEmbedded(s)
		if got := decodeEmbedded(e); got != s {
			t.Fatalf("%q encoded as %q is decoded as %q", s, e, got)
		}
	})
}

func FuzzParseStatus(f *testing.F) {
	f.Add(example.AppendStatus(nil))
	f.Add([]byte("Reporting-MTA: dns; x\n\nFinal-Recipient: utf-8;\\x{fc}@b\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := ParseStatus(b)
		if err != nil {
			return
		}
		out := d.AppendStatus(nil)
		for _, c := range out {
			if c >= 0x80 || c < ' ' && c != '\r' && c != '\n' {
				t.Fatalf("%q", out)
			}
		}
		again, err := ParseStatus(out)
		if err != nil || len(again.Recipients) != len(d.Recipients) {
			t.Fatalf("%+v printed as %q: %+v %v", d, out, again, err)
		}
	})
}
