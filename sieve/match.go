package sieve

import (
	"strconv"
	"strings"
)

// matchType says how values and keys are compared (RFC 5228, 2.7.1; RFC 5231).
type matchType uint8

const (
	matchIs matchType = iota
	matchContains
	matchMatches
	matchRegex
	matchValue
	matchCount
)

var matchNames = [...]string{"is", "contains", "matches", "regex", "value", "count"}

// relation is how a value stands to a key (RFC 5231, 4).
type relation uint8

const (
	relationGT relation = iota
	relationGE
	relationLT
	relationLE
	relationEQ
	relationNE
)

var relations = []string{"gt", "ge", "lt", "le", "eq", "ne"}

func (r relation) holds(order int) bool {
	switch r {
	case relationGT:
		return order > 0
	case relationGE:
		return order >= 0
	case relationLT:
		return order < 0
	case relationLE:
		return order <= 0
	case relationEQ:
		return order == 0
	}
	return order != 0
}

// matcher compares values with the keys of one test.
type matcher struct {
	kind     matchType
	relation relation
	compare  comparator
	keys     []matchKey
	capture  bool // success of :matches and :regex sets the match variables
}

// matchKey is a key; what is constant is prepared once.
type matchKey struct {
	text   text
	folded string
	glob   *glob
	regex  *regex
}

// comparatorTags and matchTags are what tests with COMPARATOR and MATCH-TYPE take.
var (
	comparatorTags = []tagRule{{name: "comparator", value: kindString}}
	matchTags      = append([]tagRule{
		{name: "is", group: "match"}, {name: "contains", group: "match"}, {name: "matches", group: "match"},
		{name: "regex", extension: extRegex, group: "match"},
		{name: "value", extension: extRelational, value: kindString, group: "match"},
		{name: "count", extension: extRelational, value: kindString, group: "match"},
	}, comparatorTags...)
)

// matcher compiles the match type, the comparator and the keys of a test.
func (c *compiler) matcher(u *usage, keys *argument) *matcher {
	m := &matcher{capture: c.required.has(extVariables)}
	if t := u.group("match"); t != nil {
		for i, name := range matchNames {
			if name == t.rule.name {
				m.kind = matchType(i)
			}
		}
		if t.value != nil {
			m.relation = c.relation(t.value.strings[0])
		}
	}
	if t := u.tag("comparator"); t != nil {
		l := t.value.strings[0]
		name := c.constant(l, "the name of a comparator")
		cmp, e, ok := comparatorNamed(name)
		if !ok {
			c.missing(l.at.errorf("there is no comparator %q", name))
		} else if e != base {
			c.need(e, l.at, "the comparator \""+name+"\"")
		}
		m.compare = cmp
		if cmp == asciiNumeric && (m.kind == matchContains || m.kind == matchMatches || m.kind == matchRegex) {
			c.fault(l.at.errorf("the comparator %q cannot be used with :%s", name, matchNames[m.kind]))
		}
	}
	if keys != nil {
		c.keys(m, keys)
	}
	return m
}

func (c *compiler) relation(l literal) relation {
	name := c.constant(l, "a relation")
	for i, r := range relations {
		if strings.EqualFold(r, name) {
			return relation(i)
		}
	}
	c.fault(l.at.errorf("%q is none of gt, ge, lt, le, eq, ne", name))
	return 0
}

// keys compiles the keys.
func (c *compiler) keys(m *matcher, a *argument) {
	m.keys = make([]matchKey, len(a.strings))
	for i, l := range a.strings {
		k := &m.keys[i]
		k.text = c.text(l)
		if !k.text.isConstant() {
			continue
		}
		if err := m.prepare(k, k.text.constant, c.limits.RegexOctets); err != nil {
			c.fault(l.at.errorf("the regular expression is wrong: %s", err))
		}
		if k.regex != nil {
			if c.regexes += k.regex.instructions; c.regexes > RegexScriptMax {
				c.fault(l.at.errorf("the regular expressions of the script repeat too much"))
				return
			}
		}
	}
}

// prepare makes the form of a key in which values are compared with it.
func (m *matcher) prepare(k *matchKey, s string, regexMax int) (err error) {
	switch m.kind {
	case matchMatches:
		k.glob = newGlob(m.compare.fold(s), m.compare == octet)
	case matchRegex:
		k.regex, err = compileRegex(s, m.compare, regexMax)
	default:
		k.folded = m.compare.fold(s)
	}
	return err
}

// any tells whether one of the values matches one of the keys. A test of :count counts
// the values instead (RFC 5231, 4.2).
func (m *matcher) any(r *run, values []string) (bool, error) {
	if m.kind == matchCount {
		return m.count(r, len(values))
	}
	for _, v := range values {
		if ok, err := m.value(r, v); ok || err != nil {
			return ok, err
		}
	}
	if len(values) == 0 && r.in.Trace != nil {
		r.explain("there is nothing to compare")
	}
	return false, nil
}

