package managesieve

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postroad/sasl"
)

// house is a backend with one account and its scripts, for tests.
type house struct {
	mu      sync.Mutex
	scripts map[string]string
	active  string
	open    int // Scripts not closed
	closed  int // sessions
	fail    error
	panics  bool
	refers  string // to another server, at the log-in
	scram   sasl.Verifier
}

const testPassword = "open sesame"

func (h *house) Password(_ context.Context, authzid, user, password string) (any, error) {
	switch {
	case user == "broken":
		return nil, errors.New("the directory is on fire")
	case user == "old":
		return nil, &Error{Code: CodeTransitionNeeded, Text: "Use PLAIN once"}
	case user != "alice" || password != testPassword || authzid != "" && authzid != user:
		return nil, sasl.ErrCredentials
	}
	return user, nil
}

func (h *house) Verifier(context.Context, string, string) (sasl.Verifier, error) {
	v := h.scram
	v.Finish = func(_ context.Context, key int) (any, error) {
		if key < 0 {
			return nil, sasl.ErrCredentials
		}
		return "alice", nil
	}
	return v, nil
}

func (h *house) SASL(b *sasl.Bindings) *sasl.Options {
	return &sasl.Options{Backend: h, Bindings: b, Secret: bytes.Repeat([]byte{1}, 32)}
}

func (h *house) Authenticated(context.Context, any) (Scripts, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.refers != "" {
		return nil, &Error{Text: "Your scripts are elsewhere", Referral: h.refers}
	}
	h.open++
	return &shelf{h}, nil
}

func (h *house) Close() {
	h.mu.Lock()
	h.closed++
	h.mu.Unlock()
}

// shelf is an account's scripts.
type shelf struct{ h *house }

const (
	testScriptMax  = 999_998
	testScriptsMax = 6
)

func (s *shelf) Owner() string { return "alice@example.com" }

func (s *shelf) HaveSpace(_ context.Context, name string, size int64) error {
	_, known := s.h.scripts[name]
	switch {
	case size > testScriptMax:
		return &Error{Code: CodeQuotaMaxSize, Text: "Quota exceeded"}
	case !known && len(s.h.scripts) >= testScriptsMax:
		return &Error{Code: CodeQuotaMaxScripts, Text: "Too many scripts"}
	}
	return s.h.fail
}

func (s *shelf) CheckScript(_ context.Context, content []byte) (string, error) {
	redirects := 0
	for i, line := range strings.Split(string(content), "\r\n") {
		if strings.HasPrefix(line, "Invalid") {
			return "", &Error{Text: "line " + string(rune('1'+i)) + ": Syntax error"}
		}
		if strings.Contains(line, "redirect ") {
			if redirects++; redirects > 2 {
				return "line " + string(rune('1'+i)) + ": server redirect action\r\nlimit is 2, this redirect might be ignored", nil
			}
		}
	}
	if bytes.Contains(content, []byte("two errors")) {
		return "", &Error{Text: "line 1: one\r\nline 2: \"two\""}
	}
	return "", s.h.fail
}

func (s *shelf) PutScript(ctx context.Context, name string, content []byte) (string, error) {
	if err := s.HaveSpace(ctx, name, int64(len(content))); err != nil {
		return "", err
	}
	warnings, err := s.CheckScript(ctx, content)
	if err == nil {
		s.h.scripts[name] = string(content)
	}
	return warnings, err
}

func (s *shelf) ListScripts(context.Context) ([]Script, error) {
	var list []Script
	for name := range s.h.scripts {
		list = append(list, Script{name, name == s.h.active})
	}
	slices.SortFunc(list, func(a, b Script) int { return cmp.Compare(a.Name, b.Name) })
	return list, s.h.fail
}

var errNone = &Error{Code: CodeNonexistent, Text: "There is no script by that name"}

func (s *shelf) SetActive(_ context.Context, name string) error {
	if _, known := s.h.scripts[name]; name != "" && !known {
		return errNone
	}
	s.h.active = name
	return nil
}

func (s *shelf) GetScript(_ context.Context, name string) ([]byte, error) {
	if s.h.panics {
		panic("a bug")
	}
	content, known := s.h.scripts[name]
	if !known {
		return nil, errNone
	}
	return []byte(content), nil
}

func (s *shelf) DeleteScript(_ context.Context, name string) error {
	switch _, known := s.h.scripts[name]; {
	case !known:
		return errNone
	case name == s.h.active:
		return &Error{Code: CodeActive, Text: "You may not delete an active script"}
	}
	delete(s.h.scripts, name)
	return nil
}

func (s *shelf) RenameScript(_ context.Context, from, to string) error {
	content, known := s.h.scripts[from]
	if !known {
		return errNone
	}
	if _, known = s.h.scripts[to]; known {
		return &Error{Code: CodeAlreadyExists, Text: to + " already exists"}
	}
	delete(s.h.scripts, from)
	s.h.scripts[to] = content
	if s.h.active == from {
		s.h.active = to
	}
	return nil
}

