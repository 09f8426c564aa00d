package imapserver

import (
	"errors"
	"io"
)

// inflater decompresses what a client sends (RFC 1951). It differs from compress/flate in
// two things that COMPRESS needs: it gives out everything that has come in before it
// reads on, also when the client ended with a partial flush that is not at a whole octet
// (zlib's Z_PARTIAL_FLUSH, as isync sends it), where compress/flate waits for the next
// block; and a read that timed out can be tried again, which IDLE does.
//
// It holds the window of 32 KB that the format asks for, and the octets not yet read
// stand in it: input is decoded only as far as there is room.
type inflater struct {
	r        io.Reader
	raw      [512]byte
	pos, end int
	fed      []byte // read before compression began
	bits     uint64
	nbits    uint
	err      error

	window  [windowBytes]byte
	head    int // where the next octet goes
	unread  int // octets before head that were not read
	step    func(*inflater) bool
	final   bool
	left    int // of a stored block
	lengths [288 + 32]uint8
	nlit    int
	ndist   int
	ncode   int
	index   int
	lit     *huffman
	dist    *huffman
	own     [2]huffman // of a dynamic block
}

const (
	windowBytes = 32 << 10
	unreadMax   = windowBytes - 258 // room for one more match
)

var errCorrupt = errors.New("imapserver: corrupt compressed data")

func newInflater(r io.Reader) *inflater {
	return &inflater{r: r, step: (*inflater).header}
}

// feed gives octets that were read from r already.
func (f *inflater) feed(b []byte) { f.fed = append([]byte(nil), b...) }

// buffered tells whether Read has something without reading from r.
func (f *inflater) buffered() bool {
	f.decode()
	return f.unread > 0
}

// Read returns what has come in, and reads more only if there is nothing. An error of the
// underlying reader may be followed by success.
func (f *inflater) Read(p []byte) (int, error) {
	for {
		f.decode()
		if f.unread > 0 {
			return f.give(p), nil
		}
		if f.err != nil {
			return 0, f.err
		}
		if len(p) == 0 {
			return 0, nil
		}
		n, err := f.r.Read(f.raw[:])
		f.pos, f.end = 0, n
		if n == 0 && err != nil {
			return 0, err
		}
	}
}

// give moves octets out of the window.
func (f *inflater) give(p []byte) int {
	start := (f.head - f.unread + windowBytes) % windowBytes
	n := copy(p, f.window[start:min(start+f.unread, windowBytes)])
	f.unread -= n
	return n
}

// decode runs as long as there are input and room.
func (f *inflater) decode() {
	for f.err == nil && f.unread < unreadMax && f.step(f) {
	}
}

// need tells whether n bits are there, n at most 56, taking octets in as far as they are.
func (f *inflater) need(n uint) bool {
	for f.nbits <= 56 {
		var c byte
		switch {
		case len(f.fed) > 0:
			c, f.fed = f.fed[0], f.fed[1:]
		case f.pos < f.end:
			c = f.raw[f.pos]
			f.pos++
		default:
			return f.nbits >= n
		}
		f.bits |= uint64(c) << f.nbits
		f.nbits += 8
	}
	return true
}

// take returns n bits that need has found.
func (f *inflater) take(n uint) int {
	v := int(f.bits & (1<<n - 1))
	f.bits >>= n
	f.nbits -= n
	return v
}

func (f *inflater) corrupt() bool {
	f.err = errCorrupt
	return false
}

// header begins a block (RFC 1951, 3.2.3).
func (f *inflater) header() bool {
	if f.final {
		f.err = io.EOF
		return false
	}
	if !f.need(3) {
		return false
	}
	f.final = f.take(1) == 1
	switch f.take(2) {
	case 0:
		f.take(f.nbits % 8)
		f.step = (*inflater).stored
	case 1:
		f.lit, f.dist = &fixedLit, &fixedDist
		f.step = (*inflater).symbol
	case 2:
		f.step = (*inflater).counts
	default:
		return f.corrupt()
	}
	return true
}

