// Package diskkv is the kv.Engine of one machine: every space in one Pebble store on a
// disk, with one write-ahead log for all of them.
//
// The main type is [Engine]. The order of a commit, and the instant responsibility passes:
//
//	admit    refuse what the disk has no room for
//	lock     the spaces of the commit, in the order of their names
//	build    Once, guards, counters, sequences; places are filled; nothing is written yet
//	apply    into the log's buffer and the memtable, in the order of the locks
//	unlock   so that the next commit to these spaces can follow in the same sync
//	settle   the log is synced, for all that were applied meanwhile; now it is durable
//
// What is applied and not yet settled is seen by guards and numbers of later commits, and
// by nobody else: a snapshot waits until what it could show has been synced. The log is
// one file at a time, written in order, so that a synced commit means that all applied
// before it are synced as well.
//
// A sync that fails is never tried again, since the kernel may have dropped the pages it
// could not write: the engine is dead from then on and [Options.Fatal] ends the program.
//
// The package does not keep bodies of messages (package blob does) and knows nothing of
// what the keys mean.
package diskkv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"postroad/internal/kv"
)

const (
	// exitIOError is EX_IOERR of sysexits.h, the exit status after a failed sync.
	exitIOError = 74
	// snapshotMax is how long Close waits for snapshots before it takes them away.
	snapshotMax = 4 * time.Second
	// diskSlow is how long one disk operation may take before the log tells of it.
	diskSlow = 5 * time.Second
	// purgeEvery is the pause between looks for results of Once that are too old.
	purgeEvery = time.Hour
)

// Options are how an engine is opened. Only Dir is needed.
type Options struct {
	Dir string // of the store, made where it is missing
	FS  vfs.FS // nil: the machine's own

	CacheBytes int64  // of blocks read from the disk; 0: 32 MB
	HotSpaces  int    // spaces nobody uses that are kept in memory; 0: 4,096
	Watermark  uint64 // free octets below which only deletes are taken; 0: 256 MB
	Ballast    int64  // octets kept in a file to be given up when space is very low; 0: 64 MB, below 0: none

	FreeBytes func() (uint64, error) // free octets of the disk; nil: asks FS
	Now       func() time.Time       // ages Once; nil: time.Now
	Logger    *slog.Logger           // nil: the default one

	// Fatal ends the program when the disk fails; nil: logs and exits with status 74. Where
	// it returns, as in tests, the engine is dead and calls under way may hang for good.
	Fatal func(error)

	// Smaller in tests than the constants of the same names.
	memTableMax uint64
	snapshotMax time.Duration
}

// withDefaults fills in what was left out.
func (o Options) withDefaults() Options {
	if o.CacheBytes == 0 {
		o.CacheBytes = 32 << 20
	}
	if o.HotSpaces == 0 {
		o.HotSpaces = 4096
	}
	if o.Watermark == 0 {
		o.Watermark = 256 << 20
	}
	if o.Ballast == 0 {
		o.Ballast = 64 << 20
	}
	if o.memTableMax == 0 {
		o.memTableMax = memTableMax
	}
	if o.snapshotMax == 0 {
		o.snapshotMax = snapshotMax
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Fatal == nil {
		logger := o.Logger
		o.Fatal = func(err error) {
			logger.Error("the store has failed; ending at once so that nothing is said that is not so", "error", err)
			os.Exit(exitIOError)
		}
	}
	return o
}

// Engine is a kv.Engine on a disk.
type Engine struct {
	options Options
	db      *pebble.DB
	table   *table
	room    *room
	stats   stats

	scheduler *scheduler // of compactions
	fs        *logFS
	fsCloser  io.Closer // ends the watch over slow disk operations, nil without one

	dead     chan struct{} // closed by the first failure
	failOnce sync.Once
	cause    error // what killed the engine, set before dead is closed

	stop  context.CancelFunc // ends the housekeeping
	tasks sync.WaitGroup     // commits and other work under way

	mu        sync.Mutex // all below
	closed    bool
	snapshots map[*Snapshot]struct{}
	gone      *sync.Cond // a snapshot went; uses mu
}

// Open opens the store in o.Dir, replaying what was in the log when the program ended.
func Open(o Options) (*Engine, error) {
	o = o.withDefaults()
	e := &Engine{
		options:   o,
		table:     newTable(o.HotSpaces),
		scheduler: newScheduler(),
		dead:      make(chan struct{}),
		snapshots: map[*Snapshot]struct{}{},
	}
	e.gone = sync.NewCond(&e.mu)
	e.openFS()
	db, err := pebble.Open(o.Dir, e.pebbleOptions())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open store %s: %w", o.Dir, err), e.closeFS())
	}
	e.db = db
	if err := e.checkFormat(); err != nil {
		return nil, errors.Join(err, db.Close(), e.closeFS())
	}
	e.fs.armed.Store(true)
	e.scheduler.start()
	e.room = newRoom(e)
	ctx, stop := context.WithCancel(context.Background())
	e.stop = stop
	e.tasks.Add(1)
	go e.housekeep(ctx)
	return e, nil
}

