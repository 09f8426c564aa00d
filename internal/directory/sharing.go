package directory

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"postroad/address"
	"postroad/internal/kv"
	"postroad/internal/mailflow"
)

// SendRight is how an account may use an address as sender.
type SendRight uint8

// The rights, each one more than the one before.
const (
	SendNot      SendRight = iota
	SendOnBehalf           // in From, if Sender is an address of its own (RFC 5322, 3.6.2)
	SendAs                 // like an address of its own
)

var sendRightNames = [...]string{"none", "on-behalf", "send-as"}

func (r SendRight) String() string {
	if int(r) < len(sendRightNames) {
		return sendRightNames[r]
	}
	return fmt.Sprintf("send right %d", uint8(r))
}

// ParseSendRight reads "none", "on-behalf" or "send-as".
func ParseSendRight(s string) (SendRight, error) {
	i := slices.Index(sendRightNames[:], s)
	if i < 0 {
		return 0, fmt.Errorf("%w: %q is neither none nor on-behalf nor send-as", ErrInvalid, s)
	}
	return SendRight(i), nil
}

// SendGrant lets an account, or the members of a group, send with the addresses of
// another account.
type SendGrant struct {
	Account AccountID       // 0: Group has it
	Group   address.Address // of the same organisation
	Right   SendRight
}

// GrantsMax is how many grants one account gives.
const GrantsMax = 100

// grantsRecord is what an account has granted.
type grantsRecord struct {
	Grants []grantRecord `json:"grants"`
}

type grantRecord struct {
	Account string    `json:"account,omitempty"`
	Group   string    `json:"group,omitempty"` // its key
	Right   SendRight `json:"right"`
}

const grantsPrefix = "g/"

func grantsKey(id AccountID) string { return grantsPrefix + id.String() }

// is tells whether two grants are for the same one.
func (g *SendGrant) is(o *SendGrant) bool {
	return g.Account == o.Account && (g.Account != 0 || g.Group.Equal(o.Group))
}

func (r *grantsRecord) grants() ([]SendGrant, error) {
	if r == nil {
		return nil, nil
	}
	out := make([]SendGrant, 0, len(r.Grants))
	for _, g := range r.Grants {
		one := SendGrant{Right: g.Right}
		var err error
		if g.Account != "" {
			one.Account, err = parseID(g.Account)
		} else {
			one.Group, err = address.Parse(g.Group)
		}
		if err != nil {
			return nil, fmt.Errorf("directory: stored grant: %w", err)
		}
		out = append(out, one)
	}
	return out, nil
}

// SendGrants returns what an account has granted.
func (s *Store) SendGrants(ctx context.Context, id AccountID) ([]SendGrant, error) {
	org, err := s.accountOrg(ctx, id)
	if err != nil {
		return nil, err
	}
	r, err := lookup[grantsRecord](ctx, s.cached(orgSpace(org)), grantsKey(id))
	if err != nil {
		return nil, err
	}
	return r.grants()
}

// SetSendGrant grants a right over the addresses of an account, in place of what the same
// one had; SendNot takes it away. ErrNotFound for an account or group that is not in the
// organisation.
func (s *Store) SetSendGrant(ctx context.Context, id AccountID, g SendGrant) error {
	if g.Right > SendAs || g.Account == id || (g.Account == 0) == g.Group.IsNull() {
		return fmt.Errorf("%w: grant", ErrInvalid)
	}
	return s.changeAccount(ctx, id, func(e *editor, org string) error {
		if _, err := readAccount(e, id); err != nil {
			return err
		}
		if g.Right != SendNot {
			if err := g.check(e); err != nil {
				return err
			}
		}
		r, err := read[grantsRecord](e, grantsKey(id))
		if err != nil {
			return err
		}
		list, err := r.grants()
		if err != nil {
			return err
		}
		list = slices.DeleteFunc(list, func(have SendGrant) bool { return have.is(&g) })
		if g.Right != SendNot {
			list = append(list, g)
		}
		if len(list) > GrantsMax {
			return fmt.Errorf("%w: more than %d grants", ErrInvalid, GrantsMax)
		}
		if len(list) == 0 {
			e.remove(grantsKey(id))
			return nil
		}
		var out grantsRecord
		for _, one := range list {
			rec := grantRecord{Right: one.Right}
			if one.Account != 0 {
				rec.Account = one.Account.String()
			} else {
				rec.Group = one.Group.Key()
			}
			out.Grants = append(out.Grants, rec)
		}
		return e.put(grantsKey(id), out)
	})
}

// check finds out that who is granted something is there, and guards it.
func (g *SendGrant) check(e *editor) error {
	if g.Account != 0 {
		_, err := readAccount(e, g.Account)
		return err
	}
	r, err := read[nameRecord](e, nameKey(g.Group))
	if err == nil && (r == nil || r.Kind != Group) {
		err = fmt.Errorf("%w: group %s", ErrNotFound, g.Group)
	}
	return err
}

// granted returns what an account may do with the addresses of another one.
func (s *Store) granted(ctx context.Context, owner AccountID, p Principal) (SendRight, error) {
	grants, err := s.SendGrants(ctx, owner)
	if err != nil {
		return SendNot, err
	}
	right := SendNot
	for _, g := range grants {
		is := g.Account == p.ID
		if g.Account == 0 && g.Right > right {
			if is, err = s.Member(ctx, g.Group.Key(), p.ID); err != nil {
				return SendNot, err
			}
		}
		if is {
			right = max(right, g.Right)
		}
	}
	return right, nil
}

