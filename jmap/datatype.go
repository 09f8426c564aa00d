package jmap

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
)

// DataType is what the standard methods of one data type have in common.
type DataType struct {
	Name       string // "Email"
	Capability string
	// Property tells whether a name is a property that /get may ask for; nil: any name is.
	Property func(name string) bool
	Limits   Limits // the zero value: DefaultLimits
}

// Limits of the standard methods, as the session tells them (RFC 8620, 2).
type Limits struct {
	ObjectsInGet int // maxObjectsInGet
	ObjectsInSet int // maxObjectsInSet
}

// DefaultLimits are at least what RFC 8620, 2, suggests.
var DefaultLimits = Limits{ObjectsInGet: 1000, ObjectsInSet: 1000}

// Limits of a filter and of a sort order: what costs more is refused.
const (
	FilterDepthMax      = 16
	FilterConditionsMax = 256
	SortMax             = 16
)

func (t *DataType) limits() Limits {
	if t.Limits == (Limits{}) {
		return DefaultLimits
	}
	return t.Limits
}

// Get makes the method /get of the type (RFC 8620, 5.1). Extra names further arguments.
func (t *DataType) Get(extra []string, do func(context.Context, *Call, *GetArgs) (*GetResult, error)) Method {
	return t.method("get", func(ctx context.Context, c *Call) (any, error) {
		a := new(GetArgs)
		var ids []ID
		in, err := readArguments(c.Args)
		if err != nil {
			return nil, err
		}
		err = errors.Join(in.account("accountId", &a.AccountID), in.take("ids", &ids), in.take("properties", &a.Properties), in.rest(extra, &a.Extra))
		if err != nil {
			return nil, argumentError(err)
		}
		if len(ids) > t.limits().ObjectsInGet {
			return nil, ErrRequestTooLarge.With("more than %d ids", t.limits().ObjectsInGet)
		}
		for _, p := range a.Properties {
			if t.Property != nil && !t.Property(p) {
				return nil, InvalidArguments("properties: %q is no property of %s", p, t.Name)
			}
		}
		if a.Properties != nil && !slices.Contains(a.Properties, "id") {
			a.Properties = append(a.Properties, "id")
		}
		missing := a.resolve(c, ids)
		r, err := do(ctx, c, a)
		if err != nil {
			return nil, err
		}
		r.AccountID = a.AccountID
		r.NotFound = append(notNil(r.NotFound), missing...)
		if r.List == nil {
			r.List = []Object{}
		}
		return r, nil
	})
}

// resolve puts the ids that may be there into a.IDs, each once, and returns the others.
func (a *GetArgs) resolve(c *Call, ids []ID) (missing []ID) {
	if ids == nil {
		return nil
	}
	a.IDs = make([]ID, 0, len(ids))
	seen := make(map[ID]bool, len(ids))
	for _, given := range ids {
		id, ok := c.Resolve(given)
		switch {
		case seen[given] || ok && seen[id]:
		case !ok || !id.Valid():
			missing = append(missing, given)
		default:
			a.IDs = append(a.IDs, id)
			seen[id] = true
		}
		seen[given] = true
	}
	return missing
}

// Set makes the method /set of the type (RFC 8620, 5.3).
func (t *DataType) Set(extra []string, do func(context.Context, *Call, *SetArgs) (*SetResult, error)) Method {
	return t.method("set", func(ctx context.Context, c *Call) (any, error) {
		in, err := readArguments(c.Args)
		if err != nil {
			return nil, err
		}
		a := new(SetArgs)
		err = errors.Join(in.account("accountId", &a.AccountID), in.take("ifInState", &a.IfInState), in.creations("create", &a.Create),
			in.updates("update", &a.Update), in.take("destroy", &a.Destroy), in.rest(extra, &a.Extra))
		if err != nil {
			return nil, argumentError(err)
		}
		if n := t.limits().ObjectsInSet; len(a.Create)+len(a.Update)+len(a.Destroy) > n {
			return nil, ErrRequestTooLarge.With("more than %d objects", n)
		}
		missing := a.resolve(c)
		r, err := do(ctx, c, a)
		if err != nil {
			return nil, err
		}
		r.AccountID = a.AccountID
		missing(r)
		for creation, o := range r.Created {
			if id, ok := o["id"].(ID); ok {
				c.Created(creation, id)
			}
		}
		return r, nil
	})
}

