package admin

import (
	"context"
	"errors"
	"time"

	"postroad/internal/directory"
	"postroad/internal/mailstore"
)

// Deleted is a mailbox with what can be brought back, as people see it.
type Deleted struct {
	Mailbox  string    `json:"mailbox"` // that it was, or whose messages these were
	Whole    bool      `json:"whole"`   // the mailbox itself was deleted
	At       time.Time `json:"at,omitzero"`
	Messages int64     `json:"messages"`
	Bytes    int64     `json:"bytes"`
}

// Undelete is the argument of undelete.
type Undelete struct {
	Account string    `json:"account"`
	Mailbox string    `json:"mailbox,omitempty"` // empty: all
	Since   time.Time `json:"since,omitzero"`    // deleted then or after; zero: whenever
}

// Undeleted is what came back into a mailbox.
type Undeleted struct {
	Mailbox  string `json:"mailbox"`
	Messages int    `json:"messages"`
}

// mailOf opens the mail of an account.
func (v *Verbs) mailOf(ctx context.Context, ref string) (*mailstore.Account, error) {
	a, err := v.find(ctx, ref)
	if err != nil {
		return nil, err
	}
	return v.Mail.Account(ctx, a.ID)
}

func (v *Verbs) deleted(ctx context.Context, in AccountRef) ([]Deleted, error) {
	mail, err := v.mailOf(ctx, in.Account)
	if err != nil {
		return nil, err
	}
	all, err := mail.Recoverables(ctx)
	out := make([]Deleted, len(all))
	for i, m := range all {
		out[i] = Deleted{Mailbox: m.Recovery.Name, Whole: m.Recovery.Deleted, At: m.Recovery.At,
			Messages: int64(m.Messages), Bytes: m.Size}
	}
	return out, err
}

// undelete brings deleted mailboxes back before single messages of theirs.
func (v *Verbs) undelete(ctx context.Context, in Undelete) ([]Undeleted, error) {
	mail, err := v.mailOf(ctx, in.Account)
	if err != nil {
		return nil, err
	}
	all, err := mail.Recoverables(ctx)
	if err != nil {
		return nil, err
	}
	out, found := []Undeleted{}, false
	for _, whole := range []bool{true, false} {
		for _, m := range all {
			if m.Recovery.Deleted != whole || in.Mailbox != "" && in.Mailbox != m.Recovery.Name {
				continue
			}
			found = true
			uids, err := mail.RecoverableSince(ctx, m.Mailbox, in.Since)
			if err != nil {
				return out, err
			}
			if len(uids) == 0 {
				continue
			}
			back, err := mail.Undelete(ctx, m.ID, uids)
			if err != nil {
				return out, err
			}
			out = append(out, Undeleted{back.Mailbox.Name, back.Messages})
		}
	}
	if !found && in.Mailbox != "" {
		return nil, &Error{NotFound, "nothing of that mailbox can be brought back"}
	}
	return out, nil
}

// Retention is the rule of a mailbox, as people see it. In retention.set an empty rule
// takes the mailbox's own away.
type Retention struct {
	Account string `json:"account,omitempty"`
	Mailbox string `json:"mailbox"`
	Rule    string `json:"rule"`
	Own     bool   `json:"own"` // otherwise that of its special use
}

func (v *Verbs) retentions(ctx context.Context, in AccountRef) ([]Retention, error) {
	mail, err := v.mailOf(ctx, in.Account)
	if err != nil {
		return nil, err
	}
	tree, err := mail.Tree(ctx)
	if err != nil {
		return nil, err
	}
	out := []Retention{}
	for _, m := range tree.All() {
		r, own, err := mail.Retention(ctx, m.ID)
		if err != nil {
			return nil, err
		}
		out = append(out, Retention{Mailbox: m.Name, Rule: r.String(), Own: own})
	}
	return out, nil
}

func (v *Verbs) setRetention(ctx context.Context, in Retention) (Retention, error) {
	mail, err := v.mailOf(ctx, in.Account)
	if err != nil {
		return Retention{}, err
	}
	tree, err := mail.Tree(ctx)
	if err != nil {
		return Retention{}, err
	}
	m := tree.Name(in.Mailbox)
	if m == nil {
		return Retention{}, &Error{NotFound, "the account has no such mailbox"}
	}
	var rule *mailstore.Retention
	if in.Rule != "" {
		r, err := mailstore.ParseRetention(in.Rule)
		if err != nil {
			return Retention{}, invalid("%v", err)
		}
		rule = &r
	}
	if err := mail.SetRetention(ctx, m.ID, rule); err != nil {
		return Retention{}, err
	}
	r, own, err := mail.Retention(ctx, m.ID)
	return Retention{Mailbox: m.Name, Rule: r.String(), Own: own}, err
}

// OrgQuota is the quota of an organisation. In organisation.quota nil limits stay as they
// are.
type OrgQuota struct {
	Org            string `json:"organisation"`
	QuotaBytes     *int64 `json:"quota_bytes,omitempty"`    // 0: no limit
	QuotaMessages  *int64 `json:"quota_messages,omitempty"` // 0: no limit
	UsedBytes      int64  `json:"used_bytes"`
	UsedMessages   int64  `json:"used_messages"`
	LeasedBytes    int64  `json:"leased_bytes"`
	LeasedMessages int64  `json:"leased_messages"`
	Accounts       int    `json:"accounts"`
}

func (v *Verbs) orgQuota(ctx context.Context, in OrgQuota) (OrgQuota, error) {
	if err := v.orgExists(ctx, in.Org); err != nil {
		return OrgQuota{}, err
	}
	p, err := v.Mail.Pool(ctx, in.Org)
	if err != nil {
		return OrgQuota{}, err
	}
	if in.QuotaBytes != nil || in.QuotaMessages != nil {
		for _, l := range []struct{ from, to *int64 }{{in.QuotaBytes, &p.Limit.Bytes}, {in.QuotaMessages, &p.Limit.Messages}} {
			if l.from == nil {
				continue
			}
			if *l.from < 0 {
				return OrgQuota{}, invalid("a quota below zero")
			}
			*l.to = *l.from
		}
		if err := v.Mail.SetPool(ctx, in.Org, p.Limit); err != nil {
			return OrgQuota{}, err
		}
		join := func(a directory.Account) error { return v.joinPool(ctx, a) }
		if err := v.each(ctx, in.Org, join); err != nil {
			return OrgQuota{}, err
		}
		if p, err = v.Mail.Pool(ctx, in.Org); err != nil {
			return OrgQuota{}, err
		}
	}
	return OrgQuota{Org: in.Org, QuotaBytes: &p.Limit.Bytes, QuotaMessages: &p.Limit.Messages, UsedBytes: p.Used.Bytes,
		UsedMessages: p.Used.Messages, LeasedBytes: p.Leased.Bytes, LeasedMessages: p.Leased.Messages, Accounts: p.Accounts}, nil
}

// joinPool counts an account to its organisation's quota that was made before there was one.
func (v *Verbs) joinPool(ctx context.Context, a directory.Account) error {
	mail, err := v.Mail.Account(ctx, a.ID)
	if errors.Is(err, mailstore.ErrNoAccount) {
		return nil
	}
	if err != nil {
		return err
	}
	return mail.JoinPool(ctx, a.Org)
}

func (v *Verbs) orgExists(ctx context.Context, name string) error {
	all, err := v.Directory.Organisations(ctx)
	if err != nil {
		return err
	}
	for _, o := range all {
		if o.Name == name {
			return nil
		}
	}
	return &Error{NotFound, "there is no such organisation"}
}
