// Package accesstest is a house over memory for tests of JMAP methods: organisations with
// people in them, and calls as one of them.
//
// The main type is [House]. It is for tests only and judges nothing.
package accesstest

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"postroad/address"
	"postroad/internal/blob"
	"postroad/internal/blob/memblob"
	"postroad/internal/directory"
	"postroad/internal/kv/hlc"
	"postroad/internal/kv/memkv"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/objects"
	"postroad/jmap"
)

// House is a house over memory.
type House struct {
	*access.House
	Users   map[string]*access.User // by the local part of the login
	Using   []string                // capabilities of each call
	t       testing.TB
	methods map[string]jmap.Method
}

// New makes accounts with a quota; each domain is of an organisation of its own, the first
// one of the default one.
func New(t testing.TB, q mailstore.Quota, logins ...string) *House {
	t.Helper()
	ctx := context.Background()
	engine, clock := memkv.New(), hlc.NewClock(1)
	t.Cleanup(func() { engine.Close() })
	c := &mailflow.Committer{Engine: engine, Bodies: blob.NewBodies(engine, memblob.New(), clock)}
	h := &House{t: t, Users: map[string]*access.User{}, methods: map[string]jmap.Method{}}
	d, err := directory.Open(ctx, directory.Options{Engine: engine, Committer: c, Clock: clock})
	h.Must(err)
	t.Cleanup(d.Close)
	h.House = &access.House{Mail: mailstore.New(mailstore.Options{Committer: c, Clock: clock}), Directory: d,
		Objects: &objects.Store{Committer: c, Clock: clock}, Committer: c, Bodies: c.Bodies, Clock: clock,
		Host: "mail.test", Log: slog.New(slog.DiscardHandler)}
	domains := map[string]bool{}
	for _, login := range logins {
		a := h.Address(login)
		if !domains[a.Domain] {
			h.domain(a.Domain, len(domains))
			domains[a.Domain] = true
		}
		made, err := d.AddAccount(ctx, directory.NewAccount{Addresses: []address.Address{a}, Name: strings.ToUpper(a.Local)})
		h.Must(err)
		h.Must(h.Mail.Create(ctx, made.ID, q))
		p, err := d.Principal(ctx, made.ID)
		h.Must(err)
		h.Users[a.Local] = &access.User{Principal: p, Credential: "password"}
	}
	return h
}

// domain makes a domain; all but the first are of an organisation of their own.
func (h *House) domain(name string, before int) {
	org := ""
	if before > 0 {
		org = fmt.Sprint("org", before)
		_, err := h.Directory.AddOrganisation(context.Background(), org)
		h.Must(err)
	}
	_, err := h.Directory.AddDomain(context.Background(), directory.Domain{Name: name, Org: org})
	h.Must(err)
}

// Serve makes the methods of a family known to Call.
func (h *House) Serve(methods []jmap.Method) {
	for _, m := range methods {
		h.methods[m.Name] = m
	}
}

// Must ends the test at an error.
func (h *House) Must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// Address reads an address.
func (h *House) Address(s string) address.Address {
	h.t.Helper()
	a, err := address.Parse(s)
	h.Must(err)
	return a
}

// Account is the id of a user's account.
func (h *House) Account(user string) jmap.ID { return access.FormatID('A', h.Users[user].ID) }

// Subject is a user in access control lists.
func (h *House) Subject(user string) mailstore.Subject {
	return mailstore.Subject{Kind: mailstore.SubjectAccount, Account: h.Users[user].ID}
}

// Principal is the id of a user's principal.
func (h *House) Principal(user string) jmap.ID {
	id, _ := access.PrincipalID(h.Subject(user))
	return id
}

// Call makes a call as a user in somebody's account; args are members behind accountId, with
// a comma before them. It returns the response, decoded, or {"error": its type}.
func (h *House) Call(user, method, account, args string) map[string]any {
	h.t.Helper()
	raw := fmt.Sprintf(`{"accountId": %q%s}`, h.Account(account), args)
	r, err := h.methods[method].Do(context.Background(), jmap.NewCall(method, json.RawMessage(raw), h.Users[user], nil, h.Using...))
	if err != nil {
		e, ok := err.(*jmap.MethodError)
		if !ok {
			h.t.Fatalf("%s: %v", method, err)
		}
		return map[string]any{"error": e.Type}
	}
	out, err := json.Marshal(r)
	h.Must(err)
	var decoded map[string]any
	h.Must(json.Unmarshal(out, &decoded))
	return decoded
}

// At walks into a decoded response, nil where the path does not lead anywhere.
func At(v any, path ...string) any {
	for _, name := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[name]
	}
	return v
}
