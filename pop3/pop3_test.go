package pop3

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"postroad/sasl"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testCertificate = func() func(testing.TB) tls.Certificate {
	make := sync.OnceValues(func() (tls.Certificate, error) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return tls.Certificate{}, err
		}
		template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"mail.example"}}
		der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
		return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
	})
	return func(t testing.TB) tls.Certificate {
		c, err := make()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
}()

func withTLS(t testing.TB) func(*Options) {
	return func(o *Options) {
		o.InsecureAuth = false
		o.TLS = &tls.Config{Certificates: []tls.Certificate{testCertificate(t)}}
	}
}

// secure runs the client's handshake.
func (c *client) secure() {
	c.t.Helper()
	conn := tls.Client(c.nc, &tls.Config{InsecureSkipVerify: true})
	if err := conn.Handshake(); err != nil {
		c.t.Fatalf("handshake: %v", err)
	}
	c.nc, c.r = conn, bufio.NewReader(conn)
}

func TestStls(t *testing.T) {
	w := newWorld(t, withTLS(t))
	c := w.dial(t)
	c.expect("+OK")
	c.do("STLS", "+OK Begin TLS")
	c.secure()
	c.do("STLS", "-ERR TLS is active already")
	c.do("PASS x", "-ERR USER comes first")
	c.do("CAPA", "+OK")
	capa := c.body()
	if strings.Contains(capa, "STLS") || !strings.Contains(capa, "SASL SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN\r\n") {
		t.Errorf("capabilities under TLS:\n%s", capa)
	}
	c.do("USER alice", "+OK")
	c.do("PASS "+testPassword, "+OK 5 messages")
	c.do("QUIT", "+OK")
}

func TestImplicitTLS(t *testing.T) {
	w := newWorld(t, func(o *Options) { withTLS(t)(o); o.ImplicitTLS = true })
	c := w.dial(t)
	c.secure()
	c.expect("+OK mail.example")
	c.do("USER alice", "+OK")
	c.do("PASS "+testPassword, "+OK 5 messages")
	c.do("QUIT", "+OK")
}

// TestPipelining: answers to commands sent together come together (RFC 2449, 6.6).
func TestPipelining(t *testing.T) {
	w := newWorld(t, nil)
	c := w.dial(t)
	c.expect("+OK")
	c.send("USER alice\r\nPASS " + testPassword + "\r\nSTAT\r\nRETR 1\r\nDELE 1\r\nQUIT\r\n")
	var got bytes.Buffer
	reads := 0
	for {
		p := make([]byte, 4096)
		n, err := c.nc.Read(p)
		got.Write(p[:n])
		if err != nil {
			break
		}
		reads++
	}
	if n := strings.Count(got.String(), "+OK"); n != 6 {
		t.Errorf("%d answers: %q", n, got.String())
	}
	if reads != 1 {
		t.Errorf("they came in %d pieces", reads)
	}
	if len(w.messages) != 4 {
		t.Errorf("%d messages are left", len(w.messages))
	}
}

// TestNoUpdateWithoutQuit: a connection that ends otherwise removes nothing, and gives
// the lock back (RFC 1939, 6).
func TestNoUpdateWithoutQuit(t *testing.T) {
	w := newWorld(t, nil)
	for range 2 {
		c := w.dial(t)
		c.expect("+OK")
		c.do("USER alice", "+OK")
		c.do("PASS "+testPassword, "+OK 5 messages")
		c.do("DELE 1", "+OK")
		c.nc.Close()
		w.server.group.Wait()
	}
	if w.updates != 0 || w.locked || w.closed != 2 {
		t.Errorf("updates %d, locked %v, closed %d", w.updates, w.locked, w.closed)
	}
}

func TestTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		start := time.Now()
		c := w.dial(t)
		c.expect("+OK")
		c.expect("-ERR Idle for too long")
		if d := time.Since(start); d != DefaultLoginTimeout {
			t.Errorf("before the log-in: closed after %v", d)
		}
		c = w.dial(t)
		c.expect("+OK")
		c.do("USER alice", "+OK")
		c.do("PASS "+testPassword, "+OK")
		c.do("DELE 1", "+OK")
		start = time.Now()
		c.expect("-ERR Idle for too long")
		if d := time.Since(start); d < 10*time.Minute || d > 11*time.Minute { // RFC 1939, 3
			t.Errorf("in the maildrop: closed after %v", d)
		}
		if c.line() != "" {
			t.Error("the connection goes on")
		}
		w.server.Close()
		if w.updates != 0 || w.locked {
			t.Errorf("updates %d, locked %v", w.updates, w.locked)
		}
	})
}

