package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"postroad/internal/kv"
	"postroad/internal/mailflow"
	"postroad/smtp"
)

// outcome is an item with what became of its recipients, on its way to the disk.
type outcome struct {
	entry    *entry
	item     *item
	statuses []mailflow.Status // of the recipients of item, in order
	at       time.Time
	tried    bool // a transport was asked
	mute     bool // its notices cannot be composed
}

// attempt delivers one item. When the outcome is known the lane is free for the next;
// the commit follows behind.
func (q *Queue) attempt(ctx context.Context, e *entry) {
	it, err := q.ready(ctx, e)
	if it == nil {
		q.scheduler.release(e, nil, &q.schedule)
		if err != nil {
			q.later(ctx, e, err)
		}
		return
	}
	switch it.hop.Transport {
	case hopLocal:
		q.attemptLocal(ctx, e, it)
	case hopRoute:
		q.attemptRoute(ctx, e, it)
	case hopHold:
		q.attemptHeld(ctx, e, it)
	default:
		q.attemptRemote(ctx, e, it)
	}
}

// ready gives the entry's item if it is still to be delivered now; if not the entry is
// settled and the item nil. With an error the entry is not.
func (q *Queue) ready(ctx context.Context, e *entry) (*item, error) {
	it := q.scheduler.item(e)
	if it != nil {
		return it, nil
	}
	it, err := q.load(ctx, e.id)
	switch {
	case err != nil:
		return nil, fmt.Errorf("read queue item %s: %w", e.id, err)
	case it == nil:
		q.scheduler.settle(e, nil)
		return nil, nil
	case it.held || it.due.After(time.Now()):
		q.scheduler.settle(e, it)
		return nil, nil
	}
	return it, nil
}

// item gives the decoded item of an active entry, if it is in memory.
func (s *scheduler) item(e *entry) *item {
	s.mu.Lock()
	defer s.mu.Unlock()
	return e.item
}

// later puts off an entry because of an error of ours; nothing is written, so that a
// broken disk does not hinder it.
func (q *Queue) later(ctx context.Context, e *entry, err error) {
	if ctx.Err() == nil {
		q.stats.errors.Add(1)
		q.log.Error("deliver", "id", e.id, "err", err)
	}
	q.scheduler.postpone(e, time.Now().Add(q.schedule.jitter(errorPause)))
}

// errorPause is how long an item waits after an error of ours.
const errorPause = time.Minute

// postpone lets an active entry wait without a change on disk.
func (s *scheduler) postpone(e *entry, until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.uncache(e)
	s.tell(e)
	e.due = until
	s.queue(e, time.Now())
	s.signal()
}

// attemptRemote asks the transport and hands the outcome on.
func (q *Queue) attemptRemote(ctx context.Context, e *entry, it *item) {
	now := time.Now()
	oc := outcome{entry: e, item: it, at: now}
	transport := q.options.Transports[it.hop.Transport]
	switch {
	case byReturn(&it.mail) && !now.Before(it.expires):
		// RFC 2852, 4.1.4.2: after the deadline it is not sent any more.
		oc.statuses = same(it, delayed(now, 450, smtp.EnhancedCode{4, 4, 7}, "The delivery time asked for has passed"))
	case e.overdue:
		oc.statuses = same(it, q.scheduler.why(e))
	case transport == nil:
		oc.statuses = same(it, delayed(now, 451, smtp.EnhancedCode{4, 3, 5}, "No transport "+it.hop.Transport+" is configured"))
	default:
		limited, cancel := context.WithTimeout(ctx, attemptMax)
		err := q.guarded("deliver a mail", func() { oc.statuses = transport.Deliver(limited, &it.mail, it.hop) })
		cancel()
		if oc.tried = true; err != nil {
			oc.statuses = same(it, internalError(time.Now()))
		}
		oc.at = time.Now()
	}
	if ctx.Err() != nil && isUnreachable(oc.statuses) {
		// The program ends, and that is all that was wrong: the item stays due.
		q.scheduler.release(e, nil, &q.schedule)
		q.scheduler.settle(e, nil)
		return
	}
	if len(oc.statuses) != len(it.mail.Recipients) {
		oc.statuses = same(it, delayed(now, 451, smtp.EnhancedCode{4, 3, 0}, "The transport gave no answer for each recipient"))
	}
	if oc.tried {
		q.stats.attempts.Add(1)
		q.scheduler.release(e, oc.statuses, &q.schedule)
	} else {
		q.scheduler.release(e, nil, &q.schedule)
	}
	q.finishing <- oc
}

// internalError is the status where a bug of ours showed.
func internalError(now time.Time) mailflow.Status {
	return delayed(now, 451, smtp.EnhancedCode{4, 3, 0}, "Internal error")
}

// same gives every recipient one status.
func same(it *item, s mailflow.Status) []mailflow.Status {
	statuses := make([]mailflow.Status, len(it.mail.Recipients))
	for i := range statuses {
		statuses[i] = s
	}
	return statuses
}

// why gives the status for an entry that waited in a lane that is down.
func (s *scheduler) why(e *entry) mailflow.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return e.lane.why
}

