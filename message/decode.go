package message

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"io"
	"slices"
)

// decodeChunk is how much of an encoded body is read at once, in octets.
const decodeChunk = 24 << 10

// NewDecoder undoes a Content-Transfer-Encoding, named in lower case (RFC 2045, 6). One
// that is not known, or does nothing, gives r itself. What is malformed is passed over as
// mail programs do; only an error of r is one.
func NewDecoder(r io.Reader, encoding string) io.Reader {
	switch encoding {
	case "base64":
		return &decoder{r: r, step: base64Step}
	case "quoted-printable":
		return &decoder{r: r, step: quotedPrintableStep}
	}
	return r
}

// decoder reads chunks of an encoded body and decodes each in one step.
type decoder struct {
	r    io.Reader
	in   []byte // read and not yet decoded
	buf  []byte // decoded; what is in out is a part of it
	out  []byte
	err  error
	step decodeStep
}

// decodeStep appends to dst what it can decode of src and returns how many octets of src
// that took; at the end of the body it takes all. It may overwrite src.
type decodeStep func(dst, src []byte, end bool) (decoded []byte, used int)

// Read implements io.Reader.
func (d *decoder) Read(p []byte) (int, error) {
	for len(d.out) == 0 {
		if d.err != nil {
			return 0, d.err
		}
		d.fill()
	}
	n := copy(p, d.out)
	d.out = d.out[n:]
	return n, nil
}

// fill reads a chunk and decodes it.
func (d *decoder) fill() {
	if d.in == nil {
		d.in = make([]byte, 0, decodeChunk)
		d.buf = make([]byte, 0, decodeChunk)
	}
	n, err := io.ReadAtLeast(d.r, d.in[len(d.in):cap(d.in)], 1)
	if err == nil && len(d.in)+n < cap(d.in)/2 {
		var more int
		more, err = d.r.Read(d.in[len(d.in)+n : cap(d.in)])
		n += more
	}
	d.in = d.in[:len(d.in)+n]
	d.err = err
	var used int
	d.buf, used = d.step(d.buf[:0], d.in, err != nil)
	d.out = d.buf
	d.in = d.in[:copy(d.in, d.in[used:])]
}

// WriteTo implements io.WriterTo.
func (d *decoder) WriteTo(w io.Writer) (n int64, err error) {
	for {
		if len(d.out) > 0 {
			m, err := w.Write(d.out)
			n += int64(m)
			d.out = d.out[m:]
			if err != nil {
				return n, err
			}
		}
		if d.err == io.EOF {
			return n, nil
		}
		if d.err != nil {
			return n, d.err
		}
		d.fill()
	}
}

// base64Step decodes the whole quanta of src. Lines of whole quanta, which is what all
// programs write, are decoded where they stand; from the first other line on the rest of
// src goes the lenient way.
func base64Step(dst, src []byte, end bool) ([]byte, int) {
	dst = slices.Grow(dst, len(src)/4*3+8)
	for used := 0; ; {
		n := bytes.IndexByte(src[used:], '\n')
		line := src[used:]
		if n >= 0 {
			line = line[:n]
		}
		if k := len(line); k > 0 && line[k-1] == '\r' {
			line = line[:k-1]
		}
		whole := len(line) &^ 3
		if n >= 0 && whole < len(line) || !decodeQuanta(dst[len(dst):cap(dst)], line[:whole]) {
			return base64Joined(dst, src, used, end)
		}
		dst = dst[:len(dst)+whole/4*3]
		if n >= 0 {
			used += n + 1
			continue
		}
		if end {
			return appendBase64Lenient(dst, line[whole:]), len(src)
		}
		left := line[whole:]
		return dst, len(src) - copy(src[len(src)-len(left):], left)
	}
}

// base64Bad marks a sum of table entries in which some octet is no symbol.
const base64Bad = 1 << 31

// base64Tables have the value of each symbol, moved to its place in a quantum of 24 bits.
var base64Tables = func() (t [4][256]uint32) {
	for place := range t {
		for c, v := range base64Values {
			t[place][c] = base64Bad
			if v >= 0 {
				t[place][c] = uint32(v) << (18 - 6*place)
			}
		}
	}
	return t
}()

// decodeQuanta decodes src, whose length is a multiple of four, into dst, which has eight
// octets more than needed. It returns false when something is not in the alphabet.
func decodeQuanta(dst, src []byte) bool {
	t := &base64Tables
	for len(src) >= 8 && len(dst) >= 8 {
		a := t[0][src[0]] | t[1][src[1]] | t[2][src[2]] | t[3][src[3]]
		b := t[0][src[4]] | t[1][src[5]] | t[2][src[6]] | t[3][src[7]]
		if (a|b)&base64Bad != 0 {
			return false
		}
		binary.BigEndian.PutUint64(dst, uint64(a)<<40|uint64(b)<<16)
		src, dst = src[8:], dst[6:]
	}
	for len(src) >= 4 && len(dst) >= 3 {
		a := t[0][src[0]] | t[1][src[1]] | t[2][src[2]] | t[3][src[3]]
		if a&base64Bad != 0 {
			return false
		}
		dst[0], dst[1], dst[2] = byte(a>>16), byte(a>>8), byte(a)
		src, dst = src[4:], dst[3:]
	}
	return true
}

