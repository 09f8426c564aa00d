package smtpserver

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"postroad/address"
	"postroad/sasl"
	"postroad/smtp"
)

// recorder is a Session that writes down what it is told.
type recorder struct {
	t    testing.TB
	c    *Conn
	lmtp bool

	mu     *sync.Mutex
	events *[]string

	mail  bool
	rcpts []string
}

func (r *recorder) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*r.events = append(*r.events, fmt.Sprintf(format, args...))
}

func (r *recorder) Hello(context.Context) error {
	if r.c.Helo() == "refused.example" {
		return smtp.NewError(550, smtp.EnhancedCode{5, 7, 1}, "Not you")
	}
	return nil
}

func (r *recorder) Authenticated(_ context.Context, identity any) error {
	r.note("auth %v", identity)
	return nil
}

func (r *recorder) Mail(_ context.Context, path address.Address, p smtp.MailParams) error {
	if r.mail {
		r.t.Error("MAIL within a transaction")
	}
	switch path.Local {
	case "panic":
		panic("as asked")
	case "fault":
		return errors.New("a secret")
	case "refused":
		return smtp.NewError(550, smtp.EnhancedCode{5, 7, 1}, "Not from there")
	}
	r.mail, r.rcpts = true, nil
	params := string(p.AppendTo(nil, ^smtp.Extension(0)))
	r.note("mail <%s>%s", path, params)
	return nil
}

func (r *recorder) Rcpt(_ context.Context, path address.Address, p smtp.RcptParams) error {
	if !r.mail {
		r.t.Error("RCPT without MAIL")
	}
	if path.Local == "nobody" {
		return smtp.NewError(550, smtp.EnhancedCode{5, 1, 1}, "No such user")
	}
	r.rcpts = append(r.rcpts, path.Local)
	r.note("rcpt <%s>%s", path, p.AppendTo(nil, smtp.DSN))
	return nil
}

func (r *recorder) Data(_ context.Context, content io.Reader) ([]smtp.Reply, error) {
	if len(r.rcpts) == 0 {
		r.t.Error("DATA without recipients")
	}
	if r.rcpts[0] == "early" {
		return nil, smtp.NewError(550, smtp.EnhancedCode{5, 7, 1}, "I do not want to read it")
	}
	b, err := io.ReadAll(content)
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	r.note("data %s %q", r.c.With(), b)
	if !r.lmtp {
		return []smtp.Reply{{Code: 250, Enhanced: smtp.EnhancedCode{2, 0, 0}, Lines: []string{"taken"}}}, nil
	}
	var replies []smtp.Reply
	for _, name := range r.rcpts {
		if name == "full" {
			replies = append(replies, smtp.Reply{Code: 452, Enhanced: smtp.EnhancedCode{4, 2, 2}, Lines: []string{"full"}})
		} else {
			replies = append(replies, smtp.Reply{Code: 250, Enhanced: smtp.EnhancedCode{2, 1, 5}, Lines: []string{name}})
		}
	}
	return replies, nil
}

func (r *recorder) Reset() { r.mail = false }
func (r *recorder) Close() {
	if r.mail {
		r.t.Error("Close within a transaction")
	}
}

// users is the sasl.Backend of the tests.
type users struct{}

func (users) Password(_ context.Context, _, user, password string) (any, error) {
	if user == "user" && password == "pass" {
		return "user", nil
	}
	return nil, sasl.ErrCredentials
}

func (users) Verifier(context.Context, string, string) (sasl.Verifier, error) {
	return sasl.Verifier{}, nil
}

var testTLS = sync.OnceValue(func() *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
})

// setOption understands the "option" lines of scripts.
func setOption(o *Options, word string) error {
	key, value, _ := strings.Cut(word, "=")
	n, _ := strconv.Atoi(value)
	switch key {
	case "lmtp":
		o.Protocol = LMTP
	case "tls":
		o.TLS = testTLS()
	case "implicit":
		o.TLS, o.ImplicitTLS = testTLS(), true
	case "requiretls":
		o.RequireTLS = true
	case "auth":
		o.Auth = &sasl.Options{Backend: users{}}
	case "scram":
		o.Auth = &sasl.Options{Backend: users{}, Secret: bytes.Repeat([]byte{1}, 32)}
	case "insecure":
		o.InsecureAuth = true
	case "requireauth":
		o.RequireAuth = true
	case "all":
		o.Extensions = smtp.DSN | smtp.SMTPUTF8 | smtp.FutureRelease | smtp.MTPriority | smtp.DeliverByExtension
		o.HoldMax, o.ByMin = time.Hour, time.Minute
	case "binary":
		o.Extensions |= smtp.BinaryMIME
	case "size":
		o.SizeMax = int64(n)
	case "rcptmax":
		o.RcptMax = n
	case "mailmax":
		o.MailMax = n
	case "octets":
		o.OctetsMax = int64(n)
	case "perclient":
		o.ConnsPerClient = n
	case "proxy":
		o.Proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	case "xclient":
		o.XClients = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	case "early":
		o.GreetingDelay, o.RefuseEarly = 50*time.Millisecond, true
	default:
		return fmt.Errorf("no such option: %s", word)
	}
	return nil
}

