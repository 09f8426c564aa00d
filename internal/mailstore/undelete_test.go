package mailstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postroad/imap"
	"postroad/internal/blob/memblob"
	"postroad/internal/kv/memkv"
)

// newUndelete is an account that keeps for an hour what it expunges.
func newUndelete(t testing.TB, q Quota) *fixture {
	f := &fixture{TB: t, s: newStore(t, memkv.New(), memblob.New())}
	f.s.o.Undelete = time.Hour
	f.a = f.account(1, q)
	return f
}

// recoverable lists what can be brought back as "name:messages" words.
func (f *fixture) recoverable() string {
	f.Helper()
	var w []string
	for _, m := range got(f.a.Recoverables(f.Context()))(f) {
		w = append(w, fmt.Sprintf("%s:%d", strings.TrimPrefix(m.Name, RecoverableRoot+"/"), m.Messages))
	}
	return strings.Join(w, " ")
}

func (f *fixture) recoverableBox(name string) *Mailbox {
	f.Helper()
	m := got(f.a.Tree(f.Context()))(f).RecoverableName(RecoverableRoot + "/" + name)
	if m == nil {
		f.Fatalf("nothing recoverable of %q", name)
	}
	return m
}

func (f *fixture) used() Usage {
	f.Helper()
	_, u, err := f.a.Quota(f.Context())
	must(f, err)
	return u
}

func (f *fixture) expunge(name, uids string) {
	f.Helper()
	got(f.a.Expunge(f.Context(), f.box(name).ID, set(uids), true))(f)
}

func TestUndeleteMessages(t *testing.T) {
	f := newUndelete(t, Quota{})
	f.append("INBOX", 3, 0)
	inbox := f.box("INBOX").ID
	got(f.a.StoreFlags(t.Context(), inbox, set("2"), FlagChange{Mode: FlagsAdd, Flags: Flagged | Deleted, Keywords: []string{"$x"}}))(t)
	was := f.snapshot("INBOX").Row(1)
	before := f.used()
	f.want("expunged", got(f.a.Expunge(t.Context(), inbox, set("1:3"), false))(t).UIDs.String(), "2")
	f.want("recoverable", f.recoverable(), "INBOX:1")
	if u := f.used(); u.Messages != 2 || u.Bytes >= before.Bytes {
		t.Errorf("the quota counts %+v of %+v", u, before)
	}
	f.sound()
	f.expunge("INBOX", "1")
	f.want("recoverable", f.recoverable(), "INBOX:2")

	out := got(f.a.Undelete(t.Context(), f.recoverableBox("INBOX").ID, AllUIDs()))(t)
	if out.Messages != 2 || out.Mailbox.ID != inbox {
		t.Errorf("%+v", out)
	}
	f.want("back", f.list("INBOX"), `3:,4:\Flagged $x,5:`)
	is := f.snapshot("INBOX").Row(1)
	if is.ID != was.ID || is.InternalDate != was.InternalDate || f.used() != before {
		t.Errorf("row %+v was %+v, quota %+v was %+v", is, was, f.used(), before)
	}
	f.want("nothing left", f.recoverable(), "")
	f.sound()
}

func TestUndeleteMailbox(t *testing.T) {
	f := newUndelete(t, Quota{})
	made := got(f.a.CreateMailbox(t.Context(), "a/b", imap.MailboxAttr("")))(t)
	f.append("a/b", 3, Seen)
	f.expunge("a/b", "2")
	view := got(f.a.View(t.Context(), made.ID))(t)
	defer view.Close()
	before := f.used()
	must(t, f.a.DeleteMailbox(t.Context(), "a/b"))
	must(t, f.a.DeleteMailbox(t.Context(), "a"))
	if _, err := view.Snapshot(t.Context()); !errors.Is(err, ErrNoMailbox) {
		t.Errorf("who had it open is told %v", err)
	}
	if f.used() != (Usage{}) {
		t.Errorf("the quota counts %+v", f.used())
	}
	f.want("recoverable", f.recoverable(), "a/b:1 a/b (2):2")
	f.sound()

	out := got(f.a.Undelete(t.Context(), made.ID, AllUIDs()))(t)
	if out.Messages != 2 || out.Mailbox.ID != made.ID || out.Mailbox.UIDValidity <= made.UIDValidity || f.used() != before {
		t.Errorf("%+v, %+v; was %+v, %+v", out, out.Mailbox, made, before)
	}
	f.want("back", f.list("a/b"), `1:\Seen,3:\Seen`)
	if _, err := view.Snapshot(t.Context()); !errors.Is(err, ErrNoMailbox) {
		t.Errorf("who had the old one open is told %v", err)
	}
	f.sound()
	// What was expunged before its deletion comes back into it too.
	got(f.a.Undelete(t.Context(), f.recoverableBox("a/b").ID, AllUIDs()))(t)
	f.want("all back", f.list("a/b"), `1:\Seen,3:\Seen,4:\Seen`)
	f.sound()
}

