package sharing

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/jmap"
)

var quotaProperties = []string{"id", "resourceType", "used", "hardLimit", "warnLimit", "softLimit", "scope", "name", "description", "types"}

// Ids of an account's quotas.
const (
	quotaOctets jmap.ID = "octets"
	quotaCount  jmap.ID = "count"
)

// capabilityMail is that of the type to which quotas apply.
const capabilityMail = "urn:ietf:params:jmap:mail"

// quotas are an account's limits and what is used of them. A state is all of them, so that
// what changed since is told without a log.
type quotas struct {
	name        string
	limits      mailstore.Quota
	used        mailstore.Usage
	warnPercent int
}

func (m *Methods) quotas(ctx context.Context, a *access.Account) (*quotas, error) {
	limits, used, err := a.Quota(ctx)
	if err != nil {
		return nil, err
	}
	q := &quotas{name: a.Owner.Login.String(), limits: limits, used: used}
	if len(m.o.WarnPercent) > 0 {
		q.warnPercent = slices.Min(m.o.WarnPercent)
	}
	return q, nil
}

// state is that of the type Quota.
func (q *quotas) state() string {
	return fmt.Sprintf("%d-%d-%d-%d", q.limits.Bytes, q.limits.Messages, q.used.Bytes, q.used.Messages)
}

// parseQuotaState reads what state wrote.
func parseQuotaState(s string) (*quotas, error) {
	q := new(quotas)
	n, err := fmt.Sscanf(s, "%d-%d-%d-%d", &q.limits.Bytes, &q.limits.Messages, &q.used.Bytes, &q.used.Messages)
	if err != nil || n != 4 || q.state() != s {
		return nil, jmap.ErrCannotCalculateChanges
	}
	return q, nil
}

// list are the quotas that there are: those with a limit. The types are filtered by what the
// request uses (RFC 9425, 4.1): without mail there are none.
func (q *quotas) list(c *jmap.Call) []jmap.Object {
	var all []jmap.Object
	if !c.Using(capabilityMail) {
		return nil
	}
	add := func(id jmap.ID, limit, used int64, description string) {
		if limit <= 0 {
			return
		}
		o := jmap.Object{"id": id, "resourceType": string(id), "used": used, "hardLimit": limit, "warnLimit": nil, "softLimit": nil,
			"scope": "account", "name": q.name, "description": description, "types": []string{"Email"}}
		if q.warnPercent > 0 {
			o["warnLimit"] = limit * int64(q.warnPercent) / 100
		}
		all = append(all, o)
	}
	add(quotaOctets, q.limits.Bytes, q.used.Bytes, "Size of all messages")
	add(quotaCount, q.limits.Messages, q.used.Messages, "Number of messages")
	return all
}

// own opens the user's own account: quotas are nobody else's business (RFC 9425, 7).
func (m *Methods) ownQuotas(ctx context.Context, c *jmap.Call, id jmap.ID) (*quotas, error) {
	a, err := m.house.OwnAccount(ctx, c, id)
	if err != nil {
		return nil, err
	}
	return m.quotas(ctx, a)
}

