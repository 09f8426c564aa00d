package mailstore

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"postroad/imap"
)

// edit makes an edit of a mailbox by its name; "new" words are names of mailboxes that the
// same call makes.
type editing struct {
	f    *fixture
	made map[string]MailboxID
}

func (e *editing) id(name string) MailboxID {
	if id := e.made[name]; id != 0 {
		return id
	}
	if name == "" {
		return 0
	}
	if m := got(e.f.a.Tree(e.f.Context()))(e.f).Name(name); m != nil {
		return m.ID
	}
	return 77
}

// parse reads "create NAME", "delete NAME", "empty NAME", and "MAILBOX name=X in=PARENT
// role=X order=N subscribed=BOOL".
func (e *editing) parse(text string) (t TreeEdit) {
	words := strings.Fields(text)
	switch words[0] {
	case "create":
		t.Create, t.ID = true, e.f.a.NewMailboxID()
		e.made[words[1]] = t.ID
		name := words[1]
		t.Name = &name
		words = words[2:]
	case "delete", "empty":
		t.Delete, t.Empty, t.ID = true, words[0] == "empty", e.id(words[1])
		words = nil
	default:
		t.ID = e.id(words[0])
		words = words[1:]
	}
	for _, w := range words {
		k, v, _ := strings.Cut(strings.ReplaceAll(w, "_", " "), "=")
		switch k {
		case "name":
			t.Name = &v
		case "in":
			id := e.id(v)
			t.Parent = &id
		case "role":
			role := imap.MailboxAttr(v)
			t.Role = &role
		case "order":
			n := uint32(len(v))
			t.SortOrder = &n
		case "subscribed":
			on := v == "true"
			t.Subscribed = &on
		}
	}
	return t
}

func (f *fixture) edit(edits ...string) []error {
	f.Helper()
	e := &editing{f, map[string]MailboxID{}}
	parsed := make([]TreeEdit, len(edits))
	for i := len(edits) - 1; i >= 0; i-- { // last first, so that parents may follow
		parsed[i] = e.parse(edits[i])
	}
	refused := got(f.a.EditTree(f.Context(), "", parsed))(f)
	out := make([]error, len(refused))
	for i, r := range refused {
		if r != nil {
			out[i] = r
		}
	}
	return out
}

func TestEditTree(t *testing.T) {
	for _, c := range []struct {
		name  string
		edits []string
		want  []error
		tree  string
	}{
		{"create", []string{"create n subscribed=true"}, []error{nil}, "INBOX* a a/b a/b/c* d n*"},
		{"a child before its parent", []string{"create kid in=n", "create n in=d"}, []error{nil, nil}, "INBOX* a a/b a/b/c* d d/n d/n/kid"},
		{"below nothing", []string{"create n in=nowhere"}, []error{ErrParent}, "INBOX* a a/b a/b/c* d"},
		{"a name that is there", []string{"create d"}, []error{ErrExists}, "INBOX* a a/b a/b/c* d"},
		{"INBOX again", []string{"create iNbOx"}, []error{ErrExists}, "INBOX* a a/b a/b/c* d"},
		{"two of one name", []string{"create n", "d name=n"}, []error{ErrExists, nil}, "INBOX* a a/b a/b/c* n"},
		{"no name", []string{"d name="}, []error{ErrName}, "INBOX* a a/b a/b/c* d"},
		{"two levels", []string{"d name=x/y"}, []error{ErrName}, "INBOX* a a/b a/b/c* d"},
		{"for what was deleted", []string{"create x", "d name=Recently_Deleted"}, []error{nil, ErrName}, "INBOX* a a/b a/b/c* d x"},
		{"swap names", []string{"a name=d", "d name=a"}, []error{nil, nil}, "INBOX* a d d/b d/b/c*"},
		{"swap with another that cannot", []string{"a name=d", "Sent name=Junk", "d name=a"}, []error{nil, ErrExists, nil}, "INBOX* a d d/b d/b/c*"},
		{"turn upside down", []string{"a in=a/b", "a/b in="}, []error{nil, nil}, "INBOX* b b/a b/c* d"},
		{"below itself", []string{"a in=a/b/c"}, []error{ErrLoop}, "INBOX* a a/b a/b/c* d"},
		{"below each other", []string{"a in=d", "d in=a/b"}, []error{ErrLoop, nil}, "INBOX* a a/b a/b/c* a/b/d"},
		{"delete a branch", []string{"delete a", "delete a/b/c", "delete a/b"}, []error{nil, nil, nil}, "INBOX* d"},
		{"delete with a child", []string{"delete a", "delete d"}, []error{ErrHasChildren, nil}, "INBOX* a a/b a/b/c*"},
		{"delete what gets a child", []string{"create n in=d", "delete d"}, []error{nil, ErrHasChildren}, "INBOX* a a/b a/b/c* d d/n"},
		{"delete what a child leaves", []string{"a/b in=", "delete a"}, []error{nil, nil}, "INBOX* b b/c* d"},
		{"take a deleted one's name", []string{"create d", "delete d"}, []error{nil, nil}, "INBOX* a a/b a/b/c* d"},
		{"not empty", []string{"empty a/b/c"}, []error{ErrNotEmpty}, "INBOX* a a/b a/b/c* d"},
		{"empty but for deleted ones", []string{"empty d"}, []error{nil}, "INBOX* a a/b a/b/c*"},
		{"not empty, and all the same", []string{"delete a/b/c"}, []error{nil}, "INBOX* a a/b d"},
		{"INBOX", []string{"INBOX name=x", "delete INBOX", "INBOX order=xx subscribed=false"}, []error{ErrInUse, ErrInUse, nil}, "INBOX a a/b a/b/c* d"},
		{"not there", []string{"zzz name=x"}, []error{ErrNoMailbox}, "INBOX* a a/b a/b/c* d"},
		{"a use", []string{`d role=\Snoozed`}, []error{nil}, "INBOX* a a/b a/b/c*"},
		{"a use of no mailbox", []string{`d role=\All`}, []error{ErrUse}, "INBOX* a a/b a/b/c* d"},
		{"a use that another has", []string{`d role=\Junk`}, []error{ErrExists}, "INBOX* a a/b a/b/c* d"},
		{"a use that another gives away", []string{`d role=\Junk`, "Junk role="}, []error{nil, nil}, "INBOX* Junk* a a/b a/b/c*"},
		{"a use that goes with its mailbox", []string{`d role=\Junk`, "delete Junk"}, []error{nil, nil}, "INBOX* a a/b a/b/c*"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			got(f.a.CreateMailbox(t.Context(), "a/b/c", ""))(t)
			got(f.a.CreateMailbox(t.Context(), "d", ""))(t)
			must(t, f.a.Subscribe(t.Context(), "a/b/c", true))
			f.append("a/b/c", 1, 0)
			f.append("d", 1, Deleted)
			for i, err := range f.edit(c.edits...) {
				if !errors.Is(err, c.want[i]) || (err == nil) != (c.want[i] == nil) {
					t.Errorf("%s: %v, want %v", c.edits[i], err, c.want[i])
				}
			}
			f.want("tree", f.tree(), c.tree)
			f.sound()
		})
	}
}

