package message

import (
	"html"
	"io"
)

// Bounds of the HTML reader, in octets.
const (
	entityMax  = 34 // the longest named one, with & and ;
	tagNameMax = 16
	htmlChunk  = 16 << 10
)

// NewHTMLReader turns HTML in UTF-8 into plain text for search and previews: tags and
// comments are gone, scripts, styles and the title too, entities are characters, blocks
// start a new line. It is no renderer and no sanitizer: the text must never be used as
// HTML again. It fails only when r does.
func NewHTMLReader(r io.Reader) io.Reader { return &htmlReader{r: r} }

type htmlReader struct {
	r   io.Reader
	h   htmlStripper
	in  []byte
	buf []byte
	out []byte
	err error
}

// Read implements io.Reader.
func (t *htmlReader) Read(p []byte) (int, error) {
	for len(t.out) == 0 {
		if t.err != nil {
			return 0, t.err
		}
		if t.in == nil {
			t.in = make([]byte, htmlChunk)
		}
		n, err := t.r.Read(t.in)
		t.buf = t.h.feed(t.buf[:0], t.in[:n])
		if err != nil {
			t.err = err
			t.buf = t.h.finish(t.buf)
		}
		t.out = t.buf
	}
	n := copy(p, t.out)
	t.out = t.out[n:]
	return n, nil
}

// HTMLText returns the plain text of HTML at hand.
func HTMLText(b []byte) []byte {
	var h htmlStripper
	return h.finish(h.feed(make([]byte, 0, len(b)/2), b))
}

type htmlState uint8

const (
	htmlText        htmlState = iota
	htmlEntity                // behind &
	htmlOpen                  // behind <
	htmlName                  // in a tag's name
	htmlTag                   // in a tag, behind its name
	htmlQuoted                // in an attribute value, until quote
	htmlDeclaration           // <!…>, <?…>
	htmlComment               // <!--…-->
	htmlRaw                   // in script, style, title: until its end tag
)

// htmlStripper is the state machine behind the reader. It looks at each octet once, and
// holds a tag's name or an entity at the most.
type htmlStripper struct {
	state   htmlState
	quote   byte
	name    [tagNameMax]byte // of the tag; of a raw element until its end
	nameLen int
	closing bool
	pending [entityMax]byte // entity, or what was matched of </name
	count   int
	dashes  int
	space   bool // white space is owed
	line    bool // so is a line end
	started bool // something was written
}

// feed appends the text of src to dst.
func (h *htmlStripper) feed(dst, src []byte) []byte {
	for i := 0; i < len(src); i++ {
		c := src[i]
		switch h.state {
		case htmlText:
			if c == '<' {
				h.state = htmlOpen
			} else if c == '&' {
				h.state, h.count = htmlEntity, 1
				h.pending[0] = c
			} else {
				dst = h.text(dst, c)
			}
		case htmlEntity:
			var again bool
			if dst, again = h.entity(dst, c); again {
				i--
			}
		case htmlOpen:
			dst = h.open(dst, c)
		case htmlName:
			if isNameOctet(c) {
				h.addName(c)
			} else {
				h.state = htmlTag
				i--
			}
		case htmlTag:
			switch c {
			case '>':
				h.endTag()
			case '"', '\'':
				h.state, h.quote = htmlQuoted, c
			}
		case htmlQuoted:
			if c == h.quote {
				h.state = htmlTag
			}
		case htmlDeclaration:
			h.declaration(c)
		case htmlComment:
			h.comment(c)
		case htmlRaw:
			h.raw(c)
		}
	}
	return dst
}

// finish appends what waited for more input.
func (h *htmlStripper) finish(dst []byte) []byte {
	switch h.state {
	case htmlEntity:
		for _, c := range h.pending[:h.count] {
			dst = h.text(dst, c)
		}
	case htmlOpen:
		dst = h.text(dst, '<')
	}
	h.state = htmlText
	return dst
}

