package email

import (
	"context"
	"io"
	"slices"
	"strconv"
	"strings"

	"postroad/jmap"
	"postroad/message"
)

// Every message is shown as a content: its structure, and its octets where the structure
// does not have what is asked for.

// content is a message whose properties are asked for.
type content struct {
	*message.Message
	blob     jmap.ID // of the whole message
	open     func(ctx context.Context) (io.ReaderAt, error)
	octets   io.ReaderAt // once opened
	header   []byte      // of headerOf, once read
	headerOf *message.Part
	sizes    *sizeCache

	text, html, attached []*part // once made
	flat                 bool
}

// part is a part of the message itself, not of one attached to it, with its number.
type part struct {
	*message.Part
	path []int // as IMAP counts (RFC 9051, 6.4.5.1)
	sub  []*part
}

// root is the tree of parts.
func (c *content) root() *part {
	if !c.Root.Multipart() {
		return &part{Part: c.Root, path: []int{1}}
	}
	return branch(c.Root, nil)
}

// branch is the tree below a multipart.
func branch(p *message.Part, path []int) *part {
	b := &part{Part: p, path: path}
	for i, c := range p.Children {
		at := append(slices.Clone(path), i+1)
		if c.Multipart() {
			b.sub = append(b.sub, branch(c, at))
		} else {
			b.sub = append(b.sub, &part{Part: c, path: at})
		}
	}
	return b
}

// number writes a path with a separator.
func number(path []int, separator byte) string {
	var b []byte
	for i, n := range path {
		if i > 0 {
			b = append(b, separator)
		}
		b = strconv.AppendInt(b, int64(n), 10)
	}
	return string(b)
}

// id is partId.
func (p *part) id() string { return number(p.path, '.') }

// blobID names the decoded octets of a part.
func (c *content) blobID(p *part) jmap.ID { return c.blob + jmap.ID("-"+number(p.path, '_')) }

// source opens the message's octets, once.
func (c *content) source(ctx context.Context) (io.ReaderAt, error) {
	var err error
	if c.octets == nil {
		c.octets, err = c.open(ctx)
	}
	return c.octets, err
}

// close gives the octets back.
func (c *content) close() {
	if closer, ok := c.octets.(io.Closer); ok {
		closer.Close()
	}
	c.octets = nil
}

// headerBlock reads the header of the message.
func (c *content) headerBlock(ctx context.Context) ([]byte, error) {
	return c.partHeader(ctx, c.Root)
}

// partHeaderMax bounds the header of a part that is read to be told, in octets; the parser
// keeps no more of it.
const partHeaderMax = message.HeaderOctetsMax

// partHeader reads the header of a part, and holds it for the next property.
func (c *content) partHeader(ctx context.Context, p *message.Part) ([]byte, error) {
	if c.headerOf == p {
		return c.header, nil
	}
	r, err := c.source(ctx)
	if err != nil {
		return nil, err
	}
	block, err := io.ReadAll(io.LimitReader(p.HeaderReader(r), partHeaderMax))
	if err == nil {
		c.header, c.headerOf = block, p
	}
	return block, err
}

// size is the number of octets of the decoded part.
func (c *content) size(ctx context.Context, p *part) (int64, error) {
	if p.Multipart() {
		return p.Body.Size(), nil
	}
	if p.Encoding != "base64" && p.Encoding != "quoted-printable" {
		return p.Body.Size(), nil
	}
	id := c.blobID(p)
	if n, ok := c.sizes.get(id); ok {
		return n, nil
	}
	r, err := c.source(ctx)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(io.Discard, p.Decoded(r))
	if err == nil {
		c.sizes.put(id, n)
	}
	return n, err
}

// inlineMedia tells whether a part is of a type that is shown as it is.
func (p *part) inlineMedia() bool {
	return p.Type == "image" || p.Type == "audio" || p.Type == "video"
}

// lists fills in textBody, htmlBody and attachments (RFC 8621, 4.1.4).
func (c *content) lists() {
	if c.flat {
		return
	}
	c.flat = true
	f := flattening{}
	text, html := []*part{}, []*part{}
	f.flatten([]*part{c.root()}, "mixed", false, &text, &html)
	c.text, c.html, c.attached = text, html, f.attached
}

// flattening makes flat lists of the tree of parts.
type flattening struct{ attached []*part }

