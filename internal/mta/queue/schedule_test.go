package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"postroad/address"
	"postroad/internal/mailflow"
	"postroad/smtp"
)

// deferring answers 450 to all, as a server that was reached does.
func deferring(_ context.Context, m *mailflow.Mail, hop mailflow.NextHop) []mailflow.Status {
	return answer(m, mailflow.Status{Action: mailflow.Delayed, Reply: reply(450, smtp.EnhancedCode{4, 2, 0}, "not now"), RemoteMTA: "mx." + hop.Domain})
}

// unreachable answers as if no connection came about.
func unreachableHop(_ context.Context, m *mailflow.Mail, _ mailflow.NextHop) []mailflow.Status {
	return answer(m, mailflow.Status{Action: mailflow.Delayed, Reply: reply(451, smtp.EnhancedCode{4, 4, 1}, "no connection"), LocalMTA: true})
}

func answer(m *mailflow.Mail, s mailflow.Status) []mailflow.Status {
	s.At = time.Now()
	statuses := make([]mailflow.Status, len(m.Recipients))
	for i := range statuses {
		statuses[i] = s
	}
	return statuses
}

func TestRetriesWarningAndExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		var tries []time.Duration
		begin := time.Now()
		w.transport = func(ctx context.Context, m *mailflow.Mail, hop mailflow.NextHop) []mailflow.Status {
			w.locked(func() { tries = append(tries, time.Since(begin)) })
			return deferring(ctx, m, hop)
		}
		stop := w.run()
		w.submit(w.mail("x", sender, "a@out.test", "b@out.test"))
		time.Sleep(3 * time.Hour)
		if w.count(&w.notices) != 0 {
			t.Fatalf("notices after three hours: %v", w.notices)
		}
		time.Sleep(90 * time.Minute)
		if s := w.sorted(&w.notices); s != "delayed sender@here.test: a@out.test 4.2.0 b@out.test 4.2.0" {
			t.Fatalf("after four and a half hours: %q", s)
		}
		time.Sleep(5 * 24 * time.Hour)
		if s := w.sorted(&w.notices); !strings.HasSuffix(s, "; failed sender@here.test: a@out.test 5.4.7 b@out.test 5.4.7") || strings.Count(s, ";") != 1 {
			t.Fatalf("after five days: %q", s)
		}
		if n := w.length(); n != 0 || w.links() != 0 {
			t.Fatalf("%d items, %d links left", n, w.links())
		}
		stop()
		first, second := tries[1]-tries[0], tries[2]-tries[1]
		if tries[0] > time.Second || first < 4*time.Minute || first > 6*time.Minute || second < 8*time.Minute || second > 12*time.Minute {
			t.Errorf("tries at %v", tries[:3])
		}
		for i := 1; i < len(tries); i++ {
			if d := tries[i] - tries[i-1]; d > 5*time.Hour {
				t.Errorf("%v between tries %d and %d", d, i-1, i)
			}
		}
		if n := len(tries); n < 25 || n > 60 {
			t.Errorf("%d tries in five days", n)
		}
		if len(w.mailbox("sender")) != 2 {
			t.Errorf("the sender has %v", w.mailbox("sender"))
		}
	})
}

