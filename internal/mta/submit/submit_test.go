package submit

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postroad/address"
	"postroad/internal/blob"
	"postroad/internal/blob/memblob"
	"postroad/internal/directory"
	"postroad/internal/kv/hlc"
	"postroad/internal/kv/memkv"
	"postroad/internal/mailflow"
	"postroad/sasl"
	"postroad/smtp"
	"postroad/smtp/smtpserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// people is a directory: alice may send as herself and as team@, on behalf of boss@, and knows nobody@ not to
// be there.
type people struct{ directory.Directory }

func (people) Resolve(_ context.Context, a address.Address) (directory.Target, error) {
	switch {
	case a.Local == "broken":
		return directory.Target{}, errors.New("disk on fire")
	case a.Domain != "our.example":
		return directory.Target{Kind: directory.NotLocal}, nil
	case a.Local == "nobody":
		return directory.Target{Kind: directory.Unknown}, nil
	}
	return directory.Target{Kind: directory.Mailbox, Accounts: []directory.Destination{{Account: 1}}}, nil
}

func (people) MaySendAs(_ context.Context, p directory.Principal, a address.Address) (directory.SendRight, error) {
	switch {
	case a.Local == "broken":
		return directory.SendNot, errors.New("disk on fire")
	case p.ID != alice.ID || a.Domain != "our.example":
		return directory.SendNot, nil
	case a.Local == "alice" || a.Local == "team":
		return directory.SendAs, nil
	case a.Local == "boss":
		return directory.SendOnBehalf, nil
	}
	return directory.SendNot, nil
}

var alice = directory.Principal{ID: 7, Login: address.Address{Local: "alice", Domain: "our.example"}}

// users is the sasl.Backend.
type users struct{}

func (users) Password(_ context.Context, _, user, password string) (any, error) {
	switch {
	case password != "pass":
		return nil, sasl.ErrCredentials
	case user == "odd":
		return "not a principal", nil
	}
	return alice, nil
}

func (users) Verifier(context.Context, string, string) (sasl.Verifier, error) {
	return sasl.Verifier{}, nil
}

// submitted is a mailflow.Submitter that keeps what it was given.
type submitted struct {
	t      *testing.T
	bodies *blob.Bodies
	mail   *mailflow.Mail
	text   string
	err    error
}

