package admin

import (
	"context"
	"errors"

	"postroad/internal/directory"
	"postroad/internal/mailstore"
)

// SearchRequest is the argument of search.rebuild.
type SearchRequest struct {
	Account string `json:"account,omitempty"` // only this one
}

// Rebuilt is what search.rebuild gives.
type Rebuilt struct {
	Accounts int64 `json:"accounts"`
	Messages int64 `json:"messages"`
}

// rebuildSearch makes full-text indexes anew. Mail is found all the while, by looking into
// it where the index is not there yet.
func (v *Verbs) rebuildSearch(ctx context.Context, in SearchRequest, progress func(Progress)) (*Rebuilt, error) {
	out := new(Rebuilt)
	one := func(a directory.Account) error {
		mail, err := v.Mail.Account(ctx, a.ID)
		if errors.Is(err, mailstore.ErrNoAccount) {
			return nil
		}
		if err != nil {
			return err
		}
		_, used, err := mail.Quota(ctx)
		if err != nil {
			return err
		}
		progress(Progress{a.Login.String(), 0, used.Messages})
		if err := mail.RebuildIndex(ctx, func(done, of int64) { progress(Progress{a.Login.String(), done, of}) }); err != nil {
			return err
		}
		out.Accounts++
		out.Messages += used.Messages
		return nil
	}
	if in.Account == "" {
		return out, v.each(ctx, "", one)
	}
	a, err := v.find(ctx, in.Account)
	if err != nil {
		return nil, err
	}
	return out, one(a)
}
