// Package search is the full-text index of an account, and what a text is taken for when
// it is searched.
//
// The main type is [Index]. The commit that stores a message writes a record of its terms
// ([Builder]); a merge in the background folds records into segments of sorted terms with
// delta-coded postings; a query reads both. Terms are words as they stand, case folded, so
// that the dictionary can prove or exclude a substring (IMAP); index semantics (FUZZY,
// JMAP) see them without diacritics, width and endings. What the index does not know, or
// cannot decide, it says so: such a message is to be looked into.
//
// The package knows no mailboxes and opens no bodies; keys.go tells how its keys lie.
//
// RFC 9051 (6.4.4 SEARCH), RFC 6203 (FUZZY), RFC 8621 (4.4.1 text, 5 SearchSnippet).
package search

import (
	"errors"

	"postroad/internal/kv/hlc"
)

// MessageID names a message; ids order by time.
type MessageID = hlc.ID

// Errors; whatever else is returned is the engine's.
var (
	// ErrDamaged: a record, block or list of the index cannot be read. A rebuild helps.
	ErrDamaged = errors.New("search: the index is damaged")
	// ErrTooLong: a text is over the bound that one commit takes; see Builder.
	ErrTooLong = errors.New("search: text over the bound")
)

// Field is where in a message a term stands. Its value is an octet of keys.
type Field byte

// The fields. A term of the top header stands in FieldHeader and, where there is one for
// it, in its own field.
const (
	FieldSubject Field = 'S'
	FieldFrom    Field = 'F'
	FieldTo      Field = 'T'
	FieldCc      Field = 'C'
	FieldBcc     Field = 'B'
	FieldHeader  Field = 'H' // every header field of message and parts, names included
	FieldBody    Field = 'b' // the texts, and the headers of inner messages
	FieldFile    Field = 'N' // names of attachments
)

// allFields are the fields in the order of records.
var allFields = [...]Field{FieldSubject, FieldFrom, FieldTo, FieldCc, FieldBcc, FieldHeader, FieldBody, FieldFile}

// fieldNumbers is the place of a field in allFields, −1 for what is none.
var fieldNumbers = func() (t [256]int8) {
	for i := range t {
		t[i] = -1
	}
	for i, f := range allFields {
		t[f] = int8(i)
	}
	return t
}()

// Fields is a set of fields.
type Fields uint16

// Has tells whether the set has a field.
func (s Fields) Has(f Field) bool { return s&FieldsOf(f) != 0 }

// FieldsOf makes a set.
func FieldsOf(fields ...Field) Fields {
	var s Fields
	for _, f := range fields {
		for i, g := range allFields {
			if f == g {
				s |= 1 << i
			}
		}
	}
	return s
}

// State is what is known of a message.
type State uint8

// The states.
const (
	No    State = iota // certainly not
	Maybe              // to be looked into
	Yes                // certainly
)
