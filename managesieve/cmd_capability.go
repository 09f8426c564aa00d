package managesieve

import (
	"context"
	"strconv"
	"strings"
)

// version is what RFC 5804, 1.7 asks of servers that obey it.
const version = "1.0"

// doCapability is CAPABILITY (RFC 5804, 2.4).
func (c *Conn) doCapability(context.Context, []argument) error {
	c.capabilities("")
	return nil
}

// capabilities tells what the server can (RFC 5804, 1.7), and OK.
func (c *Conn) capabilities(text string) {
	o := &c.server.options
	c.capability("IMPLEMENTATION", o.Implementation)
	mechanisms := ""
	if c.mayAuth() {
		mechanisms = strings.Join(c.session.SASL(c.bindings).Mechanisms(), " ")
	}
	c.capability("SASL", mechanisms)
	c.capability("SIEVE", strings.Join(o.Extensions, " "))
	if c.mayStartTLS() {
		c.put("\"STARTTLS\"\r\n")
	}
	if o.RedirectsMax > 0 {
		c.capability("MAXREDIRECTS", strconv.Itoa(o.RedirectsMax))
	}
	if len(o.Notify) > 0 {
		c.capability("NOTIFY", strings.Join(o.Notify, " "))
	}
	if o.Language != "" {
		c.capability("LANGUAGE", o.Language)
	}
	if c.scripts != nil {
		c.capability("OWNER", c.scripts.Owner())
	}
	c.put("\"UNAUTHENTICATE\"\r\n")
	c.capability("VERSION", version)
	c.ok(text)
}

// capability adds one line.
func (c *Conn) capability(name, value string) {
	b := c.buffer()
	*b = append(*b, '"')
	*b = append(*b, name...)
	*b = append(*b, `" `...)
	*b = appendString(*b, value)
	*b = append(*b, '\r', '\n')
}
