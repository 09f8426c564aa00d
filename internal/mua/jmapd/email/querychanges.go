package email

import (
	"cmp"
	"context"
	"slices"

	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/jmap"
)

// touched is what changed since a state, as far as a query is concerned.
type touched struct {
	*mailstore.Changes[mailstore.EmailID]
	ids   map[mailstore.MessageID]bool // all that are there and may match otherwise than before
	fresh map[mailstore.EmailID]bool   // Created
}

func (t *touched) size() int                       { return len(t.ids) + len(t.Destroyed) }
func (t *touched) has(id mailstore.MessageID) bool { return t.ids[id] }

// touchedSince finds out what changed of the messages of e. With threads it is also what is
// in a thread with something that changed.
func touchedSince(ctx context.Context, e *mailstore.Emails, since queryState, threads bool) (*touched, error) {
	c, err := e.EmailChanges(ctx, since.emails, 0)
	if err != nil {
		return nil, err
	}
	t := &touched{Changes: c, ids: make(map[mailstore.MessageID]bool, len(c.Created)+len(c.Updated)), fresh: make(map[mailstore.EmailID]bool, len(c.Created))}
	for _, id := range c.Created {
		t.ids[id.Message], t.fresh[id] = true, true
	}
	for _, id := range c.Updated {
		t.ids[id.Message] = true
	}
	if !threads {
		return t, nil
	}
	changed, err := e.ThreadChanges(ctx, *since.threads, 0)
	if err != nil {
		return nil, err
	}
	of := make(map[mailstore.ThreadID]bool, len(changed.Created)+len(changed.Updated))
	for _, id := range append(changed.Created, changed.Updated...) {
		of[id] = true
	}
	for id := range t.ids {
		if p, there := e.Find(id); there {
			of[e.Thread(p)] = true
		}
	}
	for id := range of {
		for _, p := range e.ThreadMembers(id) {
			t.ids[e.Message(p)] = true
		}
	}
	return t, nil
}

// in are the places of what changed that is in an Emails, newest first. With threads they
// are all of the threads there.
func (t *touched) in(e *mailstore.Emails, threads bool) []int {
	set := map[int]bool{}
	of := map[mailstore.ThreadID]bool{}
	add := func(id mailstore.MessageID) {
		p, there := e.Find(id)
		if !there {
			return
		}
		set[p] = true
		if threads {
			of[e.Thread(p)] = true
		}
	}
	for id := range t.ids {
		add(id)
	}
	for _, id := range t.Destroyed {
		add(id.Message)
	}
	for id := range of {
		for _, p := range e.ThreadMembers(id) {
			set[p] = true
		}
	}
	places := make([]int, 0, len(set))
	for p := range set {
		places = append(places, p)
	}
	all := e.Received(0)
	slices.SortFunc(places, func(a, b int) int {
		i, _ := all.Index(a)
		j, _ := all.Index(b)
		return cmp.Compare(i, j)
	})
	return places
}

