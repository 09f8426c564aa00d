package sharing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"postroad/internal/kv/hlc"
	"postroad/internal/mailflow"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/objects"
	"postroad/jmap"
)

var noticeProperties = []string{"id", "created", "changedBy", "objectType", "objectAccountId", "objectId", "oldRights", "newRights", "name"}

// noticeID is the letter of the ids.
const noticeID = 'N'

// notice is a notification: its value is what access.Notify wrote, with the RFC's names.
type notice struct {
	id    hlc.ID
	value jmap.Properties
	at    time.Time
}

// notices reads an account's.
func (m *Methods) notices(ctx context.Context, c *jmap.Call, account jmap.ID) (*access.Account, []*notice, objects.State, error) {
	a, err := m.house.OwnAccount(ctx, c, account)
	if err != nil {
		return nil, nil, objects.State{}, err
	}
	stored, state, err := m.house.Objects.All(ctx, a.ID(), objects.ShareNotice, 0, 0)
	if err != nil {
		return nil, nil, objects.State{}, err
	}
	list := make([]*notice, len(stored))
	for i, o := range stored {
		n := &notice{id: o.ID}
		var created string
		if json.Unmarshal(o.Value, &n.value) != nil || json.Unmarshal(n.value["created"], &created) != nil {
			return nil, nil, objects.State{}, fmt.Errorf("%w: notification %s", objects.ErrDamaged, o.ID)
		}
		n.at, _ = jmap.ParseUTCDate(created)
		list[i] = n
	}
	return a, list, state, nil
}

// object is the notification for clients.
func (n *notice) object() jmap.Object {
	o := jmap.Object{"id": access.FormatID(noticeID, n.id)}
	for name, v := range n.value {
		o[name] = v
	}
	return o
}

