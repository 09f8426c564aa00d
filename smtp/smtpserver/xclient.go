package smtpserver

import (
	"context"
	"net/netip"
	"strconv"
	"strings"

	"postroad/smtp"
)

// mayXClient tells whether the peer is trusted with XCLIENT: by the address that a PROXY
// header told, or every client of a trusted proxy would be; and not by what XCLIENT told.
func (c *Conn) mayXClient() bool { return contains(c.server.options.XClients, c.counted) }

// xclient is XCLIENT, by which a trusted peer (a proxy, a test) tells whose connection it
// passes on; the format is Postfix's. The dialogue starts anew with a greeting.
func (c *Conn) xclient(ctx context.Context, args []byte) error {
	if !c.mayXClient() {
		c.misuse(xclientDenied)
		return nil
	}
	if c.mail {
		c.misuse(badSequence)
		return nil
	}
	client, name, helo, esmtp := c.client, c.name, c.helo, c.esmtp
	for word := range strings.FieldsSeq(string(args)) {
		key, encoded, _ := strings.Cut(word, "=")
		value, ok := smtp.DecodeXtext(encoded)
		if !ok {
			c.misuse(badSyntax)
			return nil
		}
		if strings.EqualFold(value, "[UNAVAILABLE]") || strings.EqualFold(value, "[TEMPUNAVAIL]") {
			value = ""
		}
		switch strings.ToUpper(key) {
		case "ADDR":
			client, ok = xclientAddr(value, client.Port())
		case "PORT":
			client, ok = xclientPort(value, client.Addr())
		case "NAME":
			name = value
		case "HELO":
			helo, ok = value, value == "" || validHello([]byte(value))
		case "PROTO":
			esmtp = strings.EqualFold(value, "ESMTP")
		default:
			ok = false
		}
		if !ok {
			c.misuse(badSyntax)
			return nil
		}
	}
	c.session.Close()
	c.session = nil
	c.client, c.name, c.helo, c.esmtp = client, name, helo, esmtp
	c.authed, c.identity = false, nil
	return c.greet(ctx)
}

func xclientAddr(value string, port uint16) (netip.AddrPort, bool) {
	if value == "" {
		return netip.AddrPort{}, true
	}
	if len(value) > 5 && strings.EqualFold(value[:5], "IPV6:") {
		value = value[5:]
	}
	a, err := netip.ParseAddr(value)
	return netip.AddrPortFrom(a.Unmap(), port), err == nil
}

func xclientPort(value string, a netip.Addr) (netip.AddrPort, bool) {
	n, err := strconv.ParseUint(value, 10, 16)
	if value == "" {
		n, err = 0, nil
	}
	return netip.AddrPortFrom(a, uint16(n)), err == nil
}
