package sieve

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// flow says where a run goes behind a command.
type flow uint8

const (
	flowNext   flow = iota
	flowBreak       // out of the loop run.breaking (RFC 5703, 3)
	flowReturn      // out of the script (RFC 6609, 3.3)
	flowStop        // out of all scripts
)

// command is one compiled command. An error is a *Failure, which is the script's, or one
// that is not and is returned to who runs it.
type command interface {
	execute(r *run) (flow, error)
}

// test is one compiled test; errors are as those of command.
type test interface {
	evaluate(r *run) (bool, error)
}

// statement is a command in its place.
type statement struct {
	line    int
	name    string
	gates   extensionSet // must have been enabled by ihave
	absent  string       // what is used and not there
	command command
}

// condition is a test in its place.
type condition struct {
	line   int
	name   string
	gates  extensionSet
	absent string
	test   test
}

// frame is one script being run: variables are its own (RFC 6609, 3.4).
type frame struct {
	script  *Script
	name    string // empty for the outermost
	global  bool
	enabled extensionSet // by ihave
	local   []string
	match   []string
	root    []int // path of the part that is the message here (RFC 6609, 3.5); nil: all of it
	part    []int // path of the current part of foreverypart; nil: root
	inLoop  bool
}

// run is the state of one run.
type run struct {
	ctx    context.Context
	in     *Input
	limits Limits
	now    time.Time

	frame    *frame
	frames   []*frame
	included map[Include]bool
	globals  map[string]string
	flags    []string // the internal variable (RFC 5232, 3)
	line     int
	depth    int
	steps    int
	octets   int // compared and not yet counted as steps
	breaking int

	doc   *document
	sent  *Edited // what redirect sends after an enclose
	spans []span  // of the last glob, for its room
	chunk []byte  // of the last search of a body, for its room

	folded foldCache

	encloses    int
	addedHeader int // octets
	outcome     outcome
}

// Run executes the script. The error is none of the script: the context ended, the message
// could not be read, or an interface failed; nothing is decided then and the delivery is
// to be tried again. What the script did wrong is in Result.Failure.
func (s *Script) Run(ctx context.Context, in *Input) (*Result, error) {
	r := &run{ctx: ctx, in: in, limits: s.limits, now: in.Now}
	if r.now.IsZero() {
		r.now = time.Now()
	}
	if in.Event != nil {
		r.flags = cleanFlags(nil, in.Event.Flags)
	}
	r.doc = newDocument(in.Body, in.Message)
	r.push(s, "", false)
	_, err := r.block(s.body)
	var failure *Failure
	if err != nil && !errors.As(err, &failure) {
		return nil, err
	}
	return r.finish(failure)
}

// push begins a script.
func (r *run) push(s *Script, name string, global bool) {
	f := &frame{script: s, name: name, global: global, enabled: s.required}
	if s.local > 0 {
		f.local = make([]string, s.local)
	}
	if r.frame != nil {
		f.root = r.frame.current()
	}
	r.frames = append(r.frames, f)
	r.frame = f
}

// pop ends a script.
func (r *run) pop() {
	r.frames = r.frames[:len(r.frames)-1]
	r.frame = r.frames[len(r.frames)-1]
}

// current is the path of the part in view.
func (f *frame) current() []int {
	if f.inLoop {
		return f.part
	}
	return f.root
}

// failf is an error of the script at the present line.
func (r *run) failf(format string, args ...any) error {
	return &Failure{Script: r.frame.name, Line: r.line, Text: fmt.Sprintf(format, args...)}
}

// stepOctets is how many octets compared count as a step.
const stepOctets = 64

// step counts one command or test.
func (r *run) step() error {
	r.steps++
	if r.steps > r.limits.Steps {
		return r.failf("the script takes more than %d steps", r.limits.Steps)
	}
	if r.steps&0xff == 0 {
		return r.ctx.Err()
	}
	return nil
}

// work counts octets that were looked at.
func (r *run) work(octets int) error {
	r.octets += octets
	if r.octets < stepOctets {
		return nil
	}
	r.steps += r.octets / stepOctets
	r.octets %= stepOctets
	if r.steps > r.limits.Steps {
		return r.failf("the script takes more than %d steps", r.limits.Steps)
	}
	return nil
}

