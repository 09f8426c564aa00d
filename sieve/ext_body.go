package sieve

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"postroad/message"
)

// bodyTest is body (RFC 5173).
type bodyTest struct {
	raw   bool
	types []text // of :content; nil: :text
	match *matcher
}

var bodyTags = append([]tagRule{
	{name: "raw", group: "transform"}, {name: "text", group: "transform"},
	{name: "content", value: kindStrings, group: "transform"},
}, matchTags...)

func compileBody(c *compiler, u *usage) test {
	c.script.needs.Body, c.script.needs.Structure = true, true
	t := &bodyTest{raw: u.has("raw"), match: c.matcher(u, u.args[0])}
	t.match.capture = false // RFC 5173, 6
	if tag := u.tag("content"); tag != nil {
		t.types = c.texts(tag.value)
	}
	return t
}

// bodyScan is one evaluation: pieces are matched, or counted, as they are found.
type bodyScan struct {
	r     *run
	match *matcher
	count int
	found bool
	err   error
}

func (t *bodyTest) evaluate(r *run) (bool, error) {
	top, err := r.view(r.frame.root)
	if err != nil {
		return false, err
	}
	s := &bodyScan{r: r, match: t.match}
	switch {
	case t.raw:
		s.piece(top.Reader(r.doc.src))
	case t.types != nil:
		types, err := expandAll(r, t.types)
		if err != nil {
			return false, err
		}
		top.Walk(func(p *message.Part) bool {
			if contentMatches(p, types) {
				s.content(p)
			}
			return s.visit()
		})
	default:
		top.Walk(func(p *message.Part) bool {
			if p.Type == "text" {
				s.text(p)
			}
			return s.visit()
		})
	}
	if s.err == nil && t.match.kind == matchCount {
		return t.match.count(r, s.count)
	}
	return s.found, s.err
}

// contentMatches tells whether a part is of one of the types (RFC 5173, 5.2).
func contentMatches(p *message.Part, types []string) bool {
	for _, t := range types {
		typ, subtype, full := strings.Cut(t, "/")
		switch {
		case t == "":
			return true
		case full && (typ == "" || subtype == "" || strings.Contains(subtype, "/")):
		case strings.EqualFold(typ, p.Type) && (!full || strings.EqualFold(subtype, p.Subtype)):
			return true
		}
	}
	return false
}

// What visiting a part and reading a text cost, in octets compared.
const (
	visitCost = 16
	pieceCost = 1024
)

// visit counts a part; false ends the walk.
func (s *bodyScan) visit() bool {
	if s.err == nil {
		s.err = s.r.work(visitCost)
	}
	return !s.found && s.err == nil
}

// content matches what belongs to a part itself: of containers only what is around the
// parts in them (RFC 5173, 5.2).
func (s *bodyScan) content(p *message.Part) {
	src := s.r.doc.src
	switch {
	case p.Message != nil:
		s.piece(p.Message.Root.HeaderReader(src))
	case p.Multipart():
		first, last := p.Children[0], p.Children[len(p.Children)-1]
		prologue := s.read(src, p.Body.Start, first.Whole().Start)
		prologue = bytes.TrimRight(prologue, "\r\n")
		s.bytes(prologue[:bytes.LastIndexByte(prologue, '\n')+1]) // without the delimiter
		epilogue := bytes.TrimLeft(s.read(src, last.Whole().End, p.Body.End), "\r\n")
		if i := bytes.IndexByte(epilogue, '\n'); i >= 0 {
			s.bytes(epilogue[i+1:])
		}
	case p.Type == "text":
		s.piece(p.Text(src))
	default:
		s.piece(p.Decoded(src))
	}
}

// read reads a stretch of the message, cut to the limit.
func (s *bodyScan) read(src io.ReaderAt, from, to int64) []byte {
	b, err := io.ReadAll(io.NewSectionReader(src, from, min(to-from, int64(s.r.limits.BodyOctets))))
	if err == nil {
		err = s.r.work(len(b))
	} else {
		err = fmt.Errorf("sieve: read body: %w", err)
	}
	if s.err == nil {
		s.err = err
	}
	return b
}

// text matches the text of a part, of HTML without its mark-up (RFC 5173, 5.3).
func (s *bodyScan) text(p *message.Part) {
	text := p.Text(s.r.doc.src)
	if p.Subtype == "html" {
		text = message.NewHTMLReader(text)
	}
	s.piece(text)
}

// bytes matches a stretch at hand.
func (s *bodyScan) bytes(b []byte) { s.piece(bytes.NewReader(b)) }

// piece matches one text. All of it is searched for what :contains looks for; of others
// the limit is what is seen.
func (s *bodyScan) piece(text io.Reader) {
	if s.err != nil || s.found {
		return
	}
	s.count++
	if s.err = s.r.work(pieceCost); s.err != nil {
		return
	}
	switch {
	case s.match.kind == matchCount:
	case s.match.kind == matchContains && (s.match.compare == octet || s.match.compare == asciiCasemap):
		s.found, s.err = s.r.search(text, s.match)
	default:
		b, err := io.ReadAll(io.LimitReader(text, int64(s.r.limits.BodyOctets)))
		if err != nil {
			s.err = fmt.Errorf("sieve: read body: %w", err)
			return
		}
		s.found, s.err = s.match.value(s.r, string(b))
	}
}

// searchChunk is how much of a body is held at a time, in octets.
const searchChunk = 32 << 10

// search looks for the keys of :contains in a stream.
func (r *run) search(text io.Reader, m *matcher) (bool, error) {
	keys := make([][]byte, len(m.keys))
	longest := 1
	for i := range m.keys {
		k, err := m.key(r, i)
		if err != nil {
			return false, err
		}
		keys[i] = []byte(k.folded)
		longest = max(longest, len(keys[i]))
	}
	if len(r.chunk) < longest-1+searchChunk {
		r.chunk = make([]byte, longest-1+searchChunk)
	}
	buf := r.chunk
	held := 0
	for {
		n, err := io.ReadFull(text, buf[held:held+searchChunk])
		if m.compare == asciiCasemap {
			upperBytes(buf[held : held+n])
		}
		held += n
		if err := r.work(n * len(keys)); err != nil {
			return false, err
		}
		for i, k := range keys {
			if bytes.Contains(buf[:held], k) {
				r.explain("the body has %q", shown(m.keys[i].text.constant))
				return true, nil
			}
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return false, r.ctx.Err()
		}
		if err != nil {
			return false, fmt.Errorf("sieve: read body: %w", err)
		}
		keep := min(held, longest-1)
		copy(buf, buf[held-keep:held])
		held = keep
	}
}
