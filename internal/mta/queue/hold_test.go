package queue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/mailflow"
)

// tracker notes what it is told.
type tracker struct {
	mu   sync.Mutex
	said []string // mu
}

func (k *tracker) say(format string, a ...any) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.said = append(k.said, fmt.Sprintf(format, a...))
}

// take returns what was said since the last time.
func (k *tracker) take() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	said := k.said
	k.said = nil
	return said
}

func (k *tracker) Told(_ context.Context, _ *mailflow.Unit, m *mailflow.Mail, statuses []mailflow.Status) error {
	for i := range statuses {
		k.say("%s %d", m.Recipients[i].Address, statuses[i].Action)
	}
	return nil
}

func (k *tracker) Released(_ context.Context, _ *mailflow.Unit, m *mailflow.Mail) error {
	k.say("released %d", len(m.Recipients))
	return nil
}

func (k *tracker) Withdrawn(_ context.Context, _ *mailflow.Unit, m *mailflow.Mail) error {
	k.say("withdrawn %d", len(m.Recipients))
	return nil
}

// cancel takes a held mail back.
func (w *world) cancel(id mailflow.ID) error {
	return w.queue.commit.Commit(context.Background(), func(ctx context.Context, u *mailflow.Unit) error {
		return w.queue.PrepareCancel(ctx, u, id)
	})
}

// TestHeldAsAWhole: however many items a held mail is, it is taken back or let go as one.
func TestHeldAsAWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := new(tracker)
		w := newWorld(t, func(o *Options) { o.Tracker = k })
		stop := w.run()
		defer func() { stop() }()
		var to []string
		for i := range 250 {
			to = append(to, fmt.Sprintf("r%d@out.test", i))
		}
		held := func() *mailflow.Mail {
			m := w.mail("x", sender, append(to, "here@here.test", "no@bad.test")...)
			m.HoldUntil, m.Tracked = time.Now().Add(time.Minute), true
			w.submit(m)
			return m
		}
		back := held()
		if n := w.length(); n != 3 { // what is refused at once is not held, but reported
			t.Fatalf("%d items", n)
		}
		if err := w.cancel(back.ID); err != nil {
			t.Fatal(err)
		}
		if err := w.cancel(back.ID); !errors.Is(err, mailflow.ErrNoMail) {
			t.Errorf("taken back twice: %v", err)
		}
		if n, said := w.length(), k.take(); n != 0 || w.links() != 0 || len(said) != 0 {
			t.Errorf("%d items, %d links left; told %v", n, w.links(), said)
		}
		time.Sleep(2 * time.Minute)
		if w.count(&w.sent) != 0 {
			t.Fatalf("sent though it was taken back: %v", w.sent)
		}
		w.behave(deferring)
		goes := held()
		time.Sleep(61 * time.Second)
		if said := k.take(); said[0] != "released 251" || len(w.mailbox("here")) != 1 {
			t.Errorf("told %v first; in the mailbox %v", said[0], w.mailbox("here"))
		}
		if err := w.cancel(goes.ID); !errors.Is(err, mailflow.ErrReleased) {
			t.Errorf("taken back too late: %v", err)
		}
		k.take()
		n, err := w.queue.Cancel(t.Context(), goes.ID)
		if said := k.take(); n != 250 || err != nil || len(said) != 3 {
			t.Errorf("the rest taken back: %d, %v, told %v", n, err, said)
		}
	})
}

// TestHeldAndABug: a bug in filing does not keep the mail from those outside.
func TestHeldAndABug(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.local = func(mailflow.Recipient) mailflow.Status { panic("a bug") }
		stop := w.run()
		m := w.mail("x", sender, "here@here.test", "a@out.test")
		m.HoldUntil = time.Now().Add(time.Minute)
		w.submit(m)
		time.Sleep(2 * time.Minute)
		if w.count(&w.sent) != 1 {
			t.Errorf("sent %v", w.sent)
		}
		w.locked(func() { w.local = nil })
		time.Sleep(24 * time.Hour)
		stop()
		if n := w.length(); n != 0 || len(w.mailbox("here")) != 1 {
			t.Errorf("%d items left; in the mailbox %v", n, w.mailbox("here"))
		}
	})
}
