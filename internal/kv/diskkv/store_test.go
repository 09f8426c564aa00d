package diskkv

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"postroad/internal/kv"
)

func TestCheckpoint(t *testing.T) {
	dir := t.TempDir()
	e := open(t, Options{Dir: filepath.Join(dir, "store")})
	for i := range 50 {
		if _, err := e.Commit(ctx, kv.Batch{Space: "s", Puts: []kv.Put{{Key: fmt.Appendf(nil, "%02d", i)}}}); err != nil {
			t.Fatal(err)
		}
	}
	copied := filepath.Join(dir, "copy")
	if err := e.Checkpoint(ctx, copied); err != nil {
		t.Fatal(err)
	}
	if err := e.Checkpoint(ctx, copied); !errors.Is(err, os.ErrExist) {
		t.Errorf("checkpoint into a directory that exists: %v", err)
	}
	if _, err := e.Commit(ctx, kv.Batch{Space: "s", Puts: []kv.Put{{Key: []byte("later")}}}); err != nil {
		t.Fatal(err)
	}
	c := open(t, Options{Dir: copied})
	snap, err := c.Snapshot(ctx, "s")
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	n := 0
	for range snap.Scan(kv.Range{}) {
		n++
	}
	if n != 50 || snap.Version() != 50 {
		t.Errorf("the copy has %d entries at version %d, want 50", n, snap.Version())
	}
}

func TestForeignLayoutIsRefused(t *testing.T) {
	fs := vfs.NewMem()
	e := open(t, Options{FS: fs})
	if err := e.db.Set(formatKey, []byte("postroad 999"), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: "store", FS: fs, Logger: quietLog}); err == nil || !strings.Contains(err.Error(), "postroad 999") {
		t.Errorf("open: %v", err)
	}
}

// TestStoreIsLocked: two engines over one directory would be the end of it.
func TestStoreIsLocked(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	open(t, Options{Dir: dir})
	if e, err := Open(Options{Dir: dir, Logger: quietLog}); err == nil {
		e.Close()
		t.Error("opened twice")
	}
}

// TestLateSnapshots: a snapshot that is never closed does not hold Close up for good, nor
// does a scan in which somebody stands still.
func TestLateSnapshots(t *testing.T) {
	e := open(t, Options{FS: vfs.NewMem(), snapshotMax: 10 * time.Millisecond})
	if _, err := e.Commit(ctx, kv.Batch{Space: "s", Puts: []kv.Put{{Key: []byte("a")}, {Key: []byte("b")}}}); err != nil {
		t.Fatal(err)
	}
	snap, err := e.Snapshot(ctx, "s")
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	var last error
	for _, err := range snap.Scan(kv.Range{}) {
		if last = err; err == nil {
			go func() { closed <- e.Close() }()
			for !snap.(*Snapshot).taken() {
				time.Sleep(time.Millisecond)
			}
		}
	}
	if !errors.Is(last, kv.ErrClosed) {
		t.Errorf("the scan ended with %v", last)
	}
	if err := <-closed; err != nil {
		t.Errorf("close: %v", err)
	}
	if _, err := snap.Get([]byte("a")); !errors.Is(err, kv.ErrClosed) {
		t.Errorf("get: %v", err)
	}
}

func TestPurgeOnce(t *testing.T) {
	var day atomic.Int64
	now := func() time.Time { return time.Date(2026, 6, 1+int(day.Load()), 0, 0, 0, 0, time.UTC) }
	e := open(t, Options{FS: vfs.NewMem(), Now: now})
	e.stop() // or the engine's own first purge comes between
	e.tasks.Wait()
	kept := func() int {
		it, err := e.db.NewIter(&pebble.IterOptions{LowerBound: []byte{0, kindOnce}, UpperBound: []byte{0, kindOnce + 1}})
		if err != nil {
			t.Fatal(err)
		}
		defer it.Close()
		n := 0
		for ok := it.First(); ok; ok = it.Next() {
			n++
		}
		return n
	}
	for range 30 {
		if _, err := e.Commit(ctx, kv.Batch{Space: "s", Once: fmt.Append(nil, day.Load()), Quiet: true}); err != nil {
			t.Fatal(err)
		}
		day.Add(1)
	}
	if n := kept(); n != 30 {
		t.Fatalf("%d results before the purge", n)
	}
	if err := e.purgeOnce(); err != nil {
		t.Fatal(err)
	}
	if n := kept(); n < 7 || n > 14 {
		t.Errorf("%d results after the purge, want one to two weeks'", n)
	}
	if r, err := e.Commit(ctx, kv.Batch{Space: "s", Once: fmt.Append(nil, 23), Quiet: true}); err != nil || !r[0].Already {
		t.Errorf("the result of seven days ago is gone (%v)", err)
	}
}

