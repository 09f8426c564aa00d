package mailstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"postroad/imap"
	"postroad/internal/kv"
)

// dirtyMax is how many changes a view takes from the log before loading anew is cheaper.
const dirtyMax = 20_000

// live is the columns of one mailbox that all its readers share.
type live struct {
	account *Account
	mailbox MailboxID

	// Of account.mu.
	watch map[chan<- struct{}]bool
	calls map[*func()]bool // of NotifyFunc
	refs  int              // open Views

	current atomic.Pointer[Snapshot] // the newest
	mu      sync.Mutex               // one refresh at a time
	order   order                    // sort keys, once somebody has asked for them

	// Of mu.
	deleted  bool                   // the mailbox is gone
	overlays map[AccountID]*overlay // of readers who have it open
}

// viewCache counts the memory of views that nobody has open.
type viewCache struct {
	max int64

	mu    sync.Mutex
	bytes int64
	idle  []idleView // least recently used first
}

// idleView is a view that nobody has open, with what it is counted for.
type idleView struct {
	live  *live
	bytes int64
}

// View is an open mailbox. The columns are shared with everyone who has it open. Its
// methods may be called at once, until Close.
type View struct {
	live    *live
	overlay *overlay          // of a reader who is not the owner; nil: none
	chans   []chan<- struct{} // of account.mu
	calls   []*func()         // of account.mu
}

// View opens the live columns of a mailbox; Close gives it back.
func (a *Account) View(ctx context.Context, mailbox MailboxID) (*View, error) {
	a = a.current()
	a.mu.Lock()
	l := a.live[mailbox]
	if l == nil {
		l = &live{account: a, mailbox: mailbox}
		if a.live == nil {
			a.live = map[MailboxID]*live{}
		}
		a.live[mailbox] = l
	}
	l.refs++
	a.opened++
	a.mu.Unlock()
	a.store.views.take(l)
	v := &View{live: l}
	if _, err := v.Snapshot(ctx); err != nil {
		v.Close()
		if errors.Is(err, ErrNoMailbox) && a.replaced(ctx, l) {
			return a.View(ctx, mailbox)
		}
		return nil, err
	}
	return v, nil
}

// replaced forgets the columns of a mailbox that was deleted and is there again: to be
// brought back, or brought back. Its readers stay with what they had.
func (a *Account) replaced(ctx context.Context, l *live) bool {
	t, err := a.Tree(ctx)
	if err != nil || t.ID(l.mailbox) == nil {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.live[l.mailbox] == l {
		delete(a.live, l.mailbox)
	}
	return true
}

// Mailbox is the mailbox's id.
func (v *View) Mailbox() MailboxID { return v.live.mailbox }

// Notify makes ch receive (without blocking; a channel of capacity 1 loses nothing) after
// the mailbox changed. Hints may be one too many; Snapshot tells the truth.
func (v *View) Notify(ch chan<- struct{}) {
	l := v.live
	l.account.mu.Lock()
	defer l.account.mu.Unlock()
	if l.watch == nil {
		l.watch = map[chan<- struct{}]bool{}
	}
	l.watch[ch] = true
	v.chans = append(v.chans, ch)
}

// NotifyFunc is Notify for those who would need a goroutine to wait for a channel: wake is
// called, under a lock of ours, so it must neither wait nor call back. After stop has
// returned it is not called any more.
func (v *View) NotifyFunc(wake func()) (stop func()) {
	l, call := v.live, &wake
	l.account.mu.Lock()
	defer l.account.mu.Unlock()
	if l.calls == nil {
		l.calls = map[*func()]bool{}
	}
	l.calls[call] = true
	v.calls = append(v.calls, call)
	return func() {
		l.account.mu.Lock()
		defer l.account.mu.Unlock()
		v.calls = slices.DeleteFunc(v.calls, func(c *func()) bool { return c == call })
		delete(l.calls, call)
	}
}

// wake tells all who wait for a change. The caller holds account.mu.
func (l *live) wake() {
	for ch := range l.watch {
		hint(ch)
	}
	for call := range l.calls {
		(*call)()
	}
}

// Stop ends what Notify began.
func (v *View) Stop(ch chan<- struct{}) {
	l := v.live
	l.account.mu.Lock()
	defer l.account.mu.Unlock()
	v.chans = slices.DeleteFunc(v.chans, func(c chan<- struct{}) bool { return c == ch })
	delete(l.watch, ch)
}

// Close gives the view back and ends its notifications.
func (v *View) Close() {
	l := v.live
	if v.overlay != nil {
		v.overlay.leave()
	}
	a := l.account
	a.mu.Lock()
	for _, ch := range v.chans {
		delete(l.watch, ch)
	}
	for _, call := range v.calls {
		delete(l.calls, call)
	}
	v.chans, v.calls = nil, nil
	l.refs--
	a.opened--
	last := l.refs == 0
	a.mu.Unlock()
	if last {
		a.store.views.give(l)
	}
}

// take takes a view out of the idle ones.
func (c *viewCache) take(l *live) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(l)
}

