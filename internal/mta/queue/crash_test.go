package queue

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"postroad/internal/blob"
	"postroad/internal/blob/memblob"
	"postroad/internal/kv"
	"postroad/internal/kv/diskkv"
	"postroad/internal/kv/hlc"
	"postroad/internal/kv/memkv"
	"postroad/internal/mailflow"
	"postroad/smtp"
)

// mortal is an engine that dies at its n-th commit: before it is done, or after it is
// done but before anybody hears of it.
type mortal struct {
	kv.Engine
	mu    sync.Mutex
	left  int
	after bool
	dead  bool
}

func (e *mortal) Commit(ctx context.Context, b ...kv.Batch) ([]kv.Result, error) {
	e.mu.Lock()
	if e.dead {
		e.mu.Unlock()
		return nil, kv.ErrClosed
	}
	if e.left--; e.left == 0 {
		e.dead = true
		after := e.after
		e.mu.Unlock()
		if after {
			e.Engine.Commit(ctx, b...)
		}
		return nil, kv.ErrClosed
	}
	e.mu.Unlock()
	return e.Engine.Commit(ctx, b...)
}

func (e *mortal) Snapshot(ctx context.Context, s kv.Space) (kv.Snapshot, error) {
	e.mu.Lock()
	dead := e.dead
	e.mu.Unlock()
	if dead {
		return nil, kv.ErrClosed
	}
	return e.Engine.Snapshot(ctx, s)
}

// crashRun submits mails to a queue that dies at commit n, then lets a second queue on
// the same engine finish. It returns whether the first one died.
func crashRun(t *testing.T, engine kv.Engine, bodies func(kv.Engine) *blob.Bodies, n int, after bool) (died bool) {
	dying := &mortal{Engine: engine, left: n, after: after}
	w := newWorldOn(t, dying, bodies(dying), nil)
	w.clock.last = mailflow.ID(n+1) << 40
	flaky := map[string]int{}
	tell := func(_ context.Context, m *mailflow.Mail, _ mailflow.NextHop) []mailflow.Status {
		st := answer(m, mailflow.Status{Action: mailflow.Relayed, Reply: reply(250, smtp.EnhancedCode{2, 0, 0}, "ok")})
		w.mu.Lock()
		defer w.mu.Unlock()
		for i, r := range m.Recipients {
			flaky[r.Address.Local]++
			switch {
			case strings.HasPrefix(r.Address.Local, "no"):
				st[i] = mailflow.Status{Action: mailflow.Failed, Reply: reply(550, smtp.EnhancedCode{5, 1, 1}, "no")}
			case strings.HasPrefix(r.Address.Local, "later") && flaky[r.Address.Local] < 3:
				st[i] = mailflow.Status{Action: mailflow.Delayed, Reply: reply(450, smtp.EnhancedCode{4, 2, 1}, "later")}
			}
		}
		return st
	}
	w.transport = tell
	stop := w.run()
	var accepted, unsure []string
	for i := range 4 {
		to := []string{fmt.Sprintf("in%d@here.test", i), fmt.Sprintf("out%d@a.test", i), fmt.Sprintf("later%d@a.test", i), fmt.Sprintf("no%d@b.test", i), fmt.Sprintf("fwd-f%d@here.test", i)}
		_, err := w.queue.Submit(context.Background(), w.mail("x", sender, to...), mailflow.SubmitOptions{})
		if err == nil {
			accepted = append(accepted, fmt.Sprint(i))
		} else {
			unsure = append(unsure, fmt.Sprint(i))
		}
		time.Sleep(time.Second)
	}
	time.Sleep(20 * time.Minute)
	stop()
	sentBefore := append([]string(nil), w.sent...)

	second := newWorldOn(t, engine, bodies(engine), nil)
	second.clock.last = mailflow.ID(n+2) << 41
	second.transport = tell
	stop = second.run()
	time.Sleep(time.Hour)
	stop()
	if left := second.length(); left != 0 || second.links() != 0 {
		t.Errorf("kill at commit %d: %d items, %d links left", n, left, second.links())
	}
	times := map[string]int{}
	for _, s := range append(sentBefore, second.sent...) {
		times[s]++
	}
	twice := 0
	for _, i := range accepted {
		for _, a := range []string{"out" + i + "@a.test", "later" + i + "@a.test", "f" + i + "@out.test"} {
			if times[a] == 0 {
				t.Errorf("kill at commit %d: %s was lost", n, a)
			}
		}
		if k := len(second.mailbox("in" + i)); k != 1 {
			t.Errorf("kill at commit %d: in%s has %d", n, i, k)
		}
		if notices := strings.Count(strings.Join(append(w.notices, second.notices...), " "), "no"+i+"@"); notices < 1 {
			t.Errorf("kill at commit %d: no notice about no%s", n, i)
		}
	}
	for _, i := range unsure {
		if k := len(second.mailbox("in" + i)); k > 1 {
			t.Errorf("kill at commit %d: in%s has %d", n, i, k)
		}
	}
	for a, k := range times {
		if k > 2 {
			t.Errorf("kill at commit %d: %s was sent %d times", n, a, k)
		}
		twice += k - 1
	}
	// Only what one lost commit was to write down may be sent again: a batch of outcomes.
	if twice > finishBatchMax || !dying.dead && twice > 0 {
		t.Errorf("kill at commit %d: %d sent twice", n, twice)
	}
	return dying.dead
}

