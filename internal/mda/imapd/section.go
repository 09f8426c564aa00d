package imapd

import (
	"fmt"
	"io"
	"slices"

	"postroad/imap"
	"postroad/internal/blob"
	"postroad/internal/mailstore"
	"postroad/message"
)

// located is a section found in one message.
type located struct {
	section  *imap.Section
	exists   bool
	span     message.Span
	encoding string // of BINARY; empty: the octets as they stand
	size     int64  // of BINARY, decoded
}

// locate finds the sections of a FETCH in a message by the stored structure, and reads
// what must be known before the response can begin: decoded sizes.
func (f *fetch) locate(r *mailstore.Record, body blob.Reader) ([]located, error) {
	found := make([]located, len(f.o.Sections))
	for i, s := range f.o.Sections {
		l := &found[i]
		l.section = s
		part, ok, err := message.Find(r.Structure, s.Part...)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue // no such part: NIL
		}
		if s.Item == imap.ItemBinary || s.Item == imap.ItemBinarySize {
			if err := l.binary(part, body); err != nil {
				return nil, err
			}
			continue
		}
		l.span, l.exists = s.Resolve(part)
	}
	return found, nil
}

// binary prepares BINARY and BINARY.SIZE (RFC 3516, 4.2 and 4.3). The decoded size stands
// before the octets, so that what is encoded is decoded twice rather than held.
func (l *located) binary(part message.Section, body blob.Reader) error {
	l.exists, l.span = true, part.Body
	if len(l.section.Part) == 0 {
		l.span = message.Span{Start: part.Header.Start, End: part.Body.End}
		l.size = l.span.Size()
		return nil
	}
	switch part.Encoding {
	case "7bit", "8bit", "binary":
		l.size = l.span.Size()
		return nil
	case "":
		return imap.No(imap.CodeUnknownCTE, "The encoding of that part is not known")
	}
	if part.Multipart {
		l.size = l.span.Size()
		return nil
	}
	l.encoding = part.Encoding
	size, err := io.Copy(io.Discard, l.decoded(body))
	if err != nil {
		return fmt.Errorf("decode a part for FETCH: %w", err)
	}
	l.size = size
	return nil
}

func (l *located) decoded(body blob.Reader) io.Reader {
	raw := io.NewSectionReader(body, l.span.Start, l.span.Size())
	if l.encoding == "" {
		return raw
	}
	return message.NewDecoder(raw, l.encoding)
}

// write writes the section's item.
func (f *fetch) write(l *located, body blob.Reader) error {
	switch {
	case !l.exists:
		f.w.SectionNil(l.section)
	case l.section.Item == imap.ItemBinarySize:
		f.w.BinarySize(l.section, l.size)
	case l.section.Item == imap.ItemBinary:
		return f.w.Binary(l.section, l.decoded(body), l.size)
	case l.section.Specifier == imap.HeaderFields || l.section.Specifier == imap.HeaderFieldsNot:
		return f.writeFields(l, body)
	default:
		return f.w.Section(l.section, body, l.span)
	}
	return nil
}

// writeFields writes picked header fields. They are picked when it is their turn, so that
// a long list of sections holds one header and not one each; a header that many sections
// in a row are of is read once.
func (f *fetch) writeFields(l *located, body blob.Reader) error {
	if f.headerOf != l.span {
		f.header = slices.Grow(f.header[:0], int(l.span.Size()))[:l.span.Size()]
		if _, err := body.ReadAt(f.header, l.span.Start); err != nil && err != io.EOF {
			return fmt.Errorf("read a header for FETCH: %w", err)
		}
		f.headerOf = l.span
	}
	f.text = l.section.AppendFields(f.text[:0], f.header)
	return f.w.SectionBytes(l.section, f.text)
}