// stored begins a block without compression.
func (f *inflater) stored() bool {
	if !f.need(32) {
		return false
	}
	n, inverse := f.take(16), f.take(16)
	if n != ^inverse&0xffff {
		return f.corrupt()
	}
	f.left = n
	f.step = (*inflater).copyStored
	return true
}

func (f *inflater) copyStored() bool {
	if f.left == 0 {
		f.step = (*inflater).header
		return true
	}
	if !f.need(8) {
		return false
	}
	f.put(byte(f.take(8)))
	f.left--
	return true
}

func (f *inflater) put(c byte) {
	f.window[f.head] = c
	f.head = (f.head + 1) % windowBytes
	f.unread++
}

// codeOrder is the order of code length codes (RFC 1951, 3.2.7).
var codeOrder = [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// counts begins a block with codes of its own.
func (f *inflater) counts() bool {
	if !f.need(14) {
		return false
	}
	f.nlit, f.ndist, f.ncode = 257+f.take(5), 1+f.take(5), 4+f.take(4)
	if f.nlit > 286 || f.ndist > 30 {
		return f.corrupt()
	}
	f.index = 0
	clear(f.lengths[:])
	f.step = (*inflater).codeLengths
	return true
}

func (f *inflater) codeLengths() bool {
	if f.index == f.ncode {
		if !f.own[0].build(f.lengths[:19]) {
			return f.corrupt()
		}
		f.index = 0
		clear(f.lengths[:])
		f.step = (*inflater).symbolLengths
		return true
	}
	if !f.need(3) {
		return false
	}
	f.lengths[codeOrder[f.index]] = uint8(f.take(3))
	f.index++
	return true
}

func (f *inflater) symbolLengths() bool {
	total := f.nlit + f.ndist
	if f.index == total {
		if f.lengths[256] == 0 || !f.own[1].build(f.lengths[f.nlit:total]) || !f.own[0].build(f.lengths[:f.nlit]) {
			return f.corrupt()
		}
		f.lit, f.dist = &f.own[0], &f.own[1]
		f.step = (*inflater).symbol
		return true
	}
	f.need(14) // what is there must do
	sym, n, ok := f.own[0].decode(f.bits, f.nbits)
	if !ok {
		return n != 0 && f.corrupt()
	}
	extra := [3]uint{2, 3, 7}
	if sym >= 16 {
		if f.nbits < n+extra[sym-16] {
			return false
		}
	}
	f.take(n)
	if sym < 16 {
		f.lengths[f.index] = uint8(sym)
		f.index++
		return true
	}
	var value uint8
	repeat := f.take(extra[sym-16]) + [3]int{3, 3, 11}[sym-16]
	if sym == 16 {
		if f.index == 0 {
			return f.corrupt()
		}
		value = f.lengths[f.index-1]
	}
	if f.index+repeat > total {
		return f.corrupt()
	}
	for range repeat {
		f.lengths[f.index] = value
		f.index++
	}
	return true
}

// Lengths and distances of matches (RFC 1951, 3.2.5).
var (
	lengthBase  = [29]uint16{3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258}
	lengthExtra = [29]uint8{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}
	distBase    = [30]uint16{1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577}
	distExtra   = [30]uint8{0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13}
)

// symbol decodes a literal, a match or the end of the block: all of its bits or, when
// they have not all come, none. A match has at most 48.
func (f *inflater) symbol() bool {
	f.need(48)
	bits, nbits := f.bits, f.nbits
	sym, n, ok := f.lit.decode(bits, nbits)
	if !ok {
		return n != 0 && f.corrupt()
	}
	bits, nbits = bits>>n, nbits-n
	switch {
	case sym < 256:
		f.bits, f.nbits = bits, nbits
		f.put(byte(sym))
		return true
	case sym == 256:
		f.bits, f.nbits = bits, nbits
		f.step = (*inflater).header
		return true
	case sym > 285:
		return f.corrupt()
	}
	extra := uint(lengthExtra[sym-257])
	if nbits < extra {
		return false
	}
	length := int(lengthBase[sym-257]) + int(bits&(1<<extra-1))
	bits, nbits = bits>>extra, nbits-extra
	sym, n, ok = f.dist.decode(bits, nbits)
	if !ok {
		return n != 0 && f.corrupt()
	}
	if sym > 29 {
		return f.corrupt()
	}
	bits, nbits = bits>>n, nbits-n
	extra = uint(distExtra[sym])
	if nbits < extra {
		return false
	}
	distance := int(distBase[sym]) + int(bits&(1<<extra-1))
	f.bits, f.nbits = bits>>extra, nbits-extra
	// A distance beyond the start of the stream finds zeros, which harms nobody.
	from := (f.head - distance + windowBytes) % windowBytes
	for range length {
		f.put(f.window[from])
		from = (from + 1) % windowBytes
	}
	return true
}

// huffman is a canonical code: a table for short codes, counts and symbols for all.
type huffman struct {
	fast   [1 << fastBits]uint16 // symbol<<4 | length; 0: no short code
	count  [16]uint16
	symbol [288]uint16
}

const fastBits = 9

var fixedLit, fixedDist = func() (l, d huffman) {
	var lengths [288]uint8
	for i := range lengths {
		switch {
		case i < 144, i >= 280:
			lengths[i] = 8
		case i < 256:
			lengths[i] = 9
		default:
			lengths[i] = 7
		}
	}
	l.build(lengths[:])
	for i := range 32 {
		lengths[i] = 5
	}
	d.build(lengths[:32])
	return l, d
}()

// build makes the code of these lengths; false when there are too many short ones, or too
// few. A code of one symbol may be incomplete, one of none too: it is never used.
func (h *huffman) build(lengths []uint8) bool {
	*h = huffman{}
	for _, n := range lengths {
		h.count[n]++
	}
	used := len(lengths) - int(h.count[0])
	h.count[0] = 0
	left := 1
	var offset, next [17]uint16
	for n := 1; n <= 15; n++ {
		left = 2*left - int(h.count[n])
		if left < 0 {
			return false
		}
		offset[n+1] = offset[n] + h.count[n]
		next[n+1] = (next[n] + h.count[n]) << 1
	}
	if left > 0 && used > 1 {
		return false
	}
	for sym, n := range lengths {
		if n == 0 {
			continue
		}
		h.symbol[offset[n]] = uint16(sym)
		offset[n]++
		code := next[n]
		next[n]++
		if n <= fastBits {
			for i := reversed(code, n); i < 1<<fastBits; i += 1 << n {
				h.fast[i] = uint16(sym)<<4 | uint16(n)
			}
		}
	}
	return true
}

// reversed turns a code's bits round, as they come in.
func reversed(code uint16, n uint8) int {
	r := 0
	for range n {
		r = r<<1 | int(code&1)
		code >>= 1
	}
	return r
}

// decode finds the symbol that bits begin with and its length. Not ok with length 0: there
// are too few bits; with another: no such code.
func (h *huffman) decode(bits uint64, nbits uint) (sym int, n uint, ok bool) {
	if e := h.fast[bits&(1<<fastBits-1)]; e != 0 {
		n = uint(e & 15)
		if n > nbits {
			return 0, 0, false
		}
		return int(e >> 4), n, true
	}
	code, first, index := 0, 0, 0
	for n = 1; n <= 15; n++ {
		if n > nbits {
			return 0, 0, false
		}
		code |= int(bits>>(n-1)) & 1
		count := int(h.count[n])
		if code-count < first {
			return int(h.symbol[index+code-first]), n, true
		}
		index += count
		first = (first + count) << 1
		code <<= 1
	}
	return 0, 1, false
}
