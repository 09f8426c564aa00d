package managesieve

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"

	"postroad/sasl"
)

// mayAuth tells whether passwords may be sent now.
func (c *Conn) mayAuth() bool { return c.tls != nil || c.server.options.InsecureAuth }

// doAuthenticate is AUTHENTICATE (RFC 5804, 2.1).
func (c *Conn) doAuthenticate(ctx context.Context, args []argument) error {
	if !c.mayAuth() {
		c.no(errNeedsTLS.Code, errNeedsTLS.Text)
		return nil
	}
	mechanism := string(args[0].text)
	exchange, err := sasl.NewServer(mechanism, c.session.SASL(c.bindings))
	if err != nil {
		c.misuse("No such mechanism")
		return nil
	}
	var response []byte
	if len(args) > 1 {
		if strings.EqualFold(mechanism, sasl.Login) {
			// RFC 5804, 2.1: not where the server sends data first.
			c.misuse("LOGIN has no initial response")
			return nil
		}
		if response, err = decodeResponse(args[1].text); err != nil {
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
		if err == nil && !done && sasl.WithSuccess(s) {
			// RFC 5804, 2.1: the last word of the server goes into its OK.
			if _, done, err = s.Next(ctx, []byte{}); err == nil && done {
				return c.login(ctx, s.Identity(), challenge)
			}
		}
		switch {
		case errors.Is(err, sasl.ErrMalformed):
			c.misuse("Malformed response")
			return nil
		case err != nil:
			return c.loginFailed(err)
		case done:
			return c.login(ctx, s.Identity(), nil)
		}
		b := c.buffer()
		*b = appendString(*b, base64.StdEncoding.EncodeToString(challenge))
		*b = append(*b, '\r', '\n')

		text, err := c.in.readResponse()
		var wrong *syntaxError
		switch {
		case errors.As(err, &wrong) && wrong.fatal:
			c.bye("", wrong.text)
			return nil
		case errors.As(err, &wrong):
			c.misuse(wrong.text)
			return nil
		case err != nil:
			return err
		case string(text) == "*": // RFC 5804, 2.1
			c.no("", "Cancelled")
			return nil
		}
		if response, err = decodeResponse(text); err != nil {
			c.misuse("Not base64")
			return nil
		}
	}
}

// readResponse reads one string on a line of its own.
func (r *reader) readResponse() ([]byte, error) {
	r.skip = skipMaxEarly
	line, err := r.readLine(LineMax)
	if err != nil {
		return nil, err
	}
	one := &syntaxError{text: "A response is one string"}
	args, literal, err := parseArguments(append([]byte{' '}, line...), nil)
	switch {
	case err != nil:
		return nil, r.resume(line, err)
	case literal == noLiteral && (len(args) != 1 || args[0].number):
		return nil, one
	case literal == noLiteral:
		return args[0].text, nil
	case len(args) > 0 || literal > sasl.LineMax:
		return nil, r.resume(line, one)
	}
	text, err := r.readLiteral(literal)
	if err != nil {
		return nil, err
	}
	if line, err = r.readLine(LineMax); err == nil && len(line) > 0 {
		err = r.resume(line, one)
	}
	return text, err
}

// decodeResponse decodes a response. The result is never nil: an empty string is an empty
// response (RFC 5804, 2.1).
func decodeResponse(b []byte) ([]byte, error) {
	out := make([]byte, base64.StdEncoding.DecodedLen(len(b)))
	n, err := base64.StdEncoding.Strict().Decode(out, b)
	return out[:n], err
}

// loginFailed answers wrong credentials and faults of the back end.
func (c *Conn) loginFailed(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	if errors.Is(err, sasl.ErrCredentials) || errors.Is(err, sasl.ErrBinding) {
		err = errWrong
	}
	c.fail(err)
	if c.authFailed++; c.authFailed >= c.server.options.AuthFailuresMax && !c.quit {
		c.bye("", "Too many failed authentication attempts")
	}
	return nil
}

// login opens the scripts; from here the state is authenticated. Capabilities are not told
// again: no mechanism here has a security layer (RFC 5804, 4: response-authenticate).
func (c *Conn) login(ctx context.Context, identity any, data []byte) error {
	s, err := c.session.Authenticated(ctx, identity)
	if err != nil {
		c.fail(err)
		return nil
	}
	c.scripts, c.identity = s, identity
	if data != nil {
		c.okWith(CodeSASL, base64.StdEncoding.AppendEncode(nil, data), "")
		return nil
	}
	c.ok("")
	return nil
}

// doUnauthenticate is UNAUTHENTICATE (RFC 5804, 2.14.1): TLS stays.
func (c *Conn) doUnauthenticate(context.Context, []argument) error {
	s := c.scripts
	c.scripts, c.identity = nil, nil
	s.Close()
	c.ok("")
	return nil
}
