package smtpserver

import (
	"context"
	"fmt"
)

// starttls is STARTTLS (RFC 3207). Whatever the client said before is forgotten; whatever
// it sent behind the command in clear text would be taken for what it says under TLS, so
// that ends the connection.
func (c *Conn) starttls(ctx context.Context, args []byte) error {
	switch {
	case len(c.in.pending()) > 0:
		c.reply(pipelined.Reply)
		return nil
	case !c.noArguments(args):
		return nil
	case c.tlsState != nil:
		c.misuse(tlsAlready)
		return nil
	case c.server.options.TLS == nil:
		c.misuse(tlsUnavailable)
		return nil
	case c.mail:
		c.misuse(badSequence)
		return nil
	}
	c.say(tlsReply)
	if err := c.beforeRead(); err != nil {
		return err
	}
	if err := c.startTLS(ctx); err != nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	// RFC 3207, 4.2: as after the greeting. Who was authenticated stays nobody: AUTH
	// without TLS is for trusted lines, and its state does not cross over.
	c.helo, c.esmtp, c.identity, c.authed = "", false, nil, false
	return nil
}
