package mailstore

import (
	"cmp"
	"hash/maphash"
	"slices"
	"strings"
)

// texts numbers the texts of a mailbox as they come. The empty one is 0. It finds a text by
// its hash in a table of numbers with open addressing, which takes a fifth of what a map
// from texts does, and grows without hashing anything again.
type texts struct {
	list   []string
	hashes []uint32 // of list
	table  []uint32 // number + 1; 0: free. Its length is a power of two
	sorted []uint32 // numbers by their texts, as many as there were when ranks was asked for last
}

// textSeed keeps strangers from choosing texts whose hashes collide.
var textSeed = maphash.MakeSeed()

// newTexts makes room for about n texts.
func newTexts(n int) *texts {
	t := &texts{list: make([]string, 0, n+1), hashes: make([]uint32, 0, n+1)}
	t.resize(n + 1)
	t.number("")
	return t
}

// resize makes a table for n texts that is at most two thirds full.
func (t *texts) resize(n int) {
	size := 64
	for size < n+n/2 {
		size *= 2
	}
	t.table = make([]uint32, size)
	for i, h := range t.hashes {
		at := h & uint32(size-1)
		for t.table[at] != 0 {
			at = (at + 1) & uint32(size-1)
		}
		t.table[at] = uint32(i) + 1
	}
}

// number returns the number of a text.
func (t *texts) number(s string) uint32 {
	h := uint32(maphash.String(textSeed, s))
	mask := uint32(len(t.table) - 1)
	at := h & mask
	for ; t.table[at] != 0; at = (at + 1) & mask {
		if n := t.table[at] - 1; t.hashes[n] == h && t.list[n] == s {
			return n
		}
	}
	n := uint32(len(t.list))
	t.list, t.hashes = append(t.list, s), append(t.hashes, h)
	t.table[at] = n + 1
	if len(t.list)+len(t.list)/2 > len(t.table) {
		t.resize(2 * len(t.list))
	}
	return n
}

// size is the memory taken besides the octets of the texts.
func (t *texts) size() int64 {
	return int64(len(t.list))*(16+4) + int64(len(t.table))*4 + int64(len(t.sorted))*4
}

// ranks ranks all texts. What was in order before only takes in the new ones.
func (t *texts) ranks() []uint32 {
	fresh := make([]rankedText, 0, len(t.list)-len(t.sorted))
	for n := len(t.sorted); n < len(t.list); n++ {
		fresh = append(fresh, rankedText{textPrefix(t.list[n]), uint32(n)})
	}
	slices.SortFunc(fresh, func(a, b rankedText) int {
		if c := cmp.Compare(a.prefix, b.prefix); c != 0 {
			return c
		}
		return strings.Compare(t.list[a.n], t.list[b.n])
	})
	sorted := make([]uint32, 0, len(t.list))
	old := t.sorted
	for _, f := range fresh {
		k := 0
		if len(old) > 0 {
			k, _ = slices.BinarySearchFunc(old, t.list[f.n], func(n uint32, s string) int { return strings.Compare(t.list[n], s) })
		}
		sorted = append(append(sorted, old[:k]...), f.n)
		old = old[k:]
	}
	t.sorted = append(sorted, old...)
	rank := make([]uint32, len(t.list))
	for r, n := range t.sorted {
		rank[n] = uint32(r)
	}
	return rank
}

// rankedText is a text with its first octets, which decide nearly always.
type rankedText struct {
	prefix uint64
	n      uint32
}

func textPrefix(t string) (p uint64) {
	for i := range 8 {
		p <<= 8
		if i < len(t) {
			p |= uint64(t[i])
		}
	}
	return p
}
