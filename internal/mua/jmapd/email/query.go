package email

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/jmap"
)

// queryMax is how many ids one Email/query returns at most.
const queryMax = 100_000

// queryMethods are Email/changes (RFC 8621, 4.3), Email/query and Email/queryChanges (4.4,
// 4.5), and SearchSnippet/get (5).
func (m *Methods) queryMethods() []jmap.Method {
	t := &jmap.DataType{Name: "Email", Capability: CapabilityMail}
	return []jmap.Method{
		t.Changes(nil, m.emailChanges),
		t.Query([]string{"collapseThreads"}, m.emailQuery),
		t.QueryChanges([]string{"collapseThreads"}, m.emailQueryChanges),
		{Name: "SearchSnippet/get", Capability: CapabilityMail, Do: m.snippetGet},
	}
}

// emailQuery is what decides on the result of an Email/query.
type emailQuery struct {
	filter   *emailFilter
	sort     *emailSort
	collapse bool
	key      string // the same for equal queries
}

// parseEmailQuery reads the arguments that Email/query and Email/queryChanges share.
func parseEmailQuery(filter *jmap.Filter, sort []jmap.Comparator, extra jmap.Properties) (*emailQuery, error) {
	q := &emailQuery{}
	var err error
	if q.filter, err = parseEmailFilter(filter); err != nil {
		return nil, err
	}
	if q.sort, err = parseEmailSort(sort); err != nil {
		return nil, err
	}
	if q.collapse, err = flag(extra, "collapseThreads"); err != nil {
		return nil, err
	}
	key, err := json.Marshal([]any{filter, sort, q.collapse})
	q.key = string(key)
	return q, err
}

// flag reads a further argument that is true or false, or null, which is false.
func flag(extra jmap.Properties, name string) (bool, error) {
	var v *bool
	if raw := extra[name]; len(raw) > 0 {
		if err := json.Unmarshal(raw, &v); err != nil {
			return false, jmap.InvalidArguments("%s: of the wrong type", name)
		}
	}
	return v != nil && *v, nil
}

// threads tells that more of a thread than one message decides on the result.
func (q *emailQuery) threads() bool { return q.collapse || q.filter.uses.threads || q.sort.threads }

// mutable tells that a message may come into the result, leave it, or move within it while
// it exists (RFC 8620, 5.6).
func (q *emailQuery) mutable() bool { return q.filter.uses.mutable() || q.sort.keywords || q.collapse }

// emails reads the messages of the account that a call names, as the caller sees them.
func (m *Methods) emails(ctx context.Context, c *jmap.Call, account jmap.ID) (*access.Account, *mailstore.Emails, error) {
	a, err := m.house.Account(ctx, c, account)
	if err != nil {
		return nil, nil, methodError(err)
	}
	e, err := a.Emails(ctx, a.Reader)
	if err != nil {
		return nil, nil, methodError(err)
	}
	return a, e, nil
}

