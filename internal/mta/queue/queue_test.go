package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postroad/address"
	"postroad/internal/blob"
	"postroad/internal/blob/memblob"
	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
	"postroad/internal/kv/memkv"
	"postroad/internal/mailflow"
	"postroad/internal/mta/route"
	"postroad/message"
	"postroad/smtp"
)

// testClock makes ids that differ.
type testClock struct {
	mu   sync.Mutex
	last mailflow.ID
}

func (c *testClock) Next() mailflow.ID {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last += 1 << 10
	return c.last
}

// world is a queue among members that do as they are told.
type world struct {
	t      testing.TB
	engine kv.Engine
	bodies *blob.Bodies
	clock  *testClock
	queue  *Queue

	mu      sync.Mutex
	sent    []string // "address" of what the transport took
	notices []string // "kind to: address reply, …"
	events  []EventKind

	// What the members do; nil is success.
	transport func(ctx context.Context, m *mailflow.Mail, hop mailflow.NextHop) []mailflow.Status
	local     func(r mailflow.Recipient) mailflow.Status
	compose   func() error
}

func newWorld(t testing.TB, change func(*Options)) *world {
	engine := memkv.New()
	return newWorldOn(t, engine, blob.NewBodies(engine, memblob.New(), hlc.NewClock(1)), change)
}

func newWorldOn(t testing.TB, engine kv.Engine, bodies *blob.Bodies, change func(*Options)) *world {
	w := &world{t: t, engine: engine, bodies: bodies, clock: &testClock{}}
	o := Options{
		Committer: &mailflow.Committer{Engine: engine, Bodies: bodies}, Clock: w.clock,
		Router: w, Local: w, Transports: map[string]mailflow.Transport{"smtp": w}, Bouncer: w,
		Log:    slog.New(slog.DiscardHandler),
		Record: func(_ *mailflow.Unit, e Event) { w.mu.Lock(); w.events = append(w.events, e.Kind); w.mu.Unlock() },
	}
	if change != nil {
		change(&o)
	}
	var err error
	if w.queue, err = New(o); err != nil {
		t.Fatal(err)
	}
	return w
}

// run runs the queue until the test or stop ends it.
func (w *world) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { w.queue.Run(ctx); close(done) }()
	return func() { cancel(); <-done }
}

// Route implements Router: "here.test" is ours, "nobody@bad.test" has no way, "later.test"
// is not known at this time.
func (w *world) Route(_ context.Context, a address.Address) (route.Route, error) {
	switch a.Domain {
	case "here.test":
		return route.Route{Local: true}, nil
	case "bad.test":
		return route.Route{}, smtp.NewError(550, smtp.EnhancedCode{5, 1, 2}, "no way to "+a.Local)
	case "later.test":
		return route.Route{}, errors.New("the directory is away")
	}
	return route.Route{Hop: mailflow.NextHop{Transport: "smtp", Domain: a.Domain}}, nil
}

const wideKeys = 60

