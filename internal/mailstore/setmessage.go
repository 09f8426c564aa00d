package mailstore

import (
	"fmt"
	"slices"
)

// change takes one message into the commit, or nothing of it.
func (s *setting) change(c *EmailChange) error {
	place, found := s.emails.Find(c.ID)
	if !found {
		return fmt.Errorf("message %s: %w", c.ID, ErrNoMessage)
	}
	m := setMessage{setting: s, change: c}
	for _, at := range s.emails.Entries(place) {
		e, err := s.entry(at, c.ID)
		if err != nil {
			return err
		}
		m.entries = append(m.entries, e)
	}
	if c.Destroy {
		m.leaving = m.entries
	} else {
		if err := m.places(); err != nil {
			return err
		}
		if err := m.keywords(); err != nil {
			return err
		}
	}
	if err := m.passes(); err != nil {
		return err
	}
	m.apply()
	return nil
}

// passes asks Options.Passing about each way that the message goes: from a mailbox that it
// leaves to one that it comes to, as far as there are both.
func (m *setMessage) passes() error {
	for i := range max(len(m.leaving), len(m.coming)) {
		p := Passing{Messages: []MessageID{m.change.ID}}
		if i < len(m.leaving) {
			p.From = m.tree.ID(m.leaving[i].box.id)
		}
		if i < len(m.coming) {
			p.To = m.tree.ID(m.coming[i])
		}
		if err := m.pass(&p); err != nil {
			return err
		}
		if p.To != nil {
			m.flags[len(m.staying)+i] |= p.Flags & System
		}
	}
	for _, e := range m.staying {
		if e.box.id != m.change.Touch {
			continue
		}
		box := m.tree.ID(e.box.id)
		if err := m.pass(&Passing{From: box, To: box, Messages: []MessageID{m.change.ID}}); err != nil {
			return err
		}
	}
	return nil
}

// setMessage is the plan for one message.
type setMessage struct {
	*setting
	change  *EmailChange
	entries []*setEntry

	staying, leaving []*setEntry
	coming           []MailboxID
	flags            []Flags // of those that stay, then of those that come
}

// places finds the mailboxes that the message leaves and comes to.
func (m *setMessage) places() error {
	c := m.change
	stays := func(id MailboxID) bool {
		if c.SetMailboxes {
			return contains(c.Mailboxes, id)
		}
		return contains(c.Add, id) || !contains(c.Remove, id)
	}
	var have []MailboxID
	for _, e := range m.entries {
		have = append(have, e.box.id)
		if stays(e.box.id) {
			m.staying = append(m.staying, e)
		} else {
			m.leaving = append(m.leaving, e)
		}
	}
	want := c.Add
	if c.SetMailboxes {
		want = c.Mailboxes
	}
	for _, id := range want {
		if contains(have, id) || contains(m.coming, id) {
			continue
		}
		if box := m.tree.ID(id); box == nil || box.Recovery != nil {
			return fmt.Errorf("mailbox %s: %w", id, ErrNoMailbox)
		}
		if _, err := m.box(id); err != nil {
			return err
		}
		m.coming = append(m.coming, id)
	}
	if len(m.staying)+len(m.coming) == 0 {
		return fmt.Errorf("message %s would be in no mailbox: %w", c.ID, ErrNoMailbox)
	}
	return nil
}

// keywords finds the flags of the entries that stay and of those that come. Where the
// message leaves or comes to a mailbox, all get those of the message as a whole: with other
// mailboxes it has the same keywords.
func (m *setMessage) keywords() error {
	system, names := m.union()
	for _, e := range m.staying {
		of, words := e.flags()&System, e.names(e.slot.Flags)
		if len(m.leaving)+len(m.coming) > 0 {
			of, words = system|of&Deleted, names
		}
		f, err := m.changed(e.box.id, of, words)
		if err != nil {
			return err
		}
		m.flags = append(m.flags, f)
	}
	for i, id := range m.coming {
		of := system
		if i < len(m.leaving) { // it is moved
			of |= m.leaving[i].slot.Flags & Deleted
		}
		f, err := m.changed(id, of, names)
		if err != nil {
			return err
		}
		m.flags = append(m.flags, f)
	}
	return nil
}

