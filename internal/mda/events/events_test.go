package events

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postroad/address"
	"postroad/imap"
	"postroad/internal/blob"
	"postroad/internal/blob/memblob"
	"postroad/internal/kv/hlc"
	"postroad/internal/kv/memkv"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/mda/rules"
	"postroad/internal/scripts"
	"postroad/sieve"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// house is an account with scripts.
type house struct {
	*testing.T
	mail    *mailstore.Account
	bodies  *blob.Bodies
	scripts *scripts.Store
	events  *Events
	log     bytes.Buffer

	sent   []string // return path>recipients subject
	refuse error    // what submitting comes to
}

// Submit implements mailflow.Submitter.
func (h *house) Submit(ctx context.Context, m *mailflow.Mail, _ mailflow.SubmitOptions) ([]mailflow.Status, error) {
	if h.refuse != nil {
		return nil, h.refuse
	}
	var to []string
	for _, r := range m.Recipients {
		to = append(to, r.Address.String())
	}
	h.sent = append(h.sent, fmt.Sprintf("%s>%s %s", m.ReturnPath, strings.Join(to, ","), m.Message.Subject))
	return make([]mailflow.Status, len(m.Recipients)), nil
}

// Status implements mailflow.Submitter.
func (*house) Status(context.Context, mailflow.ID) ([]mailflow.Status, error) {
	return nil, mailflow.ErrNoMail
}

// Cancel implements mailflow.Submitter.
func (*house) Cancel(context.Context, mailflow.ID) (int, error) { return 0, mailflow.ErrNoMail }

