package listen

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"
)

// echo is a connection that lasts until its client leaves, or until it is woken or cut.
type echo struct {
	nc net.Conn
}

var errClosed = errors.New("closed")

// newGroup is a group of echoes that may not wake when they are asked to.
func newGroup(t *testing.T, sleeps bool, most, perClient int) (*Group[*echo], net.Listener) {
	t.Helper()
	g := New(Options[*echo]{
		Protocol: "echo", Closed: errClosed, ConnsMax: most, ConnsPerClient: perClient,
		New:    func(nc net.Conn) *echo { return &echo{nc} },
		Client: func(c *echo) netip.Addr { return netip.MustParseAddrPort(c.nc.RemoteAddr().String()).Addr() },
		Serve: func(c *echo) {
			defer c.nc.Close()
			for b := make([]byte, 1); ; {
				if _, err := c.nc.Read(b); err != nil {
					return
				}
				c.nc.Write(b)
			}
		},
		Wake: func(c *echo) {
			if !sleeps {
				c.nc.SetReadDeadline(time.Unix(1, 0))
			}
		},
		Cut:      func(c *echo) { c.nc.Close() },
		TurnAway: func(nc net.Conn) { nc.Write([]byte("!")) },
		Logger:   slog.New(slog.DiscardHandler),
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- g.Serve(l) }()
	t.Cleanup(func() {
		g.Close()
		if err := <-served; err != errClosed {
			t.Errorf("serve: %v", err)
		}
		if n := g.Clients(); n != 0 || g.Active() != 0 {
			t.Errorf("%d clients and %d connections are still counted", n, g.Active())
		}
	})
	return g, l
}

// dial connects and returns what the server answers to a question.
func dial(t *testing.T, l net.Listener) (net.Conn, string) {
	t.Helper()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.Write([]byte("?"))
	b := make([]byte, 1)
	n, _ := nc.Read(b)
	return nc, string(b[:n])
}

func TestLimits(t *testing.T) {
	for name, limits := range map[string][2]int{"of all": {2, -1}, "of a client": {100, 2}} {
		t.Run(name, func(t *testing.T) {
			g, l := newGroup(t, false, limits[0], limits[1])
			first, answer := dial(t, l)
			if _, second := dial(t, l); answer != "?" || second != "?" {
				t.Fatalf("the first two hear %q and %q", answer, second)
			}
			if _, third := dial(t, l); third == "?" {
				t.Error("a third one was served")
			}
			first.Close()
			for g.Active() > 1 {
				time.Sleep(time.Millisecond)
			}
			if _, answer := dial(t, l); answer != "?" {
				t.Errorf("after one left the next hears %q", answer)
			}
		})
	}
}

func TestShutdown(t *testing.T) {
	for name, sleeps := range map[string]bool{"who waits is woken": false, "who does not wake is cut off": true} {
		t.Run(name, func(t *testing.T) {
			g, l := newGroup(t, sleeps, 10, -1)
			dial(t, l)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			if err := g.Shutdown(ctx); (err != nil) != sleeps {
				t.Errorf("shutdown: %v", err)
			}
			if !g.Closing() || g.Context().Err() == nil {
				t.Error("the group goes on")
			}
			if err := g.Serve(l); err != errClosed {
				t.Errorf("serve after the end: %v", err)
			}
		})
	}
}

func TestClientKey(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::", "fe80::1%eth0": "fe80::",
	} {
		if got := ClientKey(netip.MustParseAddr(addr)); got != netip.MustParseAddr(want) {
			t.Errorf("%s is counted as %s", addr, got)
		}
	}
}
