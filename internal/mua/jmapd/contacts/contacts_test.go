package contacts

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/accesstest"
	"postroad/jmap"
)

// house is the methods over memory, with users alice and bob of one organisation.
type house struct {
	*accesstest.House
	t testing.TB
}

func newHouse(t testing.TB) *house {
	t.Helper()
	h := &house{accesstest.New(t, mailstore.Quota{}, "alice@ours.test", "bob@ours.test"), t}
	h.Serve(New(h.House.House).Methods())
	return h
}

// book returns the id of the user's first book.
func (h *house) book(user string) string {
	h.t.Helper()
	list := h.Call(user, "AddressBook/get", user, "")["list"].([]any)
	return accesstest.At(list[0], "id").(string)
}

// add makes a card and returns its id, or the type of the error.
func (h *house) add(user, account, card string) string {
	h.t.Helper()
	r := h.Call(user, "ContactCard/set", account, fmt.Sprintf(`, "create": {"k": %s}`, card))
	if id, ok := accesstest.At(r, "created", "k", "id").(string); ok {
		return id
	}
	return fmt.Sprint(accesstest.At(r, "notCreated", "k", "type"))
}

// TestFirst shows RFC 9610's first example: an account without contacts.
func TestFirst(t *testing.T) {
	h := newHouse(t)
	r := h.Call("alice", "AddressBook/get", "alice", "")
	list := r["list"].([]any)
	if len(list) != 1 || accesstest.At(list[0], "name") != "Personal" || accesstest.At(list[0], "isDefault") != true || accesstest.At(list[0], "shareWith") != nil || accesstest.At(list[0], "myRights", "mayShare") != true {
		t.Errorf("books: %v", list)
	}
	if r := h.Call("alice", "ContactCard/get", "alice", ""); len(r["list"].([]any)) != 0 {
		t.Errorf("cards: %v", r)
	}
	if r := h.Call("bob", "AddressBook/get", "alice", ""); r["error"] != "accountNotFound" {
		t.Errorf("to a stranger: %v", r)
	}
}

// TestDefault changes the default book (RFC 9610, 4.2).
func TestDefault(t *testing.T) {
	h := newHouse(t)
	first := h.book("alice")
	r := h.Call("alice", "AddressBook/set", "alice", `, "create": {"n": {"name": "Autosaved", "sortOrder": 1}}, "onSuccessSetIsDefault": "#n"`)
	second := accesstest.At(r, "created", "n", "id").(string)
	if accesstest.At(r, "created", "n", "isDefault") != true || accesstest.At(r, "updated", first, "isDefault") != false {
		t.Errorf("set: %v", r)
	}
	r = h.Call("alice", "AddressBook/set", "alice", fmt.Sprintf(`, "destroy": [%q, %q], "onSuccessSetIsDefault": %q`, first, second, first))
	if fmt.Sprint(r["destroyed"]) != fmt.Sprintf("[%s]", first) || accesstest.At(r, "notDestroyed", second, "type") != "forbidden" {
		t.Errorf("destroy: %v", r)
	}
	if r := h.Call("alice", "AddressBook/changes", "alice", `, "sinceState": "0"`); fmt.Sprint(r["created"]) != fmt.Sprintf("[%s]", second) {
		t.Errorf("changes: %v", r)
	}
}

