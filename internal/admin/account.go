package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"postroad/address"
	"postroad/internal/directory"
	"postroad/internal/kv/hlc"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/outbox"
)

// Account is an account as people see it.
type Account struct {
	ID            string    `json:"id"`
	Org           string    `json:"organisation"`
	Login         string    `json:"login"`
	Addresses     []string  `json:"addresses"`
	Name          string    `json:"name,omitempty"`
	Enabled       bool      `json:"enabled"`
	QuotaBytes    int64     `json:"quota_bytes"`    // in force; 0: no limit
	QuotaMessages int64     `json:"quota_messages"` // in force; 0: no limit
	UsedBytes     int64     `json:"used_bytes"`
	UsedMessages  int64     `json:"used_messages"`
	TimeZone      string    `json:"time_zone,omitempty"`     // empty: the server's
	UndoSeconds   int       `json:"undo_seconds"`            // mail waits so long before it goes
	Apps          []string  `json:"app_passwords,omitempty"` // their names
	Created       time.Time `json:"created"`
}

// NewAccount is the argument of account.add.
type NewAccount struct {
	Addresses     []string `json:"addresses"`
	Name          string   `json:"name,omitempty"`
	QuotaBytes    int64    `json:"quota_bytes,omitempty"`
	QuotaMessages int64    `json:"quota_messages,omitempty"`
	Password      string   `json:"password,omitempty"`
	Hash          string   `json:"hash,omitempty"`
	Generate      bool     `json:"generate,omitempty"` // a password, told in the answer
}

// Password is an account with a password that was made for it.
type Password struct {
	Account
	Password string `json:"password,omitempty"`
}

// AccountRef names an account, by address or id.
type AccountRef struct {
	Account string `json:"account"`
}

// find looks an account up.
func (v *Verbs) find(ctx context.Context, ref string) (directory.Account, error) {
	if strings.Contains(ref, "@") {
		a, err := parse(ref)
		if err != nil {
			return directory.Account{}, err
		}
		return v.Directory.AccountByAddress(ctx, a)
	}
	id, err := hlc.Parse(ref)
	if err != nil {
		return directory.Account{}, invalid("%q is neither an address nor the id of an account", ref)
	}
	return v.Directory.Account(ctx, id)
}

// quota is what is in force for an account with these limits.
func (v *Verbs) quota(l directory.Limits) mailstore.Quota {
	q := mailstore.Quota{Bytes: l.QuotaBytes, Messages: l.QuotaMessages}
	if q.Bytes == 0 {
		q.Bytes = v.Quota.QuotaBytes
	}
	if q.Messages == 0 {
		q.Messages = v.Quota.QuotaMessages
	}
	return q
}

// show adds to an account what the mail store knows of it.
func (v *Verbs) show(ctx context.Context, a directory.Account) (Account, error) {
	q := v.quota(a.Limits)
	out := Account{ID: a.ID.String(), Org: a.Org, Login: a.Login.String(), Addresses: printAll(a.Addresses),
		Name: a.Name, Enabled: !a.Disabled, QuotaBytes: q.Bytes, QuotaMessages: q.Messages, TimeZone: a.TimeZone, Created: a.Created}
	apps, err := v.Directory.AppPasswords(ctx, a.ID)
	if err != nil {
		return out, err
	}
	for _, p := range apps {
		out.Apps = append(out.Apps, p.Name)
	}
	mail, err := v.Mail.Account(ctx, a.ID)
	if errors.Is(err, mailstore.ErrNoAccount) {
		return out, nil // its removal has begun
	}
	if err != nil {
		return out, err
	}
	undo, err := v.Outbox.Undo(ctx, a.ID)
	if err != nil {
		return out, err
	}
	out.UndoSeconds = int(undo / time.Second)
	inForce, used, err := mail.Quota(ctx)
	out.QuotaBytes, out.QuotaMessages = inForce.Bytes, inForce.Messages
	out.UsedBytes, out.UsedMessages = used.Bytes, used.Messages
	return out, err
}

// listPage is how many accounts are read at a time.
const listPage = 1000

