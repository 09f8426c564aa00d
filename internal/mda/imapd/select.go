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
	account  *mailstore.Account // the owner's
	id       mailstore.MailboxID
	own      bool        // the user is the owner
	rights   imap.Rights // his, as last asked
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
	p, err := s.enter(ctx, cmdSelect, name, imap.CodeNonExistent)
	if err != nil {
		return nil, err
	}
	m := p.mailbox
	view, err := p.account.ViewAs(ctx, m.ID, s.who.ID)
	if err != nil {
		return nil, answer(err)
	}
	snapshot, err := view.Snapshot(ctx)
	if err != nil {
		view.Close()
		return nil, answer(err)
	}
	s.selected = &selected{account: p.account, id: m.ID, own: !p.foreign(), rights: p.rights,
		view: view, snapshot: snapshot, readOnly: o.ReadOnly}
	data := &imapserver.SelectData{
		Mailbox: p.full(), Exists: uint32(snapshot.Len()), Unseen: firstUnseen(snapshot),
		UIDNext: snapshot.UIDNext(), UIDValidity: snapshot.UIDValidity(), HighestModSeq: snapshot.HighestModSeq(),
		MailboxID: mailstore.FormatMailboxID(m.ID), Delimiter: delimiter,
		ReadOnly: !readWrite(p.rights),
	}
	data.Flags, data.PermanentFlags = s.selected.mailboxFlags()
	if m.Role != "" && !p.foreign() {
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

// mailboxFlags lists the flags in use and those that the user may change: all that his
// rights allow (RFC 4314, 5.1.1), and new keywords while the mailbox's table has room
// (RFC 9051, 7.1, PERMANENTFLAGS).
func (m *selected) mailboxFlags() (flags, permanent []imap.Flag) {
	keywords := m.snapshot.Keywords()
	flags = []imap.Flag{imap.FlagAnswered, imap.FlagFlagged, imap.FlagDeleted, imap.FlagSeen, imap.FlagDraft}
	for _, k := range keywords {
		flags = append(flags, imap.Flag(k))
	}
	permanent = flags
	keep := keeps(m.rights)
	if keep != 0 {
		permanent = nil
		for _, f := range flags {
			if bit, _ := mailstore.ParseFlags([]imap.Flag{f}); bit&^keep != 0 || bit == 0 && keep&mailstore.KeywordFlags == 0 {
				permanent = append(permanent, f)
			}
		}
	}
	if len(keywords) < mailstore.KeywordsMax && keep&mailstore.KeywordFlags == 0 {
		permanent = append(permanent[:len(permanent):len(permanent)], imap.FlagWildcard)
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

var errDeleted = &imap.Error{Status: imap.BYE, Text: "The selected mailbox was deleted"}

// next returns the mailbox as it is now. A client whose mailbox was deleted is sent away:
// no response takes a selection back (RFC 2180, 3.3).
func (m *selected) next(ctx context.Context) (*mailstore.Snapshot, error) {
	next, err := m.view.Snapshot(ctx)
	if errors.Is(err, mailstore.ErrNoMailbox) {
		return nil, errDeleted
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
