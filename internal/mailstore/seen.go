package mailstore

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"postroad/imap"
	"postroad/internal/kv"
)

// In a mailbox of somebody else each reader has his own \Seen (RFC 4314, 5.2: a flag that
// is not shared). The owner's is that of the entries; a reader's lies beside them as runs
// of UIDs, 1024 to a chunk, with the mod-sequences of the commits that changed them, which
// are those of the account like all others. For a reader a message has the higher of the
// two mod-sequences, and so has the mailbox; nobody else's changes when he reads.
//
// Nothing is taken out when a message is expunged: UIDs do not come back, and who counts
// leaves out what the states of the mailbox tell to be gone.

// seenBits: a chunk of a reader's \Seen is 1024 UIDs. In the worst case, each message read
// by a commit of its own, its value has 8 KB.
const (
	seenBits  = 10
	seenChunk = 1 << seenBits
)

// seenRun is a stretch of UIDs whose \Seen a reader has set, or taken away, in one commit.
type seenRun struct {
	first, last uint32
	seen        bool
	modseq      uint64
}

// seenStampOffset is where the mod-sequence of the newest change stands in the values.
const seenStampOffset = 1

// seenKey names a chunk.
func seenKey(mailbox MailboxID, reader AccountID, n uint32) []byte {
	return binary.BigEndian.AppendUint32(key(keySeen, mailbox, reader), n)
}

// readSeenChunk calls f for each run of a value, in order.
func readSeenChunk(n uint32, v []byte, f func(seenRun)) error {
	r := newReader(v)
	stamp := r.uint64()
	for at := n << seenBits; len(r.b) > 0 && !r.bad; {
		var u seenRun
		u.first = at + uint32(r.count(seenChunk-1))
		u.last = u.first + uint32(r.count(seenChunk-1))
		bits := r.uvarint()
		u.seen = bits&1 != 0
		if u.modseq = bits >> 1; u.modseq == 0 {
			u.modseq = stamp
		}
		if u.last>>seenBits != n {
			r.fail()
		}
		if r.bad {
			break
		}
		f(u)
		at = u.last + 1
	}
	return r.err("seen messages of a reader")
}

// readSeen reads all runs of a reader in a mailbox, in order.
func readSeen(snap kv.Snapshot, mailbox MailboxID, reader AccountID) ([]seenRun, error) {
	var runs []seenRun
	r := kv.Prefix(key(keySeen, mailbox, reader))
	r.From = seenKey(mailbox, reader, 0) // behind the head
	for e, err := range snap.Scan(r) {
		if err != nil {
			return nil, fmt.Errorf("scan seen messages: %w", err)
		}
		if len(e.Key) != 1+8+8+4 {
			return nil, fmt.Errorf("%w: key of seen messages %q", ErrDamaged, e.Key)
		}
		n := binary.BigEndian.Uint32(e.Key[17:])
		if err := readSeenChunk(n, e.Value, func(u seenRun) { runs = append(runs, u) }); err != nil {
			return nil, err
		}
	}
	return runs, nil
}

// readSeenHighest reads the mod-sequence of a reader's newest change, 0 when he made none.
func readSeenHighest(snap kv.Snapshot, mailbox MailboxID, reader AccountID) (uint64, error) {
	v, found, err := get(snap, key(keySeen, mailbox, reader))
	if err != nil || !found {
		return 0, err
	}
	r := newReader(v)
	n := r.uint64()
	return n, r.err("HIGHESTMODSEQ of a reader")
}

// seenSlot is what a reader has done to one UID.
type seenSlot struct {
	stated, seen bool
	modseq       uint64 // 0 once it was changed
}

// seenState is one chunk, read to be changed.
type seenState struct {
	key     []byte
	raw     []byte
	found   bool
	changed bool
	slots   [seenChunk]seenSlot
}

