package mailstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"

	"pgregory.net/rapid"

	"postroad/imap"
)

// follower is a client that knows messages, threads and mailboxes from what it is told of
// changes, and reads what it is told of.
type follower struct {
	reader  Reader
	emails  map[EmailID]string
	threads map[ThreadID]string
	boxes   map[MailboxID]boxKnown
	at      States
	anew    int // how often it had to read all anew
}

// boxKnown is what it knows of a mailbox: counts apart.
type boxKnown struct {
	own    string
	counts Counts
}

func newFollower(r Reader) *follower { return &follower{reader: r} }

func tellEmail(e *Emails, place int) string {
	m := e.Email(place)
	return fmt.Sprint(m, e.Entries(place))
}

func tellThread(e *Emails, id ThreadID) (s string) {
	for _, p := range e.ThreadMembers(id) {
		s += e.ID(p).String() + " "
	}
	return s
}

func tellBox(e *Emails, v Visible) boxKnown {
	return boxKnown{fmt.Sprint(v.Parent, v.Level(), v.Role, v.Subscribed, v.SortOrder, v.Rights, v.ACL), e.Counts(v.ID)}
}

// knows reads all anew.
func (f *follower) knows(t testing.TB, e *Emails) {
	f.emails, f.threads, f.boxes = map[EmailID]string{}, map[ThreadID]string{}, map[MailboxID]boxKnown{}
	for p := range e.All() {
		f.emails[e.ID(p)], f.threads[e.Thread(p)] = tellEmail(e, p), tellThread(e, e.Thread(p))
	}
	for _, v := range e.Visible() {
		f.boxes[v.ID] = tellBox(e, v)
	}
	f.at = got(e.States(context.Background()))(t)
	f.anew++
}

// told takes changes in: known is what the client knows, read what there is.
func told[ID comparable, V any](t testing.TB, c *Changes[ID], limit int, known map[ID]V, read func(ID) (V, bool)) {
	t.Helper()
	if n := len(c.Created) + len(c.Updated) + len(c.Destroyed); limit > 0 && n > limit {
		t.Fatalf("%d changes where at most %d were asked for", n, limit)
	}
	for _, id := range c.Destroyed {
		delete(known, id)
	}
	for _, id := range c.Updated {
		if _, there := known[id]; !there {
			t.Fatalf("update of %v, which was never told of", id)
		}
	}
	for _, id := range append(c.Created, c.Updated...) {
		v, there := read(id)
		if !there {
			t.Fatalf("%v is told to be there", id)
		}
		known[id] = v
	}
	if text := c.State.String(); got(ParseState(text))(t).String() != text || c.More != (c.State.Since != nil) {
		t.Fatalf("state %v, more %v", text, c.More)
	}
}

// follow takes all changes in steps of limit, each of a moment of its own.
func (f *follower) follow(t testing.TB, a *Account, limit int, between func()) {
	ctx := context.Background()
	e := got(a.Emails(ctx, f.reader))(t)
	for more := f.emails != nil; more; {
		c, err := e.EmailChanges(ctx, f.at.Emails, limit)
		if errors.Is(err, ErrNoChanges) && limit > 0 {
			limit = 0 // a message whose thread joined others has more ids than fit
			continue
		}
		if errors.Is(err, ErrNoChanges) {
			break
		}
		must(t, err)
		told(t, c, limit, f.emails, func(id EmailID) (string, bool) {
			p, there := e.FindID(id)
			if !there {
				return "", false
			}
			return tellEmail(e, p), true
		})
		if f.at.Emails, more = got(ParseState(c.State.String()))(t), c.More; more {
			between()
			e = got(a.Emails(ctx, f.reader))(t)
		} else if f.restIs(t, e, limit) {
			return
		}
	}
	f.knows(t, got(a.Emails(ctx, f.reader))(t))
}

