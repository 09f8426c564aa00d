package imapd

import (
	"context"
	"errors"

	"postroad/imap"
	"postroad/imap/imapserver"
	"postroad/internal/mailstore"
)

// selected is the open mailbox as the client knows it.
type selected struct {
	id       mailstore.MailboxID
	view     *mailstore.View
	snapshot *mailstore.Snapshot // what the client was told; sequence number n is index n-1
	readOnly bool
	untold   imap.UIDSet // flags in snapshot that the client was not told yet
	keywords bool        // the table in snapshot has keywords that the client was not told yet
	added    bool        // snapshot has messages at its end that the client was not told yet
	contexts []*searchContext
}

// Select opens a mailbox.
func (s *Session) Select(ctx context.Context, name string, o imapserver.SelectOptions) (*imapserver.SelectData, error) {
	m, err := s.mailbox(ctx, name, imap.CodeNonExistent)
	if err != nil {
		return nil, err
	}
	view, err := s.account.View(ctx, m.ID)
	if err != nil {
		return nil, answer(err)
	}
	snapshot, err := view.Snapshot(ctx)
	if err != nil {
		view.Close()
		return nil, answer(err)
	}
	s.selected = &selected{id: m.ID, view: view, snapshot: snapshot, readOnly: o.ReadOnly}
	data := &imapserver.SelectData{
		Mailbox: m.Name, Exists: uint32(snapshot.Len()), Unseen: firstUnseen(snapshot),
		UIDNext: snapshot.UIDNext(), UIDValidity: snapshot.UIDValidity(), HighestModSeq: snapshot.HighestModSeq(),
		MailboxID: mailstore.FormatMailboxID(m.ID), Delimiter: delimiter,
	}
	data.Flags, data.PermanentFlags = mailboxFlags(snapshot)
	if m.Role != "" {
		data.Attributes = []imap.MailboxAttr{m.Role}
	}
	return data, nil
}

// firstUnseen is the sequence number of the first message without \Seen, 0 for none.
func firstUnseen(s *mailstore.Snapshot) uint32 {
	for i, row := range s.Rows(0, s.Len()) {
		if row.Flags&mailstore.Seen == 0 {
			return uint32(i + 1)
		}
	}
	return 0
}

// mailboxFlags lists the flags in use and those that a client may change: all of them,
// and new keywords while the mailbox's table has room (RFC 9051, 7.1, PERMANENTFLAGS).
func mailboxFlags(s *mailstore.Snapshot) (flags, permanent []imap.Flag) {
	flags = []imap.Flag{imap.FlagAnswered, imap.FlagFlagged, imap.FlagDeleted, imap.FlagSeen, imap.FlagDraft}
	for _, k := range s.Keywords() {
		flags = append(flags, imap.Flag(k))
	}
	permanent = flags
	if len(s.Keywords()) < mailstore.KeywordsMax {
		permanent = append(flags[:len(flags):len(flags)], imap.FlagWildcard)
	}
	return flags, permanent
}

// Unselect leaves the mailbox without expunging.
func (s *Session) Unselect(context.Context) error {
	s.leaveMailbox()
	return nil
}

func (s *Session) leaveMailbox() {
	if s.selected != nil {
		s.selected.view.Close()
		s.selected = nil
	}
}

// next returns the mailbox as it is now. A client whose mailbox was deleted is sent away:
// no response takes a selection back (RFC 2180, 3.3).
func (m *selected) next(ctx context.Context) (*mailstore.Snapshot, error) {
	next, err := m.view.Snapshot(ctx)
	if errors.Is(err, mailstore.ErrNoMailbox) {
		return nil, &imap.Error{Status: imap.BYE, Text: "The selected mailbox was deleted"}
	}
	return next, answer(err)
}

// flags returns the flags of a message as words.
func (m *selected) flags(row *mailstore.Row) []imap.Flag {
	words := []imap.Flag{}
	for i, f := range [...]imap.Flag{imap.FlagSeen, imap.FlagAnswered, imap.FlagFlagged, imap.FlagDeleted, imap.FlagDraft} {
		if row.Flags&(1<<i) != 0 {
			words = append(words, f)
		}
	}
	for i, k := range m.snapshot.Keywords() {
		if row.Flags&mailstore.Keyword(i) != 0 {
			words = append(words, imap.Flag(k))
		}
	}
	return words
}

// uids resolves a set of a command to UIDs that are there, in the client's view of the
// mailbox; messages that have gone are left out.
func (m *selected) uids(set imap.NumSet) imap.UIDSet {
	var out imap.UIDSet
	for from, to := range m.spans(set) {
		for _, row := range m.snapshot.Rows(from, to) {
			if !row.Gone {
				out.Add(row.UID)
			}
		}
	}
	return out
}

// spans yields the index ranges from ≤ i < to of the messages that a set names, in
// ascending order.
func (m *selected) spans(set imap.NumSet) func(yield func(from, to int) bool) {
	n := m.snapshot.Len()
	return func(yield func(from, to int) bool) {
		if n == 0 {
			return
		}
		if !set.UID {
			for _, r := range set.Resolve(uint32(n)) {
				if int(r.First) > n || !yield(int(r.First)-1, min(int(r.Last), n)) {
					return
				}
			}
			return
		}
		for _, r := range set.Resolve(m.snapshot.UID(n - 1)) {
			from, _ := m.snapshot.Index(r.First)
			to, there := m.snapshot.Index(r.Last)
			if there {
				to++
			}
			if from < to && !yield(from, to) {
				return
			}
		}
	}
}
