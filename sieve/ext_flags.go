package sieve

import (
	"slices"
	"strings"
)

// flagTag compiles :flags; nil when it is not given.
func (c *compiler) flagTag(u *usage) []text {
	if t := u.tag("flags"); t != nil {
		return c.texts(t.value)
	}
	return nil
}

var flagsTags = []tagRule{{name: "flags", extension: extFlags, value: kindStrings}}

// flagsFor are the flags that go with an action: those of :flags, else the internal
// variable (RFC 5232, 3). set is false when the script has nothing to do with flags.
func (r *run) flagsFor(list []text) (flags []string, set bool, err error) {
	if list != nil {
		words, err := expandAll(r, list)
		return cleanFlags(nil, words), true, err
	}
	return slices.Clone(r.flags), r.frame.script.flags, nil
}

// cleanFlags adds the flags in the strings, which may hold several each, to a list without
// repetition. What is no settable flag is passed over (RFC 5232, 2).
func cleanFlags(flags []string, list []string) []string {
	for _, s := range list {
		for word := range strings.FieldsSeq(s) {
			if len(flags) < FlagsMax && isFlag(word) && !hasFlag(flags, word) {
				flags = append(flags, word)
			}
		}
	}
	return flags
}

func hasFlag(flags []string, flag string) bool {
	return slices.ContainsFunc(flags, func(f string) bool { return strings.EqualFold(f, flag) })
}

// isFlag tells whether a flag can be set (RFC 9051, 9: flag).
func isFlag(s string) bool {
	if len(s) > FlagOctetsMax {
		return false
	}
	if s[0] != '\\' {
		return isAtom(s)
	}
	for _, f := range []string{`\Answered`, `\Flagged`, `\Deleted`, `\Seen`, `\Draft`} {
		if strings.EqualFold(s, f) {
			return true
		}
	}
	return false
}

// isAtom tells whether s is an atom of IMAP.
func isAtom(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f || strings.IndexByte(`(){%*"\]`, s[i]) >= 0 {
			return false
		}
	}
	return s != ""
}

// flagCommand is setflag, addflag and removeflag (RFC 5232, 3).
type flagCommand struct {
	name     string
	variable *variable // nil: the internal one
	flags    []text
}

func compileFlags(c *compiler, u *usage) command {
	f := &flagCommand{name: u.node.name, flags: c.texts(u.args[1])}
	if u.args[0] == nil {
		return f
	}
	c.needVariables(u.args[0])
	v, ok := c.variable(u.args[0].strings[0])
	if !ok {
		return nil
	}
	f.variable = &v
	return f
}

// needVariables checks that a variable of flags may be named (RFC 5232, 3).
func (c *compiler) needVariables(a *argument) {
	if !c.required.has(extVariables) {
		c.fault(a.at.errorf("a variable needs require \"variables\""))
	}
}

func (f *flagCommand) execute(r *run) (flow, error) {
	words, err := expandAll(r, f.flags)
	if err != nil {
		return flowStop, err
	}
	for _, s := range words {
		if err := r.work(parseCost * len(s)); err != nil {
			return flowStop, err
		}
	}
	now := r.flags
	if f.variable != nil {
		now = cleanFlags(nil, []string{r.load(*f.variable)})
	}
	switch f.name {
	case "setflag":
		now = cleanFlags(nil, words)
	case "addflag":
		now = cleanFlags(slices.Clone(now), words)
	default:
		remove := cleanFlags(nil, words)
		now = slices.DeleteFunc(slices.Clone(now), func(s string) bool { return hasFlag(remove, s) })
	}
	if f.variable != nil {
		return flowNext, r.store(*f.variable, strings.Join(now, " "))
	}
	r.flags = now
	r.explain("flags: %s", strings.Join(now, " "))
	return flowNext, nil
}

// hasFlagTest is hasflag (RFC 5232, 4).
type hasFlagTest struct {
	variables []variable // none: the internal one
	match     *matcher
}

func compileHasFlag(c *compiler, u *usage) test {
	t := &hasFlagTest{match: c.matcher(u, nil)}
	words := *u.args[1]
	if t.match.kind != matchCount {
		words.strings = nil // a key may hold several flags (RFC 5232, 2)
		for _, l := range u.args[1].strings {
			for word := range strings.FieldsSeq(l.value) {
				words.strings = append(words.strings, literal{l.at, word})
			}
		}
	}
	c.keys(t.match, &words)
	if u.args[0] == nil {
		return t
	}
	c.needVariables(u.args[0])
	for _, l := range u.args[0].strings {
		if v, ok := c.variable(l); ok {
			t.variables = append(t.variables, v)
		}
	}
	return t
}

func (t *hasFlagTest) evaluate(r *run) (bool, error) {
	m, err := t.matcherIn(r)
	if err != nil {
		return false, err
	}
	if len(t.variables) == 0 {
		return m.any(r, r.flags)
	}
	var flags []string
	for _, v := range t.variables {
		flags = append(flags, cleanFlags(nil, []string{r.load(v)})...)
	}
	return m.any(r, flags)
}

// matcherIn is the matcher with the flags of variables as keys of their own.
func (t *hasFlagTest) matcherIn(r *run) (*matcher, error) {
	variable := func(k matchKey) bool { return !k.text.isConstant() }
	if t.match.kind == matchCount || !slices.ContainsFunc(t.match.keys, variable) {
		return t.match, nil
	}
	m := *t.match
	m.keys = nil
	for i := range t.match.keys {
		s, err := t.match.keys[i].text.expand(r)
		if err != nil {
			return nil, err
		}
		for word := range strings.FieldsSeq(s) {
			k := matchKey{text: text{constant: word}}
			if err := m.prepare(&k, word, r.limits.RegexOctets); err != nil {
				return nil, r.failf("the regular expression is wrong: %s", err)
			}
			m.keys = append(m.keys, k)
		}
	}
	return &m, nil
}
