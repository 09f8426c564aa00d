package segblob

import (
	"fmt"
	"iter"
)

// scanWindow is how much is read at a time to find a header behind damage or a hole.
const scanWindow = 256 << 10

// found is a record that a scan met.
type found struct {
	header
	offset int64
	crc    uint32
}

// scanner finds the records of a segment by their headers.
type scanner struct {
	segment *segment
	size    int64 // of the segment when the scan began
	salt    uint64
	window  []byte

	// damaged tells that there were octets that belong to no record: a record may have
	// been missed.
	damaged bool
}

// scan begins a scan of an acquired segment.
func (s *Store) scan(g *segment) *scanner {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &scanner{segment: g, size: g.size}
}

// records yields the records, dead ones too. Where there is no header - a hole whose own
// header is not on the disk yet, damage, what an interrupted write left - it goes on at
// the next one.
func (c *scanner) records() iter.Seq2[found, error] {
	return func(yield func(found, error) bool) {
		off := int64(headLen)
		err := c.readSalt()
		for err == nil && off+headerLen <= c.size {
			var r found
			var ok bool
			if r, ok, err = c.at(off); err != nil {
				break
			}
			if !ok {
				off, err = c.seek(off)
				continue
			}
			if !yield(r, nil) {
				return
			}
			off += aligned(r.length)
		}
		if err != nil {
			yield(found{}, fmt.Errorf("scan segment %s: %w", segmentName(c.segment.number), err))
		}
	}
}

// readSalt reads the segment's salt, from its head or, should that be damaged, from its
// first record. In a segment with neither no records can be found.
func (c *scanner) readSalt() error {
	var p [headLen + headerLen]byte
	n, err := readSome(c.segment, p[:], 0)
	if err != nil {
		return err
	}
	if salt, ok := parseHead(p[:n]); ok {
		c.salt = salt
		return nil
	}
	c.damaged = c.size > headLen
	if h, _, ok := parseHeader(p[min(n, headLen):n]); ok {
		c.salt = h.salt
		return nil
	}
	c.size = 0
	return nil
}

// at reads the header at an offset.
func (c *scanner) at(off int64) (r found, ok bool, err error) {
	var p [headerLen]byte
	n, err := readSome(c.segment, p[:], off)
	if err != nil {
		return r, false, err
	}
	r, ok = c.parse(p[:n], off)
	return r, ok, nil
}

// parse takes a header for one of this segment's only with its salt.
func (c *scanner) parse(p []byte, off int64) (found, bool) {
	h, crc, ok := parseHeader(p)
	return found{header: h, offset: off, crc: crc}, ok && h.salt == c.salt
}

// seek returns the offset of the next header from off on, or the end when there is none.
func (c *scanner) seek(off int64) (int64, error) {
	if c.window == nil {
		c.window = make([]byte, scanWindow)
	}
	for ; off < c.size; off += scanWindow {
		n, err := readSome(c.segment, c.window, off)
		if err != nil {
			return 0, err
		}
		for at := 0; at < n; at += align {
			block := c.window[at:min(at+align, n)]
			if _, ok := c.parse(block, off); ok {
				return off + int64(at), nil
			}
			c.damaged = c.damaged || !zeros(block)
		}
	}
	return c.size, nil
}

// zeros tells whether there is nothing but zeros.
func zeros(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}