// openFS puts the guard of the log over the file system, and over the machine's own a watch
// that tells of slow operations.
func (e *Engine) openFS() {
	below := e.options.FS
	if below == nil {
		below, e.fsCloser = vfs.WithDiskHealthChecks(vfs.Default, diskSlow, nil, e.tellSlow)
	}
	e.fs = &logFS{FS: below, fail: e.fail}
}

// closeFS ends what openFS began.
func (e *Engine) closeFS() error {
	if e.fsCloser == nil {
		return nil
	}
	return e.fsCloser.Close()
}

// tellSlow logs a disk operation that does not end.
func (e *Engine) tellSlow(i vfs.DiskSlowInfo) {
	e.options.Logger.Warn("store: the disk is slow", "file", i.Path, "operation", i.OpType.String(), "duration", i.Duration.Round(time.Millisecond))
}

// checkFormat marks a new store with the layout of its keys and refuses a foreign one.
func (e *Engine) checkFormat() error {
	value, err := e.read(formatKey)
	switch {
	case err == nil && string(value) == formatNow:
		return nil
	case err == nil:
		return fmt.Errorf("store %s has layout %q, this program reads %q", e.options.Dir, value, formatNow)
	case !errors.Is(err, kv.ErrNotFound):
		return err
	}
	if err := e.db.Set(formatKey, []byte(formatNow), pebble.Sync); err != nil {
		return fmt.Errorf("mark new store %s: %w", e.options.Dir, err)
	}
	return nil
}

// read gives a copy of the value of a Pebble key as it stands, durable or not.
func (e *Engine) read(key []byte) ([]byte, error) {
	value, closer, err := e.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, kv.ErrNotFound
	} else if err != nil {
		return nil, fmt.Errorf("read store: %w", err)
	}
	value = append([]byte{}, value...)
	return value, closer.Close()
}

// enter counts a piece of work that Close must wait for, unless the engine is closed or
// dead; leave ends it.
func (e *Engine) enter() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.alive(); err != nil {
		return err
	}
	e.tasks.Add(1)
	return nil
}

func (e *Engine) leave() { e.tasks.Done() }

// alive tells whether the engine takes work; e.mu must be held.
func (e *Engine) alive() error {
	select {
	case <-e.dead:
		return fmt.Errorf("%w: it failed before: %w", kv.ErrClosed, e.cause)
	default:
	}
	if e.closed {
		return kv.ErrClosed
	}
	return nil
}

// fail ends the engine's life: what is in memory may not be on the disk, so nothing of it
// may be shown or built upon.
func (e *Engine) fail(err error) {
	e.failOnce.Do(func() {
		e.cause = err
		close(e.dead)
		e.options.Fatal(err)
	})
}

