package own

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"postroad/internal/directory"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/mua/login"
	"postroad/internal/tokens"
	"postroad/jmap"
)

// Credentials is what people prove themselves with, as *login.Gate keeps it. Who may see or
// change what is its business: it refuses with login.ErrProgram and login.ErrStale.
type Credentials interface {
	AppPasswords(ctx context.Context, u *access.User) ([]directory.AppPassword, error)
	AddAppPassword(ctx context.Context, u *access.User, name string) (string, error)
	RemoveAppPassword(ctx context.Context, u *access.User, name string) error
	Sessions(ctx context.Context, u *access.User) ([]*login.SessionView, error)
	EndSession(ctx context.Context, u *access.User, id string) error
	EndOtherSessions(ctx context.Context, u *access.User) error
	Grants(ctx context.Context, u *access.User) ([]login.GrantView, error)
	EndGrant(ctx context.Context, u *access.User, id string) error
	Factors(ctx context.Context, u *access.User) (directory.Factors, error)
	TOTPBegin(ctx context.Context, u *access.User) (login.Enrolment, error)
	TOTPConfirm(ctx context.Context, u *access.User, ticket, code string) (recovery []string, err error)
	TOTPRemove(ctx context.Context, u *access.User) error
	RecoveryCodes(ctx context.Context, u *access.User) ([]string, error)
	PasskeyBegin(ctx context.Context, u *access.User) (login.PasskeyOptions, error)
	PasskeyFinish(ctx context.Context, u *access.User, ticket string, credential []byte, name string) (id string, recovery []string, err error)
	PasskeyRename(ctx context.Context, u *access.User, id, name string) error
	PasskeyRemove(ctx context.Context, u *access.User, id string) error
	SetPassword(ctx context.Context, u *access.User, password string, endOthers bool) error
}

var _ Credentials = (*login.Gate)(nil)

// listed is one object of a credential type, and what the gate calls it.
type listed struct {
	object jmap.Object
	name   string
}

// credentialType is a type whose objects the gate keeps: short lists, read as a whole.
// They have no log of changes; the state is a digest of what a client sees of them.
type credentialType struct {
	name       string
	properties []string
	list       func(context.Context, *access.User) ([]listed, error)
	create     func(context.Context, *access.User, jmap.Properties) (jmap.Object, error) // nil: forbidden
	update     func(ctx context.Context, u *access.User, name string, patch jmap.Properties) error
	destroy    func(ctx context.Context, u *access.User, name string) error
}

// credentialTypes are all of them.
func (m *Methods) credentialTypes() []*credentialType {
	g := m.o.Credentials
	return []*credentialType{
		{name: "AppPassword", properties: []string{"id", "name", "created"},
			list: m.listAppPasswords, create: m.createAppPassword, destroy: g.RemoveAppPassword},
		{name: "Session", properties: []string{"id", "current", "client", "address", "how", "remembered", "created", "used", "expires", "freshUntil"},
			list: m.listSessions, destroy: g.EndSession},
		{name: "AccessToken", properties: []string{"id", "name", "scopes", "offline", "address", "created", "used"},
			list: m.listGrants, destroy: g.EndGrant},
		{name: "Passkey", properties: []string{"id", "credentialId", "name", "created", "used"},
			list: m.listPasskeys, update: m.renamePasskey, destroy: g.PasskeyRemove},
	}
}

// credentialMethods are those of all credentials: none where nobody keeps any.
func (m *Methods) credentialMethods() []jmap.Method {
	if m.o.Credentials == nil {
		return nil
	}
	var all []jmap.Method
	for _, t := range m.credentialTypes() {
		d := &jmap.DataType{Name: t.name, Capability: Capability,
			Property: func(name string) bool { return slices.Contains(t.properties, name) }}
		all = append(all,
			d.Get(nil, func(ctx context.Context, c *jmap.Call, args *jmap.GetArgs) (*jmap.GetResult, error) {
				r, err := m.getCredentials(ctx, c, t, args)
				return r, methodError(err)
			}),
			d.Set(nil, func(ctx context.Context, c *jmap.Call, args *jmap.SetArgs) (*jmap.SetResult, error) {
				r, err := m.setCredentials(ctx, c, t, args)
				return r, methodError(err)
			}))
	}
	return append(all, m.proofMethods()...)
}

// stateOf is the digest of a list. What is shown once, such as an app password, is in none.
func stateOf(all []listed) (string, error) {
	objects := make([]jmap.Object, len(all))
	for i, one := range all {
		objects[i] = one.object
	}
	text, err := json.Marshal(objects)
	return digest("", string(text)), err
}

// digest is a short id for a text of any length and alphabet (RFC 8620, 1.2).
func digest(prefix, text string) string {
	sum := sha256.Sum256([]byte(text))
	return prefix + base64.RawURLEncoding.EncodeToString(sum[:18])
}

