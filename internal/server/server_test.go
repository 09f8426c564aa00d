package server

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postroad/internal/admin"
	"postroad/internal/config"
	"postroad/internal/mta/remote"
	"postroad/internal/mta/route"
	"postroad/internal/telemetry"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("TEST_HOLD_STORE"); dir != "" {
		holdStore(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

// holdStore is another process that has the store open until its input ends.
func holdStore(dir string) {
	c := NewDemo(dir, 0).Config()
	c.Limits.DiskReserve = 1 << 20
	s, err := OpenStore(context.Background(), c, slog.New(slog.DiscardHandler))
	if err != nil {
		panic(err)
	}
	fmt.Println("open")
	io.Copy(io.Discard, os.Stdin)
	if err := s.Close(); err != nil {
		panic(err)
	}
}

// demoServer runs the demo on ports of the system's choice, in dir, until stop is called.
type demoServer struct {
	*Server
	demo   *Demo
	client *admin.Client
	output string
	stop   func() error
}

func startDemo(t *testing.T, dir string, change ...func(*config.Config)) *demoServer {
	t.Helper()
	d := NewDemo(dir, 0)
	c := d.Config()
	any := []string{"127.0.0.1:0"}
	c.Listen = config.Listen{SMTP: any, Submission: any, Submissions: any, LMTP: any, IMAP: any, IMAPS: any, POP3: any, POP3S: any, Sieve: any, HTTPS: any, HTTP: any, Metrics: any}
	c.Limits.DiskReserve = 1 << 20
	c.Login.FailureDelay = config.Duration(10 * time.Millisecond)
	for _, f := range change {
		f(c)
	}
	ls, err := Bind(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan *Server, 1), make(chan error, 1)
	go func() { done <- Serve(ctx, c, ls, slog.New(slog.DiscardHandler), func(s *Server) { ready <- s }) }()
	run := &demoServer{demo: d}
	select {
	case run.Server = <-ready:
	case err := <-done:
		cancel()
		t.Fatal(err)
	}
	stopped := false
	run.stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		run.client.Close()
		cancel()
		return <-done
	}
	t.Cleanup(func() {
		if err := run.stop(); err != nil {
			t.Error(err)
		}
	})
	if run.client, err = admin.Dial(t.Context(), admin.Socket(dir)); err != nil {
		t.Fatal(err)
	}
	if err := d.Fill(t.Context(), run.Server); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := d.Explain(&out, run.Server); err != nil {
		t.Fatal(err)
	}
	run.output = out.String()
	return run
}

// dial connects to a door.
func (d *demoServer) dial(t *testing.T, door Door) *talk {
	t.Helper()
	for _, l := range d.Listeners {
		if l.Door != door {
			continue
		}
		c, err := net.DialTimeout("tcp", l.Addr().String(), 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(string(door), "s") && door != DoorMetrics {
			c = d.secure(t, c)
		}
		c.SetDeadline(time.Now().Add(20 * time.Second))
		t.Cleanup(func() { c.Close() })
		return &talk{t, c, bufio.NewReader(c)}
	}
	t.Fatalf("no door %s", door)
	return nil
}

// secure makes a TLS connection that trusts the demo's certificate alone.
func (d *demoServer) secure(t *testing.T, c net.Conn) net.Conn {
	t.Helper()
	pem, err := os.ReadFile(d.Certs.File())
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return tls.Client(c, &tls.Config{RootCAs: pool, ServerName: "localhost"})
}

// talk is a dialogue of lines.
type talk struct {
	t *testing.T
	c net.Conn
	r *bufio.Reader
}

// expect reads lines until one starts with want; lines that start with one of bad end the
// test.
func (k *talk) expect(want string) string {
	k.t.Helper()
	var all strings.Builder
	for {
		line, err := k.r.ReadString('\n')
		all.WriteString(line)
		if err != nil {
			k.t.Fatalf("waiting for %q: %v after %q", want, err, all.String())
		}
		if strings.HasPrefix(line, want) {
			return all.String()
		}
		if len(line) > 3 && line[3] == ' ' && line[0] >= '4' && line[0] <= '5' || strings.HasPrefix(line, "-ERR") || strings.HasPrefix(line, "a NO") || strings.HasPrefix(line, "a BAD") {
			k.t.Fatalf("waiting for %q: %s", want, line)
		}
	}
}

func (k *talk) say(format string, args ...any) {
	k.t.Helper()
	if _, err := fmt.Fprintf(k.c, format+"\r\n", args...); err != nil {
		k.t.Fatal(err)
	}
}

// send sends a message by SMTP or LMTP.
func (k *talk) send(hello, from, to, messageID string) {
	k.t.Helper()
	k.expect("220 ")
	k.say("%s client.test", hello)
	k.expect("250 ")
	k.mail(from, to, messageID)
}

func (k *talk) mail(from, to, messageID string) {
	k.t.Helper()
	k.say("MAIL FROM:<%s>", from)
	k.expect("250 ")
	k.say("RCPT TO:<%s>", to)
	k.expect("250 ")
	k.say("DATA")
	k.expect("354 ")
	k.say("From: <%s>\r\nTo: <%s>\r\nMessage-ID: <%s>\r\nSubject: hello\r\n\r\nText of %s\r\n.", from, to, messageID, messageID)
	k.expect("250 ")
	k.say("QUIT")
	k.expect("221 ")
}

// inbox reads a user's INBOX by IMAP.
func (d *demoServer) inbox(t *testing.T, user string) string {
	t.Helper()
	k := d.dial(t, DoorIMAPS)
	k.expect("* OK")
	k.say("a LOGIN %s@%s %s", user, demoDomain, d.demo.passwords[user])
	k.expect("a OK")
	k.say("a SELECT INBOX")
	k.expect("a OK")
	k.say("a FETCH 1:* BODY[]")
	all := k.expect("a OK")
	k.say("a LOGOUT")
	k.expect("a OK")
	return all
}

// TestScramIsOffered only where human passwords have verifiers: Mutt chooses SCRAM where it
// sees it and gives up when it fails.
func TestScramIsOffered(t *testing.T) {
	for _, scram := range []bool{false, true} {
		t.Run(fmt.Sprint(scram), func(t *testing.T) {
			d := startDemo(t, filepath.Join(t.TempDir(), "demo"), func(c *config.Config) { c.Login.ScramForPasswords = scram })
			for _, ask := range []struct {
				door                    Door
				greeting, question, end string
			}{
				{DoorIMAPS, "* OK", "a CAPABILITY", "a OK"},
				{DoorPOP3S, "+OK", "CAPA", "."},
				{DoorSubmissions, "220 ", "EHLO client.test", "250 "},
			} {
				k := d.dial(t, ask.door)
				k.expect(ask.greeting)
				k.say("%s", ask.question)
				told := k.expect(ask.end)
				if !strings.Contains(told, "PLAIN") || strings.Contains(told, "SCRAM-SHA-256") != scram {
					t.Errorf("%s: %s", ask.door, told)
				}
			}
		})
	}
}

// TestRoad sends by every door in, reads by every door out, and again after a restart.
func TestRoad(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "demo")
	d := startDemo(t, dir)
	d.dial(t, DoorSMTP).send("EHLO", "carol@example.org", "alice@example.test", "smtp@x")
	d.dial(t, DoorLMTP).send("LHLO", "carol@example.org", "alice+detail@example.test", "lmtp@x")
	k := d.dial(t, DoorSubmissions)
	k.expect("220 ")
	k.say("EHLO client.test")
	k.expect("250 ")
	k.say("AUTH LOGIN")
	k.expect("334 ")
	k.say("%s", base64Of("bob@example.test"))
	k.expect("334 ")
	k.say("%s", base64Of(d.demo.passwords["bob"]))
	k.expect("235 ")
	k.mail("bob@example.test", "alice@example.test", "submission@x")
	want := []string{"smtp@x", "lmtp@x", "submission@x", "Welcome to postroad"}
	check := func(d *demoServer) {
		t.Helper()
		all := d.inbox(t, "alice")
		for _, w := range want {
			if !strings.Contains(all, w) {
				t.Errorf("INBOX has no %q:\n%s", w, all)
			}
		}
	}
	check(d)

	p := d.dial(t, DoorPOP3)
	p.expect("+OK")
	p.say("USER alice@example.test")
	p.expect("+OK")
	p.say("PASS %s", d.demo.passwords["alice"])
	p.expect("+OK")
	p.say("STAT")
	if got := p.expect("+OK"); !strings.HasPrefix(got, "+OK 5 ") {
		t.Errorf("STAT: %s", got)
	}
	p.say("QUIT")
	p.expect("+OK")

	m := d.dial(t, DoorSieve)
	m.expect("\"STARTTLS\"")
	m.expect("OK")
	m.say(`AUTHENTICATE "PLAIN" "%s"`, base64.StdEncoding.EncodeToString([]byte("\x00alice@example.test\x00"+d.demo.passwords["alice"])))
	m.expect("OK")
	m.say(`PUTSCRIPT "main" "keep;"`)
	m.expect("OK")
	m.say(`SETACTIVE "main"`)
	m.expect("OK")
	m.say("LISTSCRIPTS")
	if got := m.expect("OK"); got != "\"main\" ACTIVE\r\nOK\r\n" {
		t.Errorf("scripts: %q", got)
	}

	var events []admin.TraceEvent
	if err := d.client.Call(t.Context(), "trace", admin.TraceRef{Message: "<smtp@x>"}, &events, nil); err != nil {
		t.Error(err)
	}
	var words []string
	for _, e := range events {
		words = append(words, e.What)
	}
	if got := strings.Join(words, " "); !strings.HasPrefix(got, "accepted") || !strings.Contains(got, "delivered") {
		t.Errorf("timeline: %s %v", got, events)
	}
	var checked admin.Checked
	if err := d.client.Call(t.Context(), "check", admin.CheckRequest{}, &checked, func(admin.Progress) {}); err != nil || checked.Faults != 0 || checked.Accounts != 2 {
		t.Errorf("check: %+v %v", checked, err)
	}
	passwords := fmt.Sprint(d.demo.passwords)
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
	again := startDemo(t, dir)
	if fmt.Sprint(again.demo.passwords) != passwords {
		t.Error("other passwords after a restart")
	}
	check(again)
	for _, text := range append(want[:0:0], "alice@example.test", again.demo.passwords["bob"], "mutt", "Thunderbird", "swaks") {
		if !strings.Contains(again.output, text) {
			t.Errorf("the explanation lacks %q:\n%s", text, again.output)
		}
	}
}

func TestMetricsAndStatus(t *testing.T) {
	d := startDemo(t, filepath.Join(t.TempDir(), "demo"))
	k := d.dial(t, DoorMetrics)
	k.say("GET /metrics HTTP/1.0\r\n")
	all, err := io.ReadAll(k.r)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"postroad_queue_submitted_total 3", "postroad_kv_commits_total", "postroad_disk_free_bytes", "go_goroutines"} {
		if !strings.Contains(string(all), "\n"+name) {
			t.Errorf("no %s in\n%s", name, all)
		}
	}
	var s admin.Status
	if err := d.client.Call(t.Context(), "status", admin.Nothing{}, &s, nil); err != nil {
		t.Fatal(err)
	}
	if s.Hostname != "mail.example.test" || s.Started.IsZero() || s.Queue.Submitted != 3 || len(s.Listeners) != 13 || s.Store.FreeBytes == 0 {
		t.Errorf("%+v", s)
	}
}

