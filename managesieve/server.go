// Package managesieve is the server's side of ManageSieve, by which users put their Sieve
// scripts on a server: it keeps the dialogue, its order and its limits, and asks a
// [Session] for the rest.
//
// The main type is [Server]. The package stores nothing, knows no accounts and compiles
// nothing. A script is held in memory while it is read from the client, and its memory
// comes as its octets do.
//
// A connection's states (RFC 5804, 2):
//
//	non-authenticated ─STARTTLS→ non-authenticated     capabilities are told again
//	non-authenticated ─AUTHENTICATE→ authenticated     the user's scripts are open
//	authenticated ─UNAUTHENTICATE→ non-authenticated   TLS stays
//	any ─LOGOUT, fault, time-out→ closed
//
// RFC 5804; RFC 5198 (script names), RFC 4422 (SASL), RFC 8314 (no passwords without TLS).
package managesieve

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"postroad/sasl"
)

// Options are the server's configuration. Zero values mean the defaults named beside
// them.
type Options struct {
	Hostname       string   // in the greeting
	Implementation string   // IMPLEMENTATION, which every server must tell
	Extensions     []string // SIEVE: what scripts may require
	RedirectsMax   int      // MAXREDIRECTS; 0: not told
	Notify         []string // NOTIFY: URI schemes; needed with the extension enotify
	Language       string   // LANGUAGE of the sessions' texts; "": i-default, not told

	// NewSession answers a new connection. Its error ends the connection.
	NewSession func(ctx context.Context, c *Conn) (Session, error)

	TLS          *tls.Config // nil: no STARTTLS
	InsecureAuth bool        // passwords without TLS too; for tests and trusted lines

	ScriptMax       int64 // octets in a script; 1,000,000
	BadCommandsMax  int   // then closed; 10
	AuthFailuresMax int   // then closed; 3

	Timeout        time.Duration // of silence after the log-in; 30 min, the least of RFC 5804, 1.2
	LoginTimeout   time.Duration // of silence before it; 60 s
	TLSTimeout     time.Duration // for a handshake; 30 s
	ConnsMax       int           // connections; 20,000
	ConnsPerClient int           // connections of one IPv4 address or IPv6 /64; 50, −1: no limit

	Logger   *slog.Logger              // nil: nothing is logged
	Panicked func(v any, stack []byte) // counts; the connection has ended
}

// The defaults of Options.
const (
	DefaultScriptMax       = 1_000_000
	DefaultBadCommandsMax  = 10
	DefaultAuthFailuresMax = 3
	DefaultTimeout         = 30 * time.Minute
	DefaultLoginTimeout    = time.Minute
	DefaultTLSTimeout      = 30 * time.Second
	DefaultConnsMax        = 20_000
	DefaultConnsPerClient  = 50
)

// acceptBackoff is the pause after a failed accept, when descriptors have run out.
const acceptBackoff = 50 * time.Millisecond

