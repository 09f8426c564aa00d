package smtpserver

import (
	"bytes"
	"errors"
	"sync"
)

// Sizes of the buffers, in octets. While a connection waits for a command it keeps the
// tiny one only, which holds a usual group of commands.
const (
	tinySize = 256
	bigSize  = 32 << 10
)

// skipMax bounds what is read to find the end of an over-long command line, in octets.
const skipMax = 64 << 10

var bigBuffers = sync.Pool{New: func() any { return new([bigSize]byte) }}

// Faults of a command line.
var (
	errLineLong    = errors.New("command line too long")
	errLineEndless = errors.New("command line without an end")
	errBareLF      = errors.New("line not ended by CRLF")
	errControl     = errors.New("CR or NUL in a command line")
)

// input is the buffered reading side of a connection. Between r and w is what was read
// from the network and not yet used.
type input struct {
	c    *Conn
	buf  []byte // tiny[:] or big[:]
	r, w int
	big  *[bigSize]byte
	tiny [tinySize]byte
}

func (in *input) init(c *Conn) {
	in.c = c
	in.buf = in.tiny[:]
}

// pending returns what is buffered.
func (in *input) pending() []byte { return in.buf[in.r:in.w] }

// grow moves to the big buffer.
func (in *input) grow() {
	if in.big != nil {
		return
	}
	in.big = bigBuffers.Get().(*[bigSize]byte)
	in.w = copy(in.big[:], in.buf[in.r:in.w])
	in.r = 0
	in.buf = in.big[:]
}

// release gives the big buffer back when what is left fits into the tiny one.
func (in *input) release() {
	if in.big == nil || in.w-in.r > tinySize {
		return
	}
	in.w = copy(in.tiny[:], in.buf[in.r:in.w])
	in.r = 0
	in.buf = in.tiny[:]
	bigBuffers.Put(in.big)
	in.big = nil
}

// discard forgets what is buffered.
func (in *input) discard() { in.r = in.w }

// fill reads at least one octet more. There must be room in the big buffer for it. Replies
// that wait are sent before, so that the peer never waits for us while we wait for it.
func (in *input) fill() error {
	switch {
	case in.r == in.w:
		in.r, in.w = 0, 0
	case in.w == len(in.buf) && in.r > 0:
		in.w = copy(in.buf, in.buf[in.r:in.w])
		in.r = 0
	case in.w == len(in.buf):
		in.grow()
	}
	n, err := in.c.read(in.buf[in.w:])
	in.w += n
	if n > 0 {
		return nil
	}
	return err
}

// line returns the next line without its CRLF. It is valid until the next call. A fault
// of the line itself is one of the errors above, after the line was used up; errLineEndless
// and errBareLF leave it unknown where the next command starts.
func (in *input) line(max int) ([]byte, error) {
	seen := 0
	for {
		b := in.pending()
		if i := bytes.IndexByte(b[seen:], '\n'); i >= 0 {
			end := seen + i + 1
			in.r += end
			return checkLine(b[:end], max)
		}
		seen = len(b)
		if seen >= max {
			return nil, in.skipLine()
		}
		if err := in.fill(); err != nil {
			return nil, err
		}
	}
}

// checkLine takes the CRLF off a line and looks for what must not be in it.
func checkLine(line []byte, max int) ([]byte, error) {
	if len(line) < 2 || line[len(line)-2] != '\r' {
		return nil, errBareLF
	}
	if len(line) > max {
		return nil, errLineLong
	}
	line = line[:len(line)-2]
	if bytes.IndexByte(line, '\r') >= 0 || bytes.IndexByte(line, 0) >= 0 {
		return nil, errControl
	}
	return line, nil
}

// skipLine reads to the end of a line that is too long.
func (in *input) skipLine() error {
	cr := false // the last octet was one
	for skipped := 0; skipped < skipMax; {
		b := in.pending()
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			in.r += i + 1
			if i > 0 {
				cr = b[i-1] == '\r'
			}
			if !cr {
				return errBareLF
			}
			return errLineLong
		}
		skipped += len(b)
		cr = len(b) > 0 && b[len(b)-1] == '\r'
		in.discard()
		if err := in.fill(); err != nil {
			return err
		}
	}
	return errLineEndless
}
