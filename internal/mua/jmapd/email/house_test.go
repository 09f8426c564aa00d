package email

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"postroad/address"
	"postroad/imap"
	"postroad/internal/blob"
	"postroad/internal/blob/memblob"
	"postroad/internal/directory"
	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
	"postroad/internal/kv/memkv"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/objects"
	"postroad/internal/snooze"
	"postroad/jmap"
	"postroad/message"
)

// bodyHouse is the methods over memory, with users alice, bob and carol of one organisation.
// It has a name of its own because the tests of queries have a house too.
type bodyHouse struct {
	t       tester
	access  *access.House
	m       *Methods
	methods map[string]jmap.Method
	users   map[string]*access.User
	snooze  *snooze.Store
}

func newBodyHouse(t tester, o Options) *bodyHouse {
	t.Helper()
	return newBodyHouseOver(t, memkv.New(), o)
}

// newBodyHouseOver is newBodyHouse over an engine, which it closes.
func newBodyHouseOver(t tester, engine kv.Engine, o Options) *bodyHouse {
	t.Helper()
	ctx, clock := context.Background(), hlc.NewClock(1)
	t.Cleanup(func() { engine.Close() })
	c := &mailflow.Committer{Engine: engine, Bodies: blob.NewBodies(engine, memblob.New(), clock)}
	d, err := directory.Open(ctx, directory.Options{Engine: engine, Committer: c, Clock: clock})
	must(t, err)
	t.Cleanup(d.Close)
	h := &bodyHouse{t: t, methods: map[string]jmap.Method{}, users: map[string]*access.User{}}
	mail := mailstore.New(mailstore.Options{Committer: c, Clock: clock, Passing: func(ctx context.Context, u *mailflow.Unit, p *mailstore.Passing) error {
		return h.snooze.Passing(ctx, u, p)
	}})
	h.snooze = snooze.New(c, mail, slog.New(slog.DiscardHandler))
	o.Snooze = h.snooze
	h.access = &access.House{Mail: mail, Directory: d,
		Objects: &objects.Store{Committer: c, Clock: clock}, Committer: c, Bodies: c.Bodies, Clock: clock, Host: "mail.ours.test", Log: slog.Default()}
	h.m = New(h.access, o)
	for _, method := range h.m.Methods() {
		h.methods[method.Name] = method
	}
	_, err = d.AddDomain(ctx, directory.Domain{Name: "ours.test"})
	must(t, err)
	for _, name := range []string{"alice", "bob", "carol"} {
		a, err := address.Parse(name + "@ours.test")
		must(t, err)
		made, err := d.AddAccount(ctx, directory.NewAccount{Addresses: []address.Address{a}})
		must(t, err)
		must(t, h.access.Mail.Create(ctx, made.ID, mailstore.Quota{}))
		p, err := d.Principal(ctx, made.ID)
		must(t, err)
		h.users[name] = &access.User{Principal: p}
	}
	return h
}