// readSeenState reads a chunk.
func readSeenState(snap kv.Snapshot, mailbox MailboxID, reader AccountID, n uint32) (*seenState, error) {
	c := &seenState{key: seenKey(mailbox, reader, n)}
	var err error
	if c.raw, c.found, err = get(snap, c.key); err != nil || !c.found {
		return c, err
	}
	err = readSeenChunk(n, c.raw, func(u seenRun) {
		for uid := u.first; uid <= u.last; uid++ {
			c.slots[uid&(seenChunk-1)] = seenSlot{true, u.seen, u.modseq}
		}
	})
	return c, err
}

// put writes the chunk with the commit's version as stamp.
func (c *seenState) put() kv.Put {
	v := append(make([]byte, 0, 64), format1, 0, 0, 0, 0, 0, 0, 0, 0)
	at := 0
	for i := 0; i < seenChunk; {
		s := c.slots[i]
		if !s.stated {
			i++
			continue
		}
		j := i + 1
		for j < seenChunk && c.slots[j] == s {
			j++
		}
		bits := s.modseq << 1
		if s.seen {
			bits |= 1
		}
		v = binary.AppendUvarint(v, uint64(i-at))
		v = binary.AppendUvarint(v, uint64(j-1-i))
		v = binary.AppendUvarint(v, bits)
		i, at = j, j
	}
	return kv.Put{Key: c.key, Value: v, Places: []kv.Place{{InValue: true, Offset: seenStampOffset, Width: 8, Version: true}}}
}

// storeFlagsOfReader is storeFlags with the \Seen of a reader in place of the owner's.
func (w *work) storeFlagsOfReader(mailbox MailboxID, uids imap.UIDSet, c FlagChange) (*Stored, error) {
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
	own, err := w.seenStates(mailbox, c.Reader, chunks)
	if err != nil {
		return nil, err
	}
	var n tally
	var changed []*slot
	var read imap.UIDSet
	eachSlot(chunks, uids, func(k *chunk, s *slot) {
		if !s.live() {
			return
		}
		states := own[s.UID>>seenBits]
		mine := &states.slots[s.UID&(seenChunk-1)]
		if c.Conditional && max(s.ModSeq, mine.modseq) > c.UnchangedSince {
			out.Modified.Add(s.UID)
			return
		}
		flags := s.Flags &^ Seen
		if mine.seen {
			flags |= Seen
		}
		to := c.result(flags, given)
		if to == flags {
			out.Same.Add(s.UID)
			return
		}
		if (to^flags)&Seen != 0 {
			*mine = seenSlot{stated: true, seen: to&Seen != 0}
			states.changed = true
			read.Add(s.UID)
		}
		if (to^flags)&^Seen != 0 {
			to = to&^Seen | s.Flags&Seen
			n.flags(s.Flags, -1)
			n.flags(to, 1)
			k.set(s, to)
			changed = append(changed, s)
		}
		out.Changed.Add(s.UID)
	})
	if err := w.putOfReader(mailbox, c.Reader, chunks, changed, n, own, out); err != nil || len(read) == 0 {
		return out, err
	}
	logSeen(w.batch(), mailbox, c.Reader, read)
	return out, nil
}

// seenStates reads the reader's chunks for those of the mailbox.
func (w *work) seenStates(mailbox MailboxID, reader AccountID, chunks []*chunk) (map[uint32]*seenState, error) {
	own := map[uint32]*seenState{}
	for _, c := range chunks {
		n := c.number >> (seenBits - chunkBits)
		if own[n] != nil {
			continue
		}
		var err error
		if own[n], err = readSeenState(w.snap, mailbox, reader, n); err != nil {
			return nil, err
		}
	}
	return own, nil
}

// putOfReader writes what storeFlagsOfReader has changed: flags of entries, the reader's
// own, or both.
func (w *work) putOfReader(mailbox MailboxID, reader AccountID, chunks []*chunk, changed []*slot, n tally, own map[uint32]*seenState, out *Stored) error {
	if len(out.Changed) == 0 {
		return nil
	}
	if _, err := w.mailbox(mailbox); err != nil {
		return err
	}
	b := w.batch()
	if len(changed) > 0 {
		w.putChunks(chunks)
		n.add(b, mailbox)
		logSlots(b, changeFlags, mailbox, changed)
		w.touch(mailbox)
	}
	mine := false
	for _, c := range own {
		if c.changed {
			mine = true
			b.Guards = append(b.Guards, guardValue(c.key, c.raw, c.found))
			b.Puts = append(b.Puts, c.put())
		}
	}
	if mine {
		w.seenBy(mailbox, reader)
	}
	w.u.After(w.a.space, func(r kv.Result) { out.ModSeq = uint64(r.Version) })
	return nil
}

