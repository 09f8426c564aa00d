package smtpclient

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"postroad/smtp"
)

// blockSize is what content is read and written by, in octets. A chunk of content whose
// size is not known is as large.
const blockSize = 32 << 10

// blocks are for content as it is read, and, with room for a dot before each octet but
// one of each CRLF and for what stands around it, as it is written.
var blocks = sync.Pool{New: func() any { return new(block) }}

type block struct {
	in  [blockSize]byte
	out [2*blockSize + 64]byte
}

// lines watches over line ends of content, across blocks.
type lines struct {
	cr  bool // the last octet was CR
	mid bool // the last octet was not the end of a line
}

// check takes the next octets.
func (l *lines) check(b []byte) bool {
	if len(b) == 0 {
		return true
	}
	if l.cr && b[0] != '\n' {
		return false
	}
	pairs := 0
	for i := 0; i < len(b); i++ {
		j := bytes.IndexByte(b[i:], '\n')
		if j < 0 {
			break
		}
		i += j
		if i == 0 && !l.cr || i > 0 && b[i-1] != '\r' {
			return false
		}
		pairs++
	}
	if l.cr {
		pairs--
	}
	last := b[len(b)-1]
	l.cr = last == '\r'
	l.mid = last != '\n'
	if l.cr {
		pairs++
	}
	return bytes.Count(b, []byte{'\r'}) == pairs && bytes.IndexByte(b, 0) < 0
}

// sendData sends content with dots stuffed (RFC 5321, 4.5.2), and its end.
func (t *transaction) sendData() error {
	b := blocks.Get().(*block)
	defer blocks.Put(b)
	var l lines
	for {
		n, err := io.ReadFull(t.m.Content, b.in[:])
		end := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !end {
			return t.contentFailed(err)
		}
		start := !l.mid
		if !l.check(b.in[:n]) || end && l.cr {
			return t.badContent()
		}
		out := stuff(b.out[:0], b.in[:n], start)
		if end {
			if l.mid {
				out = append(out, '\r', '\n')
			}
			out = append(out, ".\r\n"...)
		}
		if err := t.writeBlock(out); err != nil {
			return err
		}
		if end {
			return t.finish()
		}
	}
}

// stuff appends b with a dot before each dot that starts a line; start tells that b
// starts one.
func stuff(out, b []byte, start bool) []byte {
	for len(b) > 0 {
		if start && b[0] == '.' {
			out = append(out, '.')
		}
		i := bytes.Index(b, []byte("\n."))
		if i < 0 {
			return append(out, b...)
		}
		out = append(out, b[:i+1]...)
		b, start = b[i+1:], true
	}
	return out
}

// sendNothing ends the content of a transaction without recipients.
func (t *transaction) sendNothing() error {
	if err := t.writeBlock([]byte(".\r\n")); err != nil {
		return err
	}
	t.c.deadline(t.ctx, t.c.options.Final)
	if _, err := t.c.readReply(); err != nil {
		return err
	}
	t.c.open = false
	return nil
}

// sendChunks sends content by BDAT (RFC 3030, 2): in one chunk when its size is known, so
// that there is one reply to wait for.
func (t *transaction) sendChunks() error {
	if t.m.Size < 0 {
		return t.sendBlocks()
	}
	b := blocks.Get().(*block)
	defer blocks.Put(b)
	binary := t.m.Params.Body == smtp.BodyBinaryMIME
	out := strconv.AppendInt(append(b.out[:0], "BDAT "...), t.m.Size, 10)
	out = append(out, " LAST\r\n"...)
	var l lines
	for left := t.m.Size; ; {
		n, err := io.ReadFull(t.m.Content, b.in[:min(left, blockSize)])
		left -= int64(n)
		if err == nil && left == 0 && !atEnd(t.m.Content) {
			err = errors.New("content is larger than was said")
		}
		if err != nil {
			return t.contentFailed(err)
		}
		if !binary && (!l.check(b.in[:n]) || left == 0 && l.cr) {
			return t.badContent()
		}
		if err := t.writeBlock(append(out, b.in[:n]...)); err != nil {
			return err
		}
		if left == 0 {
			return t.finish()
		}
		out = b.out[:0]
	}
}

// atEnd tells whether nothing is left to read.
func atEnd(r io.Reader) bool {
	var one [1]byte
	n, err := io.ReadFull(r, one[:])
	return n == 0 && errors.Is(err, io.EOF)
}

// sendBlocks sends content of unknown size, a chunk a block, and reads each reply.
func (t *transaction) sendBlocks() error {
	b := blocks.Get().(*block)
	defer blocks.Put(b)
	binary := t.m.Params.Body == smtp.BodyBinaryMIME
	var l lines
	for {
		n, err := io.ReadFull(t.m.Content, b.in[:])
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return t.contentFailed(err)
		}
		if !binary && (!l.check(b.in[:n]) || last && l.cr) {
			return t.badContent()
		}
		out := strconv.AppendInt(append(b.out[:0], "BDAT "...), int64(n), 10)
		if last {
			out = append(out, " LAST"...)
		}
		if err := t.writeBlock(append(append(out, '\r', '\n'), b.in[:n]...)); err != nil {
			return err
		}
		if last {
			return t.finish()
		}
		t.c.deadline(t.ctx, t.c.options.Data)
		r, err := t.c.readReply()
		if err != nil {
			return t.unknown(err)
		}
		if !r.Success() {
			t.forAccepted(Result{Reply: r})
			return nil
		}
	}
}

// afterFailure is how long a reply is waited for that the server may have sent before it
// hung up on our writing.
const afterFailure = 5 * time.Second

// errAnswered ends a transaction whose results are all known, with the connection.
var errAnswered = errors.New("smtpclient: the server answered before the content's end")

// writeBlock writes content. When that fails the server may have said why.
func (t *transaction) writeBlock(b []byte) error {
	c := t.c
	c.deadline(t.ctx, c.options.Block)
	_, err := c.nc.Write(b)
	if err == nil {
		return nil
	}
	c.deadline(t.ctx, afterFailure)
	r, readErr := c.readReply()
	c.dead = true
	if readErr == nil && r.Code >= 400 {
		t.forAccepted(Result{Reply: r})
		return errAnswered
	}
	return t.unknown(fmt.Errorf("write content: %w", err))
}

// contentFailed is content that cannot be read: the connection ends in its middle, so the
// server forgets it.
func (t *transaction) contentFailed(err error) error {
	t.c.Close()
	return t.unknown(fmt.Errorf("read content: %w", err))
}

// badContent ends the connection too, but the fault is known, and for good.
func (t *transaction) badContent() error {
	t.c.Close()
	t.forAccepted(Result{Reply: badContent.Reply, Local: true})
	return nil
}
