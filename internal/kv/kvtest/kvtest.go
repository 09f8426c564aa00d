// Package kvtest is the contract of kv.Engine as tests: every engine runs them.
//
// [Run] has a named case for each sentence of the contract, [Agree] makes random commits
// on several engines and a plain model at once, which must agree at every step. What an
// engine does on a failing disk is tested beside the engine.
package kvtest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"time"

	"postroad/internal/kv"
)

// TB is the part of testing.TB that rapid's T has, too.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
	Cleanup(func())
}

// Store is an engine under test. Now, where it is not nil, has been given to it as its
// clock by the factory; Reopen, where it is not nil, closes the engine and opens it again
// over what it stored.
type Store struct {
	kv.Engine
	Reopen func(t TB) kv.Engine
}

// Factory makes an empty engine whose clock is now. It closes it in a Cleanup.
type Factory func(t TB, now func() time.Time) *Store

// reopen closes and opens the store where it can.
func (s *Store) reopen(t TB) {
	t.Helper()
	if s.Reopen != nil {
		s.Engine = s.Reopen(t)
	}
}

// Run tests the contract.
func Run(t *testing.T, open Factory) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, *Store)
	}{
		{"guard absent", guardAbsent},
		{"guard present", guardPresent},
		{"guard equals", guardEquals},
		{"guard version", guardVersion},
		{"guards see every earlier change", guardsAfterChanges},
		{"guard names itself in the error", guardError},
		{"adds", adds},
		{"adds with a limit", addsLimit},
		{"adds twice in a batch", addsTwice},
		{"takes", takes},
		{"takes at least", takesAtLeast},
		{"takes none", takesNone},
		{"takes beyond the last number", takesBeyond},
		{"places", places},
		{"places too narrow", placesNarrow},
		{"order within a batch", orderInBatch},
		{"all or nothing over spaces", allOrNothing},
		{"quiet", quiet},
		{"versions", versions},
		{"spaces are apart", spacesApart},
		{"scans", scans},
		{"range deletes", rangeDeletes},
		{"snapshots stand still", snapshotsStandStill},
		{"snapshot closed", snapshotClosed},
		{"values are copies", valuesAreCopies},
		{"watch", watch},
		{"spaces are listed", spacesListed},
		{"limits", limits},
		{"malformed", malformed},
		{"cancelled", cancelled},
		{"empty commit", emptyCommit},
		{"closed", closed},
		{"hot counters", hotCounters},
		{"hot sequences", hotSequences},
		{"many spaces at once", manySpaces},
		{"delivery beside delivery", readersAndWriters},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t, time.Now)) })
	}
	t.Run("once", func(t *testing.T) { once(t, open) })
	t.Run("once over several spaces", func(t *testing.T) { onceSpaces(t, open(t, time.Now)) })
	t.Run("once lasts seven days", func(t *testing.T) { onceAges(t, open) })
}

// ctx is what tests without a deadline use.
var ctx = context.Background()

// commit commits or ends the test.
func commit(t TB, e kv.Engine, b ...kv.Batch) []kv.Result {
	t.Helper()
	r, err := e.Commit(ctx, b...)
	if err != nil {
		t.Fatalf("commit: %v", err)
	}
	if len(r) != len(b) {
		t.Fatalf("%d results for %d batches", len(r), len(b))
	}
	return r
}

// refused commits and wants an error.
func refused(t TB, e kv.Engine, want error, b ...kv.Batch) error {
	t.Helper()
	_, err := e.Commit(ctx, b...)
	if !errors.Is(err, want) {
		t.Fatalf("commit: %v, want %v", err, want)
	}
	return err
}

// snapshot opens a snapshot that the test's end closes.
func snapshot(t TB, e kv.Engine, s kv.Space) kv.Snapshot {
	t.Helper()
	snap, err := e.Snapshot(ctx, s)
	if err != nil {
		t.Fatalf("snapshot: %v", err)
	}
	t.Cleanup(func() { snap.Close() })
	return snap
}

// put is a batch that puts key-value pairs.
func put(s kv.Space, pairs ...string) kv.Batch {
	b := kv.Batch{Space: s}
	for i := 0; i < len(pairs); i += 2 {
		b.Puts = append(b.Puts, kv.Put{Key: []byte(pairs[i]), Value: []byte(pairs[i+1])})
	}
	return b
}

// get reads a key of a space as it stands, "-" where it is missing.
func get(t TB, e kv.Engine, s kv.Space, key string) string {
	t.Helper()
	snap, err := e.Snapshot(ctx, s)
	if err != nil {
		t.Fatalf("snapshot: %v", err)
	}
	defer snap.Close()
	v, err := snap.Get([]byte(key))
	if errors.Is(err, kv.ErrNotFound) {
		return "-"
	} else if err != nil {
		t.Fatalf("get: %v", err)
	}
	return string(v)
}

// want compares what get reads.
func want(t TB, e kv.Engine, s kv.Space, key, value string) {
	t.Helper()
	if got := get(t, e, s, key); got != value {
		t.Errorf("space %q, key %q: %q, want %q", s, key, got, value)
	}
}

// counter reads a counter as it stands.
func counter(t TB, e kv.Engine, s kv.Space, key string) int64 {
	t.Helper()
	snap, err := e.Snapshot(ctx, s)
	if err != nil {
		t.Fatalf("snapshot: %v", err)
	}
	defer snap.Close()
	n, err := snap.Counter([]byte(key))
	if err != nil {
		t.Fatalf("counter: %v", err)
	}
	return n
}

// sequence reads the last number of a sequence as it stands.
func sequence(t TB, e kv.Engine, s kv.Space, key string) uint64 {
	t.Helper()
	snap, err := e.Snapshot(ctx, s)
	if err != nil {
		t.Fatalf("snapshot: %v", err)
	}
	defer snap.Close()
	n, err := snap.Sequence([]byte(key))
	if err != nil {
		t.Fatalf("sequence: %v", err)
	}
	return n
}

// version asks for the durable version of one space.
func version(t TB, e kv.Engine, s kv.Space) kv.Version {
	t.Helper()
	v, err := e.Versions(ctx, s)
	if err != nil {
		t.Fatalf("versions: %v", err)
	}
	return v[0]
}

// list scans a range into "key=value" strings.
func list(t TB, snap kv.Snapshot, r kv.Range) []string {
	t.Helper()
	entries := []string{}
	for e, err := range snap.Scan(r) {
		if err != nil {
			t.Fatalf("scan: %v", err)
		}
		entries = append(entries, fmt.Sprintf("%s=%s", e.Key, e.Value))
	}
	return entries
}

// number is n in 8 octets, as places are filled.
func number(n uint64) string { return string(binary.BigEndian.AppendUint64(nil, n)) }
