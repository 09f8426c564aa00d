// Package hlc makes ids that order by time, from a hybrid clock: unique over restarts
// and nodes, never going back when the machine's clock does.
//
// The main types are [ID] and [Clock].
package hlc

import (
	"errors"
	"strings"
	"time"
)

// ID is a time-ordered number: 42 bits of milliseconds since 2020-01-01 UTC, 12 bits
// that count within one, 10 bits of node. Zero is no id.
type ID uint64

const (
	nodeBits    = 10
	counterBits = 12
)

// epoch is where the milliseconds start.
var epoch = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

// digits is base 32 in the order of the octets, so that the strings order as the ids do;
// without vowels that make words, and without capitals (IMAP object ids compare by octet).
const digits = "0123456789abcdefghjkmnpqrstvwxyz"

// stringLen is the length of every id's string: 13 digits of 5 bits.
const stringLen = 13

// Time is the instant the id was made, to the millisecond.
func (id ID) Time() time.Time {
	return epoch.Add(time.Duration(id>>(nodeBits+counterBits)) * time.Millisecond)
}

// At is the least id that any node makes at an instant or later: a bound for ranges.
func At(t time.Time) ID {
	return ID(max(0, t.Sub(epoch)/time.Millisecond)) << (nodeBits + counterBits)
}

// String gives 13 characters, in the same order as the ids.
func (id ID) String() string {
	var b [stringLen]byte
	for i := stringLen - 1; i >= 0; i-- {
		b[i] = digits[id&31]
		id >>= 5
	}
	return string(b[:])
}

// ErrFormat is returned by Parse for what no ID prints as.
var ErrFormat = errors.New("hlc: not an id")

// Parse reads what String wrote.
func Parse(s string) (ID, error) {
	if len(s) != stringLen || strings.IndexByte(digits, s[0]) > 15 {
		return 0, ErrFormat
	}
	var id ID
	for i := 0; i < len(s); i++ {
		d := strings.IndexByte(digits, s[i])
		if d < 0 {
			return 0, ErrFormat
		}
		id = id<<5 | ID(d)
	}
	return id, nil
}
