package search

import (
	"encoding/binary"
	"errors"
	"fmt"

	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
)

// Everything is under 'x' in the account's space; numbers are big endian.
//
//	xm                    manifest: the segments
//	xr MESSAGE N          record of a message's terms, piece N; the first has the flags
//	xt MESSAGE            tombstone: the message is gone, its segment still has it
//	xb                    how far messages that came before the index were looked at
//	xw SEGMENT            a segment being written, no part of the index yet
//	xi SEGMENT N          the segment's messages in order, 4,096 each
//	xd SEGMENT FIELD TERM dictionary: a block of terms from TERM on
//	xp SEGMENT FIELD N    postings: piece N of the stream that the dictionary points into
//	xo SEGMENT FIELD N    occurrences: a stream like it, of where terms stand
//
// A segment is never changed. Delivery writes xr, sweeping xt, both unguarded; all else is
// written by the one merge of an account, whose last commit guards the manifest.
const (
	keySpace     = 'x'
	keyManifest  = 'm'
	keyRecord    = 'r'
	keyTombstone = 't'
	keyBackfill  = 'b'
	keyWriting   = 'w'
	keyMessages  = 'i'
	keyTerms     = 'd'
	keyPostings  = 'p'
	keyPlaces    = 'o'
)

// format is the first octet of every value. An index of another format is made anew;
// format 1 had no occurrences.
const format = 2

// outdated tells that a value is of another format.
func outdated(v []byte) bool { return len(v) > 0 && v[0] != format }

var (
	manifestKey = []byte{keySpace, keyManifest}
	backfillKey = []byte{keySpace, keyBackfill}
)

// idKey is the key of something of a message or segment, with rest behind it.
func idKey(kind byte, id hlc.ID, rest ...byte) []byte {
	k := make([]byte, 2, 2+8+len(rest)+termMax)
	k[0], k[1] = keySpace, kind
	k = binary.BigEndian.AppendUint64(k, uint64(id))
	return append(k, rest...)
}

// recordKey is the key of piece n of a record.
func recordKey(id MessageID, n int) []byte { return idKey(keyRecord, id, byte(n>>8), byte(n)) }

// pieceKey is the key of piece n of a stream.
func pieceKey(kind byte, segment hlc.ID, field Field, n int) []byte {
	return binary.BigEndian.AppendUint32(idKey(kind, segment, byte(field)), uint32(n))
}

// termKey is the key of a block of the dictionary.
func termKey(segment hlc.ID, field Field, term []byte) []byte {
	return append(idKey(keyTerms, segment, byte(field)), term...)
}

// Offsets in keys.
const (
	idOffset    = 2
	afterID     = 10
	termsOffset = 11
)

// keyID reads the id of a key.
func keyID(k []byte) (hlc.ID, error) {
	if len(k) < afterID {
		return 0, fmt.Errorf("%w: key %q", ErrDamaged, k)
	}
	return hlc.ID(binary.BigEndian.Uint64(k[idOffset:])), nil
}

// kind is the range of all keys of a kind.
func kindRange(kind byte) kv.Range { return kv.Prefix([]byte{keySpace, kind}) }

// get reads a value; nil where there is none.
func get(snap kv.Snapshot, k []byte) ([]byte, error) {
	v, err := snap.Get(k)
	if errors.Is(err, kv.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read key %q: %w", k, err)
	}
	return v, nil
}

// guard guards that a key still has what was read; nil is nothing.
func guard(k, v []byte) kv.Guard {
	if v == nil {
		return kv.Guard{Kind: kv.GuardAbsent, Key: k}
	}
	return kv.Guard{Kind: kv.GuardEquals, Key: k, Value: v}
}

// reader reads the fields of a value; after the first failure all is zero and bad is set.
type reader struct {
	b   []byte
	bad bool
}

func newReader(v []byte) *reader {
	r := &reader{b: v}
	if r.octet() != format {
		r.fail()
	}
	return r
}

func (r *reader) fail() { r.b, r.bad = nil, true }

func (r *reader) octet() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *reader) uvarint() uint64 {
	if len(r.b) > 0 && r.b[0] < 0x80 {
		n := r.b[0]
		r.b = r.b[1:]
		return uint64(n)
	}
	n, w := binary.Uvarint(r.b)
	if w <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[w:]
	return n
}

// count reads a number that may not be above most.
func (r *reader) count(most int) int {
	n := r.uvarint()
	if n > uint64(most) {
		r.fail()
		return 0
	}
	return int(n)
}

// take reads n octets, in place.
func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.fail()
		return nil
	}
	t := r.b[:n:n]
	r.b = r.b[n:]
	return t
}

func (r *reader) err(what string) error {
	if r.bad {
		return fmt.Errorf("%w: %s", ErrDamaged, what)
	}
	return nil
}
