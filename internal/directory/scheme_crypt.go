package directory

import (
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"fmt"
	"hash"
	"strconv"
	"strings"
)

// cryptDigits is the base 64 of crypt(3): six bits a digit, the lowest first.
const cryptDigits = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// encodeCrypt writes sum in the order of the octets that the scheme asks for: triples,
// the first named being the most significant; -1 is none.
func encodeCrypt(sum []byte, order []int) string {
	var out []byte
	for i := 0; i < len(order); i += 3 {
		v, octets := 0, 0
		for _, at := range order[i : i+3] {
			v <<= 8
			if at >= 0 {
				v |= int(sum[at])
				octets++
			}
		}
		for range octets + 1 {
			out = append(out, cryptDigits[v&63])
			v >>= 6
		}
	}
	return string(out)
}

const (
	md5Prefix  = "$1$"
	md5SaltMax = 8
	md5Rounds  = 1000
)

var md5Order = []int{0, 6, 12, 1, 7, 13, 2, 8, 14, 3, 9, 15, 4, 10, 5, -1, -1, 11}

// md5Crypt is FreeBSD's "$1$salt$hash".
type md5Crypt struct{ salt, want string }

func parseMD5Crypt(s string) (verifier, error) {
	salt, want, ok := strings.Cut(s[len(md5Prefix):], "$")
	if !ok || len(salt) > md5SaltMax || len(want) != 22 {
		return nil, fmt.Errorf("%w: md5-crypt hash", ErrInvalid)
	}
	return md5Crypt{salt, want}, nil
}

func (h md5Crypt) verify(p []byte) bool {
	return subtle.ConstantTimeCompare([]byte(h.sum(p)), []byte(h.want)) == 1
}

func (md5Crypt) current() bool { return false }

func (h md5Crypt) sum(p []byte) string {
	salt := []byte(h.salt)
	alt := sumMD5(join(p, salt, p))
	d := md5.New()
	d.Write(join(p, []byte(md5Prefix), salt))
	for n := len(p); n > 0; n -= md5.Size {
		d.Write(alt[:min(n, md5.Size)])
	}
	for n := len(p); n > 0; n >>= 1 {
		if n&1 == 1 {
			d.Write([]byte{0})
		} else {
			d.Write(p[:1])
		}
	}
	sum := d.Sum(nil)
	for i := range md5Rounds {
		sum = cryptRound(md5.New(), i, sum, p, salt)
	}
	return encodeCrypt(sum, md5Order)
}

// cryptRound is the mixing step that md5-crypt and sha-crypt share.
func cryptRound(d hash.Hash, i int, sum, p, salt []byte) []byte {
	first, last := sum, p
	if i&1 == 1 {
		first, last = p, sum
	}
	d.Write(first)
	if i%3 != 0 {
		d.Write(salt)
	}
	if i%7 != 0 {
		d.Write(p)
	}
	d.Write(last)
	return d.Sum(nil)
}

func join(parts ...[]byte) []byte {
	var out []byte
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

const (
	shaSaltMax       = 16
	shaRoundsDefault = 5000
	shaRoundsMin     = 1000
	roundsPrefix     = "rounds="
)

var (
	sha256Order = []int{0, 10, 20, 21, 1, 11, 12, 22, 2, 3, 13, 23, 24, 4, 14, 15, 25, 5,
		6, 16, 26, 27, 7, 17, 18, 28, 8, 9, 19, 29, -1, 31, 30}
	sha512Order = []int{0, 21, 42, 22, 43, 1, 44, 2, 23, 3, 24, 45, 25, 46, 4, 47, 5, 26,
		6, 27, 48, 28, 49, 7, 50, 8, 29, 9, 30, 51, 31, 52, 10, 53, 11, 32, 12, 33, 54,
		34, 55, 13, 56, 14, 35, 15, 36, 57, 37, 58, 16, 59, 17, 38, 18, 39, 60, 40, 61, 19,
		62, 20, 41, -1, -1, 63}
)

// shaCrypt is Drepper's "$5$[rounds=N$]salt$hash" and "$6$…".
type shaCrypt struct {
	new    func() hash.Hash
	order  []int
	rounds int
	salt   string
	want   string
}

func parseSHACrypt(s string) (verifier, error) {
	h := shaCrypt{new: sha256.New, order: sha256Order, rounds: shaRoundsDefault}
	length := 43
	if s[1] == '6' {
		h.new, h.order, length = sha512.New, sha512Order, 86
	}
	bad := fmt.Errorf("%w: sha-crypt hash", ErrInvalid)
	f := strings.Split(s[3:], "$")
	if strings.HasPrefix(f[0], roundsPrefix) {
		n, err := strconv.Atoi(f[0][len(roundsPrefix):])
		if err != nil || n > shaRoundsMax {
			return nil, bad
		}
		h.rounds = max(n, shaRoundsMin)
		f = f[1:]
	}
	if len(f) != 2 || len(f[1]) != length {
		return nil, bad
	}
	h.salt, h.want = f[0][:min(len(f[0]), shaSaltMax)], f[1]
	return h, nil
}

func (h shaCrypt) verify(p []byte) bool {
	return subtle.ConstantTimeCompare([]byte(h.sum(p)), []byte(h.want)) == 1
}

func (shaCrypt) current() bool { return false }

func (h shaCrypt) sum(p []byte) string {
	salt := []byte(h.salt)
	d := h.new()
	d.Write(join(p, salt, p))
	alt := d.Sum(nil)

	d = h.new()
	d.Write(join(p, salt, repeatTo(alt, len(p))))
	for n := len(p); n > 0; n >>= 1 {
		if n&1 == 1 {
			d.Write(alt)
		} else {
			d.Write(p)
		}
	}
	sum := d.Sum(nil)

	pSum, sSum := h.new(), h.new()
	for range p {
		pSum.Write(p)
	}
	for range 16 + int(sum[0]) {
		sSum.Write(salt)
	}
	pSeq, sSeq := repeatTo(pSum.Sum(nil), len(p)), repeatTo(sSum.Sum(nil), len(salt))
	for i := range h.rounds {
		sum = cryptRound(h.new(), i, sum, pSeq, sSeq)
	}
	return encodeCrypt(sum, h.order)
}

// repeatTo repeats b until it is n octets long.
func repeatTo(b []byte, n int) []byte {
	out := make([]byte, 0, n)
	for len(out) < n {
		out = append(out, b[:min(len(b), n-len(out))]...)
	}
	return out
}
