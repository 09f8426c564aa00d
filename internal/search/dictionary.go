package search

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
)

// A dictionary is the sorted terms of one field of a segment, in blocks. A term is kept as
// its plain form, so that what index semantics take for one lie together; where the term
// itself differs it follows behind an octet of zero.
//
// Block: format, places of its first postings and occurrences in the field's streams; then
// for each term the octets it shares with the one before, those it adds, and its postings:
// their length, or the number of its only document, times four, and 1 for the latter; and 2
// more where it has occurrences, whose bits are counted behind it.
const (
	blockOctets = 8 << 10  // of a block of the dictionary, about
	pieceOctets = 24 << 10 // of a piece of a stream

	termSingle = 1
	termPlaces = 2
)

// appendTermKey appends a folded term as the dictionary keeps it.
func appendTermKey(dst, term []byte) []byte {
	if isASCII(term) {
		return append(dst, term...)
	}
	start := len(dst)
	dst = appendPlain(dst, term)
	if !bytes.Equal(dst[start:], term) {
		dst = append(dst, 0)
		dst = append(dst, term...)
	}
	return dst
}

// splitTermKey returns plain form and term.
func splitTermKey(k []byte) (plain, term []byte) {
	if i := bytes.IndexByte(k, 0); i >= 0 {
		return k[:i], k[i+1:]
	}
	return k, k
}

// termWriter writes dictionary and postings of a segment: terms in the order of fields
// and keys.
type termWriter struct {
	put     func(k, v []byte) error // takes over both
	segment hlc.ID
	docs    int

	field    Field
	block    []byte
	first    []byte // key of the block's first term
	last     []byte
	postings streamWriter
	places   streamWriter
	scratch  []byte
}

// streamWriter cuts a stream into pieces.
type streamWriter struct {
	piece []byte // under way
	n     int    // its number
}

func (s *streamWriter) offset() uint64 { return uint64(s.n*pieceOctets + len(s.piece)) }

// add writes a term with its documents, which ascend, and its occurrences in them; nil:
// nothing is known of any.
func (w *termWriter) add(field Field, k []byte, docs []uint32, places *bitWriter) error {
	if field != w.field {
		if err := w.endField(); err != nil {
			return err
		}
		w.field = field
	}
	if len(w.block) == 0 {
		w.block = binary.AppendUvarint(append(w.block, format), w.postings.offset())
		w.block = binary.AppendUvarint(w.block, w.places.offset())
		w.first, w.last = append(w.first[:0], k...), w.last[:0]
	}
	shared := 0
	for shared < len(k) && shared < len(w.last) && k[shared] == w.last[shared] {
		shared++
	}
	w.block = binary.AppendUvarint(w.block, uint64(shared))
	w.block = binary.AppendUvarint(w.block, uint64(len(k)-shared))
	w.block = append(w.block, k[shared:]...)
	w.last = append(w.last[:0], k...)
	head := uint64(0)
	if places != nil {
		head = termPlaces
	}
	if len(docs) == 1 {
		w.block = binary.AppendUvarint(w.block, uint64(docs[0])<<2|head|termSingle)
	} else {
		w.scratch = appendPostings(w.scratch[:0], docs, w.docs)
		w.block = binary.AppendUvarint(w.block, uint64(len(w.scratch))<<2|head)
		if err := w.write(keyPostings, &w.postings, w.scratch); err != nil {
			return err
		}
	}
	if places != nil {
		w.block = binary.AppendUvarint(w.block, uint64(places.length()))
		if err := w.write(keyPlaces, &w.places, places.finish()); err != nil {
			return err
		}
	}
	if len(w.block) >= blockOctets {
		return w.endBlock()
	}
	return nil
}

