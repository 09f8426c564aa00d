package mailstore

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"postroad/internal/kv"
	"postroad/internal/mailflow"
)

// Each delivery writes a block of one entry. Packing puts neighbours into blocks of up to
// blockMax, which load twenty times as fast. It changes no entry, so it needs no reader's
// consent; that it replaces what it read, its guards see to.

const (
	packAfter = 512 // new entries of a mailbox after which it is worth a look
	packFrom  = 8   // blocks that are made one, at least
	packKeys  = 200 // blocks that are made one, at most: each is guarded
)

// fresh counts new entries of a mailbox and has the account swept, and so packed, when
// there are many.
func (a *Account) fresh(mailbox MailboxID, n int) {
	a.mu.Lock()
	if a.unpacked == nil {
		a.unpacked = map[MailboxID]int{}
	}
	before := a.unpacked[mailbox]
	a.unpacked[mailbox] = before + n
	a.mu.Unlock()
	if before < packAfter && before+n >= packAfter {
		a.store.sweepLater(a.id) // takes the Store's lock, which comes before the account's
	}
}

// toPack takes a mailbox that has many unpacked entries, 0 when none has.
func (a *Account) toPack() MailboxID {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, n := range a.unpacked {
		if n >= packAfter {
			delete(a.unpacked, id)
			return id
		}
	}
	return 0
}

// pack packs all blocks of a mailbox.
func (a *Account) pack(ctx context.Context, mailbox MailboxID) error {
	for from, next, again := uint32(1), uint32(0), true; again; from = next {
		err := a.commit(ctx, "pack entries", func(ctx context.Context, u *mailflow.Unit) (err error) {
			snap, err := a.snapshot(ctx)
			if err != nil {
				return err
			}
			defer snap.Close()
			// A d key names a block as it is.
			if todo, err := any1(snap, kv.Prefix([]byte{keyTodo})); todo != nil || err != nil {
				again = false
				return err
			}
			next, again, err = packSome(snap, u.Quiet(a.space), mailbox, from)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// packSome packs some blocks from a UID on, or mends one, and tells where to go on.
func packSome(snap kv.Snapshot, b *kv.Batch, mailbox MailboxID, from uint32) (next uint32, again bool, err error) {
	var open packing
	var before entryBlock
	for e, err := range snap.Scan(numberRange(keyEntry, mailbox, from, ^uint32(0))) {
		if err != nil {
			return 0, false, err
		}
		uid, ok := keyNumber(e.Key)
		if !ok {
			return 0, false, fmt.Errorf("%w: key of entries %q", ErrDamaged, e.Key)
		}
		here := entryBlock{key: append([]byte(nil), e.Key...), raw: append([]byte(nil), e.Value...)}
		if err := readBlock(snap, uid, e.Value, func(r *Row) { here.rows = append(here.rows, *r) }); err != nil {
			return 0, false, err
		}
		rows := here.rows
		if e.Value[1] == blockHere && here.mend(b, mailbox, &before) {
			return from, true, nil
		}
		before = here
		if len(open.rows)+len(rows) > blockMax || len(open.guards) == packKeys || e.Value[1] != blockHere {
			if len(open.guards) >= packFrom {
				open.put(b, mailbox)
				return uid, true, nil
			}
			open = packing{}
		}
		if e.Value[1] == blockHere {
			open.guards = append(open.guards, guardValue(here.key, here.raw, true))
			open.rows = append(open.rows, rows...)
		}
	}
	if len(open.guards) >= packFrom {
		open.put(b, mailbox)
	}
	return 0, false, nil
}

// packing is a block in the making.
type packing struct {
	guards []kv.Guard
	rows   []Row
}

func (p *packing) put(b *kv.Batch, mailbox MailboxID) {
	b.Guards = append(b.Guards, p.guards...)
	// One range for all of them: a scan passes over it at once, over single tombstones one
	// by one. No key can have come into it: what is new has a higher UID, and what is made
	// of an old block takes that block's key away, which is guarded.
	b.Ranges = append(b.Ranges, kv.Range{From: append(p.guards[0].Key, 0), To: append(p.guards[len(p.guards)-1].Key, 0)})
	b.Puts = append(b.Puts, kv.Put{Key: numberKey(keyEntry, mailbox, p.rows[0].UID), Value: appendBlock(nil, p.rows)})
}

// mend writes the block without the rows that it has twice, or that the block before it has
// as well, and tells whether there were any: an older sweep left such blocks.
func (b *entryBlock) mend(batch *kv.Batch, mailbox MailboxID, before *entryBlock) bool {
	all := slices.Concat(before.rows, b.rows)
	if slices.IsSortedFunc(all, byUID) {
		return false
	}
	held := map[uint32]MessageID{}
	var rest []Row
	for i := range all {
		r := &all[i]
		if id, twice := held[r.UID]; i >= len(before.rows) && (!twice || id != r.ID) {
			rest = append(rest, *r)
		}
		held[r.UID] = r.ID
	}
	if len(rest) == len(b.rows) {
		return false // another kind of damage
	}
	batch.Guards = append(batch.Guards, guardValue(b.key, b.raw, true))
	if len(before.rows) > 0 {
		batch.Guards = append(batch.Guards, guardValue(before.key, before.raw, true))
	}
	batch.Deletes = append(batch.Deletes, b.key)
	if len(rest) > 0 {
		batch.Puts = append(batch.Puts, kv.Put{Key: numberKey(keyEntry, mailbox, rest[0].UID), Value: appendBlock(nil, rest)})
	}
	return true
}

func byUID(a, b Row) int { return cmp.Compare(a.UID, b.UID) }
