package imapserver

import "postroad/imap"

var errReadOnly = imap.No(imap.CodeReadOnly, "The mailbox is read-only")

// cmdExpunge is EXPUNGE (RFC 9051, 6.4.3) and UID EXPUNGE (6.4.9).
func (c *Conn) cmdExpunge(cmd *command) error {
	var uids *imap.NumSet
	if cmd.uid {
		cmd.SP()
		set := cmd.NumSet(true)
		uids = &set
	}
	if err := cmd.args(); err != nil {
		return err
	}
	if c.readOnly {
		return errReadOnly
	}
	if uids != nil {
		if err := c.resolve(uids); err != nil {
			return err
		}
	}
	w := &UpdateWriter{c: c, expunge: true}
	highest, err := c.session.Expunge(c.ctx, w, uids)
	w.flush()
	if err != nil {
		return err
	}
	if highest != 0 && c.condStore {
		return c.ok(cmd, numberCode("HIGHESTMODSEQ", highest)) // RFC 7162, 3.2.7
	}
	return c.ok(cmd, "")
}

// resolve puts the saved search result for "$" (RFC 5182, 2.1) and refuses sequence
// numbers that the client cannot know (RFC 9051, 9, seq-number).
func (c *Conn) resolve(set *imap.NumSet) error {
	if set.Saved {
		*set = imap.NumSetUID(c.saved)
		return nil
	}
	if !set.UID && set.Largest() > c.exists {
		return imap.Bad("There is no message with that number")
	}
	return nil
}
