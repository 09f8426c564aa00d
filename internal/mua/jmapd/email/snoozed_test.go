package email

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"postroad/jmap"
)

// asking makes a call as a user with CapabilityCyrusMail in "using". In args INBOX, ARCHIVE
// and SNOOZED are ids of alice's mailboxes.
func (h *bodyHouse) asking(user, method, args string) map[string]any {
	h.t.Helper()
	for _, box := range []string{"Archive", "INBOX", "Snoozed"} {
		args = strings.ReplaceAll(args, strings.ToUpper(box), h.box("alice", box))
	}
	return h.within(jmap.NewCall(method, h.args("alice", args), h.users[user], nil, CapabilityMail, CapabilityCyrusMail))
}

// snoozingHouse is a house whose alice has a mailbox Snoozed.
func snoozingHouse(t *testing.T) *bodyHouse {
	h := newBodyHouse(t, Options{})
	_, err := h.snooze.Mailbox(t.Context(), h.open("alice", "alice").Account)
	must(t, err)
	return h
}

// snoozed reads the property, with the mailboxes and keywords of the message.
func (h *bodyHouse) snoozed(id string) map[string]any {
	h.t.Helper()
	r := h.asking("alice", "Email/get", fmt.Sprintf(`"ids": [%q], "properties": ["snoozed", "mailboxIds", "keywords"]`, id))
	one, _ := at(r, "list", 0).(map[string]any)
	return one
}

// far is an hour in the future, as clients write it.
func far(d time.Duration) string { return jmap.FormatUTCDate(time.Now().Add(d).Truncate(time.Second)) }

func TestSnoozedBySet(t *testing.T) {
	h := snoozingHouse(t)
	at1, at2 := far(time.Hour), far(2*time.Hour)
	id := h.deliver("alice", structured)
	update := func(patch string) map[string]any {
		t.Helper()
		r := h.asking("alice", "Email/set", fmt.Sprintf(`"update": {%q: {%s}}`, id, patch))
		if r["error"] != nil || r["notUpdated"] != nil {
			t.Fatalf("%s: %v", patch, r)
		}
		return r
	}
	state := func(want string) {
		t.Helper()
		for _, box := range []string{"Archive", "INBOX", "Snoozed"} {
			want = strings.ReplaceAll(want, strings.ToUpper(box), h.box("alice", box))
		}
		got := h.snoozed(id)
		delete(got, "id")
		same(t, "message", any(got), want)
	}
	state(`{"snoozed": null, "mailboxIds": {"INBOX": true}, "keywords": {}}`)

	r := update(`"mailboxIds": {"SNOOZED": true}, "snoozed": {"until": "` + strings.TrimSuffix(at1, "Z") + `.250Z", "moveToMailboxId": "ARCHIVE", "setKeywords": {"$Flagged": true, "x": false}}`)
	now := `{"until": "` + at1 + `", "moveToMailboxId": "ARCHIVE", "setKeywords": {"$flagged": true, "x": false}}`
	same(t, "what the server rounded", at(r, "updated", id, "snoozed", "until"), `"`+at1+`"`)
	state(`{"snoozed": ` + now + `, "mailboxIds": {"SNOOZED": true}, "keywords": {}}`)

	before := h.call("alice", "Email/get", "alice", `"ids": []`)["state"]
	update(`"snoozed/until": "` + at2 + `", "snoozed/setKeywords/x": null, "keywords/mine": true`)
	state(`{"snoozed": {"until": "` + at2 + `", "moveToMailboxId": "ARCHIVE", "setKeywords": {"$flagged": true}}, "mailboxIds": {"SNOOZED": true}, "keywords": {"mine": true}}`)
	update(`"snoozed/moveToMailboxId": null`)
	changed := h.call("alice", "Email/changes", "alice", fmt.Sprintf(`"sinceState": %q`, before))
	same(t, "changes", changed["updated"], fmt.Sprintf(`[%q]`, id))

	// The date alone is a change too, although nothing of the message is another.
	before = h.call("alice", "Email/get", "alice", `"ids": []`)["state"]
	update(`"snoozed": {"until": "` + at1 + `", "setKeywords": {"$flagged": true, "mine": false}}`)
	changed = h.call("alice", "Email/changes", "alice", fmt.Sprintf(`"sinceState": %q`, before))
	same(t, "changes of the date", changed["updated"], fmt.Sprintf(`[%q]`, id))

	r = update(`"snoozed": null`)
	same(t, "where it woke", at(r, "updated", id, "mailboxIds"), `{"`+h.box("alice", "INBOX")+`": true}`)
	state(`{"snoozed": null, "mailboxIds": {"INBOX": true}, "keywords": {"$flagged": true}}`)

	r = update(`"mailboxIds/SNOOZED": true, "mailboxIds/INBOX": null`)
	if until, _ := at(r, "updated", id, "snoozed", "until").(string); until <= far(time.Minute) {
		t.Errorf("snoozed without a date: %v", r)
	}
	r = update(`"mailboxIds": {"ARCHIVE": true}, "snoozed": null`)
	same(t, "taken out", at(r, "updated", id), `{"snoozed": null}`)
	state(`{"snoozed": null, "mailboxIds": {"ARCHIVE": true}, "keywords": {"$flagged": true}}`)
}

