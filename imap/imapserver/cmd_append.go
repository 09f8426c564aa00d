package imapserver

import (
	"strconv"

	"postroad/imap"
)

// cmdAppend is APPEND (RFC 9051, 6.3.12) of one or many messages (RFC 3502), which stream
// from the client to the session.
func (c *Conn) cmdAppend(cmd *command) error {
	cmd.SP()
	mailbox := cmd.Mailbox()
	if err := syntaxError(cmd.Decoder); err != nil {
		if e := c.throwAway(); e != nil {
			return e
		}
		return err
	}
	r := &AppendReader{c: c, cmd: cmd}
	d, err := c.session.Append(c.ctx, mailbox, r)
	if err == nil && !r.finished {
		panic("imapserver: the session did not read APPEND to its end")
	}
	if e := r.finish(); e != nil {
		return e
	}
	if err != nil {
		return err
	}
	if d == nil || d.UIDValidity == 0 || len(d.UIDs) == 0 {
		return c.ok(cmd, "")
	}
	code := append([]byte("APPENDUID "), strconv.FormatUint(uint64(d.UIDValidity), 10)...)
	return c.ok(cmd, imap.Code(d.UIDs.Append(append(code, ' '))))
}
