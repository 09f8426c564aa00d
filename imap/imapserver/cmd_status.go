package imapserver

import (
	"strconv"

	"postroad/imap"
)

// cmdStatus is STATUS (RFC 9051, 6.3.11).
func (c *Conn) cmdStatus(cmd *command) error {
	cmd.SP()
	mailbox := cmd.Mailbox()
	cmd.SP()
	items := cmd.statusItems()
	if err := cmd.args(); err != nil {
		return err
	}
	if items&imap.StatusHighestModSeq != 0 {
		if err := c.wantModSeqs(); err != nil {
			return err
		}
	}
	if err := c.status(mailbox, items); err != nil {
		return err
	}
	return c.ok(cmd, "")
}

// statusItems reads a list of STATUS items.
func (cmd *command) statusItems() imap.StatusItems {
	var items imap.StatusItems
	cmd.List(func() {
		item, ok := imap.ParseStatusItem(cmd.Keyword())
		if !ok {
			cmd.Fail("unknown status item")
		}
		items |= item
	})
	if items == 0 {
		cmd.Fail("expected a status item")
	}
	return items
}

// status writes the STATUS response of a mailbox.
func (c *Conn) status(mailbox string, items imap.StatusItems) error {
	d, err := c.session.Status(c.ctx, mailbox, items)
	if err != nil {
		return err
	}
	if d.Mailbox != "" {
		mailbox = d.Mailbox
	}
	limit := d.AppendLimit
	if limit == 0 {
		limit = uint64(c.server.messageBytes)
	}
	c.text("* STATUS ")
	c.out = imap.AppendMailbox(c.out, mailbox, c.utf8)
	sep := " ("
	number := func(item imap.StatusItems, name string, n uint64) {
		if items&item != 0 {
			c.text(sep, name, " ")
			c.out = strconv.AppendUint(c.out, n, 10)
			sep = " "
		}
	}
	number(imap.StatusMessages, "MESSAGES", uint64(d.Messages))
	number(imap.StatusRecent, "RECENT", 0)
	number(imap.StatusUIDNext, "UIDNEXT", uint64(d.UIDNext))
	number(imap.StatusUIDValidity, "UIDVALIDITY", uint64(d.UIDValidity))
	number(imap.StatusUnseen, "UNSEEN", uint64(d.Unseen))
	number(imap.StatusDeleted, "DELETED", uint64(d.Deleted))
	number(imap.StatusDeletedStorage, "DELETED-STORAGE", d.DeletedStorage)
	number(imap.StatusSize, "SIZE", d.Size)
	number(imap.StatusHighestModSeq, "HIGHESTMODSEQ", d.HighestModSeq)
	number(imap.StatusAppendLimit, "APPENDLIMIT", limit)
	if items&imap.StatusMailboxID != 0 {
		c.text(sep, "MAILBOXID (", d.MailboxID, ")")
	}
	c.text(")\r\n")
	return c.spill()
}