func TestDamagedOnce(t *testing.T) {
	good := appendResult([]byte{2}, "space", &kv.Result{Version: 5, Taken: []uint64{1, 2}})
	if _, r, err := parseResults(good); err != nil || r["space"].Version != 5 || len(r["space"].Taken) != 2 {
		t.Errorf("%v, %v", r, err)
	}
	for n := range good {
		if n == 1 {
			continue // a time and no results
		}
		if _, r, err := parseResults(good[:n]); err == nil {
			t.Errorf("the first %d octets read as %v", n, r)
		}
	}
}

// TestHotSpacesAreBounded: what nobody uses is forgotten, the longest unused first, and
// read again.
func TestHotSpacesAreBounded(t *testing.T) {
	e := open(t, Options{FS: vfs.NewMem(), HotSpaces: 3})
	for round := range 2 {
		for i := range 10 {
			b := kv.Batch{Space: kv.Space(fmt.Sprint(i)), Takes: []kv.Take{{Key: []byte("q"), N: 1}}}
			r, err := e.Commit(ctx, b)
			if err != nil || r[0].Taken[0] != uint64(round+1) || r[0].Version != kv.Version(round+1) {
				t.Fatalf("space %d, round %d: %v, %v", i, round, r, err)
			}
		}
	}
	if n := len(e.table.spaces); n != 3 {
		t.Errorf("%d spaces in memory, want 3", n)
	}
	for _, name := range []kv.Space{"7", "8", "9"} {
		if e.table.spaces[name] == nil {
			t.Errorf("space %s, used last, is not in memory", name)
		}
	}
}

// TestNumbersInMemoryAreBounded: a space with many mailboxes.
func TestNumbersInMemoryAreBounded(t *testing.T) {
	e := open(t, Options{FS: vfs.NewMem()})
	for round := range 2 {
		for i := range 3 * numbersMax {
			b := kv.Batch{
				Space:  "s",
				Guards: []kv.Guard{{Kind: kv.GuardAbsent, Key: fmt.Append(nil, "g", i)}},
				Adds:   []kv.Add{{Key: fmt.Append(nil, i), N: 1}},
				Takes:  []kv.Take{{Key: fmt.Append(nil, i), N: 1}},
			}
			if r, err := e.Commit(ctx, b); err != nil || r[0].Taken[0] != uint64(round+1) {
				t.Fatalf("%v, %v", r, err)
			}
		}
	}
	s := e.table.find("s")
	if len(s.counters) > numbersMax || len(s.sequences) > numbersMax || len(s.known) > numbersMax {
		t.Errorf("%d counters, %d sequences, %d records in memory", len(s.counters), len(s.sequences), len(s.known))
	}
	e.table.release(s)
}

// TestCompactionsRun: the scheduler lets Pebble tidy up, also what Open held back.
func TestCompactionsRun(t *testing.T) {
	fs := vfs.NewMem()
	o := Options{FS: fs, memTableMax: 32 << 10}
	fill := func(e *Engine) {
		for i := range 400 {
			if _, err := e.Commit(ctx, kv.Batch{Space: "s", Puts: []kv.Put{{Key: fmt.Append(nil, i%50), Value: make([]byte, 2000)}}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	settled := func(e *Engine) {
		t.Helper()
		for range 1000 {
			if m := e.Metrics(); m.Compact.Count > 0 && m.Levels[0].TablesCount < 8 {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Errorf("%d tables in level 0 after %d compactions", e.Metrics().Levels[0].TablesCount, e.Metrics().Compact.Count)
	}
	e := open(t, o)
	e.scheduler.mu.Lock()
	e.scheduler.open = false // so that the next Open has something to do
	e.scheduler.mu.Unlock()
	fill(e)
	if n := e.Metrics().Compact.Count; n != 0 {
		t.Errorf("%d compactions beside a closed scheduler", n)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = open(t, o)
	settled(e)
	fill(e)
	settled(e)
}
