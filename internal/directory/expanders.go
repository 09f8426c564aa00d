package directory

import (
	"context"
	"fmt"
	"slices"

	"postroad/address"
	"postroad/internal/mailflow"
)

// check brings an alias or group into the form that is stored.
func (x *Expander) check() error {
	switch {
	case x.Kind != Alias && x.Kind != Group:
		return fmt.Errorf("%w: neither an alias nor a group", ErrInvalid)
	case x.Address.Local == "" || x.Address.Domain == "":
		return fmt.Errorf("%w: address %q", ErrInvalid, x.Address)
	case len(x.Members) == 0 && x.Kind == Alias:
		return fmt.Errorf("%w: alias %s leads nowhere", ErrInvalid, x.Address)
	case len(x.Members) > MembersMax:
		return fmt.Errorf("%w: more than %d members", ErrInvalid, MembersMax)
	case len(x.Name) > NameMax:
		return fmt.Errorf("%w: a name of more than %d octets", ErrInvalid, NameMax)
	case x.Kind == Alias && !x.Owner.IsNull():
		return fmt.Errorf("%w: an alias has no owner", ErrInvalid)
	}
	for i, m := range x.Members {
		if m.Local == "" || m.Domain == "" || slices.ContainsFunc(x.Members[:i], m.Equal) {
			return fmt.Errorf("%w: member %q", ErrInvalid, m)
		}
	}
	return nil
}

func (x *Expander) record() nameRecord {
	return nameRecord{Kind: x.Kind, As: x.Address.String(), Name: x.Name, Members: printAddresses(x.Members),
		Owner: x.Owner.String(), Created: x.Created}
}

// AddExpander makes an alias or a group at an address that is free.
func (s *Store) AddExpander(ctx context.Context, x Expander) (Expander, error) {
	if err := x.check(); err != nil {
		return Expander{}, err
	}
	org, err := s.orgMustHave(ctx, x.Address.Domain)
	if err != nil {
		return Expander{}, err
	}
	x.Org, x.Created = org, now()
	err = s.edit(ctx, func(ctx context.Context, u *mailflow.Unit) error {
		return s.within(ctx, u, orgSpace(org), func(e *editor) error { return claimName(e, x.Address, x.record()) })
	})
	if err != nil {
		return Expander{}, err
	}
	return x, nil
}

// ChangeExpander lets f change name, members and owner of an alias or group.
func (s *Store) ChangeExpander(ctx context.Context, a address.Address, f func(*Expander) error) (Expander, error) {
	var x Expander
	err := s.changeExpander(ctx, a, func(e *editor, is Expander) error {
		x = is
		x.Members = slices.Clone(is.Members)
		if err := f(&x); err != nil {
			return err
		}
		x.Kind, x.Address, x.Org, x.Created = is.Kind, is.Address, is.Org, is.Created
		if err := x.check(); err != nil {
			return err
		}
		return e.put(nameKey(x.Address), x.record())
	})
	return x, err
}

// RemoveExpander removes an alias or group.
func (s *Store) RemoveExpander(ctx context.Context, a address.Address) error {
	return s.changeExpander(ctx, a, func(e *editor, is Expander) error {
		e.remove(nameKey(is.Address))
		return nil
	})
}

// changeExpander runs f on an alias or group that must exist.
func (s *Store) changeExpander(ctx context.Context, a address.Address, f func(*editor, Expander) error) error {
	return s.edit(ctx, func(ctx context.Context, u *mailflow.Unit) error {
		org, err := s.orgMustHave(ctx, a.Domain)
		if err != nil {
			return err
		}
		return s.within(ctx, u, orgSpace(org), func(e *editor) error {
			r, err := read[nameRecord](e, nameKey(a))
			if err != nil {
				return err
			}
			if r == nil || r.Kind == Mailbox {
				return fmt.Errorf("%w: alias or group %s", ErrNotFound, a)
			}
			is, err := r.expander(org)
			if err != nil {
				return err
			}
			return f(e, is)
		})
	})
}

// Expander returns the alias or group at an address.
func (s *Store) Expander(ctx context.Context, a address.Address) (Expander, error) {
	org, err := s.orgMustHave(ctx, a.Domain)
	if err != nil {
		return Expander{}, err
	}
	r, err := s.nameOf(ctx, org, a)
	if err != nil {
		return Expander{}, err
	}
	if r == nil || r.Kind == Mailbox {
		return Expander{}, fmt.Errorf("%w: alias or group %s", ErrNotFound, a)
	}
	return r.expander(org)
}

// Expanders lists the aliases or the groups of an organisation, "": of all.
func (s *Store) Expanders(ctx context.Context, org string, kind Kind) ([]Expander, error) {
	var all []Expander
	err := s.eachOrg(ctx, org, func(org string) error {
		return scanSpace(ctx, s, orgSpace(org), "n/", func(_ []byte, r *nameRecord) error {
			if r.Kind != kind {
				return nil
			}
			x, err := r.expander(org)
			all = append(all, x)
			return err
		})
	})
	return all, err
}
