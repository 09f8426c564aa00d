package search

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"postroad/internal/kv"
)

func appendUvarint(dst []byte, n uint64) []byte { return binary.AppendUvarint(dst, n) }

// scanTime is how long one snapshot is used; kv allows four seconds.
const scanTime = 2 * time.Second

// folding gathers records into what a segment is written from. Terms are put in order
// only at the end; until then all is in lists that are appended to.
type folding struct {
	messages []MessageID
	keys     [][]byte // of the records
	waiting  int      // records that are not folded: their terms are still to come
	skipped  MessageID
	octets   int

	seed     maphash.Seed
	table    []int32 // hash table: index of a term plus 1
	terms    []foldedTerm
	arena    []byte // keys of terms
	postings []posting
	places   bitWriter // occurrences of the postings
	reader   recordReader

	// Of the message at hand.
	begin   int                     // of its postings
	counts  []int                   // by posting: of its occurrences
	first   []int32                 // by posting: its first occurrence, plus 1
	last    []int32                 // its last one
	found   []foldedPlace           // occurrences
	local   [len(allFields)][]int32 // number of a term → posting
	one     []occurrence            // of one posting
	sorted  []posting
	scratch []byte
}

type foldedTerm struct {
	hash   uint64
	prefix uint64 // the first octets of field and key, for a fast order
	offset uint32
	length uint16 // of the key
	field  Field
	count  int32 // of postings
}

// posting is a term in a message.
type posting struct {
	term     int32
	doc      uint32
	at, bits uint32 // of its occurrences
}

type foldedPlace struct {
	occurrence
	next int32 // plus 1; 0: the last one
}

// opaqueField holds one term, whose documents are always to be looked into.
const opaqueField Field = '!'

var opaqueTerm = []byte("!")

// foldings are kept for their room.
var foldings = sync.Pool{New: func() any {
	g := &folding{seed: maphash.MakeSeed(), table: make([]int32, 1<<16)}
	g.reader.term, g.reader.token = g.newTerm, g.token
	return g
}}

func (g *folding) reset() {
	clear(g.table)
	clear(g.keys)
	g.messages, g.keys, g.waiting, g.skipped, g.octets = g.messages[:0], g.keys[:0], 0, 0, 0
	g.terms, g.arena, g.postings = g.terms[:0], g.arena[:0], g.postings[:0]
	g.places.reset()
	g.next()
}

// next begins a message.
func (g *folding) next() {
	g.begin = len(g.postings)
	g.counts, g.first, g.last, g.found = g.counts[:0], g.first[:0], g.last[:0], g.found[:0]
	g.reader.reset()
	for i := range g.local {
		g.local[i] = g.local[i][:0]
	}
}

// end writes the occurrences of the message's terms.
func (g *folding) end() {
	for i := range g.counts {
		p, n := &g.postings[g.begin+i], g.counts[i]
		p.at = uint32(g.places.length())
		if n == 0 || n > occurrencesMax {
			g.places.writeUnknown()
		} else {
			g.one = g.one[:0]
			for at := g.first[i]; at != 0; at = g.found[at-1].next {
				g.one = append(g.one, g.found[at-1].occurrence)
			}
			g.places.writeOccurrences(g.one)
		}
		p.bits = uint32(g.places.length()) - p.at
	}
	g.next()
}

// gather reads the oldest records.
func (g *folding) gather(ctx context.Context, x *Index) error {
	g.reset()
	defer g.end()
	return x.snapshot(ctx, func(snap kv.Snapshot) error {
		deadline := time.Now().Add(scanTime)
		last := MessageID(0)
		for e, err := range snap.Scan(kindRange(keyRecord)) {
			if err != nil {
				return fmt.Errorf("scan: %w", err)
			}
			id, err := keyID(e.Key)
			if err != nil {
				return err
			}
			if id != last && (len(g.messages) >= foldRecords || g.octets > foldOctets || time.Now().After(deadline)) {
				break
			}
			if err := g.add(id, e); err != nil {
				return err
			}
			last = id
		}
		return nil
	})
}

// add takes a piece of a record.
func (g *folding) add(id MessageID, e kv.Entry) error {
	if Record(e.Value).Pending() && id != g.skipped {
		g.waiting++
		g.skipped = id
	}
	if id == g.skipped { // what is there of it is not whole
		return nil
	}
	if n := len(g.messages); n == 0 || g.messages[n-1] != id {
		g.end()
		g.messages = append(g.messages, id)
	}
	g.keys = append(g.keys, bytes.Clone(e.Key))
	g.octets += len(e.Value)
	before := g.reader.flags
	if err := g.reader.piece(e.Value); err != nil {
		return err
	}
	if g.reader.flags&^before&recordOpaque != 0 {
		g.posting(opaqueField, opaqueTerm)
	}
	return nil
}

// newTerm takes a term that the message at hand has.
func (g *folding) newTerm(field, _ int, text []byte) {
	k := text
	if !isASCII(text) {
		g.scratch = appendTermKey(g.scratch[:0], text)
		k = g.scratch
	}
	g.local[field] = append(g.local[field], g.posting(allFields[field], k))
}

