package sieves

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
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
	"postroad/internal/scripts"
	"postroad/jmap"
	"postroad/sieve"
)

// uploads are blobs by id.
type uploads map[jmap.ID]string

func (u uploads) Upload(context.Context, *access.User, *access.Account, string, io.Reader) (jmap.ID, int64, error) {
	return "", 0, jmap.ErrForbidden
}

func (u uploads) KeepBlob(context.Context, *mailflow.Unit, *access.User, *access.Account, jmap.ID, string) (blob.Body, error) {
	return blob.Body{}, jmap.ErrBlobNotFound
}

func (u uploads) OpenBlob(_ context.Context, _ *access.User, _ *access.Account, id jmap.ID) (jmap.Blob, error) {
	content, ok := u[id]
	if !ok {
		return nil, jmap.ErrBlobNotFound
	}
	return text{bytes.NewReader([]byte(content))}, nil
}

type house struct {
	t       *testing.T
	m       *Methods
	house   *access.House
	methods map[string]jmap.Method
	user    *access.User
}

func newHouse(t *testing.T) *house {
	t.Helper()
	ctx := t.Context()
	engine, clock := memkv.New(), hlc.NewClock(1)
	t.Cleanup(func() { engine.Close() })
	c := &mailflow.Committer{Engine: engine, Bodies: blob.NewBodies(engine, memblob.New(), clock)}
	d, err := directory.Open(ctx, directory.Options{Engine: engine, Committer: c, Clock: clock})
	must(t, err)
	t.Cleanup(d.Close)
	mail := mailstore.New(mailstore.Options{Committer: c, Clock: clock})
	_, err = d.AddDomain(ctx, directory.Domain{Name: "ours.test"})
	must(t, err)
	a, err := address.Parse("alice@ours.test")
	must(t, err)
	made, err := d.AddAccount(ctx, directory.NewAccount{Addresses: []address.Address{a}})
	must(t, err)
	must(t, mail.Create(ctx, made.ID, mailstore.Quota{}))
	p, err := d.Principal(ctx, made.ID)
	must(t, err)
	store := scripts.New(scripts.Options{Committer: c, Clock: clock, Compile: func(source []byte) (string, error) {
		_, err := sieve.Compile(source, sieve.Options{})
		if err != nil {
			return "", err
		}
		return "", nil
	}})
	h := &house{t: t, methods: map[string]jmap.Method{}, user: &access.User{Principal: p},
		house: &access.House{Mail: mail, Directory: d, Objects: &objects.Store{Committer: c, Clock: clock}, Scripts: store, Committer: c, Clock: clock}}
	h.m = New(h.house, Options{Extensions: sieve.Extensions(), Blobs: uploads{
		"Ukeep": "keep;", "Udiscard": "discard;", "Uwrong": "keeep;", "Uempty": "", "Ularge": strings.Repeat("#", scripts.ScriptMax+1),
	}})
	for _, method := range h.m.Methods() {
		h.methods[method.Name] = method
	}
	return h
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// call makes a call: the response, decoded, or the error's type.
func (h *house) call(method, args string) map[string]any {
	h.t.Helper()
	raw := fmt.Sprintf(`{"accountId": %q%s}`, access.FormatID('A', h.user.ID), args)
	r, err := h.methods[method].Do(context.Background(), jmap.NewCall(method, json.RawMessage(raw), h.user, nil))
	if err != nil {
		e, ok := err.(*jmap.MethodError)
		if !ok {
			h.t.Fatalf("%s: %v", method, err)
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

// TestLife makes scripts, activates, changes and destroys them.
func TestLife(t *testing.T) {
	h := newHouse(t)
	r := h.call("SieveScript/set", `, "create": {"a": {"name": "first", "blobId": "Ukeep"}, "b": {"blobId": "Udiscard"}}, "onSuccessActivateScript": "#a"`)
	first, second := at(r, "created", "a", "id"), at(r, "created", "b", "id")
	if at(r, "created", "a", "isActive") != true || at(r, "created", "b", "isActive") != false || at(r, "created", "b", "name") != "Script 1" {
		t.Fatalf("create: %v", r)
	}
	content := at(r, "created", "a", "blobId").(string)
	a := &access.Account{User: h.user, Own: true}
	var err error
	a.Account, err = h.house.Mail.Account(t.Context(), h.user.ID)
	must(t, err)
	b, err := h.m.OpenBlob(t.Context(), h.user, a, jmap.ID(content))
	must(t, err)
	if got, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size())); string(got) != "keep;" {
		t.Errorf("content %q %v", got, err)
	}
	state := h.call("SieveScript/get", "")["state"]
	r = h.call("SieveScript/set", fmt.Sprintf(`, "ifInState": %q, "update": {%q: {"name": "other", "blobId": %q}}, "onSuccessActivateScript": %q`, state, second, content, second))
	if at(r, "updated", second.(string), "isActive") != true || at(r, "updated", first.(string), "isActive") != false {
		t.Errorf("activate: %v", r)
	}
	if r := h.call("SieveScript/set", fmt.Sprintf(`, "destroy": [%q]`, second)); at(r, "notDestroyed", second.(string), "type") != "sieveIsActive" {
		t.Errorf("destroy the active one: %v", r)
	}
	if r := h.call("SieveScript/set", `, "onSuccessDeactivateScript": true`); at(r, "updated", second.(string), "isActive") != false {
		t.Errorf("deactivate: %v", r)
	}
	for query, want := range map[string]string{
		`"filter": {"name": "oth"}`: fmt.Sprint("[", second, "]"), `"filter": {"isActive": true}`: "[]",
		`"sort": [{"property": "name", "isAscending": false}]`: fmt.Sprint("[", second, " ", first, "]"),
		`"filter": {"shoe": 1}`:                                "unsupportedFilter", `"filter": {"name": 1}`: "invalidArguments", `"sort": [{"property": "shoe"}]`: "unsupportedSort",
	} {
		r := h.call("SieveScript/query", ", "+query)
		if got := fmt.Sprint(r["ids"]); got != want && r["error"] != want {
			t.Errorf("%s: %v", query, r)
		}
	}
	if r := h.call("SieveScript/set", fmt.Sprintf(`, "destroy": [%q, %q]`, first, second)); fmt.Sprint(r["destroyed"]) != fmt.Sprint("[", first, " ", second, "]") {
		t.Errorf("destroy: %v", r)
	}
	if _, err := h.m.OpenBlob(t.Context(), h.user, a, jmap.ID(content)); err != jmap.ErrBlobNotFound {
		t.Errorf("content of what is gone: %v", err)
	}
}

// TestErrors is a table of what cannot be a script.
func TestErrors(t *testing.T) {
	h := newHouse(t)
	h.call("SieveScript/set", `, "create": {"a": {"name": "there", "blobId": "Ukeep"}}`)
	for object, want := range map[string]string{
		`{"name": "x"}`:                                        "invalidProperties",
		`{"name": "x", "blobId": "Unowhere"}`:                  "blobNotFound",
		`{"name": "x", "blobId": "V0000000000001"}`:            "blobNotFound",
		`{"name": "x", "blobId": "Uwrong"}`:                    "invalidSieve",
		`{"name": "x", "blobId": "Uempty"}`:                    "invalidSieve",
		`{"name": "x", "blobId": "Ularge"}`:                    "tooLarge",
		`{"name": "", "blobId": "Ukeep"}`:                      "invalidProperties",
		`{"name": "a\u0000b", "blobId": "Ukeep"}`:              "invalidProperties",
		`{"name": "there", "blobId": "Ukeep"}`:                 "alreadyExists",
		`{"name": 1, "blobId": "Ukeep"}`:                       "invalidProperties",
		`{"name": "x", "blobId": "Ukeep", "isActive": true}`:   "invalidProperties",
		`{"name": "x", "blobId": "Ukeep", "shoe": 1}`:          "invalidProperties",
		`{"name": "ok", "blobId": "Ukeep", "isActive": false}`: "",
	} {
		r := h.call("SieveScript/set", `, "create": {"k": `+object+`}`)
		if got := fmt.Sprint(at(r, "notCreated", "k", "type")); got != want && (want != "" || at(r, "created", "k") == nil) {
			t.Errorf("%s: %v", object, r)
		}
	}
	if r := h.call("SieveScript/set", `, "update": {"Y0000000000001": {"name": "x"}}, "destroy": ["zz"]`); at(r, "notUpdated", "Y0000000000001", "type") != "notFound" || at(r, "notDestroyed", "zz", "type") != "notFound" {
		t.Errorf("scripts that are not there: %v", r)
	}
	if r := h.call("SieveScript/set", `, "ifInState": "x"`); r["error"] != "stateMismatch" {
		t.Errorf("another state: %v", r)
	}
	for blob, want := range map[string]any{"Ukeep": nil, "Uwrong": "invalidSieve", "Unowhere": "blobNotFound"} {
		if r := h.call("SieveScript/validate", fmt.Sprintf(`, "blobId": %q`, blob)); at(r, "error", "type") != want {
			t.Errorf("validate %s: %v", blob, r)
		}
	}
	if r := h.call("SieveScript/validate", `, "blobId": "Ukeep", "shoe": 1`); r["error"] != "invalidArguments" {
		t.Errorf("an unknown argument: %v", r)
	}
}
