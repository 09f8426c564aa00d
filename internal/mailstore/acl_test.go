package mailstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"postroad/imap"
	"postroad/internal/kv"
	"postroad/internal/mailflow"
)

// rights reads letters.
func rights(s string) imap.Rights {
	r, err := imap.ParseRights(s)
	if err != nil {
		panic(err)
	}
	return r
}

// subject reads "u7", "gteam@x", "a", each perhaps behind "-".
func subject(s string) Subject {
	rest, negative := strings.CutPrefix(s, "-")
	out := Subject{Kind: SubjectKind(rest[0]), Negative: negative}
	switch out.Kind {
	case SubjectAccount:
		fmt.Sscan(rest[1:], (*uint64)(&out.Account))
	case SubjectGroup:
		out.Group = rest[1:]
	}
	return out
}

// asker is an account that is in groups.
func asker(id AccountID, groups ...string) Reader {
	return Reader{ID: id, Member: func(_ context.Context, g string) (bool, error) { return slices.Contains(groups, g), nil }}
}

// parseACL reads "u7=lr gteam@x=lrs".
func parseACL(s string) ACL {
	var l ACL
	for _, w := range strings.Fields(s) {
		id, letters, _ := strings.Cut(w, "=")
		l = l.change(subject(id), imap.RightsReplace, rights(letters))
	}
	return l
}

func TestRightsOfReader(t *testing.T) {
	for _, c := range []struct {
		name, acl string
		who       Reader
		want      string
	}{
		{"nobody is named", "", asker(7), ""},
		{"account", "u7=lrs", asker(7), "lrs"},
		{"other account", "u7=lrs", asker(8), ""},
		{"group", "gteam@x=lr", asker(7, "team@x"), "lr"},
		{"other group", "gteam@x=lr", asker(7, "team@y"), ""},
		{"anyone", "a=l", asker(7), "l"},
		{"union", "u7=s gteam@x=r a=l", asker(7, "team@x"), "lrs"},
		{"negative account", "a=lrswi -u7=w", asker(7), "lrsi"},
		{"negative of another", "a=lrs -u8=s", asker(7), "lrs"},
		{"negative group", "u7=lrswi -gteam@x=wi", asker(7, "team@x"), "lrs"},
		{"negative anyone", "u7=lrs -a=s", asker(7), "lr"},
		{"all taken away", "u7=lrs -u7=lrs", asker(7), ""},
		{"a stranger is anyone", "u7=lrs a=p", Reader{}, "p"},
		{"a stranger is no account", "u7=lrs gteam@x=p", Reader{}, ""},
		{"without groups", "gteam@x=lr a=l", Reader{ID: 7}, "l"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := parseACL(c.acl)
			again, err := readACL(l.record())
			if err != nil || !slices.Equal(l, again) {
				t.Fatalf("record of %v: %v, %v", l, again, err)
			}
			if got, err := l.Rights(t.Context(), c.who); err != nil || got != rights(c.want) {
				t.Errorf("got %v, %v, want %s", got, err, c.want)
			}
		})
	}
	broken := Reader{ID: 7, Member: func(context.Context, string) (bool, error) { return false, errBroken }}
	if _, err := parseACL("gteam@x=l").Rights(t.Context(), broken); !errors.Is(err, errBroken) {
		t.Errorf("a directory that fails: %v", err)
	}
}

func FuzzReadACL(f *testing.F) {
	f.Add(parseACL("u7=lrs gteam@x=lr -u8=w a=l").record())
	f.Add([]byte{format1, 'g', 200})
	f.Fuzz(func(t *testing.T, v []byte) {
		l, err := readACL(v)
		if err != nil {
			return
		}
		if again, err := readACL(l.record()); err != nil || !slices.Equal(l, again) {
			t.Errorf("%v became %v, %v", l, again, err)
		}
	})
}

const testScope = "default"

// share grants letters on a mailbox.
func (f *fixture) share(name, who, letters string) {
	f.Helper()
	must(f, f.a.SetACL(f.Context(), testScope, f.box(name).ID, subject(who), imap.RightsReplace, rights(letters)))
}

