package remote

import (
	"context"
	"sync"
	"time"

	"postroad/internal/mailflow"
)

// Idle connections are looked after like this.
const (
	checkAfter   = time.Second     // idle for longer, it is asked whether it lives
	checkTimeout = 5 * time.Second // for the answer
	quitTimeout  = 5 * time.Second
)

// pool keeps idle connections by next hop, the one used last first.
type pool struct {
	options *Options
	quits   sync.WaitGroup

	mu     sync.Mutex // guards all below
	idle   map[mailflow.NextHop][]*conn
	count  int
	closed bool
}

func (p *pool) init(o *Options) {
	p.options = o
	p.idle = make(map[mailflow.NextHop][]*conn)
}

// take gives an idle connection, nil when there is none.
func (p *pool) take(hop mailflow.NextHop) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.idle[hop]
	if len(list) == 0 {
		return nil
	}
	c := list[len(list)-1]
	p.remove(c)
	c.expires.Stop()
	c.reused = true
	return c
}

// remove needs p.mu. It tells whether the connection was idle.
func (p *pool) remove(c *conn) bool {
	list := p.idle[c.hop]
	for i := range list {
		if list[i] == c {
			list = append(list[:i], list[i+1:]...)
			p.count--
			if p.idle[c.hop] = list; len(list) == 0 {
				delete(p.idle, c.hop)
			}
			return true
		}
	}
	return false
}

// give takes a connection back after a transaction, or ends it if it is of no more use.
func (p *pool) give(c *conn) {
	now := time.Now()
	p.mu.Lock()
	switch {
	case !c.client.Usable():
		p.mu.Unlock()
		c.end()
		return
	case p.closed || c.sent >= p.options.ReuseMax || now.Sub(c.opened) >= p.options.ReuseTimeout ||
		p.count >= p.options.IdleMax || len(p.idle[c.hop]) >= p.options.IdleHopMax:
		p.mu.Unlock()
		p.quit(c)
		return
	}
	c.idle = now
	c.expires = time.AfterFunc(p.options.IdleTimeout, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.remove(c) {
			p.quit(c)
		}
	})
	p.idle[c.hop] = append(p.idle[c.hop], c)
	p.count++
	p.mu.Unlock()
}

// quit says goodbye behind the back of the delivery, which need not wait for it.
func (p *pool) quit(c *conn) { p.quits.Go(c.quit) }

func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	for _, list := range p.idle {
		for _, c := range list {
			c.expires.Stop()
			p.quit(c)
		}
	}
	clear(p.idle)
	p.count = 0
	p.mu.Unlock()
	p.quits.Wait()
}

// alive asks a connection that was idle for long whether it still is one.
func (c *conn) alive(ctx context.Context) bool {
	if time.Since(c.idle) < checkAfter {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	return c.client.Noop(ctx) == nil
}

func (c *conn) quit() {
	ctx, cancel := context.WithTimeout(context.Background(), quitTimeout)
	defer cancel()
	c.client.Quit(ctx)
}

// end closes a connection that cannot be spoken over any more.
func (c *conn) end() { c.client.Close() }
