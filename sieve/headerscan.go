package sieve

import (
	"strings"

	"postroad/message"
)

// headerScan finds the fields that a test on headers looks at: by name, with :index and
// :last (RFC 5260, 6), of the message, of the current part or of all parts below it (RFC
// 5703, 4).
type headerScan struct {
	names    []text
	fixed    []string // the names, when all are constants
	index    int      // from 1; 0: every field
	last     bool
	mime     bool
	anyChild bool
}

// indexTags and mimeTags are the arguments of headerScan.
var (
	indexTags = []tagRule{{name: "index", extension: extIndex, value: kindNumber}, {name: "last", extension: extIndex}}
	mimeTags  = []tagRule{{name: "mime", extension: extMIME}, {name: "anychild", extension: extMIME}}
)

// scan compiles the arguments of a test on headers.
func (c *compiler) scan(u *usage, names *argument) headerScan {
	s := headerScan{names: c.texts(names), mime: u.has("mime"), anyChild: u.has("anychild")}
	s.index, s.last = c.index(u)
	if t := u.tag("anychild"); t != nil && !s.mime {
		c.fault(t.at.errorf("the tag \":anychild\" needs \":mime\""))
	}
	if s.anyChild {
		c.script.needs.Structure = true
	}
	for i, t := range s.names {
		if !t.isConstant() {
			s.fixed = nil
			break
		}
		if !isFieldName(t.constant) { // RFC 5228, 2.4.2.2
			c.fault(names.strings[i].at.errorf("%q is no name of a header field", t.constant))
		}
		s.fixed = append(s.fixed, t.constant)
	}
	return s
}

// index reads :index and :last.
func (c *compiler) index(u *usage) (index int, last bool) {
	last = u.has("last")
	t := u.tag("index")
	switch {
	case t == nil && last:
		c.fault(u.tag("last").at.errorf("the tag \":last\" needs \":index\""))
	case t == nil:
	case t.value.number == 0 || t.value.number > 1<<30:
		c.fault(t.value.at.errorf("the first is :index 1"))
	default:
		index = int(t.value.number)
	}
	return index, last
}

// isFieldName tells whether s is a field name (RFC 5322, 3.6.8).
func isFieldName(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == ':' {
			return false
		}
	}
	return s != ""
}

// fieldNames are the names in this run.
func (s *headerScan) fieldNames(r *run) ([]string, error) {
	if s.fixed != nil {
		return s.fixed, nil
	}
	return expandAll(r, s.names)
}

// visitor is called with each field and the part it is of, which is nil without :mime; it
// stops the scan with true.
type visitor func(p *message.Part, f *field) (stop bool, err error)

// each visits the fields, header by header and name by name.
func (s *headerScan) each(r *run, visit visitor) (bool, error) {
	names, err := s.fieldNames(r)
	if err != nil {
		return false, err
	}
	if !s.mime {
		v, err := r.fields()
		if err != nil {
			return false, err
		}
		return s.inHeader(r, v, names, nil, visit)
	}
	top, err := r.view(r.frame.current())
	if err != nil {
		return false, err
	}
	var stopped bool
	top.Walk(func(p *message.Part) bool {
		if !s.anyChild && p != top {
			return false
		}
		var v *headerView
		if v, err = r.headerOf(p); err == nil {
			stopped, err = s.inHeader(r, v, names, p, visit)
		}
		return !stopped && err == nil
	})
	return stopped, err
}

// headerCost is what looking at one header costs, in octets compared.
const headerCost = 16

// inHeader visits the fields of one header.
func (s *headerScan) inHeader(r *run, v *headerView, names []string, p *message.Part, visit visitor) (bool, error) {
	if err := r.work(headerCost + len(names)*len(v.fields)); err != nil {
		return false, err
	}
	for _, name := range names {
		seen := 0
		for i := range v.fields {
			f := &v.fields[i]
			if s.last {
				f = &v.fields[len(v.fields)-1-i]
			}
			if !f.Is(name) {
				continue
			}
			if seen++; s.index != 0 && seen != s.index {
				continue
			}
			if stop, err := visit(p, f); stop || err != nil {
				return stop, err
			}
			if s.index != 0 {
				break
			}
		}
	}
	return false, nil
}

// any matches the values that are made of the fields, or counts them.
func (s *headerScan) any(r *run, m *matcher, values func(*message.Part, *field) ([]string, error)) (bool, error) {
	count, some := 0, false
	ok, err := s.each(r, func(p *message.Part, f *field) (bool, error) {
		list, err := values(p, f)
		if err != nil {
			return false, err
		}
		some = true
		if m.kind == matchCount {
			count += len(list)
			return false, nil
		}
		for _, v := range list {
			if ok, err := m.value(r, v); ok || err != nil {
				return ok, err
			}
		}
		return false, nil
	})
	if err != nil || ok {
		return ok, err
	}
	if m.kind == matchCount {
		return m.count(r, count)
	}
	if !some {
		r.explain("there is no such field")
	}
	return false, nil
}

