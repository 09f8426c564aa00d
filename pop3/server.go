// Package pop3 is the server's side of POP3: it keeps the dialogue, its order and its
// limits, and asks a [Session] for the rest.
//
// The main type is [Server]. The package stores nothing and knows no accounts. A message
// is never held in memory: it is read by offset while it is sent. Messages are removed
// at QUIT and at no other time.
//
// A connection's states (RFC 1939, 3):
//
//	AUTHORIZATION ─USER PASS, AUTH→ TRANSACTION    the maildrop is locked
//	AUTHORIZATION ─STLS→ AUTHORIZATION             all is forgotten
//	AUTHORIZATION ─QUIT→ closed
//	TRANSACTION   ─QUIT→ UPDATE → closed           here the marked messages are removed
//	any           ─fault, time-out→ closed         nothing is removed
//
// RFC 1939; 2449 (CAPA, PIPELINING, RESP-CODES, EXPIRE, IMPLEMENTATION), 2595 (STLS), 3206
// (SYS, AUTH), 5034 (AUTH), 6856 (UTF8, LANG), 6858 (surrogates of internationalized
// messages), 8314 (TLS from the first octet).
package pop3

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
	Hostname       string // in the greeting
	Implementation string // told by CAPA after the log-in; "" : nothing

	// NewSession answers a new connection. Its error ends the connection.
	NewSession func(ctx context.Context, c *Conn) (Session, error)

	TLS          *tls.Config // nil: no STLS
	ImplicitTLS  bool        // the handshake comes first (RFC 8314, 3.3)
	InsecureAuth bool        // passwords without TLS too; for tests and trusted lines

	BadCommandsMax  int // then closed; 10
	AuthFailuresMax int // then closed; 3

	Timeout        time.Duration // of silence in a maildrop; 10 min, the least of RFC 1939, 3
	LoginTimeout   time.Duration // of silence before it; 60 s
	TLSTimeout     time.Duration // for a handshake; 30 s
	ConnsMax       int           // connections; 20,000
	ConnsPerClient int           // connections of one IPv4 address or IPv6 /64; 50, −1: no limit

	Logger   *slog.Logger              // nil: nothing is logged
	Panicked func(v any, stack []byte) // counts; the connection has ended
}

// The defaults of Options.
const (
	DefaultBadCommandsMax  = 10
	DefaultAuthFailuresMax = 3
	DefaultTimeout         = 10 * time.Minute
	DefaultLoginTimeout    = time.Minute
	DefaultTLSTimeout      = 30 * time.Second
	DefaultConnsMax        = 20_000
	DefaultConnsPerClient  = 50
)

// withDefaults fills in what is zero.
func (o Options) withDefaults() Options {
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
var ErrClosed = errors.New("pop3: server closed")

// New returns a server.
func New(o Options) *Server {
	s := &Server{options: o.withDefaults()}
	s.group = listen.New(listen.Options[*Conn]{
		Protocol: "pop3", Closed: ErrClosed, Logger: s.options.Logger,
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
	if !s.options.ImplicitTLS {
		nc.SetWriteDeadline(time.Now().Add(time.Millisecond))
		nc.Write([]byte("-ERR [SYS/TEMP] Too many connections\r\n"))
	}
}

// Shutdown closes the listeners and the connections that wait for their clients, lets
// commands under way come to their end, and returns when all connections have ended. When
// ctx ends first the rest is cut off and ctx's error returned.
func (s *Server) Shutdown(ctx context.Context) error { return s.group.Shutdown(ctx) }

// Close cuts all connections and waits for their sessions to end.
func (s *Server) Close() error { return s.group.Close() }