// quotaGet answers Quota/get.
func (m *Methods) quotaGet(ctx context.Context, c *jmap.Call, args *jmap.GetArgs) (*jmap.GetResult, error) {
	q, err := m.ownQuotas(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	r := &jmap.GetResult{State: q.state()}
	missing := slices.Clone(args.IDs)
	for _, o := range q.list(c) {
		id := o["id"].(jmap.ID)
		if args.IDs == nil || slices.Contains(args.IDs, id) {
			r.List = append(r.List, pick(o, args))
			missing = slices.DeleteFunc(missing, func(m jmap.ID) bool { return m == id })
		}
	}
	r.NotFound = missing
	return r, nil
}

// quotaChanges answers Quota/changes. Mostly "used" alone has changed (RFC 9425, 4.3).
func (m *Methods) quotaChanges(ctx context.Context, c *jmap.Call, args *jmap.ChangesArgs) (*jmap.ChangesResult, error) {
	q, err := m.ownQuotas(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	old, err := parseQuotaState(args.SinceState)
	if err != nil {
		return nil, err
	}
	r := &jmap.ChangesResult{NewState: q.state(), Extra: map[string]any{"updatedProperties": nil}}
	compare := func(id jmap.ID, wasLimit, limit, wasUsed, used int64) {
		switch {
		case wasLimit <= 0 && limit <= 0:
		case wasLimit <= 0:
			r.Created = append(r.Created, id)
		case limit <= 0:
			r.Destroyed = append(r.Destroyed, id)
		case wasLimit != limit || wasUsed != used:
			r.Updated = append(r.Updated, id)
		}
	}
	compare(quotaOctets, old.limits.Bytes, q.limits.Bytes, old.used.Bytes, q.used.Bytes)
	compare(quotaCount, old.limits.Messages, q.limits.Messages, old.used.Messages, q.used.Messages)
	if old.limits == q.limits {
		r.Extra["updatedProperties"] = []string{"used"}
	}
	return r, nil
}

// quotaIDs is the whole result of a query.
func (q *quotas) query(c *jmap.Call, f *jmap.Filter, by []jmap.Comparator) ([]jmap.ID, error) {
	var found []jmap.Object
	for _, o := range q.list(c) {
		is, err := f.Meets(func(f jmap.Properties) (bool, error) { return quotaCondition(f, o) })
		if err != nil {
			return nil, err
		}
		if is {
			found = append(found, o)
		}
	}
	for _, one := range by {
		if one.Property != "name" && one.Property != "used" {
			return nil, jmap.ErrUnsupportedSort.With("%s: no property to sort quotas by", one.Property)
		}
	}
	slices.SortStableFunc(found, func(a, b jmap.Object) int {
		for _, one := range by {
			if one.Property != "used" {
				continue // all have one name
			}
			d := cmp.Compare(a["used"].(int64), b["used"].(int64))
			if one.Descending {
				d = -d
			}
			if d != 0 {
				return d
			}
		}
		return 0
	})
	ids := make([]jmap.ID, len(found))
	for i, o := range found {
		ids[i] = o["id"].(jmap.ID)
	}
	return ids, nil
}

// quotaCondition tells whether a quota meets a condition (RFC 9425, 4.4).
func quotaCondition(f jmap.Properties, o jmap.Object) (bool, error) {
	wants, err := conditions(f, nil, "name", "scope", "resourceType", "type")
	if err != nil {
		return false, err
	}
	for name, want := range wants {
		switch name {
		case "name":
			if !strings.Contains(o["name"].(string), want) {
				return false, nil
			}
		case "type":
			if !slices.Contains(o["types"].([]string), want) {
				return false, nil
			}
		default:
			if o[name] != want {
				return false, nil
			}
		}
	}
	return true, nil
}

// quotaQuery answers Quota/query.
func (m *Methods) quotaQuery(ctx context.Context, c *jmap.Call, args *jmap.QueryArgs) (*jmap.QueryResult, error) {
	q, err := m.ownQuotas(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	all, err := q.query(c, args.Filter, args.Sort)
	if err != nil {
		return nil, err
	}
	return args.Window(all, q.state(), 0)
}

// quotaQueryChanges answers Quota/queryChanges: all may have changed place.
func (m *Methods) quotaQueryChanges(ctx context.Context, c *jmap.Call, args *jmap.QueryChangesArgs) (*jmap.QueryChangesResult, error) {
	q, err := m.ownQuotas(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	if _, err := parseQuotaState(args.SinceQueryState); err != nil {
		return nil, err
	}
	now, err := q.query(c, args.Filter, args.Sort)
	if err != nil {
		return nil, err
	}
	var changed []jmap.ID
	if args.SinceQueryState != q.state() {
		changed = []jmap.ID{quotaOctets, quotaCount}
	}
	return args.Difference(changed, nil, now, q.state())
}
