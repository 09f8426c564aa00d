package admin

import (
	"context"
	"fmt"
	"slices"
	"time"

	"postroad/address"
	"postroad/internal/directory"
)

// Alias is an alias or a group as people see it.
type Alias struct {
	Kind    string    `json:"kind"` // "alias" or "group"
	Address string    `json:"address"`
	Org     string    `json:"organisation,omitempty"`
	Name    string    `json:"name,omitempty"`
	Members []string  `json:"members"`
	Owner   string    `json:"owner,omitempty"`
	Created time.Time `json:"created,omitzero"`
}

func aliasOf(x directory.Expander) Alias {
	return Alias{Kind: x.Kind.String(), Address: x.Address.String(), Org: x.Org, Name: x.Name,
		Members: printAll(x.Members), Owner: x.Owner.String(), Created: x.Created}
}

func kindOf(s string) (directory.Kind, error) {
	for _, k := range []directory.Kind{directory.Alias, directory.Group} {
		if s == k.String() {
			return k, nil
		}
	}
	return 0, invalid("%q is neither alias nor group", s)
}

// AliasList selects aliases or groups.
type AliasList struct {
	Kind string `json:"kind"`
	Org  string `json:"organisation,omitempty"`
}

func (v *Verbs) aliases(ctx context.Context, in AliasList) ([]Alias, error) {
	kind, err := kindOf(in.Kind)
	if err != nil {
		return nil, err
	}
	list, err := v.Directory.Expanders(ctx, in.Org, kind)
	out := make([]Alias, len(list))
	for i, x := range list {
		out[i] = aliasOf(x)
	}
	return out, err
}

// AliasRef names an alias or group; a Kind must be the right one.
type AliasRef struct {
	Kind    string `json:"kind"`
	Address string `json:"address"`
}

// findAlias looks an alias or group of the kind up.
func (v *Verbs) findAlias(ctx context.Context, kind, addr string) (directory.Expander, error) {
	a, err := parse(addr)
	if err != nil {
		return directory.Expander{}, err
	}
	k, err := kindOf(kind)
	if err != nil {
		return directory.Expander{}, err
	}
	x, err := v.Directory.Expander(ctx, a)
	if err == nil && x.Kind != k {
		err = &Error{NotFound, fmt.Sprintf("%s is not %s but %s", addr, kind, x.Kind)}
	}
	return x, err
}

func (v *Verbs) alias(ctx context.Context, in AliasRef) (Alias, error) {
	x, err := v.findAlias(ctx, in.Kind, in.Address)
	return aliasOf(x), err
}

func (v *Verbs) addAlias(ctx context.Context, in Alias) (Alias, error) {
	x := directory.Expander{Name: in.Name}
	var err error
	if x.Kind, err = kindOf(in.Kind); err != nil {
		return Alias{}, err
	}
	if x.Address, err = parse(in.Address); err != nil {
		return Alias{}, err
	}
	if x.Members, err = parseAll(in.Members); err != nil {
		return Alias{}, err
	}
	if x.Owner, err = optional(in.Owner); err != nil {
		return Alias{}, err
	}
	x, err = v.Directory.AddExpander(ctx, x)
	return aliasOf(x), err
}

// AliasChange is the argument of alias.change; nil fields stay as they are.
type AliasChange struct {
	Kind    string   `json:"kind"`
	Address string   `json:"address"`
	Name    *string  `json:"name,omitempty"`
	Owner   *string  `json:"owner,omitempty"`
	Add     []string `json:"add,omitempty"`    // members
	Remove  []string `json:"remove,omitempty"` // members
}

func (v *Verbs) changeAlias(ctx context.Context, in AliasChange) (Alias, error) {
	add, err := parseAll(in.Add)
	if err != nil {
		return Alias{}, err
	}
	remove, err := parseAll(in.Remove)
	if err != nil {
		return Alias{}, err
	}
	x, err := v.findAlias(ctx, in.Kind, in.Address)
	if err != nil {
		return Alias{}, err
	}
	x, err = v.Directory.ChangeExpander(ctx, x.Address, func(x *directory.Expander) error { return in.put(x, add, remove) })
	return aliasOf(x), err
}

// put fills in what is given.
func (in *AliasChange) put(x *directory.Expander, add, remove []address.Address) (err error) {
	if in.Name != nil {
		x.Name = *in.Name
	}
	if in.Owner != nil {
		if x.Owner, err = optional(*in.Owner); err != nil {
			return err
		}
	}
	for _, r := range remove {
		i := slices.IndexFunc(x.Members, r.Equal)
		if i < 0 {
			return &Error{NotFound, fmt.Sprintf("%s is no member", r)}
		}
		x.Members = slices.Delete(x.Members, i, i+1)
	}
	x.Members = append(x.Members, add...)
	return nil
}

func (v *Verbs) removeAlias(ctx context.Context, in AliasRef) (Nothing, error) {
	x, err := v.findAlias(ctx, in.Kind, in.Address)
	if err != nil {
		return Nothing{}, err
	}
	return Nothing{}, v.Directory.RemoveExpander(ctx, x.Address)
}
