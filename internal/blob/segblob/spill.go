package segblob

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// writeCategory names our writes for the file system's statistics.
const writeCategory vfs.DiskWriteCategory = "postroad-blobs"

// newSalt is a number nobody outside can know.
func newSalt() uint64 { return rand.Uint64() }

// spill is the file of a body too large for memory. It is laid out as a segment with one
// record, so that a large one becomes a segment by its name alone.
type spill struct {
	store  *Store
	name   string
	file   vfs.File
	end    int64
	index  []frame
	part   frame // the raw frame under way
	length int64 // octets in it
}

// newSpill makes the file.
func (s *Store) newSpill() (*spill, error) {
	name := s.path(fmt.Sprintf("%08x%s", s.spills.Add(1), spillSuffix))
	file, err := s.fs.OpenReadWrite(name, writeCategory)
	if err != nil {
		return nil, writeError("make temporary file", err)
	}
	sp := &spill{store: s, name: name, file: file}
	if err := sp.write(make([]byte, headLen+headerLen)); err != nil { // filled in at the end
		sp.discard()
		return nil, err
	}
	return sp, nil
}

// write appends to the file.
func (sp *spill) write(p []byte) error {
	if err := sp.store.checkRoom(int64(len(p))); err != nil {
		return err
	}
	if _, err := sp.file.Write(p); err != nil {
		return writeError("write temporary file", err)
	}
	sp.end += int64(len(p))
	return nil
}

// frame encodes and writes one frame.
func (sp *spill) frame(octets []byte) error {
	buffer := records.Get().(*[]byte)
	defer records.Put(buffer)
	var f frame
	*buffer, f = sp.store.codec.appendFrame((*buffer)[:0], octets)
	sp.index = append(sp.index, f)
	return sp.write(*buffer)
}

// raw writes octets as they are and ends the frames where they are full.
func (sp *spill) raw(octets []byte) error {
	for len(octets) > 0 {
		n := min(int64(len(octets)), frameSize-sp.length)
		sp.part.crc = crc32.Update(sp.part.crc, castagnoli, octets[:n])
		sp.length += n
		if err := sp.write(octets[:n]); err != nil {
			return err
		}
		octets = octets[n:]
		if sp.length == frameSize {
			sp.endRaw()
		}
	}
	return nil
}

// endRaw ends the raw frame under way.
func (sp *spill) endRaw() {
	if sp.length > 0 {
		sp.index = append(sp.index, frame{stored: uint32(sp.length) | frameRaw, crc: sp.part.crc})
	}
	sp.part, sp.length = frame{}, 0
}

// close writes the index and completes the header, but for its salt.
func (sp *spill) close(h *header) error {
	sp.endRaw()
	var index []byte
	index, h.indexCRC = appendIndex(nil, sp.index)
	if err := sp.write(index); err != nil {
		return err
	}
	h.length = sp.end - headLen
	if int64(len(sp.index)) != frames(h.size) {
		return fmt.Errorf("segblob: %d frames for %d octets", len(sp.index), h.size)
	}
	return nil
}

// copyTo copies the record into a segment.
func (sp *spill) copyTo(w io.WriterAt, offset int64, header []byte) error {
	if _, err := w.WriteAt(header, offset); err != nil {
		return err
	}
	buffer := chunks.Get().(*chunk)
	defer chunks.Put(buffer)
	offset += headerLen
	for from := int64(headLen + headerLen); from < sp.end; {
		p := buffer[:min(frameSize, sp.end-from)]
		if _, err := sp.file.ReadAt(p, from); err != nil {
			return fmt.Errorf("read temporary file: %w", err)
		}
		if _, err := w.WriteAt(p, offset); err != nil {
			return err
		}
		from, offset = from+int64(len(p)), offset+int64(len(p))
	}
	return nil
}

// discard removes the file, unless it has become a segment.
func (sp *spill) discard() {
	if sp == nil || sp.file == nil {
		return
	}
	if err := errors.Join(sp.file.Close(), sp.store.fs.Remove(sp.name)); err != nil {
		sp.store.options.Log.Error("remove temporary file", "name", sp.name, "err", err)
	}
	sp.file = nil
}
