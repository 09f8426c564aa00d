package imapd

import (
	"context"

	"postroad/imap"
	"postroad/imap/imapserver"
	"postroad/internal/mailstore"
	"postroad/internal/mda/events"
)

// Store changes flags and tells what they are now (RFC 9051, 6.4.6). What others changed
// at the same time is told by the Poll that follows.
func (s *Session) Store(ctx context.Context, w *imapserver.UpdateWriter, set imap.NumSet, o imapserver.StoreOptions) (*imapserver.StoreData, error) {
	m, err := s.current(ctx, cmdStore)
	if err != nil {
		return nil, err
	}
	if m.readOnly {
		return nil, errReadOnly
	}
	change := mailstore.FlagChange{Conditional: o.HasUnchangedSince, UnchangedSince: o.UnchangedSince,
		Reader: s.who.ID, Keep: keeps(m.rights)}
	change.Flags, change.Keywords = mailstore.ParseFlags(o.Flags)
	if change.Keep != 0 && !mayChange(&change, len(o.Flags) == 0) {
		return nil, errNoPerm
	}
	switch o.Op {
	case imapserver.StoreAdd:
		change.Mode = mailstore.FlagsAdd
	case imapserver.StoreRemove:
		change.Mode = mailstore.FlagsRemove
	default:
		change.Mode = mailstore.FlagsReplace
	}
	watch := s.watch(ctx, m.account, m.id, events.Flag)
	stored, err := m.account.StoreFlags(ctx, m.id, m.uids(set), change)
	if err != nil {
		return nil, answer(err)
	}
	watch.Happened(ctx, stored.Changed)
	next, err := m.next(ctx)
	if err != nil {
		return nil, err
	}
	m.advance(next, true) // new messages and expunged ones are told by Poll
	m.tellStored(w, stored)
	return &imapserver.StoreData{Modified: m.numbers(set.UID, stored.Modified)}, nil
}

// mayChange tells whether the rights allow one at least of the flags that a STORE names:
// then it does what it may (RFC 4314, 4). One that names none takes away what it may.
func mayChange(c *mailstore.FlagChange, none bool) bool {
	return none || c.Flags&mailstore.System&^c.Keep != 0 || len(c.Keywords) > 0 && c.Keep&mailstore.KeywordFlags == 0
}

// tellStored tells the flags of the messages that a STORE named. A message that somebody
// else has changed since stays on the list of those to be told of, because .SILENT holds
// only for the client's own change.
func (m *selected) tellStored(w *imapserver.UpdateWriter, stored *mailstore.Stored) {
	if m.keywords {
		w.MailboxFlags(m.mailboxFlags())
		m.keywords = false
	}
	named := stored.Changed
	if len(stored.Same) > 0 {
		named = append(imap.UIDSet(nil), stored.Changed...)
		named.AddSet(stored.Same)
	}
	var others imap.UIDSet
	for uid := range named.All() {
		i, ok := m.snapshot.Index(uid)
		if !ok {
			continue
		}
		row := m.snapshot.Row(i)
		if row.Gone {
			continue
		}
		if row.ModSeq > stored.ModSeq && m.untold.Contains(uid) {
			others.Add(uid)
			continue
		}
		w.Flags(uint32(i+1), uid, row.ModSeq, m.flags(&row))
	}
	for uid := range m.untold.All() {
		if !named.Contains(uid) {
			others.Add(uid)
		}
	}
	m.untold = others
}

// numbers puts UIDs as a command had them: as they are, or as sequence numbers.
func (m *selected) numbers(uid bool, uids imap.UIDSet) imap.UIDSet {
	if uid {
		return uids
	}
	var out imap.UIDSet
	for u := range uids.All() {
		if i, ok := m.snapshot.Index(u); ok {
			out.Add(uint32(i + 1))
		}
	}
	return out
}
