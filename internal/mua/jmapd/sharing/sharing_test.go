package sharing

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"postroad/address"
	"postroad/imap"
	"postroad/internal/directory"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/mua/jmapd/accesstest"
)

// house is the methods over memory; alice and bob are of one organisation, where alice is in
// a group, carol is of another one.
type house struct {
	*accesstest.House
}

func newHouse(t testing.TB) *house {
	t.Helper()
	h := &house{accesstest.New(t, mailstore.Quota{Bytes: 1000, Messages: 10}, "alice@ours.test", "bob@ours.test", "carol@theirs.test")}
	h.Using = []string{capabilityMail}
	h.Serve(New(h.House.House, Options{WarnPercent: []int{95, 80}}).Methods())
	_, err := h.Directory.AddExpander(t.Context(), directory.Expander{Kind: directory.Group, Address: h.Address("team@ours.test"), Name: "Team",
		Members: []address.Address{h.Address("alice@ours.test")}, Owner: h.Address("alice@ours.test")})
	h.Must(err)
	return h
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
	ctx := context.Background()
	a, err := h.Mail.Account(ctx, h.Users["alice"].ID)
	h.Must(err)
	inbox, err := a.Inbox(ctx)
	h.Must(err)
	bob := h.Subject("bob")
	h.Must(a.SetACL(ctx, h.Users["alice"].Org, inbox, bob, imap.RightsReplace, imap.RightLookup|imap.RightRead))
	h.Must(h.Committer.Commit(ctx, func(ctx context.Context, u *mailflow.Unit) error {
		return h.PrepareNotice(ctx, u, h.Users["alice"], a.ID(), bob,
			access.Notice{Type: "Mailbox", Object: "F1", Name: "INBOX", NewRights: map[string]bool{"mayReadItems": true}})
	}))
}