// getCredentials answers /get of a credential type.
func (m *Methods) getCredentials(ctx context.Context, c *jmap.Call, t *credentialType, args *jmap.GetArgs) (*jmap.GetResult, error) {
	if _, err := m.house.OwnAccount(ctx, c, args.AccountID); err != nil {
		return nil, err
	}
	all, err := t.list(ctx, access.Of(c))
	if err != nil {
		return nil, err
	}
	state, err := stateOf(all)
	if err != nil {
		return nil, err
	}
	r := &jmap.GetResult{State: state}
	if args.IDs == nil {
		for _, one := range all {
			r.List = append(r.List, pick(args, one.object))
		}
		return r, nil
	}
	for _, id := range args.IDs {
		if one := find(all, id); one != nil {
			r.List = append(r.List, pick(args, one.object))
		} else {
			r.NotFound = append(r.NotFound, id)
		}
	}
	return r, nil
}

// find finds an object of a list; nil: it is not there.
func find(all []listed, id jmap.ID) *listed {
	i := slices.IndexFunc(all, func(one listed) bool { return one.object["id"] == id })
	if i < 0 {
		return nil
	}
	return &all[i]
}

// setCredentials answers /set of a credential type. Each object is a change of its own.
func (m *Methods) setCredentials(ctx context.Context, c *jmap.Call, t *credentialType, args *jmap.SetArgs) (*jmap.SetResult, error) {
	if _, err := m.house.OwnAccount(ctx, c, args.AccountID); err != nil {
		return nil, err
	}
	u := access.Of(c)
	all, err := t.list(ctx, u)
	if err != nil {
		return nil, err
	}
	state, err := stateOf(all)
	if err != nil {
		return nil, err
	}
	if args.IfInState != nil && *args.IfInState != state {
		return nil, jmap.ErrStateMismatch
	}
	r := &jmap.SetResult{OldState: state}
	if err := t.change(ctx, u, all, args, r); err != nil {
		return nil, err
	}
	if all, err = t.list(ctx, u); err != nil {
		return nil, err
	}
	r.NewState, err = stateOf(all)
	return r, err
}

// change does what a /set asks for; all is the list before.
func (t *credentialType) change(ctx context.Context, u *access.User, all []listed, args *jmap.SetArgs, r *jmap.SetResult) error {
	for _, made := range args.Create {
		o, err := t.make(ctx, u, made.Object)
		if told, err := credentialError(err); err != nil {
			return err
		} else if told != nil {
			r.NotCreate(made.ID, told)
		} else {
			r.Create(made.ID, o)
		}
	}
	for _, change := range args.Update {
		err := error(notFound())
		if one := find(all, change.ID); one != nil && t.update != nil {
			err = t.update(ctx, u, one.name, change.Patch)
		} else if one != nil {
			err = jmap.NewSetError(jmap.SetForbidden, "nothing of it can be changed")
		}
		if told, err := credentialError(err); err != nil {
			return err
		} else if told != nil {
			r.NotUpdate(change.ID, told)
		} else {
			r.Update(change.ID, nil)
		}
	}
	for _, id := range args.Destroy {
		err := error(notFound())
		if one := find(all, id); one != nil {
			err = t.destroy(ctx, u, one.name)
		}
		if told, err := credentialError(err); err != nil {
			return err
		} else if told != nil {
			r.NotDestroy(id, told)
		} else {
			r.Destroyed = append(r.Destroyed, id)
		}
	}
	return nil
}

// make makes an object, where /set of the type does.
func (t *credentialType) make(ctx context.Context, u *access.User, o jmap.Properties) (jmap.Object, error) {
	if t.create == nil {
		return nil, jmap.NewSetError(jmap.SetForbidden, "none is made in this way")
	}
	return t.create(ctx, u, o)
}

// onlyName reads the name, which must be all that an object or a patch has.
func onlyName(p jmap.Properties) (string, error) {
	for property := range p {
		if property != "name" {
			return "", jmap.InvalidProperties([]string{property}, "%q cannot be set", property)
		}
	}
	var name *string
	if err := json.Unmarshal(p["name"], &name); err != nil || name == nil {
		return "", jmap.InvalidProperties([]string{"name"}, "name: no string")
	}
	return *name, nil
}

func (m *Methods) listAppPasswords(ctx context.Context, u *access.User) ([]listed, error) {
	all, err := m.o.Credentials.AppPasswords(ctx, u)
	out := make([]listed, len(all))
	for i, p := range all {
		out[i] = listed{appPasswordObject(p), p.Name}
	}
	return out, err
}

// appPasswordObject has an id of name and time: one made anew under a name is another one.
func appPasswordObject(p directory.AppPassword) jmap.Object {
	created := jmap.FormatUTCDate(p.Created)
	return jmap.Object{"id": jmap.ID(digest("P", created+" "+p.Name)), "name": p.Name, "created": created}
}