// each calls f for every account of an organisation, "": of all.
func (v *Verbs) each(ctx context.Context, org string, f func(directory.Account) error) error {
	orgs := []string{org}
	if org == "" {
		list, err := v.Directory.Organisations(ctx)
		if err != nil {
			return err
		}
		orgs = orgs[:0]
		for _, o := range list {
			orgs = append(orgs, o.Name)
		}
	}
	for _, org := range orgs {
		for after := directory.AccountID(0); ; {
			page, err := v.Directory.Accounts(ctx, org, after, listPage)
			if err != nil {
				return err
			}
			for _, a := range page {
				if err := f(a); err != nil {
					return err
				}
				after = a.ID
			}
			if len(page) < listPage {
				break
			}
		}
	}
	return nil
}

func (v *Verbs) accounts(ctx context.Context, in Within) ([]Account, error) {
	out := []Account{}
	err := v.each(ctx, in.Org, func(a directory.Account) error {
		shown, err := v.show(ctx, a)
		out = append(out, shown)
		return err
	})
	return out, err
}

func (v *Verbs) account(ctx context.Context, in AccountRef) (Account, error) {
	a, err := v.find(ctx, in.Account)
	if err != nil {
		return Account{}, err
	}
	return v.show(ctx, a)
}

// addAccount makes the account in the directory and in the mail store, in one commit.
func (v *Verbs) addAccount(ctx context.Context, in NewAccount) (Password, error) {
	addresses, err := parseAll(in.Addresses)
	if err != nil {
		return Password{}, err
	}
	n := directory.NewAccount{Addresses: addresses, Name: in.Name, Password: in.Password, Hash: in.Hash,
		Limits: directory.Limits{QuotaBytes: in.QuotaBytes, QuotaMessages: in.QuotaMessages}}
	out := Password{}
	if in.Generate {
		if n.Password != "" || n.Hash != "" {
			return Password{}, invalid("a password to be made, and one that is given")
		}
		out.Password = GeneratePassword()
		n.Password = out.Password
	}
	a, prepare, err := v.Directory.PrepareAccount(ctx, n)
	if err != nil {
		return Password{}, err
	}
	err = v.Committer.Commit(ctx, func(ctx context.Context, u *mailflow.Unit) error {
		if err := prepare(ctx, u); err != nil {
			return err
		}
		q := v.quota(a.Limits)
		q.Pool = a.Org
		return v.Mail.PrepareCreate(ctx, u, a.ID, q)
	})
	if err != nil {
		return Password{}, fmt.Errorf("add account: %w", err)
	}
	out.Account, err = v.show(ctx, a)
	return out, err
}

// AccountChange is the argument of account.change; nil fields stay as they are.
type AccountChange struct {
	Account         string   `json:"account"`
	Name            *string  `json:"name,omitempty"`
	TimeZone        *string  `json:"time_zone,omitempty"` // empty: the server's
	Enabled         *bool    `json:"enabled,omitempty"`
	QuotaBytes      *int64   `json:"quota_bytes,omitempty"`
	QuotaMessages   *int64   `json:"quota_messages,omitempty"`
	AddAddresses    []string `json:"add_addresses,omitempty"`
	RemoveAddresses []string `json:"remove_addresses,omitempty"`
}

func (v *Verbs) changeAccount(ctx context.Context, in AccountChange) (Account, error) {
	add, err := parseAll(in.AddAddresses)
	if err != nil {
		return Account{}, err
	}
	remove, err := parseAll(in.RemoveAddresses)
	if err != nil {
		return Account{}, err
	}
	a, err := v.find(ctx, in.Account)
	if err != nil {
		return Account{}, err
	}
	a, err = v.Directory.ChangeAccount(ctx, a.ID, func(a *directory.Account) error { return in.put(a, add, remove) })
	if err != nil {
		return Account{}, err
	}
	if in.QuotaBytes != nil || in.QuotaMessages != nil {
		mail, err := v.Mail.Account(ctx, a.ID)
		if err != nil {
			return Account{}, err
		}
		if err := mail.SetQuota(ctx, v.quota(a.Limits)); err != nil {
			return Account{}, err
		}
	}
	return v.show(ctx, a)
}

// put fills in what is given.
func (in *AccountChange) put(a *directory.Account, add, remove []address.Address) error {
	if in.Name != nil {
		a.Name = *in.Name
	}
	if in.TimeZone != nil {
		a.TimeZone = *in.TimeZone
	}
	if in.Enabled != nil {
		a.Disabled = !*in.Enabled
	}
	if in.QuotaBytes != nil {
		a.Limits.QuotaBytes = *in.QuotaBytes
	}
	if in.QuotaMessages != nil {
		a.Limits.QuotaMessages = *in.QuotaMessages
	}
	for _, r := range remove {
		i := slices.IndexFunc(a.Addresses, r.Equal)
		if i < 0 {
			return &Error{NotFound, fmt.Sprintf("the account has no address %s", r)}
		}
		a.Addresses = slices.Delete(a.Addresses, i, i+1)
	}
	a.Addresses = append(a.Addresses, add...)
	return nil
}