// acl writes the list of a mailbox as parseACL reads it.
func (f *fixture) acl(name string) string {
	f.Helper()
	var w []string
	for _, g := range f.box(name).ACL {
		s := string(g.Kind)
		if g.Negative {
			s = "-" + s
		}
		switch g.Kind {
		case SubjectAccount:
			s += fmt.Sprint(uint64(g.Account))
		case SubjectGroup:
			s += g.Group
		}
		w = append(w, s+"="+g.Rights.String())
	}
	return strings.Join(w, " ")
}

// sharers lists who shares with a reader.
func (f *fixture) sharers(r Reader) string {
	f.Helper()
	return fmt.Sprint(got(f.s.Sharers(f.Context(), testScope, r))(f))
}

func TestSetACL(t *testing.T) {
	f := newFixture(t)
	owner := f.a.ID()
	none, mine := "[]", fmt.Sprintf("[%s]", owner)
	f.want("at first", f.sharers(asker(7, "team@x")), none)

	f.share("Archive", "u7", "lr")
	f.want("one", f.acl("Archive"), "u7=lr")
	f.want("index", f.sharers(asker(7)), mine)
	f.want("of others", f.sharers(asker(8, "team@x")), none)
	must(t, f.a.SetACL(t.Context(), testScope, f.box("Archive").ID, subject("u7"), imap.RightsAdd, rights("sw")))
	must(t, f.a.SetACL(t.Context(), testScope, f.box("Archive").ID, subject("u7"), imap.RightsRemove, rights("l")))
	f.want("changed", f.acl("Archive"), "u7=rsw")

	f.share("Sent", "gteam@x", "lr")
	f.share("Sent", "-u7", "r")
	f.want("group", f.sharers(asker(8, "team@x")), mine)
	f.want("one with a longer name", f.sharers(asker(8, "team@x2")), none)
	f.share("Sent", "gteam@x", "")
	f.want("taken away", f.sharers(asker(8, "team@x")), none)
	f.want("what is left", f.acl("Sent"), "-u7=r")

	f.share("INBOX", "u7", "l")
	f.share("Archive", "u7", "")
	f.want("by another mailbox", f.sharers(asker(7)), mine)
	f.share("INBOX", "u7", "")
	f.want("by none", f.sharers(asker(7)), none)
	f.share("Junk", "a", "l")
	f.want("anyone", f.sharers(asker(99)), mine)
	f.want("not the owner himself", f.sharers(asker(owner)), none)

	for _, c := range []struct {
		name, scope, who string
		mailbox          MailboxID
		want             error
	}{
		{"the owner", testScope, fmt.Sprintf("u%d", owner), f.box("INBOX").ID, ErrRights},
		{"not the owner, negative", testScope, fmt.Sprintf("-u%d", owner), f.box("INBOX").ID, ErrRights},
		{"no mailbox", testScope, "u7", 12345, ErrNoMailbox},
		{"another scope", "other", "u7", f.box("INBOX").ID, ErrRights},
		{"no scope", "", "u7", f.box("INBOX").ID, ErrName},
		{"no group", testScope, "g", f.box("INBOX").ID, ErrName},
	} {
		err := f.a.SetACL(t.Context(), c.scope, c.mailbox, subject(c.who), imap.RightsAdd, rights("l"))
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	for i := range ACLMax {
		f.share("Trash", fmt.Sprintf("u%d", 100+i), "l")
	}
	err := f.a.SetACL(t.Context(), testScope, f.box("Trash").ID, subject("u99"), imap.RightsAdd, rights("l"))
	if !errors.Is(err, ErrLimit) {
		t.Errorf("one entry too many: %v", err)
	}
	if r := got(f.a.Rights(t.Context(), f.box("Trash"), asker(owner)))(t); r != imap.RightsAll {
		t.Errorf("the owner has %v", r)
	}
	f.sound()
}

// TestACLInTree: lists are inherited, stay over a RENAME, and go with their mailbox.
func TestACLInTree(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	got(f.a.CreateMailbox(ctx, "Work", ""))(t)
	f.share("Work", "u7", "lrk")
	got(f.a.CreateMailbox(ctx, "Work/a/b", ""))(t)
	f.want("inherited", f.acl("Work/a")+" "+f.acl("Work/a/b"), "u7=lrkc u7=lrkc")
	f.share("Work", "u7", "")
	f.want("but not tied", f.acl("Work/a"), "u7=lrkc")
	got(f.a.CreateMailbox(ctx, "Home", ""))(t)
	f.share("Home", "u8", "l")
	must(t, f.a.RenameMailbox(ctx, "Work/a", "Home/x"))
	f.want("renamed", f.acl("Home/x")+" "+f.acl("Home/x/b"), "u7=lrkc u7=lrkc")
	must(t, f.a.RenameMailbox(ctx, "Home/x/b", "Home/new/b"))
	f.want("made by the rename", f.acl("Home/new")+" "+f.acl("Home/new/b"), "u8=l u7=lrkc")
	for _, name := range []string{"Home/new/b", "Home/x"} {
		f.want("before "+name+" goes", f.sharers(asker(7)), fmt.Sprintf("[%s]", f.a.ID()))
		must(t, f.a.DeleteMailbox(ctx, name))
	}
	f.want("gone", f.sharers(asker(7)), "[]")
	got(f.a.CreateMailbox(ctx, "Work/a", ""))(t)
	f.want("a new one of that name", f.acl("Work/a"), "")

	must(t, f.s.Delete(ctx, f.a.ID()))
	f.want("the account is gone", f.sharers(asker(8)), "[]")
	snap := got(f.s.engine().Snapshot(ctx, shareSpace(testScope)))(t)
	defer snap.Close()
	for e := range snap.Scan(kv.Range{}) {
		t.Errorf("left in the index: %q", e.Key)
	}
}

// TestCheckSharing: what does not fit is found.
func TestCheckSharing(t *testing.T) {
	for _, c := range []struct {
		name, want string
		damage     func(f *fixture, u *mailflow.Unit)
	}{
		{"list of no mailbox", "no mailbox", func(f *fixture, u *mailflow.Unit) {
			b := u.Batch(f.a.space)
			b.Puts = append(b.Puts, kv.Put{Key: key(keyACL, 99), Value: parseACL("u7=l").record()})
		}},
		{"seen in no mailbox", "no mailbox", func(f *fixture, u *mailflow.Unit) {
			b := u.Batch(f.a.space)
			b.Puts = append(b.Puts, kv.Put{Key: seenKey(99, 7, 0), Value: (&seenState{}).put().Value})
		}},
		{"seen what is not there", "UID 31", func(f *fixture, u *mailflow.Unit) {
			s := &seenState{key: seenKey(f.box("INBOX").ID, 7, 0)}
			s.slots[30] = seenSlot{stated: true, seen: true}
			s.slots[31] = s.slots[30]
			b := u.Batch(f.a.space)
			b.Puts = append(b.Puts, s.put())
		}},
		{"a reader's mod-sequence", "above his highest", func(f *fixture, u *mailflow.Unit) {
			s := &seenState{key: seenKey(f.box("INBOX").ID, 7, 0)}
			s.slots[1] = seenSlot{stated: true, seen: true}
			b := u.Batch(f.a.space)
			b.Puts = append(b.Puts, s.put())
		}},
		{"an index that lacks somebody", "lacks u", func(f *fixture, u *mailflow.Unit) {
			b := u.Batch(shareSpace(testScope))
			b.Deletes = append(b.Deletes, shareKey(subject("u7"), f.a.ID()))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			f.append("INBOX", 2, 0)
			f.share("INBOX", "u7", "lr")
			f.sound()
			must(t, f.s.o.Committer.Commit(t.Context(), func(_ context.Context, u *mailflow.Unit) error {
				c.damage(f, u)
				return nil
			}))
			var found []string
			must(t, f.a.Check(t.Context(), false, func(x Finding) { found = append(found, x.String()) }))
			if len(found) != 1 || !strings.Contains(found[0], c.want) {
				t.Errorf("found %q, want %q", found, c.want)
			}
		})
	}
}