// A deleted mailbox whose name is in use again is emptied into the new one.
func TestUndeleteIntoNamesake(t *testing.T) {
	f := newUndelete(t, Quota{})
	old := got(f.a.CreateMailbox(t.Context(), "x", ""))(t)
	f.append("x", 2, 0)
	must(t, f.a.DeleteMailbox(t.Context(), "x"))
	got(f.a.CreateMailbox(t.Context(), "x", ""))(t)
	f.append("x", 1, Flagged)
	out := got(f.a.Undelete(t.Context(), old.ID, AllUIDs()))(t)
	f.want("both", f.list("x"), `1:\Flagged,2:,3:`)
	if out.Messages != 2 || out.Mailbox.ID == old.ID {
		t.Errorf("%+v", out)
	}
	if tree := got(f.a.Tree(t.Context()))(t); tree.ID(old.ID) != nil {
		t.Error("the emptied mailbox is still there")
	}
	f.sound()
}

// Some messages of a deleted mailbox come back into one made anew.
func TestUndeleteSomeOfMailbox(t *testing.T) {
	f := newUndelete(t, Quota{})
	old := got(f.a.CreateMailbox(t.Context(), "x", imap.AttrJunk))(t)
	f.append("x", 3, 0)
	must(t, f.a.DeleteMailbox(t.Context(), "x"))
	got(f.a.Undelete(t.Context(), old.ID, set("2")))(t)
	f.want("one", f.list("x"), "1:")
	f.want("rest", f.recoverable(), "x:2")
	f.sound()
}

func TestUndeleteRefused(t *testing.T) {
	f := newUndelete(t, Quota{Messages: 2})
	f.append("INBOX", 2, 0)
	f.expunge("INBOX", "1:2")
	f.append("INBOX", 1, 0)
	gone := f.recoverableBox("INBOX").ID
	if _, err := f.a.Undelete(t.Context(), gone, AllUIDs()); !errors.Is(err, ErrOverQuota) {
		t.Errorf("over quota: %v", err)
	}
	f.want("untouched", f.recoverable()+" "+f.list("INBOX"), "INBOX:2 3:")
	got(f.a.Undelete(t.Context(), gone, set("1")))(t)
	f.want("what fits", f.recoverable()+" "+f.list("INBOX"), "INBOX:1 3:,4:")
	if _, err := f.a.Undelete(t.Context(), f.box("INBOX").ID, AllUIDs()); !errors.Is(err, ErrNoMailbox) {
		t.Errorf("undelete of INBOX itself: %v", err)
	}
	if _, err := f.a.Append(t.Context(), gone, f.messages(1, 0)...); !errors.Is(err, ErrNoMailbox) {
		t.Errorf("append: %v", err)
	}
	must(t, f.a.SetQuota(t.Context(), Quota{}))
	if _, err := f.a.Append(t.Context(), gone, f.messages(stageCount+1, 0)...); !errors.Is(err, ErrNoMailbox) {
		t.Errorf("staged append: %v", err)
	}
	if _, err := f.a.Copy(t.Context(), f.box("INBOX").ID, AllUIDs(), gone); !errors.Is(err, ErrNoMailbox) {
		t.Errorf("copy: %v", err)
	}
	for _, name := range []string{RecoverableRoot, RecoverableRoot + "/x"} {
		if _, err := f.a.CreateMailbox(t.Context(), name, ""); !errors.Is(err, ErrName) {
			t.Errorf("create %q: %v", name, err)
		}
		if err := f.a.RenameMailbox(t.Context(), "Archive", name); !errors.Is(err, ErrName) {
			t.Errorf("rename to %q: %v", name, err)
		}
	}
	f.sound()
}

