package diskkv

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"postroad/internal/kv"
	"postroad/internal/kv/faultfs"
	"postroad/internal/kv/kvtest"
)

// raceSample is how many operations are passed over for each that is failed or cut at, with
// the race detector on.
const raceSample = 6

// ctx is what tests without a deadline use.
var ctx = context.Background()

// faultSpaces are written in pairs, so that half a commit would show.
var faultSpaces = []kv.Space{"a", "b"}

// ledger is what the outside world was told: by Commit and by snapshots.
type ledger struct {
	mu    sync.Mutex
	acked []string            // tags of commits
	seen  map[kv.Space]uint64 // highest number seen in a space, taken or read
}

// copy takes the ledger as it stands. What is in it before a cut must be there after.
func (l *ledger) copy() *ledger {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := &ledger{acked: slices.Clone(l.acked), seen: map[kv.Space]uint64{}}
	for s, n := range l.seen {
		c.seen[s] = n
	}
	return c
}

// saw notes a number that somebody may have passed on.
func (l *ledger) saw(s kv.Space, n uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen[s] = max(l.seen[s], n)
}

// write makes one commit to both spaces: an entry under a taken number, a counter, the
// version; the three are always equal.
func (l *ledger) write(e *Engine, tag string, size int) error {
	var batches []kv.Batch
	for _, s := range faultSpaces {
		batches = append(batches, kv.Batch{
			Space: s,
			Adds:  []kv.Add{{Key: []byte("entries"), N: 1}},
			Takes: []kv.Take{{Key: []byte("uid"), N: 1}},
			Puts: []kv.Put{
				{Key: []byte("e--------"), Value: []byte(tag), Places: []kv.Place{{Offset: 1, Width: 8}}},
				{Key: []byte("t" + tag), Value: make([]byte, size)},
			},
		})
	}
	r, err := e.Commit(ctx, batches...)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acked = append(l.acked, tag)
	for i, s := range faultSpaces {
		l.seen[s] = max(l.seen[s], r[i].Taken[0])
	}
	return nil
}

// read notes what a snapshot shows.
func (l *ledger) read(e *Engine, s kv.Space) error {
	snap, err := e.Snapshot(ctx, s)
	if err != nil {
		return err
	}
	defer snap.Close()
	for entry, err := range snap.Scan(kv.Range{From: []byte("e"), To: []byte("f"), Reverse: true, Limit: 1}) {
		if err != nil {
			return err
		}
		l.saw(s, number(entry.Key[1:]))
	}
	n, err := snap.Sequence([]byte("uid"))
	l.saw(s, n)
	return err
}

// work writes and reads until everything is done or something fails.
func (l *ledger) work(e *Engine, writers, commits int) {
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for w := range writers {
		wg.Go(func() {
			for i := range commits {
				if l.write(e, fmt.Sprintf("%d.%d", w, i), 100*(i%20)) != nil {
					return
				}
			}
		})
	}
	reader := make(chan struct{})
	go func() {
		defer close(reader)
		for {
			select {
			case <-stop:
				return
			default:
			}
			v, err := e.Versions(ctx, faultSpaces...)
			if err != nil {
				return
			}
			for i, s := range faultSpaces {
				l.saw(s, uint64(v[i]))
				if l.read(e, s) != nil {
					return
				}
			}
		}
	}()
	wg.Wait()
	close(stop)
	<-reader
}

