package message

import (
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/transform"
)

// utf7Transformer decodes UTF-7 (RFC 2152), which old Outlooks wrote.
type utf7Transformer struct {
	shifted bool   // between '+' and its end
	fresh   bool   // nothing yet since the '+'
	bits    uint32 // of UTF-16 not yet complete
	count   int
	high    rune // first half of a surrogate pair, 0: none
}

func (t *utf7Transformer) Reset() { *t = utf7Transformer{} }

// Transform implements transform.Transformer.
func (t *utf7Transformer) Transform(dst, src []byte, atEOF bool) (nDst, nSrc int, err error) {
	const most = 2 * utf8.UTFMax // what one octet can give
	for nSrc < len(src) {
		if len(dst)-nDst < most {
			return nDst, nSrc, transform.ErrShortDst
		}
		nDst += t.octet(dst[nDst:], src[nSrc])
		nSrc++
	}
	if atEOF && t.high != 0 {
		if len(dst)-nDst < most {
			return nDst, nSrc, transform.ErrShortDst
		}
		nDst += t.lonely(dst[nDst:])
	}
	return nDst, nSrc, nil
}

// octet takes one octet and writes what it completes.
func (t *utf7Transformer) octet(dst []byte, c byte) int {
	if !t.shifted {
		switch {
		case c == '+':
			*t = utf7Transformer{shifted: true, fresh: true}
			return 0
		case c >= utf8.RuneSelf:
			return utf8.EncodeRune(dst, windows1252[c])
		}
		dst[0] = c
		return 1
	}
	v := base64Value(c)
	if v < 0 {
		return t.endShift(dst, c)
	}
	t.fresh = false
	t.bits = t.bits<<6 | uint32(v)
	t.count += 6
	if t.count < 16 {
		return 0
	}
	t.count -= 16
	return t.unit(dst, rune(t.bits>>t.count&0xffff))
}

// endShift ends a shifted sequence at an octet that is not in its alphabet. "+-" is a plus
// sign.
func (t *utf7Transformer) endShift(dst []byte, c byte) int {
	n := t.lonely(dst)
	t.shifted = false
	switch {
	case c == '-' && t.fresh:
		dst[n] = '+'
		return n + 1
	case c == '-':
		return n
	}
	return n + t.octet(dst[n:], c)
}

// unit takes a unit of UTF-16.
func (t *utf7Transformer) unit(dst []byte, r rune) int {
	if t.high != 0 {
		if pair := utf16.DecodeRune(t.high, r); pair != utf8.RuneError {
			t.high = 0
			return utf8.EncodeRune(dst, pair)
		}
	}
	n := t.lonely(dst)
	if utf16.IsSurrogate(r) && r < 0xdc00 {
		t.high = r
		return n
	}
	return n + utf8.EncodeRune(dst[n:], r) // a lonely second half becomes U+FFFD
}

// lonely writes U+FFFD for the first half of a pair whose second half did not come.
func (t *utf7Transformer) lonely(dst []byte) int {
	if t.high == 0 {
		return 0
	}
	t.high = 0
	return utf8.EncodeRune(dst, utf8.RuneError)
}

// base64Value returns the value of a base64 symbol, -1 for other octets.
func base64Value(c byte) int { return int(base64Values[c]) }

var base64Values = func() (t [256]int8) {
	for i := range t {
		t[i] = -1
	}
	for i, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") {
		t[c] = int8(i)
	}
	return t
}()
