package email

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"postroad/internal/blob"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/jmap"
	"postroad/message"
)

// octets is an open blob.
type octets struct {
	io.ReaderAt
	size      int64
	base      blob.Reader      // what is to be closed
	structure *message.Message // of a message whose structure is stored; nil: to be parsed
	upload    *upload          // of an upload as a whole
}

// Size implements jmap.Blob.
func (o *octets) Size() int64 { return o.size }

// Close implements jmap.Blob.
func (o *octets) Close() error { return o.base.Close() }

// reader reads the octets from their beginning.
func (o *octets) reader() *io.SectionReader { return io.NewSectionReader(o, 0, o.size) }

// OpenBlob implements access.Blobs.
func (m *Methods) OpenBlob(ctx context.Context, u *access.User, a *access.Account, id jmap.ID) (jmap.Blob, error) {
	return m.openBlob(ctx, u, a, id)
}

// openBlob opens a blob: a message that the user may read, an upload of his own, or what is
// within one of these.
func (m *Methods) openBlob(ctx context.Context, u *access.User, a *access.Account, id jmap.ID) (*octets, error) {
	b, ok := parseBlobID(id)
	if !ok {
		return nil, jmap.ErrBlobNotFound
	}
	o, err := m.openBase(ctx, u, a, b)
	if err != nil {
		return nil, err
	}
	at := jmap.ID(string(b.kind) + b.of.String())
	for _, path := range b.path {
		at += jmap.ID("-" + number(path, '_'))
		if err := m.within(o, path, at); err != nil {
			return nil, errors.Join(err, o.Close())
		}
	}
	return o, nil
}

// openBase opens a message or an upload.
func (m *Methods) openBase(ctx context.Context, u *access.User, a *access.Account, b blobID) (*octets, error) {
	if b.kind == blobUpload {
		return m.openUpload(ctx, u, a, b.of)
	}
	if !u.May(CapabilityMail) {
		return nil, jmap.ErrBlobNotFound
	}
	all, err := a.Emails(ctx, a.Reader)
	if err != nil {
		return nil, err
	}
	if _, found := all.Find(b.of); !found {
		return nil, jmap.ErrBlobNotFound
	}
	r, err := a.Record(ctx, b.of, mailstore.WantStructure)
	if errors.Is(err, mailstore.ErrNoMessage) {
		return nil, jmap.ErrBlobNotFound
	}
	if err != nil {
		return nil, err
	}
	structure, err := message.Decode(r.Structure)
	if err != nil {
		return nil, fmt.Errorf("structure of message %s: %w", b.of, err)
	}
	body, err := a.Open(ctx, r.Body)
	if err != nil {
		return nil, err
	}
	return &octets{ReaderAt: body, size: body.Size(), base: body, structure: structure}, nil
}

// within goes from a message to one of its parts.
func (m *Methods) within(o *octets, path []int, id jmap.ID) error {
	if o.structure == nil {
		var err error
		if o.structure, err = parseMessage(o); err != nil {
			return jmap.ErrBlobNotFound
		}
	}
	p := leaf(o.structure.Root, path)
	if p == nil {
		return jmap.ErrBlobNotFound
	}
	whole := o.ReaderAt
	o.structure, o.upload = nil, nil
	if p.Encoding != "base64" && p.Encoding != "quoted-printable" {
		o.ReaderAt, o.size = p.Reader(whole), p.Body.Size()
		return nil
	}
	size, known := m.sizes.get(id)
	if !known {
		n, err := io.Copy(io.Discard, p.Decoded(whole))
		if err != nil {
			return err
		}
		size = n
		m.sizes.put(id, size)
	}
	o.ReaderAt, o.size = &decodedOctets{part: p, of: whole, size: size}, size
	return nil
}

// leaf finds the part of a message itself that a path names, nil for a multipart or none.
func leaf(root *message.Part, path []int) *message.Part {
	if !root.Multipart() {
		if len(path) == 1 && path[0] == 1 {
			return root
		}
		return nil
	}
	p := root
	for _, n := range path {
		if n > len(p.Children) {
			return nil
		}
		p = p.Children[n-1]
	}
	if p.Multipart() {
		return nil
	}
	return p
}

// errNoMessage says that octets are no message.
var errNoMessage = errors.New("no message: it does not begin with a header field")

// parseMessage reads octets as a message. What does not begin with a header field is none.
func parseMessage(o *octets) (*message.Message, error) {
	m, err := message.Parse(o.reader(), message.Limits{})
	if err != nil {
		return nil, err
	}
	head := make([]byte, min(m.Root.Header.Size(), firstFieldMax))
	if _, err := o.ReadAt(head, 0); err != nil && err != io.EOF {
		return nil, err
	}
	for f := range message.Fields(head) {
		if f.Name != nil {
			return m, nil
		}
		if !bytes.HasPrefix(f.Value, []byte("From ")) { // the first line of a mailbox file, which some leave there
			break
		}
	}
	return nil, errNoMessage
}

// firstFieldMax is how far the first field of a message is looked for, in octets.
const firstFieldMax = 4 << 10

// decodedOctets reads a part whose encoding is undone, in any order, fast in order. It
// holds none of it.
type decodedOctets struct {
	part *message.Part
	of   io.ReaderAt
	size int64

	mu   sync.Mutex
	r    io.Reader // at position at
	next int64
}

// ReadAt implements io.ReaderAt.
func (d *decodedOctets) ReadAt(p []byte, at int64) (int, error) {
	if at < 0 {
		return 0, fmt.Errorf("negative offset %d", at)
	}
	if at >= d.size {
		return 0, io.EOF
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.r == nil || at < d.next {
		d.r, d.next = d.part.Decoded(d.of), 0
	}
	skipped, err := io.CopyN(io.Discard, d.r, at-d.next)
	d.next += skipped
	if err != nil {
		d.r = nil
		return 0, err
	}
	n, err := io.ReadFull(d.r, p)
	d.next += int64(n)
	if err == io.ErrUnexpectedEOF {
		err = io.EOF
	}
	return n, err
}

// KeepBlob implements access.Blobs.
func (m *Methods) KeepBlob(ctx context.Context, unit *mailflow.Unit, u *access.User, a *access.Account, id jmap.ID, holder string) (blob.Body, error) {
	o, err := m.openBlob(ctx, u, a, id)
	if err != nil {
		return blob.Body{}, err
	}
	defer o.Close()
	if o.upload != nil {
		m.guardUpload(unit, o.upload)
		unit.Keep(o.upload.body, holder)
		return o.upload.body, nil
	}
	body, err := m.house.Bodies.Stage(ctx, o.reader(), o.size)
	if err != nil {
		return blob.Body{}, err
	}
	unit.Made(body)
	unit.Keep(body, holder)
	return body, nil
}