// TestBookErrors is a table of what a book may not be.
func TestBookErrors(t *testing.T) {
	h := newHouse(t)
	for name, test := range map[string]struct{ object, want string }{
		"no name":          {`{}`, "invalidProperties"},
		"an empty name":    {`{"name": ""}`, "invalidProperties"},
		"a long name":      {fmt.Sprintf(`{"name": %q}`, strings.Repeat("x", 256)), "invalidProperties"},
		"a name of number": {`{"name": 5}`, "invalidProperties"},
		"a negative order": {`{"name": "x", "sortOrder": -1}`, "invalidProperties"},
		"a half order":     {`{"name": "x", "sortOrder": 0.5}`, "invalidProperties"},
		"an id":            {`{"name": "x", "id": "B1"}`, "invalidProperties"},
		"a default":        {`{"name": "x", "isDefault": true}`, "invalidProperties"},
		"nobody":           {`{"name": "x", "shareWith": {"A0000000000001": {"mayRead": true}}}`, "invalidProperties"},
		"himself":          {fmt.Sprintf(`{"name": "x", "shareWith": {%q: {"mayRead": true}}}`, h.Principal("alice")), "invalidProperties"},
	} {
		t.Run(name, func(t *testing.T) {
			r := h.Call("alice", "AddressBook/set", "alice", `, "create": {"n": `+test.object+`}`)
			if got := accesstest.At(r, "notCreated", "n", "type"); got != test.want {
				t.Errorf("%v", r)
			}
		})
	}
	r := h.Call("alice", "AddressBook/set", "alice", `, "update": {"B0000000000001": {"name": "x"}}, "destroy": ["zz"]`)
	if accesstest.At(r, "notUpdated", "B0000000000001", "type") != "notFound" || accesstest.At(r, "notDestroyed", "zz", "type") != "notFound" {
		t.Errorf("books that are not there: %v", r)
	}
	if r := h.Call("alice", "AddressBook/set", "alice", `, "ifInState": "999"`); r["error"] != "stateMismatch" {
		t.Errorf("another state: %v", r)
	}
}

// TestCards makes, reads, changes and destroys a card.
func TestCards(t *testing.T) {
	h := newHouse(t)
	book := h.book("alice")
	joe := fmt.Sprintf(`{"addressBookIds": {%q: true}, "name": {"components": [{"kind": "given", "value": "Joe"}, {"kind": "surname", "value": "Bloggs"}], "isOrdered": true},
		"emails": {"0": {"contexts": {"private": true}, "address": "joe.bloggs@example.com"}}, "example.com:x": [1]}`, book)
	id := h.add("alice", "alice", joe)
	get := func() map[string]any {
		return h.Call("alice", "ContactCard/get", "alice", fmt.Sprintf(`, "ids": [%q]`, id))["list"].([]any)[0].(map[string]any)
	}
	c := get()
	if accesstest.At(c, "emails", "0", "address") != "joe.bloggs@example.com" || accesstest.At(c, "addressBookIds", book) != true || !strings.HasPrefix(c["uid"].(string), "urn:uuid:") || c["example.com:x"] == nil || c["kind"] != "individual" {
		t.Errorf("card: %v", c)
	}
	state := h.Call("alice", "ContactCard/get", "alice", `, "ids": []`)["state"].(string)
	r := h.Call("alice", "ContactCard/set", "alice", fmt.Sprintf(`, "ifInState": %q, "update": {%q: {"emails/0/address": "joe@example.org", "notes": {"n": {"note": "tall"}}, "kind": null}}`, state, id))
	if c = get(); accesstest.At(c, "emails", "0", "address") != "joe@example.org" || accesstest.At(c, "notes", "n", "note") != "tall" {
		t.Errorf("%v after %v", c, r)
	}
	if r := h.Call("alice", "ContactCard/changes", "alice", fmt.Sprintf(`, "sinceState": %q`, state)); fmt.Sprint(r["updated"]) != "["+id+"]" {
		t.Errorf("changes: %v", r)
	}
	if got := h.add("alice", "alice", strings.Replace(joe, "{", fmt.Sprintf(`{"uid": %q, `, c["uid"]), 1)); got != "alreadyExists" {
		t.Errorf("the same uid again: %s", got)
	}
	if r := h.Call("alice", "AddressBook/set", "alice", fmt.Sprintf(`, "destroy": [%q]`, book)); accesstest.At(r, "notDestroyed", book, "type") != "forbidden" {
		t.Errorf("the default book: %v", r)
	}
	r = h.Call("alice", "ContactCard/set", "alice", fmt.Sprintf(`, "destroy": [%q]`, id))
	if fmt.Sprint(r["destroyed"]) != "["+id+"]" {
		t.Errorf("destroy: %v", r)
	}
	if got := h.add("alice", "alice", strings.Replace(joe, "{", fmt.Sprintf(`{"uid": %q, `, c["uid"]), 1)); !strings.HasPrefix(got, "C") {
		t.Errorf("the uid of a card that is gone: %s", got)
	}
}

