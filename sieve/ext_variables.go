package sieve

import (
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// setCommand is set (RFC 5229, 4).
type setCommand struct {
	variable variable
	value    text
	modify   []modifier
}

// modifier changes a value before it is stored; those of higher precedence come first
// (RFC 5229, 4.1).
type modifier struct {
	precedence int
	apply      func(*run, string) string
}

// modifierTags are the modifiers; those of one precedence exclude each other.
var modifierTags = []tagRule{
	{name: "lower", group: "40"}, {name: "upper", group: "40"},
	{name: "lowerfirst", group: "30"}, {name: "upperfirst", group: "30"},
	{name: "quotewildcard", group: "20"}, {name: "quoteregex", extension: extRegex, group: "20"},
	{name: "encodeurl", extension: extNotify, group: "15"}, // RFC 5435, 6
	{name: "length", group: "10"},
}

var modifiers = map[string]func(*run, string) string{
	"lower":         func(_ *run, s string) string { return strings.ToLower(s) },
	"upper":         func(_ *run, s string) string { return strings.ToUpper(s) },
	"lowerfirst":    func(_ *run, s string) string { return mapFirst(s, unicode.ToLower) },
	"upperfirst":    func(_ *run, s string) string { return mapFirst(s, unicode.ToUpper) },
	"quotewildcard": func(r *run, s string) string { return r.quote(s, `\*?`) },
	"quoteregex":    func(r *run, s string) string { return r.quote(s, `\.+*?()|[]{}^$`) },
	"encodeurl":     func(r *run, s string) string { return r.encodeURL(s) },
	"length":        func(_ *run, s string) string { return strconv.Itoa(utf8.RuneCountInString(s)) },
}

// modifiers reads the modifiers of set or extracttext, in the order they apply.
func (c *compiler) modifiers(u *usage) []modifier {
	var list []modifier
	for _, t := range u.tags {
		if precedence, err := strconv.Atoi(t.rule.group); err == nil {
			list = append(list, modifier{precedence, modifiers[t.rule.name]})
		}
	}
	slices.SortFunc(list, func(a, b modifier) int { return b.precedence - a.precedence })
	return list
}

func compileSet(c *compiler, u *usage) command {
	s := &setCommand{value: c.string(u.args[1]), modify: c.modifiers(u)}
	l := u.args[0].strings[0]
	c.constant(l, "the name of a variable")
	v, ok := c.variable(l)
	if !ok {
		return nil
	}
	if !v.global {
		c.set[v.name] = l.at
	}
	s.variable = v
	return s
}

func (s *setCommand) execute(r *run) (flow, error) {
	value, err := s.value.expand(r)
	if err != nil {
		return flowStop, err
	}
	if err := r.work(len(value) * len(s.modify)); err != nil {
		return flowStop, err
	}
	return flowNext, r.store(s.variable, r.modified(value, s.modify))
}

// modified applies modifiers.
func (r *run) modified(value string, list []modifier) string {
	for _, m := range list {
		value = m.apply(r, value)
	}
	return value
}

func mapFirst(s string, to func(rune) rune) string {
	c, n := utf8.DecodeRuneInString(s)
	if n == 0 || c == utf8.RuneError {
		return s
	}
	return string(to(c)) + s[n:]
}

// quote puts a backslash before special octets, and cuts before one that would not fit
// whole.
func (r *run) quote(s, special string) string {
	var b strings.Builder
	for i := range len(s) {
		n := 1
		if strings.IndexByte(special, s[i]) >= 0 {
			n = 2
		}
		if b.Len()+n > r.limits.VariableOctets {
			break
		}
		if n == 2 {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// encodeURL percent-encodes all but the unreserved octets (RFC 5435, 6; RFC 3986, 2.3).
func (r *run) encodeURL(s string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		if b.Len()+3 > r.limits.VariableOctets {
			break
		}
		if c := s[i]; isAlpha(c) || isDigit(c) || c == '-' || c == '.' || c == '~' {
			b.WriteByte(c)
		} else {
			b.WriteByte('%')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
		}
	}
	return b.String()
}

// stringTest is string (RFC 5229, 5).
type stringTest struct {
	source []text
	match  *matcher
}

func compileString(c *compiler, u *usage) test {
	return &stringTest{source: c.texts(u.args[0]), match: c.matcher(u, u.args[1])}
}

func (t *stringTest) evaluate(r *run) (bool, error) {
	values, err := expandAll(r, t.source)
	if err != nil {
		return false, err
	}
	if t.match.kind == matchCount { // RFC 5229, 5: empty strings are not counted
		values = slices.DeleteFunc(values, func(s string) bool { return s == "" })
	}
	return t.match.any(r, values)
}
