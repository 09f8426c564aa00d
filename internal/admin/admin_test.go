package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"postroad/address"
	"postroad/internal/blob"
	"postroad/internal/blob/memblob"
	"postroad/internal/directory"
	"postroad/internal/kv/hlc"
	"postroad/internal/kv/memkv"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/mda/deliver"
	"postroad/internal/mta/bounce"
	"postroad/internal/mta/queue"
	"postroad/internal/mta/route"
	"postroad/internal/outbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newVerbs are verbs over a house in memory. Mail for others waits: nothing delivers.
func newVerbs(t *testing.T) *Verbs {
	t.Helper()
	engine, clock := memkv.New(), hlc.NewClock(1)
	bodies := blob.NewBodies(engine, memblob.New(), clock)
	committer := &mailflow.Committer{Engine: engine, Bodies: bodies}
	d, err := directory.Open(t.Context(), directory.Options{Engine: engine, Committer: committer, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close(); clock.Close(); engine.Close() })
	mail := mailstore.New(mailstore.Options{Committer: committer, Clock: clock})
	router, err := route.New(route.Options{Directory: d})
	if err != nil {
		t.Fatal(err)
	}
	composer, err := bounce.New(bounce.Options{Host: "mail.example.test", Bodies: bodies})
	if err != nil {
		t.Fatal(err)
	}
	q, err := queue.New(queue.Options{Committer: committer, Clock: clock, Router: router, Bouncer: composer,
		Local: deliver.New(deliver.Options{Directory: d, Store: mail})})
	if err != nil {
		t.Fatal(err)
	}
	return &Verbs{Directory: d, Mail: mail, Committer: committer, Queue: q, Outbox: &outbox.Store{Committer: committer, Mail: mail, Directory: d},
		Collector: blob.NewCollector(bodies, blob.CollectorOptions{}),
		Quota:     directory.Limits{QuotaBytes: 1 << 20},
		Tracer: func(_ context.Context, message string) ([]TraceEvent, error) {
			if message != "known" {
				return nil, nil
			}
			return []TraceEvent{{What: "accepted"}}, nil
		},
		Status: func(context.Context) (Status, error) { return Status{Version: "test"}, nil }}
}

// callers are both ways to the same verbs.
func callers(t *testing.T, v *Verbs) map[string]Caller {
	t.Helper()
	socket := filepath.Join(t.TempDir(), SocketName)
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- v.Serve(ctx, l) }()
	c, err := Dial(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		stop()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return map[string]Caller{"here": v, "by the socket": c}
}

// script calls verbs in order; each line says what must come of it.
type step struct {
	verb string
	in   any
	want string // part of the result's or error's text
	code Code   // "": no error
}

// check runs the i-th step.
func (s *step) check(t *testing.T, i int, c Caller) {
	t.Helper()
	var out any
	err := c.Call(t.Context(), s.verb, s.in, &out, nil)
	var e *Error
	errors.As(err, &e)
	in := func() string { return fmt.Sprintf("%.300s", fmt.Sprint(s.in)) }
	switch text := fmt.Sprint(out); {
	case s.code == "" && err != nil:
		t.Errorf("%d %s %s: %v", i, s.verb, in(), err)
	case s.code == "" && !strings.Contains(text, s.want):
		t.Errorf("%d %s: %s lacks %q", i, s.verb, text, s.want)
	case s.code != "" && (e == nil || e.Code != s.code || !strings.Contains(e.Text, s.want)):
		t.Errorf("%d %s %s: %v, want %s and %q", i, s.verb, in(), err, s.code, s.want)
	}
}

