package email

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/objects"
	"postroad/jmap"
	"postroad/jmap/jmaptest"
	"postroad/message"
)

// arrive delivers a message that came some minutes after ten o'clock on 1 December 2026, and
// returns its id.
func (h *bodyHouse) arrive(account string, minute int, text string, boxes ...string) string {
	h.t.Helper()
	ctx := context.Background()
	text = strings.ReplaceAll(text, "\n", "\r\n")
	parsed, err := message.Parse(strings.NewReader(text), message.Limits{})
	must(h.t, err)
	body, err := h.access.Bodies.Stage(ctx, strings.NewReader(text), 1<<30)
	must(h.t, err)
	if len(boxes) == 0 {
		boxes = []string{"INBOX"}
	}
	var ids []mailstore.MailboxID
	for _, b := range boxes {
		id, err := mailstore.ParseObjectID('F', h.box(account, b))
		must(h.t, err)
		ids = append(ids, id)
	}
	a := h.open(account, account)
	in := &mailstore.Incoming{Body: body, Message: parsed, InternalDate: time.Date(2026, 12, 1, 10, minute, 0, 0, time.UTC)}
	var added []*mailstore.Appended
	must(h.t, h.access.Committer.Commit(ctx, func(ctx context.Context, u *mailflow.Unit) (err error) {
		added, err = a.PrepareAppend(ctx, u, in, ids[0], ids[1:]...)
		return err
	}))
	return mailstore.FormatEmailID(added[0].ID)
}

// listMail is some mail of alice's, of which bob may see a part, as variables of scripts.
func listMail(t *testing.T) (*bodyHouse, map[string]any) {
	h := newBodyHouse(t, Options{})
	a := h.open("alice", "alice")
	for _, name := range []string{"Work", "Work/Reports", "Work/Reports/2026", "Lists"} {
		_, err := a.CreateMailbox(t.Context(), name, "")
		must(t, err)
	}
	v := map[string]any{"account": string(h.account("alice")), "bob": string(h.account("bob")), "carol": string(h.account("carol"))}
	for _, name := range []string{"INBOX", "Drafts", "Sent", "Trash", "Work", "Work/Reports", "Lists"} {
		v[strings.ToLower(name[strings.LastIndex(name, "/")+1:])] = h.box("alice", name)
	}
	v["year"] = h.box("alice", "Work/Reports/2026")
	v["first"] = h.arrive("alice", 1, "From: Jane Doe <jane@example.com>\nTo: Alice <alice@ours.test>\nSubject: The Foosball competition\nMessage-ID: <1@x>\nDate: Tue, 1 Dec 2026 09:00:00 +0000\n\nThis year the foosball competition will be held in the Stadium de la Ville, with 100 < 200 seats.\n")
	v["second"] = h.arrive("alice", 2, "From: bert@example.com\nTo: Zoe <zoe@example.com>\nCc: carl@example.com\nSubject: Re: The Foosball competition\nMessage-ID: <2@x>\nIn-Reply-To: <1@x>\nDate: Tue, 1 Dec 2026 08:00:00 +0000\nX-Mailer: Pigeon 3\n\nI would rather play chess & bridge.\n")
	v["third"] = h.arrive("alice", 3, "From: Ann <ann@example.com>\nTo: Alice <alice@ours.test>\nSubject: Budget\nMessage-ID: <3@x>\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nThe buses are late.\n--b\nContent-Type: application/pdf; name=plan.pdf\nContent-Disposition: attachment\n\n%PDF\n--b--\n", "Work")
	v["fourth"] = h.arrive("alice", 4, "From: Ann <ann@example.com>\nSubject: Both places\nMessage-ID: <4@x>\n\nnothing much, and don't ask\n", "INBOX", "Lists")
	return h, v
}

// TestListScripts runs the examples of RFC 8621, 2.6, 3.1.1, 4.10 and 5.2, and every error,
// as the owner meets them.
func TestListScripts(t *testing.T) {
	r := &jmaptest.Runner{Using: []string{CapabilityMail}}
	r.Start = func(t *testing.T) map[string]any {
		h, v := listMail(t)
		r.Methods, r.User = h.m.Methods(), h.users["alice"]
		return v
	}
	r.Files(t, "testdata/lists/*.jmap")
}