// posting adds that the message at hand has a term, and returns which one it is.
func (g *folding) posting(f Field, k []byte) int32 {
	t := g.find(f, k)
	g.terms[t].count++
	g.postings = append(g.postings, posting{term: t, doc: uint32(len(g.messages) - 1)})
	g.counts, g.first, g.last = append(g.counts, 0), append(g.first, 0), append(g.last, 0)
	return int32(len(g.postings) - 1 - g.begin)
}

// find returns the number of a term.
func (g *folding) find(f Field, k []byte) int32 {
	h := maphash.Bytes(g.seed, k) + uint64(f)*0x9e3779b97f4a7c15
	mask := uint64(len(g.table) - 1)
	i := h & mask
	for ; g.table[i] != 0; i = (i + 1) & mask {
		if t := &g.terms[g.table[i]-1]; t.hash == h && t.field == f && bytes.Equal(g.key(t), k) {
			return g.table[i] - 1
		}
	}
	var start [8]byte
	start[0] = byte(f)
	copy(start[1:], k)
	g.terms = append(g.terms, foldedTerm{hash: h, prefix: binary.BigEndian.Uint64(start[:]), offset: uint32(len(g.arena)), length: uint16(len(k)), field: f})
	g.arena = append(g.arena, k...)
	n := int32(len(g.terms))
	g.table[i] = n
	if 2*len(g.terms) > len(g.table) {
		g.grow()
	}
	return n - 1
}

func (g *folding) grow() {
	g.table = make([]int32, 2*len(g.table))
	mask := uint64(len(g.table) - 1)
	for n := range g.terms {
		i := g.terms[n].hash & mask
		for g.table[i] != 0 {
			i = (i + 1) & mask
		}
		g.table[i] = int32(n + 1)
	}
}

func (g *folding) key(t *foldedTerm) []byte {
	return g.arena[t.offset : t.offset+uint32(t.length)]
}

// token takes where a term stands, unless that is not known of the message, or the term
// stands there too often.
func (g *folding) token(field, number int, o occurrence) {
	p := g.local[field][number]
	if g.counts[p] > occurrencesMax || g.reader.loose() {
		g.counts[p] = occurrencesMax + 1
		return
	}
	g.counts[p]++
	g.found = append(g.found, foldedPlace{occurrence: o})
	n := int32(len(g.found))
	if g.first[p] == 0 {
		g.first[p] = n
	} else {
		g.found[g.last[p]-1].next = n
	}
	g.last[p] = n
}

// order returns the terms in order, and puts the postings into the order of their terms.
func (g *folding) order() (terms []int32) {
	terms = make([]int32, len(g.terms))
	for i := range terms {
		terms[i] = int32(i)
	}
	slices.SortFunc(terms, func(a, b int32) int {
		s, t := &g.terms[a], &g.terms[b]
		switch {
		case s.prefix < t.prefix:
			return -1
		case s.prefix > t.prefix:
			return 1
		}
		return bytes.Compare(g.key(s), g.key(t))
	})
	starts := make([]int32, len(g.terms))
	start := int32(0)
	for _, t := range terms {
		starts[t] = start
		start += g.terms[t].count
	}
	g.sorted = slices.Grow(g.sorted[:0], len(g.postings))[:len(g.postings)]
	for _, p := range g.postings {
		g.sorted[starts[p.term]] = p
		starts[p.term]++
	}
	return terms
}

// write writes a segment of all that was gathered.
func (g *folding) write(ctx context.Context, x *Index) (segment, error) {
	w, err := x.newSegment(ctx, g.messages)
	if err != nil {
		return segment{}, err
	}
	all := g.places.finish()
	var docs []uint32
	var places bitWriter
	terms := g.order()
	postings := g.sorted
	for _, n := range terms {
		t := &g.terms[n]
		docs = docs[:0]
		places.reset()
		for _, p := range postings[:t.count] {
			docs = append(docs, p.doc)
			places.copy(all, int(p.at), int(p.bits))
		}
		postings = postings[t.count:]
		at := &places
		if t.field == opaqueField {
			at = nil
		}
		if err := w.add(t.field, g.key(t), docs, at); err != nil {
			return segment{}, err
		}
	}
	return w.finish(ctx)
}

// Fold makes a segment of the oldest records. It tells how many it took, and how many
// messages wait for their terms.
func (x *Index) Fold(ctx context.Context) (folded, waiting int, err error) {
	g := foldings.Get().(*folding)
	defer foldings.Put(g)
	if err := g.gather(ctx, x); err != nil || len(g.messages) == 0 {
		return 0, g.waiting, err
	}
	s, err := g.write(ctx, x)
	if err != nil {
		return 0, 0, err
	}
	var all []segment
	var raw []byte
	err = x.snapshot(ctx, func(snap kv.Snapshot) (err error) {
		all, raw, err = readManifest(snap)
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	if len(all) >= segmentsMax {
		return 0, 0, fmt.Errorf("%w: %d segments", ErrDamaged, len(all))
	}
	return len(g.messages), g.waiting, x.replace(ctx, &kv.Batch{Deletes: g.keys}, raw, all, nil, s)
}