// write adds to a stream.
func (w *termWriter) write(kind byte, s *streamWriter, p []byte) error {
	for len(p) > 0 {
		n := min(len(p), pieceOctets-len(s.piece))
		s.piece = append(s.piece, p[:n]...)
		p = p[n:]
		if len(s.piece) == pieceOctets {
			if err := w.endPiece(kind, s); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *termWriter) endPiece(kind byte, s *streamWriter) error {
	if len(s.piece) == 0 {
		return nil
	}
	err := w.put(pieceKey(kind, w.segment, w.field, s.n), bytes.Clone(s.piece))
	s.piece = s.piece[:0]
	s.n++
	return err
}

func (w *termWriter) endBlock() error {
	if len(w.block) == 0 {
		return nil
	}
	err := w.put(termKey(w.segment, w.field, w.first), bytes.Clone(w.block))
	w.block = w.block[:0]
	return err
}

func (w *termWriter) endField() error {
	if err := w.endBlock(); err != nil {
		return err
	}
	if err := w.endPiece(keyPostings, &w.postings); err != nil {
		return err
	}
	err := w.endPiece(keyPlaces, &w.places)
	w.postings.n, w.places.n = 0, 0
	return err
}

// found is a term as a dictionary gives it. The slices are valid until the next one.
type found struct {
	key []byte
	extent
	shared int // octets of key that are those of the term before
}

// extent tells where postings and occurrences of a term lie.
type extent struct {
	single int // its only document, −1: see the stream
	offset int64
	length int
	place  int64 // of the occurrences, in octets
	bits   int   // of the occurrences; 0: nothing is known
}

// placeOctets is how many octets the occurrences are.
func (t *extent) placeOctets() int { return (t.bits + 7) / 8 }

// bitsMax bounds the occurrences of a term in a segment.
const bitsMax = 1<<31 - 1

// eachInBlock calls f for the terms of a block until f returns false.
func eachInBlock(v []byte, key []byte, f func(*found) bool) (more bool, k []byte, err error) {
	r := newReader(v)
	t := found{key: key[:0], extent: extent{offset: int64(r.uvarint()), place: int64(r.uvarint())}}
	for len(r.b) > 0 {
		shared, added := int(r.uvarint()), int(r.uvarint())
		suffix := r.take(added)
		if r.bad || shared < 0 || shared > len(t.key) || shared+added > kv.KeyMax {
			r.fail()
			break
		}
		t.key, t.shared = append(t.key[:shared], suffix...), shared
		p := r.uvarint()
		t.single, t.length, t.bits = -1, int(p>>2), 0
		if p&termSingle != 0 {
			t.single, t.length = int(p>>2), 0
		}
		if p&termPlaces != 0 {
			t.bits = r.count(bitsMax)
		}
		if t.length < 0 || t.length > 1<<20 || r.bad {
			r.fail()
			break
		}
		if !f(&t) {
			return false, t.key, nil
		}
		t.offset += int64(t.length)
		t.place += int64(t.placeOctets())
	}
	return true, t.key, r.err("block of a dictionary")
}

// eachTermFrom calls f for the terms of a field in order, from a key on, until f returns
// false. It streams: one block is held at a time.
func (s *segment) eachTermFrom(snap kv.Snapshot, field Field, from []byte, f func(*found) bool) error {
	all := kv.Prefix(termKey(s.id, field, nil))
	if len(from) > 0 {
		before := kv.Range{From: all.From, To: append(termKey(s.id, field, from), 0), Reverse: true, Limit: 1}
		for e, err := range snap.Scan(before) {
			if err != nil {
				return fmt.Errorf("scan: %w", err)
			}
			all.From = bytes.Clone(e.Key)
		}
	}
	var key []byte
	for e, err := range snap.Scan(all) {
		if err != nil {
			return fmt.Errorf("scan: %w", err)
		}
		var more bool
		each := f
		if len(from) > 0 { // the first block may begin before
			each = func(t *found) bool { return bytes.Compare(t.key, from) < 0 || f(t) }
		}
		more, key, err = eachInBlock(e.Value, key, each)
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// postings reads postings and occurrences of terms, those close together with few reads.
type postings struct {
	segment *segment
	lists   streamReader
	places  streamReader
}

func newPostings(snap kv.Snapshot, s *segment, field Field) *postings {
	return &postings{segment: s, lists: streamReader{snap, keyPostings, s, field, -1, nil, nil},
		places: streamReader{snap, keyPlaces, s, field, -1, nil, nil}}
}

// streamReader reads parts of a stream.
type streamReader struct {
	snap    kv.Snapshot
	kind    byte
	segment *segment
	field   Field
	piece   int // −1: none
	octets  []byte
	buf     []byte
}

// each calls f for the documents of a term.
func (p *postings) each(t *extent, f func(n uint32)) error {
	if t.single >= 0 {
		if t.single >= p.segment.docs {
			return fmt.Errorf("%w: postings", ErrDamaged)
		}
		f(uint32(t.single))
		return nil
	}
	v, err := p.lists.read(t.offset, t.length)
	if err != nil {
		return err
	}
	return readPostings(v, p.segment.docs, f)
}

// addTo adds the documents of a term to a set.
func (p *postings) addTo(to set, t *extent) error {
	if t.single >= 0 {
		return p.each(t, to.add)
	}
	v, err := p.lists.read(t.offset, t.length)
	if err != nil {
		return err
	}
	return addPostings(to, v, p.segment.docs)
}

// occurrences reads the stream of a term's occurrences, valid until the next call.
func (p *postings) occurrences(t *extent) ([]byte, error) {
	if t.bits == 0 {
		return nil, nil
	}
	return p.places.read(t.place, t.placeOctets())
}

// read reads a part of the stream, valid until the next call.
func (p *streamReader) read(offset int64, length int) ([]byte, error) {
	p.buf = p.buf[:0]
	for length > 0 {
		n, at := int(offset/pieceOctets), int(offset%pieceOctets)
		if n != p.piece {
			v, err := get(p.snap, pieceKey(p.kind, p.segment.id, p.field, n))
			if err != nil {
				return nil, err
			}
			p.piece, p.octets = n, v
		}
		if at >= len(p.octets) {
			return nil, fmt.Errorf("%w: postings are missing", ErrDamaged)
		}
		part := p.octets[at:min(at+length, len(p.octets))]
		if len(part) == length && len(p.buf) == 0 {
			return part, nil
		}
		if len(p.buf) == 0 {
			p.buf = slices.Grow(p.buf, min(length, pieceOctets*8))
		}
		p.buf = append(p.buf, part...)
		offset += int64(len(part))
		length -= len(part)
	}
	return p.buf, nil
}
