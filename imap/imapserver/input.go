package imapserver

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// inBytes is the read buffer's size.
const inBytes = 4 << 10

var inPool = sync.Pool{New: func() any { return new([inBytes]byte) }}

// input reads what the client sends. While it waits for a command it has no buffer: it
// reads one octet into itself.
type input struct {
	conn     *Conn
	inflate  *inflater // COMPRESS
	buf      *[inBytes]byte
	pos, end int
	line     []byte    // the command so far
	deadline time.Time // absolute, for a whole command before log-in; zero: each read has its own
	one      [1]byte
	broken   error // nothing more can be read; tells such errors from a session's own
}

// errStopping says that the server is shutting down.
var errStopping = errors.New("imapserver: shutting down")

// buffered tells whether octets wait that were read already, so that more of what the
// client has pipelined can be served before the buffer is written.
func (in *input) buffered() bool {
	return in.pos < in.end || in.inflate != nil && in.inflate.buffered()
}

// source is what octets come from.
func (in *input) source() io.Reader {
	if in.inflate != nil {
		return in.inflate
	}
	return in.conn.transport()
}

// release gives an empty read buffer back.
func (in *input) release() {
	if in.buf != nil && in.pos == in.end {
		inPool.Put(in.buf)
		in.buf = nil
	}
	in.line = nil
}

// wait returns when the client has sent something, with true, or with false when wake was
// called. Buffers are given back meanwhile.
func (in *input) wait(timeout time.Duration) (bool, error) {
	if in.buffered() {
		return true, nil
	}
	if in.broken != nil {
		return false, in.broken
	}
	c := in.conn
	if err := c.flush(); err != nil {
		return false, err
	}
	c.release()
	in.release()
	if err := c.net.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return false, err
	}
	c.setWaiting(true)
	var n int
	var err error
	if !c.woken.Load() && !c.stopping.Load() {
		n, err = in.source().Read(in.one[:])
	}
	c.setWaiting(false)
	woken := c.woken.Swap(false)
	switch {
	case n > 0:
		in.buf = inPool.Get().(*[inBytes]byte)
		in.buf[0] = in.one[0]
		in.pos, in.end = 0, 1
		if woken {
			c.woken.Store(true)
		}
		return true, nil
	case c.stopping.Load():
		err = errStopping
	case woken && (err == nil || errors.Is(err, os.ErrDeadlineExceeded)):
		return false, nil
	case err == nil:
		err = io.ErrNoProgress
	}
	in.broken = err
	return false, err
}

// setWaiting says whether wake may interrupt.
func (c *Conn) setWaiting(on bool) {
	c.wakeMu.Lock()
	c.waiting = on
	c.wakeMu.Unlock()
}

// wake makes wait return, now or when it is called next. It may be called from anywhere.
func (c *Conn) wake() {
	if c.woken.Swap(true) {
		return
	}
	c.interrupt()
}

// stop makes the connection say good bye as soon as it waits for its client.
func (c *Conn) stop() {
	c.stopping.Store(true)
	c.interrupt()
}

func (c *Conn) interrupt() {
	c.wakeMu.Lock()
	defer c.wakeMu.Unlock()
	if c.waiting {
		// The deadline of wait was set before waiting, so this one is the last. If it cannot be
		// set the connection is closed, and the read ends all the same.
		_ = c.net.SetReadDeadline(time.Unix(1, 0))
	}
}

// fill reads more octets into the empty buffer.
func (in *input) fill() error {
	if in.buf == nil {
		in.buf = inPool.Get().(*[inBytes]byte)
	}
	n, err := in.read(in.buf[:])
	in.pos, in.end = 0, n
	return err
}

// read reads octets into p, at least one unless there is an error.
func (in *input) read(p []byte) (int, error) {
	if in.broken != nil {
		return 0, in.broken
	}
	err := in.beforeRead()
	if err == nil {
		var n int
		if n, err = in.source().Read(p); n > 0 {
			return n, nil
		}
	}
	switch {
	case in.conn.stopping.Load():
		err = errStopping
	case err == nil:
		err = io.ErrNoProgress
	}
	in.broken = err
	return 0, err
}

// beforeRead writes what the client may be waiting for and sets the time it has.
func (in *input) beforeRead() error {
	if in.inflate != nil && in.inflate.buffered() {
		return nil
	}
	c := in.conn
	if err := c.flush(); err != nil {
		return err
	}
	deadline := in.deadline
	if deadline.IsZero() {
		deadline = time.Now().Add(c.server.timeoutCommand)
	}
	return c.net.SetReadDeadline(deadline)
}

// errTooLong says that a line is over its limit; it was not read to its end.
var errTooLong = errors.New("imapserver: line too long")

// readLine appends one line, its line end included, to in.line, which must not become
// longer than limit.
func (in *input) readLine(limit int) error {
	for {
		if in.pos == in.end {
			if err := in.fill(); err != nil {
				return err
			}
		}
		b := in.buf[in.pos:in.end]
		i := bytes.IndexByte(b, '\n')
		if i >= 0 {
			b = b[:i+1]
		}
		if len(in.line)+len(b) > limit {
			in.broken = errTooLong
			return errTooLong
		}
		in.line = append(in.line, b...)
		in.pos += len(b)
		if i >= 0 {
			return nil
		}
	}
}

// readLiteral appends n octets to in.line.
func (in *input) readLiteral(n int) error {
	for n > 0 {
		if in.pos == in.end {
			if err := in.fill(); err != nil {
				return err
			}
		}
		b := in.buf[in.pos:min(in.end, in.pos+n)]
		in.line = append(in.line, b...)
		in.pos += len(b)
		n -= len(b)
	}
	return nil
}

// Read reads octets of a message, past the buffer when that is empty.
func (in *input) Read(p []byte) (int, error) {
	if in.pos < in.end {
		n := copy(p, in.buf[in.pos:in.end])
		in.pos += n
		return n, nil
	}
	return in.read(p)
}

// discard reads n octets away.
func (in *input) discard(n int64) error {
	for n > 0 {
		if in.pos == in.end {
			if err := in.fill(); err != nil {
				return err
			}
		}
		k := min(n, int64(in.end-in.pos))
		in.pos += int(k)
		n -= k
	}
	return nil
}

// literalEnd is the announcement of a literal at a line's end.
type literalEnd struct {
	size int64
	sync bool // the client waits to be asked
}

// parseLiteralEnd tells whether a line, with its CRLF, ends with a literal's announcement:
// "{5}" or "{5+}" (RFC 9051, 4.3). A size beyond 63 bits becomes the largest there is.
func parseLiteralEnd(line []byte) (l literalEnd, ok bool) {
	b, ok := bytes.CutSuffix(line, []byte("}\r\n"))
	if !ok {
		return l, false
	}
	l.sync = true
	if k := len(b); k > 0 && b[k-1] == '+' {
		l.sync = false
		b = b[:k-1]
	}
	i := bytes.LastIndexByte(b, '{')
	if i < 0 || i == len(b)-1 {
		return l, false
	}
	for _, c := range b[i+1:] {
		if c < '0' || c > '9' {
			return l, false
		}
		if l.size > (1<<63-1-int64(c-'0'))/10 {
			l.size = 1<<63 - 1
			continue
		}
		l.size = 10*l.size + int64(c-'0')
	}
	return l, true
}

// isTimeout tells whether a read ended because the client took too long.
func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}
