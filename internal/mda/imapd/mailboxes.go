package imapd

import (
	"context"
	"errors"

	"postroad/imap"
	"postroad/imap/imapserver"
	"postroad/internal/mailstore"
)

// delimiter stands between the levels of a mailbox name on the wire.
const delimiter = '/'

// mailbox finds a mailbox by name; code is answered when there is none.
func (s *Session) mailbox(ctx context.Context, name string, code imap.Code) (*mailstore.Mailbox, error) {
	tree, err := s.account.Tree(ctx)
	if err != nil {
		return nil, answer(err)
	}
	if clean, err := mailstore.CleanName(name); err == nil {
		if m := tree.Name(clean); m != nil {
			return m, nil
		}
		if m := tree.RecoverableName(clean); m != nil {
			return m, nil
		}
	}
	return nil, imap.No(code, "No such mailbox")
}

// Create makes a mailbox, with a special use if one is asked for.
func (s *Session) Create(ctx context.Context, name string, o imapserver.CreateOptions) (*imapserver.CreateData, error) {
	var role imap.MailboxAttr
	if len(o.SpecialUse) > 1 {
		return nil, imap.No(imap.CodeUseAttr, "A mailbox has one special use at the most") // RFC 6154, 3
	}
	if len(o.SpecialUse) == 1 {
		role = o.SpecialUse[0]
		tree, err := s.account.Tree(ctx)
		if err != nil {
			return nil, answer(err)
		}
		if tree.Role(role) != nil || !storable(role) {
			return nil, imap.No(imap.CodeUseAttr, "That special use is not to be had")
		}
	}
	m, err := s.account.CreateMailbox(ctx, name, role)
	if err != nil {
		return nil, answer(err)
	}
	return &imapserver.CreateData{MailboxID: mailstore.FormatMailboxID(m.ID)}, nil
}

// storable tells whether a special use is that of a mailbox which holds messages of its
// own; \All and \Flagged would be views over the others.
func storable(role imap.MailboxAttr) bool {
	return role != imap.AttrAll && role != imap.AttrFlagged
}

// Delete deletes a mailbox with its messages.
func (s *Session) Delete(ctx context.Context, name string) error {
	if belowRecoverable(name) {
		return imap.No(imap.CodeCannot, "What was deleted goes by itself")
	}
	return answer(s.account.DeleteMailbox(ctx, name))
}

// Rename renames a mailbox, of INBOX it moves the messages.
func (s *Session) Rename(ctx context.Context, name, newName string) error {
	if belowRecoverable(name) {
		return imap.No(imap.CodeCannot, "Move the messages to where they shall be")
	}
	return answer(s.account.RenameMailbox(ctx, name, newName))
}

// Subscribe puts a name on the list of subscriptions.
func (s *Session) Subscribe(ctx context.Context, name string) error {
	return answer(s.account.Subscribe(ctx, name, true))
}

// Unsubscribe takes a name off the list of subscriptions.
func (s *Session) Unsubscribe(ctx context.Context, name string) error {
	return answer(s.account.Subscribe(ctx, name, false))
}

// List gives every mailbox, and subscribed names that have none (RFC 5258, 3.1).
func (s *Session) List(ctx context.Context, w *imapserver.ListWriter, o imapserver.ListOptions) error {
	tree, err := s.account.Tree(ctx)
	if err != nil {
		return answer(err)
	}
	for _, m := range tree.All() {
		info := imapserver.MailboxInfo{Name: m.Name, Delimiter: delimiter, Subscribed: m.Subscribed}
		if m.Role != "" {
			info.Attributes = []imap.MailboxAttr{m.Role}
		}
		w.Mailbox(info)
	}
	recoverable := asksForRecoverable(o.Patterns)
	subscribed := map[string]bool{} // of what was deleted
	for _, name := range tree.Subscriptions() {
		switch {
		case tree.Name(name) != nil:
		case tree.RecoverableName(name) != nil:
			if subscribed[name] = true; !recoverable {
				w.Mailbox(imapserver.MailboxInfo{Name: name, Delimiter: delimiter, Subscribed: true})
			}
		default:
			w.Mailbox(imapserver.MailboxInfo{Name: name, Delimiter: delimiter, Subscribed: true,
				Attributes: []imap.MailboxAttr{imap.AttrNonExistent}})
		}
	}
	if recoverable {
		listRecoverable(w, tree, subscribed)
	}
	return nil
}

// Namespace tells of personal mailboxes, and where what was deleted is.
func (s *Session) Namespace(context.Context) (*imapserver.NamespaceData, error) {
	personal := []imapserver.Namespace{{Delimiter: delimiter}}
	if s.backend.o.Store.Undeletes() {
		personal = append(personal, imapserver.Namespace{Prefix: mailstore.RecoverableRoot + mailstore.Separator, Delimiter: delimiter})
	}
	return &imapserver.NamespaceData{Personal: personal}, nil
}

// Status answers from stored counters.
func (s *Session) Status(ctx context.Context, name string, _ imap.StatusItems) (*imapserver.StatusData, error) {
	m, err := s.mailbox(ctx, name, imap.CodeNonExistent)
	if err != nil {
		return nil, err
	}
	list, err := s.account.Status(ctx, m.ID)
	if err != nil {
		return nil, answer(err)
	}
	st := list[0]
	return &imapserver.StatusData{
		Mailbox:  m.Name,
		Messages: st.Messages, Unseen: st.Unseen, Deleted: st.Deleted, Size: uint64(st.Size),
		UIDNext: st.UIDNext, UIDValidity: st.UIDValidity, HighestModSeq: st.HighestModSeq,
		AppendLimit: uint64(s.backend.o.MessageBytesMax),
		MailboxID:   mailstore.FormatMailboxID(m.ID),
	}, nil
}

// tryCreate turns a missing destination into the code that lets a client make it
// (RFC 9051, 6.3.12 and 6.4.7).
func tryCreate(err error) error {
	if errors.Is(err, mailstore.ErrNoMailbox) {
		return imap.No(imap.CodeTryCreate, "No such mailbox")
	}
	return answer(err)
}
