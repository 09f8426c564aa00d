package imapserver

import (
	"fmt"
	"io"

	"postroad/imap"
)

// appendMessagesMax bounds the messages of one APPEND (RFC 3502).
const appendMessagesMax = 10_000

// AppendReader yields the messages of an APPEND as they come from the client.
type AppendReader struct {
	c        *Conn
	cmd      *command
	literal  *appendLiteral // of the present message
	n        int
	utf8     bool  // the present message stands in UTF8 (…)
	err      error // of Next, for good
	finished bool  // the command was read to its end
}

// appendLiteral reads the octets of one message.
type appendLiteral struct {
	c    *Conn
	left int64
	ask  bool // the client waits to be asked
}

func (l *appendLiteral) Read(p []byte) (int, error) {
	if l.left == 0 {
		return 0, io.EOF
	}
	if l.ask {
		l.ask = false
		l.c.text("+ OK\r\n")
	}
	if int64(len(p)) > l.left {
		p = p[:l.left]
	}
	n, err := l.c.in.Read(p)
	l.left -= int64(n)
	if n > 0 {
		return n, nil
	}
	if err == io.EOF || err == nil {
		err = io.ErrUnexpectedEOF
	}
	return 0, err
}

// Next returns the next message, io.EOF after the last. What was not read of the one
// before is skipped. Any other error is the answer to give: Append undoes what it did
// and returns it.
func (r *AppendReader) Next() (*AppendMessage, error) {
	if r.err != nil {
		return nil, r.err
	}
	m, err := r.next()
	if err == io.EOF && !r.finished {
		err = io.ErrUnexpectedEOF // of the connection, and not the last message
	}
	r.err = err
	return m, err
}

func (r *AppendReader) next() (*AppendMessage, error) {
	if r.literal != nil {
		if err := r.behind(); err == io.EOF {
			return nil, io.ErrUnexpectedEOF // the client has gone; only the command's end is io.EOF
		} else if err != nil {
			return nil, err
		}
		if r.cmd.Done() {
			r.finished = true
			return nil, io.EOF
		}
	}
	m := &AppendMessage{}
	r.head(m)
	if err := syntaxError(r.cmd.Decoder); err != nil {
		return nil, err
	}
	l, ok := parseLiteralEnd(r.c.in.line)
	switch {
	case !ok:
		r.finished = true
		return nil, imap.Bad("Syntax error: expected a literal")
	case m.UTF8 && !r.c.utf8:
		return nil, imap.Bad("UTF8=ACCEPT is not enabled") // RFC 6855, 4
	case l.size == 0:
		return nil, imap.No("", "An empty message cancels APPEND") // RFC 3502, 6.3.11
	case l.size > r.c.server.messageBytes:
		return nil, imap.No(imap.CodeTooBig, fmt.Sprintf("A message has at most %d octets", r.c.server.messageBytes))
	}
	if r.n++; r.n > appendMessagesMax {
		return nil, imap.No(imap.CodeLimit, "Too many messages")
	}
	r.literal = &appendLiteral{c: r.c, left: l.size, ask: l.sync}
	r.utf8 = m.UTF8
	m.Reader, m.Size = r.literal, l.size
	return m, nil
}

// head reads what stands before a message's octets: [SP flags] [SP date-time] SP literal.
func (r *AppendReader) head(m *AppendMessage) {
	d := r.cmd
	d.SP()
	if d.Next('(') {
		m.Flags = d.FlagList()
		for _, f := range m.Flags {
			if f.IsSystem() && !settable(f) && f != imap.FlagRecent {
				d.Fail("no such flag")
			}
		}
		d.SP()
	}
	if d.Next('"') {
		m.Date = d.DateTime()
		d.SP()
	}
	if d.SkipWord("UTF8") {
		m.UTF8 = true
		d.SP()
		d.Expect('(')
	}
	m.Binary = d.Skip('~')
	d.Expect('{')
	d.Number64()
	d.Skip('+')
	d.Expect('}')
	d.End()
}

// behind skips what is left of the present message and reads the line behind it.
func (r *AppendReader) behind() error {
	l := r.literal
	if l.ask {
		// The session wants the next message without having read this one.
		l.ask = false
		r.c.text("+ OK\r\n")
	}
	if err := r.c.in.discard(l.left); err != nil {
		return err
	}
	r.literal = nil
	return r.line()
}

// line reads the rest of the command up to the next message.
func (r *AppendReader) line() error {
	in := &r.c.in
	in.line = in.line[:0]
	if err := in.readLine(r.c.limit()); err != nil {
		return err
	}
	if k := len(in.line); k < 2 || in.line[k-2] != '\r' {
		return imap.Bad("Lines end with CRLF")
	}
	d := imap.NewDecoder(in.line[:len(in.line)-2])
	d.SetUTF8(r.c.utf8)
	r.cmd.Decoder = d
	if r.utf8 {
		d.Expect(')')
	}
	return syntaxError(d)
}

// finish reads the rest of a command that was refused, so that the next one is found.
func (r *AppendReader) finish() error {
	if r.finished {
		return nil
	}
	if l := r.literal; l != nil {
		if l.ask {
			return nil // the client will not send it
		}
		if err := r.c.in.discard(l.left); err != nil {
			return err
		}
		r.literal = nil
		r.c.in.line = r.c.in.line[:0]
		if err := r.c.in.readLine(r.c.limit()); err != nil {
			return err
		}
	}
	return r.c.throwAway()
}
