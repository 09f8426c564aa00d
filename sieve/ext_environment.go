package sieve

import "strings"

// environmentTest is environment (RFC 5183, 4).
type environmentTest struct {
	item  text
	match *matcher
}

func compileEnvironment(c *compiler, u *usage) test {
	return &environmentTest{c.string(u.args[0]), c.matcher(u, u.args[1])}
}

func (t *environmentTest) evaluate(r *run) (bool, error) {
	item, err := t.item.expand(r)
	if err != nil {
		return false, err
	}
	value, ok := r.environment(strings.ToLower(item))
	if !ok { // RFC 5183, 4: an item that is not known matches nothing
		r.explain("there is no item %q", shown(item))
		return false, nil
	}
	return t.match.any(r, []string{value})
}

// environment returns an item. Those of RFC 6785, 4, are there without an event too, and
// empty.
func (r *run) environment(item string) (string, bool) {
	e := r.in.Event
	if rest, ok := strings.CutPrefix(item, "imap."); ok {
		if !r.uses(extIMAPSieve) && e == nil {
			return "", false
		}
		if e == nil {
			e = &Event{}
		}
		switch rest {
		case "user":
			return e.User, true
		case "email":
			return e.Email, true
		case "cause":
			return e.Cause, true
		case "mailbox":
			return e.Mailbox, true
		case "changedflags":
			return strings.Join(e.ChangedFlags, " "), true
		}
		return "", false
	}
	if e != nil { // RFC 6785, 4.1
		switch item {
		case "location":
			return "MS", true
		case "phase":
			return "post", true
		}
	}
	v, ok := r.in.Environment[item]
	return v, ok
}