func (s *submitted) Submit(ctx context.Context, m *mailflow.Mail, _ mailflow.SubmitOptions) ([]mailflow.Status, error) {
	if s.err != nil {
		return nil, s.err
	}
	r, err := s.bodies.Open(ctx, m.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
	if err != nil {
		s.t.Fatal(err)
	}
	s.mail, s.text = m, string(b)
	return make([]mailflow.Status, len(m.Recipients)), nil
}

func (s *submitted) Status(context.Context, mailflow.ID) ([]mailflow.Status, error) { return nil, nil }
func (s *submitted) Cancel(context.Context, mailflow.ID) (int, error)               { return 0, nil }

var testTime = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func newTest(t *testing.T) (*Submitter, *submitted) {
	clock := hlc.NewClock(1)
	bodies := blob.NewBodies(memkv.New(), memblob.New(), clock)
	sub := &submitted{t: t, bodies: bodies}
	s := New(Options{Hostname: "mx.our.example", Directory: people{}, Submitter: sub, Bodies: bodies, Clock: clock, Limits: mailflow.ContentLimits{Size: 10_000}})
	s.now = func() time.Time { return testTime }
	return s, sub
}

func mustParse(t *testing.T, s string) address.Address {
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

func TestSubmit(t *testing.T) {
	const from = "From: Alice <alice@our.example>\r\n"
	const rest = "Date: Thu, 1 Jan 2026 00:00:00 +0000\r\nMessage-ID: <x@our.example>\r\n"
	for _, tt := range []struct {
		name, path, to, content string
		params                  smtp.MailParams
		who                     directory.Principal
		code                    int    // of the error
		want                    string // the text behind Received
	}{
		{name: "complete", path: "alice@our.example", content: from + rest + "\r\nBcc: in the body\r\n", want: from + rest + "\r\nBcc: in the body\r\n"},
		{name: "null path", content: from + rest + "\r\n", want: from + rest + "\r\n"},
		{name: "blind copies", path: "alice@our.example", content: "Bcc: a@b.example,\r\n c@d.example\r\n" + from + "bcc: e@f.example\r\nResent-Bcc: x\r\nReturn-Path: <y@z>\r\n" + rest + "\r\nx", want: from + rest + "\r\nx"},
		{name: "team", path: "team@our.example", content: "From: team@our.example, alice@our.example\r\n" + rest + "\r\n", want: "From: team@our.example, alice@our.example\r\n" + rest + "\r\n"},
		{name: "other's path", path: "bob@our.example", content: from + "\r\n", code: 550},
		{name: "other's From", path: "alice@our.example", content: "From: bob@our.example\r\n\r\n", code: 550},
		{name: "other's From beside one's own", path: "alice@our.example", content: "From: alice@our.example, bob@our.example\r\n\r\n", code: 550},
		{name: "other's From in a group", path: "alice@our.example", content: "From: us: bob@our.example;\r\n\r\n", code: 550},
		{name: "on behalf", path: "alice@our.example", content: "From: boss@our.example\r\nSender: alice@our.example\r\n" + rest + "\r\n",
			want: "From: boss@our.example\r\nSender: alice@our.example\r\n" + rest + "\r\n"},
		{name: "on behalf, Sender added", path: "alice@our.example", content: "From: boss@our.example\r\n" + rest + "\r\n",
			want: "From: boss@our.example\r\n" + rest + "Sender: alice@our.example\r\n\r\n"},
		{name: "on behalf of one of two", path: "alice@our.example", content: "From: alice@our.example, boss@our.example\r\n" + rest + "\r\n",
			want: "From: alice@our.example, boss@our.example\r\n" + rest + "Sender: alice@our.example\r\n\r\n"},
		{name: "on behalf, Sender is the other", path: "alice@our.example", content: "From: boss@our.example\r\nSender: boss@our.example\r\n\r\n", code: 550},
		{name: "on behalf, two Sender", path: "alice@our.example", content: "From: boss@our.example\r\nSender: alice@our.example\r\nSender: alice@our.example\r\n\r\n", code: 550},
		{name: "on behalf, Sender is nobody", path: "alice@our.example", content: "From: boss@our.example\r\nSender: alice\r\n\r\n", code: 550},
		{name: "on behalf, Sender fails", path: "alice@our.example", content: "From: boss@our.example\r\nSender: broken@our.example\r\n\r\n", code: 451},
		{name: "on behalf, the other's path", path: "boss@our.example", content: "From: boss@our.example\r\nSender: alice@our.example\r\n\r\n", code: 550},
		{name: "two From", path: "alice@our.example", content: from + from + "\r\n", code: 554},
		{name: "no From", path: "alice@our.example", content: rest + "\r\n", code: 554},
		{name: "empty From", path: "alice@our.example", content: "From: \r\n\r\n", code: 554},
		{name: "From is no address", path: "alice@our.example", content: "From: alice\r\n\r\n", code: 554},
		{name: "empty message", path: "alice@our.example", code: 554},
		{name: "nobody there", path: "alice@our.example", to: "nobody@our.example", content: from, code: 550},
		{name: "far away", path: "alice@our.example", to: "bob@far.example", content: from + rest + "\r\n", want: from + rest + "\r\n"},
		{name: "directory fails", path: "broken@our.example", content: from, code: 451},
		{name: "somebody else", who: directory.Principal{ID: 8}, path: "alice@our.example", content: from, code: 550},
		{name: "hold too long", path: "alice@our.example", params: smtp.MailParams{HoldUntil: testTime.Add(HoldMax + time.Hour)}, content: from, code: 501},
		{name: "too large", path: "alice@our.example", content: from + rest + "\r\n" + strings.Repeat("x", 10_000), code: 552},
		{name: "large header", path: "alice@our.example", content: from + strings.Repeat("X: y\r\n", 200_000), code: 554},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, sub := newTest(t)
			if tt.to == "" {
				tt.to = "bob@our.example"
			}
			if tt.who.ID == 0 {
				tt.who = alice
			}
			e := Envelope{ReturnPath: mustParse(t, tt.path), Recipients: []mailflow.Recipient{{Address: mustParse(t, tt.to)}}, Params: tt.params,
				Trace: smtp.Trace{With: "ESMTPSA", Helo: "secret.example"}}
			id, statuses, err := s.Submit(t.Context(), tt.who, e, strings.NewReader(tt.content), mailflow.SubmitOptions{})
			if tt.code != 0 {
				var told *smtp.Error
				if !errors.As(err, &told) || told.Reply.Code != tt.code || sub.mail != nil {
					t.Fatalf("%v, want %d; mail %v", err, tt.code, sub.mail)
				}
				return
			}
			if err != nil || len(statuses) != 1 || id != sub.mail.ID || sub.mail.Origin.Account != alice.ID {
				t.Fatal(id, statuses, err)
			}
			top := ""
			if strings.HasSuffix(tt.to, "@our.example") {
				top = "Return-Path: <" + tt.path + ">\r\n"
			}
			want := top + "Received: by mx.our.example with ESMTPSA id " + id.String() + ";\r\n\tFri, 2 Jan 2026 03:04:05 +0000\r\n" + tt.want
			if sub.text != want {
				t.Errorf("%q, want %q", sub.text, want)
			}
			if sub.mail.Message.Size != int64(len(want)) {
				t.Errorf("structure of %d octets, want %d", sub.mail.Message.Size, len(want))
			}
		})
	}
}

