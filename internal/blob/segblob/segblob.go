// Package segblob keeps blobs on a disk, in append-only segments of 128 MB.
//
// A body is gathered outside the segment first (up to 256 KB in memory, beyond that in a
// file of its own), so that a slow client holds up nobody; then it is appended in one
// write, in independent zstd frames of 64 KB. Sync gathers its callers into one fdatasync.
//
// The main type is [Store]. Opening reads nothing but the names of the segments: every
// process begins a new segment, so there is no tail to repair; what was not synced before
// a crash is named by no location and lies behind what was. Only List, and the deletion of
// the last records of a segment, look for records, and they find them by their headers,
// past damage and holes.
//
// Locations never change. Delete marks the header of a record as dead and punches its
// octets out of the file; a segment in which all is dead is removed, however the order of
// deletions was. Segments are not rewritten: a punched record leaves at most a block of
// its file system until its neighbours go too, which is measured in the tests.
//
// The package does not know who needs a blob: see postroad/internal/blob.
package segblob

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"postroad/internal/blob"
)

// Sizes and times.
const (
	segmentMax       = 128 << 20              // octets in a segment
	aloneMin         = 4 << 20                // a record this large has a segment of its own
	memoryMax        = 64 << 20               // octets that bodies on their way take together
	reserveDefault   = 256 << 20              // octets of the disk left free
	idleFilesMax     = 256                    // files kept open that nobody reads
	usageCheckEvery  = 500 * time.Millisecond // between looks at the free space
	usageCheckOctets = 16 << 20               // written between such looks
)

// ErrClosed is returned after Close.
var ErrClosed = errors.New("segblob: store is closed")

// Options of a Store. The zero value is good.
type Options struct {
	FS      vfs.FS // nil: vfs.Default
	Reserve int64  // octets of the disk left free, below it Put is ErrFull; 0: 256 MB, below 0: none
	Memory  int64  // octets that bodies on their way may take together; 0: 64 MB
	Segment int64  // octets in a segment; 0: 128 MB
	Log     *slog.Logger

	// Fatal is called when a sync failed. What the disk holds is not known then, and a
	// second sync would report success without having written (the kernel has forgotten
	// the pages), so the process must end. nil: log and exit.
	Fatal func(error)
}

// Store is a blob.Store in a directory.
type Store struct {
	fs      vfs.FS
	dir     string
	options Options
	lock    io.Closer
	codec   codec
	memory  budget
	usage   usage
	closed  atomic.Bool
	spills  atomic.Uint64 // names of temporary files

	appendMu sync.Mutex
	active   *segment // guarded by appendMu; nil before the first Put

	syncMu   sync.Mutex
	syncDone sync.Cond
	failed   error // guarded by syncMu: the sync that failed

	mu       sync.Mutex
	segments map[uint64]*segment     // by number
	last     uint64                  // the highest number ever seen
	idle     list.List               // of *segment: open files nobody uses, oldest first
	reading  map[place]int           // open readers; deleting while a Delete works
	doomed   map[place]blob.Location // to be deleted when the last reader closes

	deleteMu sync.Mutex // one Delete at a time
}

var _ blob.Store = (*Store)(nil)

// place names a record.
type place struct {
	segment uint64
	offset  int64
}

// deleting stands for the number of readers while a record is being deleted.
const deleting = -1

// segment is one file of records.
type segment struct {
	number uint64

	// guarded by Store.mu
	file   vfs.File // nil while it is not open
	refs   int
	idle   *list.Element
	gone   bool // removed
	pinned bool // holds one of refs: appended to, or not yet synced
	size   int64
	live   int64 // octets of live records, unknown before the first scan
	dead   int64 // octets deleted since live was counted

	// guarded by Store.appendMu
	salt uint64
	end  int64 // where the next record goes

	// guarded by Store.syncMu
	written int64
	synced  int64 // segments of earlier processes: all there is
	syncing bool
	unnamed bool // the directory is to be synced too
}

// unknown is the count of live octets in a segment not yet scanned.
const unknown = -1

