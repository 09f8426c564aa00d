package queue

import (
	"context"
	"sync/atomic"

	"postroad/internal/kv"
	"postroad/internal/mailflow"
)

// counters count since the start of the program.
type counters struct {
	submitted, refused, notices, lost, attempts, errors atomic.Int64
	delivered, deferred, failed                         atomic.Int64
}

// outcome counts the recipients of one that was committed.
func (c *counters) outcome(oc *outcome, next *item) {
	for i := range oc.statuses {
		switch {
		case oc.statuses[i].Action == mailflow.Failed, oc.statuses[i].Action == mailflow.Delayed && next == nil:
			c.failed.Add(1)
		case oc.statuses[i].Action == mailflow.Delayed:
			c.deferred.Add(1)
		default:
			c.delivered.Add(1)
		}
	}
}

// Stats are figures for metrics: counters since the start, and what is in memory now.
type Stats struct {
	Submitted int64 // mails taken responsibility for
	Refused   int64 // mails that Submit answered with an error
	Notices   int64 // delivery status notifications made
	Lost      int64 // mails without return path that failed
	Attempts  int64 // deliveries tried by transports
	Errors    int64 // errors of ours, each logged
	Delivered int64 // recipients, by transports
	Deferred  int64 // recipients put off; one may be many times
	Failed    int64 // recipients, after they had been queued

	Active    int // deliveries under way
	InMemory  int // items
	Lanes     int // next hops with items in memory or trouble
	LanesDown int // next hops that cannot be reached
}

// Stats reads the figures.
func (q *Queue) Stats() Stats {
	c := &q.stats
	st := Stats{
		Submitted: c.submitted.Load(), Refused: c.refused.Load(), Notices: c.notices.Load(), Lost: c.lost.Load(),
		Attempts: c.attempts.Load(), Errors: c.errors.Load(),
		Delivered: c.delivered.Load(), Deferred: c.deferred.Load(), Failed: c.failed.Load(),
	}
	s := &q.scheduler
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Active, st.InMemory, st.Lanes = s.active, len(s.entries), len(s.lanes)
	for _, l := range s.lanes {
		if l.failures > 0 {
			st.LanesDown++
		}
	}
	return st
}

// Length counts the items in the queue.
func (q *Queue) Length(ctx context.Context) (n int64, err error) {
	for space, err := range q.commit.Engine.Spaces(ctx, spacePrefix) {
		if err != nil {
			return 0, err
		}
		c, err := q.shardLength(ctx, space)
		if err != nil {
			return 0, err
		}
		n += c
	}
	return n, nil
}

func (q *Queue) shardLength(ctx context.Context, space kv.Space) (int64, error) {
	snapshot, err := q.commit.Engine.Snapshot(ctx, space)
	if err != nil {
		return 0, err
	}
	defer snapshot.Close()
	return snapshot.Counter(lengthKey)
}
