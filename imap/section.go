package imap

import "strconv"

// Specifier says what of a part a section names (section-spec of RFC 9051, 9).
type Specifier uint8

// The specifiers.
const (
	Whole           Specifier = iota // BODY[] and BODY[1]: all, or the part's body
	Header                           // HEADER
	HeaderFields                     // HEADER.FIELDS (…)
	HeaderFieldsNot                  // HEADER.FIELDS.NOT (…)
	Text                             // TEXT
	MIME                             // MIME
)

var specifierNames = [...]string{"", "HEADER", "HEADER.FIELDS", "HEADER.FIELDS.NOT", "TEXT", "MIME"}

// SectionItem is the FETCH item that a section belongs to.
type SectionItem uint8

// The items.
const (
	ItemBody         SectionItem = iota // BODY[…]
	ItemBinary                          // BINARY[…] (RFC 3516)
	ItemBinarySize                      // BINARY.SIZE[…]
	ItemRFC822                          // RFC822, the same as BODY[]
	ItemRFC822Header                    // RFC822.HEADER, as BODY.PEEK[HEADER]
	ItemRFC822Text                      // RFC822.TEXT, as BODY[TEXT]
)

// Limits of a section as a command gives it.
const (
	SectionDepthMax  = 100  // part numbers in one section: the depth of MIME we parse
	SectionFieldsMax = 1000 // names in HEADER.FIELDS: the fields a header may have
)

// Partial is <Offset.Size> of a section, in octets.
type Partial struct {
	Offset uint64
	Size   uint64 // at least 1
}

// Section is a part of a message as FETCH names it: BODY[1.2.HEADER.FIELDS (TO)]<0.512>.
type Section struct {
	Item      SectionItem
	Peek      bool // does not set \Seen
	Part      []int
	Specifier Specifier
	Fields    []string // of HeaderFields and HeaderFieldsNot, as given
	Partial   *Partial // nil: all
}

// SetsSeen tells whether fetching the section sets \Seen (RFC 9051, 6.4.5).
func (s *Section) SetsSeen() bool {
	return !s.Peek && s.Item != ItemBinarySize && s.Item != ItemRFC822Header
}

// Append appends the item's name as a FETCH response has it: without PEEK, with only the
// offset of a partial (RFC 9051, 7.5.2).
func (s *Section) Append(dst []byte) []byte { return s.append(dst, false) }

// AppendRequest appends the item as a FETCH command has it.
func (s *Section) AppendRequest(dst []byte) []byte { return s.append(dst, true) }

func (s *Section) append(dst []byte, request bool) []byte {
	switch s.Item {
	case ItemRFC822:
		return append(dst, "RFC822"...)
	case ItemRFC822Header:
		return append(dst, "RFC822.HEADER"...)
	case ItemRFC822Text:
		return append(dst, "RFC822.TEXT"...)
	case ItemBinary:
		dst = append(dst, "BINARY"...)
	case ItemBinarySize:
		dst = append(dst, "BINARY.SIZE"...)
	default:
		dst = append(dst, "BODY"...)
	}
	if request && s.Peek && s.Item != ItemBinarySize {
		dst = append(dst, ".PEEK"...)
	}
	dst = append(dst, '[')
	for i, n := range s.Part {
		if i > 0 {
			dst = append(dst, '.')
		}
		dst = strconv.AppendInt(dst, int64(n), 10)
	}
	if s.Specifier != Whole {
		if len(s.Part) > 0 {
			dst = append(dst, '.')
		}
		dst = append(dst, specifierNames[s.Specifier]...)
	}
	if s.Specifier == HeaderFields || s.Specifier == HeaderFieldsNot {
		dst = append(dst, " ("...)
		for i, f := range s.Fields {
			if i > 0 {
				dst = append(dst, ' ')
			}
			dst = AppendAString(dst, f)
		}
		dst = append(dst, ')')
	}
	dst = append(dst, ']')
	if s.Partial != nil {
		dst = append(dst, '<')
		dst = strconv.AppendUint(dst, s.Partial.Offset, 10)
		if request {
			dst = append(dst, '.')
			dst = strconv.AppendUint(dst, s.Partial.Size, 10)
		}
		dst = append(dst, '>')
	}
	return dst
}

// Span returns offset and length of what the partial leaves of size octets; all of them
// without a partial. An offset behind the end leaves nothing.
func (s *Section) Span(size int64) (offset, length int64) {
	if s.Partial == nil {
		return 0, size
	}
	if s.Partial.Offset >= uint64(size) {
		return size, 0
	}
	offset = int64(s.Partial.Offset)
	length = size - offset
	if s.Partial.Size < uint64(length) {
		length = int64(s.Partial.Size)
	}
	return offset, length
}
