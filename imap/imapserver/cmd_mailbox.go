package imapserver

import (
	"context"
	"strings"

	"postroad/imap"
)

// The commands on mailbox names: CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE.

// cmdCreate is CREATE (RFC 9051, 6.3.4), with USE (RFC 6154, 3).
func (c *Conn) cmdCreate(cmd *command) error {
	var o CreateOptions
	cmd.SP()
	mailbox := cmd.Mailbox()
	unknown := false
	if !cmd.Done() {
		cmd.SP()
		cmd.List(func() {
			if cmd.Keyword() != "USE" {
				cmd.Fail("unknown parameter")
			}
			cmd.SP()
			cmd.List(func() {
				use, ok := imap.SpecialUse(imap.MailboxAttr(cmd.Flag()))
				o.SpecialUse = append(o.SpecialUse, use)
				unknown = unknown || !ok
			})
		})
	}
	if err := cmd.args(); err != nil {
		return err
	}
	if unknown {
		return imap.No(imap.CodeUseAttr, "Special use not supported")
	}
	delimiter, err := c.hierarchy()
	if err != nil {
		return err
	}
	// RFC 9051, 6.3.4: a delimiter at the end only says that there will be names below.
	if delimiter != 0 {
		mailbox = strings.TrimSuffix(mailbox, string(delimiter))
	}
	d, err := c.session.Create(c.ctx, imap.CanonicalMailbox(mailbox), o)
	if err != nil {
		return err
	}
	if d != nil && d.MailboxID != "" {
		return c.ok(cmd, imap.Code("MAILBOXID ("+d.MailboxID+")"))
	}
	return c.ok(cmd, "")
}

// cmdDelete is DELETE (RFC 9051, 6.3.5).
func (c *Conn) cmdDelete(cmd *command) error { return c.onName(cmd, c.session.Delete) }

// cmdSubscribe is SUBSCRIBE (RFC 9051, 6.3.7).
func (c *Conn) cmdSubscribe(cmd *command) error { return c.onName(cmd, c.session.Subscribe) }

// cmdUnsubscribe is UNSUBSCRIBE (RFC 9051, 6.3.8).
func (c *Conn) cmdUnsubscribe(cmd *command) error { return c.onName(cmd, c.session.Unsubscribe) }

// cmdRename is RENAME (RFC 9051, 6.3.6).
func (c *Conn) cmdRename(cmd *command) error {
	cmd.SP()
	mailbox := cmd.Mailbox()
	cmd.SP()
	newName := cmd.Mailbox()
	if err := cmd.args(); err != nil {
		return err
	}
	if err := c.session.Rename(c.ctx, mailbox, newName); err != nil {
		return err
	}
	return c.ok(cmd, "")
}

// hierarchy returns the delimiter of the personal namespace, 0 if there is none.
func (c *Conn) hierarchy() (rune, error) {
	if c.delimiter != 0 {
		return c.delimiter, nil
	}
	d, err := c.session.Namespace(c.ctx)
	if err != nil {
		return 0, err
	}
	if len(d.Personal) > 0 {
		c.delimiter = d.Personal[0].Delimiter
	}
	return c.delimiter, nil
}

// onName runs a command that has one mailbox name for its argument.
func (c *Conn) onName(cmd *command, f func(context.Context, string) error) error {
	cmd.SP()
	mailbox := cmd.Mailbox()
	if err := cmd.args(); err != nil {
		return err
	}
	if err := f(c.ctx, mailbox); err != nil {
		return err
	}
	return c.ok(cmd, "")
}
