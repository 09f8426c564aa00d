// Package sieves answers the JMAP methods about Sieve scripts: those that ManageSieve serves
// too (internal/scripts).
//
// The main type is [Methods]. The content of a script is a blob: one that was uploaded goes
// in, and a script's own is named by its version, so that it never changes under its id. The
// package compiles nothing itself.
//
// RFC 9661; RFC 5804 (names, limits).
package sieves

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"postroad/internal/mua/jmapd/access"
	"postroad/internal/scripts"
	"postroad/jmap"
	"postroad/managesieve"
)

// Capability is that of Sieve scripts (RFC 9661, 2.1).
const Capability = "urn:ietf:params:jmap:sieve"

// Letters of ids.
const (
	scriptID = 'Y'
	// ContentID is that of the ids of contents: OpenBlob opens them.
	ContentID = 'V'
)

// Options are what the package is set up with.
type Options struct {
	Blobs          access.Blobs // what is uploaded
	Extensions     []string     // what scripts may require
	Notify         []string     // URI schemes of enotify
	RedirectsMax   int
	Implementation string
}

// Methods answers the methods. All may run at once.
type Methods struct {
	house *access.House
	o     Options
}

// New returns the methods over a house.
func New(h *access.House, o Options) *Methods { return &Methods{h, o} }

var properties = []string{"id", "name", "blobId", "isActive"}

// Methods returns all methods of the package.
func (m *Methods) Methods() []jmap.Method {
	t := &jmap.DataType{Name: "SieveScript", Capability: Capability,
		Property: func(name string) bool { return slices.Contains(properties, name) }}
	return []jmap.Method{
		t.Get(nil, m.get), t.Set([]string{"onSuccessActivateScript", "onSuccessDeactivateScript"}, m.set), t.Query(nil, m.query),
		{Name: "SieveScript/validate", Capability: Capability, Do: m.validate},
	}
}

// Session is the package's part of the session's capabilities.
func (m *Methods) Session() map[string]any {
	return map[string]any{Capability: map[string]any{"implementation": m.o.Implementation}}
}

// Capabilities is its part of an account's.
func (m *Methods) Capabilities(_ *access.User, a *access.Account) map[string]any {
	if !a.Own {
		return nil
	}
	return map[string]any{Capability: map[string]any{
		"maxSizeScriptName": managesieve.NameMax, "maxSizeScript": scripts.ScriptMax, "maxNumberScripts": scripts.ScriptsMax,
		"maxNumberRedirects": m.o.RedirectsMax, "sieveExtensions": m.o.Extensions, "notificationMethods": m.o.Notify, "externalLists": nil,
	}}
}

// States are the states of its types, for push.
func (m *Methods) States(ctx context.Context, a *access.Account) (map[string]string, error) {
	if !a.Own {
		return nil, nil
	}
	s, err := m.state(ctx, a)
	return map[string]string{"SieveScript": s}, err
}

// state is that of an account's scripts.
func (m *Methods) state(ctx context.Context, a *access.Account) (string, error) {
	s, err := m.house.Scripts.State(ctx, scripts.OfAccount(a.ID()))
	return s.String(), err
}

// object is a script for clients.
func object(s *scripts.Script) jmap.Object {
	return jmap.Object{"id": access.FormatID(scriptID, s.ID), "name": s.Name,
		"blobId": access.FormatID(ContentID, s.Version), "isActive": s.Active}
}

// get answers SieveScript/get.
func (m *Methods) get(ctx context.Context, c *jmap.Call, args *jmap.GetArgs) (*jmap.GetResult, error) {
	a, err := m.house.OwnAccount(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	r := &jmap.GetResult{NotFound: slices.Clone(args.IDs)}
	if r.State, err = m.state(ctx, a); err != nil {
		return nil, err
	}
	all, err := m.house.Scripts.List(ctx, scripts.OfAccount(a.ID()))
	if err != nil {
		return nil, err
	}
	for i := range all {
		o := object(&all[i])
		id := o["id"].(jmap.ID)
		if args.IDs != nil && !slices.Contains(args.IDs, id) {
			continue
		}
		r.NotFound = slices.DeleteFunc(r.NotFound, func(missing jmap.ID) bool { return missing == id })
		for name := range o {
			if !args.Wants(name) {
				delete(o, name)
			}
		}
		r.List = append(r.List, o)
	}
	return r, nil
}

// query answers SieveScript/query.
func (m *Methods) query(ctx context.Context, c *jmap.Call, args *jmap.QueryArgs) (*jmap.QueryResult, error) {
	a, err := m.house.OwnAccount(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	state, err := m.state(ctx, a)
	if err != nil {
		return nil, err
	}
	all, err := m.house.Scripts.List(ctx, scripts.OfAccount(a.ID()))
	if err != nil {
		return nil, err
	}
	ids, err := choose(all, args.Filter, args.Sort)
	if err != nil {
		return nil, err
	}
	r, err := args.Window(ids, state, 0)
	if r != nil {
		r.CanCalculateChanges = false
	}
	return r, err
}

// validate answers SieveScript/validate.
func (m *Methods) validate(ctx context.Context, c *jmap.Call) (any, error) {
	var args struct {
		AccountID jmap.ID `json:"accountId"`
		BlobID    jmap.ID `json:"blobId"`
	}
	if err := c.Decode(&args, "accountId", "blobId"); err != nil {
		return nil, err
	}
	a, err := m.house.OwnAccount(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	id, _ := c.Resolve(args.BlobID)
	var wrong any
	content, err := m.content(ctx, a, id)
	if err == nil {
		_, err = m.house.Scripts.Check(content)
	}
	if e := setError(err); e != nil {
		wrong = e
	} else if err != nil {
		return nil, err
	}
	return map[string]any{"accountId": args.AccountID, "error": wrong}, nil
}

// content reads a script that was uploaded, or is one's own already.
func (m *Methods) content(ctx context.Context, a *access.Account, id jmap.ID) ([]byte, error) {
	open := m.o.Blobs.OpenBlob
	if len(id) > 0 && id[0] == ContentID {
		open = m.OpenBlob
	}
	b, err := open(ctx, a.User, a, id)
	if err != nil {
		return nil, err
	}
	defer b.Close() // read only: nothing is lost
	if b.Size() > scripts.ScriptMax {
		return nil, scripts.ErrTooLarge
	}
	content := make([]byte, b.Size())
	if n, err := b.ReadAt(content, 0); n < len(content) {
		return nil, err
	}
	return content, nil
}

// text is the content of a script as a blob.
type text struct{ *bytes.Reader }

// Close implements jmap.Blob.
func (text) Close() error { return nil }

// OpenBlob opens the content of a script of the user's own.
func (m *Methods) OpenBlob(ctx context.Context, u *access.User, a *access.Account, id jmap.ID) (jmap.Blob, error) {
	version, ok := access.ParseID(ContentID, id)
	if !ok || !a.Own || u.ID != a.ID() {
		return nil, jmap.ErrBlobNotFound
	}
	all, err := m.house.Scripts.List(ctx, scripts.OfAccount(a.ID()))
	if err != nil {
		return nil, err
	}
	for _, s := range all {
		if s.Version != version {
			continue
		}
		source, err := m.house.Scripts.Get(ctx, scripts.OfAccount(a.ID()), s.Name)
		if errors.Is(err, scripts.ErrNoScript) || err == nil && source.Version != version {
			break // just changed
		}
		if err != nil {
			return nil, err
		}
		return text{bytes.NewReader(source.Text)}, nil
	}
	return nil, jmap.ErrBlobNotFound
}
