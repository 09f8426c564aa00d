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
	m := s.selected
	if m == nil {
		return nil
	}
	next, err := m.next(ctx)
	if err != nil {
		return err
	}
	if next == m.snapshot && len(m.untold) == 0 && !m.keywords {
		return nil
	}
	delta := m.advance(next, !o.Expunge)
	m.tellStructure(w, delta)
	m.tellFlags(w)
	return nil
}

// advance makes next the mailbox that the client knows, as soon as the caller has told
// what the delta says. Changed flags are put down as not told yet.
func (m *selected) advance(next *mailstore.Snapshot, hold bool) mailstore.Delta {
	held, delta := m.snapshot.Advance(next, hold)
	m.snapshot = held
	for _, i := range delta.Changed {
		m.untold.Add(held.UID(i))
	}
	m.keywords = m.keywords || delta.Keywords
	return delta
}

// tellStructure tells of messages that have gone and of new ones.
func (m *selected) tellStructure(w *imapserver.UpdateWriter, d mailstore.Delta) {
	if len(d.Expunged) > 0 {
		gone := d.Vanished.Max()
		next := func() uint32 { return gone }
		if len(d.Expunged) > 1 {
			next = descending(d.Vanished)
		}
		for _, i := range d.Expunged {
			w.Expunged(i+1, next())
		}
	}
	if d.Added > 0 {
		w.Exists(uint32(m.snapshot.Len()))
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
		w.MailboxFlags(mailboxFlags(m.snapshot))
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

// Expunge removes messages that have \Deleted (RFC 9051, 6.4.3; RFC 4315, 2.1).
func (s *Session) Expunge(ctx context.Context, w *imapserver.UpdateWriter, uids *imap.NumSet) (uint64, error) {
	m := s.selected
	if m.readOnly {
		return 0, errReadOnly
	}
	which := imap.UIDSet{{First: 1, Last: ^uint32(0)}}
	if uids != nil {
		which = m.uids(*uids)
	}
	expunged, err := s.account.Expunge(ctx, m.id, which, false)
	if err != nil {
		return 0, answer(err)
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
func (s *Session) watch(ctx context.Context, mailbox mailstore.MailboxID, cause string) *events.Watch {
	return s.backend.o.Events.Watch(ctx, s.account, mailbox, cause, s.actor)
}
