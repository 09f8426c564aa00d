package diskkv

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"postroad/internal/kv"
)

// errDone ends a commit early: a Once was seen, the results are the first one's.
var errDone = errors.New("diskkv: committed before")

// Commit implements kv.Engine.
func (e *Engine) Commit(ctx context.Context, batches ...kv.Batch) ([]kv.Result, error) {
	if err := kv.Check(batches); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil || len(batches) == 0 {
		return nil, err
	}
	if err := e.enter(); err != nil {
		return nil, err
	}
	defer e.leave()
	results, err := e.commit(batches)
	e.stats.count(err)
	return results, err
}

// commit takes the steps told at the head of the package.
func (e *Engine) commit(batches []kv.Batch) ([]kv.Result, error) {
	if err := e.room.admit(batches); err != nil {
		return nil, err
	}
	c := e.newCommit(batches)
	defer c.release()
	c.lock()
	err := c.build()
	if err == nil {
		err = c.apply()
	}
	under := c.underWay()
	c.unlock()
	if err != nil && err != errDone {
		return nil, err
	}
	if err := c.settle(under); err != nil {
		return nil, err
	}
	return c.results, nil
}

// commit is one call of Engine.Commit.
type commit struct {
	e       *Engine
	batches []kv.Batch
	spaces  []*space // one a batch
	order   []int    // indices of batches by name of space
	results []kv.Result
	writes  *pebble.Batch
	pending *pending // nil until it is applied
	key     []byte   // scratch
}

// newCommit takes a reference on each space.
func (e *Engine) newCommit(batches []kv.Batch) *commit {
	c := &commit{
		e:       e,
		batches: batches,
		spaces:  make([]*space, len(batches)),
		order:   make([]int, len(batches)),
		results: make([]kv.Result, len(batches)),
	}
	for i := range batches {
		c.order[i] = i
		c.spaces[i] = e.table.acquire(batches[i].Space)
	}
	if len(batches) > 1 {
		slices.SortFunc(c.order, func(i, j int) int { return cmp.Compare(batches[i].Space, batches[j].Space) })
	}
	return c
}

// release gives the references back.
func (c *commit) release() {
	for _, s := range c.spaces {
		c.e.table.release(s)
	}
	if c.writes != nil {
		c.writes.Close() // cannot fail: it holds nothing but memory
	}
}

// blind tells whether b neither reads nor numbers anything. Blind batches to one space go
// beside each other; a batch that does read still has the space to itself, since its
// guards must hold when it is applied.
func blind(b *kv.Batch) bool {
	if !b.Quiet || b.Once != nil || len(b.Guards)+len(b.Adds)+len(b.Takes) > 0 {
		return false
	}
	for i := range b.Puts {
		for _, at := range b.Puts[i].Places {
			if at.Version {
				return false
			}
		}
	}
	return true
}

// lock takes the spaces in the order of their names, so that no two commits wait for each
// other.
func (c *commit) lock() {
	for _, i := range c.order {
		if blind(&c.batches[i]) {
			c.spaces[i].order.RLock()
		} else {
			c.spaces[i].order.Lock()
		}
	}
}

// unlock lets the next commit go.
func (c *commit) unlock() {
	for _, i := range c.order {
		if blind(&c.batches[i]) {
			c.spaces[i].order.RUnlock()
		} else {
			c.spaces[i].trim()
			c.spaces[i].order.Unlock()
		}
	}
}

// build works out all writes and results. With an error nothing has happened.
func (c *commit) build() error {
	for _, s := range c.spaces {
		if err := s.load(c.e); err != nil {
			return err
		}
	}
	if again, err := c.seen(); err != nil {
		return err
	} else if again {
		return errDone
	}
	for i, s := range c.spaces {
		if err := s.checkGuards(c.e, c.batches[i].Guards); err != nil {
			return err
		}
	}
	c.writes = c.e.db.NewBatchWithSize(c.sizeHint())
	for i := range c.batches {
		if err := c.buildBatch(i); err != nil {
			c.forget()
			return err
		}
	}
	if err := c.remember(); err != nil {
		c.forget()
		return err
	}
	return nil
}

// sizeHint guesses the size of the Pebble batch, so that it is not copied while it grows.
func (c *commit) sizeHint() int {
	const header, perWrite = 12, 12
	n := header
	for i := range c.batches {
		b := &c.batches[i]
		each := len(c.spaces[i].prefix) + 1 + perWrite
		for j := range b.Puts {
			n += each + len(b.Puts[j].Key) + len(b.Puts[j].Value)
		}
		for _, k := range b.Deletes {
			n += each + len(k)
		}
		for _, r := range b.Ranges {
			n += 2*each + len(r.From) + len(r.To)
		}
		for _, a := range b.Adds {
			n += each + len(a.Key) + 8
		}
		for _, k := range b.Takes {
			n += each + len(k.Key) + 8
		}
		n += each + 8
	}
	return n
}

// buildBatch writes one batch down in the order that kv.Batch tells.
func (c *commit) buildBatch(i int) error {
	b, s, r := &c.batches[i], c.spaces[i], &c.results[i]
	r.Version = kv.Version(s.version.Load())
	if !b.Quiet {
		r.Version++
		c.key = appendKey(c.key, s.prefix, kindVersion, nil)
		if err := c.setNumber(uint64(r.Version)); err != nil {
			return err
		}
	}
	if err := c.add(i); err != nil {
		return err
	}
	if err := c.take(i); err != nil {
		return err
	}
	known := s.changing(blind(b))
	for _, g := range b.Ranges {
		if empty(g) {
			continue
		}
		clear(known)
		lower, upper := bounds(s.prefix, g)
		if err := c.writes.DeleteRange(lower, upper, nil); err != nil {
			return err
		}
	}
	for _, k := range b.Deletes {
		delete(known, string(k))
		c.key = appendKey(c.key, s.prefix, kindKey, k)
		if err := c.writes.Delete(c.key, nil); err != nil {
			return err
		}
	}
	for j := range b.Puts {
		if err := c.put(s, &b.Puts[j], r, known); err != nil {
			return err
		}
	}
	return nil
}