// count compares a number of values with the keys.
func (m *matcher) count(r *run, n int) (bool, error) {
	value := m.compare.fold(strconv.Itoa(n))
	for i := range m.keys {
		k, err := m.key(r, i)
		if err != nil {
			return false, err
		}
		ok := m.relation.holds(m.compare.order(value, k.folded))
		if r.in.Trace != nil {
			r.explain("%d values; :count %q %q: %v", n, relations[m.relation], k.folded, ok)
		}
		if ok {
			return true, nil
		}
	}
	return false, nil
}

// key returns a key ready for use: the prepared one, or one made of the present values of
// its variables.
func (m *matcher) key(r *run, i int) (*matchKey, error) {
	k := &m.keys[i]
	if k.text.isConstant() {
		return k, nil
	}
	s, err := k.text.expand(r)
	if err != nil {
		return nil, err
	}
	made := &matchKey{}
	if err := m.prepare(made, s, r.limits.RegexOctets); err != nil {
		return nil, r.failf("the regular expression is wrong: %s", err)
	}
	if m.kind == matchRegex {
		if err := r.work(regexCost * len(s)); err != nil {
			return nil, err
		}
	}
	return made, nil
}

// regexCost is what compiling an octet of a regular expression costs, in octets compared.
const regexCost = 4096

// keyCost is what a key costs besides its length, in octets compared.
const keyCost = 16

// value compares one value with all keys.
func (m *matcher) value(r *run, v string) (bool, error) {
	folded := ""
	if m.kind != matchRegex && m.kind != matchMatches {
		folded = r.folded.of(m.compare, v)
	}
	for i := range m.keys {
		k, err := m.key(r, i)
		if err != nil {
			return false, err
		}
		if err := r.work(keyCost + len(v) + len(k.folded)); err != nil {
			return false, err
		}
		ok, err := m.one(r, k, v, folded)
		if err != nil {
			return false, err
		}
		if r.in.Trace != nil {
			r.explainMatch(m, i, v, ok)
		}
		if ok {
			return true, nil
		}
	}
	return false, nil
}

// foldCache remembers the last values folded with the default comparator: the rules of a
// script look at the same few fields over and over.
type foldCache struct {
	values, folded [4]string
	next           int
}

// of returns the folded value.
func (c *foldCache) of(cmp comparator, v string) string {
	if cmp != asciiCasemap || v == "" {
		return cmp.fold(v)
	}
	for i := range c.values {
		if c.values[i] == v {
			return c.folded[i]
		}
	}
	i := c.next % len(c.values)
	c.values[i], c.folded[i] = v, cmp.fold(v)
	c.next++
	return c.folded[i]
}

// one compares one value with one key.
func (m *matcher) one(r *run, k *matchKey, v, folded string) (bool, error) {
	switch m.kind {
	case matchIs:
		if m.compare == asciiNumeric { // RFC 4790, 9.1.1: what is no number is equal to what is none
			return m.compare.order(folded, k.folded) == 0, nil
		}
		return folded == k.folded, nil
	case matchContains:
		return strings.Contains(folded, k.folded), nil
	case matchValue:
		return m.relation.holds(m.compare.order(folded, k.folded)), nil
	case matchMatches:
		return m.matchGlob(r, k.glob, v)
	}
	return m.matchRegex(r, k.regex, v)
}

// matchGlob compares with a pattern and sets the match variables.
func (m *matcher) matchGlob(r *run, g *glob, v string) (bool, error) {
	var offsets []int
	folded := ""
	if m.compare == unicodeCasemap {
		folded, offsets = unicodeFoldOffsets(v, true)
	} else {
		folded = r.folded.of(m.compare, v)
	}
	octets := 0
	spans, ok := g.match(folded, r.spans[:0], &octets, r.left())
	r.spans = spans
	if err := r.work(octets); err != nil {
		return false, err
	}
	if !ok || !m.capture {
		return ok, nil
	}
	match := make([]string, 1, len(spans)+1)
	match[0] = v
	for _, s := range spans {
		if len(match) > MatchVariablesMax {
			break
		}
		if offsets != nil {
			s.start, s.end = offsets[s.start], offsets[s.end]
		}
		match = append(match, r.cut(v[s.start:s.end]))
	}
	match[0] = r.cut(match[0])
	r.frame.match = match
	return true, nil
}

// threadCost is what an instruction of an expression costs for each octet of the text, in
// octets compared.
const threadCost = 2

// matchRegex compares with a regular expression and sets the match variables.
func (m *matcher) matchRegex(r *run, re *regex, v string) (bool, error) {
	if err := r.work(len(v) * (1 + threadCost*re.instructions)); err != nil {
		return false, err
	}
	if !m.capture {
		return re.MatchString(v), nil
	}
	at := re.FindStringSubmatchIndex(v)
	if at == nil {
		return false, nil
	}
	var match []string
	for i := 0; i+1 < len(at) && len(match) <= MatchVariablesMax; i += 2 {
		s := ""
		if at[i] >= 0 {
			s = r.cut(v[at[i]:at[i+1]])
		}
		match = append(match, s)
	}
	r.frame.match = match
	return true, nil
}
