package mailstore

import (
	"fmt"
	"slices"
	"testing"

	"postroad/internal/kv"
)

// TestThreadsJoin has threads turn out to be one, whichever message comes last.
func TestThreadsJoin(t *testing.T) {
	// A conversation in the order it was written: each refers to some before.
	mails := []struct{ id, refs string }{
		{"a@x", ""},
		{"b@x", "<a@x>"},
		{"c@x", "<b@x>"},     // its program keeps the parent only
		{"d@x", "<missing>"}, // in answer to one that never came
		{"e@x", "<d@x> <c@x>"},
	}
	orders := [][]int{{0, 1, 2, 3, 4}, {4, 3, 2, 1, 0}, {0, 2, 1, 3, 4}, {2, 0, 3, 1, 4}, {3, 2, 0, 4, 1}}
	for _, order := range orders {
		for _, once := range []bool{false, true} {
			t.Run(fmt.Sprint(order, " in one commit ", once), func(t *testing.T) {
				f := newFixture(t)
				f.s.keyAge = -1e9
				var in []*Incoming
				for _, i := range order {
					m := mails[i]
					in = append(in, f.message(fmt.Sprintf("Subject: Re: Lunch\r\nMessage-ID: <%s>\r\nReferences: %s\r\n\r\nx\r\n", m.id, m.refs)))
				}
				var all []*Appended
				if once {
					all = got(f.a.Append(t.Context(), f.box("INBOX").ID, in...))(t)
				} else {
					for _, m := range in {
						all = append(all, got(f.a.Append(t.Context(), f.box("INBOX").ID, m))(t)...)
					}
				}
				var ids []MessageID
				for _, a := range all {
					ids = append(ids, a.ID)
				}
				slices.Sort(ids)
				for _, a := range all {
					if members := got(f.a.Thread(t.Context(), a.Thread))(t); !slices.Equal(members, ids) {
						t.Errorf("thread %s has %v, want %v", a.Thread, members, ids)
					}
					// What IMAP was told stays (RFC 8474, 5.2).
					row, _ := f.snapshot("INBOX").Index(a.UID)
					r := got(f.snapshot("INBOX").Record(t.Context(), f.snapshot("INBOX").UID(row), WantEnvelope))(t)
					if r.Thread != a.Thread {
						t.Errorf("the thread of UID %d changed", a.UID)
					}
				}
				f.sound()
				// All but one, then that: nothing of the threads is left.
				got(f.a.Expunge(t.Context(), f.box("INBOX").ID, set("2:5"), true))(t)
				f.sound()
				if members := got(f.a.Thread(t.Context(), all[4].Thread))(t); len(members) != 1 {
					t.Errorf("of the last message's thread %v are left", members)
				}
				got(f.a.Expunge(t.Context(), f.box("INBOX").ID, set("1:5"), true))(t)
				f.sound()
				f.nothingLeft(0)
				snap := got(f.a.snapshot(t.Context()))(t)
				defer snap.Close()
				for _, kind := range []byte{keyJoined, keyMember, keyMessageID, keySort} {
					if e := got(any1(snap, kv.Prefix([]byte{kind})))(t); e != nil {
						t.Errorf("key %q is left", e.Key)
					}
				}
			})
		}
	}
}

// TestJoinIsLogged shows that a join is in the change log: JMAP tells of it.
func TestJoinIsLogged(t *testing.T) {
	f := newFixture(t)
	mail := func(id, refs string) *Appended {
		return got(f.a.Append(t.Context(), f.box("INBOX").ID, f.message("Message-ID: <"+id+">\r\nReferences: "+refs+"\r\n\r\nx\r\n")))(t)[0]
	}
	older, younger := mail("1@x", ""), mail("3@x", "<2@x>")
	before := f.snapshot("INBOX").Version()
	mail("2@x", "<1@x>")
	snap := got(f.a.snapshot(t.Context()))(t)
	defer snap.Close()
	var joined []MessageID
	got(readChanges(snap, before, func(c *change) bool {
		if c.kind == changeJoined {
			joined = c.ids
		}
		return true
	}))(t)
	if !slices.Equal(joined, []MessageID{younger.Thread, older.Thread}) {
		t.Errorf("logged %v", joined)
	}
}
