package email

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"postroad/imap"
	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/snooze"
	"postroad/jmap"
)

// setEmails is Email/set (RFC 8621, 4.6).
func (m *Methods) setEmails(ctx context.Context, c *jmap.Call, args *jmap.SetArgs) (*jmap.SetResult, error) {
	a, err := m.house.Account(ctx, c, args.AccountID)
	if err != nil {
		return nil, methodError(err)
	}
	r := &jmap.SetResult{}
	if r.OldState, err = m.stateBefore(ctx, a, args.IfInState); err != nil {
		return nil, err
	}
	if err := m.createEmails(ctx, c, a, args.Create, r); err != nil {
		return nil, methodError(err)
	}
	if err := m.changeEmails(ctx, c, a, args, r); err != nil {
		return nil, methodError(err)
	}
	r.NewState, err = m.emailState(ctx, a)
	return r, methodError(err)
}

// emailState is the state of Email.
func (m *Methods) emailState(ctx context.Context, a *access.Account) (string, error) {
	s, err := a.EmailState(ctx, a.Reader)
	return s.String(), err
}

// stateBefore is the state before a change, if it is the one that the client wants.
func (m *Methods) stateBefore(ctx context.Context, a *access.Account, wanted *string) (string, error) {
	state, err := m.emailState(ctx, a)
	if err != nil {
		return "", methodError(err)
	}
	if wanted != nil && *wanted != state {
		return "", jmap.ErrStateMismatch
	}
	return state, nil
}

// createEmails makes messages of their properties.
func (m *Methods) createEmails(ctx context.Context, c *jmap.Call, a *access.Account, list []jmap.Creation, r *jmap.SetResult) error {
	var all []*arriving
	for _, made := range list {
		one, err := m.composeEmail(ctx, c, a, made)
		if err != nil {
			if e := setError(err); e != nil {
				r.NotCreate(made.ID, e)
				continue
			}
			m.drop(all)
			return err
		}
		all = append(all, one)
	}
	m.enter(ctx, access.Of(c), a, all)
	if err := m.arrived(ctx, access.Of(c), a, all, CauseAppend); err != nil {
		return err
	}
	var ids []mailstore.MessageID
	var of []jmap.Object
	for _, one := range all {
		if e := one.setError(); e != nil {
			r.NotCreate(one.creation, e)
			continue
		}
		o := one.object()
		r.Create(one.creation, o)
		if one.tellSnoozed {
			ids, of = append(ids, one.added[0].ID), append(of, o)
		}
	}
	return m.tellSnoozed(ctx, c, a, ids, func(i int, value any) { of[i][propertySnoozed] = value })
}

// failed tells of one object that could not be changed for reasons of ours. Others of the
// call may be done already, so the method as a whole has not failed.
func failed(err error) *jmap.SetError {
	if errors.Is(err, mailstore.ErrTemporary) || errors.Is(err, mailstore.ErrFull) {
		return jmap.NewSetError("serverUnavailable", "not possible now; try again later")
	}
	return jmap.NewSetError("serverFail", "the server failed")
}

// drop gives up what was staged.
func (m *Methods) drop(all []*arriving) {
	for _, one := range all {
		m.house.Bodies.Discard(one.in.Body)
	}
}

// composeEmail makes one message and stages it.
func (m *Methods) composeEmail(ctx context.Context, c *jmap.Call, a *access.Account, made jmap.Creation) (*arriving, error) {
	o := maps.Clone(made.Object)
	d, err := m.takeDestination(ctx, c, a, o)
	if err == nil {
		err = m.takeSnoozed(ctx, c, a, o, d)
	} else if m.snoozes(c) {
		delete(o, propertySnoozed) // nothing is said of it before the mailboxes are right
	}
	var wrong *jmap.SetError
	if err != nil && !errors.As(err, &wrong) {
		return nil, err
	}
	k := &composer{m: m, ctx: ctx, call: c, account: a}
	defer k.close()
	if wrong != nil && wrong.Type == jmap.SetInvalidProperties {
		for _, p := range wrong.Properties {
			k.bad(p, "%s", wrong.Description)
		}
		wrong = nil
	}
	root, err := k.compose(o)
	if err != nil {
		return nil, err
	}
	if wrong != nil {
		return nil, wrong
	}
	r, err := root.Reader()
	if err != nil {
		return nil, err
	}
	body, parsed, err := m.stage(ctx, r)
	if err != nil {
		return nil, err
	}
	return d.arriving(made.ID, a, body, parsed, time.Now()), nil
}

