// Package imapserver speaks IMAP4rev1 and IMAP4rev2 with clients, over a [Session] that
// knows mailboxes: it parses commands, keeps the states of a connection, and writes
// responses.
//
// The main type is [Server]. The package stores nothing, and renders no messages: FETCH
// sends prepared bytes and streams literals. A connection is one goroutine; while its
// client is silent it keeps no buffers.
//
// RFC 3501, 9051, and the extensions 2177, 2342, 2971, 3348, 3502, 3516, 3691, 4315, 4731,
// 4959, 4978, 5032, 5161, 5182, 5258, 5819, 6154, 6851, 6855, 7162, 7888, 7889, 8438, 8474,
// 8514, 9394; with sessions that do more: 4314, 5256, 5267, 5464, 5957, 6203, 7377, 8440,
// 9208, 9590 and THREAD=REFS of draft-ietf-morg-inthread.
package imapserver

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"postroad/imap"
	"postroad/sasl"
)

// Limits and times. RFC 9051 asks for 30 minutes before an idle client is logged out
// (5.4); it names no lengths, RFC 7162, 4, asks for lines of 8,192 octets.
const (
	lineBytesBefore = 8 << 10  // command before log-in, literals included
	lineBytesAfter  = 64 << 10 // after; messages of APPEND are not counted
	badCommandsMax  = 10       // the connection is closed at as many

	// MessageBytesDefault is the largest message that APPEND takes, in octets.
	MessageBytesDefault = 50_000_000

	// LoginTimeoutDefault is Options.LoginTimeout, IdleTimeoutDefault Options.IdleTimeout.
	LoginTimeoutDefault = 60 * time.Second
	IdleTimeoutDefault  = 30 * time.Minute

	timeoutCommand = 5 * time.Minute // for more of a command that was begun
	timeoutWrite   = 5 * time.Minute // for the client to take a buffer
)

// Options are what a server is made of. They do not change while it runs.
type Options struct {
	// NewSession is called for each connection, after TLS where TLS is implicit. With an
	// *imap.Error the client is sent away with its text, otherwise with "unavailable".
	NewSession func(ctx context.Context, c *Conn) (Session, error)
	// Admit, if not nil, is called for each connection before anything is read. An error
	// closes it without a word; done is called when the connection ends.
	Admit func(c net.Conn) (done func(), err error)
	// TLS is the configuration of STARTTLS and implicit TLS; nil: there is none.
	TLS *tls.Config
	// InsecureAuth allows passwords without TLS.
	InsecureAuth bool
	// MessageBytesMax bounds messages of APPEND; 0: MessageBytesDefault.
	MessageBytesMax int64
	// LoginTimeout is what a client has for a whole command before log-in, and for a TLS
	// handshake; 0: LoginTimeoutDefault.
	LoginTimeout time.Duration
	// IdleTimeout is the silence after which a client that has logged in is sent away, in
	// IDLE too; 0: IdleTimeoutDefault, the least that RFC 9051, 5.4, allows.
	IdleTimeout time.Duration
	// SieveServer is the URL of the ManageSieve server, "sieve://" and a host (RFC 5804, 3),
	// told as IMAPSIEVE where sessions are Annotators: their events run scripts (RFC 6785,
	// 2.1). Empty: they do not.
	SieveServer string
	// ID is what the server says of itself (RFC 2971); nil: NIL.
	ID []Field
	// Log is where connections tell what is ours to mend; nil: slog.Default.
	Log *slog.Logger
}

// Server serves connections. Make it with New.
type Server struct {
	options      Options
	tls          *tls.Config
	log          *slog.Logger
	messageBytes int64

	// Times, as above; tests shorten them.
	timeoutBefore, timeoutAfter, timeoutCommand, writeTimeout time.Duration

	mu        sync.Mutex
	stopping  bool                      // mu
	listeners map[net.Listener]struct{} // mu
	conns     map[*Conn]struct{}        // mu
	wg        sync.WaitGroup            // one for each connection
}

// ErrServerClosed is what Serve returns after Shutdown or Close.
var ErrServerClosed = errors.New("imapserver: server closed")

