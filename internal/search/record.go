package search

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"io"
	"slices"
	"sync"

	"postroad/internal/kv"
	"postroad/message"
)

// Bounds of a message's terms.
const (
	// TextMax is how many octets of decoded text are taken within the commit of the
	// message; what has more is indexed in the background and looked into until then.
	TextMax = 256 << 10
	// LongTextMax is how many are taken in the background. A message with more stays one
	// that is looked into.
	LongTextMax = 64 << 20

	pieceMax   = 40 << 10 // octets of one piece of a record; kv takes 64 KB
	piecesMax  = 64       // pieces of a record; a message with more terms is always looked into
	arenaMax   = pieceMax * piecesMax
	commitMax  = 12 << 10 // octets of the terms that the commit of a message takes with it
	tableLeast = 1 << 10
)

// The flags of a record.
const (
	recordPending = 1 << iota // the terms are not there yet
	recordOpaque              // there are more terms than these
)

// Builder makes the record of one message after the other. It is used by one goroutine;
// take it from a pool.
type Builder struct {
	tokenizer tokenizer
	field     Field
	chunk     []byte

	seed    maphash.Seed
	table   []int32 // hash table: index of an entry plus 1
	entries []entry
	arena   []byte
	full    bool // there was no room for a term
}

// entry is a term of one field.
type entry struct {
	hash   uint64
	offset uint32
	length uint8
	field  Field
}

var builders = sync.Pool{New: func() any { return NewBuilder() }}

// NewBuilder returns a Builder.
func NewBuilder() *Builder {
	b := &Builder{chunk: make([]byte, chunkOctets), seed: maphash.MakeSeed(), table: make([]int32, tableLeast)}
	b.tokenizer.emit = b.add
	return b
}

func (b *Builder) reset() {
	b.tokenizer = tokenizer{emit: b.add, run: b.tokenizer.run[:0]}
	if len(b.table) > 64*tableLeast { // a long text is rare
		b.table, b.arena, b.entries = make([]int32, tableLeast), nil, nil
	}
	clear(b.table)
	b.entries, b.arena, b.full = b.entries[:0], b.arena[:0], false
}

// add takes a term unless the field has it already.
func (b *Builder) add(t token) {
	h := maphash.Bytes(b.seed, t.text) + uint64(b.field)*0x9e3779b97f4a7c15
	mask := uint64(len(b.table) - 1)
	i := h & mask
	for ; b.table[i] != 0; i = (i + 1) & mask {
		e := &b.entries[b.table[i]-1]
		if e.hash == h && e.field == b.field && string(b.arena[e.offset:e.offset+uint32(e.length)]) == string(t.text) {
			return
		}
	}
	if len(b.arena)+2*len(b.entries)+len(t.text) > arenaMax {
		b.full = true
		return
	}
	b.entries = append(b.entries, entry{h, uint32(len(b.arena)), uint8(len(t.text)), b.field})
	b.arena = append(b.arena, t.text...)
	b.table[i] = int32(len(b.entries))
	if 2*len(b.entries) > len(b.table) {
		b.grow()
	}
}

func (b *Builder) grow() {
	b.table = make([]int32, 4*len(b.table))
	mask := uint64(len(b.table) - 1)
	for n := range b.entries {
		i := b.entries[n].hash & mask
		for b.table[i] != 0 {
			i = (i + 1) & mask
		}
		b.table[i] = int32(n + 1)
	}
}

// read takes the texts of a message, at most limit octets: ErrTooLong above.
func (b *Builder) read(m *message.Message, r io.ReaderAt, limit int64) error {
	b.reset()
	return EachText(m, r, ^Fields(0), func(f Field, text io.Reader) error {
		b.field = f
		return b.tokenizer.read(text, b.chunk, &limit)
	})
}

// pieces writes the record of what was read.
func (b *Builder) pieces() [][]byte {
	slices.SortStableFunc(b.entries, func(x, y entry) int { return int(x.field) - int(y.field) })
	var flags byte
	if b.full {
		flags |= recordOpaque
	}
	var all [][]byte
	piece := append(make([]byte, 0, min(pieceMax, len(b.arena)+2*len(b.entries)+32)), format1, flags)
	for at := 0; at < len(b.entries); {
		field := b.entries[at].field
		end, octets := at, len(piece)
		for ; end < len(b.entries) && b.entries[end].field == field && octets < pieceMax; end++ {
			octets += 1 + int(b.entries[end].length)
		}
		piece = append(piece, byte(field))
		piece = binary.AppendUvarint(piece, uint64(end-at))
		for _, e := range b.entries[at:end] {
			piece = append(piece, e.length)
			piece = append(piece, b.arena[e.offset:e.offset+uint32(e.length)]...)
		}
		if len(piece) >= pieceMax {
			all, piece = append(all, piece), []byte{format1, flags}
		}
		at = end
	}
	return append(all, piece)
}

// Record is what the commit of a message writes for the index.
type Record []byte

// pendingRecord is the record of a message whose terms come later.
var pendingRecord = Record{format1, recordPending}

// Pending tells that the terms come later.
func (r Record) Pending() bool { return len(r) > 1 && r[1]&recordPending != 0 }

// NewRecord makes the record of a message from its structure and octets. It fails only
// when r does; a text that is too long for a commit is put off.
func NewRecord(m *message.Message, r io.ReaderAt) (Record, error) {
	b := builders.Get().(*Builder)
	defer builders.Put(b)
	switch err := b.read(m, r, TextMax); {
	case err == ErrTooLong || err == nil && len(b.arena)+len(b.entries) > commitMax:
		return pendingRecord, nil
	case err != nil:
		return nil, fmt.Errorf("read the texts of a message: %w", err)
	}
	return b.pieces()[0], nil
}

// Prepare adds a message's record to the batch that stores the message. No record: the
// message is found by looking into it until a back-fill comes by.
func Prepare(b *kv.Batch, id MessageID, r Record) {
	if len(r) > 0 {
		b.Puts = append(b.Puts, kv.Put{Key: recordKey(id, 0), Value: r})
	}
}

// PrepareDrop adds to a batch that a message is gone. It is two keys.
func PrepareDrop(b *kv.Batch, id MessageID) {
	b.Ranges = append(b.Ranges, kv.Prefix(idKey(keyRecord, id)))
	b.Puts = append(b.Puts, kv.Put{Key: idKey(keyTombstone, id), Value: []byte{format1}})
}

// eachTerm calls f for the terms of a piece of a record.
func eachTerm(v []byte, f func(field Field, term []byte)) (flags byte, err error) {
	r := newReader(v)
	flags = r.octet()
	for len(r.b) > 0 {
		field := Field(r.octet())
		for n := r.count(len(r.b)); n > 0; n-- {
			if t := r.take(int(r.octet())); len(t) > 0 {
				f(field, t)
			}
		}
	}
	return flags, r.err("record of a message's terms")
}