// change is one update or destruction under way.
type change struct {
	id     jmap.ID
	place  int
	change mailstore.EmailChange
	flags  bool // keywords change

	snoozed     *snooze.Snoozed // when it comes back, where that is said
	tellSnoozed bool            // the property snoozed may not be as it was
	woken       bool            // it comes back now
}

// changeEmails updates and destroys messages, many in one commit.
func (m *Methods) changeEmails(ctx context.Context, c *jmap.Call, a *access.Account, args *jmap.SetArgs, r *jmap.SetResult) error {
	if len(args.Update)+len(args.Destroy) == 0 {
		return nil
	}
	all, err := a.Emails(ctx, a.Reader)
	if err != nil {
		return err
	}
	s := &setting{c: c, all: all, rights: map[mailstore.MailboxID]imap.Rights{}}
	for _, v := range all.Visible() {
		s.rights[v.ID] = v.Rights
	}
	if err := m.snoozedBefore(ctx, a, s, args.Update); err != nil {
		return err
	}
	destroyed := make(map[jmap.ID]bool, len(args.Destroy))
	for _, id := range args.Destroy {
		destroyed[id] = true
	}
	var list []change
	for _, u := range args.Update {
		if destroyed[u.ID] {
			r.NotUpdate(u.ID, jmap.NewSetError(jmap.SetWillDestroy, "it is destroyed in the same call"))
			continue
		}
		one, e := s.update(u)
		if e != nil {
			r.NotUpdate(u.ID, e)
			continue
		}
		list = append(list, one)
	}
	updates := len(list)
	for _, id := range args.Destroy {
		if !destroyed[id] {
			continue // named twice
		}
		delete(destroyed, id)
		one, e := s.destroy(id)
		if e != nil {
			r.NotDestroy(id, e)
			continue
		}
		list = append(list, one)
	}
	return m.applyChanges(ctx, c, a, list, updates, all, r)
}

// applyChanges commits changes and tells what became of each; the first updates are updates.
func (m *Methods) applyChanges(ctx context.Context, c *jmap.Call, a *access.Account, list []change, updates int, all *mailstore.Emails, r *jmap.SetResult) error {
	changes := make([]mailstore.EmailChange, len(list))
	for i := range list {
		changes[i] = list[i].change
	}
	told := m.tellChanges(ctx, access.Of(c), a, list[:updates], all)
	within, err := snoozing(ctx, list[:updates])
	if err != nil {
		return err // they have been looked at
	}
	errs := a.SetEmails(within, a.Reader, changes)
	for i, err := range errs {
		var e *jmap.SetError
		if err != nil {
			if e = changeError(err); e == nil {
				e = failed(err)
			}
		}
		switch {
		case err == nil && i < updates:
			r.Update(list[i].id, nil)
		case err == nil:
			r.Destroyed = append(r.Destroyed, list[i].id)
		case i < updates:
			r.NotUpdate(list[i].id, e)
		default:
			r.NotDestroy(list[i].id, e)
		}
	}
	if err := m.tellUpdated(ctx, c, a, list[:updates], errs, r); err != nil {
		return err
	}
	return told(errs)
}

// changeError is setError for changes of messages that are there: what has no room is a
// keyword.
func changeError(err error) *jmap.SetError {
	switch {
	case errors.Is(err, mailstore.ErrLimit):
		return errTooManyKeywords
	case errors.Is(err, mailstore.ErrTooLarge): // keywords have been looked at
		return errTooManyMailboxes
	case errors.Is(err, mailstore.ErrNoMailbox):
		return jmap.InvalidProperties([]string{"mailboxIds"}, "a message must be in some mailbox, and only in those that are there")
	}
	return setError(err)
}

