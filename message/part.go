package message

import (
	"io"
	"strings"
)

// Part is one node of the MIME structure. Header and Body are offsets in the whole
// message, for parts of inner messages too: Header has the empty line at its end, Body
// ends before the line end that belongs to the next delimiter (RFC 2046, 5.1.1). For the
// root part of a message Header is the header of the message.
//
// A multipart has at least one child, and message/rfc822 and message/global always have
// their Message: where that cannot be (no delimiter found, an encoded message, nesting over
// the limit) the part is given as the leaf that mail programs make of it, text/plain or
// application/octet-stream.
type Part struct {
	Header, Body Span
	Lines        int64 // in Body; a last one without line end counts

	Type, Subtype string // in lower case; text/plain when there is no Content-Type
	Params        Params // of Content-Type
	ID            string // Content-ID, as it stands
	Description   string // Content-Description, unfolded, not decoded: see DecodeWords
	Encoding      string // in lower case, "7bit" when there is none
	MD5           string
	Disposition   string // in lower case, empty when there is none
	DispParams    Params // of Content-Disposition
	Language      []string
	Location      string

	Children []*Part  // of a multipart
	Message  *Message // of message/rfc822 and message/global
}

// Param is a parameter of a structured field: the name in lower case, the value as UTF-8
// with RFC 2231 (and, as many send it, RFC 2047) undone.
type Param struct{ Name, Value string }

// Params are the parameters of one field in their order, each name once.
type Params []Param

// Get returns the value of a parameter, empty when it is not there. Name is in lower case.
func (p Params) Get(name string) string {
	for i := range p {
		if p[i].Name == name {
			return p[i].Value
		}
	}
	return ""
}

// MediaType returns "type/subtype".
func (p *Part) MediaType() string { return p.Type + "/" + p.Subtype }

// Is tells whether the part is of the media type; subtype "*" fits any.
func (p *Part) Is(typ, subtype string) bool {
	return p.Type == typ && (subtype == "*" || p.Subtype == subtype)
}

// Multipart tells whether the part has children.
func (p *Part) Multipart() bool { return len(p.Children) > 0 }

// Filename returns the name that the sender gave the part, empty when there is none. It
// is a stranger's text: no path, and not to be used as one.
func (p *Part) Filename() string {
	name := p.DispParams.Get("filename")
	if name == "" {
		name = p.Params.Get("name")
	}
	return name
}

// Charset returns the charset in lower case; us-ascii where a text has none (RFC 2046,
// 4.1.2), empty for other types.
func (p *Part) Charset() string {
	c := strings.ToLower(strings.TrimSpace(p.Params.Get("charset")))
	if c == "" && p.Type == "text" {
		return "us-ascii"
	}
	return c
}

// Whole is header and body together.
func (p *Part) Whole() Span { return Span{p.Header.Start, p.Body.End} }

// Reader returns the body's octets as they stand in the message r.
func (p *Part) Reader(r io.ReaderAt) *io.SectionReader {
	return io.NewSectionReader(r, p.Body.Start, p.Body.Size())
}

// HeaderReader returns the octets of the part's header with the empty line at its end.
func (p *Part) HeaderReader(r io.ReaderAt) *io.SectionReader {
	return io.NewSectionReader(r, p.Header.Start, p.Header.Size())
}

// KnownEncoding tells whether Decoded can undo the part's encoding; if not it gives the
// octets as they stand (IMAP: UNKNOWN-CTE, RFC 3516, 4.3).
func (p *Part) KnownEncoding() bool {
	switch p.Encoding {
	case "7bit", "8bit", "binary", "base64", "quoted-printable":
		return true
	}
	return false
}

// Decoded returns the body with base64 or quoted-printable undone, as leniently as mail
// programs do: it fails only when r does.
func (p *Part) Decoded(r io.ReaderAt) io.Reader {
	return NewDecoder(p.Reader(r), p.Encoding)
}

// Text returns the body decoded and turned into UTF-8; what cannot be turned becomes
// U+FFFD. HTML stays HTML: see NewHTMLReader.
func (p *Part) Text(r io.ReaderAt) io.Reader {
	return NewCharsetReader(p.Decoded(r), p.Charset())
}

// Walk calls f for the part and all parts below it in their order, inner messages
// included, until f returns false.
func (p *Part) Walk(f func(*Part) bool) bool {
	if !f(p) {
		return false
	}
	for _, c := range p.Children {
		if !c.Walk(f) {
			return false
		}
	}
	return p.Message == nil || p.Message.Root.Walk(f)
}

func (p *Part) shift(n int64) {
	p.Walk(func(p *Part) bool {
		p.Header.Start += n
		p.Header.End += n
		p.Body.Start += n
		p.Body.End += n
		return true
	})
}

// attachment tells whether a mail program should offer the part for download (RFC 8621,
// 4.1.4: hasAttachment). Under a multipart/report, signatures and the machine's parts are
// none.
func (p *Part) attachment(parent *Part) bool {
	if p.Multipart() {
		return false
	}
	switch {
	case p.Disposition == "attachment":
		return !p.machine()
	case p.Type == "text" && (p.Subtype == "plain" || p.Subtype == "html"):
		return p.Disposition == "" && p.Filename() != ""
	case p.machine():
		return false
	case parent != nil && parent.Subtype == "report" && (p.Type == "message" || p.Subtype == "rfc822-headers"):
		return false
	case parent != nil && parent.Subtype == "related" && p.ID != "" || p.Type == "image" && p.Disposition == "inline":
		return false
	}
	return true
}

// machine tells whether the part is of use to programs only.
func (p *Part) machine() bool {
	switch p.MediaType() {
	case "application/pgp-signature", "application/pkcs7-signature", "application/x-pkcs7-signature",
		"application/pgp-encrypted", "message/delivery-status", "message/disposition-notification":
		return true
	}
	return false
}
