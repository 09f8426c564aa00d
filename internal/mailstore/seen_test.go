package mailstore

import (
	"context"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"postroad/imap"
	"postroad/internal/blob/memblob"
	"postroad/internal/kv/memkv"
)

// as lists a mailbox as a reader has it: "uid:flags" words.
func (f *fixture) as(name string, r AccountID) string {
	f.Helper()
	v := got(f.a.ViewAs(f.Context(), f.box(name).ID, r))(f)
	defer v.Close()
	s := got(v.Snapshot(f.Context()))(f)
	out := ""
	for _, row := range s.Rows(0, s.Len()) {
		out += fmt.Sprintf("%d:%s ", row.UID, row.Flags.Append(nil, s.Keywords()))
	}
	st := got(f.a.StatusAs(f.Context(), r, f.box(name).ID))(f)[0]
	if st.HighestModSeq != s.HighestModSeq() {
		f.Errorf("reader %v: STATUS has HIGHESTMODSEQ %d, SELECT %d", r, st.HighestModSeq, s.HighestModSeq())
	}
	return fmt.Sprintf("%sunseen %d", out, st.Unseen)
}

func TestSeenOfReaders(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	box := f.box("INBOX").ID
	f.append("INBOX", 2, Seen)
	f.append("INBOX", 1, Flagged)
	store := func(r AccountID, uids string, c FlagChange) *Stored {
		c.Reader = r
		return got(f.a.StoreFlags(ctx, box, set(uids), c))(t)
	}
	f.want("owner", f.as("INBOX", f.a.ID()), `1:\Seen 2:\Seen 3:\Flagged unseen 1`)
	f.want("7 at first", f.as("INBOX", 7), `1: 2: 3:\Flagged unseen 3`)

	before := f.snapshot("INBOX")
	s := store(7, "2:9", FlagChange{Mode: FlagsAdd, Flags: Seen})
	f.want("changed", s.Changed.String(), "2:3")
	f.want("7", f.as("INBOX", 7), `1: 2:\Seen 3:\Seen \Flagged unseen 1`)
	f.want("8", f.as("INBOX", 8), `1: 2: 3:\Flagged unseen 3`)
	f.want("owner still", f.as("INBOX", 0), `1:\Seen 2:\Seen 3:\Flagged unseen 1`)
	after := f.snapshot("INBOX")
	if after.HighestModSeq() != before.HighestModSeq() || after.Row(2).ModSeq != before.Row(2).ModSeq {
		t.Error("the owner's mod-sequences moved when a reader read")
	}

	f.want("again", store(7, "2", FlagChange{Mode: FlagsAdd, Flags: Seen}).Same.String(), "2")
	old := s.ModSeq
	f.want("conditional", store(7, "1:3", FlagChange{Mode: FlagsRemove, Flags: Seen, Conditional: true, UnchangedSince: old - 1}).Modified.String(), "2:3")
	store(7, "3", FlagChange{Mode: FlagsReplace, Flags: Answered, Keywords: []string{"k"}})
	f.want("replaced", f.as("INBOX", 7), `1: 2:\Seen 3:\Answered k unseen 2`)
	f.want("the rest is for all", f.as("INBOX", 0), `1:\Seen 2:\Seen 3:\Answered k unseen 1`)
	store(7, "1", FlagChange{Mode: FlagsReplace, Flags: Seen | Deleted | Flagged, Keep: Deleted | KeywordFlags, Keywords: []string{"new"}})
	f.want("kept", f.as("INBOX", 7), `1:\Seen \Flagged 2:\Seen 3:\Answered k unseen 1`)
	f.want("no keyword is made", fmt.Sprint(f.snapshot("INBOX").Keywords()), "[k]")

	got(f.a.Expunge(ctx, box, set("1"), true))(t)
	f.want("after EXPUNGE", f.as("INBOX", 7), `2:\Seen 3:\Answered k unseen 1`)
	must(t, f.a.Sweep(ctx))
	f.want("after the sweep", f.as("INBOX", 7), `2:\Seen 3:\Answered k unseen 1`)
	f.append("INBOX", 1, 0)
	f.want("a new one", f.as("INBOX", 7), `2:\Seen 3:\Answered k 4: unseen 2`)
	f.sound()
}

