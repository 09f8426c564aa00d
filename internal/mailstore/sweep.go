package mailstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"postroad/imap"
	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
	"postroad/internal/mailflow"
	"postroad/internal/search"
)

// Expunging only marks entries as gone. The sweep takes away what they leave: blocks of
// entries, and the records and body links of messages that are in no mailbox any more.
//
// A message is dead when none of its entries is live and no d key is left. It stays dead:
// a new entry is made only from a live one, which the commit guards. So a sweep that saw a
// message dead in a snapshot may take it away in any later commit.

// garbageKind is what a g record tells of.
type garbageKind byte

// The kinds.
const (
	garbageEntries garbageKind = 'e' // UIDs of a mailbox
	garbageMailbox garbageKind = 'b' // a deleted mailbox
)

// Limits of the sweep.
const (
	sweepRows      = 16        // entries taken away at a time: up to 25 keys each at worst, 5 as a rule
	sweepCost      = 450       // keys in a commit, about, from which on it takes no more messages
	sweepCostMax   = 900       // above which it leaves hashes
	pendingAge     = time.Hour // after which an APPEND or COPY that was begun is given up
	changesTrimmed = 1000      // mod-sequences by which the log is trimmed at a time, at least
)

// garbage writes down what the sweep is to look at.
func (w *work) garbage(kind garbageKind, mailbox MailboxID, uids imap.UIDSet) {
	b := w.batch()
	v := append(make([]byte, 0, 32), format1, byte(kind))
	v = binary.BigEndian.AppendUint64(v, uint64(mailbox))
	k := append(key(keyGarbage, 0), 0, 0)
	binary.BigEndian.PutUint16(k[9:], uint16(len(b.Puts)))
	b.Puts = append(b.Puts, kv.Put{Key: k, Value: appendSet(v, uids),
		Places: []kv.Place{{Offset: 1, Width: 8, Version: true}}})
	w.sweepAfter()
}

// sweepAfter has the account swept once the unit is durable.
func (w *work) sweepAfter() {
	s, id := w.a.store, w.a.id
	w.u.After(w.a.space, func(kv.Result) { s.sweepLater(id) })
}

// hasLeftovers tells whether there is something to sweep.
func hasLeftovers(snap kv.Snapshot) (bool, error) {
	for _, kind := range []byte{keyGarbage, keyTodo, keyPending} {
		found, err := any1(snap, kv.Prefix([]byte{kind}))
		if found != nil || err != nil {
			return true, err
		}
	}
	return false, nil
}

// any1 returns a copy of the first entry of a range, nil where there is none.
func any1(snap kv.Snapshot, r kv.Range) (*kv.Entry, error) {
	r.Limit = 1
	for e, err := range snap.Scan(r) {
		if err != nil {
			return nil, fmt.Errorf("scan: %w", err)
		}
		return &kv.Entry{Key: append([]byte(nil), e.Key...), Value: append([]byte(nil), e.Value...)}, nil
	}
	return nil, nil
}

// Sweep does what expunging left over: the records and body links of messages that are in
// no mailbox any more. It returns when there is nothing to do.
func (a *Account) Sweep(ctx context.Context) error {
	a.sweepMu.Lock()
	defer a.sweepMu.Unlock()
	// What frees space comes first: on a nearly full disk the rest fails, and is tried again.
	if err := a.purge(ctx, time.Now()); err != nil {
		return storageError("purge", err)
	}
	for {
		more, err := a.sweepStep(ctx)
		if err != nil {
			return storageError("sweep", err)
		}
		if !more {
			return a.tidy(ctx)
		}
	}
}

// tidy packs what has become scattered, warns of the quota, and gives back what is not
// needed.
func (a *Account) tidy(ctx context.Context) error {
	for id := a.toPack(); id != 0; id = a.toPack() {
		if err := a.pack(ctx, id); err != nil {
			return storageError("pack entries", err)
		}
		a.packKeysLater() // what is new in a mailbox is new in the account
	}
	if err := a.tendKeys(ctx); err != nil {
		return storageError("pack sort keys", err)
	}
	if err := a.warn(ctx); err != nil && !errors.Is(err, ErrOverQuota) {
		return storageError("warn of the quota", err)
	}
	if err := a.giveBack(ctx); err != nil {
		return storageError("give back a lease", err)
	}
	return storageError("trim the change log", a.trimChanges(ctx))
}