func TestVerbs(t *testing.T) {
	for name := range map[string]bool{"here": true, "by the socket": true} {
		t.Run(name, func(t *testing.T) {
			c := callers(t, newVerbs(t))[name]
			empty, dash, tokyo := "", "-", "Asia/Tokyo"
			yes, no := true, false
			quota := int64(5 << 20)
			for i, s := range []step{
				{"domain.add", Domain{Name: "Example.test"}, "example.test", ""},
				{"domain.add", Domain{Name: "example.test"}, "example.test", Exists},
				{"domain.add", Domain{Name: "a b"}, "", Invalid},
				{"domain.add", Domain{Name: "alias.test", AliasOf: "example.test"}, "alias.test", ""},
				{"domain.change", Domain{Name: "example.test", Separator: &dash}, "separator:-", ""},
				{"domain.change", Domain{Name: "example.test", CatchAll: &empty}, "example.test", ""},
				{"domain.change", Domain{Name: "none.test"}, "none.test", NotFound},
				{"organisation.add", Organisation{"acme"}, "acme", ""},
				{"organisation.list", Nothing{}, "acme", ""},
				{"account.add", NewAccount{Addresses: []string{"alice@example.test"}, Password: "correct horse"}, "alice@example.test", ""},
				{"account.add", NewAccount{Addresses: []string{"alice@example.test"}, Password: "correct horse"}, "alice", Exists},
				{"account.add", NewAccount{Addresses: []string{"bob@example.test"}, Password: "short"}, "password", Invalid},
				{"account.add", NewAccount{Addresses: []string{"bob@example.test"}, Password: "correct horse", Generate: true}, "password", Invalid},
				{"account.add", NewAccount{Addresses: []string{"x@foreign.test"}, Generate: true}, "foreign.test", NotFound},
				{"account.add", NewAccount{Addresses: []string{"bob@example.test"}, Generate: true}, "password:", ""},
				{"account.list", Within{}, "bob@example.test", ""},
				{"account.list", Within{Org: "acme"}, "[]", ""},
				{"account.show", AccountRef{"alice@alias.test"}, "quota_bytes:1.048576e+06", ""},
				{"account.show", AccountRef{"nobody@example.test"}, "nobody", NotFound},
				{"account.show", AccountRef{"nonsense"}, "nonsense", Invalid},
				{"account.change", AccountChange{Account: "alice@example.test", QuotaBytes: &quota, AddAddresses: []string{"a@example.test"}}, "5.24288e+06", ""},
				{"account.change", AccountChange{Account: "a@example.test", RemoveAddresses: []string{"z@example.test"}}, "z@example.test", NotFound},
				{"account.change", AccountChange{Account: "a@example.test", RemoveAddresses: []string{"a@example.test"}, Enabled: &no}, "enabled:false", ""},
				{"account.change", AccountChange{Account: "alice@example.test", Enabled: &yes}, "enabled:true", ""},
				{"account.change", AccountChange{Account: "alice@example.test", TimeZone: &tokyo}, "time_zone:Asia/Tokyo", ""},
				{"account.change", AccountChange{Account: "alice@example.test", TimeZone: &dash}, "time zone", Invalid},
				{"account.show", AccountRef{"alice@example.test"}, "time_zone:Asia/Tokyo", ""},
				{"account.undo", Undo{"alice@example.test", 300}, "undo_seconds:300", ""},
				{"account.show", AccountRef{"alice@example.test"}, "undo_seconds:300", ""},
				{"account.undo", Undo{"alice@example.test", 0}, "undo_seconds:0", ""},
				{"account.undo", Undo{"alice@example.test", 301}, "300", Invalid},
				{"account.undo", Undo{"alice@example.test", -1}, "300", Invalid},
				{"account.undo", Undo{"alice@example.test", 1 << 40}, "300", Invalid},
				{"account.undo", Undo{"nobody@example.test", 5}, "nobody", NotFound},
				{"account.password", PasswordChange{Account: "alice@example.test", Password: "battery staple"}, "alice", ""},
				{"account.password", PasswordChange{Account: "alice@example.test", Hash: "{X}y"}, "", Invalid},
				{"account.password", PasswordChange{Account: "alice@example.test", Hash: "{PLAIN}battery staple"}, "alice", ""},
				{"account.password", PasswordChange{Account: "alice@example.test", Hash: "x", Generate: true}, "", Invalid},
				{"account.password", PasswordChange{Account: "alice@example.test", Generate: true}, "password:", ""},
				{"app.add", App{"alice@example.test", "phone"}, "password:", ""},
				{"app.add", App{"alice@example.test", "phone"}, "phone", Exists},
				{"app.list", AccountRef{"alice@example.test"}, "phone", ""},
				{"account.show", AccountRef{"alice@example.test"}, "phone", ""},
				{"app.revoke", App{"alice@example.test", "phone"}, "", ""},
				{"app.revoke", App{"alice@example.test", "phone"}, "", NotFound},
				{"alias.add", Alias{Kind: "alias", Address: "info@example.test", Members: []string{"alice@example.test"}}, "info", ""},
				{"alias.add", Alias{Kind: "group", Address: "team@example.test", Owner: "bob@example.test"}, "team", ""},
				{"alias.add", Alias{Kind: "thing", Address: "x@example.test"}, "thing", Invalid},
				{"alias.change", AliasChange{Kind: "group", Address: "team@example.test", Add: []string{"x@far.test", "alice@example.test"}, Owner: &empty}, "x@far.test", ""},
				{"alias.change", AliasChange{Kind: "group", Address: "team@example.test", Remove: []string{"y@far.test"}}, "y@far.test", NotFound},
				{"alias.change", AliasChange{Kind: "alias", Address: "team@example.test"}, "group", NotFound},
				{"alias.show", AliasRef{"group", "team@example.test"}, "team", ""},
				{"account.grant", SendGrant{"alice@example.test", "bob@example.test", "on-behalf"}, "right:on-behalf to:bob@example.test", ""},
				{"account.grant", SendGrant{"alice@example.test", "$team@example.test", "send-as"}, "right:send-as to:$team@example.test", ""},
				{"account.grant", SendGrant{"alice@example.test", "$info@example.test", "send-as"}, "group", NotFound},
				{"account.grant", SendGrant{"alice@example.test", "bob@example.test", "all"}, "all", Invalid},
				{"account.revoke", SendGrant{"alice@example.test", "$team@example.test", ""}, "[map[account:alice@example.test right:on-behalf to:bob@example.test]]", ""},
				{"account.grants", AccountRef{"bob@example.test"}, "[]", ""},
				{"acl.show", MailboxRef{Account: "alice@example.test", Mailbox: "INBOX"}, "grants:[]", ""},
				{"acl.show", MailboxRef{Account: "alice@example.test", Mailbox: "None"}, "None", NotFound},
				{"acl.set", ACLChange{MailboxRef{Account: "alice@example.test", Mailbox: "INBOX"}, "$team@example.test", "lrs"}, "identifier:$team@example.test rights:lrs", ""},
				{"acl.set", ACLChange{MailboxRef{Account: "alice@example.test", Mailbox: "INBOX"}, "bob", "+lw"}, "identifier:bob@example.test rights:lw", ""},
				{"acl.set", ACLChange{MailboxRef{Account: "alice@example.test", Mailbox: "INBOX"}, "bob", "+q"}, "rights", Invalid},
				{"acl.set", ACLChange{MailboxRef{Account: "alice@example.test", Mailbox: "INBOX"}, "nobody", "l"}, "nobody", NotFound},
				{"acl.set", ACLChange{MailboxRef{Account: "alice@example.test", Mailbox: "INBOX"}, "alice", "l"}, "owner", Invalid},
				{"acl.delete", ACLChange{MailboxRef{Account: "alice@example.test", Mailbox: "INBOX"}, "bob", ""}, "[map[identifier:$team@example.test rights:lrs]]", ""},
				{"shared.list", Within{}, "[]", ""},
				{"acl.show", MailboxRef{Mailbox: "News"}, "public", NotFound},
				{"shared.add", NewShared{Mailbox: "News"}, "address", Invalid},
				{"shared.add", NewShared{Mailbox: "News", Address: "shared@example.test", Org: "acme"}, "acme", Invalid},
				{"shared.add", NewShared{Mailbox: "News", Address: "shared@example.test", Anyone: "lrsp"}, "identifier:anyone rights:lrsp", ""},
				{"shared.add", NewShared{Mailbox: "News"}, "News", Exists},
				{"shared.add", NewShared{Mailbox: "Staff/Old"}, "grants:[]", ""},
				{"shared.list", Within{}, "mailbox:Staff/Old", ""},
				{"acl.set", ACLChange{MailboxRef{Mailbox: "News"}, "anyone", "-p"}, "rights:lrs", ""},
				{"account.password", PasswordChange{Account: "shared@example.test", Generate: true}, "nobody logs in", Invalid},
				{"shared.delete", MailboxRef{Mailbox: "Staff"}, "Staff", InUse},
				{"shared.delete", MailboxRef{Mailbox: "INBOX"}, "INBOX", InUse},
				{"shared.delete", MailboxRef{Mailbox: "Staff/Old"}, "", ""},
				{"shared.delete", MailboxRef{Mailbox: "Staff/Old"}, "Staff/Old", NotFound},
				{"shared.delete", MailboxRef{Account: "alice@example.test", Mailbox: "INBOX"}, "", Invalid},
				{"account.remove", AccountRef{"shared@example.test"}, "", ""},
				{"shared.list", Within{}, "[]", ""},
				{"alias.list", AliasList{Kind: "alias"}, "info@example.test", ""},
				{"alias.remove", AliasRef{"alias", "info@example.test"}, "", ""},
				{"alias.list", AliasList{Kind: "alias"}, "[]", ""},
				{"domain.remove", Named{"example.test"}, "", InUse},
				{"domain.list", Within{}, "alias.test", ""},
				{"search.rebuild", SearchRequest{}, "accounts:2", ""},
				{"search.rebuild", SearchRequest{Account: "bob@example.test"}, "accounts:1", ""},
				{"check", CheckRequest{}, "accounts:2", ""},
				{"check", CheckRequest{Account: "bob@example.test"}, "accounts:1", ""},
				{"account.remove", AccountRef{"bob@example.test"}, "", ""},
				{"account.remove", AccountRef{"bob@example.test"}, "", NotFound},
				{"account.list", Within{}, "alice@example.test", ""},
				{"trace", TraceRef{"known"}, "accepted", ""},
				{"trace", TraceRef{"unknown"}, "unknown", NotFound},
				{"trace", TraceRef{}, "", Invalid},
				{"status", Nothing{}, "version:test", ""},
				{"queue.list", QueueList{}, "items:[]", ""},
				{"queue.show", QueueRef{"nonsense"}, "", Invalid},
				{"queue.show", QueueRef{hlc.ID(1 << 30).String()}, "", NotFound},
				{"queue.retry", QueueSelect{}, "", Invalid},
				{"queue.retry", QueueSelect{All: &QueueFilter{}}, "items:0", ""},
				{"no.verb", Nothing{}, "no.verb", Unknown},
				{"status", App{"x", "y"}, "unknown field", Invalid},
			} {
				s.check(t, i, c)
			}
		})
	}
}

