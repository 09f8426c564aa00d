package mailstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// mailboxesOf are the mailboxes of a message, in order.
func (m *plainEmail) mailboxes() []MailboxID {
	var ids []MailboxID
	for _, l := range m.entries {
		if !contains(ids, l.Mailbox) {
			ids = append(ids, l.Mailbox)
		}
	}
	slices.Sort(ids)
	return ids
}

// words are the keywords of a message with its system flags.
func (m *plainEmail) words() []string {
	words := slices.Collect(maps.Keys(m.keywords))
	for i, name := range systemFlags {
		if m.flags&(1<<i) != 0 {
			words = append(words, "$"+strings.ToLower(string(name)[1:]))
		}
	}
	slices.Sort(words)
	return words
}

// wanted is what a change makes of a message.
func (c *EmailChange) wanted(m *plainEmail) (mailboxes []MailboxID, words []string) {
	mailboxes, words = m.mailboxes(), m.words()
	if c.SetMailboxes {
		mailboxes = slices.Clone(c.Mailboxes)
	} else {
		mailboxes = append(slices.DeleteFunc(mailboxes, func(id MailboxID) bool { return contains(c.Remove, id) }), c.Add...)
	}
	if c.SetKeywords {
		words = nil
		for _, k := range c.Keywords {
			words = append(words, strings.ToLower(k))
		}
	}
	for _, k := range c.AddKeywords {
		words = append(words, strings.ToLower(k))
	}
	words = slices.DeleteFunc(words, func(w string) bool {
		return slices.ContainsFunc(c.RemoveKeywords, func(k string) bool { return strings.EqualFold(k, w) })
	})
	slices.Sort(mailboxes)
	slices.Sort(words)
	return slices.Compact(mailboxes), slices.Compact(words)
}

// drawChange draws a change of a message.
func (h *house) drawChange(r *rapid.T, id MessageID, boxes []MailboxID) EmailChange {
	c := EmailChange{ID: id, Destroy: rapid.IntRange(0, 9).Draw(r, "destroy") == 0}
	some := func(label string) (list []MailboxID) {
		if len(boxes) > 0 {
			list = rapid.SliceOfN(rapid.SampledFrom(boxes), 0, 2).Draw(r, label)
		}
		return list
	}
	words := func(label string) []string {
		return rapid.SliceOfN(rapid.SampledFrom([]string{"$seen", "$Draft", "kw1", "KW2", "$flagged", "new"}), 0, 3).Draw(r, label)
	}
	switch rapid.IntRange(0, 3).Draw(r, "mailboxes") {
	case 0:
		c.SetMailboxes, c.Mailboxes = true, some("whole")
	case 1:
		c.Add, c.Remove = some("add"), some("remove")
		c.Remove = slices.DeleteFunc(c.Remove, func(id MailboxID) bool { return contains(c.Add, id) })
	}
	switch rapid.IntRange(0, 3).Draw(r, "keywords") {
	case 0:
		c.SetKeywords, c.Keywords = true, words("whole")
	case 1:
		c.AddKeywords, c.RemoveKeywords = words("add"), words("remove")
	}
	return c
}

// set changes messages as a whole, and compares with what was to come.
func (h *house) set(r *rapid.T) {
	a, reader, ctx := h.account(r), h.reader(r), context.Background()
	before := readPlain(h.t, a, reader)
	ids := slices.Sorted(maps.Keys(before.all))
	if len(ids) == 0 {
		return
	}
	boxes := got(a.Emails(ctx, reader))(h.t).sight.readable
	var changes []EmailChange
	for range rapid.IntRange(1, 6).Draw(r, "changes") {
		changes = append(changes, h.drawChange(r, rapid.SampledFrom(ids).Draw(r, "message"), boxes))
	}
	errs := a.SetEmails(ctx, reader, changes)
	after := readPlain(h.t, a, reader)
	named := map[MessageID]bool{}
	for i := range changes {
		c := &changes[i]
		if named[c.ID] {
			if !errors.Is(errs[i], ErrExists) {
				h.t.Fatalf("named twice: %v", errs[i])
			}
			continue
		}
		named[c.ID] = true
		mailboxes, words := c.wanted(before.all[c.ID])
		m := after.all[c.ID]
		switch {
		case c.Destroy:
			if errs[i] != nil || m != nil {
				h.t.Fatalf("destroyed: %v, %+v", errs[i], m)
			}
			continue
		case len(mailboxes) == 0:
			if !errors.Is(errs[i], ErrNoMailbox) {
				h.t.Fatalf("in no mailbox: %v", errs[i])
			}
			mailboxes, words = before.all[c.ID].mailboxes(), before.all[c.ID].words()
		case errs[i] != nil:
			h.t.Fatalf("change %+v: %v", c, errs[i])
		}
		if m == nil || !slices.Equal(m.mailboxes(), mailboxes) || !slices.Equal(m.words(), words) {
			h.t.Fatalf("change %+v of %+v gave %+v, want %v %q", c, before.all[c.ID], m, mailboxes, words)
		}
	}
	for id, m := range before.all {
		if is := after.all[id]; !named[id] && (is == nil || fmt.Sprint(*is) != fmt.Sprint(*m)) {
			h.t.Fatalf("message %s, which nobody named, is %+v, was %+v", id, is, m)
		}
	}
	after.equal(h.t, got(a.Emails(ctx, reader))(h.t))
}

