package directory

import (
	"context"
	"fmt"
	"slices"

	"postroad/address"
	"postroad/internal/kv"
	"postroad/internal/mailflow"
)

// NewAccount is what AddAccount needs.
type NewAccount struct {
	Addresses []address.Address // the first is the login; all in domains of one organisation
	Name      string
	Limits    Limits
	Password  string // empty: only app passwords or a hash will do
	Hash      string // instead of Password: a crypt(3) or LDAP hash from elsewhere
	Public    bool   // has the organisation's public mailboxes; nobody logs in to it
}

// PrepareAccount prepares a new account into u, beside the mail account that the caller
// makes under the same id. It does what can be done only once (the id, the hash of the
// password) and returns the account as it will be, and the function that prepares it,
// which may run again when a commit meets a conflict.
func (s *Store) PrepareAccount(ctx context.Context, n NewAccount) (Account, func(context.Context, *mailflow.Unit) error, error) {
	a, err := s.newAccount(ctx, n)
	if err != nil {
		return Account{}, nil, err
	}
	var secrets secretsRecord
	switch {
	case n.Password != "" && n.Hash != "":
		return Account{}, nil, fmt.Errorf("%w: both a password and a hash", ErrInvalid)
	case n.Password != "":
		err = s.putPassword(ctx, &secrets, n.Password)
	case n.Hash != "":
		err = s.putHash(ctx, &secrets, n.Hash)
	}
	if err != nil {
		return Account{}, nil, err
	}
	return a, func(ctx context.Context, u *mailflow.Unit) error { return s.prepareAccount(ctx, u, &a, &secrets) }, nil
}

// newAccount checks what was given and fills in the rest.
func (s *Store) newAccount(ctx context.Context, n NewAccount) (Account, error) {
	if err := checkAddresses(n.Addresses, n.Name, n.Limits); err != nil {
		return Account{}, err
	}
	org, err := s.orgMustHave(ctx, n.Addresses[0].Domain)
	if err != nil {
		return Account{}, err
	}
	return Account{ID: s.Clock.Next(), Org: org, Login: n.Addresses[0], Addresses: slices.Clone(n.Addresses),
		Name: n.Name, Limits: n.Limits, Public: n.Public, Created: now()}, nil
}

func checkAddresses(list []address.Address, name string, l Limits) error {
	switch {
	case len(list) == 0:
		return fmt.Errorf("%w: an account without an address", ErrInvalid)
	case len(list) > AddressesMax:
		return fmt.Errorf("%w: more than %d addresses for one account", ErrInvalid, AddressesMax)
	case len(name) > NameMax:
		return fmt.Errorf("%w: a name of more than %d octets", ErrInvalid, NameMax)
	case l.QuotaBytes < 0 || l.QuotaMessages < 0:
		return fmt.Errorf("%w: a quota below zero", ErrInvalid)
	}
	for i, a := range list {
		if a.Local == "" || a.Domain == "" {
			return fmt.Errorf("%w: address %q", ErrInvalid, a)
		}
		if slices.ContainsFunc(list[:i], a.Equal) {
			return fmt.Errorf("%w: address %s is there twice", ErrInvalid, a)
		}
	}
	return nil
}

func (s *Store) prepareAccount(ctx context.Context, u *mailflow.Unit, a *Account, secrets *secretsRecord) error {
	if err := s.prepareFirst(ctx, u, a); err != nil {
		return err
	}
	return s.within(ctx, u, orgSpace(a.Org), func(e *editor) error {
		for _, addr := range a.Addresses {
			if err := claimName(e, addr, nameRecord{Kind: Mailbox, Account: a.ID.String(), As: addr.String()}); err != nil {
				return err
			}
		}
		if err := e.put(secretsKey(a.ID), secrets); err != nil {
			return err
		}
		return e.put(accountKey(a.ID), a.record())
	})
}

func (a *Account) record() accountRecord {
	return accountRecord{Addresses: printAddresses(a.Addresses), Name: a.Name, Disabled: a.Disabled, Public: a.Public, Limits: a.Limits, TimeZone: a.TimeZone, Created: a.Created}
}

