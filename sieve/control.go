package sieve

import "strings"

// ifCommand is if with its elsif and else (RFC 5228, 3.1).
type ifCommand struct{ branches []branch }

// branch has no test when it is the else.
type branch struct {
	line      int
	condition condition
	block     []statement
}

func (c *ifCommand) execute(r *run) (flow, error) {
	for i := range c.branches {
		b := &c.branches[i]
		if b.condition.name != "" {
			ok, err := b.condition.evaluate(r)
			if err != nil {
				return flowStop, err
			}
			if !ok {
				continue
			}
		}
		r.depth++
		f, err := r.block(b.block)
		r.depth--
		return f, err
	}
	return flowNext, nil
}

// stopCommand is stop (RFC 5228, 3.3).
type stopCommand struct{}

func (stopCommand) execute(r *run) (flow, error) {
	r.explain("stop")
	return flowStop, nil
}

func compileStop(*compiler, *usage) command { return stopCommand{} }

// allOf and anyOf are RFC 5228, 5.2 and 5.3. They go from left to right and no further
// than they must (RFC 5463, 4, asks for that).
type allOf struct{ tests []condition }

func (t *allOf) evaluate(r *run) (bool, error) {
	for i := range t.tests {
		if ok, err := t.tests[i].evaluate(r); !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

type anyOf struct{ tests []condition }

func (t *anyOf) evaluate(r *run) (bool, error) {
	for i := range t.tests {
		if ok, err := t.tests[i].evaluate(r); ok || err != nil {
			return ok && err == nil, err
		}
	}
	return false, nil
}

func (c *compiler) conditions(u *usage) []condition {
	list := make([]condition, len(u.node.tests))
	for i, n := range u.node.tests {
		list[i] = c.test(n)
	}
	return list
}

func compileAllOf(c *compiler, u *usage) test { return &allOf{c.conditions(u)} }

func compileAnyOf(c *compiler, u *usage) test { return &anyOf{c.conditions(u)} }

// notTest is RFC 5228, 5.8.
type notTest struct{ test condition }

func (t *notTest) evaluate(r *run) (bool, error) {
	ok, err := t.test.evaluate(r)
	return !ok && err == nil, err
}

func compileNot(c *compiler, u *usage) test { return &notTest{c.test(u.node.tests[0])} }

// boolean is true and false (RFC 5228, 5.10 and 5.6).
type boolean bool

func (b boolean) evaluate(*run) (bool, error) { return bool(b), nil }

func compileTrue(*compiler, *usage) test { return boolean(true) }

func compileFalse(*compiler, *usage) test { return boolean(false) }

// haveTest is ihave (RFC 5463, 4): with all of them there, it enables them.
type haveTest struct {
	enables extensionSet
	there   bool
}

func compileIHave(c *compiler, u *usage) test {
	t := &haveTest{there: true}
	for _, l := range u.args[0].strings {
		e, ok := extensionNamed(c.constant(l, "the name of an extension"))
		// RFC 5463, 4: what changes how scripts are read cannot be enabled so.
		grammar := e == extVariables || e == extEncodedCharacter
		if !ok || !c.allowed.has(e) || grammar && !c.required.has(e) {
			t.there = false
			continue
		}
		t.enables |= implied(e)
	}
	return t
}

func (t *haveTest) evaluate(r *run) (bool, error) {
	if t.there {
		r.frame.enabled |= t.enables
	}
	return t.there, nil
}

// errorCommand is error (RFC 5463, 5).
type errorCommand struct{ text text }

func compileError(c *compiler, u *usage) command { return &errorCommand{c.string(u.args[0])} }

func (e *errorCommand) execute(r *run) (flow, error) {
	s, err := e.text.expand(r)
	if err != nil {
		return flowStop, err
	}
	return flowStop, r.failf("%s", strings.TrimSpace(s))
}
