package server

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"postroad/address"
	"postroad/imap/imapserver"
	"postroad/internal/blob"
	"postroad/internal/blob/memblob"
	"postroad/internal/directory"
	"postroad/internal/kv"
	"postroad/internal/kv/faultkv"
	"postroad/internal/kv/hlc"
	"postroad/internal/kv/memkv"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/mda/deliver"
	"postroad/internal/mda/imapd"
	"postroad/internal/mda/lmtpd"
	"postroad/internal/mda/pop3d"
	"postroad/internal/mta/bounce"
	"postroad/internal/mta/intake"
	"postroad/internal/mta/queue"
	"postroad/internal/mta/route"
	"postroad/message"
	"postroad/pop3"
	"postroad/sasl"
	"postroad/smtp/smtpserver"
)

// faulty is every door over a store that fails on purpose.
type faulty struct {
	*testing.T
	engine *faultkv.Engine
	mail   *mailstore.Store
	bodies *blob.Bodies
	alice  *mailstore.Account
	doors  map[string]string // protocol → address
}

// known is a login that needs no directory, so that only mail fails.
type known struct{ id mailflow.AccountID }

func (k known) Password(context.Context, string, string, string) (any, error) {
	return directory.Principal{ID: k.id, Login: address.Address{Local: "alice", Domain: "ours.test"}}, nil
}

func (known) Verifier(context.Context, string, string) (sasl.Verifier, error) {
	return sasl.Verifier{}, nil
}

// newFaulty opens the doors: those that bring mail in, or those that show it.
func newFaulty(t *testing.T, in bool) *faulty {
	engine, clock := faultkv.New(memkv.New()), hlc.NewClock(1)
	bodies := blob.NewBodies(engine, memblob.New(), clock)
	committer := &mailflow.Committer{Engine: engine, Bodies: bodies}
	quiet := slog.New(slog.DiscardHandler)
	f := &faulty{T: t, engine: engine, bodies: bodies, doors: map[string]string{}}
	f.mail = mailstore.New(mailstore.Options{Committer: committer, Clock: clock, Log: quiet})
	t.Cleanup(func() {
		clock.Close()
		engine.Close()
	})
	id := clock.Next()
	if in {
		id = f.bringIn(committer, clock)
	} else {
		f.show(id)
	}
	f.must(f.mail.Create(t.Context(), id, mailstore.Quota{Pool: directory.DefaultOrg, Bytes: 100_000}))
	var err error
	f.alice, err = f.mail.Account(t.Context(), id)
	f.must(err)
	return f
}

// bringIn opens SMTP and LMTP for alice@ours.test, whose account it returns.
func (f *faulty) bringIn(committer *mailflow.Committer, clock *hlc.Clock) mailflow.AccountID {
	quiet := slog.New(slog.DiscardHandler)
	dir, err := directory.Open(f.Context(), directory.Options{Engine: f.engine, Committer: committer, Clock: clock})
	f.must(err)
	f.Cleanup(dir.Close)
	_, err = dir.AddDomain(f.Context(), directory.Domain{Name: "ours.test", Org: directory.DefaultOrg})
	f.must(err)
	alice, err := dir.AddAccount(f.Context(), directory.NewAccount{Addresses: []address.Address{{Local: "alice", Domain: "ours.test"}}})
	f.must(err)
	router, err := route.New(route.Options{Directory: dir})
	f.must(err)
	composer, err := bounce.New(bounce.Options{Host: "ours.test", Bodies: f.bodies,
		Ours: func(context.Context, address.Address) (bool, error) { return true, nil }})
	f.must(err)
	q, err := queue.New(queue.Options{Committer: committer, Clock: clock, Router: router, Bouncer: composer, Log: quiet,
		Local: deliver.New(deliver.Options{Directory: dir, Store: f.mail, Log: quiet})})
	f.must(err)
	server := &Server{Store: &Store{Mail: f.mail}}
	in := intake.New(intake.Options{Hostname: "ours.test", Directory: dir, Submitter: q, Bodies: f.bodies, Clock: clock, Full: server.full})
	f.serve("smtp", smtpserver.New(smtpserver.Options{Hostname: "ours.test", NewSession: in.NewSession, Panicked: f.panicked}))
	local := lmtpd.New(lmtpd.Options{Hostname: "ours.test", Directory: dir, Submitter: q, Bodies: f.bodies, Clock: clock})
	f.serve("lmtp", smtpserver.New(smtpserver.Options{Protocol: smtpserver.LMTP, Hostname: "ours.test", NewSession: local.NewSession, Panicked: f.panicked}))
	return alice.ID
}