// tellChanges prepares to tell those who want to know of flags that change and of messages
// that come to mailboxes; the function that it returns does so, for what was done.
func (m *Methods) tellChanges(ctx context.Context, u *access.User, a *access.Account, list []change, before *mailstore.Emails) func(errs []error) error {
	if m.o.Changed == nil {
		return func([]error) error { return nil }
	}
	flagged := map[mailstore.MailboxID]func(context.Context, imap.UIDSet){}
	for i := range list {
		if !list[i].flags {
			continue
		}
		for _, box := range before.Mailboxes(list[i].place) {
			if flagged[box] == nil {
				flagged[box] = m.changed(ctx, u, a, box, CauseFlag)
			}
		}
	}
	return func(errs []error) error {
		now, err := a.Emails(ctx, a.Reader)
		if err != nil {
			return err
		}
		came, changed := map[mailstore.MailboxID]imap.UIDSet{}, map[mailstore.MailboxID]imap.UIDSet{}
		for i := range list {
			p, found := now.Find(list[i].change.ID)
			if errs[i] != nil || !found {
				continue
			}
			for _, at := range now.Entries(p) {
				to := changed
				if !before.In(list[i].place, at.Mailbox) {
					to = came
				} else if !list[i].flags {
					continue
				}
				set := to[at.Mailbox]
				set.Add(at.UID)
				to[at.Mailbox] = set
			}
		}
		for box, set := range came {
			m.changed(ctx, u, a, box, CauseCopy)(ctx, set)
		}
		for box, set := range changed {
			flagged[box](ctx, set)
		}
		return nil
	}
}

// setting reads the changes of one call.
type setting struct {
	c      *jmap.Call
	all    *mailstore.Emails
	rights map[mailstore.MailboxID]imap.Rights

	snoozes    bool                // the call may set the property snoozed
	snoozedBox mailstore.MailboxID // where messages wait, if it may; 0: nowhere
	snoozed    map[mailstore.MessageID]snooze.Snoozed
}

// find finds a message by its id.
func (s *setting) find(id jmap.ID) (change, *jmap.SetError) {
	p, ok := place(s.all, id)
	if !ok {
		return change{}, jmap.NewSetError(jmap.SetNotFound, "no such message")
	}
	return change{id: id, place: p, change: mailstore.EmailChange{ID: s.all.Message(p)}}, nil
}

// destroy prepares the end of a message, which must be allowed in all its mailboxes.
func (s *setting) destroy(id jmap.ID) (change, *jmap.SetError) {
	one, e := s.find(id)
	if e != nil {
		return one, e
	}
	one.change.Destroy = true
	return one, s.may(imap.RightDeleteMsgs|imap.RightExpunge, s.all.Mailboxes(one.place))
}

// may tells whether the user has rights to all of some mailboxes.
func (s *setting) may(need imap.Rights, boxes []mailstore.MailboxID) *jmap.SetError {
	for _, box := range boxes {
		if !s.rights[box].Has(need) {
			return jmap.NewSetError(jmap.SetForbidden, "you may not do that in mailbox %s", mailstore.FormatMailboxID(box))
		}
	}
	return nil
}

// update reads a patch (RFC 8620, 5.3).
func (s *setting) update(u jmap.Update) (change, *jmap.SetError) {
	one, e := s.find(u.ID)
	if e != nil {
		return one, e
	}
	p := patch{s: s, one: &one}
	for path, raw := range u.Patch {
		p.step(path, raw)
	}
	if len(p.invalid) > 0 {
		slices.Sort(p.invalid)
		return one, jmap.InvalidProperties(p.invalid, "only mailboxIds and keywords can be changed, to sets whose values are all true, and snoozed by who uses %s", CapabilityCyrusMail)
	}
	if p.clash() {
		return one, jmap.NewSetError(jmap.SetInvalidPatch, "a set is changed as a whole and in part")
	}
	if e := p.snooze(); e != nil {
		return one, e
	}
	return one, p.allowed()
}

// patch is a patch being read.
type patch struct {
	s         *setting
	one       *change
	invalid   []string
	boxesPart bool
	wordsPart bool
	snoozed   jmap.Properties // paths that are of the property snoozed
}

// step reads one entry of a patch.
func (p *patch) step(path string, raw json.RawMessage) {
	name, rest, part := strings.Cut(path, "/")
	if name == propertySnoozed && p.s.snoozes {
		if p.snoozed == nil {
			p.snoozed = jmap.Properties{}
		}
		p.snoozed[path] = raw
		return
	}
	rest = strings.ReplaceAll(strings.ReplaceAll(rest, "~1", "/"), "~0", "~")
	ok := false
	switch {
	case name == "keywords" && !part:
		ok = p.allKeywords(raw)
	case name == "keywords":
		ok = p.keyword(rest, raw)
	case name == "mailboxIds" && !part:
		ok = p.allMailboxes(raw)
	case name == "mailboxIds":
		ok = p.mailbox(rest, raw)
	case name == "id" && !part:
		var id jmap.ID
		ok = json.Unmarshal(raw, &id) == nil && id == p.one.id
	}
	if !ok {
		p.invalid = append(p.invalid, path)
	}
}

