package imapserver

import (
	"strconv"

	"postroad/imap"
)

// The commands on quotas (RFC 9208, 4.1), which are those of RFC 2087.

// cmdGetQuota is GETQUOTA (RFC 9208, 4.1.1).
func (c *Conn) cmdGetQuota(cmd *command) error {
	cmd.SP()
	root := cmd.AString()
	if err := cmd.args(); err != nil {
		return err
	}
	q, err := c.session.(Quoter).GetQuota(c.ctx, root)
	if err != nil {
		return err
	}
	c.quota(q)
	return c.ok(cmd, "")
}

// cmdGetQuotaRoot is GETQUOTAROOT (RFC 9208, 4.1.2).
func (c *Conn) cmdGetQuotaRoot(cmd *command) error {
	cmd.SP()
	mailbox := cmd.Mailbox()
	if err := cmd.args(); err != nil {
		return err
	}
	roots, err := c.session.(Quoter).GetQuotaRoot(c.ctx, mailbox)
	if err != nil {
		return err
	}
	c.text("* QUOTAROOT ")
	c.out = imap.AppendMailbox(c.out, mailbox, c.utf8)
	for i := range roots {
		c.text(" ")
		c.out = imap.AppendAString(c.out, roots[i].Root)
	}
	c.text("\r\n")
	for i := range roots {
		c.quota(&roots[i])
	}
	return c.ok(cmd, "")
}

// cmdSetQuota is SETQUOTA (RFC 9208, 4.1.3).
func (c *Conn) cmdSetQuota(cmd *command) error {
	cmd.SP()
	root := cmd.AString()
	cmd.SP()
	limits := cmd.QuotaLimits()
	if err := cmd.args(); err != nil {
		return err
	}
	q, err := c.session.(QuotaSetter).SetQuota(c.ctx, root, limits)
	if err != nil {
		return err
	}
	c.quota(q)
	return c.ok(cmd, "")
}

// quota writes a QUOTA response (RFC 9208, 4.2.1).
func (c *Conn) quota(q *imap.Quota) {
	c.text("* QUOTA ")
	c.out = imap.AppendAString(c.out, q.Root)
	c.text(" (")
	for i, r := range q.Resources {
		if i > 0 {
			c.text(" ")
		}
		c.text(string(r.Resource), " ", strconv.FormatUint(r.Usage, 10), " ", strconv.FormatUint(r.Limit, 10))
	}
	c.text(")\r\n")
}
