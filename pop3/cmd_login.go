package pop3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"unicode/utf8"

	"postroad/sasl"
)

// mayAuth tells whether passwords may be sent now.
func (c *Conn) mayAuth() bool { return c.tls != nil || c.server.options.InsecureAuth }

// doUser is USER (RFC 1939, 7). Every name is taken: that nobody is called so shows at
// PASS only, and not there either.
func (c *Conn) doUser(_ context.Context, args []byte) error {
	switch {
	case !c.mayAuth():
		c.errLine(errNeedsTLS.Code, errNeedsTLS.Text)
	case len(args) == 0 || !utf8.Valid(args) || bytes.IndexByte(args, 0) >= 0:
		// RFC 6856, 2.2: what is not UTF-8 is refused.
		c.misuse("Not a user name")
	default:
		c.user, c.hasUser = string(args), true
		c.ok("Tell the password")
	}
	return nil
}

// doPass is PASS (RFC 1939, 7). The password is the rest of the line, spaces included.
func (c *Conn) doPass(ctx context.Context, args []byte) error {
	switch {
	case !c.mayAuth():
		c.errLine(errNeedsTLS.Code, errNeedsTLS.Text)
		return nil
	case !c.hasUser:
		c.misuse("USER comes first")
		return nil
	case !utf8.Valid(args):
		c.misuse("Not a password")
		return nil
	}
	user := c.user
	c.user, c.hasUser = "", false // RFC 1939, 7: after a failed PASS, USER again
	identity, err := c.session.SASL(c.bindings).Backend.Password(ctx, "", user, string(args))
	if err != nil {
		return c.loginFailed(err)
	}
	return c.login(ctx, identity)
}

// loginFailed answers wrong credentials and faults of the back end.
func (c *Conn) loginFailed(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	if errors.Is(err, sasl.ErrCredentials) || errors.Is(err, sasl.ErrBinding) {
		err = errWrong
	}
	if c.authFailed++; c.authFailed >= c.server.options.AuthFailuresMax {
		c.quit = true
	}
	c.fail(err)
	return nil
}

// login opens the maildrop; from here the state is TRANSACTION.
func (c *Conn) login(ctx context.Context, identity any) error {
	m, err := c.session.Authenticated(ctx, identity)
	if err != nil {
		c.fail(err)
		return nil
	}
	c.maildrop, c.identity = m, identity
	c.ok(fmt.Sprintf("%d messages", m.Len()))
	return nil
}
