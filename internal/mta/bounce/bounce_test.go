package bounce

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"postroad/address"
	"postroad/internal/blob"
	"postroad/internal/blob/memblob"
	"postroad/internal/kv/hlc"
	"postroad/internal/kv/memkv"
	"postroad/internal/mailflow"
	"postroad/message"
	"postroad/report"
	"postroad/smtp"
)

var update = flag.Bool("update", false, "write the golden files anew")

const host = "mail.example.org"

var (
	received = time.Date(2026, 11, 23, 16, 0, 0, 0, time.UTC)
	now      = time.Date(2026, 11, 23, 17, 0, 0, 0, time.UTC)
)

const plainMail = `From: Alice <alice@example.org>
To: bob@example.com
Subject: Quarterly report
Date: Mon, 23 Nov 2026 17:00:00 +0100
Message-ID: <1@example.org>

Hello Bob,
here it is.
`

func newBodies() *blob.Bodies { return blob.NewBodies(memkv.New(), memblob.New(), hlc.NewClock(1)) }

func addr(t testing.TB, s string) address.Address {
	t.Helper()
	if s == "" {
		return address.Address{}
	}
	a, err := address.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// newMail stages a message from Alice to the recipients.
func newMail(t testing.TB, bodies *blob.Bodies, text string, to ...string) *mailflow.Mail {
	t.Helper()
	raw := []byte(strings.ReplaceAll(text, "\n", "\r\n"))
	body, err := bodies.Stage(context.Background(), bytes.NewReader(raw), 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := message.Parse(bytes.NewReader(raw), message.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	m := &mailflow.Mail{
		ID: 1234567890123456, ReturnPath: addr(t, "alice@example.org"), Body: body, Message: parsed, Received: received,
		Origin:   mailflow.Origin{Protocol: "submission", Helo: "client.example.org", Client: netip.MustParseAddrPort("192.0.2.1:4711")},
		EightBit: parsed.EightBit, EnvID: "QQ314159",
	}
	for _, s := range to {
		m.Recipients = append(m.Recipients, mailflow.Recipient{Address: addr(t, s)})
	}
	return m
}

func status(action mailflow.Action, code int, enhanced smtp.EnhancedCode, remote string, lines ...string) mailflow.Status {
	return mailflow.Status{Action: action, Reply: smtp.Reply{Code: code, Enhanced: enhanced, Lines: lines}, RemoteMTA: remote, LocalMTA: remote == "", At: now}
}

func newComposer(t testing.TB, bodies *blob.Bodies, change func(*Options)) *Composer {
	t.Helper()
	o := Options{Host: host, Bodies: bodies, RetryFor: 5 * 24 * time.Hour, Now: func() time.Time { return now }}
	if change != nil {
		change(&o)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// octets reads the body of a notice.
func octets(t testing.TB, bodies *blob.Bodies, m *mailflow.Mail) []byte {
	t.Helper()
	r, err := bodies.Open(context.Background(), m.Body)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var random = regexp.MustCompile(`=_[a-z2-7]{24}|<[a-z2-7]{24}@`)

// TestNotices compares whole notices with golden files.
func TestNotices(t *testing.T) {
	for _, c := range []struct {
		name   string
		text   string
		kind   mailflow.Action
		change func(*mailflow.Mail)
		rcpts  []string
		status []mailflow.Status
	}{
		{
			name: "failure", text: plainMail, kind: mailflow.Failed, rcpts: []string{"bob@example.com", "carol@example.com", "dave@example.net"},
			status: []mailflow.Status{
				status(mailflow.Failed, 550, smtp.EnhancedCode{5, 1, 1}, "mx.example.com", "<bob@example.com>: Recipient address rejected:", "User unknown in virtual mailbox table"),
				status(mailflow.Relayed, 250, smtp.EnhancedCode{2, 0, 0}, "mx.example.com", "Ok"),
				status(mailflow.Failed, 550, smtp.EnhancedCode{5, 4, 7}, "", "Not delivered in time; the last answer was: 421 Try later"),
			},
			change: func(m *mailflow.Mail) { m.Recipients[0].Original = "rfc822;Bob@Example.com" },
		},
		{
			name: "failure_headers_only", text: plainMail, kind: mailflow.Failed, rcpts: []string{"bob@example.com"},
			status: []mailflow.Status{status(mailflow.Failed, 552, smtp.EnhancedCode{5, 2, 2}, "mx.example.com", "Mailbox full")},
			change: func(m *mailflow.Mail) { m.Return = smtp.ReturnHeaders },
		},
		{
			name: "delay", text: plainMail, kind: mailflow.Delayed, rcpts: []string{"bob@example.com"},
			status: []mailflow.Status{status(mailflow.Delayed, 451, smtp.EnhancedCode{4, 4, 1}, "", "No answer from mx.example.com")},
		},
		{
			name: "success", text: plainMail, kind: mailflow.Relayed, rcpts: []string{"bob@example.com", "carol@example.org", "list@example.org", "dave@example.com"},
			status: []mailflow.Status{
				status(mailflow.Relayed, 250, smtp.EnhancedCode{2, 0, 0}, "mx.example.com", "Ok"),
				status(mailflow.Delivered, 0, smtp.EnhancedCode{}, ""),
				status(mailflow.Expanded, 0, smtp.EnhancedCode{}, ""),
				status(mailflow.Relayed, 250, smtp.EnhancedCode{2, 0, 0}, "mx.example.com", "Ok"),
			},
			change: func(m *mailflow.Mail) {
				for i := range 3 {
					m.Recipients[i].Notify = smtp.NotifySuccess
				}
			},
		},
		{
			name: "hostile_words", text: "Subject: =?utf-8?q?x=0D=0ABcc:_v@example.org_=E2=80=AEtxt?=\n\nx\n", kind: mailflow.Failed, rcpts: []string{"bob@example.com"},
			status: []mailflow.Status{status(mailflow.Failed, 550, smtp.EnhancedCode{5, 7, 1}, "mx.example.com", "no\r\nBcc: v@example.org\x1b[31m", "\u202egnp.exe <script>", strings.Repeat("blah ", 300))},
		},
		{
			name: "international", text: "From: mü@bücher.example\nSubject: Grüße\n\nGrüße\n", kind: mailflow.Failed, rcpts: []string{"jörg@bücher.example"},
			status: []mailflow.Status{status(mailflow.Failed, 553, smtp.EnhancedCode{5, 6, 7}, "mx.example.com", "Non-ASCII addresses not permitted")},
			change: func(m *mailflow.Mail) {
				m.SMTPUTF8 = true
				m.ReturnPath = address.Address{Local: "mü", Domain: "bücher.example"}
				m.Recipients[0].Original = "utf-8;jörg@bücher.example"
			},
		},
		{
			name: "no_structure", text: plainMail, kind: mailflow.Failed, rcpts: []string{"bob@example.com"},
			status: []mailflow.Status{status(mailflow.Failed, 550, smtp.EnhancedCode{}, "mx.example.com", "No")},
			change: func(m *mailflow.Mail) { m.Message, m.EnvID = nil, "" },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			bodies := newBodies()
			m := newMail(t, bodies, c.text, c.rcpts...)
			if c.change != nil {
				c.change(m)
			}
			n, err := newComposer(t, bodies, nil).Compose(context.Background(), m, c.status, c.kind)
			if err != nil || n == nil {
				t.Fatal(n, err)
			}
			b := octets(t, bodies, n)
			checkNotice(t, n, m, b)
			golden(t, c.name, random.ReplaceAllStringFunc(string(b), func(s string) string {
				return s[:1] + "random" + strings.TrimLeft(s[len(s)-1:], "abcdefghijklmnopqrstuvwxyz234567")
			}))
		})
	}
}

// checkNotice holds a notice to what each must be.
func checkNotice(t *testing.T, n, m *mailflow.Mail, b []byte) {
	t.Helper()
	if !n.ReturnPath.IsNull() || len(n.Recipients) != 1 || n.Recipients[0].Address != m.ReturnPath || n.Recipients[0].Notify != smtp.NotifyNever {
		t.Errorf("from %q to %+v", n.ReturnPath, n.Recipients)
	}
	if n.Message == nil || n.Message.Size != int64(len(b)) || n.Message.Root.Body.End != int64(len(b)) || n.Message.AutoSubmitted != "auto-replied" {
		t.Errorf("message %+v", n.Message)
	}
	if n.SMTPUTF8 != m.ReturnPath.NeedsUTF8() || n.EightBit != n.Message.EightBit || n.Origin.Protocol != "bounce" || n.ID != 0 {
		t.Errorf("mail %+v", n)
	}
	head := b[:n.Message.Root.Header.End]
	for f := range message.Fields(head) {
		if f.Is("Bcc") || f.Name == nil {
			t.Errorf("a stranger's words made the field %q", f.Value)
		}
	}
	d, err := report.Find(n.Message, bytes.NewReader(b))
	if err != nil || d.EnvelopeID != m.EnvID || d.ReportingMTA != host {
		t.Errorf("%+v %v", d, err)
	}
	text, err := io.ReadAll(n.Message.Root.Children[0].Text(bytes.NewReader(b)))
	if err != nil || bytes.ContainsAny(text, "\x1b\x00") || bytes.Contains(text, []byte("\nBcc")) || bytes.Contains(text, []byte("\u202e")) {
		t.Errorf("text %q %v", text, err)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".eml")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("differs from %s:\n%s", file, got)
	}
}

// TestDecision asks for notices that must not be.
func TestDecision(t *testing.T) {
	failed := status(mailflow.Failed, 550, smtp.EnhancedCode{5, 1, 1}, "", "No")
	delayed := status(mailflow.Delayed, 450, smtp.EnhancedCode{4, 2, 1}, "", "Later")
	delivered := status(mailflow.Delivered, 0, smtp.EnhancedCode{}, "")
	relayed := status(mailflow.Relayed, 250, smtp.EnhancedCode{}, "mx", "Ok")
	passedOn := relayed
	passedOn.PassedOn = true
	for _, c := range []struct {
		name   string
		from   string
		notify smtp.DSNNotify
		status mailflow.Status
		kind   mailflow.Action
		want   bool
	}{
		{"failure", "alice@example.org", 0, failed, mailflow.Failed, true},
		{"failure asked for", "alice@example.org", smtp.NotifyFailure, failed, mailflow.Failed, true},
		{"failure, never", "alice@example.org", smtp.NotifyNever, failed, mailflow.Failed, false},
		{"failure, only success", "alice@example.org", smtp.NotifySuccess, failed, mailflow.Failed, false},
		{"bounce of a bounce", "", 0, failed, mailflow.Failed, false},
		{"bounce of a bounce asked for", "", smtp.NotifyFailure, failed, mailflow.Failed, false},
		{"delay", "alice@example.org", 0, delayed, mailflow.Delayed, true},
		{"delay, only failure", "alice@example.org", smtp.NotifyFailure, delayed, mailflow.Delayed, false},
		{"delay of a bounce", "", smtp.NotifyDelay, delayed, mailflow.Delayed, false},
		{"a delay is no failure", "alice@example.org", 0, delayed, mailflow.Failed, false},
		{"success not asked for", "alice@example.org", 0, delivered, mailflow.Relayed, false},
		{"success", "alice@example.org", smtp.NotifySuccess, delivered, mailflow.Relayed, true},
		{"relayed", "alice@example.org", smtp.NotifySuccess, relayed, mailflow.Relayed, true},
		{"the next server reports", "alice@example.org", smtp.NotifySuccess, passedOn, mailflow.Relayed, false},
		{"success of a bounce", "", smtp.NotifySuccess, delivered, mailflow.Relayed, false},
		{"failure is no success", "alice@example.org", smtp.NotifySuccess | smtp.NotifyFailure, failed, mailflow.Relayed, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			bodies := newBodies()
			m := newMail(t, bodies, plainMail, "bob@example.com")
			m.ReturnPath = addr(t, c.from)
			m.Recipients[0].Notify = c.notify
			n, err := newComposer(t, bodies, nil).Compose(context.Background(), m, []mailflow.Status{c.status}, c.kind)
			if err != nil || (n != nil) != c.want {
				t.Errorf("%v %v", n, err)
			}
		})
	}
}

func TestPostmaster(t *testing.T) {
	bodies := newBodies()
	postmaster := addr(t, "postmaster@example.org")
	c := newComposer(t, bodies, func(o *Options) { o.Postmaster = postmaster })
	failed := []mailflow.Status{status(mailflow.Failed, 550, smtp.EnhancedCode{5, 1, 1}, "", "No")}
	m := newMail(t, bodies, plainMail, "bob@example.com")
	m.ReturnPath = address.Address{}
	n, err := c.Compose(context.Background(), m, failed, mailflow.Failed)
	if err != nil || n == nil || n.Recipients[0].Address != postmaster || !n.ReturnPath.IsNull() {
		t.Fatal(n, err)
	}
	if s := n.Message.Subject; !strings.HasPrefix(s, "Not delivered and not returnable") {
		t.Errorf("subject %q", s)
	}
	// The notice itself fails: nobody is told again.
	if again, err := c.Compose(context.Background(), n, failed, mailflow.Failed); again != nil || err != nil {
		t.Error(again, err)
	}
}

// TestReturnedOctets checks how much of the message comes back.
func TestReturnedOctets(t *testing.T) {
	header := "Subject: x\n" + strings.Repeat("X-Filler: "+strings.Repeat("y", 80)+"\n", 900) // over HeadersMax
	for _, c := range []struct {
		name  string
		text  string
		ret   smtp.DSNReturn
		kind  mailflow.Action
		media string
		most  int64
	}{
		{"small, unasked", plainMail, smtp.ReturnUnset, mailflow.Failed, "message/rfc822", 1 << 10},
		{"large, unasked", plainMail + strings.Repeat("x\n", UnaskedMax), smtp.ReturnUnset, mailflow.Failed, "text/rfc822-headers", 1 << 10},
		{"large, asked for", plainMail + strings.Repeat("x\n", UnaskedMax), smtp.ReturnFull, mailflow.Failed, "message/rfc822", 4 * UnaskedMax},
		{"too large, asked for", plainMail + strings.Repeat("x\n", 1<<20), smtp.ReturnFull, mailflow.Failed, "text/rfc822-headers", 1 << 10},
		{"headers asked for", plainMail, smtp.ReturnHeaders, mailflow.Failed, "text/rfc822-headers", 1 << 10},
		{"delay", plainMail, smtp.ReturnFull, mailflow.Delayed, "text/rfc822-headers", 1 << 10},
		{"large header", header + "\nbody\n", smtp.ReturnHeaders, mailflow.Failed, "text/rfc822-headers", HeadersMax},
	} {
		t.Run(c.name, func(t *testing.T) {
			bodies := newBodies()
			m := newMail(t, bodies, c.text, "bob@example.com")
			m.Return = c.ret
			n, err := newComposer(t, bodies, func(o *Options) { o.FullMax = 1 << 20 }).Compose(context.Background(), m,
				[]mailflow.Status{status(c.kind, 550, smtp.EnhancedCode{5, 0, 0}, "", "No")}, c.kind)
			if err != nil || n == nil {
				t.Fatal(n, err)
			}
			third := n.Message.Root.Children[2]
			if third.MediaType() != c.media || third.Body.Size() > c.most || third.Body.Size() < 80 {
				t.Errorf("%s of %d octets", third.MediaType(), third.Body.Size())
			}
			b := octets(t, bodies, n)
			if body := b[third.Body.Start:third.Body.End]; c.media == "text/rfc822-headers" && bytes.Contains(body, []byte("here it is")) {
				t.Error("the body came with the header")
			}
		})
	}
}

func TestErrors(t *testing.T) {
	if _, err := New(Options{Host: host}); err == nil {
		t.Error("no error without Bodies")
	}
	bodies := newBodies()
	m := newMail(t, bodies, plainMail, "bob@example.com")
	failed := status(mailflow.Failed, 550, smtp.EnhancedCode{5, 1, 1}, "", "No")
	c := newComposer(t, bodies, nil)
	if _, err := c.Compose(context.Background(), m, []mailflow.Status{failed, failed}, mailflow.Failed); err == nil {
		t.Error("no error for too many statuses")
	}
	elsewhere := newComposer(t, newBodies(), nil)
	m.Body = blob.Body{ID: 99, Size: 10}
	if _, err := elsewhere.Compose(context.Background(), m, []mailflow.Status{failed}, mailflow.Failed); err == nil {
		t.Error("no error for a body that is not there")
	}
}

// TestReasons: every code has an explanation, and class 4 never tells the sender to act.
func TestReasons(t *testing.T) {
	for subject := range 8 {
		for detail := range 20 {
			code := smtp.EnhancedCode{5, subject, detail}
			for _, reply := range []int{550, 450} {
				s := &mailflow.Status{Action: mailflow.Failed, Reply: smtp.Reply{Code: reply, Enhanced: code}}
				if text := reason(code, s); len(text) < 20 || !strings.HasSuffix(text, ".") {
					t.Errorf("%v %d: %q", code, reply, text)
				}
			}
		}
	}
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"a\r\n b\tc":               "a b c",
		"\x1b[0m\u202ex\u200b\xff": "[0m?x??",
		"  a  ":                    "a",
		strings.Repeat("ü", 10):    "üüüüü...",
	} {
		if got := clean(in, 10); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func ExampleComposer() {
	bodies := newBodies()
	body, _ := bodies.Stage(context.Background(), strings.NewReader("Subject: Hello\r\n\r\nx\r\n"), 1000)
	c, _ := New(Options{Host: host, Bodies: bodies})
	m := &mailflow.Mail{
		ReturnPath: address.Address{Local: "alice", Domain: "example.org"},
		Recipients: []mailflow.Recipient{{Address: address.Address{Local: "bob", Domain: "example.com"}}},
		Body:       body,
	}
	n, _ := c.Compose(context.Background(), m, []mailflow.Status{status(mailflow.Failed, 550, smtp.EnhancedCode{5, 1, 1}, "mx.example.com", "No such user")}, mailflow.Failed)
	fmt.Println(n.Recipients[0].Address, n.Message.Subject)
	// Output: alice@example.org Not delivered: Hello
}
