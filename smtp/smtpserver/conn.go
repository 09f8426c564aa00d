package smtpserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"postroad/sasl"
	"postroad/smtp"
)

// Conn is one connection, as sessions see it. Its methods may be called by the session
// only, within the session's methods.
type Conn struct {
	server *Server
	nc     net.Conn // what is read and written: TCP, or TLS over it
	raw    net.Conn // below TLS
	in     input
	out    []byte  // replies not sent yet; nil: no buffer held
	outBuf *[]byte // whose array out has

	client   netip.AddrPort // of the peer, or what PROXY or XCLIENT said
	counted  netip.Addr     // whom the server counts this connection by
	name     string         // of the client, when XCLIENT told it
	bindings *sasl.Bindings
	tlsState *tls.ConnectionState
	early    bool

	session  Session
	helo     string
	esmtp    bool // EHLO or LHLO
	identity any
	authed   bool

	mail       bool // a transaction is open
	utf8       bool // with SMTPUTF8
	binary     bool // with BODY=BINARYMIME
	rcpts      int  // accepted
	mails      int  // transactions so far
	bad        int  // bad commands so far
	authFailed int
	octets     int64  // read so far
	quit       bool   // after the reply the connection ends
	hangup     bool   // and it is our wish, not the client's
	giveUp     bool   // after the reply to the content
	pending    []byte // a command that ended a BDAT sequence

	mu       sync.Mutex
	waiting  bool      // between transactions: a shutdown may end it now
	deadline time.Time // as set on raw
}

// Errors of reading that are not the network's.
var (
	errShutdown = errors.New("smtpserver: shutting down")
	errOctets   = errors.New("smtpserver: too many octets in one connection")
)

func newConn(s *Server, nc net.Conn) *Conn {
	c := &Conn{server: s, nc: nc, raw: nc, waiting: true}
	c.in.init(c)
	c.client = addrPort(nc.RemoteAddr())
	return c
}

// addrPort returns a TCP address, or the zero one.
func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		p := t.AddrPort()
		return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
	}
	return netip.AddrPort{}
}

// Client returns the client's address, not valid on a unix socket.
func (c *Conn) Client() netip.AddrPort { return c.client }

// ClientName returns the client's host name if a trusted peer told it (XCLIENT).
func (c *Conn) ClientName() string { return c.name }

// LocalAddr returns our address.
func (c *Conn) LocalAddr() net.Addr { return c.raw.LocalAddr() }

// Helo returns the name that the client gave itself.
func (c *Conn) Helo() string { return c.helo }

// TLS returns the state of the TLS layer, nil without one.
func (c *Conn) TLS() *tls.ConnectionState { return c.tlsState }

// Identity returns who authenticated, nil: nobody.
func (c *Conn) Identity() any { return c.identity }

// Early tells that the client talked before the greeting.
func (c *Conn) Early() bool { return c.early }

// With returns the "with" protocol of a Received field (RFC 3848; RFC 6531, 4.3).
func (c *Conn) With() string {
	word := "SMTP"
	switch {
	case c.server.options.Protocol == LMTP:
		word = "LMTP"
	case !c.esmtp:
		return word
	case !c.utf8:
		word = "ESMTP"
	}
	if c.utf8 {
		word = "UTF8" + word
	}
	if c.tlsState != nil {
		word += "S"
	}
	if c.authed {
		word += "A"
	}
	return word
}

// read is where a connection waits for its client.
func (c *Conn) read(p []byte) (int, error) {
	if err := c.beforeRead(); err != nil {
		return 0, err
	}
	if c.octets >= c.server.options.OctetsMax {
		return 0, errOctets
	}
	n, err := c.nc.Read(p)
	c.octets += int64(n)
	if err != nil && errors.Is(err, os.ErrDeadlineExceeded) && c.server.group.Closing() && c.isWaiting() {
		err = errShutdown
	}
	return n, err
}

// beforeRead sends what waits and sets the deadline for both directions. A deadline that
// has most of its time left is kept, which saves a timer for each read.
func (c *Conn) beforeRead() error {
	timeout := c.server.timeout()
	now := time.Now()
	c.mu.Lock()
	if c.waiting && c.server.group.Closing() {
		c.mu.Unlock()
		return errShutdown
	}
	if left := c.deadline.Sub(now); left < timeout-timeout/8 || left > timeout {
		c.deadline = now.Add(timeout)
		c.raw.SetDeadline(c.deadline)
	}
	c.mu.Unlock()
	return c.flush()
}

