package imapserver

import (
	"iter"
	"slices"

	"postroad/imap"
)

// result is what a search has found, in the order in which it is told: a set in mailbox
// order, or numbers in the order of a SORT.
type result struct {
	set         imap.UIDSet
	ordered     []uint32
	sorted      bool // ordered, else set
	cut         bool // it is already what the window leaves
	relevancy   []uint8
	modSeq      uint64
	firstModSeq uint64
	lastModSeq  uint64
}

// searchResult is the result of SEARCH, in UIDs or sequence numbers.
func searchResult(uid bool, d *SearchData) *result {
	r := &result{set: d.UIDs, cut: d.Cut, relevancy: d.Relevancy,
		modSeq: d.ModSeq, firstModSeq: d.MinModSeq, lastModSeq: d.MaxModSeq}
	if !uid {
		r.set = imap.UIDSet(d.Seqs)
	}
	return r
}

// sortResult is the result of SORT.
func sortResult(uid bool, d *SortData) *result {
	r := &result{sorted: true, ordered: d.UIDs, cut: d.Cut, relevancy: d.Relevancy,
		modSeq: d.ModSeq, firstModSeq: d.FirstModSeq, lastModSeq: d.LastModSeq}
	if !uid {
		r.ordered = d.Seqs
	}
	return r
}

func (r *result) count() uint64 {
	if r.sorted {
		return uint64(len(r.ordered))
	}
	return r.set.Count()
}

// first returns the first number of a result that is not empty.
func (r *result) first() uint32 {
	if r.sorted {
		return r.ordered[0]
	}
	return r.set.Min()
}

// last returns the last number of a result that is not empty.
func (r *result) last() uint32 {
	if r.sorted {
		return r.ordered[len(r.ordered)-1]
	}
	return r.set.Max()
}

// all yields the numbers in order.
func (r *result) all() iter.Seq[uint32] {
	if r.sorted {
		return slices.Values(r.ordered)
	}
	return r.set.All()
}

// asSet returns a set of the caller's own.
func (r *result) asSet() imap.UIDSet {
	if !r.sorted {
		return slices.Clone(r.set)
	}
	ranges := make([]imap.Range, 0, len(r.ordered))
	for _, n := range r.ordered {
		ranges = append(ranges, imap.Range{First: n, Last: n})
	}
	return imap.NumSet{Ranges: ranges}.Resolve(0)
}

// in returns the part of the result in a window.
func (r *result) in(w imap.Window) *result {
	if r.cut {
		return r
	}
	part := *r
	from, to := w.Cut(r.count())
	if r.sorted {
		part.ordered = r.ordered[from:to]
	} else {
		part.set = w.CutSet(r.set)
	}
	if uint64(len(r.relevancy)) >= to {
		part.relevancy = r.relevancy[from:to]
	}
	return &part
}

// resultRangesPiece is how many ranges or numbers are written at a time.
const resultRangesPiece = 1000

// resultSet writes the numbers as a sequence set, of an empty result NIL (RFC 5267, 5).
func (c *Conn) resultSet(r *result) {
	if r.count() == 0 {
		c.text("NIL")
		return
	}
	if !r.sorted {
		for i, piece := range inPieces(r.set) {
			if i > 0 {
				c.text(",")
			}
			c.out = imap.UIDSet(piece).Append(c.out)
			if c.spill() != nil {
				return
			}
		}
		return
	}
	for i, piece := range inPieces(r.ordered) {
		if i > 0 {
			c.text(",")
		}
		c.out = imap.AppendOrdered(c.out, piece)
		if c.spill() != nil {
			return
		}
	}
}

// inPieces numbers the pieces of a slice.
func inPieces[T any](s []T) iter.Seq2[int, []T] {
	return func(yield func(int, []T) bool) {
		for i := 0; i < len(s); i += resultRangesPiece {
			if !yield(i, s[i:min(len(s), i+resultRangesPiece)]) {
				return
			}
		}
	}
}
