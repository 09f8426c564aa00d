// Package sharing answers the JMAP methods about whom things can be shared with and what
// room there is: Principal, ShareNotification, Quota.
//
// The main type is [Methods]. Principals are the accounts and groups of the user's
// organisation, as the directory has them. Nobody can list them all: a user sees himself,
// the groups that he is in, and who shares with him; another one he finds by the whole
// address. The package keeps nothing but notifications (internal/objects).
//
// RFC 9670; RFC 9425.
package sharing

import (
	"context"
	"encoding/json"
	"slices"

	"postroad/internal/mua/jmapd/access"
	"postroad/internal/objects"
	"postroad/jmap"
)

// URIs of capabilities.
const (
	CapabilityPrincipals = "urn:ietf:params:jmap:principals"       // RFC 9670, 1.5.1
	CapabilityOwner      = "urn:ietf:params:jmap:principals:owner" // RFC 9670, 1.5.2
	CapabilityQuota      = "urn:ietf:params:jmap:quota"            // RFC 9425, 3
)

// Options are what the package is set up with.
type Options struct {
	WarnPercent []int // of a quota at which its user is warned; the least is told
}

// Methods answers the methods. All may run at once.
type Methods struct {
	house *access.House
	o     Options
}

// New returns the methods over a house.
func New(h *access.House, o Options) *Methods { return &Methods{h, o} }

// Methods returns all methods of the package.
func (m *Methods) Methods() []jmap.Method {
	principal := &jmap.DataType{Name: "Principal", Capability: CapabilityPrincipals, Property: known(principalProperties)}
	notice := &jmap.DataType{Name: "ShareNotification", Capability: CapabilityPrincipals, Property: known(noticeProperties)}
	quota := &jmap.DataType{Name: "Quota", Capability: CapabilityQuota, Property: known(quotaProperties)}
	return []jmap.Method{
		principal.Get(nil, m.principalGet), principal.Changes(nil, m.principalChanges), principal.Set(nil, m.principalSet),
		principal.Query(nil, m.principalQuery), principal.QueryChanges(nil, m.principalQueryChanges),
		notice.Get(nil, m.noticeGet), notice.Changes(nil, m.noticeChanges), notice.Set(nil, m.noticeSet),
		notice.Query(nil, m.noticeQuery), notice.QueryChanges(nil, m.noticeQueryChanges),
		quota.Get(nil, m.quotaGet), quota.Changes(nil, m.quotaChanges),
		quota.Query(nil, m.quotaQuery), quota.QueryChanges(nil, m.quotaQueryChanges),
	}
}

// known tells whether a name is one of a list.
func known(names []string) func(string) bool {
	return func(name string) bool { return slices.Contains(names, name) }
}

// Session is the package's part of the session's capabilities.
func (m *Methods) Session() map[string]any {
	return map[string]any{CapabilityPrincipals: map[string]any{}, CapabilityQuota: map[string]any{}}
}

// Capabilities is its part of an account's. The principals are found in the user's own
// account.
func (m *Methods) Capabilities(u *access.User, a *access.Account) map[string]any {
	all := map[string]any{CapabilityOwner: map[string]any{
		"accountIdForPrincipal": access.FormatID('A', u.ID), "principalId": principalOf(a.ID())}}
	if a.Own {
		all[CapabilityPrincipals] = map[string]any{"currentUserPrincipalId": principalOf(u.ID)}
		all[CapabilityQuota] = map[string]any{}
	}
	return all
}

// States are the states of its types, for push.
func (m *Methods) States(ctx context.Context, a *access.Account) (map[string]string, error) {
	if !a.Own {
		return nil, nil
	}
	notices, err := m.house.Objects.State(ctx, a.ID(), objects.ShareNotice)
	if err != nil {
		return nil, err
	}
	q, err := m.quotas(ctx, a)
	if err != nil {
		return nil, err
	}
	return map[string]string{"ShareNotification": notices.String(), "Quota": q.state()}, nil
}

// pick leaves of an object what is asked for.
func pick(o jmap.Object, args *jmap.GetArgs) jmap.Object {
	for name := range o {
		if !args.Wants(name) {
			delete(o, name)
		}
	}
	return o
}

// conditions reads the properties of a filter's condition as Strings; null is as if it were
// not there. Lists go into lists.
func conditions(f jmap.Properties, lists map[string][]string, names ...string) (map[string]string, error) {
	out := map[string]string{}
	for name, raw := range f {
		var s *string
		if _, ok := lists[name]; ok {
			var l []string
			if json.Unmarshal(raw, &l) != nil {
				return nil, jmap.InvalidArguments("filter: %s: no list of Strings", name)
			}
			lists[name] = append([]string{}, l...)
			continue
		}
		if !slices.Contains(names, name) {
			return nil, jmap.ErrUnsupportedFilter.With("%s: no property of a filter for this type", name)
		}
		if json.Unmarshal(raw, &s) != nil {
			return nil, jmap.InvalidArguments("filter: %s: no String", name)
		}
		if s != nil {
			out[name] = *s
		}
	}
	return out, nil
}
