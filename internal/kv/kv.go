// Package kv is the waist under all state: ordered keys in spaces, changed by
// commits that are durable when they return.
//
// A space is one conflict domain with one version: an account, a queue shard, an
// organisation's directory. A commit carries whole batches, never one operation a
// round trip: what it read (guards), bounded counters (adds), numbers from
// sequences (takes), and writes that may hold places for those numbers.
//
// The main type is [Engine]. Engines live below: diskkv (Pebble, one machine) and
// memkv (tests); kvtest is the contract that each of them must pass. The package
// knows nothing of mail.
package kv

import (
	"context"
	"iter"
)

// Space names a conflict domain: 1 to 64 octets, none of them zero.
type Space string

// Version counts the visible commits of a space. It starts at 0 (no commit yet) and
// grows by one with each commit whose batch is not Quiet. For an account it is the
// mod-sequence (RFC 7162).
type Version uint64

// Limits of every engine. An over-large batch is refused with [ErrTooLarge] before
// anything is written.
const (
	KeyMax       = 512      // octets in a key
	ValueMax     = 64 << 10 // octets in a value; larger derived records are blobs
	BatchMax     = 1 << 20  // octets of keys and values in a batch
	BatchKeysMax = 1000     // puts, deletes, ranges, adds, takes and guards in a batch
)

// Engine keeps spaces. All methods may be called by many goroutines at once.
type Engine interface {
	// Snapshot opens a consistent, read-only picture of one space. It never shows what
	// is not yet durable: where a commit to the space waits for its sync, Snapshot waits
	// with it. The caller closes it, within four seconds.
	Snapshot(ctx context.Context, s Space) (Snapshot, error)

	// Commit applies the batches, all or nothing, and returns when they are durable. At
	// most one batch a space. Results are in the order of the batches. Commits to one
	// space are ordered as their versions are; what is ready from all callers is gathered
	// into one sync. The error is a *ConflictError, a *LimitError, ErrTooLarge, ErrFull,
	// ErrInvalid, ErrClosed or ctx's, and then nothing was written. Any other error means
	// that the outcome is not known: send the same batches again with the same Once. When
	// the Once of any batch has been seen, none of the commit is written again and every
	// Result is Already, with what the first commit gave its space.
	Commit(ctx context.Context, b ...Batch) ([]Result, error)

	// Versions returns the durable version of each space, 0 for one never written.
	// Thousands in one call are cheap.
	Versions(ctx context.Context, s ...Space) ([]Version, error)

	// Watch returns a channel that hints that the space's durable version moved. It holds
	// one hint, the newest; hints may be lost, the version is the truth. The channel is
	// closed when ctx is done.
	Watch(ctx context.Context, s Space) (<-chan Version, error)

	// Spaces lists the spaces that hold anything durable or were ever moved and whose names
	// start with prefix, in order.
	Spaces(ctx context.Context, prefix Space) iter.Seq2[Space, error]

	// Checkpoint writes a consistent copy of everything durable into dir, which must not
	// exist, for backup.
	Checkpoint(ctx context.Context, dir string) error

	// Close waits for commits under way, then ends the engine.
	Close() error
}

// Snapshot is a picture of one space at one version. It is safe for concurrent use.
type Snapshot interface {
	Version() Version
	// Get returns a copy of the value, or ErrNotFound. On a closed snapshot or engine every
	// method answers ErrClosed.
	Get(key []byte) ([]byte, error)
	// Scan yields the entries of r in key order. Key and Value are valid until the next
	// step of the loop only.
	Scan(r Range) iter.Seq2[Entry, error]
	// Counter returns a counter's value, 0 when nothing was ever added.
	Counter(key []byte) (int64, error)
	// Sequence returns the last number taken, 0 when none was.
	Sequence(key []byte) (uint64, error)
	Close() error
}

// Entry is one key and its value.
type Entry struct{ Key, Value []byte }

// Range is From ≤ key < To. An empty To means to the end of the space.
type Range struct {
	From, To []byte
	Reverse  bool // scan from the end
	Limit    int  // entries at the most, 0: all; ignored by Batch.Ranges
}

// Prefix is the range of the keys that start with p.
func Prefix(p []byte) Range {
	return Range{From: p, To: after(p)}
}

// after is the least key above all keys with prefix p, nil when there is none.
func after(p []byte) []byte {
	for i := len(p) - 1; i >= 0; i-- {
		if p[i] != 0xff {
			end := append([]byte(nil), p[:i+1]...)
			end[i]++
			return end
		}
	}
	return nil
}

// Batch is what one commit does to one space. Within it the order is: Once, Guards,
// Adds, Takes, Ranges, Deletes, Puts. Keys, counters and sequences are three separate
// name spaces. Its slices belong to the engine until Commit returns.
type Batch struct {
	Space   Space
	Once    []byte   // idempotency key; a second commit with it answers Already and the first one's Result (kept seven days)
	Guards  []Guard  // what was read and must still hold
	Adds    []Add    // counters
	Takes   []Take   // numbers from sequences
	Puts    []Put    // writes
	Deletes [][]byte // keys; a missing one is no error
	Ranges  []Range  // of keys to delete
	Quiet   bool     // does not move the version: index merges, trace, last use

	// MakesRoom marks what frees space on a disk that is nearly full, or has to come first
	// (to mark messages as deleted, to throw them away): an engine takes it as long as it can.
	MakesRoom bool
}

// GuardKind says what a guard asks for.
type GuardKind uint8

// The kinds of guards.
const (
	GuardAbsent  GuardKind = iota + 1 // Key has no value
	GuardPresent                      // Key has some value
	GuardEquals                       // Key still has Value
	GuardVersion                      // the whole space is still at Version
)

// Guard is a condition checked against everything committed before, durable or not.
type Guard struct {
	Kind    GuardKind
	Key     []byte
	Value   []byte
	Version Version
}

// Add changes a counter by N. With a Limit above 0, a growth that would leave it above
// Limit is refused with a *LimitError; a shrinking add is never refused.
type Add struct {
	Key   []byte
	N     int64
	Limit int64
}

// Take draws N numbers, first+0 … first+N-1, from a sequence. The first number of a new
// sequence is 1. AtLeast above 0 makes the first number at least that (imports that keep
// foreign UIDs). N of 0 draws none and only raises the sequence, so that the next number
// is at least AtLeast; its Result is the number that comes next.
type Take struct {
	Key     []byte
	N       uint32
	AtLeast uint64
}

// Put writes a value. Places are filled in at commit, big endian.
type Put struct {
	Key, Value []byte
	Places     []Place
}

// Place is where a number known only at commit goes: into Key or Value at Offset, over
// bytes that are there already.
type Place struct {
	InValue bool
	Offset  int
	Width   int    // 4 or 8 octets
	Version bool   // the space's new version (of a quiet batch: the version it leaves as it is)
	Take    int    // otherwise: the first number of Takes[Take] …
	Plus    uint32 // … plus this
}

// Result is what a commit gave a batch.
type Result struct {
	Version Version  // of the space, after it
	Taken   []uint64 // the first number of each Take, in order
	Already bool     // Once had been seen: nothing was written this time
}
