package search

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"
)

// input is a segment that is merged.
type input struct {
	segment
	messages []MessageID
	renumber []int32 // old number of a document → new one, −1: it is gone
	gone     bool    // some are

	field  Field
	terms  []mergeTerm // read ahead
	keys   []byte      // of terms
	docs   []uint32    // of terms, the new numbers; goneDoc for what is gone
	places []byte      // of terms
	at     int
	from   []byte // where to read on; nil: at the end of the field
	ended  bool
}

// goneDoc stands for a document that is gone: it must be passed in the occurrences.
const goneDoc = ^uint32(0)

// mergeTerm is a term read ahead; its parts lie in the lists of the input.
type mergeTerm struct {
	prefix      uint64 // first octets of the key, for a fast order
	key, docs   int    // where they end
	place, bits int    // where the occurrences begin, and how many bits they are
}

// merging makes one segment of several.
type merging struct {
	x       *Index
	inputs  []*input
	dead    []MessageID
	dropped []MessageID

	same   []*input // that have the term at hand
	docs   []uint32
	places bitWriter
	parts  []part
	buf    []occurrence
}

// part is where the occurrences in one document lie.
type part struct {
	doc      uint32
	octets   []byte
	at, bits int
}

func (m *merging) segments() []segment {
	var all []segment
	for _, in := range m.inputs {
		all = append(all, in.segment)
	}
	return all
}