// TestBookGoes destroys a book with its cards: a card that is elsewhere too stays, and the uid
// of one that went with it is free again.
func TestBookGoes(t *testing.T) {
	h := newHouse(t)
	first := h.book("alice")
	r := h.Call("alice", "AddressBook/set", "alice", `, "create": {"n": {"name": "Team"}}`)
	team := accesstest.At(r, "created", "n", "id").(string)
	only := h.add("alice", "alice", fmt.Sprintf(`{"addressBookIds": {%q: true}, "uid": "only"}`, team))
	both := h.add("alice", "alice", fmt.Sprintf(`{"addressBookIds": {%q: true, %q: true}, "uid": "both"}`, first, team))
	if r := h.Call("alice", "AddressBook/set", "alice", fmt.Sprintf(`, "destroy": [%q]`, team)); accesstest.At(r, "notDestroyed", team, "type") != "addressBookHasContents" {
		t.Errorf("with cards in it: %v", r)
	}
	r = h.Call("alice", "AddressBook/set", "alice", fmt.Sprintf(`, "destroy": [%q], "onDestroyRemoveContents": true`, team))
	if fmt.Sprint(r["destroyed"]) != "["+team+"]" {
		t.Fatalf("destroy: %v", r)
	}
	got := h.Call("alice", "ContactCard/get", "alice", fmt.Sprintf(`, "ids": [%q, %q]`, only, both))
	if fmt.Sprint(got["notFound"]) != "["+only+"]" || fmt.Sprint(accesstest.At(got["list"].([]any)[0], "addressBookIds")) != "map["+first+":true]" {
		t.Errorf("left: %v", got)
	}
	if id := h.add("alice", "alice", fmt.Sprintf(`{"addressBookIds": {%q: true}, "uid": "only"}`, first)); !strings.HasPrefix(id, "C") {
		t.Errorf("the uid of a card that went with its book: %s", id)
	}
}

// TestCardErrors is a table of what a card may not be (RFC 9553).
func TestCardErrors(t *testing.T) {
	h := newHouse(t)
	book := h.book("alice")
	deep := strings.Repeat(`{"a":`, 20) + "1" + strings.Repeat("}", 20)
	for name, test := range map[string]struct{ properties, want string }{
		"no book":               {`"addressBookIds": {}`, "invalidProperties"},
		"a book of nobody":      {`"addressBookIds": {"B0000000000001": true}`, "invalidProperties"},
		"not in a book":         {fmt.Sprintf(`"addressBookIds": {%q: false}`, book), "invalidProperties"},
		"an id":                 {`"id": "C1"`, "invalidProperties"},
		"an empty uid":          {`"uid": ""`, "invalidProperties"},
		"a name that is text":   {`"name": "Joe"`, "invalidProperties"},
		"a component of none":   {`"name": {"components": [{"value": "Joe"}]}`, "invalidProperties"},
		"an address of number":  {`"emails": {"0": {"address": 5}}`, "invalidProperties"},
		"no address":            {`"emails": {"0": {}}`, "invalidProperties"},
		"emails in a list":      {`"emails": [{"address": "a@b.c"}]`, "invalidProperties"},
		"a key that is no Id":   {`"emails": {"a b": {"address": "a@b.c"}}`, "invalidProperties"},
		"a false context":       {`"emails": {"0": {"address": "a@b.c", "contexts": {"work": false}}}`, "invalidProperties"},
		"a preference of 0":     {`"emails": {"0": {"address": "a@b.c", "pref": 0}}`, "invalidProperties"},
		"another type":          {`"emails": {"0": {"@type": "Phone", "address": "a@b.c"}}`, "invalidProperties"},
		"a date without a zone": {`"created": "2026-01-01T00:00:00"`, "invalidProperties"},
		"another version":       {`"version": "2.0"`, "invalidProperties"},
		"a month of 13":         {`"anniversaries": {"a": {"kind": "birth", "date": {"month": 13}}}`, "invalidProperties"},
		"nested too deep":       {`"x:y": ` + deep, "invalidProperties"},
		"too large":             {fmt.Sprintf(`"notes": {"n": {"note": %q}}`, strings.Repeat("x", 66_000)), "tooLarge"},
	} {
		t.Run(name, func(t *testing.T) {
			card := fmt.Sprintf(`{"addressBookIds": {%q: true}, %s}`, book, test.properties)
			if strings.Contains(test.properties, "addressBookIds") {
				card = "{" + test.properties + "}"
			}
			if got := h.add("alice", "alice", card); got != test.want {
				t.Errorf("%s", got)
			}
		})
	}
}

