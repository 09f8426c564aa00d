package imapserver

import (
	"bytes"
	"encoding/base64"
	"errors"

	"postroad/imap"
	"postroad/sasl"
)

// mayAuthenticate tells whether passwords may go over the connection as it is.
func (c *Conn) mayAuthenticate() bool { return c.tls != nil || c.server.options.InsecureAuth }

var errPrivacy = imap.No(imap.CodePrivacyRequired, "Log-in needs TLS")

// cmdAuthenticate is AUTHENTICATE (RFC 9051, 6.2.2) with SASL-IR (RFC 4959).
func (c *Conn) cmdAuthenticate(cmd *command) error {
	cmd.SP()
	mechanism := cmd.Atom()
	var response []byte
	if !cmd.Done() {
		cmd.SP()
		initial := cmd.base64()
		if err := cmd.args(); err != nil {
			return err
		}
		var err error
		if response, err = decodeResponse(initial); err != nil {
			return err
		}
	}
	if err := cmd.args(); err != nil {
		return err
	}
	if !c.mayAuthenticate() {
		return errPrivacy
	}
	exchange, err := sasl.NewServer(mechanism, c.session.SASL(c.binding))
	if err != nil {
		return imap.No(imap.CodeCannot, "No such mechanism")
	}
	for {
		challenge, done, err := exchange.Next(c.ctx, response)
		if err != nil {
			return authError(err)
		}
		if done {
			break
		}
		if response, err = c.challenge(challenge); err != nil {
			return err
		}
	}
	return c.loggedIn(cmd, exchange.Identity())
}

// base64 reads what may stand in an initial response.
func (cmd *command) base64() string { return cmd.Word("=+/", "base64") }

// decodeResponse decodes base64; "=" is an empty response (RFC 4959, 3).
func decodeResponse(text string) ([]byte, error) {
	if text == "=" {
		return []byte{}, nil
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, imap.Bad("Not base64")
	}
	return b, nil
}

// challenge sends a challenge and reads the response.
func (c *Conn) challenge(challenge []byte) ([]byte, error) {
	c.text("+ ")
	c.out = base64.StdEncoding.AppendEncode(c.out, challenge)
	c.text("\r\n")
	c.in.line = c.in.line[:0]
	if err := c.in.readLine(sasl.LineMax); err != nil {
		return nil, err
	}
	line, ok := bytes.CutSuffix(c.in.line, []byte("\r\n"))
	switch {
	case !ok:
		return nil, imap.Bad("Lines end with CRLF")
	case string(line) == "*":
		return nil, imap.Bad("Authentication cancelled")
	}
	b, err := base64.StdEncoding.DecodeString(string(line))
	if err != nil {
		return nil, imap.Bad("Not base64")
	}
	return b, nil
}

// authError is the answer to an exchange that failed.
func authError(err error) error {
	switch {
	case errors.Is(err, sasl.ErrCredentials), errors.Is(err, sasl.ErrBinding):
		return imap.No(imap.CodeAuthenticationFailed, "Authentication failed")
	case errors.Is(err, sasl.ErrMalformed):
		return imap.Bad("Malformed authentication response")
	}
	return err
}

// loggedIn opens the account and tells what the client can do now.
func (c *Conn) loggedIn(cmd *command, identity any) error {
	if err := c.session.Authenticated(c.ctx, identity); err != nil {
		return err
	}
	c.state = authenticated
	c.binding = nil
	c.bad = 0
	c.in.line = nil
	c.tagged(cmd.tag, imap.OK, c.capabilityCode(), "Logged in")
	return nil
}