// show opens IMAP and POP3 for an account.
func (f *faulty) show(id mailflow.AccountID) {
	quiet := slog.New(slog.DiscardHandler)
	login := func(netip.Addr) sasl.Backend { return known{id} }
	mail := imapd.New(imapd.Options{Store: f.mail, Bodies: f.bodies, SASL: login, MessageBytesMax: 1 << 20, Log: quiet})
	f.serve("imap", imapserver.New(imapserver.Options{NewSession: mail.NewSession, InsecureAuth: true, MessageBytesMax: 1 << 20, Log: quiet}))
	drop := pop3d.New(pop3d.Options{Store: f.mail, SASL: login})
	f.serve("pop3", pop3.New(pop3.Options{NewSession: drop.NewSession, InsecureAuth: true, ConnsPerClient: -1, Logger: quiet, Panicked: f.panicked}))
}

// panicked reports a session that panicked.
func (f *faulty) panicked(v any, stack []byte) { f.Errorf("panic: %v\n%s", v, stack) }

func (f *faulty) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// serve opens a door at a port of its own.
func (f *faulty) serve(name string, s interface{ Serve(net.Listener) error }) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	f.must(err)
	f.doors[name] = l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	f.Cleanup(func() {
		switch s := s.(type) {
		case interface{ Close() error }:
			s.Close()
		case interface{ Close() }:
			s.Close()
		}
		<-served
	})
}

// faultTalk is one connection.
type faultTalk struct {
	*faulty
	c net.Conn
	r *bufio.Reader
}

func (f *faulty) dial(door string) *faultTalk {
	f.Helper()
	c, err := net.Dial("tcp", f.doors[door])
	f.must(err)
	f.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(30 * time.Second))
	return &faultTalk{f, c, bufio.NewReader(c)}
}

// line reads one line.
func (k *faultTalk) line() string {
	k.Helper()
	l, err := k.r.ReadString('\n')
	if err != nil {
		k.Fatalf("the connection ended: %v", err)
	}
	return strings.TrimRight(l, "\r\n")
}

// ask sends text and reads to the line that begins as one of the ends.
func (k *faultTalk) ask(text string, ends ...string) string {
	k.Helper()
	if _, err := fmt.Fprint(k.c, text+"\r\n"); err != nil {
		k.Fatal(err)
	}
	return k.until(ends...)
}

func (k *faultTalk) until(ends ...string) string {
	k.Helper()
	for {
		l := k.line()
		for _, e := range ends {
			if strings.HasPrefix(l, e) || e == "smtp" && len(l) > 3 && l[3] == ' ' {
				return l
			}
		}
	}
}

// append puts n messages into INBOX.
func (f *faulty) append(n int) {
	f.Helper()
	inbox, err := f.alice.Inbox(f.Context())
	f.must(err)
	for range n {
		text := "Subject: x\r\n\r\ntext\r\n"
		body, err := f.bodies.Stage(f.Context(), strings.NewReader(text), 1<<20)
		f.must(err)
		m, err := message.Parse(strings.NewReader(text), message.Limits{})
		f.must(err)
		_, err = f.alice.Append(f.Context(), inbox, &mailstore.Incoming{Body: body, Message: m, InternalDate: time.Now()})
		f.must(err)
	}
}

// messages counts INBOX once nothing fails any more, and checks the account.
func (f *faulty) messages() int {
	f.Helper()
	f.engine.Set(faultkv.Fault{})
	inbox, err := f.alice.Inbox(f.Context())
	f.must(err)
	s, err := f.alice.Status(f.Context(), inbox)
	f.must(err)
	f.must(f.alice.Check(f.Context(), true, func(x mailstore.Finding) { f.Errorf("check: %v", x) }))
	return int(s[0].Messages)
}

