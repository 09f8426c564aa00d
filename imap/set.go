package imap

import (
	"iter"
	"slices"
	"strconv"
)

// SetRangesMax bounds the ranges of a set as a command gives it. A command line of 64 KB
// has room for no more.
const SetRangesMax = 32 * 1024

// Range is the numbers from First to Last, both included. In a [NumSet] 0 stands for "*".
type Range struct{ First, Last uint32 }

// UIDSet is a set of UIDs in normal form: ranges in ascending order that neither overlap
// nor touch, no 0. The nil UIDSet is the empty set.
type UIDSet []Range

// SeqSet is a set of message sequence numbers in the same form.
type SeqSet []Range

// Add puts n into the set. Adding in ascending order takes constant time.
func (s *UIDSet) Add(n uint32) { s.AddRange(n, n) }

// AddRange puts first to last into the set.
func (s *UIDSet) AddRange(first, last uint32) {
	if first == 0 || last < first {
		return
	}
	t := *s
	if k := len(t); k == 0 || t[k-1].Last < first-1 {
		*s = append(t, Range{first, last})
		return
	} else if first >= t[k-1].First {
		t[k-1].Last = max(t[k-1].Last, last)
		return
	}
	// i: the first range that touches or follows; j: the first that only follows.
	i, _ := slices.BinarySearchFunc(t, first, func(r Range, n uint32) int {
		if r.Last < n-1 {
			return -1
		}
		return 1
	})
	j := i
	for j < len(t) && (last == ^uint32(0) || t[j].First <= last+1) {
		first, last = min(first, t[j].First), max(last, t[j].Last)
		j++
	}
	*s = slices.Replace(t, i, j, Range{first, last})
}

// AddSet puts all of t into the set.
func (s *UIDSet) AddSet(t UIDSet) {
	for _, r := range t {
		s.AddRange(r.First, r.Last)
	}
}

// Contains tells whether n is in the set, in logarithmic time.
func (s UIDSet) Contains(n uint32) bool {
	lo, hi := 0, len(s)
	for lo < hi {
		m := int(uint(lo+hi) >> 1)
		switch {
		case s[m].Last < n:
			lo = m + 1
		case s[m].First > n:
			hi = m
		default:
			return true
		}
	}
	return false
}

// Count returns how many numbers the set has.
func (s UIDSet) Count() uint64 {
	var n uint64
	for _, r := range s {
		n += uint64(r.Last-r.First) + 1
	}
	return n
}

// All yields the numbers in ascending order.
func (s UIDSet) All() iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		for _, r := range s {
			for n := r.First; ; n++ {
				if !yield(n) {
					return
				}
				if n == r.Last {
					break
				}
			}
		}
	}
}

// Min returns the smallest number, 0 of the empty set.
func (s UIDSet) Min() uint32 {
	if len(s) == 0 {
		return 0
	}
	return s[0].First
}

// Max returns the largest number, 0 of the empty set.
func (s UIDSet) Max() uint32 {
	if len(s) == 0 {
		return 0
	}
	return s[len(s)-1].Last
}

// Intersect returns what is in both sets.
func (s UIDSet) Intersect(t UIDSet) UIDSet {
	var out UIDSet
	for i, j := 0, 0; i < len(s) && j < len(t); {
		if first, last := max(s[i].First, t[j].First), min(s[i].Last, t[j].Last); first <= last {
			out = append(out, Range{first, last})
		}
		if s[i].Last < t[j].Last {
			i++
		} else {
			j++
		}
	}
	return out
}

// Append appends the set as the wire has it: "1:3,5". Of the empty set it appends nothing.
func (s UIDSet) Append(dst []byte) []byte { return appendRanges(dst, s) }

// String returns the set as the wire has it.
func (s UIDSet) String() string { return string(s.Append(nil)) }

// Add puts n into the set.
func (s *SeqSet) Add(n uint32) { (*UIDSet)(s).Add(n) }

