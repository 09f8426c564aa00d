package managesieve

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
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

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
func (c *client) secure() *sasl.Bindings {
	c.t.Helper()
	conn := tls.Client(c.nc, &tls.Config{InsecureSkipVerify: true})
	if err := conn.Handshake(); err != nil {
		c.t.Fatalf("handshake: %v", err)
	}
	c.nc, c.r = conn, bufio.NewReader(conn)
	return sasl.ClientBindings(conn)
}

func b64(p []byte) string { return base64.StdEncoding.EncodeToString(p) }

func plainResponse(user, password string) string {
	return b64([]byte("\x00" + user + "\x00" + password))
}

// TestStartTLS: RFC 5804, 2.2. The capabilities come again, without being asked for.
func TestStartTLS(t *testing.T) {
	w := newWorld(t, withTLS(t))
	c := w.dial(t)
	if told := c.expect("OK"); !slices.Contains(told, `"STARTTLS"`) || !slices.Contains(told, `"SASL" ""`) {
		t.Errorf("capabilities without TLS: %q", told)
	}
	c.do("StartTls", "OK")
	c.secure()
	told := c.expect("OK")
	if slices.Contains(told, `"STARTTLS"`) || !slices.Contains(told, `"SASL" "SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN"`) {
		t.Errorf("capabilities under TLS: %q", told)
	}
	c.do("STARTTLS", `NO "TLS is active already"`)
	c.do(`AUTHENTICATE "PLAIN" "`+plainResponse("alice", testPassword)+`"`, "OK")
	c.do("UNAUTHENTICATE", "OK")
	if again := c.do("CAPABILITY", "OK"); !slices.Equal(again, told) {
		t.Errorf("capabilities after UNAUTHENTICATE: %q", again)
	}
	c.do("LOGOUT", "OK")
}

func TestNoTLS(t *testing.T) {
	w := newWorld(t, nil)
	c := w.dial(t)
	c.expect("OK")
	c.do("STARTTLS", `NO "TLS is not available"`)
}

// TestNothingFollowsStartTLS: what came in clear text is not taken for what comes under TLS.
func TestNothingFollowsStartTLS(t *testing.T) {
	w := newWorld(t, withTLS(t))
	c := w.dial(t)
	c.expect("OK")
	c.do("STARTTLS\r\nNOOP", `BYE "Nothing may follow STARTTLS"`)
	if got := c.line(); got != "" {
		t.Errorf("the connection goes on with %q", got)
	}
}

// TestScram logs in with proof of the password only, bound to the channel. The server's
// proof comes with its OK (RFC 5804, 2.1).
func TestScram(t *testing.T) {
	salt := []byte("salt of sixteen!")
	key, err := sasl.NewKey(testPassword, salt, 4096)
	if err != nil {
		t.Fatal(err)
	}
	for _, mechanism := range []string{sasl.ScramSHA256, sasl.ScramSHA256Plus} {
		for _, password := range []string{testPassword, "wrong"} {
			w := newWorld(t, withTLS(t))
			w.scram = sasl.Verifier{Salt: salt, Iterations: 4096, Keys: []sasl.Key{key}}
			c := w.dial(t)
			c.expect("OK")
			c.do("STARTTLS", "OK")
			bindings := c.secure()
			c.expect("OK")
			m, err := sasl.NewClient(mechanism, sasl.Credentials{User: "alice", Password: password}, bindings,
				[]string{sasl.ScramSHA256, sasl.ScramSHA256Plus})
			if err != nil {
				t.Fatal(err)
			}
			answer := c.exchange(m)
			if password == "wrong" {
				if answer != `NO "Wrong user name or password"` {
					t.Errorf("%s with a wrong password: %q", mechanism, answer)
				}
				continue
			}
			proof, ok := strings.CutPrefix(answer, `OK (SASL "`)
			proof, ok2 := strings.CutSuffix(proof, `")`)
			data, err := base64.StdEncoding.DecodeString(proof)
			if !ok || !ok2 || err != nil {
				t.Fatalf("%s: %q", mechanism, answer)
			}
			if _, err := m.Next(data); err != nil {
				t.Errorf("%s: the server's proof: %v", mechanism, err)
			}
			if err := m.Finish(); err != nil {
				t.Errorf("%s: %v", mechanism, err)
			}
			c.do("LISTSCRIPTS", "OK")
		}
	}
}

