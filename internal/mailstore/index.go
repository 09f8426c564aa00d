package mailstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"postroad/internal/blob"
	"postroad/internal/kv"
	"postroad/internal/mailflow"
	"postroad/internal/search"
	"postroad/message"
)

// Bounds of indexing.
const (
	termsCached   = 32  // records of terms kept for the other recipients of a message
	foldAfter     = 512 // messages after which an account's records are folded at once
	foldLeast     = 64  // below which they are left as they are
	backfillCount = 64  // messages that a back-fill takes at a time
)

// Index is the account's full-text index.
func (a *Account) Index() *search.Index {
	return &search.Index{Engine: a.store.engine(), Space: a.space, Clock: a.store.o.Clock}
}

// termCache has the terms of the messages that came last: those for several recipients,
// and those whose commit is tried again, are read once.
type termCache struct {
	mu    sync.Mutex
	ids   [termsCached]blob.ID // mu
	terms [termsCached]search.Record
	next  int
}

func (c *termCache) get(id blob.ID) search.Record {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.ids {
		if c.ids[i] == id {
			return c.terms[i]
		}
	}
	return nil
}

func (c *termCache) put(id blob.ID, r search.Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ids[c.next], c.terms[c.next] = id, r
	c.next = (c.next + 1) % termsCached
}

// readTerms makes the record of a message's terms from its body, which is at hand.
func (a *Account) readTerms(ctx context.Context, m *Incoming) error {
	if m.terms != nil || a.store.o.NoIndex {
		return nil
	}
	if m.terms = a.store.terms.get(m.Body.ID); m.terms != nil {
		return nil
	}
	body, err := a.Open(ctx, m.Body)
	if err != nil {
		return err
	}
	defer body.Close()
	if m.terms, err = search.NewRecord(m.Message, body); err != nil {
		return storageError("index a message", err)
	}
	a.store.terms.put(m.Body.ID, m.terms)
	return nil
}

// indexed counts new records, so that they are folded when there are many.
func (a *Account) indexed(pending bool) {
	a.mu.Lock()
	a.records++
	due := a.records == foldAfter || pending
	first := a.records == 1
	if a.records == foldAfter {
		a.records = 0
	}
	a.mu.Unlock()
	switch {
	case due:
		a.store.indexing.later(a.id, 0)
	case first:
		a.store.indexing.later(a.id, a.store.o.IndexAfter)
	}
}

// schedule are accounts that have something to be done, each once. The zero schedule is
// empty.
type schedule struct {
	mu   sync.Mutex
	due  []due // in no order; mu
	wake chan struct{}
}

func newSchedule() *schedule { return &schedule{wake: make(chan struct{}, 1)} }

// later puts an account on the list, or brings it forward.
func (s *schedule) later(id AccountID, after time.Duration) {
	at := time.Now().Add(after)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.due {
		if s.due[i].id == id {
			if at.Before(s.due[i].at) {
				s.due[i].at = at
				hint(s.wake)
			}
			return
		}
	}
	s.due = append(s.due, due{id, at})
	hint(s.wake)
}

// next takes an account off whose time has come; else 0 and how long that is.
func (s *schedule) next() (AccountID, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	wait, first := time.Hour, -1
	for i := range s.due {
		if w := time.Until(s.due[i].at); w < wait {
			wait, first = w, i
		}
	}
	if first < 0 || wait > 0 {
		return 0, wait
	}
	id := s.due[first].id
	s.due[first] = s.due[len(s.due)-1]
	s.due = s.due[:len(s.due)-1]
	return id, 0
}