// withDefaults fills in what is zero.
func (o Options) withDefaults() Options {
	setDefault(&o.ScriptMax, DefaultScriptMax)
	setDefault(&o.BadCommandsMax, DefaultBadCommandsMax)
	setDefault(&o.AuthFailuresMax, DefaultAuthFailuresMax)
	setDefault(&o.Timeout, DefaultTimeout)
	setDefault(&o.LoginTimeout, DefaultLoginTimeout)
	setDefault(&o.TLSTimeout, DefaultTLSTimeout)
	setDefault(&o.ConnsMax, DefaultConnsMax)
	setDefault(&o.ConnsPerClient, DefaultConnsPerClient)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.TLS != nil {
		o.TLS = sasl.ServerConfig(o.TLS)
	}
	return o
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Server serves connections with one set of options.
type Server struct {
	options  Options
	ctx      context.Context // of all sessions; ended by Close
	cancel   context.CancelFunc
	closing  atomic.Bool
	sessions sync.WaitGroup

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	conns     map[*Conn]struct{}
	clients   map[netip.Addr]int // connections by client
}

// New returns a server.
func New(o Options) *Server {
	s := &Server{
		options:   o.withDefaults(),
		listeners: map[net.Listener]struct{}{},
		conns:     map[*Conn]struct{}{},
		clients:   map[netip.Addr]int{},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// ErrClosed is what Serve returns after Shutdown or Close.
var ErrClosed = errors.New("managesieve: server closed")

// Serve takes connections from a listener until Shutdown or Close, or until the listener
// fails for good. It may be called for several listeners.
func (s *Server) Serve(l net.Listener) error {
	if !s.addListener(l) {
		l.Close()
		return ErrClosed
	}
	defer s.removeListener(l)
	for {
		nc, err := l.Accept()
		if err == nil {
			s.start(nc)
			continue
		}
		if s.closing.Load() {
			return ErrClosed
		}
		var t interface{ Temporary() bool }
		if !errors.As(err, &t) || !t.Temporary() {
			return err
		}
		s.options.Logger.Warn("managesieve: accept failed", "error", err)
		select {
		case <-time.After(acceptBackoff):
		case <-s.ctx.Done():
		}
	}
}

func (s *Server) addListener(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Load() {
		return false
	}
	s.listeners[l] = struct{}{}
	return true
}

func (s *Server) removeListener(l net.Listener) {
	s.mu.Lock()
	delete(s.listeners, l)
	s.mu.Unlock()
	l.Close()
}

// start gives a connection its goroutine, or turns it away.
func (s *Server) start(nc net.Conn) {
	c := newConn(s, nc)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Load() || len(s.conns) >= s.options.ConnsMax || !s.enter(c.client.Addr()) {
		s.turnAway(nc)
		return
	}
	s.conns[c] = struct{}{}
	s.sessions.Add(1)
	go c.serve()
}

// turnAway answers without a goroutine: a few octets fit into any socket's buffer.
func (s *Server) turnAway(nc net.Conn) {
	nc.SetWriteDeadline(time.Now().Add(time.Millisecond))
	nc.Write([]byte("BYE (TRYLATER) \"Too many connections\"\r\n"))
	nc.Close()
}

// done forgets a connection.
func (s *Server) done(c *Conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.leave(c.client.Addr())
	s.mu.Unlock()
	s.sessions.Done()
}

// clientKey is what connections are counted by.
func clientKey(a netip.Addr) netip.Addr {
	if a.Is6() {
		if p, err := a.WithZone("").Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}

// enter counts a connection of a client and tells whether it may stay. Clients without an
// address (unix sockets) are not counted. The caller holds mu.
func (s *Server) enter(a netip.Addr) bool {
	if s.options.ConnsPerClient < 0 || !a.IsValid() {
		return true
	}
	k := clientKey(a)
	if s.clients[k] >= s.options.ConnsPerClient {
		return false
	}
	s.clients[k]++
	return true
}

// leave is the end of what enter counted. The caller holds mu.
func (s *Server) leave(a netip.Addr) {
	if s.options.ConnsPerClient < 0 || !a.IsValid() {
		return
	}
	k := clientKey(a)
	if s.clients[k]--; s.clients[k] <= 0 {
		delete(s.clients, k)
	}
}

// Shutdown closes the listeners and the connections that wait for their clients, lets
// commands under way come to their end, and returns when all connections have ended. When
// ctx ends first the rest is cut off and ctx's error returned.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop((*Conn).wake)
	ended := make(chan struct{})
	go func() {
		s.sessions.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		s.cancel()
		return nil
	case <-ctx.Done():
	}
	s.cancel()
	s.stop((*Conn).cut)
	<-ended
	return ctx.Err()
}

// Close cuts all connections and waits for their sessions to end.
func (s *Server) Close() error {
	s.cancel()
	s.stop((*Conn).cut)
	s.sessions.Wait()
	return nil
}

// stop closes the listeners and calls f for each connection.
func (s *Server) stop(f func(*Conn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing.Store(true)
	for l := range s.listeners {
		l.Close()
	}
	for c := range s.conns {
		f(c)
	}
}
