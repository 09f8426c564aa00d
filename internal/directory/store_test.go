package directory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"postroad/address"
	"postroad/internal/blob"
	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
	"postroad/internal/kv/memkv"
	"postroad/internal/mailflow"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// opened returns a directory on an engine; both end with the test.
func opened(t *testing.T, engine kv.Engine, change ...func(*Options)) *Store {
	t.Helper()
	clock := hlc.NewClock(1)
	t.Cleanup(func() { clock.Close() })
	o := Options{Engine: engine, Clock: clock,
		Committer: &mailflow.Committer{Engine: engine, Bodies: blob.NewBodies(engine, nil, clock)}}
	for _, f := range change {
		f(&o)
	}
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func newEngine(t *testing.T) kv.Engine {
	e := memkv.New()
	t.Cleanup(func() { e.Close() })
	return e
}

func at(s string) address.Address {
	a, err := address.Parse(s)
	if err != nil {
		panic(err)
	}
	return a
}

func ats(list ...string) []address.Address {
	var out []address.Address
	for _, s := range list {
		out = append(out, at(s))
	}
	return out
}

// must ends the test at an error.
func must[T any](t *testing.T, f func() (T, error)) T {
	t.Helper()
	v, err := f()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func addDomain(t *testing.T, s *Store, d Domain) {
	t.Helper()
	if _, err := s.AddDomain(t.Context(), d); err != nil {
		t.Fatal(err)
	}
}

func addAccount(t *testing.T, s *Store, password string, addresses ...string) Account {
	t.Helper()
	a, err := s.AddAccount(t.Context(), NewAccount{Addresses: ats(addresses...), Password: password})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func addExpander(t *testing.T, s *Store, kind Kind, a string, members ...string) {
	t.Helper()
	if _, err := s.AddExpander(t.Context(), Expander{Kind: kind, Address: at(a), Members: ats(members...)}); err != nil {
		t.Fatal(err)
	}
}

func TestDomains(t *testing.T) {
	s, ctx := opened(t, newEngine(t)), t.Context()
	addDomain(t, s, Domain{Name: "Example.TEST", Separator: "+"})
	addDomain(t, s, Domain{Name: "alias.test", AliasOf: "example.test"})
	addDomain(t, s, Domain{Name: "xn--bcher-kva.test"})
	if _, err := s.AddOrganisation(ctx, "other"); err != nil {
		t.Fatal(err)
	}
	addDomain(t, s, Domain{Name: "other.test", Org: "other"})
	var names []string
	for _, d := range must(t, func() ([]Domain, error) { return s.Domains(ctx, "") }) {
		names = append(names, d.Org+"/"+d.Name)
	}
	if d := cmp.Diff([]string{"default/alias.test", "default/bücher.test", "default/example.test", "other/other.test"}, names); d != "" {
		t.Error(d)
	}
	for _, test := range []struct {
		name string
		d    Domain
		want error
	}{
		{"twice", Domain{Name: "example.test"}, ErrExists},
		{"of somebody else", Domain{Name: "example.test", Org: "other"}, ErrExists},
		{"no organisation", Domain{Name: "x.test", Org: "none"}, ErrNotFound},
		{"alias of an alias", Domain{Name: "x.test", AliasOf: "alias.test"}, ErrInvalid},
		{"alias of nothing", Domain{Name: "x.test", AliasOf: "y.test"}, ErrNotFound},
		{"alias of another's", Domain{Name: "x.test", AliasOf: "other.test"}, ErrNotFound},
		{"alias of itself", Domain{Name: "x.test", AliasOf: "x.test"}, ErrInvalid},
		{"bad name", Domain{Name: "a b"}, ErrInvalid},
		{"bad separator", Domain{Name: "x.test", Separator: "@"}, ErrInvalid},
	} {
		if _, err := s.AddDomain(ctx, test.d); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	if err := s.RemoveDomain(ctx, "example.test"); !errors.Is(err, ErrInUse) {
		t.Errorf("a domain with an alias: %v", err)
	}
	addAccount(t, s, "", "a@bücher.test")
	if err := s.RemoveDomain(ctx, "bücher.test"); !errors.Is(err, ErrInUse) {
		t.Errorf("a domain with an account: %v", err)
	}
	for _, name := range []string{"alias.test", "example.test"} {
		if err := s.RemoveDomain(ctx, name); err != nil {
			t.Error(err)
		}
		if tg, err := s.Resolve(ctx, at("a@"+name)); err != nil || tg.Kind != NotLocal {
			t.Errorf("%s after its removal: %v %v", name, tg.Kind, err)
		}
	}
	if err := s.RemoveDomain(ctx, "example.test"); !errors.Is(err, ErrNotFound) {
		t.Errorf("twice: %v", err)
	}
}

func TestAccounts(t *testing.T) {
	engine := newEngine(t)
	s, ctx := opened(t, engine), t.Context()
	addDomain(t, s, Domain{Name: "example.test", Separator: "+"})
	alice := addAccount(t, s, "", "alice@example.test", "a.lice@example.test")
	for _, test := range []struct {
		name string
		list []string
		want error
	}{
		{"taken", []string{"ALICE@example.test"}, ErrExists},
		{"second one taken", []string{"x@example.test", "A.lice@example.test"}, ErrExists},
		{"twice in one", []string{"x@example.test", "X@example.test"}, ErrInvalid},
		{"foreign", []string{"x@example.org"}, ErrNotFound},
		{"second one foreign", []string{"x@example.test", "x@example.org"}, ErrNotFound},
		{"none", nil, ErrInvalid},
	} {
		if _, err := s.AddAccount(ctx, NewAccount{Addresses: ats(test.list...)}); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	got, err := s.ChangeAccount(ctx, alice.ID, func(a *Account) error {
		a.Name, a.Limits.QuotaBytes = "Alice", 1<<30
		a.Addresses = ats("alice@example.test", "wonder@example.test")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	// Another process on the same engine sees the same, without a restart.
	other := opened(t, engine)
	for _, s := range []*Store{s, other} {
		back, err := s.AccountByAddress(ctx, at("Wonder@example.test"))
		if d := cmp.Diff(got, back); d != "" || err != nil {
			t.Error(d, err)
		}
		if _, err := s.AccountByAddress(ctx, at("a.lice@example.test")); !errors.Is(err, ErrNotFound) {
			t.Errorf("an address that was given up: %v", err)
		}
	}
	if _, err := s.ChangeAccount(ctx, alice.ID, func(a *Account) error { a.Addresses = nil; return nil }); !errors.Is(err, ErrInvalid) {
		t.Errorf("no address left: %v", err)
	}
	bob := addAccount(t, s, "", "bob@example.test")
	list := must(t, func() ([]Account, error) { return s.Accounts(ctx, "", 0, 1) })
	list = append(list, must(t, func() ([]Account, error) { return s.Accounts(ctx, "", list[0].ID, 0) })...)
	if d := cmp.Diff([]Account{got, bob}, list); d != "" {
		t.Error(d)
	}
	if err := s.RemoveAccount(ctx, alice.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Principal(ctx, alice.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("after the removal: %v", err)
	}
	if err := s.RemoveAccount(ctx, alice.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("removed twice: %v", err)
	}
	again := addAccount(t, s, "", "alice@example.test")
	if again.ID == alice.ID {
		t.Error("an id was used again")
	}
}

// TestTwoWriters lets many take one address: one gets it.
func TestTwoWriters(t *testing.T) {
	engine := newEngine(t)
	a, b := opened(t, engine), opened(t, engine)
	addDomain(t, a, Domain{Name: "example.test"})
	results := make(chan error)
	for i := range 20 {
		s := []*Store{a, b}[i%2]
		go func() {
			_, err := s.AddAccount(context.Background(), NewAccount{Addresses: ats(fmt.Sprintf("own%d@example.test", i), "same@example.test")})
			results <- err
		}()
	}
	good := 0
	for range 20 {
		if err := <-results; err == nil {
			good++
		} else if !errors.Is(err, ErrExists) {
			t.Error(err)
		}
	}
	if list := must(t, func() ([]Account, error) { return b.Accounts(t.Context(), "", 0, 0) }); good != 1 || len(list) != 1 {
		t.Errorf("%d got it, %d accounts", good, len(list))
	}
}

func TestExpanders(t *testing.T) {
	s, ctx := opened(t, newEngine(t)), t.Context()
	addDomain(t, s, Domain{Name: "example.test"})
	addAccount(t, s, "", "alice@example.test")
	addExpander(t, s, Alias, "info@example.test", "alice@example.test")
	addExpander(t, s, Group, "team@example.test")
	for _, test := range []struct {
		name string
		x    Expander
		want error
	}{
		{"an account's address", Expander{Kind: Alias, Address: at("alice@example.test"), Members: ats("x@y.test")}, ErrExists},
		{"alias to nowhere", Expander{Kind: Alias, Address: at("x@example.test")}, ErrInvalid},
		{"member twice", Expander{Kind: Group, Address: at("x@example.test"), Members: ats("x@y.test", "X@y.test")}, ErrInvalid},
		{"foreign", Expander{Kind: Group, Address: at("x@y.test")}, ErrNotFound},
		{"no kind", Expander{Address: at("x@example.test")}, ErrInvalid},
	} {
		if _, err := s.AddExpander(ctx, test.x); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	x, err := s.ChangeExpander(ctx, at("team@example.test"), func(x *Expander) error {
		x.Members, x.Owner, x.Name = ats("bob@far.test"), at("alice@example.test"), "The team"
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	back := must(t, func() ([]Expander, error) { return s.Expanders(ctx, "", Group) })
	if d := cmp.Diff([]Expander{x}, back); d != "" {
		t.Error(d)
	}
	if _, err := s.ChangeExpander(ctx, at("alice@example.test"), func(*Expander) error { return nil }); !errors.Is(err, ErrNotFound) {
		t.Errorf("an account changed as alias: %v", err)
	}
	if err := s.RemoveExpander(ctx, at("info@example.test")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Expander(ctx, at("info@example.test")); !errors.Is(err, ErrNotFound) {
		t.Errorf("after the removal: %v", err)
	}
}

// town is the directory of the tests of Resolve.
func town(t *testing.T) (*Store, map[string]AccountID) {
	s, ctx := opened(t, newEngine(t)), t.Context()
	addDomain(t, s, Domain{Name: "example.test", Separator: "+"})
	addDomain(t, s, Domain{Name: "alias.test", AliasOf: "example.test"})
	addDomain(t, s, Domain{Name: "all.test", Separator: "-"})
	ids := map[string]AccountID{}
	for _, a := range []string{"alice@example.test", "bob@example.test", "off@example.test", "carol@all.test"} {
		ids[a] = addAccount(t, s, "", a).ID
	}
	if _, err := s.ChangeDomain(ctx, "all.test", func(d *Domain) error { d.CatchAll = at("carol@all.test"); return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ChangeAccount(ctx, ids["off@example.test"], func(a *Account) error { a.Disabled = true; return nil }); err != nil {
		t.Fatal(err)
	}
	addExpander(t, s, Alias, "info@example.test", "alice@example.test", "bob+info@example.test", "far@away.test")
	addExpander(t, s, Alias, "loop1@example.test", "loop2@example.test")
	addExpander(t, s, Alias, "loop2@example.test", "loop1@alias.test", "LOOP2@example.test")
	addExpander(t, s, Alias, "half@example.test", "half@example.test", "bob@example.test")
	addExpander(t, s, Group, "team@example.test", "info@example.test", "bob@example.test", "gone@example.test", "off@example.test", "any@all.test", "far@away.test")
	if _, err := s.ChangeExpander(ctx, at("team@example.test"), func(x *Expander) error { x.Owner = at("bob@example.test"); return nil }); err != nil {
		t.Fatal(err)
	}
	last := "alice@example.test"
	for i := range DepthMax + 5 {
		a := fmt.Sprintf("deep%d@example.test", i)
		addExpander(t, s, Alias, a, last)
		last = a
	}
	return s, ids
}

func TestResolve(t *testing.T) {
	s, ids := town(t)
	to := func(a, detail string) Destination {
		return Destination{Account: ids[a], Address: at(a), Detail: detail}
	}
	alice, bob, carol := "alice@example.test", "bob@example.test", "carol@all.test"
	tests := []struct {
		address string
		want    Target
	}{
		{"far@away.test", Target{Kind: NotLocal}},
		{"nobody@example.test", Target{Kind: Unknown}},
		{"off@example.test", Target{Kind: Disabled}},
		{"ALICE@example.test", Target{Kind: Mailbox, Accounts: []Destination{to(alice, "")}}},
		{"alice@alias.test", Target{Kind: Mailbox, Accounts: []Destination{to(alice, "")}}},
		{"Alice+Lists+x@alias.test", Target{Kind: Mailbox, Accounts: []Destination{to(alice, "Lists+x")}}},
		{"alice-x@example.test", Target{Kind: Unknown}},
		{"+alice@example.test", Target{Kind: Unknown}},
		{"carol-x@all.test", Target{Kind: Mailbox, Accounts: []Destination{to(carol, "x")}}},
		{"whoever@all.test", Target{Kind: Mailbox, CatchAll: true, Accounts: []Destination{to(carol, "")}}},
		{"Postmaster@example.test", Target{Kind: Mailbox, Accounts: []Destination{to(alice, "")}}},
		{"info@example.test", Target{Kind: Alias, Accounts: []Destination{to(alice, ""), to(bob, "info")}, Outside: ats("far@away.test")}},
		{"loop1@example.test", Target{Kind: Loop}},
		{"half@example.test", Target{Kind: Alias, Accounts: []Destination{to(bob, "")}}},
		{"team@alias.test", Target{Kind: Group, Owner: at(bob), Missing: ats("gone@example.test", "off@example.test"), Outside: ats("far@away.test"),
			Accounts: []Destination{to(alice, ""), to(bob, "info"), to(bob, ""), to(carol, "")}}},
		{"deep10@example.test", Target{Kind: Alias, Accounts: []Destination{to(alice, "")}}},
		{fmt.Sprintf("deep%d@example.test", DepthMax+4), Target{Kind: Loop}},
	}
	for _, test := range tests {
		got, err := s.Resolve(t.Context(), at(test.address))
		if err != nil {
			t.Errorf("%s: %v", test.address, err)
		}
		if test.want.Kind != NotLocal {
			test.want.Org = DefaultOrg
		}
		if d := cmp.Diff(test.want, got, cmpopts.EquateEmpty()); d != "" {
			t.Errorf("%s: %s", test.address, d)
		}
	}
	if got, err := s.Resolve(t.Context(), address.Address{}); err != nil || got.Kind != Null {
		t.Errorf("null path: %v %v", got, err)
	}
	if got, err := s.Resolve(t.Context(), address.Address{Local: "POSTMASTER"}); err != nil || len(got.Accounts) != 1 {
		t.Errorf("postmaster without domain: %v %v", got, err)
	}
}

// TestResolveIsBounded makes a tree of groups that would expand without end.
func TestResolveIsBounded(t *testing.T) {
	s := opened(t, newEngine(t))
	addDomain(t, s, Domain{Name: "d.test"})
	const wide = 101
	var top []string
	for i := range wide {
		var members []string
		for j := range wide {
			members = append(members, fmt.Sprintf("m%d.%d@far.test", i, j))
		}
		top = append(top, fmt.Sprintf("g%d@d.test", i))
		addExpander(t, s, Group, top[i], members...)
	}
	addExpander(t, s, Group, "all@d.test", top...)
	if got, err := s.Resolve(t.Context(), at("all@d.test")); err != nil || got.Kind != Loop {
		t.Errorf("%d outside: %v %v", len(got.Outside), got.Kind, err)
	}
	if got, err := s.Resolve(t.Context(), at("g1@d.test")); err != nil || len(got.Outside) != wide {
		t.Errorf("%d outside: %v %v", len(got.Outside), got.Kind, err)
	}
}

func TestMaySendAs(t *testing.T) {
	s, ids := town(t)
	for _, test := range []struct {
		who, as string
		may     bool
	}{
		{"alice@example.test", "Alice@example.test", true},
		{"alice@example.test", "alice+x@alias.test", true},
		{"alice@example.test", "bob@example.test", false},
		{"alice@example.test", "info@example.test", true},
		{"alice@example.test", "team@example.test", false},
		{"bob@example.test", "team@example.test", true},
		{"bob@example.test", "team@alias.test", true},
		{"alice@example.test", "alice@away.test", false},
		{"alice@example.test", "nobody@example.test", false},
		{"carol@all.test", "whoever@all.test", true},
		{"alice@example.test", "whoever@all.test", false},
	} {
		right, err := s.MaySendAs(t.Context(), Principal{ID: ids[test.who], Org: DefaultOrg}, at(test.as))
		may := right == SendAs
		if err != nil || may != test.may {
			t.Errorf("%s as %s: %v %v", test.who, test.as, may, err)
		}
	}
	if may, err := s.MaySendAs(t.Context(), Principal{ID: ids["alice@example.test"]}, address.Address{}); may != SendNot || err != nil {
		t.Errorf("the null path: %v %v", may, err)
	}
}

func TestOrganisations(t *testing.T) {
	s, ctx := opened(t, newEngine(t)), t.Context()
	if _, err := s.AddOrganisation(ctx, "acme"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]error{"acme": ErrExists, "": ErrInvalid, "Acme": ErrInvalid, "a/b": ErrInvalid, "default": ErrExists} {
		if _, err := s.AddOrganisation(ctx, name); !errors.Is(err, want) {
			t.Errorf("%q: %v", name, err)
		}
	}
	var names []string
	for _, o := range must(t, func() ([]Organisation, error) { return s.Organisations(ctx) }) {
		names = append(names, o.Name)
	}
	if !slices.Equal(names, []string{"acme", "default"}) {
		t.Error(names)
	}
}

// TestSecretStays: salts of unknown users are the same after a restart.
func TestSecretStays(t *testing.T) {
	engine := newEngine(t)
	a, b := opened(t, engine), opened(t, engine)
	if len(a.Secret()) != 32 || !slices.Equal(a.Secret(), b.Secret()) {
		t.Errorf("%x %x", a.Secret(), b.Secret())
	}
}

func TestForeignFormat(t *testing.T) {
	engine := newEngine(t)
	s := opened(t, engine)
	_, err := engine.Commit(t.Context(), kv.Batch{Space: rootSpace, Puts: []kv.Put{{Key: []byte(domainKey("new.test")), Value: []byte{200}}}})
	if err != nil {
		t.Fatal(err)
	}
	if tg, err := s.Resolve(t.Context(), at("a@new.test")); err == nil {
		t.Errorf("a record of a later version was read: %v", tg)
	}
}

func BenchmarkResolve(b *testing.B) {
	engine := memkv.New()
	defer engine.Close()
	clock := hlc.NewClock(1)
	defer clock.Close()
	s, err := Open(b.Context(), Options{Engine: engine, Clock: clock,
		Committer: &mailflow.Committer{Engine: engine, Bodies: blob.NewBodies(engine, nil, clock)}})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	s.AddDomain(b.Context(), Domain{Name: "example.test", Separator: "+"})
	s.AddAccount(b.Context(), NewAccount{Addresses: ats("alice@example.test")})
	a := at("alice+x@example.test")
	b.ReportAllocs()
	for b.Loop() {
		if tg, err := s.Resolve(b.Context(), a); err != nil || tg.Kind != Mailbox {
			b.Fatal(tg, err)
		}
	}
}
