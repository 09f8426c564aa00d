package imapserver

import "postroad/imap"

// cmdCopy is COPY (RFC 9051, 6.4.7).
func (c *Conn) cmdCopy(cmd *command) error {
	set, mailbox, err := c.copyArgs(cmd)
	if err != nil {
		return err
	}
	d, err := c.session.Copy(c.ctx, set, mailbox)
	if err != nil {
		return err
	}
	return c.ok(cmd, imap.Code(copyCode(d)))
}

// cmdMove is MOVE (RFC 9051, 6.4.8; RFC 6851).
func (c *Conn) cmdMove(cmd *command) error {
	set, mailbox, err := c.copyArgs(cmd)
	if err != nil {
		return err
	}
	if c.readOnly {
		return errReadOnly
	}
	w := &UpdateWriter{c: c, expunge: true}
	err = c.session.Move(c.ctx, w, set, mailbox)
	w.flush()
	if err != nil {
		return err
	}
	return c.ok(cmd, "")
}

// copyArgs reads a set and a mailbox.
func (c *Conn) copyArgs(cmd *command) (imap.NumSet, string, error) {
	cmd.SP()
	set := cmd.NumSet(cmd.uid)
	cmd.SP()
	mailbox := cmd.Mailbox()
	if err := cmd.args(); err != nil {
		return set, "", err
	}
	return set, mailbox, c.resolve(&set)
}
