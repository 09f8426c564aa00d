package email

import (
	"context"
	"slices"
	"strings"

	"postroad/imap"
	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/jmap"
)

// roleInbox is the role of INBOX, which is no special use in IMAP (RFC 8621, 10.5.1).
const roleInbox = "inbox"

// inboxName is how INBOX is called here, where names of mailboxes are for people.
const inboxName = "Inbox"

// mailboxProperties are the properties of a Mailbox (RFC 8621, 2).
var mailboxProperties = []string{"id", "name", "parentId", "role", "sortOrder", "totalEmails", "unreadEmails",
	"totalThreads", "unreadThreads", "myRights", "isSubscribed"}

// propertyShareWith is one more, for who uses CapabilityShare (RFC 9670, 4).
const propertyShareWith = "shareWith"

// countProperties are those that change with mail (RFC 8621, 2.2).
var countProperties = []string{"totalEmails", "unreadEmails", "totalThreads", "unreadThreads"}

// mailboxMethods are those of Mailbox (RFC 8621, 2).
func (m *Methods) mailboxMethods() []jmap.Method {
	t := &jmap.DataType{Name: "Mailbox", Capability: CapabilityMail, Property: func(name string) bool {
		return name == propertyShareWith || slices.Contains(mailboxProperties, name)
	}}
	return []jmap.Method{
		t.Get(nil, m.mailboxGet),
		t.Changes(nil, m.mailboxChanges),
		t.Query([]string{"sortAsTree", "filterAsTree"}, m.mailboxQuery),
		t.QueryChanges([]string{"sortAsTree", "filterAsTree"}, m.mailboxQueryChanges),
		t.Set([]string{"onDestroyRemoveEmails"}, m.mailboxSet),
	}
}

// folders are the mailboxes of an account as a user sees them: those that he may look up
// (RFC 8621, 9.5), without the ones of what can be brought back.
type folders struct {
	account *access.Account
	tree    *mailstore.Tree
	all     []*folder // as Tree.All has them: parents first
	byID    map[mailstore.MailboxID]*folder
}

// folder is one of them.
type folder struct {
	*mailstore.Mailbox
	rights     imap.Rights
	parent     mailstore.MailboxID // the next one above it that the user sees; 0: none
	name       string
	role       string // empty: none
	subscribed bool
}

// foldersOf reads an account's mailboxes as a user sees them.
func (m *Methods) foldersOf(ctx context.Context, a *access.Account, e *mailstore.Emails) (*folders, error) {
	fs := &folders{account: a, tree: e.Tree(), byID: make(map[mailstore.MailboxID]*folder, len(e.Visible()))}
	subscribed := func(b *mailstore.Mailbox) bool { return b.Subscribed }
	if !a.Own {
		names, err := m.guestNames(ctx, a)
		if err != nil {
			return nil, err
		}
		subscribed = names.subscribed
	}
	for _, v := range e.Visible() {
		f := &folder{Mailbox: v.Mailbox, rights: v.Rights, subscribed: subscribed(v.Mailbox), role: formatRole(v.Mailbox, fs.tree)}
		f.parent, f.name = fs.place(v.Mailbox)
		fs.all = append(fs.all, f)
		fs.byID[f.ID] = f
	}
	return fs, nil
}

// place is the mailbox that another one is shown below, and its name there. Where the user
// does not see the one above, the name begins at the next that he sees, so that two
// mailboxes never have one name at one place (RFC 8621, 2).
func (fs *folders) place(b *mailstore.Mailbox) (parent mailstore.MailboxID, name string) {
	if b.ID == fs.tree.Inbox().ID {
		return 0, inboxName
	}
	levels := []string{b.Level()}
	for up := b.Parent; up != 0; {
		if fs.byID[up] != nil {
			parent = up
			break
		}
		above := fs.tree.ID(up)
		levels = append(levels, above.Level())
		up = above.Parent
	}
	slices.Reverse(levels)
	return parent, strings.Join(levels, mailstore.Separator)
}

// formatRole is a mailbox's role: its special use in lower case, without the backslash.
func formatRole(b *mailstore.Mailbox, t *mailstore.Tree) string {
	if b.ID == t.Inbox().ID { // the two may be of two readings of the tree
		return roleInbox
	}
	return strings.ToLower(strings.TrimPrefix(string(b.Role), `\`))
}

// parseRole is the special use behind a role that a mailbox can have.
func parseRole(role string) (imap.MailboxAttr, bool) {
	use, known := imap.SpecialUse(imap.MailboxAttr(`\` + role))
	return use, known && role == strings.ToLower(role) && mailstore.CanBe(use)
}

// formatMailboxID is a mailbox's id for clients.
func formatMailboxID(id mailstore.MailboxID) jmap.ID { return access.FormatID('F', id) }

// folder finds a mailbox by the id that a client has; nil: the user sees no such one.
func (fs *folders) folder(id jmap.ID) *folder {
	n, ok := access.ParseID('F', id)
	if !ok {
		return nil
	}
	return fs.byID[n]
}

// object writes the properties of a mailbox that are asked for.
func (fs *folders) object(f *folder, n mailstore.Counts, share bool, wants func(string) bool) jmap.Object {
	o := jmap.Object{}
	for name, value := range map[string]any{
		"id": formatMailboxID(f.ID), "name": f.name, "sortOrder": f.SortOrder, "isSubscribed": f.subscribed,
		"totalEmails": n.Emails, "unreadEmails": n.UnreadEmails, "totalThreads": n.Threads, "unreadThreads": n.UnreadThreads,
	} {
		if wants(name) {
			o[name] = value
		}
	}
	if wants("parentId") {
		o["parentId"] = orNull(f.parent != 0, formatMailboxID(f.parent))
	}
	if wants("role") {
		o["role"] = orNull(f.role != "", f.role)
	}
	if wants("myRights") {
		o["myRights"] = formatRights(f.rights, f.role == roleInbox, share)
	}
	if share && wants(propertyShareWith) {
		o[propertyShareWith] = fs.shareWith(f)
	}
	return o
}

// orNull is a value where there is one.
func orNull[T any](there bool, v T) any {
	if !there {
		return nil
	}
	return v
}
