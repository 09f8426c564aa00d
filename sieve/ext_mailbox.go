package sieve

import "strings"

// existence is mailboxexists (RFC 5490, 3.1) and mailboxidexists (RFC 9042, 6): all are
// there.
type existence struct {
	names []text
	ids   bool
}

func compileMailboxExists(c *compiler, u *usage) test {
	c.script.needs.Mailboxes = true
	return &existence{c.texts(u.args[0]), u.node.name == "mailboxidexists"}
}

func (t *existence) evaluate(r *run) (bool, error) {
	names, err := expandAll(r, t.names)
	if err != nil {
		return false, err
	}
	for _, name := range names {
		ok, err := t.exists(r, name)
		if err != nil || !ok {
			r.explain("there is no mailbox %q", shown(name))
			return false, err
		}
	}
	return true, nil
}

func (t *existence) exists(r *run, name string) (bool, error) {
	if err := r.work(askCost); err != nil {
		return false, err
	}
	switch {
	case !t.ids && strings.EqualFold(name, "INBOX"):
		return true, nil
	case r.in.Mailboxes == nil:
		return false, nil
	case t.ids:
		return r.in.Mailboxes.MailboxIDExists(r.ctx, name)
	case !isMailboxName(name):
		return false, nil
	}
	return r.in.Mailboxes.MailboxExists(r.ctx, name)
}

// specialUseTest is specialuse_exists (RFC 8579, 3).
type specialUseTest struct {
	mailbox *text // nil: any
	uses    []text
}

func compileSpecialUse(c *compiler, u *usage) test {
	c.script.needs.Mailboxes = true
	t := &specialUseTest{uses: c.texts(u.args[1])}
	if u.args[0] != nil {
		s := c.string(u.args[0])
		t.mailbox = &s
	}
	return t
}

func (t *specialUseTest) evaluate(r *run) (bool, error) {
	name := ""
	if t.mailbox != nil {
		s, err := t.mailbox.expand(r)
		if err != nil {
			return false, err
		}
		if name = s; !isMailboxName(name) {
			return false, nil
		}
	}
	uses, err := expandAll(r, t.uses)
	if err != nil || r.in.Mailboxes == nil {
		return false, err
	}
	for _, use := range uses {
		if !isSpecialUse(use) {
			return false, nil
		}
		if err := r.work(askCost); err != nil {
			return false, err
		}
		if ok, err := r.in.Mailboxes.SpecialUse(r.ctx, name, use); err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

// metadataTest is metadata and servermetadata (RFC 5490, 3.3 and 4.1).
type metadataTest struct {
	mailbox    *text // nil: of the server
	annotation text
	match      *matcher
}

func compileMetadata(c *compiler, u *usage) test {
	c.script.needs.Mailboxes = true
	n := len(u.args)
	t := &metadataTest{annotation: c.string(u.args[n-2]), match: c.matcher(u, u.args[n-1])}
	if n == 3 {
		s := c.string(u.args[0])
		t.mailbox = &s
	}
	return t
}

func (t *metadataTest) evaluate(r *run) (bool, error) {
	name, err := metadataMailbox(r, t.mailbox)
	if err != nil {
		return false, err
	}
	annotation, err := t.annotation.expand(r)
	if err != nil {
		return false, err
	}
	value, ok, err := r.metadata(name, annotation)
	if err != nil {
		return false, err
	}
	var values []string
	if ok {
		values = []string{value}
	}
	return t.match.any(r, values)
}

// metadataMailbox is the mailbox that annotations are of; empty for the server's.
func metadataMailbox(r *run, t *text) (string, error) {
	if t == nil {
		return "", nil
	}
	name, err := t.expand(r)
	if err == nil && !isMailboxName(name) {
		err = r.failf("%q is no name of a mailbox", shown(name))
	}
	return name, err
}

func (r *run) metadata(name, annotation string) (string, bool, error) {
	if r.in.Mailboxes == nil {
		return "", false, nil
	}
	if err := r.work(askCost); err != nil {
		return "", false, err
	}
	return r.in.Mailboxes.Metadata(r.ctx, name, annotation)
}

// metadataExists is metadataexists and servermetadataexists (RFC 5490, 3.4 and 4.2).
type metadataExists struct {
	mailbox     *text
	annotations []text
}

func compileMetadataExists(c *compiler, u *usage) test {
	c.script.needs.Mailboxes = true
	n := len(u.args)
	t := &metadataExists{annotations: c.texts(u.args[n-1])}
	if n == 2 {
		s := c.string(u.args[0])
		t.mailbox = &s
	}
	return t
}

func (t *metadataExists) evaluate(r *run) (bool, error) {
	name, err := metadataMailbox(r, t.mailbox)
	if err != nil {
		return false, err
	}
	list, err := expandAll(r, t.annotations)
	if err != nil {
		return false, err
	}
	for _, annotation := range list {
		if _, ok, err := r.metadata(name, annotation); err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}
