package smtpserver

import (
	"bytes"
	"context"
	"time"

	"postroad/address"
	"postroad/smtp"
)

// mailFrom is MAIL (RFC 5321, 4.1.1.2).
func (c *Conn) mailFrom(ctx context.Context, args []byte) {
	if e := c.mailRefusal(); e != nil {
		c.misuse(e)
		return
	}
	arg, ok := afterKeyword(args, "FROM:")
	if !ok {
		c.misuse(badSyntax)
		return
	}
	path, n, err := address.ParsePath(arg)
	if err != nil || path.IsPostmaster() || n < len(arg) && arg[n] != ' ' {
		c.misuse(badSender)
		return
	}
	params, err := smtp.ParseMailParams(arg[n:], c.paramsOffered())
	if err != nil {
		c.misuse(err)
		return
	}
	if e := c.checkParams(&params, arg[:n]); e != nil {
		c.reply(e.Reply)
		return
	}
	if c.mails >= c.server.options.MailMax {
		c.reply(tooManyMails.Reply)
		return
	}
	if err := c.session.Mail(ctx, path, params); err != nil {
		c.fail(err)
		return
	}
	c.mails++
	c.mail, c.rcpts = true, 0
	c.utf8 = params.SMTPUTF8
	c.binary = params.Body == smtp.BodyBinaryMIME
	c.setWaiting(false)
	c.say(mailReply)
}

// paramsOffered are the extensions whose parameters are understood: AUTH= is taken
// whenever AUTH is configured, for clients that send it all the same.
func (c *Conn) paramsOffered() smtp.Extension {
	if !c.esmtp {
		return 0
	}
	e := c.offered()
	if c.server.options.Auth != nil {
		e |= smtp.Auth
	}
	return e
}

// mailRefusal tells why there can be no transaction now.
func (c *Conn) mailRefusal() *smtp.Error {
	o := &c.server.options
	switch {
	case c.helo == "":
		return sayHello
	case c.mail:
		return nestedMail
	case o.RequireTLS && c.tlsState == nil:
		return needTLS
	case o.RequireAuth && !c.authed:
		return needAuth
	}
	return nil
}

// checkParams holds parameters against the options.
func (c *Conn) checkParams(p *smtp.MailParams, path string) *smtp.Error {
	o := &c.server.options
	switch {
	case !p.SMTPUTF8 && !isASCII(path):
		return needUTF8 // RFC 6531, 3.5
	case p.Size > o.SizeMax:
		return tooLarge // RFC 1870, 6.1
	case p.Body == smtp.BodyBinaryMIME && !o.Extensions.Has(smtp.BinaryMIME):
		return badSyntax
	case p.HoldFor > o.HoldMax, !p.HoldUntil.IsZero() && time.Until(p.HoldUntil) > o.HoldMax:
		return holdTooLong
	case p.By != nil && p.By.Return && p.By.Within < o.ByMin:
		return byTooSoon
	}
	return nil
}

// rcptTo is RCPT (RFC 5321, 4.1.1.3).
func (c *Conn) rcptTo(ctx context.Context, args []byte) {
	if !c.mail {
		c.misuse(needMail)
		return
	}
	arg, ok := afterKeyword(args, "TO:")
	if !ok {
		c.misuse(badSyntax)
		return
	}
	path, n, err := address.ParsePath(arg)
	if err != nil || path.IsNull() || n < len(arg) && arg[n] != ' ' {
		c.misuse(badRecipient)
		return
	}
	if !c.utf8 && !isASCII(arg) {
		c.reply(needUTF8.Reply)
		return
	}
	params, err := smtp.ParseRcptParams(arg[n:], c.paramsOffered())
	if err != nil {
		c.misuse(err)
		return
	}
	if c.rcpts >= c.server.options.RcptMax {
		c.reply(tooManyRcpts.Reply) // RFC 5321, 4.5.3.1.10
		return
	}
	if err := c.session.Rcpt(ctx, path, params); err != nil {
		c.fail(err)
		return
	}
	c.rcpts++
	c.say(rcptReply)
}

// afterKeyword returns what follows FROM: or TO: as a string. A space behind the colon,
// which RFC 5321, 3.3 forbids and clients send, is overlooked.
func afterKeyword(args []byte, keyword string) (string, bool) {
	if len(args) < len(keyword) || !bytes.EqualFold(args[:len(keyword)], []byte(keyword)) {
		return "", false
	}
	return string(bytes.Trim(args[len(keyword):], " ")), true
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