// Undo is the argument of account.undo.
type Undo struct {
	Account string `json:"account"`
	Seconds int    `json:"seconds"` // 0: mail goes at once
}

func (v *Verbs) setUndo(ctx context.Context, in Undo) (Account, error) {
	a, err := v.find(ctx, in.Account)
	if err != nil {
		return Account{}, err
	}
	if in.Seconds < 0 || in.Seconds > int(outbox.UndoMax/time.Second) { // before it is multiplied
		return Account{}, outbox.ErrUndo
	}
	if err := v.Outbox.SetUndo(ctx, a.ID, time.Duration(in.Seconds)*time.Second); err != nil {
		return Account{}, err
	}
	return v.show(ctx, a)
}

// PasswordChange is the argument of account.password: one of the three.
type PasswordChange struct {
	Account  string `json:"account"`
	Password string `json:"password,omitempty"`
	Hash     string `json:"hash,omitempty"`
	Generate bool   `json:"generate,omitempty"`
}

func (v *Verbs) setPassword(ctx context.Context, in PasswordChange) (Password, error) {
	a, err := v.find(ctx, in.Account)
	if err != nil {
		return Password{}, err
	}
	if a.Public {
		return Password{}, invalid("nobody logs in to the account of public mailboxes")
	}
	out := Password{}
	switch {
	case in.Hash != "" && in.Password == "" && !in.Generate:
		err = v.Directory.SetHash(ctx, a.ID, in.Hash)
	case in.Generate && in.Password == "" && in.Hash == "":
		out.Password = GeneratePassword()
		err = v.Directory.SetPassword(ctx, a.ID, out.Password)
	case !in.Generate && in.Hash == "":
		err = v.Directory.SetPassword(ctx, a.ID, in.Password)
	default:
		err = invalid("more than one kind of password")
	}
	if err != nil {
		return Password{}, err
	}
	out.Account, err = v.show(ctx, a)
	return out, err
}

// removeAccount ends an account with all its mail. It may be called again after it was
// interrupted: the account is switched off first and forgotten last.
func (v *Verbs) removeAccount(ctx context.Context, in AccountRef) (Nothing, error) {
	a, err := v.find(ctx, in.Account)
	if err != nil {
		return Nothing{}, err
	}
	_, err = v.Directory.ChangeAccount(ctx, a.ID, func(a *directory.Account) error { a.Disabled = true; return nil })
	if err != nil {
		return Nothing{}, err
	}
	if err := v.Mail.Delete(ctx, a.ID); err != nil && !errors.Is(err, mailstore.ErrNoAccount) {
		return Nothing{}, err
	}
	return Nothing{}, v.Directory.RemoveAccount(ctx, a.ID)
}

// App names an app password of an account.
type App struct {
	Account string `json:"account"`
	Name    string `json:"name"`
}

// AppPassword is an app password as people see it; Password only when it is made.
type AppPassword struct {
	Name     string    `json:"name"`
	Password string    `json:"password,omitempty"`
	Created  time.Time `json:"created,omitzero"`
}

func (v *Verbs) apps(ctx context.Context, in AccountRef) ([]AppPassword, error) {
	a, err := v.find(ctx, in.Account)
	if err != nil {
		return nil, err
	}
	list, err := v.Directory.AppPasswords(ctx, a.ID)
	out := make([]AppPassword, len(list))
	for i, p := range list {
		out[i] = AppPassword{Name: p.Name, Created: p.Created}
	}
	return out, err
}

func (v *Verbs) addApp(ctx context.Context, in App) (AppPassword, error) {
	a, err := v.find(ctx, in.Account)
	if err != nil {
		return AppPassword{}, err
	}
	password, err := v.Directory.AddAppPassword(ctx, a.ID, in.Name)
	return AppPassword{Name: in.Name, Password: password}, err
}

func (v *Verbs) revokeApp(ctx context.Context, in App) (Nothing, error) {
	a, err := v.find(ctx, in.Account)
	if err != nil {
		return Nothing{}, err
	}
	return Nothing{}, v.Directory.RevokeAppPassword(ctx, a.ID, in.Name)
}
