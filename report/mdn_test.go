package report

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"postroad/message"
)

var receipt = MDN{
	ReportingUA:       "postroad; web",
	Original:          TypedAddress{"rfc822", "jane@example.org"},
	Final:             TypedAddress{"utf-8", "jäne@example.org"},
	OriginalMessageID: "<199509192301.23456@example.org>",
	Disposition:       Disposition{ActionMode: ManualAction, SendingMode: SentManually, Type: Displayed},
	Extensions:        []message.Param{{Name: "X-Reading-Time", Value: "5 s"}},
}

func TestAppendDisposition(t *testing.T) {
	want := strings.ReplaceAll(`Reporting-UA: postroad; web
Original-Recipient: rfc822; jane@example.org
Final-Recipient: utf-8; j\x{E4}ne@example.org
Original-Message-ID: <199509192301.23456@example.org>
Disposition: manual-action/MDN-sent-manually; displayed
X-Reading-Time: 5 s
`, "\n", "\r\n")
	got := receipt.AppendDisposition(nil)
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	back, err := ParseDisposition(got)
	if err != nil || !cmp.Equal(*back, receipt) {
		t.Error(err, cmp.Diff(receipt, *back))
	}
	full := receipt
	full.Gateway, full.Errors = "dns; gw.example.org", []string{"the disk burnt", "and the house"}
	full.Disposition = Disposition{ActionMode: AutomaticAction, SendingMode: SentAutomatically, Type: Processed, Modifiers: []string{"error", "x-late"}}
	back, err = ParseDisposition(full.AppendDisposition(nil))
	if err != nil || !cmp.Equal(*back, full) {
		t.Error(err, cmp.Diff(full, *back))
	}
}

// TestParseDisposition reads receipts as other programs write them.
func TestParseDisposition(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     MDN
	}{
		{"RFC 8098, 9", "Reporting-UA: joes-pc.cs.example.com; Foomail 97.1\r\nOriginal-Recipient: rfc822;Joe_Recipient@example.com\r\n" +
			"Final-Recipient: rfc822;Joe_Recipient@example.com\r\nOriginal-Message-ID: <199509192301.23456@example.org>\r\n" +
			"Disposition: manual-action/MDN-sent-manually; displayed\r\n",
			MDN{ReportingUA: "joes-pc.cs.example.com; Foomail 97.1", Original: TypedAddress{"rfc822", "Joe_Recipient@example.com"},
				Final: TypedAddress{"rfc822", "Joe_Recipient@example.com"}, OriginalMessageID: "<199509192301.23456@example.org>",
				Disposition: Disposition{ActionMode: ManualAction, SendingMode: SentManually, Type: Displayed}}},
		{"bare LF, capitals, a comment, folded", "\nfinal-recipient: a@example.org\nDISPOSITION: Automatic-Action / (by rule)\n MDN-Sent-Automatically ; Deleted / Error , Expired\nError: one\nerror: two\n",
			MDN{Final: TypedAddress{"rfc822", "a@example.org"}, Errors: []string{"one", "two"},
				Disposition: Disposition{ActionMode: AutomaticAction, SendingMode: SentAutomatically, Type: Deleted, Modifiers: []string{"error", "expired"}}}},
		{"a mode that nobody knows", "Disposition: telepathy; read\r\nX: 1\r\nx: 2\r\n",
			MDN{Disposition: Disposition{Type: "read"}, Extensions: []message.Param{{Name: "X", Value: "1"}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ParseDisposition([]byte(c.in))
			if err != nil || !cmp.Equal(*got, c.want) {
				t.Error(err, cmp.Diff(c.want, got))
			}
		})
	}
	for _, bad := range []string{"", "\r\n\r\n", "Final-Recipient: rfc822; a@b\r\n", "Disposition: displayed\r\n", "Disposition: a/b;\r\n", "Disposition: a/b; two words\r\n"} {
		if m, err := ParseDisposition([]byte(bad)); !errors.Is(err, ErrNoMDN) {
			t.Errorf("%q: %+v %v", bad, m, err)
		}
	}
}

// TestReceipt writes a whole receipt and finds the MDN in it.
func TestReceipt(t *testing.T) {
	original := "Subject: hello\r\n\r\nbody\r\n"
	for _, c := range []struct {
		name  string
		with  func(r *Receipt)
		third string // media type
	}{
		{"alone", func(*Receipt) {}, ""},
		{"with the message", func(r *Receipt) { r.Original = strings.NewReader(original) }, "message/rfc822"},
		{"with its header", func(r *Receipt) {
			r.Original, r.OriginalHeaders = strings.NewReader(original), true
		}, "text/rfc822-headers"},
		{"automatic", func(r *Receipt) { r.Disposition.SendingMode = SentAutomatically }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &Receipt{MDN: receipt, From: message.ParseAddressList("Jäne <jane@example.org>"), To: message.ParseAddressList("joe@example.com"),
				Subject: "Gelesen: Grüße", Date: time.Date(2026, 12, 1, 8, 0, 0, 0, time.UTC), MessageID: "<1@example.org>", Text: "Das war schön.\n"}
			c.with(r)
			reader, err := r.Reader()
			if err != nil {
				t.Fatal(err)
			}
			octets, err := io.ReadAll(reader)
			if err != nil {
				t.Fatal(err)
			}
			m, err := message.Parse(bytes.NewReader(octets), message.Limits{})
			if err != nil || m.Defects != 0 {
				t.Fatalf("%v, defects %b in\n%s", err, m.Defects, octets)
			}
			got, err := FindMDN(m, bytes.NewReader(octets))
			if err != nil || !cmp.Equal(*got, r.MDN) {
				t.Error(err, cmp.Diff(r.MDN, *got))
			}
			third := ""
			if len(m.Root.Children) == 3 {
				third = m.Root.Children[2].MediaType()
			}
			automatic := r.Disposition.SendingMode == SentAutomatically
			if third != c.third || m.InReplyTo[0] != receipt.OriginalMessageID || (m.AutoSubmitted != "") != automatic || m.Subject != r.Subject {
				t.Errorf("third part %q, in reply to %q, auto-submitted %q", third, m.InReplyTo, m.AutoSubmitted)
			}
		})
	}
	plain, err := message.Parse(strings.NewReader(original), message.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := FindMDN(plain, strings.NewReader(original)); !errors.Is(err, ErrNoMDN) {
		t.Errorf("an MDN in a plain message: %v", err)
	}
}

func FuzzParseDisposition(f *testing.F) {
	f.Add(receipt.AppendDisposition(nil))
	f.Add([]byte("Disposition: a/b; c / d, e (f\r\nError: x\r\n y\r\n: z\r\n"))
	f.Add([]byte("\n\nDisposition:;=?utf-8?Q?a=0D=0A?=\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseDisposition(b)
		if err != nil {
			return
		}
		written := m.AppendDisposition(nil)
		again, err := ParseDisposition(written)
		if err != nil || again.Disposition.Type == "" {
			t.Fatalf("%q is written as %q, which cannot be read: %v", b, written, err)
		}
		for line := range bytes.SplitSeq(written, []byte("\r\n")) {
			if bytes.ContainsAny(line, "\r\n\x00") {
				t.Fatalf("a control character in %q", line)
			}
		}
	})
}
