package managesieve

import "context"

// doLogout is LOGOUT (RFC 5804, 2.3).
func (c *Conn) doLogout(context.Context, []argument) error {
	c.quit = true
	c.ok("Goodbye")
	return nil
}

// doNoop is NOOP (RFC 5804, 2.13).
func (c *Conn) doNoop(_ context.Context, args []argument) error {
	if len(args) == 0 {
		c.ok("Done")
		return nil
	}
	c.okWith(CodeTag, args[0].text, "Done")
	return nil
}
