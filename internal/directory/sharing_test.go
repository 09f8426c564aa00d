package directory

import (
	"context"
	"errors"
	"testing"

	"postroad/address"
	"postroad/internal/mailflow"
)

// office is a directory with some people, and groups within groups.
func office(t *testing.T) (*Store, map[string]AccountID) {
	t.Helper()
	s, ctx := opened(t, newEngine(t)), t.Context()
	if _, err := s.AddDomain(ctx, Domain{Name: "d.test", Org: DefaultOrg, Separator: "+"}); err != nil {
		t.Fatal(err)
	}
	ids := map[string]AccountID{}
	for _, name := range []string{"ann", "bob", "cy"} {
		a, err := s.AddAccount(ctx, NewAccount{Addresses: ats(name + "@d.test"), Password: "long enough words"})
		if err != nil {
			t.Fatal(err)
		}
		ids[name] = a.ID
	}
	for name, members := range map[string][]string{"sales": {"bob@d.test", "x@far.test"}, "all": {"sales@d.test", "ann@d.test"}} {
		if _, err := s.AddExpander(ctx, Expander{Kind: Group, Address: at(name + "@d.test"), Members: ats(members...)}); err != nil {
			t.Fatal(err)
		}
	}
	return s, ids
}

func TestMember(t *testing.T) {
	s, ids := office(t)
	ctx := t.Context()
	check := func(when, who, group string, want bool) {
		t.Helper()
		for range 2 { // the second answer is a remembered one
			if is, err := s.Member(ctx, group, ids[who]); err != nil || is != want {
				t.Errorf("%s: %s in %s: %v %v", when, who, group, is, err)
			}
		}
	}
	check("direct", "bob", "sales@d.test", true)
	check("not", "ann", "sales@d.test", false)
	check("by a group", "bob", "all@d.test", true)
	check("an account is no group", "ann", "ann@d.test", false)
	check("no such group", "ann", "none@d.test", false)
	check("foreign", "ann", "all@far.test", false)
	check("no address", "ann", "nonsense", false)

	change := func(f func(*Expander)) {
		t.Helper()
		if _, err := s.ChangeExpander(ctx, at("sales@d.test"), func(x *Expander) error { f(x); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	change(func(x *Expander) { x.Members = ats("cy@d.test") })
	check("changed", "bob", "all@d.test", false)
	check("changed", "cy", "all@d.test", true)
	if _, err := s.ChangeAccount(ctx, ids["cy"], func(a *Account) error { a.Disabled = true; return nil }); err != nil {
		t.Fatal(err)
	}
	check("disabled", "cy", "all@d.test", false)
	if err := s.RemoveExpander(ctx, at("sales@d.test")); err != nil {
		t.Fatal(err)
	}
	check("removed", "cy", "sales@d.test", false)

	if k, err := s.GroupKey(ctx, DefaultOrg, at("ALL@d.test")); k != "all@d.test" || err != nil {
		t.Errorf("key: %q %v", k, err)
	}
	for _, a := range []string{"ann@d.test", "none@d.test", "all@far.test"} {
		if _, err := s.GroupKey(ctx, DefaultOrg, at(a)); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", a, err)
		}
	}
}

func TestSendGrants(t *testing.T) {
	s, ids := office(t)
	ctx := t.Context()
	group := at("all@d.test")
	for _, step := range []struct {
		name  string
		grant SendGrant
		err   error
		want  map[string]SendRight // over ann's addresses
	}{
		{"bob on behalf", SendGrant{Account: ids["bob"], Right: SendOnBehalf}, nil, map[string]SendRight{"bob": SendOnBehalf, "cy": SendNot}},
		{"bob as", SendGrant{Account: ids["bob"], Right: SendAs}, nil, map[string]SendRight{"bob": SendAs}},
		{"a group on behalf", SendGrant{Group: group, Right: SendOnBehalf}, nil, map[string]SendRight{"bob": SendAs}},
		{"bob no more", SendGrant{Account: ids["bob"]}, nil, map[string]SendRight{"bob": SendOnBehalf, "cy": SendNot}},
		{"the group as", SendGrant{Group: group, Right: SendAs}, nil, map[string]SendRight{"bob": SendAs, "cy": SendNot}},
		{"the group no more", SendGrant{Group: group}, nil, map[string]SendRight{"bob": SendNot}},
		{"again no more", SendGrant{Group: group}, nil, map[string]SendRight{"bob": SendNot}},
		{"oneself", SendGrant{Account: ids["ann"], Right: SendAs}, ErrInvalid, nil},
		{"nobody", SendGrant{Right: SendAs}, ErrInvalid, nil},
		{"no such account", SendGrant{Account: 99, Right: SendAs}, ErrNotFound, nil},
		{"no such group", SendGrant{Group: at("none@d.test"), Right: SendAs}, ErrNotFound, nil},
		{"not a group", SendGrant{Group: at("cy@d.test"), Right: SendAs}, ErrNotFound, nil},
		{"no such right", SendGrant{Account: ids["cy"], Right: 9}, ErrInvalid, nil},
	} {
		if err := s.SetSendGrant(ctx, ids["ann"], step.grant); !errors.Is(err, step.err) {
			t.Errorf("%s: %v", step.name, err)
		}
		for who, want := range step.want {
			for _, a := range []string{"ann@d.test", "Ann+x@d.test"} {
				got, err := s.MaySendAs(ctx, Principal{ID: ids[who], Org: DefaultOrg}, at(a))
				if err != nil || got != want {
					t.Errorf("%s: %s as %s: %v %v, want %v", step.name, who, a, got, err, want)
				}
			}
		}
	}
	for r := SendNot; r <= SendAs; r++ {
		if got, err := ParseSendRight(r.String()); got != r || err != nil {
			t.Errorf("%v: %v %v", r, got, err)
		}
	}
	if _, err := ParseSendRight("all"); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
}

// TestPublicAccount: one for an organisation, no postmaster, no log-in.
func TestPublicAccount(t *testing.T) {
	s, ctx := opened(t, newEngine(t)), t.Context()
	if _, err := s.AddDomain(ctx, Domain{Name: "d.test", Org: DefaultOrg, Separator: "+"}); err != nil {
		t.Fatal(err)
	}
	n := NewAccount{Addresses: []address.Address{at("shared@d.test")}, Public: true, Password: "long enough words"}
	a, err := s.AddAccount(ctx, n)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := s.PublicAccount(ctx, DefaultOrg); id != a.ID || err != nil {
		t.Errorf("%v %v", id, err)
	}
	if _, err := s.Authenticate(ctx, Credentials{Login: "shared@d.test", Password: "long enough words"}); !errors.Is(err, ErrCredentials) {
		t.Errorf("log-in: %v", err)
	}
	if target, err := s.Resolve(ctx, at("postmaster@d.test")); err != nil || target.Kind != Unknown {
		t.Errorf("postmaster: %+v %v", target, err)
	}
	n.Addresses = ats("more@d.test")
	if _, err := s.AddAccount(ctx, n); !errors.Is(err, ErrExists) {
		t.Errorf("a second one: %v", err)
	}
	if is, err := s.ChangeAccount(ctx, a.ID, func(a *Account) error { a.Public, a.Name = false, "x"; return nil }); err != nil || !is.Public {
		t.Errorf("changed: %+v %v", is, err)
	}
	err = s.Committer.Commit(ctx, func(ctx context.Context, u *mailflow.Unit) error { return s.PrepareRemoval(ctx, a.ID, u) })
	if id, _ := s.PublicAccount(ctx, DefaultOrg); id != 0 || err != nil {
		t.Errorf("removed: %v %v", id, err)
	}
}
