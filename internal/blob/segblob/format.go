package segblob

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"runtime"

	"github.com/klauspost/compress/zstd"

	"postroad/internal/blob"
)

// A segment is a head and records, each at a multiple of align octets:
//
//	head     magic 8, salt 8, crc32c 4, zeros
//	record   header 48, frames, index
//	header   magic 4, state 1, zeros 3, salt 8, id 8, size 8, length 8, crc32c of the
//	         index 4, crc32c of the header 4
//	index    for each frame: stored length 4 (the highest bit: not compressed), crc32c 4
//
// length is that of the whole record. A header never crosses a multiple of align, so no
// sector of a disk: it is overwritten in one piece when the record dies. A dead record's
// length covers the dead ones behind it too.
//
// The salt is random for each segment and never leaves the house: a body whose octets look
// like a record is not taken for one when records are searched for.
//
// The checksum is CRC-32C: it finds what disks do to data, at 10 GB/s; that nobody forges
// blobs is the directory's permissions' business.
const (
	align      = 64
	headLen    = align
	headerLen  = 48
	indexLen   = 8        // octets of index for a frame
	frameSize  = 64 << 10 // octets of a body in a frame
	sizeMax    = 1 << 40  // octets of a body
	frameRaw   = 1 << 31  // not compressed
	savingPart = 16       // a frame is kept compressed when that saves this part of it
)

// The magic numbers.
const (
	segmentMagic = "prseg\x00\x01\n"
	recordMagic  = 0x70726563 // "prec"
)

