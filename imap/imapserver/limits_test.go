package imapserver

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"postroad/imap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestTimeouts lets virtual time pass.
func TestTimeouts(t *testing.T) {
	for _, test := range []struct {
		name  string
		say   string
		login bool
		after time.Duration
		set   func(*Options)
	}{
		{"before log-in", "", false, LoginTimeoutDefault, nil},
		{"before log-in, set", "", false, 5 * time.Second, func(o *Options) { o.LoginTimeout = 5 * time.Second }},
		{"half a command before log-in", "a1 NO", false, LoginTimeoutDefault, nil},
		{"after log-in", "", true, IdleTimeoutDefault, nil},
		{"after log-in, set", "", true, 2 * time.Hour, func(o *Options) { o.IdleTimeout = 2 * time.Hour }},
		{"half a command after log-in", "a1 NO", true, timeoutCommand, nil},
		{"half a message", "a1 APPEND INBOX {5+}\r\nab", true, timeoutCommand, nil},
		{"IDLE", "a1 IDLE\r\n", true, IdleTimeoutDefault, nil},
		{"IDLE, set", "a1 IDLE\r\n", true, 31 * time.Minute, func(o *Options) { o.IdleTimeout = 31 * time.Minute }},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWire(t, newFakeStore(), test.set)
				if test.login {
					w.logIn()
				} else {
					w.line()
				}
				if test.say != "" { // an empty write would be read as one
					w.send(test.say)
				}
				time.Sleep(test.after - time.Second)
				synctest.Wait()
				for len(w.lines) > 0 {
					if l := <-w.lines; strings.HasPrefix(l, "* BYE") {
						t.Fatalf("too early: %s", l)
					}
				}
				time.Sleep(2 * time.Second)
				w.expect("* BYE Idle for too long")
				if l := w.line(); l != "" {
					t.Fatalf("server goes on: %q", l)
				}
			})
		})
	}
}

// TestSlowReader breaks off a client that does not take what it has asked for.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		s := newServer(t, newFakeStore(), nil)
		ended := make(chan struct{})
		go func() { s.ServeConn(server, false); close(ended) }()
		start := time.Now()
		<-ended // the greeting is never read
		if d := time.Since(start); d != timeoutWrite {
			t.Errorf("broken off after %v", d)
		}
		client.Close()
	})
}

// TestLineLimits sends lines without end.
func TestLineLimits(t *testing.T) {
	for _, test := range []struct {
		name  string
		login bool
		bytes int
		want  string
	}{
		{"before log-in", false, 20_000, "* BYE [TOOBIG] Command line too long"},
		{"before log-in, short enough", false, lineBytesBefore - 100, "a BAD …"},
		{"before log-in, too long but whole", false, lineBytesBefore + 100, "* BYE [TOOBIG] Command line too long"},
		{"after", true, 100_000, "* BYE [TOOBIG] Command line too long"},
		{"after, short enough", true, lineBytesAfter - 100, "a BAD …"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWire(t, newFakeStore(), nil)
			if test.login {
				w.logIn()
			} else {
				w.line()
			}
			// The server may close before it has read everything.
			_, _ = w.conn.Write([]byte("a " + strings.Repeat("x", test.bytes) + "\r\n"))
			w.expect(test.want)
		})
	}
}

// TestSessionErrors has sessions that fail before they begin.
func TestSessionErrors(t *testing.T) {
	for _, test := range []struct {
		err  error
		want string
	}{
		{errors.New("secret detail"), "* BYE [UNAVAILABLE] Service not available"},
		{imap.No(imap.CodeLimit, "Too many connections"), "* BYE [LIMIT] Too many connections"},
	} {
		w := newWire(t, newFakeStore(), func(o *Options) {
			o.NewSession = func(context.Context, *Conn) (Session, error) { return nil, test.err }
		})
		w.expect(test.want)
	}
	w := newWire(t, newFakeStore(), func(o *Options) {
		o.Admit = func(net.Conn) (func(), error) { return nil, errors.New("no") }
	})
	if l := w.line(); l != "" {
		t.Errorf("a connection that was not admitted is told %q", l)
	}
}