func TestPartOfTheRecipients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		var asked []string
		w.transport = func(_ context.Context, m *mailflow.Mail, _ mailflow.NextHop) []mailflow.Status {
			st := answer(m, mailflow.Status{Action: mailflow.Relayed, Reply: reply(250, smtp.EnhancedCode{2, 0, 0}, "ok")})
			line := ""
			for i, r := range m.Recipients {
				line += r.Address.Local
				switch {
				case r.Address.Local == "no":
					st[i] = mailflow.Status{Action: mailflow.Failed, Reply: reply(550, smtp.EnhancedCode{5, 1, 1}, "no"), RemoteMTA: "mx"}
				case r.Address.Local == "later" && len(asked) < 2:
					st[i] = mailflow.Status{Action: mailflow.Delayed, Reply: reply(450, smtp.EnhancedCode{4, 2, 1}, "later"), RemoteMTA: "mx"}
				}
			}
			asked = append(asked, line)
			return st
		}
		stop := w.run()
		m := w.mail("x", sender, "yes@out.test", "no@out.test", "later@out.test")
		m.Recipients[0].Notify = smtp.NotifySuccess
		m.Recipients[2].Notify = smtp.NotifyNever
		w.submit(m)
		time.Sleep(time.Second)
		l, err := w.queue.Show(t.Context(), ItemID{Mail: m.ID})
		if err != nil || l.State != StateDeferred || l.Reason != "450 4.2.1 later" || l.Attempts != 1 || len(l.Recipients) != 1 {
			t.Errorf("%+v %v", l, err)
		}
		if st, err := w.queue.Status(t.Context(), m.ID); err != nil || len(st) != 1 || st[0].Reply.Code != 450 {
			t.Errorf("status %v %v", st, err)
		}
		time.Sleep(time.Hour)
		stop()
		if s := strings.Join(asked, " "); s != "yesnolater later later" {
			t.Errorf("asked %q", s)
		}
		if s := w.sorted(&w.notices); s != "failed sender@here.test: no@out.test 5.1.1; success sender@here.test: yes@out.test 2.0.0" {
			t.Errorf("notices %q", s)
		}
		if _, err := w.queue.Status(t.Context(), m.ID); !errors.Is(err, mailflow.ErrNoMail) {
			t.Errorf("status at the end: %v", err)
		}
	})
}

func TestNextHopDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(o *Options) { o.Schedule.Expire = 24 * time.Hour })
		var up atomic.Bool
		var tries atomic.Int32
		w.transport = func(ctx context.Context, m *mailflow.Mail, hop mailflow.NextHop) []mailflow.Status {
			if hop.Domain == "well.test" || up.Load() {
				return nil
			}
			tries.Add(1)
			time.Sleep(30 * time.Second)
			return unreachableHop(ctx, m, hop)
		}
		stop := w.run()
		defer func() { stop() }()
		for i := range 100 {
			w.submit(w.mail("x", sender, fmt.Sprintf("u%d@down.test", i)))
			w.submit(w.mail("x", sender, fmt.Sprintf("u%d@well.test", i)))
		}
		time.Sleep(time.Second)
		if n := w.count(&w.sent); n != 100 {
			t.Errorf("%d sent to the hop that works", n)
		}
		time.Sleep(2 * time.Hour)
		if n := tries.Load(); n > LaneMaxDefault+20 {
			t.Errorf("%d tries in two hours for 100 mails to a hop that is down", n)
		}
		list, _, err := w.queue.List(t.Context(), Filter{Hop: "down.test"}, "", 0)
		if err != nil || len(list) != 100 {
			t.Fatal(len(list), err)
		}
		for _, l := range list {
			if l.State != StateDeferred && l.State != StateActive || l.Reason != "451 4.4.1 no connection" && l.State != StateActive {
				t.Fatalf("%+v", l)
			}
		}
		time.Sleep(3 * time.Hour) // all are told of the delay, tried or not
		if n := w.count(&w.notices); n != 100 {
			t.Errorf("%d notices of delay", n)
		}
		up.Store(true)
		time.Sleep(5 * time.Hour)
		if n := w.length(); n != 0 || w.count(&w.sent) != 200 {
			t.Errorf("%d left, %d sent after the hop came back", n, w.count(&w.sent))
		}
		if st := w.queue.Stats(); st.LanesDown != 0 || st.InMemory != 0 || st.Lanes != 0 {
			t.Errorf("%+v", st)
		}
	})
}

func TestNextHopDownUntilExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(o *Options) { o.Schedule.Expire = 24 * time.Hour; o.Schedule.Warn = -1 })
		w.transport = unreachableHop
		stop := w.run()
		defer func() { stop() }()
		for i := range 50 {
			w.submit(w.mail("x", sender, fmt.Sprintf("u%d@down.test", i)))
		}
		time.Sleep(25 * time.Hour)
		if n := w.length(); n != 0 || w.count(&w.notices) != 50 {
			t.Errorf("%d left, %d notices after expiry", n, w.count(&w.notices))
		}
	})
}