// TestOneServer: a second one on the same directory is told so, and a dead one's socket
// does not matter.
func TestOneServer(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "demo")
	d := startDemo(t, dir)
	if _, err := Bind(t.Context(), d.demo.Config()); !errors.Is(err, ErrRunning) {
		t.Errorf("second server: %v", err)
	}
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: admin.Socket(dir), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false) // as after kill -9
	l.Close()
	startDemo(t, dir)
}

func TestBindFails(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := NewDemo(t.TempDir(), 0).Config()
	c.Listen = config.Listen{IMAP: []string{l.Addr().String()}}
	if _, err := Bind(t.Context(), c); err == nil || !strings.Contains(err.Error(), "imap") {
		t.Errorf("a port that is taken: %v", err)
	}
	if _, err := os.Stat(admin.Socket(c.DataDirectory)); !os.IsNotExist(err) {
		t.Error("the socket was left behind")
	}
}

// TestHandOver passes listeners on as a parent does, within one process.
func TestHandOver(t *testing.T) {
	dir := t.TempDir()
	c := NewDemo(dir, 0).Config()
	c.Listen = config.Listen{SMTP: []string{"127.0.0.1:0"}, LMTP: []string{"unix:" + dir + "/lmtp"}}
	ls, err := Bind(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer ls.Close()
	files, names, err := ls.handOver()
	if err != nil || len(files) != 3 || names != `["admin","smtp","lmtp"]` {
		t.Fatalf("%v %s %v", files, names, err)
	}
	for _, f := range files {
		f.Close()
	}
	if info, err := os.Stat(admin.Socket(dir)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v %v", info, err)
	}
	if !ls[1].Loopback() || !ls[2].Loopback() || (&Listener{Listener: fakeListener{}}).Loopback() {
		t.Error("Loopback")
	}
}

type fakeListener struct{ net.Listener }

func (fakeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 25} }

