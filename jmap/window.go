package jmap

import "slices"

// Window cuts out of a whole result what a query asks for: at most most ids (0: no limit of
// the server's), from a position or an anchor on (RFC 8620, 5.5). The state is the query's.
func (a *QueryArgs) Window(all []ID, state string, most int) (*QueryResult, error) {
	r := &QueryResult{QueryState: state, CanCalculateChanges: true, Total: len(all)}
	from := a.Position
	if a.Anchor != "" {
		i := slices.Index(all, a.Anchor)
		if i < 0 {
			return nil, ErrAnchorNotFound
		}
		from = max(0, i+a.AnchorOffset)
	} else if from < 0 {
		from = max(0, len(all)+from)
	}
	r.Position = from
	if from >= len(all) {
		return r, nil
	}
	count := len(all) - from
	if a.Limit >= 0 {
		count = min(count, a.Limit)
	}
	if most > 0 && count > most {
		count, r.Limit = most, most
	}
	r.IDs = all[from : from+count]
	return r, nil
}

// Difference answers /queryChanges from what changed since the old state and the result as it
// is now: what changed may have left its place, so it is removed and, where it is in the
// result, added (RFC 8620, 5.6, allows to name more than left). ErrTooManyChanges above
// MaxChanges.
func (a *QueryChangesArgs) Difference(changed, destroyed, now []ID, state string) (*QueryChangesResult, error) {
	r := &QueryChangesResult{NewQueryState: state, Total: len(now)}
	touched := make(map[ID]bool, len(changed))
	for _, id := range changed {
		touched[id] = true
	}
	r.Removed = append(append(r.Removed, changed...), destroyed...)
	for i, id := range now {
		if touched[id] {
			r.Added = append(r.Added, AddedItem{ID: id, Index: i})
		}
	}
	if a.MaxChanges > 0 && len(r.Removed)+len(r.Added) > a.MaxChanges {
		return nil, ErrTooManyChanges
	}
	return r, nil
}

// Meets tells whether an object meets a filter (RFC 8620, 5.5), nil being met by all;
// condition tells whether it meets one condition.
func (f *Filter) Meets(condition func(Properties) (bool, error)) (bool, error) {
	if f == nil {
		return true, nil
	}
	if f.Operator == "" {
		return condition(f.Condition)
	}
	met := 0
	for _, part := range f.Conditions {
		is, err := part.Meets(condition)
		if err != nil {
			return false, err
		}
		if is {
			met++
		}
	}
	switch f.Operator {
	case "AND":
		return met == len(f.Conditions), nil
	case "OR":
		return met > 0, nil
	}
	return met == 0, nil // NOT: none of them
}