// verify opens what a crash left and looks for everything in the ledger.
func (l *ledger) verify(t *testing.T, fs vfs.FS) {
	t.Helper()
	e, err := Open(Options{Dir: "store", FS: fs, Logger: quietLog, Fatal: func(err error) { t.Errorf("after the crash: %v", err) }})
	if err != nil {
		t.Fatalf("open after the crash: %v", err)
	}
	defer e.Close()
	var tags [][]string
	for _, s := range faultSpaces {
		snap, err := e.Snapshot(ctx, s)
		if err != nil {
			t.Fatal(err)
		}
		var of []string
		for entry, err := range snap.Scan(kv.Prefix([]byte("e"))) {
			if err != nil {
				t.Fatal(err)
			}
			of = append(of, string(entry.Value))
			if _, err := snap.Get(append([]byte("t"), entry.Value...)); err != nil {
				t.Errorf("space %s: half of commit %s is gone", s, entry.Value)
			}
			if n := number(entry.Key[1:]); n != uint64(len(of)) {
				t.Errorf("space %s: entry %d is the %dth", s, n, len(of))
			}
		}
		n, err1 := snap.Counter([]byte("entries"))
		q, err2 := snap.Sequence([]byte("uid"))
		if err := errors.Join(err1, err2); err != nil || int(n) != len(of) || int(q) != len(of) || int(snap.Version()) != len(of) {
			t.Errorf("space %s: %d entries, counter %d, sequence %d, version %d, %v", s, len(of), n, q, snap.Version(), err)
		}
		if q < l.seen[s] {
			t.Errorf("space %s: number %d had been seen, the store knows %d", s, l.seen[s], q)
		}
		snap.Close()
		slices.Sort(of)
		tags = append(tags, of)
	}
	if !slices.Equal(tags[0], tags[1]) {
		t.Error("half of a commit over two spaces is there")
	}
	for _, tag := range l.acked {
		if _, ok := slices.BinarySearch(tags[0], tag); !ok {
			t.Errorf("commit %s was acknowledged and is gone", tag)
		}
	}
	for _, s := range faultSpaces {
		r, err := e.Commit(ctx, kv.Batch{Space: s, Takes: []kv.Take{{Key: []byte("uid"), N: 1}}})
		if err != nil {
			t.Fatal(err)
		}
		if r[0].Taken[0] <= l.seen[s] {
			t.Errorf("space %s: number %d is given out again", s, r[0].Taken[0])
		}
	}
}

// faulty opens a store on a file system in memory that fails on purpose. Its memtables are
// so small that logs change, tables are written and compacted all the time.
func faulty(t *testing.T) (*Engine, *faultfs.FS, *vfs.MemFS, chan error) {
	t.Helper()
	mem := vfs.NewCrashableMem()
	fs := faultfs.New(mem)
	fatal := make(chan error, 1)
	e, err := Open(Options{Dir: "store", FS: fs, Logger: quietLog, memTableMax: 32 << 10, Fatal: func(err error) { fatal <- err }})
	if err != nil {
		t.Fatal(err)
	}
	return e, fs, mem, fatal
}

// TestCutAtEveryChange takes the power away before each write, sync, create, rename and
// remove of a run, with nothing or some of what was not synced on the disk.
func TestCutAtEveryChange(t *testing.T) {
	e, fs, mem, _ := faulty(t)
	l := &ledger{seen: map[kv.Space]uint64{}}
	var one sync.Mutex
	cuts, rng := 0, rand.New(rand.NewPCG(1, 2))
	fs.Inject(faultfs.On(faultfs.Change, func(op faultfs.Op) error {
		one.Lock()
		defer one.Unlock()
		if cuts++; kvtest.Race && cuts%raceSample != 0 {
			return nil
		}
		told := l.copy() // before the cut: what was told by then must be found
		told.verify(t, mem.CrashClone(vfs.CrashCloneCfg{}))
		if cuts%8 == 0 {
			told.verify(t, mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rng}))
		}
		if t.Failed() {
			t.Fatalf("cut %d, before %+v", cuts, op)
		}
		return nil
	}))
	l.work(e, 3, 20)
	fs.Inject()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d commits, %d cuts", len(l.acked), cuts)
	if len(l.acked) != 60 || cuts < 50 {
		t.Error("too few to tell anything")
	}
}

// stallMax is how long work may stand still: Pebble, which cannot flush to a full disk, tries
// again for ever and lets writers wait.
const stallMax = 10 * time.Second

