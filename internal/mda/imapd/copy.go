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
	to, err := s.mailbox(ctx, name, imap.CodeTryCreate)
	if err == nil {
		err = destination(to)
	}
	if err != nil {
		return nil, err
	}
	copied, err := s.account.Copy(ctx, s.selected.id, s.selected.uids(set), to.ID)
	if err != nil {
		return nil, tryCreate(err)
	}
	s.watch(ctx, to.ID, events.Copy).Happened(ctx, copied.Dest)
	return copyData(copied), nil
}

// Move moves messages into another mailbox and tells that they have gone (RFC 9051,
// 6.4.8).
func (s *Session) Move(ctx context.Context, w *imapserver.UpdateWriter, set imap.NumSet, name string) error {
	m := s.selected
	if m.readOnly {
		return errReadOnly
	}
	to, err := s.mailbox(ctx, name, imap.CodeTryCreate)
	if err == nil {
		err = destination(to)
	}
	if err != nil {
		return err
	}
	moved, err := s.account.Move(ctx, m.id, m.uids(set), to.ID)
	if err != nil {
		return tryCreate(err)
	}
	s.watch(ctx, to.ID, events.Copy).Happened(ctx, moved.Dest)
	w.Copied(copyData(moved))
	next, err := m.next(ctx)
	if err != nil {
		return err
	}
	m.tellStructure(w, m.advance(next, false))
	m.tellFlags(w)
	return nil
}

func copyData(c *mailstore.Copied) *imapserver.CopyData {
	return &imapserver.CopyData{UIDValidity: c.UIDValidity, Source: c.Source, Dest: c.Dest}
}
