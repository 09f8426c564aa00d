package pop3

import "context"

// doStls is STLS (RFC 2595, 4). What the client sent behind the command in clear text
// would be taken for what it says under TLS, so that ends the connection.
func (c *Conn) doStls(ctx context.Context, args []byte) error {
	switch {
	case c.pending():
		c.quit = true
		c.errLine("", "Nothing may follow STLS")
		return nil
	case !c.noArguments(args):
		return nil
	case c.tls != nil:
		c.misuse("TLS is active already")
		return nil
	case c.server.options.TLS == nil:
		c.misuse("TLS is not available")
		return nil
	case c.utf8:
		c.misuse("STLS comes before UTF8") // RFC 6856, 2.1
		return nil
	}
	c.ok("Begin TLS")
	if err := c.flush(); err != nil {
		return err
	}
	c.user, c.hasUser = "", false // RFC 2595, 4: what was known before TLS is forgotten
	return c.startTLS(ctx)
}
