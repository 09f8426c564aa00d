package smtpserver

import (
	"bytes"
	"context"
	"errors"
	"io"

	"postroad/smtp"
)

// data is DATA (RFC 5321, 4.1.1.4). An error ends the connection.
func (c *Conn) data(ctx context.Context, args []byte) error {
	switch {
	case !c.noArguments(args):
		return nil
	case !c.mail:
		c.misuse(needMail)
		return nil
	case c.binary:
		c.misuse(needBDAT) // RFC 3030, 3
		return nil
	case len(c.in.pending()) > 0:
		// RFC 2920, 3.1: the client must wait for the reply to DATA. One that does not
		// has its content taken for commands whenever the reply is not 354.
		c.reply(pipelined.Reply)
		return nil
	case c.rcpts == 0:
		c.misuse(noRecipients)
		return nil
	}
	c.say(dataReply)
	c.in.grow()
	d := &dataReader{in: &c.in, left: c.server.options.SizeMax, lineStart: true}
	return c.take(ctx, d)
}

// content is a reader of DATA or BDAT.
type content interface {
	io.Reader
	// finish reads what the session did not, to the end of the content, and returns nil if
	// all of it was good, a *smtp.Error if it was not, or what ended the connection.
	finish() error
}

// take gives the content to the session and sends its replies. An error ends the
// connection.
func (c *Conn) take(ctx context.Context, d content) error {
	replies, err := c.session.Data(ctx, d)
	fault := d.finish()
	var refused *smtp.Error
	switch {
	case fault != nil && !errors.As(fault, &refused):
		return fault
	case refused != nil && (err == nil || refused != aborted):
		// What was wrong with the content is told even where the session made something
		// else of it; and a session that said yes too early is not believed.
		err = refused
	}
	if c.pending == nil && !c.quit {
		c.sendReplies(replies, err)
	}
	if c.giveUp {
		c.quit, c.hangup = true, true
	}
	c.reset()
	return nil
}

// sendReplies sends one reply, or one for each recipient (RFC 2033, 4.2).
func (c *Conn) sendReplies(replies []smtp.Reply, err error) {
	want := 1
	if c.server.options.Protocol == LMTP {
		want = c.rcpts
	}
	if err == nil && len(replies) != want {
		err = errReplies
	}
	if err == nil {
		for i := range replies {
			c.reply(replies[i])
		}
		return
	}
	r := c.replyTo(err)
	for range want {
		c.reply(r)
	}
}

// errReplies is a bug of a session.
var errReplies = errors.New("smtpserver: the session gave a wrong number of replies")

// dataReader reads content up to CRLF.CRLF and takes the stuffed dots off (RFC 5321,
// 4.5.2). The buffer's octets from in.r on are first checked, in runs of whole lines as
// far as possible, then copied.
type dataReader struct {
	in        *input
	left      int64 // octets the content may still have
	run       int   // octets at in.r that are good content
	runLine   bool  // after the run a line starts
	lineStart bool  // at in.r a line starts
	err       error // at the end: io.EOF, or the fault
	ended     bool  // CRLF.CRLF has been read
}

func (d *dataReader) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		if d.run == 0 {
			if d.err != nil {
				break
			}
			if n > 0 && d.starved() {
				break // give what there is before waiting for more
			}
			d.err = d.scan()
			continue
		}
		k := copy(p[n:], d.in.buf[d.in.r:d.in.r+d.run])
		d.use(k)
		n += k
	}
	if n == 0 && len(p) > 0 {
		return 0, d.err
	}
	return n, nil
}

// starved tells whether the buffer is empty.
func (d *dataReader) starved() bool { return d.in.r == d.in.w }

// use takes k octets of the run.
func (d *dataReader) use(k int) {
	d.in.r += k
	d.run -= k
	if d.run == 0 {
		d.lineStart = d.runLine
	}
}

