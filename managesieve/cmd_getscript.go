package managesieve

import (
	"context"
	"strconv"
)

// doListScripts is LISTSCRIPTS (RFC 5804, 2.7).
func (c *Conn) doListScripts(ctx context.Context, _ []argument) error {
	list, err := c.scripts.ListScripts(ctx)
	if err != nil {
		c.fail(err)
		return nil
	}
	for _, s := range list {
		b := c.buffer()
		*b = appendString(*b, s.Name)
		if s.Active {
			*b = append(*b, " ACTIVE"...)
		}
		*b = append(*b, '\r', '\n')
		if err := c.relieve(); err != nil {
			return err
		}
	}
	c.ok("")
	return nil
}

// doGetScript is GETSCRIPT (RFC 5804, 2.9). The script is always a literal: clients read
// that the best.
func (c *Conn) doGetScript(ctx context.Context, args []argument) error {
	name, ok := c.name(args[0])
	if !ok {
		return nil
	}
	content, err := c.scripts.GetScript(ctx, name)
	if err != nil {
		c.fail(err)
		return nil
	}
	c.put("{" + strconv.Itoa(len(content)) + "}\r\n")
	for len(content) > 0 {
		piece := content[:min(len(content), outMax/2)]
		content = content[len(piece):]
		b := c.buffer()
		*b = append(*b, piece...)
		if err := c.relieve(); err != nil {
			return err
		}
	}
	c.put("\r\n")
	c.ok("")
	return nil
}
