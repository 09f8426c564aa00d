package diskkv

import (
	"bytes"
	"encoding/binary"

	"postroad/internal/kv"
)

// The layout of Pebble's keys. A space is a prefix of its name and a zero octet, which no
// name holds, so that the spaces lie one after the other in the order of their names:
//
//	space 0 'c' counter    → value, 8 octets big endian, two's complement; none at zero
//	space 0 'k' key        → value
//	space 0 'q' sequence   → last number taken, 8 octets big endian
//	space 0 'v'            → version, 8 octets big endian
//
// What belongs to no space begins with a zero octet and lies before all of them:
//
//	0 'f'                        → the layout, formatNow
//	0 'o' week space 0 once      → time and results of an idempotent commit, see once.go
const (
	kindCounter  = 'c'
	kindKey      = 'k'
	kindSequence = 'q'
	kindVersion  = 'v'
)

// formatKey and formatNow mark the layout above.
var formatKey = []byte{0, 'f'}

const formatNow = "postroad 1"

// prefixOf is what all of a space's Pebble keys start with.
func prefixOf(s kv.Space) []byte {
	return append([]byte(s), 0)
}

// appendKey builds a Pebble key in buf.
func appendKey(buf, prefix []byte, kind byte, key []byte) []byte {
	buf = append(buf[:0], prefix...)
	buf = append(buf, kind)
	return append(buf, key...)
}

// newKey builds a Pebble key in memory of its own.
func newKey(prefix []byte, kind byte, key []byte) []byte {
	return appendKey(make([]byte, 0, len(prefix)+1+len(key)), prefix, kind, key)
}

// bounds are the Pebble keys between which the keys of r lie.
func bounds(prefix []byte, r kv.Range) (lower, upper []byte) {
	lower = newKey(prefix, kindKey, r.From)
	if len(r.To) == 0 {
		return lower, newKey(prefix, kindKey+1, nil)
	}
	return lower, newKey(prefix, kindKey, r.To)
}

// empty tells whether r can hold no key at all.
func empty(r kv.Range) bool {
	return len(r.To) > 0 && bytes.Compare(r.From, r.To) >= 0
}

// number reads what appendNumber wrote; 0 stands for what is missing.
func number(value []byte) uint64 {
	if len(value) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(value)
}

func appendNumber(buf []byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64(buf, n)
}
