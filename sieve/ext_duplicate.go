package sieve

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"time"
)

// duplicateTest is duplicate (RFC 7352).
type duplicateTest struct {
	handle   *text
	header   *text
	uniqueID *text
	interval time.Duration
	last     bool
}

var duplicateTags = []tagRule{
	{name: "handle", value: kindString}, {name: "header", value: kindString, group: "id"},
	{name: "uniqueid", value: kindString, group: "id"}, {name: "seconds", value: kindNumber}, {name: "last"},
}

func compileDuplicate(c *compiler, u *usage) test {
	c.script.needs.Memory = true
	t := &duplicateTest{interval: DuplicateDefault, last: u.has("last")}
	t.handle, t.header, t.uniqueID = c.tagText(u, "handle"), c.tagText(u, "header"), c.tagText(u, "uniqueid")
	if s := u.tag("seconds"); s != nil {
		t.interval = seconds(s.value.number, DuplicateMax)
	}
	return t
}

// tagText compiles the string of a tag; nil when it is not given.
func (c *compiler) tagText(u *usage, name string) *text {
	t := u.tag(name)
	if t == nil {
		return nil
	}
	s := c.string(t.value)
	return &s
}

// seconds is a duration, cut to most.
func seconds(n uint64, most time.Duration) time.Duration {
	if n > uint64(most/time.Second) {
		return most
	}
	return time.Duration(n) * time.Second
}

func (t *duplicateTest) evaluate(r *run) (bool, error) {
	id, ok, err := t.id(r)
	if err != nil || !ok || t.interval == 0 { // RFC 7352, 3.3: with 0 seconds always false
		return false, err
	}
	handle := ""
	if t.handle != nil {
		if handle, err = t.handle.expand(r); err != nil {
			return false, err
		}
	}
	if err := r.work(parseCost * (len(handle) + len(id))); err != nil {
		return false, err
	}
	key := memoryKey("duplicate", strconv.FormatBool(t.handle != nil), handle, id)
	seen, err := r.seen(key)
	if err != nil {
		return false, err
	}
	if r.in.Trace != nil {
		r.explain("the id %q was seen before: %v", shown(id), seen)
	}
	if !seen || t.last {
		return seen, r.mark(key, t.interval)
	}
	return seen, nil
}

// askCost is what a question to one of the interfaces of Input costs, in octets compared:
// with the default limits a run asks at most some thousands.
const askCost = 64 << 10

// seen asks the memory.
func (r *run) seen(key string) (bool, error) {
	if r.in.Memory == nil {
		return false, nil
	}
	if err := r.work(askCost); err != nil {
		return false, err
	}
	return r.in.Memory.Seen(r.ctx, key)
}

// mark notes what to remember, each key once.
func (r *run) mark(key string, interval time.Duration) error {
	for i := range r.outcome.marks {
		if m := &r.outcome.marks[i]; m.Key == key {
			m.For = max(m.For, interval)
			return nil
		}
	}
	if len(r.outcome.marks) >= r.limits.Actions {
		return r.failf("the script has more than %d things to remember", r.limits.Actions)
	}
	r.outcome.marks = append(r.outcome.marks, Mark{Key: key, For: interval})
	return nil
}

// id is the unique id of the message (RFC 7352, 3.1); ok is false when it has none.
func (t *duplicateTest) id(r *run) (id string, ok bool, err error) {
	if t.uniqueID != nil {
		id, err = t.uniqueID.expand(r)
		return id, err == nil, err
	}
	name := "Message-ID"
	if t.header != nil {
		if name, err = t.header.expand(r); err != nil {
			return "", false, err
		}
	}
	v, err := r.fields()
	if err != nil {
		return "", false, err
	}
	for i := range v.fields {
		if f := &v.fields[i]; isFieldName(name) && f.Is(name) {
			return f.value(), true, nil
		}
	}
	return "", false, nil
}

// memoryKey hashes parts so that no two lists of parts are the same.
func memoryKey(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte(strconv.Itoa(len(p)) + ":" + p))
	}
	return hex.EncodeToString(h.Sum(nil))
}
