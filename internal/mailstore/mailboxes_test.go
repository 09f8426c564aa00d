package mailstore

import (
	"errors"
	"strings"
	"testing"

	"postroad/imap"
)

func TestCleanName(t *testing.T) {
	long := strings.Repeat("x", LevelBytesMax)
	for _, c := range []struct{ name, give, want string }{
		{"plain", "Work/2024", "Work/2024"},
		{"inbox", "inBox", "INBOX"},
		{"below inbox", "inbox/Lists", "INBOX/Lists"},
		{"not inbox", "inboxes", "inboxes"},
		{"separator at the end", "Work/", "Work"},
		{"decomposed", "Entwu\u0308rfe", "Entw\u00fcrfe"},
		{"longest level", long, long},
		{"level too long", long + "x", ""},
		{"too long", long + "/" + long, ""},
		{"empty", "", ""},
		{"only a separator", "/", ""},
		{"empty level", "a//b", ""},
		{"leading separator", "/a", ""},
		{"wildcard", "a*", ""},
		{"percent", "a%b", ""},
		{"control", "a\x01", ""},
		{"line separator", "a\u2028b", ""},
		{"not UTF-8", "a\xff", ""},
		{"too deep", strings.Repeat("a/", DepthMax) + "a", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := CleanName(c.give)
			if got != c.want || (err != nil) != (c.want == "") || err != nil && !errors.Is(err, ErrName) {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func FuzzCleanName(f *testing.F) {
	for _, s := range []string{"INBOX", "inbox/a", "a/b/", "Entwu\u0308rfe", "a//b", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		clean, err := CleanName(s)
		if err != nil {
			return
		}
		if again, err := CleanName(clean); err != nil || again != clean {
			t.Errorf("%q is cleaned to %q, that to %q, %v", s, clean, again, err)
		}
	})
}

// tree lists the mailboxes, subscribed ones with a star.
func (f *fixture) tree() string {
	f.Helper()
	var w []string
	for _, m := range got(f.a.Tree(f.Context()))(f).All() {
		if m.Role != "" {
			continue
		}
		name := m.Name
		if m.Subscribed {
			name += "*"
		}
		w = append(w, name)
	}
	return strings.Join(w, " ")
}

func TestMailboxes(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	m := got(f.a.CreateMailbox(ctx, "a/b/c/", ""))(t)
	f.want("created", f.tree(), "INBOX* a a/b a/b/c")
	f.want("name", m.Name, "a/b/c")
	for _, c := range []struct {
		name string
		do   func() error
		want error
	}{
		{"create what is there", func() error { _, err := f.a.CreateMailbox(ctx, "a/b", ""); return err }, ErrExists},
		{"create INBOX", func() error { _, err := f.a.CreateMailbox(ctx, "inbox", ""); return err }, ErrExists},
		{"create a bad name", func() error { _, err := f.a.CreateMailbox(ctx, "a//b", ""); return err }, ErrName},
		{"create with a use of no mailbox", func() error { _, err := f.a.CreateMailbox(ctx, "all", imap.AttrAll); return err }, ErrUse},
		{"delete INBOX", func() error { return f.a.DeleteMailbox(ctx, "INBOX") }, ErrInUse},
		{"delete with children", func() error { return f.a.DeleteMailbox(ctx, "a") }, ErrHasChildren},
		{"delete what is not there", func() error { return f.a.DeleteMailbox(ctx, "x") }, ErrNoMailbox},
		{"rename what is not there", func() error { return f.a.RenameMailbox(ctx, "x", "y") }, ErrNoMailbox},
		{"rename onto another", func() error { return f.a.RenameMailbox(ctx, "a", "Sent") }, ErrExists},
		{"rename below itself", func() error { return f.a.RenameMailbox(ctx, "a", "a/b/d") }, ErrName},
		{"rename children beyond the limit", func() error { return f.a.RenameMailbox(ctx, "a", strings.Repeat("x/", DepthMax-2)+"x") }, ErrName},
		{"status of none", func() error { _, err := f.a.Status(ctx, 77); return err }, ErrNoMailbox},
		{"append to none", func() error { _, err := f.a.Append(ctx, 77, f.message(f.text())); return err }, ErrNoMailbox},
		{"store in none", func() error { _, err := f.a.StoreFlags(ctx, 77, set("1"), FlagChange{}); return err }, ErrNoMailbox},
		{"expunge in none", func() error { _, err := f.a.Expunge(ctx, 77, set("1"), true); return err }, ErrNoMailbox},
		{"copy from none", func() error { _, err := f.a.Copy(ctx, 77, set("1"), m.ID); return err }, ErrNoMailbox},
		{"copy to none", func() error { _, err := f.a.Copy(ctx, m.ID, set("1"), 77); return err }, ErrNoMailbox},
		{"move to none", func() error { _, err := f.a.Move(ctx, m.ID, nil, 77); return err }, ErrNoMailbox},
		{"view of none", func() error { _, err := f.a.View(ctx, 77); return err }, ErrNoMailbox},
		{"a role for none", func() error { return f.a.SetRole(ctx, 77, imap.AttrJunk) }, ErrNoMailbox},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := c.do(); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
	must(t, f.a.Subscribe(ctx, "a/b/c", true))
	must(t, f.a.Subscribe(ctx, "gone", true))
	must(t, f.a.RenameMailbox(ctx, "a/b", "x/y"))
	f.want("renamed", f.tree(), "INBOX* a x x/y x/y/c*")
	f.want("subscriptions", strings.Join(got(f.a.Tree(ctx))(t).Subscriptions(), " "), "Archive Drafts INBOX Junk Sent Trash gone x/y/c")
	must(t, f.a.DeleteMailbox(ctx, "x/y/c"))
	must(t, f.a.Subscribe(ctx, "x/y/c", false))
	must(t, f.a.Subscribe(ctx, "gone", false))
	f.want("deleted", f.tree(), "INBOX* a x x/y")
	f.want("subscriptions", strings.Join(got(f.a.Tree(ctx))(t).Subscriptions(), " "), "Archive Drafts INBOX Junk Sent Trash")
	f.sound()
}

func TestUIDValidityGrows(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	seen := map[uint32]bool{}
	for range 5 {
		m := got(f.a.CreateMailbox(ctx, "again", ""))(t)
		if seen[m.UIDValidity] {
			t.Fatalf("UIDVALIDITY %d was used before", m.UIDValidity)
		}
		seen[m.UIDValidity] = true
		must(t, f.a.RenameMailbox(ctx, "again", "other"))
		if now := f.box("other"); now.UIDValidity != m.UIDValidity || now.ID != m.ID {
			t.Errorf("rename changed %+v to %+v", m, now)
		}
		must(t, f.a.DeleteMailbox(ctx, "other"))
	}
}

func TestRoles(t *testing.T) {
	f := newFixture(t)
	m := got(f.a.CreateMailbox(t.Context(), "Gesendet", imap.AttrSent))(t)
	if m.Role != imap.AttrSent || f.box("Sent").Role != "" {
		t.Errorf("%+v, %+v", m, f.box("Sent"))
	}
	must(t, f.a.SetRole(t.Context(), f.box("Sent").ID, imap.AttrSent))
	if f.box("Gesendet").Role != "" || f.box("Sent").Role != imap.AttrSent {
		t.Error("the role did not go back")
	}
	if got(f.a.Tree(t.Context()))(t).Role(imap.AttrSent).Name != "Sent" {
		t.Error("not found by role")
	}
}

func TestRenameInbox(t *testing.T) {
	f := newFixture(t)
	f.append("INBOX", 20, Seen)
	got(f.a.CreateMailbox(t.Context(), "INBOX/below", ""))(t)
	before := f.box("INBOX")
	must(t, f.a.RenameMailbox(t.Context(), "inbox", "Old mail"))
	f.want("tree", f.tree(), "INBOX* INBOX/below Old mail")
	if after := f.box("INBOX"); after.ID != before.ID || after.UIDValidity != before.UIDValidity {
		t.Errorf("INBOX is another one: %+v", after)
	}
	f.want("INBOX", f.list("INBOX"), "")
	f.want("moved", f.snapshot("Old mail").UIDs(0, 99).String(), "1:20")
	f.append("INBOX", 1, 0)
	f.want("UIDs go on", f.list("INBOX"), "21:")
	f.sound()
}

func TestDeleteMailboxWithMail(t *testing.T) {
	f := newFixture(t)
	got(f.a.CreateMailbox(t.Context(), "x", ""))(t)
	f.append("x", 30, 0)
	got(f.a.Copy(t.Context(), f.box("x").ID, set("1:10"), f.box("INBOX").ID))(t)
	v := got(f.a.View(t.Context(), f.box("x").ID))(t)
	defer v.Close()
	hints := make(chan struct{}, 1)
	v.Notify(hints)
	must(t, f.a.DeleteMailbox(t.Context(), "x"))
	<-hints
	if _, err := v.Snapshot(t.Context()); !errors.Is(err, ErrNoMailbox) {
		t.Errorf("view of a deleted mailbox: %v", err)
	}
	if _, u, _ := f.a.Quota(t.Context()); u.Messages != 10 {
		t.Errorf("quota %+v", u)
	}
	f.sound()
	f.want("copies live on", f.snapshot("INBOX").UIDs(0, 99).String(), "1:10")
	f.nothingLeftButEntries(10)
}