// faults are what goes wrong in the space of an account.
var faults = map[string]faultkv.Fault{
	"works":              {},
	"full":               {Spaces: "a/", Commit: kv.ErrFull},
	"broken":             {Spaces: "a/", Commit: faultkv.ErrBroken},
	"over a limit":       {Spaces: "a/", Commit: &kv.LimitError{Space: "a/1"}},
	"unreadable":         {Spaces: "a/", Snapshot: faultkv.ErrBroken, Versions: faultkv.ErrBroken},
	"breaks off":         {Spaces: "a/", Scan: faultkv.ErrBroken, Versions: faultkv.ErrBroken},
	"conflicts":          {Spaces: "a/", Conflicts: 7},
	"conflicts for ever": {Spaces: "a/", Conflicts: -1},
	"slow":               {Spaces: "a/", Slow: 5 * time.Millisecond},
}

// TestFaultsOfDelivery: what is answered with 250 is there, and nothing else is; the
// connection lives on, and the next mail comes through.
func TestFaultsOfDelivery(t *testing.T) {
	for _, c := range []struct{ fault, smtp, lmtp string }{
		{"works", "250 2.0.0", "250 2.1.5"},
		{"full", "452 4.3.1", "452 4.3.1"},
		{"broken", "451 4.3.0", "451 4.3.0"},
		{"over a limit", "451 4.3.0", "451 4.3.0"},
		{"unreadable", "451 4.3.0", "451 4.3.0"},
		{"conflicts", "250 2.0.0", "250 2.1.5"},
		{"conflicts for ever", "451 4.3.0", "451 4.3.0"},
		{"slow", "250 2.0.0", "250 2.1.5"},
	} {
		for door, want := range map[string]string{"smtp": c.smtp, "lmtp": c.lmtp} {
			t.Run(door+" "+c.fault, func(t *testing.T) {
				f := newFaulty(t, true)
				k := f.dial(door)
				k.until("smtp")
				hello := map[string]string{"smtp": "EHLO there.test", "lmtp": "LHLO there.test"}[door]
				k.ask(hello, "smtp")
				f.engine.Set(faults[c.fault])
				last := k.deliver()
				if !strings.HasPrefix(last, want) {
					t.Errorf("answered %q, want %q", last, want)
				}
				n := 0
				if strings.HasPrefix(last, "250") {
					n++
				}
				if got := f.messages(); got != n {
					t.Errorf("%d messages are there, %d were acknowledged", got, n)
				}
				k.ask("RSET", "smtp")
				if last := k.deliver(); !strings.HasPrefix(last, "250") || f.messages() != n+1 {
					t.Errorf("afterwards: %q", last)
				}
			})
		}
	}
}

// deliver sends a mail and returns the reply that settled it.
func (k *faultTalk) deliver() string {
	k.Helper()
	k.ask("MAIL FROM:<bob@there.test>", "smtp")
	if r := k.ask("RCPT TO:<alice@ours.test>", "smtp"); !strings.HasPrefix(r, "250") {
		return r
	}
	if r := k.ask("DATA", "smtp"); !strings.HasPrefix(r, "354") {
		return r
	}
	return k.ask("Subject: x\r\n\r\ntext\r\n.", "smtp")
}

