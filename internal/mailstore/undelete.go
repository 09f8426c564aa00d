package mailstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"postroad/imap"
	"postroad/internal/kv"
)

// setMailboxAside makes a mailbox that is being deleted a recoverable one. It gets another
// UIDVALIDITY, by which those who have it open see that theirs is gone.
func (g *grow) setMailboxAside(m *Mailbox) {
	g.validity = g.a.store.validity(g.validity)
	aside := &Mailbox{ID: m.ID, UIDValidity: g.validity,
		Recovery: &Recovery{Deleted: true, Name: m.Name, Role: m.Role, At: time.Now()}}
	b := g.batch()
	b.Puts = append(b.Puts, kv.Put{Key: aside.key(), Value: aside.recoverableRecord()})
}

// keepName writes down what a mailbox that is being deleted was called last, for what was
// expunged from it before.
func (g *grow) keepName(m *Mailbox) {
	if before := g.tree.ID(m.ID | recoverableBit); before != nil {
		b := g.batch()
		b.Puts = append(b.Puts, kv.Put{Key: before.key(), Value: before.recoverableRecord()})
	}
}

// Undeleted is what Undelete brought back.
type Undeleted struct {
	Mailbox  *Mailbox // where the messages are now
	Messages int
	ModSeq   uint64 // of the last commit; 0 when a deleted mailbox came back as a whole
}

// Undelete brings messages of a recoverable mailbox back to where they were: to the end of
// the mailbox, with the flags and internal dates that they had. A mailbox that is no longer
// there is made again; a deleted one comes back as it was, with another UIDVALIDITY
// (RFC 9051, 2.3.1.1), when all of it is asked for and nobody has its name. Each message is
// back or to be brought back at every moment, never both, so what was interrupted is just
// called again. ErrNoMailbox, ErrOverQuota.
func (a *Account) Undelete(ctx context.Context, from MailboxID, uids imap.UIDSet) (*Undeleted, error) {
	t, err := a.Tree(ctx)
	if err != nil {
		return nil, err
	}
	m := t.ID(from)
	if m == nil || m.Recovery == nil {
		return nil, fmt.Errorf("undelete: mailbox %s: %w", from, ErrNoMailbox)
	}
	to := a.cameFrom(t, m)
	if to == nil && m.Recovery.Deleted && isAll(uids) {
		out, err := a.undeleteMailbox(ctx, m)
		if !errors.Is(err, ErrExists) {
			return out, err
		}
	}
	if to == nil {
		to, err = a.CreateMailbox(ctx, m.Recovery.Name, "")
		if errors.Is(err, ErrExists) {
			return a.Undelete(ctx, from, uids) // somebody made it meanwhile
		}
		if err != nil {
			return nil, err
		}
	}
	moved, err := a.Move(ctx, from, uids, to.ID)
	out := &Undeleted{Mailbox: to}
	if moved != nil {
		out.Messages, out.ModSeq = int(moved.Source.Count()), moved.ModSeq
	}
	if err == nil && m.Recovery.Deleted {
		err = a.forgetEmpty(ctx, from)
	}
	return out, err
}

// AllUIDs names every message of a mailbox.
func AllUIDs() imap.UIDSet { return imap.UIDSet{{First: 1, Last: ^uint32(0)}} }

func isAll(s imap.UIDSet) bool { return len(s) == 1 && s[0] == AllUIDs()[0] }

// cameFrom is the mailbox that has what a recoverable one is named after, nil when there
// is none: the one with its id, else that of its name.
func (a *Account) cameFrom(t *Tree, m *Mailbox) *Mailbox {
	if at := t.ID(m.ID &^ recoverableBit); at != nil && at.Recovery == nil {
		return at
	}
	return t.byName[m.Recovery.Name]
}

