package queue

import (
	"container/heap"
	"container/list"
	"sync"
	"time"

	"postroad/internal/mailflow"
)

// entryState is where an entry is; see the package comment.
type entryState uint8

const (
	stateReserved entryState = iota
	stateWaiting
	stateReady
	stateActive
	stateGone // replaced or settled; lists that still hold it pass over it
)

// entry is an item in memory.
type entry struct {
	id       ItemID
	due      time.Time
	summary  summary
	priority int
	sender   uint64
	lane     *lane // while ready or active
	state    entryState
	overdue  bool          // to be reported on or given up without being tried
	item     *item         // decoded, nil: on disk only
	settled  chan struct{} // made by who waits for the entry to leave stateReserved or stateActive
}

// scheduler has what is near its time in memory, and says what is delivered next.
type scheduler struct {
	options *Options
	wake    chan struct{} // a hint that something changed

	mu       sync.Mutex // guards all below
	entries  map[ItemID]*entry
	lanes    map[mailflow.NextHop]*lane
	ring     list.List // of *lane: those with something ready and room for it
	timers   timers
	overdue  []*entry
	active   int
	window   time.Time // what is due before is in memory, or some lane says more
	more     bool      // items were left on disk for want of memory
	hungry   bool      // there is room for these again
	sweeping bool
	swept    time.Time // end of the last sweep
	cached   int64     // octets of decoded items
	running  bool
	stopped  bool
}

func (s *scheduler) init(o *Options) {
	s.options = o
	s.wake = make(chan struct{}, 1)
	s.entries = make(map[ItemID]*entry)
	s.lanes = make(map[mailflow.NextHop]*lane)
}

// signal wakes the loop that starts deliveries.
func (s *scheduler) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// reserve enters items before the commit that makes them.
func (s *scheduler) reserve(items []*item) {
	if len(items) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, it := range items {
		if s.entries[it.id] == nil {
			s.entries[it.id] = &entry{id: it.id, state: stateReserved}
		}
	}
}

// withdraw takes items out whose commit failed.
func (s *scheduler) withdraw(items []*item) {
	if len(items) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, it := range items {
		if e := s.entries[it.id]; e != nil && e.state == stateReserved {
			s.forget(e)
		}
	}
}

// admit schedules items whose commit is durable.
func (s *scheduler) admit(items []*item) {
	s.mu.Lock()
	now := time.Now()
	for _, it := range items {
		if e := s.entries[it.id]; e != nil && e.state == stateReserved {
			s.place(e, it, now)
		}
	}
	s.mu.Unlock()
	s.signal()
}

// settle ends an activity: the item is gone (nil) or goes on as it is now.
func (s *scheduler) settle(e *entry, it *item) {
	s.mu.Lock()
	if it == nil {
		s.forget(e)
	} else {
		s.place(e, it, time.Now())
	}
	s.mu.Unlock()
	s.signal()
}

// forget takes an entry out of memory. It needs s.mu.
func (s *scheduler) forget(e *entry) {
	s.uncache(e)
	e.state = stateGone
	if s.more && len(s.entries) <= s.options.MemoryMax/2 {
		s.hungry = true
	}
	if s.entries[e.id] == e {
		delete(s.entries, e.id)
	}
	s.tell(e)
}

// tell lets those go on who wait for the entry. It needs s.mu.
func (s *scheduler) tell(e *entry) {
	if e.settled != nil {
		close(e.settled)
		e.settled = nil
	}
}

// place puts an entry, reserved or active before, where its item belongs now. It needs
// s.mu.
func (s *scheduler) place(e *entry, it *item, now time.Time) {
	s.uncache(e)
	if it.held || !s.running || (it.due.After(now) && !it.due.Before(s.window)) || s.full(it.hop) {
		s.forget(e) // a sweep finds it in its time
		return
	}
	e.due = it.due
	s.set(e, it.summary())
	s.cache(e, it)
	s.tell(e)
	s.queue(e, now)
}

// full tells whether there is no memory for one more item, and remembers that some was
// left on disk. It needs s.mu.
func (s *scheduler) full(hop mailflow.NextHop) bool {
	if len(s.entries) > s.options.MemoryMax {
		s.more = true
		return true
	}
	if l := s.lanes[hop]; l != nil && l.ready >= s.laneMemoryMax() {
		l.more = true
		return true
	}
	return false
}

// laneMemoryMax is how much of the memory one next hop may fill.
func (s *scheduler) laneMemoryMax() int { return max(s.options.MemoryMax/4, 1) }

// set gives an entry what scheduling needs.
func (s *scheduler) set(e *entry, sum summary) {
	e.summary, e.priority, e.sender = sum, sum.priority, sum.sender
	e.overdue, e.lane = false, nil
}

// queue lets an entry wait or be ready. It needs s.mu.
func (s *scheduler) queue(e *entry, now time.Time) {
	if e.due.After(now) {
		e.state = stateWaiting
		heap.Push(&s.timers, timer{e.due, e, nil})
		return
	}
	l := s.lane(e.summary.hop)
	e.state, e.lane = stateReady, l
	l.push(e)
	if l.down(now) {
		s.watch(e)
	}
	s.show(l, now)
}

// watch sees to it that an entry in a lane that is down is reported on in time.
func (s *scheduler) watch(e *entry) { heap.Push(&s.timers, timer{e.summary.actAt, e, nil}) }

// lane finds or makes the lane of a next hop. It needs s.mu.
func (s *scheduler) lane(hop mailflow.NextHop) *lane {
	l := s.lanes[hop]
	if l == nil {
		l = &lane{hop: hop, limit: s.options.LaneMax}
		s.lanes[hop] = l
	}
	return l
}

