package sieve

import (
	"bytes"
	"fmt"
	"io"
	"slices"

	"postroad/message"
)

// document is the message as it stands now. src holds the octets without the changes of
// the top header that are not yet put in; these are in fields.
type document struct {
	original io.ReaderAt
	src      io.ReaderAt
	pieces   *Edited          // what src is made of; nil: the original
	message  *message.Message // structure of src; nil: to be parsed when it is needed

	header   *headerView // of the top header
	changed  bool        // header differs from src
	snapshot *Edited     // of the document; nil when it is to be made anew or nothing changed
	parts    map[*message.Part]*headerView
	held     int64 // octets of the headers in parts
}

// headerView is a header block cut into fields.
type headerView struct {
	block  []byte
	fields []field // lines that are no field too, without a name
}

// field is one header field with what was read of it.
type field struct {
	message.Field
	added []byte // the whole field, when it is not of the document's source

	text      string // decoded
	addresses message.AddressList
	texted    bool
	parsed    bool
}

func newDocument(body io.ReaderAt, m *message.Message) *document {
	return &document{original: body, src: body, message: m}
}

// value returns the field's text, unfolded and decoded (RFC 5228, 2.4.2.2).
func (f *field) value() string {
	if !f.texted {
		f.text, f.texted = f.Text(), true
	}
	return f.text
}

// list returns the addresses of the field.
func (f *field) list() message.AddressList {
	if !f.parsed {
		f.addresses, f.parsed = message.ParseAddressList(f.Unfolded()), true
	}
	return f.addresses
}

// readHeader reads and cuts a header block.
func readHeader(src io.ReaderAt, at message.Span) (*headerView, error) {
	block := make([]byte, at.Size())
	if n, err := src.ReadAt(block, at.Start); n < len(block) {
		return nil, fmt.Errorf("sieve: read header: %w", err)
	}
	v := &headerView{block: block, fields: make([]field, 0, min(fieldLines(block), 32))}
	for f := range message.Fields(block) {
		v.fields = append(v.fields, field{Field: f})
	}
	return v, nil
}

// fieldLines counts the lines that begin a field, about.
func fieldLines(block []byte) (n int) {
	for len(block) > 0 {
		if block[0] != ' ' && block[0] != '\t' {
			n++
		}
		i := bytes.IndexByte(block, '\n')
		if i < 0 {
			break
		}
		block = block[i+1:]
	}
	return n
}

// structure returns the parsed message, made anew after the message was changed.
func (d *document) structure() (*message.Message, error) {
	if d.message != nil {
		return d.message, nil
	}
	m, err := message.Parse(io.NewSectionReader(d.src, 0, d.pieces.Size()), message.Limits{})
	if err != nil {
		return nil, fmt.Errorf("sieve: parse the changed message: %w", err)
	}
	d.message = m
	return m, nil
}

// top returns the header of the whole message.
func (d *document) top() (*headerView, error) {
	if d.header == nil {
		m, err := d.structure()
		if err != nil {
			return nil, err
		}
		if d.header, err = readHeader(d.src, m.Root.Header); err != nil {
			return nil, err
		}
	}
	return d.header, nil
}

// headerOf returns the header of a part. What was read is held, up to a limit.
func (r *run) headerOf(p *message.Part) (*headerView, error) {
	d := r.doc
	if d.message != nil && p == d.message.Root {
		return d.top()
	}
	if v := d.parts[p]; v != nil {
		return v, nil
	}
	if err := r.work(int(p.Header.Size())); err != nil {
		return nil, err
	}
	v, err := readHeader(d.src, p.Header)
	if err != nil {
		return nil, err
	}
	if d.held += p.Header.Size(); d.held > message.HeaderOctetsMax {
		d.parts, d.held = nil, p.Header.Size()
	}
	if d.parts == nil {
		d.parts = map[*message.Part]*headerView{}
	}
	d.parts[p] = v
	return v, nil
}

// size is the length of the message as it stands.
func (d *document) size() int64 {
	if e := d.edited(); e != nil {
		return e.Size()
	}
	return d.message.Size
}

// whole returns what src is made of.
func (d *document) whole() *Edited {
	if d.pieces != nil {
		return d.pieces
	}
	return newEdited(d.original, []Piece{{Original: message.Span{Start: 0, End: d.message.Size}}})
}

// edited returns the message as it stands; nil when it is the original.
func (d *document) edited() *Edited {
	if !d.changed {
		return d.pieces
	}
	if d.snapshot == nil {
		w := d.whole()
		end := d.message.Root.Header.End
		pieces := append(d.headerPieces(w), Piece{Text: []byte("\r\n")})
		d.snapshot = newEdited(d.original, append(pieces, w.slice(end, w.Size())...))
	}
	return d.snapshot
}

// headerPieces are the fields as they stand.
func (d *document) headerPieces(w *Edited) []Piece {
	var list []Piece
	start := d.message.Root.Header.Start
	for i := range d.header.fields {
		f := &d.header.fields[i]
		if f.added != nil {
			list = append(list, Piece{Text: f.added})
		} else {
			list = append(list, w.slice(start+int64(f.Start), start+int64(f.End))...)
			if !bytes.HasSuffix(d.header.block[:f.End], []byte("\n")) { // the message ends within its header
				list = append(list, Piece{Text: []byte("\r\n")})
			}
		}
	}
	return list
}

// flush puts the changes of the header into the source, before the body is changed.
func (d *document) flush() error {
	if _, err := d.structure(); err != nil {
		return err
	}
	if e := d.edited(); d.changed {
		d.become(e)
		_, err := d.structure()
		return err
	}
	return nil
}

// become makes e the source.
func (d *document) become(e *Edited) {
	d.pieces, d.src = e, e
	d.message, d.header, d.parts, d.held, d.changed, d.snapshot = nil, nil, nil, 0, false, nil
}

// touched notes that the header was changed.
func (d *document) touched() { d.changed, d.snapshot = true, nil }

// partAt returns the part at a path of places below the root; an inner message is place 0.
func partAt(root *message.Part, path []int) *message.Part {
	for _, n := range path {
		next := child(root, n)
		if next == nil {
			return nil
		}
		root = next
	}
	return root
}

// child returns a part's part by its place.
func child(p *message.Part, n int) *message.Part {
	switch {
	case p.Message != nil && n == 0:
		return p.Message.Root
	case n < len(p.Children):
		return p.Children[n]
	}
	return nil
}

// nextPath returns the place behind path in depth-first order below top; nil at the end.
func nextPath(root *message.Part, top, path []int, skipChildren bool) []int {
	if p := partAt(root, path); p != nil && !skipChildren && child(p, 0) != nil {
		return append(slices.Clone(path), 0)
	}
	for len(path) > len(top) {
		last := path[len(path)-1] + 1
		parent := path[:len(path)-1]
		if p := partAt(root, parent); p != nil && child(p, last) != nil {
			return append(slices.Clone(parent), last)
		}
		path = parent
	}
	return nil
}

// view returns the part that tests look at: the whole message, the current part, or what
// is the message for an included script.
func (r *run) view(path []int) (*message.Part, error) {
	m, err := r.doc.structure()
	if err != nil {
		return nil, err
	}
	p := partAt(m.Root, path)
	if p == nil {
		return nil, r.failf("the part is no longer there")
	}
	return p, nil
}

// fields returns the header that tests without :mime look at.
func (r *run) fields() (*headerView, error) {
	if len(r.frame.root) == 0 {
		return r.doc.top()
	}
	p, err := r.view(r.frame.root)
	if err != nil {
		return nil, err
	}
	return r.headerOf(p)
}