// setWaiting tells whether a shutdown may end the connection at its next read.
func (c *Conn) setWaiting(w bool) {
	c.mu.Lock()
	c.waiting = w
	c.mu.Unlock()
}

func (c *Conn) isWaiting() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.waiting
}

// wake ends a wait between transactions. It is called by Shutdown.
func (c *Conn) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting {
		c.deadline = time.Unix(1, 0)
		c.raw.SetReadDeadline(c.deadline)
	}
}

// cut ends the connection from outside.
func (c *Conn) cut() { c.raw.Close() }

// outSize is the first size of a reply buffer, in octets; outMax is where it is sent even
// if more input waits.
const (
	outSize = 1 << 10
	outMax  = 8 << 10
)

var outBuffers = sync.Pool{New: func() any { b := make([]byte, 0, outSize); return &b }}

// put adds octets to the replies that wait.
func (c *Conn) put(f func(b []byte) []byte) {
	if c.outBuf == nil {
		c.outBuf = outBuffers.Get().(*[]byte)
		c.out = (*c.outBuf)[:0]
	}
	c.out = f(c.out)
	if len(c.out) > outMax {
		c.flush() // a fault shows at the next read
	}
}

// reply adds a reply of the session or of our own.
func (c *Conn) reply(r smtp.Reply) {
	c.put(r.AppendTo)
	if r.Code == 421 || r.Code == 521 {
		c.quit, c.hangup = true, true
	}
}

// say adds a reply that is ready for the wire.
func (c *Conn) say(line string) {
	c.put(func(b []byte) []byte { return append(b, line...) })
}

// flush sends the replies that wait and gives their buffer back (RFC 2920, 3.2: replies
// go out together).
func (c *Conn) flush() error {
	if c.outBuf == nil {
		return nil
	}
	var err error
	if len(c.out) > 0 {
		_, err = c.nc.Write(c.out)
	}
	if cap(c.out) <= 2*outMax {
		*c.outBuf = c.out[:0]
		outBuffers.Put(c.outBuf)
	}
	c.out, c.outBuf = nil, nil
	return err
}

// fail adds the reply to an error of the session.
func (c *Conn) fail(err error) {
	c.reply(c.replyTo(err))
}

// replyTo finds the reply to an error of the session.
func (c *Conn) replyTo(err error) smtp.Reply {
	var e *smtp.Error
	if errors.As(err, &e) {
		return e.Reply
	}
	c.server.options.Logger.Error("smtp: session failed", "client", c.client, "error", err)
	return internalError.Reply
}

// misuse answers a command that is wrong in itself or at its place.
func (c *Conn) misuse(err error) {
	c.fail(err)
	c.bad++
	if c.bad >= c.server.options.BadCommandsMax && !c.quit {
		c.reply(tooManyErrors.Reply)
	}
}

// serve is the life of a connection.
func (c *Conn) serve() {
	defer c.end()
	defer c.recoverPanic()
	ctx, cancel := context.WithCancel(c.server.group.Context())
	defer cancel()
	if err := c.open(ctx); err != nil {
		c.farewell(err)
		return
	}
	c.farewell(c.commands(ctx))
}

// recoverPanic ends the connection alone.
func (c *Conn) recoverPanic() {
	v := recover()
	if v == nil {
		return
	}
	stack := debug.Stack()
	c.server.options.Logger.Error("smtp: panic in a session", "client", c.client, "panic", v, "stack", string(stack))
	if c.server.options.Panicked != nil {
		c.server.options.Panicked(v, stack)
	}
	c.out = nil
	c.reply(panicked.Reply)
	c.raw.SetWriteDeadline(time.Now().Add(lastWrite))
	c.flush()
}

// lastWrite is how long the last reply may take.
const lastWrite = 2 * time.Second

// end frees everything. A session that panicked is closed too, and a second panic ends
// with it.
func (c *Conn) end() {
	defer c.recoverPanic()
	defer c.closeNet()
	if s := c.session; s != nil {
		c.session = nil
		defer s.Close()
		if c.mail {
			c.mail = false
			s.Reset()
		}
	}
}

func (c *Conn) closeNet() {
	if c.counted.IsValid() {
		c.server.group.Leave(c.counted)
	}
	if c.in.big != nil {
		bigBuffers.Put(c.in.big)
		c.in.big = nil
	}
	c.nc.Close()
}