// readerModel is what a plain map knows of a reader.
type readerModel struct {
	id      AccountID
	seen    map[uint32]bool
	view    *View
	told    *Snapshot
	highest uint64
}

// TestReadersModel: random changes by an owner and two readers, through two stores; each
// sees what the model says, and learns it from mod-sequences alone.
func TestReadersModel(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		ctx := context.Background()
		engine, blobs := memkv.New(), memblob.New()
		var accounts [2]*Account
		for i := range accounts {
			s := newStore(t, engine, blobs)
			if i == 0 {
				must(t, s.Create(ctx, 1, Quota{}))
			}
			accounts[i] = got(s.Account(ctx, 1))(t)
		}
		m := &readersModel{r: r, accounts: accounts, rows: map[uint32]Flags{}, box: got(accounts[0].Inbox(ctx))(t)}
		for i, id := range []AccountID{0, 7, 8} {
			v := got(accounts[i%2].ViewAs(ctx, m.box, id))(t)
			defer v.Close()
			m.readers = append(m.readers, &readerModel{id: id, seen: map[uint32]bool{}, view: v, told: got(v.Snapshot(ctx))(t)})
		}
		for range rapid.IntRange(1, 30).Draw(r, "steps") {
			m.step(t)
			for _, who := range m.readers {
				if rapid.Bool().Draw(r, "looks") {
					m.look(who)
				}
			}
		}
		for _, who := range m.readers {
			m.look(who)
		}
	})
}

type readersModel struct {
	r        *rapid.T
	accounts [2]*Account
	box      MailboxID
	next     uint32
	rows     map[uint32]Flags // without \Seen
	readers  []*readerModel
}

func (m *readersModel) uids() imap.UIDSet {
	first := rapid.Uint32Range(1, m.next+2).Draw(m.r, "first")
	return imap.UIDSet{{First: first, Last: first + rapid.Uint32Range(0, 700).Draw(m.r, "more")}}
}

// step does one thing.
func (m *readersModel) step(t *testing.T) {
	ctx := context.Background()
	a := m.accounts[rapid.IntRange(0, 1).Draw(m.r, "store")]
	switch rapid.IntRange(0, 5).Draw(m.r, "what") {
	case 0:
		seen := rapid.Bool().Draw(m.r, "seen")
		n := rapid.IntRange(1, 3).Draw(m.r, "n")
		if rapid.IntRange(0, 9).Draw(m.r, "many") == 0 { // over the bounds of chunks
			n = 600
		}
		var in []*Incoming
		for i := range n {
			one := stage(t, a.store, fmt.Sprintf("Subject: %d\r\n\r\n", i))
			if seen {
				one.Flags = Seen
			}
			in = append(in, one)
		}
		for _, added := range got(a.Append(ctx, m.box, in...))(t) {
			m.rows[added.UID], m.readers[0].seen[added.UID], m.next = 0, seen, added.UID
		}
	case 1:
		for uid := range got(a.Expunge(ctx, m.box, m.uids(), true))(t).UIDs.All() {
			delete(m.rows, uid)
		}
	default:
		who := m.readers[rapid.IntRange(0, 2).Draw(m.r, "who")]
		c := FlagChange{Mode: StoreMode(rapid.IntRange(0, 2).Draw(m.r, "mode")), Reader: who.id,
			Flags: rapid.SampledFrom([]Flags{Seen, Flagged, Seen | Flagged, 0}).Draw(m.r, "flags")}
		if rapid.Bool().Draw(m.r, "keeps") {
			c.Keep = Flagged
		}
		uids := m.uids()
		got(a.StoreFlags(ctx, m.box, uids, c))(t)
		for uid, flags := range m.rows {
			if !uids.Contains(uid) {
				continue
			}
			if who.seen[uid] {
				flags |= Seen
			}
			flags = c.result(flags, c.Flags)
			m.rows[uid], who.seen[uid] = flags&^Seen, flags&Seen != 0
		}
	}
}

