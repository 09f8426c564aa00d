package deliver

import (
	"context"
	"errors"
	"slices"
	"strings"

	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/smtp"
)

// file appends the mail to one account within the unit.
func (r *round) file(ctx context.Context, f *filing) {
	err := r.append(ctx, f)
	if err == nil {
		f.status = r.status(mailflow.Delivered, 250, smtp.EnhancedCode{2, 1, 5}, "Delivered")
		return
	}
	refused := r.reply(err)
	action := mailflow.Failed
	if refused.Temporary() {
		action = mailflow.Delayed
	}
	if !errors.Is(err, mailstore.ErrOverQuota) && !errors.Is(err, mailstore.ErrRights) {
		r.o.Log.Error("mail cannot be filed", "id", r.m.ID, "account", f.id, "error", err)
	}
	f.status = mailflow.Status{Action: action, Reply: refused.Reply, LocalMTA: true, At: r.now}
}

func (r *round) append(ctx context.Context, f *filing) error {
	a, err := r.o.Store.Account(ctx, f.id)
	if err != nil {
		return err
	}
	inbox, err := a.Inbox(ctx)
	if err != nil {
		return err
	}
	boxes, err := r.boxes(ctx, a, inbox, f)
	if err != nil {
		return err
	}
	in := &mailstore.Incoming{Body: r.m.Body, Message: r.m.Message, InternalDate: r.m.Received}
	if in.InternalDate.IsZero() {
		in.InternalDate = r.now
	}
	_, err = a.PrepareAppend(ctx, r.u, in, boxes[0], boxes[1:]...)
	if errors.Is(err, mailstore.ErrNoMailbox) && !f.public {
		// Deleted since: the unit's guard would not have held.
		_, err = a.PrepareAppend(ctx, r.u, in, inbox)
	}
	return err
}

// boxes are the mailboxes that an account wants the mail in.
func (r *round) boxes(ctx context.Context, a *mailstore.Account, inbox mailstore.MailboxID, f *filing) ([]mailstore.MailboxID, error) {
	if f.public {
		return r.post(ctx, a, f.details)
	}
	return r.folders(ctx, a, inbox, f.details)
}

// folders are the mailboxes for sub-addresses, each once.
func (r *round) folders(ctx context.Context, a *mailstore.Account, inbox mailstore.MailboxID, details []string) ([]mailstore.MailboxID, error) {
	var boxes []mailstore.MailboxID
	for _, detail := range details {
		id := inbox
		if detail != "" && !r.o.NoFolders {
			t, err := a.Tree(ctx)
			if err != nil {
				return nil, err
			}
			if m := folder(t, detail); m != nil {
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
	switch {
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
