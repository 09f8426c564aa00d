package smtpclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postroad/address"
	"postroad/sasl"
	"postroad/smtp"
	"postroad/smtp/smtpserver"
)

// store is a Session of our own server that keeps what came.
type store struct {
	mu       *sync.Mutex
	contents *[]string
	rcpts    int
	lmtp     bool
}

func (s *store) Hello(context.Context) error                                  { return nil }
func (s *store) Authenticated(context.Context, any) error                     { return nil }
func (s *store) Mail(context.Context, address.Address, smtp.MailParams) error { return nil }
func (s *store) Reset()                                                       { s.rcpts = 0 }
func (s *store) Close()                                                       {}

func (s *store) Rcpt(context.Context, address.Address, smtp.RcptParams) error {
	s.rcpts++
	return nil
}

func (s *store) Data(_ context.Context, r io.Reader) ([]smtp.Reply, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	*s.contents = append(*s.contents, string(b))
	n := 1
	if s.lmtp {
		n = s.rcpts
	}
	replies := make([]smtp.Reply, n)
	for i := range replies {
		replies[i] = smtp.Reply{Code: 250, Lines: []string{"taken"}}
	}
	return replies, nil
}

// oneUser is a sasl.Backend with SCRAM.
type oneUser struct{ key sasl.Key }

var userSalt = []byte("0123456789abcdef")

func (u oneUser) Password(_ context.Context, _, user, password string) (any, error) {
	if user != "user" || password != "pass" {
		return nil, sasl.ErrCredentials
	}
	return user, nil
}

func (u oneUser) Verifier(_ context.Context, _, user string) (sasl.Verifier, error) {
	return sasl.Verifier{Salt: userSalt, Iterations: sasl.Iterations, Keys: []sasl.Key{u.key},
		Finish: func(_ context.Context, key int) (any, error) {
			if key < 0 {
				return nil, sasl.ErrCredentials
			}
			return user, nil
		}}, nil
}

// pair is a client connected to our own server.
func pair(t *testing.T, so smtpserver.Options, co Options) (*Client, *[]string) {
	t.Helper()
	var mu sync.Mutex
	contents := new([]string)
	so.Hostname, co.Hostname = "mx.test", "client.test"
	so.NewSession = func(context.Context, *smtpserver.Conn) (smtpserver.Session, error) {
		return &store{mu: &mu, contents: contents, lmtp: so.Protocol == smtpserver.LMTP}, nil
	}
	s := smtpserver.New(so)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(t.Context(), nc, co)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, contents
}

func newMessage(content string, known bool, rcpts int) *Message {
	m := &Message{Content: strings.NewReader(content), Size: -1}
	if known {
		m.Size = int64(len(content))
	}
	for i := range rcpts {
		m.Recipients = append(m.Recipients, Recipient{Address: address.Address{Local: fmt.Sprint("r", i), Domain: "example.org"}})
	}
	return m
}

// TestRoundTrip sends contents by every way there is; what arrives is what was sent, but
// for a last line end that DATA cannot do without.
func TestRoundTrip(t *testing.T) {
	contents := []string{
		"", ".", "..", ".\r\n", "x", "x\r\n", "\r\n.\r\n", "a\r\n.b\r\n..c\r\n",
		strings.Repeat("x", blockSize-1) + "\r\n.dot at the start of a block\r\n",
		strings.Repeat("x", blockSize-2) + "\r\n.dot at the start of a block\r\n",
		strings.Repeat(".\r\n", blockSize),
		strings.Repeat("y", 3*blockSize),
	}
	for _, chunks := range []bool{false, true} {
		for _, known := range []bool{false, true} {
			for _, protocol := range []smtpserver.Protocol{smtpserver.SMTP, smtpserver.LMTP} {
				t.Run(fmt.Sprintf("chunks=%v size=%v protocol=%d", chunks, known, protocol), func(t *testing.T) {
					c, got := pair(t, smtpserver.Options{Protocol: protocol}, Options{NoChunking: !chunks, LMTP: protocol == smtpserver.LMTP})
					for i, content := range contents {
						results, err := c.Send(t.Context(), newMessage(content, known, 3))
						if err != nil {
							t.Fatal(err)
						}
						for _, r := range results {
							if r.Reply.Code != 250 || r.Local {
								t.Fatal(r)
							}
						}
						if !chunks && content != "" && !strings.HasSuffix(content, "\r\n") {
							content += "\r\n"
						}
						if (*got)[i] != content {
							t.Errorf("content %d arrived otherwise: %.50q, want %.50q", i, (*got)[i], content)
						}
					}
				})
			}
		}
	}
}

