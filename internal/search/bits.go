package search

import (
	"encoding/binary"
	"math/bits"
)

// bitWriter writes numbers of some bits one behind the other, the highest bit first.
type bitWriter struct {
	octets []byte // whole ones
	rest   uint64 // the bits behind them, at the top
	used   int    // of rest
}

func (w *bitWriter) reset() { w.octets, w.rest, w.used = w.octets[:0], 0, 0 }

// length is how many bits were written.
func (w *bitWriter) length() int { return 8*len(w.octets) + w.used }

// write adds the lowest n bits of v, at most 56.
func (w *bitWriter) write(v uint64, n int) {
	if w.used+n > 64 {
		w.flush()
	}
	w.rest |= v << (64 - n) >> w.used
	w.used += n
}

// flush takes whole octets out of rest.
func (w *bitWriter) flush() {
	whole := w.used / 8
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], w.rest)
	w.octets = append(w.octets, b[:whole]...)
	w.rest <<= 8 * whole
	w.used -= 8 * whole
}

// copy adds n bits of others, from one on.
func (w *bitWriter) copy(from []byte, at, n int) {
	if w.used%8 == 0 && at%8 == 0 {
		w.flush()
		whole := n / 8
		w.octets = append(w.octets, from[at/8:at/8+whole]...)
		at, n = at+8*whole, n-8*whole
	}
	for n > 0 {
		part := min(n, 48)
		w.write(window(from, at)>>(64-part), part)
		at += part
		n -= part
	}
}

// finish returns what was written, filled up to whole octets; valid until more is written.
func (w *bitWriter) finish() []byte {
	if w.flush(); w.used == 0 {
		return w.octets
	}
	return append(w.octets, byte(w.rest>>56))
}

// window is at least 57 bits from one on, zeros behind the end.
func window(b []byte, at int) uint64 {
	i := at >> 3
	if i+8 <= len(b) {
		return binary.BigEndian.Uint64(b[i:]) << (at & 7)
	}
	var last [8]byte
	if i < len(b) {
		copy(last[:], b[i:])
	}
	return binary.BigEndian.Uint64(last[:]) << (at & 7)
}

// writeGolomb adds a number by Exp-Golomb's code of order k: one below 2^k takes k+1 bits,
// and two more each time it doubles.
func (w *bitWriter) writeGolomb(v uint32, k int) {
	n := uint64(v) + 1<<k
	length := bits.Len64(n)
	w.write(n, 2*length-k-1)
}

// golomb reads such a number from the top of a window, and how many bits it took. One
// that has too many bits is none.
func golomb(window uint64, k int) (v uint32, length int) {
	length = 2*bits.LeadingZeros64(window) + k + 1
	if length > golombMax {
		return 0, 0
	}
	return uint32(window>>(64-length) - 1<<k), length
}

// golombMax is the most bits of a number, so that one window has it and the gap behind.
const golombMax = 50
