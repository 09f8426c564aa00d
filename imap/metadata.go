package imap

import (
	"errors"
	"strings"
)

// MetadataNameBytesMax bounds the name of an entry, in octets. RFC 5464 names no limit.
const MetadataNameBytesMax = 256

// The scopes of entries (RFC 5464, 3.2).
const (
	MetadataPrivate = "/private" // each user has a value of their own
	MetadataShared  = "/shared"  // one value for all
)

// Entries that RFC 5464, 3.2.1, and RFC 6154, 5.1, name.
const (
	MetadataSharedComment  = "/shared/comment"
	MetadataPrivateComment = "/private/comment"
	MetadataAdmin          = "/shared/admin" // of the server; clients cannot change it
	MetadataSpecialUse     = "/private/specialuse"
)

// ErrMetadataName says that something cannot be the name of an entry.
var ErrMetadataName = errors.New("imap: not a metadata entry name")

// Response codes of METADATA (RFC 5464, 4.3).
const (
	CodeMetadataTooMany   Code = "METADATA TOOMANY"   // no more entries may be made
	CodeMetadataNoPrivate Code = "METADATA NOPRIVATE" // private entries are not kept there
)

// MetadataEntry is an annotation of a mailbox or of the server.
type MetadataEntry struct {
	Name  string // in lower case, see ParseMetadataName
	Value []byte // any octets; nil: there is none (NIL), not the empty value
}

// MetadataDepth is how far below its entries GETMETADATA looks (RFC 5464, 4.2.2).
type MetadataDepth uint8

// The depths.
const (
	MetadataDepth0        MetadataDepth = iota // the entries alone
	MetadataDepth1                             // and those right below
	MetadataDepthInfinity                      // and all below
)

// ParseMetadataName checks the name of an entry and returns it in lower case: names are
// compared without case (RFC 5464, 3.2). It begins with a scope, has another component, and
// at least four below "vendor".
func ParseMetadataName(text string) (string, error) {
	if len(text) > MetadataNameBytesMax || len(text) == 0 || text[0] != '/' {
		return "", ErrMetadataName
	}
	for i := range len(text) {
		if c := text[i]; c <= 0x19 || c >= 0x7f || c == '*' || c == '%' {
			return "", ErrMetadataName
		}
	}
	name := lower(text)
	parts := strings.Split(name[1:], "/")
	for _, p := range parts {
		if p == "" {
			return "", ErrMetadataName
		}
	}
	scope := "/" + parts[0]
	if scope != MetadataPrivate && scope != MetadataShared || len(parts) < 2 ||
		parts[1] == "vendor" && len(parts) < 4 {
		return "", ErrMetadataName
	}
	return name, nil
}

// lower turns ASCII letters into lower case.
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + ('a' - 'A')
		}
	}
	return string(b)
}

// MetadataMatches tells whether an entry is the one named, or below it by no more than
// depth. Both names are in lower case. A name may here be one that has no value of its own,
// such as "/shared/vendor".
func MetadataMatches(named, entry string, depth MetadataDepth) bool {
	rest, ok := strings.CutPrefix(entry, named)
	switch {
	case !ok:
		return false
	case rest == "":
		return true
	case rest[0] != '/' || depth == MetadataDepth0:
		return false
	}
	return depth == MetadataDepthInfinity || strings.IndexByte(rest[1:], '/') < 0
}

// MetadataName reads the name of an entry.
func (d *Decoder) MetadataName() string {
	at := d.pos
	text := d.AString()
	if d.err != nil {
		return ""
	}
	name, err := ParseMetadataName(text)
	if err != nil {
		d.err = &SyntaxError{at, "not an entry name"}
	}
	return name
}

// MetadataParent reads the name of an entry or, to look below it, of one that cannot have a
// value: "/shared", "/private/vendor/name".
func (d *Decoder) MetadataParent() string {
	at := d.pos
	text := d.AString()
	if d.err != nil {
		return ""
	}
	if _, err := ParseMetadataName(text + "/x/x/x"); err != nil || len(text) > MetadataNameBytesMax {
		d.err = &SyntaxError{at, "not an entry name"}
		return ""
	}
	return lower(text)
}

// MetadataValue reads the value of an entry: NIL, a string, or a literal8, in which NUL
// octets may stand (value of RFC 5464, 5).
func (d *Decoder) MetadataValue() []byte {
	if d.Skip('~') {
		return d.literal8()
	}
	s, ok := d.NString()
	if !ok {
		return nil
	}
	return []byte(s)
}