// TestStalledReader: a client that does not take its message does not keep the maildrop.
func TestStalledReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.messages = []string{strings.Repeat("Subject: x\r\n", 100_000)}
		c := w.dial(t)
		c.expect("+OK")
		c.do("USER alice", "+OK")
		c.do("PASS "+testPassword, "+OK")
		c.do("RETR 1", "+OK")
		w.server.group.Wait()
		if w.locked {
			t.Error("the maildrop is locked")
		}
	})
}

func TestShutdown(t *testing.T) {
	w := newWorld(t, nil)
	c := w.dial(t)
	c.expect("+OK")
	c.do("USER alice", "+OK")
	ended := make(chan error)
	go func() { ended <- w.server.Shutdown(context.Background()) }()
	c.expect("-ERR [SYS/TEMP] Shutting down")
	if err := <-ended; err != nil {
		t.Errorf("shutdown: %v", err)
	}
	if err := w.server.Serve(closedListener{}); err != ErrClosed {
		t.Errorf("serve: %v", err)
	}
}

// closedListener is a listener that is not to be asked.
type closedListener struct{ net.Listener }

func (closedListener) Close() error { return nil }

// TestServe runs over TCP.
func TestServe(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.ConnsPerClient = 2 })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- w.server.Serve(l) }()
	var clients []*client
	for i := range 3 {
		nc, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		c := &client{t: t, nc: nc, r: bufio.NewReader(nc)}
		if i == 2 {
			c.expect("-ERR [SYS/TEMP] Too many connections")
			continue
		}
		c.expect("+OK")
		clients = append(clients, c)
	}
	for _, c := range clients {
		c.do("QUIT", "+OK")
	}
	if err := w.server.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-served; err != ErrClosed {
		t.Errorf("serve: %v", err)
	}
	if n := w.server.group.Clients(); n != 0 {
		t.Errorf("%d are still counted", n)
	}
}

// TestPanic: a session's panic ends its connection, counted, and nothing else.
func TestPanic(t *testing.T) {
	panicked := make(chan any, 1)
	w := newWorld(t, func(o *Options) { o.Panicked = func(v any, _ []byte) { panicked <- v } })
	w.panics = true
	c := w.dial(t)
	c.expect("+OK")
	c.do("USER alice", "+OK")
	c.do("PASS "+testPassword, "+OK")
	c.do("RETR 1", "")
	if v := <-panicked; v != "a bug" {
		t.Errorf("panicked with %v", v)
	}
	w.server.group.Wait()
	if w.locked || w.closed != 1 {
		t.Errorf("locked %v, closed %d", w.locked, w.closed)
	}
}

// TestRefusedSession: NewSession may say no.
func TestRefusedSession(t *testing.T) {
	w := newWorld(t, func(o *Options) {
		o.NewSession = func(context.Context, *Conn) (Session, error) {
			return nil, &Error{CodeSysPerm, "Not for you"}
		}
	})
	c := w.dial(t)
	c.expect("-ERR [SYS/PERM] Not for you")
	if c.line() != "" {
		t.Error("the connection goes on")
	}
}

// TestEndlessLine: a line without an end is not read for ever.
func TestEndlessLine(t *testing.T) {
	w := newWorld(t, nil)
	c := w.dial(t)
	c.expect("+OK")
	c.send(strings.Repeat("x", 2*discardMax))
	c.expect("-ERR Line too long")
	if c.line() != "" {
		t.Error("the connection goes on")
	}
}

// broken is a message that fails in its middle.
type broken struct{ *strings.Reader }

func (b broken) Close() error { return nil }

func (b broken) ReadAt(p []byte, off int64) (int, error) {
	if off >= 100_000 {
		return 0, errors.New("disk error")
	}
	return b.Reader.ReadAt(p[:min(len(p), 100_000-int(off))], off)
}

