package imapd

import (
	"context"
	"maps"
	"slices"
	"time"

	"postroad/imap"
	"postroad/imap/imapserver"
	"postroad/internal/mailstore"
)

// searchContext is the result of a search that is kept up to date (RFC 5267, 4.3). Only
// messages that are new or whose flags changed are judged again.
type searchContext struct {
	tag  string
	key  *imap.SearchKey
	sets map[*imap.SearchKey]imap.UIDSet // numbers in key, as they were when the search was made
	by   []mailstore.SortCriterion       // nil: of a SEARCH, in mailbox order

	members imap.UIDSet
	order   []uint32    // the same in order, with by
	next    uint32      // UIDs from here on have not been judged
	due     imap.UIDSet // messages to be judged again
}

// keep begins to keep a result up to date, or says why not.
func (m *selected) keep(c *searchContext) (noUpdate string) {
	aged := false
	c.key.Walk(func(k *imap.SearchKey) { aged = aged || k.Op == imap.SearchOlder || k.Op == imap.SearchYounger })
	if aged {
		return "Searches by age are not kept up to date"
	}
	c.sets, c.members, c.next = maps.Clone(c.sets), slices.Clone(c.members), m.snapshot.UIDNext()
	m.contexts = append(m.contexts, c)
	return ""
}

// CancelUpdate forgets update contexts (RFC 5267, 4.3.5).
func (s *Session) CancelUpdate(_ context.Context, tags []string) error {
	if m := s.selected; m != nil {
		m.contexts = slices.DeleteFunc(m.contexts, func(c *searchContext) bool { return slices.Contains(tags, c.tag) })
	}
	return nil
}

// contextsDue tells whether tellContexts may have something to tell.
func (m *selected) contextsDue() bool {
	return slices.ContainsFunc(m.contexts, func(c *searchContext) bool { return len(c.due) > 0 || c.next < m.snapshot.UIDNext() })
}

// tellGone tells what leaves a result because it was expunged, before it is told to have
// gone: sequence numbers are those from before (RFC 5267, 4.3.4).
func (c *searchContext) tellGone(w *imapserver.UpdateWriter, d *mailstore.Delta) {
	next := descending(d.Vanished)
	gone := map[uint32]uint32{} // UID → sequence number
	for _, i := range d.Expunged {
		if uid := next(); c.members.Contains(uid) {
			gone[uid] = i + 1
		}
	}
	if len(gone) == 0 {
		return
	}
	c.remove(w, func(uid uint32) (seq uint32, out bool) {
		seq, out = gone[uid]
		return seq, out
	})
}

// remove takes messages out of the result and tells so.
func (c *searchContext) remove(w *imapserver.UpdateWriter, out func(uid uint32) (seq uint32, out bool)) {
	var kept imap.UIDSet
	for uid := range c.members.All() {
		if seq, gone := out(uid); !gone {
			kept.Add(uid)
		} else if c.by == nil {
			w.ContextRemove(c.tag, 0, seq, uid)
		}
	}
	c.members = kept
	at := 0
	for _, uid := range c.order {
		if seq, gone := out(uid); gone {
			w.ContextRemove(c.tag, uint32(at+1), seq, uid)
			continue
		}
		c.order[at] = uid
		at++
	}
	c.order = c.order[:at]
}

// tellContexts judges what is new or changed and tells what came into results and left
// them.
func (s *Session) tellContexts(ctx context.Context, w *imapserver.UpdateWriter) error {
	m := s.selected
	for _, c := range m.contexts {
		if next := m.snapshot.UIDNext(); c.next < next {
			c.due.AddRange(c.next, next-1)
			c.next = next
		}
		if len(c.due) == 0 {
			continue
		}
		q := newQuery(s, m, c.key, time.Now())
		q.sets = c.sets
		found, err := q.find(ctx, c.key, c.due)
		if err != nil {
			return err
		}
		if err := m.tellContext(ctx, w, c, found); err != nil {
			return err
		}
		c.due = nil
	}
	return nil
}

// tellContext makes the result that of found among the messages that were due. One that has
// gone and is not told yet stays until it is.
func (m *selected) tellContext(ctx context.Context, w *imapserver.UpdateWriter, c *searchContext, found imap.UIDSet) error {
	lost := func(uid uint32) (seq uint32, out bool) {
		i, there := m.snapshot.Index(uid)
		return uint32(i + 1), c.due.Contains(uid) && !found.Contains(uid) && there && !m.snapshot.Row(i).Gone
	}
	for uid := range c.members.Intersect(c.due).All() {
		if _, out := lost(uid); out {
			c.remove(w, lost)
			break
		}
	}
	var fresh imap.UIDSet
	for uid := range found.All() {
		if !c.members.Contains(uid) {
			fresh.Add(uid)
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	c.members.AddSet(fresh)
	if c.by == nil {
		for uid := range fresh.All() {
			i, _ := m.snapshot.Index(uid)
			w.ContextAdd(c.tag, 0, uint32(i+1), uid)
		}
		return nil
	}
	order, err := m.snapshot.Sort(ctx, c.members, c.by)
	if err != nil {
		return answer(err)
	}
	c.order = c.order[:0]
	for at, i := range order {
		uid := m.snapshot.UID(i)
		if c.order = append(c.order, uid); fresh.Contains(uid) {
			w.ContextAdd(c.tag, uint32(at+1), uint32(i+1), uid)
		}
	}
	return nil
}
