package sasl

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
)

// SCRAM's numbers.
const (
	// Iterations is the count for new verifiers. RFC 7677, 4 asks for at least 4,096;
	// more is the client's work, not the server's.
	Iterations = 4096
	// SaltSize is the size of new salts, in octets.
	SaltSize = 16
	// serverNonceSize is the size of our part of the nonce, in octets before base64.
	serverNonceSize = 18
	// nonceMax is the longest nonce taken from a peer, in octets.
	nonceMax = 1024
)

// NewKey derives what a server keeps of a password, which the caller has prepared
// (RFC 8265's OpaqueString, or SASLprep).
func NewKey(password string, salt []byte, iterations int) (Key, error) {
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return Key{}, fmt.Errorf("derive a SCRAM key: %w", err)
	}
	clientKey := sum(salted, "Client Key")
	stored := sha256.Sum256(clientKey)
	return Key{StoredKey: stored[:], ServerKey: sum(salted, "Server Key")}, nil
}

// Check tells whether a password, prepared, is that of one of the verifier's keys, and
// returns its index or −1. All keys are tried.
func (v *Verifier) Check(password string) (int, error) {
	k, err := NewKey(password, v.Salt, v.Iterations)
	if err != nil {
		return -1, err
	}
	found := -1
	for i := range v.Keys {
		if subtle.ConstantTimeCompare(k.StoredKey, v.Keys[i].StoredKey) == 1 {
			found = i
		}
	}
	return found, nil
}

