package pop3

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
)

// Limits of a connection.
const (
	// CommandLineMax is the longest command line, in octets with its CRLF (RFC 2449, 4).
	CommandLineMax = 255
	discardMax     = 64 << 10        // octets of a line too long that are read over
	inSize         = 512             // octets read from the client at a time
	outMax         = 16 << 10        // octets of answers gathered before they are sent
	lastWrite      = 2 * time.Second // for the last words
)

// Conn is one connection, as sessions see it. Its methods may be called by the session
// only, within the session's methods.
type Conn struct {
	server *Server
	nc     net.Conn // what is read and written: TCP, or TLS over it
	raw    net.Conn // below TLS
	client netip.AddrPort

	in   [inSize]byte
	r, w int     // in[r:w] is to be read
	line []byte  // the present one
	out  *[]byte // answers not sent yet; nil: no buffer held

	session  Session
	bindings *sasl.Bindings
	tls      *tls.ConnectionState

	user       string // of USER
	hasUser    bool
	utf8       bool // RFC 6856, 2.1
	identity   any
	maildrop   Maildrop // nil in the AUTHORIZATION state
	deleted    []bool   // made by the first DELE
	bad        int
	authFailed int
	quit       bool

	mu      sync.Mutex
	waiting bool // for the client: a shutdown may end it now
}

// Errors of reading that are not the network's.
var (
	errShutdown = errors.New("pop3: shutting down")
	errLineLong = errors.New("pop3: line too long")
	errEndless  = errors.New("pop3: line without an end")
)

func newConn(s *Server, nc net.Conn) *Conn {
	c := &Conn{server: s, nc: nc, raw: nc}
	if t, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		p := t.AddrPort()
		c.client = netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
	}
	return c
}

// Client returns the client's address, not valid on a unix socket.
func (c *Conn) Client() netip.AddrPort { return c.client }

// LocalAddr returns our address.
func (c *Conn) LocalAddr() net.Addr { return c.raw.LocalAddr() }

// TLS returns the state of the TLS layer, nil without one.
func (c *Conn) TLS() *tls.ConnectionState { return c.tls }

// Identity returns who authenticated, nil: nobody.
func (c *Conn) Identity() any { return c.identity }

// serve is the life of a connection.
func (c *Conn) serve() {
	defer c.end()
	defer c.recoverPanic()
	ctx, cancel := context.WithCancel(c.server.group.Context())
	defer cancel()
	err := c.open(ctx)
	if err == nil {
		err = c.commands(ctx)
	}
	c.farewell(err)
}

// open is all before the first command: TLS, the session, the greeting.
func (c *Conn) open(ctx context.Context) error {
	o := &c.server.options
	if o.ImplicitTLS {
		if err := c.startTLS(ctx); err != nil {
			return err
		}
	}
	session, err := o.NewSession(ctx, c)
	if err != nil {
		c.fail(err)
		return nil
	}
	c.session = session
	c.ok(o.Hostname + " POP3 at your service")
	return nil
}

// startTLS runs the handshake.
func (c *Conn) startTLS(ctx context.Context) error {
	if c.server.options.TLS == nil {
		return errors.New("pop3: TLS without a configuration")
	}
	ctx, cancel := context.WithTimeout(ctx, c.server.options.TLSTimeout)
	defer cancel()
	t := tls.Server(c.raw, c.server.options.TLS)
	bindings, err := sasl.ServerHandshake(ctx, t)
	if err != nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	state := t.ConnectionState()
	c.nc, c.bindings, c.tls = t, bindings, &state
	return nil
}

// commands reads and does commands until the connection ends.
func (c *Conn) commands(ctx context.Context) error {
	for !c.quit && c.session != nil {
		err := c.readLine(CommandLineMax)
		switch {
		case errors.Is(err, errLineLong):
			c.misuse("Line too long")
		case err != nil:
			return err
		default:
			if err := c.command(ctx, c.line); err != nil {
				return err
			}
		}
	}
	return nil
}

// farewell sends what waits and, where the client did not hang up, why this is the end.
func (c *Conn) farewell(err error) {
	switch {
	case errors.Is(err, errShutdown):
		c.errLine(CodeSysTemp, "Shutting down, try again later")
	case errors.Is(err, errEndless):
		c.errLine("", "Line too long")
	case errors.Is(err, os.ErrDeadlineExceeded) && c.session != nil:
		c.errLine("", "Idle for too long")
	case err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && c.server.group.Context().Err() == nil:
		c.server.options.Logger.Debug("pop3: connection ended", "client", c.client, "error", err)
		return
	}
	c.raw.SetWriteDeadline(time.Now().Add(lastWrite))
	c.send()
}

// recoverPanic ends the connection alone.
func (c *Conn) recoverPanic() {
	v := recover()
	if v == nil {
		return
	}
	stack := debug.Stack()
	c.server.options.Logger.Error("pop3: panic in a session", "client", c.client, "panic", v, "stack", string(stack))
	if c.server.options.Panicked != nil {
		c.server.options.Panicked(v, stack)
	}
}

