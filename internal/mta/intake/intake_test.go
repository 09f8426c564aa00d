package intake

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"regexp"
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
	"postroad/smtp"
	"postroad/smtp/smtpserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// people is a directory; an address that is not in it is not ours.
type people map[string]directory.Target

func (p people) Resolve(_ context.Context, a address.Address) (directory.Target, error) {
	if a.Local == "broken" {
		return directory.Target{}, errors.New("disk on fire")
	}
	if t, ok := p[a.String()]; ok {
		return t, nil
	}
	if a.Domain == "our.example" {
		return directory.Target{Kind: directory.Unknown}, nil
	}
	return directory.Target{Kind: directory.NotLocal}, nil
}

func (people) Authenticate(context.Context, directory.Credentials) (directory.Principal, error) {
	return directory.Principal{}, directory.ErrCredentials
}

func (people) Principal(context.Context, directory.AccountID) (directory.Principal, error) {
	return directory.Principal{}, directory.ErrNotFound
}

func (people) MaySendAs(context.Context, directory.Principal, address.Address) (directory.SendRight, error) {
	return directory.SendNot, nil
}

func (people) Member(context.Context, string, directory.AccountID) (bool, error) {
	return false, nil
}

const (
	alice mailflow.AccountID = 1
	full  mailflow.AccountID = 2
	news  mailflow.AccountID = 3
)

func testPeople() people {
	mailbox := func(id mailflow.AccountID) directory.Target {
		return directory.Target{Kind: directory.Mailbox, Accounts: []directory.Destination{{Account: id}}}
	}
	return people{
		"alice@our.example":  mailbox(alice),
		"full@our.example":   mailbox(full),
		"news@our.example":   mailbox(news),
		"off@our.example":    {Kind: directory.Disabled},
		"loop@our.example":   {Kind: directory.Loop},
		"empty@our.example":  {Kind: directory.Alias},
		"onward@our.example": {Kind: directory.Alias, Outside: []address.Address{{Local: "x", Domain: "far.example"}}},
	}
}

// submitted is a mailflow.Submitter that keeps what it was given.
type submitted struct {
	t      *testing.T
	bodies *blob.Bodies
	mails  []mailflow.Mail
	texts  []string
	err    error
}

func (s *submitted) Submit(ctx context.Context, m *mailflow.Mail, o mailflow.SubmitOptions) ([]mailflow.Status, error) {
	if s.err != nil {
		return nil, s.err
	}
	if o.PerRecipient {
		s.t.Error("port 25 cannot answer each recipient")
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
	s.mails, s.texts = append(s.mails, *m), append(s.texts, string(b))
	return make([]mailflow.Status, len(m.Recipients)), nil
}

func (s *submitted) Status(context.Context, mailflow.ID) ([]mailflow.Status, error) { return nil, nil }
func (s *submitted) Cancel(context.Context, mailflow.ID) (int, error)               { return 0, nil }

// play runs a dialogue of C: and S: lines against port 25. An S: line is the start of a
// reply's last line.
func play(t *testing.T, change func(*Options, *submitted), dialogue string) *submitted {
	t.Helper()
	clock := hlc.NewClock(1)
	bodies := blob.NewBodies(memkv.New(), memblob.New(), clock)
	sub := &submitted{t: t, bodies: bodies}
	o := Options{
		Hostname: "mx.our.example", Directory: testPeople(), Submitter: sub, Bodies: bodies, Clock: clock,
		Full: func(_ context.Context, id mailflow.AccountID, size int64) (bool, error) {
			return id == full && size != 1, nil
		},
		MayPost: func(_ context.Context, to directory.Destination) (bool, error) { return to.Account != news, nil },
	}
	if change != nil {
		change(&o, sub)
	}
	in := New(o)
	in.now = func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }
	s := smtpserver.New(smtpserver.Options{Hostname: "mx.our.example", NewSession: in.NewSession, Extensions: Extensions, SizeMax: o.Limits.Size})
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
	for step := range strings.SplitSeq(strings.TrimSpace("S: 220\nC: EHLO there.example\nS: 250\n"+dialogue), "\n") {
		if step = strings.TrimSpace(step); step == "" {
			continue
		}
		if said, ok := strings.CutPrefix(step, "C:"); ok {
			if _, err := io.WriteString(nc, strings.TrimPrefix(said, " ")+"\r\n"); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want := strings.TrimPrefix(step, "S: ")
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				t.Fatalf("%s: %v", step, err)
			}
			if line[3] == '-' {
				continue
			}
			if !strings.HasPrefix(line, want) {
				t.Fatalf("got %q, want %q", line, want)
			}
			break
		}
	}
	return sub
}

func TestRecipients(t *testing.T) {
	sub := play(t, nil, `
		C: MAIL FROM:<bob@there.example>
		S: 250
		C: RCPT TO:<nobody@our.example>
		S: 550 5.1.1
		C: RCPT TO:<news@our.example>
		S: 550 5.7.1 You may not post there
		C: RCPT TO:<carol@far.example>
		S: 550 5.7.1 Relaying denied
		C: RCPT TO:<@our.example:carol@far.example>
		S: 550 5.7.1 Relaying denied
		C: RCPT TO:<"carol@far.example"@our.example>
		S: 550 5.1.1
		C: RCPT TO:<carol%far.example@our.example>
		S: 550 5.1.1
		C: RCPT TO:<off@our.example>
		S: 550 5.2.1
		C: RCPT TO:<loop@our.example>
		S: 554 5.4.6
		C: RCPT TO:<empty@our.example>
		S: 550 5.1.1
		C: RCPT TO:<full@our.example>
		S: 452 4.2.2
		C: RCPT TO:<broken@our.example>
		S: 451 4.3.0
		C: RCPT TO:<Alice@our.example>
		S: 550 5.1.1
		C: RCPT TO:<alice@OUR.example> NOTIFY=NEVER ORCPT=rfc822;A+2BB@x
		S: 250
		C: DATA
		S: 354
		C: Subject: x
		C:
		C: text
		C: .
		S: 250 2.0.0 Queued as `)
	if len(sub.mails) != 1 {
		t.Fatalf("%d mails", len(sub.mails))
	}
	m := sub.mails[0]
	want := []mailflow.Recipient{{Address: address.Address{Local: "alice", Domain: "our.example"}, Notify: smtp.NotifyNever, Original: "rfc822;A+B@x"}}
	if fmt.Sprint(m.Recipients) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", m.Recipients, want)
	}
	if m.Origin.Helo != "there.example" || m.Origin.Protocol != "smtp" || !m.Origin.Client.IsValid() {
		t.Errorf("origin %+v", m.Origin)
	}
	if m.Message.Subject != "x" || m.Message.Size != int64(len(sub.texts[0])) {
		t.Errorf("structure %+v", m.Message)
	}
}