// scan makes a run out of what is buffered, reading more if that is not enough. io.EOF
// is the end of the content.
func (d *dataReader) scan() error {
	b := d.in.pending()
	if d.lineStart && len(b) > 0 && b[0] == '.' {
		return d.dot(b)
	}
	run, lineStart := 0, d.lineStart
	for run < len(b) && !(lineStart && b[run] == '.') {
		line, whole, ok := contentLine(b[run:])
		if !ok {
			if run > 0 {
				break // the good lines first
			}
			return badContent
		}
		if line == 0 {
			break
		}
		run += line
		lineStart = whole
	}
	if run == 0 {
		return d.more()
	}
	if d.left -= int64(run); d.left < 0 {
		return tooLarge
	}
	d.run, d.runLine = run, lineStart
	return nil
}

// contentLine measures the line at the start of b: with its CRLF, or, when its end is not
// there yet, as much as can be judged.
func contentLine(b []byte) (n int, whole, ok bool) {
	i := bytes.IndexByte(b, '\n')
	whole = i >= 0
	text := b
	switch {
	case whole && (i == 0 || b[i-1] != '\r'):
		return 0, false, false
	case whole:
		text, n = b[:i-1], i+1
	default:
		if len(b) > 0 && b[len(b)-1] == '\r' {
			text = b[:len(b)-1]
		}
		n = len(text)
	}
	ok = bytes.IndexByte(text, '\r') < 0 && bytes.IndexByte(text, 0) < 0
	return n, whole, ok
}

// dot is a dot at the start of a line: the end of the content, or a stuffed one.
func (d *dataReader) dot(b []byte) error {
	switch {
	case len(b) == 1 || b[1] == '\r' && len(b) == 2:
		return d.more()
	case b[1] == '\r' && b[2] == '\n':
		d.in.r += len(".\r\n")
		d.ended = true
		return io.EOF
	case b[1] == '\r' || b[1] == '\n':
		return badContent
	}
	d.in.r++
	d.lineStart = false
	return nil
}

// more reads from the network.
func (d *dataReader) more() error {
	if err := d.in.fill(); err != nil {
		return unexpected(err)
	}
	return nil
}

// unexpected makes an end of the connection within content an error that no reader takes
// for the end of the content.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// finish reads on to the end of the content. Where a bare CR or LF stands beside a lone
// dot, servers differ in whether that is the end; then nothing more is read at all.
func (d *dataReader) finish() error {
	var fault *smtp.Error
	switch {
	case d.ended:
		return nil
	case d.err == nil:
		fault = aborted
	case !errors.As(d.err, &fault):
		return d.err
	}
	d.use(d.run)
	e := endFinder{strict: d.lineStart, loose: d.lineStart}
	for budget := d.in.c.server.options.SizeMax; ; {
		n, state := e.find(d.in.pending())
		d.in.r += n
		budget -= int64(n)
		switch {
		case state == endFound:
			return fault
		case state == endUnsure:
			return unsureEnd
		case budget < 0:
			// The fault is the answer, so that the client does not try again; it is not
			// waited for to have said all.
			d.in.c.giveUp = true
			return fault
		}
		if err := d.more(); err != nil {
			return err
		}
	}
}

// endFinder looks for the end of content that is refused already, octet by octet.
type endFinder struct {
	strict bool // the last two octets were CRLF
	loose  bool // the last octet was CR or LF
	cr     bool // the last octet was CR
	dot    int  // 0, or after a dot at the start of a line: 1, and after CR behind it: 2
	sure   bool // that line began after CRLF
}

type endState uint8

const (
	endNotYet endState = iota
	endFound
	endUnsure
)

// find returns how many octets it has used.
func (e *endFinder) find(b []byte) (int, endState) {
	for i, ch := range b {
		switch {
		case e.dot == 2:
			if ch == '\n' && e.sure {
				return i + 1, endFound
			}
			return i + 1, endUnsure
		case e.dot == 1 && ch == '\r':
			e.dot = 2
			continue
		case e.dot == 1 && ch == '\n':
			return i + 1, endUnsure
		case ch == '.' && e.loose:
			e.dot, e.sure = 1, e.strict
			e.strict, e.loose, e.cr = false, false, false
			continue
		}
		e.dot = 0
		e.strict = ch == '\n' && e.cr
		e.loose = ch == '\n' || ch == '\r'
		e.cr = ch == '\r'
	}
	return len(b), endNotYet
}
