package hlc

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/kv"
	"postroad/internal/kv/memkv"
)

var ctx = context.Background()

// bubble is from where synctest's time starts, in 2000, to well past the epoch.
const bubble = 30 * 365 * 24 * time.Hour

// must ends the test over an error.
func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestString(t *testing.T) {
	ids := []ID{0, 1, 31, 32, 1 << 40, 1<<63 - 1, 1 << 63, 1<<64 - 1}
	var last string
	for _, id := range ids {
		s := id.String()
		if back, err := Parse(s); err != nil || back != id {
			t.Errorf("%d prints as %q, which reads as %d (%v)", uint64(id), s, back, err)
		}
		if s <= last && id > 0 {
			t.Errorf("%q does not order after %q", s, last)
		}
		last = s
	}
	for _, s := range []string{"", "0", "000000000000i", "00000000000000", "g000000000000", "00000000000 0", "000000000000A"} {
		if id, err := Parse(s); !errors.Is(err, ErrFormat) {
			t.Errorf("%q reads as %d (%v)", s, id, err)
		}
	}
}

func TestAt(t *testing.T) {
	now := time.Date(2026, 5, 6, 7, 8, 9, 123_456_789, time.UTC)
	id := At(now)
	if got := id.Time(); !got.Equal(now.Truncate(time.Millisecond)) {
		t.Errorf("an id at %v tells %v", now, got)
	}
	if before := At(now.Add(-time.Millisecond)) | 1<<(nodeBits+counterBits) - 1; before >= id {
		t.Errorf("the last id of the millisecond before, %v, is not below %v", before, id)
	}
	if At(time.Unix(0, 0)) != 0 {
		t.Error("an instant before the epoch has ids")
	}
}

func TestNewClock(t *testing.T) {
	c := NewClock(7)
	before := time.Now()
	id := c.Next()
	if id&NodeMax != 7 {
		t.Errorf("node %d", id&NodeMax)
	}
	if d := id.Time().Sub(before); d < -time.Second || d > time.Minute {
		t.Errorf("an id of now tells %v", id.Time())
	}
	var mu sync.Mutex
	var all []ID
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			var mine []ID
			for range 10_000 {
				mine = append(mine, c.Next())
			}
			if !slices.IsSorted(mine) {
				t.Error("ids went back")
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, mine...)
		})
	}
	wg.Wait()
	slices.Sort(all)
	if len(slices.Compact(all)) != 80_000 {
		t.Error("an id was given twice")
	}
}

// TestClockJumps: whatever the machine's clock says, also over restarts, ids only grow.
func TestClockJumps(t *testing.T) {
	e := memkv.New()
	defer e.Close()
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var last ID
	for i, jump := range []time.Duration{0, time.Hour, -2 * time.Hour, -24 * 365 * 10 * time.Hour, 0, 3 * time.Hour} {
		at := start.Add(jump)
		var now atomic.Pointer[time.Time]
		now.Store(&at)
		c := must(open(ctx, e, 3, func() time.Time { return *now.Load() }))(t)
		for step := range 3 {
			for range 5000 { // more than a millisecond holds
				id := c.Next()
				if id <= last {
					t.Fatalf("start %d, step %d: %v after %v", i, step, id, last)
				}
				last = id
			}
			back := now.Load().Add(-time.Minute)
			now.Store(&back)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNodesAreApart(t *testing.T) {
	e := memkv.New()
	defer e.Close()
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	now := func() time.Time { return at }
	a, b := must(open(ctx, e, 1, now))(t), must(open(ctx, e, 2, now))(t)
	defer a.Close()
	defer b.Close()
	seen := map[ID]bool{}
	for range 100 {
		for _, id := range []ID{a.Next(), b.Next()} {
			if seen[id] {
				t.Fatalf("id %v twice", id)
			}
			seen[id] = true
		}
	}
	if _, err := Open(ctx, e, NodeMax+1); err == nil {
		t.Error("a node number too large was taken")
	}
}

// engine counts commits and fails them on demand.
type engine struct {
	kv.Engine
	commits atomic.Int64
	fail    atomic.Pointer[error]
}

func (e *engine) Commit(ctx context.Context, b ...kv.Batch) ([]kv.Result, error) {
	e.commits.Add(1)
	if err := e.fail.Load(); err != nil {
		return nil, *err
	}
	return e.Engine.Commit(ctx, b...)
}

// TestRenewal: windows are renewed in time while ids are asked for, and nothing is
// committed while they are not.
func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(bubble) // past the epoch
		e := &engine{Engine: memkv.New()}
		c := must(Open(ctx, e, 1))(t)
		defer c.Close()
		for range 600 {
			time.Sleep(100 * time.Millisecond)
			c.Next()
			synctest.Wait()
			if left := c.reserved.Load() - c.last.Load()>>counterBits; left < 4000 {
				t.Fatalf("%d ms left of the window", left)
			}
		}
		busy := e.commits.Load()
		if busy > 15 {
			t.Errorf("%d commits in a minute", busy)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if e.commits.Load() != busy {
			t.Error("commits while nobody asked for ids")
		}
		if id := c.Next(); time.Since(id.Time()) > time.Second {
			t.Errorf("after a pause the id tells %v", id.Time())
		}
	})
}

// TestEngineFails: Next waits for an engine that fails for a while, and for none that was
// closed.
func TestEngineFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(bubble) // past the epoch
		e := &engine{Engine: memkv.New()}
		c := must(Open(ctx, e, 1))(t)
		trouble := errors.New("trouble")
		e.fail.Store(&trouble)
		time.Sleep(time.Hour) // past the window
		got := make(chan ID)
		go func() { got <- c.Next() }()
		time.Sleep(time.Minute)
		select {
		case <-got:
			t.Error("an id beyond the reservation")
		default:
		}
		e.fail.Store(nil)
		first := <-got
		closed := error(kv.ErrClosed)
		e.fail.Store(&closed)
		time.Sleep(time.Hour)
		if second := c.Next(); second <= first {
			t.Errorf("%v after %v", second, first)
		}
		c.Close()
	})
}

// TestCloseFreesWaiters: nobody hangs in Next over a closed clock.
func TestCloseFreesWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(bubble) // past the epoch
		e := &engine{Engine: memkv.New()}
		c := must(Open(ctx, e, 1))(t)
		trouble := errors.New("trouble")
		e.fail.Store(&trouble)
		time.Sleep(time.Hour)
		got := make(chan ID)
		go func() { got <- c.Next() }()
		synctest.Wait()
		c.Close()
		<-got
	})
}

func TestOpenFails(t *testing.T) {
	e := &engine{Engine: memkv.New()}
	trouble := errors.New("trouble")
	e.fail.Store(&trouble)
	if _, err := Open(ctx, e, 1); !errors.Is(err, trouble) {
		t.Errorf("open: %v", err)
	}
	e.Engine.Close()
	if _, err := Open(ctx, e, 1); !errors.Is(err, kv.ErrClosed) {
		t.Errorf("open over a closed engine: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "0000000000000", "fzzzzzzzzzzzz", "g000000000000", "000000000000u"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := Parse(s); err == nil && id.String() != s {
			t.Errorf("%q reads as %d, which prints as %q", s, uint64(id), id)
		}
	})
}

func BenchmarkNext(b *testing.B) {
	c := NewClock(1)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			c.Next()
		}
	})
}
