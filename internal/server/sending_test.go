package server

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

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
	"postroad/internal/mda/deliver"
	"postroad/internal/mta/bounce"
	"postroad/internal/mta/queue"
	"postroad/internal/mta/route"
	"postroad/internal/mta/submit"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/mua/jmapd/sending"
	"postroad/internal/outbox"
	"postroad/jmap"
	"postroad/jmap/jmaptest"
	"postroad/message"
	"postroad/sasl"
	"postroad/smtp"
	"postroad/smtp/smtpserver"
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
	s := &Store{Clock: hlc.NewClock(1), log: slog.New(slog.DiscardHandler)}
	s.Bodies = blob.NewBodies(engine, bodies, s.Clock)
	s.Committer = &mailflow.Committer{Engine: engine, Bodies: s.Bodies}
	o.store = s
	var err error
	s.Directory, err = directory.Open(context.Background(), directory.Options{Engine: engine, Committer: s.Committer, Clock: s.Clock})
	o.must(err)
	s.Mail = mailstore.New(mailstore.Options{Committer: s.Committer, Clock: s.Clock, Passing: s.passing, Log: s.log})
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
	o.sending = sending.New(&access.House{Mail: s.Mail, Directory: s.Directory, Objects: s.Objects, Committer: s.Committer,
		Bodies: s.Bodies, Clock: s.Clock, Host: "mx.ours.test", Log: s.log}, sending.Options{
		Outbox: s.Outbox, Submitter: o.submitter, EmailSet: jmap.Method{Name: "Email/set", Do: o.setEmail},
		Extensions: submit.Extensions, HoldMax: submit.HoldMax, MessageBytesMax: 50_000, RecipientsMax: 30,
	})
	o.methods = o.sending.Methods()
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

// TestSubmissionNow: a message goes out at once; what is known of its recipients follows.
func TestSubmissionNow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := newOffice(t, memkv.New(), memblob.New())
		defer o.close()
		later := true
		o.answer = func(r mailflow.Recipient) (s mailflow.Status) {
			if r.Address.Local == "y" && later {
				s = mailflow.Status{Action: mailflow.Delayed, At: time.Now(), Reply: smtp.Reply{Code: 450, Enhanced: smtp.EnhancedCode{4, 2, 1}, Lines: []string{"come again", "later"}}}
			}
			return s
		}
		defer o.run()()
		email := o.append(imap.AttrDrafts, draftText)
		made := o.send(email, "")
		if made["undoStatus"] != "final" || made["sendAt"] != "2026-03-01T12:00:00Z" || made["threadId"] == nil {
			t.Fatalf("made %v", made)
		}
		time.Sleep(time.Second)
		want := "bob@ours.test yes/unknown 250 2.1.5 Delivered; x@far.test unknown/unknown 250 2.0.0 taken; y@far.test queued/unknown 450 4.2.1 come again later"
		if got := told(o.submission(made["id"])); got != want {
			t.Errorf("told %q, want %q", got, want)
		}
		later = false
		time.Sleep(time.Hour)
		if got := told(o.submission(made["id"])); !strings.Contains(got, "y@far.test unknown/unknown 250 2.0.0 taken") {
			t.Errorf("told later %q", got)
		}
		if o.sentTo() != "x@far.test y@far.test" || strings.Contains(o.contents[0], "Bcc") || !strings.Contains(o.contents[0], "Subject: plans") {
			t.Errorf("sent %s: %q", o.sentTo(), o.contents)
		}
		if in := o.where(email); in != `Drafts(\Draft)` {
			t.Errorf("the draft is in %s", in)
		}
	})
}

// TestReports: what reports tell of sent mail is taken over.
func TestReports(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := newOffice(t, memkv.New(), memblob.New())
		defer o.close()
		o.answer = func(r mailflow.Recipient) (s mailflow.Status) {
			if r.Address.Local == "y" {
				s = mailflow.Status{Action: mailflow.Failed, At: time.Now(), RemoteMTA: "mx.far.test", Reply: smtp.Reply{Code: 550, Enhanced: smtp.EnhancedCode{5, 1, 1}, Lines: []string{"nobody"}}}
			}
			return s
		}
		defer o.run()()
		made := o.send(o.append(imap.AttrDrafts, draftText), "")
		time.Sleep(time.Second)
		s := o.submission(made["id"])
		inbox, _ := o.listed("INBOX")
		if !strings.Contains(told(s), "y@far.test no/unknown 550 5.1.1 nobody") || fmt.Sprint(s["dsnBlobIds"]) != "[G"+inbox[0][1:]+"]" {
			t.Errorf("told %q, notices %v of %v", told(s), s["dsnBlobIds"], inbox)
		}
		o.receive("x@far.test", "alice@ours.test", strings.ReplaceAll(`From: x@far.test
To: alice@ours.test
Subject: read
MIME-Version: 1.0
Content-Type: multipart/report; report-type=disposition-notification; boundary=b

--b

seen
--b
Content-Type: message/disposition-notification

Final-Recipient: rfc822; x@far.test
Original-Message-ID: <plans@ours.test>
Disposition: manual-action/MDN-sent-manually; displayed

--b--
`, "\n", "\r\n"))
		s = o.submission(made["id"])
		inbox, _ = o.listed("INBOX")
		if !strings.Contains(told(s), "x@far.test unknown/yes") || fmt.Sprint(s["mdnBlobIds"]) != "[G"+inbox[1][1:]+"]" {
			t.Errorf("told %q, receipts %v of %v", told(s), s["mdnBlobIds"], inbox)
		}
	})
}

