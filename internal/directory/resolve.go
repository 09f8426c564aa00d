package directory

import (
	"context"
	"fmt"

	"postroad/address"
)

// ownDomain returns the organisation of an address's domain ("": not ours) and the
// address with a domain alias resolved.
func (s *Store) ownDomain(ctx context.Context, a address.Address) (string, address.Address, error) {
	org, err := s.orgOf(ctx, a.Domain)
	if err != nil || org == "" {
		return "", a, err
	}
	d, err := s.domainOf(ctx, org, a.Domain)
	if err != nil || d == nil {
		return "", a, err
	}
	if d.AliasOf != "" {
		a.Domain = d.AliasOf
	}
	return org, a, nil
}

// found is what one address is, before members are looked at.
type found struct {
	org      string
	name     *nameRecord // nil: nobody
	detail   string
	catchAll address.Address // to go on with instead
}

// find asks, in this order: the address itself, the part before the separator,
// postmaster, the catch-all.
func (s *Store) find(ctx context.Context, a address.Address) (found, error) {
	org, a, err := s.ownDomain(ctx, a)
	if err != nil || org == "" {
		return found{}, err
	}
	f := found{org: org}
	d, err := s.domainOf(ctx, org, a.Domain)
	if err != nil || d == nil {
		return found{}, err
	}
	if f.name, err = s.nameOf(ctx, org, a); err != nil || f.name != nil {
		return f, err
	}
	if user, detail, ok := a.SplitDetail(d.Separator); ok {
		a.Local = user
		if f.name, err = s.nameOf(ctx, org, a); err != nil || f.name != nil {
			f.detail = detail
			return f, err
		}
	}
	if address.FoldLocal(a.Local) == postmaster {
		if f.name, err = s.postmasterOf(ctx, org); err != nil || f.name != nil {
			return f, err
		}
	}
	f.catchAll, err = parseOptional(d.CatchAll)
	return f, err
}

// postmaster is the local part that every domain has (RFC 5321, 4.5.1).
const postmaster = "postmaster"

// postmasterOf returns the name of the organisation's postmaster account, nil when there
// is none yet.
func (s *Store) postmasterOf(ctx context.Context, org string) (*nameRecord, error) {
	o, err := lookup[orgRecord](ctx, s.cached(rootSpace), orgKey(org))
	if err != nil || o == nil || o.Postmaster == "" {
		return nil, err
	}
	return &nameRecord{Kind: Mailbox, Account: o.Postmaster}, nil
}

// Resolve implements Directory.
func (s *Store) Resolve(ctx context.Context, a address.Address) (Target, error) {
	if a.IsNull() {
		return Target{Kind: Null}, nil
	}
	x := expansion{store: s, seen: map[string]bool{}}
	if err := x.start(ctx, a); err != nil {
		return Target{}, fmt.Errorf("resolve %s: %w", a, err)
	}
	if (x.Kind == Alias || x.Kind == Group) && (x.tooMany || x.looped && len(x.Accounts)+len(x.Outside)+len(x.Missing) == 0) {
		return Target{Kind: Loop, Org: x.Org}, nil
	}
	return x.Target, nil
}

// expansion follows aliases and groups. Each address is visited once, so a loop ends.
type expansion struct {
	Target
	store   *Store
	seen    map[string]bool // keys of addresses visited
	looped  bool
	tooMany bool
}

// start settles what the address itself is, then follows it.
func (x *expansion) start(ctx context.Context, a address.Address) error {
	var f found
	var err error
	if a.IsPostmaster() { // RFC 5321, 4.5.1: without a domain
		f.org = DefaultOrg
		f.name, err = x.store.postmasterOf(ctx, DefaultOrg)
	} else {
		f, err = x.store.find(ctx, a)
	}
	if err != nil {
		return err
	}
	x.Org = f.org
	if f.org == "" {
		x.Kind = NotLocal
		return nil
	}
	if f.name == nil && !f.catchAll.IsNull() {
		x.CatchAll = true
		return x.catchAll(ctx, a, f.catchAll)
	}
	if f.name == nil {
		x.Kind = Unknown
		return nil
	}
	x.seen[a.Key()] = true
	x.Kind = f.name.Kind
	return x.follow(ctx, f, 0)
}