// remove takes a view out of the idle ones if it is there. The caller holds mu.
func (c *viewCache) remove(l *live) {
	if i := slices.IndexFunc(c.idle, func(v idleView) bool { return v.live == l }); i >= 0 {
		c.bytes -= c.idle[i].bytes
		c.idle = slices.Delete(c.idle, i, i+1)
	}
}

// give puts a view to the idle ones and drops the oldest of them when they are too large.
func (c *viewCache) give(l *live) {
	var drop []*live
	c.mu.Lock()
	c.remove(l)
	n := l.bytes()
	c.idle = append(c.idle, idleView{l, n})
	c.bytes += n
	for len(c.idle) > 0 && (c.bytes > c.max || len(c.idle) > idleViewsMax) {
		drop = append(drop, c.idle[0].live)
		c.bytes -= c.idle[0].bytes
		c.idle = c.idle[1:]
	}
	c.mu.Unlock()
	for _, l := range drop {
		l.drop()
	}
}

// idleViewsMax is how many views nobody has open, however small.
const idleViewsMax = 10_000

// bytes is what a view holds.
func (l *live) bytes() int64 {
	s := l.current.Load()
	if s == nil {
		return 200
	}
	return 200 + int64(s.n)*rowBytes + int64(len(s.segments))*200 + l.order.size()
}

// drop forgets a view unless somebody opened it again.
func (l *live) drop() {
	a := l.account
	a.mu.Lock()
	defer a.mu.Unlock()
	if l.refs == 0 && a.live[l.mailbox] == l {
		delete(a.live, l.mailbox)
	}
}