// Open opens or makes the store in dir. Only one process may have it open.
func Open(dir string, o Options) (*Store, error) {
	o.fill()
	s := &Store{fs: o.FS, dir: dir, options: o,
		segments: make(map[uint64]*segment),
		reading:  make(map[place]int),
		doomed:   make(map[place]blob.Location),
	}
	s.syncDone.L = &s.syncMu
	s.memory.left.Store(o.Memory)
	err := s.makeDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open blob store: %w", err)
	}
	if s.lock, err = s.fs.Lock(s.path("LOCK")); err != nil {
		return nil, fmt.Errorf("open blob store: lock %s: %w", dir, err)
	}
	if err = s.find(); err == nil {
		err = s.codec.open()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open blob store: %w", err), s.lock.Close())
	}
	return s, nil
}

// makeDir makes the directory, and durable that it is there.
func (s *Store) makeDir(dir string) error {
	if _, err := s.fs.Stat(dir); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := s.fs.PathDir(dir)
	if parent != dir {
		if err := s.makeDir(parent); err != nil {
			return err
		}
	}
	if err := s.fs.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return s.syncDir(parent)
}

// fill puts the defaults in.
func (o *Options) fill() {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Reserve == 0 {
		o.Reserve = reserveDefault
	}
	if o.Memory == 0 {
		o.Memory = memoryMax
	}
	if o.Segment == 0 {
		o.Segment = segmentMax
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Fatal == nil {
		log := o.Log
		o.Fatal = func(err error) {
			log.Error("blob store cannot go on", "err", err)
			os.Exit(1)
		}
	}
}

// The names in the directory.
const (
	segmentSuffix = ".seg"
	spillSuffix   = ".tmp"
)

// find lists the segments and removes temporary files of an earlier process.
func (s *Store) find() error {
	names, err := s.fs.List(s.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasSuffix(name, spillSuffix) {
			if err := s.fs.Remove(s.path(name)); err != nil {
				return err
			}
			continue
		}
		digits, ok := strings.CutSuffix(name, segmentSuffix)
		if !ok {
			continue
		}
		number, err := strconv.ParseUint(digits, 16, 63)
		if err != nil || segmentName(number) != name {
			continue
		}
		s.segments[number] = &segment{number: number, live: unknown}
		s.last = max(s.last, number)
	}
	return nil
}

func segmentName(number uint64) string { return fmt.Sprintf("%08x%s", number, segmentSuffix) }

func (s *Store) path(name string) string { return s.fs.PathJoin(s.dir, name) }

// ready tells why nothing can be done any more.
func (s *Store) ready() error {
	if s.closed.Load() {
		return ErrClosed
	}
	s.syncMu.Lock()
	defer s.syncMu.Unlock()
	return s.failed
}

// Close ends the store. Open readers stay good until they are closed; a Put under way
// fails.
func (s *Store) Close() error {
	s.appendMu.Lock()
	if s.closed.Swap(true) {
		s.appendMu.Unlock()
		return nil
	}
	s.active = nil
	s.appendMu.Unlock()

	var err error
	for _, g := range s.all() {
		err = errors.Join(err, s.unpin(g))
	}
	s.mu.Lock()
	for e := s.idle.Front(); e != nil; e = s.idle.Front() {
		err = errors.Join(err, s.closeIdle(e))
	}
	s.mu.Unlock()
	return errors.Join(err, s.lock.Close())
}

// acquire returns a segment with its file open; release gives it back. A segment that is
// not there is blob.ErrNotFound.
func (s *Store) acquire(number uint64) (*segment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.segments[number]
	if g == nil {
		return nil, blob.ErrNotFound
	}
	if g.file == nil {
		if s.closed.Load() {
			return nil, ErrClosed
		}
		file, err := s.fs.OpenReadWrite(s.path(segmentName(number)), writeCategory)
		if err != nil {
			return nil, fmt.Errorf("open segment: %w", err)
		}
		info, err := file.Stat()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open segment: %w", err), file.Close())
		}
		g.file, g.size = file, info.Size()
	}
	if g.idle != nil {
		s.idle.Remove(g.idle)
		g.idle = nil
	}
	g.refs++
	return g, nil
}

