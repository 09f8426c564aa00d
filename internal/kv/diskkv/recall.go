package diskkv

// Every delivery reads the same few short keys of its account, and looking one up in a
// busy store costs as much as the rest of the commit. So a snapshot answers from what the
// space has in memory while that is what the snapshot shows: while no commit to the space
// was applied since it was taken.

const (
	// recallMax is the largest value, in octets, that a read leaves in memory.
	recallMax = 64
	// recallKeys is up to how many known keys of a space a read adds another.
	recallKeys = numbersMax / 2
)

// current takes the space's lock, shared, if what is in memory is what the snapshot shows.
// It never waits: a commit at work means that it soon will not be.
func (s *Snapshot) current() bool {
	if !s.exact || !s.hot.order.TryRLock() {
		return false
	}
	if s.hot.changes.Load() != s.changes {
		s.hot.order.RUnlock()
		return false
	}
	return true
}

// recall gives a key from memory.
func (s *Snapshot) recall(key []byte) (record, bool) {
	if !s.current() {
		return record{}, false
	}
	defer s.hot.order.RUnlock()
	if s.hot.stale.Load() {
		return record{}, false
	}
	r, ok := s.hot.known[string(key)]
	return r, ok
}

// recallNumber gives a counter, a sequence or the version from memory.
func (s *Snapshot) recallNumber(kind byte, key []byte) (uint64, bool) {
	if !s.current() {
		return 0, false
	}
	defer s.hot.order.RUnlock()
	switch kind {
	case kindCounter:
		n, ok := s.hot.counters[string(key)]
		return uint64(n), ok
	case kindSequence:
		n, ok := s.hot.sequences[string(key)]
		return n, ok
	}
	return s.hot.version.Load(), s.hot.isLoaded()
}

// remember leaves what was read in memory, if it is still so and nobody is at work there.
func (s *Snapshot) remember(key []byte, r record) {
	if !s.exact || !s.hot.order.TryLock() {
		return
	}
	defer s.hot.order.Unlock()
	if s.hot.changes.Load() != s.changes {
		return
	}
	if s.hot.stale.Swap(false) {
		clear(s.hot.known)
	}
	if len(s.hot.known) < recallKeys {
		s.hot.know(key, r)
	}
}
