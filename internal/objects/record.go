package objects

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
)

// The keys, in the account's space (internal/mailstore/keys.go):
//
//	O o KIND ID        object: when it was made and changed, and its value
//	O l KIND MODSEQ N  the change of it that is the last: when it was made, its id
//	O d KIND MODSEQ N  a destroyed object: the same
//	O u KIND HASH      a name that one object of the kind has
//
// Sequences: O f KIND (the floor of the tombstones). Counters: O n KIND (their number).
const (
	keyObjects = 'O'

	partObject    = 'o'
	partLog       = 'l'
	partTombstone = 'd'
	partName      = 'u'
	partFloor     = 'f'
	partCount     = 'n'
)

const format1 = 1

// stateSize is a State in a key or value: mod-sequence and place.
const stateSize = 8 + 2

// prefixSize is what is before id or state in a key.
const prefixSize = 3

// headSize is what is before the value in an object: format, created, updated.
const headSize = 1 + 2*stateSize

func prefix(part byte, kind Kind) []byte {
	return append(make([]byte, 0, prefixSize+stateSize), keyObjects, part, byte(kind))
}

func objectKey(kind Kind, id hlc.ID) []byte {
	return binary.BigEndian.AppendUint64(prefix(partObject, kind), uint64(id))
}

func stateKey(part byte, kind Kind, s State) []byte {
	return appendState(prefix(part, kind), s)
}

func appendState(dst []byte, s State) []byte {
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint64(dst, s.ModSeq), s.N)
}

func readState(b []byte) State {
	return State{ModSeq: binary.BigEndian.Uint64(b), N: binary.BigEndian.Uint16(b[8:])}
}

// versionAt is a place for the new version.
func versionAt(inValue bool, offset int) kv.Place {
	return kv.Place{InValue: inValue, Offset: offset, Width: 8, Version: true}
}

// read reads an object.
func read(snap kv.Snapshot, kind Kind, id hlc.ID) (*Object, error) {
	k := objectKey(kind, id)
	v, err := snap.Get(k)
	if errors.Is(err, kv.ErrNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read an object: %w", err)
	}
	return parse(k, v)
}

// parse reads a record; the value is copied.
func parse(k, v []byte) (*Object, error) {
	if len(k) != prefixSize+8 || len(v) < headSize || v[0] != format1 {
		return nil, ErrDamaged
	}
	return &Object{
		ID: hlc.ID(binary.BigEndian.Uint64(k[prefixSize:])), Value: append([]byte(nil), v[headSize:]...),
		Created: readState(v[1:]), Updated: readState(v[1+stateSize:]),
	}, nil
}

// format writes a record back as it was read, for a guard.
func (o *Object) format() []byte {
	v := make([]byte, 0, headSize+len(o.Value))
	v = appendState(appendState(append(v, format1), o.Created), o.Updated)
	return append(v, o.Value...)
}

// last is the state of a kind: that of its last change.
func last(snap kv.Snapshot, kind Kind) (State, error) {
	var newest State
	for _, part := range []byte{partLog, partTombstone} {
		r := kv.Prefix(prefix(part, kind))
		r.Reverse, r.Limit = true, 1
		for e, err := range snap.Scan(r) {
			if err != nil {
				return State{}, fmt.Errorf("state of objects: %w", err)
			}
			if len(e.Key) != prefixSize+stateSize {
				return State{}, ErrDamaged
			}
			if s := readState(e.Key[prefixSize:]); s.after(newest) {
				newest = s
			}
		}
	}
	return newest, nil
}

// logged is a record of the log.
type logged struct {
	at      State
	created State
	id      hlc.ID
	gone    bool
}

// logValue is the value of a record of the log, with its own key's state where created is
// still to come.
func logValue(created State, id hlc.ID) []byte {
	v := appendState(append(make([]byte, 0, 1+stateSize+8), format1), created)
	return binary.BigEndian.AppendUint64(v, uint64(id))
}

func parseLogged(e kv.Entry, gone bool) (logged, error) {
	if len(e.Key) != prefixSize+stateSize || len(e.Value) != 1+stateSize+8 || e.Value[0] != format1 {
		return logged{}, ErrDamaged
	}
	return logged{at: readState(e.Key[prefixSize:]), created: readState(e.Value[1:]),
		id: hlc.ID(binary.BigEndian.Uint64(e.Value[1+stateSize:])), gone: gone}, nil
}

// readLog returns at most limit records after a state, in order.
func readLog(snap kv.Snapshot, part byte, kind Kind, since State, limit int) ([]logged, error) {
	r := kv.Prefix(prefix(part, kind))
	r.From, r.Limit = next(stateKey(part, kind, since)), limit
	var list []logged
	for e, err := range snap.Scan(r) {
		if err != nil {
			return nil, fmt.Errorf("changes of objects: %w", err)
		}
		l, err := parseLogged(e, part == partTombstone)
		if err != nil {
			return nil, err
		}
		list = append(list, l)
	}
	return list, nil
}

// next is the least key above k.
func next(k []byte) []byte { return append(k, 0) }

// floor is the mod-sequence up to which tombstones were thrown away.
func floor(snap kv.Snapshot, kind Kind) (uint64, error) {
	n, err := snap.Sequence(prefix(partFloor, kind))
	if err != nil {
		return 0, fmt.Errorf("floor of the changes: %w", err)
	}
	return n, nil
}

// place is the number of the next change within a batch.
func place(b *kv.Batch) uint16 { return uint16(min(len(b.Puts), math.MaxUint16)) }
