package admin

import (
	"crypto/rand"
	"math/big"
	"strings"
)

// syllables make passwords that can be read over a telephone. Three octets of text have
// 19 × 5 × 19 forms, 10.8 bits.
const (
	consonants = "bcdfghjklmnprstvwxz"
	vowels     = "aeiou"
	groups     = 3 // of two syllables each, with two digits at the end: 71 bits
)

// GeneratePassword makes a human password at random.
func GeneratePassword() string {
	var b strings.Builder
	for i := range groups {
		if i > 0 {
			b.WriteByte('-')
		}
		for range 2 {
			b.WriteByte(pick(consonants))
			b.WriteByte(pick(vowels))
			b.WriteByte(pick(consonants))
		}
	}
	b.WriteByte('-')
	b.WriteByte(pick("23456789"))
	b.WriteByte(pick("23456789"))
	return b.String()
}

func pick(from string) byte {
	n, err := rand.Int(rand.Reader, big.NewInt(int64(len(from))))
	if err != nil { // crypto/rand never fails
		panic(err)
	}
	return from[n.Int64()]
}
