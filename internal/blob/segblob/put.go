package segblob

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"postroad/internal/blob"
)

const (
	chunksMax     = 4       // frames of a body kept in memory: 256 KB
	trickleBuffer = 4 << 10 // octets read at a time once memory is short
	emptyReadsMax = 100     // reads in a row that bring nothing
)

// chunk holds one frame of a body on its way.
type chunk [frameSize]byte

// trickle is the small buffer of a body for which there was no memory.
type trickle [trickleBuffer]byte

var (
	chunks   = sync.Pool{New: func() any { return new(chunk) }}
	trickles = sync.Pool{New: func() any { return new(trickle) }}
	records  = sync.Pool{New: func() any { return new([]byte) }}
)

// budget is the memory that all bodies on their way share.
type budget struct{ left atomic.Int64 }

// chunk takes a chunk, nil when the budget is spent.
func (b *budget) chunk() *chunk {
	if b.left.Add(-frameSize) < 0 {
		b.left.Add(frameSize)
		return nil
	}
	return chunks.Get().(*chunk)
}

// free gives a chunk back.
func (b *budget) free(c *chunk) {
	chunks.Put(c)
	b.left.Add(frameSize)
}

// Put streams r to its end into the store.
func (s *Store) Put(ctx context.Context, id blob.ID, r io.Reader, max int64) (blob.Location, int64, error) {
	if err := s.ready(); err != nil {
		return nil, 0, err
	}
	if err := s.checkRoom(0); err != nil {
		return nil, 0, err
	}
	in := &intake{store: s, ctx: ctx, r: r, max: min(max, sizeMax)}
	defer in.free()
	if err := in.gather(); err != nil {
		in.spill.discard()
		return nil, 0, err
	}
	a, err := in.finish(id)
	if err != nil {
		in.spill.discard()
		return nil, 0, err
	}
	return a.location(), in.size, nil
}

// intake is one body on its way in. Its states:
//
//	in memory  up to four chunks hold all of it
//	spilling   whole frames go to a file; the first chunk holds the one being read
//	trickling  no memory was left: 4 KB at a time go to the file, not compressed
type intake struct {
	store *Store
	ctx   context.Context
	r     io.Reader
	max   int64

	size   int64
	empty  int // reads in a row that brought nothing
	chunks [chunksMax]*chunk
	count  int // chunks held
	filled int // octets in the last chunk
	small  *trickle
	spill  *spill
}

// gather reads the body to its end.
func (in *intake) gather() error {
	for {
		room, err := in.room()
		if err != nil {
			return err
		}
		if err := in.ctx.Err(); err != nil {
			return err
		}
		n, err := in.r.Read(room)
		in.size += int64(n)
		if in.size > in.max {
			return blob.ErrTooLarge
		}
		if took := in.took(room[:n]); took != nil {
			return took
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case n > 0:
			in.empty = 0
		default:
			if in.empty++; in.empty == emptyReadsMax {
				return io.ErrNoProgress
			}
		}
	}
}

// room returns where the next octets go, and moves the body from memory to a file when
// it has outgrown its share.
func (in *intake) room() ([]byte, error) {
	switch {
	case in.small != nil:
		return in.small[:], nil
	case in.count > 0 && in.filled < frameSize:
		return in.chunks[in.count-1][in.filled:], nil
	case in.spill != nil:
		if err := in.flush(); err != nil {
			return nil, err
		}
		return in.chunks[0][:], nil
	}
	if in.count < chunksMax {
		if c := in.store.memory.chunk(); c != nil {
			in.chunks[in.count] = c
			in.count++
			in.filled = 0
			return c[:], nil
		}
	}
	return in.startSpill()
}

// startSpill opens the file and writes what was gathered.
func (in *intake) startSpill() ([]byte, error) {
	var err error
	if in.spill, err = in.store.newSpill(); err != nil {
		return nil, err
	}
	if in.count == 0 {
		in.small = trickles.Get().(*trickle)
		return in.small[:], nil
	}
	for _, c := range in.chunks[:in.count] {
		if err := in.spill.frame(c[:]); err != nil {
			return nil, err
		}
	}
	for in.count > 1 {
		in.count--
		in.store.memory.free(in.chunks[in.count])
	}
	in.filled = 0
	return in.chunks[0][:], nil
}

// flush writes the chunk of a spilling body as a frame.
func (in *intake) flush() error {
	err := in.spill.frame(in.chunks[0][:in.filled])
	in.filled = 0
	return err
}

// took accounts for octets read into the room.
func (in *intake) took(octets []byte) error {
	if in.small != nil {
		return in.spill.raw(octets)
	}
	in.filled += len(octets)
	return nil
}

// free gives the memory back.
func (in *intake) free() {
	for _, c := range in.chunks[:in.count] {
		in.store.memory.free(c)
	}
	in.count = 0
	if in.small != nil {
		trickles.Put(in.small)
	}
}

// finish makes the record of a gathered body and puts it into a segment.
func (in *intake) finish(id blob.ID) (address, error) {
	h := header{state: stateLive, id: id, size: in.size}
	if in.spill == nil {
		return in.finishMemory(&h)
	}
	if in.count > 0 && in.filled > 0 {
		if err := in.flush(); err != nil {
			return address{}, err
		}
	}
	if err := in.spill.close(&h); err != nil {
		return address{}, err
	}
	if h.length >= aloneMin {
		return in.store.appendAlone(&h, in.spill)
	}
	a, err := in.store.append(&h, in.spill)
	if err == nil {
		in.spill.discard()
	}
	return a, err
}

