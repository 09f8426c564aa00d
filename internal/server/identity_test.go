package server

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"postroad/imap"
	"postroad/internal/blob/memblob"
	"postroad/internal/directory"
	"postroad/internal/kv/memkv"
	"postroad/internal/mailstore"
)

// identities lists alice's: "email mayDelete".
func (o *office) identities() string {
	o.t.Helper()
	var all []string
	for _, v := range o.call("Identity/get", `{"accountId":"$account","ids":null}`)["list"].([]any) {
		i := v.(map[string]any)
		all = append(all, fmt.Sprintf("%s %v", i["email"], i["mayDelete"]))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// TestIdentitiesOfOthers: who is let send with another one's addresses has them.
func TestIdentitiesOfOthers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := newOffice(t, memkv.New(), memblob.New())
		defer o.close()
		defer o.run()()
		dir := o.store.Directory
		const own = "al@ours.test false, alice@ours.test false"
		if got := o.identities(); got != own {
			t.Errorf("at first %s", got)
		}
		bob, err := dir.AccountByAddress(t.Context(), mustAddress("bob@ours.test"))
		o.must(err)
		grant := func(r directory.SendRight) {
			o.must(dir.SetSendGrant(t.Context(), bob.ID, directory.SendGrant{Account: o.user.ID, Right: r}))
		}
		grant(directory.SendOnBehalf)
		if got := o.identities(); got != own+", bob@ours.test false" {
			t.Errorf("with a grant %s", got)
		}
		list := o.call("Identity/get", `{"accountId":"$account","ids":null}`)["list"].([]any)
		of := list[2].(map[string]any)
		email := o.append(imap.AttrDrafts, "From: bob@ours.test\nTo: x@far.test\n\nhi\n")
		r := o.call("EmailSubmission/set", fmt.Sprintf(`{"accountId":"$account","create":{"k":{"identityId":%q,"emailId":%q}}}`, of["id"], email))
		time.Sleep(time.Second)
		if !strings.Contains(fmt.Sprint(r["created"]), "mailFrom:map[email:alice@ours.test") || len(o.texts()) != 1 || !strings.Contains(o.texts()[0], "Sender: Alice <alice@ours.test>") {
			t.Errorf("on behalf: %v, %q", r, o.texts())
		}
		grant(directory.SendNot)
		if got := o.identities(); got != own+", bob@ours.test true" {
			t.Errorf("without the grant %s", got)
		}
		o.call("Identity/set", fmt.Sprintf(`{"accountId":"$account","destroy":[%q]}`, of["id"]))
		if got := o.identities(); got != own {
			t.Errorf("destroyed: %s", got)
		}
		grant(directory.SendAs)
		if got := o.identities(); got != own+", bob@ours.test false" {
			t.Errorf("granted anew: %s", got)
		}
	})
}

// TestIdentityOfADomain: for whom gets all mail of a domain.
func TestIdentityOfADomain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := newOffice(t, memkv.New(), memblob.New())
		defer o.close()
		_, err := o.store.Directory.AddDomain(t.Context(), directory.Domain{Name: "own.test", Org: directory.DefaultOrg, Separator: "+"})
		o.must(err)
		_, err = o.store.Directory.ChangeDomain(t.Context(), "own.test", func(d *directory.Domain) error {
			d.CatchAll = mustAddress("alice@ours.test")
			return nil
		})
		o.must(err)
		r := o.call("Identity/set", `{"accountId":"$account","create":{"k":{"email":"*@own.test"}}}`)
		made, _ := r["created"].(map[string]any)["k"].(map[string]any)
		if made == nil {
			t.Fatal(r)
		}
		for from, want := range map[string]string{"any.one@own.test": "any.one@own.test", "alice@ours.test": "forbiddenMailFrom"} {
			email := o.append(imap.AttrDrafts, "From: "+from+"\nTo: x@far.test\n\nhi\n")
			r := o.call("EmailSubmission/set", fmt.Sprintf(`{"accountId":"$account","create":{"k":{"identityId":%q,"emailId":%q}}}`, made["id"], email))
			if !strings.Contains(fmt.Sprint(r), want) {
				t.Errorf("from %s: %v", from, r)
			}
		}
	})
}

// TestFullMailbox: mail that cannot be shown while it waits is refused, and left nowhere.
func TestFullMailbox(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := newOffice(t, memkv.New(), memblob.New())
		defer o.close()
		o.must(o.store.Outbox.SetUndo(t.Context(), o.user.ID, 10*time.Second))
		o.must(o.alice.SetQuota(t.Context(), mailstore.Quota{Messages: 1}))
		email := o.append(imap.AttrDrafts, draftText)
		if got := o.smtp("<alice@ours.test>", []string{"x@far.test"}, programText); !strings.HasPrefix(got, "552 5.2.2") {
			t.Errorf("over SMTP: %s", got)
		}
		if r := o.send(email, `"HOLDFOR":"60"`, "x@far.test"); r["type"] != "overQuota" {
			t.Errorf("by JMAP: %v", r)
		}
		if n, err := o.store.Queue.Length(t.Context()); n != 0 || err != nil {
			t.Errorf("%d in the queue, %v", n, err)
		}
	})
}

// TestCapabilities: what an account is told that it may use.
func TestCapabilities(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := newOffice(t, memkv.New(), memblob.New())
		defer o.close()
		all, err := o.house.Accounts(t.Context(), o.user)
		o.must(err)
		got := fmt.Sprint(o.sending.Capabilities(o.user, all[0]))
		for _, w := range []string{"maxDelayedSend:2678400", "FUTURERELEASE:[2678400 2026-04-01T12:00:00Z]", "DSN:[]", "MT-PRIORITY:[]", "DELIVERBY:[]", "SIZE:[50000]",
			"urn:ietf:params:jmap:vacationresponse:map[]", "urn:ietf:params:jmap:mdn:map[]"} {
			if !strings.Contains(got, w) {
				t.Errorf("no %s in %s", w, got)
			}
		}
		foreign := *all[0]
		foreign.Own = false
		if c := o.sending.Capabilities(o.user, &foreign); c != nil {
			t.Errorf("in another one's account: %v", c)
		}
		states, err := o.sending.States(t.Context(), all[0])
		if err != nil || len(states) != 3 {
			t.Errorf("states %v, %v", states, err)
		}
	})
}
