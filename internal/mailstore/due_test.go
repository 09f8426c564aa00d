package mailstore

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postroad/imap"
	"postroad/internal/blob/memblob"
	"postroad/internal/kv"
	"postroad/internal/kv/memkv"
)

// TestOnlyWhatIsDue lets time pass over three accounts and tells which ones a store that
// has just been started opens in a pass.
func TestOnlyWhatIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, blobs := memkv.New(), memblob.New()
		f := &fixture{TB: t, s: newStore(t, engine, blobs)}
		options := Options{Retention: map[imap.MailboxAttr]Retention{imap.AttrTrash: {After: 10 * day}}, Undelete: 5 * day}
		pass := func(when, want string) {
			t.Helper()
			s := newStore(t, engine, blobs)
			s.o.Retention, s.o.Undelete = options.Retention, options.Undelete
			must(t, s.lifeOnce(t.Context()))
			var opened []string
			for id := range s.accounts {
				opened = append(opened, fmt.Sprint(uint64(id)))
			}
			slices.Sort(opened)
			f.want(when, strings.Join(opened, " "), want)
		}
		f.s.o.Retention, f.s.o.Undelete = options.Retention, options.Undelete
		one, two := f.account(1, Quota{}), f.account(2, Quota{})
		f.account(3, Quota{})
		pass("first", "1 2 3")
		pass("at once again", "")
		time.Sleep(day)
		f.a = one
		f.append("Trash", 2, 0) // at 1 day
		pass("after a day", "")
		f.a = two
		f.append("Archive", 3, 0)
		must(t, two.SetRetention(t.Context(), f.box("Archive").ID, &Retention{After: 2 * day}))
		pass("a rule was set", "2")
		time.Sleep(day)
		pass("after two days", "")
		time.Sleep(day + time.Second)
		pass("after three days", "2")
		f.want("taken away", fmt.Sprint(f.snapshot("Archive").Len(), " ", f.recoverable()), "0 Archive:3")
		time.Sleep(2 * day)
		pass("after five days: what can be brought back could have been expunged at first; an empty Archive has nothing older than two days", "1 2 3")
		time.Sleep(3 * day)
		pass("after eight days", "2")
		f.want("purged", f.recoverable(), "")
		must(t, two.SetRole(t.Context(), f.box("Archive").ID, ""))
		pass("another special use", "2")
		must(t, two.SetRetention(t.Context(), f.box("Archive").ID, &Retention{Messages: 5}))
		pass("a rule of number", "2")
		pass("which always counts", "2")
		must(t, two.SetRetention(t.Context(), f.box("Archive").ID, nil))
		pass("and is taken away", "2")
		pass("nothing more", "")
		must(t, f.s.Delete(t.Context(), 3))
		time.Sleep(4 * day)
		pass("after twelve days", "1")
		f.a = one
		f.want("the Trash", fmt.Sprint(f.snapshot("Trash").Len(), " ", f.recoverable()), "0 Trash:2")
		options.Undelete = time.Hour
		time.Sleep(2 * time.Hour)
		pass("other options", "1 2")
		f.want("purged sooner", f.recoverable(), "")
		pass("the same", "")

		snap := got(engine.Snapshot(t.Context(), lifeSpace))(t)
		defer snap.Close()
		n := 0
		for _, err := range snap.Scan(kv.Prefix([]byte{keyDueTime})) {
			must(t, err)
			n++
		}
		if n != 2 {
			t.Errorf("%d accounts in the order of time, want 2", n)
		}
	})
}

// TestSeenIsLogged: a reader's \Seen is in the log under his name, the owner's is not.
func TestSeenIsLogged(t *testing.T) {
	f := newFixture(t)
	f.append("INBOX", 5, 0)
	box := f.box("INBOX").ID
	before := f.snapshot("INBOX").Version()
	store := func(reader AccountID, uids string, c FlagChange) {
		c.Reader = reader
		got(f.a.StoreFlags(t.Context(), box, set(uids), c))(t)
	}
	store(7, "1:3,5", FlagChange{Mode: FlagsAdd, Flags: Seen})
	store(7, "2:4", FlagChange{Mode: FlagsAdd, Flags: Seen}) // of which 2 and 3 have it
	store(8, "1", FlagChange{Mode: FlagsAdd, Flags: Seen | Flagged})
	store(0, "2", FlagChange{Mode: FlagsAdd, Flags: Seen})
	store(8, "1", FlagChange{Mode: FlagsRemove, Flags: Flagged})
	snap := got(f.a.snapshot(t.Context()))(t)
	defer snap.Close()
	var log []string
	got(readChanges(snap, before, func(c *change) bool {
		if c.mailbox != box {
			t.Errorf("%+v", c)
		}
		log = append(log, fmt.Sprintf("%c%d %s", c.kind, uint64(c.reader), c.uids))
		return true
	}))(t)
	f.want("log", strings.Join(log, ", "), "s7 1:3,5, s7 4, f0 1, s8 1, f0 2, f0 1")
	f.sound()
}
