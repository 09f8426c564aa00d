package kvtest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"postroad/internal/kv"
)

// atOnce runs f on many goroutines and waits for them.
func atOnce(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

// hotCounters: with everybody adding at once the limit holds, and nothing below it is lost.
func hotCounters(t *testing.T, e *Store) {
	const limit = 100
	var mu sync.Mutex
	taken := 0
	atOnce(16, func(int) {
		for range 20 {
			_, err := e.Commit(ctx, kv.Batch{Space: "s", Adds: []kv.Add{{Key: []byte("c"), N: 1, Limit: limit}}})
			if err != nil && !errors.Is(err, kv.ErrLimit) {
				t.Errorf("add: %v", err)
			}
			if err == nil {
				mu.Lock()
				taken++
				mu.Unlock()
			}
		}
	})
	if n := counter(t, e, "s", "c"); n != limit || taken != limit {
		t.Errorf("counter %d, %d adds acknowledged, limit %d", n, taken, limit)
	}
	e.reopen(t)
	if n, v := counter(t, e, "s", "c"), version(t, e, "s"); n != limit || v != limit {
		t.Errorf("counter %d and version %d after opening again", n, v)
	}
}

// hotSequences: no number twice, none lost, and versions in the order of the numbers.
func hotSequences(t *testing.T, e *Store) {
	var mu sync.Mutex
	type got struct {
		first   uint64
		n       uint32
		version kv.Version
	}
	var all []got
	atOnce(16, func(i int) {
		for j := range 25 {
			n := uint32(1 + (i+j)%3)
			b := take(n, 0)
			b.Puts = []kv.Put{{Key: []byte("k--------"), Value: make([]byte, 8), Places: []kv.Place{
				{Offset: 1, Width: 8}, {InValue: true, Width: 8, Version: true}}}}
			r, err := e.Commit(ctx, b)
			if err != nil {
				t.Errorf("take: %v", err)
				return
			}
			mu.Lock()
			all = append(all, got{r[0].Taken[0], n, r[0].Version})
			mu.Unlock()
		}
	})
	slices.SortFunc(all, func(a, b got) int { return int(a.first) - int(b.first) })
	next := uint64(1)
	for i, g := range all {
		if g.first != next {
			t.Fatalf("numbers %d to %d are lost or given twice", next, g.first)
		}
		if g.version != kv.Version(i+1) {
			t.Fatalf("number %d has version %d, want %d", g.first, g.version, i+1)
		}
		want(t, e, "s", "k"+number(g.first), number(uint64(g.version)))
		next += uint64(g.n)
	}
}

// manySpaces: commits over overlapping sets of spaces, in any order, never wait for each
// other in a circle, and move all of their spaces together.
func manySpaces(t *testing.T, e *Store) {
	const spaces, each = 5, 30
	name := func(i int) kv.Space { return kv.Space(fmt.Sprintf("s/%d", i%spaces)) }
	atOnce(10, func(i int) {
		for j := range each {
			batches := []kv.Batch{put(name(i+j), "k", "v"), put(name(i+j+3), "k", "v")}
			batches[0].Adds = []kv.Add{{Key: []byte("c"), N: 1}}
			batches[1].Adds = []kv.Add{{Key: []byte("c"), N: 1}}
			quietly := put(name(i+j+1), fmt.Sprint("q", i, j), "v")
			quietly.Quiet = true
			if _, err := e.Commit(ctx, append(batches, quietly)...); err != nil {
				t.Errorf("commit: %v", err)
				return
			}
		}
	})
	var adds, moves, puts int
	for i := range spaces {
		adds += int(counter(t, e, name(i), "c"))
		moves += int(version(t, e, name(i)))
		puts += len(list(t, snapshot(t, e, name(i)), kv.Prefix([]byte("q"))))
	}
	if adds != 10*each*2 || moves != 10*each*2 || puts != 10*each {
		t.Errorf("%d adds, %d moves, %d quiet puts of %d commits", adds, moves, puts, 10*each)
	}
}

// readersAndWriters: whatever a snapshot shows is whole: as many entries as the counter
// says, the last number and the version to match.
func readersAndWriters(t *testing.T, e *Store) {
	var writers, readers sync.WaitGroup
	stop := make(chan struct{})
	for range 8 {
		writers.Go(func() {
			for range 40 {
				b := take(1, 0)
				b.Adds = []kv.Add{{Key: []byte("c"), N: 1}}
				b.Puts = []kv.Put{{Key: []byte("e--------"), Value: []byte("v"), Places: []kv.Place{{Offset: 1, Width: 8}}}}
				if _, err := e.Commit(ctx, b); err != nil {
					t.Errorf("commit: %v", err)
					return
				}
			}
		})
	}
	for range 2 {
		readers.Go(func() {
			var seen kv.Version
			for {
				select {
				case <-stop:
					return
				default:
				}
				snap, err := e.Snapshot(ctx, "s")
				if err != nil {
					t.Errorf("snapshot: %v", err)
					return
				}
				entries := 0
				for range snap.Scan(kv.Prefix([]byte("e"))) {
					entries++
				}
				n, err1 := snap.Counter([]byte("c"))
				q, err2 := snap.Sequence([]byte("q"))
				v := snap.Version()
				if err := errors.Join(err1, err2, snap.Close()); err != nil || n != int64(entries) || q != uint64(entries) || v != kv.Version(entries) || v < seen {
					t.Errorf("%d entries, counter %d, last number %d, version %d after %d, %v", entries, n, q, v, seen, err)
					return
				}
				seen = v
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
	if v := version(t, e, "s"); v != 320 {
		t.Errorf("version %d after 320 commits", v)
	}
}