// until runs the ledger's work until it ends or the store fails. After a failure Pebble
// may hold its locks for good; in real life the program has ended by then.
func until(l *ledger, e *Engine, fatal chan error) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.work(e, 3, 20)
	}()
	select {
	case <-done:
	case err := <-fatal:
		return err
	case <-time.After(stallMax):
		return nil // it waits for room, and goes on when the test makes some
	}
	select {
	case err := <-fatal:
		return err
	default:
		return nil
	}
}

// TestEveryFailure fails each write, sync, create and rename once. Either the store goes
// on and has lost nothing, or it ends the program and has lost nothing it told of.
func TestEveryFailure(t *testing.T) {
	step := int64(1)
	if kvtest.Race {
		step = raceSample
	}
	for _, kind := range []faultfs.Kind{faultfs.Sync, faultfs.Write, faultfs.Create, faultfs.Rename} {
		ends := 0
		for n := int64(1); ; n += step {
			e, fs, mem, fatal := faulty(t)
			l := &ledger{seen: map[kv.Space]uint64{}}
			var hit atomic.Bool
			fs.Inject(faultfs.Nth(n, kind, func(faultfs.Op) error {
				hit.Store(true)
				return syscall.EIO
			}))
			if err := until(l, e, fatal); err != nil {
				ends++
				checkDead(t, e)
			} else if err := e.Close(); err != nil && !errors.Is(err, syscall.EIO) && !died(e) {
				t.Errorf("close: %v", err)
			}
			l.copy().verify(t, mem.CrashClone(vfs.CrashCloneCfg{}))
			if t.Failed() {
				t.Fatalf("failure %d of kind %d", n, kind)
			}
			if !hit.Load() {
				break
			}
		}
		if kind == faultfs.Sync && ends == 0 {
			t.Error("no failed sync ended the store")
		}
	}
}

// died tells whether the store has failed.
func died(e *Engine) bool {
	select {
	case <-e.dead:
		return true
	default:
		return false
	}
}

// checkDead: after a failure nothing is taken and nothing is shown.
func checkDead(t *testing.T, e *Engine) {
	t.Helper()
	if _, err := e.Commit(ctx, kv.Batch{Space: "a"}); !errors.Is(err, kv.ErrClosed) {
		t.Errorf("commit to a dead store: %v", err)
	}
	if _, err := e.Snapshot(ctx, "a"); !errors.Is(err, kv.ErrClosed) {
		t.Errorf("snapshot of a dead store: %v", err)
	}
	if _, err := e.Versions(ctx, "a"); !errors.Is(err, kv.ErrClosed) {
		t.Errorf("versions of a dead store: %v", err)
	}
	if err := e.Close(); err == nil {
		t.Errorf("close of a dead store: %v", err)
	}
}

// TestDiskFillsUp: the watermark is not asked here, so that the log itself meets the end
// of the disk.
func TestDiskFillsUp(t *testing.T) {
	step := int64(7_001)
	if kvtest.Race {
		step *= raceSample
	}
	for octets := int64(1000); octets < 200_000; octets += step {
		e, fs, mem, fatal := faulty(t)
		l := &ledger{seen: map[kv.Space]uint64{}}
		full, relieve := faultfs.FullAfter(octets)
		fs.Inject(full)
		err := until(l, e, fatal)
		l.copy().verify(t, mem.CrashClone(vfs.CrashCloneCfg{}))
		relieve() // or Pebble tries to write its tables for ever
		if closed := e.Close(); err == nil && closed != nil && !died(e) {
			t.Errorf("close: %v", closed)
		}
		if t.Failed() {
			t.Fatalf("full after %d octets", octets)
		}
	}
}

// gate holds syncs up while it is shut.
type gate struct {
	mu      sync.Mutex
	waiting chan struct{} // gets one for each sync that came to the gate
	open    chan struct{}
}

