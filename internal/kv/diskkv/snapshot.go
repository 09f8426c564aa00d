package diskkv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"postroad/internal/kv"
)

// Snapshot is a picture of one space.
type Snapshot struct {
	e       *Engine
	space   kv.Space
	prefix  []byte
	version kv.Version
	below   *pebble.Snapshot

	hot     *space // held until the end; nil: the space is not in memory
	changes uint64 // of hot that the picture has
	exact   bool   // and it has no others: what is in memory may be what it shows

	mu     sync.Mutex // all below
	closed bool
	users  int // reads going on, and 1 until closed
}

// Snapshot implements kv.Engine: first the picture, then the wait for everything that may
// be in it.
func (e *Engine) Snapshot(ctx context.Context, name kv.Space) (kv.Snapshot, error) {
	if err := errors.Join(ctx.Err(), kv.CheckSpace(name)); err != nil {
		return nil, err
	}
	if err := e.enter(); err != nil {
		return nil, err
	}
	defer e.leave()
	s := &Snapshot{e: e, space: name, prefix: prefixOf(name), users: 1, hot: e.table.find(name)}
	if err := s.take(ctx); err != nil {
		return nil, errors.Join(err, s.drop())
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.snapshots[s] = struct{}{}
	return s, nil
}

// take makes the picture. Where the space is not in memory before it, it may be after it,
// with a commit in the picture that is not durable.
func (s *Snapshot) take(ctx context.Context) error {
	if s.hot != nil {
		before, still := s.hot.standing()
		s.below = s.e.db.NewSnapshot()
		s.changes = s.hot.changes.Load()
		s.exact = still && s.changes == before
	} else {
		s.below = s.e.db.NewSnapshot()
		s.hot = s.e.table.find(s.space)
	}
	if s.hot != nil {
		if err := s.e.await(ctx, s.hot.underWay()); err != nil {
			return err
		}
	}
	v, err := s.number(kindVersion, nil)
	s.version = kv.Version(v)
	return err
}

// drop gives back what the snapshot holds.
func (s *Snapshot) drop() error {
	if s.hot != nil {
		s.e.table.release(s.hot)
	}
	return s.below.Close()
}

// use begins a read; done ends it.
func (s *Snapshot) use() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return kv.ErrClosed
	}
	s.users++
	return nil
}

func (s *Snapshot) done() {
	s.mu.Lock()
	s.users--
	last := s.users == 0
	s.mu.Unlock()
	if !last {
		return
	}
	if err := s.drop(); err != nil {
		s.e.options.Logger.Error("store: close a snapshot", "error", err)
	}
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	delete(s.e.snapshots, s)
	s.e.gone.Broadcast()
}

// shut ends the snapshot for new reads, and tells whether it was open.
func (s *Snapshot) shut() bool {
	s.mu.Lock()
	was := !s.closed
	s.closed = true
	s.mu.Unlock()
	if was {
		s.done()
	}
	return was
}

// Close implements kv.Snapshot. Reads going on come to their end.
func (s *Snapshot) Close() error {
	if !s.shut() {
		return kv.ErrClosed
	}
	return nil
}

// Version implements kv.Snapshot.
func (s *Snapshot) Version() kv.Version { return s.version }

// Get implements kv.Snapshot.
func (s *Snapshot) Get(key []byte) ([]byte, error) {
	if err := s.use(); err != nil {
		return nil, err
	}
	defer s.done()
	return s.get(kindKey, key)
}

// get reads one Pebble key.
func (s *Snapshot) get(kind byte, key []byte) ([]byte, error) {
	if kind == kindKey {
		if r, ok := s.recall(key); ok && r.present {
			return append([]byte{}, r.value...), nil
		} else if ok {
			return nil, kv.ErrNotFound
		}
	}
	value, closer, err := s.below.Get(newKey(s.prefix, kind, key))
	if errors.Is(err, pebble.ErrNotFound) {
		if kind == kindKey {
			s.remember(key, record{})
		}
		return nil, kv.ErrNotFound
	} else if err != nil {
		return nil, fmt.Errorf("read store: %w", err)
	}
	value = append([]byte{}, value...)
	if kind == kindKey && len(value) <= recallMax {
		s.remember(key, record{present: true, value: bytes.Clone(value)})
	}
	return value, closer.Close()
}

// number reads a counter, a sequence or the version.
func (s *Snapshot) number(kind byte, key []byte) (uint64, error) {
	if n, ok := s.recallNumber(kind, key); ok {
		return n, nil
	}
	value, err := s.get(kind, key)
	if errors.Is(err, kv.ErrNotFound) {
		return 0, nil
	}
	return number(value), err
}

// Counter implements kv.Snapshot.
func (s *Snapshot) Counter(key []byte) (int64, error) {
	if err := s.use(); err != nil {
		return 0, err
	}
	defer s.done()
	n, err := s.number(kindCounter, key)
	return int64(n), err
}

// Sequence implements kv.Snapshot.
func (s *Snapshot) Sequence(key []byte) (uint64, error) {
	if err := s.use(); err != nil {
		return 0, err
	}
	defer s.done()
	return s.number(kindSequence, key)
}

// Scan implements kv.Snapshot.
func (s *Snapshot) Scan(r kv.Range) iter.Seq2[kv.Entry, error] {
	return func(yield func(kv.Entry, error) bool) {
		if err := s.use(); err != nil {
			yield(kv.Entry{}, err)
			return
		}
		defer s.done()
		if empty(r) {
			return
		}
		if err := s.scan(r, yield); err != nil {
			yield(kv.Entry{}, err)
		}
	}
}

// scan yields until the end or until the loop is left; the error is not yielded yet.
func (s *Snapshot) scan(r kv.Range, yield func(kv.Entry, error) bool) (err error) {
	lower, upper := bounds(s.prefix, r)
	it, err := s.below.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return fmt.Errorf("scan store: %w", err)
	}
	left := false
	defer func() {
		if closed := it.Close(); closed != nil && err == nil && !left {
			err = fmt.Errorf("scan store: %w", closed)
		}
	}()
	first, next := it.First, it.Next
	if r.Reverse {
		first, next = it.Last, it.Prev
	}
	n := 0
	for ok := first(); ok; ok = next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return fmt.Errorf("scan store: %w", err)
		}
		if left = !yield(kv.Entry{Key: it.Key()[len(s.prefix)+1:], Value: value}, nil); left {
			return nil
		}
		if n++; n == r.Limit {
			return nil
		}
		if s.taken() {
			return kv.ErrClosed
		}
	}
	return nil // an error of the iterator comes with Close
}

// taken tells whether the snapshot was closed while it is being read.
func (s *Snapshot) taken() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

var _ kv.Snapshot = (*Snapshot)(nil)
