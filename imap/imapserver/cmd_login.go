package imapserver

import (
	"unicode/utf8"

	"postroad/imap"
)

// cmdLogin is LOGIN (RFC 9051, 6.2.3).
func (c *Conn) cmdLogin(cmd *command) error {
	cmd.SP()
	user := cmd.AString()
	cmd.SP()
	password := cmd.AString()
	if err := cmd.args(); err != nil {
		return err
	}
	if !c.mayAuthenticate() {
		return errPrivacy
	}
	if !utf8.ValidString(user) || !utf8.ValidString(password) || user == "" || password == "" {
		return imap.No(imap.CodeAuthenticationFailed, "Authentication failed")
	}
	identity, err := c.session.SASL(c.binding).Backend.Password(c.ctx, "", user, password)
	if err != nil {
		return authError(err)
	}
	return c.loggedIn(cmd, identity)
}