// names are the keywords of an entry.
func (e *setEntry) names(f Flags) []string {
	var names []string
	for i, name := range e.box.table {
		if f&Keyword(i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// union is the flags of the message as a whole.
func (m *setMessage) union() (system Flags, names []string) {
	all := Seen
	for _, e := range m.entries {
		f := e.flags()
		all &= f
		system |= f & System &^ (Seen | Deleted)
		for _, name := range e.names(e.slot.Flags) {
			if indexKeyword(names, name) < 0 {
				names = append(names, name)
			}
		}
	}
	return system | all, names
}

// changed is what the change makes of flags, as the flags of a mailbox.
func (m *setMessage) changed(mailbox MailboxID, system Flags, names []string) (Flags, error) {
	c := m.change
	if c.SetKeywords {
		system, names = system&Deleted, nil
		for _, k := range c.Keywords {
			system, names = addKeyword(system, names, k)
		}
	}
	for _, k := range c.AddKeywords {
		system, names = addKeyword(system, names, k)
	}
	for _, k := range c.RemoveKeywords {
		if bit := systemKeyword(k); bit != 0 {
			system &^= Flags(bit)
		} else if i := indexKeyword(names, k); i >= 0 {
			names = slices.Delete(slices.Clone(names), i, i+1)
		}
	}
	bits, err := m.setting.work.keywords(mailbox, names, true)
	return system | bits, err
}

func addKeyword(system Flags, names []string, k string) (Flags, []string) {
	if bit := systemKeyword(k); bit != 0 {
		return system | Flags(bit), names
	}
	if indexKeyword(names, k) < 0 {
		names = append(slices.Clip(names), k)
	}
	return system, names
}

// apply puts the plan into the commit.
func (m *setMessage) apply() {
	for i, e := range m.staying {
		m.flag(e, m.flags[i])
	}
	coming := m.flags[len(m.staying):]
	for i, id := range m.coming {
		from := m.entries[0]
		if i < len(m.leaving) {
			from = m.leaving[i]
		} else {
			from.chunk.guarded = true
			m.paid.octets += int64(from.slot.Size)
			m.paid.messages++
		}
		m.come(id, from, coming[i])
	}
	for i, e := range m.leaving {
		e.chunk.remove(e.slot)
		e.box.gone = append(e.box.gone, e.slot)
		e.box.tally.count(e.slot.Flags, e.slot.Size, -1)
		if i < len(m.coming) {
			continue
		}
		e.box.expunged = append(e.box.expunged, e.slot)
		m.paid.octets -= int64(e.slot.Size)
		m.paid.messages--
		m.rows++
	}
}

// flag gives an entry other flags.
func (m *setMessage) flag(e *setEntry, to Flags) {
	if e.mine != nil {
		if seen := to&Seen != 0; seen != e.mine.seen {
			*e.mine = seenSlot{stated: true, seen: seen}
			e.state.changed = true
			e.box.read.Add(e.slot.UID)
		}
		to = to&^Seen | e.slot.Flags&Seen
	}
	if to == e.slot.Flags && e.box.id != m.change.Touch {
		return
	}
	e.box.tally.flags(e.slot.Flags, -1)
	e.box.tally.flags(to, 1)
	e.chunk.set(e.slot, to)
	e.box.flagged = append(e.box.flagged, e.slot)
}

// come enters the message into a mailbox.
func (m *setMessage) come(id MailboxID, from *setEntry, flags Flags) {
	b := m.boxes[id] // read when the plan was made
	row := from.slot.Row
	b.seen = append(b.seen, m.reader != 0 && flags&Seen != 0)
	if m.reader != 0 {
		flags = flags&^Seen | row.Flags&Seen // the owner's
	}
	row.Flags = flags
	b.came = append(b.came, row)
	m.rows++
}
