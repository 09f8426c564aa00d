package directory

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

// Bounds on imported hashes: a verification must not become a way to stop the server.
const (
	hashMax         = 1024 // octets in a hash with its scheme
	bcryptCostMax   = 14   // about one second
	shaRoundsMax    = 1_000_000
	scramRoundsMax  = 1_000_000
	argonMemoryMax  = 256 << 10 // KiB
	argonPassesMax  = 16
	argonLanesMax   = 16
	bcryptPrefixLen = 60
)

// verifier checks one password against one stored hash.
type verifier interface {
	verify(password []byte) bool
	// current tells whether a password set today would be stored like this.
	current() bool
}

// parseHash reads a stored or imported hash: "{SCHEME}data" as LDAP servers and Dovecot
// write it, or a crypt(3) string.
func parseHash(s string) (verifier, error) {
	if len(s) > hashMax {
		return nil, fmt.Errorf("%w: a password hash of %d octets", ErrInvalid, len(s))
	}
	if !strings.HasPrefix(s, "{") {
		return parseCrypt(s)
	}
	scheme, data, ok := strings.Cut(s[1:], "}")
	if !ok {
		return nil, fmt.Errorf("%w: a password scheme without its closing brace", ErrInvalid)
	}
	scheme = strings.ToUpper(scheme)
	scheme = strings.TrimSuffix(strings.TrimSuffix(scheme, ".B64"), ".HEX")
	switch scheme {
	case "CRYPT", "MD5-CRYPT", "SHA256-CRYPT", "SHA512-CRYPT", "BLF-CRYPT", "ARGON2ID":
		return parseCrypt(data)
	case "SCRAM-SHA-256":
		return parseSCRAM(data)
	case "MD5":
		if strings.HasPrefix(data, md5Prefix) { // Dovecot's {MD5} is md5-crypt
			return parseCrypt(data)
		}
	}
	d, ok := digests[scheme]
	if !ok {
		return nil, fmt.Errorf("%w: password scheme {%s} is not known", ErrInvalid, scheme)
	}
	return parseDigest(scheme, data, d)
}

// parseCrypt reads a crypt(3) string.
func parseCrypt(s string) (verifier, error) {
	switch {
	case strings.HasPrefix(s, argonPrefix):
		return parseArgon(s)
	case strings.HasPrefix(s, md5Prefix):
		return parseMD5Crypt(s)
	case strings.HasPrefix(s, "$5$"), strings.HasPrefix(s, "$6$"):
		return parseSHACrypt(s)
	case strings.HasPrefix(s, "$2a$"), strings.HasPrefix(s, "$2b$"), strings.HasPrefix(s, "$2y$"):
		cost, err := bcrypt.Cost([]byte(s))
		if err != nil || cost > bcryptCostMax || len(s) != bcryptPrefixLen {
			return nil, fmt.Errorf("%w: bcrypt hash", ErrInvalid)
		}
		return bcryptHash(s), nil
	}
	return nil, fmt.Errorf("%w: a crypt(3) hash of a kind that is not known (known: $1$ $5$ $6$ $2a$ $2b$ $2y$ $argon2id$)", ErrInvalid)
}

// bcryptHash is a "$2b$…" string.
type bcryptHash string

// bcryptPasswordMax is where bcrypt stops to look; what is longer was cut by the program
// that made the hash.
const bcryptPasswordMax = 72

func (h bcryptHash) verify(p []byte) bool {
	if len(p) > bcryptPasswordMax {
		p = p[:bcryptPasswordMax]
	}
	return bcrypt.CompareHashAndPassword([]byte(h), p) == nil
}

func (bcryptHash) current() bool { return false }

// digest describes a scheme that is one hash of password and salt.
type digest struct {
	sum    func([]byte) []byte
	size   int
	salted bool
}

func sumMD5(b []byte) []byte    { s := md5.Sum(b); return s[:] }
func sumSHA1(b []byte) []byte   { s := sha1.Sum(b); return s[:] }
func sumSHA256(b []byte) []byte { s := sha256.Sum256(b); return s[:] }
func sumSHA512(b []byte) []byte { s := sha512.Sum512(b); return s[:] }

var digests = map[string]digest{
	"MD5":       {sumMD5, md5.Size, false},
	"LDAP-MD5":  {sumMD5, md5.Size, false},
	"PLAIN-MD5": {sumMD5, md5.Size, false},
	"SMD5":      {sumMD5, md5.Size, true},
	"SHA":       {sumSHA1, sha1.Size, false},
	"SHA1":      {sumSHA1, sha1.Size, false},
	"SSHA":      {sumSHA1, sha1.Size, true},
	"SHA256":    {sumSHA256, sha256.Size, false},
	"SSHA256":   {sumSHA256, sha256.Size, true},
	"SHA512":    {sumSHA512, sha512.Size, false},
	"SSHA512":   {sumSHA512, sha512.Size, true},
}

// digestHash is hash(password, salt).
type digestHash struct {
	digest
	want, salt []byte
}

// parseDigest reads the hash and, behind it, the salt; in hexadecimal where the length
// says so, else in base 64.
func parseDigest(scheme, data string, d digest) (verifier, error) {
	raw, err := hex.DecodeString(data)
	if err != nil || len(raw) < d.size || !d.salted && len(raw) != d.size {
		raw, err = base64.RawStdEncoding.DecodeString(strings.TrimRight(data, "="))
	}
	if err != nil || len(raw) < d.size || d.salted == (len(raw) == d.size) {
		return nil, fmt.Errorf("%w: {%s} hash", ErrInvalid, scheme)
	}
	return digestHash{d, raw[:d.size], raw[d.size:]}, nil
}

func (h digestHash) verify(p []byte) bool {
	got := h.sum(append(append([]byte(nil), p...), h.salt...))
	return subtle.ConstantTimeCompare(got, h.want) == 1
}

func (digestHash) current() bool { return false }

// plainPassword returns the password of "{PLAIN}password" and its kin. Such are hashed
// when they are imported and never stored.
func plainPassword(s string) (string, bool) {
	for _, p := range []string{"{PLAIN}", "{CLEARTEXT}"} {
		if len(s) >= len(p) && strings.EqualFold(s[:len(p)], p) {
			return s[len(p):], true
		}
	}
	return "", false
}
