package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"postroad/address"
	"postroad/internal/kv"
	"postroad/internal/mailflow"
	"postroad/internal/mta/route"
	"postroad/message"
	"postroad/smtp"
)

// plan is one unit under preparation: which items it makes and takes away, and the mails
// that others gave rise to and that are still to be placed.
type plan struct {
	q     *Queue
	u     *mailflow.Unit
	now   time.Time
	again bool // what was prepared before met a conflict: look before changing items
	mute  bool // no notices: they cannot be composed
	apart bool // the unit was too large: local recipients go by the queue, one by one

	items   []*item // made or changed
	notices []*mailflow.Mail
	onward  []onward
	mails   int   // delivered within the unit
	lost    int   // failures that nobody is told of
	parent  *item // that is being split
}

// splitBit is set in the numbers of items that were split off others.
const splitBit = 1 << 31

// onward is a mail that the unit gave rise to.
type onward struct {
	mail  *mailflow.Mail
	depth int
}

// run prepares and commits a unit. The items it made are reserved in memory before the
// commit and scheduled after it.
func (q *Queue) run(ctx context.Context, work func(ctx context.Context, p *plan) error) error {
	apart := false
	for try := 0; ; try++ {
		var p *plan
		err := q.commit.Commit(ctx, func(ctx context.Context, u *mailflow.Unit) error {
			again := p != nil || try > 0
			p.abandon()
			p = &plan{q: q, u: u, now: time.Now(), again: again, apart: apart}
			if err := work(ctx, p); err != nil {
				return err
			}
			if err := p.placeOnward(ctx); err != nil {
				return err
			}
			q.scheduler.reserve(p.items)
			return nil
		})
		if err == nil {
			p.done()
			return nil
		}
		p.abandon()
		switch {
		case errors.Is(err, kv.ErrTooLarge) && !apart:
			apart = true
		case errors.Is(err, kv.ErrLimit) && try < limitRetryMax:
			// Another mail took the rest of a quota; the deliverer sees that now.
		default:
			return err
		}
	}
}

// done hands the items of a committed plan to the scheduler.
func (p *plan) done() {
	p.q.stats.notices.Add(int64(len(p.notices)))
	p.q.stats.lost.Add(int64(p.lost))
	if len(p.items) > 0 {
		p.q.scheduler.admit(p.items)
	}
}

// abandon gives back what a plan that was not committed holds.
func (p *plan) abandon() {
	if p == nil {
		return
	}
	p.q.scheduler.withdraw(p.items)
	for _, n := range p.notices {
		p.q.commit.Bodies.Discard(n.Body)
	}
	p.items, p.notices = nil, nil
}

// placement says how one mail is placed.
type placement struct {
	perRecipient bool // temporary failures are the caller's, not the queue's
	first        bool // an error of ours goes back to the caller
	queueLocal   bool // local recipients go by the queue
}

// place finds the way for each recipient, delivers the local ones into the unit and makes
// items of the others. Failures are in the statuses and nowhere else. A recipient that is
// named again gets what it got the first time: a list named a thousand times must not get
// a thousand mails.
func (p *plan) place(ctx context.Context, m *mailflow.Mail, o placement) ([]mailflow.Status, error) {
	statuses := make([]mailflow.Status, len(m.Recipients))
	var local []int
	var groups groups
	first := firstNaming(m.Recipients)
	for i := range m.Recipients {
		if first(i) != i {
			continue
		}
		r, err := p.q.options.Router.Route(ctx, m.Recipients[i].Address)
		var refused *smtp.Error
		switch {
		case errors.As(err, &refused):
			statuses[i] = mailflow.Status{Action: mailflow.Failed, Reply: refused.Reply, LocalMTA: true, At: p.now}
		case err != nil && o.first:
			return nil, err
		case err != nil:
			p.q.log.Warn("route later", "id", m.ID, "err", err)
			groups.add(mailflow.NextHop{Transport: hopRoute}, i)
		case r.Local:
			local = append(local, i)
		default:
			groups.add(r.Hop, i)
		}
	}
	if m.HoldUntil.After(p.now) {
		local, groups = nil, held(local, &groups)
	}
	if p.apart {
		o.queueLocal = true
	}
	if len(local) > 0 {
		if err := p.placeLocal(ctx, m, local, statuses, o); err != nil {
			return nil, err
		}
	}
	if len(groups.hops) > 0 {
		if p.parent == nil {
			groups.mergeAbove(groupsMax)
		}
		for g, hop := range groups.hops {
			p.enqueue(m, hop, groups.rcpts[g], statuses)
		}
	}
	for i := range statuses {
		statuses[i] = statuses[first(i)]
	}
	return statuses, nil
}

