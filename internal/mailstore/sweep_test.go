package mailstore

import (
	"fmt"
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