// exchange runs a mechanism to the server's answer.
func (c *client) exchange(m sasl.Client) string {
	c.t.Helper()
	initial, err := m.Start()
	if err != nil {
		c.t.Fatal(err)
	}
	c.send(`AUTHENTICATE "` + m.Mechanism() + `" "` + b64(initial) + "\"\r\n")
	for {
		line := c.line()
		text, ok := strings.CutPrefix(line, `"`)
		if !ok {
			return line
		}
		challenge, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(text, `"`))
		if err != nil {
			c.t.Fatal(err)
		}
		response, err := m.Next(challenge)
		if err != nil {
			c.t.Fatal(err)
		}
		c.send(`"` + b64(response) + "\"\r\n")
	}
}

// TestPipelining: answers to commands sent together come together (RFC 5804, 2).
func TestPipelining(t *testing.T) {
	w := newWorld(t, nil)
	c := w.dial(t)
	c.expect("OK")
	c.send(`AUTHENTICATE "PLAIN" "` + plainResponse("alice", testPassword) + "\"\r\nNOOP\r\n" +
		"PUTSCRIPT \"a\" {5+}\r\nkeep;\r\nLISTSCRIPTS\r\nGETSCRIPT \"a\"\r\nLOGOUT\r\nNOOP\r\n")
	p := make([]byte, 4096)
	n, err := c.nc.Read(p)
	if err != nil {
		t.Fatal(err)
	}
	want := "OK\r\nOK \"Done\"\r\nOK\r\n\"a\"\r\nOK\r\n{5}\r\nkeep;\r\nOK\r\nOK \"Goodbye\"\r\n"
	if string(p[:n]) != want {
		t.Errorf("got %q, want %q", p[:n], want)
	}
	if c.line() != "" {
		t.Error("the connection goes on")
	}
}

func TestTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		start := time.Now()
		c := w.dial(t)
		c.expect("OK")
		c.expect(`BYE "Idle for too long"`)
		if d := time.Since(start); d != DefaultLoginTimeout {
			t.Errorf("before the log-in: closed after %v", d)
		}
		c = w.dial(t)
		c.login()
		start = time.Now()
		c.expect(`BYE "Idle for too long"`)
		if d := time.Since(start); d < 30*time.Minute || d > 31*time.Minute { // RFC 5804, 1.2
			t.Errorf("after the log-in: closed after %v", d)
		}
		w.server.Close()
		if w.open != 0 || w.closed != 2 {
			t.Errorf("open %d, closed %d", w.open, w.closed)
		}
	})
}

// TestStalledReader: a client that does not take its script does not keep the session.
func TestStalledReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.scripts["big"] = strings.Repeat("#\r\n", 300_000)
		c := w.dial(t)
		c.login()
		c.do(`GETSCRIPT "big"`, "{900000}")
		w.server.group.Wait()
		if w.open != 0 {
			t.Error("the scripts are open")
		}
	})
}

func TestShutdown(t *testing.T) {
	w := newWorld(t, nil)
	c := w.dial(t)
	c.login()
	ended := make(chan error)
	go func() { ended <- w.server.Shutdown(context.Background()) }()
	c.expect("BYE (TRYLATER) \"Shutting down")
	if err := <-ended; err != nil {
		t.Errorf("shutdown: %v", err)
	}
	if err := w.server.Serve(closedListener{}); err != ErrClosed {
		t.Errorf("serve: %v", err)
	}
}

// TestShutdownCuts: a client that takes nothing does not hold up the end.
func TestShutdownCuts(t *testing.T) {
	w := newWorld(t, nil)
	w.dial(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := w.server.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("shutdown: %v", err)
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
			c.expect("BYE (TRYLATER) \"Too many connections")
			continue
		}
		c.expect("OK")
		clients = append(clients, c)
	}
	for _, c := range clients {
		c.do("LOGOUT", "OK")
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
	c.login()
	c.send("GETSCRIPT \"a\"\r\n")
	if got := c.line(); got != "" {
		t.Errorf("answer %q", got)
	}
	if v := <-panicked; v != "a bug" {
		t.Errorf("panicked with %v", v)
	}
	w.server.group.Wait()
	if w.open != 0 || w.closed != 1 {
		t.Errorf("open %d, closed %d", w.open, w.closed)
	}
}

