package mailstore

import (
	"context"

	"postroad/imap"
)

// MailboxChange is what ChangeMailbox does; fields that are nil stay as they are.
type MailboxChange struct {
	Name       *string    // last level of the name
	Parent     *MailboxID // 0: at the top
	Role       *imap.MailboxAttr
	SortOrder  *uint32
	Subscribed *bool
}

// ChangeMailbox changes a mailbox in one commit. ErrNoMailbox (also for the parent),
// ErrName, ErrExists, ErrInUse (to rename INBOX), ErrUse, ErrLimit.
func (a *Account) ChangeMailbox(ctx context.Context, id MailboxID, c MailboxChange) error {
	return ErrTemporary
}

// CreateMailboxIn makes a mailbox from a change with a Name at least. The errors are those
// of ChangeMailbox.
func (a *Account) CreateMailboxIn(ctx context.Context, c MailboxChange) (*Mailbox, error) {
	return nil, ErrTemporary
}

// DestroyMailbox is DeleteMailbox by id. With empty it deletes none that holds messages
// then: ErrNotEmpty.
func (a *Account) DestroyMailbox(ctx context.Context, id MailboxID, empty bool) error {
	return ErrTemporary
}