func (h *house) must(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

func newHouse(t *testing.T) *house {
	h := &house{T: t}
	engine, clock := memkv.New(), hlc.NewClock(1)
	t.Cleanup(func() { clock.Close(); engine.Close() })
	h.bodies = blob.NewBodies(engine, memblob.New(), clock)
	committer := &mailflow.Committer{Engine: engine, Bodies: h.bodies}
	store := mailstore.New(mailstore.Options{Committer: committer, Clock: clock})
	id := clock.Next()
	h.must(store.Create(t.Context(), id, mailstore.Quota{}))
	var err error
	h.mail, err = store.Account(t.Context(), id)
	h.must(err)
	owner := func(context.Context, mailstore.AccountID) (sieve.Owner, error) {
		return sieve.Owner{Addresses: []address.Address{{Local: "alice", Domain: "ours.test"}}}, nil
	}
	h.scripts = scripts.New(scripts.Options{Committer: committer, Clock: clock,
		Compile:      func([]byte) (string, error) { return "", nil }, // also what is faulty
		Organisation: func(context.Context, scripts.AccountID) (string, error) { return "acme", nil }})
	h.events = New(Options{Scripts: h.scripts, Rules: rules.New(rules.Options{Scripts: h.scripts, Owner: owner}), Submitter: h,
		Bodies: h.bodies, Committer: committer, Owner: owner, Host: "mail.ours.test", Log: slog.New(slog.NewTextHandler(&h.log, nil))})
	return h
}

// box finds a mailbox.
func (h *house) box(name string) *mailstore.Mailbox {
	h.Helper()
	t, err := h.mail.Tree(h.Context())
	h.must(err)
	m := t.Name(name)
	if m == nil {
		h.Fatalf("no mailbox %s", name)
	}
	return m
}

// names sets the script of a mailbox, "": of the account.
func (h *house) names(mailbox, script string) {
	h.Helper()
	var id mailstore.MailboxID
	if mailbox != "" {
		id = h.box(mailbox).ID
	}
	h.must(h.mail.Annotate(h.Context(), id, h.mail.ID(), []mailstore.Annotation{{Name: Entry, Value: []byte(script)}}))
}

func (h *house) put(name, script string) {
	h.Helper()
	_, err := h.scripts.Put(h.Context(), scripts.OfAccount(h.mail.ID()), name, []byte(script))
	h.must(err)
}

// append puts a message into INBOX and tells of it.
func (h *house) append(flags ...string) uint32 {
	h.Helper()
	body, m, err := mailflow.Arrive(h.Context(), h.bodies, nil, strings.NewReader("From: ann@else.test\r\nSubject: hello\r\nMessage-ID: <1@else.test>\r\n\r\nbody\r\n"), mailflow.ContentLimits{Size: 1000})
	h.must(err)
	in := &mailstore.Incoming{Body: body, Message: m, InternalDate: time.Now()}
	in.Flags, in.Keywords = rules.Flags(flags)
	done, err := h.mail.Append(h.Context(), h.box("INBOX").ID, in)
	h.must(err)
	h.watch(Append).Happened(h.Context(), one(done[0].UID))
	return done[0].UID
}

func (h *house) watch(cause string) *Watch {
	return h.events.Watch(h.Context(), h.mail, h.box("INBOX").ID, cause, Actor{"bob", "bob@ours.test"})
}

// flag changes flags of a message and tells of it.
func (h *house) flag(uid uint32, mode mailstore.StoreMode, flags ...string) {
	h.Helper()
	w := h.watch(Flag)
	c := mailstore.FlagChange{Mode: mode}
	c.Flags, c.Keywords = rules.Flags(flags)
	stored, err := h.mail.StoreFlags(h.Context(), h.box("INBOX").ID, one(uid), c)
	h.must(err)
	w.Happened(h.Context(), stored.Changed)
}

// stored tells all messages: mailbox:subject and flags.
func (h *house) stored() string {
	h.Helper()
	t, err := h.mail.Tree(h.Context())
	h.must(err)
	var all []string
	for _, box := range t.All() {
		v, err := h.mail.View(h.Context(), box.ID)
		h.must(err)
		s, err := v.Snapshot(h.Context())
		h.must(err)
		for r, err := range s.Records(h.Context(), imap.UIDSet{{First: 1, Last: ^uint32(0)}}, mailstore.WantEnvelope) {
			h.must(err)
			flags := flagsOf(&r.Row, s)
			slices.Sort(flags)
			all = append(all, strings.TrimSpace(box.Name+":"+string(r.Subject)+" "+strings.Join(flags, " ")))
		}
		v.Close()
	}
	return strings.Join(all, ", ")
}

// complaint is the message to the owner of a faulty script.
const complaint = "INBOX:Your mail rules (script) have an error"

func TestActions(t *testing.T) {
	const env = `require ["environment", "imapsieve", "variables", "imap4flags"]; `
	for _, c := range []struct {
		name, script string
		flag         bool // and then \Flagged is set
		stored, sent string
		log          string
	}{
		{name: "keep", script: `keep;`, stored: "INBOX:hello"},
		{name: "nothing", script: `# nothing`, stored: "INBOX:hello"},
		{name: "discard", script: `discard;`, stored: `INBOX:hello \Deleted`},
		{name: "fileinto", script: `require "fileinto"; fileinto "Archive";`, stored: `INBOX:hello \Deleted, Archive:hello`},
		{name: "fileinto and copy", script: `require ["fileinto","copy"]; fileinto :copy "Archive";`, stored: "INBOX:hello, Archive:hello"},
		{name: "fileinto with flags", script: `require ["fileinto","copy","imap4flags"]; fileinto :copy :flags "$Work" "Archive";`, stored: "INBOX:hello, Archive:hello $Work"},
		{name: "fileinto and make", script: `require ["fileinto","copy","mailbox"]; fileinto :copy :create "New";`, stored: "INBOX:hello, New:hello"},
		{name: "fileinto nowhere", script: `require "fileinto"; fileinto "Nowhere";`, stored: "INBOX:hello, " + complaint, log: "no such mailbox"},
		{name: "fileinto itself", script: `require "fileinto"; fileinto "INBOX"; `, stored: `INBOX:hello \Deleted, INBOX:hello`},
		{name: "edited", script: `require ["fileinto","copy","editheader"]; addheader "Subject" "new"; deleteheader :index 2 "Subject"; fileinto :copy "Archive";`,
			stored: "INBOX:hello, Archive:new"},
		{name: "redirect", script: `redirect "far@else.test";`, stored: `INBOX:hello \Deleted`, sent: "alice@ours.test>far@else.test hello"},
		{name: "redirect and copy", script: `require "copy"; redirect :copy "far@else.test";`, stored: "INBOX:hello", sent: "alice@ours.test>far@else.test hello"},
		{name: "notify", script: `require "enotify"; notify "mailto:far@else.test";`, stored: "INBOX:hello", sent: "alice@ours.test>far@else.test hello"},
		{name: "reject", script: `require "reject"; reject "no";`, stored: "INBOX:hello, " + complaint, log: "reject"},
		{name: "vacation", script: `require "vacation"; vacation "away";`, stored: "INBOX:hello, " + complaint, log: "vacation"},
		{name: "envelope", script: `require "envelope"; if envelope "from" "x" { discard; }`, stored: "INBOX:hello, " + complaint, log: "envelope"},
		{name: "does not compile", script: `nonsense;`, stored: "INBOX:hello, " + complaint, log: "nonsense"},
		{name: "flags", script: `require "imap4flags"; setflag ["\\Seen", "$Done"];`, stored: `INBOX:hello $Done \Seen`},
		{name: "environment", script: env + `if environment :matches "imap.user" "*" { set "u" "${1}"; } if environment :matches "imap.email" "*" { set "e" "${1}"; }
			if environment :matches "imap.mailbox" "*" { set "m" "${1}"; } if environment :matches "location" "*" { set "l" "${1}"; } if environment :matches "phase" "*" { set "p" "${1}"; }
			if environment "imap.cause" "APPEND" { addflag "${u}/${e}/${m}/${l}/${p}"; }`, stored: "INBOX:hello bob/bob@ours.test/INBOX/MS/post"},
		{name: "a flag set in a new message is a change of it", script: env + `if environment "imap.cause" "APPEND" { addflag "$New"; }
			elsif environment :matches "imap.changedflags" "*" { addflag "changed-${1}"; }`, stored: "INBOX:hello $New changed-$New"},
		{name: "no loop", script: `require ["imap4flags"]; if hasflag "$a" { removeflag "$a"; addflag "$b"; } else { removeflag "$b"; addflag "$a"; }`, stored: "INBOX:hello $b"},
		{name: "changed flags", flag: true, script: env + `if allof(environment "imap.cause" "FLAG", environment "imap.changedflags" "\\Flagged", hasflag "\\Flagged") { addflag "$Hit"; }`,
			stored: `INBOX:hello $Hit \Flagged`},
		{name: "discard on a flag", flag: true, script: env + `if environment "imap.cause" "FLAG" { discard; }`, stored: `INBOX:hello \Deleted \Flagged`},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t)
			h.put("script", c.script)
			h.names("INBOX", "script")
			uid := h.append()
			if c.flag {
				h.flag(uid, mailstore.FlagsAdd, `\Flagged`)
			}
			if got := h.stored(); got != c.stored {
				t.Errorf("stored %q, want %q", got, c.stored)
			}
			if got := strings.Join(h.sent, ", "); got != c.sent {
				t.Errorf("sent %q, want %q", got, c.sent)
			}
			if got := h.log.String(); !strings.Contains(got, c.log) || c.log == "" && got != "" {
				t.Errorf("log %q, want %q", got, c.log)
			}
		})
	}
}

