package imapserver

import "postroad/imap"

// cmdNamespace is NAMESPACE (RFC 9051, 6.3.10; RFC 2342).
func (c *Conn) cmdNamespace(cmd *command) error {
	if err := cmd.args(); err != nil {
		return err
	}
	d, err := c.session.Namespace(c.ctx)
	if err != nil {
		return err
	}
	c.text("* NAMESPACE")
	for _, list := range [][]Namespace{d.Personal, d.Other, d.Shared} {
		if len(list) == 0 {
			c.text(" NIL")
			continue
		}
		c.text(" (")
		for _, n := range list {
			c.text("(")
			c.out = imap.AppendString(c.out, imap.EncodeMailbox(n.Prefix, c.utf8))
			c.text(" ")
			c.quotedDelimiter(n.Delimiter)
			c.text(")")
		}
		c.text(")")
	}
	c.text("\r\n")
	return c.ok(cmd, "")
}

// quotedDelimiter writes a hierarchy delimiter, NIL when there is none.
func (c *Conn) quotedDelimiter(d rune) {
	if d == 0 {
		c.text("NIL")
		return
	}
	c.out = imap.AppendString(c.out, string(d))
}
