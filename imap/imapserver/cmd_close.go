package imapserver

// cmdClose is CLOSE (RFC 9051, 6.4.1): messages with \Deleted go without being told.
func (c *Conn) cmdClose(cmd *command) error {
	if err := cmd.args(); err != nil {
		return err
	}
	var highest uint64
	if !c.readOnly {
		var err error
		if highest, err = c.session.Expunge(c.ctx, nil, nil); err != nil {
			return err
		}
	}
	if err := c.unselect(); err != nil {
		return err
	}
	if highest != 0 && c.condStore {
		c.done(cmd, numberCode("HIGHESTMODSEQ", highest)) // RFC 7162, 3.2.8
		return nil
	}
	c.done(cmd, "")
	return nil
}

// cmdUnselect is UNSELECT (RFC 9051, 6.4.2).
func (c *Conn) cmdUnselect(cmd *command) error {
	if err := cmd.args(); err != nil {
		return err
	}
	if err := c.unselect(); err != nil {
		return err
	}
	c.done(cmd, "")
	return nil
}
