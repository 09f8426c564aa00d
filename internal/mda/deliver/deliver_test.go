package deliver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postroad/address"
	"postroad/internal/blob"
	"postroad/internal/blob/memblob"
	"postroad/internal/directory"
	"postroad/internal/kv/hlc"
	"postroad/internal/kv/memkv"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/message"
	"postroad/smtp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// house is a directory and a mail store in memory.
type house struct {
	*testing.T
	dir    *directory.Store
	store  *mailstore.Store
	commit *mailflow.Committer
	clock  *hlc.Clock
	ids    map[string]mailstore.AccountID
}

func (h *house) must(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

func addr(s string) address.Address {
	if s == "" {
		return address.Address{}
	}
	a, err := address.Parse(s)
	if err != nil {
		panic(err)
	}
	return a
}

func addrs(list ...string) (out []address.Address) {
	for _, s := range list {
		out = append(out, addr(s))
	}
	return out
}

func newHouse(t *testing.T) *house {
	engine, clock := memkv.New(), hlc.NewClock(1)
	h := &house{T: t, clock: clock, ids: map[string]mailstore.AccountID{}}
	h.commit = &mailflow.Committer{Engine: engine, Bodies: blob.NewBodies(engine, memblob.New(), clock)}
	var err error
	h.dir, err = directory.Open(t.Context(), directory.Options{Engine: engine, Committer: h.commit, Clock: clock})
	h.must(err)
	h.store = mailstore.New(mailstore.Options{Committer: h.commit, Clock: clock})
	t.Cleanup(func() {
		h.dir.Close()
		clock.Close()
		engine.Close()
	})
	_, err = h.dir.AddDomain(t.Context(), directory.Domain{Name: "ours.test", Org: directory.DefaultOrg, Separator: "+"})
	h.must(err)
	h.account("alice", mailstore.Quota{})
	h.account("bob", mailstore.Quota{})
	h.account("full", mailstore.Quota{Messages: 1})
	h.account("lost", mailstore.Quota{})
	h.must(h.store.Delete(t.Context(), h.ids["lost"]))
	h.expander(directory.Alias, "both", "", "alice@ours.test", "bob@ours.test")
	h.expander(directory.Alias, "one", "", "bob@ours.test")
	h.expander(directory.Alias, "away", "", "x@else.test")
	h.expander(directory.Alias, "mixed", "", "alice@ours.test", "x@else.test", "gone@ours.test")
	h.expander(directory.Alias, "withfull", "", "alice@ours.test", "full@ours.test")
	h.expander(directory.Group, "team", "bob@ours.test", "alice@ours.test", "x@else.test")
	h.expander(directory.Alias, "loop", "", "loop2@ours.test")
	h.expander(directory.Alias, "loop2", "", "loop@ours.test")
	a, err := h.store.Account(t.Context(), h.ids["alice"])
	h.must(err)
	_, err = a.CreateMailbox(t.Context(), "Lists", "")
	h.must(err)
	h.send("full@ours.test") // now it is
	return h
}

func (h *house) account(name string, q mailstore.Quota) {
	h.Helper()
	a, err := h.dir.AddAccount(h.Context(), directory.NewAccount{Addresses: addrs(name + "@ours.test")})
	h.must(err)
	h.must(h.store.Create(h.Context(), a.ID, q))
	h.ids[name] = a.ID
}

func (h *house) expander(k directory.Kind, name, owner string, members ...string) {
	h.Helper()
	_, err := h.dir.AddExpander(h.Context(), directory.Expander{Kind: k, Address: addr(name + "@ours.test"),
		Org: directory.DefaultOrg, Members: addrs(members...), Owner: addr(owner)})
	h.must(err)
}

// mail stages a mail to recipients; "addr NOTIFY" gives one of them notifications.
func (h *house) mail(to ...string) *mailflow.Mail {
	h.Helper()
	text := "From: ann@else.test\r\nSubject: hello\r\n\r\nbody\r\n"
	body, err := h.commit.Bodies.Stage(h.Context(), strings.NewReader(text), 1<<20)
	h.must(err)
	parsed, err := message.Parse(strings.NewReader(text), message.Limits{})
	h.must(err)
	m := &mailflow.Mail{ID: h.clock.Next(), ReturnPath: addr("ann@else.test"), Body: body, Message: parsed, Received: time.Now(), EnvID: "env"}
	for _, t := range to {
		a, notify, _ := strings.Cut(t, " ")
		r := mailflow.Recipient{Address: addr(a)}
		if notify != "" {
			r.Notify = smtp.NotifySuccess | smtp.NotifyFailure
		}
		m.Recipients = append(m.Recipients, r)
	}
	return m
}

// send delivers as a Submitter does and returns statuses and mails onward as text.
func (h *house) send(to ...string) (statuses, onward []string) {
	h.Helper()
	return h.deliver(Options{}, h.mail(to...))
}

func (h *house) deliver(o Options, m *mailflow.Mail) (statuses, onward []string) {
	h.Helper()
	o.Directory, o.Store = h.dir, h.store
	d := New(o)
	rcpts := make([]int, len(m.Recipients))
	for i := range rcpts {
		rcpts[i] = i
	}
	err := h.commit.Commit(h.Context(), func(ctx context.Context, u *mailflow.Unit) error {
		statuses, onward = nil, nil
		for _, s := range d.Prepare(ctx, m, rcpts, u) {
			action := [...]string{"", "delivered", "relayed", "expanded", "delayed", "failed"}[s.Action]
			if s.PassedOn {
				action += " passed on"
			}
			statuses = append(statuses, fmt.Sprintf("%s %d %s", action, s.Reply.Code, s.Reply.Enhanced))
		}
		for _, m := range u.TakeOnward() {
			for _, r := range m.Recipients {
				onward = append(onward, fmt.Sprintf("%s>%s %s %s %s", m.ReturnPath, r.Address, r.Notify, r.Original, m.EnvID))
			}
		}
		return nil
	})
	h.must(err)
	return statuses, onward
}

// counts lists the mailboxes that have mail.
func (h *house) counts() string {
	h.Helper()
	var w []string
	for _, name := range []string{"alice", "bob", "full"} {
		a, err := h.store.Account(h.Context(), h.ids[name])
		h.must(err)
		t, err := a.Tree(h.Context())
		h.must(err)
		for _, m := range t.All() {
			s, err := a.Status(h.Context(), m.ID)
			h.must(err)
			if s[0].Messages > 0 {
				w = append(w, fmt.Sprintf("%s/%s=%d", name, m.Name, s[0].Messages))
			}
		}
		h.must(a.Check(h.Context(), true, func(f mailstore.Finding) { h.Errorf("check: %v", f) }))
	}
	return strings.Join(w, " ")
}

func TestPrepare(t *testing.T) {
	const delivered = "delivered 250 2.1.5"
	for _, c := range []struct {
		name     string
		to       string
		statuses string
		onward   string
		counts   string // beside full/INBOX=1
	}{
		{"one", "alice@ours.test", delivered, "", "alice/INBOX=1"},
		{"two", "alice@ours.test,bob@ours.test", delivered + "," + delivered, "", "alice/INBOX=1 bob/INBOX=1"},
		{"nobody", "nobody@ours.test", "failed 550 5.1.1", "", ""},
		{"one of two", "nobody@ours.test,bob@ours.test", "failed 550 5.1.1," + delivered, "", "bob/INBOX=1"},
		{"sub-address with folder", "alice+Lists@ours.test", delivered, "", "alice/Lists=1"},
		{"sub-address in another case", "alice+lists@ours.test", delivered, "", "alice/Lists=1"},
		{"sub-address without folder", "alice+other@ours.test", delivered, "", "alice/INBOX=1"},
		{"sub-address of a special folder", "alice+Sent@ours.test", delivered, "", "alice/INBOX=1"},
		{"both, one message in two folders", "alice@ours.test,alice+Lists@ours.test", delivered + "," + delivered, "", "alice/INBOX=1 alice/Lists=1"},
		{"the same twice", "alice@ours.test,both@ours.test", delivered + ",expanded 250 2.1.5", "", "alice/INBOX=1 bob/INBOX=1"},
		{"alias of one", "one@ours.test", delivered, "", "bob/INBOX=1"},
		{"alias of one outside", "away@ours.test notify", "expanded passed on 250 2.1.5", "ann@else.test>x@else.test SUCCESS,FAILURE rfc822;away@ours.test env", ""},
		{"mixed alias", "mixed@ours.test notify", "expanded 250 2.1.5",
			"ann@else.test>x@else.test FAILURE rfc822;mixed@ours.test env,ann@else.test>gone@ours.test FAILURE rfc822;mixed@ours.test env", "alice/INBOX=1"},
		{"group", "team@ours.test notify", delivered, "bob@ours.test>x@else.test   ", "alice/INBOX=1"},
		{"loop", "loop@ours.test", "failed 554 5.4.6", "", ""},
		{"full", "full@ours.test,alice@ours.test", "delayed 452 4.2.2," + delivered, "", "alice/INBOX=1"},
		{"alias with full", "withfull@ours.test", "expanded 250 2.1.5", "ann@else.test>full@ours.test  rfc822;withfull@ours.test env", "alice/INBOX=1"},
		{"no mail account", "lost@ours.test,bob@ours.test", "delayed 451 4.3.0," + delivered, "", "bob/INBOX=1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t)
			statuses, onward := h.send(strings.Split(c.to, ",")...)
			if got := strings.Join(statuses, ","); got != c.statuses {
				t.Errorf("statuses %q, want %q", got, c.statuses)
			}
			if got := strings.Join(onward, ","); got != c.onward {
				t.Errorf("onward %q, want %q", got, c.onward)
			}
			if got := strings.TrimSpace(strings.Replace(h.counts(), "full/INBOX=1", "", 1)); got != c.counts {
				t.Errorf("mailboxes %q, want %q", got, c.counts)
			}
		})
	}
}