// base64Joined is the lenient way for what follows src[:used]. What is left of a quantum
// waits at the end of src.
func base64Joined(dst, src []byte, used int, end bool) ([]byte, int) {
	if end {
		return appendBase64Lenient(dst, src[used:]), len(src)
	}
	dst, left := appendBase64Runs(dst, src[used:])
	return dst, len(src) - copy(src[len(src)-len(left):], left)
}

// appendBase64Lenient decodes all of s.
func appendBase64Lenient(dst, s []byte) []byte {
	dst, left := appendBase64Runs(dst, s)
	return appendBase64Tail(dst, left)
}

// appendBase64Runs decodes base64 with foreign octets and padding anywhere in it: what is
// not in the alphabet is skipped (RFC 2045, 6.8), padding ends a run, and the next symbol
// starts a new one. It overwrites s and returns the symbols of the last run that are not
// yet a quantum.
func appendBase64Runs(dst, s []byte) (decoded, left []byte) {
	run := s[:0]
	for _, c := range s {
		if base64Values[c] >= 0 {
			run = append(run, c)
		} else if c == '=' && len(run) > 0 {
			whole := len(run) &^ 3
			dst, _ = base64.RawStdEncoding.AppendDecode(dst, run[:whole])
			dst = appendBase64Tail(dst, run[whole:])
			run = s[:0]
		}
	}
	whole := len(run) &^ 3
	dst, _ = base64.RawStdEncoding.AppendDecode(dst, run[:whole])
	return dst, run[whole:]
}

// appendBase64Tail decodes a last quantum of two or three symbols. A single one, which can
// stand for nothing, is dropped; so are the bits that should be zero.
func appendBase64Tail(dst, s []byte) []byte {
	if len(s) < 2 {
		return dst
	}
	var bits uint32
	for _, c := range s {
		bits = bits<<6 | uint32(base64Values[c])
	}
	if len(s) == 2 {
		return append(dst, byte(bits>>4))
	}
	return append(dst, byte(bits>>10), byte(bits>>2))
}

// quotedPrintableStep decodes the whole lines of src, and of a line that is longer than the
// chunk what is certain.
func quotedPrintableStep(dst, src []byte, end bool) ([]byte, int) {
	used := 0
	for {
		n := bytes.IndexByte(src[used:], '\n')
		if n < 0 {
			break
		}
		line := src[used : used+n]
		used += n + 1
		eol := src[used-1 : used]
		if n > 0 && line[n-1] == '\r' {
			line, eol = line[:n-1], src[used-2:used]
		}
		var soft bool
		dst, soft = appendQuotedLine(dst, line)
		if !soft {
			dst = append(dst, eol...)
		}
	}
	rest := src[used:]
	if end {
		dst, _ = appendQuotedLine(dst, rest)
		return dst, len(src)
	}
	if len(rest) > decodeChunk/2 {
		// A line over 12,288 octets is no work of RFC 2045 any more: it is taken up to
		// where neither an escape nor white space before the line end can be cut.
		n := len(bytes.TrimRight(rest, " \t\r"))
		if n > len(rest)-lineMax {
			n = max(0, n-2)
			if i := bytes.LastIndexByte(rest[max(0, n-2):n], '='); i >= 0 {
				n = max(0, n-2) + i
			}
			dst = appendQuoted(dst, rest[:n])
			return dst, used + n
		}
		dst = appendQuoted(dst, rest)
		return dst, len(src)
	}
	return dst, used
}

// appendQuotedLine decodes a line without its line end and tells whether it ends with a
// soft line break. White space at the end was added on the way (RFC 2045, 6.7, 3).
func appendQuotedLine(dst, line []byte) (decoded []byte, soft bool) {
	line = bytes.TrimRight(line, " \t\r")
	if n := len(line); n > 0 && line[n-1] == '=' {
		line, soft = line[:n-1], true
	}
	return appendQuoted(dst, line), soft
}

// appendQuoted decodes escapes; what is none stays as it is.
func appendQuoted(dst, s []byte) []byte {
	for {
		i := bytes.IndexByte(s, '=')
		if i < 0 {
			return append(dst, s...)
		}
		dst = append(dst, s[:i]...)
		s = s[i:]
		if len(s) > 2 {
			if hi, lo := unhex(s[1]), unhex(s[2]); hi >= 0 && lo >= 0 {
				dst = append(dst, byte(hi<<4|lo))
				s = s[3:]
				continue
			}
		}
		dst = append(dst, '=')
		s = s[1:]
	}
}