// sweepStep does the first thing that is to be done.
func (a *Account) sweepStep(ctx context.Context) (more bool, err error) {
	snap, err := a.snapshot(ctx)
	if err != nil {
		return false, err
	}
	todo, err1 := any1(snap, kv.Prefix([]byte{keyTodo}))
	garbage, err2 := any1(snap, kv.Prefix([]byte{keyGarbage}))
	stale, err3 := stalePending(snap)
	snap.Close()
	switch {
	case err1 != nil || err2 != nil || err3 != nil:
		return false, errors.Join(err1, err2, err3)
	case todo != nil:
		return true, a.writeEntriesOf(ctx, todo.Key)
	case garbage != nil:
		return true, a.sweepGarbage(ctx, garbage)
	case stale != 0:
		return true, a.dropStaged(ctx, stale, false)
	}
	return false, nil
}

// stalePending finds an APPEND or COPY that was begun and never ended.
func stalePending(snap kv.Snapshot) (hlc.ID, error) {
	first, err := any1(snap, kv.Prefix([]byte{keyPending}))
	if first == nil || err != nil {
		return 0, err
	}
	id, _ := keyID(first.Key)
	if time.Since(id.Time()) < pendingAge {
		return 0, nil
	}
	return id, nil
}

// writeEntriesOf writes the o keys of a block, and brings a staged block to its place.
func (a *Account) writeEntriesOf(ctx context.Context, todo []byte) error {
	mailbox, _ := keyID(todo)
	uid, ok := keyNumber(todo)
	if !ok {
		return fmt.Errorf("%w: key %q", ErrDamaged, todo)
	}
	return a.commit(ctx, "write entries", func(ctx context.Context, u *mailflow.Unit) error {
		snap, err := a.snapshot(ctx)
		if err != nil {
			return err
		}
		defer snap.Close()
		k := numberKey(keyEntry, mailbox, uid)
		v, found, err := get(snap, k)
		if err != nil {
			return err
		}
		b := u.Quiet(a.space)
		b.Guards = append(b.Guards, kv.Guard{Kind: kv.GuardPresent, Key: todo})
		b.Deletes = append(b.Deletes, todo)
		if !found {
			return nil
		}
		var rows []Row
		err = readBlock(snap, uid, v, func(r *Row) {
			rows = append(rows, *r)
			b.Puts = append(b.Puts, kv.Put{Key: entryOfKey(r.ID, mailbox, r.UID), Value: []byte{format1}})
		})
		if err != nil {
			return err
		}
		if v[1] == blockStaged {
			r := reader{b: v[blockModSeqOffset+8:]}
			b.Guards = append(b.Guards, guardValue(k, v, true))
			b.Deletes = append(b.Deletes, numberKey(keyStaged, r.id(), r.uint32()))
			b.Puts = append(b.Puts, kv.Put{Key: k, Value: appendBlock(nil, rows)})
		}
		return nil
	})
}

// dropStaged gives up what was staged under an id: all of it, or what is left when
// somebody began to. Without hurry the caller has seen that it is old.
func (a *Account) dropStaged(ctx context.Context, id hlc.ID, lock bool) error {
	if lock {
		a.sweepMu.Lock()
		defer a.sweepMu.Unlock()
	}
	var ids []MessageID
	var keys [][]byte
	// First of all nobody can reveal it any more.
	err := a.commit(ctx, "give up", func(ctx context.Context, u *mailflow.Unit) error {
		ids, keys = nil, nil
		snap, err := a.snapshot(ctx)
		if err != nil {
			return err
		}
		defer snap.Close()
		for e, err := range snap.Scan(kv.Prefix(key(keyPending, id))) {
			if err != nil {
				return err
			}
			k, v := append([]byte(nil), e.Key...), append([]byte(nil), e.Value...)
			keys = append(keys, k)
			r := newReader(v)
			r.octet()
			for len(r.b) > 0 {
				ids = append(ids, r.id())
			}
			if err := r.err("staged messages"); err != nil {
				return err
			}
			b := u.Quiet(a.space)
			b.Guards = append(b.Guards, guardValue(k, v, true))
			dead := append([]byte(nil), v...)
			dead[1] = pendingDies
			b.Puts = append(b.Puts, kv.Put{Key: k, Value: dead})
		}
		return nil
	})
	if err != nil || len(keys) == 0 {
		return err
	}
	for len(ids) > 0 {
		part := ids[:min(len(ids), sweepRows)]
		err := a.commit(ctx, "drop staged messages", func(ctx context.Context, u *mailflow.Unit) error {
			s, err := a.beginSweep(ctx, u)
			if err != nil {
				return err
			}
			defer s.close()
			if err := s.messages(part); err != nil {
				return err
			}
			return s.finish()
		})
		if err != nil {
			return err
		}
		ids = ids[len(part):]
	}
	return a.commit(ctx, "drop staged entries", func(ctx context.Context, u *mailflow.Unit) error {
		b := u.Quiet(a.space)
		b.Deletes = append(b.Deletes, keys...)
		b.Ranges = append(b.Ranges, kv.Prefix(key(keyStaged, id)))
		return nil
	})
}

