package smtpclient

import (
	"bufio"
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
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postroad/address"
	"postroad/sasl"
	"postroad/smtp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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

// script plays one dialogue of testdata. The server's side:
//
//	C: text     expects this line
//	C| "text"   expects these octets
//	S: text     sends a line; lines that follow each other go in one write
//	S| "text"   sends octets
//	TLS         starts TLS
//	close       closes the connection
//
// The client's side, at the same time:
//
//	option WORD…
//	do new | starttls | auth USER PASS | reset | noop | quit | usable
//	do send FROM TO,TO [PARAM…] "content"      SIZE=-1: the size is not told
//	= text      what these gave, in order
type script struct {
	t       *testing.T
	nc      net.Conn
	r       *bufio.Reader
	client  *Client
	options Options
	got     []string
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
	s.options = Options{Hostname: "client.test"}
	var server, client, want []string
	for line := range strings.SplitSeq(dialogue, "\n") {
		switch {
		case strings.HasPrefix(line, "option "):
			s.option(line[7:])
		case strings.HasPrefix(line, "do "):
			client = append(client, line[3:])
		case strings.HasPrefix(line, "= "):
			want = append(want, line[2:])
		case line != "":
			server = append(server, line)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	defer l.Close()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	defer nc.Close()
	if s.nc, err = l.Accept(); err != nil {
		s.t.Fatal(err)
	}
	s.nc.SetDeadline(time.Now().Add(10 * time.Second))
	s.r = bufio.NewReader(s.nc)
	served := make(chan error, 1)
	go func() { served <- s.serve(server) }()
	for _, line := range client {
		s.got = append(s.got, s.do(nc, line)...)
	}
	nc.Close()
	if err := <-served; err != nil {
		s.t.Error(err)
	}
	if got, want := strings.Join(s.got, "\n"), strings.Join(want, "\n"); got != want {
		s.t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func (s *script) option(words string) {
	for w := range strings.FieldsSeq(words) {
		switch w {
		case "lmtp":
			s.options.LMTP = true
		case "nochunking":
			s.options.NoChunking = true
		case "nopipelining":
			s.options.NoPipelining = true
		default:
			s.t.Fatal("no such option", w)
		}
	}
}

// serve is the server's side. At the end the client must have said nothing more.
func (s *script) serve(steps []string) error {
	defer func() { s.nc.Close() }()
	var out []byte
	flush := func() error {
		if len(out) == 0 {
			return nil
		}
		_, err := s.nc.Write(out)
		out = nil
		return err
	}
	for _, step := range steps {
		if strings.HasPrefix(step, "S: ") {
			out = append(append(out, step[3:]...), "\r\n"...)
			continue
		}
		if strings.HasPrefix(step, "S| ") {
			raw, err := strconv.Unquote(step[3:])
			if err != nil {
				return err
			}
			out = append(out, raw...)
			continue
		}
		if err := flush(); err != nil {
			return err
		}
		if err := s.serveStep(step); err != nil {
			return fmt.Errorf("%s: %w", step, err)
		}
	}
	if err := flush(); err != nil {
		return err
	}
	if rest, _ := io.ReadAll(s.r); len(rest) > 0 && rest[0] != 0x15 {
		return fmt.Errorf("the client said %q in the end", rest)
	}
	return nil
}

func (s *script) serveStep(step string) error {
	switch {
	case strings.HasPrefix(step, "C: "), step == "C:":
		line, err := s.r.ReadString('\n')
		if want := strings.TrimPrefix(strings.TrimPrefix(step, "C:"), " ") + "\r\n"; line != want {
			return fmt.Errorf("got %q, %v", line, err)
		}
	case strings.HasPrefix(step, "C| "):
		want, err := strconv.Unquote(step[3:])
		if err != nil {
			return err
		}
		got := make([]byte, len(want))
		if _, err := io.ReadFull(s.r, got); err != nil || string(got) != want {
			return fmt.Errorf("got %q, %v", got, err)
		}
	case step == "TLS":
		c := tls.Server(s.nc, testTLS())
		if err := c.Handshake(); err != nil {
			return err
		}
		s.nc, s.r = c, bufio.NewReader(c)
	case step == "close":
		return s.nc.Close()
	default:
		return errors.New("no such step")
	}
	return nil
}

// do is one step of the client; it returns what came of it.
func (s *script) do(nc net.Conn, line string) []string {
	ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
	defer cancel()
	words := strings.SplitN(line, " ", 4)
	told := func(err error) []string {
		if err != nil {
			return []string{words[0] + ": " + err.Error()}
		}
		return []string{words[0] + ": ok"}
	}
	switch words[0] {
	case "new":
		var err error
		s.client, err = New(ctx, nc, s.options)
		return told(err)
	case "starttls":
		return told(s.client.StartTLS(ctx, insecure()))
	case "auth":
		return told(s.client.Auth(ctx, sasl.Credentials{User: words[1], Password: words[2]}))
	case "reset":
		return told(s.client.Reset(ctx))
	case "noop":
		return told(s.client.Noop(ctx))
	case "quit":
		s.client.Quit(ctx)
		return nil
	case "usable":
		return []string{fmt.Sprint("usable: ", s.client.Usable())}
	case "send":
		return s.send(ctx, words[1], words[2], words[3])
	}
	s.t.Fatal("no such step", line)
	return nil
}

func (s *script) send(ctx context.Context, from, to, rest string) []string {
	params, quoted, _ := strings.Cut(" "+rest, ` "`)
	content, err := strconv.Unquote(`"` + quoted)
	if err != nil {
		s.t.Fatal(err)
	}
	m := &Message{Content: strings.NewReader(content), Size: int64(len(content))}
	if p, ok := strings.CutSuffix(params, " SIZE=-1"); ok {
		params, m.Size = p, -1
	}
	if m.Params, err = smtp.ParseMailParams(params, ^smtp.Extension(0)); err != nil {
		s.t.Fatal(err)
	}
	if from != "<>" {
		if m.ReturnPath, err = address.Parse(from); err != nil {
			s.t.Fatal(err)
		}
	}
	for r := range strings.SplitSeq(to, ",") {
		a, err := address.Parse(r)
		if err != nil {
			s.t.Fatal(err)
		}
		m.Recipients = append(m.Recipients, Recipient{Address: a, Params: smtp.RcptParams{Notify: smtp.NotifyFailure}})
	}
	results, err := s.client.Send(ctx, m)
	var told []string
	for i, r := range results {
		line := m.Recipients[i].Address.Local + ": " + r.Reply.String()
		if r.Local {
			line += " (local)"
		}
		told = append(told, line)
	}
	if err != nil {
		told = append(told, "send: failed")
	}
	return told
}

func insecure() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }
