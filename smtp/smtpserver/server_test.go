package smtpserver

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"postroad/address"
	"postroad/sasl"
	"postroad/smtp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// feed is a connection whose client's octets are given, a piece a read.
type feed struct {
	pieces [][]byte
	out    bytes.Buffer
}

func (f *feed) Read(p []byte) (int, error) {
	for len(f.pieces) > 0 && len(f.pieces[0]) == 0 {
		f.pieces = f.pieces[1:]
	}
	if len(f.pieces) == 0 {
		return 0, io.EOF
	}
	n := copy(p, f.pieces[0])
	f.pieces[0] = f.pieces[0][n:]
	return n, nil
}

func (f *feed) Write(p []byte) (int, error)      { return f.out.Write(p) }
func (f *feed) Close() error                     { return nil }
func (f *feed) LocalAddr() net.Addr              { return &net.UnixAddr{Net: "unix"} }
func (f *feed) RemoteAddr() net.Addr             { return &net.UnixAddr{Net: "unix"} }
func (f *feed) SetDeadline(time.Time) error      { return nil }
func (f *feed) SetReadDeadline(time.Time) error  { return nil }
func (f *feed) SetWriteDeadline(time.Time) error { return nil }

// cut cuts b into pieces of n octets.
func cut(b []byte, n int) [][]byte {
	var pieces [][]byte
	for len(b) > n && n > 0 {
		pieces = append(pieces, b[:n:n])
		b = b[n:]
	}
	return append(pieces, b)
}

// play runs a whole dialogue and returns what the session was told and what the client
// was.
func play(t testing.TB, o Options, pieces ...[]byte) (events []string, out string) {
	t.Helper()
	var mu sync.Mutex
	o.Hostname = "mx.test"
	o.NewSession = func(_ context.Context, c *Conn) (Session, error) {
		return &recorder{t: t, c: c, lmtp: o.Protocol == LMTP, mu: &mu, events: &events}, nil
	}
	o.Panicked = func(v any, stack []byte) {
		if v != "as asked" {
			t.Errorf("panic: %v\n%s", v, stack)
		}
	}
	s := New(o)
	f := &feed{pieces: pieces}
	s.group.Start(f)
	s.group.Wait()
	return events, f.out.String()
}

// model is a plain reading of RFC 5321, 4.1.1.4 and 4.5.2: what content a client sent
// behind DATA, and what follows it. ended tells whether there was an end.
func model(raw string) (content, rest string, good, ended bool) {
	s := "\r\n" + raw
	end := strings.Index(s, "\r\n.\r\n")
	if end < 0 {
		return "", "", false, false
	}
	content, rest = s[2:end+2], s[end+5:]
	if end == 0 {
		content = ""
	}
	good = !strings.ContainsAny(strings.ReplaceAll(content, "\r\n", ""), "\r\n\x00")
	lines := strings.SplitAfter(content, "\r\n")
	for i := range lines {
		lines[i] = strings.TrimPrefix(lines[i], ".")
	}
	return strings.Join(lines, ""), rest, good, true
}

// checkData holds the server against the model.
func checkData(t *testing.T, raw string, size int) {
	t.Helper()
	const before = "EHLO x\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n"
	events, _ := play(t, Options{}, append([][]byte{[]byte(before)}, cut([]byte(raw), size)...)...)
	content, rest, good, ended := model(raw)
	var got []string
	for _, e := range events {
		if strings.HasPrefix(e, "data ") {
			got = append(got, e)
		}
	}
	switch {
	case good:
		if want := fmt.Sprintf("data ESMTP %q", content); len(got) == 0 || got[0] != want {
			t.Fatalf("%q by %d: session got %q, want %q", raw, size, got, want)
		}
		if more := len(got) - 1; more > strings.Count(strings.ToUpper(rest), "MAIL") {
			t.Fatalf("%q by %d: %d messages too many", raw, size, more)
		}
	case !ended && len(events) != 2:
		t.Fatalf("%q by %d: %q without an end", raw, size, events)
	case len(got) > strings.Count(strings.ToUpper(rest), "MAIL"):
		t.Fatalf("%q by %d: bad content was taken: %q", raw, size, got)
	}
}

