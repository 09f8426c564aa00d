package email

import (
	"context"
	"strings"

	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
)

// guestNames are how the mailboxes of another one's account are called in the user's own
// list of subscriptions. It is the same list that LSUB gives him in IMAP, where these
// mailboxes are in the namespaces of other users and of what is shared (RFC 2342), so that a
// subscription made here is there, too.
type guestNames struct {
	prefix     string
	subscribes map[string]bool
}

// Levels of those namespaces, which no mailbox of the user's own may have at the top.
const (
	levelOthers = "Other Users"
	levelShared = "Shared"
)

// guestNames reads a user's subscriptions in another one's account.
func (m *Methods) guestNames(ctx context.Context, a *access.Account) (*guestNames, error) {
	own, err := m.house.Mail.Account(ctx, a.Reader.ID)
	if err != nil {
		return nil, err
	}
	tree, err := own.Tree(ctx)
	if err != nil {
		return nil, err
	}
	n := &guestNames{subscribes: make(map[string]bool, len(tree.Subscriptions()))}
	for _, s := range tree.Subscriptions() {
		n.subscribes[s] = true
	}
	public, err := m.house.Directory.PublicAccount(ctx, a.Owner.Org)
	if err != nil {
		return nil, err
	}
	if a.ID() == public {
		n.prefix = levelShared + mailstore.Separator
		return n, nil
	}
	login := a.Owner.Login.String()
	if clean, err := mailstore.CleanName(login); err != nil || clean != login || !oneLevel(login) {
		login = a.ID().String()
	}
	n.prefix = levelOthers + mailstore.Separator + login + mailstore.Separator
	return n, nil
}

// subscribed tells whether the user has subscribed to a mailbox.
func (n *guestNames) subscribed(b *mailstore.Mailbox) bool { return n.subscribes[n.prefix+b.Name] }

// subscribe subscribes a guest to a mailbox, in his own account, or ends that.
func (m *Methods) subscribe(ctx context.Context, a *access.Account, b *mailstore.Mailbox, on bool) error {
	n, err := m.guestNames(ctx, a)
	if err != nil || n.subscribed(b) == on {
		return err
	}
	own, err := m.house.Mail.Account(ctx, a.Reader.ID)
	if err != nil {
		return err
	}
	return own.Subscribe(ctx, n.prefix+b.Name, on)
}

// oneLevel tells whether a text is one level of a name.
func oneLevel(s string) bool { return !strings.Contains(s, mailstore.Separator) }