// TestSharing shares a book with bob, who then sees it, and only it.
func TestSharing(t *testing.T) {
	h := newHouse(t)
	private := h.book("alice")
	r := h.Call("alice", "AddressBook/set", "alice", fmt.Sprintf(`, "create": {"n": {"name": "Team", "shareWith": {%q: {"mayRead": true, "mayWrite": false}}}}`, h.Principal("bob")))
	team := accesstest.At(r, "created", "n", "id").(string)
	secret := h.add("alice", "alice", fmt.Sprintf(`{"addressBookIds": {%q: true}, "uid": "secret"}`, private))
	shared := h.add("alice", "alice", fmt.Sprintf(`{"addressBookIds": {%q: true, %q: true}, "uid": "shared"}`, private, team))

	books := h.Call("bob", "AddressBook/get", "alice", "")["list"].([]any)
	if len(books) != 1 || accesstest.At(books[0], "id") != team || accesstest.At(books[0], "myRights", "mayWrite") != false || accesstest.At(books[0], "isSubscribed") != false {
		t.Fatalf("bob sees %v", books)
	}
	got := h.Call("bob", "ContactCard/get", "alice", fmt.Sprintf(`, "ids": [%q, %q]`, secret, shared))
	if fmt.Sprint(got["notFound"]) != "["+secret+"]" || fmt.Sprint(accesstest.At(got["list"].([]any)[0], "addressBookIds")) != fmt.Sprintf("map[%s:true]", team) {
		t.Errorf("bob gets %v", got)
	}
	if r := h.Call("bob", "ContactCard/query", "alice", ""); fmt.Sprint(r["ids"]) != "["+shared+"]" {
		t.Errorf("bob finds %v", r)
	}
	for what, args := range map[string]string{
		"write":        fmt.Sprintf(`, "update": {%q: {"kind": "org"}}`, shared),
		"destroy":      fmt.Sprintf(`, "destroy": [%q]`, shared),
		"write secret": fmt.Sprintf(`, "update": {%q: {"kind": "org"}}`, secret),
	} {
		r := h.Call("bob", "ContactCard/set", "alice", args)
		if count(r["notUpdated"])+count(r["notDestroyed"]) != 1 {
			t.Errorf("%s by bob: %v", what, r)
		}
	}
	if got := h.add("bob", "alice", fmt.Sprintf(`{"addressBookIds": {%q: true}}`, team)); got != "forbidden" {
		t.Errorf("create by bob: %s", got)
	}
	if r := h.Call("bob", "AddressBook/set", "alice", fmt.Sprintf(`, "update": {%q: {"shareWith": null}}`, team)); accesstest.At(r, "notUpdated", team) != nil && accesstest.At(r, "notUpdated", team, "type") != "forbidden" {
		t.Errorf("share by bob: %v", r)
	}
	r = h.Call("bob", "AddressBook/set", "alice", fmt.Sprintf(`, "update": {%q: {"isSubscribed": true}}`, team))
	if count(r["updated"]) != 1 {
		t.Errorf("subscribe by bob: %v", r)
	}
	h.Call("alice", "AddressBook/set", "alice", fmt.Sprintf(`, "update": {%q: {"shareWith/%s": null}}`, team, h.Principal("bob")))
	if r := h.Call("bob", "AddressBook/get", "alice", ""); r["error"] != "accountNotFound" {
		t.Errorf("bob still sees %v", r)
	}
}

// count is the number of members of an object; null has none.
func count(v any) int {
	m, _ := v.(map[string]any)
	return len(m)
}

