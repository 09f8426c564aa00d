// Package memblob keeps blobs in memory, for tests of what stands above a blob.Store.
//
// The main type is [Store]. Everything is lost with the process.
package memblob

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"iter"
	"maps"
	"slices"
	"sync"

	"postroad/internal/blob"
)

// ErrClosed is returned after Close.
var ErrClosed = errors.New("memblob: store is closed")

// Store is a blob.Store in memory.
type Store struct {
	mu     sync.Mutex
	closed bool
	last   uint64
	blobs  map[uint64]stored // by location
}

var _ blob.Store = (*Store)(nil)

type stored struct {
	id     blob.ID
	octets []byte
}

// New returns an empty store.
func New() *Store { return &Store{blobs: make(map[uint64]stored)} }

// Put implements blob.Store.
func (s *Store) Put(ctx context.Context, id blob.ID, r io.Reader, max int64) (blob.Location, int64, error) {
	var octets []byte
	for buffer := make([]byte, 16<<10); ; {
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
		n, err := r.Read(buffer)
		octets = append(octets, buffer[:n]...)
		if int64(len(octets)) > max {
			return nil, 0, blob.ErrTooLarge
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, 0, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, 0, ErrClosed
	}
	s.last++
	s.blobs[s.last] = stored{id, octets}
	return binary.AppendUvarint(nil, s.last), int64(len(octets)), nil
}

// find returns the blob at a location. The caller holds mu.
func (s *Store) find(l blob.Location) (uint64, stored, error) {
	if s.closed {
		return 0, stored{}, ErrClosed
	}
	n, w := binary.Uvarint(l)
	b, ok := s.blobs[n]
	if w != len(l) || !ok {
		return 0, stored{}, blob.ErrNotFound
	}
	return n, b, nil
}

// Sync implements blob.Store.
func (s *Store) Sync(_ context.Context, locations ...blob.Location) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range locations {
		if _, _, err := s.find(l); err != nil {
			return err
		}
	}
	return nil
}

// Open implements blob.Store.
func (s *Store) Open(_ context.Context, l blob.Location) (blob.Reader, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, b, err := s.find(l)
	if err != nil {
		return nil, err
	}
	return reader{bytes.NewReader(b.octets)}, nil
}

// Delete implements blob.Store.
func (s *Store) Delete(_ context.Context, locations ...blob.Location) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range locations {
		n, _, err := s.find(l)
		if err == ErrClosed {
			return err
		}
		delete(s.blobs, n)
	}
	return nil
}

// List implements blob.Store.
func (s *Store) List(ctx context.Context) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) {
		s.mu.Lock()
		blobs, closed := maps.Clone(s.blobs), s.closed
		s.mu.Unlock()
		if closed {
			yield(blob.Info{}, ErrClosed)
			return
		}
		for _, n := range slices.Collect(maps.Keys(blobs)) {
			b := blobs[n]
			info := blob.Info{ID: b.id, Location: binary.AppendUvarint(nil, n), Size: int64(len(b.octets))}
			if !yield(info, ctx.Err()) {
				return
			}
		}
	}
}

// Close implements blob.Store.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

// reader reads one blob.
type reader struct{ octets *bytes.Reader }

func (r reader) ReadAt(p []byte, off int64) (int, error) { return r.octets.ReadAt(p, off) }
func (r reader) Size() int64                             { return r.octets.Size() }
func (r reader) Close() error                            { return nil }