// text appends an octet of text, white space drawn together.
func (h *htmlStripper) text(dst []byte, c byte) []byte {
	if c <= ' ' {
		h.space = true
		return dst
	}
	switch {
	case !h.started:
	case h.line:
		dst = append(dst, '\n')
	case h.space:
		dst = append(dst, ' ')
	}
	h.started, h.line, h.space = true, false, false
	return append(dst, c)
}

// entity takes an octet behind &; again is true when c is not part of the entity.
func (h *htmlStripper) entity(dst []byte, c byte) (out []byte, again bool) {
	if c != ';' && (isNameOctet(c) || c == '#' && h.count == 1) && h.count < entityMax-1 {
		h.pending[h.count] = c
		h.count++
		return dst, false
	}
	h.state = htmlText
	if c == ';' {
		h.pending[h.count] = c
		h.count++
	}
	for _, r := range html.UnescapeString(string(h.pending[:h.count])) {
		if r == 0xa0 {
			r = ' '
		}
		for _, c := range []byte(string(r)) {
			dst = h.text(dst, c)
		}
	}
	return dst, c != ';'
}

// open takes the octet behind <.
func (h *htmlStripper) open(dst []byte, c byte) []byte {
	h.nameLen, h.closing = 0, false
	switch {
	case c == '/':
		h.closing = true
		h.state = htmlName
	case c == '!' || c == '?':
		h.state, h.dashes = htmlDeclaration, 0
	case isNameOctet(c) && !isDigit(c):
		h.state = htmlName
		h.addName(c)
	default: // a sign, not a tag
		h.state = htmlText
		dst = h.text(dst, '<')
		if c == '<' {
			h.state = htmlOpen
			return dst
		}
		if c == '&' {
			h.state, h.count = htmlEntity, 1
			h.pending[0] = c
			return dst
		}
		return h.text(dst, c)
	}
	return dst
}

func isNameOctet(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || isDigit(c)
}

func (h *htmlStripper) addName(c byte) {
	if h.nameLen < tagNameMax {
		h.name[h.nameLen] = lower(c)
		h.nameLen++
	}
}

// endTag acts on a tag by its name.
func (h *htmlStripper) endTag() {
	h.state = htmlText
	switch string(h.name[:h.nameLen]) {
	case "script", "style", "title", "template":
		if !h.closing {
			h.state, h.count = htmlRaw, 0
		}
	case "br", "p", "div", "tr", "li", "ul", "ol", "dl", "dt", "dd", "table", "h1", "h2", "h3", "h4", "h5", "h6",
		"blockquote", "pre", "hr", "section", "article", "header", "footer", "body", "center":
		h.line = true
	case "td", "th", "img", "option":
		h.space = true
	}
}

// declaration passes over <!…> and finds the start of a comment.
func (h *htmlStripper) declaration(c byte) {
	switch {
	case c == '>':
		h.state = htmlText
	case c == '-' && h.dashes >= 0:
		if h.dashes++; h.dashes == 2 {
			h.state, h.dashes = htmlComment, 2 // <!--> is a whole one
		}
	default:
		h.dashes = -1
	}
}

// comment passes over a comment until -->.
func (h *htmlStripper) comment(c byte) {
	switch {
	case c == '-':
		h.dashes++
	case c == '>' && h.dashes >= 2:
		h.state = htmlText
	default:
		h.dashes = 0
	}
}

// raw passes over an element whose content is no text, until </name.
func (h *htmlStripper) raw(c byte) {
	switch {
	case c == '<':
		h.count = 1
	case h.count == 1 && c == '/':
		h.count = 2
	case h.count >= 2 && h.count-2 < h.nameLen && lower(c) == h.name[h.count-2]:
		h.count++
		if h.count-2 == h.nameLen {
			h.state, h.closing, h.count = htmlTag, true, 0
		}
	default:
		h.count = 0
	}
}