// sweepGarbage does what one g record asks for and takes it away.
func (a *Account) sweepGarbage(ctx context.Context, e *kv.Entry) error {
	r := newReader(e.Value)
	kind, mailbox := garbageKind(r.octet()), r.id()
	uids := r.set()
	if err := r.err("garbage record"); err != nil {
		return err
	}
	if kind == garbageMailbox {
		uids = imap.UIDSet{{First: 1, Last: ^uint32(0)}}
	}
	for len(uids) > 0 {
		var next uint32
		again := false
		err := a.commit(ctx, "sweep", func(ctx context.Context, u *mailflow.Unit) error {
			s, err := a.beginSweep(ctx, u)
			if err != nil {
				return err
			}
			defer s.close()
			todo, err := any1(s.snap, kv.Prefix([]byte{keyTodo}))
			if again = todo != nil; again || err != nil {
				return err
			}
			if next, err = s.entries(mailbox, uids); err != nil {
				return err
			}
			return s.finish()
		})
		if err != nil || again {
			return err
		}
		if next == 0 {
			break
		}
		uids = uids.Intersect(imap.UIDSet{{First: next, Last: ^uint32(0)}})
	}
	return a.commit(ctx, "sweep", func(ctx context.Context, u *mailflow.Unit) error {
		b := u.Quiet(a.space)
		b.Deletes = append(b.Deletes, e.Key)
		if kind == garbageMailbox {
			for _, k := range []byte{keyEntry, keyState} {
				b.Ranges = append(b.Ranges, kv.Prefix(key(k, mailbox)))
			}
			b.Deletes = append(b.Deletes, key(keyHighest, mailbox), key(keyKeywords, mailbox))
			snap, err := a.snapshot(ctx)
			if err != nil {
				return err
			}
			defer snap.Close()
			return dropAnnotations(snap, b, mailbox)
		}
		return nil
	})
}

// sweep is one commit of the sweep under preparation.
type sweep struct {
	work
	chunks map[chunkName]*chunk
	freed  map[ThreadID][]member // messages taken away in this commit
	seen   map[MessageID]bool
	swept  map[string]bool        // blocks, by their keys
	cost   int                    // keys of the batch, about
	keys   map[MessageID]*keyRows // blocks of sort keys that rows go out of
}

type chunkName struct {
	mailbox MailboxID
	number  uint32
}

// begin reads where the account stands.
func (a *Account) beginSweep(ctx context.Context, u *mailflow.Unit) (*sweep, error) {
	w, err := a.begin(ctx, u)
	if err != nil {
		return nil, err
	}
	return &sweep{work: *w, chunks: map[chunkName]*chunk{}, freed: map[ThreadID][]member{},
		keys: map[MessageID]*keyRows{}, seen: map[MessageID]bool{}, swept: map[string]bool{}}, nil
}

// full tells whether the commit should take no more messages.
func (s *sweep) full() bool { return s.cost > sweepCost }

// entries takes away the gone entries of blocks that overlap uids, until the commit is
// full. Blocks get smaller and go. It returns the UID to go on with, 0 at the end. A block
// that several stretches of uids lie in is taken once a commit: the snapshot still has it as
// it was, and what was done to it must not be done again, or to half of it.
func (s *sweep) entries(mailbox MailboxID, uids imap.UIDSet) (next uint32, err error) {
	for _, r := range uids {
		for at := r.First; ; {
			b, err := s.block(mailbox, at, r.Last)
			if err != nil {
				return 0, err
			}
			if b == nil {
				break
			}
			if !s.swept[string(b.key)] {
				done, err := s.sweepBlock(mailbox, b)
				if err != nil {
					return 0, err
				}
				s.swept[string(b.key)] = true
				if !done {
					return max(at, b.rows[0].UID), nil
				}
			}
			last := b.rows[len(b.rows)-1].UID
			if last >= r.Last {
				break
			}
			at = last + 1
		}
	}
	return 0, nil
}

