package server

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postroad/address"
	"postroad/imap"
	"postroad/internal/blob"
	"postroad/internal/config"
	"postroad/internal/directory"
	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/mda/deliver"
	"postroad/internal/mta/bounce"
	"postroad/internal/mta/queue"
	"postroad/internal/mta/route"
	"postroad/internal/mta/submit"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/mua/jmapd/sending"
	"postroad/internal/objects"
	"postroad/jmap"
	"postroad/message"
	"postroad/smtp"
)

// office is all of the house by which users send mail, in memory, with a world outside that
// takes what it is given.
type office struct {
	t         testing.TB
	engine    kv.Engine
	store     *Store
	submitter *submit.Submitter
	methods   []jmap.Method
	sending   *sending.Methods
	house     *access.House
	user      *access.User
	alice     *mailstore.Account

	mu       sync.Mutex
	sent     []string                                   // recipients outside, in order
	contents []string                                   // what they got
	emailSet []string                                   // arguments of implicit calls
	answer   func(r mailflow.Recipient) mailflow.Status // nil: all are taken
}

// newOffice lays out an office over an engine: the accounts alice and bob at ours.test are
// made when they are not there.
func newOffice(t testing.TB, engine kv.Engine, bodies blob.Store) *office {
	o := &office{t: t, engine: engine}
	s := &Store{Clock: hlc.NewClock(1), config: &config.Config{Hostname: "mx.ours.test"}, log: slog.New(slog.DiscardHandler)}
	s.Bodies = blob.NewBodies(engine, bodies, s.Clock)
	s.Committer = &mailflow.Committer{Engine: engine, Bodies: s.Bodies}
	o.store = s
	var err error
	s.Directory, err = directory.Open(context.Background(), directory.Options{Engine: engine, Committer: s.Committer, Clock: s.Clock})
	o.must(err)
	s.Mail = mailstore.New(mailstore.Options{Committer: s.Committer, Clock: s.Clock, Passing: s.passing, Log: s.log})
	s.Objects = &objects.Store{Committer: s.Committer, Clock: s.Clock}
	o.must(s.openScripts(context.Background()))
	o.must(s.openOutbox(context.Background()))
	o.openQueue()
	if _, err := s.Directory.AddDomain(context.Background(), directory.Domain{Name: "ours.test", Org: directory.DefaultOrg, Separator: "+"}); err == nil {
		o.account("Alice", "alice@ours.test", "al@ours.test")
		o.account("Bob", "bob@ours.test")
	}
	a, err := s.Directory.AccountByAddress(context.Background(), mustAddress("alice@ours.test"))
	o.must(err)
	o.user = &access.User{Principal: directory.Principal{ID: a.ID, Org: a.Org, Login: a.Login, Name: a.Name}}
	o.alice, err = s.Mail.Account(context.Background(), a.ID)
	o.must(err)
	o.submitter = submit.New(submit.Options{Hostname: "mx.ours.test", Directory: s.Directory, Submitter: s.Queue, Bodies: s.Bodies,
		Clock: s.Clock, Outbox: s.Outbox, Limits: mailflow.ContentLimits{Size: 100_000}})
	setEmail := jmap.Method{Name: "Email/set", Capability: "urn:ietf:params:jmap:mail", Do: o.setEmail}
	o.house = &access.House{Mail: s.Mail, Directory: s.Directory, Objects: s.Objects, Scripts: s.Scripts, Committer: s.Committer,
		Bodies: s.Bodies, Clock: s.Clock, Host: "mx.ours.test", Log: s.log}
	o.sending = sending.New(o.house, sending.Options{
		Outbox: s.Outbox, Submitter: o.submitter, EmailSet: setEmail,
		Extensions: submit.Extensions, HoldMax: submit.HoldMax, MessageBytesMax: 50_000, RecipientsMax: 30,
	})
	o.methods = append(o.sending.Methods(), setEmail)
	return o
}

func (o *office) openQueue() {
	s := o.store
	router, err := route.New(route.Options{Directory: s.Directory})
	o.must(err)
	composer, err := bounce.New(bounce.Options{Host: "mx.ours.test", Bodies: s.Bodies, Ours: s.ours})
	o.must(err)
	s.Queue, err = queue.New(queue.Options{Committer: s.Committer, Clock: s.Clock, Router: router,
		Local: deliver.New(deliver.Options{Directory: s.Directory, Store: s.Mail, Bodies: s.Bodies, Reports: s.Outbox.PrepareReport,
			Rules: s.Rules, Host: "mx.ours.test", Log: s.log}),
		Transports: map[string]mailflow.Transport{route.SMTP: o}, Bouncer: composer, Tracker: s.Outbox, Log: s.log})
	o.must(err)
	s.Outbox.Queue = s.Queue
}

