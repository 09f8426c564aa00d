package dns

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// How long answers are kept at the most.
const (
	ttlMax         = 24 * time.Hour
	negativeTTLMax = time.Hour       // RFC 2308, 5 found one to three hours sensible
	failureTTL     = 5 * time.Second // RFC 9520, 3.2: at least 1 s, at most 5 min
)

// cacheRecordsFactor bounds the records in the cache as a multiple of its answers.
const cacheRecordsFactor = 4

// question is what is asked; the name is normal.
type question struct {
	name string
	t    Type
}

// cache keeps answers, good and bad, for their time; the least recently used go first.
type cache struct {
	max int

	mu      sync.Mutex
	entries map[question]*list.Element
	recent  list.List // of *cached, newest use first
	records int       // in all entries
}

type cached struct {
	q      question
	answer Answer
	err    error
	until  time.Time
}

func newCache(max int) *cache {
	return &cache{max: max, entries: make(map[question]*list.Element)}
}

func (c *cache) get(q question) (a Answer, err error, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	el, ok := c.entries[q]
	if !ok {
		return a, nil, false
	}
	e := el.Value.(*cached)
	left := time.Until(e.until)
	if left <= 0 {
		c.remove(el)
		return a, nil, false
	}
	c.recent.MoveToFront(el)
	a = e.answer
	a.TTL = min(a.TTL, left)
	return a, e.err, true
}

func (c *cache) put(q question, a Answer, err error, ttl time.Duration) {
	if ttl <= 0 || c.max <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if el, ok := c.entries[q]; ok {
		c.remove(el)
	}
	c.entries[q] = c.recent.PushFront(&cached{q, a, err, time.Now().Add(min(ttl, ttlMax))})
	c.records += len(a.Records)
	for len(c.entries) > c.max || (c.records > c.max*cacheRecordsFactor && len(c.entries) > 1) {
		c.remove(c.recent.Back())
	}
}

// remove needs c.mu.
func (c *cache) remove(el *list.Element) {
	e := c.recent.Remove(el).(*cached)
	c.records -= len(e.answer.Records)
	delete(c.entries, e.q)
}

// flights lets those who ask the same at one time share one question.
type flights struct {
	mu    sync.Mutex
	under map[question]*flight
}

type flight struct {
	done   chan struct{}
	answer Answer
	err    error
}

// do runs ask once for all who come while it runs. done is false when ctx ended first.
func (f *flights) do(ctx context.Context, q question, ask func() (Answer, error)) (a Answer, err error, done bool) {
	f.mu.Lock()
	fl, ok := f.under[q]
	if !ok {
		fl = &flight{done: make(chan struct{})}
		if f.under == nil {
			f.under = make(map[question]*flight)
		}
		f.under[q] = fl
		go func() {
			fl.answer, fl.err = ask()
			f.mu.Lock()
			delete(f.under, q)
			f.mu.Unlock()
			close(fl.done)
		}()
	}
	f.mu.Unlock()
	select {
	case <-fl.done:
		return fl.answer, fl.err, true
	case <-ctx.Done():
		return Answer{}, nil, false
	}
}
