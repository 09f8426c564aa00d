// Package sasl has the authentication mechanisms that SMTP, IMAP, POP3 and ManageSieve
// share, both ends: PLAIN, LOGIN, SCRAM-SHA-256 and SCRAM-SHA-256-PLUS; and the server's end
// of OAUTHBEARER and XOAUTH2.
//
// The main type is [Server], one exchange on the server's side; [Client] is the other
// end. The package knows no accounts: a [Backend] does. It does no base64 and no lines,
// which are the protocol's; a protocol sends data with success as one more challenge that
// the client answers with an empty response (RFC 4954, 4; RFC 9051, 6.2.2; RFC 5034, 4).
//
// RFC 4422 (SASL), RFC 4616 (PLAIN), RFC 5802 and 7677 (SCRAM), RFC 5929 and 9266
// (channel binding), draft-murchison-sasl-login (LOGIN), RFC 7628 (OAUTHBEARER).
package sasl

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// The mechanisms.
const (
	Plain           = "PLAIN"
	Login           = "LOGIN"
	ScramSHA256     = "SCRAM-SHA-256"
	ScramSHA256Plus = "SCRAM-SHA-256-PLUS"
	OAuthBearer     = "OAUTHBEARER"
	XOAuth2         = "XOAUTH2"
)

// Limits.
const (
	// LineMax is the longest line of base64 in an exchange, in octets with its CRLF
	// (RFC 4954, 4).
	LineMax = 12_288
	// nameMax is the longest user name or authorization identity, in octets.
	nameMax = 1024
	// passwordMax is the longest password, in octets.
	passwordMax = 4096
)

// Errors of an exchange; test with errors.Is. Anything else that a Server returns came
// from the Backend.
var (
	ErrCredentials = errors.New("sasl: wrong user name or password")      // 535 5.7.8, NO [AUTHENTICATIONFAILED]
	ErrMalformed   = errors.New("sasl: malformed response")               // 501 5.5.2, BAD
	ErrMechanism   = errors.New("sasl: no such mechanism")                // 504 5.5.4, NO [CANNOT]
	ErrBinding     = errors.New("sasl: channel binding does not match")   // as ErrCredentials
	ErrState       = errors.New("sasl: the exchange is over")             // a bug of the caller
	ErrServer      = errors.New("sasl: the server has not proved itself") // client side: do not go on
)

// Backend knows the accounts. Its methods may be called by many goroutines at once. They
// answer a wrong name and a wrong password alike, in the same time; delays after failures
// and rate limits are theirs.
type Backend interface {
	// Password checks a password and whether user may act as authzid (empty: as itself).
	// The identity is handed through. The error is ErrCredentials or the backend's own,
	// temporary, one.
	Password(ctx context.Context, authzid, user, password string) (identity any, err error)
	// Verifier returns what is kept of a user for SCRAM. An unknown user, or one without
	// SCRAM keys, is no error: the Verifier then has no Keys, and may leave Salt and
	// Iterations to this package.
	Verifier(ctx context.Context, authzid, user string) (Verifier, error)
}

// Verifier is what a server keeps for SCRAM-SHA-256 (RFC 5802, 3). Several passwords of one
// user (app passwords) can be tried when they were salted alike.
type Verifier struct {
	Salt       []byte
	Iterations int
	Keys       []Key
	// Finish is called once with the index of the key that the client proved to know, or
	// −1. It returns the identity, or ErrCredentials after the backend's delay.
	Finish func(ctx context.Context, key int) (identity any, err error)
}

// Key is one password's pair (RFC 5802, 3), 32 octets each.
type Key struct{ StoredKey, ServerKey []byte }

// Server is one exchange on the server's side.
type Server interface {
	// Next takes a response and returns the next challenge. The first call has the initial
	// response, nil when there is none (as opposed to an empty one). With done the exchange
	// has succeeded and there is no challenge. After an error the exchange is over.
	Next(ctx context.Context, response []byte) (challenge []byte, done bool, err error)
	// Identity returns what the Backend returned, after done.
	Identity() any
}

