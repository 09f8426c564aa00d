// Package smtpserver is the server's side of SMTP, submission and LMTP: it keeps the
// dialogue, its order and its limits, and hands each step to a [Session].
//
// The main type is [Server]. The package decides nothing about mail: who may send what to
// whom, and what becomes of the content, is the Session's. Line ends are CRLF and nothing
// else, in commands and in content, so that no two servers can disagree on where a
// message ends.
//
// A connection's states, and what moves it:
//
//	connected ─(PROXY)→ ─(TLS on 465)→ ─greeting→ greeted
//	greeted   ─EHLO, HELO, LHLO→ ready
//	ready     ─STARTTLS, XCLIENT→ greeted         (all is forgotten)
//	ready     ─AUTH→ ready                        (once)
//	ready     ─MAIL→ mail ─RCPT→ mail, recipients
//	mail      ─DATA, BDAT…LAST→ ready             (here responsibility passes: the reply to
//	                                               the content, after Session.Data returned)
//	mail      ─RSET, EHLO→ ready
//	any       ─QUIT, 421, fault of the line→ closed
//
// RFC 5321, 2033 (LMTP), 6409 (submission), 8314 (implicit TLS), 1870, 2034, 2852, 2920,
// 3030, 3207, 3461, 4865, 4954, 6152, 6531, 6710, 9422.
package smtpserver

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"postroad/address"
	"postroad/listen"
	"postroad/sasl"
	"postroad/smtp"
)

// Protocol is what is spoken.
type Protocol uint8

// The protocols.
const (
	SMTP       Protocol = iota // RFC 5321, between servers
	Submission                 // RFC 6409, from users
	LMTP                       // RFC 2033: one reply for each recipient after the content
)

// Session is one client's dialogue, as its owner sees it. Methods come one at a time, in
// the order of RFC 5321. An error that is a *smtp.Error is the reply, and with code 421 or
// 521 the last one; any other error is logged and becomes a 451 that tells nothing.
type Session interface {
	// Hello follows each EHLO, HELO or LHLO. The name is in Conn.Helo.
	Hello(ctx context.Context) error
	// Authenticated follows a successful AUTH with the identity that the sasl.Backend gave.
	Authenticated(ctx context.Context, identity any) error
	// Mail starts a transaction.
	Mail(ctx context.Context, returnPath address.Address, p smtp.MailParams) error
	// Rcpt adds a recipient; nil means that it is accepted.
	Rcpt(ctx context.Context, recipient address.Address, p smtp.RcptParams) error
	// Data takes the content: dots unstuffed, CRLF as line ends, read from the wire as it
	// is asked for. It must not say yes before it has seen io.EOF; any other error of the
	// reader means that the content must be forgotten, and is to be returned. The replies
	// are one, or for LMTP one for each accepted recipient, in order.
	Data(ctx context.Context, content io.Reader) ([]smtp.Reply, error)
	// Reset ends a transaction, done or not.
	Reset()
	// Close is the last call.
	Close()
}

// Options are the server's configuration. Zero values mean the defaults named beside
// them.
type Options struct {
	Protocol Protocol
	Hostname string // in the greeting and in the reply to EHLO

	// NewSession answers a new connection, after XCLIENT once more. Its error is the
	// greeting (a *smtp.Error, 421 or 554) and ends the connection.
	NewSession func(ctx context.Context, c *Conn) (Session, error)

	TLS         *tls.Config // nil: no STARTTLS
	ImplicitTLS bool        // the handshake comes first (RFC 8314, 3.3)
	RequireTLS  bool        // MAIL, and AUTH, only over TLS: 530 5.7.0

	Auth *sasl.Options // nil: no AUTH; its Bindings are filled in for each connection
	// AuthBackend, when set, makes the backend of each connection, in place of Auth.Backend.
	AuthBackend  func(client netip.Addr) sasl.Backend
	InsecureAuth bool // AUTH without TLS too; for tests and trusted lines
	RequireAuth  bool // MAIL only after AUTH: 530 5.7.0

	// Extensions are those offered beyond what is always there (PIPELINING, SIZE, 8BITMIME,
	// ENHANCEDSTATUSCODES, CHUNKING, LIMITS) or has options of its own (STARTTLS, AUTH).
	Extensions smtp.Extension
	HoldMax    time.Duration // FUTURERELEASE's longest time, required with it
	ByMin      time.Duration // DELIVERBY's least by-time for mode R

	SizeMax         int64 // octets of a message; 50 MB
	RcptMax         int   // recipients of a message; 1,000
	MailMax         int   // messages of a connection; 1,000
	OctetsMax       int64 // octets of a connection; 1 GB
	BadCommandsMax  int   // then closed; 10
	AuthFailuresMax int   // then closed; 3

	Timeout        time.Duration // for a command or a piece of content; 300 s (RFC 5321, 4.5.3.2.7)
	TLSTimeout     time.Duration // for a handshake or PROXY header; 30 s
	StressConns    int           // at that many connections time-outs shrink; 3/4 of ConnsMax
	StressTimeout  time.Duration // to this; 10 s
	ConnsMax       int           // connections; 20,000
	ConnsPerClient int           // connections of one IPv4 address or IPv6 /64; 50, −1: no limit

	GreetingDelay time.Duration // wait before the greeting for clients that talk early; 0
	RefuseEarly   bool          // refuse those with 554; else Conn.Early tells of them

	Proxies  []netip.Prefix // peers that send a PROXY header first
	XClients []netip.Prefix // peers that may use XCLIENT

	Logger   *slog.Logger              // nil: nothing is logged
	Panicked func(v any, stack []byte) // counts; the connection has ended
}