// firstNaming returns a function that tells where a recipient is named first. Those who
// are to be notified differently are not the same.
func firstNaming(rcpts []mailflow.Recipient) func(i int) int {
	if len(rcpts) == 1 {
		return func(i int) int { return i }
	}
	type naming struct {
		address address.Address
		notify  smtp.DSNNotify
	}
	at := make(map[naming]int, len(rcpts))
	for i := range rcpts {
		n := naming{rcpts[i].Address, rcpts[i].Notify}
		if _, again := at[n]; !again {
			at[n] = i
		}
	}
	return func(i int) int { return at[naming{rcpts[i].Address, rcpts[i].Notify}] }
}

// placeLocal delivers what it may within the unit; what is over the limit or delayed is
// queued.
func (p *plan) placeLocal(ctx context.Context, m *mailflow.Mail, local []int, statuses []mailflow.Status, o placement) error {
	var later []int
	switch {
	case o.queueLocal || p.mails >= unitMailsMax:
		local, later = nil, local
	case len(local) > localMax:
		local, later = local[:localMax], local[localMax:]
	}
	if len(local) > 0 {
		if err := p.q.parse(ctx, m); err != nil {
			return err
		}
		result, err := p.prepare(ctx, m, local)
		if err != nil {
			return err
		}
		for k, i := range local {
			statuses[i] = result[k]
			if result[k].Action == mailflow.Delayed && !o.perRecipient {
				later = append(later, i)
			}
		}
		p.takeOnward(m)
	}
	if len(later) > 0 {
		p.enqueue(m, mailflow.NextHop{Transport: hopLocal}, later, statuses)
	}
	return nil
}

// prepare has the local recipients' share of the unit prepared.
func (p *plan) prepare(ctx context.Context, m *mailflow.Mail, local []int) (statuses []mailflow.Status, err error) {
	p.mails++
	err = p.q.guarded("file a mail", func() { statuses = p.q.options.Local.Prepare(ctx, m, local, p.u) })
	if err == nil && len(statuses) != len(local) {
		err = fmt.Errorf("queue: %d statuses for %d local recipients", len(statuses), len(local))
	}
	return statuses, err
}

// takeOnward takes over the mails that the deliverer added to the unit.
func (p *plan) takeOnward(from *mailflow.Mail) {
	depth := 1
	for i := range p.onward {
		if p.onward[i].mail == from {
			depth = p.onward[i].depth + 1
		}
	}
	for _, m := range p.u.TakeOnward() {
		p.onward = append(p.onward, onward{m, depth})
	}
}

// parse makes sure that the structure of the message is known.
func (q *Queue) parse(ctx context.Context, m *mailflow.Mail) error {
	if m.Message != nil {
		return nil
	}
	r, err := q.commit.Bodies.Open(ctx, m.Body)
	if err != nil {
		return fmt.Errorf("read mail %s: %w", m.ID, err)
	}
	defer r.Close()
	// A header over the limit was refused at the door; here what fits will do.
	m.Message, err = message.Parse(io.NewSectionReader(r, 0, r.Size()), message.Limits{})
	if err != nil && !errors.Is(err, message.ErrHeaderTooLarge) {
		return fmt.Errorf("read mail %s: %w", m.ID, err)
	}
	return nil
}