// finishMemory encodes a body that is in memory and appends it in one write.
func (in *intake) finishMemory(h *header) (address, error) {
	buffer := records.Get().(*[]byte)
	defer records.Put(buffer)
	var index [chunksMax]frame
	record := append((*buffer)[:0], make([]byte, headerLen)...)
	n := 0
	for i, c := range in.chunks[:in.count] {
		octets := c[:]
		if i == in.count-1 {
			octets = c[:in.filled]
		}
		if len(octets) > 0 {
			record, index[n] = in.store.codec.appendFrame(record, octets)
			n++
		}
	}
	record, h.indexCRC = appendIndex(record, index[:n])
	h.length = int64(len(record))
	*buffer = record
	return in.store.append(h, memoryRecord(record))
}

// source is a finished record but for its header.
type source interface {
	// copyTo writes the record, with this header, at the offset.
	copyTo(w io.WriterAt, offset int64, header []byte) error
}

// memoryRecord is a record in memory, with room for its header.
type memoryRecord []byte

func (r memoryRecord) copyTo(w io.WriterAt, offset int64, header []byte) error {
	copy(r, header)
	_, err := w.WriteAt(r, offset)
	return err
}

// append puts a record at the end of the active segment. This is the one lock that all
// bodies pass, and it is held for a copy into the page cache. A write that fails leaves
// the end where it was: the next record goes over what it left.
func (s *Store) append(h *header, record source) (address, error) {
	s.appendMu.Lock()
	g, full, err := s.room(h.length)
	if err != nil {
		s.appendMu.Unlock()
		return address{}, err
	}
	h.salt = g.salt
	var head [headerLen]byte
	a := address{segment: g.number, offset: g.end, length: h.length, crc: h.put(head[:])}
	err = record.copyTo(g.file, a.offset, head[:])
	if err == nil {
		g.end += aligned(h.length)
		s.wrote(g, g.end, h.length)
	}
	s.appendMu.Unlock()

	if full != nil {
		err = errors.Join(err, s.retire(full))
	}
	if err != nil {
		return address{}, writeError("append to segment", err)
	}
	return a, s.checkGrowth(h.length)
}

// wrote makes the new end of a segment known to Sync and to the counts.
func (s *Store) wrote(g *segment, end, length int64) {
	s.syncMu.Lock()
	g.written = end
	s.syncMu.Unlock()
	s.mu.Lock()
	g.size = end
	g.live += length
	s.mu.Unlock()
}

// checkGrowth counts what was written towards the next look at the free space. The record
// is there, so a disk that has become full meanwhile is the next one's concern.
func (s *Store) checkGrowth(n int64) error {
	if err := s.checkRoom(n); err != nil && !errors.Is(err, blob.ErrFull) {
		return err
	}
	return nil
}

// room returns the segment to append length octets to, and the one before it when that
// is full now. The caller holds appendMu.
func (s *Store) room(length int64) (g, full *segment, err error) {
	if s.closed.Load() {
		return nil, nil, ErrClosed
	}
	if g = s.active; g != nil && g.end+length <= s.options.Segment {
		return g, nil, nil
	}
	next, err := s.newSegment()
	if err != nil {
		return nil, nil, err
	}
	full, s.active = s.active, next
	return next, full, nil
}

// retire syncs a full segment and lets go of its file: a file that was closed before its
// sync might not report what went wrong.
func (s *Store) retire(g *segment) error {
	s.syncMu.Lock()
	end := g.written
	s.syncMu.Unlock()
	return errors.Join(s.syncTo(g, end), s.unpin(g))
}

// newSegment makes an empty segment with its head. The directory is synced with the
// first sync of the segment.
func (s *Store) newSegment() (*segment, error) {
	s.mu.Lock()
	s.last++
	number := s.last
	s.mu.Unlock()
	name := s.path(segmentName(number))
	file, err := s.fs.OpenReadWrite(name, writeCategory)
	if err != nil {
		return nil, writeError("make segment", err)
	}
	salt := newSalt()
	if _, err := file.WriteAt(appendHead(nil, salt), 0); err != nil {
		return nil, writeError("make segment", errors.Join(err, file.Close(), s.fs.Remove(name)))
	}
	g := &segment{number: number, file: file, refs: 1, pinned: true, salt: salt, end: headLen, size: headLen, written: headLen, unnamed: true}
	s.mu.Lock()
	s.segments[number] = g
	s.mu.Unlock()
	return g, nil
}

// appendAlone makes a segment of a spill file that holds one large record.
func (s *Store) appendAlone(h *header, sp *spill) (address, error) {
	s.mu.Lock()
	s.last++
	number := s.last
	s.mu.Unlock()
	h.salt = newSalt()
	var head [headLen + headerLen]byte
	appendHead(head[:0], h.salt)
	a := address{segment: number, offset: headLen, length: h.length, crc: h.put(head[headLen:])}
	if _, err := sp.file.WriteAt(head[:], 0); err != nil {
		return address{}, writeError("write large blob", err)
	}
	if err := s.fs.Rename(sp.name, s.path(segmentName(number))); err != nil {
		return address{}, writeError("name segment of large blob", err)
	}
	end := headLen + aligned(h.length)
	g := &segment{number: number, file: sp.file, refs: 1, pinned: true, salt: h.salt, end: end, size: end, written: end, live: h.length, unnamed: true}
	sp.file = nil // the segment's from here
	s.mu.Lock()
	s.segments[number] = g
	s.mu.Unlock()
	return a, s.checkGrowth(h.length)
}
