package sieves

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"postroad/internal/blob"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/mua/jmapd/accesstest"
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

// house is the methods over memory, with a user alice.
type house struct {
	*accesstest.House
	m *Methods
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{House: accesstest.New(t, mailstore.Quota{}, "alice@ours.test")}
	h.Scripts = scripts.New(scripts.Options{Committer: h.Committer, Clock: h.Clock, Compile: func(source []byte) (string, error) {
		if _, err := sieve.Compile(source, sieve.Options{}); err != nil {
			return "", err
		}
		return "", nil
	}})
	h.m = New(h.House.House, Options{Extensions: sieve.Extensions(), Blobs: uploads{
		"Ukeep": "keep;", "Udiscard": "discard;", "Uwrong": "keeep;", "Uempty": "", "Ularge": strings.Repeat("#", scripts.ScriptMax+1),
	}})
	h.Serve(h.m.Methods())
	return h
}

// call makes a call of alice's.
func (h *house) call(method, args string) map[string]any {
	return h.Call("alice", method, "alice", args)
}

// TestLife makes scripts, activates, changes and destroys them.
func TestLife(t *testing.T) {
	h := newHouse(t)
	r := h.call("SieveScript/set", `, "create": {"a": {"name": "first", "blobId": "Ukeep"}, "b": {"blobId": "Udiscard"}}, "onSuccessActivateScript": "#a"`)
	first, second := accesstest.At(r, "created", "a", "id"), accesstest.At(r, "created", "b", "id")
	if accesstest.At(r, "created", "a", "isActive") != true || accesstest.At(r, "created", "b", "isActive") != false || accesstest.At(r, "created", "b", "name") != "Script 1" {
		t.Fatalf("create: %v", r)
	}
	content := accesstest.At(r, "created", "a", "blobId").(string)
	a := &access.Account{User: h.Users["alice"], Own: true}
	var err error
	a.Account, err = h.Mail.Account(t.Context(), h.Users["alice"].ID)
	h.Must(err)
	b, err := h.m.OpenBlob(t.Context(), h.Users["alice"], a, jmap.ID(content))
	h.Must(err)
	if got, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size())); string(got) != "keep;" {
		t.Errorf("content %q %v", got, err)
	}
	state := h.call("SieveScript/get", "")["state"]
	r = h.call("SieveScript/set", fmt.Sprintf(`, "ifInState": %q, "update": {%q: {"name": "other", "blobId": %q}}, "onSuccessActivateScript": %q`, state, second, content, second))
	if accesstest.At(r, "updated", second.(string), "isActive") != true || accesstest.At(r, "updated", first.(string), "isActive") != false {
		t.Errorf("activate: %v", r)
	}
	if r := h.call("SieveScript/set", fmt.Sprintf(`, "destroy": [%q]`, second)); accesstest.At(r, "notDestroyed", second.(string), "type") != "sieveIsActive" {
		t.Errorf("destroy the active one: %v", r)
	}
	if r := h.call("SieveScript/set", `, "onSuccessDeactivateScript": true`); accesstest.At(r, "updated", second.(string), "isActive") != false {
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
	if _, err := h.m.OpenBlob(t.Context(), h.Users["alice"], a, jmap.ID(content)); err != jmap.ErrBlobNotFound {
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
		if got := fmt.Sprint(accesstest.At(r, "notCreated", "k", "type")); got != want && (want != "" || accesstest.At(r, "created", "k") == nil) {
			t.Errorf("%s: %v", object, r)
		}
	}
	if r := h.call("SieveScript/set", `, "update": {"Y0000000000001": {"name": "x"}}, "destroy": ["zz"]`); accesstest.At(r, "notUpdated", "Y0000000000001", "type") != "notFound" || accesstest.At(r, "notDestroyed", "zz", "type") != "notFound" {
		t.Errorf("scripts that are not there: %v", r)
	}
	if r := h.call("SieveScript/set", `, "ifInState": "x"`); r["error"] != "stateMismatch" {
		t.Errorf("another state: %v", r)
	}
	for blob, want := range map[string]any{"Ukeep": nil, "Uwrong": "invalidSieve", "Unowhere": "blobNotFound"} {
		if r := h.call("SieveScript/validate", fmt.Sprintf(`, "blobId": %q`, blob)); accesstest.At(r, "error", "type") != want {
			t.Errorf("validate %s: %v", blob, r)
		}
	}
	if r := h.call("SieveScript/validate", `, "blobId": "Ukeep", "shoe": 1`); r["error"] != "invalidArguments" {
		t.Errorf("an unknown argument: %v", r)
	}
}