// emailQueryChanges answers Email/queryChanges. Where the messages of the old moment are
// still at hand, it looks whether those that changed were in the result, and where; else it
// tells of all that changed, which RFC 8620, 5.6, allows.
func (m *Methods) emailQueryChanges(ctx context.Context, c *jmap.Call, args *jmap.QueryChangesArgs) (*jmap.QueryChangesResult, error) {
	q, err := parseEmailQuery(args.Filter, args.Sort, args.Extra)
	if err != nil {
		return nil, err
	}
	a, e, err := m.emails(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	since, err := parseQueryState(args.SinceQueryState, q.threads())
	if err != nil {
		return nil, err
	}
	t, err := touchedSince(ctx, e, since, q.threads())
	if err != nil {
		return nil, changesError(err)
	}
	states, err := m.moment(ctx, a, e)
	if err != nil {
		return nil, methodError(err)
	}
	r, err := m.result(ctx, a, e, q, states)
	if err != nil {
		return nil, methodError(err)
	}
	out := &jmap.QueryChangesResult{NewQueryState: q.state(states).String(), Total: r.len()}
	old := m.results.at(owner{a.ID(), a.Reader.ID}, since.emails.String())
	if old != nil && q.mutable() && len(q.filter.texts) == 0 && !q.filter.uses.structure {
		err = m.exactChanges(ctx, a, q, t, old, r, out)
	} else {
		wideChanges(q, t, r, out)
	}
	if err != nil {
		return nil, methodError(err)
	}
	cutChanges(q, args, r, out)
	if args.MaxChanges > 0 && len(out.Removed)+len(out.Added) > args.MaxChanges {
		return nil, jmap.ErrTooManyChanges
	}
	return out, nil
}

// wideChanges takes all for removed that may have been in the old result, and puts in again
// what is in the new one.
func wideChanges(q *emailQuery, t *touched, r *result, out *jmap.QueryChangesResult) {
	e := r.e
	for _, id := range t.Destroyed {
		out.Removed = append(out.Removed, formatEmailID(id))
	}
	places := t.in(e, q.threads())
	if !q.mutable() {
		places = slices.DeleteFunc(places, func(p int) bool { return !t.fresh[e.ID(p)] })
	}
	for k, i := range r.indexes(places) {
		id := e.ID(places[k])
		if !t.fresh[id] {
			out.Removed = append(out.Removed, formatEmailID(id))
		}
		if i >= 0 {
			out.Added = append(out.Added, jmap.AddedItem{ID: formatEmailID(id), Index: i})
		}
	}
}

// exactChanges compares which of the messages that changed, and of those in a thread with
// them where threads count, are in the old and in the new result.
func (m *Methods) exactChanges(ctx context.Context, a *access.Account, q *emailQuery, t *touched, old *mailstore.Emails, r *result, out *jmap.QueryChangesResult) error {
	before, err := m.standing(ctx, a, q, t, old)
	if err != nil {
		return err
	}
	after, err := m.standing(ctx, a, q, t, r.e)
	if err != nil {
		return err
	}
	stays := map[mailstore.EmailID]bool{}
	for id, b := range before {
		if n, there := after[id]; there && slices.Equal(b.values, n.values) {
			stays[id] = true
			continue
		}
		out.Removed = append(out.Removed, formatEmailID(id))
	}
	var places []int
	for id, n := range after {
		if !stays[id] {
			places = append(places, n.place)
		}
	}
	for k, i := range r.indexes(places) {
		out.Added = append(out.Added, jmap.AddedItem{ID: formatEmailID(r.e.ID(places[k])), Index: i})
	}
	return nil
}

// standing is where a message stands in a result.
type standing struct {
	place  int
	values []uint64 // of the comparators that may change
}

// standing finds which of the messages that changed are in a query's result at one moment.
func (m *Methods) standing(ctx context.Context, a *access.Account, q *emailQuery, t *touched, e *mailstore.Emails) (map[mailstore.EmailID]standing, error) {
	places := t.in(e, q.threads())
	v, err := m.evaluate(ctx, a.Account, e, q.filter, len(places))
	if err != nil {
		return nil, err
	}
	members, err := v.matches(ctx, places)
	if err != nil {
		return nil, err
	}
	list, err := arrange(ctx, e, q, members, true)
	if err != nil {
		return nil, err
	}
	var values []func(int) uint64
	for _, o := range q.sort.orders(e, true) {
		if o.Value != nil {
			values = append(values, o.Value)
		}
	}
	out := make(map[mailstore.EmailID]standing, len(list))
	for _, p := range list {
		s := standing{place: p}
		for _, value := range values {
			s.values = append(s.values, value(p))
		}
		out[e.ID(p)] = s
	}
	return out, nil
}

// cutChanges orders what was added, and leaves out what is behind the last message that the
// client knows, where nothing of the query can change (RFC 8620, 5.6, upToId).
func cutChanges(q *emailQuery, args *jmap.QueryChangesArgs, r *result, out *jmap.QueryChangesResult) {
	slices.SortFunc(out.Added, func(a, b jmap.AddedItem) int { return cmp.Compare(a.Index, b.Index) })
	slices.Sort(out.Removed)
	if args.UpToID == "" || q.mutable() {
		return
	}
	id, err := mailstore.ParseEmailID(string(args.UpToID))
	if err != nil {
		return
	}
	place, there := r.e.FindID(id)
	if !there {
		return
	}
	if last, there := r.index(place); there {
		out.Added = slices.DeleteFunc(out.Added, func(i jmap.AddedItem) bool { return i.Index > last })
	}
}
