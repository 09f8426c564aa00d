package access

import (
	"context"
	"encoding/json"
	"time"

	"postroad/internal/directory"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/objects"
	"postroad/jmap"
)

// NoticesMax is how many notifications of shares an account keeps; then the oldest goes.
const NoticesMax = 100

// Notice says that what a user may do with an object of another one's has changed (RFC
// 9670, 3).
type Notice struct {
	Type                 string // "Mailbox", "AddressBook"
	Object               jmap.ID
	Name                 string
	OldRights, NewRights any // as myRights has them; nil: none
}

// PrepareNotice tells a principal within a unit what another user has changed for him.
// Groups are not told: all their members would be, at once (RFC 9670, 3).
func (h *House) PrepareNotice(ctx context.Context, u *mailflow.Unit, by *User, owner mailstore.AccountID, to mailstore.Subject, n Notice) error {
	if to.Kind != mailstore.SubjectAccount || to.Account == by.ID {
		return nil
	}
	me, _ := PrincipalID(mailstore.Subject{Kind: mailstore.SubjectAccount, Account: by.ID})
	name := by.Name
	if name == "" {
		name = by.Login.String()
	}
	value, err := json.Marshal(map[string]any{
		"created":    jmap.FormatUTCDate(time.Now().Truncate(time.Second)),
		"changedBy":  map[string]any{"name": name, "email": by.Login.String(), "principalId": me},
		"objectType": n.Type, "objectAccountId": FormatID('A', owner), "objectId": n.Object,
		"oldRights": n.OldRights, "newRights": n.NewRights, "name": n.Name,
	})
	if err != nil {
		return err
	}
	return h.putNotice(ctx, u, to.Account, value)
}

// Notify is PrepareNotice for what has been committed already.
func (h *House) Notify(ctx context.Context, by *User, owner mailstore.AccountID, to mailstore.Subject, n Notice) error {
	return h.Committer.Commit(ctx, func(ctx context.Context, u *mailflow.Unit) error {
		return h.PrepareNotice(ctx, u, by, owner, to, n)
	})
}

// putNotice adds a notification, and takes the oldest away where there are too many.
func (h *House) putNotice(ctx context.Context, u *mailflow.Unit, to directory.AccountID, value []byte) error {
	have, _, err := h.Objects.All(ctx, to, objects.ShareNotice, 0, 0)
	if err != nil {
		return err
	}
	if len(have) >= NoticesMax {
		if err := h.Objects.PrepareDestroy(ctx, u, to, objects.ShareNotice, have[0]); err != nil {
			return err
		}
	}
	return h.Objects.PrepareCreate(u, to, objects.ShareNotice, h.Objects.NewID(), value)
}
