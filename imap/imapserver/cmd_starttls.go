package imapserver

import "postroad/imap"

// cmdStartTLS is STARTTLS (RFC 9051, 6.2.1).
func (c *Conn) cmdStartTLS(cmd *command) error {
	if err := cmd.args(); err != nil {
		return err
	}
	switch {
	case c.tls != nil:
		return imap.Bad("TLS is active already")
	case c.server.tls == nil:
		return imap.Bad("TLS is not offered")
	case c.in.buffered():
		// Commands behind STARTTLS in the clear could be an attacker's (RFC 9051, 11.1).
		c.tagged(cmd.tag, imap.BAD, "", "Nothing may follow STARTTLS before TLS begins")
		c.bye("", "Commands were sent behind STARTTLS")
		return nil
	}
	c.tagged(cmd.tag, imap.OK, "", "Begin TLS negotiation now")
	if err := c.flush(); err != nil {
		return err
	}
	if err := c.handshake(); err != nil {
		return errClosed
	}
	// RFC 9051, 6.2.1: what the client said before is forgotten.
	c.clientID = nil
	return nil
}
