package snooze

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/blob"
	"postroad/internal/blob/memblob"
	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
	"postroad/internal/kv/memkv"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/message"
)

// house is an account with mail, some of it snoozed.
type house struct {
	t       testing.TB
	store   *Store
	account *mailstore.Account
	boxes   map[string]mailstore.MailboxID
}

var berlin = time.FixedZone("berlin", 3600)

// noon is when every test begins.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// accountID is the account of every test.
const accountID mailstore.AccountID = 77

func newHouse(t testing.TB, engine kv.Engine, bodies blob.Store) *house {
	clock := hlc.NewClock(1)
	c := &mailflow.Committer{Engine: engine, Bodies: blob.NewBodies(engine, bodies, clock)}
	h := &house{t: t, boxes: map[string]mailstore.MailboxID{}}
	log := slog.New(slog.DiscardHandler)
	mail := mailstore.New(mailstore.Options{Committer: c, Clock: clock, Log: log, Passing: func(ctx context.Context, u *mailflow.Unit, p *mailstore.Passing) error {
		return h.store.Passing(ctx, u, p)
	}})
	h.store = New(c, mail, log)
	h.store.Zone = func(context.Context, mailstore.AccountID) (*time.Location, error) { return berlin, nil }
	ctx := context.Background()
	if err := mail.Create(ctx, accountID, mailstore.Quota{}); err != nil && !errors.Is(err, mailstore.ErrExists) {
		t.Fatal(err)
	}
	var err error
	h.account, err = mail.Account(ctx, accountID)
	h.must(err)
	_, err = h.store.Mailbox(ctx, h.account)
	h.must(err)
	tree, err := h.account.Tree(ctx)
	h.must(err)
	for _, m := range tree.All() {
		h.boxes[m.Name] = m.ID
	}
	return h
}

func (h *house) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// add puts a read message into a mailbox.
func (h *house) add(name string) mailstore.MessageID {
	h.t.Helper()
	const text = "From: x@far.test\r\nSubject: s\r\n\r\nhi\r\n"
	ctx := context.Background()
	body, err := h.store.Committer.Bodies.Stage(ctx, strings.NewReader(text), 1<<20)
	h.must(err)
	parsed, err := message.Parse(strings.NewReader(text), message.Limits{})
	h.must(err)
	added, err := h.account.Append(ctx, h.boxes[name], &mailstore.Incoming{Body: body, Message: parsed, Flags: mailstore.Seen, Keywords: []string{"old"}, InternalDate: time.Now()})
	h.must(err)
	return added[0].ID
}

// list writes what is in a mailbox: "UID ID (flags)".
func (h *house) list(name string) string {
	h.t.Helper()
	v, err := h.account.View(context.Background(), h.boxes[name])
	h.must(err)
	defer v.Close()
	now, err := v.Snapshot(context.Background())
	h.must(err)
	var all []string
	for _, row := range now.Rows(0, now.Len()) {
		all = append(all, fmt.Sprintf("%d %s (%s)", row.UID, row.ID, row.Flags.Append(nil, now.Keywords())))
	}
	return strings.Join(all, ", ")
}

// move moves all of a mailbox.
func (h *house) move(ctx context.Context, from, to string) error {
	v, err := h.account.View(ctx, h.boxes[from])
	if err != nil {
		return err
	}
	defer v.Close()
	now, err := v.Snapshot(ctx)
	if err != nil {
		return err
	}
	_, err = h.account.Move(ctx, h.boxes[from], now.UIDs(0, now.Len()), h.boxes[to])
	return err
}

// run sweeps until stop.
func (h *house) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { h.store.Run(ctx); close(done) }()
	return func() { cancel(); <-done }
}

// index counts the entries of the due index.
func (h *house) index() int {
	h.t.Helper()
	all, err := h.store.step(context.Background(), nil)
	h.must(err)
	return len(all)
}

func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(noon))
		f(t)
	})
}

