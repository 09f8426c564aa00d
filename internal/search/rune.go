package search

import (
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// class tells how a rune takes part in terms. It depends on the folded rune alone, so
// that a text within a text is cut at the same places; only at its two ends a term may
// go on in the larger one. All that is proven of substrings rests on this.
type class uint8

const (
	apart   class = iota // between terms
	letter               // of words that something stands between
	unbound              // of scripts that put nothing between words: taken in pairs
)

// tableEnd is the end of what has a table: Latin, Greek, Cyrillic.
const tableEnd = 0x530

var (
	foldTable  [tableEnd]rune
	classTable [tableEnd]class
	// asciiTable is the folded octet of an ASCII letter or digit, 0 for others.
	asciiTable [256]byte
)

func init() {
	for r := range rune(tableEnd) {
		foldTable[r] = unicode.ToLower(unicode.ToUpper(r))
		classTable[r] = slowClass(r)
		if r < utf8.RuneSelf && classTable[r] == letter {
			asciiTable[r] = byte(foldTable[r])
		}
	}
}

// foldRune takes the difference of case out of a rune.
func foldRune(r rune) rune {
	if r < tableEnd && r >= 0 {
		return foldTable[r]
	}
	if r >= 0x2e80 && r < 0xa640 { // CJK has no case
		return r
	}
	return unicode.ToLower(unicode.ToUpper(r))
}

// classOf is the class of a folded rune.
func classOf(r rune) class {
	switch {
	case r < tableEnd:
		return classTable[r]
	case r >= 0x3400 && r <= 0x4dbf, r >= 0x4e00 && r <= 0x9fff, r >= 0xac00 && r <= 0xd7a3:
		return unbound
	case r >= 0x2000 && r <= 0x206f: // punctuation
		return apart
	}
	return slowClass(r)
}

// unboundScripts put no spaces between words, or (Hangul) glue endings to them.
var unboundScripts = []*unicode.RangeTable{unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul, unicode.Bopomofo,
	unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar, unicode.Tibetan, unicode.Javanese, unicode.Balinese, unicode.Yi}

func slowClass(r rune) class {
	if !unicode.In(r, unicode.L, unicode.N, unicode.M) {
		return apart
	}
	if unicode.In(r, unboundScripts...) {
		return unbound
	}
	return letter
}

// AppendFolded appends text with the differences of case taken out: what SEARCH compares
// (RFC 9051, 6.4.4). It works rune by rune; what is no UTF-8 becomes U+FFFD.
func AppendFolded(dst, text []byte) []byte {
	for len(text) > 0 {
		if c := text[0]; c < utf8.RuneSelf {
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			dst = append(dst, c)
			text = text[1:]
			continue
		}
		r, size := utf8.DecodeRune(text)
		dst = utf8.AppendRune(dst, foldRune(r))
		text = text[size:]
	}
	return dst
}

// plainMax bounds the plain form of a term, in octets.
const plainMax = 96

// special are letters that Unicode does not take apart.
var special = map[rune]string{'ß': "ss", 'æ': "ae", 'œ': "oe", 'ø': "o", 'đ': "d", 'ð': "d", 'ł': "l", 'þ': "th", 'ħ': "h", 'ı': "i", 'ς': "σ"}

// isASCII tells whether a term is.
func isASCII[T string | []byte](t T) bool {
	for i := 0; i < len(t); i++ {
		if t[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// appendPlain appends a folded term as index semantics compare it: compatibility forms
// and width as one (NFKC), without diacritics.
func appendPlain(dst, term []byte) []byte {
	if isASCII(term) {
		return append(dst, term...)
	}
	start := len(dst)
	var buf [4 * plainMax]byte
	apart := norm.NFKD.Append(buf[:0], term...)
	for len(apart) > 0 {
		r, size := utf8.DecodeRune(apart)
		apart = apart[size:]
		if isDiacritic(r) {
			continue
		}
		r = foldRune(r)
		if s, ok := special[r]; ok {
			dst = append(dst, s...)
		} else {
			dst = utf8.AppendRune(dst, r)
		}
	}
	plain := norm.NFC.Append(nil, dst[start:]...) // Hangul together again
	for n := len(plain); n > plainMax; plain = plain[:n] {
		for n = plainMax; !utf8.RuneStart(plain[n]); n-- {
		}
	}
	return append(dst[:start], plain...)
}

// isDiacritic tells whether a rune of a text taken apart is left out: marks on letters of
// Latin, Greek and Cyrillic, the points of Hebrew and Arabic. In other scripts marks are
// vowels.
func isDiacritic(r rune) bool {
	if r < 0x300 {
		return false
	}
	return r <= 0x36f || r >= 0x591 && r <= 0x5c7 || r >= 0x64b && r <= 0x65f || r == 0x670 || r == 0x640 ||
		r >= 0x1ab0 && r <= 0x1aff || r >= 0x1dc0 && r <= 0x1dff || r >= 0x20d0 && r <= 0x20ff || r >= 0xfe20 && r <= 0xfe2f
}
