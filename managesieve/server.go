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
	"time"

	"postroad/listen"
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
	options Options
	group   *listen.Group[*Conn]
}

// ErrClosed is what Serve returns after Shutdown or Close.
var ErrClosed = errors.New("managesieve: server closed")

// New returns a server.
func New(o Options) *Server {
	s := &Server{options: o.withDefaults()}
	s.group = listen.New(listen.Options[*Conn]{
		Protocol: "managesieve", Closed: ErrClosed, Logger: s.options.Logger,
		ConnsMax: s.options.ConnsMax, ConnsPerClient: s.options.ConnsPerClient,
		New:    func(nc net.Conn) *Conn { return newConn(s, nc) },
		Client: func(c *Conn) netip.Addr { return c.client.Addr() },
		Serve:  (*Conn).serve, Wake: (*Conn).wake, Cut: (*Conn).cut, TurnAway: s.turnAway,
	})
	return s
}

// Serve takes connections from a listener until Shutdown or Close, or until the listener
// fails for good. It may be called for several listeners.
func (s *Server) Serve(l net.Listener) error { return s.group.Serve(l) }

// turnAway answers one connection too many.
func (s *Server) turnAway(nc net.Conn) {
	nc.SetWriteDeadline(time.Now().Add(time.Millisecond))
	nc.Write([]byte("BYE (TRYLATER) \"Too many connections\"\r\n"))
}

// Shutdown closes the listeners and the connections that wait for their clients, lets
// commands under way come to their end, and returns when all connections have ended. When
// ctx ends first the rest is cut off and ctx's error returned.
func (s *Server) Shutdown(ctx context.Context) error { return s.group.Shutdown(ctx) }

// Close cuts all connections and waits for their sessions to end.
func (s *Server) Close() error { return s.group.Close() }
