package memkv

import (
	"bytes"
	"iter"
	"slices"
	"sync/atomic"

	"postroad/internal/kv"
)

// Snapshot is a picture of one space; nobody changes it any more.
type Snapshot struct {
	version   kv.Version
	entries   entries
	counters  map[string]int64
	sequences map[string]uint64
	closed    atomic.Bool
	ended     *atomic.Bool // the engine was closed
}

// shut tells whether nothing can be read any more.
func (s *Snapshot) shut() bool { return s.closed.Load() || s.ended.Load() }

// Version implements kv.Snapshot.
func (s *Snapshot) Version() kv.Version { return s.version }

// Get implements kv.Snapshot.
func (s *Snapshot) Get(key []byte) ([]byte, error) {
	if s.shut() {
		return nil, kv.ErrClosed
	}
	i, ok := s.entries.find(key)
	if !ok {
		return nil, kv.ErrNotFound
	}
	return bytes.Clone(s.entries[i].Value), nil
}

// Scan implements kv.Snapshot. What it yields is used again at the next step, as the
// contract allows, so that tests find who keeps it.
func (s *Snapshot) Scan(r kv.Range) iter.Seq2[kv.Entry, error] {
	return func(yield func(kv.Entry, error) bool) {
		if s.shut() {
			yield(kv.Entry{}, kv.ErrClosed)
			return
		}
		part := s.entries.within(r)
		steps := slices.All(part)
		if r.Reverse {
			steps = slices.Backward(part)
		}
		var shown kv.Entry
		n := 0
		for _, e := range steps {
			clear(shown.Key)
			clear(shown.Value)
			shown.Key = append(shown.Key[:0], e.Key...)
			shown.Value = append(shown.Value[:0], e.Value...)
			if !yield(shown, nil) {
				return
			}
			if n++; n == r.Limit {
				return
			}
		}
	}
}

// Counter implements kv.Snapshot.
func (s *Snapshot) Counter(key []byte) (int64, error) {
	if s.shut() {
		return 0, kv.ErrClosed
	}
	return s.counters[string(key)], nil
}

// Sequence implements kv.Snapshot.
func (s *Snapshot) Sequence(key []byte) (uint64, error) {
	if s.shut() {
		return 0, kv.ErrClosed
	}
	return s.sequences[string(key)], nil
}

// Close implements kv.Snapshot.
func (s *Snapshot) Close() error {
	if s.closed.Swap(true) {
		return kv.ErrClosed
	}
	return nil
}
