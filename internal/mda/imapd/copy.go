package imapd

import (
	"context"

	"postroad/imap"
	"postroad/imap/imapserver"
	"postroad/internal/mailstore"
	"postroad/internal/mda/events"
)

// Copy copies messages into another mailbox, all or none (RFC 9051, 6.4.7).
func (s *Session) Copy(ctx context.Context, set imap.NumSet, name string) (*imapserver.CopyData, error) {
	m, err := s.current(ctx, cmdCopy)
	if err != nil {
		return nil, err
	}
	to, err := s.enter(ctx, cmdInsert, name, imap.CodeTryCreate)
	if err != nil {
		return nil, err
	}
	var copied *mailstore.Copied
	if m.own && !to.foreign() {
		copied, err = m.account.Copy(ctx, m.id, m.uids(set), to.mailbox.ID)
	} else {
		copied, err = s.transfer(m, set, to).Copy(ctx)
	}
	if err != nil {
		return nil, tryCreate(err)
	}
	s.watch(ctx, to.account, to.mailbox.ID, events.Copy).Happened(ctx, copied.Dest)
	return copyData(copied), nil
}

// Move moves messages into another mailbox and tells that they have gone (RFC 9051,
// 6.4.8).
func (s *Session) Move(ctx context.Context, w *imapserver.UpdateWriter, set imap.NumSet, name string) error {
	m, err := s.current(ctx, cmdMove)
	if err != nil {
		return err
	}
	if m.readOnly {
		return errReadOnly
	}
	to, err := s.enter(ctx, cmdInsert, name, imap.CodeTryCreate)
	if err != nil {
		return err
	}
	var moved *mailstore.Copied
	if m.own && !to.foreign() {
		moved, err = m.account.Move(ctx, m.id, m.uids(set), to.mailbox.ID)
	} else {
		moved, err = s.transfer(m, set, to).Move(ctx)
	}
	if err != nil {
		return tryCreate(err)
	}
	s.watch(ctx, to.account, to.mailbox.ID, events.Copy).Happened(ctx, moved.Dest)
	w.Copied(copyData(moved))
	next, err := m.next(ctx)
	if err != nil {
		return err
	}
	m.tellStructure(w, m.advance(next, false))
	m.tellFlags(w)
	return nil
}

// transfer is a COPY or MOVE with a mailbox that is not the user's own.
func (s *Session) transfer(m *selected, set imap.NumSet, to *place) *mailstore.Transfer {
	return &mailstore.Transfer{From: m.account, Source: m.id, UIDs: m.uids(set), To: to.account, Dest: to.mailbox.ID,
		Reader: s.who.ID, Keep: keeps(to.rights)}
}

func copyData(c *mailstore.Copied) *imapserver.CopyData {
	return &imapserver.CopyData{UIDValidity: c.UIDValidity, Source: c.Source, Dest: c.Dest}
}