// TestBrokenMessage: the final dot never follows what is not whole.
func TestBrokenMessage(t *testing.T) {
	var d *brokenDrop
	w := newWorld(t, func(o *Options) {
		inner := o.NewSession
		o.NewSession = func(ctx context.Context, c *Conn) (Session, error) {
			s, err := inner(ctx, c)
			d = &brokenDrop{Session: s}
			return d, err
		}
	})
	c := w.dial(t)
	c.expect("+OK")
	c.do("USER alice", "+OK")
	c.do("PASS "+testPassword, "+OK")
	c.do("RETR 1", "+OK")
	rest, _ := io.ReadAll(c.r)
	if len(rest) < 90_000 || bytes.HasSuffix(rest, []byte(".\r\n")) {
		t.Errorf("%d octets, ending %q", len(rest), rest[max(0, len(rest)-10):])
	}
}

type brokenDrop struct {
	Session
	Maildrop
}

func (d *brokenDrop) Close() { d.Session.Close() }

func (d *brokenDrop) Authenticated(ctx context.Context, identity any) (Maildrop, error) {
	m, err := d.Session.Authenticated(ctx, identity)
	d.Maildrop = m
	return &brokenMaildrop{m}, err
}

type brokenMaildrop struct{ Maildrop }

func (brokenMaildrop) Open(context.Context, int) (Message, error) {
	return broken{strings.NewReader("Subject: x\r\n\r\n" + strings.Repeat("0123456789 12345\r\n", 20_000))}, nil
}

// TestStuffer: however a message is cut in pieces, what is sent is the same, ends with a
// dot on its own line, has no other such line, and is the message again once unstuffed.
func TestStuffer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOf(rapid.SampledFrom([]rune(".\r\nab"))).Draw(t, "message")
		lines := rapid.SampledFrom([]int{allLines, allLines, 0, 1, 3}).Draw(t, "lines")
		whole := stuffer{lines: lines, start: true}
		want := whole.end(whole.add(nil, []byte(text)))

		s := stuffer{lines: lines, start: true}
		var got []byte
		for p := []byte(text); len(p) > 0; {
			n := rapid.IntRange(1, len(p)).Draw(t, "piece")
			got = s.add(got, p[:n])
			p = p[n:]
		}
		got = s.end(got)
		if !bytes.Equal(got, want) {
			t.Fatalf("in pieces %q, whole %q", got, want)
		}
		body, ok := bytes.CutSuffix(got, []byte(".\r\n"))
		if !ok || len(body) > 0 && !bytes.HasSuffix(body, []byte("\r\n")) {
			t.Fatalf("%q ends wrongly", got)
		}
		var plain strings.Builder
		for line := range strings.SplitAfterSeq(string(body), "\n") {
			if line == ".\r\n" || line != "" && !strings.HasSuffix(line, "\r\n") {
				t.Fatalf("%q has the line %q", got, line)
			}
			plain.WriteString(strings.TrimPrefix(line, "."))
		}
		expected := topOf(text, lines)
		if plain.String() != expected {
			t.Fatalf("%q comes out as %q, not %q", text, plain.String(), expected)
		}
	})
}

// topOf is the plain model of TOP: header, empty line, and so many lines.
func topOf(text string, lines int) string {
	var out strings.Builder
	body := false
	for line := range strings.SplitAfterSeq(text, "\n") {
		if line == "" || body && lines == 0 {
			break
		}
		ended := strings.HasSuffix(line, "\n")
		line = strings.TrimSuffix(line, "\n")
		line = strings.TrimSuffix(line, "\r")
		out.WriteString(line + "\r\n")
		switch {
		case body && lines > 0:
			lines--
		case line == "" && ended:
			body = true
		}
	}
	return out.String()
}

// TestLongHeader: a header too long to be rewritten needs UTF-8 mode; one that is ASCII
// does not.
func TestLongHeader(t *testing.T) {
	w := newWorld(t, nil)
	long := strings.Repeat("X-Filler: "+strings.Repeat("x", 60)+"\r\n", 30_000)
	w.messages = []string{long + "Subject: ä\r\n\r\nbody\r\n", long + "\r\nä\r\n"}
	c := w.dial(t)
	c.expect("+OK")
	c.do("USER alice", "+OK")
	c.do("PASS "+testPassword, "+OK")
	c.do("RETR 1", "-ERR [UTF8]")
	c.do("RETR 2", "+OK")
	if got := c.body(); got != w.messages[1] {
		t.Errorf("%d octets of %d", len(got), len(w.messages[1]))
	}
	c.do("QUIT", "+OK")
}