// seenBy gives a mailbox the commit's mod-sequence for one reader, and wakes all.
func (w *work) seenBy(mailbox MailboxID, reader AccountID) {
	b := w.batch()
	b.Puts = append(b.Puts, kv.Put{Key: key(keySeen, mailbox, reader), Value: append([]byte{format1}, make([]byte, 8)...),
		Places: []kv.Place{{InValue: true, Offset: seenStampOffset, Width: 8, Version: true}}})
	s, id := w.a.store, w.a.id
	w.u.After(w.a.space, func(r kv.Result) { s.moved(id, r.Version, []MailboxID{mailbox}) })
}

// StatusAs is Status as a reader has it: unseen is what he has not read.
func (a *Account) StatusAs(ctx context.Context, reader AccountID, ids ...MailboxID) ([]Status, error) {
	if reader == 0 || reader == a.id {
		return a.Status(ctx, ids...)
	}
	snap, err := a.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	defer snap.Close()
	t, err := a.treeAt(snap)
	if err != nil {
		return nil, storageError("read the mailboxes", err)
	}
	all := make([]Status, 0, len(ids))
	for _, id := range ids {
		m := t.ID(id)
		if m == nil {
			return nil, fmt.Errorf("status of mailbox %s: %w", id, ErrNoMailbox)
		}
		s, err := readStatus(snap, m)
		if err == nil {
			err = s.as(snap, id, reader)
		}
		if err != nil {
			return nil, storageError("status of mailbox "+id.String(), err)
		}
		all = append(all, s)
	}
	return all, nil
}

// as puts a reader's own \Seen into a status.
func (s *Status) as(snap kv.Snapshot, mailbox MailboxID, reader AccountID) error {
	highest, err := readSeenHighest(snap, mailbox, reader)
	if err != nil {
		return err
	}
	s.HighestModSeq = max(s.HighestModSeq, highest)
	s.Unseen = s.Messages
	if highest == 0 {
		return nil
	}
	runs, err := readSeen(snap, mailbox, reader)
	if err != nil {
		return err
	}
	gone, err := readStates(snap, mailbox)
	if err != nil {
		return err
	}
	seen := 0
	k := 0
	for _, r := range runs {
		if !r.seen {
			continue
		}
		seen += int(r.last - r.first + 1)
		for k < len(gone.runs) && gone.runs[k].last < r.first {
			k++
		}
		for j := k; j < len(gone.runs) && gone.runs[j].first <= r.last; j++ {
			if g := &gone.runs[j]; g.gone {
				seen -= int(min(g.last, r.last) - max(g.first, r.first) + 1)
			}
		}
	}
	if seen > int(s.Messages) {
		return fmt.Errorf("%w: %d messages are seen of %d", ErrDamaged, seen, s.Messages)
	}
	s.Unseen = s.Messages - uint32(seen)
	return nil
}

// overlay lays a reader's own \Seen over the columns of a mailbox. Segments in which it
// changes nothing are the shared ones; of the others it has flags and mod-sequences of its
// own, and the rest is shared. All views of one reader share it.
type overlay struct {
	live   *live
	reader AccountID

	// Of live.mu.
	refs    int
	highest uint64 // of the reader's newest change, at which runs are right
	runs    []seenRun
	laid    map[*segment]*segment // what came of each segment of the mailbox
	current *Snapshot
}

