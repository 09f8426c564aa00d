package deliver

import (
	"strings"
	"testing"

	"postroad/imap"
	"postroad/internal/directory"
	"postroad/internal/mailstore"
)

// TestPost delivers to public mailboxes, from outside and from an account.
func TestPost(t *testing.T) {
	h := newHouse(t)
	ctx := t.Context()
	a, err := h.dir.AddAccount(ctx, directory.NewAccount{Addresses: addrs("shared@ours.test"), Public: true})
	h.must(err)
	h.must(h.store.Create(ctx, a.ID, mailstore.Quota{}))
	h.ids["shared"] = a.ID
	h.expander(directory.Alias, "news", "", "shared+news@ours.test")
	public, err := h.store.Account(ctx, a.ID)
	h.must(err)
	grant := func(name string, s mailstore.Subject, rights imap.Rights) {
		t.Helper()
		tree, err := public.Tree(ctx)
		h.must(err)
		m := tree.Name(name)
		if m == nil {
			m, err = public.CreateMailbox(ctx, name, "")
			h.must(err)
		}
		h.must(public.SetACL(ctx, directory.DefaultOrg, m.ID, s, imap.RightsReplace, rights))
	}
	anyone := mailstore.Subject{Kind: mailstore.SubjectAnyone}
	grant("News", anyone, imap.RightLookup|imap.RightPost)
	grant("Closed", anyone, imap.RightLookup|imap.RightRead|imap.RightInsert)
	grant("Staff", mailstore.Subject{Kind: mailstore.SubjectGroup, Group: "team@ours.test"}, imap.RightPost)
	count := func(name string) uint32 {
		t.Helper()
		tree, err := public.Tree(ctx)
		h.must(err)
		st, err := public.Status(ctx, tree.Name(name).ID)
		h.must(err)
		return st[0].Messages
	}
	for _, c := range []struct {
		name, to, from string
		inbox          imap.Rights // of anyone
		want           string      // code, mailbox
	}{
		{"anyone may", "shared+news@ours.test", "", 0, "250 News"},
		{"by an alias", "news@ours.test", "", 0, "250 News"},
		{"nobody may", "shared+closed@ours.test", "", 0, "550"},
		{"no such mailbox", "shared+none@ours.test", "", 0, "550"},
		{"no mailbox named", "shared@ours.test", "", 0, "550"},
		{"the group may, a stranger not", "shared+staff@ours.test", "", 0, "550"},
		{"the group may, bob not", "shared+staff@ours.test", "bob", 0, "550"},
		{"the group may, alice too", "shared+staff@ours.test", "alice", 0, "250 Staff"},
		{"INBOX takes the rest", "shared+closed@ours.test", "", imap.RightPost, "250 INBOX"},
		{"INBOX itself", "shared@ours.test", "", imap.RightPost, "250 INBOX"},
	} {
		t.Run(c.name, func(t *testing.T) {
			grant("INBOX", anyone, c.inbox)
			code, box, _ := strings.Cut(c.want, " ")
			before := uint32(0)
			if box != "" {
				before = count(box)
			}
			m := h.mail(c.to)
			m.Origin.Account = h.ids[c.from]
			statuses, _ := h.deliver(Options{}, m)
			if len(statuses) != 1 || !strings.Contains(statuses[0], code) {
				t.Errorf("%q, want %s", statuses, c.want)
			}
			if box != "" && count(box) != before+1 {
				t.Errorf("%s has %d messages, had %d", box, count(box), before)
			}
			target, err := h.dir.Resolve(ctx, addr(c.to))
			h.must(err)
			may, err := New(Options{Directory: h.dir, Store: h.store}).MayPost(ctx, target.Accounts[0], h.ids[c.from])
			if err != nil || may != (code == "250") {
				t.Errorf("MayPost: %v %v", may, err)
			}
		})
	}
	target, err := h.dir.Resolve(ctx, addr("alice+lists@ours.test"))
	h.must(err)
	if may, err := New(Options{Directory: h.dir, Store: h.store}).MayPost(ctx, target.Accounts[0], 0); err != nil || !may {
		t.Errorf("one's own: %v %v", may, err)
	}
}
