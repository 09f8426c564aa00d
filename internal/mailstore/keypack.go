package mailstore

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
	"postroad/internal/mailflow"
)

// Blocks of sort keys are packed in the background, as those of entries are, and rows that
// are missing are made. Message ids are those of the clocks of several machines: a block
// with a lower id may still be committed while higher ones are packed. So only ids of a
// certain age are touched.

// keyAge is how old a message id must be.
const keyAge = time.Minute

// Limits of one commit that makes rows.
const (
	keyFillRows  = 256
	keyFillBytes = 256 << 10 // octets of rows from which on it makes no more
	keyFillLooks = 4096      // messages that it looks at
)

// keyWork is what is to be done to the sort keys of an account. Guarded by Account.mu.
type keyWork struct {
	pack   bool
	fill   bool
	packed MessageID // blocks before are packed
}

// packKeysLater has the sweep pack sort keys.
func (a *Account) packKeysLater() { a.keysLater(func(k *keyWork) { k.pack = true }) }

// fillKeysLater has the sweep make the rows that are missing.
func (a *Account) fillKeysLater() {
	a.keysLater(func(k *keyWork) { k.pack, k.fill, k.packed = true, true, 0 })
}

func (a *Account) keysLater(set func(*keyWork)) {
	a = a.current()
	a.mu.Lock()
	set(&a.sortKeys)
	a.mu.Unlock()
	a.store.sweepLater(a.id)
}

// tendKeys does what keyWork says.
func (a *Account) tendKeys(ctx context.Context) error {
	a.mu.Lock()
	work := a.sortKeys
	a.sortKeys.pack, a.sortKeys.fill = false, false
	a.mu.Unlock()
	if work.fill {
		if err := a.fillKeys(ctx); err != nil {
			a.keysLater(func(k *keyWork) { k.pack, k.fill = true, true })
			return err
		}
	}
	if !work.pack {
		return nil
	}
	from, err := work.packed, error(nil)
	for again := true; again && err == nil; {
		from, again, err = a.packKeys(ctx, from)
	}
	a.mu.Lock()
	if !a.sortKeys.fill {
		a.sortKeys.packed = from
	}
	a.mu.Unlock()
	return err
}

// oldID is the id below which all that will ever be committed is there.
func (a *Account) oldID() MessageID {
	return hlc.At(a.store.o.Clock.Next().Time().Add(-a.store.keyAge))
}

// packKeys makes neighbouring blocks from an id on one, and tells where to go on.
func (a *Account) packKeys(ctx context.Context, from MessageID) (next MessageID, again bool, err error) {
	err = a.commit(ctx, "pack sort keys", func(ctx context.Context, u *mailflow.Unit) (err error) {
		snap, err := a.snapshot(ctx)
		if err != nil {
			return err
		}
		defer snap.Close()
		next, again, err = packKeysOnce(snap, u, a, from)
		return err
	})
	return next, again, err
}

// packKeysOnce finds the next blocks that are worth it.
func packKeysOnce(snap kv.Snapshot, u *mailflow.Unit, a *Account, from MessageID) (next MessageID, again bool, err error) {
	var open keyPacking
	var d keyReader
	next = from
	for e, err := range snap.Scan(kv.Range{From: key(keySort, from), To: key(keySort, a.oldID())}) {
		if err != nil {
			return from, false, err
		}
		first, ok := keyID(e.Key)
		if !ok {
			return from, false, fmt.Errorf("%w: key of sort keys %q", ErrDamaged, e.Key)
		}
		rows, octets := 0, len(e.Value)
		if err := d.read(e.Key, e.Value, func(*keyRow) { rows++ }); err != nil {
			return from, false, err
		}
		if open.rows+rows > keyBlockRows || open.octets+octets > keyBlockBytes || len(open.guards) == packKeys {
			if len(open.guards) >= packFrom {
				return first, true, open.put(u.Quiet(a.space))
			}
			open = keyPacking{}
		}
		if len(open.guards) == 0 {
			next = first // where the next packing begins if this is the end
		}
		open.guards = append(open.guards, guardValue(slices.Clone(e.Key), slices.Clone(e.Value), true))
		open.rows, open.octets = open.rows+rows, open.octets+octets
	}
	if len(open.guards) >= packFrom {
		return next, false, open.put(u.Quiet(a.space))
	}
	return next, false, nil
}

