package search

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// set is a set of documents of a segment, by their number.
type set []uint64

func newSet(docs int) set { return make(set, (docs+63)/64) }

func (s set) add(n uint32)      { s[n/64] |= 1 << (n % 64) }
func (s set) has(n uint32) bool { return s[n/64]&(1<<(n%64)) != 0 }

// fullSet has all documents.
func fullSet(docs int) set {
	s := newSet(docs)
	for i := range s {
		s[i] = ^uint64(0)
	}
	return s
}

// count is how many members there are.
func (s set) count() int {
	n := 0
	for _, w := range s {
		n += bits.OnesCount64(w)
	}
	return n
}

func (s set) or(t set) {
	for i := range s {
		s[i] |= t[i]
	}
}

func (s set) and(t set) {
	for i := range s {
		s[i] &= t[i]
	}
}

// each calls f for the members in order.
func (s set) each(f func(n uint32)) {
	for i, w := range s {
		for ; w != 0; w &= w - 1 {
			f(uint32(i*64 + bits.TrailingZeros64(w)))
		}
	}
}

// Postings are the documents of a term: how many, twice that number with the lowest bit
// telling that a bitmap follows; else differences, each less one. Bitmaps are for terms
// that more than an eighth of the documents have.

// appendPostings writes documents, which ascend.
func appendPostings(dst []byte, docs []uint32, of int) []byte {
	if len(docs) > of/8 {
		dst = binary.AppendUvarint(dst, uint64(len(docs))<<1|1)
		start := len(dst)
		dst = append(dst, make([]byte, (of+7)/8)...)
		for _, n := range docs {
			dst[start+int(n/8)] |= 1 << (n % 8)
		}
		return dst
	}
	dst = binary.AppendUvarint(dst, uint64(len(docs))<<1)
	next := uint32(0)
	for _, n := range docs {
		dst = binary.AppendUvarint(dst, uint64(n-next))
		next = n + 1
	}
	return dst
}

// readPostings calls f for each document of postings over a segment of so many.
func readPostings(v []byte, of int, f func(n uint32)) error {
	r := reader{b: v}
	head := r.uvarint()
	if head>>1 > uint64(of) {
		r.fail()
	}
	if head&1 != 0 {
		for i, c := range r.take((of + 7) / 8) {
			for ; c != 0; c &= c - 1 {
				n := uint32(i*8 + bits.TrailingZeros8(c))
				if n >= uint32(of) {
					return fmt.Errorf("%w: postings", ErrDamaged)
				}
				f(n)
			}
		}
		return r.err("postings")
	}
	next := uint64(0)
	for range head >> 1 {
		distance := r.uvarint()
		n := next + distance
		if distance >= uint64(of) || n >= uint64(of) || r.bad {
			return fmt.Errorf("%w: postings", ErrDamaged)
		}
		f(uint32(n))
		next = n + 1
	}
	return nil
}

// addPostings adds the documents of postings over a segment of so many to a set.
func addPostings(to set, v []byte, of int) error {
	r := reader{b: v}
	if head := r.uvarint(); head&1 == 0 || of%8 != 0 && len(r.b) > 0 && len(r.b) >= (of+7)/8 && r.b[(of+7)/8-1]>>(of%8) != 0 {
		return readPostings(v, of, to.add)
	}
	for i, c := range r.take((of + 7) / 8) {
		to[i/8] |= uint64(c) << (i % 8 * 8)
	}
	return r.err("postings")
}

// postingsCount is how many documents postings have.
func postingsCount(v []byte) int {
	r := reader{b: v}
	return int(r.uvarint() >> 1)
}
