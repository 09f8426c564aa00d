package message

import (
	"bytes"
	"encoding/base64"
	"io"
)

func base64Std(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// newEncoder returns r in a Content-Transfer-Encoding. The lines of a text, however they
// end in r, end with CRLF.
func newEncoder(r io.Reader, encoding string, text bool) io.Reader {
	if text && encoding != "binary" {
		r = &decoder{r: r, step: (&lineEnds{}).step}
	}
	switch encoding {
	case "base64":
		return &decoder{r: r, step: encodeBase64Step}
	case "quoted-printable":
		return &decoder{r: r, step: encodeQuotedStep}
	}
	return r
}

// lineEnds turns LF and CR alone into CRLF.
type lineEnds struct{ cr bool }

func (l *lineEnds) step(dst, src []byte, _ bool) ([]byte, int) {
	for _, c := range src {
		switch {
		case c == '\n' && l.cr: // the CR was written as CRLF
		case c == '\n' || c == '\r':
			dst = append(dst, "\r\n"...)
		default:
			dst = append(dst, c)
		}
		l.cr = c == '\r'
	}
	return dst, len(src)
}

// encodeBase64Step writes whole lines.
func encodeBase64Step(dst, src []byte, end bool) ([]byte, int) {
	used := 0
	for len(src)-used >= base64Line || end && used < len(src) {
		n := min(base64Line, len(src)-used)
		dst = base64.StdEncoding.AppendEncode(dst, src[used:used+n])
		dst = append(dst, "\r\n"...)
		used += n
	}
	return dst, used
}

// encodeQuotedStep writes whole lines; one that is longer than the chunk as far as it goes.
func encodeQuotedStep(dst, src []byte, end bool) ([]byte, int) {
	used := 0
	for used < len(src) {
		n := bytes.IndexByte(src[used:], '\n')
		switch {
		case n >= 0:
			dst = appendQuotedText(dst, bytes.TrimSuffix(src[used:used+n], crBytes), false)
			dst = append(dst, "\r\n"...)
			used += n + 1
		case end:
			return appendQuotedText(dst, src[used:], false), len(src)
		case len(src)-used > decodeChunk/2:
			dst = appendQuotedText(dst, src[used:], true)
			return append(dst, "=\r\n"...), len(src)
		default:
			return dst, used
		}
	}
	return dst, used
}

// appendQuotedText encodes one line of text (RFC 2045, 6.7), of which more may come. "From "
// and a dot at the start of a line are encoded too: careless programs on the way change
// them.
func appendQuotedText(dst, line []byte, more bool) []byte {
	const digits = "0123456789ABCDEF"
	width := 0
	for i, c := range line {
		plain := c >= '!' && c <= '~' && c != '=' || (c == ' ' || c == '\t') && i < len(line)-1
		if width == 0 && (c == '.' || c == 'F' && bytes.HasPrefix(line[i:], []byte("From "))) {
			plain = false
		}
		cost := 1
		if !plain {
			cost = 3
		}
		room := quotedLine - 1 // for the = of a soft line break
		if i == len(line)-1 && !more {
			room = quotedLine
		}
		if width+cost > room {
			dst = append(dst, "=\r\n"...)
			width = 0
		}
		if plain {
			dst = append(dst, c)
		} else {
			dst = append(dst, '=', digits[c>>4], digits[c&15])
		}
		width += cost
	}
	return dst
}