// emailQuery answers Email/query.
func (m *Methods) emailQuery(ctx context.Context, c *jmap.Call, args *jmap.QueryArgs) (*jmap.QueryResult, error) {
	q, err := parseEmailQuery(args.Filter, args.Sort, args.Extra)
	if err != nil {
		return nil, err
	}
	a, e, err := m.emails(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	states, err := m.moment(ctx, a, e)
	if err != nil {
		return nil, methodError(err)
	}
	r, err := m.result(ctx, a, e, q, states)
	if err != nil {
		return nil, methodError(err)
	}
	out := &jmap.QueryResult{QueryState: q.state(states).String(), CanCalculateChanges: true, Total: r.len()}
	anchor := -1
	if args.Anchor != "" {
		id, err := mailstore.ParseEmailID(string(args.Anchor))
		place, there := e.FindID(id)
		if err == nil && there {
			anchor, there = r.index(place)
		}
		if err != nil || !there {
			return nil, jmap.ErrAnchorNotFound
		}
	}
	from, to := window(out, args, anchor)
	out.IDs = make([]jmap.ID, 0, to-from)
	for i := from; i < to; i++ {
		out.IDs = append(out.IDs, formatEmailID(e.ID(r.at(i))))
	}
	return out, nil
}

// formatEmailID is a message's id for clients.
func formatEmailID(id mailstore.EmailID) jmap.ID { return jmap.ID(id.String()) }

// window is the part of a result that is asked for (RFC 8620, 5.5); anchor is the index of
// the anchor, below 0: none is given. It fills in the position, and the limit where it is
// ours.
func window(out *jmap.QueryResult, args *jmap.QueryArgs, anchor int) (from, to int) {
	from = args.Position
	switch {
	case anchor >= 0:
		from = anchor + args.AnchorOffset
	case from < 0:
		from += out.Total
	}
	from = max(0, from)
	limit := args.Limit
	if limit < 0 || limit > queryMax {
		limit = queryMax
		if args.Limit > queryMax || out.Total > queryMax {
			out.Limit = queryMax
		}
	}
	out.Position = from
	return min(from, out.Total), min(max(from, 0)+min(limit, out.Total), out.Total)
}

// queryState is the moment of a query's result.
type queryState struct {
	emails  mailstore.State
	threads *mailstore.State // nil where they are of no account
}

// String writes it for a client.
func (s queryState) String() string {
	if s.threads == nil {
		return s.emails.String()
	}
	return s.emails.String() + "/" + s.threads.String()
}

// parseQueryState reads what String wrote for a query of the same kind.
func parseQueryState(text string, threads bool) (queryState, error) {
	emails, of, both := strings.Cut(text, "/")
	s := queryState{}
	var err error
	if s.emails, err = mailstore.ParseState(emails); err != nil || both != threads {
		return s, jmap.ErrCannotCalculateChanges
	}
	if both {
		t, err := mailstore.ParseState(of)
		if err != nil {
			return s, jmap.ErrCannotCalculateChanges
		}
		s.threads = &t
	}
	return s, nil
}

// moment returns the states of e, and keeps e for who asks what changed since.
func (m *Methods) moment(ctx context.Context, a *access.Account, e *mailstore.Emails) (mailstore.States, error) {
	states, err := e.States(ctx)
	if err == nil {
		m.results.hold(owner{a.ID(), a.Reader.ID}, states.Emails.String(), e)
	}
	return states, err
}

// state is the state of the query's result.
func (q *emailQuery) state(s mailstore.States) queryState {
	out := queryState{emails: s.Emails}
	if q.threads() {
		out.threads = &s.Threads
	}
	return out
}

// result finds the messages of a query, in order; states are those of e.
func (m *Methods) result(ctx context.Context, a *access.Account, e *mailstore.Emails, q *emailQuery, states mailstore.States) (*result, error) {
	oldest, byArrival := q.sort.received()
	if box, only := q.filter.onlyMailbox(); only && byArrival && !q.collapse {
		return &result{e: e, received: e.Received(box), plain: true, oldest: oldest}, nil
	}
	of := owner{a.ID(), a.Reader.ID}
	old := m.results.get(of, q.key)
	if old != nil && old.e == e {
		return old, nil
	}
	members, err := m.members(ctx, a, e, q, old)
	if err != nil {
		return nil, err
	}
	r := &result{e: e, states: states, members: members}
	list, err := arrange(ctx, e, q, members, false)
	if err != nil {
		return nil, err
	}
	r.list = make([]uint32, len(list))
	for i, p := range list {
		r.list[i] = uint32(p)
	}
	m.results.put(of, q.key, r)
	return r, nil
}

// members are the messages that match, newest first: those of an older result, but for what
// changed since, or all looked at anew.
func (m *Methods) members(ctx context.Context, a *access.Account, e *mailstore.Emails, q *emailQuery, old *result) ([]int, error) {
	base := e.Received(q.filter.root.within())
	places := make([]int, 0, base.Len())
	if old != nil {
		members, err := m.forward(ctx, a, old, e, q)
		if err == nil {
			for p := range base.All() {
				if members.has(p) {
					places = append(places, p)
				}
			}
			return places, nil
		}
		if ctx.Err() != nil {
			return nil, err
		}
	}
	for p := range base.All() {
		places = append(places, p)
	}
	v, err := m.evaluate(ctx, a.Account, e, q.filter, len(places))
	if err != nil {
		return nil, err
	}
	return v.matches(ctx, places)
}

// forwardMax is how many changed messages an old result is brought forward over; with more
// all are looked at anew.
const forwardMax = 2000

// forward makes the members of a result those of another moment.
func (m *Methods) forward(ctx context.Context, a *access.Account, old *result, e *mailstore.Emails, q *emailQuery) (placeSet, error) {
	touched, err := touchedSince(ctx, e, queryState{old.states.Emails, &old.states.Threads}, q.filter.uses.threads)
	if err != nil {
		return nil, err
	}
	if touched.size() > forwardMax {
		return nil, fmt.Errorf("%d messages changed", touched.size())
	}
	set := newPlaceSet(e.Places())
	for _, p := range old.members {
		id := old.e.Message(p)
		if touched.has(id) {
			continue
		}
		if p >= e.Places() || e.Message(p) != id {
			there := false
			if p, there = e.Find(id); !there {
				continue
			}
		}
		set.add(p)
	}
	places := touched.in(e, false)
	if len(places) == 0 {
		return set, nil
	}
	v, err := m.evaluate(ctx, a.Account, e, q.filter, len(places))
	if err != nil {
		return nil, err
	}
	fresh, err := v.matches(ctx, places)
	for _, p := range fresh {
		set.add(p)
	}
	return set, err
}

// arrange sorts messages that match, given newest first, and leaves the first of each
// thread where threads are collapsed (RFC 8621, 4.4.3).
func arrange(ctx context.Context, e *mailstore.Emails, q *emailQuery, members []int, few bool) ([]int, error) {
	list := members
	if oldest, byArrival := q.sort.received(); byArrival {
		if oldest {
			list = slices.Clone(members)
			slices.Reverse(list)
		}
	} else {
		var err error
		if list, err = e.Sort(ctx, members, q.sort.orders(e, few)); err != nil {
			return nil, err
		}
	}
	if !q.collapse {
		return list, nil
	}
	if few {
		seen := map[int]bool{}
		return leaveFirst(list, func(p int) bool {
			n := e.ThreadNumber(p)
			before := seen[n]
			seen[n] = true
			return before
		}), nil
	}
	seen := newPlaceSet(e.ThreadNumbers())
	return leaveFirst(list, func(p int) bool {
		n := e.ThreadNumber(p)
		before := seen.has(n)
		seen.add(n)
		return before
	}), nil
}

// leaveFirst leaves those of a list out that were before in some way.
func leaveFirst(list []int, before func(int) bool) []int {
	out := make([]int, 0, len(list))
	for _, p := range list {
		if !before(p) {
			out = append(out, p)
		}
	}
	return out
}

// placeSet is a set of places.
type placeSet []uint64

func newPlaceSet(n int) placeSet { return make(placeSet, (n+63)/64) }

func (s placeSet) add(p int)      { s[p/64] |= 1 << (p % 64) }
func (s placeSet) has(p int) bool { return s[p/64]&(1<<(p%64)) != 0 }