func TestRetryRevives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.transport = unreachableHop
		stop := w.run()
		defer func() { stop() }()
		for range 3 {
			w.submit(w.mail("x", sender, "a@down.test"))
		}
		time.Sleep(3 * time.Hour)
		w.behave(nil)
		n, err := w.queue.All(t.Context(), Filter{Hop: "down"}, w.queue.Retry)
		time.Sleep(time.Second)
		if err != nil || n == 0 || w.length() != 0 { // the first may let go the others
			t.Errorf("retried %d, %v, left %d", n, err, w.length())
		}
	})
}

func TestHoldUntilAndDeliverBy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		stop := w.run()
		defer func() { stop() }()
		m := w.mail("x", sender, "a@out.test", "b@here.test")
		m.HoldUntil = time.Now().Add(time.Hour)
		w.submit(m)
		time.Sleep(59 * time.Minute)
		if w.count(&w.sent) != 0 || len(w.mailbox("b")) != 0 {
			t.Fatalf("sent too early: %v", w.sent)
		}
		if l, _ := w.queue.Show(t.Context(), ItemID{Mail: m.ID}); l.State != StateTimed {
			t.Errorf("state %s", l.State)
		}
		time.Sleep(2 * time.Minute)
		if w.count(&w.sent) != 1 || len(w.mailbox("b")) != 1 {
			t.Fatalf("not sent in time: %v", w.sent)
		}

		w.behave(deferring)
		back := w.mail("x", sender, "r@out.test")
		back.DeliverBy = &smtp.DeliverBy{Within: 20 * time.Minute, Return: true}
		notify := w.mail("x", sender, "n@out.test")
		notify.DeliverBy = &smtp.DeliverBy{Within: 20 * time.Minute}
		w.submit(back)
		w.submit(notify)
		time.Sleep(21 * time.Minute)
		if s := w.sorted(&w.notices); s != "delayed sender@here.test: n@out.test 4.4.7; failed sender@here.test: r@out.test 5.4.7" {
			t.Errorf("notices %q", s)
		}
		if n := w.length(); n != 1 {
			t.Errorf("%d items left", n)
		}
	})
}

func TestHoldReleaseDelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.behave(deferring)
		stop := w.run()
		defer func() { stop() }()
		m := w.mail("x", sender, "a@out.test")
		w.submit(m)
		time.Sleep(time.Second)
		id := ItemID{Mail: m.ID}
		ctx := t.Context()
		if err := w.queue.Hold(ctx, id); err != nil {
			t.Fatal(err)
		}
		w.behave(nil)
		time.Sleep(10 * 24 * time.Hour)
		if l, err := w.queue.Show(ctx, id); err != nil || l.State != StateHeld || l.Attempts != 1 {
			t.Fatalf("%+v %v", l, err)
		}
		if err := w.queue.Retry(ctx, id); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if w.count(&w.sent) != 0 {
			t.Fatal("a retry let go what is held")
		}
		if err := w.queue.Release(ctx, id); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if w.count(&w.sent) != 1 || w.length() != 0 {
			t.Fatalf("sent %v, left %d", w.sent, w.length())
		}
		w.behave(deferring)
		w.submit(w.mail("x", sender, "b@out.test"))
		w.submit(w.mail("x", address.Address{Local: "other", Domain: "x.test"}, "c@out.test"))
		time.Sleep(time.Second)
		if n, err := w.queue.All(ctx, Filter{Sender: "OTHER@"}, w.queue.Delete); n != 1 || err != nil || w.length() != 1 {
			t.Errorf("deleted %d, %v, left %d", n, err, w.length())
		}
		if n, err := w.queue.All(ctx, Filter{Recipient: "b@out", State: StateDeferred}, w.queue.Delete); n != 1 || err != nil || w.length() != 0 || w.links() != 0 {
			t.Errorf("deleted %d, %v, left %d", n, err, w.length())
		}
		for name, verb := range map[string]func(context.Context, ItemID) error{"hold": w.queue.Hold, "release": w.queue.Release, "retry": w.queue.Retry, "delete": w.queue.Delete} {
			if err := verb(ctx, id); !errors.Is(err, mailflow.ErrNoMail) {
				t.Errorf("%s of nothing: %v", name, err)
			}
		}
	})
}