// TestManyRecipients goes over the number that is pipelined at once.
func TestManyRecipients(t *testing.T) {
	c, got := pair(t, smtpserver.Options{}, Options{})
	results, err := c.Send(t.Context(), newMessage("x\r\n", true, 1005))
	if err != nil || len(*got) != 1 {
		t.Fatal(err, len(*got))
	}
	for i, r := range results {
		if want := i < 1000; r.Reply.Success() != want || r.Local == want {
			t.Fatalf("recipient %d: %v", i, r)
		}
	}
}

// TestAuth uses every mechanism over STARTTLS against our own server.
func TestAuth(t *testing.T) {
	key, err := sasl.NewKey("pass", userSalt, sasl.Iterations)
	if err != nil {
		t.Fatal(err)
	}
	for _, mechanism := range []string{"", sasl.ScramSHA256Plus, sasl.ScramSHA256, sasl.Plain, sasl.Login} {
		for _, password := range []string{"pass", "wrong"} {
			t.Run(mechanism+" "+password, func(t *testing.T) {
				auth := &sasl.Options{Backend: oneUser{key}, Secret: bytes.Repeat([]byte{1}, 32)}
				c, _ := pair(t, smtpserver.Options{TLS: testTLS(), Auth: auth}, Options{})
				if err := c.StartTLS(t.Context(), insecure()); err != nil {
					t.Fatal(err)
				}
				k := sasl.Credentials{User: "user", Password: password}
				if mechanism == "" {
					err = c.Auth(t.Context(), k)
				} else {
					var exchange sasl.Client
					if exchange, err = sasl.NewClient(mechanism, k, c.bindings, c.caps.Auth); err != nil {
						t.Fatal(err)
					}
					err = c.AuthWith(t.Context(), exchange)
				}
				var e *smtp.Error
				if password == "pass" && err != nil || password == "wrong" && (!errors.As(err, &e) || e.Reply.Code != 535) {
					t.Error(err)
				}
			})
		}
	}
}

// TestFailingContent: content that cannot be read to its end, or is not as long as was
// said, never arrives.
func TestFailingContent(t *testing.T) {
	for _, chunks := range []bool{false, true} {
		for name, m := range map[string]*Message{
			"error":    {Content: io.MultiReader(strings.NewReader("x\r\n"), failing{}), Size: 100},
			"too long": {Content: strings.NewReader("x\r\ny\r\n"), Size: 3},
			"short":    {Content: strings.NewReader("x\r\n"), Size: 300},
		} {
			if !chunks && name != "error" {
				continue // DATA sends what there is
			}
			t.Run(fmt.Sprint(name, " chunks=", chunks), func(t *testing.T) {
				c, got := pair(t, smtpserver.Options{}, Options{NoChunking: !chunks})
				m.Recipients = newMessage("", true, 1).Recipients
				results, err := c.Send(t.Context(), m)
				if err == nil || results[0].Reply.Code != 0 || c.Usable() {
					t.Error(results, err)
				}
				if len(*got) != 0 {
					t.Errorf("arrived: %q", *got)
				}
			})
		}
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("disk on fire") }

// TestTimeouts waits in virtual time for a server that says nothing.
func TestTimeouts(t *testing.T) {
	for _, tt := range []struct {
		name   string
		cancel time.Duration
		want   time.Duration
	}{
		{"of RFC 5321", 0, greetingTimeout},
		{"of the caller", time.Second, time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				if tt.cancel > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.cancel)
					defer cancel()
				}
				a, b := net.Pipe()
				defer a.Close()
				start := time.Now()
				if _, err := New(ctx, b, Options{Hostname: "client.test"}); err == nil {
					t.Fatal("no error")
				}
				if d := time.Since(start); d != tt.want {
					t.Errorf("gave up after %v, want %v", d, tt.want)
				}
			})
		})
	}
}