// TestMissingFields: Date and Message-ID are added, each alone too.
func TestMissingFields(t *testing.T) {
	for _, given := range []string{"", "Date: Thu, 1 Jan 2026 00:00:00 +0000\r\n", "Message-ID: <x@our.example>\r\n"} {
		s, sub := newTest(t)
		e := Envelope{ReturnPath: alice.Login, Recipients: []mailflow.Recipient{{Address: alice.Login}}, Params: smtp.MailParams{HoldFor: time.Minute, Priority: 3}}
		if _, _, err := s.Submit(t.Context(), alice, e, strings.NewReader("From: alice@our.example\r\n"+given+"\r\ntext\r\n"), mailflow.SubmitOptions{}); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"\r\nDate: ", "\r\nMessage-ID: <"} {
			if strings.Count(sub.text, name) != 1 {
				t.Errorf("given %q: %q", given, sub.text)
			}
		}
		if m := sub.mail; m.Message.MessageID == "" || m.Message.Date.IsZero() || !m.HoldUntil.Equal(testTime.Add(time.Minute)) || m.Priority != 3 {
			t.Errorf("%+v", m)
		}
		if !strings.HasSuffix(sub.text, "\r\n\r\ntext\r\n") {
			t.Errorf("%q", sub.text)
		}
	}
}

func TestRecipientsMax(t *testing.T) {
	s, _ := newTest(t)
	for n, want := range map[int]int{0: 554, RecipientsMax + 1: 452} {
		e := Envelope{ReturnPath: alice.Login}
		for range n {
			e.Recipients = append(e.Recipients, mailflow.Recipient{Address: alice.Login})
		}
		_, _, err := s.Submit(t.Context(), alice, e, strings.NewReader("From: alice@our.example\r\n\r\n"), mailflow.SubmitOptions{})
		var told *smtp.Error
		if !errors.As(err, &told) || told.Reply.Code != want {
			t.Errorf("%d recipients: %v", n, err)
		}
	}
}

// TestSession is the way through SMTP.
func TestSession(t *testing.T) {
	plain := func(user string) string {
		return "AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00pass"))
	}
	for _, tt := range []struct{ name, dialogue string }{
		{"without AUTH", "C: MAIL FROM:<alice@our.example>\nS: 530 5.7.0"},
		{"identity of another kind", "C: " + plain("odd") + "\nS: 530 5.7.0\nC: MAIL FROM:<alice@our.example>\nS: 530"},
		{"another's path", "C: " + plain("alice") + "\nS: 235\nC: MAIL FROM:<bob@our.example>\nS: 550 5.7.1"},
		{"another's From", "C: " + plain("alice") + `
			S: 235
			C: MAIL FROM:<alice@our.example>
			S: 250
			C: RCPT TO:<nobody@our.example>
			S: 550 5.1.1
			C: RCPT TO:<broken@our.example>
			S: 451
			C: RCPT TO:<bob@far.example>
			S: 250
			C: DATA
			S: 354
			C: From: bob@our.example
			C:
			C: .
			S: 550 5.7.1 You may not send with this From
			C: MAIL FROM:<alice@our.example> MT-PRIORITY=2 HOLDFOR=60
			S: 250
			C: RCPT TO:<bob@far.example>
			S: 250
			C: DATA
			S: 354
			C: From: alice@our.example
			C:
			C: .
			S: 250 2.0.0 Queued as`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, sub := newTest(t)
			play(t, s, tt.dialogue)
			if (sub.mail != nil) != strings.Contains(tt.dialogue, "Queued") {
				t.Fatalf("mail %+v", sub.mail)
			}
			if sub.mail == nil {
				return
			}
			if m := sub.mail; m.Origin.Account != alice.ID || m.Origin.Protocol != "submission" || m.Priority != 2 || len(m.Recipients) != 1 {
				t.Errorf("%+v", m)
			}
			if strings.Contains(sub.text, "127.0.0.1") || strings.Contains(sub.text, "laptop") {
				t.Errorf("tells where the user is: %q", sub.text)
			}
		})
	}
}

// play runs a dialogue of C: and S: lines; an S: line is the start of a reply's last line.
func play(t *testing.T, sub *Submitter, dialogue string) {
	t.Helper()
	s := smtpserver.New(smtpserver.Options{Protocol: smtpserver.Submission, Hostname: "mx.our.example", NewSession: sub.NewSession,
		Extensions: Extensions, HoldMax: HoldMax, Auth: &sasl.Options{Backend: users{}}, InsecureAuth: true})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve(l)
	defer s.Close()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	r := bufio.NewReader(nc)
	for step := range strings.SplitSeq("S: 220\nC: EHLO laptop\nS: 250\n"+dialogue, "\n") {
		if step = strings.TrimSpace(step); step == "" {
			continue
		}
		if said, ok := strings.CutPrefix(step, "C:"); ok {
			if _, err := io.WriteString(nc, strings.TrimPrefix(said, " ")+"\r\n"); err != nil {
				t.Fatal(err)
			}
			continue
		}
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				t.Fatalf("%s: %v", step, err)
			}
			if line[3] == '-' {
				continue
			}
			if !strings.HasPrefix(line, strings.TrimPrefix(step, "S: ")) {
				t.Fatalf("got %q, want %q", line, step)
			}
			break
		}
	}
}
