package mailstore

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"postroad/imap"
	"postroad/internal/kv"
)

// write adds all that was taken in to the unit.
func (s *setting) write() error {
	var touched []MailboxID
	expunged := false
	for _, id := range slices.Sorted(maps.Keys(s.boxes)) {
		b := s.boxes[id]
		changed, err := s.writeBox(b)
		if err != nil {
			return err
		}
		if changed {
			touched = append(touched, id)
		}
		if len(b.expunged) > 0 && s.keeps(id) {
			sortSlots(b.expunged)
			if err := s.setAside(id, b.expunged); err != nil {
				return err
			}
		}
		if len(b.expunged) > 0 {
			if err := s.logLeft(id, b.expunged); err != nil {
				return err
			}
		}
		expunged = expunged || len(b.gone) > 0
	}
	if len(touched) > 0 {
		s.touch(touched...)
	}
	if expunged {
		s.makesRoom()
	}
	if s.paid == (tally{}) {
		return nil
	}
	return s.charge(s.paid.octets, s.paid.messages)
}

func sortSlots(list []*slot) {
	slices.SortFunc(list, func(a, b *slot) int { return cmp.Compare(a.UID, b.UID) })
}

// writeBox writes what changes in one mailbox, and tells whether that is anything that all
// its readers see.
func (s *setting) writeBox(b *setBox) (changed bool, err error) {
	changed = len(b.flagged)+len(b.gone)+len(b.came) > 0
	relied := false
	for _, n := range slices.Sorted(maps.Keys(b.chunks)) {
		c, batch := b.chunks[n], s.batchOf(changed)
		if c.changed || c.guarded {
			relied = true
			batch.Guards = append(batch.Guards, c.guard())
		}
		if c.changed {
			batch.Puts = append(batch.Puts, c.put())
		}
	}
	if changed || relied || len(b.read) > 0 {
		if _, err := s.mailbox(b.id); err != nil {
			return false, err
		}
	}
	s.writeSeen(b)
	if !changed {
		return false, nil
	}
	sortSlots(b.flagged)
	sortSlots(b.gone)
	batch := s.batch()
	b.tally.add(batch, b.id)
	logSlots(batch, changeFlags, b.id, b.flagged)
	logSlots(batch, changeVanished, b.id, b.gone)
	if len(b.gone) > 0 {
		var uids imap.UIDSet
		for _, g := range b.gone {
			uids.Add(g.UID)
		}
		s.garbage(garbageEntries, b.id, uids)
	}
	if len(b.came) > 0 {
		b.copied = &Copied{}
		s.arrive(b.id, b.came, b.copied)
	}
	return true, nil
}

// batchOf is the unit's batch for what moves the version, or need not.
func (s *setting) batchOf(moves bool) *kv.Batch {
	if moves {
		return s.batch()
	}
	return s.quiet()
}

// writeSeen writes what the reader has read in a mailbox, or not.
func (s *setting) writeSeen(b *setBox) {
	if len(b.read) == 0 {
		return
	}
	batch := s.batch()
	for _, n := range slices.Sorted(maps.Keys(b.own)) {
		if c := b.own[n]; c.changed {
			batch.Guards = append(batch.Guards, guardValue(c.key, c.raw, c.found))
			batch.Puts = append(batch.Puts, c.put())
		}
	}
	s.seenBy(b.id, s.reader)
	logSeen(batch, b.id, s.reader, b.read)
}

// see gives the reader his \Seen of messages that have come to other mailboxes, whose UIDs
// are known now.
func (s *setting) see(ctx context.Context) {
	for _, id := range slices.Sorted(maps.Keys(s.boxes)) {
		b := s.boxes[id]
		if !slices.Contains(b.seen, true) {
			continue
		}
		var uids imap.UIDSet
		i := 0
		for uid := range b.copied.Dest.All() {
			if b.seen[i] {
				uids.Add(uid)
			}
			i++
		}
		if _, err := s.a.StoreFlags(ctx, id, uids, FlagChange{Mode: FlagsAdd, Flags: Seen, Reader: s.reader}); err != nil {
			s.a.store.o.Log.Warn("what a reader has read of messages that were moved is not marked", "account", s.a.id, "error", err)
		}
	}
}
