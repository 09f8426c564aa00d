package mailstore

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"postroad/imap"
	"postroad/internal/blob/memblob"
	"postroad/internal/kv"
	"postroad/internal/kv/memkv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hinted tells whether a hint is waiting.
func hinted(ch chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

func TestNotify(t *testing.T) {
	f := newFixture(t)
	v := got(f.a.View(t.Context(), f.box("INBOX").ID))(t)
	defer v.Close()
	inbox, account := make(chan struct{}, 1), make(chan struct{}, 1)
	v.Notify(inbox)
	called := false
	stop := v.NotifyFunc(func() { called = true })
	f.a.Notify(account)
	defer f.a.Stop(account)
	for _, c := range []struct {
		name           string
		do             func()
		inbox, account bool
	}{
		{"append", func() { f.append("INBOX", 1, 0) }, true, true},
		{"append elsewhere", func() { f.append("Sent", 1, 0) }, false, true},
		{"flags", func() {
			got(f.a.StoreFlags(t.Context(), v.Mailbox(), set("1"), FlagChange{Flags: Seen}))(t)
		}, true, true},
		{"no change", func() {
			got(f.a.StoreFlags(t.Context(), v.Mailbox(), set("1"), FlagChange{Flags: Seen}))(t)
		}, false, false},
		{"move away", func() { got(f.a.Move(t.Context(), v.Mailbox(), set("1"), f.box("Sent").ID))(t) }, true, true},
		{"create a mailbox", func() { got(f.a.CreateMailbox(t.Context(), "x", ""))(t) }, false, true},
		{"sweep", func() { must(t, f.a.Sweep(t.Context())) }, false, false},
		{"stopped", func() { v.Stop(inbox); stop(); f.append("INBOX", 1, 0) }, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			called = false
			c.do()
			if i, a := hinted(inbox), hinted(account); i != c.inbox || a != c.account || called != c.inbox {
				t.Errorf("hints: mailbox %v, account %v, function %v", i, a, called)
			}
		})
	}
}

// Another process changes the account: Run finds out by the versions.
func TestRunPollsAndSweeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, blobs := memkv.New(), memblob.New()
		f := &fixture{TB: t, s: newStore(t, engine, blobs)}
		f.a = f.account(1, Quota{})
		other := newStore(t, engine, blobs)
		theirs := got(other.Account(t.Context(), 1))(t)
		v := got(theirs.View(t.Context(), f.box("INBOX").ID))(t)
		defer v.Close()
		hints := make(chan struct{}, 1)
		v.Notify(hints)

		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- other.Run(ctx) }()
		f.append("INBOX", 3, 0)
		<-hints
		if n := got(v.Snapshot(t.Context()))(t).Len(); n != 3 {
			t.Errorf("%d messages", n)
		}
		got(theirs.Expunge(t.Context(), v.Mailbox(), set("1:2"), true))(t)
		time.Sleep(2 * other.o.SweepAfter)
		synctest.Wait()
		f.nothingLeft(1)
		cancel()
		if err := <-ended; err != context.Canceled {
			t.Error(err)
		}
	})
}

// What a crash left unswept is found when Run starts, though nobody opens the account.
func TestRunFindsLeftovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, blobs := memkv.New(), memblob.New()
		f := &fixture{TB: t, s: newStore(t, engine, blobs)}
		f.a = f.account(1, Quota{})
		f.append("INBOX", 20, 0)
		got(f.a.Expunge(t.Context(), f.box("INBOX").ID, set("1:19"), true))(t)
		later := newStore(t, engine, blobs)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- later.Run(ctx) }()
		time.Sleep(2 * later.o.SweepAfter)
		synctest.Wait()
		cancel()
		<-ended
		f.nothingLeft(1)
	})
}

// An APPEND that was cut off while it was staged is swept after its time.
func TestStagedLeftovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(30 * 365 * 24 * time.Hour) // ids begin in 2020
		f := newFixture(t)
		s := &staging{a: f.a, id: f.s.o.Clock.Next(), mailbox: f.box("INBOX").ID, in: f.messages(10, 0)}
		must(t, s.stage(t.Context(), s.in))
		must(t, f.a.Sweep(t.Context()))
		f.nothingLeftOf(10, 1)
		time.Sleep(2 * pendingAge)
		must(t, f.a.Sweep(t.Context()))
		f.nothingLeft(0)
		if _, err := s.reveal(t.Context()); err == nil {
			t.Error("revealed after it was given up")
		}
		f.sound()
	})
}

func (f *fixture) nothingLeftOf(messages, pending int) {
	f.Helper()
	snap := got(f.a.snapshot(f.Context()))(f)
	defer snap.Close()
	for kind, want := range map[byte]int{keyMessage: messages, keyPending: pending} {
		n := 0
		for range snap.Scan(kv.Prefix([]byte{kind})) {
			n++
		}
		if n != want {
			f.Errorf("%d records of kind %c, want %d", n, kind, want)
		}
	}
}

// Views that nobody has open go when they are too large.
func TestViewsAreDropped(t *testing.T) {
	f := newFixture(t)
	f.append("INBOX", 5, 0)
	f.s.views.max = 300
	for _, m := range got(f.a.Tree(t.Context()))(t).All() {
		got(f.a.View(t.Context(), m.ID))(t).Close()
	}
	if n := len(f.a.live); n != 1 {
		t.Errorf("%d views are held", n)
	}
	v := got(f.a.View(t.Context(), f.box("INBOX").ID))(t)
	w := got(f.a.View(t.Context(), f.box("INBOX").ID))(t)
	if v.live != w.live {
		t.Error("two views of one mailbox are not shared")
	}
	v.Close()
	w.Close()
}

