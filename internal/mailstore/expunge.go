package mailstore

import (
	"context"

	"postroad/imap"
	"postroad/internal/kv"
	"postroad/internal/mailflow"
)

// Expunged is the result of Expunge.
type Expunged struct {
	ModSeq uint64 // of the last commit; 0: there was nothing to do
	UIDs   imap.UIDSet
}

// Expunge removes those of the messages that have \Deleted, or all of them when force is
// set (POP3, JMAP). Very many are removed in several commits.
func (a *Account) Expunge(ctx context.Context, mailbox MailboxID, uids imap.UIDSet, force bool) (*Expunged, error) {
	all := &Expunged{}
	err := a.inParts(ctx, mailbox, uids, func(ctx context.Context, part imap.UIDSet) error {
		var e *Expunged
		err := a.commit(ctx, "expunge", func(ctx context.Context, u *mailflow.Unit) (err error) {
			e, err = a.PrepareExpunge(ctx, u, mailbox, part, force)
			return err
		})
		if err == nil {
			all.ModSeq = max(all.ModSeq, e.ModSeq)
			all.UIDs.AddSet(e.UIDs)
		}
		return err
	})
	return all, err
}

// PrepareExpunge is Expunge within a unit.
func (a *Account) PrepareExpunge(ctx context.Context, u *mailflow.Unit, mailbox MailboxID, uids imap.UIDSet, force bool) (*Expunged, error) {
	w, err := a.begin(ctx, u)
	if err != nil {
		return nil, err
	}
	defer w.close()
	out, err := w.expunge(mailbox, uids, force)
	return out, storageError("expunge", err)
}

func (w *work) expunge(mailbox MailboxID, uids imap.UIDSet, force bool) (*Expunged, error) {
	chunks, uids, err := w.chunks(mailbox, uids)
	if err != nil {
		return nil, err
	}
	out := &Expunged{}
	var gone []*slot
	eachSlot(chunks, uids, func(k *chunk, s *slot) {
		if s.live() && (force || s.Flags&Deleted != 0) {
			k.remove(s)
			gone = append(gone, s)
			out.UIDs.Add(s.UID)
		}
	})
	if len(gone) == 0 {
		return out, nil
	}
	w.makesRoom()
	box, err := w.mailbox(mailbox)
	if err != nil {
		return nil, err
	}
	if err := w.pass(&Passing{From: box, Messages: idsOf(gone)}); err != nil {
		return nil, err
	}
	if w.keeps(mailbox) && !w.unasked {
		if err := w.setAside(mailbox, gone); err != nil {
			return nil, err
		}
	}
	n := w.remove(mailbox, chunks, gone)
	if w.tree.ID(mailbox).Recovery != nil {
		n = tally{} // the quota does not count it
	} else if err := w.logLeft(mailbox, gone); err != nil {
		return nil, err
	}
	if err := w.charge(n.octets, n.messages); err != nil {
		return nil, err
	}
	w.touch(mailbox)
	w.u.After(w.a.space, func(r kv.Result) { out.ModSeq = uint64(r.Version) })
	return out, nil
}

// remove writes that the slots are gone from the mailbox, and returns what that does to
// its counters.
func (w *work) remove(mailbox MailboxID, chunks []*chunk, gone []*slot) tally {
	w.putChunks(chunks)
	var n tally
	var uids imap.UIDSet
	for _, s := range gone {
		n.count(s.Flags, s.Size, -1)
		uids.Add(s.UID)
	}
	b := w.batch()
	n.add(b, mailbox)
	logSlots(b, changeVanished, mailbox, gone)
	w.garbage(garbageEntries, mailbox, uids)
	return n
}