// restIs follows mailboxes and threads and compares all with what is there; false when it
// has to be read anew.
func (f *follower) restIs(t testing.TB, e *Emails, limit int) bool {
	ctx := context.Background()
	for more := true; more; {
		c, err := e.ThreadChanges(ctx, f.at.Threads, limit)
		if errors.Is(err, ErrNoChanges) {
			return false
		}
		must(t, err)
		told(t, c, limit, f.threads, func(id ThreadID) (string, bool) { s := tellThread(e, id); return s, s != "" })
		f.at.Threads, more = c.State, c.More
	}
	for more := true; more; {
		c, err := e.MailboxChanges(ctx, f.at.Mailboxes, limit)
		if errors.Is(err, ErrNoChanges) {
			return false
		}
		must(t, err)
		told(t, c, limit, f.boxes, func(id MailboxID) (boxKnown, bool) {
			for _, v := range e.Visible() {
				if v.ID == id {
					is := tellBox(e, v)
					if c.CountsOnly && len(c.Created) == 0 {
						is.own = f.boxes[id].own // the client reads counts only
					}
					return is, true
				}
			}
			return boxKnown{}, false
		})
		f.at.Mailboxes, more = c.State, c.More
	}
	is := newFollower(f.reader)
	is.knows(t, e)
	differ(t, "message", f.emails, is.emails)
	differ(t, "thread", f.threads, is.threads)
	differ(t, "mailbox", f.boxes, is.boxes)
	return true
}

// differ fails where a client knows something else than there is.
func differ[ID, V comparable](t testing.TB, what string, known, is map[ID]V) {
	t.Helper()
	for id := range maps.Keys(known) {
		if _, there := is[id]; !there {
			t.Fatalf("a client still has %s %v: %v", what, id, known[id])
		}
	}
	for id, v := range is {
		if k, there := known[id]; !there || k != v {
			t.Fatalf("of %s %v a client has %v (%v), and there is %v", what, id, k, there, v)
		}
	}
}

// restart opens the account in a store that has nothing in memory.
func (h *house) restart(r *rapid.T) {
	i := rapid.IntRange(0, 1).Draw(r, "store")
	old := h.accounts[i].store
	h.accounts[i] = got(New(old.o).Account(context.Background(), houseOwner))(h.t)
}

// TestEmailChanges has clients follow the changes now and then, in steps of any size, an
// owner and a guest, while restarts and other changes come between the steps.
func TestEmailChanges(t *testing.T) {
	anew, follows := 0, 0
	rapid.Check(t, func(r *rapid.T) {
		t := drawn{t, r}
		h := newHouse(t)
		clients := []*follower{newFollower(h.readers[0]), newFollower(h.readers[1]), newFollower(h.readers[0])}
		steps := h.steps()
		steps["set"], steps["restart"] = h.set, h.restart
		change := []func(*rapid.T){h.append, h.store, h.expunge, h.transfer, h.mailboxes, h.restart}
		follow := func(r *rapid.T) {
			f := rapid.SampledFrom(clients).Draw(r, "client")
			f.follow(t, h.account(r), rapid.SampledFrom([]int{0, 3, 4, 7}).Draw(r, "limit"), func() {
				if rapid.IntRange(0, 2).Draw(r, "between") == 0 {
					rapid.SampledFrom(change).Draw(r, "change")(r)
				}
			})
			follows++
		}
		steps["follow"], steps["follow more"] = follow, follow
		r.Repeat(steps)
		for i, f := range clients {
			f.follow(t, h.accounts[0], 0, func() {})
			if f.reader.ID == houseOwner {
				if f.anew > 1 {
					t.Fatalf("the owner's client %d had to read anew %d times", i, f.anew-1)
				}
			} else {
				anew += f.anew - 1
			}
		}
		must(t, statesAgree(h))
	})
	if follows == 0 || anew > follows/2 {
		t.Errorf("guests read anew %d times of %d", anew, follows)
	}
}

// statesAgree compares the states that two stores have found, one of them step by step.
func statesAgree(h *house) error {
	ctx := context.Background()
	fresh, err := New(h.accounts[0].store.o).Account(ctx, houseOwner)
	if err != nil {
		return err
	}
	for _, r := range h.readers {
		a, err := h.accounts[0].states(ctx, r)
		if err != nil {
			return err
		}
		b, err := fresh.states(ctx, r)
		if err != nil {
			return err
		}
		if a != b {
			return fmt.Errorf("states of %s: %+v and %+v", r.ID, a, b)
		}
	}
	return nil
}