// TestFaultsOfIMAP: each command over each fault.
func TestFaultsOfIMAP(t *testing.T) {
	const ok, full, not = "OK", "NO [OVERQUOTA]", "NO [UNAVAILABLE]"
	changes := []string{"APPEND INBOX {4+}\r\nx: y", "COPY 1 Trash", "MOVE 1 Trash", "STORE 1 +FLAGS (\\Deleted)", "EXPUNGE",
		"CREATE new", "DELETE Junk", "RENAME Junk other", "SUBSCRIBE new", `SETMETADATA INBOX (/private/comment "x")`}
	reads := []string{"SELECT Trash", "STATUS Trash (MESSAGES)", `LIST "" *`, "GETQUOTA Account", "GETMETADATA INBOX /private/comment",
		"FETCH 2 (BODYSTRUCTURE)", "SEARCH SUBJECT x"}
	for _, c := range []struct{ fault, change, read string }{
		{"works", ok, ok}, {"full", full, ok}, {"broken", not, ok}, {"over a limit", full, ok}, {"unreadable", not, not},
		{"conflicts", ok, ok}, {"conflicts for ever", not, ok}, {"slow", ok, ok},
	} {
		t.Run(c.fault, func(t *testing.T) {
			for want, commands := range map[*string][]string{&c.change: changes, &c.read: reads} {
				for _, command := range commands {
					f := newFaulty(t, false)
					f.append(2)
					k := f.dial("imap")
					k.until("* OK")
					k.ask("a LOGIN alice x", "a ")
					k.ask("b SELECT INBOX", "b ")
					k.ask("c STORE 2 +FLAGS (\\Deleted)", "c ")
					f.engine.Set(faults[c.fault])
					got := k.ask("d "+command, "d ", "* BYE")
					if !strings.HasPrefix(got, "d "+*want) {
						t.Errorf("%s: %q, want %q", command, got, *want)
					}
					n := 2
					if strings.HasPrefix(got, "d OK") {
						n += map[string]int{"APPE": 1, "MOVE": -1, "EXPU": -1}[command[:4]]
					}
					if have := f.messages(); have != n {
						t.Errorf("%s answered %q, and INBOX has %d messages", command, got, have)
					}
					if after := k.ask("e NOOP", "e ", "* BYE"); !strings.HasPrefix(after, "e OK") {
						t.Errorf("%s: afterwards %q", command, after)
					}
				}
			}
		})
	}
}

// TestFaultsOfPOP3 is the same for a maildrop.
func TestFaultsOfPOP3(t *testing.T) {
	for _, c := range []struct{ fault, login, retr, quit string }{
		{"works", "+OK", "+OK", "+OK"},
		{"full", "+OK", "+OK", "-ERR [SYS/TEMP]"},
		{"broken", "+OK", "+OK", "-ERR [SYS/TEMP]"},
		{"unreadable", "-ERR [SYS/TEMP]", "-ERR [SYS/TEMP]", "-ERR [SYS/TEMP]"},
		{"conflicts", "+OK", "+OK", "+OK"},
		{"conflicts for ever", "+OK", "+OK", "-ERR [SYS/TEMP]"},
		{"slow", "+OK", "+OK", "+OK"},
	} {
		t.Run(c.fault, func(t *testing.T) {
			f := newFaulty(t, false)
			f.append(2)
			f.engine.Set(faults[c.fault])
			k := f.dial("pop3")
			k.until("+OK")
			k.ask("USER alice", "+OK")
			if got := k.ask("PASS x", "+OK", "-ERR"); !strings.HasPrefix(got, c.login) {
				t.Errorf("log-in: %q, want %q", got, c.login)
			}
			f.engine.Set(faultkv.Fault{})
			k.c.Close()
			k = f.dial("pop3")
			k.until("+OK")
			k.ask("USER alice", "+OK")
			for range 100 { // until the first session has given the maildrop back
				if got := k.ask("PASS x", "+OK", "-ERR"); !strings.HasPrefix(got, "-ERR [IN-USE]") {
					break
				}
				time.Sleep(10 * time.Millisecond)
				k.ask("USER alice", "+OK", "-ERR")
			}
			f.engine.Set(faults[c.fault])
			got := k.ask("RETR 1", "+OK", "-ERR")
			if !strings.HasPrefix(got, c.retr) {
				t.Errorf("RETR: %q, want %q", got, c.retr)
			}
			if strings.HasPrefix(got, "+OK") {
				k.until(".")
			}
			k.ask("DELE 1", "+OK")
			if got := k.ask("QUIT", "+OK", "-ERR"); !strings.HasPrefix(got, c.quit) {
				t.Errorf("QUIT: %q, want %q", got, c.quit)
			}
			n := 2
			if c.quit == "+OK" {
				n = 1
			}
			if got := f.messages(); got != n {
				t.Errorf("%d messages are there, want %d", got, n)
			}
		})
	}
}