// FuzzServer gives the client what a server says; nothing panics, nothing hangs, and each
// recipient has a result.
func FuzzServer(f *testing.F) {
	f.Add([]byte("220 x\r\n250-x\r\n250 PIPELINING\r\n250 ok\r\n250 ok\r\n354 go\r\n250 taken\r\n"), false)
	f.Add([]byte("220 x\r\n250-x\r\n250 CHUNKING\r\n250 ok\r\n421 ok\r\n"), true)
	f.Add([]byte("220 x\r\n500 x\r\n250 x\r\n250 ok\r\n250 ok\r\n550 no\r\n"), false)
	f.Fuzz(func(t *testing.T, said []byte, lmtp bool) {
		c, err := New(t.Context(), &deaf{said: said}, Options{Hostname: "client.test", LMTP: lmtp})
		if err != nil {
			return
		}
		m := newMessage("a\r\n.b\r\n", true, 2)
		results, err := c.Send(t.Context(), m)
		if len(results) != 2 {
			t.Fatal(results, err)
		}
		for _, r := range results {
			if r.Reply.Code == 0 && err == nil {
				t.Fatalf("%q: nothing known of a recipient, and no error", said)
			}
			if r.Reply.Success() && !bytes.Contains(said, []byte("354")) && c.caps.Extensions&smtp.Chunking == 0 {
				t.Fatalf("%q: success without content", said)
			}
		}
	})
}

// deaf is a connection whose server has said all before it began.
type deaf struct {
	net.Conn
	said []byte
}

func (d *deaf) Read(p []byte) (int, error) {
	if len(d.said) == 0 {
		return 0, io.EOF
	}
	// A line a read: the client must not find replies before it has asked.
	n := bytes.IndexByte(d.said, '\n') + 1
	if n == 0 {
		n = len(d.said)
	}
	n = copy(p, d.said[:n])
	d.said = d.said[n:]
	return n, nil
}

func (d *deaf) Write(p []byte) (int, error) { return len(p), nil }
func (d *deaf) SetDeadline(time.Time) error { return nil }
func (d *deaf) Close() error                { return nil }

// BenchmarkSend is client and server together over loopback, 4 KB a message, one
// connection.
func BenchmarkSend(b *testing.B) {
	content := strings.Repeat(strings.Repeat("x", 70)+"\r\n", 57)
	for _, chunks := range []bool{false, true} {
		b.Run(fmt.Sprint("chunks=", chunks), func(b *testing.B) {
			s := smtpserver.New(smtpserver.Options{Hostname: "mx.test", MailMax: 1 << 40, OctetsMax: 1 << 60,
				NewSession: func(context.Context, *smtpserver.Conn) (smtpserver.Session, error) { return discard{}, nil }})
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			go s.Serve(l)
			defer s.Close()
			nc, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			c, err := New(b.Context(), nc, Options{Hostname: "client.test", NoChunking: !chunks})
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			c.caps.Limits.MailMax = 0
			b.ReportAllocs()
			for b.Loop() {
				results, err := c.Send(b.Context(), newMessage(content, true, 1))
				if err != nil || results[0].Reply.Code != 250 {
					b.Fatal(results, err)
				}
			}
		})
	}
}

// discard is a Session that keeps nothing.
type discard struct{}

func (discard) Hello(context.Context) error                                  { return nil }
func (discard) Authenticated(context.Context, any) error                     { return nil }
func (discard) Mail(context.Context, address.Address, smtp.MailParams) error { return nil }
func (discard) Rcpt(context.Context, address.Address, smtp.RcptParams) error { return nil }
func (discard) Reset()                                                       {}
func (discard) Close()                                                       {}
func (discard) Data(_ context.Context, r io.Reader) ([]smtp.Reply, error) {
	_, err := io.Copy(io.Discard, r)
	return []smtp.Reply{{Code: 250, Lines: []string{"gone"}}}, err
}
