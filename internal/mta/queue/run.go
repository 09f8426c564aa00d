package queue

import (
	"context"
	"sync"
	"time"

	"postroad/internal/kv"
	"postroad/internal/mailflow"
)

// The sweep reads from disk what is due soon.
const (
	windowDefault = 10 * time.Minute // how far ahead
	windowMargin  = time.Minute      // before its end the next one starts
	sweepLeast    = time.Second      // between sweeps
)

// Run delivers until ctx is done; then it waits for what is under way, at most
// Options.DrainTimeout, cancels it, and returns when all outcomes are on disk. It is
// called once.
func (q *Queue) Run(ctx context.Context) error {
	s := &q.scheduler
	s.start()
	deliver, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	for range completersCount {
		q.background.Go(func() { q.completeAll(deliver) })
	}
	var workers sync.WaitGroup
	for ctx.Err() == nil {
		if s.sweepDue() {
			workers.Go(func() { q.sweep(ctx) })
		}
		at := s.advance()
		for e := s.next(); e != nil; e = s.next() {
			workers.Go(func() { q.work(deliver, e) })
		}
		pause := time.NewTimer(time.Until(at))
		select {
		case <-ctx.Done():
		case <-s.wake:
		case <-pause.C:
		}
		pause.Stop()
	}
	s.stop()
	drain := time.AfterFunc(q.options.DrainTimeout, cancel)
	defer drain.Stop()
	workers.Wait()
	close(q.finishing)
	q.background.Wait()
	return nil
}

// start lets items stay in memory.
func (s *scheduler) start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running, s.hungry = true, true
}

// stop lets nothing more start.
func (s *scheduler) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped, s.running = true, false
}

// sweepDue tells whether a sweep is to start now, and marks it as started.
func (s *scheduler) sweepDue() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.sweeping || now.Before(s.nextSweep()) {
		return false
	}
	s.sweeping, s.hungry, s.more = true, false, false
	s.window = now.Add(windowDefault)
	for _, l := range s.lanes {
		if l.more {
			l.more = false
			s.show(l, now)
		}
	}
	return true
}

// nextSweep needs s.mu.
func (s *scheduler) nextSweep() time.Time {
	at := s.window.Add(-windowMargin)
	if s.hungry {
		at = earlier(at, s.swept.Add(sweepLeast))
	}
	return at
}

// sweep offers what is due soon and not in memory. It may offer what was settled since
// the snapshot: the delivery reads the item and finds out.
func (q *Queue) sweep(ctx context.Context) {
	s := &q.scheduler
	err := q.sweepShards(ctx)
	s.mu.Lock()
	s.sweeping, s.swept = false, time.Now()
	if err != nil {
		s.hungry = true
	}
	s.mu.Unlock()
	if err != nil && ctx.Err() == nil {
		q.log.Error("look for mail that is due", "err", err)
	}
	s.signal()
}

func (q *Queue) sweepShards(ctx context.Context) error {
	q.scheduler.mu.Lock()
	window := q.scheduler.window
	q.scheduler.mu.Unlock()
	due := kv.Range{From: []byte{keyDue}, To: appendDueKey(nil, window.UnixMilli(), ItemID{})}
	for space, err := range q.commit.Engine.Spaces(ctx, spacePrefix) {
		if err != nil {
			return err
		}
		if err := q.sweepShard(ctx, space, due); err != nil {
			return err
		}
	}
	return nil
}

func (q *Queue) sweepShard(ctx context.Context, space kv.Space, due kv.Range) error {
	snapshot, err := q.commit.Engine.Snapshot(ctx, space)
	if err != nil {
		return err
	}
	defer snapshot.Close()
	offered := false
	for kvEntry, err := range snapshot.Scan(due) {
		if err != nil {
			return err
		}
		at, id, ok := parseDueKey(kvEntry.Key)
		sum, err := decodeSummary(kvEntry.Value)
		if !ok || err != nil {
			q.log.Error("due record is damaged", "space", space, "id", id, "err", errFormat)
			continue
		}
		offered = q.scheduler.offer(id, time.UnixMilli(at), sum) || offered
	}
	if offered {
		q.scheduler.signal()
	}
	return nil
}

// offer enters an item that the sweep found, unless it is there or there is no room.
func (s *scheduler) offer(id ItemID, due time.Time, sum summary) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entries[id] != nil || s.full(sum.hop) {
		return false
	}
	e := &entry{id: id, due: due}
	s.entries[id] = e
	s.set(e, sum)
	s.queue(e, time.Now())
	return true
}

// work delivers entries until there is none.
func (q *Queue) work(ctx context.Context, e *entry) {
	for ; e != nil; e = q.scheduler.next() {
		q.attempt(ctx, e)
	}
}

// load reads an item, nil when it is gone.
func (q *Queue) load(ctx context.Context, id ItemID) (*item, error) {
	snapshot, err := q.commit.Engine.Snapshot(ctx, spaceOf(id.Mail))
	if err != nil {
		return nil, err
	}
	defer snapshot.Close()
	return readItem(snapshot, id)
}

// claim takes an entry out of scheduling for a verb; while a delivery is under way it
// waits for its end. The caller settles the entry.
func (s *scheduler) claim(ctx context.Context, id ItemID) (*entry, error) {
	for {
		s.mu.Lock()
		e := s.entries[id]
		if e == nil {
			e = &entry{id: id}
			s.entries[id] = e
			s.mu.Unlock()
			return e, nil
		}
		switch e.state {
		case stateReady:
			e.lane.ready--
			fallthrough
		case stateWaiting:
			wasReady := e.state == stateReady
			e.state = stateReserved
			s.uncache(e)
			if wasReady {
				s.show(e.lane, time.Now())
			}
			s.mu.Unlock()
			return e, nil
		}
		if e.settled == nil {
			e.settled = make(chan struct{})
		}
		settled := e.settled
		s.mu.Unlock()
		select {
		case <-settled:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// revive lets a lane be tried now, as an administrator asks.
func (s *scheduler) revive(hop mailflow.NextHop) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.lanes[hop]; l != nil && l.failures > 0 {
		l.downUntil = time.Time{}
		s.show(l, time.Now())
	}
	s.signal()
}

// whyDown gives the reason why a lane waits.
func (s *scheduler) whyDown(hop mailflow.NextHop) (why mailflow.Status, until time.Time, down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.lanes[hop]; l != nil && l.down(time.Now()) {
		return l.why, l.downUntil, true
	}
	return why, until, false
}
