package imap

import "strings"

// Rights is a set of the rights of an access control list (RFC 4314, 2.1). The virtual
// rights "c" and "d" of RFC 2086 are no members: parsing puts those they stand for in
// their place, formatting adds them (RFC 4314, 2.1.1).
type Rights uint16

// The rights, in the order in which they are written.
const (
	RightLookup     Rights = 1 << iota // l: LIST shows the mailbox
	RightRead                          // r: SELECT, STATUS
	RightSeen                          // s: \Seen can be changed
	RightWrite                         // w: flags besides \Seen and \Deleted
	RightInsert                        // i: APPEND, COPY into it
	RightPost                          // p: mail to its submission address
	RightCreate                        // k: CREATE below it
	RightDelete                        // x: DELETE, and RENAME away
	RightDeleteMsgs                    // t: \Deleted can be changed
	RightExpunge                       // e: EXPUNGE, and CLOSE's
	RightAdminister                    // a: SETACL, DELETEACL, GETACL, LISTRIGHTS

	// RightsNone is no right at all.
	RightsNone Rights = 0
	// RightsAll are all the rights there are; an owner has them.
	RightsAll Rights = 1<<iota - 1
)

// What the virtual rights stand for. RFC 4314, 2.1.1, leaves two ways: here "c" has x too.
const (
	rightsC = RightCreate | RightDelete
	rightsD = RightDeleteMsgs | RightExpunge
)

// rightLetters has the letters in the order of the bits.
const rightLetters = "lrswipkxtea"

// RightsExtra are the letters that RFC 2086 did not have, as the capability RIGHTS= tells
// them (RFC 4314, 2.2 and 5.1.1).
const RightsExtra = "kxte"

// Has tells whether all rights of s are in r.
func (r Rights) Has(s Rights) bool { return r&s == s }

// ParseRights reads the letters of rights in any order, each any number of times. A
// letter that is no right is an *Error to be answered BAD (RFC 4314, 3.1).
func ParseRights(text string) (Rights, error) {
	var r Rights
	for i := range len(text) {
		switch c := text[i]; c {
		case 'c':
			r |= rightsC
		case 'd':
			r |= rightsD
		default:
			bit := strings.IndexByte(rightLetters, c)
			if bit < 0 {
				return 0, Bad("There is no such right")
			}
			r |= 1 << bit
		}
	}
	return r, nil
}

// letters returns the letters of real rights.
func (r Rights) letters() string {
	var b [len(rightLetters)]byte
	out := b[:0]
	for i := range len(rightLetters) {
		if r&(1<<i) != 0 {
			out = append(out, rightLetters[i])
		}
	}
	return string(out)
}

// String returns the letters, the virtual rights among them when one of those they stand
// for is in the set, "a" last: "lrswipkxtecda" is all.
func (r Rights) String() string {
	text := (r &^ RightAdminister).letters()
	if r&rightsC != 0 {
		text += "c"
	}
	if r&rightsD != 0 {
		text += "d"
	}
	return text + (r & RightAdminister).letters()
}

// RightsOp is what SETACL does with its rights.
type RightsOp uint8

// The operations.
const (
	RightsReplace RightsOp = iota
	RightsAdd              // "+"
	RightsRemove           // "-"
)

// Change returns the rights after the operation with s.
func (r Rights) Change(op RightsOp, s Rights) Rights {
	switch op {
	case RightsAdd:
		return r | s
	case RightsRemove:
		return r &^ s
	}
	return s
}

// ParseRightsChange reads the third argument of SETACL: rights, perhaps behind "+" or "-"
// (mod-rights of RFC 4314, 7).
func ParseRightsChange(text string) (RightsOp, Rights, error) {
	op := RightsReplace
	switch {
	case strings.HasPrefix(text, "+"):
		op, text = RightsAdd, text[1:]
	case strings.HasPrefix(text, "-"):
		op, text = RightsRemove, text[1:]
	}
	r, err := ParseRights(text)
	return op, r, err
}

// FormatListRights returns the rights of a LISTRIGHTS response (RFC 4314, 3.7): required,
// which are always granted, then each set that is granted as one. No right may be in two.
// The virtual rights join a set that ties one of those they stand for to another right,
// else they stand alone (RFC 4314, 2.1.1).
func FormatListRights(required Rights, tied []Rights) []string {
	sets := append([]Rights{required}, tied...)
	words := make([]string, 0, len(sets)+2)
	for _, s := range sets {
		words = append(words, s.letters())
	}
	for _, v := range []struct {
		letter  string
		members Rights
	}{{"c", rightsC}, {"d", rightsD}} {
		at, alone := -1, false
		for i, s := range sets {
			switch {
			case s&v.members == 0:
			case i > 0 && s&^v.members == 0:
				alone = true
			default:
				at = i
			}
		}
		switch {
		case at > 0 || at == 0 && !alone:
			words[at] += v.letter
		case alone:
			words = append(words, v.letter)
		}
	}
	return words
}

// ACLEntry grants rights on a mailbox to an identifier: a user, a group, or "anyone". An
// identifier that begins with "-" takes rights away (RFC 4314, 2).
type ACLEntry struct {
	Identifier string // UTF-8
	Rights     Rights
}

// ACLAnyone is the identifier that stands for every user (RFC 4314, 2).
const ACLAnyone = "anyone"
