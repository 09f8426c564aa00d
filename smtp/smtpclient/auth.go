package smtpclient

import (
	"context"
	"encoding/base64"
	"fmt"

	"postroad/sasl"
	"postroad/smtp"
)

// Auth authenticates with the best mechanism that both ends have (RFC 4954); passwords go
// in the clear only under TLS. A refusal is a *smtp.Error.
func (c *Client) Auth(ctx context.Context, k sasl.Credentials) error {
	mechanism := sasl.Choose(c.caps.Auth, c.bindings)
	if mechanism == "" {
		return fmt.Errorf("%w: AUTH with a mechanism we may use", ErrNotOffered)
	}
	exchange, err := sasl.NewClient(mechanism, k, c.bindings, c.caps.Auth)
	if err != nil {
		return err
	}
	return c.AuthWith(ctx, exchange)
}

// AuthWith runs an exchange of the caller's choice.
func (c *Client) AuthWith(ctx context.Context, exchange sasl.Client) error {
	defer c.guard(ctx)()
	initial, err := exchange.Start()
	if err != nil {
		return err
	}
	line := "AUTH " + exchange.Mechanism()
	switch {
	case initial != nil && len(initial) == 0:
		line += " ="
	case initial != nil:
		line += " " + base64.StdEncoding.EncodeToString(initial)
	}
	r, err := c.command(ctx, line)
	for err == nil && r.Code == 334 {
		r, err = c.respond(ctx, exchange, r)
	}
	if err != nil {
		return err
	}
	if r.Code != 235 {
		return &smtp.Error{Reply: r}
	}
	if err := exchange.Finish(); err != nil {
		return c.fail(err)
	}
	return nil
}

// respond answers one challenge. When it cannot it cancels (RFC 4954, 4).
func (c *Client) respond(ctx context.Context, exchange sasl.Client, r smtp.Reply) (smtp.Reply, error) {
	challenge, err := base64.StdEncoding.DecodeString(r.Lines[0])
	var response []byte
	if err == nil {
		response, err = exchange.Next(challenge)
	}
	if err != nil {
		if _, cancelErr := c.command(ctx, "*"); cancelErr != nil {
			return smtp.Reply{}, cancelErr
		}
		return smtp.Reply{}, fmt.Errorf("answer the server's challenge: %w", err)
	}
	return c.command(ctx, base64.StdEncoding.EncodeToString(response))
}
