package imapclient

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"postroad/imap"
)

// Limits of what a server may send.
const (
	responseBytesMax = 16 << 20 // of one response kept in memory, streamed literals not counted
	depthMax         = 100      // of lists within each other
	valuesMax        = 1 << 20  // of one response
)

// ErrTooLarge says that a response is over the limits.
var ErrTooLarge = errors.New("imapclient: response too large")

// errSyntax says that the server does not speak IMAP.
var errSyntax = errors.New("imapclient: malformed response")

// Kind is what a Value is.
type Kind uint8

// The kinds.
const (
	Atom    Kind = iota // Text: also numbers and flags, sections with their brackets
	String              // Text
	Nil                 //
	List                // List
	Literal             // was given to a LiteralFunc; Size
)

// Value is a word of a response.
type Value struct {
	Kind Kind
	Text string
	List []Value
	Size int64
}

// Number returns the number that an atom is, 0 if it is none.
func (v Value) Number() uint64 {
	n, err := strconv.ParseUint(v.Text, 10, 64)
	if err != nil || v.Kind != Atom {
		return 0
	}
	return n
}

// String returns the value much as it stood on the wire.
func (v Value) String() string {
	switch v.Kind {
	case String:
		return strconv.Quote(v.Text)
	case Nil:
		return "NIL"
	case Literal:
		return "{" + strconv.FormatInt(v.Size, 10) + "}"
	case List:
		words := make([]string, len(v.List))
		for i := range v.List {
			words[i] = v.List[i].String()
		}
		return "(" + strings.Join(words, " ") + ")"
	}
	return v.Text
}

// Response is one response of a server.
type Response struct {
	Tag    string      // "*", "+" or a command's
	Status imap.Status // of OK, NO, BAD, BYE, PREAUTH; else empty
	Code   string      // response code without brackets
	Text   string      // of a status, or behind "+"
	Number uint32      // of "* 5 EXISTS", "* 5 FETCH …"
	Name   string      // "EXISTS", "LIST", "FETCH" …, in upper case
	Values []Value     // behind the name
	// Threads are those of a THREAD response, which has no Values.
	Threads []imap.ThreadNode
}

// Items returns the pairs of a FETCH response's list by name, in upper case.
func (r *Response) Items() map[string]Value {
	if r.Name != "FETCH" || len(r.Values) != 1 {
		return nil
	}
	items := map[string]Value{}
	l := r.Values[0].List
	for i := 0; i+1 < len(l); i += 2 {
		items[strings.ToUpper(l[i].Text)] = l[i+1]
	}
	return items
}

// LiteralFunc takes a literal of a FETCH response as it comes. What it does not read is
// skipped.
type LiteralFunc func(seq uint32, item string, size int64, r io.Reader) error

// reader parses responses.
type reader struct {
	b       *bufio.Reader
	literal LiteralFunc
	most    int // octets that a response may keep; 0: responseBytesMax
	left    int // of which the present one may still keep
	values  int
}

// next reads one response.
func (p *reader) next() (*Response, error) {
	p.left, p.values = p.most, 0
	if p.most == 0 {
		p.left = responseBytesMax
	}
	r := &Response{}
	var err error
	if r.Tag, err = p.word(" \r\n"); err != nil {
		return nil, err
	}
	if r.Tag == "" {
		return nil, errSyntax
	}
	if r.Tag == "+" {
		if p.peek() == ' ' {
			p.skip()
		}
		r.Text, err = p.line()
		return r, err
	}
	if err := p.expect(' '); err != nil {
		return nil, err
	}
	word, err := p.word(" \r\n")
	if err != nil {
		return nil, err
	}
	if n, err := strconv.ParseUint(word, 10, 32); err == nil && r.Tag == "*" {
		r.Number = uint32(n)
		if err := p.expect(' '); err != nil {
			return nil, err
		}
		if word, err = p.word(" \r\n"); err != nil {
			return nil, err
		}
	}
	if r.Name = strings.ToUpper(word); r.Name == "" {
		return nil, errSyntax
	}
	switch status := imap.Status(r.Name); status {
	case imap.OK, imap.NO, imap.BAD, imap.BYE, imap.PREAUTH:
		r.Status, r.Name = status, ""
		return r, p.status(r)
	}
	if r.Tag != "*" {
		return nil, errSyntax
	}
	return r, p.data(r)
}

// status reads [code] and text.
func (p *reader) status(r *Response) error {
	if p.peek() == ' ' {
		p.skip()
	}
	line, err := p.line()
	if err != nil {
		return err
	}
	r.Text = line
	if strings.HasPrefix(line, "[") {
		if i := strings.IndexByte(line, ']'); i > 0 {
			r.Code, r.Text = line[1:i], strings.TrimPrefix(line[i+1:], " ")
		}
	}
	return nil
}

// threads reads the lists of a THREAD response, which may nest as deep as a discussion goes.
func (p *reader) threads(r *Response) error {
	line, err := p.line()
	if err != nil {
		return err
	}
	d := imap.NewDecoder([]byte(strings.Trim(line, " "))) // some servers end lines with a space
	if r.Threads = d.ThreadList(); d.Err() != nil {
		return fmt.Errorf("%w: %w", errSyntax, d.Err())
	}
	return nil
}

// data reads values to the end of the response.
func (p *reader) data(r *Response) error {
	if r.Name == "THREAD" {
		return p.threads(r)
	}
	for {
		switch c := p.peek(); c {
		case ' ':
			p.skip()
			if c := p.peek(); c == '\r' {
				continue // some servers end lines with a space
			}
			v, err := p.value(r, "", 0)
			if err != nil {
				return err
			}
			r.Values = append(r.Values, v)
		case '\r':
			return p.end()
		default:
			return p.bad()
		}
	}
}

