package mailstore

import "context"

// Emails returns the messages that a reader may see, as they are now: all that was durable
// when it was called. For the owner these are all that are in mailboxes.
func (a *Account) Emails(ctx context.Context, r Reader) (*Emails, error) {
	return nil, ErrTemporary
}