func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.transport = func(ctx context.Context, m *mailflow.Mail, hop mailflow.NextHop) []mailflow.Status {
			if hop.Domain == "slow.test" {
				time.Sleep(time.Minute)
			}
			return nil
		}
		stop := w.run()
		defer func() { stop() }()
		held := w.mail("x", sender, "a@out.test", "b@here.test", "c@else.test")
		held.HoldUntil = time.Now().Add(30 * time.Second)
		w.submit(held)
		if n, err := w.queue.Cancel(t.Context(), held.ID); n != 3 || err != nil {
			t.Fatalf("cancelled %d, %v", n, err)
		}
		if _, err := w.queue.Cancel(t.Context(), held.ID); !errors.Is(err, mailflow.ErrNoMail) {
			t.Fatalf("cancelled again: %v", err)
		}
		under := w.mail("x", sender, "a@slow.test")
		w.submit(under)
		time.Sleep(time.Second)
		begin := time.Now()
		if n, err := w.queue.Cancel(t.Context(), under.ID); n != 0 || err != nil || time.Since(begin) != 59*time.Second {
			t.Errorf("cancelled %d, %v after %v", n, err, time.Since(begin))
		}
		w.behave(func(ctx context.Context, m *mailflow.Mail, hop mailflow.NextHop) []mailflow.Status {
			time.Sleep(time.Minute)
			return deferring(ctx, m, hop)
		})
		under = w.mail("x", sender, "a@slow.test", "b@slow.test")
		w.submit(under)
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := w.queue.Cancel(ctx, under.ID); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("cancel did not give up: %v", err)
		}
		if n, err := w.queue.Cancel(t.Context(), under.ID); n != 2 || err != nil {
			t.Errorf("cancelled %d, %v", n, err)
		}
		time.Sleep(24 * time.Hour)
		if w.count(&w.sent) != 1 || w.length() != 0 || w.links() != 0 || len(w.mailbox("b")) != 0 {
			t.Errorf("sent %v, left %d", w.sent, w.length())
		}
	})
}

func TestLocalDelayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		var full atomic.Bool
		full.Store(true)
		w.local = func(r mailflow.Recipient) (s mailflow.Status) {
			if full.Load() && r.Address.Local != "sender" {
				s = delayed(time.Now(), 452, smtp.EnhancedCode{4, 2, 2}, "full")
			}
			return s
		}
		stop := w.run()
		defer func() { stop() }()
		if st := w.submit(w.mail("x", sender, "a@here.test")); actions(st) != "4/250" {
			t.Errorf("statuses %s", actions(st))
		}
		st, err := w.queue.Submit(t.Context(), w.mail("x", sender, "a@here.test"), mailflow.SubmitOptions{PerRecipient: true})
		if err != nil || actions(st) != "4/452" {
			t.Errorf("LMTP: %s %v", actions(st), err)
		}
		time.Sleep(time.Hour)
		if n := w.length(); n != 1 {
			t.Errorf("%d items", n)
		}
		full.Store(false)
		time.Sleep(2 * time.Hour)
		if n := w.length(); n != 0 || len(w.mailbox("a")) != 1 {
			t.Errorf("%d items, mailbox %v", n, w.mailbox("a"))
		}
		if st := w.queue.Stats(); st.LanesDown != 0 {
			t.Errorf("a full mailbox stopped all local mail")
		}
	})
}

func TestJitterAndDouble(t *testing.T) {
	s := Schedule{}
	if err := s.complete(); err != nil {
		t.Fatal(err)
	}
	seen := map[time.Duration]bool{}
	for range 100 {
		d := s.retry(1)
		if d < 4*time.Minute || d > 6*time.Minute {
			t.Fatal(d)
		}
		seen[d] = true
	}
	if len(seen) < 50 {
		t.Error("no jitter")
	}
	for n, want := range map[int]time.Duration{0: 5, 1: 5, 2: 10, 3: 20, 6: 160, 7: 240, 1000: 240} {
		if d := double(RetryFirstDefault, RetryMaxDefault, n); d != want*time.Minute {
			t.Errorf("%d: %v", n, d)
		}
	}
	if (&Schedule{Jitter: 1}).complete() == nil {
		t.Error("a jitter of 1 was taken")
	}
}
