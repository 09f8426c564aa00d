package sieve

// definition says what a command or test takes (RFC 5228, 2.6).
type definition struct {
	extension extension
	tags      []tagRule
	args      []argumentKind
	first     bool // the first argument may be left out
	last      bool // the last argument may be left out
	tests     int  // manyTests: a list
	block     bool
	command   func(*compiler, *usage) command
	test      func(*compiler, *usage) test
}

const manyTests = -1

// tagRule is one tagged argument.
type tagRule struct {
	name      string
	extension extension
	value     argumentKind // of the argument behind it, 0: none
	group     string       // of those in one group only one may stand
}

// usage is a command or test with its arguments in their places.
type usage struct {
	node *node
	tags []boundTag
	args []*argument // one for each of the definition, nil for one left out
}

type boundTag struct {
	rule  *tagRule
	at    position
	value *argument
}

// tag returns a tag, nil when it is not given.
func (u *usage) tag(name string) *boundTag {
	for i := range u.tags {
		if u.tags[i].rule.name == name {
			return &u.tags[i]
		}
	}
	return nil
}

func (u *usage) has(name string) bool { return u.tag(name) != nil }

// group returns the tag of a group that is given, nil for none.
func (u *usage) group(name string) *boundTag {
	for i := range u.tags {
		if u.tags[i].rule.group == name {
			return &u.tags[i]
		}
	}
	return nil
}

// bind puts the arguments of a node in their places. What is wrong is noted; ok is false
// when the node cannot be used.
func (c *compiler) bind(n *node, d *definition) (u *usage, ok bool) {
	u = &usage{node: n}
	before := c.faults
	positional, ok := c.bindTags(n, d, u)
	if !ok { // what follows a wrong tag cannot be judged
		return u, false
	}
	c.bindPositional(n, d, u, positional)
	c.bindTests(n, d)
	switch {
	case d.block && !n.hasBlock:
		c.fault(n.at.errorf("%q needs a block", n.name))
	case !d.block && n.hasBlock:
		c.fault(n.at.errorf("%q takes no block", n.name))
	}
	return u, c.faults == before
}

// bindTags takes the tagged arguments and returns those behind them (RFC 5228, 2.6.2).
func (c *compiler) bindTags(n *node, d *definition, u *usage) ([]*argument, bool) {
	args := n.args
	for len(args) > 0 && args[0].kind == kindTag {
		a := args[0]
		args = args[1:]
		rule := c.tagRule(n, d, u, a)
		if rule == nil {
			return nil, false
		}
		t := boundTag{rule: rule, at: a.at}
		if rule.value != 0 {
			if len(args) == 0 || !fits(args[0], rule.value) {
				c.fault(a.at.errorf("%s must follow the tag \":%s\"", kindNames[rule.value], a.tag))
				return nil, false
			}
			t.value = args[0]
			args = args[1:]
		}
		u.tags = append(u.tags, t)
	}
	for _, a := range args {
		if a.kind == kindTag {
			c.fault(a.at.errorf("the tag \":%s\" must stand before the other arguments", a.tag))
			return nil, false
		}
	}
	return args, true
}

// tagRule finds the rule of a tag and checks that it may stand here; nil: it may not.
func (c *compiler) tagRule(n *node, d *definition, u *usage, a *argument) *tagRule {
	for i := range d.tags {
		rule := &d.tags[i]
		if rule.name != a.tag {
			continue
		}
		if rule.extension != base {
			c.need(rule.extension, a.at, "the tag \":"+a.tag+"\"")
		}
		for _, t := range u.tags {
			if t.rule == rule {
				c.fault(a.at.errorf("the tag \":%s\" stands twice", a.tag))
				return nil
			}
			if rule.group != "" && t.rule.group == rule.group {
				c.fault(a.at.errorf("the tags \":%s\" and \":%s\" exclude each other", t.rule.name, a.tag))
				return nil
			}
		}
		return rule
	}
	c.missing(a.at.errorf("%q has no tag \":%s\"", n.name, a.tag))
	return nil
}

// fits tells whether an argument is of a kind.
func fits(a *argument, kind argumentKind) bool {
	return a.kind == kind || kind == kindStrings && a.kind == kindString
}

// bindPositional puts the positional arguments in their places.
func (c *compiler) bindPositional(n *node, d *definition, u *usage, args []*argument) {
	want := d.args
	u.args = make([]*argument, len(want))
	places := u.args
	if len(args) == len(want)-1 {
		if d.first {
			want, places = want[1:], places[1:]
		} else if d.last {
			want, places = want[:len(want)-1], places[:len(want)-1]
		}
	}
	if len(args) != len(want) {
		c.fault(n.at.errorf("%q takes %d arguments, not %d", n.name, len(want), len(args)))
		return
	}
	for i, a := range args {
		if !fits(a, want[i]) {
			c.fault(a.at.errorf("%s is expected here, not %s", kindNames[want[i]], kindNames[a.kind]))
			continue
		}
		places[i] = a
	}
}

func (c *compiler) bindTests(n *node, d *definition) {
	switch {
	case d.tests == manyTests && !n.testList:
		c.fault(n.at.errorf("%q needs tests in parentheses", n.name))
	case d.tests == 1 && (len(n.tests) != 1 || n.testList):
		c.fault(n.at.errorf("%q needs one test", n.name))
	case d.tests == 0 && len(n.tests) > 0:
		c.fault(n.tests[0].at.errorf("%q takes no test", n.name))
	}
}
