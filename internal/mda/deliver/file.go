package deliver

import (
	"context"
	"errors"
	"slices"
	"strings"

	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/sieve"
	"postroad/smtp"
)

// file puts the mail into one account within the unit, as its owner's rules say.
func (r *round) file(ctx context.Context, f *filing) {
	err := r.u.Try(func() error { return r.deliver(ctx, f) })
	if err == nil {
		f.status = r.status(mailflow.Delivered, 250, smtp.EnhancedCode{2, 1, 5}, "Delivered")
		return
	}
	refused := r.reply(err)
	action := mailflow.Failed
	if refused.Temporary() {
		action = mailflow.Delayed
	}
	if expected := new(rejection); !errors.Is(err, mailstore.ErrOverQuota) && !errors.Is(err, mailstore.ErrRights) && !errors.As(err, &expected) {
		r.o.Log.Error("mail cannot be filed", "id", r.m.ID, "account", f.id, "error", err)
	}
	f.status = mailflow.Status{Action: action, Reply: refused.Reply, LocalMTA: true, At: r.now}
}

// deliver does what the rules of an account say, or without any files into INBOX or the
// folder of the sub-address.
func (r *round) deliver(ctx context.Context, f *filing) error {
	a, err := r.o.Store.Account(ctx, f.id)
	if err != nil {
		return err
	}
	tree, err := a.Tree(ctx)
	if err != nil {
		return err
	}
	d := &delivery{round: r, filing: f, account: a, tree: tree}
	defer d.close()
	outcome, err := d.judge(ctx)
	if err != nil {
		return err
	}
	if outcome == nil {
		err = d.keep(ctx, &sieve.Keep{Implicit: true})
	} else {
		err = d.perform(ctx, outcome)
	}
	if err != nil {
		return err
	}
	return d.append(ctx)
}

// folders are the mailboxes of kept mail, each once: INBOX, or those of its sub-addresses;
// of a public account those where the sender may post.
func (d *delivery) folders(ctx context.Context) ([]mailstore.MailboxID, error) {
	if d.filing.public {
		return d.post(ctx, d.account, d.filing.details)
	}
	var boxes []mailstore.MailboxID
	for _, detail := range d.filing.details {
		id := d.tree.Inbox().ID
		if detail != "" && !d.o.NoFolders {
			if m := folder(d.tree, detail); m != nil {
				id = m.ID
			}
		}
		boxes = appendNew(boxes, id)
	}
	return boxes, nil
}

// appendNew appends an id that is not there yet.
func appendNew(boxes []mailstore.MailboxID, id mailstore.MailboxID) []mailstore.MailboxID {
	if slices.Contains(boxes, id) {
		return boxes
	}
	return append(boxes, id)
}

// folder is where mail for a sub-address goes (RFC 5233): the mailbox of that name, in
// any case; nil: INBOX. Special folders are not open to strangers.
func folder(t *mailstore.Tree, detail string) *mailstore.Mailbox {
	if m := t.Name(detail); m != nil && m.Role == "" {
		return m
	}
	for _, m := range t.All() {
		if m.Role == "" && strings.EqualFold(m.Name, detail) {
			return m
		}
	}
	return nil
}

// reply turns a storage error into what the other side is told.
func (d *Deliverer) reply(err error) *smtp.Error {
	var rejected *rejection
	switch {
	case errors.As(err, &rejected):
		return rejected.reply()
	case errors.Is(err, mailstore.ErrOverQuota) && d.o.RejectFull:
		return smtp.NewError(552, smtp.EnhancedCode{5, 2, 2}, "The mailbox is full").With(err)
	case errors.Is(err, mailstore.ErrOverQuota):
		return smtp.NewError(452, smtp.EnhancedCode{4, 2, 2}, "The mailbox is full").With(err)
	case errors.Is(err, mailstore.ErrRights):
		return smtp.NewError(550, smtp.EnhancedCode{5, 7, 1}, "You may not post there").With(err)
	case errors.Is(err, mailstore.ErrFull):
		return smtp.NewError(452, smtp.EnhancedCode{4, 3, 1}, "Not enough space on the server").With(err)
	case errors.Is(err, mailstore.ErrTooLarge):
		return smtp.NewError(552, smtp.EnhancedCode{5, 3, 4}, "The message is too large").With(err)
	}
	return smtp.NewError(451, smtp.EnhancedCode{4, 3, 0}, "Cannot store the message now").With(err)
}
