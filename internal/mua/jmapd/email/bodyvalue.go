package email

import (
	"bytes"
	"context"
	"io"
	"sync"
	"unicode/utf8"

	"postroad/jmap"
	"postroad/message"
)

// Bounds of the texts of bodies that one call returns, in octets of UTF-8. A client that
// asks for more gets values that say that they are cut, and then requestTooLarge.
const (
	bodyValueMax  = 10 << 20
	bodyValuesMax = 64 << 20
)

// bodyValue is EmailBodyValue (RFC 8621, 4.1.4).
type bodyValue struct {
	Value             string `json:"value"`
	IsEncodingProblem bool   `json:"isEncodingProblem"`
	IsTruncated       bool   `json:"isTruncated"`
}

// fetch says which bodyValues are wanted (RFC 8621, 4.2).
type fetch struct {
	text, html, all bool
	most            int // octets of a value; 0: no bound of the client's
	total           int // octets given so far in the call
}

// values gives the bodyValues that were asked for.
func (c *content) values(ctx context.Context, f *fetch) (map[string]bodyValue, error) {
	c.lists()
	var wanted []*part
	if f.text {
		wanted = append(wanted, c.text...)
	}
	if f.html {
		wanted = append(wanted, c.html...)
	}
	if f.all {
		wanted = c.root().leaves(wanted)
	}
	values := map[string]bodyValue{}
	for _, p := range wanted {
		id := p.id()
		if _, done := values[id]; done || p.Type != "text" {
			continue
		}
		v, err := c.value(ctx, p, f.most)
		if err != nil {
			return nil, err
		}
		if f.total += len(v.Value); f.total > bodyValuesMax {
			return nil, jmap.ErrRequestTooLarge.With("the bodies asked for have more than %d octets; ask for fewer, or set maxBodyValueBytes", bodyValuesMax)
		}
		values[id] = v
	}
	return values, nil
}

// leaves appends all parts that have no parts.
func (p *part) leaves(list []*part) []*part {
	if !p.Multipart() {
		return append(list, p)
	}
	for _, c := range p.sub {
		list = c.leaves(list)
	}
	return list
}

// value decodes a text.
func (c *content) value(ctx context.Context, p *part, most int) (v bodyValue, err error) {
	r, err := c.source(ctx)
	if err != nil {
		return v, err
	}
	if most == 0 || most > bodyValueMax {
		most = bodyValueMax
	}
	text := message.NewTextReader(p.Decoded(r), p.Charset())
	value, err := readText(text, most)
	if err != nil {
		return v, err
	}
	if v.IsTruncated = len(value) > most; v.IsTruncated {
		value = cutText(value, most, p.Subtype == "html")
	}
	v.Value = string(value)
	v.IsEncodingProblem = text.Malformed() || !message.KnownCharset(p.Charset()) || !p.KnownEncoding()
	return v, nil
}

// cutText shortens UTF-8 to at most most octets, between characters, and outside of tags
// and entities where it is HTML.
func cutText(b []byte, most int, html bool) []byte {
	n := min(most, len(b))
	for n > 0 && n < len(b) && !utf8.RuneStart(b[n]) {
		n--
	}
	b = b[:n]
	if html {
		return b[:outsideTag(b)]
	}
	return b
}

// entityMax is the longest entity that is looked for, in octets.
const entityMax = 32

// outsideTag returns the length of the part of b that ends neither within a tag, a comment
// nor an entity.
func outsideTag(b []byte) int {
	open := -1 // where the tag began that b[:i] is in
	var quote byte
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case open < 0:
			if c == '<' && tagBegins(b[i+1:]) {
				open, quote = i, 0
				if bytes.HasPrefix(b[i:], []byte("<!--")) {
					end := bytes.Index(b[i+4:], []byte("-->"))
					if end < 0 {
						return i
					}
					i, open = i+4+end+2, -1
				}
			}
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '>':
			open = -1
		case (c == '"' || c == '\'') && b[open+1] != '!':
			quote = c
		}
	}
	if open >= 0 {
		return open
	}
	tail := b[max(0, len(b)-entityMax):]
	if amp := bytes.LastIndexByte(tail, '&'); amp >= 0 && !bytes.ContainsAny(tail[amp:], "; \n<>") {
		return len(b) - len(tail) + amp
	}
	return len(b)
}

// tagBegins tells whether what stands behind < makes it a tag, or may when b ends here.
func tagBegins(b []byte) bool {
	if len(b) == 0 {
		return true
	}
	c := b[0] | 0x20
	return c >= 'a' && c <= 'z' || b[0] == '/' || b[0] == '!' || b[0] == '?'
}

// readText reads at most little more than most octets of a text, with LF for CRLF.
func readText(r io.Reader, most int) ([]byte, error) {
	chunk := make([]byte, textChunk)
	var out []byte
	cr := false // the last octet was CR, and is not in out yet
	for len(out) <= most {
		n, err := r.Read(chunk)
		for _, c := range chunk[:n] {
			if cr && c != '\n' {
				out = append(out, '\r')
			}
			if cr = c == '\r'; !cr {
				out = append(out, c)
			}
		}
		if err != nil {
			if cr {
				out = append(out, '\r')
			}
			if err == io.EOF {
				err = nil
			}
			return out, err
		}
	}
	return out, nil
}

// textChunk is how much of a text is read at once, in octets.
const textChunk = 16 << 10

// sizeCacheMax is how many sizes of decoded parts are remembered, each some 100 octets.
const sizeCacheMax = 20_000

// sizeCache remembers the sizes of decoded parts, which only decoding tells. What a blob id
// names never changes, so nothing in it is ever wrong. All methods may be called at once; a
// nil one remembers nothing.
type sizeCache struct {
	mu         sync.Mutex
	now, older map[jmap.ID]int64 // two halves; the older one is forgotten when now is full
}

func (s *sizeCache) get(id jmap.ID) (int64, bool) {
	if s == nil {
		return 0, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n, ok := s.now[id]
	if !ok {
		n, ok = s.older[id]
	}
	return n, ok
}

func (s *sizeCache) put(id jmap.ID, n int64) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now == nil || len(s.now) >= sizeCacheMax/2 {
		s.now, s.older = map[jmap.ID]int64{}, s.now
	}
	s.now[id] = n
}