func TestKillAtEveryCommit(t *testing.T) {
	for _, after := range []bool{false, true} {
		for n := 1; ; n++ {
			died := false
			synctest.Test(t, func(t *testing.T) {
				engine, store := memkv.New(), memblob.New()
				died = crashRun(t, engine, func(e kv.Engine) *blob.Bodies { return blob.NewBodies(e, store, hlc.NewClock(1)) }, n, after)
				w := newWorldOn(t, engine, blob.NewBodies(engine, store, hlc.NewClock(1)), nil)
				// A notice is part of the commit that ends its cause: never twice.
				if k := len(w.mailbox("sender")); k > 4 || !died && k != 4 {
					t.Errorf("kill at commit %d: %d notices", n, k)
				}
			})
			if !died {
				if n < 15 {
					t.Errorf("only %d commits", n)
				}
				break
			}
			if n == 100 {
				t.Fatal("no end")
			}
		}
	}
}

func TestKillOnDisk(t *testing.T) {
	for _, n := range []int{1, 3, 6, 9} {
		dir := t.TempDir()
		store := memblob.New()
		clock := hlc.NewClock(1)
		open := func() kv.Engine {
			e, err := diskkv.Open(diskkv.Options{Dir: dir, Watermark: 1 << 20, Ballast: -1})
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
		engine := open()
		dying := &mortal{Engine: engine, left: n, after: n%2 == 0}
		w := newWorldOn(t, dying, blob.NewBodies(dying, store, clock), nil)
		stop := w.run()
		accepted := 0
		for i := range 5 {
			if _, err := w.queue.Submit(t.Context(), w.mail("x", sender, fmt.Sprintf("in%d@here.test", i), fmt.Sprintf("out%d@a.test", i)), mailflow.SubmitOptions{}); err == nil {
				accepted++
			}
		}
		stop()
		if err := engine.Close(); err != nil {
			t.Fatal(err)
		}
		engine = open()
		second := newWorldOn(t, engine, blob.NewBodies(engine, store, clock), nil)
		second.clock.last = 1 << 50
		stop = second.run()
		for left := int64(1); left > 0; time.Sleep(time.Millisecond) {
			var err error
			if left, err = second.queue.Length(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		stop()
		second.length()
		times := map[string]bool{}
		for _, s := range append(w.sent, second.sent...) {
			times[s] = true
		}
		if len(times) < accepted {
			t.Errorf("kill at commit %d: %d accepted, sent %v", n, accepted, times)
		}
		for i := range accepted {
			if k := len(second.mailbox(fmt.Sprintf("in%d", i))); k != 1 {
				t.Errorf("kill at commit %d: in%d has %d", n, i, k)
			}
		}
		if err := engine.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// step is one step of a random history.
type step struct {
	Kind  int // see history
	A, B  int
	Pause time.Duration
}

// TestHistories runs random histories and holds the end against a plain model: each
// recipient of an accepted mail was delivered, reported, or taken back; in a history
// without crashes exactly once.
func TestHistories(t *testing.T) {
	steps := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
		return step{rapid.IntRange(0, 9).Draw(t, "kind"), rapid.IntRange(0, 5).Draw(t, "a"), rapid.IntRange(0, 5).Draw(t, "b"),
			time.Duration(rapid.IntRange(0, 7200).Draw(t, "pause")) * time.Second}
	}), 1, 40)
	rapid.Check(t, func(rt *rapid.T) {
		list := steps.Draw(rt, "steps")
		problem := ""
		synctest.Test(t, func(t *testing.T) { problem = history(t, list) })
		if problem != "" {
			rt.Fatal(problem)
		}
	})
}

// history runs the steps and returns what is wrong at the end.
func history(t *testing.T, list []step) (problem string) {
	w := newWorld(t, func(o *Options) { o.MemoryMax = 12 })
	mode := make([]int, 6) // of each destination: works, defers, unreachable, refuses
	failures := map[string]int{}
	w.transport = func(ctx context.Context, m *mailflow.Mail, hop mailflow.NextHop) []mailflow.Status {
		time.Sleep(time.Second)
		w.mu.Lock()
		defer w.mu.Unlock()
		switch mode[hop.Domain[1]-'0'] {
		case 1:
			return deferring(ctx, m, hop)
		case 2:
			return unreachableHop(ctx, m, hop)
		case 3:
			for i := range m.Recipients {
				failures[m.Recipients[i].Address.String()]++
			}
			return answer(m, mailflow.Status{Action: mailflow.Failed, Reply: reply(550, smtp.EnhancedCode{5, 1, 1}, "no"), RemoteMTA: "mx"})
		}
		return nil
	}
	stop := w.run()
	ctx := context.Background()
	fates := map[string]string{} // of each recipient: "" open, else taken back by whom
	var mails []*mailflow.Mail
	for i, s := range list {
		switch s.Kind {
		case 0, 1, 2, 3:
			m := w.mail("x", sender, fmt.Sprintf("r%d@d%d.test", i, s.A), fmt.Sprintf("s%d@d%d.test", i, s.B), fmt.Sprintf("l%d@here.test", i))
			if s.Kind == 3 {
				m.HoldUntil = time.Now().Add(s.Pause)
			}
			w.submit(m)
			mails = append(mails, m)
			for _, r := range m.Recipients {
				fates[r.Address.String()] = ""
			}
		case 4, 5:
			w.mu.Lock()
			mode[s.A] = s.B % 4
			w.mu.Unlock()
		case 6:
			w.queue.All(ctx, Filter{Hop: fmt.Sprintf("d%d", s.A)}, w.queue.Retry)
		case 7:
			w.queue.All(ctx, Filter{Hop: fmt.Sprintf("d%d", s.A)}, w.queue.Hold)
		case 8:
			w.queue.All(ctx, Filter{State: StateHeld}, w.queue.Release)
		case 9:
			if len(mails) == 0 {
				continue
			}
			m := mails[(s.A+s.B)%len(mails)]
			before, _, err := w.queue.List(ctx, Filter{Mail: m.ID}, "", 0)
			if err != nil {
				return err.Error()
			}
			n, _ := w.queue.Cancel(ctx, m.ID) // of a mail that has ended there is nothing to take back
			var open []string
			for _, l := range before {
				for _, r := range l.Recipients {
					open = append(open, r.Address.String())
				}
			}
			for _, a := range open {
				fates[a] = "perhaps cancelled"
				if n == len(open) {
					fates[a] = "cancelled"
				} else if n == 0 {
					fates[a] = ""
				}
			}
		}
		time.Sleep(s.Pause)
	}
	w.mu.Lock()
	clear(mode)
	w.mu.Unlock()
	w.queue.All(ctx, Filter{State: StateHeld}, w.queue.Release)
	time.Sleep(24 * time.Hour)
	stop()
	if n := w.length(); n != 0 || w.links() != 0 {
		return fmt.Sprintf("%d items, %d links left", n, w.links())
	}
	times := map[string]int{}
	for _, a := range w.sent {
		times[a]++
	}
	for a, fate := range fates {
		n := times[a] + failures[a]
		if local, domain, _ := strings.Cut(a, "@"); domain == "here.test" {
			n += len(w.mailbox(local))
		}
		if n > 1 || n == 0 && fate == "" || n == 1 && fate == "cancelled" {
			return fmt.Sprintf("%s (%s) was settled %d times", a, fate, n)
		}
		if failures[a] != strings.Count(strings.Join(w.notices, " ")+" ", " "+a+" 5.1.1 ") {
			return fmt.Sprintf("%s failed %d times, notices %v", a, failures[a], w.notices)
		}
	}
	return ""
}