// New makes a server.
func New(o Options) *Server {
	s := &Server{
		options:        o,
		log:            o.Log,
		messageBytes:   o.MessageBytesMax,
		timeoutBefore:  o.LoginTimeout,
		timeoutAfter:   o.IdleTimeout,
		timeoutCommand: timeoutCommand,
		writeTimeout:   timeoutWrite,
		listeners:      map[net.Listener]struct{}{},
		conns:          map[*Conn]struct{}{},
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.timeoutBefore == 0 {
		s.timeoutBefore = LoginTimeoutDefault
	}
	if s.timeoutAfter == 0 {
		s.timeoutAfter = IdleTimeoutDefault
	}
	if s.messageBytes == 0 {
		s.messageBytes = MessageBytesDefault
	}
	if o.TLS != nil {
		s.tls = sasl.ServerConfig(o.TLS)
	}
	return s
}

// Serve serves the connections of l, in the clear until STARTTLS. It returns
// ErrServerClosed after Shutdown, else the listener's error.
func (s *Server) Serve(l net.Listener) error { return s.serve(l, false) }

// ServeTLS serves the connections of l with TLS from the start (RFC 8314, 3).
func (s *Server) ServeTLS(l net.Listener) error { return s.serve(l, true) }

func (s *Server) serve(l net.Listener, implicit bool) error {
	s.mu.Lock()
	if s.stopping {
		s.mu.Unlock()
		l.Close()
		return ErrServerClosed
	}
	s.listeners[l] = struct{}{}
	s.mu.Unlock()
	for {
		nc, err := s.accept(l)
		if err != nil {
			s.mu.Lock()
			delete(s.listeners, l)
			stopping := s.stopping
			s.mu.Unlock()
			if stopping {
				return ErrServerClosed
			}
			return err
		}
		go s.ServeConn(nc, implicit)
	}
}

// acceptBackoff is the pause after a failed accept that may succeed later.
const acceptBackoff = 50 * time.Millisecond

// accept waits out what ends by itself, missing descriptors above all: clients enough to
// use them up must not end the service.
func (s *Server) accept(l net.Listener) (net.Conn, error) {
	for {
		nc, err := l.Accept()
		var t interface{ Temporary() bool }
		if err == nil || !errors.As(err, &t) || !t.Temporary() {
			return nc, err
		}
		s.log.Warn("accept an IMAP connection", "err", err)
		time.Sleep(acceptBackoff)
	}
}

// ServeConn serves one connection and returns when it has ended.
func (s *Server) ServeConn(nc net.Conn, implicit bool) {
	c := &Conn{server: s, net: nc, state: notAuthenticated, log: s.log}
	c.in.conn = c
	c.ctx, c.cancel = context.WithCancel(context.Background())
	defer c.cancel()
	s.mu.Lock()
	if s.stopping {
		s.mu.Unlock()
		nc.Close()
		return
	}
	s.conns[c] = struct{}{}
	s.wg.Add(1)
	s.mu.Unlock()
	defer func() {
		nc.Close()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
		s.wg.Done()
	}()
	if s.options.Admit != nil {
		done, err := s.options.Admit(nc)
		if err != nil {
			return
		}
		if done != nil {
			defer done()
		}
	}
	c.run(implicit)
}

// run serves a connection from greeting to end. A panic ends this connection only.
func (c *Conn) run(implicit bool) {
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("panic in an IMAP connection", "panic", p, "stack", string(debug.Stack()))
			c.closeSession()
		}
	}()
	if implicit {
		if err := c.handshake(); err != nil {
			return
		}
	}
	c.begin()
	session, err := c.server.options.NewSession(c.ctx, c)
	if err != nil {
		var refused *imap.Error
		if !errors.As(err, &refused) {
			c.log.Error("open an IMAP session", "err", err)
			refused = &imap.Error{Code: imap.CodeUnavailable, Text: "Service not available"}
		}
		c.bye(refused.Code, refused.Text)
		_ = c.flush()
		return
	}
	c.session, c.extends = session, extensionsOf(session)
	// RFC 9051, 7.1: the greeting may tell capabilities, which spares clients a round trip.
	c.untagged(imap.OK, imap.Code("CAPABILITY "+c.capabilities()), "IMAP service ready")
	c.loop()
	_ = c.flush()
	c.release()
	c.in.release()
	c.closeSession()
	if c.tls != nil {
		_ = c.net.SetWriteDeadline(time.Now().Add(time.Second))
		_ = c.tls.Close()
	}
}

// closeSession closes the session once, though it may panic.
func (c *Conn) closeSession() {
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("panic while closing an IMAP session", "panic", p, "stack", string(debug.Stack()))
		}
	}()
	if s := c.session; s != nil {
		c.session = nil
		s.Close()
	}
}

// handshake puts TLS on the connection.
func (c *Conn) handshake() error {
	if c.server.tls == nil {
		return errors.New("imapserver: TLS is not configured")
	}
	t := tls.Server(c.net, c.server.tls)
	ctx, cancel := context.WithTimeout(c.ctx, c.server.timeoutBefore)
	defer cancel()
	b, err := sasl.ServerHandshake(ctx, t)
	if err != nil {
		return err
	}
	c.tls, c.binding = t, b
	return nil
}

// Shutdown stops listening, lets commands end, tells every client good bye (RFC 9051,
// 7.1.5) and returns when all connections have ended, or breaks them off when ctx ends.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.stopping = true
	for l := range s.listeners {
		l.Close()
	}
	for c := range s.conns {
		c.stop()
	}
	s.mu.Unlock()
	ended := make(chan struct{})
	go func() { s.wg.Wait(); close(ended) }()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	for c := range s.conns {
		c.net.Close()
		c.cancel()
	}
	s.mu.Unlock()
	<-ended
	return ctx.Err()
}

// Close breaks all connections off.
func (s *Server) Close() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = s.Shutdown(ctx)
}
