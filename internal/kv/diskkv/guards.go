package diskkv

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"postroad/internal/kv"
)

// knownMax is the largest value, in octets, that is kept in memory for guards.
const knownMax = 256

// record is a key as it stands after all that was applied. Every delivery guards the same
// few keys (its mailbox exists), and looking a key up costs more than all else in a commit
// when the tables of a busy store overlap.
type record struct {
	present bool
	value   []byte
}

// checkGuards compares with everything that was applied, durable or not; s.order must be
// held alone where there are any.
func (s *space) checkGuards(e *Engine, guards []kv.Guard) error {
	for i := range guards {
		holds, err := s.holds(e, &guards[i])
		if err != nil {
			return err
		}
		if !holds {
			return &kv.ConflictError{Space: s.name, Guard: guards[i]}
		}
	}
	return nil
}

// holds checks one guard.
func (s *space) holds(e *Engine, g *kv.Guard) (bool, error) {
	if g.Kind == kv.GuardVersion {
		return kv.Version(s.version.Load()) == g.Version, nil
	}
	if s.stale.Swap(false) {
		clear(s.known)
	}
	if r, ok := s.known[string(g.Key)]; ok {
		return r.holds(g), nil
	}
	value, closer, err := e.db.Get(newKey(s.prefix, kindKey, g.Key))
	if errors.Is(err, pebble.ErrNotFound) {
		s.know(g.Key, record{})
		return g.Kind == kv.GuardAbsent, nil
	} else if err != nil {
		return false, fmt.Errorf("read guarded key: %w", err)
	}
	r := record{present: true, value: value}
	holds := r.holds(g)
	if len(value) <= knownMax {
		s.know(g.Key, record{present: true, value: bytes.Clone(value)})
	}
	return holds, closer.Close()
}

// holds checks a guard against the record.
func (r record) holds(g *kv.Guard) bool {
	switch g.Kind {
	case kv.GuardAbsent:
		return !r.present
	case kv.GuardPresent:
		return r.present
	}
	return r.present && bytes.Equal(r.value, g.Value)
}

// know remembers a record.
func (s *space) know(key []byte, r record) {
	if s.known == nil {
		s.known = map[string]record{}
	}
	s.known[string(key)] = r
}

// changing gives the records from which a batch must take away what it changes. A blind
// one, which shares the lock, leaves that to the next that holds it alone.
func (s *space) changing(blind bool) map[string]record {
	if blind {
		s.stale.Store(true)
		return nil
	}
	return s.known
}
