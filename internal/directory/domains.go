package directory

import (
	"context"
	"fmt"
	"strings"

	"postroad/address"
	"postroad/internal/kv"
	"postroad/internal/mailflow"
)

// DefaultSeparator stands between user and detail in new domains.
const DefaultSeparator = "+"

const separatorMax = 4 // octets

// check brings a domain into the form that is stored.
func (d *Domain) check() error {
	name, err := address.ParseDomain(d.Name)
	if err != nil {
		return fmt.Errorf("%w: domain %q: %w", ErrInvalid, d.Name, err)
	}
	if strings.ContainsAny(name, "/") {
		return fmt.Errorf("%w: domain %q", ErrInvalid, d.Name)
	}
	d.Name = name
	if d.AliasOf != "" {
		if d.AliasOf, err = address.ParseDomain(d.AliasOf); err != nil {
			return fmt.Errorf("%w: domain %q: %w", ErrInvalid, d.AliasOf, err)
		}
		if d.AliasOf == d.Name || !d.CatchAll.IsNull() {
			return fmt.Errorf("%w: %s cannot be an alias of %s with a catch-all of its own", ErrInvalid, d.Name, d.AliasOf)
		}
	}
	if len(d.Separator) > separatorMax || strings.ContainsAny(d.Separator, "@/ \"") {
		return fmt.Errorf("%w: separator %q", ErrInvalid, d.Separator)
	}
	return nil
}

func (d *Domain) record() domainRecord {
	return domainRecord{AliasOf: d.AliasOf, CatchAll: d.CatchAll.String(), Separator: d.Separator, Created: d.Created}
}

// AddDomain makes a domain ours. An empty Org is the default one.
func (s *Store) AddDomain(ctx context.Context, d Domain) (Domain, error) {
	if d.Org == "" {
		d.Org = DefaultOrg
	}
	d.Created = now()
	if err := d.check(); err != nil {
		return Domain{}, err
	}
	err := s.edit(ctx, func(ctx context.Context, u *mailflow.Unit) error {
		err := s.within(ctx, u, rootSpace, func(e *editor) error { return claimDomain(e, &d) })
		if err != nil {
			return err
		}
		return s.within(ctx, u, orgSpace(d.Org), func(e *editor) error {
			if err := checkAliasOf(e, &d); err != nil {
				return err
			}
			return e.put(domainKey(d.Name), d.record())
		})
	})
	if err != nil {
		return Domain{}, err
	}
	return d, nil
}

// claimDomain writes into the root space whose the domain is; nobody else may have it.
func claimDomain(e *editor, d *Domain) error {
	org, err := read[orgRecord](e, orgKey(d.Org))
	if err != nil {
		return err
	}
	if org == nil {
		return fmt.Errorf("%w: organisation %s", ErrNotFound, d.Org)
	}
	have, err := read[placeRecord](e, domainKey(d.Name))
	if err != nil {
		return err
	}
	if have != nil {
		return fmt.Errorf("%w: domain %s", ErrExists, d.Name)
	}
	return e.put(domainKey(d.Name), placeRecord{d.Org})
}

// checkAliasOf holds domain aliases to one step: the domain that one leads to is ours, of
// the same organisation, and no alias itself.
func checkAliasOf(e *editor, d *Domain) error {
	if d.AliasOf == "" {
		return nil
	}
	to, err := read[domainRecord](e, domainKey(d.AliasOf))
	if err != nil {
		return err
	}
	if to == nil {
		return fmt.Errorf("%w: domain %s", ErrNotFound, d.AliasOf)
	}
	if to.AliasOf != "" {
		return fmt.Errorf("%w: %s is an alias of %s itself", ErrInvalid, d.AliasOf, to.AliasOf)
	}
	return nil
}

// ChangeDomain lets f change catch-all and separator of a domain.
func (s *Store) ChangeDomain(ctx context.Context, name string, f func(*Domain) error) (Domain, error) {
	var d Domain
	err := s.changeDomain(ctx, name, func(e *editor, r *domainRecord, org, name string) error {
		var err error
		if d, err = r.domain(org, name); err != nil {
			return err
		}
		was := d
		if err := f(&d); err != nil {
			return err
		}
		d.Name, d.Org, d.AliasOf, d.Created = was.Name, was.Org, was.AliasOf, was.Created
		if err := d.check(); err != nil {
			return err
		}
		return e.put(domainKey(name), d.record())
	})
	return d, err
}

// RemoveDomain gives a domain up. It must have no addresses and no aliases any more.
func (s *Store) RemoveDomain(ctx context.Context, name string) error {
	return s.changeDomain(ctx, name, func(e *editor, _ *domainRecord, org, name string) error {
		e.unchanged()
		err := scan(e.snap, namesPrefix(name), func(key []byte, _ *nameRecord) error {
			return fmt.Errorf("%w: domain %s has the address %s@%s", ErrInUse, name, localOfNameKey(key), name)
		})
		if err != nil {
			return err
		}
		err = scan(e.snap, domainKey(""), func(key []byte, r *domainRecord) error {
			if r.AliasOf == name {
				return fmt.Errorf("%w: domain %s is an alias of %s", ErrInUse, key[len(domainKey("")):], name)
			}
			return nil
		})
		if err != nil {
			return err
		}
		e.remove(domainKey(name))
		u := e.u
		b := u.Batch(rootSpace)
		b.Deletes = append(b.Deletes, []byte(domainKey(name)))
		c := s.cached(rootSpace)
		u.After(rootSpace, func(kv.Result) { c.hint() })
		return nil
	})
}

// changeDomain runs f on the record of a domain that must exist.
func (s *Store) changeDomain(ctx context.Context, name string, f func(e *editor, r *domainRecord, org, name string) error) error {
	name, err := address.ParseDomain(name)
	if err != nil {
		return fmt.Errorf("%w: domain %q: %w", ErrInvalid, name, err)
	}
	return s.edit(ctx, func(ctx context.Context, u *mailflow.Unit) error {
		org, err := s.orgMustHave(ctx, name)
		if err != nil {
			return err
		}
		return s.within(ctx, u, orgSpace(org), func(e *editor) error {
			r, err := read[domainRecord](e, domainKey(name))
			if err != nil {
				return err
			}
			if r == nil {
				return fmt.Errorf("%w: domain %s", ErrNotFound, name)
			}
			return f(e, r, org, name)
		})
	})
}

// Domains lists the domains of an organisation, "": of all.
func (s *Store) Domains(ctx context.Context, org string) ([]Domain, error) {
	var all []Domain
	err := s.eachOrg(ctx, org, func(org string) error {
		return scanSpace(ctx, s, orgSpace(org), domainKey(""), func(key []byte, r *domainRecord) error {
			d, err := r.domain(org, string(key[len(domainKey("")):]))
			all = append(all, d)
			return err
		})
	})
	return all, err
}

// eachOrg calls f for one organisation or for all.
func (s *Store) eachOrg(ctx context.Context, org string, f func(string) error) error {
	if org != "" {
		return f(org)
	}
	orgs, err := s.Organisations(ctx)
	for _, o := range orgs {
		if err == nil {
			err = f(o.Name)
		}
	}
	return err
}
