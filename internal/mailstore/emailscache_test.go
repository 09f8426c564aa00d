package mailstore

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"postroad/imap"
	"postroad/internal/blob/memblob"
	"postroad/internal/kv/memkv"
)

// TestEmailsConcurrent has many read while others change, with room in memory for next to
// nothing, so that what is cached goes under its readers.
func TestEmailsConcurrent(t *testing.T) {
	f := &fixture{TB: t, s: newStore(t, memkv.New(), memblob.New())}
	f.s.emails.max = 1
	f.a = f.account(1, Quota{})
	f.append("INBOX", 60, 0)
	ctx, inbox, archive := t.Context(), f.box("INBOX").ID, f.box("Archive").ID
	readers := []Reader{{ID: 1}, {ID: 2}, {ID: 3}}
	must(t, f.a.SetACL(ctx, "org", inbox, Subject{Kind: SubjectAnyone}, imap.RightsReplace, imap.RightsAll))
	var changes, looks sync.WaitGroup
	done := make(chan struct{})
	for i := range 3 {
		changes.Go(func() {
			for n := range 25 {
				reader := readers[(i+n)%3]
				e := got(f.a.Emails(ctx, reader))(t)
				if e.Len() == 0 {
					continue
				}
				c := EmailChange{ID: e.Message(e.Received(0).At(n % e.Len())), AddKeywords: []string{"$seen", fmt.Sprint("k", n%5)}}
				if reader.ID == 1 {
					c.Add, c.Remove = []MailboxID{archive}, []MailboxID{inbox}
				}
				if err := f.a.SetEmails(ctx, reader, []EmailChange{c})[0]; err != nil && !errors.Is(err, ErrNoMessage) {
					t.Error(err)
				}
				got(f.a.Move(ctx, archive, allUIDs, inbox))(t)
				if n%5 == 0 {
					must(t, f.a.SetACL(ctx, "org", archive, Subject{Kind: SubjectAccount, Account: 3}, imap.RightsReplace, imap.Rights(n%2)*imap.RightsAll))
					must(t, f.a.Sweep(ctx))
				}
			}
		})
	}
	for _, r := range readers {
		looks.Go(func() {
			follower := newFollower(r)
			for {
				follower.follow(t, f.a, 10, func() {})
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	changes.Wait()
	close(done)
	looks.Wait()
	for _, r := range readers {
		readPlain(t, f.a, r).equal(t, got(f.a.Emails(ctx, r))(t))
	}
	f.sound()
	if n := f.s.emails.order.Len(); n != 1 {
		t.Errorf("%d are cached where there is room for one", n)
	}
	must(t, f.s.Delete(ctx, 1))
	if _, err := f.a.Emails(ctx, readers[0]); !errors.Is(err, ErrNoAccount) {
		t.Errorf("of no account: %v", err)
	}
}

// TestEmailsMailboxGone deletes a shared mailbox and makes it again under a guest who has
// it in memory.
func TestEmailsMailboxGone(t *testing.T) {
	f := newFixture(t)
	f.s.o.Undelete = 1 << 40
	ctx, guest := t.Context(), Reader{ID: 2}
	m := got(f.a.CreateMailbox(ctx, "x", ""))(t)
	f.append("x", 3, 0)
	must(t, f.a.SetACL(ctx, "org", m.ID, Subject{Kind: SubjectAccount, Account: 2}, imap.RightsReplace, imap.RightsAll))
	if e := got(f.a.Emails(ctx, guest))(t); e.Len() != 3 || e.Snapshot(m.ID) == nil {
		t.Fatalf("the guest sees %d", e.Len())
	}
	must(t, f.a.DeleteMailbox(ctx, "x"))
	got(f.a.Undelete(ctx, m.ID, AllUIDs()))(t)
	must(t, f.a.SetACL(ctx, "org", m.ID, Subject{Kind: SubjectAccount, Account: 2}, imap.RightsReplace, imap.RightsAll))
	if e := got(f.a.Emails(ctx, guest))(t); e.Len() != 3 {
		t.Fatalf("the guest sees %d of what is back", e.Len())
	}
	must(t, f.a.DeleteMailbox(ctx, "x"))
	if e := got(f.a.Emails(ctx, guest))(t); e.Len() != 0 || len(e.Visible()) != 0 || e.Snapshot(m.ID) != nil {
		t.Fatalf("the guest sees %d of what is gone", e.Len())
	}
}

// TestNotifyOfAll wakes who waits for an account after each kind of change that somebody
// can see.
func TestNotifyOfAll(t *testing.T) {
	f := newFixture(t)
	ctx, inbox := t.Context(), f.box("INBOX").ID
	f.append("INBOX", 2, 0)
	id := f.snapshot("INBOX").Row(0).ID
	must(t, f.a.SetACL(ctx, "org", inbox, Subject{Kind: SubjectAnyone}, imap.RightsReplace, imap.RightsAll))
	cases := map[string]func() error{
		"keywords": func() error {
			return errors.Join(f.a.SetEmails(ctx, Reader{ID: 1}, []EmailChange{{ID: id, AddKeywords: []string{"$seen"}}})...)
		},
		"mailboxes": func() error {
			return errors.Join(f.a.SetEmails(ctx, Reader{ID: 1}, []EmailChange{{ID: id, Add: []MailboxID{f.box("Sent").ID}}})...)
		},
		"a guest reads": func() error {
			return errors.Join(f.a.SetEmails(ctx, Reader{ID: 2}, []EmailChange{{ID: id, AddKeywords: []string{"$seen"}}})...)
		},
		"rights": func() error {
			return f.a.SetACL(ctx, "org", inbox, Subject{Kind: SubjectAccount, Account: 3}, imap.RightsReplace, imap.RightsAll)
		},
		"a subscription": func() error { return f.a.Subscribe(ctx, "INBOX", false) },
		"a message":      func() error { f.append("INBOX", 1, 0); return nil },
	}
	ch := make(chan struct{}, 1)
	f.a.Notify(ch)
	defer f.a.Stop(ch)
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			select {
			case <-ch:
			default:
			}
			must(t, change())
			select {
			case <-ch:
			default:
				t.Error("nobody was woken")
			}
		})
	}
}