// flatten adds parts to the lists; one that is nil takes nothing, because the parts stand
// within an alternative of the other kind.
func (f *flattening) flatten(parts []*part, multipart string, alternative bool, text, html *[]*part) {
	textBefore, htmlBefore := length(text), length(html)
	for i, p := range parts {
		switch {
		case p.Multipart():
			f.flatten(p.sub, p.Subtype, alternative || p.Subtype == "alternative", text, html)
		case !p.inline(i, multipart):
			f.attached = append(f.attached, p)
		case multipart == "alternative":
			f.choice(p, text, html)
		default:
			if alternative && p.Is("text", "plain") {
				html = nil
			}
			if alternative && p.Is("text", "html") {
				text = nil
			}
			add(text, p)
			add(html, p)
			if (text == nil || html == nil) && p.inlineMedia() {
				f.attached = append(f.attached, p)
			}
		}
	}
	if multipart == "alternative" && text != nil && html != nil {
		switch newText, newHTML := len(*text) > textBefore, len(*html) > htmlBefore; {
		case newHTML && !newText:
			*text = append(*text, (*html)[htmlBefore:]...)
		case newText && !newHTML:
			*html = append(*html, (*text)[textBefore:]...)
		}
	}
}

// choice adds one of several alternatives.
func (f *flattening) choice(p *part, text, html *[]*part) {
	switch {
	case p.Is("text", "plain"):
		add(text, p)
	case p.Is("text", "html"):
		add(html, p)
	default:
		f.attached = append(f.attached, p)
	}
}

func length(l *[]*part) int {
	if l == nil {
		return -1
	}
	return len(*l)
}

func add(l *[]*part, p *part) {
	if l != nil {
		*l = append(*l, p)
	}
}

// inline tells whether a part is of the body: the i-th of a multipart.
func (p *part) inline(i int, multipart string) bool {
	media := p.inlineMedia()
	return p.Disposition != "attachment" && (media || p.Is("text", "plain") || p.Is("text", "html")) &&
		(i == 0 || multipart != "related" && (media || p.Filename() == ""))
}

// bodyDefaults are the properties of a part where bodyProperties is not given (RFC 8621,
// 4.2).
var bodyDefaults = []string{"partId", "blobId", "size", "name", "type", "charset", "disposition", "cid", "language", "location"}

// isBodyProperty tells whether a name is a property of EmailBodyPart.
func isBodyProperty(name string) bool {
	switch name {
	case "headers", "subParts":
		return true
	}
	if slices.Contains(bodyDefaults, name) {
		return true
	}
	_, ok := parseHeaderProperty(name)
	return ok
}

// partObject gives the properties of a part; subParts besides where the part is told as a
// tree.
func (c *content) partObject(ctx context.Context, p *part, properties []string, tree bool) (jmap.Object, error) {
	o := make(jmap.Object, len(properties))
	for _, name := range properties {
		v, err := c.partProperty(ctx, p, name)
		if err != nil {
			return nil, err
		}
		o[name] = v
	}
	delete(o, "subParts")
	if tree && p.Multipart() {
		sub := make([]jmap.Object, 0, len(p.sub))
		for _, child := range p.sub {
			v, err := c.partObject(ctx, child, properties, true)
			if err != nil {
				return nil, err
			}
			sub = append(sub, v)
		}
		o["subParts"] = sub
	} else if slices.Contains(properties, "subParts") {
		o["subParts"] = nil
	}
	return o, nil
}

// partProperty gives one property of a part.
func (c *content) partProperty(ctx context.Context, p *part, name string) (any, error) {
	switch name {
	case "partId":
		if !p.Multipart() {
			return p.id(), nil
		}
	case "blobId":
		if !p.Multipart() {
			return c.blobID(p), nil
		}
	case "size":
		return c.size(ctx, p)
	case "name":
		return textOrNull(p.Filename()), nil
	case "type":
		return p.MediaType(), nil
	case "charset":
		return textOrNull(p.charset()), nil
	case "disposition":
		return textOrNull(p.Disposition), nil
	case "cid":
		return textOrNull(p.cid()), nil
	case "language":
		return listOrNull(p.Language), nil
	case "location":
		return textOrNull(strings.TrimSpace(message.StripComments(p.Location))), nil
	case "headers":
		block, err := c.partHeader(ctx, p.Part)
		if err != nil {
			return nil, err
		}
		return headers(block), nil
	default:
		if h, ok := parseHeaderProperty(name); ok {
			block, err := c.partHeader(ctx, p.Part)
			if err != nil {
				return nil, err
			}
			return h.value(block), nil
		}
	}
	return nil, nil
}

// charset is the parameter as it stands, or what it is where a text has none.
func (p *part) charset() string {
	if s := p.Params.Get("charset"); s != "" || p.Type != "text" {
		return s
	}
	return "us-ascii"
}

// cid is Content-ID without comments and brackets.
func (p *part) cid() string {
	s := strings.TrimSpace(message.StripComments(p.ID))
	if strings.HasPrefix(s, "<") && strings.HasSuffix(s, ">") && len(s) > 1 {
		s = strings.TrimSpace(s[1 : len(s)-1])
	}
	return s
}

// textOrNull gives text that is UTF-8, and null for none.
func textOrNull(s string) any {
	if s == "" {
		return nil
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