// runIndexing does the index's work in the background until ctx is done.
func (s *Store) runIndexing(ctx context.Context) {
	for ctx.Err() == nil {
		id, wait := s.indexing.next()
		if id != 0 {
			s.indexOne(ctx, id)
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-s.indexing.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (s *Store) indexOne(ctx context.Context, id AccountID) {
	a, err := s.Account(ctx, id)
	if err == nil {
		err = a.TendIndex(ctx, nil)
	}
	if err != nil && !errors.Is(err, ErrNoAccount) && ctx.Err() == nil {
		s.o.Log.Error("indexing of an account failed; it is tried again", "account", id, "error", err)
		s.indexing.later(id, s.o.SweepAfter)
	}
}

// hasIndexing tells whether there is something to do with an index.
func hasIndexing(snap kv.Snapshot) (bool, error) {
	w, err := search.ReadWork(snap)
	return err == nil && (!w.Whole || len(w.Pending) > 0 || w.Records >= foldLeast), err
}

// TendIndex brings the index up to date: terms that were put off, messages that came
// before the index, and the merge. It takes small commits and may be broken off and called
// again at any time. progress may be nil.
func (a *Account) TendIndex(ctx context.Context, progress func(done, of int64)) error {
	if progress == nil {
		progress = func(int64, int64) {}
	}
	a.indexMu.Lock()
	defer a.indexMu.Unlock()
	return storageError("index", a.tendIndex(ctx, progress))
}

func (a *Account) tendIndex(ctx context.Context, progress func(done, of int64)) error {
	x := a.Index()
	if err := x.Clean(ctx); err != nil {
		return err
	}
	for {
		w, err := x.Work(ctx)
		if err != nil {
			return err
		}
		for _, id := range w.Pending {
			if err := a.completeTerms(ctx, x, id); err != nil {
				return err
			}
		}
		if !w.Whole {
			if err := a.backfill(ctx, x, w.From, progress); err != nil {
				return err
			}
			continue
		}
		more := len(w.Pending) > 0
		if w.Records >= foldLeast {
			n, _, err := x.Fold(ctx)
			if err != nil {
				return err
			}
			more = more || n > 0
		}
		if !more {
			break
		}
	}
	return a.mergeIndex(ctx, x)
}

func (a *Account) mergeIndex(ctx context.Context, x *search.Index) error {
	for {
		more, err := x.Merge(ctx)
		if err != nil || !more {
			return err
		}
	}
}

// completeTerms writes the terms of one message; it may be gone.
func (a *Account) completeTerms(ctx context.Context, x *search.Index, id MessageID) error {
	snap, err := a.snapshot(ctx)
	if err != nil {
		return err
	}
	r := Record{Row: Row{ID: id}}
	derived, err := readRecord(snap, &r, WantStructure)
	snap.Close()
	if err != nil || r.Missing {
		return err
	}
	if derived {
		if err := a.derive(ctx, &r, WantStructure); err != nil {
			return err
		}
	}
	body, m, err := a.openMessage(ctx, &r)
	if errors.Is(err, blob.ErrNotFound) {
		return nil // swept meanwhile, or found by check
	}
	if err != nil {
		return err
	}
	defer body.Close()
	if err := x.Complete(ctx, id, m, body); err != nil {
		return err
	}
	return a.dropIfGone(ctx, id)
}

// dropIfGone takes the terms of a message away again that was swept while they were made.
func (a *Account) dropIfGone(ctx context.Context, id MessageID) error {
	return a.commit(ctx, "index", func(ctx context.Context, u *mailflow.Unit) error {
		snap, err := a.snapshot(ctx)
		if err != nil {
			return err
		}
		defer snap.Close()
		_, found, err := get(snap, key(keyMessage, id))
		if err == nil && !found {
			search.PrepareDrop(u.Quiet(a.space), id)
		}
		return err
	})
}

// openMessage opens what a record with its structure names.
func (a *Account) openMessage(ctx context.Context, r *Record) (blob.Reader, *message.Message, error) {
	m, err := message.Decode(r.Structure)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: message %s: %w", ErrDamaged, r.ID, err)
	}
	body, err := a.store.o.Committer.Bodies.Open(ctx, r.Body)
	return body, m, err
}

// backfill indexes messages that came before the index, from one on.
func (a *Account) backfill(ctx context.Context, x *search.Index, from MessageID, progress func(done, of int64)) error {
	_, used, err := a.Quota(ctx)
	if err != nil {
		return err
	}
	known, err := x.Known(ctx)
	if err != nil {
		return err
	}
	for done := int64(0); ; {
		ids, err := a.messagesFrom(ctx, from, backfillCount)
		if err != nil {
			return err
		}
		for _, id := range ids {
			if !known.Place(id).Unknown() {
				continue
			}
			if err := a.completeTerms(ctx, x, id); err != nil {
				return err
			}
		}
		if len(ids) < backfillCount {
			return x.Reached(ctx, 0)
		}
		from = ids[len(ids)-1] + 1
		if err := x.Reached(ctx, from); err != nil {
			return err
		}
		before := done
		done += int64(len(ids))
		if before/512 != done/512 {
			if _, _, err := x.Fold(ctx); err != nil {
				return err
			}
		}
		progress(done, max(done, used.Messages))
	}
}

// messagesFrom lists messages of the account by id.
func (a *Account) messagesFrom(ctx context.Context, from MessageID, most int) (ids []MessageID, err error) {
	snap, err := a.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	defer snap.Close()
	r := kv.Prefix([]byte{keyMessage})
	r.From, r.Limit = key(keyMessage, from), most
	for e, err := range snap.Scan(r) {
		if err != nil {
			return nil, err
		}
		id, _ := keyID(e.Key)
		ids = append(ids, id)
	}
	return ids, nil
}

// RebuildIndex makes the index anew. Searches look into messages meanwhile. When it is
// broken off, the background goes on with it.
func (a *Account) RebuildIndex(ctx context.Context, progress func(done, of int64)) error {
	a.indexMu.Lock()
	err := a.Index().Forget(ctx)
	a.indexMu.Unlock()
	if err != nil {
		return storageError("rebuild the index", err)
	}
	a.store.indexing.later(a.id, a.store.o.SweepAfter)
	return a.TendIndex(ctx, progress)
}

// checkIndex holds the index against the messages: each has its terms, and there are none
// of others. With bodies, the terms are made anew and compared.
func (c *check) checkIndex(ctx context.Context, bodies bool) error {
	snap, err := c.a.snapshot(ctx)
	if err != nil {
		return err
	}
	has, below, err := search.Check(snap, func(err error) { c.report(0, 0, 0, "index: %v", err) })
	snap.Close()
	if err != nil {
		return storageError("check the index", err)
	}
	for id, m := range c.messages {
		if !m.message || m.live == 0 {
			continue
		}
		t := has[id]
		switch {
		case t == nil && id >= below, t != nil && t.Pending:
		case t == nil:
			if _, gone := c.a.Locations(ctx, id); !errors.Is(gone, ErrNoMessage) {
				c.report(0, 0, id, "the index has no terms of it")
			}
		case bodies:
			if err := c.compareTerms(ctx, id, m, t); err != nil {
				return err
			}
		}
	}
	for id, t := range has {
		if m := c.messages[id]; m == nil && !t.Dead && !c.comes(ctx, id) {
			c.report(0, 0, id, "the index has terms of it, and there is no such message")
		}
	}
	return nil
}

// comes tells whether a message that the check did not see is there by now.
func (c *check) comes(ctx context.Context, id MessageID) bool {
	ids, err := c.a.messagesFrom(ctx, id, 1)
	return err != nil || len(ids) == 1 && ids[0] == id
}

// compareTerms makes the terms of a message anew.
func (c *check) compareTerms(ctx context.Context, id MessageID, m *checked, t *search.Checked) error {
	body, err := c.a.store.o.Committer.Bodies.Open(ctx, m.body)
	if err != nil {
		return nil // bodies reports it
	}
	defer body.Close()
	parsed, err := message.Parse(io.NewSectionReader(body, 0, body.Size()), message.Limits{})
	if err != nil {
		return nil // nothing that was stored cannot be parsed again, but for damage
	}
	sum, err := search.Sum(parsed, body)
	if err == nil && sum != t.Terms {
		c.report(0, 0, id, "the index has other terms of it than its text")
	}
	return nil
}