// claimName gives an address its meaning; its domain is the organisation's own, no alias,
// and nobody has it yet.
func claimName(e *editor, a address.Address, r nameRecord) error {
	d, err := read[domainRecord](e, domainKey(a.Domain))
	switch {
	case err != nil:
		return err
	case d == nil:
		return fmt.Errorf("%w: domain %s in this organisation", ErrNotFound, a.Domain)
	case d.AliasOf != "":
		return fmt.Errorf("%w: %s is an alias of %s; give addresses there", ErrInvalid, a.Domain, d.AliasOf)
	}
	have, err := read[nameRecord](e, nameKey(a))
	if err != nil {
		return err
	}
	if have != nil {
		return fmt.Errorf("%w: address %s", ErrExists, a)
	}
	return e.put(nameKey(a), r)
}

// AddAccount makes an account without mailboxes; see PrepareAccount for both at once.
func (s *Store) AddAccount(ctx context.Context, n NewAccount) (Account, error) {
	a, prepare, err := s.PrepareAccount(ctx, n)
	if err != nil {
		return Account{}, err
	}
	if err := s.edit(ctx, prepare); err != nil {
		return Account{}, err
	}
	return a, nil
}

// PrepareRemoval prepares the end of an account with its addresses and credentials into
// u. Its mail is the caller's.
func (s *Store) PrepareRemoval(ctx context.Context, id AccountID, u *mailflow.Unit) error {
	org, err := s.accountOrg(ctx, id)
	if err != nil {
		return err
	}
	err = s.within(ctx, u, orgSpace(org), func(e *editor) error {
		r, err := readAccount(e, id)
		if err != nil {
			return err
		}
		list, err := parseAddresses(r.Addresses)
		if err != nil {
			return err
		}
		for _, a := range list {
			e.remove(nameKey(a))
		}
		e.remove(accountKey(id))
		e.remove(secretsKey(id))
		e.remove(usesKey(id))
		endGrants(e, id)
		return nil
	})
	if err != nil {
		return err
	}
	return s.within(ctx, u, rootSpace, func(e *editor) error {
		o, err := read[orgRecord](e, orgKey(org))
		if err != nil {
			return err
		}
		if o != nil && (o.Postmaster == id.String() || o.Public == id.String()) {
			if o.Postmaster == id.String() {
				o.Postmaster = ""
			} else {
				o.Public = ""
			}
			if err := e.put(orgKey(org), o); err != nil {
				return err
			}
		}
		e.remove(ownerKey(id))
		return nil
	})
}

// RemoveAccount ends an account whose mail is gone, or stays for nobody.
func (s *Store) RemoveAccount(ctx context.Context, id AccountID) error {
	return s.edit(ctx, func(ctx context.Context, u *mailflow.Unit) error { return s.PrepareRemoval(ctx, id, u) })
}

// readAccount reads an account's record, which must exist, guarded.
func readAccount(e *editor, id AccountID) (*accountRecord, error) {
	r, err := read[accountRecord](e, accountKey(id))
	if err == nil && r == nil {
		err = fmt.Errorf("%w: account %s", ErrNotFound, id)
	}
	return r, err
}

// ChangeAccount lets f change name, limits, addresses, time zone and Disabled of an account.
func (s *Store) ChangeAccount(ctx context.Context, id AccountID, f func(*Account) error) (Account, error) {
	var a Account
	err := s.changeAccount(ctx, id, func(e *editor, org string) error {
		r, err := readAccount(e, id)
		if err != nil {
			return err
		}
		was, err := r.account(org, id)
		if err != nil {
			return err
		}
		a = was
		a.Addresses = slices.Clone(was.Addresses)
		if err := f(&a); err != nil {
			return err
		}
		if err := checkAddresses(a.Addresses, a.Name, a.Limits); err != nil {
			return err
		}
		if err := checkZone(a.TimeZone); err != nil {
			return err
		}
		a.ID, a.Org, a.Created, a.Public, a.Login = id, org, was.Created, was.Public, a.Addresses[0]
		if err := moveNames(e, &was, &a); err != nil {
			return err
		}
		return e.put(accountKey(id), a.record())
	})
	return a, err
}