// receive lets mail come in from outside.
func (o *office) receive(from, to, text string) {
	o.t.Helper()
	ctx := context.Background()
	body, m, err := mailflow.Arrive(ctx, o.store.Bodies, nil, strings.NewReader(text), mailflow.ContentLimits{Size: 1 << 20})
	o.must(err)
	_, err = o.store.Queue.Submit(ctx, &mailflow.Mail{ReturnPath: mustAddress(from), Recipients: []mailflow.Recipient{{Address: mustAddress(to)}},
		Body: body, Message: m, Received: time.Now(), Origin: mailflow.Origin{Protocol: "smtp"}}, mailflow.SubmitOptions{})
	o.must(err)
}

// TestSendLater: mail that waits is in Scheduled, goes at its hour, and is in Sent then.
func TestSendLater(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := newOffice(t, memkv.New(), memblob.New())
		defer o.close()
		defer o.run()()
		email := o.append(imap.AttrDrafts, draftText)
		made := o.send(email, `"holdfor":"3600"`, "x@far.test", "bob@ours.test")
		if made["undoStatus"] != "pending" || made["sendAt"] != "2026-03-01T13:00:00Z" {
			t.Fatalf("made %v", made)
		}
		if in := o.where(email); in != `Drafts(\Draft) Scheduled(\Draft)` {
			t.Errorf("waiting it is in %s", in)
		}
		o.must(o.expunge("Drafts")) // as onSuccessUpdateEmail does
		time.Sleep(59 * time.Minute)
		if in := o.where(email); in != `Scheduled(\Draft)` || o.sentTo() != "" {
			t.Errorf("before its hour it is in %s, sent %s", in, o.sentTo())
		}
		time.Sleep(2 * time.Minute)
		if in := o.where(email); in != `Sent(\Seen)` || o.sentTo() != "x@far.test" {
			t.Errorf("after its hour it is in %s, sent %s", in, o.sentTo())
		}
		s := o.submission(made["id"])
		if s["undoStatus"] != "final" || told(s) != "bob@ours.test yes/unknown 250 2.1.5 Delivered; x@far.test unknown/unknown 250 2.0.0 taken" {
			t.Errorf("%v: %s", s["undoStatus"], told(s))
		}
		got := o.call("EmailSubmission/set", fmt.Sprintf(`{"accountId":"$account","update":{%q:{"undoStatus":"canceled"}}}`, made["id"]))
		if !strings.Contains(fmt.Sprint(got["notUpdated"]), "cannotUnsend") {
			t.Errorf("taken back too late: %v", got)
		}
	})
}

// expunge takes all messages out of a mailbox.
func (o *office) expunge(name string) error {
	_, uids := o.listed(name)
	tree, err := o.alice.Tree(context.Background())
	if err == nil {
		_, err = o.alice.Expunge(context.Background(), tree.Name(name).ID, uids, true)
	}
	return err
}

// move moves all messages of a mailbox to another one.
func (o *office) move(from, to string) error {
	_, uids := o.listed(from)
	tree, err := o.alice.Tree(context.Background())
	if err == nil {
		_, err = o.alice.Move(context.Background(), tree.Name(from).ID, uids, tree.Name(to).ID)
	}
	return err
}

