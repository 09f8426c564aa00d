package email

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"postroad/imap"
	"postroad/internal/kv/diskkv"
	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/jmap"
)

// TestUpdate changes mailboxes and keywords, as a whole and by patch.
func TestUpdate(t *testing.T) {
	h := newBodyHouse(t, Options{})
	inbox, archive, trash := h.box("alice", "INBOX"), h.box("alice", "Archive"), h.box("alice", "Trash")
	for _, c := range []struct {
		name, patch     string
		boxes, keywords string // afterwards; before it is INBOX and Archive, {"work": true, "$seen": true}
	}{
		{"a keyword by patch", `"keywords/$flagged": true`, inbox + " " + archive, `{"work": true, "$seen": true, "$flagged": true}`},
		{"RFC 8621, 4.10", `"keywords/$seen": null`, inbox + " " + archive, `{"work": true}`},
		{"letters do not matter", `"keywords/WORK": null, "keywords/$Answered": true`, inbox + " " + archive, `{"$seen": true, "$answered": true}`},
		{"all keywords", `"keywords": {"$draft": true, "x/y~z": true}`, inbox + " " + archive, `{"$draft": true, "x/y~z": true}`},
		{"a keyword that is escaped", `"keywords/x~1y~0z": true`, inbox + " " + archive, `{"work": true, "$seen": true, "x/y~z": true}`},
		{"no keywords", `"keywords": null`, inbox + " " + archive, `{}`},
		{"one mailbox less", `"mailboxIds/ARCHIVE": null`, inbox, `{"work": true, "$seen": true}`},
		{"one mailbox more", `"mailboxIds/TRASH": true`, inbox + " " + archive + " " + trash, `{"work": true, "$seen": true}`},
		{"moved", `"mailboxIds": {"TRASH": true}`, trash, `{"work": true, "$seen": true}`},
		{"moved by patch, and read", `"mailboxIds/INBOX": null, "mailboxIds/ARCHIVE": null, "mailboxIds/TRASH": true, "keywords/$seen": null`, trash, `{"work": true}`},
		{"out of a mailbox that it is not in", `"mailboxIds/TRASH": null`, inbox + " " + archive, `{"work": true, "$seen": true}`},
		{"its own id", `"id": "ID", "keywords/a": true`, inbox + " " + archive, `{"work": true, "$seen": true, "a": true}`},
		{"nothing", ``, inbox + " " + archive, `{"work": true, "$seen": true}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			id := h.create("alice", fmt.Sprintf(`"keywords": {"Work": true, "$seen": true}, "subject": "x", "mailboxIds": {%q: true, %q: true}`, inbox, archive))
			fill := strings.NewReplacer("INBOX", inbox, "ARCHIVE", archive, "TRASH", trash, `"ID"`, fmt.Sprintf("%q", id))
			r := h.call("alice", "Email/set", "alice", fmt.Sprintf(`"update": {%q: {%s}}`, id, fill.Replace(c.patch)))
			if updated, there := at(r, "updated").(map[string]any)[id]; !there || updated != nil {
				t.Fatalf("%v", r)
			}
			o := h.get("alice", id, `"properties": ["mailboxIds", "keywords"]`)
			want := []string{}
			for box := range strings.FieldsSeq(c.boxes) {
				want = append(want, fmt.Sprintf("%q: true", box))
			}
			same(t, "mailboxIds", o["mailboxIds"], "{"+strings.Join(want, ",")+"}")
			same(t, "keywords", o["keywords"], c.keywords)
		})
	}
}

func TestUpdateErrors(t *testing.T) {
	h := newBodyHouse(t, Options{})
	id, inbox := h.deliver("alice", structured), h.box("alice", "INBOX")
	many := make([]string, 57)
	for i := range many {
		many[i] = fmt.Sprintf(`"k%d": true`, i)
	}
	for _, c := range []struct{ name, patch, kind string }{
		{"a property of the message", `"subject": "x"`, "invalidProperties"},
		{"a property that the server sets", `"size": 1`, "invalidProperties"},
		{"another id", `"id": "x"`, "invalidProperties"},
		{"nonsense", `"nonsense/a": true`, "invalidProperties"},
		{"a keyword that is false", `"keywords/a": false`, "invalidProperties"},
		{"a keyword that is none", `"keywords/a b": true`, "invalidProperties"},
		{"an empty keyword", `"keywords/": true`, "invalidProperties"},
		{"a keyword that is too long", `"keywords/` + strings.Repeat("k", 300) + `": true`, "invalidProperties"},
		{"keywords that are no set", `"keywords": ["a"]`, "invalidProperties"},
		{"a mailbox that is not there", `"mailboxIds/F0000000000001": true`, "invalidProperties"},
		{"no mailboxes", `"mailboxIds": {}`, "invalidProperties"},
		{"null for mailboxes", `"mailboxIds": null`, "invalidProperties"},
		{"out of its last mailbox", `"mailboxIds/` + inbox + `": null`, "invalidProperties"},
		{"as a whole and in part", `"keywords": {}, "keywords/a": true`, "invalidPatch"},
		{"mailboxes as a whole and in part", `"mailboxIds": {"` + inbox + `": true}, "mailboxIds/` + inbox + `": true`, "invalidPatch"},
		{"too many keywords", `"keywords": {` + strings.Join(many, ",") + `}`, "tooManyKeywords"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := h.call("alice", "Email/set", "alice", fmt.Sprintf(`"update": {%q: {%s}}`, id, c.patch))
			same(t, "type", at(r, "notUpdated", id, "type"), `"`+c.kind+`"`)
		})
	}
	r := h.call("alice", "Email/set", "alice", fmt.Sprintf(`"update": {"M0000000000000": {}, %q: {}}, "destroy": [%q, "nonsense"]`, id, id))
	same(t, "what is not there", at(r, "notUpdated", "M0000000000000", "type"), `"notFound"`)
	same(t, "what is destroyed too", at(r, "notUpdated", id, "type"), `"willDestroy"`)
	same(t, "destroyed", r["destroyed"], fmt.Sprintf(`[%q]`, id))
	same(t, "what is not there to be destroyed", at(r, "notDestroyed", "nonsense", "type"), `"notFound"`)
	if r := h.try("alice", "Email/set", "alice", `"ifInState": "nonsense", "destroy": []`); r["error"] != "stateMismatch" {
		t.Errorf("another state: %v", r)
	}
	state := h.call("alice", "Email/get", "alice", `"ids": []`)["state"].(string)
	h.call("alice", "Email/set", "alice", fmt.Sprintf(`"ifInState": %q, "destroy": []`, state))
}

// TestGuest holds a guest to the rights of each mailbox.
func TestGuest(t *testing.T) {
	h := newBodyHouse(t, Options{})
	inbox, archive, trash, junk := h.box("alice", "INBOX"), h.box("alice", "Archive"), h.box("alice", "Trash"), h.box("alice", "Junk")
	h.share("alice", "INBOX", "bob", "lrs")
	h.share("alice", "Archive", "bob", "lrswit")
	h.share("alice", "Trash", "bob", "lrswite")
	set := func(args string) map[string]any { return h.call("bob", "Email/set", "alice", args) }
	for _, c := range []struct{ name, boxes, patch, kind string }{
		{"his own $seen", "INBOX", `"keywords/$seen": true`, ""},
		{"a keyword without w", "INBOX", `"keywords/a": true`, "forbidden"},
		{"a keyword", "Archive", `"keywords/a": true`, ""},
		{"a keyword in two mailboxes", "INBOX Archive", `"keywords/a": true`, "forbidden"},
		{"out of a mailbox without e", "Archive", `"mailboxIds": {"` + trash + `": true}`, "forbidden"},
		{"out of a mailbox", "Trash", `"mailboxIds": {"` + archive + `": true}`, ""},
		{"into a mailbox without i", "Trash", `"mailboxIds/` + inbox + `": true`, "forbidden"},
		{"into a mailbox that he may not look up", "Trash", `"mailboxIds/` + junk + `": true`, "invalidProperties"},
		{"what he may not see", "Junk", `"keywords/a": true`, "notFound"},
	} {
		t.Run(c.name, func(t *testing.T) {
			id := h.deliver("alice", structured, strings.Fields(c.boxes)...)
			r := set(fmt.Sprintf(`"update": {%q: {%s}}`, id, c.patch))
			if kind, _ := at(r, "notUpdated", id, "type").(string); kind != c.kind {
				t.Errorf("%v", r)
			}
		})
	}
	for _, c := range []struct{ name, boxes, kind string }{
		{"destroy without rights", "INBOX", "forbidden"},
		{"destroy in one of two", "Archive Trash", "forbidden"},
		{"destroy", "Trash", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			id := h.deliver("alice", structured, strings.Fields(c.boxes)...)
			if kind, _ := at(set(fmt.Sprintf(`"destroy": [%q]`, id)), "notDestroyed", id, "type").(string); kind != c.kind {
				t.Errorf("%q", kind)
			}
		})
	}
	r := set(fmt.Sprintf(`"create": {"a": {"mailboxIds": {%q: true}}, "b": {"mailboxIds": {%q: true}, "keywords": {"$seen": true}}, "c": {"mailboxIds": {%q: true}}}`, inbox, archive, junk))
	same(t, "without i", at(r, "notCreated", "a", "type"), `"forbidden"`)
	same(t, "not to be seen", at(r, "notCreated", "c", "type"), `"invalidProperties"`)
	id, _ := at(r, "created", "b", "id").(string)
	for user, want := range map[string]string{"bob": `{"$seen": true}`, "alice": `{}`} {
		o := at(h.call(user, "Email/get", "alice", fmt.Sprintf(`"ids": [%q], "properties": ["keywords"]`, id)), "list", 0, "keywords")
		same(t, user+"'s $seen", o, want)
	}
	if r := h.try("carol", "Email/set", "alice", `"destroy": []`); r["error"] != "accountNotFound" {
		t.Errorf("a stranger: %v", r)
	}
}

// TestQuota tells overQuota for the messages that have no room, and makes the others.
func TestQuota(t *testing.T) {
	h := newBodyHouse(t, Options{})
	must(t, h.open("alice", "alice").SetQuota(t.Context(), mailstore.Quota{Messages: 2}))
	inbox := h.box("alice", "INBOX")
	var made []string
	for i := range 4 {
		made = append(made, fmt.Sprintf(`"c%d": {"mailboxIds": {%q: true}, "subject": "%d"}`, i, inbox, i))
	}
	r := h.call("alice", "Email/set", "alice", `"create": {`+strings.Join(made, ",")+`}`)
	created, _ := r["created"].(map[string]any)
	not, _ := r["notCreated"].(map[string]any)
	if len(created) != 2 || len(not) != 2 {
		t.Fatalf("%v", r)
	}
	for _, e := range not {
		same(t, "type", at(e, "type"), `"overQuota"`)
	}
}

// TestImport imports uploads and parts of messages.
func TestImport(t *testing.T) {
	h := newBodyHouse(t, Options{})
	inbox := h.box("alice", "INBOX")
	text := crlf("Received: from b by c; Tue, 10 Jul 2018 01:05:00 +0000\nReceived: from a by b; Tue, 10 Jul 2018 01:03:00 +0000\nSubject: =?utf-8?Q?imp=C3=B6rted?=\nFrom: b\xc3\xbc@example.com\n\nbody\n")
	up := h.upload("alice", "alice", "message/rfc822", text)
	id := h.deliver("alice", structured)
	image := h.upload("alice", "alice", "image/png", "\x89PNG\r\n")
	r := h.call("alice", "Email/import", "alice", fmt.Sprintf(`"emails": {
		"a": {"blobId": %q, "mailboxIds": {%q: true}, "keywords": {"$Seen": true}},
		"b": {"blobId": %q, "mailboxIds": {%q: true}, "receivedAt": "2020-02-03T04:05:06Z"},
		"c": {"blobId": %q, "mailboxIds": {%q: true}},
		"d": {"blobId": "U0000000000001", "mailboxIds": {%q: true}},
		"e": {"blobId": %q, "mailboxIds": {}},
		"f": {"blobId": %q, "mailboxIds": {%q: true}, "keywords": {"(": true}},
		"g": {"blobId": %q, "mailboxIds": {%q: true}, "subject": "x"}}`, up, inbox, "G"+id[1:]+"-2_4", inbox, image, inbox, inbox, up, up, inbox, up, inbox))
	a, _ := at(r, "created", "a", "id").(string)
	b, _ := at(r, "created", "b", "id").(string)
	same(t, "what is told of it", at(r, "created", "a"), fmt.Sprintf(`{"id": %q, "blobId": %q, "threadId": %q, "size": %d}`, a, "G"+a[1:], "T"+a[1:], len(text)))
	same(t, "an image", at(r, "notCreated", "c", "type"), `"invalidEmail"`)
	for name, property := range map[string]string{"d": "blobId", "e": "mailboxIds", "f": "keywords", "g": "subject"} {
		same(t, name, at(r, "notCreated", name, "properties"), fmt.Sprintf(`[%q]`, property))
	}
	same(t, "properties", h.get("alice", a, `"properties": ["subject", "from", "keywords", "receivedAt"]`),
		fmt.Sprintf(`{"id": %q, "subject": "impörted", "from": [{"name": null, "email": "bü@example.com"}], "keywords": {"$seen": true}, "receivedAt": "2018-07-10T01:05:00Z"}`, a))
	same(t, "of a part", h.get("alice", b, `"properties": ["subject", "receivedAt"]`), fmt.Sprintf(`{"id": %q, "subject": "inner", "receivedAt": "2020-02-03T04:05:06Z"}`, b))
	if h.raw("alice", a) != text {
		t.Errorf("%q", h.raw("alice", a))
	}
	if r := h.try("alice", "Email/import", "alice", `"ifInState": "nonsense", "emails": {}`); r["error"] != "stateMismatch" {
		t.Errorf("another state: %v", r)
	}
	if r := h.try("alice", "Email/import", "alice", `"emails": []`); r["error"] != "invalidArguments" {
		t.Errorf("no map: %v", r)
	}
}

// TestImportMany imports more messages than one commit takes.
func TestImportMany(t *testing.T) {
	h := newBodyHouse(t, Options{})
	inbox := h.box("alice", "INBOX")
	var emails []string
	for i := range 40 {
		up := h.upload("alice", "alice", "", fmt.Sprintf("Subject: %d\r\n\r\nbody\r\n", i))
		emails = append(emails, fmt.Sprintf(`"c%d": {"blobId": %q, "mailboxIds": {%q: true}}`, i, up, inbox))
	}
	r := h.call("alice", "Email/import", "alice", `"emails": {`+strings.Join(emails, ",")+`}`)
	if created := r["created"].(map[string]any); len(created) != 40 || r["notCreated"] != nil {
		t.Errorf("%v", r)
	}
}

// TestCopy copies between accounts.
func TestCopy(t *testing.T) {
	h := newBodyHouse(t, Options{})
	h.share("alice", "INBOX", "bob", "lrswite")
	hidden, id := h.deliver("alice", structured, "Archive"), h.deliver("alice", structured)
	h.call("alice", "Email/set", "alice", fmt.Sprintf(`"update": {%q: {"keywords": {"$flagged": true, "work": true}}}`, id))
	inbox := h.box("bob", "INBOX")
	r := h.call("bob", "Email/copy", "bob", fmt.Sprintf(`"fromAccountId": %q, "create": {
		"a": {"id": %q, "mailboxIds": {%q: true}},
		"b": {"id": %q, "mailboxIds": {%q: true}, "keywords": {"b": true}, "receivedAt": "2020-02-03T04:05:06Z"},
		"c": {"id": %q, "mailboxIds": {%q: true}},
		"d": {"id": %q, "mailboxIds": {%q: true}, "subject": "x"},
		"e": {"id": %q}, "f": {"mailboxIds": {%q: true}}}`, h.account("alice"), id, inbox, id, inbox, hidden, inbox, id, inbox, id, inbox))
	for name, kind := range map[string]string{"c": "notFound", "d": "invalidProperties", "e": "invalidProperties", "f": "invalidProperties"} {
		same(t, name, at(r, "notCreated", name, "type"), `"`+kind+`"`)
	}
	a, _ := at(r, "created", "a", "id").(string)
	b, _ := at(r, "created", "b", "id").(string)
	same(t, "as it was", h.get("bob", a, `"properties": ["keywords", "receivedAt", "size"]`),
		fmt.Sprintf(`{"id": %q, "keywords": {"$flagged": true, "work": true}, "receivedAt": "2026-12-01T10:00:00Z", "size": %d}`, a, len(structured)))
	same(t, "changed", h.get("bob", b, `"properties": ["keywords", "receivedAt"]`), fmt.Sprintf(`{"id": %q, "keywords": {"b": true}, "receivedAt": "2020-02-03T04:05:06Z"}`, b))

	c := jmap.NewCall("Email/copy", h.args("bob", fmt.Sprintf(`"fromAccountId": %q, "onSuccessDestroyOriginal": true, "create": {"m": {"id": %q, "mailboxIds": {%q: true}}}`, h.account("alice"), id, inbox)), h.users["bob"], nil)
	if r := h.within(c); at(r, "created", "m", "id") == nil {
		t.Errorf("moved: %v", r)
	}
	if left := h.call("alice", "Email/get", "alice", fmt.Sprintf(`"ids": [%q], "properties": ["id"]`, id)); at(left, "notFound", 0) != id {
		t.Errorf("the original is still there: %v", left)
	}
	for _, c := range []struct{ args, kind string }{
		{fmt.Sprintf(`"fromAccountId": %q, "create": {}`, h.account("carol")), "fromAccountNotFound"},
		{fmt.Sprintf(`"fromAccountId": %q, "create": {}`, h.account("bob")), "invalidArguments"},
		{fmt.Sprintf(`"fromAccountId": %q, "ifFromInState": "x", "create": {}`, h.account("alice")), "stateMismatch"},
		{fmt.Sprintf(`"fromAccountId": %q, "ifInState": "x", "create": {}`, h.account("alice")), "stateMismatch"},
	} {
		if r := h.try("bob", "Email/copy", "bob", c.args); r["error"] != c.kind {
			t.Errorf("%s: %v", c.args, r)
		}
	}
}

// TestChanged tells who wants to know, as IMAP's commands do.
func TestChanged(t *testing.T) {
	var told []string
	h := newBodyHouse(t, Options{Changed: func(_ context.Context, u *access.User, a *mailstore.Account, box mailstore.MailboxID, cause Cause) func(context.Context, imap.UIDSet) {
		tree, err := a.Tree(context.Background())
		must(t, err)
		name := tree.ID(box).Name
		return func(_ context.Context, uids imap.UIDSet) {
			told = append(told, fmt.Sprintf("%s %s %d %s", u.Login, name, cause, uids))
		}
	}})
	expect := func(want ...string) {
		t.Helper()
		slices.Sort(told)
		if !slices.Equal(told, want) {
			t.Errorf("told %q, not %q", told, want)
		}
		told = nil
	}
	id := h.create("alice", `"subject": "x"`)
	expect("alice@ours.test INBOX 1 1")
	h.call("alice", "Email/set", "alice", fmt.Sprintf(`"update": {%q: {"keywords/$seen": true}}`, id))
	expect("alice@ours.test INBOX 3 1")
	h.call("alice", "Email/set", "alice", fmt.Sprintf(`"update": {%q: {"mailboxIds/%s": true}}`, id, h.box("alice", "Archive")))
	expect("alice@ours.test Archive 2 1")
	h.call("alice", "Email/set", "alice", fmt.Sprintf(`"destroy": [%q]`, id))
	expect()
}

// TestSetTime changes a thousand messages in a time that shows that they go in few commits.
// The bound is ten times what is to be reached (100 ms), so that a busy machine passes.
func TestSetTime(t *testing.T) {
	h := newBodyHouse(t, Options{})
	patches := h.many(1000, `{"keywords/$seen": true}`)
	begin := time.Now()
	r := h.call("alice", "Email/set", "alice", `"update": {`+patches+`}`)
	if len(r["updated"].(map[string]any)) != 1000 {
		t.Fatalf("%v", r["notUpdated"])
	}
	took := time.Since(begin)
	t.Logf("1000 updates took %v", took)
	if took > time.Second {
		t.Errorf("1000 updates took %v", took)
	}
}

// many delivers messages and returns a map of their ids to a patch.
func (h *bodyHouse) many(n int, patch string) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf("%q: %s", h.deliver("alice", fmt.Sprintf("Subject: number %d\r\nFrom: Jane Doe <jane@example.com>\r\nTo: alice@ours.test\r\n"+
			"Date: Tue, 10 Jul 2018 01:03:00 +0000\r\nMessage-ID: <%d@x>\r\n\r\nSome text that is long enough to make a preview of it.\r\n", i, i)), patch))
	}
	return strings.Join(list, ",")
}

// benchHouse is a house over the engine of a real disk, for measurements.
func benchHouse(b *testing.B) *bodyHouse {
	b.Helper()
	engine, err := diskkv.Open(diskkv.Options{Dir: b.TempDir(), Ballast: -1, Logger: slog.New(slog.DiscardHandler)})
	must(b, err)
	return newBodyHouseOver(b, engine, Options{})
}

// BenchmarkSet1000 marks a thousand messages, and marks them as they were.
func BenchmarkSet1000(b *testing.B) {
	h := benchHouse(b)
	patches := h.many(1000, `{"keywords/$flagged": FLAG}`)
	on := true
	for b.Loop() {
		flag := "null"
		if on {
			flag = "true"
		}
		on = !on
		h.call("alice", "Email/set", "alice", `"update": {`+strings.ReplaceAll(patches, "FLAG", flag)+`}`)
	}
}

// BenchmarkMove1000 moves a thousand messages to and fro.
func BenchmarkMove1000(b *testing.B) {
	h := benchHouse(b)
	patches := h.many(1000, `{"mailboxIds": {"BOX": true}}`)
	boxes := []string{h.box("alice", "Archive"), h.box("alice", "INBOX")}
	for i := 0; b.Loop(); i++ {
		h.call("alice", "Email/set", "alice", `"update": {`+strings.ReplaceAll(patches, "BOX", boxes[i%2])+`}`)
	}
}

// listProperties are those of a list of messages in a mail program.
const listProperties = `"properties": ["id", "threadId", "mailboxIds", "keywords", "size", "receivedAt", "from", "to", "subject", "sentAt", "hasAttachment", "preview", "blobId"]`

// BenchmarkGet60 is a screen of a list, its JSON included.
func BenchmarkGet60(b *testing.B) {
	h := benchHouse(b)
	var ids []string
	for one := range strings.SplitSeq(h.many(60, "0"), ",") {
		ids = append(ids, strings.TrimSuffix(one, ": 0"))
	}
	args := h.args("alice", `"ids": [`+strings.Join(ids, ",")+`], `+listProperties)
	for b.Loop() {
		r, err := h.methods["Email/get"].Do(context.Background(), jmap.NewCall("Email/get", args, h.users["alice"], nil))
		if err != nil || len(r.(*jmap.GetResult).List) != 60 {
			b.Fatal(err)
		}
		if _, err := json.Marshal(r); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpen is a message as it is opened to be read.
func BenchmarkOpen(b *testing.B) {
	h := benchHouse(b)
	args := h.args("alice", fmt.Sprintf(`"ids": [%q], "fetchTextBodyValues": true, "fetchHTMLBodyValues": true`, h.deliver("alice", structured)))
	for b.Loop() {
		if _, err := h.methods["Email/get"].Do(context.Background(), jmap.NewCall("Email/get", args, h.users["alice"], nil)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCreate makes drafts of 4 KB.
func BenchmarkCreate(b *testing.B) {
	h := benchHouse(b)
	text := strings.Repeat("Ein Satz mit Umlauten: äöü. ", 140)
	for b.Loop() {
		h.create("alice", `"subject": "Entwurf", "to": [{"email": "b@example.com"}], "textBody": [{"partId": "1"}], "bodyValues": {"1": {"value": "`+text+`"}}`)
	}
}

// TestManyMailboxes puts a message into more mailboxes than one commit takes.
func TestManyMailboxes(t *testing.T) {
	h := newBodyHouse(t, Options{})
	a := h.open("alice", "alice")
	boxes := []string{}
	for i := range 400 {
		m, err := a.CreateMailbox(t.Context(), fmt.Sprintf("box %d", i), "")
		must(t, err)
		boxes = append(boxes, fmt.Sprintf("%q: true", mailstore.FormatMailboxID(m.ID)))
	}
	all := strings.Join(boxes, ",")
	id := h.deliver("alice", structured)
	r := h.call("alice", "Email/set", "alice", fmt.Sprintf(`"create": {"c": {"mailboxIds": {%s}}}, "update": {%q: {"mailboxIds": {%s}}}`, all, id, all))
	same(t, "create", at(r, "notCreated", "c", "type"), `"tooManyMailboxes"`)
	same(t, "update", at(r, "notUpdated", id, "type"), `"tooManyMailboxes"`)
	r = h.call("alice", "Email/set", "alice", fmt.Sprintf(`"create": {"c": {"mailboxIds": {%s}}}, "update": {%q: {"mailboxIds": {%s}}}`,
		strings.Join(boxes[:20], ","), id, strings.Join(boxes[:20], ",")))
	if at(r, "created", "c") == nil || r["updated"] == nil {
		t.Errorf("20 mailboxes: %v", r)
	}
}
