package admin

import (
	"context"
	"time"

	"postroad/address"
	"postroad/internal/directory"
)

// Organisation is a tenant.
type Organisation struct {
	Name string `json:"name"`
}

// Domain is a domain as people see it. In domain.change nil fields stay as they are.
type Domain struct {
	Name      string    `json:"name"`
	Org       string    `json:"organisation,omitempty"`
	AliasOf   string    `json:"alias_of,omitempty"`
	CatchAll  *string   `json:"catch_all,omitempty"`
	Separator *string   `json:"separator,omitempty"`
	Created   time.Time `json:"created,omitzero"`
}

func domainOf(d directory.Domain) Domain {
	out := Domain{Name: d.Name, Org: d.Org, AliasOf: d.AliasOf, Separator: &d.Separator, Created: d.Created}
	if catchAll := d.CatchAll.String(); catchAll != "" {
		out.CatchAll = &catchAll
	}
	return out
}

// put fills in what is given.
func (in *Domain) put(d *directory.Domain) (err error) {
	if in.Separator != nil {
		d.Separator = *in.Separator
	}
	if in.CatchAll != nil {
		d.CatchAll, err = optional(*in.CatchAll)
	}
	return err
}

// parse reads an address that must be there.
func parse(s string) (address.Address, error) {
	a, err := address.Parse(s)
	if err != nil {
		return a, invalid("address %q: %v", s, err)
	}
	return a, nil
}

// optional reads an address; an empty text is the null one.
func optional(s string) (address.Address, error) {
	if s == "" {
		return address.Address{}, nil
	}
	return parse(s)
}

func parseAll(list []string) ([]address.Address, error) {
	out := make([]address.Address, 0, len(list))
	for _, s := range list {
		a, err := parse(s)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

func printAll(list []address.Address) []string {
	out := make([]string, len(list))
	for i, a := range list {
		out[i] = a.String()
	}
	return out
}

func (v *Verbs) organisations(ctx context.Context, _ Nothing) ([]Organisation, error) {
	list, err := v.Directory.Organisations(ctx)
	out := make([]Organisation, len(list))
	for i, o := range list {
		out[i].Name = o.Name
	}
	return out, err
}

func (v *Verbs) addOrganisation(ctx context.Context, in Organisation) (Organisation, error) {
	o, err := v.Directory.AddOrganisation(ctx, in.Name)
	return Organisation{o.Name}, err
}

// Within selects what belongs to an organisation; "" is all.
type Within struct {
	Org string `json:"organisation,omitempty"`
}

func (v *Verbs) domains(ctx context.Context, in Within) ([]Domain, error) {
	list, err := v.Directory.Domains(ctx, in.Org)
	out := make([]Domain, len(list))
	for i, d := range list {
		out[i] = domainOf(d)
	}
	return out, err
}

func (v *Verbs) addDomain(ctx context.Context, in Domain) (Domain, error) {
	d := directory.Domain{Name: in.Name, Org: in.Org, AliasOf: in.AliasOf, Separator: directory.DefaultSeparator}
	if err := in.put(&d); err != nil {
		return Domain{}, err
	}
	d, err := v.Directory.AddDomain(ctx, d)
	return domainOf(d), err
}

func (v *Verbs) changeDomain(ctx context.Context, in Domain) (Domain, error) {
	d, err := v.Directory.ChangeDomain(ctx, in.Name, in.put)
	return domainOf(d), err
}

// Named names a domain, or whatever else has a name.
type Named struct {
	Name string `json:"name"`
}

func (v *Verbs) removeDomain(ctx context.Context, in Named) (Nothing, error) {
	return Nothing{}, v.Directory.RemoveDomain(ctx, in.Name)
}