// The defaults of Options.
const (
	DefaultSizeMax         = 50 << 20 // octets
	DefaultRcptMax         = 1000     // RFC 5321, 4.5.3.1.8 asks for 100
	DefaultMailMax         = 1000
	DefaultOctetsMax       = 1 << 30 // octets
	DefaultBadCommandsMax  = 10
	DefaultAuthFailuresMax = 3
	DefaultTimeout         = 300 * time.Second
	DefaultTLSTimeout      = 30 * time.Second
	DefaultStressTimeout   = 10 * time.Second
	DefaultConnsMax        = 20_000
	DefaultConnsPerClient  = 50
)

// CommandLineMax is the longest command line, in octets with its CRLF. RFC 5321,
// 4.5.3.1.4 asks for 512, the extensions for about 1,500 more.
const CommandLineMax = 8 << 10

// withDefaults fills in what is zero.
func (o Options) withDefaults() Options {
	setDefault(&o.SizeMax, DefaultSizeMax)
	setDefault(&o.RcptMax, DefaultRcptMax)
	setDefault(&o.MailMax, DefaultMailMax)
	setDefault(&o.OctetsMax, DefaultOctetsMax)
	setDefault(&o.BadCommandsMax, DefaultBadCommandsMax)
	setDefault(&o.AuthFailuresMax, DefaultAuthFailuresMax)
	setDefault(&o.Timeout, DefaultTimeout)
	setDefault(&o.TLSTimeout, DefaultTLSTimeout)
	setDefault(&o.StressTimeout, min(DefaultStressTimeout, o.Timeout))
	setDefault(&o.ConnsMax, DefaultConnsMax)
	setDefault(&o.StressConns, o.ConnsMax*3/4)
	setDefault(&o.ConnsPerClient, DefaultConnsPerClient)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.TLS != nil {
		o.TLS = sasl.ServerConfig(o.TLS)
	}
	o.Extensions &^= smtp.StartTLS | smtp.Auth
	o.Extensions |= smtp.Pipelining | smtp.Size | smtp.EightBitMIME | smtp.EnhancedStatusCodes |
		smtp.Chunking | smtp.LimitsExtension
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
var ErrClosed = errors.New("smtpserver: closed")

// New returns a server.
func New(o Options) *Server {
	s := &Server{options: o.withDefaults()}
	s.group = listen.New(listen.Options[*Conn]{
		Protocol: "smtp", Closed: ErrClosed, Logger: s.options.Logger,
		ConnsMax: s.options.ConnsMax, ConnsPerClient: s.options.ConnsPerClient,
		New:   func(nc net.Conn) *Conn { return newConn(s, nc) },
		Serve: (*Conn).serve, Wake: (*Conn).wake, Cut: (*Conn).cut, TurnAway: s.turnAway,
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
		nc.Write(tooManyConns.Reply.AppendTo(nil))
	}
}

// timeout is how long a client may be silent now.
func (s *Server) timeout() time.Duration {
	if s.group.Active() >= int64(s.options.StressConns) {
		return s.options.StressTimeout
	}
	return s.options.Timeout
}

// Shutdown closes the listeners, tells idle clients 421, lets transactions under way come
// to their reply, and returns when all connections have ended. When ctx ends first the
// rest is cut off and ctx's error returned.
func (s *Server) Shutdown(ctx context.Context) error { return s.group.Shutdown(ctx) }

// Close cuts all connections and waits for their sessions to end.
func (s *Server) Close() error { return s.group.Close() }
