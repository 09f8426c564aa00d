// Package message parses and composes Internet messages: RFC 5322 header fields and MIME
// structure by octet offset, charsets, encoded words, and a builder for what the house
// writes itself.
//
// The main types are [Message] and [Part]. A [Parser] is fed while the body arrives,
// holds no body, and never fails but for an over-limit header block; whatever strangers
// send becomes some sensible structure and a set of [Defects]. Offsets are exact, so that
// every later read is a slice of the stored octets. Structure and summary have a compact
// binary form for storage ([Message.AppendBinary], [Decode]); offsets alone are read from
// it by [Find] without decoding the rest.
//
// The package stores nothing, verifies no signatures, and renders nothing for IMAP or
// JMAP: it only holds what they need.
//
// RFC 5322, 2045, 2046, 2047, 2049, 2183, 2231, 3282, 6532, 6854.
package message

import "time"

// Limits of a parser. A zero field means the default.
type Limits struct {
	HeaderOctets int // of one header block; over it in the top header: ErrHeaderTooLarge
	HeaderFields int // of one header block; the same
	Depth        int // nesting of parts; deeper multiparts are opaque leaves
	Parts        int // of a message; what comes after is epilogue
	Params       int // of one field; further ones are dropped
	Summary      int // octets of text kept in Message and its Parts; what is over is dropped
}

// The defaults of Limits, and what bounds single values.
const (
	HeaderOctetsMax = 1 << 20
	HeaderFieldsMax = 1000
	DepthMax        = 100
	PartsMax        = 10_000
	ParamsMax       = 128
	SummaryMax      = 1 << 20

	PreviewMax    = 256       // octets of UTF-8 in Message.Preview (RFC 8621, 4.1.4)
	ReferencesMax = 100       // ids in References and InReplyTo: the first and the newest
	AddressesMax  = 10_000    // entries of one address list
	boundaryMax   = 998       // octets; RFC 2046, 5.1.1, allows 70
	textWindow    = 1 << 10   // octets of the first text/plain part looked at for the preview
	htmlWindow    = 32 << 10  // the same for text/html
	valueMax      = 256 << 10 // octets of one decoded value
)

// Span is a range of octets of the message, End not included.
type Span struct{ Start, End int64 }

// Size is the length in octets.
func (s Span) Size() int64 { return s.End - s.Start }

// Message is the structure and the header summary of a message. Texts are UTF-8 and were
// decoded; the Raw forms are the field's octets without folding, as ENVELOPE wants them.
type Message struct {
	Size     int64 // octets; of an inner message its own
	Root     *Part // never nil
	Defects  Defects
	EightBit bool // octets above 127 in the header or a body; of the top message only

	Fields                             FieldSet // which of the fields below are there, even if empty
	From, Sender, ReplyTo, To, Cc, Bcc AddressList
	Date                               time.Time // with the zone given; zero when not readable
	RawDate                            string
	Subject, RawSubject                string
	MessageID                          string   // with angle brackets; the raw text when it is no msg-id
	InReplyTo, References              []string // msg-ids with angle brackets
	RawInReplyTo                       string

	Received      int    // number of Received fields
	AutoSubmitted string // keyword in lower case (RFC 3834, 5)
	Precedence    string // in lower case
	ListID        string // what stands between the angle brackets (RFC 2919)
	List          bool   // some List-* field is there (RFC 2369)

	Preview       string // of the first text part, of the top message only; at most PreviewMax
	HasAttachment bool
}

// FieldSet is a set of header fields that a message has.
type FieldSet uint32

// The fields of FieldSet.
const (
	FieldFrom FieldSet = 1 << iota
	FieldSender
	FieldReplyTo
	FieldTo
	FieldCc
	FieldBcc
	FieldDate
	FieldSubject
	FieldMessageID
	FieldInReplyTo
	FieldReferences
	FieldReturnPath
	FieldMIMEVersion
)

// Has tells whether the set has f.
func (s FieldSet) Has(f FieldSet) bool { return s&f != 0 }

// Defects is the set of what was wrong with a message.
type Defects uint32

// The defects.
const (
	DefectBareLF         Defects = 1 << iota // a line ends with LF alone
	DefectBareCR                             // CR without LF
	DefectNUL                                // a zero octet
	DefectLongLine                           // over 998 octets (RFC 5322, 2.1.1)
	DefectHeaderEightBit                     // octets above 127 in a header that are not UTF-8
	DefectHeaderEnd                          // a header block ends without an empty line
	DefectHeaderJunk                         // a line in a header that is no field
	DefectHeaderLimit                        // the header of a part is over the limits
	DefectRepeatedField                      // a field that may stand once stands twice (RFC 5322, 3.6)
	DefectAddress                            // an address list that is not by the grammar
	DefectDate                               // a Date that cannot be read
	DefectContentType                        // a Content-Type that cannot be read
	DefectParams                             // too many or malformed parameters
	DefectBoundary                           // a multipart without boundary or without parts
	DefectMultipartEnd                       // a multipart without its close delimiter
	DefectEncoding                           // an encoding not known, or encoded multipart or message
	DefectDepth                              // nesting over the limit
	DefectParts                              // parts over the limit
	DefectSummary                            // text was dropped: Limits.Summary
)

// Has tells whether the set has d.
func (s Defects) Has(d Defects) bool { return s&d != 0 }

// Part returns the part that IMAP numbers path (RFC 9051, 6.4.5.1), or nil. The empty path
// is the whole message: its Root.
func (m *Message) Part(path ...int) *Part {
	p := m.Root
	for i, n := range path {
		if i > 0 && p.Message != nil {
			p = p.Message.Root
		} else if i > 0 && len(p.Children) == 0 {
			return nil
		}
		switch {
		case len(p.Children) > 0:
			if n < 1 || n > len(p.Children) {
				return nil
			}
			p = p.Children[n-1]
		case n != 1:
			return nil
		}
	}
	return p
}

// Shift moves every offset by n octets and counts them to the header and the size: what
// the structure is after n octets of header fields were put before the message.
func (m *Message) Shift(n int64) {
	m.Size += n
	m.Root.shift(n)
	m.Root.Header.Start -= n
}