// Which script runs: the mailbox's entry, also when it is of no use, else the account's
// (RFC 6785, 2.3.1).
func TestWhichScript(t *testing.T) {
	const none = "\x00"
	for _, c := range []struct{ name, mailbox, server, want string }{
		{"none", none, none, "INBOX:hello"},
		{"the mailbox's", "one", "two", "INBOX:hello one"},
		{"the account's", none, "two", "INBOX:hello two"},
		{"an empty entry counts", "", "two", "INBOX:hello"},
		{"a missing script counts", "gone", "two", "INBOX:hello"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t)
			for _, s := range []string{"one", "two"} {
				h.put(s, `require "imap4flags"; addflag "`+s+`";`)
			}
			if c.mailbox != none {
				h.names("INBOX", c.mailbox)
			}
			if c.server != none {
				h.names("", c.server)
			}
			h.append()
			if got := h.stored(); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// Only flags that have changed are an event, and what cannot be sent leaves the message.
func TestFlagsAndFailures(t *testing.T) {
	h := newHouse(t)
	h.put("script", `require ["copy","environment","imapsieve"]; if environment "imap.cause" "FLAG" { redirect "far@else.test"; }`)
	h.names("INBOX", "script")
	uid := h.append(`\Flagged`)
	h.flag(uid, mailstore.FlagsAdd, `\Flagged`)
	if len(h.sent) != 0 {
		t.Errorf("nothing changed, and %q was sent", h.sent)
	}
	h.refuse = io.ErrUnexpectedEOF
	h.flag(uid, mailstore.FlagsRemove, `\Flagged`)
	if got := h.stored(); got != "INBOX:hello" || !strings.Contains(h.log.String(), "unexpected EOF") {
		t.Errorf("%q, log %s", got, h.log.String())
	}
	h.refuse = nil
	h.flag(uid, mailstore.FlagsReplace, "$x")
	if got := h.stored(); got != `INBOX:hello $x \Deleted` || len(h.sent) != 1 {
		t.Errorf("%q, sent %q", got, h.sent)
	}
	// A message that is expunged meanwhile is no fault.
	h.log.Reset()
	w := h.watch(Flag)
	if _, err := h.mail.Expunge(t.Context(), w.mailbox, one(uid), true); err != nil {
		t.Fatal(err)
	}
	w.Happened(t.Context(), one(uid))
	if h.log.Len() > 0 {
		t.Error(h.log.String())
	}
}

// TestFaultsAreTold: whoever wrote a script that goes wrong finds a message about it in his
// INBOX, once a fault and version, whether it went wrong by itself or in what it asked for.
func TestFaultsAreTold(t *testing.T) {
	for _, c := range []struct{ name, script, says string }{
		{"does not compile", `require "imapsieve"; keap;`, "keap"},
		{"goes wrong", `require ["fileinto","variables","imap4flags"]; set "a" "\r\n"; redirect "${a}nobody";`, "is no mail address"},
		{"no such mailbox", `require "fileinto"; fileinto "Nowhere";`, "Nowhere"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t)
			h.put("script", c.script)
			h.names("INBOX", "script")
			h.append()
			h.append() // the same fault
			if got := h.stored(); got != "INBOX:hello, "+complaint+", INBOX:hello" {
				t.Errorf("%q, log %s", got, h.log.String())
			}
			v, err := h.mail.View(t.Context(), h.box("INBOX").ID)
			h.must(err)
			defer v.Close()
			s, err := v.Snapshot(t.Context())
			h.must(err)
			r, err := s.Record(t.Context(), 2, mailstore.WantStructure)
			h.must(err)
			reader, err := h.mail.Open(t.Context(), r.Body)
			h.must(err)
			defer reader.Close()
			text, err := io.ReadAll(io.NewSectionReader(reader, 0, reader.Size()))
			h.must(err)
			for _, want := range []string{"To: alice@ours.test", "Auto-Submitted: auto-generated", "lies in your mailbox", "Subject: hello", c.says} {
				if !strings.Contains(string(text), want) {
					t.Errorf("no %q in\n%s", want, text)
				}
			}
			h.put("script", c.script+" ")
			h.append()
			if got := h.stored(); strings.Count(got, complaint) != 2 {
				t.Errorf("a new version, and he is told so often: %q", got)
			}
		})
	}
}

// What a script marks is remembered.
func TestEventsRemember(t *testing.T) {
	h := newHouse(t)
	h.put("script", `require ["duplicate","enotify"]; if not duplicate { notify "mailto:far@else.test"; }`)
	h.names("INBOX", "script")
	h.append()
	h.append()
	if len(h.sent) != 1 {
		t.Errorf("sent %q", h.sent)
	}
}

// A nil Events is one without scripts.
func TestNoEvents(t *testing.T) {
	h := newHouse(t)
	var none *Events
	none.Watch(t.Context(), h.mail, h.box("INBOX").ID, Append, Actor{}).Happened(t.Context(), one(1))
}

func TestDifference(t *testing.T) {
	for _, c := range []struct{ a, b, want string }{
		{"", "", ""}, {"x", "x", ""}, {"x", "X", ""}, {"x", "", "x"}, {"", "x", "x"}, {"a x", "x b", "a b"},
	} {
		if got := strings.Join(difference(strings.Fields(c.a), strings.Fields(c.b)), " "); got != c.want {
			t.Errorf("%q %q: %q, want %q", c.a, c.b, got, c.want)
		}
	}
}
