package search

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"io"
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
	streamMax  = pieceMax * piecesMax
	commitMax  = 16 << 10 // octets of the record that the commit of a message takes with it
	tableLeast = 1 << 10
	entryMax   = termMax + 8 // octets of a term in a record
)

// The flags of a record.
const (
	recordPending = 1 << iota // the terms are not there yet
	recordOpaque              // there are more terms than these
	recordLoose               // terms stand elsewhere too: it is not known where
)

// A record is format, flags, then what was read in its order, numbers as uvarint:
//
//	0 FIELD           a text of a field begins
//	1+2n              term n of the field stands here, a space before it; 0 is a new one
//	2+2n GAP          the same, with another gap
//	LENGTH TERM       behind a new one, which takes the field's next number, from 1 on
//
// Its pieces are parts of one such stream.

// Builder makes the record of one message after the other. It is used by one goroutine;
// take it from a pool.
type Builder struct {
	tokenizer tokenizer
	chunk     []byte

	seed    maphash.Seed
	table   []int32 // hash table: index of an entry plus 1
	entries []entry
	stream  []byte
	cuts    []int // where pieces of the stream end
	field   uint8 // number of the field
	numbers [len(allFields)]uint32
	tokens  int
	flags   byte
}

// entry is a term of one field.
type entry struct {
	hash   uint64
	offset uint32 // in stream
	number uint32 // in the field
	length uint8
	field  uint8
}

var builders = sync.Pool{New: func() any { return NewBuilder() }}

// NewBuilder returns a Builder.
func NewBuilder() *Builder {
	b := &Builder{chunk: make([]byte, chunkOctets), seed: maphash.MakeSeed(), table: make([]int32, tableLeast)}
	b.tokenizer.emit = b.add
	return b
}

func (b *Builder) reset() {
	b.tokenizer = tokenizer{emit: b.tokenizer.emit, run: b.tokenizer.run[:0]}
	if len(b.table) > 64*tableLeast { // a long text is rare
		b.table, b.stream, b.entries = make([]int32, tableLeast), nil, nil
	}
	clear(b.table)
	b.entries, b.stream, b.cuts = b.entries[:0], b.stream[:0], b.cuts[:0]
	b.numbers, b.tokens, b.flags = [len(allFields)]uint32{}, 0, 0
}

// text begins a text of a field.
func (b *Builder) text(f Field) {
	b.field = uint8(fieldNumbers[f])
	b.stream = append(b.stream, 0, byte(f))
}

// add takes a term.
func (b *Builder) add(t token) {
	if b.tokens++; b.tokens > positionsMax {
		b.flags |= recordLoose
	}
	h := maphash.Bytes(b.seed, t.text) + uint64(b.field)*0x9e3779b97f4a7c15
	mask := uint64(len(b.table) - 1)
	i := h & mask
	for ; b.table[i] != 0; i = (i + 1) & mask {
		e := &b.entries[b.table[i]-1]
		if e.hash == h && e.field == b.field && string(b.stream[e.offset:e.offset+uint32(e.length)]) == string(t.text) {
			if b.flags&recordLoose == 0 {
				b.write(e.number, t.gap)
			}
			return
		}
	}
	if len(b.stream)+entryMax > streamMax {
		b.flags |= recordOpaque | recordLoose
		return
	}
	b.write(0, t.gap)
	b.stream = append(b.stream, byte(len(t.text)))
	b.numbers[b.field]++
	b.entries = append(b.entries, entry{h, uint32(len(b.stream)), b.numbers[b.field], uint8(len(t.text)), b.field})
	b.stream = append(b.stream, t.text...)
	b.table[i] = int32(len(b.entries))
	if 2*len(b.entries) > len(b.table) {
		b.grow()
	}
}

// write writes that a term stands here.
func (b *Builder) write(number uint32, gap uint8) {
	last := 0
	if n := len(b.cuts); n > 0 {
		last = b.cuts[n-1]
	}
	if len(b.stream)-last >= pieceMax-entryMax {
		b.cuts = append(b.cuts, len(b.stream))
	}
	if gap == gapSpace {
		b.stream = binary.AppendUvarint(b.stream, uint64(number)<<1+1)
		return
	}
	b.stream = append(binary.AppendUvarint(b.stream, uint64(number)<<1+2), gap)
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
		b.text(f)
		return b.tokenizer.read(text, b.chunk, &limit)
	})
}

// pieces writes the record of what was read.
func (b *Builder) pieces() [][]byte {
	all := make([][]byte, 0, len(b.cuts)+1)
	from := 0
	for n := range len(b.cuts) + 1 {
		to := len(b.stream)
		if n < len(b.cuts) {
			to = b.cuts[n]
		}
		piece := append(make([]byte, 0, 2+to-from), format, b.flags)
		all = append(all, append(piece, b.stream[from:to]...))
		from = to
	}
	return all
}

// Record is what the commit of a message writes for the index.
type Record []byte

// pendingRecord is the record of a message whose terms come later.
var pendingRecord = Record{format, recordPending}

// Pending tells that the terms come later: they are put off, or those that are there are
// of another format.
func (r Record) Pending() bool { return outdated(r) || len(r) > 1 && r[1]&recordPending != 0 }

// NewRecord makes the record of a message from its structure and octets. It fails only
// when r does; a text that is too long for a commit is put off.
func NewRecord(m *message.Message, r io.ReaderAt) (Record, error) {
	b := builders.Get().(*Builder)
	defer builders.Put(b)
	switch err := b.read(m, r, TextMax); {
	case err == ErrTooLong || err == nil && len(b.stream) > commitMax:
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
	b.Puts = append(b.Puts, kv.Put{Key: idKey(keyTombstone, id), Value: []byte{format}})
}

// recordReader reads the pieces of one record.
type recordReader struct {
	// term gets each new term of a field; token each term where it stands, a new one
	// behind term. token may be nil.
	term  func(field, number int, text []byte)
	token func(field, number int, o occurrence)

	flags     byte // of all pieces
	field     int
	begins    bool // a text
	terms     [len(allFields)]int
	positions [len(allFields)]uint32
}

// reset is for the next message.
func (p *recordReader) reset() { *p = recordReader{term: p.term, token: p.token} }

// piece reads the next one. Numbers of terms begin with 0.
func (p *recordReader) piece(v []byte) error {
	r := newReader(v)
	p.flags |= r.octet()
	for len(r.b) > 0 {
		op := r.uvarint()
		if op == 0 {
			if p.field = int(fieldNumbers[r.octet()]); p.field < 0 {
				p.field = 0
				r.fail()
			}
			p.begins = true
			continue
		}
		if p.begins { // what stands in two texts does not stand side by side
			p.begins = false
			p.positions[p.field]++
		}
		p.positions[p.field]++
		gap := uint8(gapSpace)
		if op--; op&1 != 0 {
			gap = r.octet()
		}
		n := int(op >> 1)
		switch {
		case gap >= gaps || op>>1 > uint64(p.terms[p.field]):
			r.fail()
		case n == 0:
			text := r.take(int(r.octet()))
			if len(text) == 0 {
				r.fail()
				break
			}
			p.terms[p.field]++
			n = p.terms[p.field]
			p.term(p.field, n-1, text)
		}
		if p.token != nil && !r.bad {
			p.token(p.field, n-1, occurrenceAt(p.positions[p.field], gap))
		}
	}
	return r.err("record of a message's terms")
}

// loose tells that it is not known where terms stand.
func (p *recordReader) loose() bool { return p.flags&(recordLoose|recordOpaque) != 0 }