// AddRange puts first to last into the set.
func (s *SeqSet) AddRange(first, last uint32) { (*UIDSet)(s).AddRange(first, last) }

// Contains tells whether n is in the set.
func (s SeqSet) Contains(n uint32) bool { return UIDSet(s).Contains(n) }

// Count returns how many numbers the set has.
func (s SeqSet) Count() uint64 { return UIDSet(s).Count() }

// All yields the numbers in ascending order.
func (s SeqSet) All() iter.Seq[uint32] { return UIDSet(s).All() }

// Append appends the set as the wire has it.
func (s SeqSet) Append(dst []byte) []byte { return appendRanges(dst, s) }

// String returns the set as the wire has it.
func (s SeqSet) String() string { return string(s.Append(nil)) }

func appendRanges(dst []byte, s []Range) []byte {
	for i, r := range s {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendNumber(dst, r.First)
		if r.Last != r.First {
			dst = append(dst, ':')
			dst = appendNumber(dst, r.Last)
		}
	}
	return dst
}

// appendNumber appends a number of a set, "*" for 0.
func appendNumber(dst []byte, n uint32) []byte {
	if n == 0 {
		return append(dst, '*')
	}
	return strconv.AppendUint(dst, uint64(n), 10)
}

// NumSet is a set as a command names it (sequence-set of RFC 9051, 9): of sequence numbers
// or of UIDs, in any order, with "*" as 0; or "$", the saved result of a search.
type NumSet struct {
	UID    bool // numbers are UIDs, else sequence numbers
	Saved  bool // "$" (RFC 5182); the server replaces it before a Session sees the set
	Ranges []Range
}

// NumSetUID makes the set that names just these UIDs.
func NumSetUID(s UIDSet) NumSet { return NumSet{UID: true, Ranges: s} }

// NumSetSeq makes the set that names just these sequence numbers.
func NumSetSeq(s SeqSet) NumSet { return NumSet{Ranges: s} }

// Resolve returns the numbers in normal form, given what "*" stands for: the number of
// messages, or the largest UID in use. With largest 0, an empty mailbox, "*" names
// nothing. "559:*" always has the largest UID, even below 559 (RFC 9051, 6.4.9).
func (s NumSet) Resolve(largest uint32) UIDSet {
	out := make(UIDSet, 0, len(s.Ranges))
	for _, r := range s.Ranges {
		if r.First == 0 || r.Last == 0 {
			if largest == 0 {
				continue
			}
			if r.First == 0 {
				r.First = largest
			}
			if r.Last == 0 {
				r.Last = largest
			}
		}
		if r.First > r.Last {
			r.First, r.Last = r.Last, r.First
		}
		out = append(out, r)
	}
	return normal(out)
}

// normal sorts ranges and joins those that overlap or touch, in place.
func normal(s UIDSet) UIDSet {
	byFirst := func(a, b Range) int {
		if a.First < b.First {
			return -1
		} else if a.First > b.First {
			return 1
		}
		return 0
	}
	if !slices.IsSortedFunc(s, byFirst) {
		slices.SortFunc(s, byFirst)
	}
	out := s[:0]
	for _, r := range s {
		if k := len(out); k > 0 && out[k-1].Last >= r.First-1 {
			out[k-1].Last = max(out[k-1].Last, r.Last)
			continue
		}
		out = append(out, r)
	}
	return out
}

// Largest returns the largest number that the set names, besides "*".
func (s NumSet) Largest() uint32 {
	var n uint32
	for _, r := range s.Ranges {
		n = max(n, r.First, r.Last)
	}
	return n
}

// String returns the set as the wire has it.
func (s NumSet) String() string {
	if s.Saved {
		return "$"
	}
	return string(appendRanges(nil, s.Ranges))
}

// ParseUIDSet reads a set without "*" or "$", as response codes have it (uid-set of
// RFC 4315, 4).
func ParseUIDSet(text string) (UIDSet, error) {
	d := NewDecoder([]byte(text))
	s := d.UIDSet()
	d.End()
	return s, d.Err()
}
