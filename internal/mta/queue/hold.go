package queue

import (
	"context"
	"errors"
	"fmt"

	"postroad/internal/mailflow"
)

// held puts the recipients of all ways together: while a mail is held it can be taken back
// as a whole, and its ways may be others by then.
func held(local []int, g *groups) (all groups) {
	hop := mailflow.NextHop{Transport: hopHold}
	for _, i := range local {
		all.add(hop, i)
	}
	for _, rcpts := range g.rcpts {
		for _, i := range rcpts {
			all.add(hop, i)
		}
	}
	return all
}

// attemptHeld lets a mail go whose time has come. Where filing it here and now shows a bug
// of ours, its local recipients go by the queue like others.
func (q *Queue) attemptHeld(ctx context.Context, e *entry, it *item) {
	o := placement{first: true}
	let := func(ctx context.Context, p *plan) error {
		if gone, err := p.changed(ctx, it); gone || err != nil {
			return orGone(err)
		}
		return p.letGo(ctx, it, o)
	}
	err := q.run(ctx, let)
	if errors.Is(err, errPanic) {
		o.queueLocal = true
		err = q.run(ctx, let)
	}
	q.scheduler.release(e, nil, &q.schedule)
	q.conclude(ctx, e, nil, err)
}

// letGo makes of a held mail, with all its items that nobody else holds, what Submit would
// have made of it.
func (p *plan) letGo(ctx context.Context, it *item, o placement) error {
	all, err := p.whole(ctx, it)
	if err != nil {
		return err
	}
	m := it.mail
	m.Recipients, m.HoldUntil = nil, p.now
	for _, part := range all {
		m.Recipients = append(m.Recipients, part.mail.Recipients...)
		p.remove(part)
	}
	p.parent = it
	if err := p.released(ctx, &m); err != nil {
		return err
	}
	statuses, err := p.place(ctx, &m, o)
	if err != nil {
		return err
	}
	if err := p.told(ctx, &m, statuses); err != nil {
		return err
	}
	return p.report(ctx, &m, statuses, 0)
}

// whole reads the items of a held mail, the given one first.
func (p *plan) whole(ctx context.Context, it *item) ([]*item, error) {
	found, err := p.q.itemsOf(ctx, it.id.Mail)
	if err != nil {
		return nil, err
	}
	all := []*item{it}
	for _, other := range found {
		if other.id != it.id && other.hop.Transport == hopHold && !other.held {
			all = append(all, other)
		}
	}
	return all, nil
}

// PrepareCancel implements mailflow.Canceller. An entry that the scheduler has in memory
// finds the item gone when its time comes.
func (q *Queue) PrepareCancel(ctx context.Context, u *mailflow.Unit, id mailflow.ID) error {
	items, err := q.itemsOf(ctx, id)
	switch {
	case err != nil:
		return fmt.Errorf("cancel %s: %w", id, err)
	case len(items) == 0:
		return mailflow.ErrNoMail
	}
	for _, it := range items {
		if it.hop.Transport != hopHold {
			return mailflow.ErrReleased
		}
	}
	p := &plan{q: q, u: u}
	for _, it := range items {
		p.remove(it)
		q.record(u, Event{Kind: EventCancelled, Item: it.id, Mail: &it.mail, Hop: it.hop})
	}
	return nil
}

// told tells the tracker what became of a mail's recipients.
func (p *plan) told(ctx context.Context, m *mailflow.Mail, statuses []mailflow.Status) error {
	if t := p.q.options.Tracker; t != nil && m.Tracked {
		return t.Told(ctx, p.u, m, statuses)
	}
	return nil
}

// released tells the tracker that a mail can not be taken back any more.
func (p *plan) released(ctx context.Context, m *mailflow.Mail) error {
	if t := p.q.options.Tracker; t != nil && m.Tracked {
		return t.Released(ctx, p.u, m)
	}
	return nil
}

// withdrawn tells the tracker of recipients who will not get the mail.
func (p *plan) withdrawn(ctx context.Context, m *mailflow.Mail) error {
	if t := p.q.options.Tracker; t != nil && m.Tracked {
		return t.Withdrawn(ctx, p.u, m)
	}
	return nil
}