// TestQuery is a table of filters and sort orders (RFC 9610, 3.3).
func TestQuery(t *testing.T) {
	h := newHouse(t)
	book := h.book("alice")
	add := func(uid, more string) string {
		return h.add("alice", "alice", fmt.Sprintf(`{"addressBookIds": {%q: true}, "uid": %q, %s}`, book, uid, more))
	}
	names := map[string]string{
		add("a", `"created": "2026-01-01T00:00:00Z", "name": {"full": "Zoë van Dyk", "components": [{"kind": "given", "value": "Zoë"}, {"kind": "surname", "value": "van Dyk"}]}, "emails": {"e": {"address": "zoe@example.com", "label": "home"}}, "keywords": {"friend": true}`): "zoe",
		add("b", `"created": "2026-02-01T00:00:00Z", "name": {"components": [{"kind": "given", "value": "Ægir"}, {"kind": "surname", "value": "Olsen"}]}, "phones": {"p": {"number": "+47 1234"}}, "organizations": {"o": {"name": "Fjord Line"}}`):                                "aegir",
		add("c", `"created": "2026-03-01T00:00:00Z", "kind": "group", "members": {"a": true, "b": true}, "name": {"full": "Team blue"}, "notes": {"n": {"note": "blue team meets on Monday"}}, "nicknames": {"k": {"name": "blues"}}`):                                             "team",
	}
	for _, test := range []struct{ name, args, want string }{
		{"all by creation", `"sort": [{"property": "created"}]`, "zoe aegir team"},
		{"the newest first", `"sort": [{"property": "created", "isAscending": false}]`, "team aegir zoe"},
		{"by given name", `"sort": [{"property": "name/given"}]`, "team aegir zoe"},
		{"by an unknown property", `"sort": [{"property": "shoe"}]`, "unsupportedSort"},
		{"folded", `"filter": {"name": "zoe"}`, "zoe"},
		{"full name in two parts", `"filter": {"name": "DYK zoe"}`, "zoe"},
		{"surname", `"filter": {"name/surname": "olsen"}`, "aegir"},
		{"email", `"filter": {"email": "example.com"}`, "zoe"},
		{"email's label", `"filter": {"email": "home"}`, "zoe"},
		{"phone", `"filter": {"phone": "1234"}`, "aegir"},
		{"organization", `"filter": {"organization": "fjord"}`, "aegir"},
		{"nickname", `"filter": {"nickname": "blues"}`, "team"},
		{"note", `"filter": {"note": "monday"}`, "team"},
		{"a phrase", `"filter": {"text": "\"team blue\""}`, "team"},
		{"a phrase that is not there", `"filter": {"text": "\"blue monday\""}`, ""},
		{"tokens anywhere", `"filter": {"text": "blue monday"}`, "team"},
		{"a keyword", `"filter": {"text": "friend"}`, "zoe"},
		{"kind", `"filter": {"kind": "group"}`, "team"},
		{"member", `"filter": {"hasMember": "b"}`, "team"},
		{"uid", `"filter": {"uid": "a"}`, "zoe"},
		{"book", fmt.Sprintf(`"filter": {"inAddressBook": %q, "uid": "a"}`, book), "zoe"},
		{"no book", `"filter": {"inAddressBook": "B0000000000001"}`, ""},
		{"created", `"filter": {"createdAfter": "2026-02-01T00:00:00Z"}, "sort": [{"property": "created"}]`, "aegir team"},
		{"created before", `"filter": {"createdBefore": "2026-02-01T00:00:00Z"}`, "zoe"},
		{"neither", `"filter": {"operator": "NOT", "conditions": [{"uid": "a"}, {"uid": "b"}]}`, "team"},
		{"either", `"filter": {"operator": "OR", "conditions": [{"uid": "a"}, {"uid": "b"}]}, "sort": [{"property": "created"}]`, "zoe aegir"},
		{"nothing asked", `"filter": {}, "limit": 1, "sort": [{"property": "created"}]`, "zoe"},
		{"an unknown condition", `"filter": {"shoe": "x"}`, "unsupportedFilter"},
		{"a condition of number", `"filter": {"name": 5}`, "invalidArguments"},
		{"no date", `"filter": {"createdBefore": "yesterday"}`, "invalidArguments"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := h.Call("alice", "ContactCard/query", "alice", ", "+test.args)
			var got []string
			if e, ok := r["error"].(string); ok {
				got = []string{e}
			} else {
				for _, id := range r["ids"].([]any) {
					got = append(got, names[id.(string)])
				}
			}
			if strings.Join(got, " ") != test.want {
				t.Errorf("%v, wanted %s", got, test.want)
			}
		})
	}
}