// A recoverable mailbox follows the name of the one it belongs to.
func TestRecoverableFollowsRename(t *testing.T) {
	f := newUndelete(t, Quota{})
	got(f.a.CreateMailbox(t.Context(), "x", ""))(t)
	f.append("x", 1, 0)
	f.expunge("x", "1")
	must(t, f.a.RenameMailbox(t.Context(), "x", "y/z"))
	f.want("renamed", f.recoverable(), "y/z:1")
	must(t, f.a.DeleteMailbox(t.Context(), "y/z")) // empty: gone at once
	f.want("deleted", f.recoverable(), "y/z:1")
	got(f.a.Undelete(t.Context(), f.recoverableBox("y/z").ID, AllUIDs()))(t)
	f.want("made again", f.list("y/z"), "1:")
	f.sound()
	if tree := got(f.a.Tree(t.Context()))(t); len(tree.Recoverable()) != 0 {
		t.Errorf("%d records of no use", len(tree.Recoverable()))
	}
}

func TestPurge(t *testing.T) {
	f := newUndelete(t, Quota{})
	x := got(f.a.CreateMailbox(t.Context(), "x", ""))(t)
	f.append("x", 3, 0)
	must(t, f.a.DeleteMailbox(t.Context(), "x"))
	f.append("INBOX", 3, 0)
	f.expunge("INBOX", "1:2")
	must(t, f.a.purge(t.Context(), time.Now().Add(59*time.Minute)))
	f.want("before its time", f.recoverable(), "INBOX:2 x:3")
	must(t, f.a.purge(t.Context(), time.Now().Add(61*time.Minute)))
	f.want("after", f.recoverable(), "")
	f.sound()
	if tree := got(f.a.Tree(t.Context()))(t); tree.ID(x.ID) != nil {
		t.Error("the record of the deleted mailbox is still there")
	}
	f.expunge("INBOX", "3")
	must(t, f.a.PurgeAll(t.Context()))
	f.want("at once", f.recoverable(), "")
	f.sound()
	f.nothingLeft(0)
}

// Above the bound the oldest goes first, and not more than must.
func TestPurgeBound(t *testing.T) {
	f := newUndelete(t, Quota{})
	f.append("INBOX", 4, 0)
	one := int64(f.snapshot("INBOX").Row(0).Size)
	f.expunge("INBOX", "1:4")
	f.s.o.UndeleteBytes = 4 * one
	must(t, f.a.Sweep(t.Context()))
	f.want("just within", f.recoverable(), "INBOX:4")
	time.Sleep(1100 * time.Millisecond) // save dates are seconds
	f.append("Archive", 2, 0)
	f.expunge("Archive", "1:2")
	must(t, f.a.Sweep(t.Context()))
	f.want("one second's worth above", f.recoverable(), "Archive:2")
	f.sound()
}

// Switched off, nothing stays, and what was kept goes with the next sweep.
func TestUndeleteOff(t *testing.T) {
	f := newUndelete(t, Quota{})
	f.append("INBOX", 2, 0)
	f.expunge("INBOX", "1")
	f.s.o.Undelete = 0
	f.expunge("INBOX", "2")
	f.want("kept before", f.recoverable(), "INBOX:1")
	must(t, f.a.Sweep(t.Context()))
	f.want("swept", f.recoverable(), "")
	f.sound()
	f.nothingLeft(0)
}

