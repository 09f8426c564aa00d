package queue

import (
	"container/list"
	"slices"
	"time"

	"postroad/internal/mailflow"
)

// lane is the way to one next hop: what is ready for it, and how well it works. It is
// guarded by scheduler.mu.
type lane struct {
	hop     mailflow.NextHop
	classes []*class // by priority, highest first
	ready   int      // entries in classes
	active  int      // deliveries under way
	limit   int      // of these
	elem    *list.Element
	more    bool // items for this lane were left on disk

	failures  int // times in a row that it could not be reached
	downUntil time.Time
	why       mailflow.Status // of the last failure
}

// class holds what is ready at one priority, by sender.
type class struct {
	priority int
	senders  map[uint64]*fifo
	turn     []*fifo // senders with entries, the next one first
}

// fifo holds what one sender has ready, in order.
type fifo struct {
	sender  uint64
	entries []*entry
}

// push adds an entry behind those of its sender and priority.
func (l *lane) push(e *entry) {
	i, found := slices.BinarySearchFunc(l.classes, e.priority, func(c *class, p int) int { return p - c.priority })
	if !found {
		l.classes = slices.Insert(l.classes, i, &class{priority: e.priority, senders: make(map[uint64]*fifo)})
	}
	c := l.classes[i]
	f := c.senders[e.sender]
	if f == nil {
		f = &fifo{sender: e.sender}
		c.senders[e.sender] = f
		c.turn = append(c.turn, f)
	}
	f.entries = append(f.entries, e)
	l.ready++
}

// pop takes the next entry: of the highest priority, of the sender whose turn it is.
// Entries that were taken elsewhere meanwhile are passed over. It returns nil when there
// is none.
func (l *lane) pop() *entry {
	for len(l.classes) > 0 {
		c := l.classes[0]
		for len(c.turn) > 0 {
			f := c.turn[0]
			e := f.entries[0]
			f.entries[0] = nil
			f.entries, c.turn = f.entries[1:], c.turn[1:]
			if len(f.entries) == 0 {
				delete(c.senders, f.sender)
			} else {
				c.turn = append(c.turn, f)
			}
			if e.state == stateReady {
				l.ready--
				return e
			}
		}
		l.classes = l.classes[1:]
	}
	return nil
}

// room tells whether one more delivery may start. A lane that failed last time is probed
// by one.
func (l *lane) room(now time.Time) bool {
	if l.failures > 0 {
		return l.active == 0 && !now.Before(l.downUntil)
	}
	return l.active < l.limit
}

// down tells whether the lane waits before it is probed again.
func (l *lane) down(now time.Time) bool { return l.failures > 0 && now.Before(l.downUntil) }

// reached notes that the next hop answered.
func (l *lane) reached(limitMax int) {
	l.failures = 0
	l.downUntil = time.Time{}
	l.limit = min(l.limit+1, limitMax)
}

// unreachable notes that it did not. Of several deliveries that failed at one time the
// first counts.
func (l *lane) unreachable(now time.Time, s *Schedule, why mailflow.Status) {
	l.why = why
	if l.down(now) {
		return
	}
	l.failures++
	l.limit = max(1, l.limit/2)
	l.downUntil = now.Add(s.probe(l.failures))
}

// isUnreachable tells whether statuses say that the next hop as a whole does not work,
// so that its other mail would fare no better: no connection, or 421.
func isUnreachable(statuses []mailflow.Status) bool {
	for i := range statuses {
		s := &statuses[i]
		// X.4.X is network and routing status, X.7.X TLS and log-in (RFC 3463, 3.5, 3.8).
		ours := s.LocalMTA && (s.Reply.Enhanced[1] == 4 || s.Reply.Enhanced[1] == 7)
		if s.Action != mailflow.Delayed || !(ours || s.Reply.Code == 421) {
			return false
		}
	}
	return len(statuses) > 0
}