// TestRandom makes random changes and compares /changes and /queryChanges with what is
// there.
func TestRandom(t *testing.T) {
	h := newHouse(t)
	book := h.book("alice")
	const sorted = `, "sort": [{"property": "name/given"}]`
	rapid.Check(t, func(rt *rapid.T) {
		r := h.Call("alice", "ContactCard/query", "alice", sorted)
		if left, err := json.Marshal(r["ids"]); err != nil || len(r["ids"].([]any)) > 0 {
			h.Call("alice", "ContactCard/set", "alice", `, "destroy": `+string(left))
			r = h.Call("alice", "ContactCard/query", "alice", sorted)
		}
		known := map[string]bool{}
		var order []string
		state, queryState := r["queryState"].(string), r["queryState"].(string)
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			name := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(rt, "name")
			object := fmt.Sprintf(`{"addressBookIds": {%q: true}, "name": {"components": [{"kind": "given", "value": %q}]}}`, book, name)
			all := h.Call("alice", "ContactCard/query", "alice", sorted)["ids"].([]any)
			switch what := rapid.IntRange(0, 2).Draw(rt, "what"); {
			case what == 0 || len(all) == 0:
				h.add("alice", "alice", object)
			case what == 1:
				id := rapid.SampledFrom(all).Draw(rt, "id").(string)
				h.Call("alice", "ContactCard/set", "alice", fmt.Sprintf(`, "update": {%q: {"name/components": [{"kind": "given", "value": %q}]}}`, id, name))
			default:
				h.Call("alice", "ContactCard/set", "alice", fmt.Sprintf(`, "destroy": [%q]`, rapid.SampledFrom(all).Draw(rt, "id").(string)))
			}
			if rapid.Bool().Draw(rt, "look") {
				state = h.follow(state, known)
				order, queryState = h.followQuery(sorted, queryState, order)
			}
		}
		h.follow(state, known)
		order, _ = h.followQuery(sorted, queryState, order)
		all := h.Call("alice", "ContactCard/query", "alice", sorted)["ids"].([]any)
		want := map[string]bool{}
		for _, id := range all {
			want[id.(string)] = true
		}
		if !maps.Equal(known, want) || fmt.Sprint(order) != fmt.Sprint(all) {
			rt.Fatalf("known %v and %v, there is %v", known, order, all)
		}
	})
}

// follow applies /changes to what is known.
func (h *house) follow(state string, known map[string]bool) string {
	r := h.Call("alice", "ContactCard/changes", "alice", fmt.Sprintf(`, "sinceState": %q`, state))
	for _, id := range append(r["created"].([]any), r["updated"].([]any)...) {
		known[id.(string)] = true
	}
	for _, id := range r["destroyed"].([]any) {
		delete(known, id.(string))
	}
	return r["newState"].(string)
}

// followQuery applies /queryChanges to a result (RFC 8620, 5.6).
func (h *house) followQuery(sorted, state string, order []string) ([]string, string) {
	r := h.Call("alice", "ContactCard/queryChanges", "alice", sorted+fmt.Sprintf(`, "sinceQueryState": %q`, state))
	gone := map[string]bool{}
	for _, id := range r["removed"].([]any) {
		gone[id.(string)] = true
	}
	var left []string
	for _, id := range order {
		if !gone[id] {
			left = append(left, id)
		}
	}
	for _, item := range r["added"].([]any) {
		i := int(accesstest.At(item, "index").(float64))
		left = append(left[:i], append([]string{accesstest.At(item, "id").(string)}, left[i:]...)...)
	}
	return left, r["newQueryState"].(string)
}

func FuzzCard(f *testing.F) {
	f.Add([]byte(`{"name": {"components": [{"kind": "given", "value": "Joe"}]}, "emails": {"0": {"address": "a@b.c"}}}`))
	f.Add([]byte(`{"anniversaries": {"a": {"kind": "birth", "date": {"year": 1}}}, "localizations": {"de": {"name": null}}}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		var p jmap.Properties
		if json.Unmarshal(in, &p) != nil || p == nil {
			return
		}
		p["uid"] = json.RawMessage(`"x"`)
		if err := checkSchema(p); err != nil {
			if setError(err) == nil {
				t.Fatalf("%v is not for the client", err)
			}
			return
		}
		for name, read := range texts {
			if n := parseNeedle(string(in)); n.in(read(&card{value: p})) && len(n) > 0 && len(read(&card{value: p})) == 0 {
				t.Fatalf("%s: found in nothing", name)
			}
		}
	})
}