// TestQueueVerbs puts mail for elsewhere into the queue and works on it.
func TestQueueVerbs(t *testing.T) {
	v := newVerbs(t)
	var ids []string
	for _, to := range []string{"a@far.test", "b@far.test", "c@away.test"} {
		body, m, err := mailflow.Arrive(t.Context(), v.Committer.Bodies, nil, strings.NewReader("Subject: x\r\n\r\ntext\r\n"), mailflow.ContentLimits{Size: 1000})
		if err != nil {
			t.Fatal(err)
		}
		rcpt, err := address.Parse(to)
		if err != nil {
			t.Fatal(err)
		}
		mail := &mailflow.Mail{ReturnPath: address.Address{Local: "s", Domain: "x.test"}, Body: body, Message: m,
			Recipients: []mailflow.Recipient{{Address: rcpt}}}
		if _, err := v.Queue.Submit(t.Context(), mail, mailflow.SubmitOptions{}); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, mail.ID.String())
	}
	list := func(in QueueList) QueueListed {
		t.Helper()
		var out QueueListed
		if err := v.Call(t.Context(), "queue.list", in, &out, nil); err != nil {
			t.Fatal(err)
		}
		return out
	}
	do := func(verb string, in QueueSelect, want int) {
		t.Helper()
		var out QueueDone
		if err := v.Call(t.Context(), verb, in, &out, nil); err != nil || out.Items != want {
			t.Errorf("%s: %d items, %v", verb, out.Items, err)
		}
	}
	if all := list(QueueList{}); len(all.Items) != 3 || all.More {
		t.Errorf("%+v", all)
	}
	if some := list(QueueList{Limit: 2}); len(some.Items) != 2 || !some.More {
		t.Errorf("%+v", some)
	}
	do("queue.hold", QueueSelect{IDs: ids[:1]}, 1)
	held := list(QueueList{QueueFilter: QueueFilter{State: "held"}})
	if len(held.Items) != 1 || held.Items[0].Recipients[0].Address != "a@far.test" || held.Items[0].ReturnPath != "s@x.test" {
		t.Errorf("%+v", held)
	}
	var shown []QueueItem
	if err := v.Call(t.Context(), "queue.show", QueueRef{ids[0]}, &shown, nil); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(held.Items, shown); d != "" {
		t.Error(d)
	}
	do("queue.release", QueueSelect{All: &QueueFilter{State: "held"}}, 1)
	do("queue.retry", QueueSelect{IDs: ids}, 3)
	do("queue.delete", QueueSelect{All: &QueueFilter{Recipient: "@far.test"}}, 2)
	var e *Error
	if err := v.Call(t.Context(), "queue.delete", QueueSelect{IDs: ids[:1]}, nil, nil); !errors.As(err, &e) || e.Code != NotFound {
		t.Errorf("deleted twice: %v", err)
	}
	if left := list(QueueList{}); len(left.Items) != 1 || left.Items[0].Hop != "away.test" {
		t.Errorf("%+v", left)
	}
}

