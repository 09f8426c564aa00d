package smtpserver

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strconv"

	"postroad/smtp"
)

// chunkDigits is the longest chunk size, in digits.
const chunkDigits = 18

// parseBDAT reads chunk-size [ SP "LAST" ] (RFC 3030, 2).
func parseBDAT(args []byte) (size int64, last, ok bool) {
	number, rest, more := bytes.Cut(bytes.TrimRight(args, " "), []byte{' '})
	if len(number) == 0 || len(number) > chunkDigits {
		return 0, false, false
	}
	for _, ch := range number {
		if ch < '0' || ch > '9' {
			return 0, false, false
		}
		size = size*10 + int64(ch-'0')
	}
	last = bytes.EqualFold(rest, []byte("LAST"))
	return size, last, last || !more
}

// bdat is BDAT (RFC 3030, 2). An error ends the connection.
func (c *Conn) bdat(ctx context.Context, args []byte) error {
	size, last, ok := parseBDAT(args)
	if !ok {
		// How many octets follow is not known.
		c.reply(smtp.Reply{Code: 521, Enhanced: smtp.EnhancedCode{5, 5, 4}, Lines: []string{"Bad chunk size, closing"}})
		return nil
	}
	k := &chunkReader{in: &c.in, size: size, chunk: size, last: last, left: c.server.options.SizeMax - size, binary: c.binary}
	var refused *smtp.Error
	switch {
	case !c.mail:
		refused = needMail
	case c.rcpts == 0:
		refused = noRecipients
	}
	if refused != nil {
		// RFC 3030, 2: the chunk's octets are there all the same.
		if err := k.skip(); err != nil {
			return err
		}
		c.reply(refused.Reply)
		return nil
	}
	c.in.grow()
	return c.take(ctx, k)
}

// chunkReader reads content in chunks. At the end of a chunk that is not the last one it
// answers it and takes the next command itself.
type chunkReader struct {
	in     *input
	size   int64 // of this chunk
	chunk  int64 // octets of it still to be read
	last   bool
	left   int64 // octets that chunks to come may have
	binary bool  // any octets go
	cr     bool  // the last octet was a CR, whose LF must follow
	err    error
}

func (k *chunkReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for k.err == nil {
		if k.left < 0 {
			k.err = tooLarge
			break
		}
		if k.chunk == 0 {
			k.err = k.next()
			continue
		}
		if len(k.in.pending()) == 0 {
			if err := k.in.fill(); err != nil {
				k.err = unexpected(err)
				break
			}
		}
		b := k.in.pending()
		n := copy(p, b[:min(int64(len(b)), k.chunk)])
		k.in.r += n
		k.chunk -= int64(n)
		if !k.binary && !k.check(p[:n]) {
			k.err = badContent
			break
		}
		return n, nil
	}
	return 0, k.err
}

// check looks for bare CR and LF and for NUL, across the borders of chunks.
func (k *chunkReader) check(b []byte) bool {
	pairs := 0
	for i := 0; i < len(b); i++ {
		j := bytes.IndexByte(b[i:], '\n')
		if j < 0 {
			break
		}
		i += j
		if i == 0 && !k.cr || i > 0 && b[i-1] != '\r' {
			return false
		}
		pairs++
	}
	// Each CR belongs to a pair, but for one at the end, whose LF may be still to come; one
	// at the end of the octets before belongs to the first pair.
	if k.cr {
		if b[0] != '\n' {
			return false
		}
		pairs--
	}
	k.cr = b[len(b)-1] == '\r'
	if k.cr {
		pairs++
	}
	return bytes.Count(b, []byte{'\r'}) == pairs && bytes.IndexByte(b, 0) < 0
}

// errBrokenOff is content that ended by another command in place of its last chunk.
var errBrokenOff = errors.New("smtpserver: content broken off")

// next is the end of a chunk: the end of all, or the next BDAT.
func (k *chunkReader) next() error {
	if k.last {
		if k.cr {
			return badContent
		}
		return io.EOF
	}
	c := k.in.c
	c.put(func(b []byte) []byte {
		b = strconv.AppendInt(append(b, "250 2.0.0 "...), k.size, 10)
		return append(b, " octets received\r\n"...)
	})
	for !c.quit {
		line, err := c.in.line(CommandLineMax)
		if err != nil {
			return k.badLine(err)
		}
		v, args := parseVerb(line)
		switch v {
		case verbBDAT:
			return k.start(args)
		case verbNOOP, verbVRFY, verbEXPN, verbHELP:
			c.small(v)
		case verbRSET, verbHELO, verbEHLO, verbLHLO, verbQUIT:
			c.pending = bytes.Clone(line)
			return errBrokenOff
		default:
			// RFC 3030, 2: DATA, MAIL and RCPT among chunks are out of sequence.
			c.misuse(badSequence)
		}
	}
	return tooManyErrors
}

// badLine is a fault of a line where BDAT should have been.
func (k *chunkReader) badLine(err error) error {
	if errors.Is(err, errLineLong) || errors.Is(err, errControl) || errors.Is(err, errBareLF) || errors.Is(err, errLineEndless) {
		return lineEnd
	}
	return unexpected(err)
}

// start takes the next BDAT.
func (k *chunkReader) start(args []byte) error {
	size, last, ok := parseBDAT(args)
	if !ok {
		return lineEnd
	}
	k.size, k.chunk, k.last = size, size, last
	k.left -= size
	return nil
}

// skip reads the rest of the chunk away.
func (k *chunkReader) skip() error {
	for k.chunk > 0 {
		if len(k.in.pending()) == 0 {
			if err := k.in.fill(); err != nil {
				return unexpected(err)
			}
		}
		n := min(int64(len(k.in.pending())), k.chunk)
		k.in.r += int(n)
		k.chunk -= n
	}
	return nil
}

// finish reads the rest of the chunk. A fault ends the transaction there: what the client
// has sent ahead is answered 503, chunk by chunk (RFC 3030, 2).
func (k *chunkReader) finish() error {
	var fault *smtp.Error
	switch {
	case k.err == io.EOF:
		return nil
	case errors.Is(k.err, errBrokenOff):
		return aborted
	case k.err == nil:
		fault = aborted
	case !errors.As(k.err, &fault):
		return k.err
	}
	if k.in.c.quit {
		return nil
	}
	if k.chunk > k.in.c.server.options.SizeMax {
		k.in.c.giveUp = true // as in dataReader.finish
		return fault
	}
	if err := k.skip(); err != nil {
		return err
	}
	return fault
}
