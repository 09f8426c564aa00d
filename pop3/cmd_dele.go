package pop3

import (
	"bytes"
	"context"
)

// doDele is DELE (RFC 1939, 5): the message is marked, and removed at QUIT.
func (c *Conn) doDele(_ context.Context, args []byte) error {
	i, ok := c.message(bytes.TrimRight(args, " "))
	if !ok {
		return nil
	}
	if c.deleted == nil {
		c.deleted = make([]bool, c.maildrop.Len())
	}
	c.deleted[i] = true
	c.ok("Marked as deleted")
	return nil
}

// doRset is RSET (RFC 1939, 5).
func (c *Conn) doRset(_ context.Context, args []byte) error {
	if c.noArguments(args) {
		c.deleted = nil
		c.ok("Nothing is marked as deleted")
	}
	return nil
}

// doNoop is NOOP (RFC 1939, 5).
func (c *Conn) doNoop(_ context.Context, args []byte) error {
	if c.noArguments(args) {
		c.ok("Done")
	}
	return nil
}
