package sharing

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"postroad/address"
	"postroad/imap"
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

// house is the methods over memory; alice and bob are of one organisation and in a group,
// carol is of another one.
type house struct {
	t       testing.TB
	house   *access.House
	methods map[string]jmap.Method
	users   map[string]*access.User
}

func newHouse(t testing.TB) *house {
	t.Helper()
	ctx := context.Background()
	engine, clock := memkv.New(), hlc.NewClock(1)
	t.Cleanup(func() { engine.Close() })
	c := &mailflow.Committer{Engine: engine, Bodies: blob.NewBodies(engine, memblob.New(), clock)}
	d, err := directory.Open(ctx, directory.Options{Engine: engine, Committer: c, Clock: clock})
	must(t, err)
	t.Cleanup(d.Close)
	mail := mailstore.New(mailstore.Options{Committer: c, Clock: clock})
	h := &house{t: t, methods: map[string]jmap.Method{}, users: map[string]*access.User{}}
	h.house = &access.House{Mail: mail, Directory: d, Objects: &objects.Store{Committer: c, Clock: clock}, Committer: c, Clock: clock}
	for _, method := range New(h.house, Options{WarnPercent: []int{95, 80}}).Methods() {
		h.methods[method.Name] = method
	}
	_, err = d.AddOrganisation(ctx, "other")
	must(t, err)
	for domain, org := range map[string]string{"ours.test": "", "theirs.test": "other"} {
		_, err = d.AddDomain(ctx, directory.Domain{Name: domain, Org: org})
		must(t, err)
	}
	for _, login := range []string{"alice@ours.test", "bob@ours.test", "carol@theirs.test"} {
		a := parse(t, login)
		made, err := d.AddAccount(ctx, directory.NewAccount{Addresses: []address.Address{a}, Name: strings.ToUpper(a.Local)})
		must(t, err)
		must(t, mail.Create(ctx, made.ID, mailstore.Quota{Bytes: 1000, Messages: 10}))
		p, err := d.Principal(ctx, made.ID)
		must(t, err)
		h.users[a.Local] = &access.User{Principal: p}
	}
	_, err = d.AddExpander(ctx, directory.Expander{Kind: directory.Group, Address: parse(t, "team@ours.test"), Name: "Team",
		Members: []address.Address{parse(t, "alice@ours.test")}, Owner: parse(t, "alice@ours.test")})
	must(t, err)
	return h
}