// TestSmuggling is what is known of ways to make two servers see different ends, and some
// more: whatever it is, there is no second message, and no acceptance of the first.
func TestSmuggling(t *testing.T) {
	const second = "MAIL FROM:<evil@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\nsmuggled\r\n.\r\n"
	for _, end := range []string{
		"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r.\n", "\r\n.\r", "\r.\r\n", "\n.\r", "\r\n\x00.\r\n",
		"\r\n.\x00\r\n", "\r\r\n.\r\r\n", "\r\n.\r\r\n", "\n\n.\r\n", "\n\r.\r\n", "\r\n.\n\r\n", "\x00\n.\n",
		"\n.\r\r\n", "\r\x00\n.\r\n", "\n..\r\n",
	} {
		t.Run(fmt.Sprintf("%q", end), func(t *testing.T) {
			raw := "Subject: x\r\n\r\ntext" + end + second + "\r\n.\r\nQUIT\r\n"
			for _, size := range []int{1, 2, 3, 7, 1000} {
				const before = "EHLO x\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n"
				events, out := play(t, Options{}, append([][]byte{[]byte(before)}, cut([]byte(raw), size)...)...)
				if len(events) != 2 {
					t.Errorf("by %d: the session was told %q", size, events)
				}
				if strings.Contains(out, "taken") {
					t.Errorf("by %d: taken: %q", size, out)
				}
				checkData(t, raw, size)
			}
		})
	}
}

// TestLongLines: a line over the limit is one error, and the next command is understood;
// one that never ends is not waited for.
func TestLongLines(t *testing.T) {
	long := func(n int) []byte { return []byte("NOOP " + strings.Repeat("x", n) + "\r\nHELP\r\n") }
	auth := []byte("EHLO x\r\nAUTH PLAIN " + strings.Repeat("A", 9000) + "\r\nHELP\r\n")
	for _, tt := range []struct {
		name  string
		input []byte
		want  string
	}{
		{"just not", long(CommandLineMax - 7), "220 250 214"},
		{"just", long(CommandLineMax - 6), "220 500 214"},
		{"by far", long(60_000), "220 500 214"},
		{"without end", long(200_000), "220 421"},
		{"long AUTH", auth, "220 250 501 214"},
		{"ended by LF", []byte("NOOP " + strings.Repeat("x", 20_000) + "\nHELP\r\n"), "220 521"},
	} {
		for _, size := range []int{1, 100, 1 << 20} {
			o := Options{Auth: &sasl.Options{Backend: users{}}, InsecureAuth: true}
			_, out := play(t, o, cut(tt.input, size)...)
			var codes []string
			for line := range strings.Lines(out) {
				if line[3] == ' ' {
					codes = append(codes, line[:3])
				}
			}
			if got := strings.Join(codes, " "); got != tt.want {
				t.Errorf("%s by %d: %s, want %s", tt.name, size, got, tt.want)
			}
		}
	}
}

// TestDataPieces: however content is cut in the network, it comes out as it went in.
func TestDataPieces(t *testing.T) {
	raw := "..\r\n.\r.\r\n"
	checkData(t, raw, 1)
	raw = ".a\r\n...\r\n\r\n..\r\n" + strings.Repeat("x", 300) + "\r\n.\r\n"
	for size := 1; size < len(raw); size++ {
		checkData(t, raw, size)
	}
	long := strings.Repeat(strings.Repeat("y", 40_000)+"\r\n..\r\n", 3) + ".\r\n"
	for _, size := range []int{1000, 32<<10 - 1, 32 << 10, 1 << 20} {
		checkData(t, long, size)
	}
}

func FuzzData(f *testing.F) {
	f.Add("x\r\n.\r\n", 3)
	f.Add("..\r\n.\r\nMAIL FROM:<a@b>\r\n", 1)
	f.Add("a\n.\r\nMAIL FROM:<a@b>\r\n.\r\n", 2)
	f.Add(".\r\n", 1)
	f.Add("\r\r\n.\r\r\n", 5)
	f.Fuzz(func(t *testing.T, raw string, size int) { checkData(t, raw, size) })
}

// FuzzCommand gives a whole dialogue: nothing panics, the session sees commands in order
// (which it checks itself), and every reply is one.
func FuzzCommand(f *testing.F) {
	f.Add([]byte("EHLO x\r\nMAIL FROM:<a@example.com> SIZE=3\r\nRCPT TO:<b@example.org>\r\nBDAT 3 LAST\r\na\r\nQUIT\r\n"), 40)
	f.Add([]byte("EHLO x\r\nAUTH PLAIN AHVzZXIAcGFzcw==\r\nAUTH LOGIN\r\n*\r\n"), 1)
	f.Add([]byte("HELO x\r\nMAIL FROM:<>\r\nRSET\r\nXCLIENT ADDR=1.2.3.4\r\nDATA\r\n"), 5)
	f.Add([]byte("LHLO x\r\nMAIL FROM:<>\r\nBDAT 99999999999999 LAST\r\n"), 7)
	f.Fuzz(func(t *testing.T, in []byte, size int) {
		for _, protocol := range []string{"", "lmtp"} {
			o := Options{SizeMax: 1000, RcptMax: 3, MailMax: 5}
			for _, w := range strings.Fields("tls auth insecure all binary " + protocol) {
				if err := setOption(&o, w); err != nil {
					t.Fatal(err)
				}
			}
			_, out := play(t, o, cut(in, size)...)
			if !strings.HasSuffix(out, "\r\n") {
				t.Fatalf("%q: replies %q", in, out)
			}
			var p smtp.ReplyParser
			for line := range strings.SplitSeq(strings.TrimSuffix(out, "\r\n"), "\r\n") {
				if strings.HasPrefix(line, "334 ") {
					continue
				}
				if _, _, err := p.Add(line); err != nil {
					t.Fatalf("%q: reply line %q: %v", in, line, err)
				}
			}
		}
	})
}

