package blob

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"

	"postroad/internal/kv"
)

// HolderMax is the longest name of a holder, in octets.
const HolderMax = 256

// LocationMax is the longest location a Store may give, in octets.
const LocationMax = 64

// spaceCount is the number of spaces that share the bodies' keys, a power of two.
const spaceCount = 64

// The first octet of a key in a blob space says what it is about; the id follows, big
// endian, so that each kind is in the order of time.
const (
	keyRecord = 'r' // r ID → record: the octets, or size and location
	keyLink   = 'l' // l ID HOLDER → nothing: the holder needs the body
	keyMark   = 'm' // m ID → mark: a link went away, the collector looks
)

// keyLen is the length of a record's or mark's key.
const keyLen = 1 + 8

// formatVersion is the first octet of a record, of a mark and of an encoded Body.
const formatVersion = 1

// The second octet of a record.
const (
	recordInline = 'i' // crc32c, octets
	recordStored = 's' // uvarint size, location
)

// inlineHead is the length of what stands before the octets of an inline record.
const inlineHead = 1 + 1 + 4

// castagnoli is the table of the checksums of inline records.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrFormat is returned by DecodeBody for what no AppendBinary wrote.
var ErrFormat = errors.New("blob: not an encoded body")

// Body names a body that is staged or stored. It is a value to be passed and kept; its
// octets are never changed. While it is staged it carries its octets or its location, so
// that it can be read before the commit. The zero Body is none.
//
// A staged body is linked in the one commit that takes it. A stored body (from
// DecodeBody) may be linked anew only by who holds a live link: by one that the same
// commit guards, or takes away.
type Body struct {
	ID   ID
	Size int64

	staged   bool
	record   []byte   // staged and small: the whole record, its octets behind inlineHead
	location Location // large: where the store has it, as far as known
}

// IsZero tells that this is no body.
func (b Body) IsZero() bool { return b.ID == 0 }

// Staged tells that no commit has taken the body as far as this value knows.
func (b Body) Staged() bool { return b.staged }

// Space is where the keys of the body are: one of 64, so that commits spread.
func (b Body) Space() kv.Space { return spaceOf(b.ID) }

// spaceOf is the space of an id.
func spaceOf(id ID) kv.Space { return spaceName(spaceIndex(id)) }

// spaceIndex spreads ids over the spaces. Multiplication mixes the counter, which begins
// anew each millisecond, with the time above it.
func spaceIndex(id ID) int {
	const mix = 0x9e3779b97f4a7c15 // 2⁶⁴ divided by the golden ratio
	return int(uint64(id) * mix >> 58)
}

// spaceName is the name of blob space i, "b/00" to "b/3f".
func spaceName(i int) kv.Space { return spaceNames[i] }

var spaceNames = func() (names [spaceCount]kv.Space) {
	for i := range names {
		names[i] = kv.Space(fmt.Sprintf("b/%02x", i))
	}
	return names
}()

// Link returns the space of the body's keys and a function that adds to a batch of that
// space what links the body to the holder. For a staged body that is its record and the
// link. For a stored one it is the link, guarded by the record; a mark is taken away, so
// that a collector which looked before does not get through.
func (b Body) Link(holder string) (kv.Space, func(*kv.Batch)) {
	return b.Space(), func(batch *kv.Batch) {
		record := recordKey(b.ID)
		if b.staged {
			if !puts(batch, record) {
				batch.Puts = append(batch.Puts, kv.Put{Key: record, Value: b.recordValue()})
			}
		} else {
			batch.Guards = append(batch.Guards, kv.Guard{Kind: kv.GuardPresent, Key: record})
			batch.Deletes = append(batch.Deletes, markKey(b.ID))
		}
		batch.Puts = append(batch.Puts, kv.Put{Key: linkKey(b.ID, holder)})
	}
}

// puts tells whether the batch writes the key already: a message for many mailboxes
// carries its octets once.
func puts(batch *kv.Batch, key []byte) bool {
	for i := range batch.Puts {
		if bytes.Equal(batch.Puts[i].Key, key) {
			return true
		}
	}
	return false
}

// Unlink returns the space of the body's keys and a function that adds to a batch of
// that space what takes the holder's link away and marks the body for the collector.
func (b Body) Unlink(holder string) (kv.Space, func(*kv.Batch)) {
	return b.Space(), func(batch *kv.Batch) {
		batch.Deletes = append(batch.Deletes, linkKey(b.ID, holder))
		batch.Puts = append(batch.Puts, kv.Put{Key: markKey(b.ID), Value: newMark()})
	}
}