// TestRecall: each way to take mail back, by any client.
func TestRecall(t *testing.T) {
	for _, test := range []struct {
		name   string
		recall func(o *office, id any) error
		in     string // where the message is afterwards
	}{
		{"expunged from Scheduled", func(o *office, _ any) error { return o.expunge("Scheduled") }, ""},
		{"moved to Trash", func(o *office, _ any) error { return o.move("Scheduled", "Trash") }, `Trash(\Draft)`},
		{"moved to Drafts", func(o *office, _ any) error { return o.move("Scheduled", "Drafts") }, `Drafts(\Draft)`},
		{"moved elsewhere", func(o *office, _ any) error { return o.move("Scheduled", "Archive") }, `Archive(\Draft)`},
		{"canceled", func(o *office, id any) error {
			r := o.call("EmailSubmission/set", fmt.Sprintf(`{"accountId":"$account","update":{%q:{"undoStatus":"canceled"}}}`, id))
			if r["notUpdated"] != nil {
				return fmt.Errorf("%v", r)
			}
			return nil
		}, `Drafts(\Draft)`},
		{"deleted from the queue", func(o *office, _ any) error {
			_, err := o.store.Queue.All(context.Background(), queue.Filter{}, o.store.Queue.Delete)
			return err
		}, `Drafts(\Draft)`},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				o := newOffice(t, memkv.New(), memblob.New())
				defer o.close()
				defer o.run()()
				email := o.append(imap.AttrDrafts, draftText)
				made := o.send(email, `"HOLDUNTIL":"2026-03-01T12:10:00Z"`, "x@far.test", "bob@ours.test")
				o.must(o.expunge("Drafts"))
				time.Sleep(time.Minute)
				o.must(test.recall(o, made["id"]))
				n, err := o.store.Queue.Length(context.Background())
				o.must(err)
				if in := o.where(email); in != test.in || n != 0 {
					t.Errorf("it is in %q, want %q; %d in the queue", in, test.in, n)
				}
				time.Sleep(time.Hour)
				s := o.submission(made["id"])
				if s["undoStatus"] != "canceled" || !strings.Contains(told(s), "x@far.test no/unknown 554 5.7.0") || o.sentTo() != "" {
					t.Errorf("%v, %s, sent %s", s["undoStatus"], told(s), o.sentTo())
				}
			})
		})
	}
}

// TestDestroyedWhileItWaits: that the record is gone changes nothing of what it stands for.
func TestDestroyedWhileItWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := newOffice(t, memkv.New(), memblob.New())
		defer o.close()
		defer o.run()()
		email := o.append(imap.AttrDrafts, draftText)
		made := o.send(email, `"holdfor":"60"`, "x@far.test")
		got := o.call("EmailSubmission/set", fmt.Sprintf(`{"accountId":"$account","destroy":[%q],"onSuccessUpdateEmail":{%q:{"keywords/$draft":null}}}`, made["id"], made["id"]))
		if fmt.Sprint(got["destroyed"]) != fmt.Sprintf("[%s]", made["id"]) || len(o.emailSet) != 1 || !strings.Contains(o.emailSet[0], email) {
			t.Fatalf("%v, then %v", got, o.emailSet)
		}
		time.Sleep(2 * time.Minute)
		if o.sentTo() != "x@far.test" || o.where(email) != `Drafts(\Draft)` || o.submission(made["id"]) != nil {
			t.Errorf("sent %s, in %s", o.sentTo(), o.where(email))
		}
	})
}

// users logs everybody in as alice.
type asAlice struct{ who directory.Principal }

func (a asAlice) Password(context.Context, string, string, string) (any, error) { return a.who, nil }
func (a asAlice) Verifier(context.Context, string, string) (sasl.Verifier, error) {
	return sasl.Verifier{}, sasl.ErrCredentials
}

// pipe is a listener of one connection.
type pipe struct {
	once sync.Once
	conn net.Conn
	done chan struct{}
}

func (p *pipe) Accept() (c net.Conn, err error) {
	err = net.ErrClosed
	p.once.Do(func() { c, err = p.conn, nil })
	if err != nil {
		<-p.done
	}
	return c, err
}
func (p *pipe) Close() error {
	select {
	case <-p.done:
	default:
		close(p.done)
	}
	return nil
}
func (p *pipe) Addr() net.Addr { return p.conn.LocalAddr() }