// placeOnward places the mails that others gave rise to, and those that these do.
func (p *plan) placeOnward(ctx context.Context) error {
	for i := 0; i < len(p.onward); i++ {
		m, depth := p.onward[i].mail, p.onward[i].depth
		if m.ID == 0 {
			m.ID = p.q.options.Clock.Next()
		}
		if m.Received.IsZero() {
			m.Received = p.now
		}
		var statuses []mailflow.Status
		var err error
		limit := depthMax
		if m.ReturnPath.IsNull() {
			limit += noticeDepth
		}
		if depth > limit || (m.Message != nil && m.Message.Received > p.q.options.HopsMax) {
			statuses = make([]mailflow.Status, len(m.Recipients))
			for k := range statuses {
				statuses[k] = failed(p.now, 554, smtp.EnhancedCode{5, 4, 6}, "The mail goes in a circle")
			}
		} else if statuses, err = p.place(ctx, m, placement{}); err != nil {
			return err
		}
		if err := p.report(ctx, m, statuses, depth); err != nil {
			return err
		}
	}
	return nil
}

// report sends the notices that the statuses call for: of failure, and of success where
// it was asked for.
func (p *plan) report(ctx context.Context, m *mailflow.Mail, statuses []mailflow.Status, depth int) error {
	if err := p.notify(ctx, m, statuses, depth, mailflow.Failed, wantsFailure); err != nil {
		return err
	}
	return p.notify(ctx, m, statuses, depth, mailflow.Relayed, wantsSuccess)
}

// wantsFailure: unless told otherwise the sender hears of failures (RFC 3461, 4.1).
func wantsFailure(_ *mailflow.Mail, r *mailflow.Recipient, s *mailflow.Status) bool {
	return s.Action == mailflow.Failed && (r.Notify == 0 || r.Notify.Has(smtp.NotifyFailure))
}

// wantsDelay: a delay is told of unless NOTIFY was given without DELAY.
func wantsDelay(_ *mailflow.Mail, r *mailflow.Recipient, s *mailflow.Status) bool {
	return s.Action == mailflow.Delayed && (r.Notify == 0 || r.Notify.Has(smtp.NotifyDelay))
}

// wantsSuccess: only when asked, and not where the next server will tell (RFC 3461, 5.2).
// With DELIVERBY the sender also hears, unless it never wants to, that the mail left those
// who keep to the time, and with by-trace of each relay (RFC 2852, 4.1.4).
func wantsSuccess(m *mailflow.Mail, r *mailflow.Recipient, s *mailflow.Status) bool {
	if by := m.DeliverBy; by != nil && s.Action == mailflow.Relayed && !r.Notify.Has(smtp.NotifyNever) && (by.Trace || !s.PassedOn) {
		return true
	}
	if !r.Notify.Has(smtp.NotifySuccess) || s.PassedOn {
		return false
	}
	return s.Action == mailflow.Delivered || s.Action == mailflow.Relayed || s.Action == mailflow.Expanded
}

