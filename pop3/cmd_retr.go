package pop3

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"sync"
)

// chunkSize is how much of a message is read at a time, in octets.
const chunkSize = 32 << 10

// chunk is a piece of a message.
type chunk [chunkSize]byte

var chunks = sync.Pool{New: func() any { return new(chunk) }}

// allLines asks for the whole message.
const allLines = -1

// doRetr is RETR (RFC 1939, 5).
func (c *Conn) doRetr(ctx context.Context, args []byte) error {
	i, ok := c.message(bytes.TrimRight(args, " "))
	if !ok {
		return nil
	}
	return c.retrieve(ctx, i, allLines)
}

// doTop is TOP (RFC 1939, 7): the header and so many lines of the body.
func (c *Conn) doTop(ctx context.Context, args []byte) error {
	message, lines, _ := bytes.Cut(bytes.TrimRight(args, " "), []byte{' '})
	n, ok := number(lines)
	if !ok {
		c.misuse("TOP needs a message number and a number of lines")
		return nil
	}
	i, ok := c.message(message)
	if !ok {
		return nil
	}
	return c.retrieve(ctx, i, n)
}

// retrieve sends a message. Before the answer its first piece is read: what cannot be
// opened is -ERR. A fault later on can only be told by ending the connection without
// the final dot.
func (c *Conn) retrieve(ctx context.Context, i, lines int) error {
	m, err := c.maildrop.Open(ctx, i)
	if err != nil {
		c.fail(err)
		return nil
	}
	defer m.Close()
	var content io.Reader = io.NewSectionReader(m, 0, m.Size())
	buffer := chunks.Get().(*chunk)
	defer chunks.Put(buffer)
	if !c.utf8 {
		if content, err = asciiHeader(m, content, buffer[:]); err != nil {
			c.fail(err)
			return nil
		}
	}
	n, err := content.Read(buffer[:])
	if err != nil && err != io.EOF {
		c.fail(err)
		return nil
	}
	if lines == allLines {
		c.ok(strconv.FormatInt(m.Size(), 10) + " octets")
	} else {
		c.ok("Top of message follows")
	}
	s := stuffer{lines: lines, start: true}
	for {
		if err := c.stuff(&s, buffer[:n]); err != nil {
			return err
		}
		if err == io.EOF || s.done {
			break
		}
		if n, err = content.Read(buffer[:]); err != nil && err != io.EOF {
			c.server.options.Logger.Error("pop3: message cannot be read to its end", "client", c.client, "error", err)
			return fmt.Errorf("read message: %w", err)
		}
	}
	b := c.buffer()
	*b = s.end(*b)
	return nil
}

// stuff adds octets of a message to the answers, in pieces that keep the buffer small.
func (c *Conn) stuff(s *stuffer, octets []byte) error {
	const piece = outMax / 2
	for len(octets) > 0 && !s.done {
		n := min(piece, len(octets))
		b := c.buffer()
		*b = s.add(*b, octets[:n])
		octets = octets[n:]
		if err := c.relieve(); err != nil {
			return err
		}
	}
	return nil
}

// stuffer makes a multi-line response of a message (RFC 1939, 3): lines end in CRLF,
// those that begin with a dot get another. A lone LF in what is stored is sent as CRLF, so
// that no client can take it for a line end that the dots do not know of.
type stuffer struct {
	lines int  // of the body still to send, or allLines
	start bool // at the start of a line
	cr    bool // the last octet was CR
	body  bool // the empty line is over
	text  bool // the present line is not empty
	done  bool // all lines that were asked for are sent
}

// add appends octets of the message.
func (s *stuffer) add(dst, octets []byte) []byte {
	for len(octets) > 0 {
		if s.start {
			if s.body && s.lines == 0 {
				s.done = true
				return dst
			}
			if octets[0] == '.' {
				dst = append(dst, '.')
			}
			s.start, s.text = false, false
		}
		before := s.cr && !s.text // the line has one CR so far, from an earlier piece
		end := bytes.IndexByte(octets, '\n')
		if end < 0 {
			dst = append(dst, octets...)
			s.cr = octets[len(octets)-1] == '\r'
			s.text = s.text || before || len(octets) > 1 || !s.cr
			return dst
		}
		dst = append(dst, octets[:end]...)
		if end > 0 {
			s.cr = octets[end-1] == '\r'
		}
		empty := !s.text && (end == 0 || end == 1 && s.cr && !before)
		dst = s.endLine(dst, empty)
		octets = octets[end+1:]
	}
	return dst
}

// endLine appends what is missing of CRLF and counts.
func (s *stuffer) endLine(dst []byte, empty bool) []byte {
	if !s.cr {
		dst = append(dst, '\r')
	}
	dst = append(dst, '\n')
	s.start, s.cr = true, false
	switch {
	case s.body && s.lines > 0:
		s.lines--
	case !s.body && empty:
		s.body = true
	}
	return dst
}

// end appends the final dot, on a line of its own.
func (s *stuffer) end(dst []byte) []byte {
	if !s.start {
		dst = s.endLine(dst, false)
	}
	return append(dst, ".\r\n"...)
}