// moveNames gives up the addresses that are no longer there and claims the new ones.
func moveNames(e *editor, was, is *Account) error {
	for _, a := range was.Addresses {
		if !slices.ContainsFunc(is.Addresses, a.Equal) {
			e.remove(nameKey(a))
		}
	}
	for _, a := range is.Addresses {
		if slices.ContainsFunc(was.Addresses, a.Equal) {
			continue
		}
		if err := claimName(e, a, nameRecord{Kind: Mailbox, Account: is.ID.String(), As: a.String()}); err != nil {
			return err
		}
	}
	return nil
}

// changeAccount runs f in the space of an account's organisation.
func (s *Store) changeAccount(ctx context.Context, id AccountID, f func(e *editor, org string) error) error {
	return s.edit(ctx, func(ctx context.Context, u *mailflow.Unit) error {
		org, err := s.accountOrg(ctx, id)
		if err != nil {
			return err
		}
		return s.within(ctx, u, orgSpace(org), func(e *editor) error { return f(e, org) })
	})
}

// Account returns an account by its id.
func (s *Store) Account(ctx context.Context, id AccountID) (Account, error) {
	org, err := s.accountOrg(ctx, id)
	if err != nil {
		return Account{}, err
	}
	r, err := lookup[accountRecord](ctx, s.cached(orgSpace(org)), accountKey(id))
	if err != nil {
		return Account{}, err
	}
	if r == nil {
		return Account{}, fmt.Errorf("%w: account %s", ErrNotFound, id)
	}
	return r.account(org, id)
}

// AccountByAddress returns the account that has an address, sub-addresses and catch-alls
// left out.
func (s *Store) AccountByAddress(ctx context.Context, a address.Address) (Account, error) {
	none := fmt.Errorf("%w: account %s", ErrNotFound, a)
	org, a, err := s.ownDomain(ctx, a)
	if err != nil {
		return Account{}, err
	}
	if org == "" {
		return Account{}, none
	}
	n, err := s.nameOf(ctx, org, a)
	if err != nil {
		return Account{}, err
	}
	if n == nil || n.Kind != Mailbox {
		return Account{}, none
	}
	id, err := parseID(n.Account)
	if err != nil {
		return Account{}, err
	}
	return s.Account(ctx, id)
}

// Accounts lists the accounts of an organisation ("": all) whose id is above after, at
// most limit (0: ListMax), by id. The next call takes the last one's id.
func (s *Store) Accounts(ctx context.Context, org string, after AccountID, limit int) ([]Account, error) {
	var all []Account
	err := s.eachOrg(ctx, org, func(org string) error {
		snap, err := s.Engine.Snapshot(ctx, orgSpace(org))
		if err != nil {
			return fmt.Errorf("read the directory: %w", err)
		}
		defer snap.Close()
		r := kv.Prefix([]byte(accountPrefix))
		r.From = []byte(accountKey(after) + "\x00")
		if r.Limit = limit; limit <= 0 || limit > ListMax {
			r.Limit = ListMax
		}
		for entry, err := range snap.Scan(r) {
			if err != nil {
				return fmt.Errorf("read the directory: %w", err)
			}
			a, err := accountOf(org, entry)
			if err != nil {
				return err
			}
			all = append(all, a)
		}
		return nil
	})
	return all, err
}

// accountOf decodes an entry under accountPrefix.
func accountOf(org string, entry kv.Entry) (Account, error) {
	id, err := parseID(string(entry.Key[len(accountPrefix):]))
	if err != nil {
		return Account{}, err
	}
	rec, err := decode[accountRecord](entry.Value)
	if err != nil {
		return Account{}, fmt.Errorf("%w (key %q)", err, entry.Key)
	}
	return rec.account(org, id)
}

// Principal implements Directory.
func (s *Store) Principal(ctx context.Context, id AccountID) (Principal, error) {
	a, err := s.Account(ctx, id)
	if err != nil {
		return Principal{}, err
	}
	return a.principal(), nil
}

func (a *Account) principal() Principal {
	return Principal{ID: a.ID, Org: a.Org, Login: a.Login, Name: a.Name, Limits: a.Limits}
}
