package diskkv

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"postroad/internal/kv"
)

// TestRecall: whatever commits go on beside it, a snapshot gives from memory what it has on
// disk, and does so at all.
func TestRecall(t *testing.T) {
	e := open(t, Options{FS: vfs.NewMem()})
	keys := [][]byte{[]byte("a"), []byte("b"), []byte("c")}
	var writers, readers sync.WaitGroup
	stop := make(chan struct{})
	for i := range uint64(4) {
		writers.Go(func() {
			r := rand.New(rand.NewPCG(i, 1))
			for range 300 {
				if _, err := e.Commit(ctx, randomBatch(r, keys)); err != nil && !errors.Is(err, kv.ErrConflict) {
					t.Error(err)
				}
			}
		})
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					compare(t, e, keys)
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
	compare(t, e, keys)
	if again := compare(t, e, keys); again != len(keys)+3 {
		t.Errorf("%d of %d reads from memory with nobody writing", again, len(keys)+3)
	}
}

// randomBatch changes some keys and numbers, blindly at times.
func randomBatch(r *rand.Rand, keys [][]byte) kv.Batch {
	k := keys[r.IntN(len(keys))]
	b := kv.Batch{Space: "s", Quiet: r.IntN(2) == 0}
	switch r.IntN(4) {
	case 0:
		b.Puts = []kv.Put{{Key: k, Value: []byte{byte(r.Uint32())}}}
	case 1:
		b.Deletes = [][]byte{k}
	case 2:
		b.Ranges = []kv.Range{{From: keys[0], To: k}}
	default:
		b.Guards = []kv.Guard{{Kind: kv.GuardPresent, Key: k}}
		b.Adds = []kv.Add{{Key: keys[0], N: 1}}
		b.Takes = []kv.Take{{Key: keys[0], N: 1}}
		b.Puts = []kv.Put{{Key: k, Value: []byte{byte(r.Uint32())}}}
	}
	return b
}

// compare reads everything twice from one snapshot, each time beside what Pebble has, and
// tells how many of the second reads came from memory.
func compare(t *testing.T, e *Engine, keys [][]byte) (recalled int) {
	snap, err := e.Snapshot(ctx, "s")
	if err != nil {
		t.Error(err)
		return 0
	}
	defer snap.Close()
	s := snap.(*Snapshot)
	for range 2 {
		recalled = 0
		for _, k := range keys {
			if _, ok := s.recall(k); ok {
				recalled++
			}
			got, err := s.Get(k)
			want := onDisk(t, s, kindKey, k)
			if (err != nil) != (want == nil) || !bytes.Equal(got, want) {
				t.Errorf("key %s: %x, on disk %x", k, got, want)
			}
		}
		for kind, key := range map[byte][]byte{kindCounter: keys[0], kindSequence: keys[0], kindVersion: nil} {
			if _, ok := s.recallNumber(kind, key); ok {
				recalled++
			}
			if n, err := s.number(kind, key); err != nil || n != number(onDisk(t, s, kind, key)) {
				t.Errorf("%c: %d, %v", kind, n, err)
			}
		}
		if uint64(s.Version()) != number(onDisk(t, s, kindVersion, nil)) {
			t.Errorf("version %d", s.Version())
		}
	}
	return recalled
}

// onDisk reads by Pebble's snapshot, nil where there is nothing.
func onDisk(t *testing.T, s *Snapshot, kind byte, key []byte) []byte {
	value, closer, err := s.below.Get(newKey(s.prefix, kind, key))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err != nil {
		t.Error(err)
		return nil
	}
	defer closer.Close()
	return append([]byte{}, value...)
}