// smtp submits a message over port 587's dialogue and returns the last reply.
func (o *office) smtp(mailFrom string, to []string, text string) string {
	o.t.Helper()
	s := smtpserver.New(smtpserver.Options{Protocol: smtpserver.Submission, Hostname: "mx.ours.test", NewSession: o.submitter.NewSession,
		Extensions: submit.Extensions, HoldMax: submit.HoldMax, Auth: &sasl.Options{Backend: asAlice{o.user.Principal}}, InsecureAuth: true})
	ours, theirs := net.Pipe()
	l := &pipe{conn: theirs, done: make(chan struct{})}
	served := make(chan struct{})
	go func() { s.Serve(l); close(served) }()
	defer func() { s.Close(); ours.Close(); <-served }()
	r := bufio.NewReader(ours)
	reply := func() string {
		for {
			line, err := r.ReadString('\n')
			o.must(err)
			if line[3] != '-' {
				return strings.TrimSpace(line)
			}
		}
	}
	reply()
	say := func(line string) string {
		_, err := io.WriteString(ours, line+"\r\n")
		o.must(err)
		return reply()
	}
	say("EHLO laptop")
	say("AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00alice\x00x")))
	if got := say("MAIL FROM:" + mailFrom); got[0] != '2' {
		return got
	}
	for _, a := range to {
		if got := say("RCPT TO:<" + a + ">"); got[0] != '2' {
			return got
		}
	}
	say("DATA")
	return say(strings.ReplaceAll(text, "\n", "\r\n") + ".")
}

const programText = "From: alice@ours.test\nTo: x@far.test\nBcc: The Boss <boss@far.test>\nSubject: by a program\n\nhello\n"

// TestUndoOverSMTP: mail of a program waits as long as its account wants.
func TestUndoOverSMTP(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := newOffice(t, memkv.New(), memblob.New())
		defer o.close()
		defer o.run()()
		to := []string{"x@far.test", "boss@far.test", "bob@ours.test"}
		if got := o.smtp("<alice@ours.test>", to[:1], programText); !strings.HasPrefix(got, "250") {
			t.Fatal(got)
		}
		time.Sleep(time.Second)
		if o.sentTo() != "x@far.test" {
			t.Errorf("without a time to undo: sent %s", o.sentTo())
		}
		for _, d := range []time.Duration{-time.Second, time.Hour, 1500 * time.Millisecond} {
			if err := o.store.Outbox.SetUndo(t.Context(), o.user.ID, d); err != outbox.ErrUndo {
				t.Errorf("%v to undo: %v", d, err)
			}
		}
		o.must(o.store.Outbox.SetUndo(t.Context(), o.user.ID, 10*time.Second))
		o.sent = nil
		if got := o.smtp("<alice@ours.test>", to, programText); !strings.HasPrefix(got, "250") {
			t.Fatal(got)
		}
		ids, _ := o.listed("Scheduled")
		if len(ids) != 1 || o.sentTo() != "" {
			t.Fatalf("waiting: %v, sent %s", ids, o.sentTo())
		}
		if text := o.text(ids[0]); !strings.Contains(text, "Bcc: The Boss <boss@far.test>, bob@ours.test\r\n") || strings.Contains(text, "Received:") || !strings.Contains(text, "Message-ID:") {
			t.Errorf("waiting: %q", text)
		}
		list := o.call("EmailSubmission/get", `{"accountId":"$account","ids":null}`)["list"].([]any)
		s := list[0].(map[string]any)
		if len(list) != 1 || s["emailId"] != ids[0] || s["undoStatus"] != "pending" || s["identityId"] != nil {
			t.Errorf("submissions %v", list)
		}
		time.Sleep(5 * time.Second)
		o.must(o.move("Scheduled", "Drafts"))
		time.Sleep(time.Minute)
		if in := o.where(ids[0]); in != `Drafts(\Seen \Draft)` || o.sentTo() != "" {
			t.Errorf("reopened it is in %s, sent %s", in, o.sentTo())
		}
		if got := o.smtp("<alice@ours.test> HOLDFOR=60", to, programText); !strings.HasPrefix(got, "250") {
			t.Fatal(got)
		}
		ids, _ = o.listed("Scheduled")
		time.Sleep(2 * time.Minute)
		if in := o.where(ids[0]); in != `Sent(\Seen)` || o.sentTo() != "boss@far.test x@far.test" {
			t.Errorf("after its time it is in %s, sent %s", in, o.sentTo())
		}
		if strings.Contains(o.contents[1], "Bcc") {
			t.Errorf("sent with blind copies: %s", o.contents[1])
		}
	})
}

// mortalEngine dies at its n-th commit: before it is done, or after it, unheard.
type mortalEngine struct {
	kv.Engine
	mu    sync.Mutex
	left  int
	after bool
	dead  bool
}

