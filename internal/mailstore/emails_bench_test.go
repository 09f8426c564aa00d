package mailstore

import (
	"context"
	"fmt"
	"runtime"
	"testing"
)

// BenchmarkEmails measures what JMAP asks of a mailbox of 100,000 messages, and of 1,000
// beside it.
func BenchmarkEmails(b *testing.B) {
	for _, n := range []int{1000, benchCount} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			f := bigOf(b, n)
			benchEmails(b, f, n)
		})
	}
}

func benchEmails(b *testing.B, f *fixture, n int) {
	ctx, owner, inbox, trash := context.Background(), Reader{ID: 1}, f.box("INBOX").ID, f.box("Trash").ID
	v := got(f.a.View(ctx, inbox))(b)
	defer v.Close()
	b.Run("load", func(b *testing.B) {
		for b.Loop() {
			f.a.dropEmails()
			got(f.a.Emails(ctx, owner))(b)
		}
		f.a.dropEmails()
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		got(f.a.Emails(ctx, owner))(b)
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(int64(after.HeapAlloc)-int64(before.HeapAlloc))/float64(n), "B/message")
	})
	e := got(f.a.Emails(ctx, owner))(b)
	b.Run("warm", func(b *testing.B) {
		for b.Loop() {
			got(f.a.Emails(ctx, owner))(b)
		}
	})
	b.Run("window of 60 in the middle", func(b *testing.B) {
		for b.Loop() {
			r := e.Received(inbox)
			for i := range 60 {
				e.Email(r.At(r.Len()/2 + i))
			}
		}
	})
	b.Run("unseen of all", func(b *testing.B) {
		seen := e.Keyword("$seen")
		for b.Loop() {
			k := 0
			for p := range e.All() {
				if !seen.Has(p) {
					k++
				}
			}
		}
	})
	b.Run("sort by subject", func(b *testing.B) {
		places := make([]int, 0, e.Len())
		for p := range e.All() {
			places = append(places, p)
		}
		for b.Loop() {
			got(e.Sort(ctx, places, []EmailOrder{{By: SortSubject}}))(b)
		}
	})
	flagged := 0
	flag := func(n int) {
		for range n {
			flagged++
			uid := uint32(flagged*7%e.Len() + 1)
			got(f.a.StoreFlags(ctx, inbox, set(fmt.Sprint(uid)), FlagChange{Flags: []Flags{Seen, Flagged}[flagged/e.Len()%2]}))(b)
		}
	}
	b.Run("after a flag, with counts and states", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			flag(1)
			b.StartTimer()
			e = got(f.a.Emails(ctx, owner))(b)
			got(e.States(ctx))(b)
		}
	})
	b.Run("after 100 flags, with changes", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			since := got(e.States(ctx))(b)
			flag(100)
			b.StartTimer()
			e = got(f.a.Emails(ctx, owner))(b)
			if c := got(e.EmailChanges(ctx, since.Emails, 0))(b); len(c.Updated) == 0 {
				b.Fatal("nothing changed")
			}
			got(e.MailboxChanges(ctx, since.Mailboxes, 0))(b)
			got(e.ThreadChanges(ctx, since.Threads, 0))(b)
		}
	})
	b.Run("changes of 100 alone", func(b *testing.B) {
		since := got(e.States(ctx))(b)
		flag(100)
		e = got(f.a.Emails(ctx, owner))(b)
		got(e.States(ctx))(b)
		for b.Loop() {
			got(e.EmailChanges(ctx, since.Emails, 0))(b)
		}
	})
	benchSet(b, f, inbox, trash)
}

// benchSet measures changes of 1,000 messages beside each other, and of some everywhere.
func benchSet(b *testing.B, f *fixture, inbox, trash MailboxID) {
	ctx, owner := context.Background(), Reader{ID: 1}
	e := got(f.a.Emails(ctx, owner))(b)
	for _, how := range []struct {
		name string
		step int
	}{{"1000 in a row", 1}, {"1000 everywhere", max(1, e.Len()/1000)}} {
		changes := make([]EmailChange, 1000)
		r := e.Received(0)
		for i := range changes {
			changes[i].ID = e.Message(r.At(i * how.step % r.Len()))
		}
		b.Run("set keywords of "+how.name, func(b *testing.B) {
			for n := 0; b.Loop(); n++ {
				for i := range changes {
					changes[i] = EmailChange{ID: changes[i].ID, SetKeywords: true, Keywords: []string{"$seen", fmt.Sprint("k", n%2)}}
				}
				benchDone(b, f.a.SetEmails(ctx, owner, changes))
			}
		})
		b.Run("move "+how.name, func(b *testing.B) {
			for n := 0; b.Loop(); n++ {
				for i := range changes {
					changes[i] = EmailChange{ID: changes[i].ID, SetMailboxes: true, Mailboxes: []MailboxID{[]MailboxID{trash, inbox}[n%2]}}
				}
				benchDone(b, f.a.SetEmails(ctx, owner, changes))
			}
		})
	}
}

func benchDone(b *testing.B, errs []error) {
	for _, err := range errs {
		must(b, err)
	}
}