// keyPacking is a block in the making, of those that its guards name.
type keyPacking struct {
	guards []kv.Guard
	rows   int
	octets int
}

func (p *keyPacking) put(b *kv.Batch) error {
	var block keyBlock
	var rows keyRows
	for _, g := range p.guards {
		if err := rows.read(g.Key, g.Value); err != nil {
			return err
		}
	}
	rows.sort() // blocks may overlap
	for _, r := range rows.rows {
		block.add(r)
	}
	b.Guards = append(b.Guards, p.guards...)
	b.Ranges = append(b.Ranges, kv.Range{From: append(slices.Clone(p.guards[0].Key), 0), To: append(slices.Clone(p.guards[len(p.guards)-1].Key), 0)})
	b.Puts = append(b.Puts, block.put())
	return nil
}

// keyRows is a block as it is stored, read to be changed.
type keyRows struct {
	key, raw []byte
	rows     []*keyRow
	changed  bool
}

// read adds the rows of a block.
func (k *keyRows) read(key, value []byte) error {
	var d keyReader
	return d.read(key, value, func(r *keyRow) {
		row := *r
		row.parents = slices.Clone(r.parents)
		k.rows = append(k.rows, &row)
	})
}

func (k *keyRows) sort() {
	slices.SortStableFunc(k.rows, func(a, b *keyRow) int { return cmp.Compare(a.id, b.id) })
	k.rows = slices.CompactFunc(k.rows, func(a, b *keyRow) bool { return a.id == b.id })
}

// dropKeys takes the sort keys of a message away; see keepKeys.
func (s *sweep) dropKeys(id MessageID) error {
	e, err := any1(s.snap, kv.Range{From: key(keySort), To: key(keySort, id+1), Reverse: true})
	if e == nil || err != nil {
		return err
	}
	first, _ := keyID(e.Key)
	k := s.keys[first]
	if k == nil {
		k = &keyRows{key: e.Key, raw: e.Value}
		if err := k.read(e.Key, e.Value); err != nil {
			return err
		}
		s.keys[first] = k
	}
	n := len(k.rows)
	k.rows = slices.DeleteFunc(k.rows, func(r *keyRow) bool { return r.id == id })
	if len(k.rows) < n && !k.changed {
		k.changed = true
		s.cost += 3
	}
	return nil
}

// keepKeys writes what is left of the blocks that dropKeys took rows out of.
func (s *sweep) keepKeys() {
	b := s.quiet()
	for _, k := range s.keys {
		if !k.changed {
			continue
		}
		b.Guards = append(b.Guards, guardValue(k.key, k.raw, true))
		if len(k.rows) == 0 || string(key(keySort, k.rows[0].id)) != string(k.key) {
			b.Deletes = append(b.Deletes, k.key)
		}
		if len(k.rows) > 0 {
			var block keyBlock
			for _, r := range k.rows {
				block.add(r)
			}
			b.Puts = append(b.Puts, block.put())
		}
	}
}

// sortKeys checks each row of sort keys against its message. That a message has none is no
// finding: it may be older than these.
func (c *check) sortKeys() error {
	var d keyReader
	seen := map[MessageID]bool{}
	return c.each(keySort, func(k, v []byte) error {
		return d.read(k, v, func(row *keyRow) {
			m := c.messages[row.id]
			switch {
			case m == nil || !m.message:
				c.report(0, 0, row.id, "sort keys of a message that is not there")
			case seen[row.id]:
				c.report(0, 0, row.id, "sort keys twice")
			case !c.rightKeys(row):
				c.report(0, 0, row.id, "sort keys are not those of the message")
			}
			seen[row.id] = true
		})
	})
}

