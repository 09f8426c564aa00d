package message

import (
	"unicode"
	"unicode/utf8"
)

// capture keeps the first octets of one part's body, for the preview.
type capture struct {
	part *Part
	buf  []byte
	most int
}

// add takes octets and tells whether it wants more.
func (c *capture) add(b []byte) bool {
	c.buf = append(c.buf, b[:min(len(b), c.most-len(c.buf))]...)
	return len(c.buf) < c.most
}

// beginCapture decides whether the body that begins is kept for the preview: the first
// text/plain and the first text/html part that are no attachments, inner messages left out.
func (p *Parser) beginCapture(part *Part) {
	p.capture = nil
	if part.Type != "text" || part.Disposition == "attachment" || p.innermostMessage() > 0 {
		return
	}
	switch {
	case part.Subtype == "html" && p.html.part == nil:
		p.html = capture{part: part, most: htmlWindow}
		p.capture = &p.html
	case part.Subtype != "html" && p.text.part == nil:
		p.text = capture{part: part, most: textWindow, buf: p.buffers.text[:0]}
		p.capture = &p.text
	}
}

// innermostMessage returns the index in the stack of the message that is being read.
func (p *Parser) innermostMessage() int {
	for i := len(p.stack) - 1; i > 0; i-- {
		if p.stack[i].message != nil {
			return i
		}
	}
	return 0
}

// preview makes the text of Message.Preview from what was kept: the plain text, or where
// there is none the HTML.
func (p *Parser) preview() string {
	for _, c := range [...]*capture{&p.text, &p.html} {
		if c.part == nil || len(c.buf) == 0 {
			continue
		}
		if s := c.preview(); s != "" {
			return s
		}
	}
	return ""
}

func (c *capture) preview() string {
	b := c.buf
	// The part's last line end belongs to the delimiter but was kept too; it is white
	// space at the end.
	switch c.part.Encoding {
	case "base64":
		b = appendBase64Lenient(nil, b)
	case "quoted-printable":
		b, _ = quotedPrintableStep(make([]byte, 0, len(b)), b, true)
	}
	if t, ok := decoderFor(c.part.Charset()).(*utf8Transformer); !ok || !utf8.Valid(b) {
		if ok {
			b = appendUTF8(nil, b, t.guess)
		} else {
			b = []byte(decodeCharset(b, c.part.Charset()))
		}
	}
	if c.part.Subtype == "html" {
		var h htmlStripper
		b = h.finish(h.feed(make([]byte, 0, len(b)/4), b))
	}
	return condense(b, PreviewMax)
}

// condense returns the beginning of a text on one line, most octets at the most: runs of
// white space are one space, and what is not seen is left out.
func condense(b []byte, most int) string {
	out := make([]byte, 0, min(len(b), most))
	space := false
	for i := 0; i < len(b) && len(out) < most; {
		if c := b[i]; c > ' ' && c < 0x7f && !space {
			out = append(out, c)
			i++
			continue
		}
		r, n := utf8.DecodeRune(b[i:])
		i += n
		switch {
		case r <= ' ' || r == 0x7f || r == 0xa0 || r > 0xff && unicode.IsSpace(r):
			space = true
			continue
		case invisible(r):
			continue
		}
		if space && len(out) > 0 {
			out = append(out, ' ')
		}
		space = false
		if len(out)+utf8.RuneLen(r) > most {
			break
		}
		out = utf8.AppendRune(out, r)
	}
	for len(out) > 0 && out[len(out)-1] == ' ' {
		out = out[:len(out)-1]
	}
	return string(out)
}

// invisible tells whether a rune shows nothing: controls, and what senders pad hidden
// preview lines with. The zero-width joiner is no such rune: scripts and emoji need it.
func invisible(r rune) bool {
	switch r {
	case 0xad, 0x34f, 0x61c, 0x115f, 0x1160, 0x17b4, 0x17b5, 0x180e, 0x200b, 0x200c, 0x200e, 0x200f, 0x2060, 0xfeff, 0xfffd:
		return true
	}
	return r >= 0x80 && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}