func (o *office) close() { o.store.Directory.Close() }

func (o *office) must(err error) {
	o.t.Helper()
	if err != nil {
		o.t.Fatal(err)
	}
}

func mustAddress(s string) address.Address {
	a, err := address.Parse(s)
	if err != nil {
		panic(err)
	}
	return a
}

func (o *office) account(name string, addresses ...string) mailstore.AccountID {
	o.t.Helper()
	n := directory.NewAccount{Name: name}
	for _, a := range addresses {
		n.Addresses = append(n.Addresses, mustAddress(a))
	}
	a, err := o.store.Directory.AddAccount(context.Background(), n)
	o.must(err)
	o.must(o.store.Mail.Create(context.Background(), a.ID, mailstore.Quota{}))
	return a.ID
}

// run delivers until stop.
func (o *office) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { o.store.Queue.Run(ctx); close(done) }()
	return func() { cancel(); <-done }
}

// Deliver implements mailflow.Transport: the world outside.
func (o *office) Deliver(ctx context.Context, m *mailflow.Mail, _ mailflow.NextHop) []mailflow.Status {
	text := ""
	if r, err := o.store.Bodies.Open(ctx, m.Body); err == nil {
		b, _ := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
		text = string(b)
		r.Close()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	statuses := make([]mailflow.Status, len(m.Recipients))
	for i, r := range m.Recipients {
		statuses[i] = mailflow.Status{Action: mailflow.Relayed, At: time.Now(), RemoteMTA: "mx.far.test",
			Reply: smtp.Reply{Code: 250, Enhanced: smtp.EnhancedCode{2, 0, 0}, Lines: []string{"taken"}}}
		if o.answer != nil {
			if s := o.answer(r); s.Action != 0 {
				statuses[i] = s
			}
		}
		if statuses[i].Action == mailflow.Relayed {
			o.sent = append(o.sent, r.Address.String())
			o.contents = append(o.contents, text)
		}
	}
	return statuses
}

// setEmail is Email/set as far as it is looked at here.
func (o *office) setEmail(_ context.Context, c *jmap.Call) (any, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.emailSet = append(o.emailSet, string(c.Args))
	return map[string]any{"asked": json.RawMessage(c.Args)}, nil
}

// texts are the contents that the world outside got.
func (o *office) texts() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.contents)
}

// forget forgets what the world outside got.
func (o *office) forget() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sent, o.contents = nil, nil
}

func (o *office) sentTo() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := slices.Clone(o.sent)
	slices.Sort(s)
	return strings.Join(s, " ")
}

// append puts a message into a mailbox of alice's and returns its id for clients.
func (o *office) append(role imap.MailboxAttr, text string) string {
	o.t.Helper()
	ctx := context.Background()
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\n", "\r\n")
	body, err := o.store.Bodies.Stage(ctx, strings.NewReader(text), 1<<20)
	o.must(err)
	parsed, err := message.Parse(strings.NewReader(text), message.Limits{})
	o.must(err)
	tree, err := o.alice.Tree(ctx)
	o.must(err)
	added, err := o.alice.Append(ctx, tree.Role(role).ID, &mailstore.Incoming{Body: body, Message: parsed, Flags: mailstore.Draft, InternalDate: time.Now()})
	o.must(err)
	return mailstore.FormatEmailID(added[0].ID)
}

const draftText = "From: Alice <alice@ours.test>\nTo: x@far.test\nCc: bob@ours.test\nBcc: y@far.test\nSubject: plans\nMessage-ID: <plans@ours.test>\nDate: Thu, 1 Jan 2026 00:00:00 +0000\n\nhello\n"

