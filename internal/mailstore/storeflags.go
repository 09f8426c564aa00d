package mailstore

import (
	"context"
	"errors"

	"postroad/imap"
	"postroad/internal/kv"
	"postroad/internal/mailflow"
)

// StoreMode says what StoreFlags does with the flags given.
type StoreMode uint8

// The modes of STORE (RFC 9051, 6.4.6).
const (
	FlagsReplace StoreMode = iota
	FlagsAdd
	FlagsRemove
)

// FlagChange is what StoreFlags does.
type FlagChange struct {
	Mode           StoreMode
	Flags          Flags    // system flags
	Keywords       []string // made known to the mailbox where they are new (not by FlagsRemove)
	UnchangedSince uint64   // only messages whose mod-sequence is not above it (RFC 7162, 3.1.3), if Conditional
	Conditional    bool

	Keep   Flags     // stay as they are, whatever Mode: [KeywordFlags] for all keywords
	Reader AccountID // whose \Seen is meant, in a mailbox of somebody else; 0: the owner's
}

// result returns what a change makes of flags; given are its flags as bits.
func (c *FlagChange) result(flags, given Flags) Flags {
	changed := given
	switch c.Mode {
	case FlagsAdd:
		changed = flags | given
	case FlagsRemove:
		changed = flags &^ given
	}
	return changed&^c.Keep | flags&c.Keep
}

// Stored is the result of StoreFlags.
type Stored struct {
	ModSeq   uint64      // of those changed; 0: none were
	Changed  imap.UIDSet // whose flags are other than before
	Same     imap.UIDSet // had those flags already, and keep their mod-sequence
	Modified imap.UIDSet // refused by UnchangedSince: the MODIFIED response code
}

// chunksMax is how many chunks of UIDs one commit changes: with the largest states and
// the most scattered entries they stay within kv.BatchMax nearly always; where not,
// inParts halves them.
const chunksMax = 100

// StoreFlags changes flags. UIDs that are not there are passed over. Very many are
// changed in several commits, each message in one.
func (a *Account) StoreFlags(ctx context.Context, mailbox MailboxID, uids imap.UIDSet, c FlagChange) (*Stored, error) {
	all := &Stored{}
	err := a.inParts(ctx, mailbox, uids, func(ctx context.Context, part imap.UIDSet) error {
		var s *Stored
		err := a.commit(ctx, "store flags", func(ctx context.Context, u *mailflow.Unit) (err error) {
			s, err = a.PrepareStoreFlags(ctx, u, mailbox, part, c)
			return err
		})
		if err == nil {
			all.ModSeq = max(all.ModSeq, s.ModSeq)
			all.Changed.AddSet(s.Changed)
			all.Same.AddSet(s.Same)
			all.Modified.AddSet(s.Modified)
		}
		return err
	})
	return all, err
}

// PrepareStoreFlags is StoreFlags within a unit; at most one change of flags, Expunge,
// Copy or Move for a mailbox in one unit. ErrTooLarge when it is too much for one commit.
func (a *Account) PrepareStoreFlags(ctx context.Context, u *mailflow.Unit, mailbox MailboxID, uids imap.UIDSet, c FlagChange) (*Stored, error) {
	w, err := a.begin(ctx, u)
	if err != nil {
		return nil, err
	}
	defer w.close()
	store := w.storeFlags
	if c.Reader != 0 && c.Reader != a.id {
		store = w.storeFlagsOfReader
	}
	out, err := store(mailbox, uids, c)
	return out, storageError("store flags", err)
}