func (g *gate) hook(faultfs.Op) error {
	g.mu.Lock()
	open := g.open
	g.mu.Unlock()
	if open != nil {
		select {
		case g.waiting <- struct{}{}:
		default:
		}
		<-open
	}
	return nil
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = make(chan struct{})
}

func (g *gate) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.open)
	g.open = nil
}

// TestDurableBeforeVisible: while a sync hangs, what waits for it is seen by guards alone.
func TestDurableBeforeVisible(t *testing.T) {
	const soon = 50 * time.Millisecond
	fs := faultfs.New(vfs.NewMem())
	e := open(t, Options{FS: fs})
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	hints, err := e.Watch(watching, "s")
	if err != nil {
		t.Fatal(err)
	}
	before, err := e.Snapshot(ctx, "s")
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	g := &gate{waiting: make(chan struct{}, 1)}
	fs.Inject(faultfs.On(faultfs.Sync, g.hook))
	g.shut()
	b := kv.Batch{
		Space:  "s",
		Guards: []kv.Guard{{Kind: kv.GuardAbsent, Key: []byte("k")}},
		Puts:   []kv.Put{{Key: []byte("k"), Value: []byte("v")}},
	}
	committed := make(chan error, 1)
	go func() {
		_, err := e.Commit(ctx, b)
		committed <- err
	}()
	<-g.waiting // applied, and its sync hangs
	if _, err := e.Commit(ctx, b); !errors.Is(err, kv.ErrConflict) {
		t.Errorf("a guard did not see what was applied: %v", err)
	}
	if v, err := e.Versions(ctx, "s"); err != nil || v[0] != 0 {
		t.Errorf("version %d is told before it is durable (%v)", v, err)
	}
	if _, err := before.Get([]byte("k")); !errors.Is(err, kv.ErrNotFound) {
		t.Errorf("an older snapshot moved: %v", err)
	}
	short, stop := context.WithTimeout(ctx, soon)
	defer stop()
	if snap, err := e.Snapshot(short, "s"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a snapshot did not wait: %v, %v", snap, err)
	}
	other, err := e.Snapshot(ctx, "other") // nobody else waits
	if err != nil {
		t.Fatal(err)
	}
	other.Close()
	shown := make(chan kv.Snapshot, 1)
	go func() {
		snap, err := e.Snapshot(ctx, "s")
		if err != nil {
			t.Error(err)
		}
		shown <- snap
	}()
	select {
	case <-committed:
		t.Error("acknowledged before the sync")
	case <-hints:
		t.Error("hinted before the sync")
	case <-shown:
		t.Error("shown before the sync")
	case <-time.After(soon):
	}
	g.release()
	if err := <-committed; err != nil {
		t.Fatal(err)
	}
	snap := <-shown
	defer snap.Close()
	if v, err := snap.Get([]byte("k")); err != nil || string(v) != "v" {
		t.Errorf("after the sync: %q, %v", v, err)
	}
	if v := <-hints; v != 1 {
		t.Errorf("hint %d", v)
	}
}

// TestRepeatWaitsForTheSync: an Already is an acknowledgement too.
func TestRepeatWaitsForTheSync(t *testing.T) {
	fs := faultfs.New(vfs.NewMem())
	e := open(t, Options{FS: fs})
	g := &gate{waiting: make(chan struct{}, 1)}
	fs.Inject(faultfs.On(faultfs.Sync, g.hook))
	g.shut()
	b := kv.Batch{Space: "s", Once: []byte("once"), Puts: []kv.Put{{Key: []byte("k")}}}
	answers := make(chan bool, 2)
	ask := func() {
		r, err := e.Commit(ctx, b)
		if err != nil {
			t.Error(err)
		}
		answers <- len(r) == 1 && r[0].Already
	}
	go ask()
	<-g.waiting
	go ask()
	select {
	case <-answers:
		t.Error("answered before the sync")
	case <-time.After(50 * time.Millisecond):
	}
	g.release()
	if one, other := <-answers, <-answers; one == other {
		t.Errorf("two commits with one Once: Already is %v twice", one)
	}
}