// allKeywords reads a whole set of keywords; null is the default, an empty one.
func (p *patch) allKeywords(raw json.RawMessage) bool {
	names, ok := readSet(raw)
	if string(raw) == "null" {
		names, ok = nil, true
	}
	for i, n := range names {
		ok = ok && isKeyword(n)
		names[i] = strings.ToLower(n)
	}
	p.one.change.SetKeywords, p.one.change.Keywords = true, names
	return ok
}

// keyword reads the change of one keyword: true sets it, null takes it away.
func (p *patch) keyword(name string, raw json.RawMessage) bool {
	p.wordsPart = true
	name = strings.ToLower(name)
	switch string(raw) {
	case "true":
		p.one.change.AddKeywords = append(p.one.change.AddKeywords, name)
	case "null":
		p.one.change.RemoveKeywords = append(p.one.change.RemoveKeywords, name)
	default:
		return false
	}
	return isKeyword(name)
}

// allMailboxes reads a whole set of mailboxes.
func (p *patch) allMailboxes(raw json.RawMessage) bool {
	ids, ok := readSet(raw)
	p.one.change.SetMailboxes = true
	for _, id := range ids {
		box, found := visible(p.s.all, p.s.c, jmap.ID(id))
		ok = ok && found
		p.one.change.Mailboxes = append(p.one.change.Mailboxes, box.ID)
	}
	return ok && len(ids) > 0
}

// mailbox reads the change of one mailbox.
func (p *patch) mailbox(id string, raw json.RawMessage) bool {
	p.boxesPart = true
	box, found := visible(p.s.all, p.s.c, jmap.ID(id))
	switch string(raw) {
	case "true":
		p.one.change.Add = append(p.one.change.Add, box.ID)
	case "null":
		if !found { // what is not there, it is not in
			return true
		}
		p.one.change.Remove = append(p.one.change.Remove, box.ID)
	default:
		return false
	}
	return found
}

// clash tells whether a set is changed in both ways (RFC 8620, 5.3: no pointer may be the
// beginning of another one).
func (p *patch) clash() bool {
	return p.one.change.SetKeywords && p.wordsPart || p.one.change.SetMailboxes && p.boxesPart
}

// allowed asks for the rights to do what the patch changes, in all the mailboxes that it
// concerns.
func (p *patch) allowed() *jmap.SetError {
	ch := &p.one.change
	now := p.s.all.Mailboxes(p.one.place)
	add, remove := ch.Add, ch.Remove
	if ch.SetMailboxes {
		add, remove = ch.Mailboxes, slices.DeleteFunc(slices.Clone(now), func(id mailstore.MailboxID) bool { return slices.Contains(ch.Mailboxes, id) })
	}
	add = slices.DeleteFunc(slices.Clone(add), func(id mailstore.MailboxID) bool { return slices.Contains(now, id) })
	remove = slices.DeleteFunc(slices.Clone(remove), func(id mailstore.MailboxID) bool { return !slices.Contains(now, id) })
	if len(remove) == len(now) && len(add) == 0 && len(now) > 0 {
		return jmap.InvalidProperties([]string{"mailboxIds"}, "a message must be in some mailbox: destroy it to take it out of all")
	}
	if e := p.s.may(imap.RightInsert, add); e != nil {
		return e
	}
	if e := p.s.may(imap.RightDeleteMsgs|imap.RightExpunge, remove); e != nil {
		return e
	}
	need, count := p.keywordRights()
	if count > keywordsMax {
		return errTooManyKeywords
	}
	p.one.flags = need != 0
	return p.s.may(need, append(slices.Clone(now), add...))
}

// keywordRights are the rights that the change of keywords needs, and how many keywords
// there will be.
func (p *patch) keywordRights() (need imap.Rights, count int) {
	ch := &p.one.change
	email := p.s.all.Email(p.one.place)
	before := keywordSet(email.Flags, email.Keywords)
	after := maps.Clone(before)
	if ch.SetKeywords {
		clear(after)
	}
	for _, k := range append(slices.Clone(ch.Keywords), ch.AddKeywords...) {
		after[k] = true
	}
	for _, k := range ch.RemoveKeywords {
		delete(after, k)
	}
	changed := func(a, b map[string]bool) {
		for k := range a {
			if b[k] {
				continue
			}
			if k == "$seen" {
				need |= imap.RightSeen
			} else {
				need |= imap.RightWrite
			}
		}
	}
	changed(before, after)
	changed(after, before)
	return need, len(after)
}
