package sieved

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"postroad/address"
	"postroad/internal/blob"
	"postroad/internal/blob/memblob"
	"postroad/internal/directory"
	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
	"postroad/internal/kv/memkv"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/scripts"
	"postroad/managesieve"
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
	fail    atomic.Pointer[error]
	commits atomic.Int32
}

func (e *failing) Commit(ctx context.Context, b ...kv.Batch) ([]kv.Result, error) {
	e.commits.Add(1)
	if err := e.fail.Load(); err != nil {
		return nil, *err
	}
	return e.Engine.Commit(ctx, b...)
}

// compile stands for the compiler: it knows what is wrong and what is doubtful.
func compile(source []byte) (warnings string, err error) {
	switch text := string(source); {
	case strings.Contains(text, "wrong"):
		return "", errors.New("line 1: wrong\nline 2: also wrong")
	case strings.Contains(text, "doubtful"):
		return "line 1: doubtful\n", nil
	}
	return "", nil
}

// house is a server over a store in memory.
type house struct {
	t       testing.TB
	engine  *failing
	store   *mailstore.Store
	account mailflow.AccountID
	addr    string
}

func newHouse(t testing.TB) *house {
	t.Helper()
	engine := &failing{Engine: memkv.New()}
	clock := hlc.NewClock(1)
	committer := &mailflow.Committer{Engine: engine, Bodies: blob.NewBodies(engine, memblob.New(), clock)}
	store := mailstore.New(mailstore.Options{Committer: committer, Clock: clock})
	id := clock.Next()
	if err := store.Create(t.Context(), id, mailstore.Quota{}); err != nil {
		t.Fatal(err)
	}
	backend := New(Options{
		Scripts: scripts.New(scripts.Options{Committer: committer, Clock: clock, Compile: compile, ScriptsMax: 3,
			Organisation: func(context.Context, mailflow.AccountID) (string, error) { return "default", nil }}),
		SASL: func(netip.Addr) sasl.Backend { return logins{id} },
	})
	server := managesieve.New(managesieve.Options{NewSession: backend.NewSession, InsecureAuth: true, ConnsPerClient: -1})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Close()
		if err := <-served; err != managesieve.ErrClosed {
			t.Errorf("serve: %v", err)
		}
		engine.Close()
	})
	return &house{t, engine, store, id, l.Addr().String()}
}

// client is a ManageSieve client.
type client struct {
	t  testing.TB
	nc net.Conn
	r  *bufio.Reader
}

func (h *house) dial() *client {
	h.t.Helper()
	nc, err := net.Dial("tcp", h.addr)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { nc.Close() })
	c := &client{h.t, nc, bufio.NewReader(nc)}
	c.until()
	return c
}

func (h *house) login(user string) *client {
	h.t.Helper()
	c := h.dial()
	c.do(`AUTHENTICATE "PLAIN" "` + sasl64("\x00"+user+"\x00secret") + `"` + "\r\n")
	return c
}

// until reads an answer to the line that ends it, literals included.
func (c *client) until() string {
	c.t.Helper()
	var all strings.Builder
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			c.t.Fatalf("after %q: %v", all.String(), err)
		}
		all.WriteString(line)
		at := strings.LastIndexByte(line, '{')
		literal := 0
		if at >= 0 {
			if n, _ := fmt.Sscanf(line[at:], "{%d}\r\n", &literal); n == 1 {
				content := make([]byte, literal)
				if _, err := io.ReadFull(c.r, content); err != nil {
					c.t.Fatal(err)
				}
				all.Write(content)
				rest, err := c.r.ReadString('\n')
				if err != nil {
					c.t.Fatal(err)
				}
				all.WriteString(rest)
			}
		}
		if word, _, _ := strings.Cut(strings.TrimSpace(line), " "); word == "OK" || word == "NO" || word == "BYE" {
			return all.String()
		}
	}
}