// number gives the documents their new numbers, in the order of messages.
func (m *merging) number() []MessageID {
	var all []MessageID
	for _, in := range m.inputs {
		for _, id := range in.messages {
			if _, dead := slices.BinarySearch(m.dead, id); dead {
				m.dropped = append(m.dropped, id)
				in.gone = true
			} else {
				all = append(all, id)
			}
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	for _, in := range m.inputs {
		in.renumber = make([]int32, len(in.messages))
		for i, id := range in.messages {
			in.renumber[i] = int32(position(all, id))
		}
	}
	return all
}

// Of each input so many terms, documents and octets of occurrences are read ahead; of one
// term all are.
const (
	mergeAhead       = 4096
	mergeAheadDocs   = 1 << 18
	mergeAheadPlaces = 1 << 20
)

// keyOf returns the key of term n that was read ahead.
func (in *input) keyOf(n int) []byte {
	from := 0
	if n > 0 {
		from = in.terms[n-1].key
	}
	return in.keys[from:in.terms[n].key]
}

// docsOf returns the documents of term n that was read ahead.
func (in *input) docsOf(n int) []uint32 {
	from := 0
	if n > 0 {
		from = in.terms[n-1].docs
	}
	return in.docs[from:in.terms[n].docs]
}

// fill reads terms of an input ahead.
func (in *input) fill(ctx context.Context, x *Index) error {
	in.terms, in.keys, in.docs, in.places, in.at = in.terms[:0], in.keys[:0], in.docs[:0], in.places[:0], 0
	if in.ended {
		return nil
	}
	snap, err := x.Engine.Snapshot(ctx, x.Space)
	if err != nil {
		return fmt.Errorf("read the index: %w", err)
	}
	defer snap.Close()
	deadline := time.Now().Add(scanTime)
	p := newPostings(snap, &in.segment, in.field)
	var failed error
	full := false
	add := func(n uint32) { in.docs = append(in.docs, uint32(in.renumber[n])) } // −1 is goneDoc
	err = in.eachTermFrom(snap, in.field, in.from, func(t *found) bool {
		if n := len(in.terms); n >= mergeAhead || len(in.docs) > mergeAheadDocs || len(in.places) > mergeAheadPlaces ||
			n > 0 && n%256 == 0 && time.Now().After(deadline) {
			in.from, full = append(in.from[:0], t.key...), true
			return false
		}
		failed = p.each(&t.extent, add)
		var places []byte
		if failed == nil {
			places, failed = p.occurrences(&t.extent)
		}
		in.keys = append(in.keys, t.key...)
		in.terms = append(in.terms, mergeTerm{prefixOf(t.key), len(in.keys), len(in.docs), len(in.places), t.bits})
		in.places = append(in.places, places...)
		return failed == nil
	})
	in.ended = !full
	if failed != nil {
		return failed
	}
	return err
}

// prefixOf is the first octets of a key as a number in the same order.
func prefixOf(k []byte) uint64 {
	if len(k) >= 8 {
		return binary.BigEndian.Uint64(k)
	}
	var b [8]byte
	copy(b[:], k)
	return binary.BigEndian.Uint64(b[:])
}

// run writes the new segment.
func (m *merging) run(ctx context.Context) (segment, error) {
	messages := m.number()
	w, err := m.x.newSegment(ctx, messages)
	if err != nil {
		return segment{}, err
	}
	fields := append([]Field{opaqueField}, allFields[:]...)
	slices.Sort(fields)
	if len(messages) == 0 {
		fields = nil
	}
	for _, f := range fields {
		if err := m.field(ctx, w, f); err != nil {
			return segment{}, err
		}
	}
	return w.finish(ctx)
}

// field merges the dictionaries of one field.
func (m *merging) field(ctx context.Context, w *segmentWriter, f Field) error {
	for _, in := range m.inputs {
		in.field, in.from, in.ended = f, nil, false
		if err := in.fill(ctx, m.x); err != nil {
			return err
		}
	}
	for {
		m.least()
		if len(m.same) == 0 {
			return nil
		}
		if err := m.term(w, f); err != nil {
			return err
		}
		for _, in := range m.same {
			if in.at++; in.at == len(in.terms) && !in.ended {
				if err := in.fill(ctx, m.x); err != nil {
					return err
				}
			}
		}
	}
}

// least finds the inputs that have the least term.
func (m *merging) least() {
	m.same = m.same[:0]
	for _, in := range m.inputs {
		if in.at == len(in.terms) {
			continue
		}
		order := -1
		if len(m.same) > 0 {
			other := m.same[0]
			order = cmp.Compare(in.terms[in.at].prefix, other.terms[other.at].prefix)
			if order == 0 {
				order = bytes.Compare(in.keyOf(in.at), other.keyOf(other.at))
			}
		}
		switch {
		case order < 0:
			m.same = append(m.same[:0], in)
		case order == 0:
			m.same = append(m.same, in)
		}
	}
}

// term writes the term at hand with the documents of all inputs that have it.
func (m *merging) term(w *segmentWriter, f Field) error {
	m.docs = m.docs[:0]
	m.places.reset()
	known, ordered := false, true
	for _, in := range m.same {
		docs := in.docsOf(in.at)
		if n := len(m.docs); in.gone || n > 0 && len(docs) > 0 && docs[0] <= m.docs[n-1] || !slices.IsSorted(docs) {
			ordered = false
		}
		m.docs = append(m.docs, docs...)
		known = known || in.terms[in.at].bits > 0
	}
	if !ordered {
		if err := m.sort(known); err != nil {
			return err
		}
	} else if known {
		m.join()
	}
	if len(m.docs) == 0 {
		return nil
	}
	at := &m.places
	if !known {
		at = nil
	}
	return w.add(f, m.same[0].keyOf(m.same[0].at), m.docs, at)
}

// join puts the occurrences of the inputs one behind the other.
func (m *merging) join() {
	for _, in := range m.same {
		t := &in.terms[in.at]
		if t.bits > 0 {
			m.places.copy(in.places[t.place:], 0, t.bits)
			continue
		}
		for range in.docsOf(in.at) {
			m.places.writeUnknown()
		}
	}
}

// sort puts the documents in order, leaves those out that are gone, and takes their
// occurrences along.
func (m *merging) sort(known bool) error {
	m.parts = m.parts[:0]
	for _, in := range m.same {
		t := &in.terms[in.at]
		r := occurrenceReader{octets: in.places[t.place:], end: t.bits}
		for _, doc := range in.docsOf(in.at) {
			p := part{doc: doc, octets: r.octets, at: r.at}
			if t.bits > 0 {
				var err error
				if m.buf, _, err = r.next(m.buf[:0]); err != nil {
					return err
				}
				p.bits = r.at - p.at
			}
			if doc != goneDoc {
				m.parts = append(m.parts, p)
			}
		}
	}
	slices.SortStableFunc(m.parts, func(a, b part) int { return cmp.Compare(a.doc, b.doc) })
	m.docs = m.docs[:0]
	for i, p := range m.parts {
		if i > 0 && p.doc == m.parts[i-1].doc {
			continue
		}
		m.docs = append(m.docs, p.doc)
		switch {
		case p.bits > 0:
			m.places.copy(p.octets, p.at, p.bits)
		case known:
			m.places.writeUnknown()
		}
	}
	return nil
}
