package pop3

import (
	"bytes"
	"context"
)

// doLang is LANG (RFC 6856, 3). There is one language; its texts are ASCII.
func (c *Conn) doLang(_ context.Context, args []byte) error {
	switch args = bytes.TrimRight(args, " "); {
	case len(args) == 0:
		c.ok("Languages follow")
		c.put("en English\r\n.\r\n")
	case string(args) == "*" || bytes.EqualFold(args, []byte("en")):
		c.ok("en English it is")
	default:
		c.errLine("", "No such language")
	}
	return nil
}

// doUTF8 is UTF8 (RFC 6856, 2.1): from here messages are sent with UTF-8 in their headers.
func (c *Conn) doUTF8(_ context.Context, args []byte) error {
	if !c.noArguments(args) {
		return nil
	}
	c.utf8 = true
	c.ok("UTF8 it is")
	return nil
}
