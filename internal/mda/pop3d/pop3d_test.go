package pop3d

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"postroad/address"
	"postroad/internal/blob"
	"postroad/internal/blob/memblob"
	"postroad/internal/directory"
	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
	"postroad/internal/kv/memkv"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/message"
	"postroad/pop3"
	"postroad/sasl"
)

// logins lets everybody in who knows the password.
type logins struct{ id mailflow.AccountID }

func (l logins) Password(_ context.Context, _, user, password string) (any, error) {
	switch {
	case password != "secret":
		return nil, sasl.ErrCredentials
	case user == "ghost":
		return directory.Principal{ID: 12345}, nil
	case user == "stranger":
		return "somebody", nil
	}
	return directory.Principal{ID: l.id, Login: address.Address{Local: user, Domain: "example.test"}}, nil
}

func (logins) Verifier(context.Context, string, string) (sasl.Verifier, error) {
	return sasl.Verifier{}, nil
}

// failing is an engine whose commits fail while it is told to.
type failing struct {
	kv.Engine
	fail    atomic.Bool
	commits atomic.Int32
}

func (e *failing) Commit(ctx context.Context, b ...kv.Batch) ([]kv.Result, error) {
	e.commits.Add(1)
	if e.fail.Load() {
		return nil, errors.New("disk error")
	}
	return e.Engine.Commit(ctx, b...)
}

// house is a server over a store in memory.
type house struct {
	t       testing.TB
	addr    string
	engine  *failing
	store   *mailstore.Store
	bodies  *blob.Bodies
	account *mailstore.Account
}

func newHouse(t testing.TB) *house {
	t.Helper()
	engine := &failing{Engine: memkv.New()}
	clock := hlc.NewClock(1)
	bodies := blob.NewBodies(engine, memblob.New(), clock)
	store := mailstore.New(mailstore.Options{Committer: &mailflow.Committer{Engine: engine, Bodies: bodies}, Clock: clock})
	id := clock.Next()
	if err := store.Create(t.Context(), id, mailstore.Quota{}); err != nil {
		t.Fatal(err)
	}
	account, err := store.Account(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	backend := New(Options{Store: store, SASL: func(netip.Addr) sasl.Backend { return logins{id} }})
	server := pop3.New(pop3.Options{NewSession: backend.NewSession, InsecureAuth: true, ConnsPerClient: -1})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Close()
		if err := <-served; err != pop3.ErrClosed {
			t.Errorf("serve: %v", err)
		}
		engine.Close()
	})
	return &house{t, l.Addr().String(), engine, store, bodies, account}
}

// deliver puts a message into a mailbox.
func (h *house) deliver(mailbox, text string) {
	h.t.Helper()
	ctx := h.t.Context()
	body, err := h.bodies.Stage(ctx, strings.NewReader(text), 1<<30)
	if err != nil {
		h.t.Fatal(err)
	}
	m, err := message.Parse(strings.NewReader(text), message.Limits{})
	if err != nil {
		h.t.Fatal(err)
	}
	tree, err := h.account.Tree(ctx)
	if err != nil {
		h.t.Fatal(err)
	}
	in := &mailstore.Incoming{Body: body, Message: m, InternalDate: time.Unix(1, 0)}
	if _, err := h.account.Append(ctx, tree.Name(mailbox).ID, in); err != nil {
		h.t.Fatal(err)
	}
}

// expunge removes what IMAP would: by index.
func (h *house) expunge(i int) {
	h.t.Helper()
	ctx := h.t.Context()
	tree, err := h.account.Tree(ctx)
	if err != nil {
		h.t.Fatal(err)
	}
	view, err := h.account.View(ctx, tree.Inbox().ID)
	if err != nil {
		h.t.Fatal(err)
	}
	defer view.Close()
	s, err := view.Snapshot(ctx)
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := h.account.Expunge(ctx, tree.Inbox().ID, s.UIDs(i, i+1), true); err != nil {
		h.t.Fatal(err)
	}
}

// client is one connection.
type client struct {
	t testing.TB
	c net.Conn
	r *bufio.Reader
}

func (h *house) dial() *client {
	h.t.Helper()
	c, err := net.Dial("tcp", h.addr)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { c.Close() })
	k := &client{h.t, c, bufio.NewReader(c)}
	k.expect("+OK")
	return k
}

// login is dial with a log-in that answers so.
func (h *house) login(want string) *client {
	h.t.Helper()
	k := h.dial()
	k.do("USER alice", "+OK")
	k.do("PASS secret", want)
	return k
}

func (k *client) expect(want string) string {
	k.t.Helper()
	line, err := k.r.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, want) {
		k.t.Fatalf("got %q, %v, want %q", line, err, want)
	}
	return strings.TrimSuffix(line, "\r\n")
}

func (k *client) do(command, want string) string {
	k.t.Helper()
	if _, err := io.WriteString(k.c, command+"\r\n"); err != nil {
		k.t.Fatal(err)
	}
	return k.expect(want)
}

// lines does a command with a multi-line response and returns that.
func (k *client) lines(command string) (lines []string) {
	k.t.Helper()
	k.do(command, "+OK")
	for {
		line, err := k.r.ReadString('\n')
		if err != nil {
			k.t.Fatal(err)
		}
		if line == ".\r\n" {
			return lines
		}
		lines = append(lines, strings.TrimSuffix(strings.TrimPrefix(line, "."), "\r\n"))
	}
}

const small = "Subject: small\r\n\r\n.dot\r\n"