func parse(t testing.TB, s string) address.Address {
	t.Helper()
	a, err := address.Parse(s)
	must(t, err)
	return a
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (h *house) account(name string) jmap.ID { return access.FormatID('A', h.users[name].ID) }

// call makes a call as a user in an account: the response, decoded, or the error's type.
func (h *house) call(user, method, account, args string) map[string]any {
	h.t.Helper()
	raw := fmt.Sprintf(`{"accountId": %q%s}`, h.account(account), args)
	r, err := h.methods[method].Do(context.Background(), jmap.NewCall(method, json.RawMessage(raw), h.users[user], nil, capabilityMail))
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

// of lists a member of each object in a response's list.
func of(r map[string]any, name string) string {
	var out []string
	list, _ := r["list"].([]any)
	for _, o := range list {
		out = append(out, fmt.Sprint(o.(map[string]any)[name]))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// share gives bob the right to read alice's INBOX, and sends him a notice.
func (h *house) share() {
	h.t.Helper()
	ctx := context.Background()
	a, err := h.house.Mail.Account(ctx, h.users["alice"].ID)
	must(h.t, err)
	inbox, err := a.Inbox(ctx)
	must(h.t, err)
	bob := mailstore.Subject{Kind: mailstore.SubjectAccount, Account: h.users["bob"].ID}
	must(h.t, a.SetACL(ctx, h.users["alice"].Org, inbox, bob, imap.RightsReplace, imap.RightLookup|imap.RightRead))
	must(h.t, h.house.Committer.Commit(ctx, func(ctx context.Context, u *mailflow.Unit) error {
		return h.house.PrepareNotice(ctx, u, h.users["alice"], a.ID(), bob,
			access.Notice{Type: "Mailbox", Object: "F1", Name: "INBOX", NewRights: map[string]bool{"mayReadItems": true}})
	}))
}

func TestPrincipals(t *testing.T) {
	h := newHouse(t)
	if got := of(h.call("alice", "Principal/get", "alice", ""), "email"); got != "<nil> alice@ours.test team@ours.test" {
		t.Errorf("alice sees %s", got)
	}
	if got := of(h.call("bob", "Principal/get", "bob", ""), "email"); got != "<nil> bob@ours.test" {
		t.Errorf("bob sees %s", got)
	}
	if r := h.call("bob", "Principal/get", "alice", ""); r["error"] != "accountNotFound" {
		t.Errorf("in another's account: %v", r)
	}
	state := h.call("bob", "Principal/get", "bob", "")["state"]
	h.share()
	r := h.call("bob", "Principal/get", "bob", "")
	if got := of(r, "email"); got != "<nil> alice@ours.test bob@ours.test" || r["state"] == state {
		t.Errorf("bob sees %s when alice shares", got)
	}
	if r := h.call("bob", "Principal/get", "alice", ""); r["error"] != "accountNotSupportedByMethod" {
		t.Errorf("in the account of a sharer: %v", r)
	}
	if r := h.call("bob", "Principal/changes", "bob", fmt.Sprintf(`, "sinceState": %q`, state)); r["error"] != "cannotCalculateChanges" {
		t.Errorf("changes: %v", r)
	}
	id := principalOf(h.users["bob"].ID)
	r = h.call("bob", "Principal/set", "bob", fmt.Sprintf(`, "update": {%q: {"name": "x"}}, "create": {"k": {}}, "destroy": [%q]`, id, id))
	for _, not := range []string{"notCreated", "notUpdated", "notDestroyed"} {
		for _, e := range r[not].(map[string]any) {
			if e.(map[string]any)["type"] != "forbidden" {
				t.Errorf("%s: %v", not, e)
			}
		}
	}
}

func TestPrincipalQuery(t *testing.T) {
	h := newHouse(t)
	names := map[string]string{}
	for name, u := range h.users {
		names[string(principalOf(u.ID))] = name
	}
	for _, test := range []struct{ name, filter, want string }{
		{"a whole address", `{"email": "bob@ours.test"}`, "bob"},
		{"a whole address as text", `{"text": "bob@ours.test"}`, "bob"},
		{"a part of an address finds no stranger", `{"email": "bob"}`, ""},
		{"a name finds no stranger", `{"name": "BOB"}`, ""},
		{"a part of one's own", `{"email": "alice"}`, "alice"},
		{"of another organisation", `{"email": "carol@theirs.test"}`, ""},
		{"nobody", `{"email": "dave@ours.test"}`, ""},
		{"the type", `{"type": "individual"}`, "alice"},
		{"one's account", fmt.Sprintf(`{"accountIds": [%q]}`, h.account("alice")), "alice"},
		{"another's account", fmt.Sprintf(`{"accountIds": [%q]}`, h.account("bob")), ""},
		{"a zone", `{"timeZone": "Europe/Oslo"}`, ""},
		{"unknown", `{"shoe": "x"}`, "unsupportedFilter"},
		{"a number", `{"name": 1}`, "invalidArguments"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := h.call("alice", "Principal/query", "alice", `, "filter": `+test.filter)
			got := fmt.Sprint(r["error"])
			if list, ok := r["ids"].([]any); ok {
				var found []string
				for _, id := range list {
					found = append(found, names[id.(string)])
				}
				got = strings.Join(found, " ")
			}
			if got != test.want {
				t.Errorf("%s, wanted %s", got, test.want)
			}
		})
	}
	bob := principalOf(h.users["bob"].ID)
	if got := of(h.call("alice", "Principal/get", "alice", fmt.Sprintf(`, "ids": [%q]`, bob)), "name"); got != "BOB" {
		t.Errorf("who was found is %s", got)
	}
	carol := principalOf(h.users["carol"].ID)
	if r := h.call("alice", "Principal/get", "alice", fmt.Sprintf(`, "ids": [%q]`, carol)); fmt.Sprint(r["notFound"]) != fmt.Sprintf("[%s]", carol) {
		t.Errorf("of another organisation: %v", r)
	}
}

func TestNotices(t *testing.T) {
	h := newHouse(t)
	h.share()
	r := h.call("bob", "ShareNotification/get", "bob", "")
	if of(r, "name") != "INBOX" || of(r, "objectType") != "Mailbox" || of(r, "oldRights") != "<nil>" {
		t.Fatalf("notices: %v", r)
	}
	id := of(r, "id")
	if r := h.call("bob", "ShareNotification/query", "bob", `, "filter": {"objectType": "Mailbox", "before": "2999-01-01T00:00:00Z"}, "sort": [{"property": "created"}]`); fmt.Sprint(r["ids"]) != "["+id+"]" {
		t.Errorf("query: %v", r)
	}
	if r := h.call("bob", "ShareNotification/query", "bob", `, "filter": {"objectType": "Calendar"}`); fmt.Sprint(r["ids"]) != "[]" {
		t.Errorf("query: %v", r)
	}
	state := r["state"]
	r = h.call("bob", "ShareNotification/set", "bob", fmt.Sprintf(`, "create": {"k": {}}, "destroy": [%q, "N0"]`, id))
	if fmt.Sprint(r["destroyed"]) != "["+id+"]" || len(r["notDestroyed"].(map[string]any)) != 1 || len(r["notCreated"].(map[string]any)) != 1 {
		t.Errorf("set: %v", r)
	}
	if r := h.call("bob", "ShareNotification/changes", "bob", fmt.Sprintf(`, "sinceState": %q`, state)); fmt.Sprint(r["destroyed"]) != "["+id+"]" {
		t.Errorf("changes: %v", r)
	}
	for range access.NoticesMax + 3 {
		h.share()
	}
	if n := len(h.call("bob", "ShareNotification/get", "bob", "")["list"].([]any)); n != access.NoticesMax {
		t.Errorf("%d notices are kept", n)
	}
}

// TestQuotas follows RFC 9425's two examples: fetching quotas, and what changed.
func TestQuotas(t *testing.T) {
	h := newHouse(t)
	r := h.call("bob", "Quota/get", "bob", "")
	if of(r, "hardLimit") != "10 1000" || of(r, "warnLimit") != "8 800" || of(r, "used") != "0 0" || of(r, "scope") != "account account" {
		t.Errorf("quotas: %v", r)
	}
	state := r["state"]
	a, err := h.house.Mail.Account(context.Background(), h.users["bob"].ID)
	must(t, err)
	changes := func() string {
		r := h.call("bob", "Quota/changes", "bob", fmt.Sprintf(`, "sinceState": %q`, state))
		return fmt.Sprint(r["created"], r["updated"], r["destroyed"], r["updatedProperties"])
	}
	if got := changes(); got != "[] [] [] [used]" {
		t.Errorf("nothing changed: %s", got)
	}
	must(t, a.SetQuota(context.Background(), mailstore.Quota{Bytes: 2000}))
	if got := changes(); got != "[] [octets] [count] <nil>" {
		t.Errorf("limits changed: %s", got)
	}
	for filter, want := range map[string]string{
		`{"resourceType": "octets"}`: "[octets]", `{"resourceType": "count"}`: "[]", `{"name": "bob"}`: "[octets]",
		`{"type": "Email"}`: "[octets]", `{"type": "Calendar"}`: "[]", `{"scope": "global"}`: "[]",
		`{"operator": "NOT", "conditions": [{"scope": "global"}]}`: "[octets]",
	} {
		if r := h.call("bob", "Quota/query", "bob", `, "filter": `+filter+`, "sort": [{"property": "used"}]`); fmt.Sprint(r["ids"]) != want {
			t.Errorf("%s: %v", filter, r)
		}
	}
	if r := h.call("bob", "Quota/changes", "bob", `, "sinceState": "x"`); r["error"] != "cannotCalculateChanges" {
		t.Errorf("a state that never was: %v", r)
	}
	h.share()
	if r := h.call("bob", "Quota/get", "alice", ""); r["error"] != "accountNotSupportedByMethod" {
		t.Errorf("another's quota: %v", r)
	}
}
