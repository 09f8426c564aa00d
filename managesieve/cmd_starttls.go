package managesieve

import "context"

// mayStartTLS tells whether STARTTLS is offered: not after TLS or a log-in (RFC 5804, 1.7).
func (c *Conn) mayStartTLS() bool {
	return c.tls == nil && c.scripts == nil && c.server.options.TLS != nil
}

// doStartTLS is STARTTLS (RFC 5804, 2.2). What the client sent behind the command in clear
// text would be taken for what it says under TLS, so that ends the connection.
func (c *Conn) doStartTLS(ctx context.Context, _ []argument) error {
	switch {
	case c.in.pending():
		c.bye("", "Nothing may follow STARTTLS")
		return nil
	case c.tls != nil:
		c.misuse("TLS is active already")
		return nil
	case c.server.options.TLS == nil:
		c.misuse("TLS is not available")
		return nil
	}
	c.ok("Begin TLS")
	if err := c.flush(); err != nil {
		return err
	}
	if err := c.startTLS(ctx); err != nil {
		return err
	}
	// RFC 5804, 2.2: told again, so that nobody in the middle can have changed it.
	c.capabilities("")
	return nil
}