var large = "Subject: large\r\n\r\n" + strings.Repeat("0123456789 123456789 123456789\r\n", 10_000)

func TestSession(t *testing.T) {
	h := newHouse(t)
	h.deliver("INBOX", small)
	h.deliver("INBOX", large)
	h.deliver("Sent", small)
	h.deliver("INBOX", small)

	k := h.login("+OK 3 messages")
	k.do("STAT", fmt.Sprintf("+OK 3 %d", 2*len(small)+len(large)))
	if got := strings.Join(k.lines("RETR 1"), "\r\n") + "\r\n"; got != small {
		t.Errorf("the small message is %q", got)
	}
	if got := strings.Join(k.lines("RETR 2"), "\r\n") + "\r\n"; got != large {
		t.Errorf("the large message has %d octets", len(got))
	}
	uids := k.lines("UIDL")
	k.do("DELE 2", "+OK")
	before := h.engine.commits.Load()
	k.do("QUIT", "+OK")
	if n := h.engine.commits.Load() - before; n != 1 {
		t.Errorf("%d commits at QUIT", n)
	}

	// The ids stay those of the messages.
	k = h.login("+OK 2 messages")
	want := []string{uids[0], "2" + strings.TrimPrefix(uids[2], "3")}
	if got := k.lines("UIDL"); strings.Join(got, ",") != strings.Join(want, ",") {
		t.Errorf("ids %q, not %q", got, want)
	}
	k.do("QUIT", "+OK")
}

// TestLock: one session at a time; the end of a connection is the end of its lock.
func TestLock(t *testing.T) {
	h := newHouse(t)
	h.deliver("INBOX", small)
	first := h.login("+OK 1")
	first.do("DELE 1", "+OK")
	second := h.login("-ERR [IN-USE]")
	first.c.Close()
	for try := 0; ; try++ {
		second.do("USER alice", "+OK")
		io.WriteString(second.c, "PASS secret\r\n")
		line, err := second.r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(line, "+OK 1 messages") { // nothing was removed
			break
		}
		if try == 1000 {
			t.Fatalf("still %q", line)
		}
	}
	second.do("QUIT", "+OK")
	h.login("+OK 1").do("QUIT", "+OK")
}

// TestBesideIMAP: the maildrop is that of the log-in; what others did shows in the next.
func TestBesideIMAP(t *testing.T) {
	h := newHouse(t)
	for range 3 {
		h.deliver("INBOX", small)
	}
	k := h.login("+OK 3")
	h.expunge(1)
	h.deliver("INBOX", small)
	if err := h.account.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	k.do("STAT", "+OK 3")
	k.lines("RETR 1")
	k.lines("RETR 3")
	k.do("DELE 2", "+OK") // gone already
	k.do("DELE 3", "+OK")
	k.do("QUIT", "+OK")
	h.login("+OK 2").do("QUIT", "+OK")
}

// TestFailedUpdate: a QUIT that could not remove says so, and the lock ends.
func TestFailedUpdate(t *testing.T) {
	h := newHouse(t)
	h.deliver("INBOX", small)
	k := h.login("+OK 1")
	k.do("DELE 1", "+OK")
	h.engine.fail.Store(true)
	k.do("QUIT", "-ERR [SYS/TEMP]")
	h.engine.fail.Store(false)
	if _, err := k.r.ReadByte(); err != io.EOF {
		t.Errorf("the connection goes on: %v", err)
	}
	h.login("+OK 1").do("QUIT", "+OK")
}

func TestWrongIdentities(t *testing.T) {
	h := newHouse(t)
	k := h.dial()
	k.do("USER alice", "+OK")
	k.do("PASS wrong", "-ERR [AUTH]")
	k.do("USER ghost", "+OK")
	k.do("PASS secret", "-ERR [SYS/PERM]")
	k.do("USER stranger", "+OK")
	k.do("PASS secret", "-ERR [SYS/TEMP]")
	k.do("USER ghost", "+OK")
	k.do("PASS secret", "-ERR [SYS/PERM]") // and no lock was left
	k.do("QUIT", "+OK")
}

func TestAnswer(t *testing.T) {
	for _, test := range []struct {
		err  error
		code pop3.Code
	}{
		{mailstore.ErrNoMessage, ""}, {mailstore.ErrNoAccount, pop3.CodeSysPerm},
		{mailstore.ErrNoMailbox, pop3.CodeSysPerm}, {mailstore.ErrFull, pop3.CodeSysTemp},
	} {
		var e *pop3.Error
		if err := answer(fmt.Errorf("doing: %w", test.err)); !errors.As(err, &e) || e.Code != test.code {
			t.Errorf("%v is answered %v", test.err, err)
		}
	}
	if err := answer(mailstore.ErrTemporary); err != mailstore.ErrTemporary {
		t.Errorf("our own fault is answered %v", err)
	}
}

func BenchmarkRetr(b *testing.B) {
	h := newHouse(b)
	text := "Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("x", 74)+"\r\n", 52)
	const messages = 1000
	for range messages {
		h.deliver("INBOX", text)
	}
	k := h.login("+OK")
	b.SetBytes(int64(len(text)))
	i := 0
	for b.Loop() {
		fmt.Fprintf(k.c, "RETR %d\r\n", i%messages+1)
		for {
			line, err := k.r.ReadSlice('\n')
			if err != nil {
				b.Fatal(err)
			}
			if string(line) == ".\r\n" {
				break
			}
		}
		i++
	}
}