// value reads one value; item is the FETCH item it belongs to.
func (p *reader) value(r *Response, item string, depth int) (Value, error) {
	if p.values++; p.values > valuesMax || depth > depthMax {
		return Value{}, ErrTooLarge
	}
	switch p.peek() {
	case '(':
		return p.list(r, depth)
	case '"':
		s, err := p.quoted()
		return Value{Kind: String, Text: s}, err
	case '{':
		return p.readLiteral(r, item)
	case '~':
		p.skip()
		return p.readLiteral(r, item)
	}
	s, err := p.atom()
	if err != nil {
		return Value{}, err
	}
	if strings.EqualFold(s, "NIL") {
		return Value{Kind: Nil}, nil
	}
	return Value{Kind: Atom, Text: s}, nil
}

func (p *reader) list(r *Response, depth int) (Value, error) {
	v := Value{Kind: List}
	p.skip()
	for {
		switch p.peek() {
		case ')':
			p.skip()
			return v, nil
		case ' ':
			p.skip()
			continue
		}
		item := ""
		if depth == 0 && len(v.List)%2 == 1 {
			item = v.List[len(v.List)-1].Text
		}
		e, err := p.value(r, item, depth+1)
		if err != nil {
			return v, err
		}
		v.List = append(v.List, e)
	}
}

// atom reads a word; within brackets, as in BODY[HEADER.FIELDS (TO)], it may have anything.
func (p *reader) atom() (string, error) {
	var out []byte
	depth := 0
	for {
		c, err := p.byte()
		if err != nil {
			return "", err
		}
		switch {
		case c == '[':
			depth++
		case c == ']' && depth > 0:
			depth--
		case c == '\r', c == '\n', depth == 0 && (c == ' ' || c == '(' || c == ')' || c == '"' || c == '{'):
			if err := p.b.UnreadByte(); err != nil {
				return "", err
			}
			if len(out) == 0 || depth > 0 {
				return "", errSyntax
			}
			return string(out), nil
		}
		out = append(out, c)
	}
}

func (p *reader) quoted() (string, error) {
	p.skip()
	var out []byte
	for {
		c, err := p.byte()
		if err != nil {
			return "", err
		}
		switch c {
		case '"':
			return string(out), nil
		case '\\':
			if c, err = p.byte(); err != nil {
				return "", err
			}
		case '\r', '\n':
			return "", errSyntax
		}
		out = append(out, c)
	}
}

// readLiteral reads a literal into memory, or lets the LiteralFunc have it.
func (p *reader) readLiteral(r *Response, item string) (Value, error) {
	if err := p.expect('{'); err != nil {
		return Value{}, err
	}
	digits, err := p.word("}\r\n+")
	if err != nil {
		return Value{}, err
	}
	size, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || size < 0 {
		return Value{}, errSyntax
	}
	if p.peek() == '+' {
		p.skip()
	}
	if err := p.expect('}'); err != nil {
		return Value{}, err
	}
	if err := p.end(); err != nil {
		return Value{}, err
	}
	if p.literal != nil && r.Name == "FETCH" && (strings.Contains(item, "[") || strings.HasPrefix(strings.ToUpper(item), "RFC822")) {
		limited := io.LimitReader(p.b, size)
		if err := p.literal(r.Number, item, size, limited); err != nil {
			return Value{}, err
		}
		rest := limited.(*io.LimitedReader).N
		if n, err := io.CopyN(io.Discard, p.b, rest); n < rest {
			return Value{}, unexpected(err)
		}
		return Value{Kind: Literal, Size: size}, nil
	}
	if size > int64(p.left) {
		return Value{}, ErrTooLarge
	}
	p.left -= int(size)
	// The octets are believed when they come, not when they are announced.
	var b strings.Builder
	if n, err := io.CopyN(&b, p.b, size); n < size {
		return Value{}, unexpected(err)
	}
	return Value{Kind: String, Text: b.String()}, nil
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// byte reads an octet that is kept.
func (p *reader) byte() (byte, error) {
	if p.left--; p.left < 0 {
		return 0, ErrTooLarge
	}
	c, err := p.b.ReadByte()
	return c, unexpected(err)
}

// peek returns the next octet, 0 at the end.
func (p *reader) peek() byte {
	b, err := p.b.Peek(1)
	if err != nil {
		return 0
	}
	return b[0]
}

// skip reads the octet that peek has shown.
func (p *reader) skip() { _, _ = p.b.Discard(1) }

func (p *reader) expect(c byte) error {
	if p.peek() != c {
		return p.bad()
	}
	p.skip()
	return nil
}

// bad is the error of an octet that does not fit, or of there being none.
func (p *reader) bad() error {
	b, err := p.b.Peek(1)
	if err != nil {
		return unexpected(err)
	}
	return fmt.Errorf("%w: %q", errSyntax, b)
}

// end reads CRLF.
func (p *reader) end() error {
	if err := p.expect('\r'); err != nil {
		return err
	}
	return p.expect('\n')
}

// word reads up to, and without, one of the octets of stop.
func (p *reader) word(stop string) (string, error) {
	var out []byte
	for {
		c, err := p.b.ReadByte()
		if err != nil {
			if len(out) > 0 {
				err = unexpected(err)
			}
			return "", err
		}
		if strings.IndexByte(stop, c) >= 0 {
			return string(out), p.b.UnreadByte()
		}
		if p.left--; p.left < 0 {
			return "", ErrTooLarge
		}
		out = append(out, c)
	}
}

// line reads text to the end of the response.
func (p *reader) line() (string, error) {
	s, err := p.word("\r\n")
	if err != nil {
		return "", unexpected(err)
	}
	return s, p.end()
}