// end frees everything. A session that panicked is closed too, and a second panic ends
// with it.
func (c *Conn) end() {
	defer c.recoverPanic()
	defer c.nc.Close()
	if c.session != nil {
		defer c.session.Close()
	}
	if c.maildrop != nil {
		c.maildrop.Close()
	}
}

// timeout is how long the client may be silent now.
func (c *Conn) timeout() time.Duration {
	if c.maildrop == nil {
		return c.server.options.LoginTimeout
	}
	return c.server.options.Timeout
}

// pending tells whether the client sent more than what was read.
func (c *Conn) pending() bool { return c.r < c.w }

// fill waits for the client. Answers that were gathered go out first, together
// (RFC 2449, 6.6: PIPELINING).
func (c *Conn) fill() error {
	if err := c.flush(); err != nil {
		return err
	}
	c.mu.Lock()
	c.waiting = true
	if c.server.group.Closing() {
		c.mu.Unlock()
		return errShutdown
	}
	c.raw.SetReadDeadline(time.Now().Add(c.timeout()))
	c.mu.Unlock()

	n, err := c.nc.Read(c.in[:])
	c.mu.Lock()
	c.waiting = false
	c.mu.Unlock()
	c.r, c.w = 0, n
	if n > 0 || err == nil { // a TLS layer may have read what is not for us
		return nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) && c.server.group.Closing() {
		return errShutdown
	}
	return err
}

// wake ends a wait for the client. It is called by Shutdown.
func (c *Conn) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting {
		c.raw.SetReadDeadline(time.Unix(1, 0))
	}
}

// cut ends the connection from outside.
func (c *Conn) cut() { c.raw.Close() }

// readLine reads a line of at most most octets with its end, CRLF or a lone LF, and puts
// it without that into c.line. A longer one is read over.
func (c *Conn) readLine(most int) error {
	c.line = c.line[:0]
	if cap(c.line) > inSize {
		c.line = nil // of a long exchange
	}
	read, long := 0, false
	for {
		if !c.pending() {
			if err := c.fill(); err != nil {
				return err
			}
		}
		p := c.in[c.r:c.w]
		end := indexLF(p)
		if end >= 0 {
			p = p[:end+1]
		}
		c.r += len(p)
		read += len(p)
		if long = long || read > most; !long {
			c.line = append(c.line, p...)
		}
		switch {
		case end >= 0 && long:
			return errLineLong
		case end >= 0:
			c.line = trimLine(c.line)
			return nil
		case read > discardMax:
			return errEndless
		}
	}
}

// trimLine takes the line end off.
func trimLine(p []byte) []byte {
	p = p[:len(p)-1]
	if n := len(p); n > 0 && p[n-1] == '\r' {
		p = p[:n-1]
	}
	return p
}

func indexLF(p []byte) int {
	for i, b := range p {
		if b == '\n' {
			return i
		}
	}
	return -1
}

var outBuffers = sync.Pool{New: func() any { b := make([]byte, 0, outMax+1024); return &b }}

// buffer is where answers are appended.
func (c *Conn) buffer() *[]byte {
	if c.out == nil {
		c.out = outBuffers.Get().(*[]byte)
	}
	return c.out
}

// put adds octets to the answers that wait. A fault of the network shows at the next
// flush.
func (c *Conn) put(s string) {
	b := c.buffer()
	*b = append(*b, s...)
}

// relieve sends the answers when there are many.
func (c *Conn) relieve() error {
	if len(*c.buffer()) < outMax {
		return nil
	}
	return c.write()
}

// write sends the answers and keeps the buffer.
func (c *Conn) write() error {
	b := c.buffer()
	c.raw.SetWriteDeadline(time.Now().Add(c.timeout()))
	_, err := c.nc.Write(*b)
	*b = (*b)[:0]
	return err
}

// flush sends the answers and gives the buffer back.
func (c *Conn) flush() error {
	if c.out == nil {
		return nil
	}
	c.raw.SetWriteDeadline(time.Now().Add(c.timeout()))
	return c.send()
}

// send is flush under the deadline that is set.
func (c *Conn) send() error {
	if c.out == nil {
		return nil
	}
	b := c.out
	c.out = nil
	_, err := c.nc.Write(*b)
	*b = (*b)[:0]
	outBuffers.Put(b)
	return err
}

// ok answers +OK.
func (c *Conn) ok(text string) {
	c.put("+OK ")
	c.put(text)
	c.put("\r\n")
}

// errLine answers -ERR.
func (c *Conn) errLine(code Code, text string) {
	c.put("-ERR ")
	if code != "" {
		c.put("[" + string(code) + "] ")
	}
	c.put(text)
	c.put("\r\n")
}

// fail answers an error of the session.
func (c *Conn) fail(err error) {
	e, own := answer(err)
	if own {
		c.server.options.Logger.Error("pop3: session failed", "client", c.client, "error", err)
	}
	c.errLine(e.Code, e.Text)
}

// misuse answers a command that is wrong in itself or at its place. After too many the
// connection ends.
func (c *Conn) misuse(text string) {
	if c.bad++; c.bad >= c.server.options.BadCommandsMax {
		c.quit = true
		text += ", too many bad commands"
	}
	c.errLine("", text)
}
