package search

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Query is what a person looks for, by index semantics: words without regard to case,
// diacritics, width and endings.
//
//	word          a word, in any of its forms
//	word*         words that begin so
//	"some words"  these words in a row
//	-x, NOT x     without x
//	x y, x AND y  both
//	x OR y        one of them
//	(x)           a group
//	from:x        in one field: subject, from, to, cc, bcc, body, file
//
// An empty one fits every message.
type Query struct {
	root   node
	leaves []*leaf
}

// Bounds of a query; what is over them is left out, so that it fits more.
const (
	queryLeaves = 32   // words and phrases
	queryDepth  = 16   // groups in groups
	queryOctets = 4096 // of the text
	phraseWords = 16
)

type nodeOp uint8

const (
	opAnd nodeOp = iota // of none: fits everything
	opOr
	opNot
	opLeaf
)

type node struct {
	op   nodeOp
	kids []node
	leaf int
}

// leaf is a word or phrase.
type leaf struct {
	fields Fields
	words  []queryWord
	prefix bool // the last word may go on
	phrase bool // given in quotes: no endings
}

type queryWord struct {
	plain, term []byte
	pair        bool // of a script without spaces
}

// Everywhere are the fields that a query without one looks into (RFC 8621, 4.4.1, text).
var Everywhere = FieldsOf(FieldSubject, FieldFrom, FieldTo, FieldCc, FieldBcc, FieldBody, FieldFile)

var fieldNames = map[string]Fields{
	"subject": FieldsOf(FieldSubject), "from": FieldsOf(FieldFrom), "to": FieldsOf(FieldTo, FieldCc, FieldBcc),
	"cc": FieldsOf(FieldCc), "bcc": FieldsOf(FieldBcc), "body": FieldsOf(FieldBody), "file": FieldsOf(FieldFile),
}

// ParseQuery reads what a person typed. Nothing is an error: what has no meaning is a
// word, or nothing.
func ParseQuery(text string) *Query { return ParseQueryIn(Everywhere, text) }

// ParseQueryIn is ParseQuery for words in some fields.
func ParseQueryIn(fields Fields, text string) *Query {
	text = text[:min(len(text), queryOctets)]
	q := &Query{}
	p := &queryParser{q: q, rest: text, fields: fields}
	for p.rest != "" {
		q.root.kids = append(q.root.kids, p.or(0))
		p.rest = strings.TrimPrefix(p.space(), ")")
	}
	return q
}

// Words makes the query for all words of a text, whatever signs are between them.
func Words(fields Fields, text string) *Query {
	q := &Query{}
	for w := range strings.FieldsSeq(text[:min(len(text), queryOctets)]) {
		if n, ok := q.leaf(&leaf{fields: fields}, w); ok {
			q.root.kids = append(q.root.kids, n)
		}
	}
	return q
}

// leaf adds a word or phrase; false where there is nothing to look for.
func (q *Query) leaf(l *leaf, text string) (node, bool) {
	t := tokenizer{}
	t.emit = func(k token) {
		if len(l.words) < phraseWords {
			term := append([]byte(nil), k.text...)
			l.words = append(l.words, queryWord{appendPlain(nil, term), term, t.class == unbound})
		}
	}
	t.feed([]byte(text))
	t.finish()
	if len(l.words) == 0 || len(q.leaves) >= queryLeaves {
		return node{}, false
	}
	q.leaves = append(q.leaves, l)
	return node{op: opLeaf, leaf: len(q.leaves) - 1}, true
}

type queryParser struct {
	q      *Query
	rest   string
	fields Fields
}

func (p *queryParser) space() string {
	p.rest = strings.TrimLeftFunc(p.rest, unicode.IsSpace)
	return p.rest
}

// keyword takes a word in capitals off the front.
func (p *queryParser) keyword(w string) bool {
	rest, ok := strings.CutPrefix(p.space(), w)
	if !ok || rest == "" {
		return false
	}
	if r, _ := utf8.DecodeRuneInString(rest); !unicode.IsSpace(r) && r != '(' {
		return false
	}
	p.rest = rest
	return true
}

func (p *queryParser) or(depth int) node {
	n := p.and(depth)
	if !p.keyword("OR") {
		return n
	}
	n = node{op: opOr, kids: []node{n, p.and(depth)}}
	for p.keyword("OR") {
		n.kids = append(n.kids, p.and(depth))
	}
	return n
}

func (p *queryParser) and(depth int) node {
	var n node
	for {
		p.keyword("AND")
		before := p.space()
		if before == "" || before[0] == ')' {
			return n
		}
		if len(n.kids) > 0 && p.keyword("OR") {
			p.rest = before
			return n
		}
		if k, ok := p.factor(depth); ok {
			n.kids = append(n.kids, k)
		}
	}
}

// factor reads one word, phrase or group. It takes at least an octet.
func (p *queryParser) factor(depth int) (node, bool) {
	if p.keyword("NOT") || len(p.rest) > 1 && p.rest[0] == '-' && !strings.HasPrefix(p.rest, "- ") {
		p.rest = strings.TrimPrefix(p.rest, "-")
		if p.space() == "" || depth >= queryDepth {
			p.rest = ""
			return node{}, false
		}
		k, ok := p.factor(depth + 1)
		return node{op: opNot, kids: []node{k}}, ok
	}
	if p.rest[0] == '(' {
		p.rest = p.rest[1:]
		if depth >= queryDepth {
			return node{}, false
		}
		n := p.or(depth + 1)
		p.rest = strings.TrimPrefix(p.space(), ")")
		return n, len(n.kids) > 0
	}
	return p.word()
}

// word reads a word or phrase, with the field it is looked for in.
func (p *queryParser) word() (node, bool) {
	l := &leaf{fields: p.fields}
	if name, rest, ok := strings.Cut(p.rest, ":"); ok && fieldNames[strings.ToLower(name)] != 0 && strings.TrimSpace(rest) != "" {
		l.fields, p.rest = fieldNames[strings.ToLower(name)], rest
		p.space()
	}
	if p.rest[0] == '"' {
		text, rest, _ := strings.Cut(p.rest[1:], `"`)
		p.rest, l.phrase = rest, true
		return p.q.leaf(l, text)
	}
	end := strings.IndexFunc(p.rest, func(r rune) bool { return unicode.IsSpace(r) || r == ')' || r == '"' })
	if end < 0 {
		end = len(p.rest)
	}
	if end == 0 {
		end = 1 // a ) that opens nothing
	}
	text := p.rest[:end]
	p.rest = p.rest[end:]
	l.prefix = len(text) > 1 && text[len(text)-1] == '*'
	return p.q.leaf(l, text)
}
