package smtpserver

import (
	"bytes"
	"context"
	"strconv"
	"time"

	"postroad/sasl"
	"postroad/smtp"
)

// helloMax is the longest name a client may have, in octets (RFC 5321, 4.5.3.1.2).
const helloMax = 255

// hello is EHLO, HELO and LHLO (RFC 5321, 4.1.1.1; RFC 2033, 4.1).
func (c *Conn) hello(ctx context.Context, v verb, args []byte) {
	// RFC 2033, 4.1: LMTP has LHLO in place of the others, and SMTP has it not.
	if (v == verbLHLO) != (c.server.options.Protocol == LMTP) {
		c.misuse(unknownCommand)
		return
	}
	name := bytes.TrimSpace(args)
	if !validHello(name) {
		c.misuse(badSyntax)
		return
	}
	c.reset()
	c.helo, c.esmtp = string(name), v != verbHELO
	if err := c.session.Hello(ctx); err != nil {
		c.helo = ""
		c.fail(err)
		return
	}
	if !c.esmtp {
		c.say("250 " + c.server.options.Hostname + "\r\n")
		return
	}
	c.put(c.appendExtensions)
}

// validHello takes any printable ASCII: many clients do not know their name, and what it
// says is for the session to judge.
func validHello(name []byte) bool {
	for _, ch := range name {
		if ch < '!' || ch > '~' {
			return false
		}
	}
	return len(name) > 0 && len(name) <= helloMax
}

// appendExtensions writes the reply to EHLO: what is served in this state and nothing
// else.
func (c *Conn) appendExtensions(b []byte) []byte {
	o := &c.server.options
	e := c.offered()
	line := func(words ...string) {
		b = append(b, "250-"...)
		for _, w := range words {
			b = append(b, w...)
		}
		b = append(b, '\r', '\n')
	}
	line(o.Hostname)
	line("PIPELINING")
	line("SIZE ", strconv.FormatInt(o.SizeMax, 10))
	if e.Has(smtp.DSN) {
		line("DSN")
	}
	if e.Has(smtp.StartTLS) {
		line("STARTTLS")
	}
	if e.Has(smtp.Auth) {
		b = append(b, "250-AUTH"...)
		for _, m := range c.authOptions().Mechanisms() {
			b = append(append(b, ' '), m...)
		}
		b = append(b, '\r', '\n')
	}
	if e.Has(smtp.FutureRelease) {
		// RFC 4865, 4: the longest interval, and the latest moment.
		line("FUTURERELEASE ", strconv.FormatInt(int64(o.HoldMax/time.Second), 10), " ",
			time.Now().Add(o.HoldMax).UTC().Format(time.RFC3339))
	}
	if e.Has(smtp.MTPriority) {
		line("MT-PRIORITY")
	}
	if e.Has(smtp.DeliverByExtension) {
		line("DELIVERBY ", strconv.FormatInt(int64(o.ByMin/time.Second), 10))
	}
	if e.Has(smtp.SMTPUTF8) {
		line("SMTPUTF8")
	}
	line("CHUNKING")
	if e.Has(smtp.BinaryMIME) {
		line("BINARYMIME")
	}
	if c.mayXClient() {
		line("XCLIENT ADDR PORT NAME HELO PROTO")
	}
	line("LIMITS ", smtp.Limits{MailMax: o.MailMax, RcptMax: o.RcptMax}.String())
	line("8BITMIME")
	return append(b, "250 ENHANCEDSTATUSCODES\r\n"...)
}

// mayAuth tells whether AUTH is served now.
func (c *Conn) mayAuth() bool {
	o := &c.server.options
	return o.Auth != nil && (c.tlsState != nil || o.InsecureAuth && !o.RequireTLS)
}

// authOptions are the server's with the connection's bindings.
func (c *Conn) authOptions() *sasl.Options {
	o := *c.server.options.Auth
	o.Bindings = c.bindings
	if f := c.server.options.AuthBackend; f != nil {
		o.Backend = f(c.client.Addr())
	}
	return &o
}
