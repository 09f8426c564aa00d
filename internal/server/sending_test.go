package server

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"postroad/imap"
	"postroad/internal/blob/memblob"
	"postroad/internal/directory"
	"postroad/internal/kv"
	"postroad/internal/kv/memkv"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/mta/queue"
	"postroad/internal/mta/submit"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/outbox"
	"postroad/jmap/jmaptest"
	"postroad/sasl"
	"postroad/smtp"
	"postroad/smtp/smtpserver"
)

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
		o.mu.Lock()
		later = false
		o.mu.Unlock()
		time.Sleep(time.Hour)
		if got := told(o.submission(made["id"])); !strings.Contains(got, "y@far.test unknown/unknown 250 2.0.0 taken") {
			t.Errorf("told later %q", got)
		}
		if o.sentTo() != "x@far.test y@far.test" || strings.Contains(o.texts()[0], "Bcc") || !strings.Contains(o.texts()[0], "Subject: plans") {
			t.Errorf("sent %s: %q", o.sentTo(), o.texts())
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

// set changes what is in a mailbox as Email/set does: it goes to the one with a role, or
// away.
func (o *office) set(from string, role imap.MailboxAttr) error {
	ids, _ := o.listed(from)
	tree, err := o.alice.Tree(context.Background())
	if err != nil {
		return err
	}
	var changes []mailstore.EmailChange
	for _, id := range ids {
		of, err := mailstore.ParseEmailID(id)
		if err != nil {
			return err
		}
		c := mailstore.EmailChange{ID: of.Message, Destroy: role == "", SetMailboxes: role != ""}
		if m := tree.Role(role); m != nil {
			c.Mailboxes = []mailstore.MailboxID{m.ID}
		}
		changes = append(changes, c)
	}
	return errors.Join(o.alice.SetEmails(context.Background(), mailstore.Reader{ID: o.alice.ID()}, changes)...)
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
		{"moved to Drafts by Email/set", func(o *office, _ any) error { return o.set("Scheduled", imap.AttrDrafts) }, `Drafts(\Draft)`},
		{"moved to Trash by Email/set", func(o *office, _ any) error { return o.set("Scheduled", imap.AttrTrash) }, `Trash(\Draft)`},
		{"destroyed by Email/set", func(o *office, _ any) error { return o.set("Scheduled", "") }, ""},
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

// TestOldSubmissions: those of long ago are forgotten when new ones are made.
func TestOldSubmissions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := newOffice(t, memkv.New(), memblob.New())
		defer o.close()
		old := o.send(o.append(imap.AttrDrafts, draftText), "")
		time.Sleep(outbox.KeptFor - time.Hour)
		young := o.send(o.append(imap.AttrDrafts, draftText), "")
		if o.submission(old["id"]) == nil {
			t.Error("forgotten too soon")
		}
		time.Sleep(2 * time.Hour)
		o.send(o.append(imap.AttrDrafts, draftText), "")
		if o.submission(old["id"]) != nil || o.submission(young["id"]) == nil {
			t.Errorf("kept %v, %v", o.submission(old["id"]), o.submission(young["id"]))
		}
	})
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
		o.forget()
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
		if strings.Contains(o.texts()[1], "Bcc") {
			t.Errorf("sent with blind copies: %s", o.texts()[1])
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