// createAppPassword makes one. The response to this call is all that ever has the password.
func (m *Methods) createAppPassword(ctx context.Context, u *access.User, p jmap.Properties) (jmap.Object, error) {
	name, err := onlyName(p)
	if err != nil {
		return nil, err
	}
	password, err := m.o.Credentials.AddAppPassword(ctx, u, name)
	if err != nil {
		return nil, err
	}
	all, err := m.listAppPasswords(ctx, u)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(one listed) bool { return one.name == name })
	if i < 0 {
		return nil, notFound() // somebody has ended it just now
	}
	o := all[i].object
	o["password"] = password
	delete(o, "name") // as the client gave it
	return o, nil
}

func (m *Methods) listSessions(ctx context.Context, u *access.User) ([]listed, error) {
	all, err := m.o.Credentials.Sessions(ctx, u)
	out := make([]listed, len(all))
	for i, s := range all {
		out[i] = listed{jmap.Object{"id": jmap.ID("S" + s.ID), "current": s.Current, "client": s.Client, "address": orNull(s.Address),
			"how": s.How, "remembered": s.Remembered, "created": date(s.Created), "used": date(s.Used),
			"expires": date(s.Expires), "freshUntil": date(s.FreshUntil)}, s.ID}
	}
	return out, err
}

func (m *Methods) listGrants(ctx context.Context, u *access.User) ([]listed, error) {
	all, err := m.o.Credentials.Grants(ctx, u)
	out := make([]listed, len(all))
	for i, g := range all {
		out[i] = listed{jmap.Object{"id": jmap.ID("G" + g.ID), "name": g.Name, "scopes": append([]string{}, g.Scopes...), "offline": g.Offline,
			"address": orNull(g.Address), "created": date(g.Created), "used": date(g.Used)}, g.ID}
	}
	return out, err
}

func (m *Methods) listPasskeys(ctx context.Context, u *access.User) ([]listed, error) {
	f, err := m.o.Credentials.Factors(ctx, u)
	out := make([]listed, len(f.Passkeys))
	for i, k := range f.Passkeys {
		id := login.FormatPasskey(k.ID)
		out[i] = listed{jmap.Object{"id": passkeyID(id), "credentialId": id, "name": k.Name, "created": date(k.Created), "used": date(k.Used)}, id}
	}
	return out, err
}

// passkeyID is a passkey's id in JMAP: WebAuthn's own can be longer than an Id.
func passkeyID(credential string) jmap.ID { return jmap.ID(digest("K", credential)) }

func (m *Methods) renamePasskey(ctx context.Context, u *access.User, id string, patch jmap.Properties) error {
	name, err := onlyName(patch)
	if err != nil {
		return err
	}
	return m.o.Credentials.PasskeyRename(ctx, u, id, name)
}

// date is a UTCDate, null for a time that never was.
func date(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return jmap.FormatUTCDate(t)
}

// orNull is a text, null for none.
func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// credentialError turns an error about one object into what the client is told.
func credentialError(err error) (*jmap.SetError, error) {
	var refused *login.Refusal
	switch {
	case errors.Is(err, login.ErrStale):
		return jmap.NewSetError(jmap.SetForbidden, "%s", stale), nil
	case errors.As(err, &refused):
		return jmap.NewSetError(jmap.SetForbidden, "%s", refused.Detail), nil
	case errors.Is(err, directory.ErrNotFound), errors.Is(err, tokens.ErrNotFound):
		return notFound(), nil
	case errors.Is(err, directory.ErrExists):
		return jmap.NewSetError(jmap.SetAlreadyExists, "there is one of this name"), nil
	case errors.Is(err, directory.ErrInvalid):
		return jmap.InvalidProperties([]string{"name"}, "%s", reason(err)), nil
	}
	return setError(err)
}

const stale = "log in again: who changes credentials must have proved within ten minutes who he is"

// reason is what directory.ErrInvalid says is wrong; it repeats nothing that was sent.
func reason(err error) string {
	_, text, _ := strings.Cut(err.Error(), directory.ErrInvalid.Error()+": ")
	return text
}

// methodError turns an error about a whole call into what the client is told.
func methodError(err error) error {
	var refused *login.Refusal
	switch {
	case errors.Is(err, login.ErrStale):
		return jmap.ErrForbidden.With("%s", stale)
	case errors.As(err, &refused) && refused.Status == http.StatusForbidden:
		return jmap.ErrForbidden.With("%s", refused.Detail)
	case errors.As(err, &refused):
		return jmap.InvalidArguments("%s", refused.Detail)
	case errors.Is(err, directory.ErrCredentials):
		return jmap.InvalidArguments("the code is wrong")
	case errors.Is(err, directory.ErrNotFound):
		return jmap.InvalidArguments("there is none")
	case errors.Is(err, directory.ErrExists):
		return jmap.InvalidArguments("there is one already")
	case errors.Is(err, directory.ErrInvalid):
		return jmap.InvalidArguments("%s", reason(err))
	}
	return err
}
