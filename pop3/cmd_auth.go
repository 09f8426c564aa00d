package pop3

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"

	"postroad/sasl"
)

// doAuth is AUTH (RFC 5034, 4).
func (c *Conn) doAuth(ctx context.Context, args []byte) error {
	if !c.mayAuth() {
		c.errLine(errNeedsTLS.Code, errNeedsTLS.Text)
		return nil
	}
	options := c.session.SASL(c.bindings)
	if len(args) == 0 {
		// Not in any RFC: Outlook Express asks so for the mechanisms.
		c.ok("Mechanisms follow")
		for _, m := range options.Mechanisms() {
			c.put(m + "\r\n")
		}
		c.put(".\r\n")
		return nil
	}
	mechanism, rest, given := bytes.Cut(bytes.TrimRight(args, " "), []byte{' '})
	exchange, err := sasl.NewServer(string(mechanism), options)
	if err != nil {
		c.misuse("No such mechanism")
		return nil
	}
	var response []byte
	if given {
		if response, err = decodeResponse(rest, true); err != nil {
			c.misuse("Not base64")
			return nil
		}
	}
	return c.exchange(ctx, exchange, response)
}

// exchange runs challenges and responses to their end. An error ends the connection.
func (c *Conn) exchange(ctx context.Context, s sasl.Server, response []byte) error {
	for {
		challenge, done, err := s.Next(ctx, response)
		switch {
		case errors.Is(err, sasl.ErrMalformed):
			c.misuse("Malformed response")
			return nil
		case err != nil:
			return c.loginFailed(err)
		case done:
			return c.login(ctx, s.Identity())
		}
		b := c.buffer()
		*b = append(*b, "+ "...)
		*b = base64.StdEncoding.AppendEncode(*b, challenge)
		*b = append(*b, "\r\n"...)

		err = c.readLine(sasl.LineMax)
		switch {
		case errors.Is(err, errLineLong):
			c.misuse("Line too long")
			return nil
		case err != nil:
			return err
		case string(c.line) == "*": // RFC 5034, 4
			c.errLine("", "Cancelled")
			return nil
		}
		if response, err = decodeResponse(c.line, false); err != nil {
			c.misuse("Not base64")
			return nil
		}
	}
}

// decodeResponse decodes a response; "=" is an empty initial one (RFC 5034, 4). The
// result is never nil.
func decodeResponse(b []byte, initial bool) ([]byte, error) {
	if initial && string(b) == "=" {
		return []byte{}, nil
	}
	out := make([]byte, base64.StdEncoding.DecodedLen(len(b)))
	n, err := base64.StdEncoding.Strict().Decode(out, b)
	return out[:n], err
}