// mimeOption is what header :mime tests of a field (RFC 5703, 4.1).
type mimeOption uint8

const (
	mimeWhole mimeOption = iota
	mimeType
	mimeSubtype
	mimeContentType
	mimeParam
)

var mimeOptionTags = append([]tagRule{
	{name: "type", extension: extMIME, group: "mimeopts"}, {name: "subtype", extension: extMIME, group: "mimeopts"},
	{name: "contenttype", extension: extMIME, group: "mimeopts"},
	{name: "param", extension: extMIME, value: kindStrings, group: "mimeopts"},
}, mimeTags...)

// headerTest is header (RFC 5228, 5.7).
type headerTest struct {
	scan   headerScan
	match  *matcher
	option mimeOption
	params []text
}

func compileHeader(c *compiler, u *usage) test {
	t := &headerTest{scan: c.scan(u, u.args[0]), match: c.matcher(u, u.args[1])}
	tag := u.group("mimeopts")
	if tag == nil {
		return t
	}
	if !t.scan.mime {
		c.fault(tag.at.errorf("the tag \":%s\" needs \":mime\"", tag.rule.name))
	}
	switch tag.rule.name {
	case "type":
		t.option = mimeType
	case "subtype":
		t.option = mimeSubtype
	case "contenttype":
		t.option = mimeContentType
	default:
		t.option = mimeParam
		t.params = c.texts(tag.value)
	}
	return t
}

func (t *headerTest) evaluate(r *run) (bool, error) {
	if t.option == mimeWhole {
		var one [1]string
		return t.scan.any(r, t.match, func(_ *message.Part, f *field) ([]string, error) {
			one[0] = f.value()
			return one[:], nil
		})
	}
	params, err := expandAll(r, t.params)
	if err != nil {
		return false, err
	}
	return t.scan.any(r, t.match, func(_ *message.Part, f *field) ([]string, error) {
		if err := r.work(parseCost * len(f.Value)); err != nil {
			return nil, err
		}
		return mimeValues(f, t.option, params), nil
	})
}

// parseCost is what an octet of a field costs that is taken apart for one test, in octets
// compared.
const parseCost = 4

// mimeValues takes a MIME field apart.
func mimeValues(f *field, option mimeOption, params []string) []string {
	first, have := message.ParseParams(f.Unfolded())
	if option == mimeParam {
		var list []string
		for _, name := range params {
			for _, p := range have {
				if strings.EqualFold(p.Name, name) {
					list = append(list, p.Value)
				}
			}
		}
		return list
	}
	disposition := f.Is("Content-Disposition")
	if !disposition && !f.Is("Content-Type") {
		return []string{""}
	}
	typ, subtype, _ := strings.Cut(first, "/")
	switch {
	case disposition && option == mimeSubtype:
		return []string{""}
	case disposition || option == mimeContentType:
		return []string{first}
	case option == mimeType:
		return []string{typ}
	}
	return []string{subtype}
}

// existsTest is exists (RFC 5228, 5.5): all the fields are there.
type existsTest struct{ scan headerScan }

func compileExists(c *compiler, u *usage) test { return &existsTest{c.scan(u, u.args[0])} }

func (t *existsTest) evaluate(r *run) (bool, error) {
	names, err := t.scan.fieldNames(r)
	if err != nil {
		return false, err
	}
	for _, name := range names {
		one := t.scan
		one.fixed = []string{name}
		found, err := one.each(r, func(*message.Part, *field) (bool, error) { return true, nil })
		if err != nil {
			return false, err
		}
		if !found {
			r.explain("there is no field %s", shown(name))
			return false, nil
		}
	}
	return true, nil
}

// sizeTest is size (RFC 5228, 5.9): strictly over or under.
type sizeTest struct {
	over  bool
	limit int64
}

func compileSize(c *compiler, u *usage) test {
	t := u.group("size")
	if t == nil {
		c.fault(u.node.at.errorf("\"size\" needs \":over\" or \":under\""))
		return nil
	}
	return &sizeTest{t.rule.name == "over", int64(t.value.number)}
}

func (t *sizeTest) evaluate(r *run) (bool, error) {
	size, err := r.size()
	if err != nil {
		return false, err
	}
	if r.in.Trace != nil {
		r.explain("the message has %d octets", size)
	}
	if t.over {
		return size > t.limit, nil
	}
	return size < t.limit, nil
}

// size is that of the message, or of the part that an included script sees as such.
func (r *run) size() (int64, error) {
	if len(r.frame.root) == 0 {
		return r.doc.size(), nil
	}
	p, err := r.view(r.frame.root)
	if err != nil {
		return 0, err
	}
	return p.Whole().Size(), nil
}