func TestAccountOf(t *testing.T) {
	if _, err := accountOf("no-such-user-here"); err == nil || !strings.Contains(err.Error(), "adduser") {
		t.Errorf("%v", err)
	}
	if _, err := accountOf("root"); err == nil {
		t.Error("root serves")
	}
	if a, err := accountOf("nobody"); err != nil || a.uid == 0 || a.gid == 0 {
		t.Errorf("%v %v", a, err)
	}
}

func TestRoutes(t *testing.T) {
	s := &Store{config: config.Default()}
	s.config.Routes = []config.Route{
		{Domain: "example.org", Host: "192.0.2.1", Port: 2525, Transport: "smtp", Username: "u", Password: telemetry.NewSecret("p")},
		{Domain: "*.example.org", Host: "mx.example.net", Transport: "smtp", MX: true},
		{Domain: "example.org", Host: "never.test", Transport: "smtp"},
		{Domain: "lists.test", Host: "127.0.0.1", Port: 24, Transport: "lmtp"},
		{Domain: "tls.test", Host: "tls.example.net", Transport: "smtp", ImplicitTLS: true},
		{Domain: "proof.test", Host: "proof.example.net", Transport: "smtp", TLS: "verify"},
		{Domain: "*", Host: "relay.test", Port: 587, Transport: "smtp", Username: "r", PasswordFile: filepath.Join(t.TempDir(), "password")},
	}
	if err := os.WriteFile(s.config.Routes[6].PasswordFile, []byte("secret\r\nmore"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := s.routes()
	want := map[string]route.NextHop{
		"example.org":  {Hop: "[192.0.2.1]:2525", Name: "u at [192.0.2.1]:2525"},
		".example.org": {Hop: "mx.example.net"},
		"lists.test":   {Hop: "lmtp:[127.0.0.1]:24"},
		"tls.test":     {Hop: "[tls.example.net]:465", Name: "[tls.example.net]:465"},
		"proof.test":   {Hop: "[proof.example.net]", Name: "[proof.example.net]"},
	}
	if fmt.Sprint(o.NextHops) != fmt.Sprint(want) || o.RelayHost != "[relay.test]:587" || o.RelayName != "r at [relay.test]:587" {
		t.Errorf("%+v", o)
	}
	if _, err := route.New(o); err != nil {
		t.Error(err)
	}
	relays, err := relaysOf(s.config.Routes)
	if err != nil || len(relays) != 4 || relays["u at [192.0.2.1]:2525"].Credentials.Password != "p" ||
		relays["r at [relay.test]:587"].Credentials.Password != "secret" {
		t.Errorf("%d %v", len(relays), err)
	}
	if !relays["[tls.example.net]:465"].ImplicitTLS || relays["[proof.example.net]"].TLS != remote.TLSVerify {
		t.Errorf("TLS of relays: %+v", relays)
	}
	s.config.Routes[6].PasswordFile += "-none"
	if _, err := relaysOf(s.config.Routes); err == nil {
		t.Error("a missing file")
	}
}

func TestOwnAddresses(t *testing.T) {
	own := ownAddresses([]string{":25", "127.0.0.1:2525", "localhost:26", "unix:/x", "[::1]:24"})
	if got := fmt.Sprint(own); got != "[[::]:25 127.0.0.1:2525 127.0.0.1:26 [::1]:24]" {
		t.Error(got)
	}
	if allLoopback(own) || !allLoopback(own[1:]) {
		t.Error("allLoopback")
	}
}

// TestLimiter: strangers are bounded by address, those who logged in only all together.
func TestLimiter(t *testing.T) {
	l := newLimiter(10, 3)
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	connect := func(from netip.Addr) (func(), error) {
		return l.admit(fakeConn{addr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 1000))})
	}
	var done []func()
	open := func(from netip.Addr, n int, want error) {
		t.Helper()
		for i := range n {
			d, err := connect(from)
			if err != nil {
				t.Fatalf("connection %d: %v", i, err)
			}
			done = append(done, d)
		}
		if want != nil {
			if _, err := connect(from); !errors.Is(err, want) {
				t.Errorf("one more: %v", err)
			}
		}
	}
	open(a, 3, errTooManyAddress)
	l.loggedIn(a)
	open(a, 1, errTooManyAddress)
	open(b, 3, errTooManyAddress)
	if _, err := connect(netip.MustParseAddr("2001:db8::ffff")); !errors.Is(err, errTooManyAddress) {
		t.Errorf("the same /64: %v", err)
	}
	open(netip.MustParseAddr("192.0.2.2"), 3, errTooMany)
	for _, d := range done {
		d()
		d() // counts once
	}
	if l.all != 0 || len(l.addresses) != 0 {
		t.Errorf("%d connections, %d addresses are left", l.all, len(l.addresses))
	}
	l.loggedIn(a) // of a connection that has gone
	open(a, 3, errTooManyAddress)
}

type fakeConn struct {
	net.Conn
	addr net.Addr
}

func (c fakeConn) RemoteAddr() net.Addr { return c.addr }

// TestLateStore: who finds the store in use by another process waits a while for it.
func TestLateStore(t *testing.T) {
	c := NewDemo(t.TempDir(), 0).Config()
	c.Limits.DiskReserve = 1 << 20
	other := exec.Command(os.Args[0])
	other.Env = append(os.Environ(), "TEST_HOLD_STORE="+c.DataDirectory)
	in, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "open\n" {
		t.Fatalf("%q %v", line, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if s, err := OpenStore(ctx, c, slog.New(slog.DiscardHandler)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while it is in use: %v %v", s, err)
	}
	time.AfterFunc(200*time.Millisecond, func() { in.Close() })
	s, err := OpenStore(t.Context(), c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("afterwards: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := other.Wait(); err != nil {
		t.Error(err)
	}
}

func base64Of(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