// where lists the mailboxes that a message of alice's is in, with its flags: "Sent(\\Seen)".
func (o *office) where(email string) string {
	o.t.Helper()
	ctx := context.Background()
	id, err := mailstore.ParseEmailID(email)
	o.must(err)
	tree, err := o.alice.Tree(ctx)
	o.must(err)
	var in []string
	for _, m := range tree.All() {
		v, err := o.alice.View(ctx, m.ID)
		o.must(err)
		now, err := v.Snapshot(ctx)
		o.must(err)
		for _, row := range now.Rows(0, now.Len()) {
			if row.ID == id.Message {
				in = append(in, fmt.Sprintf("%s(%s)", m.Name, row.Flags.Append(nil, now.Keywords())))
			}
		}
		v.Close()
	}
	return strings.Join(in, " ")
}

// listed lists the ids of what is in a mailbox of alice's, in order.
func (o *office) listed(name string) (ids []string, uids imap.UIDSet) {
	o.t.Helper()
	ctx := context.Background()
	tree, err := o.alice.Tree(ctx)
	o.must(err)
	m := tree.Name(name)
	if m == nil {
		return nil, nil
	}
	v, err := o.alice.View(ctx, m.ID)
	o.must(err)
	defer v.Close()
	now, err := v.Snapshot(ctx)
	o.must(err)
	for _, row := range now.Rows(0, now.Len()) {
		ids = append(ids, mailstore.FormatEmailID(row.ID))
		uids.Add(row.UID)
	}
	return ids, uids
}

// text is the content of a message of alice's.
func (o *office) text(email string) string {
	o.t.Helper()
	id, err := mailstore.ParseEmailID(email)
	o.must(err)
	rec, err := o.alice.Record(context.Background(), id.Message, mailstore.WantStructure)
	o.must(err)
	r, err := o.alice.Open(context.Background(), rec.Body)
	o.must(err)
	defer r.Close()
	b, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
	o.must(err)
	return string(b)
}

// call calls a method and returns its result as JSON.
func (o *office) call(name, args string) map[string]any {
	o.t.Helper()
	args = strings.ReplaceAll(args, "$account", string(access.FormatID('A', o.user.ID)))
	for _, m := range o.methods {
		if m.Name != name {
			continue
		}
		r, err := m.Do(context.Background(), jmap.NewCall(name, json.RawMessage(args), o.user, nil))
		if err != nil {
			return map[string]any{"error": err.Error()}
		}
		raw, err := json.Marshal(r)
		o.must(err)
		var out map[string]any
		o.must(json.Unmarshal(raw, &out))
		return out
	}
	o.t.Fatalf("no method %s", name)
	return nil
}

// identity is the id of alice's first identity.
func (o *office) identity() string {
	list := o.call("Identity/get", `{"accountId":"$account","ids":null}`)["list"].([]any)
	return list[0].(map[string]any)["id"].(string)
}

// send makes a submission; params are those of MAIL. It returns the answer's part for it.
func (o *office) send(email, params string, to ...string) map[string]any {
	o.t.Helper()
	var rcpts []string
	for _, r := range to {
		rcpts = append(rcpts, `{"email":"`+r+`"}`)
	}
	envelope := "null"
	if params != "" || len(to) > 0 {
		envelope = fmt.Sprintf(`{"mailFrom":{"email":"alice@ours.test","parameters":{%s}},"rcptTo":[%s]}`, params, strings.Join(rcpts, ","))
	}
	r := o.call("EmailSubmission/set", fmt.Sprintf(`{"accountId":"$account","create":{"k":{"identityId":%q,"emailId":%q,"envelope":%s}}}`, o.identity(), email, envelope))
	if made, ok := r["created"].(map[string]any); ok && made["k"] != nil {
		return made["k"].(map[string]any)
	}
	if not, ok := r["notCreated"].(map[string]any); ok && not["k"] != nil {
		return not["k"].(map[string]any)
	}
	return r
}

// submission reads a submission.
func (o *office) submission(id any) map[string]any {
	o.t.Helper()
	list := o.call("EmailSubmission/get", fmt.Sprintf(`{"accountId":"$account","ids":[%q]}`, id))["list"].([]any)
	if len(list) == 0 {
		return nil
	}
	return list[0].(map[string]any)
}

// told writes what a submission knows of its recipients.
func told(s map[string]any) string {
	var all []string
	for a, v := range s["deliveryStatus"].(map[string]any) {
		st := v.(map[string]any)
		all = append(all, fmt.Sprintf("%s %s/%s %s", a, st["delivered"], st["displayed"], st["smtpReply"]))
	}
	slices.Sort(all)
	return strings.Join(all, "; ")
}

// bubble runs a test with virtual time, from a day on at which ids can be made.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)))
		f(t)
	})
}