// entryBlock is a block as it is stored.
type entryBlock struct {
	key, raw []byte
	rows     []Row
}

// block reads the block that holds the first entry from a UID on, nil when none begins
// up to last.
func (s *sweep) block(mailbox MailboxID, from, last uint32) (*entryBlock, error) {
	before := kv.Range{From: key(keyEntry, mailbox), To: numberKey(keyEntry, mailbox, from), Reverse: true}
	e, err := any1(s.snap, before)
	if err != nil {
		return nil, err
	}
	if e != nil {
		b, err := s.readBlock(e)
		if err != nil || b.rows[len(b.rows)-1].UID >= from {
			return b, err
		}
	}
	if e, err = any1(s.snap, numberRange(keyEntry, mailbox, from, last)); e == nil || err != nil {
		return nil, err
	}
	return s.readBlock(e)
}

func (s *sweep) readBlock(e *kv.Entry) (*entryBlock, error) {
	uid, ok := keyNumber(e.Key)
	if !ok {
		return nil, fmt.Errorf("%w: key of entries %q", ErrDamaged, e.Key)
	}
	b := &entryBlock{key: e.Key, raw: e.Value}
	err := readBlock(s.snap, uid, e.Value, func(r *Row) { b.rows = append(b.rows, *r) })
	if err == nil && len(b.rows) == 0 {
		err = fmt.Errorf("%w: empty block of entries", ErrDamaged)
	}
	return b, err
}

// sweepBlock takes gone entries out of a block, whichever g record tells of them. done is
// false when some are left for another commit.
func (s *sweep) sweepBlock(mailbox MailboxID, b *entryBlock) (done bool, err error) {
	kept, gone := make([]Row, 0, len(b.rows)), make([]Row, 0, len(b.rows))
	for i := range b.rows {
		live, err := s.live(Location{mailbox, b.rows[i].UID})
		switch {
		case err != nil:
			return false, err
		case live:
			kept = append(kept, b.rows[i])
		default:
			gone = append(gone, b.rows[i])
		}
	}
	took := false
	for len(gone) > 0 && !s.full() {
		part := gone[:min(len(gone), sweepRows)]
		gone = gone[len(part):]
		if err := s.take(mailbox, part); err != nil {
			return false, err
		}
		took = true
	}
	if !took {
		return len(gone) == 0, nil
	}
	kept = append(kept, gone...)
	slices.SortFunc(kept, byUID)
	batch := s.quiet()
	batch.Guards = append(batch.Guards, guardValue(b.key, b.raw, true))
	if len(kept) == 0 || kept[0].UID != b.rows[0].UID {
		batch.Deletes = append(batch.Deletes, b.key)
	}
	if len(kept) > 0 {
		batch.Puts = append(batch.Puts, kv.Put{Key: numberKey(keyEntry, mailbox, kept[0].UID), Value: appendBlock(nil, kept)})
	}
	s.cost += 3
	return len(gone) == 0, nil
}

// take takes entries away, and their messages where these are dead.
func (s *sweep) take(mailbox MailboxID, rows []Row) error {
	b := s.quiet()
	ids := make([]MessageID, len(rows))
	for i := range rows {
		ids[i] = rows[i].ID
		b.Deletes = append(b.Deletes, entryOfKey(rows[i].ID, mailbox, rows[i].UID))
		s.cost++
	}
	return s.messages(ids)
}

// live tells whether a mailbox that is there has a message at a UID that is not gone. It
// looks at mailbox and state only: the caller knows of an entry.
func (s *sweep) live(at Location) (bool, error) {
	if s.tree.ID(at.Mailbox) == nil || at.UID == 0 {
		return false, nil
	}
	name := chunkName{at.Mailbox, at.UID >> chunkBits}
	c := s.chunks[name]
	if c == nil {
		var err error
		if c, err = readChunk(s.snap, name.mailbox, name.number); err != nil {
			return false, err
		}
		s.chunks[name] = c
	}
	return !c.slot(at.UID).Gone, nil
}

