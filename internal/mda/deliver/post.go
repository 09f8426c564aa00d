package deliver

import (
	"context"
	"fmt"

	"postroad/imap"
	"postroad/internal/directory"
	"postroad/internal/mailstore"
)

// Mail for an organisation's public mailboxes comes as sub-addresses of the account that
// has them, and is taken where the sender has the post right (RFC 4314, 2.1, "p"): as the
// account that submitted it, or as "anyone" when it comes from outside. Where he has not,
// the answer is the same whether there is such a mailbox or not. In his own account the
// owner's mail is filed by its sub-address without being asked.

// MayPost tells whether a destination takes mail that an account has submitted, 0: mail
// from outside.
func (d *Deliverer) MayPost(ctx context.Context, to directory.Destination, from mailstore.AccountID) (bool, error) {
	if !to.Public {
		return true, nil
	}
	a, err := d.o.Store.Account(ctx, to.Account)
	if err != nil {
		return false, err
	}
	m, err := d.postbox(ctx, a, to.Detail, from)
	return m != nil, err
}

// postbox is where mail for a sub-address of a public account goes: the mailbox of that
// name if the sender may post there, else INBOX if he may there; nil: nowhere.
func (d *Deliverer) postbox(ctx context.Context, a *mailstore.Account, detail string, from mailstore.AccountID) (*mailstore.Mailbox, error) {
	t, err := a.Tree(ctx)
	if err != nil {
		return nil, err
	}
	who := mailstore.Reader{ID: from, Member: func(ctx context.Context, group string) (bool, error) {
		return d.o.Directory.Member(ctx, group, from)
	}}
	boxes := []*mailstore.Mailbox{t.Inbox()}
	if detail != "" {
		if m := folder(t, detail); m != nil {
			boxes = []*mailstore.Mailbox{m, t.Inbox()}
		}
	}
	for _, m := range boxes {
		r, err := a.Rights(ctx, m, who)
		if err != nil {
			return nil, err
		}
		if r.Has(imap.RightPost) {
			return m, nil
		}
	}
	return nil, nil
}

// post is folders for a public account.
func (r *round) post(ctx context.Context, a *mailstore.Account, details []string) ([]mailstore.MailboxID, error) {
	var boxes []mailstore.MailboxID
	for _, detail := range details {
		m, err := r.postbox(ctx, a, detail, r.m.Origin.Account)
		if err != nil {
			return nil, err
		}
		if m != nil {
			boxes = appendNew(boxes, m.ID)
		}
	}
	if len(boxes) == 0 {
		return nil, fmt.Errorf("post to a public mailbox: %w", mailstore.ErrRights)
	}
	return boxes, nil
}