// setNumber writes c.key with a number.
func (c *commit) setNumber(n uint64) error {
	var value [8]byte
	return c.writes.Set(c.key, appendNumber(value[:0], n), nil)
}

// put writes one value, its places filled in within the batch itself.
func (c *commit) put(s *space, p *kv.Put, r *kv.Result, known map[string]record) error {
	head := len(s.prefix) + 1
	op := c.writes.SetDeferred(head+len(p.Key), len(p.Value))
	copy(op.Key, s.prefix)
	op.Key[head-1] = kindKey
	copy(op.Key[head:], p.Key)
	copy(op.Value, p.Value)
	if err := p.Fill(op.Key[head:], op.Value, r.Version, r.Taken); err != nil {
		return fmt.Errorf("space %q: %w", s.name, err)
	}
	delete(known, string(op.Key[head:]))
	return op.Finish()
}

// add changes the counters of a batch.
func (c *commit) add(i int) error {
	s := c.spaces[i]
	for _, a := range c.batches[i].Adds {
		value, ok := s.counters[string(a.Key)]
		if !ok {
			n, err := c.e.readNumber(s.prefix, kindCounter, a.Key)
			if err != nil {
				return err
			}
			value = int64(n)
		}
		after, ok := a.Apply(value)
		if !ok {
			return &kv.LimitError{Space: s.name, Add: a, Value: value}
		}
		if s.counters == nil {
			s.counters = map[string]int64{}
		}
		s.counters[string(a.Key)] = after
		c.key = appendKey(c.key, s.prefix, kindCounter, a.Key)
		if after == 0 {
			if err := c.writes.Delete(c.key, nil); err != nil {
				return err
			}
		} else if err := c.setNumber(uint64(after)); err != nil {
			return err
		}
	}
	return nil
}

// take draws the numbers of a batch.
func (c *commit) take(i int) error {
	s, r := c.spaces[i], &c.results[i]
	takes := c.batches[i].Takes
	if len(takes) == 0 {
		return nil
	}
	r.Taken = make([]uint64, len(takes))
	for j, k := range takes {
		last, ok := s.sequences[string(k.Key)]
		if !ok {
			n, err := c.e.readNumber(s.prefix, kindSequence, k.Key)
			if err != nil {
				return err
			}
			last = n
		}
		first, after, ok := k.Apply(last)
		if !ok {
			return fmt.Errorf("space %q, sequence %q: %w: no numbers left", s.name, k.Key, kv.ErrTooLarge)
		}
		r.Taken[j] = first
		if s.sequences == nil {
			s.sequences = map[string]uint64{}
		}
		s.sequences[string(k.Key)] = after
		if after == last {
			continue
		}
		c.key = appendKey(c.key, s.prefix, kindSequence, k.Key)
		if err := c.setNumber(after); err != nil {
			return err
		}
	}
	return nil
}

// forget drops the numbers that a refused commit had worked out already; they will be read
// again.
func (c *commit) forget() {
	for i := range c.batches {
		for _, a := range c.batches[i].Adds {
			delete(c.spaces[i].counters, string(a.Key))
		}
		for _, k := range c.batches[i].Takes {
			delete(c.spaces[i].sequences, string(k.Key))
		}
	}
}

// apply puts the writes into the log's buffer and the memtable. From here on later commits
// build on it.
func (c *commit) apply() error {
	if c.writes.Empty() {
		return nil
	}
	c.pending = &pending{done: make(chan struct{})}
	for _, s := range c.spaces {
		s.begin(c.pending)
		s.starting()
		defer s.ended()
	}
	if err := c.e.apply(c.writes); err != nil {
		c.finish(err)
		return err
	}
	for i := range c.batches {
		if !c.batches[i].Quiet {
			c.spaces[i].version.Store(uint64(c.results[i].Version))
		}
	}
	return nil
}

// apply hands a batch to Pebble. Pebble panics or calls Fatalf where it cannot write its
// log; both end the engine.
func (e *Engine) apply(writes *pebble.Batch) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("write to the log: %v", r)
			e.fail(err)
		}
	}()
	if err := e.db.ApplyNoSyncWait(writes, pebble.Sync); err != nil {
		err = fmt.Errorf("write to the log: %w", err)
		e.fail(err)
		return err
	}
	return nil
}

// underWay lists what must be durable before a commit that writes nothing itself may
// answer: what it saw may not be.
func (c *commit) underWay() []*pending {
	if c.pending != nil {
		return nil
	}
	var under []*pending
	for _, s := range c.spaces {
		under = append(under, s.underWay()...)
	}
	return under
}

// settle returns when the commit is durable.
func (c *commit) settle(under []*pending) error {
	if c.pending == nil {
		return c.e.await(context.Background(), under)
	}
	err := c.writes.SyncWait()
	if err != nil {
		err = fmt.Errorf("sync the log: %w", err)
		c.e.fail(err)
	}
	c.finish(err)
	return err
}

// finish tells all who wait for the commit.
func (c *commit) finish(err error) {
	c.pending.err = err
	if err != nil {
		c.writes = nil // never to be used again
	}
	for i, s := range c.spaces {
		s.settle(c.pending, c.results[i].Version)
	}
	close(c.pending.done)
}
