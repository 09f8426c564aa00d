package jmap

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
)

// PushSubscription makes PushSubscription/get and /set (RFC 8620, 7.2) of what gets and sets
// the objects. They are like those of other types, but for account and state, which they
// have not. "url" and "keys" may not be asked for: forbidden (7.2.1).
func PushSubscription(limits Limits, get func(context.Context, *Call, *GetArgs) (*GetResult, error), set func(context.Context, *Call, *SetArgs) (*SetResult, error)) []Method {
	t := &DataType{Name: "PushSubscription", Capability: Core, Limits: limits, Property: func(name string) bool {
		return slices.Contains([]string{"id", "deviceClientId", "url", "keys", "verificationCode", "expires", "types"}, name)
	}}
	const account = "none" // given to the frame of all types, and taken out of the answer
	with := func(m Method, more ...string) Method {
		do := m.Do
		m.Do = func(ctx context.Context, c *Call) (any, error) {
			in, err := readArguments(c.Args)
			if err != nil {
				return nil, err
			}
			for _, name := range more {
				if _, given := in[name]; given {
					return nil, InvalidArguments("%s: no argument of this method", name)
				}
			}
			in["accountId"] = json.RawMessage(`"` + account + `"`)
			raw, err := json.Marshal(in)
			if err != nil {
				return nil, err
			}
			inner := *c
			inner.Args = raw
			r, err := do(ctx, &inner)
			if err != nil {
				return nil, err
			}
			return withoutAccount(r)
		}
		return m
	}
	private := func(ctx context.Context, c *Call, a *GetArgs) (*GetResult, error) {
		if slices.Contains(a.Properties, "url") || slices.Contains(a.Properties, "keys") {
			return nil, ErrForbidden.With("url and keys are not told (RFC 8620, 7.2.1)")
		}
		return get(ctx, c, a)
	}
	return []Method{with(t.Get(nil, private), "accountId"), with(t.Set(nil, set), "accountId", "ifInState")}
}

// withoutAccount is a result without account and states.
func withoutAccount(result any) (any, error) {
	switch r := result.(type) {
	case *GetResult:
		return struct {
			List     []Object `json:"list"`
			NotFound []ID     `json:"notFound"`
		}{r.List, r.NotFound}, nil
	case *SetResult:
		return struct {
			Created      map[ID]Object    `json:"created"`
			Updated      map[ID]Object    `json:"updated"`
			Destroyed    []ID             `json:"destroyed"`
			NotCreated   map[ID]*SetError `json:"notCreated"`
			NotUpdated   map[ID]*SetError `json:"notUpdated"`
			NotDestroyed map[ID]*SetError `json:"notDestroyed"`
		}{r.Created, r.Updated, r.Destroyed, r.NotCreated, r.NotUpdated, r.NotDestroyed}, nil
	}
	return nil, errors.New("jmap: a result of another kind")
}