// left is how many octets may still be compared.
func (r *run) left() int { return (r.limits.Steps - r.steps + 1) * stepOctets }

// block executes commands.
func (r *run) block(list []statement) (flow, error) {
	for i := range list {
		s := &list[i]
		r.line = s.line
		if err := r.step(); err != nil {
			return flowStop, err
		}
		if err := r.gate(s.gates, s.absent); err != nil {
			return flowStop, err
		}
		f, err := s.command.execute(r)
		if err != nil || f != flowNext {
			return f, err
		}
	}
	return flowNext, nil
}

// gate fails where something is used that ihave has not enabled (RFC 5463, 4).
func (r *run) gate(gates extensionSet, absent string) error {
	if absent != "" {
		return r.failf("%s", absent)
	}
	if !r.frame.enabled.contains(gates) {
		return r.failf("%s is used without require or ihave", (gates &^ r.frame.enabled).names())
	}
	return nil
}

// evaluate evaluates a test in its place.
func (c *condition) evaluate(r *run) (bool, error) {
	r.line = c.line
	if err := r.step(); err != nil {
		return false, err
	}
	if err := r.gate(c.gates, c.absent); err != nil {
		return false, err
	}
	ok, err := c.test.evaluate(r)
	if err == nil && r.in.Trace != nil {
		r.line = c.line
		r.explain("test %s: %v", c.name, ok)
	}
	return ok, err
}

// explain tells the trace of a step; callers on hot paths ask for Trace themselves.
func (r *run) explain(format string, args ...any) {
	if r.in.Trace == nil {
		return
	}
	r.in.Trace(Step{Script: r.frame.name, Line: r.line, Depth: r.depth + len(r.frames) - 1, Text: fmt.Sprintf(format, args...)})
}

// explainOctets is how much of a value the trace shows.
const explainOctets = 120

// shown cuts a value for the trace.
func shown(s string) string {
	if len(s) > explainOctets {
		return s[:runeStart(s, explainOctets)] + "…"
	}
	return s
}

// explainMatch tells of one comparison.
func (r *run) explainMatch(m *matcher, i int, value string, ok bool) {
	key, err := m.keys[i].text.expand(r)
	if err != nil {
		key = err.Error()
	}
	kind := matchNames[m.kind]
	if m.kind == matchValue {
		kind += " \"" + relations[m.relation] + "\""
	}
	r.explain("%q :%s %q: %v", shown(value), kind, shown(key), ok)
}

// cut shortens the value of a variable (RFC 5229, 6).
func (r *run) cut(s string) string {
	if len(s) > r.limits.VariableOctets {
		s = s[:runeStart(s, r.limits.VariableOctets)]
	}
	return s
}

// runeStart returns the greatest index not above n at which a character starts.
func runeStart(s string, n int) int {
	for n > 0 && n < len(s) && !utf8.RuneStart(s[n]) {
		n--
	}
	return n
}

// store sets a variable.
func (r *run) store(v variable, value string) error {
	value = r.cut(value)
	r.explain("%s = %q", v.name, shown(value))
	if !v.global {
		r.frame.local[v.slot] = value
		return nil
	}
	if r.globals == nil {
		r.globals = map[string]string{}
	}
	r.globals[v.name] = value
	if len(r.globals) > r.limits.Variables {
		return r.failf("there are more than %d global variables", r.limits.Variables)
	}
	return nil
}

// load returns the value of a variable.
func (r *run) load(v variable) string {
	if v.global {
		return r.globals[v.name]
	}
	return r.frame.local[v.slot]
}

// uses tells whether the present script may use an extension.
func (r *run) uses(e extension) bool { return r.frame.enabled.has(e) }

// oneLine returns s without line ends, for what must stand on one line.
func oneLine(s string) string {
	return strings.Map(func(c rune) rune {
		if c == '\r' || c == '\n' || c == 0 {
			return ' '
		}
		return c
	}, s)
}
