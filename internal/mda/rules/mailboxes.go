package rules

import (
	"context"
	"errors"

	"postroad/imap"
	"postroad/internal/mailstore"
	"postroad/sieve"
)

// Metadata reads annotations: of a mailbox, or with an empty name of the server; ok is
// false where there is none.
type Metadata func(ctx context.Context, account *mailstore.Account, mailbox, annotation string) (value string, ok bool, err error)

// Mailboxes answers what scripts ask about the mailboxes of an account.
type Mailboxes struct {
	Account     *mailstore.Account
	Annotations Metadata // nil: there are none
}

// MailboxExists implements sieve.Mailboxes.
func (b *Mailboxes) MailboxExists(ctx context.Context, name string) (bool, error) {
	t, err := b.Account.Tree(ctx)
	return err == nil && t.Name(name) != nil, err
}

// MailboxIDExists implements sieve.Mailboxes.
func (b *Mailboxes) MailboxIDExists(ctx context.Context, id string) (bool, error) {
	t, err := b.Account.Tree(ctx)
	return err == nil && ByObjectID(t, id) != nil, err
}

// ByObjectID finds a mailbox by its object id (RFC 8474), nil where there is none.
func ByObjectID(t *mailstore.Tree, id string) *mailstore.Mailbox {
	n, err := mailstore.ParseObjectID('F', id)
	if err != nil {
		return nil
	}
	return t.ID(n)
}

// SpecialUse implements sieve.Mailboxes.
func (b *Mailboxes) SpecialUse(ctx context.Context, name, use string) (bool, error) {
	t, err := b.Account.Tree(ctx)
	if err != nil {
		return false, err
	}
	if name == "" {
		return BySpecialUse(t, use) != nil, nil
	}
	m := t.Name(name)
	return m != nil && imap.EqualFold(string(m.Role), use), nil
}

// BySpecialUse finds the mailbox with a special use (RFC 6154), nil where there is none.
func BySpecialUse(t *mailstore.Tree, use string) *mailstore.Mailbox {
	for _, m := range t.All() {
		if m.Role != "" && imap.EqualFold(string(m.Role), use) {
			return m
		}
	}
	return nil
}

// Find returns the mailbox that a target means, nil where there is none (RFC 9042, 4; RFC
// 8579, 4).
func Find(t *mailstore.Tree, target *sieve.Target) *mailstore.Mailbox {
	if target.ID != "" {
		if m := ByObjectID(t, target.ID); m != nil {
			return m
		}
	}
	named := t.Name(target.Mailbox)
	if target.SpecialUse != "" && (named == nil || !imap.EqualFold(string(named.Role), target.SpecialUse)) {
		if m := BySpecialUse(t, target.SpecialUse); m != nil {
			return m
		}
	}
	return named
}

// Place returns the mailbox that a target means, made and subscribed to where the target
// says so, and the tree in which it is. The mailbox is nil where there is none and none may
// be made.
func Place(ctx context.Context, a *mailstore.Account, t *mailstore.Tree, target *sieve.Target) (*mailstore.Mailbox, *mailstore.Tree, error) {
	if m := Find(t, target); m != nil || !target.Create {
		return m, t, nil
	}
	m, err := a.CreateMailbox(ctx, target.Mailbox, imap.MailboxAttr(target.SpecialUse))
	switch {
	case err == nil:
		err = a.Subscribe(ctx, m.Name, true)
	case errors.Is(err, mailstore.ErrExists): // meanwhile
		err = nil
	case errors.Is(err, mailstore.ErrName), errors.Is(err, mailstore.ErrLimit), errors.Is(err, mailstore.ErrUse):
		return nil, t, nil
	}
	if err != nil {
		return nil, t, err
	}
	if t, err = a.Tree(ctx); err != nil {
		return nil, t, err
	}
	return t.Name(target.Mailbox), t, nil
}

// Annotated reads annotations from the store: those that the owner of the account sees. It
// is a Metadata.
func Annotated(ctx context.Context, a *mailstore.Account, mailbox, annotation string) (string, bool, error) {
	var id mailstore.MailboxID
	if mailbox != "" {
		t, err := a.Tree(ctx)
		if err != nil {
			return "", false, err
		}
		m := t.Name(mailbox)
		if m == nil {
			return "", false, nil
		}
		id = m.ID
	}
	value, ok, err := a.Annotation(ctx, id, a.ID(), annotation)
	if errors.Is(err, mailstore.ErrName) || errors.Is(err, mailstore.ErrTooLarge) {
		return "", false, nil // RFC 5490, 3.3: what cannot be there does not match
	}
	return string(value), ok, err
}

// Metadata implements sieve.Mailboxes.
func (b *Mailboxes) Metadata(ctx context.Context, name, annotation string) (string, bool, error) {
	if b.Annotations == nil {
		return "", false, nil
	}
	return b.Annotations(ctx, b.Account, name, annotation)
}
