// Package listen keeps the connections of a protocol server: it accepts them, holds their
// numbers within limits, and brings them to an end.
//
// The main type is [Group]. What is spoken on a connection is for whoever made the group.
// The package knows no protocol.
package listen

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Options say what a server does with its connections, which are of type C. The functions
// must be there, but for Client.
type Options[C comparable] struct {
	Protocol string // for the log
	Closed   error  // what Serve returns after Shutdown or Close

	ConnsMax       int // connections
	ConnsPerClient int // connections of one IPv4 address or IPv6 /64; −1: no limit

	New    func(nc net.Conn) C
	Client func(c C) netip.Addr // by whose address it counts; nil: the server calls Enter and Leave
	Serve  func(c C)            // the dialogue; the connection has ended when it returns
	Wake   func(c C)            // ends the dialogue if it waits for its client
	Cut    func(c C)            // ends it at once
	// TurnAway answers a connection that is one too many, and must not wait: a few octets
	// fit into any socket's buffer. It is closed behind it.
	TurnAway func(nc net.Conn)

	Logger *slog.Logger
}

// acceptBackoff is the pause after a failed accept, when descriptors have run out.
const acceptBackoff = 50 * time.Millisecond

// Group is the connections of one server. Its methods may be called at once.
type Group[C comparable] struct {
	o        Options[C]
	ctx      context.Context // of all dialogues
	cancel   context.CancelFunc
	closing  atomic.Bool
	active   atomic.Int64
	sessions sync.WaitGroup

	mu        sync.Mutex
	listeners map[net.Listener]struct{} // mu
	conns     map[C]struct{}            // mu
	clients   map[netip.Addr]int        // connections by client; mu
}

// New returns a group without connections.
func New[C comparable](o Options[C]) *Group[C] {
	g := &Group[C]{o: o, listeners: map[net.Listener]struct{}{}, conns: map[C]struct{}{}, clients: map[netip.Addr]int{}}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	return g
}

// Context is that of all dialogues: it ends when they are cut off, and after the last one.
func (g *Group[C]) Context() context.Context { return g.ctx }

// Closing tells whether the group is coming to its end.
func (g *Group[C]) Closing() bool { return g.closing.Load() }

// Active is the number of connections.
func (g *Group[C]) Active() int64 { return g.active.Load() }

// Serve takes connections from a listener until Shutdown or Close, or until the listener
// fails for good. It may be called for several listeners.
func (g *Group[C]) Serve(l net.Listener) error {
	if !g.addListener(l) {
		l.Close()
		return g.o.Closed
	}
	defer g.removeListener(l)
	for {
		nc, err := l.Accept()
		if err == nil {
			g.Start(nc)
			continue
		}
		if g.closing.Load() {
			return g.o.Closed
		}
		var t interface{ Temporary() bool }
		if !errors.As(err, &t) || !t.Temporary() {
			return err
		}
		g.o.Logger.Warn(g.o.Protocol+": accept failed", "error", err)
		select {
		case <-time.After(acceptBackoff):
		case <-g.ctx.Done():
		}
	}
}

func (g *Group[C]) addListener(l net.Listener) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closing.Load() {
		return false
	}
	g.listeners[l] = struct{}{}
	return true
}

func (g *Group[C]) removeListener(l net.Listener) {
	g.mu.Lock()
	delete(g.listeners, l)
	g.mu.Unlock()
	l.Close()
}

// Start gives a connection its goroutine, or turns it away.
func (g *Group[C]) Start(nc net.Conn) {
	c := g.o.New(nc)
	if !g.admit(c) {
		g.o.TurnAway(nc)
		nc.Close()
		return
	}
	go func() {
		defer g.done(c)
		g.o.Serve(c)
	}()
}

// admit takes a connection in, unless it is one too many.
func (g *Group[C]) admit(c C) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closing.Load() || len(g.conns) >= g.o.ConnsMax || g.o.Client != nil && !g.enter(g.o.Client(c)) {
		return false
	}
	g.conns[c] = struct{}{}
	g.active.Add(1)
	g.sessions.Add(1)
	return true
}

// done forgets a connection.
func (g *Group[C]) done(c C) {
	g.mu.Lock()
	delete(g.conns, c)
	if g.o.Client != nil {
		g.leave(g.o.Client(c))
	}
	g.mu.Unlock()
	g.active.Add(-1)
	g.sessions.Done()
}

// ClientKey is what connections are counted by: the IPv4 address, or the /64 of an IPv6 one.
func ClientKey(a netip.Addr) netip.Addr {
	a = a.Unmap()
	if a.Is6() {
		if p, err := a.WithZone("").Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}

// Clients is the number of clients that are counted.
func (g *Group[C]) Clients() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.clients)
}

// Enter counts a connection of a client, and tells whether it may stay. Clients without an
// address (unix sockets) are not counted.
func (g *Group[C]) Enter(a netip.Addr) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.enter(a)
}

// Leave is the end of what Enter counted.
func (g *Group[C]) Leave(a netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.leave(a)
}

// enter is Enter with mu held.
func (g *Group[C]) enter(a netip.Addr) bool {
	if g.o.ConnsPerClient < 0 || !a.IsValid() {
		return true
	}
	k := ClientKey(a)
	if g.clients[k] >= g.o.ConnsPerClient {
		return false
	}
	g.clients[k]++
	return true
}

// leave is Leave with mu held.
func (g *Group[C]) leave(a netip.Addr) {
	if g.o.ConnsPerClient < 0 || !a.IsValid() {
		return
	}
	k := ClientKey(a)
	if g.clients[k]--; g.clients[k] <= 0 {
		delete(g.clients, k)
	}
}

// Shutdown closes the listeners, wakes the dialogues that wait for their clients, lets what
// is under way come to its end, and returns when all connections have ended. When ctx ends
// first the rest is cut off and ctx's error returned.
func (g *Group[C]) Shutdown(ctx context.Context) error {
	g.stop(g.o.Wake)
	ended := make(chan struct{})
	go func() {
		g.sessions.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		g.cancel()
		return nil
	case <-ctx.Done():
	}
	g.cancel()
	g.stop(g.o.Cut)
	<-ended
	return ctx.Err()
}

// Close cuts all connections off and returns when they have ended.
func (g *Group[C]) Close() error {
	g.cancel()
	g.stop(g.o.Cut)
	g.Wait()
	return nil
}

// Wait returns when all connections have ended; others may still come.
func (g *Group[C]) Wait() { g.sessions.Wait() }

// stop closes the listeners and calls f for each connection.
func (g *Group[C]) stop(f func(C)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closing.Store(true)
	for l := range g.listeners {
		l.Close()
	}
	for c := range g.conns {
		f(c)
	}
}
