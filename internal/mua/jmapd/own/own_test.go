package own

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"postroad/address"
	"postroad/internal/blob"
	"postroad/internal/blob/memblob"
	"postroad/internal/directory"
	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
	"postroad/internal/kv/memkv"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/mua/jmapd/email"
	"postroad/internal/objects"
	"postroad/internal/outbox"
	"postroad/jmap"
)

// house is the methods over memory, with users alice and bob of one organisation.
type house struct {
	t       testing.TB
	engine  kv.Engine
	access  *access.House
	outbox  *outbox.Store
	m       *Methods
	methods map[string]jmap.Method
	users   map[string]*access.User
}

func newHouse(t testing.TB) *house {
	t.Helper()
	ctx, engine, clock := context.Background(), memkv.New(), hlc.NewClock(1)
	t.Cleanup(func() { engine.Close() })
	c := &mailflow.Committer{Engine: engine, Bodies: blob.NewBodies(engine, memblob.New(), clock)}
	d, err := directory.Open(ctx, directory.Options{Engine: engine, Committer: c, Clock: clock})
	must(t, err)
	t.Cleanup(d.Close)
	h := &house{t: t, engine: engine, methods: map[string]jmap.Method{}, users: map[string]*access.User{}}
	h.access = &access.House{Mail: mailstore.New(mailstore.Options{Committer: c, Clock: clock}), Directory: d,
		Objects: &objects.Store{Committer: c, Clock: clock}, Committer: c, Bodies: c.Bodies, Clock: clock, Host: "mail.ours.test", Log: slog.Default()}
	h.outbox = &outbox.Store{Committer: c, Mail: h.access.Mail, Objects: h.access.Objects, Directory: d, Log: slog.Default()}
	_, err = d.AddDomain(ctx, directory.Domain{Name: "ours.test"})
	must(t, err)
	for _, name := range []string{"alice", "bob"} {
		a, err := address.Parse(name + "@ours.test")
		must(t, err)
		made, err := d.AddAccount(ctx, directory.NewAccount{Addresses: []address.Address{a}})
		must(t, err)
		must(t, h.access.Mail.Create(ctx, made.ID, mailstore.Quota{}))
		p, err := d.Principal(ctx, made.ID)
		must(t, err)
		h.users[name] = &access.User{Principal: p}
	}
	h.add(email.New(h.access, email.Options{}).Methods())
	h.restart()
	return h
}

// restart is the methods after a restart of the server.
func (h *house) restart() {
	h.m = New(h.access, Options{Outbox: h.outbox, EmailQuery: h.methods["Email/query"], EmailSet: h.methods["Email/set"], EmailGet: h.methods["Email/get"]})
	h.add(h.m.Methods())
}