func (w *work) storeFlags(mailbox MailboxID, uids imap.UIDSet, c FlagChange) (*Stored, error) {
	chunks, uids, err := w.chunks(mailbox, uids)
	if err != nil {
		return nil, err
	}
	out := &Stored{}
	if len(chunks) == 0 {
		return out, nil
	}
	given, err := w.given(mailbox, &c)
	if err != nil {
		return nil, err
	}
	var n tally
	var changed []*slot
	eachSlot(chunks, uids, func(k *chunk, s *slot) {
		if !s.live() {
			return
		}
		if c.Conditional && s.ModSeq > c.UnchangedSince {
			out.Modified.Add(s.UID)
			return
		}
		flags := c.result(s.Flags, given)
		if flags == s.Flags {
			out.Same.Add(s.UID)
			return
		}
		n.flags(s.Flags, -1)
		n.flags(flags, 1)
		k.set(s, flags)
		changed = append(changed, s)
		out.Changed.Add(s.UID)
	})
	if len(changed) == 0 {
		return out, nil
	}
	if _, err := w.mailbox(mailbox); err != nil {
		return nil, err
	}
	w.putChunks(chunks)
	if given&Deleted != 0 && c.Mode != FlagsRemove {
		w.makesRoom() // an EXPUNGE can follow
	}
	b := w.batch()
	n.add(b, mailbox)
	logSlots(b, changeFlags, mailbox, changed)
	w.touch(mailbox)
	w.u.After(w.a.space, func(r kv.Result) { out.ModSeq = uint64(r.Version) })
	return out, nil
}

// given returns the flags of a change as bits of the mailbox.
func (w *work) given(mailbox MailboxID, c *FlagChange) (Flags, error) {
	if c.Keep&KeywordFlags == KeywordFlags {
		return c.Flags & System, nil
	}
	keywords, err := w.keywords(mailbox, c.Keywords, c.Mode != FlagsRemove)
	return c.Flags&System | keywords, err
}

// chunks reads the chunks that uids lie in, guards that the mailbox stays, and returns
// uids without what cannot be there.
func (w *work) chunks(mailbox MailboxID, uids imap.UIDSet) ([]*chunk, imap.UIDSet, error) {
	if w.tree.ID(mailbox) == nil {
		return nil, nil, ErrNoMailbox
	}
	last, err := w.snap.Sequence(sequenceKey(mailbox))
	if err != nil {
		return nil, nil, err
	}
	uids = clip(uids, last)
	chunks, err := readChunks(w.snap, mailbox, uids, 2*chunksMax)
	return chunks, uids, err
}

// putChunks guards and writes the chunks that were changed.
func (w *work) putChunks(chunks []*chunk) {
	b := w.batch()
	for _, c := range chunks {
		if c.changed {
			b.Guards = append(b.Guards, c.guard())
			b.Puts = append(b.Puts, c.put())
		}
	}
}

// inParts calls f for parts of uids that are each small enough for a commit.
func (a *Account) inParts(ctx context.Context, mailbox MailboxID, uids imap.UIDSet, f func(context.Context, imap.UIDSet) error) error {
	snap, err := a.snapshot(ctx)
	if err != nil {
		return err
	}
	last, err := snap.Sequence(sequenceKey(mailbox))
	snap.Close()
	if err != nil {
		return storageError("last UID", err)
	}
	rest := clip(uids, last)
	if len(rest) == 0 {
		return f(ctx, nil) // finds out whether the mailbox is there
	}
	for n := chunksMax; len(rest) > 0; {
		part, after := cut(rest, n)
		err := f(ctx, part)
		switch {
		case err == nil:
			rest = after
		case errors.Is(err, ErrTooLarge) && n > 1:
			n /= 2
		default:
			return err
		}
	}
	return nil
}

// cut splits off the part of a set that lies in the first n chunks.
func cut(s imap.UIDSet, n int) (part, rest imap.UIDSet) {
	chunks, before := 0, int64(-1)
	for i, r := range s {
		first, last := int64(r.First>>chunkBits), int64(r.Last>>chunkBits)
		if first != before {
			if chunks == n {
				return part, s[i:]
			}
			chunks++
		}
		if room := int64(n - chunks); last-first > room {
			end := uint32(first+room)<<chunkBits | (chunkSize - 1)
			part = append(part, imap.Range{First: r.First, Last: end})
			rest = append(rest, imap.Range{First: end + 1, Last: r.Last})
			return part, append(rest, s[i+1:]...)
		}
		chunks += int(last - first)
		before = last
		part = append(part, r)
	}
	return part, nil
}