// resolve replaces creation ids in Update and Destroy; those that stand for nothing are
// taken out, and the function that is returned puts them among what was not found.
func (a *SetArgs) resolve(c *Call) func(*SetResult) {
	notUpdated, notDestroyed := map[ID]*SetError{}, map[ID]*SetError{}
	a.Update = slices.DeleteFunc(a.Update, func(u Update) bool {
		id, ok := c.Resolve(u.ID)
		if !ok || !id.Valid() {
			notUpdated[u.ID] = NewSetError(SetNotFound, "no such object")
		}
		return !ok || !id.Valid()
	})
	for i := range a.Update {
		a.Update[i].ID, _ = c.Resolve(a.Update[i].ID)
	}
	a.Destroy = slices.DeleteFunc(a.Destroy, func(given ID) bool {
		id, ok := c.Resolve(given)
		if !ok || !id.Valid() {
			notDestroyed[given] = NewSetError(SetNotFound, "no such object")
		}
		return !ok || !id.Valid()
	})
	for i := range a.Destroy {
		a.Destroy[i], _ = c.Resolve(a.Destroy[i])
	}
	return func(r *SetResult) {
		for id, e := range notUpdated {
			r.NotUpdate(id, e)
		}
		for id, e := range notDestroyed {
			r.NotDestroy(id, e)
		}
	}
}

// Create notes an object that was made; o must have "id".
func (r *SetResult) Create(creation ID, o Object) {
	if r.Created == nil {
		r.Created = map[ID]Object{}
	}
	r.Created[creation] = o
}

// Update notes an object that was changed; o holds what the server changed besides, or is nil.
func (r *SetResult) Update(id ID, o Object) {
	if r.Updated == nil {
		r.Updated = map[ID]Object{}
	}
	r.Updated[id] = o
}

// NotCreate notes why an object was not made.
func (r *SetResult) NotCreate(creation ID, e *SetError) {
	if r.NotCreated == nil {
		r.NotCreated = map[ID]*SetError{}
	}
	r.NotCreated[creation] = e
}

// NotUpdate notes why an object was not changed.
func (r *SetResult) NotUpdate(id ID, e *SetError) {
	if r.NotUpdated == nil {
		r.NotUpdated = map[ID]*SetError{}
	}
	r.NotUpdated[id] = e
}

// NotDestroy notes why an object was not destroyed.
func (r *SetResult) NotDestroy(id ID, e *SetError) {
	if r.NotDestroyed == nil {
		r.NotDestroyed = map[ID]*SetError{}
	}
	r.NotDestroyed[id] = e
}

// Changes makes the method /changes of the type (RFC 8620, 5.2).
func (t *DataType) Changes(extra []string, do func(context.Context, *Call, *ChangesArgs) (*ChangesResult, error)) Method {
	return t.method("changes", func(ctx context.Context, c *Call) (any, error) {
		in, err := readArguments(c.Args)
		if err != nil {
			return nil, err
		}
		a := new(ChangesArgs)
		err = errors.Join(in.account("accountId", &a.AccountID), in.need("sinceState", &a.SinceState), in.positive("maxChanges", &a.MaxChanges), in.rest(extra, &a.Extra))
		if err != nil {
			return nil, argumentError(err)
		}
		r, err := do(ctx, c, a)
		if err != nil {
			return nil, err
		}
		r.AccountID, r.OldState = a.AccountID, a.SinceState
		return r, nil
	})
}

// Query makes the method /query of the type (RFC 8620, 5.5).
func (t *DataType) Query(extra []string, do func(context.Context, *Call, *QueryArgs) (*QueryResult, error)) Method {
	return t.method("query", func(ctx context.Context, c *Call) (any, error) {
		in, err := readArguments(c.Args)
		if err != nil {
			return nil, err
		}
		a := &QueryArgs{Limit: -1}
		err = errors.Join(in.account("accountId", &a.AccountID), in.filter("filter", &a.Filter), in.sort("sort", &a.Sort), in.integer("position", &a.Position),
			in.take("anchor", &a.Anchor), in.integer("anchorOffset", &a.AnchorOffset), in.unsigned("limit", &a.Limit), in.take("calculateTotal", &a.CalculateTotal), in.rest(extra, &a.Extra))
		if err != nil {
			return nil, argumentError(err)
		}
		if id, ok := c.Resolve(a.Anchor); ok {
			a.Anchor = id
		}
		r, err := do(ctx, c, a)
		if err != nil {
			return nil, err
		}
		r.AccountID, r.WithTotal = a.AccountID, a.CalculateTotal
		return r, nil
	})
}