// look compares what a reader has with the model, and that his mod-sequences told him.
func (m *readersModel) look(who *readerModel) {
	ctx := context.Background()
	now, err := who.view.Snapshot(ctx)
	if err != nil {
		m.r.Fatal(err)
	}
	if now.Len() != len(m.rows) {
		m.r.Fatalf("reader %v: %d messages, want %d", who.id, now.Len(), len(m.rows))
	}
	unseen := 0
	for _, row := range now.Rows(0, now.Len()) {
		want := m.rows[row.UID]
		if who.seen[row.UID] {
			want |= Seen
		} else {
			unseen++
		}
		if row.Flags != want {
			m.r.Fatalf("reader %v, UID %d: flags %b, want %b", who.id, row.UID, row.Flags, want)
		}
		if row.ModSeq > now.HighestModSeq() {
			m.r.Fatalf("reader %v, UID %d: mod-sequence %d above %d", who.id, row.UID, row.ModSeq, now.HighestModSeq())
		}
		if i, there := who.told.Index(row.UID); there && who.told.Row(i).Flags != row.Flags && row.ModSeq <= who.highest {
			m.r.Fatalf("reader %v, UID %d: changed without a mod-sequence above %d", who.id, row.UID, who.highest)
		}
	}
	if now.HighestModSeq() < who.highest {
		m.r.Fatalf("reader %v: HIGHESTMODSEQ fell from %d to %d", who.id, who.highest, now.HighestModSeq())
	}
	told, _ := who.told.Advance(now, false)
	if told != now {
		m.r.Fatalf("reader %v: Advance holds something back", who.id)
	}
	who.told, who.highest = now, now.HighestModSeq()
	st, err := m.accounts[0].StatusAs(ctx, who.id, m.box)
	if err != nil || int(st[0].Unseen) != unseen || int(st[0].Messages) != len(m.rows) || st[0].HighestModSeq != now.HighestModSeq() {
		m.r.Fatalf("reader %v: status %+v, %v; want %d unseen of %d", who.id, st, err, unseen, len(m.rows))
	}
}

// TestOverlayShares: of a large mailbox a reader copies only the segment he reads in.
func TestOverlayShares(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	f.append("INBOX", 3*segmentMax, 0)
	box := f.box("INBOX").ID
	v := got(f.a.ViewAs(ctx, box, 7))(t)
	defer v.Close()
	got(f.a.StoreFlags(ctx, box, set("1500"), FlagChange{Mode: FlagsAdd, Flags: Seen, Reader: 7}))(t)
	base, mine := f.snapshot("INBOX"), got(v.Snapshot(ctx))(t)
	for i, g := range base.segments {
		if shared := g == mine.segments[i]; shared != (i != 1) {
			t.Errorf("segment %d: shared %v", i, shared)
		}
	}
	if &base.segments[1].uid[0] != &mine.segments[1].uid[0] || &base.segments[1].flags[0] == &mine.segments[1].flags[0] {
		t.Error("the columns of the segment that differs")
	}
}

func FuzzReadSeen(f *testing.F) {
	c := &seenState{}
	for i := range 40 {
		c.slots[i*3] = seenSlot{stated: true, seen: i%2 == 0, modseq: uint64(i * 7)}
	}
	f.Add(uint32(0), c.put().Value)
	f.Add(uint32(9), []byte{format1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 3})
	f.Fuzz(func(t *testing.T, n uint32, v []byte) {
		n &= 1<<(32-seenBits) - 1
		before, count := int64(-1), 0
		err := readSeenChunk(n, v, func(r seenRun) {
			if int64(r.first) <= before || r.last < r.first || r.last>>seenBits != n {
				t.Fatalf("run %+v behind %d", r, before)
			}
			before = int64(r.last)
			count++
		})
		if err == nil && count > seenChunk {
			t.Errorf("%d runs", count)
		}
	})
}
