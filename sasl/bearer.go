package sasl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// ErrScope is for a token that was not given for what the protocol does; to the protocol it
// is ErrCredentials.
var ErrScope = fmt.Errorf("%w: the token is for something else", ErrCredentials)

// BearerBackend is a Backend that knows bearer tokens (RFC 6750). OAUTHBEARER and XOAUTH2
// are offered where the Backend is one.
type BearerBackend interface {
	Backend
	// Bearer checks a token, and whether who has it may act as authzid (empty: as himself).
	// The identity is handed through. The error is ErrCredentials, ErrScope or the backend's
	// own, temporary, one.
	Bearer(ctx context.Context, authzid, token string) (identity any, err error)
	// Discovery is what a client is told whose token was refused.
	Discovery() Discovery
}

// Discovery tells where tokens are given (RFC 7628, 3.2.2).
type Discovery struct {
	Scope  string // one that is good here; empty: not told
	OpenID string // URL of the metadata of who gives tokens; empty: not told
}

// bearerServer is OAUTHBEARER (RFC 7628) and XOAUTH2, which was there before it. The states:
//
//	start ──(nil)──→ start, asks for the client's message
//	start ──token that is good──→ over, done
//	start ──token that is not──→ refused: the reason was sent as a challenge
//	refused ──anything──→ over, failed (RFC 7628, 3.2.3)
type bearerServer struct {
	backend  BearerBackend
	older    bool // XOAUTH2
	asked    bool
	over     bool
	refused  error
	identity any
}

// kvsep separates the parts of the client's message (RFC 7628, 3.1).
const kvsep = "\x01"

// The error codes of RFC 6750, 3.1, as RFC 7628, 3.2.2, has them.
const (
	statusRequest = "invalid_request"
	statusToken   = "invalid_token"
	statusScope   = "insufficient_scope"
)

func (s *bearerServer) Identity() any { return s.identity }

func (s *bearerServer) Next(ctx context.Context, response []byte) ([]byte, bool, error) {
	switch {
	case s.over:
		return nil, false, ErrState
	case s.refused != nil:
		s.over = true
		return nil, false, s.refused
	case response == nil && !s.asked:
		s.asked = true
		return []byte{}, false, nil
	}
	authzid, token, err := s.parse(string(response))
	switch {
	case errors.Is(err, errNoToken):
		return s.refuse(statusRequest, ErrCredentials)
	case err != nil:
		s.over = true
		return nil, false, err
	}
	s.identity, err = s.backend.Bearer(ctx, authzid, token)
	switch {
	case errors.Is(err, ErrScope):
		return s.refuse(statusScope, err)
	case errors.Is(err, ErrCredentials):
		return s.refuse(statusToken, err)
	}
	s.over = true
	return nil, err == nil, err
}

// refuse tells the client why, in a challenge; with its answer the exchange fails.
func (s *bearerServer) refuse(status string, err error) ([]byte, bool, error) {
	s.refused, s.identity = err, nil
	d := s.backend.Discovery()
	told := map[string]string{"status": status}
	if s.older {
		told["status"], told["schemes"] = "401", "Bearer"
		if status == statusRequest {
			told["status"] = "400"
		}
	} else if d.OpenID != "" {
		told["openid-configuration"] = d.OpenID
	}
	if d.Scope != "" {
		told["scope"] = d.Scope
	}
	challenge, err := json.Marshal(told)
	if err != nil {
		s.over = true
	}
	return challenge, false, err
}

// errNoToken is for a message that has none, or a token that can be none.
var errNoToken = errors.New("sasl: no bearer token")

func (s *bearerServer) parse(m string) (authzid, token string, err error) {
	if s.older {
		return parseXOAuth2(m)
	}
	return parseOAuthBearer(m)
}

// parseOAuthBearer reads client-resp (RFC 7628, 3.1). Keys that are not known are not looked
// at; host and port are those of a proxy as often as ours, and no token depends on them.
func parseOAuthBearer(m string) (authzid, token string, err error) {
	header, rest, ok := strings.Cut(m, kvsep)
	if header == "" && rest == "" && ok {
		return "", "", errNoToken // the answer to an error, before there was one
	}
	// RFC 5801, 4: gs2-header is flag "," [authzid] ","; there is nothing to bind to.
	flag, zid, ok1 := strings.Cut(header, ",")
	zid, after, ok2 := strings.Cut(zid, ",")
	if !ok || !ok1 || !ok2 || after != "" || flag != "n" && flag != "y" {
		return "", "", ErrMalformed
	}
	if zid != "" {
		if authzid, err = attribute(zid, 'a'); err != nil {
			return "", "", err
		}
	}
	auth, err := pairs(rest, "auth")
	if err != nil {
		return "", "", err
	}
	token, err = bearer(auth)
	return authzid, token, err
}

// parseXOAuth2 reads "user=NAME^Aauth=Bearer TOKEN^A^A". The name is that of the account, and
// must be that of the token.
func parseXOAuth2(m string) (authzid, token string, err error) {
	first, rest, ok := strings.Cut(m, kvsep)
	authzid, isUser := strings.CutPrefix(first, "user=")
	if !ok || !isUser || authzid == "" || !validName(authzid) {
		return "", "", ErrMalformed
	}
	auth, err := pairs(rest, "auth")
	if err != nil {
		return "", "", err
	}
	token, err = bearer(auth)
	return authzid, token, err
}

// pairs reads *kvpair kvsep and returns the value of one key, which may be there once.
func pairs(s, key string) (value string, err error) {
	found := false
	for s != kvsep {
		pair, rest, ok := strings.Cut(s, kvsep)
		name, v, isPair := strings.Cut(pair, "=")
		if !ok || !isPair || !isKey(name) || !isValue(v) || name == key && found {
			return "", ErrMalformed
		}
		if name == key {
			value, found = v, true
		}
		s = rest
	}
	return value, nil
}

// isKey tells whether s is 1*(ALPHA).
func isKey(s string) bool {
	for i := range len(s) {
		if c := s[i] | 0x20; c < 'a' || c > 'z' {
			return false
		}
	}
	return s != ""
}

// isValue tells whether s is *(VCHAR / SP / HTAB / CR / LF).
func isValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < ' ' || c > '~') && c != '\t' && c != '\r' && c != '\n' {
			return false
		}
	}
	return true
}

// bearer reads credentials as HTTP's Authorization has them: the scheme in any case, and a
// b64token (RFC 6750, 2.1).
func bearer(auth string) (token string, err error) {
	scheme, token, _ := strings.Cut(auth, " ")
	token = strings.TrimLeft(token, " ")
	body := strings.TrimRight(token, "=")
	if !strings.EqualFold(scheme, "Bearer") || body == "" {
		return "", errNoToken
	}
	for i := range len(body) {
		switch c := body[i]; {
		case c >= '0' && c <= '9', c|0x20 >= 'a' && c|0x20 <= 'z', strings.IndexByte("-._~+/", c) >= 0:
		default:
			return "", errNoToken
		}
	}
	return token, nil
}
