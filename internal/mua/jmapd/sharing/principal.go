package sharing

import (
	"context"
	"encoding/json"
	"errors"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"

	"postroad/address"
	"postroad/internal/directory"
	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/jmap"
)

var principalProperties = []string{"id", "type", "name", "description", "email", "timeZone", "capabilities", "accounts"}

// principalOf is the id of the principal that an account belongs to.
func principalOf(id directory.AccountID) jmap.ID {
	p, _ := access.PrincipalID(mailstore.Subject{Kind: mailstore.SubjectAccount, Account: id})
	return p
}

// principal is one as a user sees it.
type principal struct {
	id          jmap.ID
	kind        string // "individual" or "group"
	name, email string
	account     *access.Account // of an individual who shares something with the user, or the user
}

// object is the principal for clients.
func (p *principal) object() jmap.Object {
	o := jmap.Object{"id": p.id, "type": p.kind, "name": p.name, "description": nil, "email": p.email,
		"timeZone": nil, "capabilities": map[string]any{}, "accounts": nil}
	if p.email == "" {
		o["email"] = nil
	}
	if p.account != nil {
		o["accounts"] = map[jmap.ID]any{p.account.JMAP(): map[string]any{
			"name": p.email, "isPersonal": p.account.Own, "isReadOnly": false, "accountCapabilities": map[string]any{}}}
	}
	return o
}

// acquaintances are the principals that a user sees without asking for them by address:
// everybody, himself, who shares something with him, and the groups that he is in, by id.
func (m *Methods) acquaintances(ctx context.Context, u *access.User) ([]*principal, error) {
	accounts, err := m.house.Accounts(ctx, u)
	if err != nil {
		return nil, err
	}
	list := []*principal{{id: access.PrincipalAnyone, kind: "group", name: "Everybody"}}
	for _, a := range accounts {
		list = append(list, individual(&a.Owner, a))
	}
	groups, err := m.house.Directory.Expanders(ctx, u.Org, directory.Group)
	if err != nil {
		return nil, err
	}
	for i := range groups {
		p, err := m.group(ctx, u, &groups[i])
		if err != nil {
			return nil, err
		}
		if p != nil {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b *principal) int { return strings.Compare(string(a.id), string(b.id)) })
	return list, nil
}

// individual is the principal of an account; a is nil unless the user may use it.
func individual(of *directory.Account, a *access.Account) *principal {
	p := &principal{id: principalOf(of.ID), kind: "individual", name: of.Name, email: of.Login.String(), account: a}
	if p.name == "" {
		p.name = p.email
	}
	return p
}

// group is a group that the user is in; nil where he is not.
func (m *Methods) group(ctx context.Context, u *access.User, g *directory.Expander) (*principal, error) {
	key, err := m.house.Directory.GroupKey(ctx, u.Org, g.Address)
	if err == nil {
		var in bool
		if in, err = m.house.Directory.Member(ctx, key, u.ID); err == nil && !in {
			return nil, nil
		}
	}
	if err != nil {
		return nil, err
	}
	id, ok := access.PrincipalID(mailstore.Subject{Kind: mailstore.SubjectGroup, Group: key})
	if !ok {
		return nil, nil
	}
	p := &principal{id: id, kind: "group", name: g.Name, email: g.Address.String()}
	if p.name == "" {
		p.name = p.email
	}
	return p, nil
}

// byAddress finds somebody of the user's organisation by the whole address; nil where there
// is nobody.
func (m *Methods) byAddress(ctx context.Context, u *access.User, text string) (*principal, error) {
	a, err := address.Parse(text)
	if err != nil {
		return nil, nil
	}
	of, err := m.house.Directory.AccountByAddress(ctx, a)
	if errors.Is(err, directory.ErrNotFound) || err == nil && (of.Org != u.Org || of.Disabled || of.Public) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return individual(&of, nil), nil
}

// find returns a principal by id: an acquaintance, or any account of the organisation, whose
// id the user has from a query or from what is shared; nil where there is none.
func (m *Methods) find(ctx context.Context, u *access.User, known []*principal, id jmap.ID) (*principal, error) {
	for _, p := range known {
		if p.id == id {
			return p, nil
		}
	}
	s, ok := access.ParsePrincipal(id)
	if !ok || s.Kind != mailstore.SubjectAccount {
		return nil, nil
	}
	of, err := m.house.Directory.Account(ctx, s.Account)
	if errors.Is(err, directory.ErrNotFound) || err == nil && (of.Org != u.Org || of.Disabled) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return individual(&of, nil), nil
}

// principals are what the methods begin with; the account must be the user's own.
func (m *Methods) principals(ctx context.Context, c *jmap.Call, account jmap.ID) (*access.User, []*principal, string, error) {
	if _, err := m.house.OwnAccount(ctx, c, account); err != nil {
		return nil, nil, "", err
	}
	u := access.Of(c)
	list, err := m.acquaintances(ctx, u)
	if err != nil {
		return nil, nil, "", err
	}
	text, err := json.Marshal(objectsOf(list))
	if err != nil {
		return nil, nil, "", err
	}
	h := fnv.New64a()
	h.Write(text)
	return u, list, strconv.FormatUint(h.Sum64(), 36), nil
}

func objectsOf(list []*principal) []jmap.Object {
	out := make([]jmap.Object, len(list))
	for i, p := range list {
		out[i] = p.object()
	}
	return out
}

