package server

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"postroad/imap"
	"postroad/internal/blob/memblob"
	"postroad/internal/directory"
	"postroad/internal/kv/memkv"
	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/mua/jmapd/email"
	"postroad/jmap"
)

// TestSnoozedByJMAP: a message that a client of JMAP snoozed is back at its hour, at the end
// of its mailbox, with the keywords, and Email/changes tells of it.
func TestSnoozedByJMAP(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := newOffice(t, memkv.New(), memblob.New())
		defer o.close()
		ctx, stop := context.WithCancel(t.Context())
		stopped := make(chan struct{})
		go func() { o.store.Snooze.Run(ctx); close(stopped) }()
		defer func() { stop(); <-stopped }()
		waits, err := o.store.Snooze.Mailbox(t.Context(), o.alice)
		o.must(err)
		tree, err := o.alice.Tree(t.Context())
		o.must(err)
		archive := tree.Role(imap.AttrArchive).ID
		methods := email.New(o.house, email.Options{Snooze: o.store.Snooze}).Methods()
		call := func(name, args string) map[string]any {
			t.Helper()
			for _, m := range methods {
				if m.Name != name {
					continue
				}
				raw := fmt.Sprintf(`{"accountId":%q,%s}`, access.FormatID('A', o.user.ID), args)
				r, err := m.Do(t.Context(), jmap.NewCall(name, json.RawMessage(raw), o.user, nil, email.CapabilityMail, email.CapabilityCyrusMail))
				o.must(err)
				text, err := json.Marshal(r)
				o.must(err)
				var out map[string]any
				o.must(json.Unmarshal(text, &out))
				return out
			}
			t.Fatalf("no method %s", name)
			return nil
		}
		id, other := o.append(imap.AttrDrafts, draftText), o.append(imap.AttrArchive, draftText)
		until := time.Now().Add(90 * time.Minute)
		r := call("Email/set", fmt.Sprintf(`"update":{%q:{"mailboxIds":{%q:true},"keywords/$draft":null,"snoozed":{"until":%q,"moveToMailboxId":%q,"setKeywords":{"$flagged":true}}}}`,
			id, mailstore.FormatMailboxID(waits.ID), jmap.FormatUTCDate(until), mailstore.FormatMailboxID(archive)))
		if in := o.where(id); in != "Snoozed()" {
			t.Fatalf("it is in %s: %v", in, r)
		}
		state := r["newState"]
		time.Sleep(time.Until(until) - time.Second)
		if in := o.where(id); in != "Snoozed()" {
			t.Errorf("a second before it is in %s", in)
		}
		later := o.append(imap.AttrArchive, draftText)
		time.Sleep(2 * time.Second)
		if ids, _ := o.listed("Archive"); fmt.Sprint(ids) != fmt.Sprint([]string{other, later, id}) || o.where(id) != `Archive(\Flagged)` {
			t.Errorf("Archive has %v, want %s at the end; it is in %s", ids, id, o.where(id))
		}
		changes := call("Email/changes", fmt.Sprintf(`"sinceState":%q`, state))
		if fmt.Sprint(changes["updated"]) != fmt.Sprint([]any{id}) || fmt.Sprint(changes["created"]) != fmt.Sprint([]any{later}) {
			t.Errorf("changes %v", changes)
		}
		got := call("Email/get", fmt.Sprintf(`"ids":[%q],"properties":["snoozed"]`, id))["list"].([]any)[0].(map[string]any)
		if v, there := got["snoozed"]; !there || v != nil {
			t.Errorf("snoozed still: %v", got)
		}
	})
}

// TestMorningOfAccount: what is moved into Snoozed without a date comes back in the morning
// of the account's zone.
func TestMorningOfAccount(t *testing.T) {
	for zone, want := range map[string]time.Time{ // it is noon of 1 March in UTC
		"Asia/Tokyo":          time.Date(2026, 3, 1, 23, 0, 0, 0, time.UTC),
		"America/Los_Angeles": time.Date(2026, 3, 1, 16, 0, 0, 0, time.UTC),
		"UTC":                 time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC),
	} {
		bubble(t, func(t *testing.T) {
			o := newOffice(t, memkv.New(), memblob.New())
			defer o.close()
			_, err := o.store.Directory.ChangeAccount(t.Context(), o.user.ID, func(a *directory.Account) error { a.TimeZone = zone; return nil })
			o.must(err)
			_, err = o.store.Snooze.Mailbox(t.Context(), o.alice)
			o.must(err)
			id, err := mailstore.ParseEmailID(o.append(imap.AttrSnoozed, draftText))
			o.must(err)
			of, err := o.store.Snooze.Of(t.Context(), o.user.ID, id.Message)
			if err != nil || !of[id.Message].Until.Equal(want) {
				t.Errorf("%s: %v, want %v; %v", zone, of, want, err)
			}
		})
	}
}