func (s *shelf) Close() {
	s.h.mu.Lock()
	s.h.open--
	s.h.mu.Unlock()
}

// world is a house and its server.
type world struct {
	*house
	server *Server
}

func newWorld(t testing.TB, change func(*Options)) *world {
	t.Helper()
	h := &house{scripts: map[string]string{}}
	o := Options{
		Hostname: "mail.example", Implementation: "Example1 ManageSieved v001", Extensions: []string{"fileinto", "vacation"},
		RedirectsMax: 5, Notify: []string{"mailto"}, Language: "en",
		InsecureAuth: true, ConnsPerClient: -1,
		NewSession: func(context.Context, *Conn) (Session, error) { return h, nil },
	}
	if change != nil {
		change(&o)
	}
	w := &world{h, New(o)}
	t.Cleanup(func() { w.server.Close() })
	return w
}

// dial connects a client.
func (w *world) dial(t testing.TB) *client {
	t.Helper()
	ours, theirs := net.Pipe()
	w.server.group.Start(theirs)
	c := &client{t: t, nc: ours, r: bufio.NewReader(ours)}
	t.Cleanup(func() { ours.Close() })
	return c
}

// client is the other end.
type client struct {
	t  testing.TB
	nc net.Conn
	r  *bufio.Reader
}

// send writes without waiting for the server, which may write itself first.
func (c *client) send(text string) {
	if text != "" {
		go io.WriteString(c.nc, text)
	}
}

// line reads one line, "" at the end of the connection.
func (c *client) line() string {
	line, err := c.r.ReadString('\n')
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(line, "\r\n")
}

// expect reads lines until one that ends an answer, which begins so.
func (c *client) expect(want string) (before []string) {
	c.t.Helper()
	for {
		got := c.line()
		if strings.HasPrefix(got, want) {
			return before
		}
		if word, _, _ := strings.Cut(got, " "); got == "" || word == "OK" || word == "NO" || word == "BYE" {
			c.t.Fatalf("got %q, want %q", got, want)
		}
		before = append(before, got)
	}
}

// do sends a command and expects an answer.
func (c *client) do(command, want string) []string {
	c.t.Helper()
	c.send(command + "\r\n")
	return c.expect(want)
}

// login is the greeting and PLAIN.
func (c *client) login() {
	c.t.Helper()
	c.expect("OK")
	c.do(`AUTHENTICATE "PLAIN" "`+plainResponse("alice", testPassword)+`"`, "OK")
}

// TestDialogues plays the scripts in testdata. Lines "C: " are sent, "S: " expected; an S
// line that ends in "*" is a prefix; "close" is the end of the connection; "#" is for the
// reader. "house: " changes the server's options or is what went before.
func TestDialogues(t *testing.T) {
	scripts, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, name := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			script, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			play(t, string(script))
		})
	}
}

// play plays one script.
func play(t *testing.T, script string) {
	w := newWorld(t, func(o *Options) {
		o.InsecureAuth = !strings.Contains(script, "house: no plaintext\n")
		if strings.Contains(script, "house: has TLS\n") {
			o.TLS = &tls.Config{Certificates: []tls.Certificate{testCertificate(t)}}
		}
		if strings.Contains(script, "house: tells little\n") {
			o.RedirectsMax, o.Notify, o.Language = 0, nil, ""
		}
	})
	if strings.Contains(script, "house: is elsewhere\n") {
		w.refers = "sieve://other.example"
	}
	if strings.Contains(script, "house: is broken\n") {
		w.fail = errors.New("disk error")
	}
	c := w.dial(t)
	c.nc.SetDeadline(time.Now().Add(20 * time.Second)) // a script that is wrong ends
	if strings.Contains(script, "house: logged in\n") {
		c.login()
	}
	var sent strings.Builder
	for n, line := range strings.Split(strings.TrimSuffix(script, "\n"), "\n") {
		kind, text, _ := strings.Cut(line, ": ")
		if kind == "C" || line == "C:" {
			sent.WriteString(strings.ReplaceAll(text, `\0`, "\x00") + "\r\n")
			continue
		}
		if kind == "S" || line == "S:" || line == "close" {
			c.send(sent.String())
			sent.Reset()
		}
		switch {
		case line == "close":
			if got := c.line(); got != "" {
				t.Fatalf("line %d: connection goes on with %q", n+1, got)
			}
		case kind == "S" || line == "S:":
			got := c.line()
			if prefix, ok := strings.CutSuffix(text, "*"); ok && strings.HasPrefix(got, prefix) {
				continue
			}
			if got != text {
				t.Fatalf("line %d: got %q, want %q", n+1, got, text)
			}
		case line != "" && kind != "house" && !strings.HasPrefix(line, "#"):
			t.Fatalf("line %d: what is %q?", n+1, line)
		}
	}
}