func TestRejectFull(t *testing.T) {
	h := newHouse(t)
	statuses, _ := h.deliver(Options{RejectFull: true}, h.mail("full@ours.test"))
	if !slices.Equal(statuses, []string{"failed 552 5.2.2"}) {
		t.Errorf("%q", statuses)
	}
}

func TestNoFolders(t *testing.T) {
	h := newHouse(t)
	h.deliver(Options{NoFolders: true}, h.mail("alice+Lists@ours.test"))
	if got := h.counts(); got != "alice/INBOX=1 full/INBOX=1" {
		t.Errorf("%q", got)
	}
}

// A notification that comes to a group keeps its null return path.
func TestNullReturnPath(t *testing.T) {
	h := newHouse(t)
	m := h.mail("team@ours.test")
	m.ReturnPath = address.Address{}
	if _, onward := h.deliver(Options{}, m); !slices.Equal(onward, []string{">x@else.test   "}) {
		t.Errorf("%q", onward)
	}
}

// More accounts than a unit files into: direct ones wait, members go onward.
func TestManyAccounts(t *testing.T) {
	h := newHouse(t)
	var all []string
	for i := range AccountsMax + 5 {
		name := fmt.Sprintf("u%d", i)
		h.account(name, mailstore.Quota{})
		all = append(all, name+"@ours.test")
	}
	h.expander(directory.Group, "many", "bob@ours.test", all...)
	statuses, onward := h.send("many@ours.test")
	if len(onward) != 5 || statuses[0] != "delivered 250 2.1.5" {
		t.Errorf("%q, %q", statuses, onward)
	}
	statuses, onward = h.send(all...)
	if len(onward) != 0 || statuses[AccountsMax-1] != "delivered 250 2.1.5" || statuses[AccountsMax] != "delayed 451 4.3.2" {
		t.Errorf("%q, %q", statuses, onward)
	}
}

// broken is a directory that cannot answer.
type broken struct{ directory.Directory }

func (broken) Resolve(context.Context, address.Address) (directory.Target, error) {
	return directory.Target{}, errors.New("no answer")
}

func TestDirectoryFails(t *testing.T) {
	h := newHouse(t)
	d := New(Options{Directory: broken{}, Store: h.store})
	u := new(mailflow.Unit)
	s := d.Prepare(t.Context(), h.mail("alice@ours.test"), []int{0}, u)
	if s[0].Action != mailflow.Delayed || s[0].Reply.Code != 451 || !u.Empty() {
		t.Errorf("%+v", s)
	}
}
