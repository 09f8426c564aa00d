package search

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
)

// A dictionary is the sorted terms of one field of a segment, in blocks. A term is kept as
// its plain form, so that what index semantics take for one lie together; where the term
// itself differs it follows behind an octet of zero.
//
// Block: format, place of its first postings in the field's stream; then for each term the
// octets it shares with the one before, those it adds, and its postings: twice their
// length, or twice the number of its only document and one.
const (
	blockOctets = 8 << 10  // of a block of the dictionary, about
	pieceOctets = 24 << 10 // of a piece of the postings
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
	postings []byte // of the piece under way
	piece    int    // its number
	scratch  []byte
}

// add writes a term with its documents, which ascend.
func (w *termWriter) add(field Field, k []byte, docs []uint32) error {
	if field != w.field {
		if err := w.endField(); err != nil {
			return err
		}
		w.field = field
	}
	if len(w.block) == 0 {
		w.block = binary.AppendUvarint(append(w.block, format1), uint64(w.piece*pieceOctets+len(w.postings)))
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
	if len(docs) == 1 {
		w.block = binary.AppendUvarint(w.block, uint64(docs[0])<<1|1)
	} else {
		w.scratch = appendPostings(w.scratch[:0], docs, w.docs)
		w.block = binary.AppendUvarint(w.block, uint64(len(w.scratch))<<1)
		if err := w.write(w.scratch); err != nil {
			return err
		}
	}
	if len(w.block) >= blockOctets {
		return w.endBlock()
	}
	return nil
}

// write adds to the stream of postings.
func (w *termWriter) write(p []byte) error {
	for len(p) > 0 {
		n := min(len(p), pieceOctets-len(w.postings))
		w.postings = append(w.postings, p[:n]...)
		p = p[n:]
		if len(w.postings) == pieceOctets {
			if err := w.endPiece(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *termWriter) endPiece() error {
	if len(w.postings) == 0 {
		return nil
	}
	err := w.put(pieceKey(keyPostings, w.segment, w.field, w.piece), w.postings)
	w.postings = make([]byte, 0, pieceOctets)
	w.piece++
	return err
}

func (w *termWriter) endBlock() error {
	if len(w.block) == 0 {
		return nil
	}
	err := w.put(termKey(w.segment, w.field, w.first), w.block)
	w.block = make([]byte, 0, blockOctets+termMax)
	return err
}

func (w *termWriter) endField() error {
	if err := w.endBlock(); err != nil {
		return err
	}
	err := w.endPiece()
	w.piece = 0
	return err
}

// found is a term as a dictionary gives it. The slices are valid until the next one.
type found struct {
	key    []byte
	single int // its only document, −1: see the stream
	offset int64
	length int
}

// eachInBlock calls f for the terms of a block until f returns false.
func eachInBlock(v []byte, key []byte, f func(*found) bool) (more bool, k []byte, err error) {
	r := newReader(v)
	t := found{key: key[:0], offset: int64(r.uvarint())}
	for len(r.b) > 0 {
		shared, added := int(r.uvarint()), int(r.uvarint())
		suffix := r.take(added)
		if r.bad || shared < 0 || shared > len(t.key) || shared+added > kv.KeyMax {
			r.fail()
			break
		}
		t.key = append(t.key[:shared], suffix...)
		p := r.uvarint()
		if p&1 != 0 {
			t.single, t.length = int(p>>1), 0
		} else {
			t.single, t.length = -1, int(p>>1)
		}
		if t.length < 0 || t.length > 1<<20 || r.bad {
			r.fail()
			break
		}
		if !f(&t) {
			return false, t.key, nil
		}
		t.offset += int64(t.length)
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
		more, key, err = eachInBlock(e.Value, key, func(t *found) bool {
			return bytes.Compare(t.key, from) < 0 || f(t)
		})
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// postings reads the postings of terms, those close together with few reads.
type postings struct {
	snap    kv.Snapshot
	segment *segment
	field   Field
	piece   int // −1: none
	octets  []byte
	buf     []byte
}

func newPostings(snap kv.Snapshot, s *segment, field Field) *postings {
	return &postings{snap: snap, segment: s, field: field, piece: -1}
}

// each calls f for the documents of a term.
func (p *postings) each(t *found, f func(n uint32)) error {
	if t.single >= 0 {
		if t.single >= p.segment.docs {
			return fmt.Errorf("%w: postings", ErrDamaged)
		}
		f(uint32(t.single))
		return nil
	}
	v, err := p.read(t.offset, t.length)
	if err != nil {
		return err
	}
	return readPostings(v, p.segment.docs, f)
}

// read reads a part of the stream, valid until the next call.
func (p *postings) read(offset int64, length int) ([]byte, error) {
	p.buf = p.buf[:0]
	for length > 0 {
		n, at := int(offset/pieceOctets), int(offset%pieceOctets)
		if n != p.piece {
			v, err := get(p.snap, pieceKey(keyPostings, p.segment.id, p.field, n))
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
		p.buf = append(p.buf, part...)
		offset += int64(len(part))
		length -= len(part)
	}
	return p.buf, nil
}
