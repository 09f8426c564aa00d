package message

import (
	"bytes"
	"encoding/binary"
	"io"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// windows1252 has the rune of each octet, for text whose charset is not known.
var windows1252 = func() (t [256]rune) {
	for i := range t {
		t[i] = charmap.Windows1252.DecodeByte(byte(i))
	}
	return t
}()

// decoderFor returns what turns a charset into UTF-8. The names are those of the WHATWG
// index, which has what mail programs write, and some more. What nobody knows is read as
// UTF-8, and octets that are not UTF-8 as windows-1252.
func decoderFor(charset string) transform.Transformer {
	name := strings.ToLower(strings.Trim(charset, " \t\"'"))
	switch name {
	case "", "us-ascii", "ascii", "unknown-8bit", "x-unknown", "binary", "ansi_x3.4-1968":
		return &utf8Transformer{guess: true}
	case "utf-8", "utf8":
		return &utf8Transformer{}
	case "utf-7", "unicode-1-1-utf-7", "utf7":
		return &utf7Transformer{}
	}
	if e := encodingFor(name); e != nil {
		return e.NewDecoder()
	}
	return &utf8Transformer{guess: true}
}

// encodingFor looks a charset up; nil when it is not known or would not be text.
func encodingFor(name string) encoding.Encoding {
	switch {
	case strings.HasPrefix(name, "cp125"), strings.HasPrefix(name, "win-125"):
		name = "windows-" + name[len(name)-4:]
	case name == "cp932", name == "ms932", name == "windows-31j":
		name = "shift_jis"
	case name == "cp936", name == "ms936":
		name = "gbk"
	case name == "cp949", name == "ks_c_5601", name == "ms949":
		name = "euc-kr"
	case name == "cp950":
		name = "big5"
	case name == "cp850", name == "ibm850":
		return charmap.CodePage850
	case name == "utf-16":
		return unicode.UTF16(unicode.LittleEndian, unicode.UseBOM)
	case name == "cp437", name == "ibm437":
		return charmap.CodePage437
	case name == "iso-8859-8-e":
		name = "iso-8859-8"
	}
	e, err := htmlindex.Get(name)
	if err != nil || e == encoding.Replacement {
		return nil
	}
	return e
}

// NewCharsetReader turns text in a charset into UTF-8. It fails only when r does: what is
// malformed becomes U+FFFD.
func NewCharsetReader(r io.Reader, charset string) io.Reader {
	return transform.NewReader(r, decoderFor(charset))
}

// decodeCharset is NewCharsetReader for octets at hand.
func decodeCharset(b []byte, charset string) string {
	switch t := decoderFor(charset).(type) {
	case *utf8Transformer:
		if utf8.Valid(b) {
			return string(b)
		}
		return string(appendUTF8(nil, b, t.guess))
	default:
		s, _, err := transform.Bytes(t, b)
		if err != nil {
			return string(appendUTF8(nil, b, true))
		}
		return string(appendUTF8(nil, s, false))
	}
}

// appendUTF8 appends b with what is not UTF-8 replaced by U+FFFD, or, when guessing, by
// its windows-1252 reading.
func appendUTF8(dst, b []byte, guess bool) []byte {
	for i := 0; i < len(b); {
		if b[i] < utf8.RuneSelf {
			dst = append(dst, b[i])
			i++
			continue
		}
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 && guess {
			r = windows1252[b[i]]
		}
		dst = utf8.AppendRune(dst, r)
		i += n
	}
	return dst
}

// TextReader is NewCharsetReader that remembers whether all was well formed.
type TextReader struct {
	r      io.Reader
	utf8   *utf8Transformer // nil: another charset
	failed bool
	tail   [2]byte // the last octets given, for a U+FFFD that two reads share
}

// NewTextReader turns text in a charset into UTF-8.
func NewTextReader(r io.Reader, charset string) *TextReader {
	t := decoderFor(charset)
	own, _ := t.(*utf8Transformer)
	return &TextReader{r: transform.NewReader(r, t), utf8: own}
}

// Read implements io.Reader.
func (t *TextReader) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	if t.utf8 == nil && !t.failed && n > 0 {
		joint := append(t.tail[:2:2], p[:min(n, 2)]...)
		t.failed = bytes.Contains(p[:n], replacement) || bytes.Contains(joint, replacement)
		joint = append(joint[:2], p[max(0, n-2):n]...)
		copy(t.tail[:], joint[len(joint)-2:])
	}
	return n, err
}

// replacement is U+FFFD.
var replacement = []byte("\uFFFD")

// Malformed tells whether something of what was read so far could not be read in the
// charset: it was replaced by U+FFFD, or guessed.
func (t *TextReader) Malformed() bool { return t.failed || t.utf8 != nil && t.utf8.malformed }

// utf8Transformer passes UTF-8 and repairs what is none, as appendUTF8 does.
type utf8Transformer struct {
	guess     bool
	malformed bool // something was repaired, or is more than the ASCII that guess takes it for
}

func (*utf8Transformer) Reset() {}

// Transform implements transform.Transformer.
func (t *utf8Transformer) Transform(dst, src []byte, atEOF bool) (nDst, nSrc int, err error) {
	for nSrc < len(src) {
		if n := asciiPrefix(src[nSrc:min(len(src), nSrc+len(dst)-nDst)]); n > 0 {
			copy(dst[nDst:], src[nSrc:nSrc+n])
			nDst += n
			nSrc += n
			continue
		}
		if !atEOF && !utf8.FullRune(src[nSrc:]) {
			return nDst, nSrc, transform.ErrShortSrc
		}
		r, n := utf8.DecodeRune(src[nSrc:])
		t.malformed = t.malformed || t.guess || r == utf8.RuneError && n == 1
		if r == utf8.RuneError && n == 1 && t.guess {
			r = windows1252[src[nSrc]]
		}
		if nDst+utf8.RuneLen(r) > len(dst) {
			return nDst, nSrc, transform.ErrShortDst
		}
		nDst += utf8.EncodeRune(dst[nDst:], r)
		nSrc += n
	}
	return nDst, nSrc, nil
}

// asciiPrefix returns how many octets at the start of b are ASCII.
func asciiPrefix(b []byte) int {
	n := 0
	for len(b)-n >= 8 && binary.LittleEndian.Uint64(b[n:])&0x8080808080808080 == 0 {
		n += 8
	}
	for n < len(b) && b[n] < utf8.RuneSelf {
		n++
	}
	return n
}
