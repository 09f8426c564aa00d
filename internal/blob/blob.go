// Package blob keeps immutable bytes: the bodies of messages.
//
// A [Store] is where large bodies lie (segblob on a disk; object storage for a cluster
// comes later). [Bodies] is what the house uses: it stages a body while it arrives,
// carries small ones inside the commit, makes large ones durable before the commit that
// names them, counts nobody's references but keeps links, and collects what no link
// holds.
//
// What is staged and never committed costs no sync and leaves nothing behind after a
// restart. The package does not know what a message is.
package blob

import (
	"context"
	"errors"
	"io"
	"iter"

	"postroad/internal/kv/hlc"
)

// InlineMax is the largest body that travels inside the commit, in octets.
const InlineMax = 8 << 10

// Errors of stores and bodies.
var (
	ErrNotFound = errors.New("blob: no such blob")
	ErrDamaged  = errors.New("blob: checksum does not match")
	ErrFull     = errors.New("blob: the disk is nearly full")
	ErrTooLarge = errors.New("blob: over the size given")
)

// ID names a body; ids order by time.
type ID = hlc.ID

// Location says where a Store put a blob: opaque, at most 64 octets, stored with the
// body's record, never seen outside this package and its stores.
type Location []byte

// Reader reads a blob at any offset; several goroutines may use it at once.
type Reader interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// Store keeps large blobs. Order of the steps: Put stages; Sync makes durable; the
// commit that takes the location follows. All methods may be called at once.
type Store interface {
	// Put streams r to its end into the store and returns its place and size. It is
	// readable at once, durable only after Sync. An error of r is returned as it is and
	// leaves nothing behind. More than max octets: ErrTooLarge.
	Put(ctx context.Context, id ID, r io.Reader, max int64) (Location, int64, error)
	// Sync returns when every location is durable; callers are gathered into one sync.
	Sync(ctx context.Context, l ...Location) error
	// Open opens a blob. Damaged content is reported by the read that meets it.
	Open(ctx context.Context, l Location) (Reader, error)
	// Delete gives the space back. Unknown locations are no error.
	Delete(ctx context.Context, l ...Location) error
	// List yields every blob, in no order.
	List(ctx context.Context) iter.Seq2[Info, error]
	Close() error
}

// Info is one stored blob as List finds it.
type Info struct {
	ID       ID
	Location Location
	Size     int64
}