func TestDowngrade(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"ASCII stays as it is", "Subject:  odd\r\n\tfolding\r\n\r\n", "Subject:  odd\r\n\tfolding\r\n\r\n"},
		{"address in ASCII, name not", "To: Ä B <a@b.example>, c@d.example\r\n", "To: =?utf-8?Q?=C3=84_B?= <a@b.example>, c@d.example\r\n"},
		{"address without a name", "Cc: ä@b.example\r\n", "Cc: =?utf-8?B?w6RAYi5leGFtcGxl?= <invalid@internationalized-address.invalid>\r\n"},
		{"group", "To: Gäste: a@b.example, c@d.example;\r\n", "To: =?utf-8?B?R8Okc3Rl?=: a@b.example, c@d.example;\r\n"},
		{"not UTF-8", "Subject: caf\xe9\r\n", "Subject: =?utf-8?B?Y2Fm77+9?=\r\n"},
		{"other fields go", "Message-ID: <ä@b>\r\nX: 1\r\nReceived: from ä\r\n\tby b\r\n\r\n", "X: 1\r\n\r\n"},
		{"parameters", "Content-Disposition: attachment; filename=\"ä\"; size=1\r\n", "Content-Disposition: attachment; size=1\r\n"},
		{"value of parameters", "Content-Type: tät; a=b\r\n", ""},
		{"the body stays", "Subject: ä\r\n\r\nä", "Subject: =?utf-8?B?w6Q=?=\r\n\r\nä"},
	}
	for _, test := range tests {
		got := string(downgrade([]byte(test.in)))
		if got != test.want {
			t.Errorf("%s:\ngot  %q\nwant %q", test.name, got, test.want)
		}
	}
}

func FuzzDowngrade(f *testing.F) {
	for _, m := range testMessages() {
		f.Add([]byte(m))
	}
	f.Add([]byte("To: \xff\"<@:;,\\\r\n \xff\r\nContent-Type: a;\xff=\"\\\r\n"))
	f.Fuzz(func(t *testing.T, m []byte) {
		r := bytes.NewReader(m)
		buffer := make([]byte, 64)
		content, err := asciiHeader(r, io.NewSectionReader(r, 0, r.Size()), buffer)
		if err != nil {
			t.Fatal(err)
		}
		out, err := io.ReadAll(iotest.HalfReader(content))
		if err != nil {
			t.Fatal(err)
		}
		ascii, err := headerIsASCII(bytes.NewReader(out), buffer)
		if err != nil {
			t.Fatal(err)
		}
		// What is left above 127 stands behind what the header is.
		again, err := asciiHeader(bytes.NewReader(out), bytes.NewReader(out), buffer)
		if err != nil {
			t.Fatal(err)
		}
		twice, err := io.ReadAll(again)
		if err != nil || !ascii && !bytes.Equal(twice, out) {
			t.Fatalf("%q is rewritten once more, to %q: %v", out, twice, err)
		}
	})
}

// FuzzCommands gives the server whatever a client may send.
func FuzzCommands(f *testing.F) {
	for _, s := range []string{
		"USER alice\r\nPASS open sesame\r\nLIST\r\nUIDL 1\r\nRETR 3\r\nTOP 1 1\r\nDELE 1\r\nRSET\r\nNOOP\r\nQUIT\r\n",
		"AUTH PLAIN AGFsaWNlAG9wZW4gc2VzYW1l\r\nSTAT\r\n", "AUTH LOGIN\r\n*\r\n", "CAPA\nLANG *\nUTF8\nSTLS\n",
		"AUTH SCRAM-SHA-256 biwsbj1hLHI9YQ==\r\nYz1iaXdzLHI9YQ==\r\n", "\x00\xff\r\n\r\r\n", "TOP 1 99999999999\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		w := newWorld(t, func(o *Options) { o.Panicked = func(v any, stack []byte) { t.Errorf("%v\n%s", v, stack) } })
		c := newConn(w.server, &scriptConn{r: bytes.NewReader(input)})
		c.serve()
		out := c.raw.(*scriptConn).w.Bytes()
		if !bytes.HasPrefix(out, []byte("+OK")) || !bytes.HasSuffix(out, []byte("\r\n")) {
			t.Errorf("%q is answered %q", input, out)
		}
		if w.locked {
			t.Error("the maildrop is locked")
		}
	})
}

