package imapd

import (
	"context"
	"errors"
	"strings"
	"time"

	"postroad/imap"
	"postroad/imap/imapserver"
	"postroad/internal/mailstore"
)

// MultiSearch searches several mailboxes, one after the other (RFC 7377).
func (s *Session) MultiSearch(ctx context.Context, w *imapserver.MultiSearchWriter, sources []imapserver.SearchSource, key *imap.SearchKey, o imapserver.SearchOptions) error {
	mailboxes, err := s.sources(ctx, sources)
	if err != nil {
		return err
	}
	if len(mailboxes) > imapserver.MultiSearchMailboxesMax {
		return imap.No(imap.CodeLimit, "Too many mailboxes for one search") // RFC 7377, 2.4
	}
	for _, box := range mailboxes {
		err := s.searchMailbox(ctx, w, box, key, o)
		if errors.Is(err, mailstore.ErrNoMailbox) {
			continue // deleted meanwhile
		}
		if err != nil {
			return answer(err)
		}
	}
	return nil
}

// sources are the mailboxes that sources name, each once, in the order of their names.
func (s *Session) sources(ctx context.Context, sources []imapserver.SearchSource) ([]*mailstore.Mailbox, error) {
	tree, err := s.account.Tree(ctx)
	if err != nil {
		return nil, answer(err)
	}
	var out []*mailstore.Mailbox
	for _, box := range tree.All() {
		for i := range sources {
			if s.inSource(box, &sources[i]) {
				out = append(out, box)
				break
			}
		}
	}
	return out, nil
}

// inSource tells whether a source names a mailbox. Sieve scripts may put new mail anywhere,
// so that all mailboxes are inboxes: RFC 5465, 6.2, wants it so where the set cannot be
// told.
func (s *Session) inSource(box *mailstore.Mailbox, source *imapserver.SearchSource) bool {
	switch source.Kind {
	case imapserver.SourceSelected:
		return s.selected != nil && s.selected.id == box.ID
	case imapserver.SourceInboxes, imapserver.SourcePersonal:
		return true
	case imapserver.SourceSubscribed:
		return box.Subscribed
	}
	for _, name := range source.Mailboxes {
		name, err := mailstore.CleanName(name)
		if err != nil {
			continue
		}
		if box.Name == name {
			return true
		}
		below, inside := strings.CutPrefix(box.Name, name+mailstore.Separator)
		switch {
		case !inside || source.Kind == imapserver.SourceMailboxes:
		case source.Kind == imapserver.SourceSubtree, !strings.Contains(below, mailstore.Separator):
			return true
		}
	}
	return false
}

// searchMailbox searches one mailbox; the selected one as the client knows it.
func (s *Session) searchMailbox(ctx context.Context, w *imapserver.MultiSearchWriter, box *mailstore.Mailbox, key *imap.SearchKey, o imapserver.SearchOptions) error {
	m := s.selected
	if m == nil || m.id != box.ID {
		view, err := s.account.View(ctx, box.ID)
		if err != nil {
			return err
		}
		defer view.Close()
		snapshot, err := view.Snapshot(ctx)
		if err != nil {
			return err
		}
		m = &selected{id: box.ID, view: view, snapshot: snapshot}
	}
	found, err := newQuery(s, m, key, time.Now()).find(ctx, key, everything)
	if err != nil {
		return err
	}
	return w.Result(box.Name, m.snapshot.UIDValidity(), m.result(found, key.HasModSeq()))
}
