package sieve

import (
	"slices"
	"strings"
)

// compiler turns the nodes of one script into commands and tests.
//
// An extension must be required before use (RFC 5228, 2.10.5). With ihave (RFC 5463, 4)
// that is checked when the script runs: use of an extension not required is noted in
// gates, use of one that is not there in absent, and the command or test around it fails
// when it is reached.
type compiler struct {
	limits   Limits
	script   *Script
	allowed  extensionSet
	required extensionSet
	faults   int // also those that are too many to be told
	errors   Errors

	gates  extensionSet
	absent string

	slots   map[string]int // variables by name in lower case
	globals map[string]bool
	set     map[string]position // variables that set has defined, for global (RFC 6609, 3.4.1)
	loops   []loopName
	loopSum int
	regexes int  // instructions of all regular expressions
	started bool // a command other than require was seen
}

// loopName is an open foreverypart.
type loopName struct {
	name string
	id   int
}

func newCompiler(o Options, l Limits) *compiler {
	c := &compiler{
		limits: l, script: &Script{limits: l}, allowed: allExtensions,
		slots: map[string]int{}, globals: map[string]bool{}, set: map[string]position{},
	}
	if o.Extensions != nil {
		c.allowed = 1
		for _, name := range o.Extensions {
			if e, ok := extensionNamed(name); ok {
				c.allowed |= implied(e)
			}
		}
	}
	c.required = 1
	return c
}

// compile makes the script of its nodes.
func (c *compiler) compile(nodes []*node) {
	c.script.body = c.block(nodes, true)
	c.script.required, c.script.allowed = c.required, c.allowed
	c.script.local = len(c.slots)
	for e := extension(1); e < extensionCount; e++ {
		if c.required.has(e) {
			c.script.needs.Extensions = append(c.script.needs.Extensions, extensionNames[e])
		}
	}
	slices.Sort(c.script.needs.Extensions)
	c.script.flags = c.required.has(extFlags) || c.required.has(extIHave)
}

// fault notes an error.
func (c *compiler) fault(e *Error) {
	c.faults++
	if len(c.errors) < ErrorsMax {
		c.errors = append(c.errors, e)
	}
}

// missing notes that something is used that is not there: an error, or with ihave one only
// when it is reached.
func (c *compiler) missing(e *Error) {
	if !c.required.has(extIHave) {
		c.fault(e)
	} else if c.absent == "" {
		c.absent = e.Text
	}
}

// need notes the use of an extension.
func (c *compiler) need(e extension, at position, what string) {
	switch {
	case c.required.has(e):
	case c.required.has(extIHave) && c.allowed.has(e):
		c.gates.add(e)
	case c.allowed.has(e):
		c.missing(at.errorf("%s needs require \"%s\"", what, extensionNames[e]))
	default:
		c.missing(at.errorf("%s is of the extension \"%s\", which is not available", what, extensionNames[e]))
	}
}

// block compiles a list of commands; an if takes its elsif and else along.
func (c *compiler) block(nodes []*node, top bool) []statement {
	list := make([]statement, 0, len(nodes))
	for i := 0; i < len(nodes); i++ {
		n := nodes[i]
		switch n.name {
		case "require":
			c.require(n, top)
		case "if":
			c.started = true
			j := i + 1
			for j < len(nodes) && (nodes[j].name == "elsif" || nodes[j].name == "else") {
				j++
				if nodes[j-1].name == "else" {
					break
				}
			}
			list = append(list, c.choice(nodes[i:j]))
			i = j - 1
		case "elsif", "else":
			c.fault(n.at.errorf("%q must follow the block of an if or elsif", n.name))
		default:
			c.started = true
			if s, ok := c.command(n); ok {
				list = append(list, s)
			}
		}
	}
	return list
}

// require reads a require command (RFC 5228, 3.2).
func (c *compiler) require(n *node, top bool) {
	if !top || c.started {
		c.fault(n.at.errorf("require must stand before all other commands"))
		return
	}
	u, ok := c.bind(n, &definition{args: []argumentKind{kindStrings}})
	if !ok {
		if c.absent != "" { // not even ihave has tags for it
			c.fault(n.at.errorf("%s", c.absent))
		}
		return
	}
	for _, s := range u.args[0].strings {
		e, ok := extensionNamed(s.value)
		switch {
		case !ok:
			c.fault(s.at.errorf("there is no extension %q here", s.value))
		case !c.allowed.has(e):
			c.fault(s.at.errorf("the extension %q is not available", s.value))
		default:
			c.required |= implied(e)
		}
	}
}

