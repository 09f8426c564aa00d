package imapserver

import (
	"golang.org/x/text/secure/precis"

	"postroad/imap"
)

// The commands on access control lists (RFC 4314, 3). A session is asked for each; how many
// entries a list may have is for it to say.

// identifier reads whom rights are for. RFC 4314, 3, has identifiers prepared with SASLprep,
// whose successor is PRECIS's OpaqueString (RFC 8265, 4.2).
func (cmd *command) identifier() (asked, prepared string) {
	cmd.SP()
	asked = cmd.AString()
	if !cmd.OK() {
		return "", ""
	}
	prepared, err := precis.OpaqueString.String(asked)
	if err != nil || prepared == "-" || len(asked) > IdentifierBytesMax {
		cmd.Fail("not an identifier")
	}
	return asked, prepared
}

// cmdSetACL is SETACL (RFC 4314, 3.1).
func (c *Conn) cmdSetACL(cmd *command) error {
	cmd.SP()
	mailbox := cmd.Mailbox()
	_, identifier := cmd.identifier()
	cmd.SP()
	change := cmd.AString()
	if err := cmd.args(); err != nil {
		return err
	}
	op, rights, err := imap.ParseRightsChange(change)
	if err != nil {
		return err
	}
	if err := c.session.(ACLer).SetACL(c.ctx, mailbox, identifier, op, rights); err != nil {
		return err
	}
	return c.ok(cmd, "")
}

// cmdDeleteACL is DELETEACL (RFC 4314, 3.2).
func (c *Conn) cmdDeleteACL(cmd *command) error {
	cmd.SP()
	mailbox := cmd.Mailbox()
	_, identifier := cmd.identifier()
	if err := cmd.args(); err != nil {
		return err
	}
	if err := c.session.(ACLer).DeleteACL(c.ctx, mailbox, identifier); err != nil {
		return err
	}
	return c.ok(cmd, "")
}

// cmdGetACL is GETACL (RFC 4314, 3.3).
func (c *Conn) cmdGetACL(cmd *command) error {
	cmd.SP()
	mailbox := cmd.Mailbox()
	if err := cmd.args(); err != nil {
		return err
	}
	entries, err := c.session.(ACLer).GetACL(c.ctx, mailbox)
	if err != nil {
		return err
	}
	c.text("* ACL ")
	c.out = imap.AppendMailbox(c.out, mailbox, c.utf8)
	for _, e := range entries {
		c.text(" ")
		c.out = imap.AppendAString(c.out, e.Identifier)
		c.text(" ")
		c.out = imap.AppendAString(c.out, e.Rights.String())
		if err := c.spill(); err != nil {
			return err
		}
	}
	c.text("\r\n")
	return c.ok(cmd, "")
}

// cmdListRights is LISTRIGHTS (RFC 4314, 3.4). The response has the identifier as the client
// gave it.
func (c *Conn) cmdListRights(cmd *command) error {
	cmd.SP()
	mailbox := cmd.Mailbox()
	asked, identifier := cmd.identifier()
	if err := cmd.args(); err != nil {
		return err
	}
	d, err := c.session.(ACLer).ListRights(c.ctx, mailbox, identifier)
	if err != nil {
		return err
	}
	c.text("* LISTRIGHTS ")
	c.out = imap.AppendMailbox(c.out, mailbox, c.utf8)
	c.text(" ")
	c.out = imap.AppendAString(c.out, asked)
	for _, rights := range imap.FormatListRights(d.Required, d.Tied) {
		c.text(" ")
		c.out = imap.AppendAString(c.out, rights)
	}
	c.text("\r\n")
	return c.ok(cmd, "")
}

// cmdMyRights is MYRIGHTS (RFC 4314, 3.5).
func (c *Conn) cmdMyRights(cmd *command) error {
	cmd.SP()
	mailbox := cmd.Mailbox()
	if err := cmd.args(); err != nil {
		return err
	}
	if err := c.myRights(mailbox); err != nil {
		return err
	}
	return c.ok(cmd, "")
}

// myRights writes the MYRIGHTS response of a mailbox.
func (c *Conn) myRights(mailbox string) error {
	rights, err := c.session.(ACLer).MyRights(c.ctx, mailbox)
	if err != nil {
		return err
	}
	c.text("* MYRIGHTS ")
	c.out = imap.AppendMailbox(c.out, mailbox, c.utf8)
	c.text(" ")
	c.out = imap.AppendAString(c.out, rights.String())
	c.text("\r\n")
	return c.spill()
}
