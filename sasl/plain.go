package sasl

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"unicode/utf8"
)

// plainServer is PLAIN (RFC 4616): one message of the client.
type plainServer struct {
	backend  Backend
	asked    bool
	over     bool
	identity any
}

func (s *plainServer) Next(ctx context.Context, response []byte) ([]byte, bool, error) {
	if s.over {
		return nil, false, ErrState
	}
	if response == nil && !s.asked {
		s.asked = true
		return []byte{}, false, nil
	}
	s.over = true
	// RFC 4616, 2: [authzid] NUL authcid NUL passwd.
	authzid, rest, ok1 := bytes.Cut(response, []byte{0})
	user, password, ok2 := bytes.Cut(rest, []byte{0})
	if !ok1 || !ok2 || bytes.IndexByte(password, 0) >= 0 {
		return nil, false, ErrMalformed
	}
	identity, err := checkPassword(ctx, s.backend, string(authzid), string(user), string(password))
	s.identity = identity
	return nil, err == nil, err
}

func (s *plainServer) Identity() any { return s.identity }

// checkPassword asks the backend if what was given can be a name and a password at all.
func checkPassword(ctx context.Context, b Backend, authzid, user, password string) (any, error) {
	if user == "" || password == "" || len(password) > passwordMax ||
		!validName(user) || !validName(authzid) || !utf8.ValidString(password) {
		return nil, ErrMalformed
	}
	return b.Password(ctx, authzid, user, password)
}

// loginServer is LOGIN: two questions. Clients send the user name as initial response or
// wait to be asked; Outlook does both, depending on its version.
type loginServer struct {
	backend  Backend
	step     loginStep
	user     string
	identity any
}

type loginStep uint8

const (
	loginStart loginStep = iota
	loginUser
	loginPassword
	loginOver
)

// The prompts that clients know; some compare them octet for octet.
const (
	loginUserPrompt     = "Username:"
	loginPasswordPrompt = "Password:"
)

func (s *loginServer) Next(ctx context.Context, response []byte) ([]byte, bool, error) {
	switch s.step {
	case loginStart:
		if response == nil {
			s.step = loginUser
			return []byte(loginUserPrompt), false, nil
		}
		fallthrough
	case loginUser:
		s.user = string(response)
		s.step = loginPassword
		return []byte(loginPasswordPrompt), false, nil
	case loginPassword:
		s.step = loginOver
		identity, err := checkPassword(ctx, s.backend, "", s.user, string(response))
		s.identity = identity
		return nil, err == nil, err
	}
	return nil, false, ErrState
}

func (s *loginServer) Identity() any { return s.identity }

// plainClient is the client's side of PLAIN.
type plainClient struct {
	credentials Credentials
}

func (c *plainClient) Mechanism() string { return Plain }

func (c *plainClient) Start() ([]byte, error) {
	k := &c.credentials
	if strings.IndexByte(k.Authzid+k.User+k.Password, 0) >= 0 {
		return nil, fmt.Errorf("%w: NUL in name or password", ErrMalformed)
	}
	return []byte(k.Authzid + "\x00" + k.User + "\x00" + k.Password), nil
}

func (c *plainClient) Next([]byte) ([]byte, error) {
	return nil, fmt.Errorf("%w: PLAIN has one message", ErrState)
}

func (c *plainClient) Finish() error { return nil }

// loginClient is the client's side of LOGIN. The answers go by order, not by the prompts,
// which differ between servers.
type loginClient struct {
	credentials Credentials
	step        int
}

func (c *loginClient) Mechanism() string { return Login }

func (c *loginClient) Start() ([]byte, error) { return nil, nil }

func (c *loginClient) Next([]byte) ([]byte, error) {
	c.step++
	switch c.step {
	case 1:
		return []byte(c.credentials.User), nil
	case 2:
		return []byte(c.credentials.Password), nil
	}
	return nil, fmt.Errorf("%w: LOGIN has two questions", ErrState)
}

func (c *loginClient) Finish() error { return nil }