// rightKeys compares a row with the message record, where that has all.
func (c *check) rightKeys(row *keyRow) bool {
	r := Record{Row: Row{ID: row.id}}
	v, _, err := get(c.snap, key(keyMessage, row.id))
	if err != nil {
		return false
	}
	_, derived, err := r.readMessage(v)
	if derived || err != nil {
		return err == nil
	}
	want, err := recordKeys(&r)
	return err == nil && want.dated == row.dated && want.sent == row.sent && want.reply == row.reply && want.named == row.named &&
		want.msgID == row.msgID && slices.Equal(want.parents, row.parents) && want.text == row.text
}

// fillKeys makes the rows of messages that have none: those of a store written before
// there were any.
func (a *Account) fillKeys(ctx context.Context) error {
	for from, again := MessageID(0), true; again; {
		err := a.commit(ctx, "make sort keys", func(ctx context.Context, u *mailflow.Unit) (err error) {
			f := keyFill{a: a, ctx: ctx, next: from}
			if f.snap, err = a.snapshot(ctx); err != nil {
				return err
			}
			defer f.snap.Close()
			from, again, err = f.run(u)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// keyFill is one commit of rows that were missing.
type keyFill struct {
	a    *Account
	ctx  context.Context
	snap kv.Snapshot
	next MessageID

	have  map[MessageID]bool // rows from next up to until
	until MessageID
}

// run makes rows for messages from next on, and tells where to go on.
func (f *keyFill) run(u *mailflow.Unit) (next MessageID, again bool, err error) {
	var block keyBlock
	b := u.Quiet(f.a.space)
	made, octets, looked := 0, 0, 0
	flush := func() {
		if block.rows > 0 {
			p := block.put()
			b.Guards = append(b.Guards, kv.Guard{Kind: kv.GuardAbsent, Key: p.Key})
			b.Puts = append(b.Puts, p)
			octets += len(p.Value)
		}
		block = keyBlock{}
	}
	defer flush()
	for e, err := range f.snap.Scan(kv.Range{From: key(keyMessage, f.next), To: key(keyMessage, f.a.oldID())}) {
		if err != nil {
			return 0, false, err
		}
		id, _ := keyID(e.Key)
		if looked++; made == keyFillRows || octets > keyFillBytes || looked == keyFillLooks {
			return id, true, nil
		}
		has, err := f.has(id)
		if err != nil {
			return 0, false, err
		}
		if has {
			flush() // no block may hold ids of both sides of another one
			continue
		}
		r := Record{Row: Row{ID: id}}
		_, derived, err := r.readMessage(e.Value)
		if err == nil && derived {
			err = f.a.derive(f.ctx, &r, WantStructure)
		}
		if err != nil {
			return 0, false, fmt.Errorf("message %s: %w", id, err)
		}
		row, err := recordKeys(&r)
		if err != nil {
			return 0, false, err
		}
		if block.full() {
			flush()
		}
		block.add(row)
		made++
	}
	return 0, false, nil
}

// has tells whether a message has its row. Ids are asked for in ascending order.
func (f *keyFill) has(id MessageID) (bool, error) {
	if f.have == nil {
		// The block that begins before may reach here.
		f.have = map[MessageID]bool{}
		e, err := any1(f.snap, kv.Range{From: key(keySort), To: key(keySort, id+1), Reverse: true})
		if err != nil {
			return false, err
		}
		f.until = id
		if e != nil {
			f.until, _ = keyID(e.Key)
		}
	}
	for f.until <= id {
		var d keyReader
		more := false
		for e, err := range f.snap.Scan(kv.Range{From: key(keySort, f.until), To: kv.Prefix([]byte{keySort}).To, Limit: 64}) {
			if err != nil {
				return false, err
			}
			first, _ := keyID(e.Key)
			if more = true; first > id {
				f.until = first
				return f.have[id], nil
			}
			f.until = first + 1
			if err := d.read(e.Key, e.Value, func(r *keyRow) { f.have[r.id] = true }); err != nil {
				return false, err
			}
		}
		if !more {
			f.until = ^MessageID(0) >> 1
		}
	}
	return f.have[id], nil
}