// AppendBinary appends the body's name, about 20 octets, for records that hold it.
func (b Body) AppendBinary(dst []byte) []byte {
	dst = append(dst, formatVersion)
	dst = binary.BigEndian.AppendUint64(dst, uint64(b.ID))
	dst = binary.AppendUvarint(dst, uint64(b.Size))
	dst = append(dst, byte(len(b.location)))
	return append(dst, b.location...)
}

// DecodeBody reads what AppendBinary wrote and returns what follows it. The Body shares
// no memory with data.
func DecodeBody(data []byte) (Body, []byte, error) {
	if len(data) < 1+8+1+1 || data[0] != formatVersion {
		return Body{}, nil, ErrFormat
	}
	b := Body{ID: ID(binary.BigEndian.Uint64(data[1:]))}
	size, n := binary.Uvarint(data[9:])
	if n <= 0 || size > 1<<62 || len(data) <= 9+n {
		return Body{}, nil, ErrFormat
	}
	b.Size = int64(size)
	length, rest := int(data[9+n]), data[9+n+1:]
	if length > LocationMax || length > len(rest) {
		return Body{}, nil, ErrFormat
	}
	if length > 0 {
		b.location = append(Location(nil), rest[:length]...)
	}
	return b, rest[length:], nil
}

// inline returns the octets that a small staged body carries, nil for others.
func (b Body) inline() []byte {
	if b.record == nil {
		return nil
	}
	return b.record[inlineHead:]
}

// recordValue is the value under the body's record key.
func (b Body) recordValue() []byte {
	if b.record != nil {
		return b.record
	}
	v := make([]byte, 0, 2+binary.MaxVarintLen64+len(b.location))
	v = append(v, formatVersion, recordStored)
	v = binary.AppendUvarint(v, uint64(b.Size))
	return append(v, b.location...)
}

// newInline makes the body of a small message; octets has inlineHead octets of room
// before them and belongs to the body from now on.
func newInline(id ID, record []byte) Body {
	octets := record[inlineHead:]
	record[0], record[1] = formatVersion, recordInline
	binary.BigEndian.PutUint32(record[2:], crc32.Checksum(octets, castagnoli))
	return Body{ID: id, Size: int64(len(octets)), staged: true, record: record}
}

// decodeRecord reads the value of a record: the octets of a small body in place, or size
// and location of a large one.
func decodeRecord(v []byte) (octets []byte, size int64, l Location, err error) {
	if len(v) < 2 || v[0] != formatVersion {
		return nil, 0, nil, fmt.Errorf("%w: a body's record of unknown format", ErrDamaged)
	}
	switch v[1] {
	case recordInline:
		if len(v) < inlineHead {
			break
		}
		octets = v[inlineHead:]
		if crc32.Checksum(octets, castagnoli) != binary.BigEndian.Uint32(v[2:]) {
			return nil, 0, nil, ErrDamaged
		}
		return octets, int64(len(octets)), nil, nil
	case recordStored:
		n, w := binary.Uvarint(v[2:])
		if w <= 0 || n > 1<<62 || len(v) == 2+w || len(v) > 2+w+LocationMax {
			break
		}
		return nil, int64(n), Location(v[2+w:]), nil
	}
	return nil, 0, nil, fmt.Errorf("%w: a body's record cannot be read", ErrDamaged)
}

// recordKey, markKey and linkKey build the keys of a body.
func recordKey(id ID) []byte { return idKey(keyRecord, id, "") }
func markKey(id ID) []byte   { return idKey(keyMark, id, "") }
func linkKey(id ID, holder string) []byte {
	return idKey(keyLink, id, holder)
}

func idKey(kind byte, id ID, holder string) []byte {
	k := make([]byte, 0, keyLen+len(holder))
	k = append(k, kind)
	k = binary.BigEndian.AppendUint64(k, uint64(id))
	return append(k, holder...)
}

// keyID reads the id of a key.
func keyID(key []byte) (ID, bool) {
	if len(key) < keyLen {
		return 0, false
	}
	return ID(binary.BigEndian.Uint64(key[1:])), true
}

// newMark is the value of a mark: unlike that of any other, so that a guard on it fails
// when the body was unlinked once more.
func newMark() []byte {
	v := make([]byte, 0, 1+1+8)
	v = append(v, formatVersion, markUnlinked)
	return binary.BigEndian.AppendUint64(v, rand.Uint64())
}

// The second octet of a mark.
const (
	markUnlinked = 'u' // eight random octets: a link went away
	markDying    = 'd' // location: the record is gone, the store is to give the space back
)
