package directory

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
)

// What a password set today is stored with: the second recommendation of RFC 9106, 4,
// cut down to OWASP's minimum so that log-ins of many users fit a small machine.
const (
	argonPrefix = "$argon2id$"
	argonMemory = 19 << 10 // KiB
	argonPasses = 2
	argonLanes  = 1
	argonSalt   = 16 // octets
	argonKey    = 32 // octets
)

// argonHash is an argon2id hash with its parameters.
type argonHash struct {
	memory, passes uint32
	lanes          uint8
	salt, key      []byte
}

// newArgon hashes a password with a fresh salt.
func newArgon(password []byte) argonHash {
	h := argonHash{memory: argonMemory, passes: argonPasses, lanes: argonLanes, salt: make([]byte, argonSalt)}
	rand.Read(h.salt)
	h.key = h.derive(password, argonKey)
	return h
}

func (h argonHash) derive(password []byte, n int) []byte {
	return argon2.IDKey(password, h.salt, h.passes, h.memory, h.lanes, uint32(n))
}

func (h argonHash) verify(password []byte) bool {
	return subtle.ConstantTimeCompare(h.derive(password, len(h.key)), h.key) == 1
}

func (h argonHash) current() bool {
	return h.memory >= argonMemory && h.passes >= argonPasses && len(h.salt) >= argonSalt && len(h.key) >= argonKey
}

// String writes the hash as the reference implementation does.
func (h argonHash) String() string {
	b := base64.RawStdEncoding
	return fmt.Sprintf("%sv=%d$m=%d,t=%d,p=%d$%s$%s", argonPrefix, argon2.Version,
		h.memory, h.passes, h.lanes, b.EncodeToString(h.salt), b.EncodeToString(h.key))
}

// parseArgon reads "$argon2id$v=19$m=19456,t=2,p=1$salt$key".
func parseArgon(s string) (verifier, error) {
	bad := fmt.Errorf("%w: argon2id hash", ErrInvalid)
	f := strings.Split(s, "$") // "", "argon2id", "v=19", parameters, salt, key
	if len(f) != 6 || f[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return nil, bad
	}
	var h argonHash
	var err error
	if n, err := fmt.Sscanf(f[3], "m=%d,t=%d,p=%d", &h.memory, &h.passes, &h.lanes); err != nil || n != 3 {
		return nil, bad
	}
	if h.salt, err = base64.RawStdEncoding.DecodeString(strings.TrimRight(f[4], "=")); err != nil {
		return nil, bad
	}
	if h.key, err = base64.RawStdEncoding.DecodeString(strings.TrimRight(f[5], "=")); err != nil {
		return nil, bad
	}
	if h.memory < 8 || h.memory > argonMemoryMax || h.passes < 1 || h.passes > argonPassesMax ||
		h.lanes < 1 || h.lanes > argonLanesMax || len(h.salt) < 8 || len(h.key) < 16 {
		return nil, bad
	}
	return h, nil
}