func (h *house) add(methods []jmap.Method) {
	for _, m := range methods {
		h.methods[m.Name] = m
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// call makes a call of a user for his own account: the response, decoded, or the error's type.
func (h *house) call(user, method, args string) map[string]any {
	h.t.Helper()
	return h.callFor(user, user, method, args)
}

// callFor makes a call of a user for an account.
func (h *house) callFor(user, account, method, args string) map[string]any {
	h.t.Helper()
	raw := fmt.Sprintf(`{"accountId": %q%s}`, access.FormatID('A', h.users[account].ID), args)
	r, err := h.methods[method].Do(context.Background(), jmap.NewCall(method, json.RawMessage(raw), h.users[user], nil))
	if err != nil {
		e, ok := err.(*jmap.MethodError)
		if !ok {
			h.t.Fatalf("%s %s: %v", method, args, err)
		}
		return map[string]any{"error": e.Type}
	}
	out, err := json.Marshal(r)
	must(h.t, err)
	var decoded map[string]any
	must(h.t, json.Unmarshal(out, &decoded))
	return decoded
}

// at walks into a decoded response.
func at(v any, path ...string) any {
	for _, name := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[name]
	}
	return v
}

// settings are a user's, as one text, and their state.
func (h *house) settings(user string) (text, state string) {
	h.t.Helper()
	r := h.call(user, "Settings/get", "")
	out, err := json.Marshal(r["list"])
	must(h.t, err)
	return string(out), r["state"].(string)
}

// states is the state that push tells of.
func (h *house) states(user string) string {
	h.t.Helper()
	a, err := h.access.AccountFor(context.Background(), h.users[user], access.FormatID('A', h.users[user].ID))
	must(h.t, err)
	s, err := h.m.States(context.Background(), a)
	must(h.t, err)
	return s["Settings"]
}

// TestSettings sets, patches and takes away.
func TestSettings(t *testing.T) {
	h := newHouse(t)
	text, state := h.settings("alice")
	if text != `[{"id":"singleton","undoSeconds":0,"values":{}}]` {
		t.Errorf("at first: %s", text)
	}
	for _, step := range []struct{ patch, want string }{
		{`{"values": {"theme": "dark", "lists": {"a": 1}}}`, `[{"id":"singleton","undoSeconds":0,"values":{"lists":{"a":1},"theme":"dark"}}]`},
		{`{"values/lists/b~1c": [2], "values/theme": null}`, `[{"id":"singleton","undoSeconds":0,"values":{"lists":{"a":1,"b/c":[2]}}}]`},
		{`{"undoSeconds": 20}`, `[{"id":"singleton","undoSeconds":20,"values":{"lists":{"a":1,"b/c":[2]}}}]`},
		{`{"values": null, "id": "singleton"}`, `[{"id":"singleton","undoSeconds":20,"values":{}}]`},
		{`{"undoSeconds": null, "values/x": {}}`, `[{"id":"singleton","undoSeconds":0,"values":{"x":{}}}]`},
		{`{"undoSeconds": 300}`, `[{"id":"singleton","undoSeconds":300,"values":{"x":{}}}]`},
	} {
		r := h.call("alice", "Settings/set", fmt.Sprintf(`, "ifInState": %q, "update": {"singleton": %s}`, state, step.patch))
		if _, ok := at(r, "updated").(map[string]any)["singleton"]; !ok {
			t.Fatalf("%s: %v", step.patch, r)
		}
		before := state
		if text, state = h.settings("alice"); text != step.want {
			t.Errorf("%s: %s", step.patch, text)
		}
		if state == before || state != r["newState"] || before != r["oldState"] || state != h.states("alice") {
			t.Errorf("%s: states %s, %s, %v, %v", step.patch, before, state, r, h.states("alice"))
		}
	}
	if d, err := h.outbox.Undo(t.Context(), h.users["alice"].ID); d != 5*time.Minute || err != nil {
		t.Errorf("the outbox waits for %v %v", d, err)
	}
	if text, _ := h.settings("bob"); text != `[{"id":"singleton","undoSeconds":0,"values":{}}]` {
		t.Errorf("another one's: %s", text)
	}
}

// TestSettingsErrors is a table of what is refused; nothing changes.
func TestSettingsErrors(t *testing.T) {
	h := newHouse(t)
	h.call("alice", "Settings/set", `, "update": {"singleton": {"values": {"a": 1}, "undoSeconds": 5}}`)
	before, state := h.settings("alice")
	full := strings.Repeat("x", ValuesMax-len(`{"a":""}`))
	for name, test := range map[string]struct{ patch, want string }{
		"an unknown property":  {`{"shoe": 1}`, "invalidProperties"},
		"another id":           {`{"id": "x"}`, "invalidProperties"},
		"values of a list":     {`{"values": []}`, "invalidProperties"},
		"values of a string":   {`{"values": "x"}`, "invalidProperties"},
		"too long":             {`{"undoSeconds": 301}`, "invalidProperties"},
		"negative":             {`{"undoSeconds": -1}`, "invalidProperties"},
		"half a second":        {`{"undoSeconds": 0.5}`, "invalidProperties"},
		"seconds of text":      {`{"undoSeconds": "5"}`, "invalidProperties"},
		"good and bad":         {`{"values/a": 2, "undoSeconds": 999}`, "invalidProperties"},
		"a path to nothing":    {`{"values/b/c": 1}`, "invalidPatch"},
		"a path into a number": {`{"values/a/c": 1}`, "invalidPatch"},
		"one within the other": {`{"values": {}, "values/a": 1}`, "invalidPatch"},
		"within seconds":       {`{"undoSeconds/x": 1}`, "invalidPatch"},
		"one octet too many":   {`{"values": {"a": "` + full + `x"}}`, "tooLarge"},
	} {
		r := h.call("alice", "Settings/set", `, "update": {"singleton": `+test.patch+`}`)
		if got := at(r, "notUpdated", "singleton", "type"); got != test.want {
			t.Errorf("%s: %.200v", name, r)
		}
	}
	for name, test := range map[string]struct{ args, list, id, want string }{
		"create":          {`"create": {"k": {}}`, "notCreated", "k", "singleton"},
		"destroy":         {`"destroy": ["singleton"]`, "notDestroyed", "singleton", "singleton"},
		"destroy another": {`"destroy": ["x"]`, "notDestroyed", "x", "notFound"},
		"update another":  {`"update": {"x": {}}`, "notUpdated", "x", "notFound"},
	} {
		if r := h.call("alice", "Settings/set", ", "+test.args); at(r, test.list, test.id, "type") != test.want {
			t.Errorf("%s: %v", name, r)
		}
	}
	if r := h.call("alice", "Settings/set", `, "ifInState": "x", "update": {"singleton": {}}`); r["error"] != "stateMismatch" {
		t.Errorf("another state: %v", r)
	}
	if r := h.callFor("bob", "alice", "Settings/get", ""); r["error"] != "accountNotFound" {
		t.Errorf("of a stranger: %v", r)
	}
	if r := h.call("alice", "Settings/get", `, "ids": ["singleton", "x"], "properties": ["undoSeconds"]`); fmt.Sprint(r["list"], r["notFound"]) != "[map[id:singleton undoSeconds:5]] [x]" {
		t.Errorf("some properties: %v", r)
	}
	if r := h.call("alice", "Settings/get", `, "properties": ["shoe"]`); r["error"] != "invalidArguments" {
		t.Errorf("an unknown property: %v", r)
	}
	if after, now := h.settings("alice"); after != before || now != state {
		t.Errorf("what was refused has changed %s to %s", before, after)
	}
	if r := h.call("alice", "Settings/set", `, "update": {"singleton": {"values": {"a": "`+full+`"}}}`); at(r, "notUpdated", "singleton") != nil {
		t.Errorf("as large as may be: %.200v", r)
	}
}
