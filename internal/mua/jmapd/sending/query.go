package sending

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"postroad/internal/mua/jmapd/access"
	"postroad/internal/objects"
	"postroad/internal/outbox"
	"postroad/jmap"
)

// querySubmissions answers EmailSubmission/query (RFC 8621, 7.3).
func (m *Methods) querySubmissions(ctx context.Context, c *jmap.Call, args *jmap.QueryArgs) (*jmap.QueryResult, error) {
	a, err := m.house.OwnAccount(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	ids, state, err := m.matching(ctx, a, args.Filter, args.Sort)
	if err != nil {
		return nil, err
	}
	r := &jmap.QueryResult{QueryState: state.String(), CanCalculateChanges: true, Total: len(ids)}
	if r.Position, err = position(args, ids); err != nil {
		return nil, err
	}
	end := len(ids)
	if args.Limit >= 0 {
		end = min(end, r.Position+args.Limit)
	}
	r.IDs = ids[r.Position:end]
	return r, nil
}

// position is where a window of the results begins (RFC 8620, 5.5).
func position(args *jmap.QueryArgs, ids []jmap.ID) (int, error) {
	at := args.Position
	switch {
	case args.Anchor != "":
		i := slices.Index(ids, args.Anchor)
		if i < 0 {
			return 0, jmap.ErrAnchorNotFound
		}
		at = max(0, i+args.AnchorOffset)
	case at < 0:
		at = max(0, at+len(ids))
	}
	return min(at, len(ids)), nil
}

// submissionQueryChanges answers EmailSubmission/queryChanges (RFC 8621, 7.4). Whatever
// changed is taken out, and what of it matches now is put in where it is now.
func (m *Methods) submissionQueryChanges(ctx context.Context, c *jmap.Call, args *jmap.QueryChangesArgs) (*jmap.QueryChangesResult, error) {
	a, err := m.house.OwnAccount(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	since, err := objects.ParseState(args.SinceQueryState)
	if err != nil || since.Since != nil {
		return nil, jmap.ErrCannotCalculateChanges
	}
	ids, state, err := m.matching(ctx, a, args.Filter, args.Sort)
	if err != nil {
		return nil, err
	}
	changed, err := m.house.Objects.Changes(ctx, a.ID(), objects.Submission, since, 0)
	switch {
	case errors.Is(err, objects.ErrNoChanges):
		return nil, jmap.ErrCannotCalculateChanges
	case err != nil:
		return nil, err
	case changed.State.String() != state.String():
		return nil, jmap.ErrCannotCalculateChanges.With("the submissions change just now: ask again")
	}
	r := &jmap.QueryChangesResult{NewQueryState: state.String(), Total: len(ids), Removed: []jmap.ID{}}
	in := map[jmap.ID]bool{}
	for _, id := range slices.Concat(changed.Updated, changed.Destroyed) {
		r.Removed = append(r.Removed, access.FormatID(letterSubmission, id))
	}
	for _, id := range slices.Concat(changed.Created, changed.Updated) {
		in[access.FormatID(letterSubmission, id)] = true
	}
	for i, id := range ids {
		if in[id] {
			r.Added = append(r.Added, jmap.AddedItem{ID: id, Index: i})
		}
	}
	if args.MaxChanges > 0 && len(r.Removed)+len(r.Added) > args.MaxChanges {
		return nil, jmap.ErrTooManyChanges
	}
	return r, nil
}

// matching returns the ids of what a filter lets through, in order.
func (m *Methods) matching(ctx context.Context, a *access.Account, f *jmap.Filter, by []jmap.Comparator) ([]jmap.ID, objects.State, error) {
	match, err := compile(f)
	if err != nil {
		return nil, objects.State{}, err
	}
	order, err := ordering(by)
	if err != nil {
		return nil, objects.State{}, err
	}
	list, state, err := m.house.Objects.All(ctx, a.ID(), objects.Submission, 0, 0)
	if err != nil {
		return nil, state, err
	}
	all, err := outbox.Decode(list)
	if err != nil {
		return nil, state, err
	}
	all = slices.DeleteFunc(all, func(s *outbox.Submission) bool { return !match(s) })
	slices.SortStableFunc(all, order)
	ids := []jmap.ID{}
	for _, s := range all {
		ids = append(ids, access.FormatID(letterSubmission, s.ID))
	}
	return ids, state, nil
}

// predicate tells whether a submission matches.
type predicate func(s *outbox.Submission) bool

// compile makes a filter a predicate. The protocol has bounded its depth and size.
func compile(f *jmap.Filter) (predicate, error) {
	if f == nil {
		return func(*outbox.Submission) bool { return true }, nil
	}
	if f.Operator == "" {
		return condition(f.Condition)
	}
	var parts []predicate
	for _, c := range f.Conditions {
		p, err := compile(c)
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	return func(s *outbox.Submission) bool {
		for _, p := range parts {
			if p(s) == (f.Operator != "AND") {
				return f.Operator == "OR" // the first that decides
			}
		}
		return f.Operator != "OR"
	}, nil
}

// condition makes a FilterCondition a predicate (RFC 8621, 7.3).
func condition(p jmap.Properties) (predicate, error) {
	var all []predicate
	for name, v := range p {
		one, err := test(name, v)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return func(s *outbox.Submission) bool {
		for _, p := range all {
			if !p(s) {
				return false
			}
		}
		return true
	}, nil
}

// test makes one property of a FilterCondition a predicate.
func test(name string, v json.RawMessage) (predicate, error) {
	bad := jmap.InvalidArguments("filter: %s: of the wrong type", name)
	property := map[string]func(*outbox.Submission) string{
		"identityIds": func(s *outbox.Submission) string { return string(access.FormatID(letterIdentity, s.Identity)) },
		"emailIds":    func(s *outbox.Submission) string { return s.Email },
		"threadIds":   func(s *outbox.Submission) string { return s.Thread },
		"undoStatus":  func(s *outbox.Submission) string { return string(s.Undo) },
	}
	switch name {
	case "identityIds", "emailIds", "threadIds":
		var ids []string
		if isNull(v) || json.Unmarshal(v, &ids) != nil {
			return nil, bad
		}
		set := map[string]bool{}
		for _, id := range ids {
			set[id] = true
		}
		return func(s *outbox.Submission) bool { return set[property[name](s)] }, nil
	case "undoStatus":
		var is string
		if isNull(v) || json.Unmarshal(v, &is) != nil {
			return nil, bad
		}
		return func(s *outbox.Submission) bool { return string(s.Undo) == is }, nil
	case "before", "after":
		var at string
		if json.Unmarshal(v, &at) != nil {
			return nil, bad
		}
		t, ok := jmap.ParseUTCDate(at)
		if !ok {
			return nil, bad
		}
		before := name == "before"
		return func(s *outbox.Submission) bool { return s.SendAt.Before(t) == before }, nil
	}
	return nil, jmap.ErrUnsupportedFilter.With("%s is no filter of submissions", name)
}

// ordering makes the comparators a comparison. RFC 8621, 7.3, says sentAt and means the
// property sendAt; both names do.
func ordering(by []jmap.Comparator) (func(a, b *outbox.Submission) int, error) {
	var all []func(a, b *outbox.Submission) int
	for _, c := range by {
		var one func(a, b *outbox.Submission) int
		switch c.Property {
		case "emailId":
			one = func(a, b *outbox.Submission) int { return cmp.Compare(a.Email, b.Email) }
		case "threadId":
			one = func(a, b *outbox.Submission) int { return cmp.Compare(a.Thread, b.Thread) }
		case "sentAt", "sendAt":
			one = func(a, b *outbox.Submission) int { return time.Time.Compare(a.SendAt, b.SendAt) }
		default:
			return nil, jmap.ErrUnsupportedSort.With("submissions are not sorted by %q", c.Property)
		}
		if c.Descending {
			up := one
			one = func(a, b *outbox.Submission) int { return up(b, a) }
		}
		all = append(all, one)
	}
	return func(a, b *outbox.Submission) int {
		for _, one := range all {
			if n := one(a, b); n != 0 {
				return n
			}
		}
		return cmp.Compare(a.ID, b.ID)
	}, nil
}