// FuzzProxy gives a header of the PROXY protocol.
func FuzzProxy(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.7 192.0.2.1 1234 25\r\nNOOP\r\n"), 3)
	f.Add([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x21\x00\x24"+strings.Repeat("\x20", 36)), 5)
	f.Fuzz(func(t *testing.T, in []byte, size int) {
		c := newConn(New(Options{}), &feed{pieces: cut(in, size)})
		if err := c.readProxy(); err == nil && c.in.r > c.in.w {
			t.Fatal("read beyond the end")
		}
	})
}

// pipeListener hands out connections in memory.
type pipeListener struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Net: "unix"} }

func (l *pipeListener) dial() *bufio.ReadWriter {
	a, b := net.Pipe()
	l.conns <- a
	return bufio.NewReadWriter(bufio.NewReader(b), bufio.NewWriter(b))
}

// sink is a Session that takes all and keeps nothing.
type sink struct{}

func (sink) Hello(context.Context) error                                  { return nil }
func (sink) Authenticated(context.Context, any) error                     { return nil }
func (sink) Mail(context.Context, address.Address, smtp.MailParams) error { return nil }
func (sink) Rcpt(context.Context, address.Address, smtp.RcptParams) error { return nil }
func (sink) Reset()                                                       {}
func (sink) Close()                                                       {}
func (s sink) Data(_ context.Context, content io.Reader) ([]smtp.Reply, error) {
	_, err := io.Copy(io.Discard, content)
	return taken, err
}

var taken = []smtp.Reply{{Code: 250, Enhanced: smtp.EnhancedCode{2, 0, 0}, Lines: []string{"taken"}}}

func newSink(context.Context, *Conn) (Session, error) { return sink{}, nil }

func expect(t *testing.T, c *bufio.ReadWriter, prefix string) {
	t.Helper()
	for {
		line, err := c.ReadString('\n')
		if err == nil && len(line) > 3 && line[3] == '-' {
			continue
		}
		if err != nil || !strings.HasPrefix(line, prefix) {
			t.Fatalf("got %q, %v; want %q", line, err, prefix)
		}
		return
	}
}

func say(t *testing.T, c *bufio.ReadWriter, line string) {
	t.Helper()
	if _, err := c.WriteString(line); err != nil {
		t.Fatal(err)
	}
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
}

// TestTimeouts runs in virtual time: the usual time-out, and the short one under stress.
func TestTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Hostname: "mx.test", NewSession: newSink, StressConns: 2})
		l := newPipeListener()
		go s.Serve(l)
		first := l.dial()
		expect(t, first, "220")
		start := time.Now()
		expect(t, first, "421 4.4.2")
		if d := time.Since(start); d != DefaultTimeout {
			t.Errorf("hung up after %v", d)
		}
		first, second := l.dial(), l.dial()
		expect(t, first, "220")
		expect(t, second, "220")
		say(t, second, "NOOP\r\n")
		expect(t, second, "250")
		start = time.Now()
		expect(t, second, "421 4.4.2")
		if d := time.Since(start); d > DefaultStressTimeout {
			t.Errorf("hung up after %v under stress", d)
		}
		s.Close()
	})
}

// TestShutdown: the idle are told at once, a transaction comes to its end.
func TestShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Hostname: "mx.test", NewSession: newSink})
		l := newPipeListener()
		served := make(chan error, 1)
		go func() { served <- s.Serve(l) }()
		idle, busy, stuck := l.dial(), l.dial(), l.dial()
		expect(t, idle, "220")
		for _, c := range []*bufio.ReadWriter{busy, stuck} {
			expect(t, c, "220")
			say(t, c, "EHLO x\r\n")
			expect(t, c, "250")
			say(t, c, "MAIL FROM:<>\r\n")
			expect(t, c, "250")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		ended := make(chan error, 1)
		go func() { ended <- s.Shutdown(ctx) }()
		expect(t, idle, "421 4.3.2")
		say(t, busy, "RCPT TO:<a@b>\r\n")
		expect(t, busy, "250")
		say(t, busy, "DATA\r\n")
		expect(t, busy, "354")
		say(t, busy, "x\r\n.\r\n")
		expect(t, busy, "250")
		expect(t, busy, "421 4.3.2")
		if err := <-ended; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-served; !errors.Is(err, ErrClosed) {
			t.Errorf("Serve: %v", err)
		}
		if err := s.Serve(newPipeListener()); !errors.Is(err, ErrClosed) {
			t.Errorf("Serve after Shutdown: %v", err)
		}
	})
}