// scriptConn is a connection whose client said all at once.
type scriptConn struct {
	r io.Reader
	w bytes.Buffer
}

func (c *scriptConn) Read(p []byte) (int, error)         { return c.r.Read(p) }
func (c *scriptConn) Write(p []byte) (int, error)        { return c.w.Write(p) }
func (c *scriptConn) Close() error                       { return nil }
func (c *scriptConn) LocalAddr() net.Addr                { return nil }
func (c *scriptConn) RemoteAddr() net.Addr               { return nil }
func (c *scriptConn) SetDeadline(time.Time) error        { return nil }
func (c *scriptConn) SetReadDeadline(t time.Time) error  { return nil }
func (c *scriptConn) SetWriteDeadline(t time.Time) error { return nil }

// TestScram logs in with proof of the password only.
func TestScram(t *testing.T) {
	salt := []byte("salt of sixteen!")
	key, err := sasl.NewKey(testPassword, salt, 4096)
	if err != nil {
		t.Fatal(err)
	}
	backend := &scramHouse{key: key, salt: salt}
	w := newWorld(t, func(o *Options) {
		inner := o.NewSession
		o.NewSession = func(ctx context.Context, c *Conn) (Session, error) {
			s, err := inner(ctx, c)
			backend.house = s.(*house)
			return backend, err
		}
	})
	c := w.dial(t)
	c.expect("+OK")
	mechanism, err := sasl.NewClient(sasl.ScramSHA256, sasl.Credentials{User: "alice", Password: testPassword}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	initial, err := mechanism.Start()
	if err != nil {
		t.Fatal(err)
	}
	line := c.do(fmt.Sprintf("AUTH SCRAM-SHA-256 %s", b64(initial)), "+ ")
	for range 2 { // the challenge, and the server's proof
		challenge, err := decodeResponse([]byte(strings.TrimPrefix(line, "+ ")), false)
		if err != nil {
			t.Fatal(err)
		}
		response, err := mechanism.Next(challenge)
		if err != nil {
			t.Fatal(err)
		}
		line = c.do(b64(response), "+")
	}
	if !strings.HasPrefix(line, "+OK 5 messages") {
		t.Errorf("answer %q", line)
	}
	c.do("QUIT", "+OK")
}

func b64(p []byte) string { return base64.StdEncoding.EncodeToString(p) }

// scramHouse is a house that keeps a verifier.
type scramHouse struct {
	*house
	key  sasl.Key
	salt []byte
}

func (h *scramHouse) SASL(b *sasl.Bindings) *sasl.Options {
	o := h.house.SASL(b)
	o.Backend = h
	return o
}

func (h *scramHouse) Verifier(_ context.Context, _, user string) (sasl.Verifier, error) {
	return sasl.Verifier{Salt: h.salt, Iterations: 4096, Keys: []sasl.Key{h.key},
		Finish: func(_ context.Context, key int) (any, error) {
			if key < 0 {
				return nil, sasl.ErrCredentials
			}
			return user, nil
		}}, nil
}

func BenchmarkRetr(b *testing.B) {
	message := "Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("x", 74)+"\r\n", 52)
	w := newWorld(b, nil)
	w.messages = []string{message}
	client, server := net.Pipe()
	w.server.group.Start(server)
	defer client.Close()
	r := bufio.NewReader(client)
	write := func(s string) {
		if _, err := io.WriteString(client, s); err != nil {
			b.Fatal(err)
		}
	}
	until := func(end string) {
		for {
			line, err := r.ReadSlice('\n')
			if err != nil {
				b.Fatal(err)
			}
			if string(line) == end || strings.HasPrefix(string(line), end) {
				return
			}
		}
	}
	until("+OK")
	write("USER alice\r\n")
	until("+OK")
	write("PASS " + testPassword + "\r\n")
	until("+OK")
	b.SetBytes(int64(len(message)))
	b.ReportAllocs()
	for b.Loop() {
		write("RETR 1\r\n")
		until(".\r\n")
	}
}