// notify composes one notice about the recipients that want it and lets it go onward. Of
// a mail without return path the Bouncer makes none, or one to a postmaster: that is how
// loops of notices end (RFC 5321, 4.5.5, 6.1).
func (p *plan) notify(ctx context.Context, m *mailflow.Mail, statuses []mailflow.Status, depth int, kind mailflow.Action,
	wants func(*mailflow.Mail, *mailflow.Recipient, *mailflow.Status) bool) error {
	var rcpts []mailflow.Recipient
	var reported []mailflow.Status
	for i := range statuses {
		if wants(m, &m.Recipients[i], &statuses[i]) {
			rcpts = append(rcpts, m.Recipients[i])
			reported = append(reported, statuses[i])
		}
	}
	if len(reported) == 0 || m.ReturnPath.IsNull() && kind != mailflow.Failed {
		return nil
	}
	if kind == mailflow.Relayed && m.DeliverBy != nil {
		// These hear of it though they did not ask for success (RFC 2852, 4.1.4).
		for i := range rcpts {
			rcpts[i].Notify |= smtp.NotifySuccess
			reported[i].PassedOn = false
		}
	}
	about := *m
	about.Recipients = rcpts
	notice, err := p.compose(ctx, &about, reported, kind)
	if err != nil {
		return &noticeError{fmt.Errorf("compose notice for %s: %w", m.ID, err)}
	}
	if notice == nil {
		if kind == mailflow.Failed {
			p.lost++
			p.q.record(p.u, Event{Kind: EventLost, Item: ItemID{Mail: m.ID}, Mail: &about, Statuses: reported})
		}
		return nil
	}
	p.notices = append(p.notices, notice)
	if notice.ID == 0 {
		notice.ID = p.q.options.Clock.Next()
	}
	p.onward = append(p.onward, onward{notice, depth + 1})
	p.q.record(p.u, Event{Kind: EventNotice, Item: ItemID{Mail: m.ID}, Mail: notice})
	return nil
}

// compose asks the Bouncer, unless that was in vain too often.
func (p *plan) compose(ctx context.Context, about *mailflow.Mail, statuses []mailflow.Status, kind mailflow.Action) (notice *mailflow.Mail, err error) {
	if p.mute {
		return nil, nil
	}
	panicked := p.q.guarded("compose a notice", func() {
		notice, err = p.q.options.Bouncer.Compose(ctx, about, statuses, kind)
	})
	if panicked != nil {
		return nil, panicked
	}
	return notice, err
}

// groups gathers recipients by next hop, in the order of their first.
type groups struct {
	hops  []mailflow.NextHop
	rcpts [][]int
	index map[mailflow.NextHop]int // once there are several
}

func (g *groups) add(hop mailflow.NextHop, rcpt int) {
	if n := len(g.hops); n > 0 && g.hops[n-1] == hop {
		g.rcpts[n-1] = append(g.rcpts[n-1], rcpt)
		return
	}
	if i, ok := g.index[hop]; ok {
		g.rcpts[i] = append(g.rcpts[i], rcpt)
		return
	}
	if g.index == nil {
		g.index = make(map[mailflow.NextHop]int)
	}
	g.index[hop] = len(g.hops)
	g.hops = append(g.hops, hop)
	g.rcpts = append(g.rcpts, []int{rcpt})
}

// mergeAbove leaves the groups above max to be routed later, so that one commit stays
// within the engine's limits.
func (g *groups) mergeAbove(max int) {
	if len(g.hops) <= max {
		return
	}
	var rest []int
	for _, r := range g.rcpts[max:] {
		rest = append(rest, r...)
	}
	g.hops = append(g.hops[:max:max], mailflow.NextHop{Transport: hopRoute})
	g.rcpts = append(g.rcpts[:max:max], rest)
}

// enqueue makes items of the recipients and sets their statuses. Where the plan has many
// items already it makes fewer and fuller ones, which are routed later, so that its commit
// stays within the engine's limits.
func (p *plan) enqueue(m *mailflow.Mail, hop mailflow.NextHop, rcpts []int, statuses []mailflow.Status) {
	for len(rcpts) > 0 {
		if len(p.items) >= itemsMax {
			hop = mailflow.NextHop{Transport: hopRoute}
		}
		atMost := groupRcptMax
		switch {
		case hop.Transport == hopLocal && p.apart:
			atMost = 1
		case hop.Transport == hopLocal:
			atMost = localMax
		}
		n, octets := 0, 0
		for n < len(rcpts) && n < atMost && octets < groupOctetsMax {
			r := &m.Recipients[rcpts[n]]
			octets += len(r.Address.Local) + len(r.Address.Domain) + len(r.Original) + 8
			n++
		}
		it := &item{hop: hop, mail: *m, id: ItemID{m.ID, p.nextGroup(m.ID)}}
		it.mail.Recipients = make([]mailflow.Recipient, n)
		it.last = make([]mailflow.Status, n)
		for k, i := range rcpts[:n] {
			it.mail.Recipients[k] = m.Recipients[i]
			if statuses[i].Action == mailflow.Delayed {
				it.last[k] = statuses[i]
			}
			statuses[i] = queued(p.now)
		}
		p.q.schedule.times(it, p.now)
		if it.last[0].Action == mailflow.Delayed && hop.Transport == hopLocal && !it.due.After(p.now) {
			it.attempts, it.failures, it.lastTry = 1, 1, p.now // that was the first try
			it.due = p.q.schedule.next(it, p.now)
		}
		p.make(it)
		rcpts = rcpts[n:]
	}
}