// open is all before the first command: PROXY, TLS, counting, the greeting.
func (c *Conn) open(ctx context.Context) error {
	o := &c.server.options
	c.raw.SetDeadline(time.Now().Add(o.TLSTimeout))
	if contains(o.Proxies, c.client.Addr()) {
		if err := c.readProxy(); err != nil {
			return fmt.Errorf("PROXY header: %w", err)
		}
	}
	if !c.server.group.Enter(c.client.Addr()) {
		return tooManyConns
	}
	c.counted = c.client.Addr()
	if o.ImplicitTLS {
		if err := c.startTLS(ctx); err != nil {
			return fmt.Errorf("TLS handshake: %w", err)
		}
	} else if err := c.listen(ctx); err != nil {
		return err
	}
	return c.greet(ctx)
}

// contains tells whether one of the prefixes has the address.
func contains(list []netip.Prefix, a netip.Addr) bool {
	for _, p := range list {
		if p.Contains(a.Unmap()) {
			return true
		}
	}
	return false
}

// greet asks for a session and greets (RFC 5321, 4.3.1).
func (c *Conn) greet(ctx context.Context) error {
	s, err := c.server.options.NewSession(ctx, c)
	if err != nil {
		return err
	}
	c.session = s
	word := " ESMTP postroad\r\n"
	if c.server.options.Protocol == LMTP {
		word = " LMTP postroad\r\n"
	}
	c.say("220 " + c.server.options.Hostname + word)
	return nil
}

// farewell says the last word that the state asks for.
func (c *Conn) farewell(err error) {
	if c.server.options.ImplicitTLS && c.tlsState == nil {
		return // nothing we could say would be understood
	}
	c.raw.SetWriteDeadline(time.Now().Add(lastWrite))
	var e *smtp.Error
	var timeout net.Error
	switch {
	case err == nil:
	case errors.As(err, &e):
		c.reply(e.Reply)
	case errors.Is(err, errShutdown):
		c.reply(shuttingDown.Reply)
	case errors.Is(err, errOctets):
		c.reply(tooManyOctets.Reply)
	case errors.As(err, &timeout) && timeout.Timeout():
		c.reply(timedOut.Reply)
	case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed):
	default:
		c.server.options.Logger.Debug("smtp: connection ended", "client", c.client, "error", err)
	}
	c.flush()
	c.linger()
}

// lingerTime and lingerMax bound what is read after the last reply, so that the system
// does not reset the connection before the client has read it.
const (
	lingerTime = 500 * time.Millisecond
	lingerMax  = 256 << 10 // octets
)

// linger closes the writing side and reads a little more if we were the one to hang up
// on a client that was still sending.
func (c *Conn) linger() {
	half, ok := c.raw.(interface{ CloseWrite() error })
	if !ok || !c.hangup {
		return
	}
	if t, ok := c.nc.(*tls.Conn); ok {
		t.CloseWrite()
	}
	if half.CloseWrite() != nil {
		return
	}
	c.raw.SetReadDeadline(time.Now().Add(lingerTime))
	io.CopyBuffer(struct{ io.Writer }{io.Discard}, io.LimitReader(c.raw, lingerMax), c.in.tiny[:])
}

// startTLS runs the handshake and forgets what was said before it (RFC 3207, 4.2).
func (c *Conn) startTLS(ctx context.Context) error {
	var under net.Conn = c.raw
	if c.in.r < c.in.w {
		under = &prefixConn{Conn: c.raw, prefix: append([]byte(nil), c.in.pending()...)}
		c.in.discard()
	}
	t := tls.Server(under, c.server.options.TLS)
	c.raw.SetDeadline(time.Now().Add(c.server.options.TLSTimeout))
	bindings, err := sasl.ServerHandshake(ctx, t)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.deadline = time.Time{}
	c.mu.Unlock()
	c.nc = t
	c.bindings = bindings
	state := t.ConnectionState()
	c.tlsState = &state
	return nil
}

// prefixConn is a connection of which some octets were read already.
type prefixConn struct {
	net.Conn
	prefix []byte
}

func (p *prefixConn) Read(b []byte) (int, error) {
	if len(p.prefix) == 0 {
		return p.Conn.Read(b)
	}
	n := copy(b, p.prefix)
	p.prefix = p.prefix[n:]
	return n, nil
}
