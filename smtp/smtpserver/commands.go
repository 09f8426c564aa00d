package smtpserver

import (
	"context"
	"errors"

	"postroad/sasl"
	"postroad/smtp"
)

// verb is a command's name.
type verb uint8

const (
	verbUnknown verb = iota
	verbHELO
	verbEHLO
	verbLHLO
	verbMAIL
	verbRCPT
	verbDATA
	verbBDAT
	verbRSET
	verbNOOP
	verbQUIT
	verbVRFY
	verbEXPN
	verbHELP
	verbAUTH
	verbSTARTTLS
	verbXCLIENT
	verbForeign // a command of HTTP: a browser was made to talk to us
)

// verbMax is the longest verb, in octets.
const verbMax = 8

// parseVerb splits a command line into its verb and what follows the space behind it.
func parseVerb(line []byte) (verb, []byte) {
	var upper [verbMax]byte
	n := 0
	for n < len(line) && line[n] != ' ' {
		if n == verbMax {
			return verbUnknown, nil
		}
		ch := line[n]
		if 'a' <= ch && ch <= 'z' {
			ch -= 'a' - 'A'
		}
		upper[n] = ch
		n++
	}
	args := line[n:]
	if len(args) > 0 {
		args = args[1:]
	}
	switch string(upper[:n]) {
	case "HELO":
		return verbHELO, args
	case "EHLO":
		return verbEHLO, args
	case "LHLO":
		return verbLHLO, args
	case "MAIL":
		return verbMAIL, args
	case "RCPT":
		return verbRCPT, args
	case "DATA":
		return verbDATA, args
	case "BDAT":
		return verbBDAT, args
	case "RSET":
		return verbRSET, args
	case "NOOP":
		return verbNOOP, args
	case "QUIT":
		return verbQUIT, args
	case "VRFY":
		return verbVRFY, args
	case "EXPN":
		return verbEXPN, args
	case "HELP":
		return verbHELP, args
	case "AUTH":
		return verbAUTH, args
	case "STARTTLS":
		return verbSTARTTLS, args
	case "XCLIENT":
		return verbXCLIENT, args
	case "GET", "POST", "PUT", "CONNECT", "OPTIONS":
		return verbForeign, args
	}
	return verbUnknown, args
}

// commands runs the dialogue until its end. A nil error is a QUIT or a last reply that
// has been said.
func (c *Conn) commands(ctx context.Context) error {
	for !c.quit {
		line := c.pending
		c.pending = nil
		if line == nil {
			var err error
			if line, err = c.command(); err != nil {
				return err
			}
			if line == nil {
				continue
			}
		}
		if err := c.dispatch(ctx, line); err != nil {
			return err
		}
	}
	return nil
}

// command reads the next command line. Without a line and without an error there was a
// faulty one, which has been answered.
func (c *Conn) command() ([]byte, error) {
	c.in.release()
	line, err := c.in.line(sasl.LineMax)
	if err == nil && len(line) > CommandLineMax-len("\r\n") {
		// RFC 4954, 4: only AUTH may be as long as its responses.
		if v, _ := parseVerb(line); v != verbAUTH {
			err = errLineLong
		}
	}
	switch {
	case err == nil:
		if line == nil {
			line = []byte{}
		}
		return line, nil
	case errors.Is(err, errLineLong):
		c.misuse(lineTooLong)
	case errors.Is(err, errControl):
		c.reset()
		c.misuse(lineControl)
	case errors.Is(err, errBareLF):
		c.reset()
		c.reply(lineEnd.Reply)
	case errors.Is(err, errLineEndless):
		c.reply(tooManyErrors.Reply)
	default:
		return nil, err
	}
	return nil, nil
}

// dispatch runs one command. An error ends the connection.
func (c *Conn) dispatch(ctx context.Context, line []byte) error {
	v, args := parseVerb(line)
	switch v {
	case verbHELO, verbEHLO, verbLHLO:
		c.hello(ctx, v, args)
	case verbMAIL:
		c.mailFrom(ctx, args)
	case verbRCPT:
		c.rcptTo(ctx, args)
	case verbDATA:
		return c.data(ctx, args)
	case verbBDAT:
		return c.bdat(ctx, args)
	case verbRSET:
		if c.noArguments(args) {
			c.reset()
			c.say(okReply)
		}
	case verbSTARTTLS:
		return c.starttls(ctx, args)
	case verbAUTH:
		return c.auth(ctx, args)
	case verbXCLIENT:
		return c.xclient(ctx, args)
	case verbQUIT:
		if c.noArguments(args) {
			c.say(quitReply)
			c.quit = true
		}
	case verbForeign:
		c.reply(notSMTP.Reply)
	default:
		c.small(v)
	}
	return nil
}

// small answers the commands that change nothing.
func (c *Conn) small(v verb) {
	switch v {
	case verbNOOP:
		c.say(okReply)
	case verbVRFY:
		// RFC 5321, 3.5.3: 252 tells nobody who has a mailbox here.
		c.say(vrfyReply)
	case verbEXPN:
		c.misuse(notImplemented)
	case verbHELP:
		c.say(helpReply)
	default:
		c.misuse(unknownCommand)
	}
}

// noArguments complains if there are any (RFC 5321, 4.1.1.5: none are permitted). Spaces
// at the end of a line are overlooked (RFC 5321, 4.1.1).
func (c *Conn) noArguments(args []byte) bool {
	for _, ch := range args {
		if ch != ' ' {
			c.misuse(noArguments)
			return false
		}
	}
	return true
}

// reset ends the transaction, if there is one.
func (c *Conn) reset() {
	if c.mail {
		c.mail, c.utf8, c.binary, c.rcpts = false, false, false, 0
		c.setWaiting(true)
		c.session.Reset()
	}
}

// offered returns the extensions in their present state.
func (c *Conn) offered() smtp.Extension {
	e := c.server.options.Extensions
	if c.server.options.TLS != nil && c.tlsState == nil {
		e |= smtp.StartTLS
	}
	if c.mayAuth() {
		e |= smtp.Auth
	}
	return e
}