// tester is a test, or a check of rapid.
type tester interface {
	Helper()
	Cleanup(func())
	Errorf(format string, args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func must(t tester, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// account is the id of a user's account.
func (h *bodyHouse) account(name string) jmap.ID { return access.FormatID('A', h.users[name].ID) }

// open opens an account as a user may use it.
func (h *bodyHouse) open(user, account string) *access.Account {
	h.t.Helper()
	a, err := h.access.AccountFor(context.Background(), h.users[user], h.account(account))
	must(h.t, err)
	return a
}

// box is the id of one of a user's mailboxes.
func (h *bodyHouse) box(account, name string) string {
	h.t.Helper()
	tree, err := h.open(account, account).Tree(context.Background())
	must(h.t, err)
	if m := tree.Name(name); m != nil {
		return mailstore.FormatMailboxID(m.ID)
	}
	h.t.Fatalf("no mailbox %s", name)
	return ""
}

// share gives a user rights to a mailbox of another one's.
func (h *bodyHouse) share(owner, box, user, rights string) {
	h.t.Helper()
	r, err := imap.ParseRights(rights)
	must(h.t, err)
	id, err := mailstore.ParseObjectID('F', h.box(owner, box))
	must(h.t, err)
	a := h.open(owner, owner)
	must(h.t, a.SetACL(context.Background(), h.users[owner].Org, id, mailstore.Subject{Kind: mailstore.SubjectAccount, Account: h.users[user].ID}, imap.RightsReplace, r))
}

// deliver puts a message into mailboxes as a delivery does, and returns its id.
func (h *bodyHouse) deliver(account, text string, boxes ...string) string {
	h.t.Helper()
	ctx := context.Background()
	parsed, err := message.Parse(strings.NewReader(text), message.Limits{})
	must(h.t, err)
	body, err := h.access.Bodies.Stage(ctx, strings.NewReader(text), 1<<30)
	must(h.t, err)
	if len(boxes) == 0 {
		boxes = []string{"INBOX"}
	}
	var ids []mailstore.MailboxID
	for _, b := range boxes {
		id, err := mailstore.ParseObjectID('F', h.box(account, b))
		must(h.t, err)
		ids = append(ids, id)
	}
	a := h.open(account, account)
	in := &mailstore.Incoming{Body: body, Message: parsed, InternalDate: time.Date(2026, 12, 1, 10, 0, 0, 0, time.UTC)}
	var added []*mailstore.Appended
	must(h.t, h.access.Committer.Commit(ctx, func(ctx context.Context, u *mailflow.Unit) (err error) {
		added, err = a.PrepareAppend(ctx, u, in, ids[0], ids[1:]...)
		return err
	}))
	return mailstore.FormatEmailID(added[0].ID)
}

// try makes a call as a user: the response, decoded, or {"error": type}. In args "ACCOUNT"
// is the account's id.
func (h *bodyHouse) try(user, method, account, args string) map[string]any {
	h.t.Helper()
	return h.within(jmap.NewCall(method, h.args(account, args), h.users[user], nil))
}

func (h *bodyHouse) args(account, args string) json.RawMessage {
	raw := fmt.Sprintf(`{"accountId": %q`, h.account(account))
	if args != "" {
		raw += ", " + args
	}
	return json.RawMessage(raw + "}")
}

// within makes a call that may share a request with others.
func (h *bodyHouse) within(c *jmap.Call) map[string]any {
	h.t.Helper()
	r, err := h.methods[c.Name].Do(context.Background(), c)
	if err != nil {
		e, ok := err.(*jmap.MethodError)
		if !ok {
			h.t.Fatalf("%s: %v", c.Name, err)
		}
		return map[string]any{"error": e.Type, "description": e.Description}
	}
	out, err := json.Marshal(r)
	must(h.t, err)
	var decoded map[string]any
	must(h.t, json.Unmarshal(out, &decoded))
	return decoded
}

// call is try for what must succeed.
func (h *bodyHouse) call(user, method, account, args string) map[string]any {
	h.t.Helper()
	r := h.try(user, method, account, args)
	if r["error"] != nil {
		h.t.Fatalf("%s %s: %v", method, args, r)
	}
	return r
}

// at walks into a decoded response; steps are names and indexes.
func at(v any, path ...any) any {
	for _, step := range path {
		switch s := step.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[s]
		case int:
			l, _ := v.([]any)
			if s >= len(l) {
				return nil
			}
			v = l[s]
		}
	}
	return v
}

// get is Email/get of one message of the user's own.
func (h *bodyHouse) get(user, id, more string) map[string]any {
	h.t.Helper()
	args := fmt.Sprintf(`"ids": [%q]`, id)
	if more != "" {
		args += ", " + more
	}
	r := h.call(user, "Email/get", user, args)
	one, ok := at(r, "list", 0).(map[string]any)
	if !ok {
		h.t.Fatalf("no message %s: %v", id, r)
	}
	return one
}

// same compares a decoded value with JSON.
func same(t testing.TB, what string, got any, want string) {
	t.Helper()
	var w any
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatalf("%s: %v in %s", what, err, want)
	}
	if !cmp.Equal(got, w) {
		t.Errorf("%s: %s", what, cmp.Diff(w, got))
	}
}

// crlf makes a message of lines.
func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }
