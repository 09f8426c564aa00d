package lmtpd

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"path/filepath"
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

// people is a directory where everybody at our.example but nobody@ has a mailbox.
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

// outcomes is a mailflow.Submitter: the recipient's name says what becomes of it.
type outcomes struct {
	t      *testing.T
	bodies *blob.Bodies
	text   string
	err    error
}

func (s *outcomes) Submit(ctx context.Context, m *mailflow.Mail, o mailflow.SubmitOptions) ([]mailflow.Status, error) {
	if s.err != nil {
		return nil, s.err
	}
	if !o.PerRecipient {
		s.t.Error("LMTP must have an answer for each recipient")
	}
	r, err := s.bodies.Open(ctx, m.Body)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
	s.text = string(b)
	statuses := make([]mailflow.Status, len(m.Recipients))
	for i, to := range m.Recipients {
		st := &statuses[i]
		switch to.Address.Local {
		case "full":
			st.Action, st.Reply = mailflow.Failed, smtp.Reply{Code: 552, Enhanced: smtp.EnhancedCode{5, 2, 2}, Lines: []string{"full"}}
		case "later":
			st.Action, st.Reply = mailflow.Delayed, smtp.Reply{Code: 452, Enhanced: smtp.EnhancedCode{4, 2, 2}, Lines: []string{"later"}}
		case "silent":
			st.Action = mailflow.Failed
		case "queued":
			st.Action, st.Reply = mailflow.Delayed, smtp.Reply{Code: 250, Lines: []string{"Queued"}}
		case "odd":
			st.Action, st.Reply = mailflow.Delayed, smtp.Reply{Code: 550, Lines: []string{"odd"}}
		case "expanded":
			st.Action = mailflow.Expanded
		default:
			st.Action = mailflow.Delivered
		}
	}
	return statuses, err
}

func (s *outcomes) Status(context.Context, mailflow.ID) ([]mailflow.Status, error) { return nil, nil }
func (s *outcomes) Cancel(context.Context, mailflow.ID) (int, error)               { return 0, nil }

// play runs a dialogue over a unix socket, and returns what was submitted.
func play(t *testing.T, fault error, dialogue string) *outcomes {
	t.Helper()
	clock := hlc.NewClock(1)
	bodies := blob.NewBodies(memkv.New(), memblob.New(), clock)
	sub := &outcomes{t: t, bodies: bodies, err: fault}
	door := New(Options{Hostname: "mx.our.example", Directory: people{}, Submitter: sub, Bodies: bodies, Clock: clock})
	door.now = func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }
	s := smtpserver.New(smtpserver.Options{Protocol: smtpserver.LMTP, Hostname: "mx.our.example", NewSession: door.NewSession, Extensions: Extensions})
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "lmtp"))
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve(l)
	defer s.Close()
	nc, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	r := bufio.NewReader(nc)
	for step := range strings.SplitSeq(strings.TrimSpace("S: 220\nC: LHLO there.example\nS: 250\n"+dialogue), "\n") {
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
	return sub
}

func TestEachRecipient(t *testing.T) {
	sub := play(t, nil, `
		C: MAIL FROM:<bob@there.example>
		S: 250
		C: RCPT TO:<nobody@our.example>
		S: 550 5.1.1
		C: RCPT TO:<carol@far.example>
		S: 550 5.7.1
		C: RCPT TO:<broken@our.example>
		S: 451 4.3.0
		C: RCPT TO:<alice@our.example>
		S: 250
		C: RCPT TO:<full@our.example>
		S: 250
		C: RCPT TO:<later@our.example>
		S: 250
		C: RCPT TO:<silent@our.example>
		S: 250
		C: RCPT TO:<odd@our.example>
		S: 250
		C: RCPT TO:<expanded@our.example>
		S: 250
		C: RCPT TO:<queued@our.example>
		S: 250
		C: DATA
		S: 354
		C: Subject: x
		C:
		C: .
		S: 250 2.1.5 Delivered as
		S: 552 5.2.2 full
		S: 452 4.2.2 later
		S: 550 5.0.0 Not delivered
		S: 451 4.3.0 Cannot deliver now
		S: 250 2.1.5
		S: 250 2.0.0 Queued as
		C: MAIL FROM:<bob@there.example>
		S: 250`)
	const want = "Return-Path: <bob@there.example>\r\nReceived: from there.example\r\n\tby mx.our.example with LMTP id "
	if !strings.HasPrefix(sub.text, want) || !strings.HasSuffix(sub.text, ";\r\n\tFri, 2 Jan 2026 03:04:05 +0000\r\nSubject: x\r\n\r\n") {
		t.Errorf("%q", sub.text)
	}
}

func TestFaults(t *testing.T) {
	const dialogue = "C: MAIL FROM:<>\nS: 250\nC: RCPT TO:<a@our.example>\nS: 250\nC: RCPT TO:<b@our.example>\nS: 250\nC: DATA\nS: 354\nC:\nC: .\n"
	play(t, errors.New("disk on fire"), dialogue+"S: 451 4.3.0 Internal\nS: 451 4.3.0 Internal")
	play(t, smtp.NewError(554, smtp.EnhancedCode{5, 7, 1}, "no"), dialogue+"S: 554 5.7.1 no\nS: 554 5.7.1 no")
}

func TestPeers(t *testing.T) {
	l := New(Options{Peers: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	for a, want := range map[string]bool{"127.0.0.1": true, "::1": true, "10.1.2.3": true, "::ffff:10.1.2.3": true, "192.0.2.1": false, "2001:db8::1": false} {
		if got := l.serves(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s: %v", a, got)
		}
	}
	if !l.serves(netip.Addr{}) {
		t.Error("a unix socket is not served")
	}
}
