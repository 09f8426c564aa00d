package pop3

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"postroad/sasl"
)

// house is a backend with one account and one maildrop, for tests.
type house struct {
	mu       sync.Mutex
	messages []string // the octets; "" is a message that cannot be read
	locked   bool
	closed   int
	updates  int
	fail     error // of Update
	panics   bool  // Open panics
}

const testPassword = "open sesame"

func (h *house) Password(_ context.Context, authzid, user, password string) (any, error) {
	switch {
	case user == "broken":
		return nil, errors.New("the directory is on fire")
	case user != "alice" && user != "älice" || password != testPassword || authzid != "" && authzid != user:
		return nil, sasl.ErrCredentials
	}
	return user, nil
}

func (h *house) Verifier(context.Context, string, string) (sasl.Verifier, error) {
	return sasl.Verifier{}, nil
}

func (h *house) SASL(b *sasl.Bindings) *sasl.Options {
	return &sasl.Options{Backend: h, Bindings: b, Secret: bytes.Repeat([]byte{1}, 32)}
}

func (h *house) Authenticated(context.Context, any) (Maildrop, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.locked {
		return nil, &Error{CodeInUse, "Another session has the maildrop"}
	}
	h.locked = true
	return &drop{house: h, messages: append([]string(nil), h.messages...)}, nil
}

func (h *house) Close() {
	h.mu.Lock()
	h.closed++
	h.mu.Unlock()
}

// drop is an open maildrop.
type drop struct {
	house    *house
	messages []string
}

func (d *drop) Len() int                           { return len(d.messages) }
func (d *drop) Size(i int) int64                   { return int64(len(d.messages[i])) }
func (d *drop) AppendUID(dst []byte, i int) []byte { return fmt.Appendf(dst, "uid-%d", i+1) }

func (d *drop) Open(_ context.Context, i int) (Message, error) {
	if d.house.panics {
		panic("a bug")
	}
	if d.messages[i] == "" {
		return nil, errors.New("disk error")
	}
	return content{strings.NewReader(d.messages[i])}, nil
}

func (d *drop) Update(_ context.Context, deleted []int) error {
	d.house.mu.Lock()
	defer d.house.mu.Unlock()
	d.house.updates++
	if d.house.fail != nil {
		return d.house.fail
	}
	for n, i := range deleted {
		d.house.messages = append(d.house.messages[:i-n], d.house.messages[i-n+1:]...)
	}
	return nil
}

func (d *drop) Close() {
	d.house.mu.Lock()
	defer d.house.mu.Unlock()
	d.house.locked = false
}

type content struct{ *strings.Reader }

func (content) Close() error { return nil }

// world is a house and its server.
type world struct {
	*house
	server *Server
}

func newWorld(t testing.TB, change func(*Options)) *world {
	t.Helper()
	h := &house{messages: testMessages()}
	o := Options{Hostname: "mail.example", Implementation: "postroad", InsecureAuth: true, ConnsPerClient: -1,
		NewSession: func(context.Context, *Conn) (Session, error) { return h, nil }}
	if change != nil {
		change(&o)
	}
	w := &world{h, New(o)}
	t.Cleanup(func() { w.server.Close() })
	return w
}

func testMessages() []string {
	return []string{
		"Subject: one\r\n\r\nHello\r\n.\r\n..two dots\r\nend\r\n",
		"Subject: no line end\r\n\r\nlast line",
		"From: Käthe Über <käthe@bücher.example>\r\nTo: b@example.org\r\nSubject: Grüße an alle\r\n" +
			"X-Note: ä\r\nContent-Type: text/plain; charset=utf-8; name=\"ä;b\"; x=1\r\n\r\nGrüße\r\n",
		"",
		"Subject: bare\n\nline\n.\nend\n",
	}
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

// expect reads a line that begins so.
func (c *client) expect(want string) string {
	c.t.Helper()
	got := c.line()
	if !strings.HasPrefix(got, want) {
		c.t.Fatalf("got %q, want %q", got, want)
	}
	return got
}

// do sends a command and expects an answer.
func (c *client) do(command, want string) string {
	c.t.Helper()
	c.send(command + "\r\n")
	return c.expect(want)
}

// body reads a multi-line response, unstuffed.
func (c *client) body() string {
	c.t.Helper()
	var b strings.Builder
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			c.t.Fatalf("in a multi-line response: %v", err)
		}
		if line == ".\r\n" {
			return b.String()
		}
		b.WriteString(strings.TrimPrefix(line, "."))
	}
}

// TestDialogues plays the scripts in testdata. Lines "C: " are sent, "S: " expected; an S
// line that ends in "*" is a prefix; "close" is the end of the connection; "#" is for the
// reader. "house: " changes the server's options or the maildrop.
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
	})
	switch {
	case strings.Contains(script, "house: in use\n"):
		w.locked = true
	case strings.Contains(script, "house: cannot update\n"):
		w.fail = errors.New("disk error")
	}
	c := w.dial(t)
	var sent strings.Builder
	for n, line := range strings.Split(strings.TrimSuffix(script, "\n"), "\n") {
		kind, text, _ := strings.Cut(line, ": ")
		if kind == "C" || line == "C:" {
			sent.WriteString(strings.ReplaceAll(text, `\0`, "\x00") + "\r\n")
			continue
		}
		if kind == "S" || line == "close" {
			c.send(sent.String())
			sent.Reset()
		}
		switch {
		case line == "close":
			if got := c.line(); got != "" {
				t.Fatalf("line %d: connection goes on with %q", n+1, got)
			}
		case kind == "S":
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