// Each kind of damage is found.
func TestCheckFinds(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(f *fixture, b *kv.Batch)
		want   string
	}{
		{"a counter", func(f *fixture, b *kv.Batch) {
			b.Adds = append(b.Adds, kv.Add{Key: key(countUnseen, f.box("INBOX").ID), N: 1})
		}, "counters say"},
		{"the quota", func(f *fixture, b *kv.Batch) {
			b.Adds = append(b.Adds, kv.Add{Key: quotaBytesKey, N: -1})
		}, "quota counts"},
		{"an entry", func(f *fixture, b *kv.Batch) {
			b.Deletes = append(b.Deletes, numberKey(keyEntry, f.box("INBOX").ID, 2))
		}, "in no mailbox, and nothing will sweep it"},
		{"a list record", func(f *fixture, b *kv.Batch) {
			b.Deletes = append(b.Deletes, key(keyList, f.snapshot("INBOX").Row(1).ID))
		}, "there is no record of the message"},
		{"an entry of a message", func(f *fixture, b *kv.Batch) {
			b.Deletes = append(b.Deletes, entryOfKey(f.snapshot("Sent").Row(0).ID, f.box("Sent").ID, 1))
		}, "the message does not know of the entry"},
		{"a format", func(f *fixture, b *kv.Batch) {
			b.Puts = append(b.Puts, kv.Put{Key: key(keyMessage, f.snapshot("INBOX").Row(1).ID), Value: []byte{99}})
		}, "damaged"},
		{"a keyword", func(f *fixture, b *kv.Batch) {
			b.Deletes = append(b.Deletes, key(keyKeywords, f.box("INBOX").ID))
		}, "not in the table of keywords"},
		{"the body", func(f *fixture, b *kv.Batch) {
			r := got(f.snapshot("INBOX").Record(f.Context(), 2, WantStructure))(f)
			b.Space = r.Body.Space()
			b.Ranges = append(b.Ranges, kv.Range{})
		}, "body:"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			f.append("INBOX", 3, 0)
			got(f.a.Copy(t.Context(), f.box("INBOX").ID, set("1"), f.box("Sent").ID))(t)
			got(f.a.StoreFlags(t.Context(), f.box("INBOX").ID, set("3"), FlagChange{Keywords: []string{"k"}}))(t)
			b := kv.Batch{Space: f.a.space}
			c.damage(f, &b)
			got(f.s.engine().Commit(t.Context(), b))(t)
			var all []string
			must(t, f.a.Check(t.Context(), true, func(x Finding) { all = append(all, x.String()) }))
			if !strings.Contains(strings.Join(all, "\n"), c.want) {
				t.Errorf("found %q, want %q", all, c.want)
			}
		})
	}
}

func FuzzBaseSubject(f *testing.F) {
	for _, s := range []string{"Re: x", "AW: [list] Re[2]: x (fwd)", "[fwd: re: x]", "Fwd:", "[a][b] c", "回复：x",
		"\x80 " + strings.Repeat("*", subjectMax-3) + "0", strings.Repeat("é", subjectMax)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		base := baseSubject(s)
		if again := baseSubject(base); again != base {
			t.Errorf("%q has base %q, that has %q", s, base, again)
		}
	})
}

// TestSweepOneBlock expunges two stretches of one block, so many that somewhere a commit of
// the sweep is full just when it comes to the block for the second time: no entry may be in
// two blocks then.
func TestSweepOneBlock(t *testing.T) {
	for n := uint32(10); n <= 90; n += 2 {
		f := newFixture(t)
		f.append("INBOX", 120, 0)
		inbox := f.box("INBOX").ID
		must(t, f.a.pack(t.Context(), inbox))
		got(f.a.Expunge(t.Context(), inbox, imap.UIDSet{{First: 1, Last: n}, {First: n + 2, Last: n + 3}}, true))(t)
		f.sound()
	}
}

// FuzzRecords reads damaged values: an error, never a panic or unbounded memory.
func FuzzRecords(f *testing.F) {
	f.Add(appendBlock(nil, []Row{{UID: 3, ID: 9, Flags: Seen}, {UID: 4, ID: 7, Size: 9}}))
	f.Add((&chunk{}).put().Value)
	f.Add(newChange(changeMailbox, 3))
	f.Add(appendSet(newChange(changeFlags, 3), set("1:5,9")))
	f.Add(append(newChange(changeLeft, 3), 9, 4, 0, 2, 0, 3))
	f.Add(appendSet(append(newChange(changeSeen, 3), 0, 0, 0, 0, 0, 0, 0, 7), set("2:4")))
	snap, err := memkv.New().Snapshot(f.Context(), "a/none") // holds no staged block
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, v []byte) {
		n := 0
		_ = readBlock(snap, 1, v, func(*Row) { n++ })
		_ = readState(0, v, func(run) { n++ })
		_, _ = readChange(kv.Entry{Key: key(keyChange, 1), Value: v})
		_, _ = readMailbox(1, v)
		_, _ = readKeywords(v)
		var r Record
		_, _, _ = r.readList(v)
		_, _, _ = r.readMessage(v)
		if n > blockMax+chunkSize {
			t.Errorf("%d rows and runs in %d octets", n, len(v))
		}
	})
}