// TestRefusedSession: NewSession may say no.
func TestRefusedSession(t *testing.T) {
	for _, test := range []struct {
		err  error
		want string
	}{
		{&Error{Text: "Not for you"}, `BYE "Not for you"`},
		{errors.New("disk error"), `BYE (TRYLATER) "Not possible now, try again later"`},
	} {
		w := newWorld(t, func(o *Options) {
			o.NewSession = func(context.Context, *Conn) (Session, error) { return nil, test.err }
		})
		c := w.dial(t)
		c.expect(test.want)
		if c.line() != "" {
			t.Error("the connection goes on")
		}
	}
}

// TestHugeLiterals: what is too large is read over, and the connection lives on, as long as
// that is bounded.
func TestHugeLiterals(t *testing.T) {
	for _, test := range []struct {
		name, head string
		octets     int
		login      bool
		want       string // "BYE": the connection ends
	}{
		{"script", `PUTSCRIPT "a" {%d+}`, DefaultScriptMax + 1, true, `NO (QUOTA/MAXSIZE) "The script is too large"`},
		{"script to check", `CHECKSCRIPT {%d+}`, DefaultScriptMax + 1, true, `NO (QUOTA/MAXSIZE) "The script is too large"`},
		{"largest script", `CHECKSCRIPT {%d+}`, DefaultScriptMax, true, "OK"},
		{"name", `GETSCRIPT {%d+}`, LineMax + 1, true, `NO "A literal is too long"`},
		{"unknown command", `WRITE {%d+}`, LineMax + 1, true, `NO "Unknown command"`},
		{"far too much", `CHECKSCRIPT {%d+}`, skipMax + 1, true, `BYE "Far too much for one command"`},
		{"before the log-in", `CHECKSCRIPT {%d+}`, LineMax + 1, false, `NO "Log in first"`},
		{"far too much before the log-in", `NOOP {%d+}`, skipMaxEarly + 1, false, `BYE "Far too much for one command"`},
		{"largest number", `CHECKSCRIPT {%d+}`, numberMax, true, `BYE "Far too much for one command"`},
		{"too large a number", `CHECKSCRIPT {%d+}`, numberMax + 1, true, `BYE "A literal begins with {n+}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, nil)
			c := w.dial(t)
			if test.login {
				c.login()
			} else {
				c.expect("OK")
			}
			content := strings.Repeat("x", min(test.octets, skipMax))
			c.send(fmt.Sprintf(test.head+"\r\n", test.octets) + content + "\r\nNOOP\r\n")
			c.expect(test.want)
			if strings.HasPrefix(test.want, "BYE") {
				if got := c.line(); got != "" {
					t.Errorf("the connection goes on with %q", got)
				}
				return
			}
			c.expect(`OK "Done"`)
		})
	}
}

// TestBadLines end the connection, which nobody can bring in step again.
func TestBadLines(t *testing.T) {
	for _, test := range []struct{ name, line, want string }{
		{"bare LF", "NOOP\n", `BYE "Lines end in CRLF"`},
		{"endless", strings.Repeat("x", LineMax+1), `BYE "The line is too long"`},
		{"long quoted string", `NOOP "` + strings.Repeat("x", QuotedMax+1) + "\"\r\n", `BYE "A quoted string is too long`},
		{"quoted CR", "NOOP \"a\rb\"\r\n", `BYE "NUL, CR or LF`},
		{"wrong escape", "NOOP \"\\n\"\r\n", `BYE "Only a quote or a backslash`},
		{"not UTF-8", "NOOP \"\xff\"\r\n", `NO "A quoted string is not UTF-8"`},
		{"literal within the line", "NOOP {1+} x\r\n", `BYE "A literal begins with`},
		{"longest quoted string", `NOOP "` + strings.Repeat("x", QuotedMax) + "\"\r\n", `OK (TAG "xxx`},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, nil)
			c := w.dial(t)
			c.expect("OK")
			c.send(test.line)
			c.expect(test.want)
			if strings.HasPrefix(test.want, "BYE") && c.line() != "" {
				t.Error("the connection goes on")
			}
		})
	}
}

