package mailstore

import (
	"context"
	"errors"
)

// ErrNoChanges says that it cannot be told what changed since a state: the log does not
// reach back so far, or the reader sees something else since. He reads all anew.
var ErrNoChanges = errors.New("mailstore: the changes since that state are not known")

// Changes are those of messages, mailboxes or threads between two states. What came and
// went in between is left out.
type Changes[ID any] struct {
	Created, Updated, Destroyed []ID
	State                       State // to ask from the next time
	More                        bool  // there are more behind State

	// CountsOnly tells, of mailboxes, that of those updated nothing but Counts changed
	// (RFC 8621, 2.2, updatedProperties).
	CountsOnly bool
}

// States are those of what an Emails has: each the moment of the last change that the reader
// can see of the kind.
type States struct{ Emails, Mailboxes, Threads State }

// States returns the states at the moment of e.
func (e *Emails) States(ctx context.Context) (States, error) { return States{}, ErrTemporary }

// EmailState is the state of a reader's messages now: it moves with messages that come and
// go, their mailboxes and keywords.
func (a *Account) EmailState(ctx context.Context, r Reader) (State, error) {
	s, err := a.states(ctx, r)
	return s.Emails, err
}

// MailboxState is the state of a reader's mailboxes: it moves also with what they hold.
func (a *Account) MailboxState(ctx context.Context, r Reader) (State, error) {
	s, err := a.states(ctx, r)
	return s.Mailboxes, err
}

// ThreadState is the state of a reader's threads: it moves when messages come or go, and
// when threads join.
func (a *Account) ThreadState(ctx context.Context, r Reader) (State, error) {
	s, err := a.states(ctx, r)
	return s.Threads, err
}

func (a *Account) states(ctx context.Context, r Reader) (States, error) {
	e, err := a.Emails(ctx, r)
	if err != nil {
		return States{}, err
	}
	return e.States(ctx)
}

// EmailChanges returns what changed of the messages of e since a state, at most limit ids
// (0: all). ErrNoChanges. The work is that of what changed, not of what there is.
func (e *Emails) EmailChanges(ctx context.Context, since State, limit int) (*Changes[EmailID], error) {
	return nil, ErrNoChanges
}

// MailboxChanges is EmailChanges for mailboxes.
func (e *Emails) MailboxChanges(ctx context.Context, since State, limit int) (*Changes[MailboxID], error) {
	return nil, ErrNoChanges
}

// ThreadChanges is EmailChanges for threads.
func (e *Emails) ThreadChanges(ctx context.Context, since State, limit int) (*Changes[ThreadID], error) {
	return nil, ErrNoChanges
}

// knownStates are states that were found.
type knownStates struct{}