// attemptLocal files into mailboxes. Delivery and the end of the item are one commit, so
// no crash delivers twice.
func (q *Queue) attemptLocal(ctx context.Context, e *entry, it *item) {
	var next *item
	m := it.mail
	rcpts := make([]int, len(m.Recipients))
	for i := range rcpts {
		rcpts[i] = i
	}
	if err := q.parse(ctx, &m); err != nil {
		q.scheduler.release(e, nil, &q.schedule)
		q.later(ctx, e, err)
		return
	}
	err := q.run(ctx, func(ctx context.Context, p *plan) error {
		if gone, err := p.changed(ctx, it); gone || err != nil {
			return orGone(err)
		}
		statuses, err := p.prepare(ctx, &m, rcpts)
		if err != nil {
			return err
		}
		p.takeOnward(&m)
		next, err = p.finish(ctx, outcome{item: it, statuses: statuses, at: p.now, tried: true})
		return err
	})
	if errors.Is(err, errPanic) {
		// Put off as by any other fault, and returned when its time is over.
		err = q.run(ctx, func(ctx context.Context, p *plan) (err error) {
			next, err = p.finish(ctx, outcome{item: it, statuses: same(it, internalError(p.now)), at: p.now, tried: true})
			return err
		})
	}
	if errors.Is(err, kv.ErrTooLarge) {
		next, err = nil, q.splitLocal(ctx, it)
	}
	q.scheduler.release(e, nil, &q.schedule)
	q.conclude(ctx, e, next, err)
}

// splitLocal takes apart an item whose recipients, lists mostly, are too much for one
// commit. One that is too much on its own is returned.
func (q *Queue) splitLocal(ctx context.Context, it *item) error {
	return q.run(ctx, func(ctx context.Context, p *plan) error {
		if gone, err := p.changed(ctx, it); gone || err != nil {
			return orGone(err)
		}
		p.parent, p.apart = it, true
		m := it.mail
		statuses := same(it, failed(p.now, 554, smtp.EnhancedCode{5, 3, 4}, "The address stands for too much to be delivered at once"))
		if len(m.Recipients) == 1 {
			p.remove(it)
			return errors.Join(p.told(ctx, &m, statuses), p.report(ctx, &m, statuses, 0))
		}
		rcpts := make([]int, len(m.Recipients))
		for i := range rcpts {
			rcpts[i] = i
		}
		p.enqueue(&m, it.hop, rcpts, statuses)
		p.remove(it)
		return nil
	})
}

// attemptRoute finds the ways that were not known, or not all in one commit, when the
// mail came in.
func (q *Queue) attemptRoute(ctx context.Context, e *entry, it *item) {
	m := it.mail
	err := q.run(ctx, func(ctx context.Context, p *plan) error {
		if gone, err := p.changed(ctx, it); gone || err != nil {
			return orGone(err)
		}
		p.parent = it
		statuses, err := p.place(ctx, &m, placement{first: true, queueLocal: true})
		if err != nil {
			return err
		}
		p.remove(it)
		return errors.Join(p.told(ctx, &m, statuses), p.report(ctx, &m, statuses, 0))
	})
	q.scheduler.release(e, nil, &q.schedule)
	q.conclude(ctx, e, nil, err)
}

// errGone ends a plan for an item that somebody else has changed.
var errGone = errors.New("queue: the item was changed meanwhile")

func orGone(err error) error {
	if err != nil {
		return err
	}
	return errGone
}

// changed tells, after a conflict, whether the item is not any more as it was read: then
// another node has it.
func (p *plan) changed(ctx context.Context, it *item) (bool, error) {
	if !p.again {
		return false, nil
	}
	now, err := p.q.load(ctx, it.id)
	if err != nil {
		return false, err
	}
	return now == nil || now.revision != it.revision, nil
}

// conclude settles an entry whose outcome was committed, or was not.
func (q *Queue) conclude(ctx context.Context, e *entry, next *item, err error) {
	switch {
	case err == nil:
		q.scheduler.settle(e, next)
	case errors.Is(err, errGone):
		q.scheduler.settle(e, nil)
	default:
		q.later(ctx, e, err)
	}
}

// completeAll commits outcomes, many at once, until the channel is closed. ctx ends only
// when those who wait for the disk to come back are to give up.
func (q *Queue) completeAll(ctx context.Context) {
	batch := make([]outcome, 0, finishBatchMax)
	for oc := range q.finishing {
		batch = append(batch[:0], oc)
	gather:
		for len(batch) < finishBatchMax {
			select {
			case oc, ok := <-q.finishing:
				if !ok {
					break gather
				}
				batch = append(batch, oc)
			default:
				break gather
			}
		}
		if len(batch) == 1 || q.complete(ctx, batch) != nil {
			for i := range batch {
				q.completeOne(ctx, batch[i])
			}
		}
		clear(batch)
	}
}

