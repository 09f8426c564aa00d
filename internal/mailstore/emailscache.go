package mailstore

import (
	"bytes"
	"cmp"
	"container/list"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"postroad/internal/kv"
)

// emailsCell has the newest Emails of one reader of an account. It keeps the views of the
// mailboxes open, so that their columns are brought forward and not read anew.
type emailsCell struct {
	account *Account
	reader  AccountID
	use     *list.Element // of emailsCache.mu

	current atomic.Pointer[Emails]
	gone    atomic.Bool // to be dropped by who holds mu

	mu      sync.Mutex // one refresh at a time
	views   map[MailboxID]*View
	bad     MailboxID // its view is to be closed: the mailbox is gone, or another one
	dropped bool      // not in the cache any more

	statesMu sync.Mutex
	states   knownStates // of statesMu
}

// emailsCache holds the cells of all accounts, bounded by what they take.
type emailsCache struct {
	max int64

	mu    sync.Mutex
	order *list.List // of *cellUse, least recently used first
	bytes int64
}

type cellUse struct {
	cell  *emailsCell
	bytes int64
}

// emailsCached is how many cells there are, however small.
const emailsCached = 2000

// errAgain says that somebody else changed what was being read.
var errAgain = errors.New("mailstore: changed while it was read")

// emailsTries is how often a refresh begins anew when mailboxes come and go under it.
const emailsTries = 50

// Emails returns the messages that a reader may see, as they are now: all that was durable
// when it was called. For the owner these are all that are in mailboxes.
func (a *Account) Emails(ctx context.Context, r Reader) (*Emails, error) {
	for {
		c := a.current().emailsCell(r.ID)
		e, err := c.get(ctx, r)
		if !errors.Is(err, errDropped) {
			return e, storageError("read all messages", err)
		}
	}
}

// errDropped says that a cell is not used any more.
var errDropped = errors.New("mailstore: dropped from the cache")

// emailsCell returns the cell of a reader.
func (a *Account) emailsCell(reader AccountID) *emailsCell {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.emails[reader]
	if c == nil {
		c = &emailsCell{account: a, reader: reader, views: map[MailboxID]*View{}}
		if a.emails == nil {
			a.emails = map[AccountID]*emailsCell{}
		}
		a.emails[reader] = c
		a.opened++ // until it is dropped
	}
	return c
}

// get returns the newest Emails.
func (c *emailsCell) get(ctx context.Context, r Reader) (*Emails, error) {
	a := c.account
	if e := c.current.Load(); e != nil {
		versions, err := a.store.engine().Versions(ctx, a.space)
		if err != nil {
			return nil, err
		}
		if versions[0] == e.version {
			same, err := e.sameSight(ctx, r)
			if err != nil || same {
				a.store.emails.used(c, 0)
				return e, err
			}
		}
	}
	c.mu.Lock()
	defer c.unlock()
	if c.dropped {
		return nil, errDropped
	}
	for range emailsTries {
		e, err := c.refresh(ctx, r)
		if errors.Is(err, errAgain) || errors.Is(err, ErrNoMailbox) {
			continue
		}
		if err != nil {
			if c.current.Load() == nil {
				a.store.emails.used(c, 1) // so that it goes some time
			}
			return nil, err
		}
		c.current.Store(e)
		a.store.emails.used(c, c.bytes(e))
		return e, nil
	}
	return nil, ErrTemporary
}

// sameSight tells whether a reader may see what e has: his groups can have changed without
// a commit to the account.
func (e *Emails) sameSight(ctx context.Context, r Reader) (bool, error) {
	if e.sight.owner {
		return true, nil
	}
	now, err := e.account.sightOf(ctx, e.tree, r)
	if err != nil {
		return false, err
	}
	return now.mail == e.sight.mail && now.mailboxes == e.sight.mailboxes, nil
}

// refresh makes the Emails of now. errAgain when the mailboxes changed under it. The caller
// holds mu.
func (c *emailsCell) refresh(ctx context.Context, r Reader) (*Emails, error) {
	a := c.account
	t, err := a.Tree(ctx)
	if err != nil {
		return nil, err
	}
	s, err := a.sightOf(ctx, t, r)
	if err != nil {
		return nil, err
	}
	if err := c.open(ctx, s.readable); err != nil {
		return nil, err
	}
	snap, now, err := c.read(ctx, t, s)
	if v := c.views[c.bad]; v != nil {
		v.Close()
		delete(c.views, c.bad)
	}
	c.bad = 0
	if err != nil {
		return nil, err
	}
	defer snap.Close()
	old := c.current.Load()
	if old != nil && now.log != nil {
		e, err := old.follow(snap, now)
		if e != nil || err != nil {
			return e, err
		}
	}
	return loadEmails(c, snap, now)
}

// open opens the views of mailboxes, and closes those of others.
func (c *emailsCell) open(ctx context.Context, ids []MailboxID) error {
	for id, v := range c.views {
		if !contains(ids, id) {
			v.Close()
			delete(c.views, id)
		}
	}
	for _, id := range ids {
		if c.views[id] != nil {
			continue
		}
		v, err := c.account.ViewAs(ctx, id, c.reader)
		if err != nil {
			return err
		}
		c.views[id] = v
	}
	return nil
}

// emailsNow is what an Emails is made of.
type emailsNow struct {
	tree      *Tree
	sight     *sight
	snapshots map[MailboxID]*Snapshot
	log       *emailsLog // what changed since the one before; nil: not known
}

// emailsLog is what the change log tells since an Emails.
type emailsLog struct {
	touched map[MailboxID]bool
	joined  []ThreadID // threads that joined others
}

