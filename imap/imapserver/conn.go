package imapserver

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"postroad/imap"
	"postroad/sasl"
)

// state is where a connection is (RFC 9051, 3):
//
//	notAuthenticated ── LOGIN, AUTHENTICATE ──▶ authenticated ◀── CLOSE, UNSELECT ── selected
//	                                                 └─── SELECT, EXAMINE ───▶ selected
//	any ── LOGOUT, BYE, end of the connection ──▶ loggedOut
type state uint8

const (
	notAuthenticated state = 1 << iota
	authenticated
	selected
	loggedOut
)

// Conn is one connection of a client. All but wake belongs to the goroutine that serves it.
type Conn struct {
	server  *Server
	session Session
	extends extension // what the session is besides
	ctx     context.Context
	cancel  context.CancelFunc
	net     net.Conn // as accepted
	tls     *tls.Conn
	binding *sasl.Bindings
	in      input
	out     []byte // written to when it is full or the client waits; from outPool or nil
	deflate *deflater
	flushes int   // how often out was written
	err     error // the connection cannot go on
	log     *slog.Logger

	state     state
	readOnly  bool   // the selected mailbox
	noModSeq  bool   // the selected mailbox keeps no mod-sequences
	mailbox   string // selected
	exists    uint32 // messages in it, as the client was told
	validity  uint32 // its UIDVALIDITY
	saved     imap.UIDSet
	contexts  []searchContext // results that are kept up to date
	bad       int             // bad commands, since the last good one after log-in
	delimiter rune

	condStore, qresync, utf8, rev2 bool // in force

	clientID []Field

	wakeMu   sync.Mutex
	waiting  bool // wakeMu: wake may interrupt the read
	woken    atomic.Bool
	stopping atomic.Bool
}

// Field is one pair of the ID command (RFC 2971).
type Field struct{ Name, Value string }

// RemoteAddr returns the client's address.
func (c *Conn) RemoteAddr() net.Addr { return c.net.RemoteAddr() }

// LocalAddr returns the address the client connected to.
func (c *Conn) LocalAddr() net.Addr { return c.net.LocalAddr() }

// TLS returns the state of the TLS layer, nil without one.
func (c *Conn) TLS() *tls.ConnectionState {
	if c.tls == nil {
		return nil
	}
	s := c.tls.ConnectionState()
	return &s
}

// Context ends with the connection.
func (c *Conn) Context() context.Context { return c.ctx }

// ClientID returns what the client said of itself with ID, nil before.
func (c *Conn) ClientID() []Field { return c.clientID }

// Enabled tells whether CONDSTORE, QRESYNC, UTF8=ACCEPT or IMAP4rev2 is in force.
func (c *Conn) Enabled(cap imap.Capability) bool {
	switch cap {
	case imap.CapCondStore:
		return c.condStore
	case imap.CapQResync:
		return c.qresync
	case imap.CapUTF8Accept:
		return c.utf8
	case imap.CapIMAP4rev2:
		return c.rev2
	}
	return false
}

// Buffers. They are taken when there is something to read or write and given back while
// the client is silent.
const (
	outBytes   = 32 << 10 // of the write buffer
	spillBytes = 24 << 10 // it is written to the client above this
)

var outPool = sync.Pool{New: func() any { return new([outBytes]byte) }}

// begin takes a write buffer if there is none.
func (c *Conn) begin() {
	if c.out == nil {
		c.out = outPool.Get().(*[outBytes]byte)[:0]
	}
}

// release gives an empty write buffer back.
func (c *Conn) release() {
	if len(c.out) == 0 && cap(c.out) >= outBytes {
		outPool.Put((*[outBytes]byte)(c.out[:outBytes]))
	}
	if len(c.out) == 0 {
		c.out = nil
	}
}

// spill writes the buffer to the client when it is nearly full, and returns the error
// that ends the connection, if there is one.
func (c *Conn) spill() error {
	if len(c.out) < spillBytes {
		return c.err
	}
	return c.flush()
}

// space returns room in the write buffer to read into.
func (c *Conn) space() []byte {
	if cap(c.out)-len(c.out) < outBytes-spillBytes {
		_ = c.flush()
		c.begin()
	}
	return c.out[len(c.out):cap(c.out)]
}

// flush writes the buffer to the client.
func (c *Conn) flush() error {
	c.flushes++
	if c.err == nil && len(c.out) > 0 {
		if err := c.net.SetWriteDeadline(time.Now().Add(c.server.writeTimeout)); err != nil {
			c.err = err
		} else if _, err := c.writer().Write(c.out); err != nil {
			c.err = err
		}
	}
	c.out = c.out[:0]
	if cap(c.out) > 4*outBytes {
		c.out = nil
		c.begin()
	}
	return c.err
}

func (c *Conn) writer() io.Writer {
	if c.deflate != nil {
		return c.deflate
	}
	return c.transport()
}

// transport is the layer that carries octets: TLS or the network.
func (c *Conn) transport() net.Conn {
	if c.tls != nil {
		return c.tls
	}
	return c.net
}

// fail ends the connection with an error of ours, which is logged.
func (c *Conn) fail(err error) error {
	if c.err == nil {
		c.log.Error("IMAP connection broken off", "err", err)
		c.err = err
		c.out = c.out[:0]
	}
	return c.err
}

// text appends text to the buffer.
func (c *Conn) text(parts ...string) {
	c.begin()
	for _, p := range parts {
		c.out = append(c.out, p...)
	}
}

// tagged writes the response that ends a command.
func (c *Conn) tagged(tag string, status imap.Status, code imap.Code, text string) {
	c.text(tag, " ", string(status), " ")
	if code != "" {
		c.text("[", string(code), "] ")
	}
	c.text(text, "\r\n")
}

// untagged writes a status response without tag.
func (c *Conn) untagged(status imap.Status, code imap.Code, text string) {
	c.tagged("*", status, code, text)
}

// bye says good bye; the connection ends.
func (c *Conn) bye(code imap.Code, text string) {
	c.untagged(imap.BYE, code, text)
	c.state = loggedOut
}

// errClosed ends serving without a word in the log: the client has gone.
var errClosed = errors.New("imapserver: connection closed")
