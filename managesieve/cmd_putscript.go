package managesieve

import "context"

// doHaveSpace is HAVESPACE (RFC 5804, 2.5).
func (c *Conn) doHaveSpace(ctx context.Context, args []argument) error {
	name, ok := c.name(args[0])
	if !ok {
		return nil
	}
	if args[1].value > c.server.options.ScriptMax {
		c.no(CodeQuotaMaxSize, "The script would be too large")
		return nil
	}
	c.answerOf(c.scripts.HaveSpace(ctx, name, args[1].value), "")
	return nil
}

// doPutScript is PUTSCRIPT (RFC 5804, 2.6).
func (c *Conn) doPutScript(ctx context.Context, args []argument) error {
	name, ok := c.name(args[0])
	if !ok {
		return nil
	}
	if len(args[1].text) == 0 {
		c.no("", "The script is empty") // RFC 5804, 2.6: SHOULD be disallowed
		return nil
	}
	c.compiled(c.scripts.PutScript(ctx, name, args[1].text))
	return nil
}

// doCheckScript is CHECKSCRIPT (RFC 5804, 2.12).
func (c *Conn) doCheckScript(ctx context.Context, args []argument) error {
	c.compiled(c.scripts.CheckScript(ctx, args[0].text))
	return nil
}

// compiled answers what was compiled.
func (c *Conn) compiled(warnings string, err error) {
	if err == nil && warnings != "" {
		c.response("OK", string(CodeWarnings), warnings)
		return
	}
	c.answerOf(err, "")
}
