package queue

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"postroad/address"
	"postroad/internal/mailflow"
)

// recorder is a transport that takes a second for each mail and notes the order.
type recorder struct {
	mu    sync.Mutex
	order []string // "sender>hop"
	now   map[string]int
	most  map[string]int
}

func (r *recorder) deliver(_ context.Context, m *mailflow.Mail, hop mailflow.NextHop) []mailflow.Status {
	r.mu.Lock()
	if r.now == nil {
		r.now, r.most = map[string]int{}, map[string]int{}
	}
	r.order = append(r.order, fmt.Sprintf("%s>%s", m.ReturnPath.Local, hop.Domain))
	for _, k := range []string{hop.Domain, "all"} {
		r.now[k]++
		r.most[k] = max(r.most[k], r.now[k])
	}
	r.mu.Unlock()
	time.Sleep(time.Second)
	r.mu.Lock()
	r.now[hop.Domain]--
	r.now["all"]--
	r.mu.Unlock()
	return nil
}

func TestConcurrencyLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		w := newWorld(t, func(o *Options) { o.ActiveMax, o.LaneMax = 10, 4 })
		w.transport = r.deliver
		for i := range 200 {
			w.submit(w.mail("x", sender, fmt.Sprintf("u@d%d.test", i%5)))
		}
		stop := w.run()
		time.Sleep(time.Minute)
		stop()
		if len(r.order) != 200 || r.most["all"] != 10 {
			t.Errorf("%d sent, at most %d at once", len(r.order), r.most["all"])
		}
		for i := range 5 {
			if n := r.most[fmt.Sprintf("d%d.test", i)]; n > 4 || n < 2 {
				t.Errorf("at most %d at once to d%d.test", n, i)
			}
		}
	})
}

func TestFairness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		w := newWorld(t, func(o *Options) { o.ActiveMax, o.LaneMax = 1, 1 })
		w.transport = r.deliver
		from := func(name string) address.Address { return address.Address{Local: name, Domain: "s.test"} }
		for range 200 {
			w.submit(w.mail("x", from("greedy"), "u@big.test"))
		}
		for range 3 {
			w.submit(w.mail("x", from("modest"), "u@big.test"))
			w.submit(w.mail("x", from("modest"), "u@small.test"))
		}
		stop := w.run()
		time.Sleep(20 * time.Second)
		stop()
		order := strings.Join(r.order[:14], " ")
		if strings.Count(order, "modest>small.test") != 3 || strings.Count(order, "modest>big.test") != 3 {
			t.Errorf("order %s", order)
		}
	})
}

func TestPriorities(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		w := newWorld(t, func(o *Options) { o.ActiveMax, o.LaneMax = 1, 1 })
		w.transport = r.deliver
		for i, p := range []int{0, -4, 9, 0, 3} {
			m := w.mail("x", address.Address{Local: fmt.Sprintf("%d.%d", p, i), Domain: "s.test"}, "u@big.test")
			m.Priority = p
			w.submit(m)
		}
		w.queue.scheduler.start()
		w.queue.sweep(t.Context())
		stop := w.run()
		time.Sleep(time.Minute)
		stop()
		order := strings.ReplaceAll(strings.Join(r.order, " "), ">big.test", "")
		if !strings.HasPrefix(order, "9.2 3.4 0.") || !strings.HasSuffix(order, " -4.1") {
			t.Errorf("order %s", order)
		}
	})
}

func TestMemoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		w := newWorld(t, func(o *Options) { o.MemoryMax, o.ActiveMax, o.LaneMax = 40, 5, 5 })
		var down atomic.Bool
		down.Store(true)
		w.transport = func(ctx context.Context, m *mailflow.Mail, hop mailflow.NextHop) []mailflow.Status {
			if hop.Domain == "down.test" && down.Load() {
				return unreachableHop(ctx, m, hop)
			}
			return r.deliver(ctx, m, hop)
		}
		stop := w.run()
		most := 0
		for range 300 {
			w.submit(w.mail("x", sender, "u@down.test"))
			w.submit(w.mail("x", sender, "u@well.test"))
			most = max(most, w.queue.Stats().InMemory)
		}
		time.Sleep(30 * time.Minute)
		r.mu.Lock()
		n := len(r.order)
		r.mu.Unlock()
		if n != 300 {
			t.Errorf("%d of 300 sent past a hop that is down and fills its share of memory", n)
		}
		most = max(most, w.queue.Stats().InMemory)
		if most > 60 {
			t.Errorf("%d items in memory", most)
		}
		down.Store(false)
		time.Sleep(8 * time.Hour)
		if n := w.length(); n != 0 {
			t.Errorf("%d left", n)
		}
		stop()
	})
}

func TestEndOfRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(o *Options) { o.DrainTimeout = 10 * time.Second })
		w.transport = func(ctx context.Context, m *mailflow.Mail, hop mailflow.NextHop) []mailflow.Status {
			pause := 5 * time.Second
			if hop.Domain == "slow.test" {
				pause = time.Hour
			}
			select {
			case <-time.After(pause):
				return nil
			case <-ctx.Done():
				return unreachableHop(ctx, m, hop)
			}
		}
		stop := w.run()
		w.submit(w.mail("x", sender, "a@out.test"))
		w.submit(w.mail("x", sender, "a@slow.test"))
		time.Sleep(time.Second)
		begin := time.Now()
		stop()
		if d := time.Since(begin); d != 10*time.Second {
			t.Errorf("ended after %v", d)
		}
		if w.count(&w.sent) != 1 || w.length() != 1 {
			t.Errorf("sent %v, left %d", w.sent, w.length())
		}
		if list, _, err := w.queue.List(t.Context(), Filter{}, "", 0); err != nil || list[0].State != StateReady || list[0].Attempts != 0 {
			t.Errorf("what the end cut short: %+v %v", list, err)
		}
		w.submit(w.mail("x", sender, "b@out.test")) // kept, for the next run
		if w.length() != 2 {
			t.Errorf("left %d", w.length())
		}
	})
}

// TestStaleOffers lets the sweep offer what the disk does not have any more like that.
func TestStaleOffers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		timed, held := w.mail("x", sender, "timed@out.test"), w.mail("x", sender, "held@out.test")
		timed.HoldUntil = time.Now().Add(time.Hour)
		w.submit(timed)
		w.submit(held)
		if err := w.queue.Hold(t.Context(), ItemID{Mail: held.ID}); err != nil {
			t.Fatal(err)
		}
		stop := w.run()
		time.Sleep(time.Second)
		gone := ItemID{Mail: 12345}
		for _, id := range []ItemID{{Mail: timed.ID}, {Mail: held.ID}, gone} {
			if !w.queue.scheduler.offer(id, time.Now(), summary{hop: mailflow.NextHop{Transport: "smtp", Domain: "out.test"}}) {
				t.Errorf("%s was in memory", id)
			}
		}
		w.queue.scheduler.signal()
		time.Sleep(time.Second)
		if w.count(&w.sent) != 0 || w.queue.Stats().InMemory != 0 {
			t.Errorf("sent %v, %d in memory", w.sent, w.queue.Stats().InMemory)
		}
		time.Sleep(2 * time.Hour)
		stop()
		if w.count(&w.sent) != 1 || w.sent[0] != "timed@out.test" {
			t.Errorf("sent %v", w.sent)
		}
	})
}