// choice compiles an if in its place.
func (c *compiler) choice(nodes []*node) statement {
	gates, absent := c.gates, c.absent
	c.gates, c.absent = 0, ""
	s := statement{line: nodes[0].at.line, name: "if", command: c.branches(nodes)}
	s.gates, s.absent = c.gates, c.absent
	c.gates, c.absent = gates, absent
	return s
}

// branches compiles an if with what belongs to it (RFC 5228, 3.1).
func (c *compiler) branches(nodes []*node) command {
	cmd := &ifCommand{}
	for _, n := range nodes {
		d := &definition{tests: 1, block: true}
		if n.name == "else" {
			d.tests = 0
		}
		u, ok := c.bind(n, d)
		if !ok {
			continue
		}
		b := branch{line: n.at.line}
		if n.name != "else" {
			b.condition = c.test(u.node.tests[0])
		}
		b.block = c.block(n.block, false)
		cmd.branches = append(cmd.branches, b)
	}
	return cmd
}

// command compiles any other command; ok is false when there is nothing to execute.
func (c *compiler) command(n *node) (s statement, ok bool) {
	gates, absent := c.gates, c.absent
	c.gates, c.absent = 0, ""
	s = statement{line: n.at.line, name: n.name}
	d := commandNamed(n.name)
	switch {
	case d == nil && testNamed(n.name) != nil:
		c.fault(n.at.errorf("%q is a test and cannot stand alone", n.name))
	case d == nil:
		c.missing(n.at.errorf("there is no command %q", n.name))
	default:
		if d.extension != base {
			c.need(d.extension, n.at, "the command \""+n.name+"\"")
		}
		if u, bound := c.bind(n, d); bound {
			s.command = d.command(c, u)
		}
	}
	s.gates, s.absent = c.gates, c.absent
	c.gates, c.absent = gates, absent
	return s, s.command != nil || s.absent != ""
}

// test compiles a test.
func (c *compiler) test(n *node) condition {
	gates, absent := c.gates, c.absent
	c.gates, c.absent = 0, ""
	t := condition{line: n.at.line, name: n.name}
	d := testNamed(n.name)
	switch {
	case d == nil && commandNamed(n.name) != nil:
		c.fault(n.at.errorf("%q is a command, not a test", n.name))
	case d == nil:
		c.missing(n.at.errorf("there is no test %q", n.name))
	default:
		if d.extension != base {
			c.need(d.extension, n.at, "the test \""+n.name+"\"")
		}
		if u, bound := c.bind(n, d); bound {
			t.test = d.test(c, u)
		}
	}
	t.gates, t.absent = c.gates, c.absent
	c.gates, c.absent = gates, absent
	return t
}

// slot returns the place of a variable of the script, which is made for it.
func (c *compiler) slot(name string, at position) int {
	i, ok := c.slots[name]
	if !ok {
		if i = len(c.slots); i >= c.limits.Variables {
			c.fault(at.errorf("the script has more than %d variables", c.limits.Variables))
			return 0
		}
		c.slots[name] = i
	}
	return i
}

// variable reads the name of a variable that is to be set: of the script, or in the
// namespace "global" (RFC 6609, 3.4.2).
func (c *compiler) variable(l literal) (v variable, ok bool) {
	name := strings.ToLower(l.value)
	if rest, global := strings.CutPrefix(name, "global."); global {
		c.need(extInclude, l.at, "the namespace \"global\"")
		name = rest
		v.global = true
	}
	if !isIdentifier(name) {
		c.fault(l.at.errorf("%q is no name of a variable", l.value))
		return v, false
	}
	if len(name) > VariableNameMax {
		c.fault(l.at.errorf("the name of a variable has at most %d octets", VariableNameMax))
		return v, false
	}
	v.name = name
	if v.global = v.global || c.globals[name]; !v.global {
		v.slot = c.slot(name, l.at)
	}
	return v, true
}

// isIdentifier tells whether s is an identifier (RFC 5228, 8.1).
func isIdentifier(s string) bool {
	if s == "" || !isAlpha(s[0]) {
		return false
	}
	for i := range len(s) {
		if !isAlpha(s[i]) && !isDigit(s[i]) {
			return false
		}
	}
	return true
}
