package sieve

import (
	"slices"
	"strings"

	"postroad/message"
)

// addHeaderCommand is addheader (RFC 5293, 4).
type addHeaderCommand struct {
	last        bool
	name, value text
}

var addHeaderTags = []tagRule{{name: "last"}}

// unchangeable are fields that may be neither added nor deleted: RFC 5293, 6, forbids it
// for the first two, RFC 5703, 5, for the others.
var unchangeable = []string{"received", "auto-submitted", "original-subject", "original-from"}

func isUnchangeable(name string) bool { return slices.Contains(unchangeable, strings.ToLower(name)) }

func compileAddHeader(c *compiler, u *usage) command {
	c.script.needs.Edits = true
	a := &addHeaderCommand{last: u.has("last"), name: c.string(u.args[0]), value: c.string(u.args[1])}
	c.fieldName(a.name, u.args[0])
	return a
}

// fieldName checks a name of a header field.
func (c *compiler) fieldName(name text, at *argument) {
	if name.isConstant() && !isFieldName(name.constant) {
		c.fault(at.at.errorf("%q is no name of a header field", name.constant))
	}
}

// fieldNameIn is the name in this run.
func fieldNameIn(r *run, t *text) (string, error) {
	name, err := t.expand(r)
	if err == nil && !isFieldName(name) {
		err = r.failf("%q is no name of a header field", shown(name))
	}
	return name, err
}

func (a *addHeaderCommand) execute(r *run) (flow, error) {
	name, err := fieldNameIn(r, &a.name)
	if err != nil {
		return flowStop, err
	}
	value, err := a.value.expand(r)
	if err != nil {
		return flowStop, err
	}
	if err := r.count(); err != nil {
		return flowStop, err
	}
	if isUnchangeable(name) {
		r.explain("%s may not be added", name)
		return flowNext, nil
	}
	v, err := r.doc.top()
	if err != nil {
		return flowStop, err
	}
	var h message.Header
	h.AddText(name, oneLine(value))
	if r.addedHeader += len(h.Bytes()); r.addedHeader > AddedHeaderMax {
		return flowStop, r.failf("more than %d octets are added to the header", AddedHeaderMax)
	}
	r.explain("addheader %s", shown(name))
	f := field{added: h.Bytes()}
	for parsed := range message.Fields(f.added) {
		f.Field = parsed
		break
	}
	if a.last {
		v.fields = append(v.fields, f)
	} else {
		v.fields = slices.Insert(v.fields, 0, f)
	}
	r.doc.touched()
	return flowNext, nil
}

// deleteHeaderCommand is deleteheader (RFC 5293, 5).
type deleteHeaderCommand struct {
	index int
	last  bool
	name  text
	match *matcher // nil: whatever the value
}

var deleteHeaderTags = append([]tagRule{{name: "index", value: kindNumber}, {name: "last"}}, matchTags...)

func compileDeleteHeader(c *compiler, u *usage) command {
	c.script.needs.Edits = true
	d := &deleteHeaderCommand{name: c.string(u.args[0])}
	d.index, d.last = c.index(u)
	c.fieldName(d.name, u.args[0])
	if u.args[1] != nil {
		d.match = c.matcher(u, u.args[1])
		d.match.capture = false
	}
	return d
}

func (d *deleteHeaderCommand) execute(r *run) (flow, error) {
	name, err := fieldNameIn(r, &d.name)
	if err != nil {
		return flowStop, err
	}
	if err := r.count(); err != nil {
		return flowStop, err
	}
	if isUnchangeable(name) {
		r.explain("%s may not be deleted", name)
		return flowNext, nil
	}
	v, err := r.doc.top()
	if err != nil {
		return flowStop, err
	}
	var doomed []int
	for i := range v.fields {
		if v.fields[i].Is(name) {
			doomed = append(doomed, i)
		}
	}
	if d.index > 0 {
		at := d.index - 1
		if d.last {
			at = len(doomed) - d.index
		}
		if at < 0 || at >= len(doomed) {
			return flowNext, nil
		}
		doomed = doomed[at : at+1]
	}
	if doomed, err = d.matching(r, v, doomed); err != nil || len(doomed) == 0 {
		return flowNext, err
	}
	r.explain("deleteheader %s: %d fields", name, len(doomed))
	for _, i := range slices.Backward(doomed) {
		v.fields = slices.Delete(v.fields, i, i+1)
	}
	r.doc.touched()
	return flowNext, nil
}

// matching leaves those whose value matches.
func (d *deleteHeaderCommand) matching(r *run, v *headerView, list []int) ([]int, error) {
	if d.match == nil {
		return list, nil
	}
	if d.match.kind == matchCount {
		ok, err := d.match.count(r, len(list))
		if !ok || err != nil {
			return nil, err
		}
		return list, nil
	}
	var left []int
	for _, i := range list {
		ok, err := d.match.value(r, v.fields[i].value())
		if err != nil {
			return nil, err
		}
		if ok {
			left = append(left, i)
		}
	}
	return left, nil
}
