package email

import (
	"context"

	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/jmap"
)

// threadMethods are those of Thread (RFC 8621, 3).
func (m *Methods) threadMethods() []jmap.Method {
	t := &jmap.DataType{Name: "Thread", Capability: CapabilityMail, Property: func(name string) bool {
		return name == "id" || name == "emailIds"
	}}
	return []jmap.Method{t.Get(nil, m.threadGet), t.Changes(nil, m.threadChanges)}
}

// formatThreadID is a thread's id for clients.
func formatThreadID(id mailstore.ThreadID) jmap.ID { return access.FormatID('T', id) }

// threadGet answers Thread/get (RFC 8621, 3.1). A thread of which the user sees no message
// is not there (9.5).
func (m *Methods) threadGet(ctx context.Context, c *jmap.Call, args *jmap.GetArgs) (*jmap.GetResult, error) {
	_, e, err := m.emails(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	states, err := e.States(ctx)
	if err != nil {
		return nil, methodError(err)
	}
	out := &jmap.GetResult{State: states.Threads.String()}
	ids := args.IDs
	if ids == nil {
		if ids, err = allThreads(e); err != nil {
			return nil, err
		}
	}
	for _, id := range ids {
		n, ok := access.ParseID('T', id)
		var members []int
		if ok {
			members = e.ThreadMembers(n)
		}
		if len(members) == 0 {
			out.NotFound = append(out.NotFound, id)
			continue
		}
		o := jmap.Object{"id": id}
		if args.Wants("emailIds") {
			list := make([]jmap.ID, len(members))
			for i, p := range members {
				list[i] = formatEmailID(e.ID(p))
			}
			o["emailIds"] = list
		}
		out.List = append(out.List, o)
	}
	return out, nil
}

// allThreads are the ids of all threads; an error where these are more than one call may
// ask for (RFC 8620, 5.1).
func allThreads(e *mailstore.Emails) ([]jmap.ID, error) {
	seen := newPlaceSet(e.ThreadNumbers())
	ids := []jmap.ID{}
	for p := range e.All() {
		if n := e.ThreadNumber(p); !seen.has(n) {
			seen.add(n)
			ids = append(ids, formatThreadID(e.Thread(p)))
		}
		if most := jmap.DefaultLimits.ObjectsInGet; len(ids) > most {
			return nil, jmap.ErrRequestTooLarge.With("more than %d threads; name those that you want", most)
		}
	}
	return ids, nil
}

// threadChanges answers Thread/changes (RFC 8621, 3.2).
func (m *Methods) threadChanges(ctx context.Context, c *jmap.Call, args *jmap.ChangesArgs) (*jmap.ChangesResult, error) {
	_, e, err := m.emails(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	r, _, err := changesBetween(ctx, args, formatThreadID, e.ThreadChanges)
	return r, err
}