// messages takes those of the messages away that are dead and still there.
func (s *sweep) messages(ids []MessageID) error {
	ids = slices.DeleteFunc(slices.Clone(ids), func(id MessageID) bool { return s.seen[id] })
	slices.Sort(ids)
	ids = slices.Compact(ids)
	alive := make([]bool, len(ids))
	entries := make([][][]byte, len(ids)) // o keys
	see := func(i int, at Location) error {
		live, err := s.live(at)
		alive[i] = alive[i] || live
		return err
	}
	err := scanIDs(s.snap, keyList, ids, func(i int, e kv.Entry) error {
		var r Record
		home, _, err := r.readList(e.Value)
		if err != nil {
			return fmt.Errorf("message %s: %w", ids[i], err)
		}
		return see(i, home)
	})
	if err != nil {
		return err
	}
	err = scanIDs(s.snap, keyEntryOf, ids, func(i int, e kv.Entry) error {
		k := reader{b: e.Key[9:]}
		at := Location{k.id(), k.uint32()}
		if err := k.err("entry of a message"); err != nil {
			return err
		}
		entries[i] = append(entries[i], append([]byte(nil), e.Key...))
		return see(i, at)
	})
	if err != nil {
		return err
	}
	var dead []MessageID
	b := s.quiet()
	for i, id := range ids {
		s.seen[id] = true
		if !alive[i] {
			dead = append(dead, id)
			b.Deletes = append(b.Deletes, entries[i]...)
			s.cost += len(entries[i])
		}
	}
	return scanIDs(s.snap, keyMessage, dead, func(i int, e kv.Entry) error { return s.message(dead[i], e.Value) })
}

// message takes a dead message away.
func (s *sweep) message(id MessageID, v []byte) error {
	var r Record
	hashes, _, err := r.readMessage(v)
	if err != nil {
		return fmt.Errorf("message %s: %w", id, err)
	}
	b := s.quiet()
	b.Deletes = append(b.Deletes, key(keyList, id), key(keyMessage, id))
	search.PrepareDrop(b, id)
	s.u.Drop(r.Body, holder(s.a.id, id))
	s.freed[r.Thread] = append(s.freed[r.Thread], member{id: id, hashes: hashes})
	s.cost += 6 + len(hashes) // with what threads adds
	return s.dropKeys(id)
}