// principalGet answers Principal/get.
func (m *Methods) principalGet(ctx context.Context, c *jmap.Call, args *jmap.GetArgs) (*jmap.GetResult, error) {
	u, list, state, err := m.principals(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	r := &jmap.GetResult{State: state}
	if args.IDs == nil {
		for _, o := range objectsOf(list) {
			r.List = append(r.List, pick(o, args))
		}
		return r, nil
	}
	for _, id := range args.IDs {
		p, err := m.find(ctx, u, list, id)
		if err != nil {
			return nil, err
		}
		if p == nil {
			r.NotFound = append(r.NotFound, id)
		} else {
			r.List = append(r.List, pick(p.object(), args))
		}
	}
	return r, nil
}

// principalChanges answers Principal/changes: no log is kept of the directory, so it can
// only tell that nothing has changed.
func (m *Methods) principalChanges(ctx context.Context, c *jmap.Call, args *jmap.ChangesArgs) (*jmap.ChangesResult, error) {
	_, _, state, err := m.principals(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	if args.SinceState != state {
		return nil, jmap.ErrCannotCalculateChanges
	}
	return &jmap.ChangesResult{NewState: state}, nil
}

// principalSet answers Principal/set: principals are the administrator's (RFC 9670, 2.3).
func (m *Methods) principalSet(ctx context.Context, c *jmap.Call, args *jmap.SetArgs) (*jmap.SetResult, error) {
	_, _, state, err := m.principals(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	if args.IfInState != nil && *args.IfInState != state {
		return nil, jmap.ErrStateMismatch
	}
	r := &jmap.SetResult{OldState: state, NewState: state}
	refuse(args, r, "principals are changed by the administrator")
	for _, id := range args.Destroy {
		r.NotDestroy(id, jmap.NewSetError(jmap.SetForbidden, "principals are changed by the administrator"))
	}
	return r, nil
}

// refuse refuses what is to be created or updated.
func refuse(args *jmap.SetArgs, r *jmap.SetResult, why string) {
	for _, creation := range args.Create {
		r.NotCreate(creation.ID, jmap.NewSetError(jmap.SetForbidden, "%s", why))
	}
	for _, update := range args.Update {
		r.NotUpdate(update.ID, jmap.NewSetError(jmap.SetForbidden, "%s", why))
	}
}

// principalQuery answers Principal/query. A filter for a whole address finds anybody of the
// organisation; any other only looks among the user's acquaintances.
func (m *Methods) principalQuery(ctx context.Context, c *jmap.Call, args *jmap.QueryArgs) (*jmap.QueryResult, error) {
	u, list, state, err := m.principals(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	all, err := m.queryPrincipals(ctx, u, list, args.Filter, args.Sort)
	if err != nil {
		return nil, err
	}
	r, err := args.Window(all, state, 0)
	if r != nil {
		r.CanCalculateChanges = false
	}
	return r, err
}

func (m *Methods) queryPrincipals(ctx context.Context, u *access.User, list []*principal, f *jmap.Filter, by []jmap.Comparator) ([]jmap.ID, error) {
	for _, one := range by {
		if one.Property != "name" && one.Property != "email" {
			return nil, jmap.ErrUnsupportedSort.With("%s: no property to sort principals by", one.Property)
		}
	}
	if f != nil && f.Operator == "" {
		for _, name := range []string{"email", "text"} {
			var s string
			if json.Unmarshal(f.Condition[name], &s) != nil {
				continue
			}
			p, err := m.byAddress(ctx, u, s)
			if err != nil {
				return nil, err
			}
			if p != nil && !slices.ContainsFunc(list, func(q *principal) bool { return q.id == p.id }) {
				list = append(slices.Clone(list), p)
			}
		}
	}
	var found []*principal
	for _, p := range list {
		is, err := f.Meets(p.meets)
		if err != nil {
			return nil, err
		}
		if is {
			found = append(found, p)
		}
	}
	sortPrincipals(found, by)
	ids := make([]jmap.ID, len(found))
	for i, p := range found {
		ids[i] = p.id
	}
	return ids, nil
}

// sortPrincipals sorts by name or email.
func sortPrincipals(list []*principal, by []jmap.Comparator) {
	slices.SortStableFunc(list, func(a, b *principal) int {
		for _, one := range by {
			x, y := a.name, b.name
			if one.Property == "email" {
				x, y = a.email, b.email
			}
			d := strings.Compare(strings.ToLower(x), strings.ToLower(y))
			if one.Descending {
				d = -d
			}
			if d != 0 {
				return d
			}
		}
		return 0
	})
}

// meets tells whether the principal meets a condition (RFC 9670, 2.4.1).
func (p *principal) meets(f jmap.Properties) (bool, error) {
	lists := map[string][]string{"accountIds": nil}
	wants, err := conditions(f, lists, "email", "name", "text", "type", "timeZone")
	if err != nil {
		return false, err
	}
	contains := func(where, what string) bool {
		return strings.Contains(strings.ToLower(where), strings.ToLower(what))
	}
	for name, want := range wants {
		var is bool
		switch name {
		case "email":
			is = contains(p.email, want)
		case "name":
			is = contains(p.name, want)
		case "text":
			is = contains(p.email, want) || contains(p.name, want)
		case "type":
			is = p.kind == want
		}
		if !is { // the time zone is known of nobody
			return false, nil
		}
	}
	if ids := lists["accountIds"]; ids != nil {
		return p.account != nil && slices.Contains(ids, string(p.account.JMAP())), nil
	}
	return true, nil
}

// principalQueryChanges answers Principal/queryChanges: see principalChanges.
func (m *Methods) principalQueryChanges(ctx context.Context, c *jmap.Call, args *jmap.QueryChangesArgs) (*jmap.QueryChangesResult, error) {
	u, list, state, err := m.principals(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	if args.SinceQueryState != state {
		return nil, jmap.ErrCannotCalculateChanges
	}
	now, err := m.queryPrincipals(ctx, u, list, args.Filter, args.Sort)
	return &jmap.QueryChangesResult{NewQueryState: state, Total: len(now)}, err
}
