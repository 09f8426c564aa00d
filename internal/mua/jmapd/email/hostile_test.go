package email

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"postroad/jmap"
)

// hostileCalls are calls that a client should not make, and what they are answered. ACCOUNT,
// MESSAGE, BLOB, PART and BOX stand for what there is.
var hostileCalls = []struct{ method, args, kind string }{
	{"Email/get", `{}`, "invalidArguments"},
	{"Email/get", `[]`, "invalidArguments"},
	{"Email/get", `{"accountId": 1, "ids": []}`, "invalidArguments"},
	{"Email/get", `{"accountId": "", "ids": []}`, "accountNotFound"},
	{"Email/get", `{"accountId": "A0000000000001", "ids": []}`, "accountNotFound"},
	{"Email/get", `{"accountId": "FACCOUNT", "ids": []}`, "accountNotFound"},
	{"Email/get", `{"accountId": "ACCOUNT", "ids": "MESSAGE"}`, "invalidArguments"},
	{"Email/get", `{"accountId": "ACCOUNT", "ids": [1]}`, "invalidArguments"},
	{"Email/get", `{"accountId": "ACCOUNT", "ids": [null, "", "MESSAGE", "M", "MM", "MESSAGE-MESSAGE", "MESSAGE-0000000000001"]}`, ""},
	{"Email/get", `{"accountId": "ACCOUNT", "ids": ["MESSAGE"], "maxBodyValueBytes": 1e300}`, "invalidArguments"},
	{"Email/get", `{"accountId": "ACCOUNT", "ids": ["MESSAGE"], "maxBodyValueBytes": 9007199254740991, "fetchAllBodyValues": true}`, ""},
	{"Email/get", `{"accountId": "ACCOUNT", "ids": ["MESSAGE"], "bodyProperties": [null]}`, "invalidArguments"},
	{"Email/set", `{"accountId": "ACCOUNT", "create": {"c": null}}`, "invalidArguments"},
	{"Email/set", `{"accountId": "ACCOUNT", "create": {"c": {"mailboxIds": {"BOX": true}, "bodyStructure": [], "textBody": {}, "htmlBody": [null], "attachments": [null], "bodyValues": []}}}`, ""},
	{"Email/set", `{"accountId": "ACCOUNT", "create": {"c": {"mailboxIds": {"BOX": true}, "bodyValues": {"1": null, "": {"value": 1}}}}}`, ""},
	{"Email/set", `{"accountId": "ACCOUNT", "create": {"c": {"mailboxIds": {"BOX": true}, "from": [null], "to": [{}], "cc": {"email": 1}, "header:X:all": [], "header:Y:asDate:all": [null]}}}`, ""},
	{"Email/set", `{"accountId": "ACCOUNT", "create": {"c": {"mailboxIds": {"BOX": true}, "bodyStructure": {"subParts": [null, {"subParts": [{}]}]}}}}`, ""},
	{"Email/set", `{"accountId": "ACCOUNT", "update": {"MESSAGE": {"keywords/~": true, "keywords/~2": true, "/": 1, "": null, "mailboxIds/": true, "mailboxIds//": null}}}`, ""},
	{"Email/set", `{"accountId": "ACCOUNT", "update": {"MESSAGE": null}}`, "invalidArguments"},
	{"Email/set", `{"accountId": "ACCOUNT", "destroy": {"MESSAGE": true}}`, "invalidArguments"},
	{"Email/set", `{"accountId": "ACCOUNT", "destroy": ["#x", "M0000000000001"]}`, ""},
	{"Email/import", `{"accountId": "ACCOUNT", "emails": {"c": {"blobId": "PART", "mailboxIds": {"BOX": true}, "receivedAt": "0000-01-01T00:00:00Z"}}}`, ""},
	{"Email/import", `{"accountId": "ACCOUNT", "emails": {"c": {"blobId": ["BLOB"], "mailboxIds": {"BOX": "true"}}}}`, ""},
	{"Email/copy", `{"accountId": "ACCOUNT", "fromAccountId": "ACCOUNT", "create": {}}`, "invalidArguments"},
	{"Email/parse", `{"accountId": "ACCOUNT", "blobIds": [null, "#x", "PART", "BLOB"]}`, ""},
	{"Blob/upload", `{"accountId": "ACCOUNT", "create": {"c": {"data": [null]}, "d": {"data": null}}}`, ""},
	{"Blob/get", `{"accountId": "ACCOUNT", "ids": ["BLOB"], "offset": 1e15, "length": 1e15}`, ""},
	{"Blob/lookup", `{"accountId": "ACCOUNT", "typeNames": [], "ids": [null, "BLOB"]}`, ""},
	{"Blob/copy", `{"accountId": "ACCOUNT", "fromAccountId": "ACCOUNT", "blobIds": ["BLOB", null]}`, ""},
	{"MDN/parse", `{"accountId": "ACCOUNT", "blobIds": ["BLOB", "PART"]}`, ""},
	{"MDN/parse", `{"accountId": "ACCOUNT"}`, "invalidArguments"},
}

// hostileHouse is a house with a message, and what fills its ids in.
func hostileHouse(t tester) (*bodyHouse, *strings.Replacer) {
	h := newBodyHouse(t, Options{UploadBytesMax: 100_000, UploadsBytesMax: 300_000, MessageBytesMax: 100_000})
	id := h.deliver("alice", structured)
	blob := "G" + id[1:]
	return h, strings.NewReplacer("ACCOUNT", string(h.account("alice")), "MESSAGE", id, "BLOB", blob, "PART", blob+"-2_4", "BOX", h.box("alice", "INBOX"))
}

// answer makes a call and returns the type of its error; what is not for the client fails
// the test.
func (h *bodyHouse) answer(t tester, method, args string) string {
	r, err := h.methods[method].Do(context.Background(), jmap.NewCall(method, json.RawMessage(args), h.users["alice"], nil))
	var e *jmap.MethodError
	switch {
	case errors.As(err, &e):
		return e.Type
	case err != nil:
		t.Errorf("%s %s: %v", method, args, err)
	default:
		raw, err := json.Marshal(r)
		if err != nil || strings.Contains(string(raw), `"serverFail"`) {
			t.Errorf("%s %s: %s %v", method, args, raw, err)
		}
	}
	return ""
}

func TestHostileCalls(t *testing.T) {
	h, fill := hostileHouse(t)
	for _, c := range hostileCalls {
		if kind := h.answer(t, c.method, fill.Replace(c.args)); kind != c.kind {
			t.Errorf("%s %s: %q, not %q", c.method, c.args, kind, c.kind)
		}
	}
}

// FuzzCalls makes any calls: whatever the arguments, the answer is for the client.
func FuzzCalls(f *testing.F) {
	for _, c := range hostileCalls {
		f.Add(c.method, c.args)
	}
	h, fill := hostileHouse(f)
	f.Fuzz(func(t *testing.T, method, args string) {
		if _, ok := h.methods[method]; !ok || len(args) > 4096 || !json.Valid([]byte(args)) {
			return
		}
		mine := *h
		mine.t = t
		h := &mine
		h.answer(t, method, fill.Replace(args))
		if all, err := h.open("alice", "alice").Emails(context.Background(), h.open("alice", "alice").Reader); err != nil {
			t.Fatal(err)
		} else if all.Len() > 100 {
			for p := range all.All() {
				h.call("alice", "Email/set", "alice", fmt.Sprintf(`"destroy": [%q]`, all.ID(p)))
			}
		}
	})
}