// TestResponses: the limits of an exchange's own strings.
func TestResponses(t *testing.T) {
	long := strings.Repeat("A", sasl.LineMax)
	for _, test := range []struct{ name, response, want string }{
		{"longest literal", fmt.Sprintf("{%d+}\r\n%s\r\n", sasl.LineMax, long), `NO "Malformed response"`},
		{"too long a literal", fmt.Sprintf("{%d+}\r\n%sA\r\n", sasl.LineMax+1, long), `NO "A response is one string"`},
		{"two strings", "\"\" \"\"\r\n", `NO "A response is one string"`},
		{"a number", "5\r\n", `NO "A response is one string"`},
		{"nothing", "\r\n", `NO "A space at the end of the line"`},
		{"a string behind a literal", "{4+}\r\nAAAA {6+}\r\nNOOP\r\n\r\n", `NO "A response is one string"`},
		{"unended", "\"\r\n", `BYE "A quoted string does not end"`},
		{"no base64", "\"A\"\r\n", `NO "Not base64"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, nil)
			c := w.dial(t)
			c.expect("OK")
			c.send("AUTHENTICATE \"PLAIN\"\r\n")
			if got := c.line(); got != `""` {
				t.Fatalf("challenge %q", got)
			}
			c.send(test.response + "NOOP\r\n")
			c.expect(test.want)
			if !strings.HasPrefix(test.want, "BYE") {
				c.expect(`OK "Done"`)
			}
		})
	}
}

// TestLiteralMemory: announcing much costs nothing before it comes.
func TestLiteralMemory(t *testing.T) {
	sizes := []int{}
	r := &reader{more: func(p []byte) (int, error) {
		sizes = append(sizes, len(p))
		if len(sizes) == 3 {
			return 0, io.EOF
		}
		return copy(p, "x"), nil
	}}
	if _, err := r.readLiteral(DefaultScriptMax); err != io.EOF {
		t.Fatal(err)
	}
	if slices.Max(sizes) > 2*literalStep {
		t.Errorf("room was made for %d octets", slices.Max(sizes))
	}
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

// FuzzCommand gives the server whatever a client may send.
func FuzzCommand(f *testing.F) {
	login := `AUTHENTICATE "PLAIN" "` + plainResponse("alice", testPassword) + "\"\r\n"
	for _, s := range []string{
		login + "PUTSCRIPT \"a\" {5+}\r\nkeep;\r\nLISTSCRIPTS\r\nSETACTIVE \"a\"\r\nGETSCRIPT \"a\"\r\nLOGOUT\r\n",
		login + "HAVESPACE \"a\" 12\r\nCHECKSCRIPT \"keep;\"\r\nRENAMESCRIPT \"a\" \"b\"\r\nDELETESCRIPT {1+}\r\nb\r\nUNAUTHENTICATE\r\n",
		"AUTHENTICATE \"LOGIN\"\r\n\"*\"\r\nCAPABILITY\r\nNOOP \"\\\"\"\r\n", "STARTTLS\r\nNOOP\r\n",
		"AUTHENTICATE \"SCRAM-SHA-256\" {16+}\r\nbiwsbj1hLHI9YQ==\r\n\"Yz1iaXdzLHI9YQ==\"\r\n",
		"\x00\xff\r\n\r\r\n", "NOOP {99999999999+}\r\n", "X \"{5+}\r\n", "X y {3+}\r\nabc {2+}\r\nde\r\nNOOP\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		w := newWorld(t, func(o *Options) {
			o.ScriptMax = 100_000
			o.Panicked = func(v any, stack []byte) { t.Errorf("%v\n%s", v, stack) }
		})
		c := newConn(w.server, &scriptConn{r: bytes.NewReader(input)})
		c.serve()
		out := c.raw.(*scriptConn).w.Bytes()
		if !bytes.HasPrefix(out, []byte("\"IMPLEMENTATION\"")) || !bytes.HasSuffix(out, []byte("\r\n")) {
			t.Errorf("%q is answered %q", input, out)
		}
		if w.open != 0 {
			t.Error("the scripts are open")
		}
		for name := range w.scripts {
			if clean, err := CleanName(name); err != nil || clean != name {
				t.Errorf("a script is called %q", name)
			}
		}
	})
}