func TestHandlerRefuses(t *testing.T) {
	h := newVerbs(t).Handler()
	for _, test := range []struct {
		method, path, body string
		status             int
	}{
		{"GET", "/v1/status", "", http.StatusNotFound},
		{"POST", "/status", "{}", http.StatusNotFound},
		{"POST", "/v1/status", strings.Repeat(" ", argumentMax+1), http.StatusBadRequest},
		{"POST", "/v1/status", "", http.StatusOK},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(test.method, test.path, strings.NewReader(test.body)))
		if w.Code != test.status {
			t.Errorf("%s %s: %d", test.method, test.path, w.Code)
		}
	}
}

// TestProgress: long work tells how far it is, through the socket too.
func TestProgress(t *testing.T) {
	for name, c := range callers(t, newVerbs(t)) {
		steps := map[string]bool{}
		if err := c.Call(t.Context(), "check", CheckRequest{}, nil, func(p Progress) { steps[p.Step] = true }); err != nil {
			t.Error(name, err)
		}
		if !steps["bodies"] {
			t.Errorf("%s: %v", name, steps)
		}
	}
}

func TestDialNobody(t *testing.T) {
	if _, err := Dial(t.Context(), filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("connected")
	}
}

func TestGeneratePassword(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		p := GeneratePassword()
		if seen[p] || len(p) != 23 || len(p) < directory.PasswordMin {
			t.Fatalf("%q", p)
		}
		seen[p] = true
	}
}

func TestNames(t *testing.T) {
	if n := Names(); len(n) != len(table) || n[0] != "account.add" {
		t.Error(n)
	}
}
