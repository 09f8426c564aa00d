package mailstore

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"postroad/imap"
	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
	"postroad/internal/mailflow"
)

// Copied is the result of Copy and Move: the COPYUID response code (RFC 9051, 7.1). Both
// sets are in ascending order and of the same count.
type Copied struct {
	UIDValidity  uint32 // of the destination
	Source, Dest imap.UIDSet
	ModSeq       uint64 // of the last commit; 0: there was nothing to do
}

// stagedTries is how often a staged COPY begins anew when others change its source.
const stagedTries = 10

// Copy copies messages with their flags into another mailbox (or the same), all or none
// (RFC 9051, 6.4.7). UIDs that are not there are passed over.
func (a *Account) Copy(ctx context.Context, from MailboxID, uids imap.UIDSet, to MailboxID) (*Copied, error) {
	var c *Copied
	err := a.commit(ctx, "copy", func(ctx context.Context, u *mailflow.Unit) (err error) {
		c, err = a.PrepareCopy(ctx, u, from, uids, to)
		return err
	})
	if errors.Is(err, ErrTooLarge) {
		c, err = a.copyStaged(ctx, from, uids, to)
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// PrepareCopy is Copy within a unit. ErrTooLarge when it is too much for one commit.
func (a *Account) PrepareCopy(ctx context.Context, u *mailflow.Unit, from MailboxID, uids imap.UIDSet, to MailboxID) (*Copied, error) {
	return a.prepareTransfer(ctx, u, from, uids, to, false)
}

// Move moves messages; each is in exactly one of the two mailboxes at every moment
// (RFC 9051, 6.4.8). Very many are moved in several commits.
func (a *Account) Move(ctx context.Context, from MailboxID, uids imap.UIDSet, to MailboxID) (*Copied, error) {
	all := &Copied{}
	err := a.inParts(ctx, from, uids, func(ctx context.Context, part imap.UIDSet) error {
		var c *Copied
		err := a.commit(ctx, "move", func(ctx context.Context, u *mailflow.Unit) (err error) {
			c, err = a.PrepareMove(ctx, u, from, part, to)
			return err
		})
		if err == nil {
			all.UIDValidity, all.ModSeq = c.UIDValidity, max(all.ModSeq, c.ModSeq)
			all.Source.AddSet(c.Source)
			all.Dest.AddSet(c.Dest)
		}
		return err
	})
	return all, err
}

// PrepareMove is Move within a unit. ErrTooLarge when it is too much for one commit.
func (a *Account) PrepareMove(ctx context.Context, u *mailflow.Unit, from MailboxID, uids imap.UIDSet, to MailboxID) (*Copied, error) {
	return a.prepareTransfer(ctx, u, from, uids, to, true)
}

func (a *Account) prepareTransfer(ctx context.Context, u *mailflow.Unit, from MailboxID, uids imap.UIDSet, to MailboxID, move bool) (*Copied, error) {
	w, err := a.begin(ctx, u)
	if err != nil {
		return nil, err
	}
	defer w.close()
	c, err := w.transfer(from, uids, to, move)
	if move {
		return c, storageError("move", err)
	}
	return c, storageError("copy", err)
}

// transfer enters messages of one mailbox into another one. With move they leave the
// first in the same commit. A move within one mailbox gives new UIDs.
func (w *work) transfer(from MailboxID, uids imap.UIDSet, to MailboxID, move bool) (*Copied, error) {
	if m := w.tree.ID(to); m == nil || m.Recovery != nil {
		return nil, fmt.Errorf("destination %s: %w", to, ErrNoMailbox)
	}
	chunks, uids, err := w.chunks(from, uids)
	if err != nil {
		return nil, err
	}
	var slots []*slot
	eachSlot(chunks, uids, func(_ *chunk, s *slot) {
		if s.live() {
			slots = append(slots, s)
		}
	})
	out := &Copied{UIDValidity: w.tree.ID(to).UIDValidity}
	if len(slots) == 0 {
		return out, nil
	}
	flags, err := w.translate(from, to)
	if err != nil {
		return nil, err
	}
	if _, err := w.mailbox(from); err != nil {
		return nil, err
	}
	if _, err := w.mailbox(to); err != nil {
		return nil, err
	}
	rows := make([]Row, len(slots))
	for i, s := range slots {
		rows[i] = s.Row
		if rows[i].Flags, err = flags(s.Flags); err != nil {
			return nil, err
		}
		out.Source.Add(s.UID)
	}
	if err := w.passRows(from, to, rows, move); err != nil {
		return nil, err
	}
	w.arrive(to, rows, out)
	if err := w.leave(from, to, chunks, slots, rows, move); err != nil {
		return nil, err
	}
	if move {
		w.makesRoom() // programs throw mail away so
		w.touch(from, to)
	} else {
		w.touch(to)
	}
	return out, nil
}

// arrive enters the rows into their new mailbox.
func (w *work) arrive(to MailboxID, rows []Row, out *Copied) {
	take := w.take(to, len(rows))
	w.enter(to, take, rows)
	w.entriesOf(to, take, rows)
	b := w.batch()
	logAdded(b, changeCopied, to, take, len(rows))
	var n tally
	for i := range rows {
		n.count(rows[i].Flags, rows[i].Size, 1)
	}
	n.add(b, to)
	w.u.After(w.a.space, func(r kv.Result) {
		first := uint32(r.Taken[take])
		out.Dest.AddRange(first, first+uint32(len(rows))-1)
		out.ModSeq = uint64(r.Version)
	})
}

// leave takes the slots out of their old mailbox, or, for a copy, guards that they are
// still there; then it pays for what the quota counts anew.
func (w *work) leave(from, to MailboxID, chunks []*chunk, slots []*slot, rows []Row, move bool) error {
	if move {
		for _, s := range slots {
			i, _ := slices.BinarySearchFunc(chunks, s.UID>>chunkBits, func(c *chunk, n uint32) int { return int(c.number) - int(n) })
			chunks[i].remove(s)
		}
		w.remove(from, chunks, slots)
		if w.counts(from) {
			return nil
		}
	} else {
		b := w.batch()
		for _, c := range chunks {
			b.Guards = append(b.Guards, c.guard())
		}
	}
	var octets int64
	for i := range rows {
		octets += int64(rows[i].Size)
	}
	return w.charge(octets, int64(len(rows)))
}

// counts tells whether the quota counts what is in a mailbox.
func (w *work) counts(mailbox MailboxID) bool { return w.tree.ID(mailbox).Recovery == nil }

// translate returns a function that turns flags of one mailbox into those of another:
// each has its own table of keywords.
func (w *work) translate(from, to MailboxID) (func(Flags) (Flags, error), error) {
	if from == to {
		return func(f Flags) (Flags, error) { return f, nil }, nil
	}
	raw, _, err := get(w.snap, key(keyKeywords, from))
	if err != nil {
		return nil, err
	}
	table, err := readKeywords(raw)
	if err != nil {
		return nil, err
	}
	var known Flags // looked up already: bits has where they are in the new table
	bits := make([]Flags, len(table))
	return func(f Flags) (Flags, error) {
		out := f & System
		for i := range table {
			k := Keyword(i)
			if f&k == 0 {
				continue
			}
			if known&k == 0 {
				b, err := w.keywords(to, table[i:i+1], true)
				if err != nil {
					return 0, err
				}
				bits[i], known = b, known|k
			}
			out |= bits[i]
		}
		return out, nil
	}, nil
}

// copyStaged copies more messages than a commit holds: blocks of entries are written
// under an id in y first, then one commit enters them all. That commit guards the
// source's HIGHESTMODSEQ instead of hundreds of chunks.
func (a *Account) copyStaged(ctx context.Context, from MailboxID, uids imap.UIDSet, to MailboxID) (*Copied, error) {
	for try := 0; ; try++ {
		s := &stagedCopy{a: a, id: a.store.o.Clock.Next(), from: from, to: to, uids: uids}
		out, err := s.run(ctx)
		if err == nil {
			return out, nil
		}
		if dropErr := a.dropStaged(context.WithoutCancel(ctx), s.id, true); dropErr != nil {
			a.store.o.Log.Warn("staged entries are left to the sweep", "account", a.id, "error", dropErr)
		}
		if !errors.Is(err, errChanged) {
			return nil, err
		}
		if try == stagedTries {
			return nil, storageError("copy", err)
		}
	}
}

// errChanged says that the source of a staged copy is not what it was.
var errChanged = errors.New("mailstore: changed meanwhile")

type stagedCopy struct {
	a        *Account
	id       hlc.ID
	from, to MailboxID
	uids     imap.UIDSet

	highest []byte // HIGHESTMODSEQ of the source, raw
	rows    []Row
	out     *Copied
}

func (s *stagedCopy) run(ctx context.Context) (*Copied, error) {
	if err := s.read(ctx); err != nil {
		return nil, err
	}
	if len(s.rows) == 0 {
		return s.out, nil
	}
	for at := 0; at < len(s.rows); {
		end := min(at+16*blockMax, len(s.rows))
		if err := s.stage(ctx, at, end); err != nil {
			return nil, err
		}
		at = end
	}
	return s.out, s.reveal(ctx)
}

// read reads the rows to be copied, in one snapshot.
func (s *stagedCopy) read(ctx context.Context) error {
	return s.a.commit(ctx, "copy", func(ctx context.Context, u *mailflow.Unit) error {
		w, err := s.a.begin(ctx, u)
		if err != nil {
			return err
		}
		defer w.close()
		box := w.tree.ID(s.to)
		if box == nil || box.Recovery != nil || w.tree.ID(s.from) == nil {
			return ErrNoMailbox
		}
		if w.watched(box) {
			return fmt.Errorf("%w: messages copied at once into %s", ErrLimit, box.Role)
		}
		s.out, s.rows = &Copied{UIDValidity: box.UIDValidity}, nil
		if s.highest, _, err = get(w.snap, key(keyHighest, s.from)); err != nil {
			return err
		}
		last, err := w.snap.Sequence(sequenceKey(s.from))
		if err != nil {
			return err
		}
		flags, err := w.translate(s.from, s.to)
		if err != nil {
			return err
		}
		for part, rest := cut(clip(s.uids, last), chunksMax); len(part) > 0; part, rest = cut(rest, chunksMax) {
			chunks, err := readChunks(w.snap, s.from, part, chunksMax)
			if err != nil {
				return err
			}
			eachSlot(chunks, part, func(_ *chunk, c *slot) {
				if !c.live() || err != nil {
					return
				}
				row := c.Row
				row.Flags, err = flags(c.Flags)
				s.rows = append(s.rows, row)
				s.out.Source.Add(c.UID)
			})
			if err != nil {
				return err
			}
		}
		return nil // commits new keywords of the destination, if any
	})
}

// stage writes some blocks.
func (s *stagedCopy) stage(ctx context.Context, from, to int) error {
	return s.a.commit(ctx, "stage entries", func(ctx context.Context, u *mailflow.Unit) error {
		w, err := s.a.begin(ctx, u)
		if err != nil {
			return err
		}
		defer w.close()
		if _, err := w.mailbox(s.to); err != nil {
			return err
		}
		b := w.quiet()
		for at := from; at < to; at += blockMax {
			rows := s.rows[at:min(at+blockMax, to)]
			freshRows(rows)
			b.Puts = append(b.Puts, kv.Put{Key: numberKey(keyStaged, s.id, uint32(at/blockMax)), Value: appendBlock(nil, rows)})
		}
		if from == 0 {
			b.Puts = append(b.Puts, kv.Put{Key: numberKey(keyPending, s.id, 0), Value: pendingValue(nil)})
		}
		return nil
	})
}

// reveal enters the staged blocks.
func (s *stagedCopy) reveal(ctx context.Context) error {
	return s.a.commit(ctx, "copy", func(ctx context.Context, u *mailflow.Unit) error {
		w, err := s.a.begin(ctx, u)
		if err != nil {
			return err
		}
		defer w.close()
		for _, id := range []MailboxID{s.from, s.to} {
			if _, err := w.mailbox(id); err != nil {
				return err
			}
		}
		k := key(keyHighest, s.from)
		highest, found, err := get(w.snap, k)
		if err != nil {
			return err
		}
		if string(highest) != string(s.highest) {
			return errChanged
		}
		b := w.batch()
		p := numberKey(keyPending, s.id, 0)
		b.Guards = append(b.Guards, guardValue(k, highest, found), kv.Guard{Kind: kv.GuardEquals, Key: p, Value: pendingValue(nil)})
		b.Deletes = append(b.Deletes, p)
		take := w.take(s.to, len(s.rows))
		for at := 0; at < len(s.rows); at += blockMax {
			b.Puts = append(b.Puts, kv.Put{Key: numberKey(keyEntry, s.to, 0), Value: stagedBlock(s.id, uint32(at/blockMax)),
				Places: []kv.Place{place(take, at, numberKeyOffset, false),
					{InValue: true, Offset: blockModSeqOffset, Width: 8, Version: true}}})
		}
		w.entriesOf(s.to, take, s.rows)
		logAdded(b, changeCopied, s.to, take, len(s.rows))
		var n tally
		for i := range s.rows {
			n.count(s.rows[i].Flags, s.rows[i].Size, 1)
		}
		n.add(b, s.to)
		if err := w.charge(n.octets, n.messages); err != nil {
			return err
		}
		w.touch(s.to)
		w.u.After(w.a.space, func(r kv.Result) {
			first := uint32(r.Taken[take])
			s.out.Dest = nil
			s.out.Dest.AddRange(first, first+uint32(len(s.rows))-1)
			s.out.ModSeq = uint64(r.Version)
		})
		return nil
	})
}