// liveEntries returns the places of a message in mailboxes, as o keys and the list record
// have them.
func (s *sweep) liveEntries(id MessageID) ([]Location, error) {
	var all []Location
	add := func(at Location) error {
		live, err := s.live(at)
		if live && err == nil {
			all = append(all, at)
		}
		return err
	}
	v, found, err := get(s.snap, key(keyList, id))
	if err != nil || !found {
		return nil, err
	}
	var r Record
	home, _, err := r.readList(v)
	if err == nil {
		err = add(home)
	}
	if err != nil {
		return nil, fmt.Errorf("message %s: %w", id, err)
	}
	for e, err := range s.snap.Scan(kv.Prefix(key(keyEntryOf, id))) {
		if err == nil {
			k := reader{b: e.Key[9:]}
			at := Location{k.id(), k.uint32()}
			if err = k.err("entry of a message"); err == nil && at != home {
				err = add(at)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("message %s: %w", id, err)
		}
	}
	return all, nil
}

// finish takes away what went with the messages of the commit.
func (s *sweep) finish() error {
	s.keepKeys()
	return s.threads()
}

// threads takes from the threads of the messages that went away what is not needed any
// more: all of it with the last message of the conversation; before that, what a message
// had written stays, as a reply to it may still come.
func (s *sweep) threads() error {
	done := map[ThreadID]bool{}
	for id := range s.freed {
		f, err := readFamily(s.snap, id)
		if err != nil {
			return err
		}
		if done[f.root()] {
			continue
		}
		done[f.root()] = true
		alive, err := s.familyLives(f)
		if err != nil {
			return err
		}
		if alive {
			s.keepHashes(f)
		} else {
			s.dropFamily(f)
		}
	}
	return nil
}

// familyLives tells whether some message of a conversation stays.
func (s *sweep) familyLives(f *family) (bool, error) {
	for i := range f.threads {
		t := &f.threads[i]
		for _, m := range t.members {
			if m.dead || m.joins || s.goes(s.freed[t.id], m.id) {
				continue
			}
			_, found, err := get(s.snap, key(keyList, m.id))
			if found || err != nil {
				return found, err
			}
		}
	}
	return false, nil
}

// keepHashes writes down what the messages that go had written.
func (s *sweep) keepHashes(f *family) {
	b := s.quiet()
	for i := range f.threads {
		t := &f.threads[i]
		for _, m := range s.freed[t.id] {
			v := []byte{format1, memberDead}
			for _, h := range m.hashes {
				v = binary.BigEndian.AppendUint64(v, h)
			}
			b.Puts = append(b.Puts, kv.Put{Key: key(keyMember, t.id, m.id), Value: v})
		}
	}
}

// dropFamily takes away all that there is of a conversation.
func (s *sweep) dropFamily(f *family) {
	b := s.quiet()
	for i := range f.threads {
		t := &f.threads[i]
		if i > 0 {
			s.cost++
			b.Deletes = append(b.Deletes, key(keyJoined, t.id))
		}
		for _, m := range s.freed[t.id] {
			for _, h := range m.hashes {
				b.Deletes = append(b.Deletes, hashKey(h))
			}
		}
		for _, m := range t.members {
			// What does not fit stays for ever: 17 octets each, in threads of hundreds of
			// messages that were deleted one by one.
			if s.cost += 1 + len(m.hashes); s.cost > sweepCostMax {
				b.Ranges = append(b.Ranges, kv.Prefix(key(keyMember, t.id)))
				break
			}
			b.Deletes = append(b.Deletes, key(keyMember, t.id, m.id))
			for _, h := range m.hashes {
				b.Deletes = append(b.Deletes, hashKey(h))
			}
		}
	}
}

func (s *sweep) goes(freed []member, id MessageID) bool {
	for i := range freed {
		if freed[i].id == id {
			return true
		}
	}
	return false
}

// trimChanges shortens the change log.
func (a *Account) trimChanges(ctx context.Context) error {
	return a.commit(ctx, "trim the change log", func(ctx context.Context, u *mailflow.Unit) error {
		snap, err := a.snapshot(ctx)
		if err != nil {
			return err
		}
		defer snap.Close()
		floor, err := changeFloor(snap)
		if err != nil {
			return err
		}
		version := uint64(snap.Version())
		if version < floor+changesKept+changesTrimmed {
			return nil
		}
		b := u.Quiet(a.space)
		to := version - changesKept
		b.Ranges = append(b.Ranges, kv.Range{From: key(keyChange), To: key(keyChange, hlc.ID(to+1))})
		b.Takes = append(b.Takes, kv.Take{Key: changeFloorKey, AtLeast: to + 1})
		return nil
	})
}

// Location is one place of a message.
type Location struct {
	Mailbox MailboxID
	UID     uint32
}

// Locations returns where a message is; ErrNoMessage when nowhere, or only where it can
// be brought back from.
func (a *Account) Locations(ctx context.Context, id MessageID) ([]Location, error) {
	all, err := a.anywhere(ctx, id)
	if err != nil {
		return nil, err
	}
	t, err := a.Tree(ctx)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(l Location) bool { m := t.ID(l.Mailbox); return m == nil || m.Recovery != nil })
	if len(all) == 0 {
		return nil, fmt.Errorf("places of a message: %w", ErrNoMessage)
	}
	return all, nil
}

// anywhere is Locations with the recoverable mailboxes.
func (a *Account) anywhere(ctx context.Context, id MessageID) ([]Location, error) {
	s, err := a.beginSweep(ctx, new(mailflow.Unit))
	if err != nil {
		return nil, err
	}
	defer s.close()
	all, err := s.locations(id)
	if err == nil && len(all) == 0 {
		err = ErrNoMessage
	}
	return all, storageError("places of a message", err)
}

// locations is liveEntries with what the sweep has still to write.
func (s *sweep) locations(id MessageID) ([]Location, error) {
	all, err := s.liveEntries(id)
	if err != nil {
		return nil, err
	}
	for e, err := range s.snap.Scan(kv.Prefix([]byte{keyTodo})) {
		if err != nil {
			return nil, err
		}
		mailbox, _ := keyID(e.Key)
		uid, _ := keyNumber(e.Key)
		v, found, err := get(s.snap, numberKey(keyEntry, mailbox, uid))
		if err != nil || !found {
			return nil, err
		}
		err = readBlock(s.snap, uid, v, func(r *Row) {
			if r.ID != id {
				return
			}
			if live, _ := s.live(Location{mailbox, r.UID}); live {
				all = append(all, Location{mailbox, r.UID})
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}
