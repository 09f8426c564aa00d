package mailstore

import (
	"slices"
	"sort"
)

// sorted is a list in some order that is not changed: with and without return others that
// share what they can. An item is copied with the chunk that it is in.
type sorted[T any] struct {
	chunks [][]T // none of them empty
	starts []int32
	n      int
}

// sortedMax is the number of items in a chunk.
const sortedMax = 512

// newSorted makes a list of items that are in order. It keeps the slice.
func newSorted[T any](items []T) sorted[T] {
	var s sorted[T]
	for len(items) > 0 {
		n := min(len(items), sortedMax)
		s.chunks = append(s.chunks, items[:n:n])
		items = items[n:]
	}
	s.count()
	return s
}

// count fills in starts and n.
func (s *sorted[T]) count() {
	s.starts, s.n = make([]int32, len(s.chunks)), 0
	for i, c := range s.chunks {
		s.starts[i] = int32(s.n)
		s.n += len(c)
	}
}

func (s *sorted[T]) len() int { return s.n }

// at returns the item at an index.
func (s *sorted[T]) at(i int) T {
	k := sort.Search(len(s.starts), func(k int) bool { return int(s.starts[k]) > i }) - 1
	return s.chunks[k][i-int(s.starts[k])]
}

// search returns the index of the item for which compare is 0, or where it would be.
// Compare is below 0 for those before it.
func (s *sorted[T]) search(compare func(T) int) (int, bool) {
	k := sort.Search(len(s.chunks), func(k int) bool { return compare(s.chunks[k][0]) > 0 }) - 1
	if k < 0 {
		return 0, false
	}
	i, found := slices.BinarySearchFunc(s.chunks[k], 0, func(item T, _ int) int { return compare(item) })
	return int(s.starts[k]) + i, found
}

// without returns the list without some items, which are in order. Those that it does not
// have are passed over.
func (s *sorted[T]) without(items []T, compare func(a, b T) int) sorted[T] {
	return s.merge(nil, items, compare)
}

// with returns the list with further items, which are in order and not in it.
func (s *sorted[T]) with(items []T, compare func(a, b T) int) sorted[T] {
	return s.merge(items, nil, compare)
}

// merge puts items in and takes others out.
func (s *sorted[T]) merge(in, out []T, compare func(a, b T) int) sorted[T] {
	if len(in)+len(out) == 0 {
		return *s
	}
	r := sorted[T]{chunks: make([][]T, 0, len(s.chunks)+1)}
	if len(s.chunks) == 0 {
		return newSorted(slices.Clone(in))
	}
	for k, c := range s.chunks {
		// What belongs to this chunk: what is before the next one begins.
		a, b := len(in), len(out)
		if k+1 < len(s.chunks) {
			next := s.chunks[k+1][0]
			a, b = before(in, next, compare), before(out, next, compare)
		}
		if a+b == 0 {
			r.chunks = append(r.chunks, c)
			continue
		}
		r.push(mergeChunk(c, in[:a], out[:b], compare))
		in, out = in[a:], out[b:]
	}
	r.count()
	return r
}

// before counts the items before one.
func before[T any](items []T, next T, compare func(a, b T) int) int {
	n, _ := slices.BinarySearchFunc(items, next, compare)
	return n
}

// mergeChunk is merge for one chunk.
func mergeChunk[T any](c, in, out []T, compare func(a, b T) int) []T {
	items := make([]T, 0, len(c)+len(in))
	for _, item := range c {
		for len(in) > 0 && compare(in[0], item) < 0 {
			items, in = append(items, in[0]), in[1:]
		}
		for len(out) > 0 && compare(out[0], item) < 0 {
			out = out[1:]
		}
		if len(out) > 0 && compare(out[0], item) == 0 {
			continue
		}
		items = append(items, item)
	}
	return append(items, in...)
}

// push adds items as chunks, to the last one where that is small.
func (s *sorted[T]) push(items []T) {
	if k := len(s.chunks) - 1; k >= 0 && len(items) > 0 && len(s.chunks[k])+len(items) <= sortedMax/2 {
		s.chunks[k] = slices.Concat(s.chunks[k], items)
		return
	}
	for len(items) > 0 {
		n := len(items)
		if n > sortedMax {
			n = max(n/2, min(n, sortedMax)/2)
			n = min(n, sortedMax)
		}
		s.chunks = append(s.chunks, items[:n:n])
		items = items[n:]
	}
}
