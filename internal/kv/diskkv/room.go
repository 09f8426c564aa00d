package diskkv

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"postroad/internal/kv"
)

const (
	// lookEvery is how old the figure of free space may be.
	lookEvery = 100 * time.Millisecond
	// smallPuts is how much may be written, in octets, beside deletes on a full disk: the
	// change log of an expunge.
	smallPuts = 4 << 10
	// ballastName is the file that is given up when space is very low.
	ballastName = "ballast"

	// veryLowShare and nothingShare are the parts of the watermark at which the ballast
	// goes, and at which nothing is written any more: a log that cannot grow would end
	// the program.
	veryLowShare = 4
	nothingShare = 16
)

// The states of the disk.
const (
	roomPlenty  int32 = iota
	roomDeletes       // below the watermark: only what makes room
	roomNone          // the ballast is gone, too
)

// room watches the free space of the disk.
type room struct {
	e     *Engine
	free  func() (uint64, error) // nil: the file system cannot tell
	level atomic.Int32
	since atomic.Int64 // octets put since the last look

	wanted chan struct{} // asks the housekeeping for the ballast; holds one

	mu      sync.Mutex // all below
	looked  time.Time
	ballast bool // the file is there
	warned  bool // that the free space cannot be told
}

// newRoom takes the first look.
func newRoom(e *Engine) *room {
	r := &room{e: e, free: e.options.FreeBytes, wanted: make(chan struct{}, 1)}
	if r.free == nil {
		r.free = r.ask
	}
	r.look(0)
	return r
}

// ask asks the file system.
func (r *room) ask() (uint64, error) {
	usage, err := r.e.fs.GetDiskUsage(r.e.options.Dir)
	return usage.AvailBytes, err
}

// admit answers ErrFull to what the disk has no room for.
func (r *room) admit(batches []kv.Batch) error {
	puts, deletes, makes := 0, false, false
	grows := false // needs room, however little, and no delete beside it gives any
	for i := range batches {
		b := &batches[i]
		for j := range b.Puts {
			puts += len(b.Puts[j].Key) + len(b.Puts[j].Value)
		}
		makes = makes || b.MakesRoom
		deletes = deletes || len(b.Deletes)+len(b.Ranges) > 0
		for _, a := range b.Adds {
			grows = grows || a.N > 0
		}
		for _, k := range b.Takes {
			grows = grows || k.N > 0
		}
	}
	r.look(int64(puts))
	switch r.level.Load() {
	case roomPlenty:
		return nil
	case roomDeletes:
		if makes || deletes && puts <= smallPuts || puts == 0 && !grows {
			return nil
		}
	}
	return kv.ErrFull
}

// look asks for the free space when the last figure is too old.
func (r *room) look(puts int64) {
	now := time.Now()
	since := r.since.Add(puts)
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.looked) < lookEvery && since < int64(r.e.options.Watermark/nothingShare) {
		return
	}
	r.looked = now
	r.since.Store(0)
	free, err := r.free()
	if err != nil {
		if !errors.Is(err, vfs.ErrUnsupported) && !r.warned {
			r.warned = true
			r.e.options.Logger.Warn("free disk space cannot be told; a full disk will end the program", "error", err)
		}
		return
	}
	r.judge(free)
}

// judge draws the conclusions; r.mu must be held.
func (r *room) judge(free uint64) {
	mark := r.e.options.Watermark
	if free < mark/veryLowShare && r.ballast {
		if err := r.dropBallast(); err != nil {
			r.e.options.Logger.Error("the ballast file stays", "error", err)
		} else if now, err := r.free(); err == nil {
			free = now
		}
	}
	level := roomPlenty
	switch {
	case free < mark/nothingShare:
		level = roomNone
	case free < mark:
		level = roomDeletes
	}
	if was := r.level.Swap(level); was != level {
		r.e.options.Logger.Warn("free disk space", "octets", free, "watermark", mark, "writes", [...]string{"all", "deletes only", "none"}[level])
	}
	if !r.ballast && r.hasRoomForBallast(free) {
		select {
		case r.wanted <- struct{}{}:
		default:
		}
	}
}

// hasRoomForBallast tells whether making the file would not soon need it gone again.
func (r *room) hasRoomForBallast(free uint64) bool {
	size := r.e.options.Ballast
	return size > 0 && free >= r.e.options.Watermark+2*uint64(size)
}

// ballastPath is where the file lies.
func (r *room) ballastPath() string { return r.e.fs.PathJoin(r.e.options.Dir, ballastName) }

// dropBallast gives the space back; r.mu must be held.
func (r *room) dropBallast() error {
	if err := r.e.fs.Remove(r.ballastPath()); err != nil {
		return err
	}
	r.ballast = false
	return nil
}

// keepBallast makes the file where there is room for it. One that a former run left is
// made anew: its making may have been cut short.
func (r *room) keepBallast() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ballast {
		return
	}
	if free, err := r.free(); err != nil || !r.hasRoomForBallast(free) {
		// A former run's file is still there to be given up.
		_, err := r.e.fs.Stat(r.ballastPath())
		r.ballast = err == nil
		return
	}
	if err := r.makeBallast(); err != nil {
		r.e.options.Logger.Warn("no ballast file", "error", err)
		return
	}
	r.ballast = true
}

// makeBallast reserves the blocks.
func (r *room) makeBallast() error {
	f, err := r.e.fs.Create(r.ballastPath(), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	err = f.Preallocate(0, r.e.options.Ballast)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("reserve %d octets: %w", r.e.options.Ballast, errors.Join(err, r.e.fs.Remove(r.ballastPath())))
	}
	return nil
}
