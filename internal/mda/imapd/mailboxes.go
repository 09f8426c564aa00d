package imapd

import (
	"context"
	"errors"
	"strings"

	"postroad/imap"
	"postroad/imap/imapserver"
	"postroad/internal/mailstore"
)

// delimiter stands between the levels of a mailbox name on the wire.
const delimiter = '/'

// Create makes a mailbox, with a special use if one is asked for.
func (s *Session) Create(ctx context.Context, name string, o imapserver.CreateOptions) (*imapserver.CreateData, error) {
	p, err := s.locate(ctx, name)
	if err != nil {
		return nil, answer(err)
	}
	if err := s.above(ctx, p); err != nil {
		return nil, err
	}
	if p.hidden() {
		return nil, errNoPerm
	}
	var role imap.MailboxAttr
	if len(o.SpecialUse) > 1 {
		return nil, imap.No(imap.CodeUseAttr, "A mailbox has one special use at the most") // RFC 6154, 3
	}
	if len(o.SpecialUse) == 1 {
		role = o.SpecialUse[0]
		if p.foreign() || p.tree.Role(role) != nil || !storable(role) {
			return nil, imap.No(imap.CodeUseAttr, "That special use is not to be had")
		}
	}
	m, err := p.account.CreateMailbox(ctx, p.name, role)
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
	p, err := s.enter(ctx, cmdDelete, name, imap.CodeNonExistent)
	if err != nil {
		return err
	}
	err = p.account.DeleteMailbox(ctx, p.name)
	if errors.Is(err, mailstore.ErrHasChildren) && p.foreign() {
		return s.hasChildren(ctx, p)
	}
	return answer(err)
}

// hasChildren is why a mailbox with others below it is not deleted. Where the user may look
// up none of them he is not told of them.
func (s *Session) hasChildren(ctx context.Context, p *place) error {
	for _, m := range p.tree.All() {
		if !strings.HasPrefix(m.Name, p.mailbox.Name+mailstore.Separator) {
			continue
		}
		r, err := p.account.Rights(ctx, m, s.reader())
		if err != nil {
			return answer(err)
		}
		if needs[cmdList].allows(r) {
			return answer(mailstore.ErrHasChildren)
		}
	}
	return errNoPerm
}

// Rename renames a mailbox, of INBOX it moves the messages. It stays with its owner: to
// give it to another one would change who pays for it, and who may do what.
func (s *Session) Rename(ctx context.Context, name, newName string) error {
	from, err := s.enter(ctx, cmdDelete, name, imap.CodeNonExistent)
	if err != nil {
		return err
	}
	to, err := s.locate(ctx, newName)
	if err != nil {
		return answer(err)
	}
	if to.account != from.account || from.foreign() && from.mailbox.Name == imap.Inbox {
		return imap.No(imap.CodeCannot, "That mailbox cannot be renamed so")
	}
	if err := s.above(ctx, to); err != nil {
		return err
	}
	if to.hidden() {
		return errNoPerm
	}
	return answer(from.account.RenameMailbox(ctx, from.name, to.name))
}

// Subscribe puts a name on the list of subscriptions. It may be one of another namespace;
// whether there is such a mailbox is not looked at.
func (s *Session) Subscribe(ctx context.Context, name string) error {
	return answer(s.account.Subscribe(ctx, name, true))
}

// Unsubscribe takes a name off the list of subscriptions.
func (s *Session) Unsubscribe(ctx context.Context, name string) error {
	return answer(s.account.Subscribe(ctx, name, false))
}

// List gives every mailbox that the user may look up, and subscribed names that have none
// (RFC 5258, 3.1).
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
	subscribed := map[string]bool{} // that are not the user's own mailboxes
	for _, name := range tree.Subscriptions() {
		switch {
		case tree.Name(name) != nil:
		case tree.RecoverableName(name) != nil && !recoverable:
			w.Mailbox(imapserver.MailboxInfo{Name: name, Delimiter: delimiter, Subscribed: true})
		default:
			subscribed[name] = true
		}
	}
	if recoverable {
		listRecoverable(w, tree, subscribed)
	}
	if err := s.listForeign(ctx, w, subscribed); err != nil {
		return err
	}
	for name := range subscribed {
		w.Mailbox(imapserver.MailboxInfo{Name: name, Delimiter: delimiter, Subscribed: true,
			Attributes: []imap.MailboxAttr{imap.AttrNonExistent}})
	}
	return nil
}

// listForeign gives the mailboxes of the other namespaces, and takes their names out of
// the subscribed ones that are left.
func (s *Session) listForeign(ctx context.Context, w *imapserver.ListWriter, subscribed map[string]bool) error {
	return s.eachForeign(ctx, cmdList, func(p *place) {
		name := p.full()
		w.Mailbox(imapserver.MailboxInfo{Name: name, Delimiter: delimiter, Subscribed: subscribed[name]})
		delete(subscribed, name)
	})
}

// Namespace tells the prefixes of the user's own mailboxes, what was deleted among them,
// those of other users, and the organisation's.
func (s *Session) Namespace(context.Context) (*imapserver.NamespaceData, error) {
	d := &imapserver.NamespaceData{Personal: []imapserver.Namespace{{Delimiter: delimiter}}}
	if s.backend.o.Store.Undeletes() {
		d.Personal = append(d.Personal, imapserver.Namespace{Prefix: mailstore.RecoverableRoot + mailstore.Separator, Delimiter: delimiter})
	}
	if s.backend.o.Directory != nil {
		d.Other = []imapserver.Namespace{{Prefix: otherPrefix, Delimiter: delimiter}}
		d.Shared = []imapserver.Namespace{{Prefix: sharedPrefix, Delimiter: delimiter}}
	}
	return d, nil
}

// Status answers from stored counters.
func (s *Session) Status(ctx context.Context, name string, _ imap.StatusItems) (*imapserver.StatusData, error) {
	p, err := s.enter(ctx, cmdStatus, name, imap.CodeNonExistent)
	if err != nil {
		return nil, err
	}
	list, err := p.account.StatusAs(ctx, s.who.ID, p.mailbox.ID)
	if err != nil {
		return nil, answer(err)
	}
	st := list[0]
	return &imapserver.StatusData{
		Mailbox:  p.full(),
		Messages: st.Messages, Unseen: st.Unseen, Deleted: st.Deleted, Size: uint64(st.Size),
		UIDNext: st.UIDNext, UIDValidity: st.UIDValidity, HighestModSeq: st.HighestModSeq,
		AppendLimit: uint64(s.backend.o.MessageBytesMax),
		MailboxID:   mailstore.FormatMailboxID(p.mailbox.ID),
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