func TestTooManyConnections(t *testing.T) {
	s := New(Options{Hostname: "mx.test", NewSession: newSink, ConnsMax: 2, ConnsPerClient: 1})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve(l)
	defer s.Close()
	var clients []net.Conn
	for _, want := range []string{"220", "421 4.7.0"} {
		nc, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		clients = append(clients, nc)
		expect(t, bufio.NewReadWriter(bufio.NewReader(nc), bufio.NewWriter(nc)), want)
	}
	// When the first has gone its place is free, once its session has ended.
	clients[0].Close()
	retry(t, l.Addr().String())
}

// retry dials until it is not turned away.
func retry(t *testing.T, addr string) {
	for range 100 {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { nc.Close() })
		if b, err := bufio.NewReader(nc).Peek(3); err == nil && string(b) == "220" {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("always turned away")
}

// TestIdleMemory holds what an idle connection costs against design 7's 10 KB; the
// client's end and the system's buffers are not counted.
func TestIdleMemory(t *testing.T) {
	const conns = 200
	s := New(Options{Hostname: "mx.test", NewSession: newSink, ConnsPerClient: -1})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve(l)
	defer s.Close()
	var before, after runtime.MemStats
	clients := make([]net.Conn, conns)
	for i := range clients {
		if clients[i], err = net.Dial("tcp", l.Addr().String()); err != nil {
			t.Fatal(err)
		}
		defer clients[i].Close()
		if i == 0 {
			talk(t, clients[0])
			runtime.GC()
			runtime.ReadMemStats(&before)
			continue
		}
		talk(t, clients[i])
	}
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := int64(after.HeapInuse+after.StackInuse-before.HeapInuse-before.StackInuse) / (conns - 1)
	t.Logf("%d octets an idle connection, with the client's end", each)
	if each > 12<<10 {
		t.Errorf("an idle connection costs %d octets", each)
	}
}

// talk brings a connection through a transaction, back to idle.
func talk(t *testing.T, nc net.Conn) {
	t.Helper()
	var b [1024]byte
	for _, step := range []struct{ say, want string }{
		{"", "220"},
		{"EHLO x\r\n", "250"},
		{"MAIL FROM:<>\r\n", "250"},
		{"RCPT TO:<a@b>\r\n", "250"},
		{"DATA\r\n", "354"},
		{"x\r\n.\r\n", "250"},
	} {
		if _, err := io.WriteString(nc, step.say); err != nil {
			t.Fatal(err)
		}
		n, err := nc.Read(b[:])
		if err != nil || !strings.HasPrefix(string(b[:n]), step.want) {
			t.Fatalf("%q: %q, %v", step.say, b[:n], err)
		}
	}
}

// BenchmarkDialogue is a whole transaction of 4 KB over a connection in memory, the
// client's part as small as can be.
func BenchmarkDialogue(b *testing.B) {
	content := strings.Repeat(strings.Repeat("x", 70)+"\r\n", 57) + ".\r\n"
	envelope := []byte("MAIL FROM:<alice@example.com> SIZE=4104\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n")
	s := New(Options{Hostname: "mx.test", NewSession: newSink, MailMax: 1 << 40, OctetsMax: 1 << 60})
	f := &cycle{first: []byte("EHLO client.example\r\n"), pieces: [][]byte{envelope, []byte(content)}, left: b.N}
	b.ReportAllocs()
	b.SetBytes(int64(len(content)))
	b.ResetTimer()
	s.group.Start(f)
	s.group.Wait()
	b.StopTimer()
	if f.left != 0 {
		b.Fatal("the dialogue ended early")
	}
}

// cycle is a client that says the same again and again.
type cycle struct {
	feed
	first  []byte
	pieces [][]byte
	at     int
	left   int
}

func (c *cycle) Read(p []byte) (int, error) {
	if c.first != nil {
		n := copy(p, c.first)
		c.first = nil
		return n, nil
	}
	if c.left == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.pieces[c.at])
	if n < len(c.pieces[c.at]) {
		panic("a short read")
	}
	if c.at++; c.at == len(c.pieces) {
		c.at = 0
		c.left--
	}
	return n, nil
}

func (c *cycle) Write(p []byte) (int, error) { return len(p), nil }
