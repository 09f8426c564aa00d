package managesieve

import "context"

// doSetActive is SETACTIVE (RFC 5804, 2.8); the empty name is for none.
func (c *Conn) doSetActive(ctx context.Context, args []argument) error {
	name := ""
	if len(args[0].text) > 0 {
		var ok bool
		if name, ok = c.name(args[0]); !ok {
			return nil
		}
	}
	c.answerOf(c.scripts.SetActive(ctx, name), "")
	return nil
}

// doDeleteScript is DELETESCRIPT (RFC 5804, 2.10).
func (c *Conn) doDeleteScript(ctx context.Context, args []argument) error {
	name, ok := c.name(args[0])
	if ok {
		c.answerOf(c.scripts.DeleteScript(ctx, name), "")
	}
	return nil
}

// doRenameScript is RENAMESCRIPT (RFC 5804, 2.11).
func (c *Conn) doRenameScript(ctx context.Context, args []argument) error {
	from, ok := c.name(args[0])
	if !ok {
		return nil
	}
	to, ok := c.name(args[1])
	if ok {
		c.answerOf(c.scripts.RenameScript(ctx, from, to), "")
	}
	return nil
}
