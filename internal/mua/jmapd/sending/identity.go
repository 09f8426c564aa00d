package sending

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"postroad/address"
	"postroad/internal/directory"
	"postroad/internal/kv/hlc"
	"postroad/internal/mailflow"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/objects"
	"postroad/internal/outbox"
	"postroad/jmap"
)

// Limits of an identity's properties; the record has room for all of them together.
const (
	nameMax      = 500      // octets
	signatureMax = 24 << 10 // octets of each signature
	mailboxesMax = 50       // addresses in replyTo and bcc
	emailMax     = 320      // octets: 64 + "@" + 255 (RFC 5321, 4.5.3.1)
)

// forbiddenFrom: the user may not send from an address (RFC 8621, 6.3 and 7.5).
const forbiddenFrom = "forbiddenFrom"

// identityMethods are those of Identity (RFC 8621, 6).
func (m *Methods) identityMethods() []jmap.Method {
	t := &jmap.DataType{Name: "Identity", Capability: CapabilitySubmission,
		Property: members("id", "name", "email", "replyTo", "bcc", "textSignature", "htmlSignature", "mayDelete")}
	return []jmap.Method{t.Get(nil, m.getIdentities), t.Changes(nil, m.identityChanges), t.Set(nil, m.setIdentities)}
}

// identities reads the identities of an own account.
func (m *Methods) identities(ctx context.Context, c *jmap.Call, id jmap.ID) (*access.Account, directory.Principal, []*outbox.Identity, objects.State, error) {
	a, err := m.house.OwnAccount(ctx, c, id)
	if err != nil {
		return nil, directory.Principal{}, nil, objects.State{}, err
	}
	who, err := m.principal(ctx, a)
	if err != nil {
		return nil, who, nil, objects.State{}, err
	}
	all, state, err := m.o.Outbox.Identities(ctx, who)
	return a, who, all, state, err
}