func TestSnoozedByCreate(t *testing.T) {
	h := snoozingHouse(t)
	until := far(time.Hour)
	r := h.asking("alice", "Email/set", `"create": {
		"a": {"mailboxIds": {"SNOOZED": true}, "subject": "later", "snoozed": {"until": "`+until+`"}},
		"b": {"mailboxIds": {"SNOOZED": true}, "subject": "morning"},
		"c": {"mailboxIds": {"INBOX": true}, "subject": "now", "snoozed": null},
		"d": {"mailboxIds": {"INBOX": true}, "snoozed": {"until": "`+until+`"}},
		"e": {"mailboxIds": {"none": true}, "snoozed": {"until": "`+until+`"}},
		"f": {"mailboxIds": {"SNOOZED": true}, "snoozed": {"until": "tomorrow"}}}`)
	same(t, "a", at(r, "created", "a", "snoozed"), `{"until": "`+until+`", "moveToMailboxId": null, "setKeywords": null}`)
	same(t, "b", at(r, "created", "b", "snoozed", "setKeywords"), `{"$seen": false}`)
	if c, _ := at(r, "created", "c").(map[string]any); c == nil || c["snoozed"] != nil {
		t.Errorf("c: %v", r)
	}
	for name, properties := range map[string]string{"d": `["snoozed"]`, "e": `["mailboxIds"]`, "f": `["snoozed"]`} {
		same(t, name, at(r, "notCreated", name, "properties"), properties)
	}
	id, _ := at(r, "created", "a", "id").(string)
	same(t, "the first is what was said", at(h.snoozed(id), "snoozed", "until"), `"`+until+`"`)
}