// Snapshot returns the mailbox as it is now: all that was durable when it was called.
// ErrNoMailbox once it was deleted.
func (v *View) Snapshot(ctx context.Context) (*Snapshot, error) {
	l := v.live
	if v.overlay != nil {
		s, err := v.overlay.snapshot(ctx)
		return s, storageError("read mailbox "+l.mailbox.String(), err)
	}
	a := l.account
	if s := l.current.Load(); s != nil {
		versions, err := a.store.engine().Versions(ctx, a.space)
		if err != nil {
			return nil, storageError("version of the account", err)
		}
		if versions[0] == s.version {
			return s, nil
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s, err := l.refresh(ctx)
	return s, storageError("read mailbox "+l.mailbox.String(), err)
}

// refresh brings the columns to the newest version.
func (l *live) refresh(ctx context.Context) (*Snapshot, error) {
	if l.deleted {
		return nil, ErrNoMailbox
	}
	snap, err := l.account.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	defer snap.Close()
	return l.refreshAt(snap)
}

// refreshAt brings the columns to the version of a snapshot, if they are not past it. The
// caller holds mu.
func (l *live) refreshAt(snap kv.Snapshot) (*Snapshot, error) {
	old := l.current.Load()
	if old != nil && old.version >= snap.Version() {
		return old, nil
	}
	fresh := &Snapshot{account: l.account, mailbox: l.mailbox, version: snap.Version(), order: &l.order}
	err := l.head(snap, fresh)
	if err != nil {
		return nil, err
	}
	if old == nil {
		err = fresh.load(snap)
	} else {
		err = fresh.follow(snap, old)
	}
	if err != nil {
		return nil, err
	}
	fresh.count()
	l.current.Store(fresh)
	return fresh, nil
}

// head reads what is one for the whole mailbox.
func (l *live) head(snap kv.Snapshot, s *Snapshot) error {
	t, err := l.account.treeAt(snap)
	if err != nil {
		return err
	}
	m := t.ID(l.mailbox)
	// A mailbox that became recoverable, or was brought back, is another one.
	if old := l.current.Load(); m == nil || old != nil && old.validity != m.UIDValidity {
		l.deleted = true
		return ErrNoMailbox
	}
	s.validity = m.UIDValidity
	if s.next, err = readUIDNext(snap, l.mailbox); err != nil {
		return err
	}
	if s.highest, err = readHighest(snap, l.mailbox); err != nil {
		return err
	}
	raw, _, err := get(snap, key(keyKeywords, l.mailbox))
	if err != nil {
		return err
	}
	s.keywords, err = readKeywords(raw)
	return err
}

// load reads the whole mailbox. Rows that two blocks hold it passes over, and has them mended.
func (s *Snapshot) load(snap kv.Snapshot) error {
	states, err := readStates(snap, s.mailbox)
	if err != nil {
		return err
	}
	var open *room
	n := 0 // messages in open
	last, doubled := uint32(0), false
	blocks, err := scanBlocks(snap, kv.Prefix(key(keyEntry, s.mailbox)), func(r *Row) {
		if r.UID <= last {
			doubled = true
			return
		}
		last = r.UID
		if state := states.at(r.UID); state != nil {
			if state.gone {
				return
			}
			r.Flags, r.ModSeq = state.flags, state.modseq
		}
		if n == segmentMax {
			s.segments = append(s.segments, open.segment(n))
			n = 0
		}
		if n == 0 {
			open = new(room)
		}
		open.put(n, r)
		n++
	})
	if n > 0 {
		s.segments = append(s.segments, open.segment(n))
	}
	if blocks > packAfter && blocks > len(s.segments)*segmentMax/packFrom {
		s.account.current().fresh(s.mailbox, blocks)
	}
	if doubled {
		s.account.current().fresh(s.mailbox, packAfter)
	}
	return err
}

// states are the states of all chunks of a mailbox, as runs in the order of UIDs.
type states struct {
	runs []run
	next int // the run that the last UID asked for was before or in
}

func readStates(snap kv.Snapshot, mailbox MailboxID) (*states, error) {
	s := &states{}
	for e, err := range snap.Scan(kv.Prefix(key(keyState, mailbox))) {
		if err != nil {
			return nil, fmt.Errorf("scan states: %w", err)
		}
		n, ok := keyNumber(e.Key)
		if !ok {
			return nil, fmt.Errorf("%w: key of a state %q", ErrDamaged, e.Key)
		}
		if err := readState(n, e.Value, func(r run) { s.runs = append(s.runs, r) }); err != nil {
			return nil, fmt.Errorf("chunk %d: %w", n, err)
		}
	}
	return s, nil
}

// at returns the state of a UID, nil where there is none. UIDs are asked for in ascending
// order.
func (s *states) at(uid uint32) *run {
	for s.next < len(s.runs) && s.runs[s.next].last < uid {
		s.next++
	}
	if s.next == len(s.runs) || s.runs[s.next].first > uid {
		return nil
	}
	return &s.runs[s.next]
}

// follow makes s from an older snapshot and what changed since.
func (s *Snapshot) follow(snap kv.Snapshot, old *Snapshot) error {
	if s.highest == old.highest {
		s.segments = old.segments
		return nil
	}
	dirty, complete, err := dirtyChunks(snap, s.mailbox, uint64(old.version))
	if err != nil {
		return err
	}
	if !complete {
		return s.load(snap)
	}
	s.segments = slices.Clone(old.segments)
	if err := s.extend(snap, old.next); err != nil {
		return err
	}
	for _, n := range dirty {
		if err := s.restate(snap, n); err != nil {
			return err
		}
	}
	return nil
}

// dirtyChunks are the chunks of a mailbox whose states changed after a version, in order.
func dirtyChunks(snap kv.Snapshot, mailbox MailboxID, since uint64) (dirty []uint32, complete bool, err error) {
	set := map[uint32]bool{}
	n := 0
	complete, err = readChanges(snap, since, func(c *change) bool {
		if n++; c.mailbox == mailbox && (c.kind == changeFlags || c.kind == changeVanished) {
			for _, r := range c.uids {
				for k := r.First >> chunkBits; k <= r.Last>>chunkBits; k++ {
					set[k] = true
				}
			}
		}
		return n < dirtyMax
	})
	if err != nil || !complete || n >= dirtyMax {
		return nil, false, err
	}
	for k := range set {
		dirty = append(dirty, k)
	}
	slices.Sort(dirty)
	return dirty, true, nil
}

// extend adds the messages with UIDs from first on. The last segment is grown in place:
// readers of older snapshots see only their own length of it.
func (s *Snapshot) extend(snap kv.Snapshot, first uint32) error {
	var open *segment
	if k := len(s.segments); k > 0 && s.segments[k-1].len() < segmentMax {
		last := *s.segments[k-1]
		open = &last
	}
	grown := false
	return scanEntries(snap, s.mailbox, first, ^uint32(0), func(r *Row) {
		if open == nil || open.len() == segmentMax {
			open = newSegment(segmentMax)
			s.segments = append(s.segments, open)
		} else if !grown {
			s.segments[len(s.segments)-1] = open
		}
		grown = true
		open.push(r)
	})
}

// restate lays the state of a chunk over its messages.
func (s *Snapshot) restate(snap kv.Snapshot, n uint32) error {
	raw, found, err := get(snap, numberKey(keyState, s.mailbox, n))
	if err != nil || !found {
		return err
	}
	return readState(n, raw, func(r run) { s.restateRun(r) })
}

// restateRun lays one run over the segments.
func (s *Snapshot) restateRun(r run) {
	k, _ := slices.BinarySearchFunc(s.segments, r.first, func(g *segment, uid uint32) int {
		if g.uid[g.len()-1] < uid {
			return -1
		}
		return 1
	})
	for k < len(s.segments) && s.segments[k].uid[0] <= r.last {
		g := s.segments[k]
		from, _ := slices.BinarySearch(g.uid, r.first)
		to, found := slices.BinarySearch(g.uid, r.last)
		if found {
			to++
		}
		g = g.with(from, to, r)
		if g == nil {
			s.segments = slices.Delete(s.segments, k, k+1)
			continue
		}
		s.segments[k] = g
		k++
	}
}

// with returns the segment with the state of r for the messages from ≤ i < to: itself
// where it has that already, nil where no message is left.
func (g *segment) with(from, to int, r run) *segment {
	if from >= to {
		return g
	}
	if r.gone {
		if to-from == g.len() {
			return nil
		}
		// A new segment keeps some room, as the last one goes on growing.
		out := newSegment(min(segmentMax, g.len()-(to-from)+64))
		for i := range g.len() {
			if i < from || i >= to {
				row := g.row(i)
				out.push(&row)
			}
		}
		return out
	}
	same := true
	for i := from; i < to && same; i++ {
		same = g.modseq[i] == r.modseq
	}
	if same {
		return g
	}
	out := *g
	out.flags, out.modseq = grownClone(g.flags), grownClone(g.modseq)
	for i := from; i < to; i++ {
		out.flags[i], out.modseq[i] = r.flags, r.modseq
	}
	return &out
}

// grownClone copies a column with its room.
func grownClone[T any](s []T) []T { return append(make([]T, 0, cap(s)), s...) }

// Vanished returns the UIDs, of those in known (nil: all), that were expunged after the
// mod-sequence since (RFC 7162, 3.2.5). Never one that is in s. The states of the chunks
// remember every expunged message, so it is exact however long ago since is.
func (s *Snapshot) Vanished(ctx context.Context, since uint64, known imap.UIDSet) (imap.UIDSet, error) {
	var gone imap.UIDSet
	if since >= s.highest {
		return nil, nil
	}
	snap, err := s.account.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	defer snap.Close()
	all, err := readStates(snap, s.mailbox)
	if err != nil {
		return nil, storageError("read vanished messages", err)
	}
	for _, r := range all.runs {
		if r.gone && r.modseq > since && r.modseq <= uint64(s.version) {
			gone.AddRange(r.first, r.last)
		}
	}
	if known != nil {
		gone = gone.Intersect(known)
	}
	return gone, nil
}