// sum is HMAC-SHA-256.
func sum(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// scramServer is the server's side of SCRAM-SHA-256 (RFC 5802, 5; RFC 7677). The states:
//
//	start ──(nil)──→ start, asks for the client's first message
//	start ──client-first──→ first: server-first was sent
//	first ──client-final──→ final: server-final was sent, the client has proved itself
//	final ──(empty)──→ over, done
type scramServer struct {
	options *Options
	plus    bool
	step    scramStep
	nonce   func() string // for tests; nil: random

	gs2      string // header of the client's first message
	binding  []byte
	bare     string // the client's first message without gs2
	first    string // the server's first message
	both     string // nonce of both
	verifier Verifier
	identity any
}

type scramStep uint8

const (
	scramStart scramStep = iota
	scramFirst
	scramFinal
	scramOver
)

func (s *scramServer) Identity() any { return s.identity }

func (s *scramServer) Next(ctx context.Context, response []byte) (challenge []byte, done bool, err error) {
	step := s.step
	s.step = scramOver
	switch {
	case step == scramStart && response == nil:
		s.step = scramStart
		return []byte{}, false, nil
	case step == scramStart:
		if challenge, err = s.takeFirst(ctx, string(response)); err == nil {
			s.step = scramFirst
		}
		return challenge, false, err
	case step == scramFirst:
		if challenge, err = s.takeFinal(ctx, string(response)); err == nil {
			s.step = scramFinal
		}
		return challenge, false, err
	case step == scramFinal && len(response) == 0:
		return nil, true, nil
	case step == scramFinal:
		return nil, false, ErrMalformed
	}
	return nil, false, ErrState
}

// takeFirst reads client-first-message (RFC 5802, 7) and makes server-first-message.
func (s *scramServer) takeFirst(ctx context.Context, m string) ([]byte, error) {
	flag, rest, ok1 := strings.Cut(m, ",")
	zid, bare, ok2 := strings.Cut(rest, ",")
	if !ok1 || !ok2 {
		return nil, ErrMalformed
	}
	s.gs2, s.bare = m[:len(m)-len(bare)], bare
	if err := s.bind(flag); err != nil {
		return nil, err
	}
	authzid, err := attribute(zid, 'a')
	if zid != "" && err != nil {
		return nil, err
	}
	name, rest, ok := strings.Cut(bare, ",")
	if !ok {
		return nil, ErrMalformed // "m=", a mandatory extension, falls here or below
	}
	user, err := attribute(name, 'n')
	if err != nil || user == "" {
		return nil, ErrMalformed
	}
	nonce, _, _ := strings.Cut(rest, ",")
	nonce, ok = strings.CutPrefix(nonce, "r=")
	if !ok || !validNonce(nonce) {
		return nil, ErrMalformed
	}
	if err := s.lookUp(ctx, authzid, user); err != nil {
		return nil, err
	}
	s.both = nonce + s.newNonce()
	s.first = "r=" + s.both + ",s=" + base64.StdEncoding.EncodeToString(s.verifier.Salt) +
		",i=" + strconv.Itoa(s.verifier.Iterations)
	return []byte(s.first), nil
}

// bind obeys gs2-cbind-flag (RFC 5802, 6).
func (s *scramServer) bind(flag string) error {
	kind, ok := strings.CutPrefix(flag, "p=")
	switch {
	case ok && s.plus:
		data, err := s.options.Bindings.data(kind)
		if err != nil {
			return fmt.Errorf("%w: %.40q", ErrBinding, kind)
		}
		s.binding = data
		return nil
	case flag == "n" && !s.plus:
		return nil
	case flag == "y" && !s.plus:
		// The client would have bound to the channel, had it seen our offer.
		if s.options.Bindings.available() {
			return ErrBinding
		}
		return nil
	}
	return ErrMalformed
}

// lookUp fetches the user's verifier. Somebody unknown gets a salt that is the same each
// time, so that nobody can tell.
func (s *scramServer) lookUp(ctx context.Context, authzid, user string) error {
	v, err := s.options.Backend.Verifier(ctx, authzid, user)
	if err != nil {
		return err
	}
	if len(v.Salt) == 0 {
		v.Salt = FakeSalt(s.options.Secret, user)
	}
	if v.Iterations == 0 {
		v.Iterations = Iterations
	}
	s.verifier = v
	return nil
}

// FakeSalt returns the salt of a user who does not exist: the same for the same name in any case.
func FakeSalt(secret []byte, user string) []byte {
	return sum(secret, "salt of an unknown user\x00"+strings.ToLower(user))[:SaltSize]
}

func (s *scramServer) newNonce() string {
	if s.nonce != nil {
		return s.nonce()
	}
	var b [serverNonceSize]byte
	rand.Read(b[:])
	return base64.StdEncoding.EncodeToString(b[:])
}

// takeFinal reads client-final-message and checks the proof; the answer is
// server-final-message, with which the server proves itself.
func (s *scramServer) takeFinal(ctx context.Context, m string) ([]byte, error) {
	at := strings.LastIndex(m, ",p=")
	if at < 0 {
		return nil, ErrMalformed
	}
	withoutProof := m[:at]
	proof, err := base64.StdEncoding.Strict().DecodeString(m[at+len(",p="):])
	if err != nil || len(proof) != sha256.Size {
		return nil, ErrMalformed
	}
	channel, rest, _ := strings.Cut(withoutProof, ",")
	channel, ok := strings.CutPrefix(channel, "c=")
	if !ok {
		return nil, ErrMalformed
	}
	nonce, _, _ := strings.Cut(rest, ",")
	if nonce, ok = strings.CutPrefix(nonce, "r="); !ok {
		return nil, ErrMalformed
	}
	bound, err := base64.StdEncoding.Strict().DecodeString(channel)
	if err != nil {
		return nil, ErrMalformed
	}
	key, signature := s.prove(s.bare+","+s.first+","+withoutProof, proof)
	if nonce != s.both || !hmac.Equal(bound, append([]byte(s.gs2), s.binding...)) {
		key = -1
	}
	if s.identity, err = s.finish(ctx, key); err != nil {
		return nil, err
	}
	return []byte("v=" + base64.StdEncoding.EncodeToString(signature)), nil
}

// finish asks the backend, and does not let it overlook a failure.
func (s *scramServer) finish(ctx context.Context, key int) (any, error) {
	if s.verifier.Finish == nil {
		return nil, ErrCredentials
	}
	identity, err := s.verifier.Finish(ctx, key)
	if err == nil && key < 0 {
		err = ErrCredentials
	}
	return identity, err
}

// prove finds the key whose ClientKey the proof shows (RFC 5802, 3) and returns its index
// and the server's signature, or −1.
func (s *scramServer) prove(authMessage string, proof []byte) (int, []byte) {
	found, signature := -1, []byte(nil)
	for i := range s.verifier.Keys {
		k := &s.verifier.Keys[i]
		clientKey := sum(k.StoredKey, authMessage)
		subtle.XORBytes(clientKey, clientKey, proof)
		stored := sha256.Sum256(clientKey)
		if subtle.ConstantTimeCompare(stored[:], k.StoredKey) == 1 {
			found, signature = i, sum(k.ServerKey, authMessage)
		}
	}
	return found, signature
}

// attribute returns the value of a saslname attribute: "=2C" is a comma and "=3D" an
// equals sign (RFC 5802, 5.1).
func attribute(s string, name byte) (string, error) {
	if len(s) < 2 || s[0] != name || s[1] != '=' {
		return "", ErrMalformed
	}
	s = s[2:]
	if strings.IndexByte(s, '=') >= 0 {
		var b strings.Builder
		for i := 0; i < len(s); i++ {
			switch {
			case s[i] != '=':
				b.WriteByte(s[i])
				continue
			case strings.HasPrefix(s[i:], "=2C"):
				b.WriteByte(',')
			case strings.HasPrefix(s[i:], "=3D"):
				b.WriteByte('=')
			default:
				return "", ErrMalformed
			}
			i += 2
		}
		s = b.String()
	}
	if !validName(s) {
		return "", ErrMalformed
	}
	return s, nil
}

// validNonce tells whether s is printable ASCII without comma (RFC 5802, 7).
func validNonce(s string) bool {
	for i := range len(s) {
		if s[i] < '!' || s[i] > '~' || s[i] == ',' {
			return false
		}
	}
	return s != "" && len(s) <= nonceMax
}