// TestStates moves only the states of what changed.
func TestStates(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	f.append("INBOX", 3, 0)
	inbox, archive := f.box("INBOX").ID, f.box("Archive").ID
	owner, guest := Reader{ID: 1}, Reader{ID: 2}
	must(t, f.a.SetACL(ctx, "org", inbox, Subject{Kind: SubjectAccount, Account: 2}, imap.RightsReplace, imap.RightsAll))
	cases := []struct {
		name         string
		change       func() error
		owner, guest string // which of emails, mailboxes, threads move
	}{
		{"a message", func() error { f.append("INBOX", 1, 0); return nil }, "emt", "emt"},
		{"a message that the guest does not see", func() error { f.append("Archive", 1, 0); return nil }, "emt", ""},
		{"a flag", func() error {
			_, err := f.a.StoreFlags(ctx, inbox, set("1"), FlagChange{Mode: FlagsAdd, Flags: Flagged})
			return err
		}, "em", "em"},
		{"the guest reads", func() error {
			_, err := f.a.StoreFlags(ctx, inbox, set("2"), FlagChange{Mode: FlagsAdd, Flags: Seen, Reader: 2})
			return err
		}, "", "em"},
		{"nothing", func() error {
			_, err := f.a.StoreFlags(ctx, inbox, set("1"), FlagChange{Mode: FlagsAdd, Flags: Flagged})
			return err
		}, "", ""},
		{"a copy", func() error { _, err := f.a.Copy(ctx, inbox, set("1"), archive); return err }, "em", ""},
		{"a move out of sight", func() error { _, err := f.a.Move(ctx, inbox, set("1"), archive); return err }, "em", "emt"},
		{"a mailbox is renamed", func() error { return f.a.RenameMailbox(ctx, "Archive", "Old") }, "m", ""},
		{"a mailbox is made", func() error { _, err := f.a.CreateMailbox(ctx, "new", ""); return err }, "m", ""},
		{"a subscription", func() error { return f.a.Subscribe(ctx, "INBOX", false) }, "m", "m"},
		{"one entry of two goes", func() error { _, err := f.a.Expunge(ctx, archive, set("2"), true); return err }, "em", ""},
		{"the last one", func() error { _, err := f.a.Expunge(ctx, archive, set("3"), true); return err }, "emt", ""},
		{"a sweep", func() error { return f.a.Sweep(ctx) }, "", ""},
	}
	states := func(r Reader) States {
		return States{got(f.a.EmailState(ctx, r))(t), got(f.a.MailboxState(ctx, r))(t), got(f.a.ThreadState(ctx, r))(t)}
	}
	moved := func(a, b States) (s string) {
		for i, m := range [][2]State{{a.Emails, b.Emails}, {a.Mailboxes, b.Mailboxes}, {a.Threads, b.Threads}} {
			if m[0] != m[1] {
				s += "emt"[i : i+1]
			}
		}
		return s
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			o, g := states(owner), states(guest)
			must(t, c.change())
			if is := moved(o, states(owner)); is != c.owner {
				t.Errorf("the owner's %q moved, want %q", is, c.owner)
			}
			if is := moved(g, states(guest)); is != c.guest {
				t.Errorf("the guest's %q moved, want %q", is, c.guest)
			}
		})
	}
}

// FuzzParseState reads states and ids that clients send: what is read is written the same,
// or read again as the same.
func FuzzParseState(f *testing.F) {
	for _, s := range []string{"", "0", "12", "12.3~a:7", "12.3:7.9", "~", "1~0", "1:2", "7:1:0", "-1", "M0123456789abc", "M0123456789abc-0123456789abd", "M-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := ParseState(text); err == nil {
			again, err := ParseState(s.String())
			if err != nil || again.String() != s.String() || s.Since != nil && s.Since.After(s) {
				t.Errorf("state %q is written %q and read %v %v", text, s, again, err)
			}
		}
		if id, err := ParseEmailID(text); err == nil && id.String() != text {
			t.Errorf("id %q is written %q", text, id)
		}
	})
}