// TestPanicEnds one connection, and its session is closed.
func TestPanicEnds(t *testing.T) {
	store := newFakeStore()
	var session *fakeSession
	w := newWire(t, store, func(o *Options) {
		o.NewSession = func(context.Context, *Conn) (Session, error) {
			session = &fakeSession{store: store}
			return session, nil
		}
	})
	w.logIn()
	w.other("panic")
	w.send("a1 NAMESPACE\r\n")
	if l := w.line(); l != "" {
		t.Fatalf("server says %q", l)
	}
	<-w.ended
	if !session.closed {
		t.Error("the session was not closed")
	}
}

// TestHalfLiteral breaks the connection off in the middle of a message: nothing is added.
func TestHalfLiteral(t *testing.T) {
	store := newFakeStore()
	w := newWire(t, store, nil)
	w.logIn()
	w.send("a1 APPEND INBOX {5}\r\n")
	w.expect("+ OK")
	w.send("ab")
	w.conn.Close()
	<-w.ended
	if n := len(store.mailboxes["INBOX"].messages); n != 0 {
		t.Errorf("%d messages", n)
	}
}

// TestBrokenSource has a message that is shorter than it was stored.
func TestBrokenSource(t *testing.T) {
	store := newFakeStore()
	fill(store)
	m := store.mailboxes["INBOX"].messages[0]
	m.body = m.body[:50]
	w := newWire(t, store, nil)
	w.logIn()
	w.send("a1 EXAMINE INBOX\r\na2 FETCH 1 RFC822.HEADER\r\n")
	for l := w.line(); l != ""; l = w.line() {
		if strings.HasPrefix(l, "a2") {
			t.Fatalf("server goes on: %q", l)
		}
	}
}

// TestIdleMemory counts what idle connections cost. The figure to reach is 10 KB (design,
// 7), with both ends' network; here only the server's end and the model's session count.
func TestIdleMemory(t *testing.T) {
	const n = 500
	store := newFakeStore()
	s := newServer(t, store, nil)
	var before, after runtime.MemStats
	// Pools are emptied by the second collection, stacks shrink by half at each.
	collect := func(m *runtime.MemStats) {
		for range 6 {
			runtime.GC()
		}
		runtime.ReadMemStats(m)
	}
	collect(&before)
	clients := make([]net.Conn, n)
	ended := make(chan struct{}, n)
	for i := range clients {
		client, server := net.Pipe()
		clients[i] = client
		go func() {
			s.ServeConn(server, false)
			ended <- struct{}{}
		}()
		b := make([]byte, 4096)
		for _, say := range []string{"", "a LOGIN fred secret\r\n", "b SELECT INBOX\r\n", "c IDLE\r\n"} {
			if say != "" {
				if _, err := io.WriteString(client, say); err != nil {
					t.Fatal(err)
				}
			}
			for end := false; !end; {
				k, err := client.Read(b)
				if err != nil {
					t.Fatal(err)
				}
				last := strings.TrimSuffix(string(b[:k]), "\r\n")
				last = last[strings.LastIndexByte(last, '\n')+1:]
				end = say == "" || last[0] == say[0] || last[0] == '+'
			}
		}
	}
	collect(&after)
	each := int64(after.HeapAlloc+after.StackInuse-before.HeapAlloc-before.StackInuse) / n
	t.Logf("%d octets for an idle connection, stacks %d", each, int64(after.StackInuse-before.StackInuse)/n)
	if each > 16<<10 { // the race detector's frames are larger
		t.Errorf("an idle connection costs %d octets", each)
	}
	for _, c := range clients {
		c.Close()
	}
	for range clients {
		<-ended
	}
}
