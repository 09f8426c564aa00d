package segblob

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"postroad/internal/blob"
)

// Open opens a blob. It reads the record's header; the rest is read when asked for.
func (s *Store) Open(_ context.Context, l blob.Location) (blob.Reader, error) {
	if err := s.ready(); err != nil {
		return nil, err
	}
	a, err := parseLocation(l)
	if err != nil {
		return nil, err
	}
	g, err := s.acquire(a.segment)
	if err != nil {
		return nil, fmt.Errorf("open blob: %w", err)
	}
	p := place{a.segment, a.offset}
	s.mu.Lock()
	dying := s.reading[p] == deleting
	if !dying {
		s.reading[p]++
	}
	s.mu.Unlock()
	if dying {
		return nil, errors.Join(blob.ErrNotFound, s.release(g))
	}
	h, err := s.header(g, a)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open blob: %w", err), s.closeReader(g, p))
	}
	return &reader{store: s, segment: g, place: p, header: h}, nil
}

// header reads the header of the live record at the address. A dead record, or a hole
// where one was, is ErrNotFound.
func (s *Store) header(g *segment, a address) (header, error) {
	var p [headerLen]byte
	if n, err := g.file.ReadAt(p[:], a.offset); err != nil && !(err == io.EOF && n == headerLen) {
		if err == io.EOF {
			return header{}, blob.ErrNotFound
		}
		return header{}, fmt.Errorf("read header: %w", err)
	}
	h, crc, ok := parseHeader(p[:])
	switch {
	case ok && h.state == stateLive && crc == a.crc && h.length == a.length:
		return h, nil
	case ok || p == [headerLen]byte{}:
		return header{}, blob.ErrNotFound
	}
	return header{}, fmt.Errorf("%w: header in segment %s at %d", blob.ErrDamaged, segmentName(g.number), a.offset)
}

// closeReader counts a reader out; what was to be deleted meanwhile is deleted by the
// last one.
func (s *Store) closeReader(g *segment, p place) error {
	s.mu.Lock()
	var doomed blob.Location
	if s.reading[p]--; s.reading[p] == 0 {
		delete(s.reading, p)
		doomed = s.doomed[p]
		delete(s.doomed, p)
	}
	s.mu.Unlock()
	err := s.release(g)
	if doomed == nil || s.closed.Load() {
		return err
	}
	return errors.Join(err, s.Delete(context.Background(), doomed))
}

// reader reads one record. It keeps the frame read last, so that reading on costs one
// decompression a frame.
type reader struct {
	store   *Store
	segment *segment
	place   place
	header  header

	mu     sync.Mutex
	closed bool
	index  []frame
	starts []int64 // where each frame is stored, from the beginning of the record
	one    [1]frame
	oneAt  [1]int64
	cache  *chunk // octets of frame number cached
	cached int64
}

// Size is the size of the body.
func (r *reader) Size() int64 { return r.header.size }