func (e *mortalEngine) Commit(ctx context.Context, b ...kv.Batch) ([]kv.Result, error) {
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

// TestKillWhereQueueAndMailboxMeet: a crash at any commit leaves the message in Scheduled
// exactly while its mail waits, and of recall and release one is done.
func TestKillWhereQueueAndMailboxMeet(t *testing.T) {
	for _, recall := range []bool{false, true} {
		for n := 1; ; n++ {
			died := 0
			for _, after := range []bool{false, true} {
				bubble(t, func(t *testing.T) {
					if killAt(t, n, after, recall) {
						died++
					}
				})
			}
			if died == 0 {
				if n < 3 {
					t.Errorf("only %d commits", n-1)
				}
				break
			}
		}
	}
}

func killAt(t *testing.T, n int, after, recall bool) (died bool) {
	engine, bodies := memkv.New(), memblob.New()
	first := newOffice(t, engine, bodies)
	first.must(first.store.Outbox.SetUndo(t.Context(), first.user.ID, 10*time.Second))
	first.identity()
	first.close()
	dying := &mortalEngine{Engine: engine, left: -1, after: after}
	w := newOffice(t, dying, bodies)
	dying.mu.Lock()
	dying.left = n
	dying.mu.Unlock()
	stop := w.run()
	got := w.smtp("<alice@ours.test>", []string{"x@far.test", "bob@ours.test"}, programText)
	if recall {
		time.Sleep(5 * time.Second)
		w.move("Scheduled", "Trash") // may fail: it is dead
	}
	time.Sleep(15 * time.Second)
	stop()
	w.close()
	second := newOffice(t, engine, bodies)
	defer second.close()
	waiting, _ := second.listed("Scheduled")
	items, _, err := second.store.Queue.List(t.Context(), queue.Filter{State: queue.StateTimed}, "", 0)
	second.must(err)
	held, _, err := second.store.Queue.List(t.Context(), queue.Filter{Hop: "hold"}, "", 0)
	second.must(err)
	if len(waiting) != len(held) {
		t.Errorf("kill at commit %d (after: %v, recall: %v): %d in Scheduled, %d held (%d timed)", n, after, recall, len(waiting), len(held), len(items))
	}
	stop = second.run()
	time.Sleep(time.Hour)
	stop()
	trash, _ := second.listed("Trash")
	sent, _ := second.listed("Sent")
	waiting, _ = second.listed("Scheduled")
	times := len(w.sent) + len(second.sent)
	accepted := strings.HasPrefix(got, "250")
	if len(waiting) != 0 || len(trash)+len(sent) > 1 || accepted && len(trash)+len(sent) != 1 {
		t.Errorf("kill at commit %d (after: %v, recall: %v): Scheduled %v, Trash %v, Sent %v", n, after, recall, waiting, trash, sent)
	}
	if len(sent) == 0 && times > 0 || len(sent) == 1 && times == 0 || times > 2 || times == 2 && !dying.dead {
		t.Errorf("kill at commit %d (after: %v, recall: %v): in Sent %d, went out %d times", n, after, recall, len(sent), times)
	}
	return dying.dead
}

// TestRaces: recall and release at the same moment have one winner.
func TestRaces(t *testing.T) {
	outcomes := map[bool]int{}
	for i := range 30 {
		bubble(t, func(t *testing.T) {
			o := newOffice(t, memkv.New(), memblob.New())
			defer o.close()
			defer o.run()()
			email := o.append(imap.AttrDrafts, draftText)
			made := o.send(email, `"holdfor":"10"`, "x@far.test")
			o.must(o.expunge("Drafts"))
			time.Sleep(10*time.Second + time.Duration(i%3-1)*time.Millisecond)
			var wait sync.WaitGroup
			wait.Go(func() { o.move("Scheduled", "Trash") })
			wait.Wait()
			time.Sleep(time.Minute)
			in, s := o.where(email), o.submission(made["id"])
			went := o.sentTo() != ""
			outcomes[went]++
			if went != (s["undoStatus"] == "final") || went != strings.HasPrefix(in, "Sent") || !went && !strings.HasPrefix(in, "Trash") {
				t.Errorf("sent %q, %v, in %s", o.sentTo(), s["undoStatus"], in)
			}
		})
	}
	if outcomes[true] == 0 || outcomes[false] == 0 {
		t.Errorf("one side always won: %v", outcomes)
	}
}

// TestJMAPScripts are conversations of RFC 8621, 6 to 8.
func TestSendingScripts(t *testing.T) {
	o := newOffice(t, memkv.New(), memblob.New())
	defer o.close()
	r := jmaptest.Runner{Methods: o.methods, User: o.user,
		Vars: map[string]any{"account": string(access.FormatID('A', o.user.ID))},
		Do: map[string]func(t *testing.T, args string) map[string]any{
			"draft": func(t *testing.T, args string) map[string]any {
				name, text, _ := strings.Cut(args, " ")
				return map[string]any{name: o.append(imap.AttrDrafts, strings.ReplaceAll(text, `\n`, "\n"))}
			},
		},
	}
	r.Files(t, "testdata/sending/*.jmap")
}