// show puts a lane into the ring if something can start in it, and drops it when nothing
// is known of it any more. It needs s.mu.
func (s *scheduler) show(l *lane, now time.Time) {
	can := l.ready > 0 && l.room(now)
	switch {
	case can && l.elem == nil:
		l.elem = s.ring.PushBack(l)
	case !can && l.elem != nil:
		s.ring.Remove(l.elem)
		l.elem = nil
	}
	if l.ready == 0 && l.active == 0 && !l.more && !l.down(now) && l.failures == 0 && s.lanes[l.hop] == l {
		delete(s.lanes, l.hop)
	}
}

// next picks what is delivered now, nil when nothing is or nothing more may be. The lanes
// take turns.
func (s *scheduler) next() *entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pick(time.Now())
}

// pick needs s.mu.
func (s *scheduler) pick(now time.Time) *entry {
	if s.stopped || s.active >= s.options.ActiveMax {
		return nil
	}
	for len(s.overdue) > 0 {
		e := s.overdue[0]
		s.overdue = s.overdue[1:]
		if e.state == stateReady {
			e.state = stateActive
			e.lane.ready--
			e.lane.active++
			s.active++
			s.show(e.lane, now)
			return e
		}
	}
	for front := s.ring.Front(); front != nil; front = s.ring.Front() {
		l := front.Value.(*lane)
		s.ring.Remove(front)
		l.elem = nil
		e := l.pop()
		if e == nil {
			l.ready = 0
			s.show(l, now)
			continue
		}
		e.state = stateActive
		l.active++
		s.active++
		if l.more && l.ready <= s.laneMemoryMax()/2 {
			s.hungry = true
		}
		s.show(l, now) // at the end of the ring, if there is room for more
		return e
	}
	return nil
}

// release ends the part of an activity that takes up the lane; statuses are nil when
// nothing was learnt about the next hop.
func (s *scheduler) release(e *entry, statuses []mailflow.Status, schedule *Schedule) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	l := e.lane
	l.active--
	s.active--
	switch {
	case len(statuses) == 0 || e.overdue || !isRoute(l.hop):
	case isUnreachable(statuses):
		l.unreachable(now, schedule, statuses[0])
		heap.Push(&s.timers, timer{l.downUntil, nil, l})
		s.watchAll(l)
	default:
		l.reached(s.options.LaneMax)
	}
	s.show(l, now)
}

// watchAll lets timers run for all that is ready in a lane that went down. It needs s.mu.
func (s *scheduler) watchAll(l *lane) {
	for _, c := range l.classes {
		for _, f := range c.turn {
			for _, e := range f.entries {
				if e.state == stateReady {
					s.watch(e)
				}
			}
		}
	}
}

// advance does what time brings: waiting entries become ready, lanes may be probed, what
// waits in a lane that is down is reported on. It returns when to come again at the latest.
func (s *scheduler) advance() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for len(s.timers) > 0 && !s.timers[0].at.After(now) {
		t := heap.Pop(&s.timers).(timer)
		switch {
		case t.lane != nil:
			s.probe(t.lane, now)
		case t.entry.state == stateWaiting && !t.entry.due.After(now):
			s.queue(t.entry, now)
		case t.entry.state == stateReady && !t.entry.overdue && !t.entry.summary.actAt.After(now) && t.entry.lane.down(now):
			t.entry.overdue = true
			s.overdue = append(s.overdue, t.entry)
		}
	}
	next := now.Add(windowDefault)
	if !s.sweeping {
		next = earlier(next, s.nextSweep())
	}
	if len(s.timers) > 0 {
		next = earlier(next, s.timers[0].at)
	}
	return next
}

// probe lets one delivery try a lane that was down. A lane without anything to try is
// forgotten when as much time again has passed. It needs s.mu.
func (s *scheduler) probe(l *lane, now time.Time) {
	if s.lanes[l.hop] != l || now.Before(l.downUntil) {
		return
	}
	if l.ready == 0 && l.active == 0 && now.Sub(l.downUntil) >= s.options.Schedule.ProbeMax {
		l.failures, l.more = 0, l.more && s.more
	} else if l.ready == 0 && l.active == 0 {
		heap.Push(&s.timers, timer{l.downUntil.Add(s.options.Schedule.ProbeMax), nil, l})
	}
	s.show(l, now)
}

// cacheCost is about what a decoded item takes in memory, in octets.
func cacheCost(it *item) int64 {
	cost := int64(1024 + 256*len(it.mail.Recipients))
	if it.mail.Body.Staged() {
		cost += min(it.mail.Body.Size, 8<<10) // a small body is carried along
	}
	return cost
}

// cache keeps the decoded item with its entry while there is room. Local items are read
// anew: their body must be the stored one, to be linked to a mailbox. It needs s.mu.
func (s *scheduler) cache(e *entry, it *item) {
	cost := cacheCost(it)
	if !isRoute(it.hop) || s.cached+cost > cacheOctetsMax {
		return
	}
	e.item = it
	s.cached += cost
}

// uncache needs s.mu.
func (s *scheduler) uncache(e *entry) {
	if e.item != nil {
		s.cached -= cacheCost(e.item)
		e.item = nil
	}
}

// timer is a moment at which an entry or a lane may change its state.
type timer struct {
	at    time.Time
	entry *entry
	lane  *lane
}

// timers is a heap, the earliest first.
type timers []timer

func (t timers) Len() int           { return len(t) }
func (t timers) Less(i, j int) bool { return t[i].at.Before(t[j].at) }
func (t timers) Swap(i, j int)      { t[i], t[j] = t[j], t[i] }
func (t *timers) Push(x any)        { *t = append(*t, x.(timer)) }
func (t *timers) Pop() any {
	old := *t
	last := old[len(old)-1]
	old[len(old)-1] = timer{}
	*t = old[:len(old)-1]
	return last
}
