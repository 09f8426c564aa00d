package message

import (
	"errors"
	"io"
	"iter"
)

var ErrHeaderTooLarge = errors.New("header block is over the limits")
var ErrFormat = errors.New("message: stored structure is damaged")

// Parser is an io.Writer fed with a message; Write never fails.
type Parser struct{}

func NewParser(l Limits) *Parser                  { return nil }
func (p *Parser) Write(b []byte) (int, error)     { panic("") }
func (p *Parser) Close() (*Message, error)        { panic("") }
func Parse(r io.Reader, l Limits) (*Message, error) { panic("") }

func (m *Message) AppendBinary(dst []byte) []byte { panic("") }
func Decode(b []byte) (*Message, error)           { panic("") }

// Section is what Find reads from the stored structure: the offsets of one part.
type Section struct {
	Header, Body Span
	Lines        int64
	Encoding     string // as in Part; empty for one not known
	Multipart    bool
	Message      bool // of message/rfc822: Inner is there
	InnerHeader, InnerBody Span // of the inner message: HEADER and TEXT
}

// Find reads the offsets of one part, numbered as in Message.Part, from what AppendBinary wrote.
func Find(b []byte, path ...int) (Section, error) { panic("") }

// Field is one header field of a block.
type Field struct {
	Name       []byte // nil: a line that is no field
	Value      []byte // behind the colon, without the last line end, still folded
	Start, End int    // of the whole field in the block, with its last line end
}

func Fields(block []byte) iter.Seq[Field]  { panic("") }
func (f Field) Is(name string) bool        { panic("") }
func (f Field) Unfolded() string           { panic("") }
func (f Field) Text() string               { panic("") }
func DecodeWords(s string) string          { panic("") }
func ParseAddressList(s string) AddressList { panic("") }
func NewDecoder(r io.Reader, encoding string) io.Reader { panic("") }
func NewCharsetReader(r io.Reader, charset string) io.Reader { panic("") }
func NewHTMLReader(r io.Reader) io.Reader { panic("") }
