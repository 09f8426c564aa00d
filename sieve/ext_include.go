package sieve

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

// includeCommand is include (RFC 6609, 3.2).
type includeCommand struct {
	what     Include
	once     bool
	optional bool
}

var includeTags = []tagRule{
	{name: "personal", group: "location"}, {name: "global", group: "location"}, {name: "once"}, {name: "optional"},
}

// scriptNameMax bounds the name of a script, in characters (RFC 5804, 1.6).
const scriptNameMax = 128

func compileInclude(c *compiler, u *usage) command {
	l := u.args[0].strings[0]
	i := &includeCommand{once: u.has("once"), optional: u.has("optional")}
	i.what = Include{Name: c.constant(l, "the name of a script"), Global: u.has("global")}
	if !isScriptName(i.what.Name) {
		c.fault(l.at.errorf("%q is no name of a script", i.what.Name))
	}
	c.include(i.what, i.optional)
	return i
}

// include notes a script among the requirements; it is optional if it always is.
func (c *compiler) include(what Include, optional bool) {
	list := c.script.needs.Includes
	for i := range list {
		if list[i].Name == what.Name && list[i].Global == what.Global {
			list[i].Optional = list[i].Optional && optional
			return
		}
	}
	what.Optional = optional
	c.script.needs.Includes = append(list, what)
}

// isScriptName tells whether s is fit for ManageSieve (RFC 5804, 1.6).
func isScriptName(s string) bool {
	if s == "" || !utf8.ValidString(s) || utf8.RuneCountInString(s) > scriptNameMax {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool { return unicode.IsControl(r) || r == 0x2028 || r == 0x2029 }) < 0
}

func (i *includeCommand) execute(r *run) (flow, error) {
	if i.once && (r.included[i.what] || r.running(i.what)) {
		r.explain("%q was included already", i.what.Name)
		return flowNext, nil
	}
	if r.running(i.what) {
		return flowStop, r.failf("the script %q includes itself", i.what.Name)
	}
	if len(r.frames) > r.limits.IncludeDepth {
		return flowStop, r.failf("scripts are included deeper than %d", r.limits.IncludeDepth)
	}
	s, err := i.find(r)
	if err != nil {
		return flowStop, err
	}
	if s == nil {
		if i.optional {
			r.explain("there is no script %q", i.what.Name)
			return flowNext, nil
		}
		return flowStop, r.failf("there is no script %q", i.what.Name)
	}
	if r.included == nil {
		r.included = map[Include]bool{}
	}
	r.included[i.what] = true
	r.explain("include %q", i.what.Name)
	r.push(s, i.what.Name, i.what.Global)
	f, err := r.block(s.body)
	if err != nil {
		return flowStop, err
	}
	r.pop()
	if f == flowStop {
		return flowStop, nil
	}
	return flowNext, nil
}

// find asks for the script.
func (i *includeCommand) find(r *run) (*Script, error) {
	if r.in.Includes == nil {
		return nil, nil
	}
	if err := r.work(askCost); err != nil {
		return nil, err
	}
	s, err := r.in.Includes.Script(r.ctx, i.what.Name, i.what.Global)
	var faults Errors
	if errors.As(err, &faults) && len(faults) > 0 {
		return nil, r.failf("the script %q is faulty: %s", i.what.Name, faults[0].Error())
	}
	return s, err
}

// running tells whether a script is being run, from the one outermost on.
func (r *run) running(what Include) bool {
	if r.in.Name == what.Name && !what.Global {
		return true
	}
	for _, f := range r.frames[1:] {
		if f.name == what.Name && f.global == what.Global {
			return true
		}
	}
	return false
}

// returnCommand is return (RFC 6609, 3.3).
type returnCommand struct{}

func compileReturn(*compiler, *usage) command { return returnCommand{} }

func (returnCommand) execute(r *run) (flow, error) {
	r.explain("return")
	return flowReturn, nil
}

// globalCommand is global (RFC 6609, 3.4.1), all done when the script is compiled.
type globalCommand struct{}

func (globalCommand) execute(*run) (flow, error) { return flowNext, nil }

func compileGlobal(c *compiler, u *usage) command {
	if !c.required.has(extVariables) {
		c.fault(u.node.at.errorf("the command \"global\" needs require \"variables\""))
	}
	for _, l := range u.args[0].strings {
		name := strings.ToLower(c.constant(l, "the name of a variable"))
		_, defined := c.set[name]
		switch {
		case !isIdentifier(name):
			c.fault(l.at.errorf("%q is no name of a variable", l.value))
		case len(name) > VariableNameMax:
			c.fault(l.at.errorf("the name of a variable has at most %d octets", VariableNameMax))
		case defined:
			c.fault(l.at.errorf("the variable %q was set already and cannot become global", l.value))
		default:
			c.globals[name] = true
		}
	}
	return globalCommand{}
}
