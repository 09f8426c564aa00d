package email

import (
	"context"
	"errors"

	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/jmap"
)

// changesBetween answers a /changes of a type whose ids the mail store tells (RFC 8620, 5.2).
func changesBetween[ID any](ctx context.Context, args *jmap.ChangesArgs, format func(ID) jmap.ID,
	ask func(ctx context.Context, since mailstore.State, limit int) (*mailstore.Changes[ID], error)) (*jmap.ChangesResult, *mailstore.Changes[ID], error) {
	since, err := mailstore.ParseState(args.SinceState)
	if err != nil {
		return nil, nil, jmap.ErrCannotCalculateChanges
	}
	c, err := ask(ctx, since, args.MaxChanges)
	if err != nil {
		return nil, nil, changesError(err)
	}
	return &jmap.ChangesResult{NewState: c.State.String(), HasMoreChanges: c.More,
		Created: formatIDs(c.Created, format), Updated: formatIDs(c.Updated, format), Destroyed: formatIDs(c.Destroyed, format)}, c, nil
}

// changesError is methodError where changes were asked for.
func changesError(err error) error {
	if errors.Is(err, mailstore.ErrNoChanges) {
		return jmap.ErrCannotCalculateChanges
	}
	return methodError(err)
}

func formatIDs[ID any](ids []ID, format func(ID) jmap.ID) []jmap.ID {
	out := make([]jmap.ID, len(ids))
	for i, id := range ids {
		out[i] = format(id)
	}
	return out
}

// emailChanges answers Email/changes (RFC 8621, 4.3).
func (m *Methods) emailChanges(ctx context.Context, c *jmap.Call, args *jmap.ChangesArgs) (*jmap.ChangesResult, error) {
	_, e, err := m.emails(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	r, _, err := changesBetween(ctx, args, formatEmailID, e.EmailChanges)
	return r, err
}

// The types whose states push tells (RFC 8620, 7.1).
const (
	typeMailbox       = "Mailbox"
	typeThread        = "Thread"
	typeEmail         = "Email"
	typeEmailDelivery = "EmailDelivery" // RFC 8621, 1.5
)

// States returns the states of the package's types in an account, for push. EmailDelivery
// moves with what comes into the account only.
func (m *Methods) States(ctx context.Context, a *access.Account) (map[string]string, error) {
	e, err := a.Emails(ctx, a.Reader)
	if err != nil {
		return nil, err
	}
	s, err := e.States(ctx)
	if err != nil {
		return nil, err
	}
	mailboxes, err := m.mailboxState(ctx, a, e)
	if err != nil {
		return nil, err
	}
	return map[string]string{typeMailbox: mailboxes, typeThread: s.Threads.String(), typeEmail: s.Emails.String(),
		typeEmailDelivery: deliveryState(e)}, nil
}

// deliveryState moves when a message comes that is newer than all others, and with nothing
// else but its going.
func deliveryState(e *mailstore.Emails) string {
	return mailstore.FormatEmailID(e.Newest())
}
