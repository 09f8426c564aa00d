package message

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// The forms in which header fields are read for mail programs that do not parse
// themselves (RFC 8621, 4.1.2). All take unfolded values, bounded like everything here.

// URLsMax is how many URLs of one field are given.
const URLsMax = 100

// StripComments returns an unfolded structured value without its comments. Quoted strings
// and what stands between angle brackets are left as they are.
func StripComments(s string) string {
	if strings.IndexByte(s, '(') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		n := 1
		switch s[i] {
		case '(':
			i += commentLength(s[i:])
			continue
		case '"':
			t := tokens{s: s, i: i}
			t.quoted()
			n = t.i - i
		case '<':
			if j := strings.IndexByte(s[i:], '>'); j > 0 {
				n = j + 1
			}
		}
		b.WriteString(s[i : i+n])
		i += n
	}
	return b.String()
}

// ParseMessageIDs reads a list of msg-id without their angle brackets (RFC 5322, 3.6.4).
// White space and comments between them, and phrases, which In-Reply-To once allowed (4.5.4),
// are passed over. Nil where there is none. Of more than ReferencesMax the first and the
// newest are given.
func ParseMessageIDs(value string) []string {
	ids := messageIDs(StripComments(value))
	for i, id := range ids {
		ids[i] = id[1 : len(id)-1]
	}
	return ids
}

// ParseURLs reads a list of URLs in angle brackets (RFC 2369, 2). Comments are passed over,
// white space within a URL is folding. Nil where there is none, such as for "NO" (3.4).
func ParseURLs(value string) []string {
	var urls []string
	s := StripComments(value)
	for len(urls) < URLsMax {
		s = strings.TrimLeft(s, " \t,")
		if !strings.HasPrefix(s, "<") {
			break
		}
		j := strings.IndexByte(s, '>')
		if j < 0 {
			break
		}
		url := strings.Map(dropSpace, s[1:j])
		if url == "" {
			break
		}
		urls = append(urls, repairUTF8(url))
		s = s[j+1:]
	}
	return urls
}

// HeaderText is the Text form of an unfolded value (RFC 8621, 4.1.2.2), in normalization
// form C: encoded words with a charset that is known are decoded where they stand between
// white space, as RFC 2047, 5, 1, wants them; control characters in them are dropped.
func HeaderText(value string) string {
	value = strings.TrimLeft(value, " \t")
	if !strings.Contains(value, "=?") {
		return norm.NFC.String(repairUTF8(value))
	}
	w := wordDecoder{out: make([]byte, 0, len(value)), strict: true}
	for i := 0; i < len(value); {
		j := strings.Index(value[i:], "=?")
		if j < 0 {
			w.text(value[i:])
			break
		}
		word, ok := parseWord(value[i+j:])
		if ok {
			ok = wordAlone(value, i+j, i+j+word.length) && KnownCharset(word.charset)
		}
		if !ok {
			w.text(value[i : i+j+2])
			i += j + 2
			continue
		}
		if j > 0 && !(w.afterWord && isBlank(value[i:i+j])) {
			w.text(value[i : i+j])
		}
		w.word(word)
		i += j + word.length
	}
	w.flush()
	if len(w.out) > valueMax {
		w.out = w.out[:runeStart(w.out, valueMax)]
	}
	return norm.NFC.String(string(w.out))
}

// wordAlone tells whether white space or an end stands on both sides of s[from:to], or
// another encoded word, which some programs write without a space between.
func wordAlone(s string, from, to int) bool {
	before := from == 0 || isWSP(s[from-1]) || from > 1 && s[from-2:from] == "?="
	behind := to == len(s) || isWSP(s[to]) || strings.HasPrefix(s[to:], "=?")
	return before && behind
}

// dropControls takes control characters out of decoded words.
func dropControls(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, s)
}

// HeaderRaw is the Raw form (RFC 8621, 4.1.2.1) of what stands behind the colon: octets that
// are not UTF-8 become U+FFFD, zero octets are dropped.
func HeaderRaw(value []byte) string {
	if utf8.Valid(value) && !strings.ContainsRune(string(value), 0) {
		return string(value)
	}
	return strings.ReplaceAll(strings.ToValidUTF8(string(value), "\uFFFD"), "\x00", "")
}

// KnownCharset tells whether text in a charset can be read as what it is. Where not,
// NewCharsetReader guesses.
func KnownCharset(charset string) bool {
	name := strings.ToLower(strings.Trim(charset, " \t\"'"))
	switch name {
	case "us-ascii", "ascii", "ansi_x3.4-1968", "utf-8", "utf8", "utf-7", "unicode-1-1-utf-7", "utf7":
		return true
	}
	return name != "" && encodingFor(name) != nil
}