// undeleteMailbox gives a deleted mailbox its name back, in one commit. ErrExists when
// another one has the name.
func (a *Account) undeleteMailbox(ctx context.Context, m *Mailbox) (*Undeleted, error) {
	var back *Mailbox
	var n tally
	err := a.changeTree(ctx, "undelete a mailbox", func(g *grow) error {
		now := g.tree.ID(m.ID)
		if now == nil || now.Recovery == nil {
			return ErrNoMailbox
		}
		if g.find(now.Recovery.Name) != nil {
			return fmt.Errorf("mailbox %q: %w", now.Recovery.Name, ErrExists)
		}
		var err error
		if n, err = g.guardTally(m.ID); err != nil {
			return err
		}
		if back, err = g.createAs(now.Recovery.Name, m.ID); err != nil {
			return err
		}
		if role := now.Recovery.Role; role != "" && g.tree.Role(role) == nil {
			if err := g.role(back, role); err != nil {
				return err
			}
		}
		s := &Snapshot{account: a, mailbox: m.ID}
		if err := s.load(g.snap); err != nil {
			return err
		}
		s.count()
		b := g.batch()
		b.Deletes = append(b.Deletes, key(keyRecoverable, m.ID))
		logThere(b, m.ID, s)
		g.touch(m.ID)
		return g.charge(n.octets, n.messages)
	})
	if err != nil {
		return nil, err
	}
	return &Undeleted{Mailbox: back, Messages: int(n.messages)}, nil
}

// guardTally reads the counters of a mailbox and guards, by its HIGHESTMODSEQ, that they
// are those at the commit.
func (g *grow) guardTally(id MailboxID) (tally, error) {
	k := key(keyHighest, id)
	highest, found, err := get(g.snap, k)
	if err != nil {
		return tally{}, err
	}
	b := g.batch()
	b.Guards = append(b.Guards, guardValue(k, highest, found))
	return readTally(g.snap, id)
}

// forgetEmpty takes away the record of a recoverable mailbox that nothing is in and that
// nothing will come to any more.
func (a *Account) forgetEmpty(ctx context.Context, id MailboxID) error {
	return a.changeTree(ctx, "forget a deleted mailbox", func(g *grow) error {
		m := g.tree.ID(id)
		if m == nil || m.Recovery == nil || g.awaitsMore(m) {
			return nil
		}
		n, err := g.guardTally(id)
		if err != nil {
			return err
		}
		if n.messages == 0 {
			g.forget(m, n)
		}
		return nil
	})
}

// awaitsMore tells whether messages may still be expunged into a recoverable mailbox.
func (g *grow) awaitsMore(m *Mailbox) bool {
	return !m.Recovery.Deleted && g.tree.ID(m.ID&^recoverableBit) != nil
}

// forget takes a recoverable mailbox away with all that is in it.
func (g *grow) forget(m *Mailbox, n tally) {
	b := g.batch()
	b.Guards = append(b.Guards, kv.Guard{Kind: kv.GuardPresent, Key: m.key()})
	b.Deletes = append(b.Deletes, m.key())
	g.discard(m, n)
	logMailbox(b, m.ID)
}

// RecoverableStatus is what one recoverable mailbox holds.
type RecoverableStatus struct {
	*Mailbox
	Status
}

// Recoverables lists what can be brought back, without empty mailboxes.
func (a *Account) Recoverables(ctx context.Context) ([]RecoverableStatus, error) {
	snap, err := a.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	defer snap.Close()
	t, err := a.treeAt(snap)
	if err != nil {
		return nil, storageError("read the mailboxes", err)
	}
	var all []RecoverableStatus
	for _, m := range t.recoverable {
		s, err := readStatus(snap, m)
		if err != nil {
			return nil, storageError("status of mailbox "+m.ID.String(), err)
		}
		if s.Messages > 0 {
			all = append(all, RecoverableStatus{m, s})
		}
	}
	return all, nil
}

// ExpungedAt is when a message of a recoverable mailbox came there.
func (m *Mailbox) ExpungedAt(r *Row) time.Time {
	if m.Recovery != nil && m.Recovery.Deleted {
		return m.Recovery.At
	}
	return time.Unix(r.SaveDate, 0)
}

// purge takes away what has been recoverable for long enough, and the oldest above the
// bound: all of it while the disk is nearly full, or deleting would free nothing.
func (a *Account) purge(ctx context.Context, now time.Time) error {
	all, err := a.Recoverables(ctx)
	if err != nil {
		return err
	}
	var octets int64
	for i := range all {
		octets += all[i].Size
	}
	limit := now.Add(-a.store.o.Undelete)
	for i := range all {
		n, err := a.purgeBefore(ctx, all[i].Mailbox, limit)
		if err != nil {
			return err
		}
		octets -= n
	}
	if a.store.o.DiskFull != nil && octets > 0 && a.store.o.DiskFull() {
		return a.PurgeAll(ctx)
	}
	if most := a.store.o.UndeleteBytes; most > 0 && octets > most {
		return a.purgeOldest(ctx, octets-most)
	}
	return a.forgetAll(ctx)
}