// TestTop is the trace fields, octet for octet.
func TestTop(t *testing.T) {
	id := regexp.MustCompile(`id [^\s;]+`)
	for _, tt := range []struct {
		name, rcpts, want string
		relays            bool
	}{
		{"one of ours", "alice@our.example", "Return-Path: <bob@there.example>\r\n" +
			"Received: from there.example ([127.0.0.1])\r\n\tby mx.our.example with ESMTP ID\r\n\tfor <alice@our.example>;\r\n\tFri, 2 Jan 2026 03:04:05 +0000\r\n\r\n", false},
		{"two", "alice@our.example alice@our.example", "Return-Path: <bob@there.example>\r\n" +
			"Received: from there.example ([127.0.0.1])\r\n\tby mx.our.example with ESMTP ID;\r\n\tFri, 2 Jan 2026 03:04:05 +0000\r\n\r\n", false},
		{"sent on", "alice@our.example onward@our.example",
			"Received: from there.example ([127.0.0.1])\r\n\tby mx.our.example with ESMTP ID;\r\n\tFri, 2 Jan 2026 03:04:05 +0000\r\n\r\n", false},
		{"relayed", "carol@far.example",
			"Received: from there.example ([127.0.0.1])\r\n\tby mx.our.example with ESMTP ID\r\n\tfor <carol@far.example>;\r\n\tFri, 2 Jan 2026 03:04:05 +0000\r\n\r\n", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dialogue := "C: MAIL FROM:<bob@there.example>\nS: 250\n"
			for r := range strings.FieldsSeq(tt.rcpts) {
				dialogue += "C: RCPT TO:<" + r + ">\nS: 250\n"
			}
			sub := play(t, func(o *Options, _ *submitted) {
				if tt.relays {
					o.Relays = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
				}
			}, dialogue+"C: DATA\nS: 354\nC:\nC: .\nS: 250")
			if got := id.ReplaceAllString(sub.texts[0], "ID"); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestContent(t *testing.T) {
	const envelope = "C: MAIL FROM:<bob@there.example>\nS: 250\nC: RCPT TO:<alice@our.example>\nS: 250\nC: DATA\nS: 354\n"
	hops := func(n int) string { return strings.Repeat("C: Received: by x; now\n", n) }
	for _, tt := range []struct {
		name, dialogue string
		change         func(*Options, *submitted)
		mails          int
	}{
		{"hops", envelope + hops(mailflow.HopsMax-1) + "C:\nC: .\nS: 250", nil, 1},
		{"too many hops", envelope + hops(mailflow.HopsMax) + "C:\nC: .\nS: 554 5.4.6", nil, 0},
		{"too many fields", envelope + strings.Repeat("C: X: y\n", 1001) + "C:\nC: .\nS: 554 5.6.0", nil, 0},
		{"hops, set", envelope + hops(mailflow.HopsMax+50) + "C:\nC: .\nS: 250", func(o *Options, _ *submitted) { o.Limits.Hops = 200 }, 1},
		{"fields, set", envelope + strings.Repeat("C: X: y\n", 150) + "C:\nC: .\nS: 554 5.6.0", func(o *Options, _ *submitted) { o.Limits.Header.HeaderFields = 100 }, 0},
		{"header, set", envelope + "C: X: " + strings.Repeat("y", 900) + "\nC:\nC: .\nS: 554 5.6.0", func(o *Options, _ *submitted) { o.Limits.Header.HeaderOctets = 800 }, 0},
		{"too large", envelope + "C: 0123456789\nC: 0123456789\nC: .\nS: 552 5.3.4", func(o *Options, _ *submitted) { o.Limits.Size = 20 }, 0},
		{"our fault", envelope + "C: .\nS: 451 4.3.0 Internal", func(_ *Options, s *submitted) { s.err = errors.New("disk on fire") }, 0},
		{"told", envelope + "C: .\nS: 452 4.2.2 full", func(_ *Options, s *submitted) {
			s.err = smtp.NewError(452, smtp.EnhancedCode{4, 2, 2}, "full")
		}, 0},
		{"size that fits", strings.Replace(envelope, "alice", "full", 1) + "C: .\nS: 250", func(o *Options, _ *submitted) {
			o.Full = func(_ context.Context, _ mailflow.AccountID, size int64) (bool, error) { return size > 10, nil }
		}, 1},
		{"full for good", "C: MAIL FROM:<bob@there.example>\nS: 250\nC: RCPT TO:<full@our.example>\nS: 552 5.2.2", func(o *Options, _ *submitted) { o.RejectFull = true }, 0},
		{"guessing", "C: MAIL FROM:<>\nS: 250\n" + strings.Repeat("C: RCPT TO:<x@our.example>\nS: 550\n", unknownMax-1) +
			"C: RCPT TO:<x@our.example>\nS: 421 4.7.0", nil, 0},
		{"again", envelope + "C: .\nS: 250\n" + envelope + "C: .\nS: 250\n" + "C: DATA\nS: 503", nil, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sub := play(t, tt.change, tt.dialogue)
			if len(sub.mails) != tt.mails {
				t.Errorf("%d mails, want %d", len(sub.mails), tt.mails)
			}
			for _, m := range sub.mails {
				if len(m.Recipients) != 1 {
					t.Errorf("recipients %v", m.Recipients)
				}
			}
		})
	}
}

// TestFlags: what MAIL said, and what the content is, reach the mail.
func TestFlags(t *testing.T) {
	sub := play(t, nil, `
		C: MAIL FROM:<ü@there.example> SMTPUTF8 RET=HDRS ENVID=a+2Bb BY=60;N
		S: 250
		C: RCPT TO:<alice@our.example>
		S: 250
		C: DATA
		S: 354
		C:
		C: ü
		C: .
		S: 250`)
	m := sub.mails[0]
	if !m.SMTPUTF8 || !m.EightBit || m.Return != smtp.ReturnHeaders || m.EnvID != "a+b" || m.DeliverBy.Within != time.Minute {
		t.Errorf("%+v", m)
	}
	if !strings.HasPrefix(sub.texts[0], "Return-Path: <ü@there.example>\r\n") || !strings.Contains(sub.texts[0], "with UTF8SMTP ") {
		t.Errorf("%q", sub.texts[0])
	}
}