// Prepare implements mailflow.Local. A mailbox is a key in a space of its own; who is
// called "fwd-X" is forwarded to X@out.test, "list-N" has N members here, "loop" is
// forwarded to itself, "bad…" does not exist. "wide-…" need wideKeys keys of one space,
// "huge" more than a batch may have.
func (w *world) Prepare(_ context.Context, m *mailflow.Mail, rcpts []int, u *mailflow.Unit) []mailflow.Status {
	statuses := make([]mailflow.Status, len(rcpts))
	var local func(mailflow.Recipient) mailflow.Status
	w.locked(func() { local = w.local })
	for k, i := range rcpts {
		r := m.Recipients[i]
		statuses[k] = mailflow.Status{Action: mailflow.Delivered, Reply: reply(250, smtp.EnhancedCode{2, 0, 0}, "ok"), LocalMTA: true, At: time.Now()}
		if local != nil {
			if s := local(r); s.Action != 0 {
				statuses[k] = s
				continue
			}
		}
		to, forward := strings.CutPrefix(r.Address.Local, "fwd-")
		var members int
		if _, err := fmt.Sscanf(r.Address.Local, "list-%d", &members); err != nil || strings.Contains(r.Address.Local, "member") {
			members = 0
		}
		switch {
		case strings.HasPrefix(r.Address.Local, "wide-"), r.Address.Local == "huge":
			b, keys := u.Batch("a/wide"), wideKeys
			if r.Address.Local == "huge" {
				keys = kv.BatchKeysMax + 1
			}
			for i := range keys {
				b.Puts = append(b.Puts, kv.Put{Key: fmt.Appendf(nil, "%s %d", r.Address.Local, i), Value: []byte("x")})
			}
		case members > 0:
			onward := *m
			onward.ID, onward.Recipients = 0, nil
			for i := range members {
				onward.Recipients = append(onward.Recipients, mailflow.Recipient{Address: address.Address{Local: fmt.Sprintf("%s-member-%d", r.Address.Local, i), Domain: "here.test"}})
			}
			u.Onward(&onward)
			statuses[k].Action = mailflow.Expanded
		case strings.HasPrefix(r.Address.Local, "bad"):
			statuses[k] = failed(time.Now(), 550, smtp.EnhancedCode{5, 1, 1}, "nobody called "+r.Address.Local)
		case forward || r.Address.Local == "loop":
			onto := address.Address{Local: to, Domain: "out.test"}
			if r.Address.Local == "loop" {
				onto = r.Address
			}
			onward := *m
			onward.ID = 0
			onward.Recipients = []mailflow.Recipient{{Address: onto}}
			u.Onward(&onward)
			statuses[k].Action = mailflow.Expanded
		default:
			space := kv.Space("a/" + r.Address.Local)
			b := u.Batch(space)
			b.Takes = append(b.Takes, kv.Take{Key: []byte("uid"), N: 1})
			b.Puts = append(b.Puts, kv.Put{Key: make([]byte, 8), Value: []byte(m.ID.String() + " " + m.ReturnPath.String()),
				Places: []kv.Place{{Width: 8, Take: len(b.Takes) - 1}}})
			u.Keep(m.Body, "a/"+r.Address.Local+"/"+m.ID.String())
		}
	}
	return statuses
}

// mailbox lists what is in a mailbox.
func (w *world) mailbox(name string) (mails []string) {
	w.t.Helper()
	s, err := w.engine.Snapshot(context.Background(), kv.Space("a/"+name))
	if err != nil {
		w.t.Fatal(err)
	}
	defer s.Close()
	for e, err := range s.Scan(kv.Range{}) {
		if err != nil {
			w.t.Fatal(err)
		}
		mails = append(mails, string(e.Value))
	}
	return mails
}