// TestGuestScripts runs what somebody meets with whom parts are shared.
func TestGuestScripts(t *testing.T) {
	r := &jmaptest.Runner{}
	r.Start = func(t *testing.T) map[string]any {
		h, v := listMail(t)
		v["fifth"] = h.arrive("alice", 5, "From: Ann <ann@example.com>\nSubject: Report\nMessage-ID: <5@x>\n\nall is well\n", "Work/Reports")
		v["thirdThread"] = at(h.get("alice", v["third"].(string), ""), "threadId")
		h.share("alice", "Work/Reports", "bob", "lrswitek")
		h.share("alice", "Lists", "bob", "l")
		h.share("alice", "INBOX", "bob", "lri")
		r.Methods, r.User = h.m.Methods(), h.users["bob"]
		return v
	}
	r.Files(t, "testdata/guest/*.jmap")
}

// TestShareScripts runs how an owner shares.
func TestShareScripts(t *testing.T) {
	r := &jmaptest.Runner{Using: []string{CapabilityMail, CapabilityShare}}
	r.Start = func(t *testing.T) map[string]any {
		h, v := listMail(t)
		h.share("alice", "Work/Reports", "bob", "lrswitek")
		r.Methods, r.User = h.m.Methods(), h.users["alice"]
		return v
	}
	r.Files(t, "testdata/share/*.jmap")
}

// TestNotices tells bob, and him only, of what alice gives him and takes away.
func TestNotices(t *testing.T) {
	h, v := listMail(t)
	bob := h.users["bob"]
	id, _ := access.PrincipalID(mailstore.Subject{Kind: mailstore.SubjectAccount, Account: bob.ID})
	set := func(share string) {
		args := fmt.Sprintf(`{"accountId": %q, "update": {%q: {"shareWith": %s}}}`, v["account"], v["work"], share)
		m := slices.IndexFunc(h.m.Methods(), func(m jmap.Method) bool { return m.Name == "Mailbox/set" })
		r, err := h.m.Methods()[m].Do(t.Context(), jmap.NewCall("Mailbox/set", json.RawMessage(args), h.users["alice"], nil, CapabilityMail, CapabilityShare))
		if err != nil || len(r.(*jmap.SetResult).Updated) != 1 {
			t.Fatalf("%s: %+v %v", share, r, err)
		}
	}
	set(fmt.Sprintf(`{%q: {"mayReadItems": true}, "Y": {"mayReadItems": true}}`, id))
	set(`null`)
	list, _, err := h.m.house.Objects.All(t.Context(), bob.ID, objects.ShareNotice, 0, 0)
	if err != nil || len(list) != 2 {
		t.Fatalf("%d notices %v", len(list), err)
	}
	for i, want := range []string{`"oldRights":null`, `"newRights":null`} {
		if got := string(list[i].Value); !strings.Contains(got, want) || !strings.Contains(got, `"name":"Work"`) || !strings.Contains(got, `"mayReadItems":true`) {
			t.Errorf("notice %d: %s", i, got)
		}
	}
	if list, _, err := h.m.house.Objects.All(t.Context(), h.users["carol"].ID, objects.ShareNotice, 0, 0); err != nil || len(list) != 0 {
		t.Errorf("carol has %d notices %v", len(list), err)
	}
}

// TestInboxOfAnotherReading knows INBOX by its id: a mailbox and the tree that it is looked
// for in may have been read one after the other.
func TestInboxOfAnotherReading(t *testing.T) {
	h, _ := listMail(t)
	a, err := h.access.Mail.Account(t.Context(), h.users["alice"].ID)
	must(t, err)
	tree, err := a.Tree(t.Context())
	must(t, err)
	again := *tree.Inbox()
	if role := formatRole(&again, tree); role != roleInbox {
		t.Errorf("INBOX has role %q", role)
	}
	fs := &folders{tree: tree}
	if parent, name := fs.place(&again); parent != 0 || name != inboxName {
		t.Errorf("INBOX is %q below %v", name, parent)
	}
}