// catchAll goes on with the domain's catch-all, which is not caught itself.
func (x *expansion) catchAll(ctx context.Context, a, to address.Address) error {
	f, err := x.store.find(ctx, to)
	if err != nil {
		return err
	}
	switch {
	case f.org == "":
		x.Kind, x.Outside = Alias, []address.Address{to}
		return nil
	case f.name == nil:
		x.Kind = Unknown
		return nil
	}
	x.seen[a.Key()], x.seen[to.Key()] = true, true
	x.Kind = f.name.Kind
	return x.follow(ctx, f, 0)
}

// follow adds what was found to the target; members recursively.
func (x *expansion) follow(ctx context.Context, f found, depth int) error {
	if f.name.Kind == Mailbox {
		return x.mailbox(ctx, f, depth)
	}
	group, err := f.name.expander(f.org)
	if err != nil {
		return err
	}
	if f.name.Kind == Group && x.Owner.IsNull() {
		x.Owner = group.Owner
	}
	for _, m := range group.Members {
		if err := x.member(ctx, m, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// member adds one member of an alias or group.
func (x *expansion) member(ctx context.Context, m address.Address, depth int) error {
	if x.seen[m.Key()] {
		x.looped = true
		return nil
	}
	if len(x.seen) >= ExpandMax || depth > DepthMax {
		x.tooMany = true
		return nil
	}
	x.seen[m.Key()] = true
	f, err := x.store.find(ctx, m)
	switch {
	case err != nil:
		return err
	case f.org == "":
		x.Outside = append(x.Outside, m)
		return nil
	case f.name == nil && !f.catchAll.IsNull() && !f.catchAll.Equal(m):
		return x.member(ctx, f.catchAll, depth+1)
	case f.name == nil:
		x.Missing = append(x.Missing, m)
		return nil
	}
	return x.follow(ctx, f, depth)
}

// mailbox adds an account, unless it is there already. A disabled one is Missing as a
// member, and Disabled by itself.
func (x *expansion) mailbox(ctx context.Context, f found, depth int) error {
	id, err := parseID(f.name.Account)
	if err != nil {
		return err
	}
	r, err := lookup[accountRecord](ctx, x.store.cached(orgSpace(f.org)), accountKey(id))
	if err != nil {
		return err
	}
	if r == nil { // removed between the two reads
		if depth == 0 {
			x.Kind = Unknown
		}
		return nil
	}
	a, err := r.account(f.org, id)
	if err != nil {
		return err
	}
	if a.Disabled {
		if depth == 0 {
			x.Kind = Disabled
		} else {
			x.Missing = append(x.Missing, a.Login)
		}
		return nil
	}
	d := Destination{Account: id, Address: a.Login, Detail: f.detail, Public: a.Public}
	if as, err := address.Parse(f.name.As); err == nil {
		d.Address = as
	}
	for _, have := range x.Accounts {
		if have.Account == id && have.Detail == d.Detail {
			return nil
		}
	}
	x.Accounts = append(x.Accounts, d)
	return nil
}

// MaySendAs implements Directory.
func (s *Store) MaySendAs(ctx context.Context, p Principal, a address.Address) (SendRight, error) {
	t, err := s.Resolve(ctx, a)
	if err != nil {
		return SendNot, err
	}
	switch t.Kind {
	case Mailbox, Alias:
		for _, d := range t.Accounts {
			if d.Account == p.ID {
				return SendAs, nil
			}
		}
		if t.Kind == Mailbox && t.Org == p.Org && !t.CatchAll {
			return s.granted(ctx, t.Accounts[0].Account, p)
		}
	case Group:
		x, err := s.groupAt(ctx, a)
		if err != nil || x.Owner.IsNull() {
			return SendNot, err
		}
		owner, err := s.Resolve(ctx, x.Owner)
		if err == nil && owner.Kind == Mailbox && owner.Accounts[0].Account == p.ID {
			return SendAs, nil
		}
		return SendNot, err
	}
	return SendNot, nil
}

// groupAt returns the group that an address is, through sub-address and domain alias.
func (s *Store) groupAt(ctx context.Context, a address.Address) (Expander, error) {
	f, err := s.find(ctx, a)
	if err != nil || f.name == nil || f.name.Kind != Group {
		return Expander{}, err
	}
	return f.name.expander(f.org)
}