// ViewAs is View for somebody else than the owner, who has his own \Seen.
func (a *Account) ViewAs(ctx context.Context, mailbox MailboxID, reader AccountID) (*View, error) {
	v, err := a.View(ctx, mailbox)
	if err != nil || reader == 0 || reader == a.id {
		return v, err
	}
	l := v.live
	l.mu.Lock()
	o := l.overlays[reader]
	if o == nil {
		o = &overlay{live: l, reader: reader}
		if l.overlays == nil {
			l.overlays = map[AccountID]*overlay{}
		}
		l.overlays[reader] = o
	}
	o.refs++
	l.mu.Unlock()
	v.overlay = o
	if _, err := v.Snapshot(ctx); err != nil {
		v.Close()
		return nil, err
	}
	return v, nil
}

// leave gives a view of the overlay back.
func (o *overlay) leave() {
	o.live.mu.Lock()
	defer o.live.mu.Unlock()
	if o.refs--; o.refs == 0 {
		delete(o.live.overlays, o.reader)
	}
}

// snapshot returns the mailbox as the reader has it now.
func (o *overlay) snapshot(ctx context.Context) (*Snapshot, error) {
	l := o.live
	l.mu.Lock()
	defer l.mu.Unlock()
	if o.current != nil {
		versions, err := l.account.store.engine().Versions(ctx, l.account.space)
		if err != nil {
			return nil, err
		}
		if versions[0] == o.current.version {
			return o.current, nil
		}
	}
	for {
		s, err := o.refresh(ctx)
		if s != nil || err != nil {
			return s, err
		}
	}
}

// refresh lays the overlay over the newest columns; nil when these are newer than the
// engine's snapshot, which is then to be opened again.
func (o *overlay) refresh(ctx context.Context) (*Snapshot, error) {
	if o.live.deleted {
		return nil, ErrNoMailbox
	}
	snap, err := o.live.account.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	defer snap.Close()
	base, err := o.live.refreshAt(snap)
	if err != nil || base.version != snap.Version() {
		return nil, err
	}
	return o.lay(snap, base)
}

// lay lays the overlay over the columns of a snapshot.
func (o *overlay) lay(snap kv.Snapshot, base *Snapshot) (*Snapshot, error) {
	highest, err := readSeenHighest(snap, base.mailbox, o.reader)
	if err != nil {
		return nil, err
	}
	before := o.runs
	if highest != o.highest {
		if o.runs, err = readSeen(snap, base.mailbox, o.reader); err != nil {
			return nil, err
		}
		o.highest = highest
	}
	s := *base
	s.highest = max(base.highest, highest)
	s.segments = make([]*segment, len(base.segments))
	laid := make(map[*segment]*segment, len(base.segments))
	for i, g := range base.segments {
		first, last := g.uid[0], g.uid[g.len()-1]
		runs := within(o.runs, first, last)
		if s.segments[i] = o.laid[g]; s.segments[i] == nil || !slices.Equal(runs, within(before, first, last)) {
			s.segments[i] = g.overlaid(runs)
		}
		laid[g] = s.segments[i]
	}
	o.laid, o.current = laid, &s
	return &s, nil
}

// within returns the runs that touch the UIDs from first to last.
func within(runs []seenRun, first, last uint32) []seenRun {
	from, _ := slices.BinarySearchFunc(runs, first, func(r seenRun, uid uint32) int {
		if r.last < uid {
			return -1
		}
		return 1
	})
	to := from
	for to < len(runs) && runs[to].first <= last {
		to++
	}
	return runs[from:to]
}

// overlaid returns the segment with a reader's \Seen: itself where that is the same.
func (g *segment) overlaid(runs []seenRun) *segment {
	out := *g
	own := false
	take := func() {
		if !own {
			own = true
			out.flags, out.modseq = slices.Clone(g.flags), slices.Clone(g.modseq)
		}
	}
	for i, f := range g.flags {
		if f&Seen != 0 {
			take()
			out.flags[i] = f &^ Seen
		}
	}
	for _, r := range runs {
		i, _ := slices.BinarySearch(g.uid, r.first)
		for ; i < g.len() && g.uid[i] <= r.last; i++ {
			take()
			if r.seen {
				out.flags[i] |= Seen
			}
			out.modseq[i] = max(out.modseq[i], r.modseq)
		}
	}
	if !own {
		return g
	}
	return &out
}
