package directory

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"postroad/sasl"
)

// scramHash is an imported SCRAM verifier with its own salt.
type scramHash struct{ sasl.Verifier }

func (h scramHash) verify(password []byte) bool {
	n, err := h.Check(string(password))
	return err == nil && n >= 0
}

// current is true: the password behind it may be wanted for SCRAM, which argon2id cannot do.
func (scramHash) current() bool { return true }

// parseSCRAM reads Dovecot's "rounds,salt,stored key,server key".
func parseSCRAM(s string) (verifier, error) {
	bad := fmt.Errorf("%w: {SCRAM-SHA-256} verifier", ErrInvalid)
	f := strings.Split(s, ",")
	if len(f) != 4 {
		return nil, bad
	}
	rounds, err := strconv.Atoi(f[0])
	if err != nil || rounds < 1 || rounds > scramRoundsMax {
		return nil, bad
	}
	var b [3][]byte
	for i := range b {
		if b[i], err = base64.StdEncoding.DecodeString(f[i+1]); err != nil {
			return nil, bad
		}
	}
	if len(b[0]) == 0 || len(b[1]) != sha256.Size || len(b[2]) != sha256.Size {
		return nil, bad
	}
	return scramHash{sasl.Verifier{Salt: b[0], Iterations: rounds,
		Keys: []sasl.Key{{StoredKey: b[1], ServerKey: b[2]}}}}, nil
}
