package sieve

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// text is a string of a script, ready to be put together: a constant, or pieces with
// variables between them (RFC 5229, 3).
type text struct {
	constant string
	parts    []textPart // nil for a constant
}

// textPart is a constant or a variable.
type textPart struct {
	literal string
	kind    partKind
	index   int    // slot of a variable, number of a match variable
	name    string // of a global variable
}

type partKind uint8

const (
	partLiteral partKind = iota
	partLocal
	partGlobal
	partMatch
)

// variable is one that can be set.
type variable struct {
	name   string
	global bool
	slot   int
}

// isConstant tells whether the text is the same in every run.
func (t *text) isConstant() bool { return t.parts == nil }

// expand returns the text with its variables put in.
func (t *text) expand(r *run) (string, error) {
	if t.parts == nil {
		return t.constant, nil
	}
	if len(t.parts) == 1 {
		return r.partValue(&t.parts[0]), nil
	}
	size := 0
	for i := range t.parts {
		size += len(r.partValue(&t.parts[i]))
	}
	if size > StringOctetsMax {
		return "", r.failf("a string grows longer than %d octets", StringOctetsMax)
	}
	if err := r.work(size + listCost*len(t.parts)); err != nil {
		return "", err
	}
	var b strings.Builder
	b.Grow(size)
	for i := range t.parts {
		b.WriteString(r.partValue(&t.parts[i]))
	}
	return b.String(), nil
}

// partValue is the present value of one part.
func (r *run) partValue(p *textPart) string {
	switch p.kind {
	case partLocal:
		return r.frame.local[p.index]
	case partGlobal:
		return r.globals[p.name]
	case partMatch:
		if p.index < len(r.frame.match) {
			return r.frame.match[p.index]
		}
		return ""
	}
	return p.literal
}

// listCost is what one string of a list costs, in octets compared.
const listCost = 8

// expandAll expands a list.
func expandAll(r *run, list []text) ([]string, error) {
	if err := r.work(listCost * len(list)); err != nil {
		return nil, err
	}
	values := make([]string, len(list))
	for i := range list {
		v, err := list[i].expand(r)
		if err != nil {
			return nil, err
		}
		values[i] = v
	}
	return values, nil
}

// text compiles a literal: encoded characters first, then variables (RFC 5229, 3.1).
func (c *compiler) text(l literal) text {
	s := l.value
	if c.required.has(extEncodedCharacter) && strings.Contains(s, "${") {
		decoded, err := decodeCharacters(s)
		if err != "" {
			c.fault(l.at.errorf("%s", err))
		}
		s = decoded
	}
	if !c.required.has(extVariables) || !strings.Contains(s, "${") {
		return text{constant: s}
	}
	return c.parts(s, l.at)
}

// texts compiles the strings of an argument; nil for one left out.
func (c *compiler) texts(a *argument) []text {
	if a == nil {
		return nil
	}
	list := make([]text, len(a.strings))
	for i, l := range a.strings {
		list[i] = c.text(l)
	}
	return list
}

// string compiles an argument that is one string.
func (c *compiler) string(a *argument) text { return c.text(a.strings[0]) }

// constant compiles a string that must have no variables in it.
func (c *compiler) constant(l literal, what string) string {
	t := c.text(l)
	if !t.isConstant() {
		c.fault(l.at.errorf("%s must be a constant, without variables", what))
	}
	return t.constant
}

// parts finds the variables of a string.
func (c *compiler) parts(s string, at position) text {
	var t text
	literal := 0 // start of what has no variable
	for i := 0; i+1 < len(s); i++ {
		if s[i] != '$' || s[i+1] != '{' {
			continue
		}
		name, ok := variableReference(s[i+2:])
		if !ok {
			continue
		}
		p, ok := c.reference(name, at)
		if !ok {
			return text{}
		}
		if i > literal {
			t.parts = append(t.parts, textPart{literal: s[literal:i]})
		}
		t.parts = append(t.parts, p)
		literal = i + 2 + len(name) + 1
		i = literal - 1
	}
	if t.parts == nil {
		return text{constant: s}
	}
	if literal < len(s) {
		t.parts = append(t.parts, textPart{literal: s[literal:]})
	}
	return t
}