// purgeBefore purges what came to a recoverable mailbox before a time, and returns how
// many octets that were. A deleted mailbox goes as a whole.
func (a *Account) purgeBefore(ctx context.Context, m *Mailbox, limit time.Time) (int64, error) {
	if m.Recovery.Deleted {
		if m.Recovery.At.After(limit) {
			return 0, nil
		}
		return a.purgeMailbox(ctx, m.ID)
	}
	var octets int64
	var uids imap.UIDSet
	err := a.eachRecoverable(ctx, m, func(r *Row) bool {
		old := !m.ExpungedAt(r).After(limit)
		if old {
			octets += int64(r.Size)
			uids.Add(r.UID)
		}
		return old
	})
	if err != nil || len(uids) == 0 {
		return 0, err
	}
	_, err = a.Expunge(ctx, m.ID, uids, true)
	return octets, err
}

// eachRecoverable calls f for the messages of a recoverable mailbox, oldest first, until it
// returns false.
func (a *Account) eachRecoverable(ctx context.Context, m *Mailbox, f func(*Row) bool) error {
	v, err := a.View(ctx, m.ID)
	if errors.Is(err, ErrNoMailbox) {
		return nil
	}
	if err != nil {
		return err
	}
	defer v.Close()
	s, err := v.Snapshot(ctx)
	if err != nil {
		return err
	}
	for _, row := range s.Rows(0, s.Len()) {
		if !f(&row) {
			break
		}
	}
	return nil
}

// purgeMailbox purges a deleted mailbox.
func (a *Account) purgeMailbox(ctx context.Context, id MailboxID) (octets int64, err error) {
	err = a.changeTree(ctx, "purge a deleted mailbox", func(g *grow) error {
		octets = 0
		m := g.tree.ID(id)
		if m == nil || m.Recovery == nil {
			return nil
		}
		n, err := g.guardTally(id)
		if err != nil {
			return err
		}
		octets = n.octets
		g.forget(m, n)
		return nil
	})
	return octets, err
}

// purgeOldest purges at least so many octets, the oldest first.
func (a *Account) purgeOldest(ctx context.Context, over int64) error {
	for over > 0 {
		all, err := a.Recoverables(ctx)
		if err != nil || len(all) == 0 {
			return err
		}
		var oldest *Mailbox
		var at time.Time
		for i := range all {
			m := all[i].Mailbox
			err := a.eachRecoverable(ctx, m, func(r *Row) bool {
				if t := m.ExpungedAt(r); oldest == nil || t.Before(at) {
					oldest, at = m, t
				}
				return false
			})
			if err != nil {
				return err
			}
		}
		if oldest == nil {
			return nil
		}
		n, err := a.purgeBefore(ctx, oldest, at)
		if err != nil {
			return err
		}
		if n == 0 {
			return nil // somebody else took it
		}
		over -= n
	}
	return a.forgetAll(ctx)
}

// forgetAll forgets the recoverable mailboxes that are of no use any more.
func (a *Account) forgetAll(ctx context.Context) error {
	t, err := a.Tree(ctx)
	if err != nil {
		return err
	}
	for _, m := range t.recoverable {
		if m.Recovery.Deleted || t.ID(m.ID&^recoverableBit) == nil {
			if err := a.forgetEmpty(ctx, m.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

// PurgeAll purges all that could be brought back, before its time.
func (a *Account) PurgeAll(ctx context.Context) error {
	all, err := a.Recoverables(ctx)
	if err != nil {
		return err
	}
	for i := range all {
		if _, err := a.purgeBefore(ctx, all[i].Mailbox, time.Now().Add(time.Second)); err != nil {
			return err
		}
	}
	return a.forgetAll(ctx)
}

// Undeletes tells whether what is deleted can be brought back.
func (s *Store) Undeletes() bool { return s.o.Undelete > 0 }

// RecoverableSince names the messages of a recoverable mailbox that came there at a time or
// after it; the zero time is all of them, as AllUIDs.
func (a *Account) RecoverableSince(ctx context.Context, m *Mailbox, since time.Time) (imap.UIDSet, error) {
	if since.IsZero() || m.Recovery.Deleted && !m.Recovery.At.Before(since) {
		return AllUIDs(), nil
	}
	var uids imap.UIDSet
	err := a.eachRecoverable(ctx, m, func(r *Row) bool {
		if !m.ExpungedAt(r).Before(since) {
			uids.Add(r.UID)
		}
		return true
	})
	return uids, err
}
