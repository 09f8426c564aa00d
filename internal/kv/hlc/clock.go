package hlc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"postroad/internal/kv"
)

const (
	// NodeMax is the largest node number.
	NodeMax = 1<<nodeBits - 1
	// countMax is how many ids one millisecond holds; then the clock runs ahead of time.
	countMax = 1 << counterBits

	// window is how far ahead of itself the clock reserves time in the engine.
	window = 10 * time.Second
	// renewBelow is how much of the window is left when the next one is asked for.
	renewBelow = 5 * time.Second
	// renewRetry is the pause after a window could not be reserved.
	renewRetry = 100 * time.Millisecond
)

// Space is where clocks keep what they reserved, one sequence for each node.
const Space kv.Space = "sys"

// Clock hands out ids. It is safe for many goroutines.
//
// Uniqueness over restarts: no id is handed out whose millisecond lies above the durable
// reservation, and a new Clock starts above all that was reserved, whatever the machine's
// clock says. It costs one small commit in five seconds of use, in the background, and
// none while nobody asks for ids.
type Clock struct {
	node uint16
	now  func() time.Time

	last     atomic.Uint64 // milliseconds << counterBits | count, of the newest id
	reserved atomic.Uint64 // milliseconds: the last one that may be used

	engine kv.Engine
	wake   chan struct{} // asks for a window; holds one
	stop   context.CancelFunc
	done   chan struct{} // closed when the renewing goroutine has ended

	mu    sync.Mutex
	moved *sync.Cond // reserved grew; uses mu
}

// NewClock is a clock in memory, for tests: its ids are unique within the process only.
func NewClock(node uint16) *Clock {
	c := newClock(node)
	c.reserved.Store(math.MaxUint64 >> counterBits)
	return c
}

// newClock is a clock that may hand out nothing yet.
func newClock(node uint16) *Clock {
	c := &Clock{node: node & NodeMax, now: time.Now, wake: make(chan struct{}, 1)}
	c.moved = sync.NewCond(&c.mu)
	return c
}

// Open makes the clock of a node, 0 to NodeMax, over an engine and reserves its first
// window. Close it before the engine. One engine must not have two open clocks of the same
// node.
func Open(ctx context.Context, engine kv.Engine, node uint16) (*Clock, error) {
	return open(ctx, engine, node, time.Now)
}

// open is Open with the machine's clock given.
func open(ctx context.Context, engine kv.Engine, node uint16, now func() time.Time) (*Clock, error) {
	if node > NodeMax {
		return nil, fmt.Errorf("hlc: node %d is above %d", node, NodeMax)
	}
	c := newClock(node)
	c.engine, c.now, c.done = engine, now, make(chan struct{})
	snap, err := engine.Snapshot(ctx, Space)
	if err != nil {
		return nil, fmt.Errorf("hlc: read the reservation: %w", err)
	}
	before, err := snap.Sequence(c.key())
	if err := errors.Join(err, snap.Close()); err != nil {
		return nil, fmt.Errorf("hlc: read the reservation: %w", err)
	}
	c.reserved.Store(before)
	c.last.Store(before<<counterBits | (countMax - 1)) // all of what was reserved may be in use
	if err := c.renew(ctx); err != nil {
		return nil, err
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	c.stop = stop
	go c.run(run)
	return c, nil
}

// Next gives an id greater than all that this clock gave before. It waits only where a
// window was used up before the next one was durable: after a pause, or while the engine
// does not answer.
func (c *Clock) Next() ID {
	for {
		last := c.last.Load()
		next := max(last+1, c.millis()<<counterBits)
		reserved := c.reserved.Load()
		if ms := next >> counterBits; ms > reserved {
			c.await(ms)
			continue
		} else if reserved-ms < uint64(renewBelow/time.Millisecond) {
			c.ask()
		}
		if c.last.CompareAndSwap(last, next) {
			return ID(next<<nodeBits | uint64(c.node))
		}
	}
}

// Close ends the renewing; the clock must not be used any more.
func (c *Clock) Close() error {
	if c.stop != nil {
		c.stop()
		<-c.done
	}
	return nil
}

// millis is the machine's time in milliseconds since the epoch.
func (c *Clock) millis() uint64 {
	return uint64(max(0, c.now().Sub(epoch)/time.Millisecond))
}

// ask wakes the renewing goroutine.
func (c *Clock) ask() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// await returns when milliseconds up to ms may be used.
func (c *Clock) await(ms uint64) {
	c.ask()
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.reserved.Load() < ms {
		c.moved.Wait()
	}
}

// allow lets ids be made up to the millisecond.
func (c *Clock) allow(ms uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reserved.Store(ms)
	c.moved.Broadcast()
}

// run renews the window whenever it is asked to, until Close.
func (c *Clock) run(ctx context.Context) {
	defer close(c.done)
	// Nothing can be stored any more once the clock or its engine is closed, so that ids
	// made from then on need not be unique over restarts, but nobody may hang for them.
	defer c.allow(math.MaxUint64 >> counterBits)
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		}
		err := c.renew(ctx)
		if err != nil && ctx.Err() == nil && !errors.Is(err, kv.ErrClosed) {
			slog.Error("ids will be held up", "error", err)
		}
		for err != nil && ctx.Err() == nil && !errors.Is(err, kv.ErrClosed) {
			select {
			case <-ctx.Done():
			case <-time.After(renewRetry):
				err = c.renew(ctx)
			}
		}
		if errors.Is(err, kv.ErrClosed) {
			return
		}
	}
}

// renew reserves a window ahead of the newest id and of the time, whichever is later. It
// raises a sequence and puts nothing, so that it works on a full disk.
func (c *Clock) renew(ctx context.Context) error {
	from := max(c.last.Load()>>counterBits, c.millis())
	until := from + uint64(window/time.Millisecond)
	if until <= c.reserved.Load() {
		return nil
	}
	_, err := c.engine.Commit(ctx, kv.Batch{
		Space: Space,
		Takes: []kv.Take{{Key: c.key(), AtLeast: until + 1}},
		Quiet: true,
	})
	if err != nil {
		return fmt.Errorf("hlc: reserve ids: %w", err)
	}
	c.allow(until)
	return nil
}

// key names the node's sequence: the last millisecond reserved.
func (c *Clock) key() []byte { return fmt.Appendf(nil, "hlc/%04d", c.node) }
