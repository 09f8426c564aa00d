package mailstore

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"postroad/imap"
	"postroad/internal/kv"
)

// entries lists the UIDs of the rows that a mailbox's blocks hold, gone ones included.
func (f *fixture) entries(name string) (uids []uint32) {
	f.Helper()
	snap := got(f.a.snapshot(f.Context()))(f)
	defer snap.Close()
	for e, err := range snap.Scan(kv.Prefix(key(keyEntry, f.box(name).ID))) {
		must(f, err)
		first, _ := keyNumber(e.Key)
		must(f, readBlock(snap, first, e.Value, func(r *Row) { uids = append(uids, r.UID) }))
	}
	return uids
}

// Messages expunged in several stretches of one block are more than a commit of the sweep
// takes, wherever in the block it gets full. Each entry is stored once all the same, and
// none that is gone stays.
func TestSweepStretchesOfOneBlock(t *testing.T) {
	const block, apart = 60, 6
	for n := uint32(sweepRows); n <= block-2*apart; n++ {
		t.Run(fmt.Sprintf("first %d", n), func(t *testing.T) {
			f := newFixture(t)
			inbox := f.box("INBOX").ID
			got(f.a.Append(t.Context(), inbox, f.messages(block, 0)...))(t)
			uids := imap.UIDSet{{First: 1, Last: n}}
			for i := range uint32(apart) {
				uids.Add(n + 2*i + 2)
			}
			got(f.a.Expunge(t.Context(), inbox, uids, true))(t)
			must(t, f.a.Sweep(t.Context()))
			var want []uint32
			for uid := range uint32(block) {
				if !uids.Contains(uid + 1) {
					want = append(want, uid+1)
				}
			}
			f.want("entries", fmt.Sprint(f.entries("INBOX")), fmt.Sprint(want))
			f.sound()
			f.nothingLeftButEntries(len(want))
		})
	}
}

// Blocks as an older sweep left them, with entries that are in two: Check tells of it, readers
// see each message once, and packing, which reading asks for, mends them.
func TestDoubledEntriesAreMended(t *testing.T) {
	for _, c := range []struct {
		name   string
		packed bool   // the two blocks were made one since
		gone   string // expunged since
		want   string // UIDs
	}{
		{"two blocks", false, "", "21:23,25:42"},
		{"one block", true, "", "21:23,25:42"},
		{"two blocks, swept since", false, "22,30", "21,23,25:29,31:42"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			inbox := f.box("INBOX").ID
			got(f.a.Append(t.Context(), inbox, f.messages(40, 0)...))(t)
			f.append("INBOX", 2, 0)
			whole := f.block(inbox, 1)
			f.expunge("INBOX", "1:20,24")
			must(t, f.a.Sweep(t.Context()))
			b := kv.Batch{Space: f.a.space}
			rows := whole[16:]
			if c.packed {
				b.Deletes = append(b.Deletes, numberKey(keyEntry, inbox, 21))
				rows = slices.Concat(rows, f.block(inbox, 21))
			}
			b.Puts = append(b.Puts, kv.Put{Key: numberKey(keyEntry, inbox, 17), Value: appendBlock(nil, rows)})
			got(f.s.engine().Commit(t.Context(), b))(t)
			if c.gone != "" {
				f.expunge("INBOX", c.gone)
				must(t, f.a.Sweep(t.Context()))
			}

			var found []string
			must(t, f.a.Check(t.Context(), false, func(x Finding) { found = append(found, x.Text) }))
			if all := strings.Join(found, "\n"); !strings.Contains(all, "UID behind 40") || !strings.Contains(all, "counters say") {
				t.Errorf("check found %q", found)
			}
			f.s.accounts = map[AccountID]*Account{} // what is in memory was read before
			f.a = got(f.s.Account(t.Context(), 1))(t)
			s := f.snapshot("INBOX")
			if uids := s.UIDs(0, s.Len()); uids.String() != c.want || uint64(s.Len()) != uids.Count() {
				t.Errorf("%d messages, UIDs %v, want %s", s.Len(), uids, c.want)
			}
			must(t, f.a.Sweep(t.Context()))
			if uids := f.entries("INBOX"); len(uids) != 42-16 || !slices.IsSorted(uids) || len(slices.Compact(uids)) != 42-16 {
				t.Errorf("entries %v", uids)
			}
			f.sound()
		})
	}
}

// block reads a stored block.
func (f *fixture) block(mailbox MailboxID, first uint32) (rows []Row) {
	f.Helper()
	snap := got(f.a.snapshot(f.Context()))(f)
	defer snap.Close()
	v := got(snap.Get(numberKey(keyEntry, mailbox, first)))(f)
	must(f, readBlock(snap, first, v, func(r *Row) { rows = append(rows, *r) }))
	return rows
}
