package email

import (
	"context"
	"hash/fnv"
	"strconv"
	"strings"

	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/jmap"
)

// mailCapability is what RFC 8621, 1.3.1, wants told of an account.
func (m *Methods) mailCapability(a *access.Account) map[string]any {
	return map[string]any{
		"maxMailboxesPerEmail":       nil,
		"maxMailboxDepth":            mailstore.DepthMax,
		"maxSizeMailboxName":         mailstore.LevelBytesMax,
		"maxSizeAttachmentsPerEmail": m.attachmentsMax(),
		"emailQuerySortOptions":      sortOptions,
		"mayCreateTopLevelMailbox":   a.Own,
	}
}

// attachmentsMax is how large the attachments of a message may be together, in octets,
// before they are encoded: base64 takes four octets for three, and a CRLF for each 57; some
// is left for the text.
func (m *Methods) attachmentsMax() int64 { return m.o.MessageBytesMax / 80 * 57 * 9 / 10 }

// mailboxGet answers Mailbox/get (RFC 8621, 2.1).
func (m *Methods) mailboxGet(ctx context.Context, c *jmap.Call, args *jmap.GetArgs) (*jmap.GetResult, error) {
	share := c.Using(CapabilityShare)
	for _, p := range args.Properties {
		if p == propertyShareWith && !share {
			return nil, jmap.InvalidArguments("properties: %q needs %s in \"using\"", p, CapabilityShare)
		}
	}
	a, e, err := m.emails(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	fs, err := m.foldersOf(ctx, a, e)
	if err != nil {
		return nil, methodError(err)
	}
	states, err := e.States(ctx)
	if err != nil {
		return nil, methodError(err)
	}
	out := &jmap.GetResult{State: fs.state(states.Mailboxes)}
	if args.IDs == nil {
		if most := jmap.DefaultLimits.ObjectsInGet; len(fs.all) > most {
			return nil, jmap.ErrRequestTooLarge.With("more than %d mailboxes; name those that you want", most)
		}
		for _, f := range fs.all {
			out.List = append(out.List, fs.object(f, e.Counts(f.ID), share, args.Wants))
		}
		return out, nil
	}
	for _, id := range args.IDs {
		if f := fs.folder(id); f != nil {
			out.List = append(out.List, fs.object(f, e.Counts(f.ID), share, args.Wants))
		} else {
			out.NotFound = append(out.NotFound, id)
		}
	}
	return out, nil
}

// state is the state of the mailboxes. A guest's subscriptions are among what he has in his
// own account: with them his state is another one, behind "+".
func (fs *folders) state(of mailstore.State) string {
	if fs.account.Own {
		return of.String()
	}
	h := fnv.New32a()
	for _, f := range fs.all {
		if f.subscribed {
			h.Write([]byte(f.ID.String()))
			h.Write([]byte{' '})
		}
	}
	return of.String() + guestMark + strconv.FormatUint(uint64(h.Sum32()), 36)
}

// guestMark stands between the state of mailboxes and that of a guest's subscriptions.
const guestMark = "+"

// cutState cuts a state into that of the mailboxes and that of the subscriptions.
func cutState(state string) (mailboxes, subscriptions string) {
	mailboxes, subscriptions, _ = strings.Cut(state, guestMark)
	return mailboxes, subscriptions
}

// mailboxState is the state that Mailbox/get would tell.
func (m *Methods) mailboxState(ctx context.Context, a *access.Account, e *mailstore.Emails) (string, error) {
	states, err := e.States(ctx)
	if err != nil || a.Own {
		return states.Mailboxes.String(), err
	}
	fs, err := m.foldersOf(ctx, a, e)
	if err != nil {
		return "", err
	}
	return fs.state(states.Mailboxes), nil
}

// mailboxChanges answers Mailbox/changes (RFC 8621, 2.2). Where a guest has subscribed to
// other mailboxes of the account since, all that he sees are told as changed.
func (m *Methods) mailboxChanges(ctx context.Context, c *jmap.Call, args *jmap.ChangesArgs) (*jmap.ChangesResult, error) {
	a, e, err := m.emails(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	fs, err := m.foldersOf(ctx, a, e)
	if err != nil {
		return nil, methodError(err)
	}
	inner := *args
	var subscriptions string
	inner.SinceState, subscriptions = cutState(args.SinceState)
	r, found, err := changesBetween(ctx, &inner, formatMailboxID, e.MailboxChanges)
	if err != nil {
		return nil, err
	}
	var only []string
	if found.CountsOnly && len(found.Updated) > 0 {
		only = countProperties
	}
	if !a.Own {
		now := fs.state(found.State)
		_, current := cutState(now)
		switch {
		case found.More:
			now = found.State.String() + guestMark + subscriptions
		case current != subscriptions:
			if args.MaxChanges > 0 {
				return nil, jmap.ErrCannotCalculateChanges // all are told at once
			}
			r.Updated, only = fs.allBut(r.Created), nil
		}
		r.NewState = now
	}
	r.Extra = map[string]any{"updatedProperties": orNull(only != nil, only)}
	return r, nil
}

// allBut are the ids of all mailboxes but some.
func (fs *folders) allBut(some []jmap.ID) []jmap.ID {
	but := make(map[jmap.ID]bool, len(some))
	for _, id := range some {
		but[id] = true
	}
	var ids []jmap.ID
	for _, f := range fs.all {
		if id := formatMailboxID(f.ID); !but[id] {
			ids = append(ids, id)
		}
	}
	return ids
}