// nextGroup numbers the items that the plan makes of one mail. What is split off an item
// gets a random number: others of the mail are not known here, and make guards against
// the rare clash.
func (p *plan) nextGroup(id mailflow.ID) (n uint32) {
	if p.parent != nil && p.parent.id.Mail == id {
		return rand.Uint32() | splitBit
	}
	for _, it := range p.items {
		if it.id.Mail == id && it.id.Group >= n {
			n = it.id.Group + 1
		}
	}
	return n
}

// make writes a new item.
func (p *plan) make(it *item) {
	it.revision = 1
	s := it.summary()
	b := p.u.Batch(spaceOf(it.id.Mail))
	if it.id.Group&splitBit != 0 { // others are unique as the mail's id is
		b.Guards = append(b.Guards, kv.Guard{Kind: kv.GuardAbsent, Key: itemKey(it.id)})
	}
	count(b, 1)
	b.Puts = append(b.Puts, kv.Put{Key: itemKey(it.id), Value: it.encode()}, kv.Put{Key: it.dueKey(), Value: s.append(nil)})
	p.u.Keep(it.mail.Body, it.holder())
	p.items = append(p.items, it)
	p.q.record(p.u, Event{Kind: EventQueued, Item: it.id, Mail: &it.mail, Hop: it.hop})
}

// guard makes the unit depend on the item being as it was read.
func (p *plan) guard(b *kv.Batch, it *item) {
	s := it.summary()
	b.Guards = append(b.Guards, kv.Guard{Kind: kv.GuardEquals, Key: it.dueKey(), Value: s.append(nil)})
	b.Deletes = append(b.Deletes, it.dueKey())
}

// count keeps the number of items in a shard.
func count(b *kv.Batch, n int64) {
	for i := range b.Adds {
		if bytes.Equal(b.Adds[i].Key, lengthKey) {
			b.Adds[i].N += n
			return
		}
	}
	b.Adds = append(b.Adds, kv.Add{Key: lengthKey, N: n})
}

// remove takes an item away.
func (p *plan) remove(it *item) {
	b := p.u.Batch(spaceOf(it.id.Mail))
	p.guard(b, it)
	count(b, -1)
	b.Deletes = append(b.Deletes, itemKey(it.id))
	p.u.Drop(it.mail.Body, it.holder())
}

// change replaces an item by its next form.
func (p *plan) change(it, next *item) {
	b := p.u.Batch(spaceOf(it.id.Mail))
	p.guard(b, it)
	next.revision = it.revision + 1
	s := next.summary()
	b.Puts = append(b.Puts, kv.Put{Key: itemKey(next.id), Value: next.encode()}, kv.Put{Key: next.dueKey(), Value: s.append(nil)})
}

// isRoute tells whether a hop is one that a transport serves.
func isRoute(h mailflow.NextHop) bool {
	return h.Transport != hopLocal && h.Transport != hopRoute && h.Transport != hopHold
}

// routeName prints a next hop for people.
func routeName(h mailflow.NextHop) string {
	if !isRoute(h) {
		return h.Transport
	}
	return route.Format(h)
}
