package scripts

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
)

// The keys of scripts in the space of their owner; an account's has mail beside them, that
// of an organisation its directory. Numbers are big endian.
//
//	S                    stamp: id of the last change, id of the active script
//	S s SCRIPT           script: version, size, position, order, name
//	S c VERSION CHUNK    content, in chunks
//
// Each change writes the stamp and guards the one it read, so that of two changes at once
// one is done after the other. A content is written once; the next one has another version,
// and the commit that writes it deletes the old one.
var (
	stampKey     = []byte("S")
	scriptPrefix = []byte("Ss")
)

const contentPrefix = "Sc"

// format1 is the first octet of every value that this version writes.
const format1 = 1

// chunkMax is how many octets of content one value has.
const chunkMax = 60_000

func scriptKey(id hlc.ID) []byte { return binary.BigEndian.AppendUint64([]byte("Ss"), uint64(id)) }

func contentKey(v Version) []byte {
	return binary.BigEndian.AppendUint64([]byte(contentPrefix), uint64(v))
}

// record is one stored script.
type record struct {
	id       hlc.ID
	version  Version
	size     int64
	position Position
	order    int
	name     string
}

// shelf is all scripts of an owner at one moment; it is not changed.
type shelf struct {
	at     kv.Version // of the space; what is below holds as long as the stamp does
	stamp  []byte     // its value, nil: there never was a script
	change hlc.ID
	active hlc.ID   // 0: none
	all    []record // by name

	generated *record // the script that we write for the account; nil: none
}

// find returns the script of a name, nil when there is none.
func (s *shelf) find(name string) *record {
	for i := range s.all {
		if s.all[i].name == name {
			return &s.all[i]
		}
	}
	return nil
}

// activeScript returns the active script, nil when there is none.
func (s *shelf) activeScript() *record {
	for i := range s.all {
		if s.all[i].id == s.active {
			return &s.all[i]
		}
	}
	return nil
}

// placed returns the scripts of a position in the order in which they run.
func (s *shelf) placed(p Position) []*record {
	var list []*record
	for i := range s.all {
		if s.all[i].position == p {
			list = append(list, &s.all[i])
		}
	}
	slices.SortStableFunc(list, func(a, b *record) int { return a.order - b.order })
	return list
}

// script is what callers see of a record.
func (s *shelf) script(r *record) Script {
	return Script{Name: r.name, SizeBytes: r.size, Changed: r.version.Time(), Version: r.version,
		Active: r.id == s.active, Position: r.position, Order: r.order}
}

// stampSize is that of a stamp.
const stampSize = 1 + 8 + 8

func stampValue(change, active hlc.ID) []byte {
	v := append(make([]byte, 0, stampSize), format1)
	v = binary.BigEndian.AppendUint64(v, uint64(change))
	return binary.BigEndian.AppendUint64(v, uint64(active))
}

func (r *record) value() []byte {
	v := append(make([]byte, 0, 32+len(r.name)), format1)
	v = binary.BigEndian.AppendUint64(v, uint64(r.version))
	v = binary.BigEndian.AppendUint64(v, uint64(r.size))
	v = append(v, byte(r.position))
	v = binary.BigEndian.AppendUint32(v, uint32(r.order))
	return append(v, r.name...)
}

// recordHead is the size of a script's value without the name.
const recordHead = 1 + 8 + 8 + 1 + 4

func readRecord(e kv.Entry) (r record, err error) {
	k, v := e.Key[len(scriptPrefix):], e.Value
	if len(k) != 8 || len(v) <= recordHead || v[0] != format1 || Position(v[17]) > generated {
		return r, fmt.Errorf("%w: script %x", ErrDamaged, e.Key)
	}
	return record{
		id: hlc.ID(binary.BigEndian.Uint64(k)), version: hlc.ID(binary.BigEndian.Uint64(v[1:])),
		size: int64(binary.BigEndian.Uint64(v[9:])), position: Position(v[17]),
		order: int(int32(binary.BigEndian.Uint32(v[18:]))), name: string(v[recordHead:]),
	}, nil
}

// readStamp reads the stamp, nil when there is none.
func readStamp(snap kv.Snapshot) ([]byte, error) {
	v, err := snap.Get(stampKey)
	switch {
	case errors.Is(err, kv.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	case len(v) != stampSize || v[0] != format1:
		return nil, fmt.Errorf("%w: stamp % x", ErrDamaged, v)
	}
	return v, nil
}

// readShelf reads all scripts of a space, or returns known when it is still right.
func readShelf(snap kv.Snapshot, known *shelf) (*shelf, error) {
	stamp, err := readStamp(snap)
	if err != nil {
		return nil, err
	}
	if known != nil && bytes.Equal(known.stamp, stamp) {
		same := *known
		same.at = snap.Version()
		return &same, nil
	}
	s := &shelf{at: snap.Version(), stamp: stamp}
	if stamp == nil {
		return s, nil
	}
	s.change = hlc.ID(binary.BigEndian.Uint64(stamp[1:]))
	s.active = hlc.ID(binary.BigEndian.Uint64(stamp[9:]))
	for e, err := range snap.Scan(kv.Prefix(scriptPrefix)) {
		if err != nil {
			return nil, err
		}
		r, err := readRecord(e)
		if err != nil {
			return nil, err
		}
		if r.position == generated {
			s.generated = &r
			continue
		}
		s.all = append(s.all, r)
	}
	slices.SortFunc(s.all, func(a, b record) int { return bytes.Compare([]byte(a.name), []byte(b.name)) })
	return s, nil
}

// contentPuts writes a content in chunks.
func contentPuts(v Version, content []byte) []kv.Put {
	var puts []kv.Put
	for n := uint32(0); len(content) > 0; n++ {
		part := content[:min(len(content), chunkMax)]
		content = content[len(part):]
		puts = append(puts, kv.Put{Key: binary.BigEndian.AppendUint32(contentKey(v), n), Value: append([]byte{format1}, part...)})
	}
	return puts
}

// readContent puts the chunks of a script's content together.
func readContent(snap kv.Snapshot, r *record) ([]byte, error) {
	if r.size < 0 || r.size > ScriptMax {
		return nil, fmt.Errorf("%w: script %q of %d octets", ErrDamaged, r.name, r.size)
	}
	content := make([]byte, 0, r.size)
	for e, err := range snap.Scan(kv.Prefix(contentKey(r.version))) {
		if err != nil {
			return nil, err
		}
		if len(e.Value) == 0 || e.Value[0] != format1 {
			return nil, fmt.Errorf("%w: content of %q", ErrDamaged, r.name)
		}
		content = append(content, e.Value[1:]...)
	}
	if int64(len(content)) != r.size {
		return nil, fmt.Errorf("%w: script %q has %d of %d octets", ErrDamaged, r.name, len(content), r.size)
	}
	return content, nil
}