// TestMovedByAnyClient: without a date it is the next morning.
func TestMovedByAnyClient(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHouse(t, memkv.New(), memblob.New())
		defer h.run()()
		id := h.add("INBOX")
		h.must(h.move(t.Context(), "INBOX", "Snoozed"))
		of, err := h.store.Of(t.Context(), accountID, id, 5)
		morning := time.Date(2026, 3, 2, 7, 0, 0, 0, time.UTC) // 8 o'clock in Berlin
		if err != nil || len(of) != 1 || !of[id].Until.Equal(morning) {
			t.Fatalf("snoozed %v, %v", of, err)
		}
		later := h.add("INBOX")
		time.Sleep(time.Until(morning) - time.Second)
		if got := h.list("Snoozed"); !strings.Contains(got, id.String()) {
			t.Errorf("a second before: %s", got)
		}
		time.Sleep(2 * time.Second)
		want := fmt.Sprintf("2 %s (\\Seen old), 3 %s (old)", later, id)
		if got := h.list("INBOX"); got != want || h.list("Snoozed") != "" || h.index() != 0 {
			t.Errorf("INBOX %s, want %s; Snoozed %s", got, want, h.list("Snoozed"))
		}
	})
}

// TestSaidWhen: date, mailbox and keywords as a client has said, in the commit of the move.
func TestSaidWhen(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHouse(t, memkv.New(), memblob.New())
		defer h.run()()
		id := h.add("INBOX")
		n := Snoozed{Until: noon.Add(time.Hour + time.Millisecond), MoveTo: h.boxes["Archive"], Keywords: map[string]bool{"$Seen": false, "$flagged": true, "new": true, "old": false}}
		ctx, err := Until(t.Context(), map[mailstore.MessageID]Snoozed{id: n})
		h.must(err)
		h.must(h.move(ctx, "INBOX", "Snoozed"))
		n.Until = noon.Add(30 * time.Minute)
		h.must(h.store.Set(t.Context(), accountID, id, n))
		time.Sleep(29 * time.Minute)
		if h.list("Archive") != "" || h.index() != 1 {
			t.Errorf("too early in %s; %d due", h.list("Archive"), h.index())
		}
		time.Sleep(2 * time.Minute)
		if got, want := h.list("Archive"), fmt.Sprintf("1 %s (\\Flagged new)", id); got != want {
			t.Errorf("Archive %s, want %s", got, want)
		}
		if err := h.store.Set(t.Context(), accountID, id, n); !errors.Is(err, ErrNotSnoozed) {
			t.Errorf("set what is not snoozed: %v", err)
		}
		n.Until = noon.AddDate(20, 0, 0)
		if _, err := Until(t.Context(), map[mailstore.MessageID]Snoozed{id: n}); !errors.Is(err, ErrUntil) {
			t.Errorf("in twenty years: %v", err)
		}
	})
}

// TestByEmailSet: the move of JMAP, one message beside others.
func TestByEmailSet(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHouse(t, memkv.New(), memblob.New())
		defer h.run()()
		said, unsaid := h.add("INBOX"), h.add("INBOX")
		ctx, err := Until(t.Context(), map[mailstore.MessageID]Snoozed{said: {Until: noon.Add(time.Minute)}})
		h.must(err)
		to := []mailstore.MailboxID{h.boxes["Snoozed"]}
		errs := h.account.SetEmails(ctx, mailstore.Reader{ID: accountID}, []mailstore.EmailChange{{ID: said, SetMailboxes: true, Mailboxes: to}, {ID: unsaid, SetMailboxes: true, Mailboxes: to}})
		h.must(errors.Join(errs...))
		of, err := h.store.Of(t.Context(), accountID, said, unsaid)
		h.must(err)
		if len(of) != 2 || !of[said].Until.Equal(noon.Add(time.Minute)) || of[unsaid].Until.Sub(noon) < time.Hour {
			t.Errorf("snoozed %v", of)
		}
		time.Sleep(2 * time.Minute)
		if got, want := h.list("INBOX"), fmt.Sprintf("3 %s (\\Seen old)", said); got != want {
			t.Errorf("INBOX %s, want %s", got, want)
		}
		h.must(errors.Join(h.account.SetEmails(t.Context(), mailstore.Reader{ID: accountID}, []mailstore.EmailChange{{ID: unsaid, Destroy: true}})...))
		if n := h.index(); n != 0 {
			t.Errorf("%d entries are due", n)
		}
	})
}