// noticeGet answers ShareNotification/get.
func (m *Methods) noticeGet(ctx context.Context, c *jmap.Call, args *jmap.GetArgs) (*jmap.GetResult, error) {
	_, list, state, err := m.notices(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	r := &jmap.GetResult{State: state.String(), NotFound: slices.Clone(args.IDs)}
	for _, n := range list {
		id := access.FormatID(noticeID, n.id)
		if args.IDs != nil && !slices.Contains(args.IDs, id) {
			continue
		}
		r.List = append(r.List, pick(n.object(), args))
		r.NotFound = slices.DeleteFunc(r.NotFound, func(missing jmap.ID) bool { return missing == id })
	}
	return r, nil
}

// noticeChanges answers ShareNotification/changes.
func (m *Methods) noticeChanges(ctx context.Context, c *jmap.Call, args *jmap.ChangesArgs) (*jmap.ChangesResult, error) {
	a, err := m.house.OwnAccount(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	ch, err := m.changes(ctx, a, args.SinceState, args.MaxChanges)
	if err != nil {
		return nil, err
	}
	return &jmap.ChangesResult{NewState: ch.State.String(), HasMoreChanges: ch.More,
		Created: noticeIDs(ch.Created), Updated: noticeIDs(ch.Updated), Destroyed: noticeIDs(ch.Destroyed)}, nil
}

func (m *Methods) changes(ctx context.Context, a *access.Account, since string, most int) (*objects.Changes, error) {
	state, err := objects.ParseState(since)
	if err != nil {
		return nil, jmap.ErrCannotCalculateChanges
	}
	ch, err := m.house.Objects.Changes(ctx, a.ID(), objects.ShareNotice, state, most)
	if err != nil {
		return nil, changesError(err)
	}
	return ch, nil
}

func noticeIDs(list []hlc.ID) []jmap.ID {
	ids := make([]jmap.ID, len(list))
	for i, id := range list {
		ids[i] = access.FormatID(noticeID, id)
	}
	return ids
}

// noticeSet answers ShareNotification/set: they can be dismissed (RFC 9670, 3.3).
func (m *Methods) noticeSet(ctx context.Context, c *jmap.Call, args *jmap.SetArgs) (*jmap.SetResult, error) {
	a, _, state, err := m.notices(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	if args.IfInState != nil && *args.IfInState != state.String() {
		return nil, jmap.ErrStateMismatch
	}
	r := &jmap.SetResult{OldState: state.String()}
	refuse(args, r, "notifications are made by the server")
	for len(args.Destroy) > 0 {
		n := min(len(args.Destroy), access.NoticesMax)
		gone, err := m.dismiss(ctx, a, args.Destroy[:n])
		if err != nil {
			return nil, err
		}
		for _, id := range args.Destroy[:n] {
			if slices.Contains(gone, id) {
				r.Destroyed = append(r.Destroyed, id)
			} else {
				r.NotDestroy(id, jmap.NewSetError(jmap.SetNotFound, "no such notification"))
			}
		}
		args.Destroy = args.Destroy[n:]
	}
	if state, err = m.house.Objects.State(ctx, a.ID(), objects.ShareNotice); err != nil {
		return nil, err
	}
	r.NewState = state.String()
	return r, nil
}

// dismiss destroys those that are there, in one commit, and tells which.
func (m *Methods) dismiss(ctx context.Context, a *access.Account, ids []jmap.ID) (gone []jmap.ID, err error) {
	err = m.house.Committer.Commit(ctx, func(ctx context.Context, u *mailflow.Unit) error {
		gone = nil
		var numbers []hlc.ID
		for _, id := range ids {
			if n, ok := access.ParseID(noticeID, id); ok {
				numbers = append(numbers, n)
			}
		}
		list, err := m.house.Objects.Get(ctx, a.ID(), objects.ShareNotice, numbers...)
		if err != nil {
			return err
		}
		for _, o := range list {
			if err := m.house.Objects.PrepareDestroy(ctx, u, a.ID(), objects.ShareNotice, o); err != nil {
				return err
			}
			gone = append(gone, access.FormatID(noticeID, o.ID))
		}
		return nil
	})
	return gone, err
}

// noticeQuery answers ShareNotification/query.
func (m *Methods) noticeQuery(ctx context.Context, c *jmap.Call, args *jmap.QueryArgs) (*jmap.QueryResult, error) {
	_, list, state, err := m.notices(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	all, err := queryNotices(list, args.Filter, args.Sort)
	if err != nil {
		return nil, err
	}
	return args.Window(all, state.String(), 0)
}

// noticeQueryChanges answers ShareNotification/queryChanges.
func (m *Methods) noticeQueryChanges(ctx context.Context, c *jmap.Call, args *jmap.QueryChangesArgs) (*jmap.QueryChangesResult, error) {
	a, list, state, err := m.notices(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	now, err := queryNotices(list, args.Filter, args.Sort)
	if err != nil {
		return nil, err
	}
	ch, err := m.changes(ctx, a, args.SinceQueryState, 0)
	if err != nil {
		return nil, err
	}
	return args.Difference(noticeIDs(append(ch.Created, ch.Updated...)), noticeIDs(ch.Destroyed), now, state.String())
}

// queryNotices is the whole result of a query (RFC 9670, 3.4).
func queryNotices(list []*notice, f *jmap.Filter, by []jmap.Comparator) ([]jmap.ID, error) {
	var found []*notice
	for _, n := range list {
		is, err := f.Meets(n.meets)
		if err != nil {
			return nil, err
		}
		if is {
			found = append(found, n)
		}
	}
	for _, one := range by {
		if one.Property != "created" {
			return nil, jmap.ErrUnsupportedSort.With("%s: no property to sort notifications by", one.Property)
		}
	}
	if len(by) > 0 && by[0].Descending { // the others are by id, and so by time
		slices.Reverse(found)
	}
	ids := make([]jmap.ID, len(found))
	for i, n := range found {
		ids[i] = access.FormatID(noticeID, n.id)
	}
	return ids, nil
}

// meets tells whether a notification meets a condition.
func (n *notice) meets(f jmap.Properties) (bool, error) {
	wants, err := conditions(f, nil, "after", "before", "objectType", "objectAccountId")
	if err != nil {
		return false, err
	}
	for name, want := range wants {
		switch name {
		case "after", "before":
			at, ok := jmap.ParseUTCDate(want)
			if !ok {
				return false, jmap.InvalidArguments("filter: %s: no UTCDate", name)
			}
			if n.at.Before(at) != (name == "before") {
				return false, nil
			}
		default:
			var is string
			if json.Unmarshal(n.value[name], &is) != nil || is != want {
				return false, nil
			}
		}
	}
	return true, nil
}

// changesError translates the error of a log.
func changesError(err error) error {
	if errors.Is(err, objects.ErrNoChanges) {
		return jmap.ErrCannotCalculateChanges
	}
	return err
}