// variableReference returns the name at the start of s up to its brace (RFC 5229, 3:
// variable-ref); ok is false for what is none and stands for itself.
func variableReference(s string) (name string, ok bool) {
	i := 0
	for {
		start := i
		for i < len(s) && (isDigit(s[i]) || i > start && isAlpha(s[i]) && !isDigit(s[start]) || i == start && isAlpha(s[i])) {
			i++
		}
		if i == start || i == len(s) {
			return "", false
		}
		switch {
		case s[i] == '}':
			return s[:i], true
		case s[i] == '.' && (start > 0 || isAlpha(s[0])): // a namespace begins with an identifier
			i++
		default:
			return "", false
		}
	}
}

// reference compiles one variable.
func (c *compiler) reference(name string, at position) (textPart, bool) {
	if isDigit(name[0]) {
		digits := strings.TrimLeft(name, "0")
		n, err := strconv.Atoi("0" + digits)
		if err != nil || n > MatchVariablesMax {
			c.fault(at.errorf("match variables go up to ${%d}", MatchVariablesMax))
			return textPart{}, false
		}
		return textPart{kind: partMatch, index: n}, true
	}
	name = strings.ToLower(name)
	if space, rest, ok := strings.Cut(name, "."); ok {
		if space != "global" || !isIdentifier(rest) {
			c.fault(at.errorf("the variable ${%s} is of a namespace that is not there", name))
			return textPart{}, false
		}
		c.need(extInclude, at, "the namespace \"global\"")
		return textPart{kind: partGlobal, name: rest}, true
	}
	if len(name) > VariableNameMax {
		c.fault(at.errorf("the name of a variable has at most %d octets", VariableNameMax))
		return textPart{}, false
	}
	if c.globals[name] {
		return textPart{kind: partGlobal, name: name}, true
	}
	return textPart{kind: partLocal, index: c.slot(name, at)}, true
}

// decodeCharacters undoes ${hex:...} and ${unicode:...} (RFC 5228, 2.4.2.4). What is not
// by their grammar stays as it is; a character that cannot be is a fault.
func decodeCharacters(s string) (decoded, fault string) {
	var b strings.Builder
	for i := 0; i < len(s); {
		rest := s[i:]
		if !strings.HasPrefix(rest, "${") {
			b.WriteByte(s[i])
			i++
			continue
		}
		end := strings.IndexByte(rest, '}')
		if end < 0 {
			b.WriteString(rest)
			break
		}
		octets, ok, why := decodeCharacter(rest[2:end])
		if why != "" {
			return s, why
		}
		if !ok {
			b.WriteString("${")
			i += 2
			continue
		}
		b.WriteString(octets)
		i += end + 1
	}
	if !utf8.ValidString(b.String()) {
		return s, "the encoded characters make no UTF-8"
	}
	return b.String(), ""
}

// decodeCharacter reads what stands between the braces.
func decodeCharacter(s string) (octets string, ok bool, fault string) {
	kind, numbers, found := strings.Cut(s, ":")
	if !found {
		return "", false, ""
	}
	hex, unicode := strings.EqualFold(kind, "hex"), strings.EqualFold(kind, "unicode")
	fields := strings.FieldsFunc(numbers, func(r rune) bool { return r == ' ' || r == '\t' || r == '\r' || r == '\n' })
	if !hex && !unicode || len(fields) == 0 {
		return "", false, ""
	}
	var b []byte
	for _, f := range fields {
		n, err := strconv.ParseUint(f, 16, 64)
		if err != nil || hex && len(f) > 2 || strings.ContainsAny(f, "+_") {
			return "", false, ""
		}
		if hex {
			b = append(b, byte(n))
			continue
		}
		if n > utf8.MaxRune || n >= 0xD800 && n <= 0xDFFF {
			return "", false, "\"" + f + "\" is no character of Unicode"
		}
		b = utf8.AppendRune(b, rune(n))
	}
	return string(b), true, ""
}