// TestEnds: each way in which a message is snoozed no more.
func TestEnds(t *testing.T) {
	for name, end := range map[string]func(h *house) error{
		"moved out": func(h *house) error { return h.move(context.Background(), "Snoozed", "Trash") },
		"expunged": func(h *house) error {
			v, err := h.account.View(context.Background(), h.boxes["Snoozed"])
			h.must(err)
			defer v.Close()
			now, err := v.Snapshot(context.Background())
			h.must(err)
			_, err = h.account.Expunge(context.Background(), h.boxes["Snoozed"], now.UIDs(0, now.Len()), true)
			return err
		},
		"the account is deleted": func(h *house) error { return h.store.Mail.Delete(context.Background(), accountID) },
		"its mailbox is none for that any more": func(h *house) error {
			return h.account.SetRole(context.Background(), h.boxes["Snoozed"], "")
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h := newHouse(t, memkv.New(), memblob.New())
				defer h.run()()
				h.add("INBOX")
				h.must(h.move(t.Context(), "INBOX", "Snoozed"))
				h.must(end(h))
				time.Sleep(48 * time.Hour)
				if n := h.index(); n != 0 {
					t.Errorf("%d entries are due", n)
				}
				if !strings.Contains(name, "account") && h.list("INBOX") != "" {
					t.Errorf("it came back: %s", h.list("INBOX"))
				}
			})
		})
	}
}

// TestAppendedAndCopied: APPEND and COPY snooze as well; a mailbox in which something waits
// is not deleted.
func TestAppendedAndCopied(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHouse(t, memkv.New(), memblob.New())
		stop := h.run()
		h.add("Snoozed")
		h.add("INBOX")
		view, err := h.account.View(t.Context(), h.boxes["INBOX"])
		h.must(err)
		now, err := view.Snapshot(t.Context())
		h.must(err)
		_, err = h.account.Copy(t.Context(), h.boxes["INBOX"], now.UIDs(0, 1), h.boxes["Snoozed"])
		h.must(err)
		view.Close()
		if n := h.index(); n != 2 {
			t.Errorf("%d entries are due", n)
		}
		if err := h.account.DeleteMailbox(t.Context(), "Snoozed"); !errors.Is(err, mailstore.ErrInUse) {
			t.Errorf("deleted: %v", err)
		}
		stop()
		time.Sleep(72 * time.Hour) // nothing runs
		defer h.run()()
		time.Sleep(time.Second)
		if got := strings.Count(h.list("INBOX"), ","); got != 2 || h.index() != 0 || h.list("Snoozed") != "" {
			t.Errorf("INBOX %s, Snoozed %s", h.list("INBOX"), h.list("Snoozed"))
		}
	})
}

// mortal dies at its n-th commit: before it is done, or after it, unheard.
type mortal struct {
	kv.Engine
	mu    sync.Mutex
	left  int
	after bool
	dead  bool
}

func (e *mortal) Commit(ctx context.Context, b ...kv.Batch) ([]kv.Result, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.dead {
		return nil, kv.ErrClosed
	}
	if e.left--; e.left == 0 {
		e.dead = true
		if e.after {
			e.Engine.Commit(ctx, b...)
		}
		return nil, kv.ErrClosed
	}
	return e.Engine.Commit(ctx, b...)
}

// TestKillAtEveryCommit: a message comes back once, whatever dies when.
func TestKillAtEveryCommit(t *testing.T) {
	for _, after := range []bool{false, true} {
		for n, died := 1, true; died; n++ {
			bubble(t, func(t *testing.T) {
				engine, bodies := memkv.New(), memblob.New()
				first := newHouse(t, engine, bodies)
				ids := []mailstore.MessageID{first.add("INBOX"), first.add("INBOX")}
				dying := &mortal{Engine: engine, left: -1, after: after}
				h := newHouse(t, dying, bodies)
				dying.left = n
				stop := h.run()
				h.move(t.Context(), "INBOX", "Snoozed") // may fail: it is dead
				time.Sleep(24 * time.Hour)
				stop()
				died = dying.dead
				second := newHouse(t, engine, bodies)
				defer second.run()()
				time.Sleep(24 * time.Hour)
				in := second.list("INBOX")
				for _, id := range ids {
					if strings.Count(in, id.String()) != 1 {
						t.Errorf("kill at commit %d (after: %v): INBOX %s", n, after, in)
					}
				}
				if second.index() != 0 || second.list("Snoozed") != "" {
					t.Errorf("kill at commit %d (after: %v): Snoozed %s, %d due", n, after, second.list("Snoozed"), second.index())
				}
				if !died && n < 4 {
					t.Errorf("only %d commits", n-1)
				}
			})
			if n == 50 {
				t.Fatal("no end")
			}
		}
	}
}
