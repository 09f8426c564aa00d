package message

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"
)

// DecodeWords returns unfolded header text with its encoded words (RFC 2047) decoded, as
// UTF-8. White space between two encoded words is dropped (6.2). Words of one charset that
// follow each other are joined before they are turned into UTF-8, because many programs
// cut characters in two. What is malformed stays as it is; octets that are not UTF-8 are
// read as windows-1252.
func DecodeWords(s string) string {
	if !strings.Contains(s, "=?") {
		return repairUTF8(s)
	}
	w := wordDecoder{out: make([]byte, 0, len(s))}
	for i := 0; i < len(s); {
		j := strings.Index(s[i:], "=?")
		if j < 0 {
			w.text(s[i:])
			break
		}
		word, ok := parseWord(s[i+j:])
		if !ok {
			w.text(s[i : i+j+2])
			i += j + 2
			continue
		}
		if j > 0 && !(w.afterWord && isBlank(s[i:i+j])) {
			w.text(s[i : i+j])
		}
		w.word(word)
		i += j + word.length
	}
	w.flush()
	if len(w.out) > valueMax {
		w.out = w.out[:runeStart(w.out, valueMax)]
	}
	return string(w.out)
}

// encodedWord is one =?charset?encoding?text?=.
type encodedWord struct {
	charset, text string
	base64        bool
	length        int // of the whole word
}

// parseWord reads the encoded word at the start of s, which begins with "=?". The search
// ends at the third question mark, so a text full of false starts stays linear.
func parseWord(s string) (w encodedWord, ok bool) {
	i := strings.IndexByte(s[2:], '?')
	if i <= 0 {
		return w, false
	}
	w.charset, _, _ = strings.Cut(s[2:2+i], "*") // RFC 2231, 5: language behind the charset
	i += 3
	if i+2 > len(s) || s[i+1] != '?' || !isToken(w.charset) {
		return w, false
	}
	switch s[i] {
	case 'b', 'B':
		w.base64 = true
	case 'q', 'Q':
	default:
		return w, false
	}
	i += 2
	j := strings.IndexByte(s[i:], '?')
	if j < 0 || i+j+1 >= len(s) || s[i+j+1] != '=' {
		return w, false
	}
	w.text, w.length = s[i:i+j], i+j+2
	return w, true
}

// wordDecoder gathers text and the octets of words whose charset is still to be undone.
type wordDecoder struct {
	out       []byte
	octets    []byte
	charset   string
	afterWord bool
	strict    bool // control characters in words are dropped, not spaces
}

func (w *wordDecoder) text(s string) {
	w.flush()
	w.out = append(w.out, repairUTF8(s)...)
	w.afterWord = false
}

func (w *wordDecoder) word(e encodedWord) {
	if !strings.EqualFold(e.charset, w.charset) {
		w.flush()
		w.charset = e.charset
	}
	if e.base64 {
		w.octets = appendBase64Word(w.octets, e.text)
	} else {
		w.octets = appendQ(w.octets, e.text)
	}
	w.afterWord = true
}

func (w *wordDecoder) flush() {
	if len(w.octets) > 0 {
		clean := cleanWord
		if w.strict {
			clean = dropControls
		}
		w.out = append(w.out, clean(decodeCharset(w.octets, w.charset))...)
		w.octets = w.octets[:0]
	}
	w.charset = ""
}

// cleanWord takes control characters out of decoded words: a line end in a word must never
// become one in a header.
func cleanWord(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

// appendBase64Word decodes leniently: padding may be missing, foreign octets are skipped.
func appendBase64Word(dst []byte, s string) []byte {
	n := len(dst)
	if len(s)%4 == 0 {
		if out, err := base64.StdEncoding.AppendDecode(dst, []byte(s)); err == nil {
			return out
		}
	}
	return appendBase64Lenient(dst[:n], []byte(s))
}

// appendQ undoes RFC 2047, 4.2.
func appendQ(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '_':
			dst = append(dst, ' ')
		case c == '=' && i+2 < len(s) && unhex(s[i+1]) >= 0 && unhex(s[i+2]) >= 0:
			dst = append(dst, byte(unhex(s[i+1])<<4|unhex(s[i+2])))
			i += 2
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// repairUTF8 returns s, read as windows-1252 where it is not UTF-8.
func repairUTF8(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return string(appendUTF8(nil, []byte(s), true))
}

// runeStart returns the greatest index not above n at which a rune of b starts.
func runeStart(b []byte, n int) int {
	if n >= len(b) {
		return len(b)
	}
	for n > 0 && !utf8.RuneStart(b[n]) {
		n--
	}
	return n
}

func isBlank(s string) bool { return strings.Trim(s, " \t") == "" }
