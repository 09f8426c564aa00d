package imapd

import (
	"context"

	"postroad/imap"
	"postroad/imap/imapserver"
	"postroad/internal/mailstore"
	"postroad/internal/mda/events"
)

// Poll tells what has changed since the client was last told.
func (s *Session) Poll(ctx context.Context, w *imapserver.UpdateWriter, o imapserver.PollOptions) error {
	if s.selected == nil {
		return nil
	}
	m, err := s.current(ctx, cmdSearch)
	if err != nil {
		return err
	}
	next, err := m.next(ctx)
	if err != nil {
		return err
	}
	if next == m.snapshot && len(m.untold) == 0 && !m.keywords && !m.added && !m.contextsDue() {
		return nil
	}
	delta := m.advance(next, !o.Expunge)
	m.tellStructure(w, delta)
	m.tellFlags(w)
	return s.tellContexts(ctx, w)
}

// advance makes next the mailbox that the client knows, as soon as the caller has told
// what the delta says. Changed flags and new messages are put down as not told yet.
func (m *selected) advance(next *mailstore.Snapshot, hold bool) mailstore.Delta {
	held, delta := m.snapshot.Advance(next, hold)
	m.snapshot = held
	for _, i := range delta.Changed {
		m.untold.Add(held.UID(i))
		for _, c := range m.contexts {
			c.due.Add(held.UID(i))
		}
	}
	m.keywords = m.keywords || delta.Keywords
	m.added = m.added || delta.Added > 0
	return delta
}

// tellStructure tells of messages that have gone and of new ones.
func (m *selected) tellStructure(w *imapserver.UpdateWriter, d mailstore.Delta) {
	if len(d.Expunged) > 0 {
		for _, c := range m.contexts {
			c.tellGone(w, &d)
		}
		gone := d.Vanished.Max()
		next := func() uint32 { return gone }
		if len(d.Expunged) > 1 {
			next = descending(d.Vanished)
		}
		for _, i := range d.Expunged {
			w.Expunged(i+1, next())
		}
	}
	if m.added {
		w.Exists(uint32(m.snapshot.Len()))
		m.added = false
	}
}

// descending yields the UIDs of a set from the largest on, one a call.
func descending(s imap.UIDSet) func() uint32 {
	k := len(s) - 1
	uid := s[k].Last
	return func() uint32 {
		now := uid
		if uid > s[k].First {
			uid--
		} else if k > 0 {
			k--
			uid = s[k].Last
		}
		return now
	}
}

// tellFlags tells the flags that the client does not know yet. New keywords come first,
// in FLAGS, so that no FETCH has one that is not in it (RFC 9051, 7.3.5).
func (m *selected) tellFlags(w *imapserver.UpdateWriter) {
	if m.keywords {
		w.MailboxFlags(m.mailboxFlags())
		m.keywords = false
	}
	for uid := range m.untold.All() {
		if i, ok := m.snapshot.Index(uid); ok {
			if row := m.snapshot.Row(i); !row.Gone {
				w.Flags(uint32(i+1), uid, row.ModSeq, m.flags(&row))
			}
		}
	}
	m.untold = m.untold[:0]
}

// Watch calls wake after the selected mailbox has changed, until stop is called.
func (s *Session) Watch(wake func()) (stop func()) {
	if s.selected == nil {
		return func() {}
	}
	return s.selected.view.NotifyFunc(wake)
}

// deleted finds the messages that have \Deleted now, all or those of a set, in the columns
// that are in memory: the store would read every chunk of the mailbox to find none at CLOSE.
func (m *selected) deleted(ctx context.Context, of *imap.NumSet) (imap.UIDSet, error) {
	now, err := m.view.Snapshot(ctx)
	if err != nil {
		return nil, answer(err)
	}
	var asked, found imap.UIDSet
	if of != nil {
		asked = m.uids(*of)
	}
	for _, row := range now.Rows(0, now.Len()) {
		if row.Flags&mailstore.Deleted != 0 && (of == nil || asked.Contains(row.UID)) {
			found.Add(row.UID)
		}
	}
	return found, nil
}

// Expunge removes messages that have \Deleted (RFC 9051, 6.4.3; RFC 4315, 2.1).
func (s *Session) Expunge(ctx context.Context, w *imapserver.UpdateWriter, uids *imap.NumSet) (uint64, error) {
	c := cmdExpunge
	if w == nil {
		c = cmdClose
	}
	m, err := s.current(ctx, c)
	if err != nil {
		return 0, err
	}
	if w == nil && !needs[cmdExpunge].allows(m.rights) {
		return 0, nil // CLOSE leaves what it may not expunge (RFC 4314, 4)
	}
	if m.readOnly {
		return 0, errReadOnly
	}
	which, err := m.deleted(ctx, uids)
	if err != nil {
		return 0, err
	}
	expunged := &mailstore.Expunged{}
	if len(which) > 0 {
		if expunged, err = m.account.Expunge(ctx, m.id, which, false); err != nil {
			return 0, answer(err)
		}
	}
	if w == nil {
		return 0, nil
	}
	next, err := m.next(ctx)
	if err != nil {
		return 0, err
	}
	m.tellStructure(w, m.advance(next, false))
	m.tellFlags(w)
	if len(expunged.UIDs) == 0 {
		return 0, nil
	}
	return m.snapshot.HighestModSeq(), nil
}

// errReadOnly answers changes in a mailbox opened by EXAMINE.
var errReadOnly = imap.No(imap.CodeReadOnly, "The mailbox was opened read-only")

// watch tells the mailbox's script, where it has one, of a change that this client makes.
func (s *Session) watch(ctx context.Context, owner *mailstore.Account, mailbox mailstore.MailboxID, cause string) *events.Watch {
	login := s.who.Login.String()
	return s.backend.o.Events.Watch(ctx, owner, mailbox, cause, events.Actor{User: login, Email: login})
}
