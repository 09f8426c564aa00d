package imap

import (
	"postroad/message"
)

// Resolve returns the octets that the section names in the message, whose part
// s.Part the caller has found with message.Find; false when the section names nothing
// there and the answer is NIL. Of HEADER.FIELDS and HEADER.FIELDS.NOT it is the whole
// header, from which [Section.AppendFields] picks. The partial is not looked at.
func (s *Section) Resolve(f message.Section) (message.Span, bool) {
	whole := len(s.Part) == 0
	switch s.Specifier {
	case Whole:
		if whole {
			return message.Span{Start: f.Header.Start, End: f.Body.End}, true
		}
		return f.Body, true
	case MIME:
		return f.Header, !whole
	}
	header, text := f.Header, f.Body
	if !whole {
		// RFC 9051, 6.4.5.1: HEADER and TEXT of a part are those of a message in it.
		if !f.Message {
			return message.Span{}, false
		}
		header, text = f.InnerHeader, f.InnerBody
	}
	if s.Specifier == Text {
		return text, true
	}
	return header, true
}

// ResolveIn is Resolve for a structure in memory.
func (s *Section) ResolveIn(m *message.Message) (message.Span, bool) {
	p := m.Part(s.Part...)
	if p == nil {
		return message.Span{}, false
	}
	f := message.Section{Header: p.Header, Body: p.Body}
	if p.Message != nil {
		f.Message = true
		f.InnerHeader, f.InnerBody = p.Message.Root.Header, p.Message.Root.Body
	}
	return s.Resolve(f)
}

// AppendFields appends the fields of a header block that HEADER.FIELDS or
// HEADER.FIELDS.NOT names, as they stand, and the empty line that ends a header (RFC 9051,
// 6.4.5.1).
func (s *Section) AppendFields(dst, block []byte) []byte {
	for f := range message.Fields(block) {
		if f.Name != nil && s.names(f) == (s.Specifier == HeaderFields) {
			dst = append(dst, block[f.Start:f.End]...)
		}
	}
	return append(dst, '\r', '\n')
}

func (s *Section) names(f message.Field) bool {
	for _, n := range s.Fields {
		if f.Is(n) {
			return true
		}
	}
	return false
}
