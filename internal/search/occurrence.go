package search

import (
	"fmt"
	"math/bits"
	"slices"
)

// What stands between a term and the one before it in a text: one octet, nothing, or
// something else. Where it is one of these, a phrase is proven by the index alone.
const (
	gapSpace = iota // one space
	gapOther        // more, or another octet, or the text begins
	gapNone         // nothing: the terms follow at once, or overlap
	gapDot
	gapDash
	gapAt
	gapQuote
	gapLow
	gapSlash
	gapColon
	gaps
)

// gapOf is the gap that an octet between terms makes.
var gapOf = func() (t [256]uint8) {
	for i := range t {
		t[i] = gapOther
	}
	for c, g := range map[byte]uint8{' ': gapSpace, '.': gapDot, '-': gapDash, '@': gapAt, '\'': gapQuote, '_': gapLow, '/': gapSlash, ':': gapColon} {
		t[c] = g
	}
	return t
}()

// Bounds of occurrences. What has more has none: it is looked into.
const (
	positionsMax   = 64 << 10         // terms of a message, each time they stand there
	positionEnd    = 4 * positionsMax // of numbers of positions; texts stand apart
	occurrencesMax = 256              // of one term in one field of a message
)

// occurrence is where a term stands in a field: the number of the position, and the gap
// before it in the lowest bits.
type occurrence uint32

const gapBits = 4

func occurrenceAt(position uint32, gap uint8) occurrence {
	return occurrence(position<<gapBits | uint32(gap))
}

func (o occurrence) position() uint32 { return uint32(o) >> gapBits }
func (o occurrence) gap() uint8       { return uint8(o & (1<<gapBits - 1)) }

// The occurrences of a term are a stream of bits: for each document of its postings how
// many there are, 0 standing for one and 1 for not known, by Golomb's code of order 0; then
// the distance of each from the one before, less one. A few have the order of the code that
// is shortest for texts of some hundred words. From fixedFrom on all are of one width, which
// stands before them in five bits, so that the processor need not know one to find the next.
// A bit behind each tells that the gap is no space; what it is follows behind all: 0 other,
// 1 and three bits the rest.
const (
	fixedFrom = 4
	widthBits = 5
	gapWidth  = 3 // of the rest
)

// golombOrder is the order of the code of distances where a term stands so often.
func golombOrder(count int) int { return max(0, 8-bits.Len(uint(count-1))) }

// writeUnknown adds a document of which nothing is known.
func (w *bitWriter) writeUnknown() { w.writeGolomb(1, 0) }

// writeOccurrences adds those in a document, of which there are some, at most
// occurrencesMax.
func (w *bitWriter) writeOccurrences(all []occurrence) {
	n := len(all)
	if n == 1 {
		w.writeGolomb(0, 0)
	} else {
		w.writeGolomb(uint32(n), 0)
	}
	width := 0
	if n >= fixedFrom {
		most, last := uint32(0), uint32(0)
		for _, o := range all {
			most = max(most, o.position()-last-1)
			last = o.position()
		}
		width = bits.Len32(most)
		w.write(uint64(width), widthBits)
	}
	k, last := golombOrder(n), uint32(0)
	for _, o := range all {
		distance := o.position() - last - 1
		last = o.position()
		other := uint64(min(o.gap(), 1))
		if n >= fixedFrom {
			w.write(uint64(distance)<<1|other, width+1)
		} else {
			w.writeGolomb(distance, k)
			w.write(other, 1)
		}
	}
	for _, o := range all {
		switch g := o.gap(); g {
		case gapSpace:
		case gapOther:
			w.write(0, 1)
		default:
			w.write(1<<gapWidth|uint64(g-gapNone), 1+gapWidth)
		}
	}
}

// occurrenceReader reads such a stream.
type occurrenceReader struct {
	octets []byte
	at     int // bit
	end    int
}

// next appends the occurrences in the next document; known is false where there is
// nothing to be known.
func (r *occurrenceReader) next(dst []occurrence) (all []occurrence, known bool, err error) {
	w := window(r.octets, r.at)
	n, length := golomb(w, 0)
	r.at += length
	switch {
	case length == 0 || n > occurrencesMax || r.at > r.end:
		return dst, false, fmt.Errorf("%w: occurrences", ErrDamaged)
	case n == 1:
		return dst, false, nil
	case n == 0:
		n = 1
	}
	from := len(dst)
	var last uint32
	if n >= fixedFrom {
		width := int(w << length >> (64 - widthBits))
		r.at += widthBits
		if r.at+int(n)*(width+1) > r.end {
			return dst, false, fmt.Errorf("%w: occurrences", ErrDamaged)
		}
		dst, last = r.fixed(dst, int(n), width)
	} else {
		dst, last = r.few(dst, int(n))
	}
	if last >= positionEnd || r.at > r.end {
		return dst[:from], false, fmt.Errorf("%w: occurrences", ErrDamaged)
	}
	r.gaps(dst[from:])
	if r.at > r.end {
		return dst[:from], false, fmt.Errorf("%w: occurrences", ErrDamaged)
	}
	return dst, true, nil
}

// few reads occurrences whose distances have a code; those with another gap than a space
// have gapOther.
func (r *occurrenceReader) few(dst []occurrence, n int) (all []occurrence, last uint32) {
	k := golombOrder(n)
	for range n {
		w := window(r.octets, r.at)
		distance, length := golomb(w, k)
		if length == 0 {
			return dst, positionEnd
		}
		last = min(last+distance+1, positionEnd)
		dst = append(dst, occurrenceAt(last, uint8(w<<length>>63)))
		r.at += length + 1
	}
	return dst, last
}

// fixed is few for distances of one width.
func (r *occurrenceReader) fixed(dst []occurrence, n, width int) (all []occurrence, last uint32) {
	from := len(dst)
	dst = slices.Grow(dst, n)[:from+n]
	at := r.at
	for i := range dst[from:] {
		v := uint32(window(r.octets, at) >> (63 - width))
		at += width + 1
		last += v>>1 + 1
		dst[from+i] = occurrenceAt(last, uint8(v&1))
	}
	r.at = at
	if width > widthMost {
		return dst, positionEnd
	}
	return dst, last
}

// widthMost is the most bits of a distance.
const widthMost = 18

// gaps reads the gaps that are no space.
func (r *occurrenceReader) gaps(all []occurrence) {
	for i, o := range all {
		if o&1 == 0 {
			continue
		}
		w := window(r.octets, r.at)
		if w>>63 == 0 {
			r.at++
			continue
		}
		all[i] = occurrenceAt(o.position(), gapNone+uint8(w<<1>>(64-gapWidth)))
		r.at += 1 + gapWidth
	}
}