// A crash at any commit of an Undelete loses nothing and doubles nothing.
func TestUndeleteInterrupted(t *testing.T) {
	for _, c := range []struct {
		name  string
		again bool // the mailbox's name is in use again
		some  bool // not all messages are asked for
	}{{"whole", false, false}, {"into namesake", true, false}, {"some", false, true}} {
		t.Run(c.name, func(t *testing.T) {
			for crash := range int32(6) {
				engine := &faulty{Engine: memkv.New()}
				f := &fixture{TB: t, s: newStore(t, engine, memblob.New())}
				f.s.o.Undelete = time.Hour
				f.a = f.account(1, Quota{})
				x := got(f.a.CreateMailbox(t.Context(), "x", ""))(t)
				f.append("x", 20, 0)
				must(t, f.a.DeleteMailbox(t.Context(), "x"))
				if c.again {
					got(f.a.CreateMailbox(t.Context(), "x", ""))(t)
				}
				uids := AllUIDs()
				if c.some {
					uids = set("1:19")
				}
				engine.skip.Store(crash)
				engine.fail.Store(1)
				_, err := f.a.Undelete(t.Context(), x.ID, uids)
				engine.fail.Store(0)
				engine.skip.Store(1 << 30)
				if err != nil {
					if _, err = f.a.Undelete(t.Context(), x.ID, uids); err != nil && !errors.Is(err, ErrNoMailbox) {
						t.Fatal(err)
					}
				}
				want := 20
				if c.some {
					want = 19
				}
				if n := f.snapshot("x").Len(); n != want || f.used().Messages != int64(want) {
					t.Errorf("crash %d: %d messages are back, the quota counts %d", crash, n, f.used().Messages)
				}
				f.sound()
			}
		})
	}
}

// Deliveries, expunging and bringing back at once: each message is in one place. Who
// expunges waits for each next delivery: ahead of them all he would find nothing to do.
func TestUndeleteConcurrent(t *testing.T) {
	f := newUndelete(t, Quota{})
	inbox := f.box("INBOX").ID
	var wg sync.WaitGroup
	const each = 60
	delivered := make(chan struct{}, 2*each)
	var expunged, back atomic.Int64
	for i := range 2 {
		wg.Go(func() {
			for n := range each {
				in := stage(t, f.s, fmt.Sprintf("Subject: %d %d\r\n\r\n", i, n))
				if _, err := f.a.Append(context.Background(), inbox, in); err != nil {
					t.Error(err)
				}
				delivered <- struct{}{}
			}
		})
		wg.Go(func() {
			for n := range uint32(each) {
				<-delivered // so UID n+1 is there, or was
				gone, err := f.a.Expunge(context.Background(), inbox, imap.UIDSet{{First: n + 1, Last: n + 2}}, true)
				if err == nil {
					expunged.Add(int64(gone.UIDs.Count()))
				}
				if err == nil && n%5 == 0 {
					var out *Undeleted
					if out, err = f.a.Undelete(context.Background(), inbox|recoverableBit, imap.UIDSet{{First: n/2 + 1, Last: n + 1}}); err == nil {
						back.Add(int64(out.Messages))
					}
				}
				if err == nil && n%20 == 0 {
					err = f.a.Sweep(context.Background())
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if expunged.Load() < each || back.Load() == 0 {
		t.Errorf("%d were expunged and %d brought back: nothing was tried", expunged.Load(), back.Load())
	}
	gone := int(got(f.a.Status(t.Context(), inbox|recoverableBit))(t)[0].Messages)
	if n := f.snapshot("INBOX").Len(); n+gone != 2*each || gone != int(expunged.Load()-back.Load()) || f.used().Messages != int64(n) {
		t.Errorf("%d here, %d to be brought back, of %d, %d expunged and %d brought back; the quota counts %d",
			n, gone, 2*each, expunged.Load(), back.Load(), f.used().Messages)
	}
	f.sound()
}

// Of a mailbox that nothing was expunged from there is nothing to be brought back: this is
// said, and changes nothing.
func TestUndeleteBeforeExpunge(t *testing.T) {
	f := newUndelete(t, Quota{})
	f.append("INBOX", 1, 0)
	inbox := f.box("INBOX").ID
	f.expunge("INBOX", "2:3")
	if _, err := f.a.Undelete(t.Context(), inbox|recoverableBit, AllUIDs()); !errors.Is(err, ErrNoMailbox) {
		t.Errorf("undelete: %v", err)
	}
	if _, err := f.a.Status(t.Context(), inbox|recoverableBit); !errors.Is(err, ErrNoMailbox) {
		t.Errorf("status: %v", err)
	}
	f.want("untouched", f.recoverable()+f.list("INBOX"), "1:")
	f.sound()
}
