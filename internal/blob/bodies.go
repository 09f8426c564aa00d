package blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
)

// emptyReadsMax is how often in a row a reader may return neither octets nor an error.
const emptyReadsMax = 100

// Bodies stages, opens and makes durable the bodies of the house: small ones within the
// commit of their keys, large ones in a Store. All methods may be called at once.
type Bodies struct {
	engine kv.Engine
	store  Store
	clock  *hlc.Clock
}

// NewBodies returns the bodies whose keys are in the engine and whose large octets are in
// the store. Neither is closed by it.
func NewBodies(engine kv.Engine, store Store, clock *hlc.Clock) *Bodies {
	return &Bodies{engine: engine, store: store, clock: clock}
}

// stageBuffer holds the beginning of a body until it is known whether it is small.
type stageBuffer [InlineMax + 1]byte

var stageBuffers = sync.Pool{New: func() any { return new(stageBuffer) }}

// Stage reads r to its end: up to InlineMax octets into memory, anything longer through
// to the store. The body can be opened at once; it becomes durable by the commit that
// links it. An error of r is returned as it is and nothing is kept; over max octets it is
// ErrTooLarge. What will not be committed should be given to Discard.
func (s *Bodies) Stage(ctx context.Context, r io.Reader, max int64) (Body, error) {
	buffer := stageBuffers.Get().(*stageBuffer)
	defer stageBuffers.Put(buffer)

	n, ended, err := fill(r, buffer[:])
	if err != nil {
		return Body{}, err
	}
	if int64(n) > max {
		return Body{}, ErrTooLarge
	}
	if ended && n <= InlineMax {
		record := make([]byte, inlineHead+n)
		copy(record[inlineHead:], buffer[:n])
		return newInline(s.clock.Next(), record), nil
	}
	if ended {
		r = eof{}
	}

	id := s.clock.Next()
	location, size, err := s.store.Put(ctx, id, &resumed{head: buffer[:n], rest: r}, max)
	if err != nil {
		return Body{}, err
	}
	if len(location) == 0 || len(location) > LocationMax {
		return Body{}, fmt.Errorf("blob: the store gave a location of %d octets", len(location))
	}
	return Body{ID: id, Size: size, staged: true, location: location}, nil
}

// fill reads until p is full or r ended. Unlike io.ReadFull it tells an end from an
// io.ErrUnexpectedEOF of r, which a cut connection gives.
func fill(r io.Reader, p []byte) (n int, ended bool, err error) {
	for empty := 0; n < len(p); {
		m, err := r.Read(p[n:])
		n += m
		switch {
		case err == io.EOF:
			return n, true, nil
		case err != nil:
			return n, false, err
		case m > 0:
			empty = 0
		default:
			if empty++; empty == emptyReadsMax {
				return n, false, io.ErrNoProgress
			}
		}
	}
	return n, false, nil
}

// resumed reads what was read already, then the rest.
type resumed struct {
	head []byte
	rest io.Reader
}

func (r *resumed) Read(p []byte) (int, error) {
	if len(r.head) > 0 {
		n := copy(p, r.head)
		r.head = r.head[n:]
		return n, nil
	}
	return r.rest.Read(p)
}

// eof is a reader at its end.
type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

// Sync makes staged large bodies durable; a commit may name them then. Small ones and
// stored ones need nothing.
func (s *Bodies) Sync(ctx context.Context, bodies ...Body) error {
	var one [4]Location
	large := one[:0]
	for i := range bodies {
		if bodies[i].staged && bodies[i].record == nil {
			large = append(large, bodies[i].location)
		}
	}
	if len(large) == 0 {
		return nil
	}
	return s.store.Sync(ctx, large...)
}

// Open opens a body, staged or stored: from the octets it carries, else where it says
// they are, else by its record. A body that is not there is ErrNotFound; damaged octets
// are ErrDamaged, here or by the read that meets them.
func (s *Bodies) Open(ctx context.Context, b Body) (Reader, error) {
	if b.record != nil {
		return newMemoryReader(b.inline()), nil
	}
	if len(b.location) > 0 {
		r, err := s.open(ctx, b, b.location, b.Size)
		if !errors.Is(err, ErrNotFound) || b.staged {
			return r, err
		}
		// The store moved it since; the record knows where to.
	}
	v, err := s.record(ctx, b.ID)
	if err != nil {
		return nil, err
	}
	octets, size, location, err := decodeRecord(v)
	if err != nil {
		return nil, fmt.Errorf("open body %s: %w", b.ID, err)
	}
	if location == nil {
		if size != b.Size {
			return nil, sizeError(b, size)
		}
		return newMemoryReader(octets), nil
	}
	return s.open(ctx, b, location, size)
}

// open opens a large body in the store and holds its size against the one expected.
func (s *Bodies) open(ctx context.Context, b Body, l Location, size int64) (Reader, error) {
	r, err := s.store.Open(ctx, l)
	if err != nil {
		return nil, fmt.Errorf("open body %s: %w", b.ID, err)
	}
	if r.Size() != b.Size || size != b.Size {
		err := sizeError(b, r.Size())
		r.Close()
		return nil, err
	}
	return r, nil
}

// sizeError says that a body is not as long as its name says.
func sizeError(b Body, size int64) error {
	return fmt.Errorf("open body %s: %w: it has %d octets, not %d", b.ID, ErrDamaged, size, b.Size)
}

// record reads a body's record: one Get.
func (s *Bodies) record(ctx context.Context, id ID) ([]byte, error) {
	snapshot, err := s.engine.Snapshot(ctx, spaceOf(id))
	if err != nil {
		return nil, fmt.Errorf("open body %s: %w", id, err)
	}
	v, err := snapshot.Get(recordKey(id))
	if closeErr := snapshot.Close(); err == nil {
		err = closeErr
	}
	if errors.Is(err, kv.ErrNotFound) {
		err = ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("open body %s: %w", id, err)
	}
	return v, nil
}

// Discard gives back what a staged body took and no commit took. A body that is not
// staged, or that a commit did take after all, is left alone. What could not be given
// back is an orphan, found by the collector's sweep.
func (s *Bodies) Discard(b Body) {
	if !b.staged || b.record != nil {
		return
	}
	ctx := context.Background()
	if _, err := s.record(ctx, b.ID); errors.Is(err, ErrNotFound) {
		_ = s.store.Delete(ctx, b.location) // an orphan at worst
	}
}

// memoryReader reads a small body.
type memoryReader struct{ octets *bytes.Reader }

func newMemoryReader(octets []byte) Reader { return memoryReader{bytes.NewReader(octets)} }

func (r memoryReader) ReadAt(p []byte, off int64) (int, error) { return r.octets.ReadAt(p, off) }
func (r memoryReader) Size() int64                             { return r.octets.Size() }
func (r memoryReader) Close() error                            { return nil }
