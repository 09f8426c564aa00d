package email

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"postroad/imap"
	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/snooze"
	"postroad/jmap"
)

// CapabilityCyrusMail has the property snoozed of Email, as Cyrus made it: an object with
// until (UTCDate), moveToMailboxId (Id|null: INBOX) and setKeywords (String[Boolean]|null).
// A message has it while it is in the mailbox with the role "snoozed".
const CapabilityCyrusMail = "https://cyrusimap.org/ns/jmap/mail"

const propertySnoozed = "snoozed"

// snoozes tells whether a call may see and set the property.
func (m *Methods) snoozes(c *jmap.Call) bool {
	return m.o.Snooze != nil && c.Using(CapabilityCyrusMail)
}

// snoozeSession is what the session object tells of it.
func (m *Methods) snoozeSession() map[string]any {
	if m.o.Snooze == nil {
		return nil
	}
	return map[string]any{CapabilityCyrusMail: map[string]any{}}
}

// snoozedMailbox is the mailbox in which messages wait; 0: the user sees none.
func snoozedMailbox(all *mailstore.Emails) mailstore.MailboxID {
	for _, v := range all.Visible() {
		if v.Role == imap.AttrSnoozed && v.Recovery == nil {
			return v.ID
		}
	}
	return 0
}

// snoozedOf reads the property of those messages that the user sees in Snoozed.
func (m *Methods) snoozedOf(ctx context.Context, a *access.Account, all *mailstore.Emails, places []int) (map[mailstore.MessageID]snooze.Snoozed, error) {
	box := snoozedMailbox(all)
	var ids []mailstore.MessageID
	for _, p := range places {
		if box != 0 && all.In(p, box) {
			ids = append(ids, all.Message(p))
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	return m.o.Snooze.Of(ctx, a.ID(), ids...)
}

// formatSnoozed writes the property, null where the message is not snoozed. A mailbox that
// the user does not see, or that is gone, is null.
func formatSnoozed(all *mailstore.Emails, s snooze.Snoozed, there bool) any {
	if !there {
		return nil
	}
	o := jmap.Object{"until": jmap.FormatUTCDate(s.Until), "moveToMailboxId": nil, "setKeywords": nil}
	for _, v := range all.Visible() {
		if s.MoveTo != 0 && v.ID == s.MoveTo && v.Recovery == nil {
			o["moveToMailboxId"] = formatMailboxID(v.ID)
		}
	}
	if len(s.Keywords) > 0 {
		o["setKeywords"] = s.Keywords
	}
	return o
}

// snoozeReader reads values of the property.
type snoozeReader struct {
	all  *mailstore.Emails
	call *jmap.Call
}

// errSnoozed says what is wrong with the property.
func errSnoozed(format string, a ...any) *jmap.SetError {
	return jmap.InvalidProperties([]string{propertySnoozed}, propertySnoozed+": "+format, a...)
}

// read reads a value that is not null, and asks for the rights to let the message come back
// like that.
func (r *snoozeReader) read(raw json.RawMessage) (*snooze.Snoozed, *jmap.SetError) {
	var o jmap.Properties
	if json.Unmarshal(raw, &o) != nil || o == nil {
		return nil, errSnoozed("neither an object nor null")
	}
	for name := range o {
		if name != "until" && name != "moveToMailboxId" && name != "setKeywords" {
			return nil, errSnoozed("%q is no member of it", name)
		}
	}
	s := new(snooze.Snoozed)
	var ok bool
	if s.Until, ok = readUTCDate(o["until"]); !ok {
		return nil, errSnoozed("until must be a UTCDate")
	}
	if _, err := snooze.Until(context.Background(), map[mailstore.MessageID]snooze.Snoozed{snooze.NewMessage: *s}); err != nil {
		return nil, errSnoozed("until is more than %d days ahead, or before 1970", snooze.DaysMax)
	}
	if err := r.readKeywords(s, o["setKeywords"]); err != nil {
		return nil, err
	}
	return s, r.readMailbox(s, o["moveToMailboxId"])
}

// readMailbox reads where the message is to come back. What the user may not do himself he
// may not let happen later.
func (r *snoozeReader) readMailbox(s *snooze.Snoozed, raw json.RawMessage) *jmap.SetError {
	box := mailstore.Visible{Mailbox: new(mailstore.Mailbox)}
	var id *jmap.ID
	if len(raw) > 0 && json.Unmarshal(raw, &id) != nil {
		return errSnoozed("moveToMailboxId must be an Id or null")
	}
	for _, v := range r.all.Visible() {
		if v.Mailbox == r.all.Tree().Inbox() {
			box = v
		}
	}
	if id != nil {
		var found bool
		if box, found = visible(r.all, r.call, *id); !found || box.Role == imap.AttrSnoozed {
			return errSnoozed("moveToMailboxId must be another mailbox that is there")
		}
		s.MoveTo = box.ID
	}
	need := imap.RightInsert
	for name := range s.Keywords {
		if name == "$seen" {
			need |= imap.RightSeen
		} else {
			need |= imap.RightWrite
		}
	}
	if !box.Rights.Has(need) {
		return jmap.NewSetError(jmap.SetForbidden, "you may not put such messages into the mailbox to which it is to come back")
	}
	return nil
}

// readKeywords reads what is set (true) and taken away (false) when the message comes back.
func (r *snoozeReader) readKeywords(s *snooze.Snoozed, raw json.RawMessage) *jmap.SetError {
	var set map[string]*bool
	if len(raw) > 0 && json.Unmarshal(raw, &set) != nil {
		return errSnoozed("setKeywords must be an object of Booleans or null")
	}
	if len(set) > keywordsMax {
		return errTooManyKeywords
	}
	for name, on := range set {
		if on == nil || !isKeyword(name) {
			return errSnoozed("setKeywords must be an object of Booleans by keywords")
		}
		if s.Keywords == nil {
			s.Keywords = map[string]bool{}
		}
		s.Keywords[strings.ToLower(name)] = *on
	}
	return nil
}

// takeSnoozed reads the property of a message to be made.
func (m *Methods) takeSnoozed(ctx context.Context, c *jmap.Call, a *access.Account, o jmap.Properties, d *destination) error {
	if !m.snoozes(c) {
		return nil // it is an unknown property
	}
	raw, there := given(o, propertySnoozed)
	if !there {
		return nil
	}
	all, err := a.Emails(ctx, a.Reader)
	if err != nil {
		return err
	}
	if box := snoozedMailbox(all); box == 0 || !slices.Contains(d.boxes, box) {
		return errNotThere()
	}
	r := snoozeReader{all: all, call: c}
	var e *jmap.SetError
	if d.snoozed, e = r.read(raw); e != nil {
		return e
	}
	return nil
}

// errNotThere is for a message that is to be snoozed elsewhere.
func errNotThere() *jmap.SetError {
	return errSnoozed(`only a message in the mailbox with the role "snoozed" can have it; put it there in the same change`)
}

// within is a context in which a new message is snoozed as its maker said.
func (one *arriving) within(ctx context.Context) (context.Context, error) {
	if one.snoozed == nil {
		return ctx, nil
	}
	return snooze.Until(ctx, map[mailstore.MessageID]snooze.Snoozed{snooze.NewMessage: *one.snoozed})
}

// tellSnoozed adds the property to what is told of messages that were made in Snoozed
// (RFC 8620, 5.3: what the server set).
func (m *Methods) tellSnoozed(ctx context.Context, c *jmap.Call, a *access.Account, ids []mailstore.MessageID, tell func(i int, value any)) error {
	if !m.snoozes(c) || len(ids) == 0 {
		return nil
	}
	all, err := a.Emails(ctx, a.Reader)
	if err != nil {
		return err
	}
	of, err := m.o.Snooze.Of(ctx, a.ID(), ids...)
	if err != nil {
		return err
	}
	for i, id := range ids {
		s, there := of[id]
		tell(i, formatSnoozed(all, s, there))
	}
	return nil
}

// snoozedBefore reads the property of the messages whose updates name it.
func (m *Methods) snoozedBefore(ctx context.Context, a *access.Account, s *setting, list []jmap.Update) (err error) {
	if s.snoozes = m.snoozes(s.c); !s.snoozes {
		return nil
	}
	s.snoozedBox = snoozedMailbox(s.all)
	var places []int
	for _, u := range list {
		for path := range u.Patch {
			if name, _, _ := strings.Cut(path, "/"); name != propertySnoozed {
				continue
			}
			if p, ok := place(s.all, u.ID); ok {
				places = append(places, p)
			}
			break
		}
	}
	s.snoozed, err = m.snoozedOf(ctx, a, s.all, places)
	return err
}

// snooze reads what the patch makes of the property, after all else of it.
func (p *patch) snooze() *jmap.SetError {
	ch, box := &p.one.change, p.s.snoozedBox
	now := p.s.all.Mailboxes(p.one.place)
	was, will := box != 0 && slices.Contains(now, box), box != 0 && slices.Contains(p.after(now), box)
	p.one.tellSnoozed = p.s.snoozes && (len(p.snoozed) > 0 || was != will)
	if len(p.snoozed) == 0 {
		return nil
	}
	before := jmap.Properties{}
	s, there := p.s.snoozed[ch.ID]
	raw, err := json.Marshal(formatSnoozed(p.s.all, s, there))
	if err != nil {
		return failed(err)
	}
	before[propertySnoozed] = raw
	after, e := jmap.ApplyPatch(before, p.snoozed)
	if e != nil {
		return e
	}
	value, set := given(after, propertySnoozed)
	switch {
	case !set && was && will && !ch.SetMailboxes && !slices.Contains(ch.Add, box):
		return p.wake(s)
	case !set && will:
		return errSnoozed("a message in that mailbox is snoozed; take it out instead")
	case !set:
		return nil // it is taken out, or never was there
	case !will:
		return errNotThere()
	}
	r := snoozeReader{all: p.s.all, call: p.s.c}
	if p.one.snoozed, e = r.read(value); e != nil {
		return e
	}
	if was {
		ch.Touch = box
		return p.s.may(imap.RightWrite, []mailstore.MailboxID{box})
	}
	return nil
}

// after are the mailboxes that the message is in after the change.
func (p *patch) after(now []mailstore.MailboxID) []mailstore.MailboxID {
	ch := &p.one.change
	if ch.SetMailboxes {
		return ch.Mailboxes
	}
	in := slices.DeleteFunc(slices.Clone(now), func(id mailstore.MailboxID) bool { return slices.Contains(ch.Remove, id) })
	return append(in, ch.Add...)
}

// wake lets the message come back now, as it would have at its hour. Of keywords that the
// patch changes too, the patch is right.
func (p *patch) wake(s snooze.Snoozed) *jmap.SetError {
	ch := &p.one.change
	to := p.s.all.Tree().Inbox().ID
	for _, v := range p.s.all.Visible() {
		if s.MoveTo != 0 && v.ID == s.MoveTo && v.Recovery == nil {
			to = v.ID
		}
	}
	ch.Add, ch.Remove = append(ch.Add, to), append(ch.Remove, p.s.snoozedBox)
	p.one.woken = true
	if ch.SetKeywords {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(s.Keywords)) {
		switch on := s.Keywords[name]; {
		case slices.Contains(ch.AddKeywords, name), slices.Contains(ch.RemoveKeywords, name):
		case on:
			ch.AddKeywords = append(ch.AddKeywords, name)
		default:
			ch.RemoveKeywords = append(ch.RemoveKeywords, name)
		}
	}
	return nil
}

// snoozing is a context in which the changes snooze as their patches say.
func snoozing(ctx context.Context, list []change) (context.Context, error) {
	of := map[mailstore.MessageID]snooze.Snoozed{}
	for i := range list {
		if s := list[i].snoozed; s != nil {
			of[list[i].change.ID] = *s
		}
	}
	if len(of) == 0 {
		return ctx, nil
	}
	return snooze.Until(ctx, of)
}

// tellUpdated tells what became of messages that were snoozed or are so no more: the server
// rounds dates, sets those that were not given, and moves what is woken.
func (m *Methods) tellUpdated(ctx context.Context, c *jmap.Call, a *access.Account, list []change, errs []error, r *jmap.SetResult) error {
	var ids []mailstore.MessageID
	var of []*change
	for i := range list {
		if list[i].tellSnoozed && errs[i] == nil {
			ids, of = append(ids, list[i].change.ID), append(of, &list[i])
		}
	}
	if len(ids) == 0 {
		return nil
	}
	all, err := a.Emails(ctx, a.Reader)
	if err != nil {
		return err
	}
	return m.tellSnoozed(ctx, c, a, ids, func(i int, value any) {
		o := jmap.Object{propertySnoozed: value}
		if p, ok := all.Find(ids[i]); ok && of[i].woken {
			e := all.Email(p)
			o["mailboxIds"], o["keywords"] = mailboxSet(e.Mailboxes), keywordSet(e.Flags, e.Keywords)
		}
		r.Update(of[i].id, o)
	})
}
