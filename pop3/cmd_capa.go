package pop3

import (
	"context"
	"strings"
)

// doCapa is CAPA (RFC 2449, 5).
func (c *Conn) doCapa(_ context.Context, args []byte) error {
	if !c.noArguments(args) {
		return nil
	}
	c.ok("Capabilities follow")
	// RFC 2449, 6: what is told in both states is the same in both.
	c.put("TOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\nEXPIRE NEVER\r\nLANG\r\n")
	if c.mayAuth() {
		// RFC 6856, 2.2: names and passwords may be UTF-8.
		c.put("UTF8 USER\r\nUSER\r\n")
		c.put("SASL " + strings.Join(c.session.SASL(c.bindings).Mechanisms(), " ") + "\r\n")
	} else {
		c.put("UTF8\r\n")
	}
	if c.maildrop == nil {
		if c.tls == nil && c.server.options.TLS != nil {
			c.put("STLS\r\n")
		}
	} else if i := c.server.options.Implementation; i != "" {
		// RFC 2449, 6.9: what we are is told only to those who may know.
		c.put("IMPLEMENTATION " + i + "\r\n")
	}
	c.put(".\r\n")
	return nil
}
