package managesieve

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
	outMax    = 16 << 10        // octets of answers gathered before they are sent
	lastWrite = 2 * time.Second // for the last words
)

// Conn is one connection, as sessions see it. Its methods may be called by the session
// only, within the session's methods.
type Conn struct {
	server *Server
	nc     net.Conn // what is read and written: TCP, or TLS over it
	raw    net.Conn // below TLS
	client netip.AddrPort

	in  reader
	out *[]byte // answers not sent yet; nil: no buffer held

	session  Session
	bindings *sasl.Bindings
	tls      *tls.ConnectionState

	identity   any
	scripts    Scripts // nil in the non-authenticated state
	bad        int
	authFailed int
	quit       bool

	mu      sync.Mutex
	waiting bool // for the client: a shutdown may end it now
}

// errShutdown ends a wait for the client.
var errShutdown = errors.New("managesieve: shutting down")

func newConn(s *Server, nc net.Conn) *Conn {
	c := &Conn{server: s, nc: nc, raw: nc}
	c.in.more = c.wait
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

// open is all before the first command: the session, the greeting.
func (c *Conn) open(ctx context.Context) error {
	session, err := c.server.options.NewSession(ctx, c)
	if err != nil {
		e, own := answer(err)
		if own {
			c.server.options.Logger.Error("managesieve: no session", "client", c.client, "error", err)
		}
		c.bye(e.Code, e.Text)
		return nil
	}
	c.session = session
	c.capabilities(c.server.options.Hostname + " ManageSieve at your service")
	return nil
}

// startTLS runs the handshake.
func (c *Conn) startTLS(ctx context.Context) error {
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
	for !c.quit {
		if err := c.next(ctx); err != nil {
			return err
		}
	}
	return nil
}

// farewell sends what waits and, where the client did not hang up, why this is the end.
func (c *Conn) farewell(err error) {
	switch {
	case errors.Is(err, errShutdown):
		c.bye(CodeTryLater, "Shutting down, try again later")
	case errors.Is(err, os.ErrDeadlineExceeded) && c.session != nil:
		c.bye("", "Idle for too long")
	case err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && c.server.group.Context().Err() == nil:
		c.server.options.Logger.Debug("managesieve: connection ended", "client", c.client, "error", err)
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
	c.server.options.Logger.Error("managesieve: panic in a session", "client", c.client, "panic", v, "stack", string(stack))
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
	if c.scripts != nil {
		c.scripts.Close()
	}
}

// timeout is how long the client may be silent now.
func (c *Conn) timeout() time.Duration {
	if c.scripts == nil {
		return c.server.options.LoginTimeout
	}
	return c.server.options.Timeout
}

// wait reads what the client sends. Answers that were gathered go out first, together
// (RFC 5804, 2: clients may pipeline).
func (c *Conn) wait(p []byte) (int, error) {
	if err := c.flush(); err != nil {
		return 0, err
	}
	c.mu.Lock()
	c.waiting = true
	if c.server.group.Closing() {
		c.mu.Unlock()
		return 0, errShutdown
	}
	c.raw.SetReadDeadline(time.Now().Add(c.timeout()))
	c.mu.Unlock()

	n, err := c.nc.Read(p)
	c.mu.Lock()
	c.waiting = false
	c.mu.Unlock()
	if n > 0 || err == nil {
		return n, nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) && c.server.group.Closing() {
		return 0, errShutdown
	}
	return 0, err
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
