package diskkv

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"postroad/internal/kv"
)

// numbersMax is how many counters, sequences and guarded keys of one hot space are kept in memory.
const numbersMax = 64

// space is what the engine holds in memory of one hot space. Who uses it holds a
// reference, so that it is there as long as anything of the space is not durable.
type space struct {
	name   kv.Space
	prefix []byte

	// order is held by a commit from its guards until it was applied: alone, or shared with
	// others by a blind batch, which neither reads nor numbers anything. It guards the maps.
	order     sync.RWMutex
	counters  map[string]int64
	sequences map[string]uint64
	known     map[string]record // what guards have asked for, as it stands

	stale   atomic.Bool   // known is out of date: set by blind batches, which share the lock
	version atomic.Uint64 // applied; changed under order

	// What is in memory is what a snapshot shows as long as nothing was applied since: see
	// Snapshot.recall.
	applying atomic.Int64  // commits between the count below and the end of their apply
	changes  atomic.Uint64 // commits that were applied, or are about to be

	mu       sync.Mutex // all below
	loaded   bool       // version and durable were read from the store
	durable  kv.Version
	pending  []*pending // applied, or about to be, and not synced
	watchers map[chan kv.Version]struct{}

	refs       int    // guarded by the table's lock, like the next two
	prev, next *space // among those without references, the longest unused first
}

// pending is a commit on its way to the disk.
type pending struct {
	done chan struct{} // closed when it is durable, or has failed
	err  error         // set before
}

// load reads the version at the first use of the space. No commit of this space is on its
// way then, so that what is read is durable.
func (s *space) load(e *Engine) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loaded {
		return nil
	}
	v, err := e.readNumber(s.prefix, kindVersion, nil)
	if err != nil {
		return err
	}
	s.loaded = true
	s.durable = kv.Version(v)
	s.version.Store(v)
	return nil
}

// isLoaded tells whether the version is known.
func (s *space) isLoaded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.loaded
}

// readNumber reads a counter, a sequence or the version from the store, 0 where it is missing.
func (e *Engine) readNumber(prefix []byte, kind byte, key []byte) (uint64, error) {
	value, err := e.read(newKey(prefix, kind, key))
	if errors.Is(err, kv.ErrNotFound) {
		return 0, nil
	}
	return number(value), err
}

// begin notes that p is about to be applied to the space.
func (s *space) begin(p *pending) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = append(s.pending, p)
}

// settle notes that p is durable, and with it the version it made, and tells the watchers.
func (s *space) settle(p *pending, v kv.Version) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, other := range s.pending {
		if other == p {
			last := len(s.pending) - 1
			s.pending[i], s.pending[last] = s.pending[last], nil
			s.pending = s.pending[:last]
			break
		}
	}
	if p.err != nil || v <= s.durable {
		return
	}
	s.durable = v
	for w := range s.watchers {
		select {
		case <-w:
		default:
		}
		w <- v
	}
}

// underWay lists the commits to the space that are not known to be durable.
func (s *space) underWay() []*pending {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*pending(nil), s.pending...)
}

// await returns when all of these commits are durable.
func (e *Engine) await(ctx context.Context, under []*pending) error {
	for _, p := range under {
		select {
		case <-p.done:
			if p.err != nil {
				return p.err
			}
		case <-e.dead:
			return e.cause
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// standing gives the count of changes and whether none of them is half-way. The order of
// the two loads is that of starting, turned round.
func (s *space) standing() (changes uint64, still bool) {
	changes = s.changes.Load()
	return changes, s.applying.Load() == 0
}

// starting notes that a commit is about to be applied; ended follows its apply.
func (s *space) starting() {
	s.applying.Add(1)
	s.changes.Add(1)
}

func (s *space) ended() { s.applying.Add(-1) }

// trim keeps the memory of a space bounded; s.order must be held alone.
func (s *space) trim() {
	if len(s.counters) > numbersMax {
		clear(s.counters)
	}
	if len(s.sequences) > numbersMax {
		clear(s.sequences)
	}
	if len(s.known) > numbersMax {
		clear(s.known)
	}
}

// table holds the hot spaces: all that are in use, and the longest-used of the others.
type table struct {
	mu      sync.Mutex // all below, and refs, prev and next of every space
	spaces  map[kv.Space]*space
	idle    space // head of the ring of those without references
	nIdle   int
	idleMax int
}

// newTable makes a table that keeps so many spaces nobody uses.
func newTable(idleMax int) *table {
	t := &table{spaces: map[kv.Space]*space{}, idleMax: idleMax}
	t.idle.prev, t.idle.next = &t.idle, &t.idle
	return t
}

// acquire gives a space with a reference; release it.
func (t *table) acquire(name kv.Space) *space {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.spaces[name]
	if s == nil {
		s = &space{name: name, prefix: prefixOf(name)}
		t.spaces[name] = s
	}
	t.hold(s)
	return s
}

// find is acquire for a space that is hot, nil for one that is not.
func (t *table) find(name kv.Space) *space {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.spaces[name]
	if s != nil {
		t.hold(s)
	}
	return s
}

// hold adds a reference; t.mu must be held.
func (t *table) hold(s *space) {
	if s.next != nil {
		s.prev.next, s.next.prev = s.next, s.prev
		s.prev, s.next = nil, nil
		t.nIdle--
	}
	s.refs++
}

// release gives a reference back.
func (t *table) release(s *space) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.refs--; s.refs > 0 {
		return
	}
	s.prev, s.next = t.idle.prev, &t.idle
	s.prev.next, s.next.prev = s, s
	if t.nIdle++; t.nIdle <= t.idleMax {
		return
	}
	old := t.idle.next
	t.idle.next, old.next.prev = old.next, &t.idle
	old.prev, old.next = nil, nil
	t.nIdle--
	delete(t.spaces, old.name)
}