// Deliver implements mailflow.Transport.
func (w *world) Deliver(ctx context.Context, m *mailflow.Mail, hop mailflow.NextHop) []mailflow.Status {
	statuses := make([]mailflow.Status, len(m.Recipients))
	for i := range statuses {
		statuses[i] = mailflow.Status{Action: mailflow.Relayed, Reply: reply(250, smtp.EnhancedCode{2, 0, 0}, "taken"), RemoteMTA: "mx." + hop.Domain, At: time.Now()}
	}
	w.mu.Lock()
	transport := w.transport
	w.mu.Unlock()
	if transport != nil {
		if s := transport(ctx, m, hop); s != nil {
			statuses = s
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range statuses {
		if statuses[i].Action == mailflow.Relayed {
			w.sent = append(w.sent, m.Recipients[i].Address.String())
		}
	}
	return statuses
}

// Compose implements Bouncer.
func (w *world) Compose(ctx context.Context, m *mailflow.Mail, statuses []mailflow.Status, kind mailflow.Action) (*mailflow.Mail, error) {
	if m.ReturnPath.IsNull() {
		return nil, nil
	}
	if w.compose != nil {
		if err := w.compose(); err != nil {
			return nil, err
		}
	}
	text := map[mailflow.Action]string{mailflow.Failed: "failed", mailflow.Delayed: "delayed", mailflow.Relayed: "success"}[kind] + " " + m.ReturnPath.String() + ":"
	for i := range m.Recipients {
		text += " " + m.Recipients[i].Address.String() + " " + statuses[i].Reply.Enhanced.String()
	}
	w.mu.Lock()
	w.notices = append(w.notices, text)
	w.mu.Unlock()
	n := w.mail("notice", address.Address{}, m.ReturnPath.String())
	n.Origin.Protocol = "bounce"
	return n, nil
}

// mail makes a mail with a small staged body.
func (w *world) mail(text string, from address.Address, to ...string) *mailflow.Mail {
	w.t.Helper()
	body, err := w.bodies.Stage(context.Background(), strings.NewReader("Subject: "+text+"\r\n\r\n"+text+"\r\n"), 1<<20)
	if err != nil {
		w.t.Fatal(err)
	}
	m := &mailflow.Mail{ReturnPath: from, Body: body, Message: &message.Message{}, Received: time.Now()}
	for _, a := range to {
		local, domain, _ := strings.Cut(a, "@")
		m.Recipients = append(m.Recipients, mailflow.Recipient{Address: address.Address{Local: local, Domain: domain}})
	}
	return m
}

var sender = address.Address{Local: "sender", Domain: "here.test"}

func (w *world) submit(m *mailflow.Mail) []mailflow.Status {
	w.t.Helper()
	st, err := w.queue.Submit(context.Background(), m, mailflow.SubmitOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return st
}

// behave changes what the transport does while the queue runs.
func (w *world) behave(f func(context.Context, *mailflow.Mail, mailflow.NextHop) []mailflow.Status) {
	w.locked(func() { w.transport = f })
}

// locked runs f while no member looks.
func (w *world) locked(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func (w *world) count(list *[]string) (n int) {
	w.locked(func() { n = len(*list) })
	return n
}

func (w *world) sorted(list *[]string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := slices.Clone(*list)
	sort.Strings(l)
	return strings.Join(l, "; ")
}

// length counts the items; links counts the queue's links to bodies.
func (w *world) length() int64 {
	w.t.Helper()
	n, err := w.queue.Length(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	items := 0
	list, _, err := w.queue.List(context.Background(), Filter{}, "", 0)
	if err != nil {
		w.t.Fatal(err)
	}
	if items = len(list); int64(items) != n {
		w.t.Fatalf("%d items, the counter says %d", items, n)
	}
	return n
}

func (w *world) links() (n int) {
	w.t.Helper()
	for space, err := range w.engine.Spaces(context.Background(), "b/") {
		if err != nil {
			w.t.Fatal(err)
		}
		s, err := w.engine.Snapshot(context.Background(), space)
		if err != nil {
			w.t.Fatal(err)
		}
		for e := range s.Scan(kv.Prefix([]byte("l"))) {
			if strings.Contains(string(e.Key[9:]), "q/") {
				n++
			}
		}
		s.Close()
	}
	return n
}

func actions(st []mailflow.Status) (s string) {
	for i := range st {
		s += fmt.Sprintf("%s%d/%d", map[bool]string{true: "", false: " "}[i == 0], st[i].Action, st[i].Reply.Code)
	}
	return s
}

func TestSubmit(t *testing.T) {
	for _, c := range []struct {
		name         string
		to           []string
		perRecipient bool
		from         address.Address
		statuses     string // or the error
		items        int64
		notices      string
		mailboxes    map[string]int
	}{
		{name: "local", to: []string{"a@here.test", "b@here.test"}, from: sender, statuses: "1/250 1/250", mailboxes: map[string]int{"a": 1, "b": 1}},
		{name: "remote", to: []string{"a@out.test", "b@out.test", "c@else.test"}, from: sender, statuses: "4/250 4/250 4/250", items: 2},
		{name: "both", to: []string{"a@here.test", "b@out.test"}, from: sender, statuses: "1/250 4/250", items: 1, mailboxes: map[string]int{"a": 1}},
		{name: "named twice", to: []string{"a@here.test", "b@out.test", "a@here.test", "b@out.test", "fwd-b@here.test", "fwd-b@here.test"},
			from: sender, statuses: "1/250 4/250 1/250 4/250 3/250 3/250", items: 2, mailboxes: map[string]int{"a": 1}},
		{name: "nobody", to: []string{"bad@here.test"}, from: sender, statuses: "550 5.1.1 nobody called bad"},
		{name: "all bad", to: []string{"x@bad.test", "bad@here.test"}, from: sender, statuses: "550 5.1.2 no way to x"},
		{name: "some bad", to: []string{"a@here.test", "bad@here.test", "x@bad.test"}, from: sender, statuses: "1/250 5/550 5/550",
			notices: "failed sender@here.test: bad@here.test 5.1.1 x@bad.test 5.1.2", mailboxes: map[string]int{"a": 1, "sender": 1}},
		{name: "some bad, sender outside", to: []string{"a@here.test", "bad@here.test"}, from: address.Address{Local: "s", Domain: "out.test"},
			statuses: "1/250 5/550", items: 1, notices: "failed s@out.test: bad@here.test 5.1.1", mailboxes: map[string]int{"a": 1}},
		{name: "some bad, no return path", to: []string{"a@here.test", "bad@here.test"}, statuses: "1/250 5/550", mailboxes: map[string]int{"a": 1}},
		{name: "notice to nobody", to: []string{"a@here.test", "bad@here.test"}, from: address.Address{Local: "bad", Domain: "here.test"},
			statuses: "1/250 5/550", notices: "failed bad@here.test: bad@here.test 5.1.1", mailboxes: map[string]int{"a": 1}},
		{name: "LMTP, some bad", to: []string{"a@here.test", "bad@here.test"}, from: sender, perRecipient: true, statuses: "1/250 5/550", mailboxes: map[string]int{"a": 1}},
		{name: "LMTP, all bad", to: []string{"bad@here.test"}, from: sender, perRecipient: true, statuses: "5/550"},
		{name: "forwarded", to: []string{"fwd-x@here.test"}, from: sender, statuses: "3/250", items: 1},
		{name: "forwarded to itself", to: []string{"loop@here.test"}, from: sender, statuses: "3/250",
			notices: "failed sender@here.test: loop@here.test 5.4.6", mailboxes: map[string]int{"sender": 1}},
		{name: "router away", to: []string{"a@later.test"}, from: sender, statuses: "the directory is away"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, nil)
			m := w.mail("x", c.from, c.to...)
			st, err := w.queue.Submit(t.Context(), m, mailflow.SubmitOptions{PerRecipient: c.perRecipient})
			got := actions(st)
			if err != nil {
				got = err.Error()
			}
			if got != c.statuses {
				t.Errorf("statuses %q, want %q", got, c.statuses)
			}
			if n := w.length(); n != c.items || w.links() != int(c.items) {
				t.Errorf("%d items, %d links, want %d", n, w.links(), c.items)
			}
			if s := w.sorted(&w.notices); s != c.notices {
				t.Errorf("notices %q, want %q", s, c.notices)
			}
			for _, name := range []string{"a", "b", "sender", "bad"} {
				if n := len(w.mailbox(name)); n != c.mailboxes[name] {
					t.Errorf("mailbox %s has %d", name, n)
				}
			}
			if e := w.queue.scheduler.entries; len(e) != 0 {
				t.Errorf("%d entries in memory of a queue that does not run", len(e))
			}
		})
	}
}

func TestSubmitRefused(t *testing.T) {
	w := newWorld(t, nil)
	for name, c := range map[string]struct {
		change func(m *mailflow.Mail)
		want   int
	}{
		"nobody":  {func(m *mailflow.Mail) { m.Recipients = nil }, 554},
		"hops":    {func(m *mailflow.Mail) { m.Message.Received = mailflow.HopsMax + 1 }, 554},
		"many":    {func(m *mailflow.Mail) { m.Recipients = make([]mailflow.Recipient, recipientsMax+1) }, 452},
		"no body": {func(m *mailflow.Mail) { m.Body = blob.Body{} }, 0},
	} {
		m := w.mail("x", sender, "a@here.test")
		c.change(m)
		_, err := w.queue.Submit(t.Context(), m, mailflow.SubmitOptions{})
		var e *smtp.Error
		if err == nil || errors.As(err, &e) != (c.want != 0) || e != nil && e.Reply.Code != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// countingEngine counts commits and the spaces they touch.
type countingEngine struct {
	kv.Engine
	commits int
	spaces  []string
}

func (e *countingEngine) Commit(ctx context.Context, b ...kv.Batch) ([]kv.Result, error) {
	e.commits++
	for i := range b {
		e.spaces = append(e.spaces, string(b[i].Space)[:2])
	}
	return e.Engine.Commit(ctx, b...)
}

func TestLocalMailIsOneCommitWithoutQueue(t *testing.T) {
	engine := &countingEngine{Engine: memkv.New()}
	w := newWorldOn(t, engine, blob.NewBodies(engine, memblob.New(), hlc.NewClock(1)), nil)
	w.submit(w.mail("x", sender, "a@here.test", "bad@here.test"))
	if engine.commits != 1 {
		t.Errorf("%d commits, the notice included", engine.commits)
	}
	if slices.Contains(engine.spaces, "q/") {
		t.Errorf("the queue was written: %v", engine.spaces)
	}
}

func TestManyRecipients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		var to []string
		for i := range 300 {
			to = append(to, fmt.Sprintf("u%d@d%d.test", i, i), fmt.Sprintf("v%d@big.test", i), fmt.Sprintf("l%d@here.test", i))
		}
		st := w.submit(w.mail("x", sender, to...))
		if len(st) != 900 {
			t.Fatal(len(st))
		}
		if n := len(w.mailbox("l299")); n != 0 {
			t.Errorf("all 300 local recipients were in one unit")
		}
		stop := w.run()
		time.Sleep(time.Minute)
		stop()
		if n := w.length(); n != 0 || w.links() != 0 {
			t.Errorf("%d items, %d links left", n, w.links())
		}
		seen := map[string]int{}
		for _, s := range w.sent {
			seen[s]++
		}
		for _, a := range to {
			if strings.HasSuffix(a, "@here.test") {
				if n := len(w.mailbox(strings.TrimSuffix(a, "@here.test"))); n != 1 {
					t.Errorf("%s has %d", a, n)
				}
			} else if seen[a] != 1 {
				t.Errorf("%s was sent %d times", a, seen[a])
			}
		}
		if len(w.notices) != 0 {
			t.Errorf("notices %v", w.notices)
		}
	})
}

// TestLargeLists: lists with more members than a commit can have items for are expanded
// all the same, from the queue.
func TestLargeLists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		got := map[string]int{}
		w.local = func(r mailflow.Recipient) (s mailflow.Status) {
			if strings.Contains(r.Address.Local, "member") {
				w.locked(func() { got[r.Address.Local]++ })
				s.Action = mailflow.Delivered
			}
			return s
		}
		m := w.mail("x", sender, "list-5000@here.test", "list-5001@here.test")
		m.HoldUntil = time.Now().Add(time.Second)
		w.submit(m)
		stop := w.run()
		time.Sleep(10 * time.Minute)
		stop()
		if n := w.length(); n != 0 || w.links() != 0 {
			t.Errorf("%d items, %d links left", n, w.links())
		}
		for _, list := range []int{5000, 5001} {
			for i := range list {
				if name := fmt.Sprintf("list-%d-member-%d", list, i); got[name] != 1 {
					t.Fatalf("%s got %d mails", name, got[name])
				}
			}
		}
	})
}

// TestTooLargeForOneCommit: what never fits into a commit is returned, and what fits only
// apart is filed apart.
func TestTooLargeForOneCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		var to []string
		for i := range 600 {
			to = append(to, fmt.Sprintf("wide-%d@here.test", i))
		}
		w.submit(w.mail("x", sender, append(to, "huge@here.test")...))
		stop := w.run()
		time.Sleep(10 * time.Minute)
		stop()
		if n := w.length(); n != 0 || w.links() != 0 {
			t.Errorf("%d items, %d links left", n, w.links())
		}
		if n := len(w.mailbox("wide")); n != 600*wideKeys {
			t.Errorf("%d keys were written", n)
		}
		if s := w.sorted(&w.notices); s != "failed sender@here.test: huge@here.test 5.3.4" {
			t.Errorf("notices %q", s)
		}
	})
}