// ReadAt implements io.ReaderAt. Each frame is held against its checksum before any of
// it is given out.
func (r *reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("segblob: negative offset")
	}
	if off >= r.header.size {
		return 0, io.EOF
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return 0, ErrClosed
	}
	if r.index == nil {
		if err := r.readIndex(); err != nil {
			return 0, r.wrap(err)
		}
	}
	n := 0
	for n < len(p) && off < r.header.size {
		m, err := r.readFrame(p[n:], off/frameSize, int(off%frameSize))
		n += m
		off += int64(m)
		if err != nil {
			return n, r.wrap(err)
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// wrap says which record an error is about.
func (r *reader) wrap(err error) error {
	return fmt.Errorf("read blob %s in segment %s at %d: %w", r.header.id, segmentName(r.place.segment), r.place.offset, err)
}

// readAt fills p from the record.
func (r *reader) readAt(p []byte, off int64) error {
	n, err := r.segment.file.ReadAt(p, r.place.offset+off)
	if n == len(p) {
		return nil
	}
	if err == io.EOF {
		return fmt.Errorf("%w: the segment ends within it", blob.ErrDamaged)
	}
	return err
}

// readIndex reads where the frames are.
func (r *reader) readIndex() error {
	count := frames(r.header.size)
	index, starts := r.one[:0], r.oneAt[:0]
	if count*indexLen > r.header.length-headerLen {
		return fmt.Errorf("%w: its size does not fit its length", blob.ErrDamaged)
	}
	var small [8 * indexLen]byte
	p := small[:]
	if count*indexLen > int64(len(p)) {
		p = make([]byte, count*indexLen)
		index, starts = make([]frame, 0, count), make([]int64, 0, count)
	}
	p = p[:count*indexLen]
	if err := r.readAt(p, r.header.length-int64(len(p))); err != nil {
		return err
	}
	if checksum(p) != r.header.indexCRC {
		return fmt.Errorf("%w: index", blob.ErrDamaged)
	}
	at := int64(headerLen)
	for ; len(p) > 0; p = p[indexLen:] {
		f := frame{stored: binary.BigEndian.Uint32(p), crc: binary.BigEndian.Uint32(p[4:])}
		index, starts = append(index, f), append(starts, at)
		at += f.length()
	}
	if at+count*indexLen != r.header.length {
		return fmt.Errorf("%w: lengths of its frames", blob.ErrDamaged)
	}
	r.index, r.starts = index, starts
	r.cached = -1
	return nil
}

// readFrame copies from frame i, beginning at its octet from, as much as there is.
func (r *reader) readFrame(p []byte, i int64, from int) (int, error) {
	if r.cached == i {
		return copy(p, r.cache[from:r.frameLen(i)]), nil
	}
	f, length := r.index[i], r.frameLen(i)
	if f.raw() && from == 0 && len(p) >= length {
		if f.length() != int64(length) {
			return 0, fmt.Errorf("%w: length of frame %d", blob.ErrDamaged, i)
		}
		return length, r.load(p[:length], i)
	}
	if r.cache == nil {
		r.cache = chunks.Get().(*chunk)
	}
	r.cached = -1
	if err := r.decode(r.cache[:length], i); err != nil {
		return 0, err
	}
	r.cached = i
	return copy(p, r.cache[from:length]), nil
}

// frameLen is the length of a frame's octets in the body.
func (r *reader) frameLen(i int64) int {
	return int(min(frameSize, r.header.size-i*frameSize))
}

// decode reads frame i into dst, which is as long as its octets are.
func (r *reader) decode(dst []byte, i int64) error {
	f := r.index[i]
	if f.raw() {
		if f.length() != int64(len(dst)) {
			return fmt.Errorf("%w: length of frame %d", blob.ErrDamaged, i)
		}
		return r.load(dst, i)
	}
	if f.length() > frameSize {
		return fmt.Errorf("%w: length of frame %d", blob.ErrDamaged, i)
	}
	buffer := chunks.Get().(*chunk)
	defer chunks.Put(buffer)
	stored := buffer[:f.length()]
	if err := r.load(stored, i); err != nil {
		return err
	}
	octets, err := r.store.codec.decode(dst[:0], stored)
	if err != nil {
		return fmt.Errorf("%w: frame %d: %w", blob.ErrDamaged, i, err)
	}
	if len(octets) != len(dst) {
		return fmt.Errorf("%w: frame %d has %d octets, not %d", blob.ErrDamaged, i, len(octets), len(dst))
	}
	return nil
}

// load reads the stored octets of frame i and checks them.
func (r *reader) load(p []byte, i int64) error {
	if err := r.readAt(p, r.starts[i]); err != nil {
		return err
	}
	if checksum(p) != r.index[i].crc {
		return fmt.Errorf("%w: frame %d", blob.ErrDamaged, i)
	}
	return nil
}

// Close ends the reader.
func (r *reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	if r.cache != nil {
		chunks.Put(r.cache)
		r.cache = nil
	}
	return r.store.closeReader(r.segment, r.place)
}

// readSome reads as much of p as the segment has.
func readSome(g *segment, p []byte, off int64) (int, error) {
	n, err := g.file.ReadAt(p, off)
	if err == io.EOF {
		err = nil
	}
	return n, err
}