// TestEditTreeKeeps looks at what is not in the names: order, subscriptions without a
// mailbox, lists of rights that children get.
func TestEditTreeKeeps(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	got(f.a.CreateMailbox(ctx, "a/b", ""))(t)
	must(t, f.a.Subscribe(ctx, "a/b/gone", true))
	must(t, f.a.SetACL(ctx, "org", f.box("a").ID, Subject{Kind: SubjectAccount, Account: 99}, imap.RightsReplace, imap.RightLookup|imap.RightRead))
	e := &editing{f, map[string]MailboxID{}}
	acl := ACL{{Subject{Kind: SubjectAnyone}, imap.RightLookup}}
	child, b := e.parse("create n in=a order=xxx"), e.parse("a/b name=c")
	b.ACL = &acl
	for _, r := range got(f.a.EditTree(ctx, "org", []TreeEdit{child, b}))(t) {
		if r != nil {
			t.Fatal(r)
		}
	}
	f.want("tree", f.tree(), "INBOX* a a/c a/n")
	f.want("order", fmt.Sprint(f.box("a/n").SortOrder), "3")
	f.want("rights from above", fmt.Sprint(f.box("a/n").ACL), fmt.Sprint(f.box("a").ACL))
	f.want("rights that were set", fmt.Sprint(f.box("a/c").ACL), fmt.Sprint(acl))
	f.want("subscriptions", strings.Join(got(f.a.Tree(ctx))(t).Subscriptions(), " "), "Archive Drafts INBOX Junk Sent Trash a/c/gone")
	must(t, f.a.RenameMailbox(ctx, "a/n", "m"))
	f.want("order after a rename", fmt.Sprint(f.box("m").SortOrder), "3")
	if _, err := f.a.EditTree(ctx, "other", []TreeEdit{{ID: f.box("m").ID, ACL: &acl}}); !errors.Is(err, ErrRights) {
		t.Errorf("another scope: %v", err)
	}
	if _, err := f.a.EditTree(ctx, "", make([]TreeEdit, TreeEditsMax+1)); !errors.Is(err, ErrLimit) {
		t.Errorf("too many: %v", err)
	}
	f.sound()
}

// TestEditTreeRandom makes edits at random: whatever stands is a tree, and what was
// accepted is as the edits say.
func TestEditTreeRandom(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	r := rand.New(rand.NewPCG(1, 2))
	for range 150 {
		tree := got(f.a.Tree(ctx))(t)
		ids := []MailboxID{0, 77}
		for _, m := range tree.All() {
			ids = append(ids, m.ID)
		}
		used := map[MailboxID]bool{}
		var edits []TreeEdit
		for range 1 + r.IntN(6) {
			var e TreeEdit
			name, parent := fmt.Sprintf("n%d", r.IntN(4)), ids[r.IntN(len(ids))]
			switch r.IntN(4) {
			case 0:
				e = TreeEdit{ID: f.a.NewMailboxID(), Create: true, Name: &name, Parent: &parent}
				ids = append(ids, e.ID)
			case 1:
				e = TreeEdit{ID: ids[r.IntN(len(ids))], Delete: true}
			case 2:
				e = TreeEdit{ID: ids[r.IntN(len(ids))], Parent: &parent}
			case 3:
				e = TreeEdit{ID: ids[r.IntN(len(ids))], Name: &name}
			}
			if !used[e.ID] {
				used[e.ID], edits = true, append(edits, e)
			}
		}
		refused := got(f.a.EditTree(ctx, "", edits))(t)
		tree = got(f.a.Tree(ctx))(t)
		for i, e := range edits {
			m := tree.ID(e.ID)
			switch {
			case refused[i] != nil:
			case e.Delete != (m == nil):
				t.Fatalf("%+v: the mailbox is %+v", e, m)
			case m != nil && (e.Name != nil && m.Level() != *e.Name || e.Parent != nil && m.Parent != *e.Parent):
				t.Fatalf("%+v: the mailbox is %+v", e, m)
			}
		}
	}
	f.sound()
}
