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

// resolve puts the saved search result for "$" (RFC 5182, 2.1), and for sequence numbers
// what they stand for. Numbers that the client cannot know are refused (RFC 9051, 9,
// seq-number); a range with "*" is cut to what there is, as in "1:*" of an empty mailbox.
func (c *Conn) resolve(set *imap.NumSet) error {
	if !set.UID {
		for _, r := range set.Ranges {
			if r.First != 0 && r.Last != 0 && max(r.First, r.Last) > c.exists {
				return imap.Bad("There is no message with that number")
			}
		}
	}
	c.settle(set)
	return nil
}

// settle is resolve for search keys, where numbers that are not there match nothing.
func (c *Conn) settle(set *imap.NumSet) {
	switch {
	case set.Saved:
		*set = imap.NumSetUID(c.saved)
	case !set.UID:
		there := imap.UIDSet{{First: 1, Last: c.exists}}
		if c.exists == 0 {
			there = nil
		}
		set.Ranges = set.Resolve(c.exists).Intersect(there)
	}
}