// script plays one file of testdata:
//
//	option WORD…   options of the server
//	C: text        the client sends a line; lines that follow each other go in one write
//	C| "text"      the client sends octets
//	C+ text        the client sends a line once what was said before has arrived
//	S: text        the server sends exactly this line
//	S~ text        the server sends a reply whose last line starts so
//	S.             the server closes the connection
//	TLS            the client starts a handshake
//	= text         something that the session was told, in order
type script struct {
	t      *testing.T
	nc     net.Conn
	r      *bufio.Reader
	out    []byte
	events []string
	want   []string
	mu     sync.Mutex
}

func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		base := strings.TrimSuffix(filepath.Base(file), ".txt")
		for part := range strings.SplitSeq(string(b), "\n--- ") {
			name, dialogue, _ := strings.Cut(strings.TrimPrefix(part, "--- "), "\n")
			t.Run(base+"/"+name, func(t *testing.T) {
				t.Parallel()
				(&script{t: t}).run(dialogue)
			})
		}
	}
}

func (s *script) run(dialogue string) {
	o := Options{Hostname: "mx.test", Timeout: 10 * time.Second}
	var steps []string
	for line := range strings.SplitSeq(dialogue, "\n") {
		if words, ok := strings.CutPrefix(line, "option "); ok {
			for w := range strings.FieldsSeq(words) {
				if err := setOption(&o, w); err != nil {
					s.t.Fatal(err)
				}
			}
		} else if line != "" && line[0] != '#' {
			steps = append(steps, line)
		}
	}
	o.NewSession = func(_ context.Context, c *Conn) (Session, error) {
		if c.Client().Addr().IsValid() && c.Client().Addr() == netip.MustParseAddr("192.0.2.66") {
			return nil, smtp.NewError(554, smtp.EnhancedCode{5, 7, 1}, "Go away")
		}
		if !c.Client().Addr().IsLoopback() || c.ClientName() != "" {
			s.mu.Lock()
			s.events = append(s.events, fmt.Sprintf("client %s %s", c.Client(), c.ClientName()))
			s.mu.Unlock()
		}
		return &recorder{t: s.t, c: c, lmtp: o.Protocol == LMTP, mu: &s.mu, events: &s.events}, nil
	}
	server := New(o)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	s.dial(l.Addr().String())
	for i, step := range steps {
		if err := s.step(step); err != nil {
			s.t.Fatalf("step %d, %s: %v", i+1, step, err)
		}
	}
	s.nc.Close()
	server.Close()
	if err := <-served; !errors.Is(err, ErrClosed) {
		s.t.Error(err)
	}
	if got, want := strings.Join(s.events, "\n"), strings.Join(s.want, "\n"); got != want {
		s.t.Errorf("the session was told\n%s\nwant\n%s", got, want)
	}
}

func (s *script) dial(addr string) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		s.t.Fatal(err)
	}
	nc.SetDeadline(time.Now().Add(15 * time.Second))
	s.nc, s.r = nc, bufio.NewReader(nc)
}

func (s *script) send() error {
	if len(s.out) == 0 {
		return nil
	}
	_, err := s.nc.Write(s.out)
	s.out = nil
	return err
}

func (s *script) step(step string) error {
	if text, ok := strings.CutPrefix(step+" ", "C: "); ok {
		text = strings.TrimSuffix(text, " ")
		s.out = append(append(s.out, text...), "\r\n"...)
		return nil
	}
	if quoted, ok := strings.CutPrefix(step, "C| "); ok {
		raw, err := strconv.Unquote(quoted)
		s.out = append(s.out, raw...)
		return err
	}
	if err := s.send(); err != nil {
		return err
	}
	switch {
	case strings.HasPrefix(step, "C+ "):
		time.Sleep(30 * time.Millisecond)
		s.out = []byte(step[3:] + "\r\n")
		return nil
	case strings.HasPrefix(step, "S: "):
		line, err := s.r.ReadString('\n')
		if line != step[3:]+"\r\n" {
			return fmt.Errorf("got %q, %v", line, err)
		}
	case strings.HasPrefix(step, "S~ "):
		for {
			line, err := s.r.ReadString('\n')
			if err != nil || len(line) < 4 {
				return fmt.Errorf("got %q, %v", line, err)
			}
			if line[3] != '-' {
				if !strings.HasPrefix(line, step[3:]) {
					return fmt.Errorf("got %q", line)
				}
				return nil
			}
		}
	case step == "S.":
		if b, err := io.ReadAll(s.r); len(b) > 0 || err != nil {
			return fmt.Errorf("got %q, %v", b, err)
		}
	case step == "TLS":
		c := tls.Client(s.nc, &tls.Config{InsecureSkipVerify: true})
		if err := c.Handshake(); err != nil {
			return err
		}
		s.nc, s.r = c, bufio.NewReader(c)
	case strings.HasPrefix(step, "= "):
		s.want = append(s.want, step[2:])
	default:
		return errors.New("no such step")
	}
	return nil
}