// The states of a record.
const (
	stateLive = 1
	stateDead = 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is the CRC-32C of p.
func checksum(p []byte) uint32 { return crc32.Checksum(p, castagnoli) }

// aligned rounds up to where a record may begin.
func aligned(n int64) int64 { return (n + align - 1) &^ (align - 1) }

// appendHead writes the head of a segment.
func appendHead(dst []byte, salt uint64) []byte {
	start := len(dst)
	dst = append(dst, segmentMagic...)
	dst = binary.BigEndian.AppendUint64(dst, salt)
	dst = binary.BigEndian.AppendUint32(dst, checksum(dst[start:]))
	return append(dst, make([]byte, headLen-(len(dst)-start))...)
}

// parseHead reads the salt.
func parseHead(p []byte) (salt uint64, ok bool) {
	if len(p) < 20 || string(p[:8]) != segmentMagic || binary.BigEndian.Uint32(p[16:]) != checksum(p[:16]) {
		return 0, false
	}
	return binary.BigEndian.Uint64(p[8:]), true
}

// header is the header of a record.
type header struct {
	state    byte
	salt     uint64
	id       blob.ID
	size     int64 // of the body
	length   int64 // of the record
	indexCRC uint32
}

// put writes the header to p and returns its checksum.
func (h *header) put(p []byte) uint32 {
	p = p[:headerLen]
	binary.BigEndian.PutUint32(p, recordMagic)
	p[4], p[5], p[6], p[7] = h.state, 0, 0, 0
	binary.BigEndian.PutUint64(p[8:], h.salt)
	binary.BigEndian.PutUint64(p[16:], uint64(h.id))
	binary.BigEndian.PutUint64(p[24:], uint64(h.size))
	binary.BigEndian.PutUint64(p[32:], uint64(h.length))
	binary.BigEndian.PutUint32(p[40:], h.indexCRC)
	crc := checksum(p[:44])
	binary.BigEndian.PutUint32(p[44:], crc)
	return crc
}

// parseHeader reads a header and its checksum.
func parseHeader(p []byte) (h header, crc uint32, ok bool) {
	if len(p) < headerLen || binary.BigEndian.Uint32(p) != recordMagic {
		return h, 0, false
	}
	crc = binary.BigEndian.Uint32(p[44:])
	h = header{
		state:    p[4],
		salt:     binary.BigEndian.Uint64(p[8:]),
		id:       blob.ID(binary.BigEndian.Uint64(p[16:])),
		size:     int64(binary.BigEndian.Uint64(p[24:])),
		length:   int64(binary.BigEndian.Uint64(p[32:])),
		indexCRC: binary.BigEndian.Uint32(p[40:]),
	}
	ok = crc == checksum(p[:44]) && h.size >= 0 && h.size <= sizeMax &&
		h.length >= headerLen && h.length <= 2*sizeMax && (h.state == stateLive || h.state == stateDead)
	return h, crc, ok
}

// frames is how many frames a body of the size has.
func frames(size int64) int64 { return (size + frameSize - 1) / frameSize }

// frame is one entry of an index.
type frame struct {
	stored uint32 // octets, with frameRaw
	crc    uint32 // of the stored octets
}

func (f frame) raw() bool     { return f.stored&frameRaw != 0 }
func (f frame) length() int64 { return int64(f.stored &^ frameRaw) }

// appendIndex writes the index and returns its checksum.
func appendIndex(dst []byte, index []frame) ([]byte, uint32) {
	start := len(dst)
	for _, f := range index {
		dst = binary.BigEndian.AppendUint32(dst, f.stored)
		dst = binary.BigEndian.AppendUint32(dst, f.crc)
	}
	return dst, checksum(dst[start:])
}

// address is a Location taken apart.
type address struct {
	segment uint64
	offset  int64
	length  int64  // of the record
	crc     uint32 // of its live header: no other record is taken for it
}

// location packs the address, 8 to 14 octets as a rule.
func (a address) location() blob.Location {
	l := make([]byte, 0, 16)
	l = binary.AppendUvarint(l, a.segment)
	l = binary.AppendUvarint(l, uint64(a.offset/align))
	l = binary.AppendUvarint(l, uint64(a.length))
	return binary.BigEndian.AppendUint32(l, a.crc)
}

// parseLocation unpacks a location; what is none is ErrNotFound.
func parseLocation(l blob.Location) (a address, err error) {
	var n [3]uint64
	rest := []byte(l)
	for i := range n {
		v, w := binary.Uvarint(rest)
		if w <= 0 || v > 2*sizeMax {
			return a, fmt.Errorf("%w: malformed location %x", blob.ErrNotFound, []byte(l))
		}
		n[i], rest = v, rest[w:]
	}
	if len(rest) != 4 || n[2] < headerLen {
		return a, fmt.Errorf("%w: malformed location %x", blob.ErrNotFound, []byte(l))
	}
	return address{segment: n[0], offset: int64(n[1]) * align, length: int64(n[2]), crc: binary.BigEndian.Uint32(rest)}, nil
}

// codec compresses and decompresses frames; both directions serve many goroutines.
type codec struct {
	encoder *zstd.Encoder
	decoder *zstd.Decoder
}

// open makes the codec. It has no goroutines and is left to the garbage collector, so that
// readers may outlive the store.
func (c *codec) open() (err error) {
	c.encoder, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithEncoderCRC(false), zstd.WithWindowSize(frameSize), zstd.WithSingleSegment(true),
		zstd.WithLowerEncoderMem(true), zstd.WithEncoderConcurrency(runtime.GOMAXPROCS(0)))
	if err != nil {
		return fmt.Errorf("make encoder: %w", err)
	}
	c.decoder, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(frameSize),
		zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return fmt.Errorf("make decoder: %w", err)
	}
	return nil
}

// appendFrame appends a frame, compressed where that helps.
func (c *codec) appendFrame(dst, octets []byte) ([]byte, frame) {
	start := len(dst)
	dst = c.encoder.EncodeAll(octets, dst)
	raw := uint32(0)
	if len(dst)-start > len(octets)-len(octets)/savingPart {
		dst, raw = append(dst[:start], octets...), frameRaw
	}
	stored := dst[start:]
	return dst, frame{stored: uint32(len(stored)) | raw, crc: checksum(stored)}
}

// decode appends the body's octets of a compressed frame to dst, which has room for all.
func (c *codec) decode(dst, stored []byte) ([]byte, error) {
	return c.decoder.DecodeAll(stored, dst)
}