// housekeep purges old results of Once and keeps the ballast, until Close.
func (e *Engine) housekeep(ctx context.Context) {
	defer e.tasks.Done()
	e.room.keepBallast()
	tick := time.NewTicker(purgeEvery)
	defer tick.Stop()
	for {
		if err := e.purgeOnce(); err != nil {
			e.options.Logger.Warn("old results of idempotent commits stay", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-e.dead:
			return
		case <-tick.C:
		case <-e.room.wanted:
			e.room.keepBallast()
		}
	}
}

// Checkpoint implements kv.Engine. Files that do not change are hard links.
func (e *Engine) Checkpoint(ctx context.Context, dir string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := e.enter(); err != nil {
		return err
	}
	defer e.leave()
	if err := e.db.Checkpoint(dir, pebble.WithFlushedWAL()); err != nil {
		return fmt.Errorf("checkpoint into %s: %w", dir, err)
	}
	return nil
}

// Close implements kv.Engine. Snapshots still open after four seconds are taken away from
// their holders, who then get ErrClosed.
func (e *Engine) Close() error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return kv.ErrClosed
	}
	e.closed = true
	e.mu.Unlock()
	e.stop()
	ended := make(chan error, 1)
	go func() { ended <- e.end() }()
	select {
	case err := <-ended:
		return err
	case <-e.dead:
		// Pebble's state is unknown and some of its locks may be held for ever.
		return fmt.Errorf("close store: it failed: %w", e.cause)
	}
}

// end waits for everybody and closes Pebble.
func (e *Engine) end() error {
	e.tasks.Wait()
	e.awaitSnapshots()
	e.fs.armed.Store(false) // what fails from here on is returned
	if err := errors.Join(e.db.Close(), e.closeFS()); err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}

// awaitSnapshots returns when no snapshot uses Pebble any more.
func (e *Engine) awaitSnapshots() {
	late := time.AfterFunc(e.options.snapshotMax, func() {
		for _, s := range e.openSnapshots() {
			e.options.Logger.Error("snapshot held beyond its time", "space", string(s.space))
			s.shut()
		}
	})
	defer late.Stop()
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.snapshots) > 0 {
		e.gone.Wait()
	}
}

// openSnapshots lists the snapshots that were not closed.
func (e *Engine) openSnapshots() []*Snapshot {
	e.mu.Lock()
	defer e.mu.Unlock()
	open := make([]*Snapshot, 0, len(e.snapshots))
	for s := range e.snapshots {
		open = append(open, s)
	}
	return open
}

// Metrics gives Pebble's own figures.
func (e *Engine) Metrics() *pebble.Metrics { return e.db.Metrics() }

// Stats are counts since Open.
type Stats struct {
	Commits   uint64 // durable
	Conflicts uint64 // refused by a guard
	Limits    uint64 // refused by a counter's limit
	Full      uint64 // refused for want of disk space
	Repeats   uint64 // answered Already
}

// stats counts what Stats tells.
type stats struct{ commits, conflicts, limits, full, repeats atomic.Uint64 }

// Stats gives the counts as they stand.
func (e *Engine) Stats() Stats {
	return Stats{
		Commits:   e.stats.commits.Load(),
		Conflicts: e.stats.conflicts.Load(),
		Limits:    e.stats.limits.Load(),
		Full:      e.stats.full.Load(),
		Repeats:   e.stats.repeats.Load(),
	}
}

// count files the outcome of a commit.
func (s *stats) count(err error) {
	switch {
	case err == nil:
		s.commits.Add(1)
	case errors.Is(err, kv.ErrConflict):
		s.conflicts.Add(1)
	case errors.Is(err, kv.ErrLimit):
		s.limits.Add(1)
	case errors.Is(err, kv.ErrFull):
		s.full.Add(1)
	}
}

var _ kv.Engine = (*Engine)(nil)
