package diskkv

import (
	"errors"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"postroad/internal/kv"
	"postroad/internal/kv/faultfs"
	"postroad/internal/kv/hlc"
)

// disk is a figure of free space that tests set.
type disk struct {
	mu   sync.Mutex
	free uint64
	err  error
}

func (d *disk) set(free uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.free = free
}

func (d *disk) ask() (uint64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.free, d.err
}

// look makes the engine ask at once.
func look(e *Engine) {
	e.room.mu.Lock()
	e.room.looked = time.Time{}
	e.room.mu.Unlock()
	e.room.look(0)
}

// put is a batch with one value.
func put(size int) kv.Batch {
	return kv.Batch{Space: "s", Puts: []kv.Put{{Key: []byte("k"), Value: make([]byte, size)}}}
}

func TestRoom(t *testing.T) {
	deleting := func(b kv.Batch) kv.Batch {
		b.Deletes = [][]byte{[]byte("gone")}
		return b
	}
	ranging := put(10)
	ranging.Ranges = []kv.Range{{From: []byte("x")}}
	add := func(n int64) kv.Batch { return kv.Batch{Space: "s", Adds: []kv.Add{{Key: []byte("c"), N: n}}} }
	take := func(n uint32) kv.Batch {
		return kv.Batch{Space: "s", Takes: []kv.Take{{Key: []byte("q"), N: n, AtLeast: 1}}}
	}
	d := &disk{free: 1 << 40}
	e := open(t, Options{FS: vfs.NewMem(), FreeBytes: d.ask, Watermark: 1 << 30, Ballast: -1})
	for _, c := range []struct {
		name             string
		b                kv.Batch
		low, none, whole bool // taken below the watermark, near the end, with room
	}{
		{"put", put(1), false, false, true},
		{"delete", deleting(kv.Batch{Space: "s"}), true, false, true},
		{"delete with small puts", deleting(put(4000)), true, false, true},
		{"delete with large puts", deleting(put(5000)), false, false, true},
		{"range with a small put", ranging, true, false, true},
		{"growing add", add(1), false, false, true},
		{"shrinking add", add(-1), true, false, true},
		{"growing add with a delete", deleting(add(1)), true, false, true},
		{"take", take(1), false, false, true},
		{"take of none", take(0), true, false, true},
		{"take with a delete", deleting(take(1)), true, false, true},
		{"what makes room", kv.Batch{Space: "s", Puts: put(5000).Puts, Adds: add(1).Adds, Takes: take(1).Takes, MakesRoom: true}, true, false, true},
		{"nothing", kv.Batch{Space: "s"}, true, false, true},
	} {
		for _, at := range []struct {
			free uint64
			ok   bool
		}{{1<<30 - 1, c.low}, {1<<26 - 1, c.none}, {1 << 30, c.whole}} {
			d.set(at.free)
			look(e)
			before, err := e.Versions(ctx, "s")
			if err != nil {
				t.Fatal(err)
			}
			_, err = e.Commit(ctx, c.b)
			if at.ok && err != nil || !at.ok && !errors.Is(err, kv.ErrFull) {
				t.Errorf("%s, %d octets free: %v", c.name, at.free, err)
			}
			if after, err := e.Versions(ctx, "s"); err != nil || !at.ok && after[0] != before[0] {
				t.Errorf("%s: a refused commit moved the version (%v)", c.name, err)
			}
		}
	}
	if s := e.Stats(); s.Full == 0 || s.Commits == 0 {
		t.Errorf("stats %+v", s)
	}
}

// TestRoomIsLookedForAfterMuchWriting: the figure is asked anew before it is old when much
// was written since.
func TestRoomIsLookedForAfterMuchWriting(t *testing.T) {
	d := &disk{free: 1 << 40}
	e := open(t, Options{FS: vfs.NewMem(), FreeBytes: d.ask, Watermark: 1 << 20, Ballast: -1})
	look(e)
	e.room.mu.Lock()
	e.room.looked = time.Now().Add(time.Hour) // never too old
	e.room.mu.Unlock()
	d.set(0)
	for range 3 {
		if _, err := e.Commit(ctx, put(60_000)); err != nil {
			if !errors.Is(err, kv.ErrFull) {
				t.Fatal(err)
			}
			return
		}
	}
	t.Error("180 kB were taken on a full disk without a look")
}

func TestFreeBytesUnknown(t *testing.T) {
	d := &disk{err: errors.New("cannot tell")}
	e := open(t, Options{FS: vfs.NewMem(), FreeBytes: d.ask})
	if _, err := e.Commit(ctx, put(1)); err != nil {
		t.Errorf("commit: %v", err)
	}
}

// hasBallast tells whether the file is there, waiting a while for it to come or go.
func hasBallast(t *testing.T, fs vfs.FS, want bool) {
	t.Helper()
	for range 1000 {
		if _, err := fs.Stat("store/" + ballastName); (err == nil) == want {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("the ballast file: %v did not come to be", want)
}

func TestBallast(t *testing.T) {
	fs := vfs.NewMem()
	d := &disk{free: 1 << 40}
	e := open(t, Options{FS: fs, FreeBytes: d.ask, Watermark: 1 << 30, Ballast: 1 << 20})
	hasBallast(t, fs, true)
	d.set(1 << 29)
	look(e)
	hasBallast(t, fs, true) // low, not very low
	d.set(1<<28 - 1)
	look(e)
	hasBallast(t, fs, false)
	d.set(1<<30 + 1)
	look(e)
	hasBallast(t, fs, false) // room enough to write, not to lay something by
	d.set(1 << 40)
	look(e)
	hasBallast(t, fs, true)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	d.set(1 << 29)
	e = open(t, Options{FS: fs, FreeBytes: d.ask, Watermark: 1 << 30, Ballast: 1 << 20})
	d.set(1 << 20)
	// The housekeeping finds the file of the former run, which is then given up.
	for range 1000 {
		look(e)
		if _, err := fs.Stat("store/" + ballastName); err != nil {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Error("the ballast file of a former run was not given up")
}

func TestBallastThatCannotBeMade(t *testing.T) {
	mem := vfs.NewMem()
	fs := faultfs.New(mem)
	d := &disk{free: 0}
	e := open(t, Options{FS: fs, FreeBytes: d.ask, Watermark: 1 << 30, Ballast: 1 << 20})
	refused := make(chan struct{}, 10)
	fs.Inject(faultfs.On(faultfs.Write, func(op faultfs.Op) error {
		if op.Path != "store/"+ballastName {
			return nil
		}
		refused <- struct{}{}
		return syscall.ENOSPC
	}))
	d.set(1 << 40)
	look(e)
	select {
	case <-refused:
	case <-time.After(10 * time.Second):
		t.Fatal("nobody tried to make the ballast file")
	}
	hasBallast(t, mem, false)
}

// TestClockOnAFullDisk: ids go on when nothing else does.
func TestClockOnAFullDisk(t *testing.T) {
	d := &disk{free: 1 << 40}
	e := open(t, Options{FS: vfs.NewMem(), FreeBytes: d.ask, Watermark: 1 << 30, Ballast: -1})
	d.set(1 << 29)
	look(e)
	for range 2 {
		c, err := hlc.Open(ctx, e, 1)
		if err != nil {
			t.Fatal(err)
		}
		c.Next()
		c.Close()
	}
}