// release gives an acquired segment back; its file stays open as long as there is room.
func (s *Store) release(g *segment) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	g.refs--
	if g.refs > 0 {
		return nil
	}
	g.idle = s.idle.PushBack(g)
	if g.gone || s.closed.Load() {
		return s.closeIdle(g.idle)
	}
	if s.idle.Len() > idleFilesMax {
		return s.closeIdle(s.idle.Front())
	}
	return nil
}

// unpin lets go of the file of a segment that is synced and full, or gone.
func (s *Store) unpin(g *segment) error {
	s.mu.Lock()
	pinned := g.pinned
	g.pinned = false
	s.mu.Unlock()
	if !pinned {
		return nil
	}
	return s.release(g)
}

// all returns the segments there are.
func (s *Store) all() []*segment {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.segments))
}

// closeIdle closes a file nobody uses. The caller holds mu.
func (s *Store) closeIdle(e *list.Element) error {
	g := s.idle.Remove(e).(*segment)
	file := g.file
	g.idle, g.file = nil, nil
	if err := file.Close(); err != nil {
		return fmt.Errorf("close segment: %w", err)
	}
	return nil
}

// usage watches the free space of the disk.
type usage struct {
	mu      sync.Mutex
	next    time.Time
	written int64
	full    bool
}

// checkRoom is ErrFull below the watermark. It looks now and then only.
func (s *Store) checkRoom(n int64) error {
	if s.options.Reserve < 0 {
		return nil
	}
	u := &s.usage
	u.mu.Lock()
	defer u.mu.Unlock()
	u.written += n
	if now := time.Now(); now.After(u.next) || u.written > usageCheckOctets {
		u.next, u.written = now.Add(usageCheckEvery), 0
		disk, err := s.fs.GetDiskUsage(s.dir)
		if err != nil && !errors.Is(err, vfs.ErrUnsupported) {
			return fmt.Errorf("look at the free space: %w", err)
		}
		u.full = err == nil && disk.AvailBytes < uint64(s.options.Reserve)
	}
	if u.full {
		return blob.ErrFull
	}
	return nil
}

// writeError wraps an error of writing; a full disk is blob.ErrFull.
func writeError(what string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%s: %w: %w", what, blob.ErrFull, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// Sync returns when every location is durable.
func (s *Store) Sync(ctx context.Context, locations ...blob.Location) error {
	for _, l := range locations {
		a, err := parseLocation(l)
		if err != nil {
			return err
		}
		g, err := s.acquire(a.segment)
		if err != nil {
			return fmt.Errorf("sync blob: %w", err)
		}
		if err = s.syncTo(g, a.offset+a.length); err == nil && a.length >= aloneMin {
			err = s.unpin(g)
		}
		if err := errors.Join(err, s.release(g)); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// syncTo returns when the segment is durable up to end. The first caller that comes syncs
// for all that was written by then; who comes during a sync waits for it and then, if that
// was begun too early, one of them syncs for all the others.
func (s *Store) syncTo(g *segment, end int64) error {
	s.syncMu.Lock()
	defer s.syncMu.Unlock()
	for g.written > 0 && g.synced < end {
		if s.failed != nil {
			return s.failed
		}
		if g.syncing {
			s.syncDone.Wait()
			continue
		}
		g.syncing = true
		target, unnamed := g.written, g.unnamed
		s.syncMu.Unlock()
		err := g.file.SyncData()
		if err == nil && unnamed {
			err = s.syncDir(s.dir)
		}
		s.syncMu.Lock()
		g.syncing = false
		if err != nil {
			s.failed = fmt.Errorf("sync of segment %s: %w", segmentName(g.number), err)
			s.options.Fatal(s.failed)
		} else {
			g.synced, g.unnamed = target, false
		}
		s.syncDone.Broadcast()
	}
	return nil
}

// syncDir makes new names in the directory durable.
func (s *Store) syncDir(dir string) error {
	f, err := s.fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