// TestSetEmails changes messages among other changes.
func TestSetEmails(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		t := drawn{t, r}
		h := newHouse(t)
		steps := h.steps()
		steps["set"], steps["set more"], steps["set still more"] = h.set, h.set, h.set
		r.Repeat(steps)
		sound(t, h.accounts[0])
	})
}

// TestSetEmailsMany changes more messages at once than a commit holds.
func TestSetEmailsMany(t *testing.T) {
	f := newFixture(t)
	f.append("INBOX", 600, 0)
	archive, trash := f.box("Archive").ID, f.box("Trash").ID
	owner := Reader{ID: f.a.ID()}
	e := got(f.a.Emails(t.Context(), owner))(t)
	var changes []EmailChange
	for p := range e.All() {
		changes = append(changes, EmailChange{ID: e.Message(p), SetMailboxes: true, Mailboxes: []MailboxID{archive, trash}, AddKeywords: []string{"$seen", "k"}})
	}
	for i, err := range f.a.SetEmails(t.Context(), owner, changes) {
		if err != nil {
			t.Fatalf("%d: %v", i, err)
		}
	}
	e = got(f.a.Emails(t.Context(), owner))(t)
	if c := e.Counts(archive); c != (Counts{Emails: 600, Threads: 600}) || e.Counts(trash) != c || e.Received(f.box("INBOX").ID).Len() != 0 {
		t.Errorf("counts %+v", c)
	}
	f.sound()
	for i := range changes {
		changes[i] = EmailChange{ID: changes[i].ID, Destroy: true}
	}
	for i, err := range f.a.SetEmails(t.Context(), owner, changes) {
		if err != nil {
			t.Fatalf("%d: %v", i, err)
		}
	}
	f.sound()
	f.nothingLeft(0)
	if err := f.a.SetEmails(t.Context(), owner, changes)[599]; !errors.Is(err, ErrNoMessage) {
		t.Errorf("destroyed twice: %v", err)
	}
}

// TestSetEmailsQuota refuses copies above the quota, and only them.
func TestSetEmailsQuota(t *testing.T) {
	f := newFixture(t)
	f.a = f.account(7, Quota{Messages: 5})
	f.append("INBOX", 4, 0)
	owner := Reader{ID: 7}
	e := got(f.a.Emails(t.Context(), owner))(t)
	var changes []EmailChange
	for p := range e.All() {
		changes = append(changes, EmailChange{ID: e.Message(p), Add: []MailboxID{f.box("Sent").ID}})
	}
	changes[1].Add, changes[1].AddKeywords = nil, []string{"$flagged"}
	changes[2] = EmailChange{ID: changes[2].ID, AddKeywords: []string{strings.Repeat("x", KeywordBytes+1)}}
	errs := f.a.SetEmails(t.Context(), owner, changes)
	over := 0
	for _, i := range []int{0, 3} {
		if errors.Is(errs[i], ErrOverQuota) {
			over++
		} else if errs[i] != nil {
			t.Error(errs[i])
		}
	}
	if over != 1 || errs[1] != nil || !errors.Is(errs[2], ErrTooLarge) {
		t.Errorf("errors %v", errs)
	}
	f.sound()
}