// getIdentities answers Identity/get (RFC 8621, 6.1).
func (m *Methods) getIdentities(ctx context.Context, c *jmap.Call, args *jmap.GetArgs) (*jmap.GetResult, error) {
	_, who, all, state, err := m.identities(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	r := &jmap.GetResult{State: state.String()}
	byID := make(map[jmap.ID]*outbox.Identity, len(all))
	wanted := args.IDs
	for _, i := range all {
		id := access.FormatID(letterIdentity, i.ID)
		byID[id] = i
		if args.IDs == nil {
			wanted = append(wanted, id)
		}
	}
	for _, id := range wanted {
		i := byID[id]
		if i == nil {
			r.NotFound = append(r.NotFound, id)
			continue
		}
		o, err := m.identity(ctx, who, i)
		if err != nil {
			return nil, err
		}
		r.List = append(r.List, pick(args, o))
	}
	return r, nil
}

// identity is an identity as clients see it.
func (m *Methods) identity(ctx context.Context, who directory.Principal, i *outbox.Identity) (jmap.Object, error) {
	may, err := m.o.Outbox.MayDelete(ctx, who, i)
	return jmap.Object{"id": access.FormatID(letterIdentity, i.ID), "name": i.Name, "email": i.Email, "replyTo": i.ReplyTo,
		"bcc": i.Bcc, "textSignature": i.TextSignature, "htmlSignature": i.HTMLSignature, "mayDelete": may}, err
}

// identityChanges answers Identity/changes (RFC 8621, 6.2).
func (m *Methods) identityChanges(ctx context.Context, c *jmap.Call, args *jmap.ChangesArgs) (*jmap.ChangesResult, error) {
	a, _, _, _, err := m.identities(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	return m.changes(ctx, a, objects.Identity, letterIdentity, args)
}

// setIdentities answers Identity/set (RFC 8621, 6.3).
func (m *Methods) setIdentities(ctx context.Context, c *jmap.Call, args *jmap.SetArgs) (*jmap.SetResult, error) {
	a, who, all, _, err := m.identities(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	r, err := m.house.BeginSet(ctx, a, objects.Identity, args)
	if err != nil {
		return nil, err
	}
	for _, made := range args.Create {
		o, err := m.createIdentity(ctx, who, len(all), made.Object)
		told, err := setError(err)
		switch {
		case err != nil:
			return nil, err
		case told != nil:
			r.NotCreate(made.ID, told)
		default:
			r.Create(made.ID, o)
		}
	}
	for _, u := range args.Update {
		told, err := setError(m.updateIdentity(ctx, who, u.ID, u.Patch))
		switch {
		case err != nil:
			return nil, err
		case told != nil:
			r.NotUpdate(u.ID, told)
		default:
			r.Update(u.ID, nil)
		}
	}
	for _, id := range args.Destroy {
		told, err := setError(m.destroyIdentity(ctx, who, id))
		switch {
		case err != nil:
			return nil, err
		case told != nil:
			r.NotDestroy(id, told)
		default:
			r.Destroyed = append(r.Destroyed, id)
		}
	}
	return m.house.EndSet(ctx, a, objects.Identity, r)
}

// createIdentity makes an identity.
func (m *Methods) createIdentity(ctx context.Context, who directory.Principal, have int, p jmap.Properties) (jmap.Object, error) {
	if have >= outbox.IdentitiesMax {
		return nil, jmap.NewSetError(jmap.SetOverQuota, "more than %d identities", outbox.IdentitiesMax)
	}
	i := new(outbox.Identity)
	if err := setIdentity(i, p, true); err != nil {
		return nil, err
	}
	if err := m.mayUse(ctx, who, i.Email); err != nil {
		return nil, err
	}
	v, err := i.Encode()
	if err != nil {
		return nil, err
	}
	if i.ID, err = m.house.Objects.Create(ctx, who.ID, objects.Identity, v); err != nil {
		return nil, err
	}
	o, err := m.identity(ctx, who, i)
	for name := range p { // the client knows what it gave
		delete(o, name)
	}
	return o, err
}

// mayUse tells whether the user may have an identity for an address.
func (m *Methods) mayUse(ctx context.Context, who directory.Principal, email string) error {
	forbidden := jmap.NewSetError(forbiddenFrom, "you may not send from %s", email)
	local, domain, _ := strings.Cut(email, "@")
	if local == outbox.AnyLocal {
		// Whoever gets what nobody else does in a domain may send as anybody there.
		email = "any." + m.house.Objects.NewID().String() + "@" + domain
	}
	a, err := address.Parse(email)
	if err != nil {
		return jmap.InvalidProperties([]string{"email"}, "not an address")
	}
	right, err := m.house.Directory.MaySendAs(ctx, who, a)
	switch {
	case err != nil:
		return err
	case right == directory.SendNot, local == outbox.AnyLocal && right < directory.SendAs:
		return forbidden
	}
	return nil
}

// updateIdentity changes an identity.
func (m *Methods) updateIdentity(ctx context.Context, who directory.Principal, id jmap.ID, patch jmap.Properties) error {
	return m.oneIdentity(ctx, who, id, func(_ context.Context, u *mailflow.Unit, i *outbox.Identity) error {
		if err := setIdentity(i, patch, false); err != nil {
			return err
		}
		v, err := i.Encode()
		if err != nil {
			return err
		}
		return m.house.Objects.PrepareUpdate(u, who.ID, objects.Identity, i.Object(), v)
	})
}

// destroyIdentity takes an identity away.
func (m *Methods) destroyIdentity(ctx context.Context, who directory.Principal, id jmap.ID) error {
	return m.oneIdentity(ctx, who, id, func(ctx context.Context, u *mailflow.Unit, i *outbox.Identity) error {
		may, err := m.o.Outbox.MayDelete(ctx, who, i)
		if err != nil {
			return err
		}
		if !may {
			return jmap.NewSetError(jmap.SetForbidden, "the address is yours, and so is this identity")
		}
		return m.o.Outbox.PrepareDestroyIdentity(ctx, u, who.ID, i)
	})
}

// oneIdentity commits a change of one identity.
func (m *Methods) oneIdentity(ctx context.Context, who directory.Principal, id jmap.ID, change func(context.Context, *mailflow.Unit, *outbox.Identity) error) error {
	of, ok := access.ParseID(letterIdentity, id)
	if !ok {
		return objects.ErrNotFound
	}
	return m.house.Committer.Commit(ctx, func(ctx context.Context, u *mailflow.Unit) error {
		i, err := m.o.Outbox.Identity(ctx, who.ID, of)
		if err != nil {
			return err
		}
		return change(ctx, u, i)
	})
}

// setIdentity takes over the properties that a client gives.
func setIdentity(i *outbox.Identity, p jmap.Properties, create bool) error {
	if create {
		if err := setEmail(i, p["email"]); err != nil {
			return err
		}
	}
	for name, v := range p {
		var err error
		switch name {
		case "name":
			err = setText(&i.Name, v, nameMax)
		case "textSignature":
			err = setText(&i.TextSignature, v, signatureMax)
		case "htmlSignature":
			err = setText(&i.HTMLSignature, v, signatureMax)
		case "replyTo":
			err = setMailboxes(&i.ReplyTo, v)
		case "bcc":
			err = setMailboxes(&i.Bcc, v)
		case "email":
			var same string
			if !create && (json.Unmarshal(v, &same) != nil || same != i.Email) {
				err = fmt.Errorf("cannot be changed")
			}
		default:
			err = fmt.Errorf("no property that can be set")
		}
		if err != nil {
			return jmap.InvalidProperties([]string{name}, "%s: %s", name, err)
		}
	}
	return nil
}

func setEmail(i *outbox.Identity, v json.RawMessage) error {
	bad := jmap.InvalidProperties([]string{"email"}, "email: not an address")
	if json.Unmarshal(v, &i.Email) != nil || len(i.Email) > emailMax {
		return bad
	}
	check := i.Email
	if domain, any := strings.CutPrefix(i.Email, outbox.AnyLocal+"@"); any {
		check = "x@" + domain
	}
	if a, err := address.Parse(check); err != nil || a.Domain == "" || a.IsLiteral() {
		return bad
	}
	return nil
}

// setText takes a string; null is the default, which is empty.
func setText(into *string, v json.RawMessage, most int) error {
	*into = ""
	if isNull(v) {
		return nil
	}
	if json.Unmarshal(v, into) != nil {
		return fmt.Errorf("no string")
	}
	if len(*into) > most {
		return fmt.Errorf("more than %d octets", most)
	}
	return nil
}

// setMailboxes takes a list of EmailAddress (RFC 8621, 4.1.2.3), or null.
func setMailboxes(into *[]outbox.Mailbox, v json.RawMessage) error {
	*into = nil
	if isNull(v) {
		return nil
	}
	var list []outbox.Mailbox
	if json.Unmarshal(v, &list) != nil {
		return fmt.Errorf("no list of addresses")
	}
	if len(list) > mailboxesMax {
		return fmt.Errorf("more than %d addresses", mailboxesMax)
	}
	for _, b := range list {
		if _, err := address.Parse(b.Email); err != nil || len(b.Email) > emailMax || b.Name != nil && len(*b.Name) > nameMax {
			return fmt.Errorf("%.40q is no address", b.Email)
		}
	}
	*into = list
	if list == nil {
		*into = []outbox.Mailbox{}
	}
	return nil
}

func isNull(v json.RawMessage) bool {
	return len(v) == 0 || bytes.Equal(bytes.TrimSpace(v), []byte("null"))
}

// find finds the identity of an id that a client gave, nil when there is none.
func find(all []*outbox.Identity, id hlc.ID) *outbox.Identity {
	for _, i := range all {
		if i.ID == id {
			return i
		}
	}
	return nil
}