func TestPrincipals(t *testing.T) {
	h := newHouse(t)
	if got := of(h.Call("alice", "Principal/get", "alice", ""), "email"); got != "<nil> alice@ours.test team@ours.test" {
		t.Errorf("alice sees %s", got)
	}
	if got := of(h.Call("bob", "Principal/get", "bob", ""), "email"); got != "<nil> bob@ours.test" {
		t.Errorf("bob sees %s", got)
	}
	if r := h.Call("bob", "Principal/get", "alice", ""); r["error"] != "accountNotFound" {
		t.Errorf("in another's account: %v", r)
	}
	state := h.Call("bob", "Principal/get", "bob", "")["state"]
	h.share()
	r := h.Call("bob", "Principal/get", "bob", "")
	if got := of(r, "email"); got != "<nil> alice@ours.test bob@ours.test" || r["state"] == state {
		t.Errorf("bob sees %s when alice shares", got)
	}
	if r := h.Call("bob", "Principal/get", "alice", ""); r["error"] != "accountNotSupportedByMethod" {
		t.Errorf("in the account of a sharer: %v", r)
	}
	if r := h.Call("bob", "Principal/changes", "bob", fmt.Sprintf(`, "sinceState": %q`, state)); r["error"] != "cannotCalculateChanges" {
		t.Errorf("changes: %v", r)
	}
	id := principalOf(h.Users["bob"].ID)
	r = h.Call("bob", "Principal/set", "bob", fmt.Sprintf(`, "update": {%q: {"name": "x"}}, "create": {"k": {}}, "destroy": [%q]`, id, id))
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
	for name, u := range h.Users {
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
		{"one's account", fmt.Sprintf(`{"accountIds": [%q]}`, h.Account("alice")), "alice"},
		{"another's account", fmt.Sprintf(`{"accountIds": [%q]}`, h.Account("bob")), ""},
		{"a zone", `{"timeZone": "Europe/Oslo"}`, ""},
		{"unknown", `{"shoe": "x"}`, "unsupportedFilter"},
		{"a number", `{"name": 1}`, "invalidArguments"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := h.Call("alice", "Principal/query", "alice", `, "filter": `+test.filter)
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
	bob := principalOf(h.Users["bob"].ID)
	if got := of(h.Call("alice", "Principal/get", "alice", fmt.Sprintf(`, "ids": [%q]`, bob)), "name"); got != "BOB" {
		t.Errorf("who was found is %s", got)
	}
	carol := principalOf(h.Users["carol"].ID)
	if r := h.Call("alice", "Principal/get", "alice", fmt.Sprintf(`, "ids": [%q]`, carol)); fmt.Sprint(r["notFound"]) != fmt.Sprintf("[%s]", carol) {
		t.Errorf("of another organisation: %v", r)
	}
}

func TestNotices(t *testing.T) {
	h := newHouse(t)
	h.share()
	r := h.Call("bob", "ShareNotification/get", "bob", "")
	if of(r, "name") != "INBOX" || of(r, "objectType") != "Mailbox" || of(r, "oldRights") != "<nil>" {
		t.Fatalf("notices: %v", r)
	}
	id := of(r, "id")
	if r := h.Call("bob", "ShareNotification/query", "bob", `, "filter": {"objectType": "Mailbox", "before": "2999-01-01T00:00:00Z"}, "sort": [{"property": "created"}]`); fmt.Sprint(r["ids"]) != "["+id+"]" {
		t.Errorf("query: %v", r)
	}
	if r := h.Call("bob", "ShareNotification/query", "bob", `, "filter": {"objectType": "Calendar"}`); fmt.Sprint(r["ids"]) != "[]" {
		t.Errorf("query: %v", r)
	}
	state := r["state"]
	r = h.Call("bob", "ShareNotification/set", "bob", fmt.Sprintf(`, "create": {"k": {}}, "destroy": [%q, "N0"]`, id))
	if fmt.Sprint(r["destroyed"]) != "["+id+"]" || len(r["notDestroyed"].(map[string]any)) != 1 || len(r["notCreated"].(map[string]any)) != 1 {
		t.Errorf("set: %v", r)
	}
	if r := h.Call("bob", "ShareNotification/changes", "bob", fmt.Sprintf(`, "sinceState": %q`, state)); fmt.Sprint(r["destroyed"]) != "["+id+"]" {
		t.Errorf("changes: %v", r)
	}
	for range access.NoticesMax + 3 {
		h.share()
	}
	if n := len(h.Call("bob", "ShareNotification/get", "bob", "")["list"].([]any)); n != access.NoticesMax {
		t.Errorf("%d notices are kept", n)
	}
}

// TestQuotas follows RFC 9425's two examples: fetching quotas, and what changed.
func TestQuotas(t *testing.T) {
	h := newHouse(t)
	r := h.Call("bob", "Quota/get", "bob", "")
	if of(r, "hardLimit") != "10 1000" || of(r, "warnLimit") != "8 800" || of(r, "used") != "0 0" || of(r, "scope") != "account account" {
		t.Errorf("quotas: %v", r)
	}
	state := r["state"]
	a, err := h.Mail.Account(context.Background(), h.Users["bob"].ID)
	h.Must(err)
	changes := func() string {
		r := h.Call("bob", "Quota/changes", "bob", fmt.Sprintf(`, "sinceState": %q`, state))
		return fmt.Sprint(r["created"], r["updated"], r["destroyed"], r["updatedProperties"])
	}
	if got := changes(); got != "[] [] [] [used]" {
		t.Errorf("nothing changed: %s", got)
	}
	h.Must(a.SetQuota(context.Background(), mailstore.Quota{Bytes: 2000}))
	if got := changes(); got != "[] [octets] [count] <nil>" {
		t.Errorf("limits changed: %s", got)
	}
	for filter, want := range map[string]string{
		`{"resourceType": "octets"}`: "[octets]", `{"resourceType": "count"}`: "[]", `{"name": "bob"}`: "[octets]",
		`{"type": "Email"}`: "[octets]", `{"type": "Calendar"}`: "[]", `{"scope": "global"}`: "[]",
		`{"operator": "NOT", "conditions": [{"scope": "global"}]}`: "[octets]",
	} {
		if r := h.Call("bob", "Quota/query", "bob", `, "filter": `+filter+`, "sort": [{"property": "used"}]`); fmt.Sprint(r["ids"]) != want {
			t.Errorf("%s: %v", filter, r)
		}
	}
	if r := h.Call("bob", "Quota/changes", "bob", `, "sinceState": "x"`); r["error"] != "cannotCalculateChanges" {
		t.Errorf("a state that never was: %v", r)
	}
	h.share()
	if r := h.Call("bob", "Quota/get", "alice", ""); r["error"] != "accountNotSupportedByMethod" {
		t.Errorf("another's quota: %v", r)
	}
}
