package smtpserver

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"

	"postroad/sasl"
	"postroad/smtp"
)

// auth is AUTH (RFC 4954, 4). An error ends the connection.
func (c *Conn) auth(ctx context.Context, args []byte) error {
	if e := c.authRefusal(); e != nil {
		c.misuse(e)
		return nil
	}
	mechanism, rest, given := bytes.Cut(bytes.TrimRight(args, " "), []byte{' '})
	exchange, err := sasl.NewServer(string(mechanism), c.authOptions())
	if err != nil {
		c.misuse(authUnknown)
		return nil
	}
	var response []byte
	if given {
		if response, err = decodeResponse(rest, true); err != nil {
			c.misuse(authMalformed)
			return nil
		}
	}
	err = c.exchange(ctx, exchange, response)
	var refused *refusal
	switch {
	case err == nil:
		return c.authenticated(ctx, exchange.Identity())
	case errors.As(err, &refused):
		c.refuse(refused)
		return nil
	}
	return err
}

// authRefusal tells why there can be no AUTH now.
func (c *Conn) authRefusal() *smtp.Error {
	switch {
	case c.server.options.Auth == nil:
		return authNotHere
	case !c.mayAuth():
		return authNeedsTLS
	case c.helo == "" || !c.esmtp:
		return sayHello
	case c.authed:
		return authAlready
	case c.mail:
		// RFC 4954, 4: not during a mail transaction.
		return badSequence
	}
	return nil
}

// refusal is an exchange that ended without success, and the connection goes on.
type refusal struct{ reply *smtp.Error }

func (r *refusal) Error() string { return r.reply.Error() }

// refuse answers a failed exchange and counts it.
func (c *Conn) refuse(r *refusal) {
	c.reply(r.reply.Reply)
	c.authFailed++
	if c.authFailed >= c.server.options.AuthFailuresMax && !c.quit {
		c.reply(tooManyAuth.Reply)
	}
}

// exchange runs challenges and responses to success (nil), a refusal, or the end of the
// connection.
func (c *Conn) exchange(ctx context.Context, s sasl.Server, response []byte) error {
	for {
		challenge, done, err := s.Next(ctx, response)
		if err != nil {
			return c.authError(err)
		}
		if done {
			return nil
		}
		c.put(func(b []byte) []byte {
			b = append(b, challengeReply...)
			b = base64.StdEncoding.AppendEncode(b, challenge)
			return append(b, '\r', '\n')
		})
		line, err := c.in.line(sasl.LineMax)
		switch {
		case errors.Is(err, errLineLong):
			return &refusal{authTooLong}
		case errors.Is(err, errControl):
			return &refusal{authMalformed}
		case errors.Is(err, errBareLF), errors.Is(err, errLineEndless):
			return lineEndError()
		case err != nil:
			return err
		case string(line) == "*":
			return &refusal{authCancelled}
		}
		if response, err = decodeResponse(line, false); err != nil {
			return &refusal{authMalformed}
		}
	}
}

// lineEndError is the reply after which nothing more is read.
func lineEndError() error { return lineEnd }

// authError finds the reply for an error of the exchange.
func (c *Conn) authError(err error) error {
	var e *smtp.Error
	switch {
	case errors.Is(err, sasl.ErrMalformed):
		return &refusal{authMalformed}
	case errors.Is(err, sasl.ErrCredentials), errors.Is(err, sasl.ErrBinding):
		return &refusal{authFailed}
	case errors.As(err, &e):
		return &refusal{e}
	case errors.Is(err, context.Canceled):
		return err
	}
	c.server.options.Logger.Error("smtp: authentication failed", "client", c.client, "error", err)
	return &refusal{authTemporary}
}

// decodeResponse decodes a response; "=" is an empty initial one (RFC 4954, 4). The result
// is never nil.
func decodeResponse(b []byte, initial bool) ([]byte, error) {
	if initial && string(b) == "=" {
		return []byte{}, nil
	}
	out := make([]byte, base64.StdEncoding.DecodedLen(len(b)))
	n, err := base64.StdEncoding.Strict().Decode(out, b)
	return out[:n], err
}

// authenticated tells the session.
func (c *Conn) authenticated(ctx context.Context, identity any) error {
	if err := c.session.Authenticated(ctx, identity); err != nil {
		c.fail(err)
		return nil
	}
	c.authed, c.identity = true, identity
	c.say(authReply)
	return nil
}