func sasl64(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

func (c *client) do(command string) string {
	c.t.Helper()
	if _, err := io.WriteString(c.nc, command); err != nil {
		c.t.Fatal(err)
	}
	return c.until()
}

// TestProtocol is a user's whole work, command by command.
func TestProtocol(t *testing.T) {
	h := newHouse(t)
	c := h.login("alice")
	for _, step := range []struct{ command, want string }{
		{"LISTSCRIPTS", "OK\r\n"},
		{`HAVESPACE "main" 100`, "OK\r\n"},
		{`HAVESPACE "main" 1000001`, "NO (QUOTA/MAXSIZE) \"The script would be too large\"\r\n"},
		{`PUTSCRIPT "main" "keep;"`, "OK\r\n"},
		{`PUTSCRIPT "main" "wrong"`, "NO {33}\r\nline 1: wrong\r\nline 2: also wrong\r\n"},
		{`PUTSCRIPT "other" "doubtful"`, "OK (WARNINGS) \"line 1: doubtful\"\r\n"},
		{`CHECKSCRIPT "doubtful"`, "OK (WARNINGS) \"line 1: doubtful\"\r\n"},
		{`CHECKSCRIPT "wrong"`, "NO {33}\r\nline 1: wrong\r\nline 2: also wrong\r\n"},
		{`CHECKSCRIPT ""`, "NO \"The script is empty\"\r\n"},
		{`SETACTIVE "none"`, "NO (NONEXISTENT) \"There is no script by that name\"\r\n"},
		{`SETACTIVE "main"`, "OK\r\n"},
		{"LISTSCRIPTS", "\"main\" ACTIVE\r\n\"other\"\r\nOK\r\n"},
		{`GETSCRIPT "main"`, "{5}\r\nkeep;\r\nOK\r\n"},
		{`GETSCRIPT "none"`, "NO (NONEXISTENT) \"There is no script by that name\"\r\n"},
		{`DELETESCRIPT "main"`, "NO (ACTIVE) \"The active script cannot be deleted\"\r\n"},
		{`RENAMESCRIPT "main" "other"`, "NO (ALREADYEXISTS) \"There is a script by that name\"\r\n"},
		{`RENAMESCRIPT "main" "renamed"`, "OK\r\n"},
		{`PUTSCRIPT "third" "keep;"`, "OK\r\n"},
		{`PUTSCRIPT "fourth" "keep;"`, "NO (QUOTA/MAXSCRIPTS) \"There are too many scripts\"\r\n"},
		{`HAVESPACE "fourth" 1`, "NO (QUOTA/MAXSCRIPTS) \"There are too many scripts\"\r\n"},
		{`PUTSCRIPT "renamed" "stop;"`, "OK\r\n"},
		{"LISTSCRIPTS", "\"other\"\r\n\"renamed\" ACTIVE\r\n\"third\"\r\nOK\r\n"},
		{`SETACTIVE ""`, "OK\r\n"},
		{`DELETESCRIPT "renamed"`, "OK\r\n"},
		{`DELETESCRIPT "renamed"`, "NO (NONEXISTENT) \"There is no script by that name\"\r\n"},
		{"LISTSCRIPTS", "\"other\"\r\n\"third\"\r\nOK\r\n"},
		{"UNAUTHENTICATE", "OK\r\n"},
		{"LOGOUT", "OK \"Goodbye\"\r\n"},
	} {
		if got := c.do(step.command + "\r\n"); got != step.want {
			t.Fatalf("%s: %q, want %q", step.command, got, step.want)
		}
	}
	// Another connection sees the same.
	if got := h.login("alice").do("LISTSCRIPTS\r\n"); got != "\"other\"\r\n\"third\"\r\nOK\r\n" {
		t.Errorf("later: %q", got)
	}
}

func TestOwner(t *testing.T) {
	if got := newHouse(t).login("alice").do("CAPABILITY\r\n"); !strings.Contains(got, "\"OWNER\" \"alice@example.test\"\r\n") {
		t.Errorf("capabilities:\n%s", got)
	}
}

// TestLargeScript: the largest script fits one commit and comes back whole.
func TestLargeScript(t *testing.T) {
	h := newHouse(t)
	c := h.login("alice")
	text := strings.Repeat("# 0123456789 abcdefghi\r\n", scripts.ScriptMax/24)
	text += strings.Repeat("#", scripts.ScriptMax-len(text))
	before := h.engine.commits.Load()
	if got := c.do(fmt.Sprintf("PUTSCRIPT \"large\" {%d+}\r\n%s\r\n", len(text), text)); got != "OK\r\n" {
		t.Fatalf("put: %q", got)
	}
	if n := h.engine.commits.Load() - before; n != 1 {
		t.Errorf("%d commits", n)
	}
	if got := c.do("GETSCRIPT \"large\"\r\n"); got != fmt.Sprintf("{%d}\r\n%s\r\nOK\r\n", len(text), text) {
		t.Errorf("get: %d octets", len(got))
	}
}

// TestFaults: what is ours tells nothing, and the old script stays (RFC 5804, 2.6).
func TestFaults(t *testing.T) {
	h := newHouse(t)
	c := h.login("alice")
	c.do("PUTSCRIPT \"main\" \"keep;\"\r\n")
	for _, test := range []struct {
		err  error
		want string
	}{
		{errors.New("disk error"), "NO (TRYLATER) \"Not possible now, try again later\"\r\n"},
		{kv.ErrFull, "NO (TRYLATER) \"The server has no space left\"\r\n"},
	} {
		h.engine.fail.Store(&test.err)
		if got := c.do("PUTSCRIPT \"main\" \"stop;\"\r\n"); got != test.want {
			t.Errorf("%v: %q", test.err, got)
		}
		h.engine.fail.Store(nil)
		if got := c.do("GETSCRIPT \"main\"\r\n"); got != "{5}\r\nkeep;\r\nOK\r\n" {
			t.Errorf("%v: then %q", test.err, got)
		}
	}
}

// TestNobody: identities and accounts that are not there.
func TestNobody(t *testing.T) {
	h := newHouse(t)
	c := h.dial()
	if got := c.do(`AUTHENTICATE "PLAIN" "` + sasl64("\x00stranger\x00secret") + "\"\r\n"); !strings.HasPrefix(got, "NO (TRYLATER)") {
		t.Errorf("stranger: %q", got)
	}
	if got := h.login("ghost").do("PUTSCRIPT \"a\" \"keep;\"\r\n"); got != "NO \"The account is no longer there\"\r\n" {
		t.Errorf("ghost: %q", got)
	}
	c = h.login("alice")
	c.do("PUTSCRIPT \"a\" \"keep;\"\r\n")
	if err := h.store.Delete(t.Context(), h.account); err != nil {
		t.Fatal(err)
	}
	if got := c.do("PUTSCRIPT \"b\" \"keep;\"\r\n"); got != "NO \"The account is no longer there\"\r\n" {
		t.Errorf("after the account's end: %q", got)
	}
	if got := c.do("LISTSCRIPTS\r\n"); got != "OK\r\n" {
		t.Errorf("scripts outlive their account: %q", got)
	}
}