// WithSuccess tells whether the challenge that Next returned last is data that goes with
// success (RFC 4422, 3.6): the client answers it with an empty response or the exchange has
// failed. A protocol that can send such data within its success does so and gives Next the
// empty response itself (RFC 5804, 2.1).
func WithSuccess(s Server) bool {
	scram, ok := s.(*scramServer)
	return ok && scram.step == scramFinal
}

// Options are what a server offers and asks of exchanges.
type Options struct {
	Backend Backend
	// Bindings is the connection's TLS layer; nil: none, and no PLUS.
	Bindings *Bindings
	// Secret makes the salts of unknown users (32 octets or more, the same on all nodes,
	// never told). Without it SCRAM is not offered.
	Secret []byte
	// NoLogin leaves LOGIN out.
	NoLogin bool
}

// Mechanisms lists what a server with these options offers, the strongest first, those for
// tokens last: programs that have a token look for them, and others are not to take them up.
// The caller leaves all of them out where passwords must not go in the clear.
func (o *Options) Mechanisms() []string {
	list := make([]string, 0, 6)
	if len(o.Secret) > 0 {
		if o.Bindings.available() {
			list = append(list, ScramSHA256Plus)
		}
		list = append(list, ScramSHA256)
	}
	list = append(list, Plain)
	if !o.NoLogin {
		list = append(list, Login)
	}
	if _, ok := o.Backend.(BearerBackend); ok {
		list = append(list, OAuthBearer, XOAuth2)
	}
	return list
}

// NewServer starts an exchange by a mechanism's name, in any case. A mechanism that is not
// offered is ErrMechanism.
func NewServer(mechanism string, o *Options) (Server, error) {
	for _, m := range o.Mechanisms() {
		if !strings.EqualFold(m, mechanism) {
			continue
		}
		switch m {
		case Plain:
			return &plainServer{backend: o.Backend}, nil
		case Login:
			return &loginServer{backend: o.Backend}, nil
		case ScramSHA256, ScramSHA256Plus:
			return &scramServer{options: o, plus: m == ScramSHA256Plus}, nil
		case OAuthBearer, XOAuth2:
			return &bearerServer{backend: o.Backend.(BearerBackend), older: m == XOAuth2}, nil
		}
	}
	return nil, fmt.Errorf("%w: %.40q", ErrMechanism, mechanism)
}

// Client is one exchange on the client's side.
type Client interface {
	// Mechanism returns the name to send.
	Mechanism() string
	// Start returns the initial response, nil for a mechanism where the server speaks
	// first.
	Start() (initial []byte, err error)
	// Next answers a challenge.
	Next(challenge []byte) (response []byte, err error)
	// Finish is called when the server has reported success. Its error says that the
	// server did not prove what the mechanism asks of it.
	Finish() error
}

// Credentials are a client's.
type Credentials struct {
	Authzid  string // whom to act as, empty: User
	User     string
	Password string
}

// Choose returns the best mechanism of those offered (in upper case), or "" when there is
// none. Without TLS only SCRAM is chosen.
func Choose(offered []string, b *Bindings) string {
	list := []string{ScramSHA256}
	if b != nil {
		list = []string{ScramSHA256Plus, ScramSHA256, Plain, Login}
	}
	for _, want := range list {
		for _, have := range offered {
			if have == want && (want != ScramSHA256Plus || b.available()) {
				return want
			}
		}
	}
	return ""
}

// NewClient starts an exchange. offered are the server's mechanisms: a client that could
// bind to the channel says so when the server does not seem to (RFC 5802, 6).
func NewClient(mechanism string, c Credentials, b *Bindings, offered []string) (Client, error) {
	switch strings.ToUpper(mechanism) {
	case Plain:
		return &plainClient{credentials: c}, nil
	case Login:
		return &loginClient{credentials: c}, nil
	case ScramSHA256, ScramSHA256Plus:
		return newScramClient(strings.ToUpper(mechanism), c, b, offered)
	}
	return nil, fmt.Errorf("%w: %.40q", ErrMechanism, mechanism)
}

// validName tells whether s can be a user name or authorization identity: not too long,
// UTF-8, no controls.
func validName(s string) bool {
	if len(s) > nameMax || !utf8.ValidString(s) {
		return false
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return false
		}
	}
	return true
}