// Grantors returns the accounts of the organisation that let another one send with their
// addresses, by id. They are looked for once, until anything in the organisation changes.
func (s *Store) Grantors(ctx context.Context, p Principal) ([]Account, error) {
	givers, err := s.givers(ctx, p.Org)
	if err != nil {
		return nil, err
	}
	var all []Account
	for _, id := range givers {
		right, err := s.granted(ctx, id, p)
		if err != nil {
			return nil, err
		}
		if right == SendNot || id == p.ID {
			continue
		}
		a, err := s.Account(ctx, id)
		if errors.Is(err, ErrNotFound) {
			continue // ends just now
		}
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return all, nil
}

// givers are the accounts of an organisation that have granted something to somebody.
func (s *Store) givers(ctx context.Context, org string) ([]AccountID, error) {
	const k = "givers"
	c := s.cached(orgSpace(org))
	if v, ok := c.held(k); ok {
		list, _ := v.([]AccountID)
		return list, nil
	}
	if err := c.renew(ctx); err != nil {
		return nil, err
	}
	at := c.moment()
	snap, err := s.Engine.Snapshot(ctx, orgSpace(org))
	if err != nil {
		return nil, fmt.Errorf("read the directory: %w", err)
	}
	defer snap.Close()
	var list []AccountID
	for e, err := range snap.Scan(kv.Prefix([]byte(grantsPrefix))) {
		if err != nil {
			return nil, fmt.Errorf("read the directory: %w", err)
		}
		id, err := parseID(string(e.Key[len(grantsPrefix):]))
		if err != nil {
			return nil, err
		}
		list = append(list, id)
	}
	c.remember(at, k, list)
	return list, nil
}

// Member tells whether an account is a member of a group, also by way of other groups and
// aliases; the group is named by its address's Key, and of the account's organisation. What
// a group comes to is kept until anything in the organisation's space changes.
func (s *Store) Member(ctx context.Context, group string, id AccountID) (bool, error) {
	a, err := address.Parse(group)
	if err != nil {
		return false, nil
	}
	org, err := s.orgOf(ctx, a.Domain)
	if err != nil || org == "" {
		return false, err
	}
	c := s.cached(orgSpace(org))
	k := "members/" + group
	if v, ok := c.held(k); ok {
		set, _ := v.(map[AccountID]bool)
		return set[id], nil
	}
	if err := c.renew(ctx); err != nil {
		return false, err
	}
	at := c.moment()
	set, err := s.members(ctx, org, a)
	if err != nil {
		return false, err
	}
	c.remember(at, k, set)
	return set[id], nil
}

// members expands a group to accounts of its organisation; nil where there is no group.
func (s *Store) members(ctx context.Context, org string, group address.Address) (map[AccountID]bool, error) {
	n, err := s.nameOf(ctx, org, group)
	if err != nil || n == nil || n.Kind != Group {
		return nil, err
	}
	t, err := s.Resolve(ctx, group)
	if err != nil {
		return nil, err
	}
	set := make(map[AccountID]bool, len(t.Accounts))
	for _, d := range t.Accounts {
		if of, err := s.accountOrg(ctx, d.Account); err != nil {
			return nil, err
		} else if of == org {
			set[d.Account] = true
		}
	}
	return set, nil
}

// PublicAccount returns the account that has an organisation's public mailboxes, 0 where
// there is none.
func (s *Store) PublicAccount(ctx context.Context, org string) (AccountID, error) {
	o, err := lookup[orgRecord](ctx, s.cached(rootSpace), orgKey(org))
	if err != nil || o == nil || o.Public == "" {
		return 0, err
	}
	return parseID(o.Public)
}

// claimPublic makes an account the public one of its organisation, which has one.
func claimPublic(o *orgRecord, id AccountID) error {
	if o.Public != "" {
		return fmt.Errorf("%w: public account of organisation %s", ErrExists, o.Name)
	}
	o.Public = id.String()
	return nil
}

// endGrants takes an account's own grants away with it. Those it was given name an id that
// nobody gets again.
func endGrants(e *editor, id AccountID) { e.remove(grantsKey(id)) }

// prepareFirst makes the first account of an organisation its postmaster; the public one,
// which nobody reads as a person, never is.
func (s *Store) prepareFirst(ctx context.Context, u *mailflow.Unit, a *Account) error {
	return s.within(ctx, u, rootSpace, func(e *editor) error {
		org, err := read[orgRecord](e, orgKey(a.Org))
		if err != nil {
			return err
		}
		if org == nil {
			return fmt.Errorf("%w: organisation %s", ErrNotFound, a.Org)
		}
		switch {
		case a.Public:
			if err := claimPublic(org, a.ID); err != nil {
				return err
			}
			err = e.put(orgKey(a.Org), org)
		case org.Postmaster == "":
			org.Postmaster = a.ID.String()
			err = e.put(orgKey(a.Org), org)
		}
		if err != nil {
			return err
		}
		return e.put(ownerKey(a.ID), placeRecord{a.Org})
	})
}

// GroupKey names a group in access control lists; ErrNotFound where the organisation has no
// group at the address.
func (s *Store) GroupKey(ctx context.Context, org string, a address.Address) (string, error) {
	of, a, err := s.ownDomain(ctx, a)
	if err != nil {
		return "", err
	}
	if of == org {
		n, err := s.nameOf(ctx, org, a)
		if err != nil {
			return "", err
		}
		if n != nil && n.Kind == Group {
			return a.Key(), nil
		}
	}
	return "", fmt.Errorf("%w: group %s", ErrNotFound, a)
}
