package queue

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/mailflow"
	"postroad/smtp"
)

// TestPoisonNotices: mails whose notices cannot be composed, as when the stored message is
// damaged, do not stop the writing down of what became of others.
func TestPoisonNotices(t *testing.T) {
	for name, compose := range map[string]func() error{
		"error": func() error { return errors.New("the message cannot be read") },
		"panic": func() error { panic("a bug in the composer") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				w.compose = compose
				w.transport = func(_ context.Context, m *mailflow.Mail, hop mailflow.NextHop) []mailflow.Status {
					if hop.Domain == "good.test" {
						return nil
					}
					return []mailflow.Status{failed(time.Now(), 550, smtp.EnhancedCode{5, 1, 1}, "no")}
				}
				stop := w.run()
				defer func() { stop() }()
				for _, to := range []string{"a@bad1.test", "b@bad2.test", "c@bad3.test", "d@bad4.test"} {
					w.submit(w.mail("poison", sender, to))
				}
				time.Sleep(time.Second)
				w.submit(w.mail("x", sender, "e@good.test"))
				time.Sleep(time.Hour)
				if n := w.length(); n != 0 || w.links() != 0 {
					t.Errorf("%d items, %d links left", n, w.links())
				}
				if n := w.queue.Stats().Lost; n != 4 {
					t.Errorf("%d failures are counted as lost", n)
				}
			})
		})
	}
}

// TestPoisonMail: a mail at which a transport or the deliverer panics is put off like any
// other, and in the end returned.
func TestPoisonMail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.transport = func(context.Context, *mailflow.Mail, mailflow.NextHop) []mailflow.Status {
			panic("a bug in the transport")
		}
		fail := false
		w.local = func(r mailflow.Recipient) (s mailflow.Status) {
			if r.Address.Local == "sender" {
				return s
			}
			if fail {
				panic("a bug in the deliverer")
			}
			return delayed(time.Now(), 452, smtp.EnhancedCode{4, 2, 2}, "full")
		}
		w.submit(w.mail("x", sender, "a@out.test", "b@here.test"))
		fail = true
		if _, err := w.queue.Submit(t.Context(), w.mail("x", sender, "b@here.test"), mailflow.SubmitOptions{}); err == nil {
			t.Error("a mail was taken at which the deliverer panicked")
		}
		stop := w.run()
		defer func() { stop() }()
		time.Sleep(14 * 24 * time.Hour)
		if n := w.length(); n != 0 || w.links() != 0 {
			t.Errorf("%d items, %d links left", n, w.links())
		}
		const want = "failed sender@here.test: a@out.test 5.4.7; failed sender@here.test: b@here.test 5.4.7"
		var got []string
		for _, n := range w.notices {
			if strings.HasPrefix(n, "failed") {
				got = append(got, n)
			}
		}
		slices.Sort(got)
		if s := strings.Join(got, "; "); s != want {
			t.Errorf("notices %q, want %q", s, want)
		}
	})
}