// read reads all mailboxes at one moment, whose snapshot the caller closes. What did not
// change since the newest Emails is taken from there.
func (c *emailsCell) read(ctx context.Context, t *Tree, s *sight) (_ kv.Snapshot, _ *emailsNow, err error) {
	lives := make([]*live, 0, len(s.readable))
	for _, id := range s.readable {
		lives = append(lives, c.views[id].live)
	}
	slices.SortFunc(lives, func(a, b *live) int { return cmp.Compare(a.mailbox, b.mailbox) })
	for _, l := range lives {
		l.mu.Lock()
		defer l.mu.Unlock()
	}
	// While we hold them no columns get past what we read now.
	snap, err := c.account.snapshot(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			snap.Close()
		}
	}()
	now := &emailsNow{sight: s, snapshots: make(map[MailboxID]*Snapshot, len(lives))}
	if now.tree, err = c.account.treeAt(snap); err != nil {
		return nil, nil, err
	}
	if !bytes.Equal(now.tree.stamp, t.stamp) {
		return nil, nil, errAgain
	}
	old := c.current.Load()
	if old != nil {
		if now.log, err = readEmailsLog(snap, uint64(old.version), c.reader); err != nil {
			return nil, nil, err
		}
	}
	for _, id := range s.readable {
		if now.log != nil && !now.log.touched[id] {
			if was := old.Snapshot(id); was != nil && was.validity == t.ID(id).UIDValidity {
				now.snapshots[id] = was
				continue
			}
		}
		if now.snapshots[id], err = c.views[id].at(snap); err != nil {
			c.bad = id
			return nil, nil, err
		}
	}
	return snap, now, nil
}

// at returns the mailbox as a snapshot of the engine has it, which is not older than what
// the columns are at. The caller holds live.mu.
func (v *View) at(snap kv.Snapshot) (*Snapshot, error) {
	if v.live.deleted {
		return nil, ErrNoMailbox
	}
	s, err := v.live.refreshAt(snap)
	if err != nil || v.overlay == nil {
		return s, err
	}
	if v.overlay.current != nil && v.overlay.current.version == snap.Version() {
		return v.overlay.current, nil
	}
	return v.overlay.lay(snap, s)
}

// readEmailsLog reads what changed after a version; nil when it is too much or too long ago.
func readEmailsLog(snap kv.Snapshot, since uint64, reader AccountID) (*emailsLog, error) {
	l := &emailsLog{touched: map[MailboxID]bool{}}
	n := 0
	complete, err := readChanges(snap, since, func(c *change) bool {
		switch n++; c.kind {
		case changeJoined:
			l.joined = append(l.joined, c.ids[0])
		case changeSeen:
			l.touched[c.mailbox] = l.touched[c.mailbox] || c.reader == reader
		case changeMailbox:
		default:
			l.touched[c.mailbox] = true
		}
		return n < dirtyMax
	})
	if err != nil || !complete || n >= dirtyMax {
		return nil, err
	}
	return l, nil
}

// bytes is what a cell holds.
func (c *emailsCell) bytes(e *Emails) int64 {
	n := int64(4096) + e.bytes()
	for i := range e.boxes {
		if s := e.boxes[i].snapshot; s != nil {
			n += int64(s.n) * rowBytes
		}
	}
	return n
}

// used notes that a cell was used, and what it holds (0: what it did). Those that were not
// used for longest go when all hold too much.
func (x *emailsCache) used(c *emailsCell, bytes int64) {
	var drop []*emailsCell
	x.mu.Lock()
	if c.use == nil {
		if bytes == 0 {
			x.mu.Unlock()
			return // dropped meanwhile
		}
		c.use = x.order.PushBack(&cellUse{cell: c})
	}
	u := c.use.Value.(*cellUse)
	if bytes > 0 {
		x.bytes += bytes - u.bytes
		u.bytes = bytes
	}
	x.order.MoveToBack(c.use)
	for x.order.Len() > 1 && (x.bytes > x.max || x.order.Len() > emailsCached) {
		oldest := x.order.Front()
		u := x.order.Remove(oldest).(*cellUse)
		u.cell.use = nil
		x.bytes -= u.bytes
		drop = append(drop, u.cell)
	}
	x.mu.Unlock()
	for _, d := range drop {
		d.drop()
	}
}

// drop takes a cell out of its account. One that is being refreshed goes when that is over.
func (c *emailsCell) drop() {
	a := c.account
	a.mu.Lock()
	if a.emails[c.reader] != c {
		a.mu.Unlock()
		return
	}
	delete(a.emails, c.reader)
	a.opened--
	a.mu.Unlock()
	c.gone.Store(true)
	c.end()
}

// unlock ends a refresh.
func (c *emailsCell) unlock() {
	c.mu.Unlock()
	if c.gone.Load() {
		c.end()
	}
}

// end closes a cell that is to go, unless somebody holds it, who does it then.
func (c *emailsCell) end() {
	if c.mu.TryLock() {
		c.close()
		c.mu.Unlock()
	}
}

// close gives the views back. The caller holds mu.
func (c *emailsCell) close() {
	c.dropped = true
	c.current.Store(nil)
	for id, v := range c.views {
		v.Close()
		delete(c.views, id)
	}
}

// dropEmails drops the cells of an account that ends.
func (a *Account) dropEmails() {
	a.mu.Lock()
	cells := make([]*emailsCell, 0, len(a.emails))
	for _, c := range a.emails {
		cells = append(cells, c)
	}
	a.mu.Unlock()
	for _, c := range cells {
		a.store.emails.forget(c)
		c.drop()
	}
}

// forget takes a cell out of the order.
func (x *emailsCache) forget(c *emailsCell) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if c.use != nil {
		x.bytes -= x.order.Remove(c.use).(*cellUse).bytes
		c.use = nil
	}
}