// complete commits outcomes in one unit.
func (q *Queue) complete(ctx context.Context, batch []outcome) error {
	next := make([]*item, len(batch))
	err := q.run(context.WithoutCancel(ctx), func(ctx context.Context, p *plan) error {
		for i := range batch {
			gone, err := p.changed(ctx, batch[i].item)
			if err != nil {
				return err
			}
			if next[i] = nil; gone {
				continue
			}
			p.mute = batch[i].mute
			if next[i], err = p.finish(ctx, batch[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i := range batch {
		q.stats.outcome(&batch[i], next[i])
		q.scheduler.settle(batch[i].entry, next[i])
	}
	return nil
}

// How long a completer stays with one outcome that cannot be committed.
const (
	finishPauseFirst = 100 * time.Millisecond
	finishPauseMax   = 30 * time.Second

	noticeTries = 8 // of one that cannot be composed; about 13 seconds
)

// completeOne commits one outcome, and tries again for as long as it takes: the other
// server has the mail, and if this is not written down it will get it once more. What
// comes behind waits, and so in the end do deliveries. Only the end of the program ends
// that. Where it is the notice that cannot be made, because the message is damaged, say,
// the outcome is written down without it and counts as lost.
func (q *Queue) completeOne(ctx context.Context, oc outcome) {
	for try := 1; ; try++ {
		err := q.complete(ctx, []outcome{oc})
		if err == nil {
			return
		}
		q.stats.errors.Add(1)
		q.log.Error("write down what became of a mail", "id", oc.item.id, "err", err)
		oc.mute = oc.mute || try >= noticeTries && isPoison(err)
		if errors.Is(err, kv.ErrClosed) || ctx.Err() != nil {
			q.scheduler.settle(oc.entry, nil)
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(double(finishPauseFirst, finishPauseMax, try)):
		}
	}
}

// finish puts an outcome into the unit: what is settled leaves the item, notices are
// made, what is left is due later. It returns the item as it goes on, nil when it ends.
func (p *plan) finish(ctx context.Context, oc outcome) (*item, error) {
	it := oc.item
	now := oc.at
	m := &it.mail
	statuses := append([]mailflow.Status(nil), oc.statuses...)
	attempts := it.attempts
	if oc.tried {
		attempts++
		p.q.record(p.u, Event{Kind: EventAttempt, Item: it.id, Mail: m, Hop: it.hop, Statuses: statuses, Attempt: attempts})
	}
	left := 0
	for i := range statuses {
		if statuses[i].Action == mailflow.Delayed {
			if !now.Before(it.expires) {
				statuses[i] = expired(statuses[i], now)
				continue
			}
			left++
		}
	}
	if err := p.told(ctx, m, statuses); err != nil {
		return nil, err
	}
	if err := p.report(ctx, m, statuses, 0); err != nil {
		return nil, err
	}
	if left == 0 {
		p.remove(it)
		return nil, nil
	}
	return p.carryOn(ctx, it, statuses, left, attempts, oc)
}

// carryOn makes the next form of an item of which some recipients are left, and tells the
// sender once that these are late.
func (p *plan) carryOn(ctx context.Context, it *item, statuses []mailflow.Status, left, attempts int, oc outcome) (*item, error) {
	next := *it
	next.mail.Recipients = make([]mailflow.Recipient, 0, left)
	next.last = make([]mailflow.Status, 0, left)
	for i := range statuses {
		if statuses[i].Action == mailflow.Delayed {
			next.mail.Recipients = append(next.mail.Recipients, it.mail.Recipients[i])
			next.last = append(next.last, statuses[i])
		}
	}
	next.attempts = attempts
	if oc.tried {
		next.lastTry = oc.at
	}
	if next.failures++; left < len(statuses) {
		next.failures = 1 // something went through
	}
	if !it.warned && !it.warnAt.IsZero() && !oc.at.Before(it.warnAt) {
		next.warned = true
		if err := p.notify(ctx, &next.mail, lateness(&next), 0, mailflow.Delayed, wantsDelay); err != nil {
			return nil, err
		}
	}
	next.due = p.q.schedule.next(&next, oc.at)
	p.change(it, &next)
	p.q.record(p.u, Event{Kind: EventDeferred, Item: it.id, Mail: &next.mail, Hop: it.hop, Statuses: next.last, Attempt: attempts, Next: next.due})
	return &next, nil
}

// lateness gives the statuses for the notice of delay: where the sender had set a time,
// they say that it has passed (RFC 2852, 4.1.3).
func lateness(it *item) []mailflow.Status {
	if it.mail.DeliverBy == nil {
		return it.last
	}
	late := append([]mailflow.Status(nil), it.last...)
	for i := range late {
		late[i].Reply.Enhanced = smtp.EnhancedCode{4, 4, 7}
	}
	return late
}

// expired is the failure of a recipient that was delayed too often. The last answer stays
// in the text: it is what the sender can act on.
func expired(last mailflow.Status, now time.Time) mailflow.Status {
	s := last
	s.Action, s.At = mailflow.Failed, now
	s.Reply = reply(550, smtp.EnhancedCode{5, 4, 7}, "Not delivered in time; the last answer was: "+cut(last.Reply.String(), statusTextMax[0]))
	return s
}
