package email

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/search"
	"postroad/jmap"
)

// filterOp is what a node of a filter is.
type filterOp uint8

// The nodes. The others are conditions, each of one property (RFC 8621, 4.4.1).
const (
	opAnd filterOp = iota // of none: every message
	opOr
	opNot // none of its kids
	opMailbox
	opMailboxOther
	opBefore
	opAfter
	opMinSize
	opMaxSize
	opKeyword
	opThreadAll
	opThreadSome
	opThreadNone
	opAttachment
	opText
	opHeader
)

// filterNode is a filter, or a part of one.
type filterNode struct {
	op   filterOp
	kids []*filterNode

	mailbox   mailstore.MailboxID          // opMailbox; 0: one that there is not
	mailboxes map[mailstore.MailboxID]bool // opMailboxOther
	at        int64                        // opBefore, opAfter: seconds since 1970 UTC; received before it
	size      int64                        // opMinSize, opMaxSize
	keyword   string                       // lower case
	yes       bool                         // opAttachment: whether it has one
	text      *textTest                    // opText, opHeader
}

// textTest is a condition that texts decide.
type textTest struct {
	fields search.Fields
	query  *search.Query
	header string // opHeader: the name of the field
	named  bool   // opHeader: the field need only be there
	number int    // among the texts of the filter
}

// emailFilter is a filter of Email/query.
type emailFilter struct {
	root  filterNode
	texts []*textTest
	uses  filterUses
}

// filterUses tells what a filter looks at, which decides what may change its result.
type filterUses struct {
	mailboxes bool // in which mailboxes a message is
	keywords  bool
	threads   bool // other messages of the thread
	structure bool // hasAttachment
}

// mutable tells that what a message is in a result for may change while it is there.
func (u filterUses) mutable() bool { return u.mailboxes || u.keywords || u.threads }

// parseEmailFilter reads the filter of Email/query.
func parseEmailFilter(f *jmap.Filter) (*emailFilter, error) {
	out := &emailFilter{root: filterNode{op: opAnd}}
	if f == nil {
		return out, nil
	}
	root, err := out.node(f)
	if err != nil {
		return nil, err
	}
	out.root = *root
	if len(out.texts) > textsMax {
		return nil, jmap.ErrUnsupportedFilter.With("more than %d conditions on texts", textsMax)
	}
	return out, nil
}

// textsMax is how many conditions on texts a filter may have: each costs a search.
const textsMax = 64

func (f *emailFilter) node(given *jmap.Filter) (*filterNode, error) {
	n := &filterNode{}
	switch given.Operator {
	case "":
		return f.conditions(given.Condition)
	case "AND":
		n.op = opAnd
	case "OR":
		n.op = opOr
	case "NOT":
		n.op = opNot
	}
	for _, c := range given.Conditions {
		kid, err := f.node(c)
		if err != nil {
			return nil, err
		}
		n.kids = append(n.kids, kid)
	}
	return n, nil
}

// conditions reads a FilterCondition: all of its properties are needed.
func (f *emailFilter) conditions(given jmap.Properties) (*filterNode, error) {
	all := &filterNode{op: opAnd}
	names := make([]string, 0, len(given))
	for name := range given {
		names = append(names, name)
	}
	slices.Sort(names) // so that equal filters are equal, and errors the same each time
	for _, name := range names {
		read, known := conditionReaders[name]
		if !known {
			return nil, jmap.ErrUnsupportedFilter.With("%q is no condition for Email", name)
		}
		n, ok := read(f, name, given[name])
		if !ok {
			return nil, jmap.InvalidArguments("filter: %s: of the wrong type", name)
		}
		all.kids = append(all.kids, n)
	}
	if len(all.kids) == 1 {
		return all.kids[0], nil
	}
	return all, nil
}

// conditionReaders read the properties of a FilterCondition (RFC 8621, 4.4.1).
var conditionReaders = map[string]func(f *emailFilter, name string, raw json.RawMessage) (*filterNode, bool){
	"inMailbox":               (*emailFilter).inMailbox,
	"inMailboxOtherThan":      (*emailFilter).inMailboxOtherThan,
	"before":                  (*emailFilter).date,
	"after":                   (*emailFilter).date,
	"minSize":                 (*emailFilter).sizes,
	"maxSize":                 (*emailFilter).sizes,
	"allInThreadHaveKeyword":  (*emailFilter).keyword,
	"someInThreadHaveKeyword": (*emailFilter).keyword,
	"noneInThreadHaveKeyword": (*emailFilter).keyword,
	"hasKeyword":              (*emailFilter).keyword,
	"notKeyword":              (*emailFilter).keyword,
	"hasAttachment":           (*emailFilter).attachment,
	"text":                    (*emailFilter).text,
	"from":                    (*emailFilter).text,
	"to":                      (*emailFilter).text,
	"cc":                      (*emailFilter).text,
	"bcc":                     (*emailFilter).text,
	"subject":                 (*emailFilter).text,
	"body":                    (*emailFilter).text,
	"header":                  (*emailFilter).header,
}

func (f *emailFilter) inMailbox(_ string, raw json.RawMessage) (*filterNode, bool) {
	id, ok := readMember[jmap.ID](raw)
	f.uses.mailboxes = true
	n := &filterNode{op: opMailbox}
	n.mailbox, _ = access.ParseID('F', id)
	return n, ok
}