func TestSnoozedRefused(t *testing.T) {
	h := snoozingHouse(t)
	h.share("alice", "Snoozed", "bob", "lrsi")
	h.share("alice", "INBOX", "bob", "lrsite")
	in, out := h.deliver("alice", structured, "Snoozed"), h.deliver("alice", structured)
	until := far(time.Hour)
	for _, c := range []struct{ name, user, id, patch, kind string }{
		{"not there", "alice", out, `"snoozed": {"until": "` + until + `"}`, "invalidProperties"},
		{"taken out", "alice", in, `"mailboxIds": {"INBOX": true}, "snoozed": {"until": "` + until + `"}`, "invalidProperties"},
		{"null there", "alice", out, `"mailboxIds/SNOOZED": true, "snoozed": null`, "invalidProperties"},
		{"no date", "alice", in, `"snoozed": {"until": "2026-01-01"}`, "invalidProperties"},
		{"no date at all", "alice", in, `"snoozed/until": null`, "invalidProperties"},
		{"too far", "alice", in, `"snoozed/until": "2999-01-01T00:00:00Z"`, "invalidProperties"},
		{"before time", "alice", in, `"snoozed/until": "1969-01-01T00:00:00Z"`, "invalidProperties"},
		{"text", "alice", in, `"snoozed": "soon"`, "invalidProperties"},
		{"another member", "alice", in, `"snoozed/by": "me"`, "invalidProperties"},
		{"no keyword", "alice", in, `"snoozed": {"until": "` + until + `", "setKeywords": {"(": true}}`, "invalidProperties"},
		{"null for a keyword", "alice", in, `"snoozed": {"until": "` + until + `", "setKeywords": {"a": null}}`, "invalidProperties"},
		{"keywords in a list", "alice", in, `"snoozed": {"until": "` + until + `", "setKeywords": ["a"]}`, "invalidProperties"},
		{"back to Snoozed", "alice", in, `"snoozed/moveToMailboxId": "SNOOZED"`, "invalidProperties"},
		{"back to nowhere", "alice", in, `"snoozed/moveToMailboxId": "F0000000000001"`, "invalidProperties"},
		{"whole and part", "alice", in, `"snoozed": {"until": "` + until + `"}, "snoozed/until": "` + until + `"`, "invalidPatch"},
		{"part of nothing", "alice", out, `"mailboxIds/SNOOZED": true, "snoozed/until": "` + until + `"`, "invalidPatch"},
		{"into text", "alice", in, `"snoozed/until/x": 1`, "invalidPatch"},
		{"guest without w", "bob", in, `"snoozed": {"until": "` + until + `"}`, "forbidden"},
		{"guest without t", "bob", in, `"snoozed": null`, "forbidden"},
		{"guest sets what he may not", "bob", out, `"mailboxIds/SNOOZED": true, "snoozed": {"until": "` + until + `", "setKeywords": {"x": true}}`, "forbidden"},
		{"guest to what he does not see", "bob", out, `"mailboxIds/SNOOZED": true, "snoozed": {"until": "` + until + `", "moveToMailboxId": "ARCHIVE"}`, "invalidProperties"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := h.snoozed(c.id)
			r := h.asking(c.user, "Email/set", fmt.Sprintf(`"update": {%q: {%s}}`, c.id, c.patch))
			if kind, _ := at(r, "notUpdated", c.id, "type").(string); kind != c.kind {
				t.Errorf("%v", r)
			}
			if after := h.snoozed(c.id); fmt.Sprint(after) != fmt.Sprint(before) {
				t.Errorf("%v became %v", before, after)
			}
		})
	}
}

// TestSnoozedUnused: who does not use the capability has no such property.
func TestSnoozedUnused(t *testing.T) {
	h := snoozingHouse(t)
	id := h.deliver("alice", structured, "Snoozed")
	if r := h.try("alice", "Email/get", "alice", `"ids": [], "properties": ["snoozed"]`); r["error"] != "invalidArguments" {
		t.Errorf("get: %v", r)
	}
	r := h.call("alice", "Email/set", "alice", fmt.Sprintf(`"update": {%q: {"snoozed": null}}, "create": {"a": {"mailboxIds": {%q: true}, "snoozed": null}}`, id, h.box("alice", "INBOX")))
	same(t, "update", at(r, "notUpdated", id, "properties"), `["snoozed"]`)
	same(t, "create", at(r, "notCreated", "a", "properties"), `["snoozed"]`)
	if one := h.asking("alice", "Email/get", fmt.Sprintf(`"ids": [%q]`, id)); at(one, "list", 0, "snoozed") != nil {
		t.Errorf("told without being asked for: %v", one)
	}
	a := h.open("alice", "alice")
	for _, all := range []map[string]any{h.m.Session(), h.m.Capabilities(h.users["alice"], a)} {
		if _, there := all[CapabilityCyrusMail]; !there {
			t.Errorf("not advertised in %v", all)
		}
	}
	without := New(h.access, Options{})
	if _, there := without.Session()[CapabilityCyrusMail]; there {
		t.Error("advertised where nothing serves it")
	}
	same(t, "where it still is", h.snoozed(id)["mailboxIds"], `{"`+h.box("alice", "Snoozed")+`": true}`)
}

// TestSnoozedUnseen: a guest who does not see Snoozed is not told of it.
func TestSnoozedUnseen(t *testing.T) {
	h := snoozingHouse(t)
	h.share("alice", "INBOX", "bob", "lrs")
	id := h.deliver("alice", structured, "Snoozed", "INBOX")
	ask := fmt.Sprintf(`"ids": [%q], "properties": ["snoozed"]`, id)
	if r := h.asking("bob", "Email/get", ask); at(r, "list", 0) == nil || at(r, "list", 0, "snoozed") != nil {
		t.Errorf("bob: %v", r)
	}
	r := h.asking("alice", "Email/get", ask)
	if at(r, "list", 0, "snoozed", "until") == nil {
		t.Errorf("alice: %v", r)
	}
}