// QueryChanges makes the method /queryChanges of the type (RFC 8620, 5.6).
func (t *DataType) QueryChanges(extra []string, do func(context.Context, *Call, *QueryChangesArgs) (*QueryChangesResult, error)) Method {
	return t.method("queryChanges", func(ctx context.Context, c *Call) (any, error) {
		in, err := readArguments(c.Args)
		if err != nil {
			return nil, err
		}
		a := new(QueryChangesArgs)
		err = errors.Join(in.account("accountId", &a.AccountID), in.filter("filter", &a.Filter), in.sort("sort", &a.Sort), in.need("sinceQueryState", &a.SinceQueryState),
			in.positive("maxChanges", &a.MaxChanges), in.take("upToId", &a.UpToID), in.take("calculateTotal", &a.CalculateTotal), in.rest(extra, &a.Extra))
		if err != nil {
			return nil, argumentError(err)
		}
		r, err := do(ctx, c, a)
		if err != nil {
			return nil, err
		}
		r.AccountID, r.OldQueryState, r.WithTotal = a.AccountID, a.SinceQueryState, a.CalculateTotal
		return r, nil
	})
}

// Copy makes the method /copy of the type (RFC 8620, 5.4). Do copies; that the originals are
// destroyed after it is the caller's: it is an implicit call of /set, made by destroy with
// the ids of the originals, whose response follows the copy's own.
func (t *DataType) Copy(extra []string, do func(context.Context, *Call, *CopyArgs) (*CopyResult, error), destroy Method) Method {
	return t.method("copy", func(ctx context.Context, c *Call) (any, error) {
		in, err := readArguments(c.Args)
		if err != nil {
			return nil, err
		}
		a := new(CopyArgs)
		err = errors.Join(in.account("fromAccountId", &a.FromAccountID), in.take("ifFromInState", &a.IfFromInState), in.account("accountId", &a.AccountID),
			in.take("ifInState", &a.IfInState), in.creations("create", &a.Create), in.take("onSuccessDestroyOriginal", &a.OnSuccessDestroyOriginal),
			in.take("destroyFromIfInState", &a.DestroyFromIfInState), in.rest(extra, &a.Extra))
		switch {
		case err != nil:
			return nil, argumentError(err)
		case a.FromAccountID == a.AccountID:
			return nil, InvalidArguments("fromAccountId and accountId are the same")
		case len(a.Create) > t.limits().ObjectsInSet:
			return nil, ErrRequestTooLarge.With("more than %d objects", t.limits().ObjectsInSet)
		}
		r, err := do(ctx, c, a)
		if err != nil {
			return nil, err
		}
		r.FromAccountID, r.AccountID = a.FromAccountID, a.AccountID
		for creation, o := range r.Created {
			if id, ok := o["id"].(ID); ok {
				c.Created(creation, id)
			}
		}
		if a.OnSuccessDestroyOriginal && len(r.Created) > 0 {
			return r, t.destroyOriginals(ctx, c, a, r, destroy)
		}
		return r, nil
	})
}

// destroyOriginals makes the implicit call of /set behind a /copy.
func (t *DataType) destroyOriginals(ctx context.Context, c *Call, a *CopyArgs, r *CopyResult, destroy Method) error {
	var ids []ID
	for _, made := range a.Create {
		if _, ok := r.Created[made.ID]; !ok {
			continue
		}
		var id ID
		if err := json.Unmarshal(made.Object["id"], &id); err != nil {
			return err
		}
		if id, ok := c.Resolve(id); ok {
			ids = append(ids, id)
		}
	}
	args := map[string]any{"accountId": a.FromAccountID, "destroy": ids}
	if a.DestroyFromIfInState != nil {
		args["ifInState"] = *a.DestroyFromIfInState
	}
	return c.Call(ctx, destroy, args)
}

// Call makes an implicit call of a method, whose response, or error, follows the call's own
// under the same id.
func (c *Call) Call(ctx context.Context, m Method, args any) error {
	raw, err := json.Marshal(args)
	if err != nil {
		return err
	}
	result, err := m.Do(ctx, NewCall(m.Name, raw, c.User, c))
	var e *MethodError
	switch {
	case errors.As(err, &e):
		return c.Also("error", e)
	case err != nil:
		return err
	}
	return c.Also(m.Name, result)
}

// method is the frame of all of them.
func (t *DataType) method(verb string, do func(context.Context, *Call) (any, error)) Method {
	return Method{Name: t.Name + "/" + verb, Capability: t.Capability, Do: do}
}

// argumentError makes the error of wrong arguments of the first that was found.
func argumentError(err error) error {
	var e *MethodError
	if errors.As(err, &e) {
		return e
	}
	return InvalidArguments("%s", err)
}

// isNull tells whether a value is null, or was not given.
func isNull(raw json.RawMessage) bool {
	return len(raw) == 0 || bytes.Equal(bytes.TrimSpace(raw), []byte("null"))
}