func (f *emailFilter) inMailboxOtherThan(_ string, raw json.RawMessage) (*filterNode, bool) {
	ids, ok := readMember[[]jmap.ID](raw)
	f.uses.mailboxes = true
	n := &filterNode{op: opMailboxOther, mailboxes: make(map[mailstore.MailboxID]bool, len(ids))}
	for _, id := range ids {
		if box, ok := access.ParseID('F', id); ok {
			n.mailboxes[box] = true
		}
	}
	return n, ok
}

// date reads before and after. Messages have whole seconds, so that what was received
// before a part of one was received before the next whole one.
func (f *emailFilter) date(name string, raw json.RawMessage) (*filterNode, bool) {
	text, ok := readMember[string](raw)
	if !ok {
		return nil, false
	}
	at, ok := jmap.ParseUTCDate(text)
	n := &filterNode{op: opBefore, at: at.Unix()}
	if at.Nanosecond() > 0 {
		n.at = at.Add(time.Second).Unix()
	}
	if name == "after" {
		n.op = opAfter
	}
	return n, ok
}

func (f *emailFilter) sizes(name string, raw json.RawMessage) (*filterNode, bool) {
	size, ok := readMember[float64](raw)
	n := &filterNode{op: opMinSize, size: int64(size)}
	if name == "maxSize" {
		n.op = opMaxSize
	}
	return n, ok && size >= 0 && size <= jmap.MaxInt && size == float64(int64(size))
}

// keyword reads the conditions about one keyword; notKeyword is the opposite of hasKeyword,
// noneInThreadHaveKeyword of someInThreadHaveKeyword.
func (f *emailFilter) keyword(name string, raw json.RawMessage) (*filterNode, bool) {
	word, ok := readMember[string](raw)
	n := &filterNode{op: opKeyword, keyword: strings.ToLower(word)}
	f.uses.keywords = true
	f.uses.threads = f.uses.threads || strings.Contains(name, "InThread")
	switch name {
	case "allInThreadHaveKeyword":
		n.op = opThreadAll
	case "someInThreadHaveKeyword":
		n.op = opThreadSome
	case "noneInThreadHaveKeyword":
		n.op = opThreadNone
	case "notKeyword":
		n = &filterNode{op: opNot, kids: []*filterNode{n}}
	}
	return n, ok && validKeyword(word)
}

// validKeyword tells whether a text can be a keyword (RFC 8621, 4.1.1).
func validKeyword(s string) bool {
	if len(s) == 0 || len(s) > 255 {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' || strings.IndexByte(`(){]%*"\`, s[i]) >= 0 {
			return false
		}
	}
	return true
}

func (f *emailFilter) attachment(_ string, raw json.RawMessage) (*filterNode, bool) {
	yes, ok := readMember[bool](raw)
	f.uses.structure = true
	return &filterNode{op: opAttachment, yes: yes}, ok
}

// textFields are the fields that conditions on texts look into.
var textFields = map[string]search.Fields{
	"text": search.Everywhere, "from": search.FieldsOf(search.FieldFrom), "to": search.FieldsOf(search.FieldTo),
	"cc": search.FieldsOf(search.FieldCc), "bcc": search.FieldsOf(search.FieldBcc), "subject": search.FieldsOf(search.FieldSubject),
	"body": search.FieldsOf(search.FieldBody, search.FieldFile),
}

func (f *emailFilter) text(name string, raw json.RawMessage) (*filterNode, bool) {
	text, ok := readMember[string](raw)
	return f.addText(textFields[name], "", text), ok
}

// header reads the condition header: a name and perhaps a text. The index knows the words
// of all header fields, names included; which field they stand in the message decides.
func (f *emailFilter) header(_ string, raw json.RawMessage) (*filterNode, bool) {
	list, ok := readMember[[]string](raw)
	if !ok || len(list) == 0 || len(list) > 2 || !validFieldName(list[0]) {
		return nil, false
	}
	field := search.FieldsOf(search.FieldHeader)
	named := f.leaf(&textTest{fields: field, header: list[0], named: true, query: search.Words(field, list[0])})
	if len(list) == 1 {
		return named, true
	}
	n := f.addText(field, list[0], list[1])
	n.kids = append(n.kids, named)
	return n, true
}

// validFieldName tells whether a text can be the name of a header field (RFC 5322, 2.2).
func validFieldName(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' || s[i] == ':' {
			return false
		}
	}
	return s != ""
}

// readMember reads a value of JSON that may not be null.
func readMember[T any](raw json.RawMessage) (T, bool) {
	var v *T
	if err := json.Unmarshal(raw, &v); err != nil || v == nil {
		return *new(T), false
	}
	return *v, true
}

// onlyMailbox tells whether the filter is nothing but that a message is in one mailbox, or
// nothing at all; then it is 0.
func (f *emailFilter) onlyMailbox() (mailstore.MailboxID, bool) {
	n := &f.root
	for n.op == opAnd && len(n.kids) == 1 {
		n = n.kids[0]
	}
	switch {
	case n.op == opAnd && len(n.kids) == 0:
		return 0, true
	case n.op == opMailbox && n.mailbox != 0:
		return n.mailbox, true
	}
	return 0, false
}

// within is a mailbox that all messages of the result are in; 0: none is known.
func (n *filterNode) within() mailstore.MailboxID {
	if n.op == opMailbox {
		return n.mailbox
	}
	if n.op == opAnd {
		for _, k := range n.kids {
			if box := k.within(); box != 0 {
				return box
			}
		}
	}
	return 0
}
