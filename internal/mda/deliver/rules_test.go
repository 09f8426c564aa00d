package deliver

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"postroad/imap"
	"postroad/internal/directory"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/mda/rules"
	"postroad/internal/scripts"
	"postroad/message"
	"postroad/sieve"
)

// ruled is a house whose accounts have rules.
type ruled struct {
	*house
	scripts *scripts.Store
	options Options
}

func newRuled(t *testing.T) *ruled {
	h := &ruled{house: newHouse(t)}
	h.scripts = scripts.New(scripts.Options{Committer: h.commit, Clock: h.clock,
		Compile: func(source []byte) (string, error) {
			if _, errs := sieve.Compile(source, sieve.Options{}); errs != nil {
				return "", errs
			}
			return "", nil
		},
		Organisation: func(context.Context, mailflow.AccountID) (string, error) { return directory.DefaultOrg, nil },
	})
	runner := rules.New(rules.Options{Scripts: h.scripts,
		Owner: func(ctx context.Context, id mailstore.AccountID) (sieve.Owner, error) {
			a, err := h.dir.Account(ctx, id)
			return sieve.Owner{Addresses: a.Addresses, Name: a.Name}, err
		}})
	h.options = Options{Rules: runner, Bodies: h.commit.Bodies, Host: "mx.ours.test"}
	return h
}

// script gives an account an active script.
func (h *ruled) script(user, text string) {
	h.Helper()
	owner := scripts.OfAccount(h.ids[user])
	_, err := h.scripts.Put(h.Context(), owner, "main", []byte(text))
	h.must(err)
	h.must(h.scripts.Activate(h.Context(), h.ids[user], "main"))
}

// around gives everybody a script that runs before or behind.
func (h *ruled) around(name, text string, at scripts.Position) {
	h.Helper()
	_, err := h.scripts.Put(h.Context(), scripts.OfEverybody(), name, []byte(text))
	h.must(err)
	h.must(h.scripts.Place(h.Context(), scripts.OfEverybody(), name, at, 0))
}

// text stages a message of one's own, to alice.
func (h *ruled) text(header string) *mailflow.Mail {
	h.Helper()
	m := h.mail("alice@ours.test")
	text := strings.ReplaceAll(header, "\n", "\r\n") + "\r\nbody\r\n"
	body, err := h.commit.Bodies.Stage(h.Context(), strings.NewReader(text), 1<<20)
	h.must(err)
	parsed, err := message.Parse(strings.NewReader(text), message.Limits{})
	h.must(err)
	m.Body, m.Message = body, parsed
	return m
}

const hello = "From: ann@else.test\nTo: alice@ours.test\nSubject: hello\nMessage-ID: <1@else.test>\n"

// stored lists all messages of an account: mailbox, flags, subject.
func (h *ruled) stored(user string) string {
	h.Helper()
	a, err := h.store.Account(h.Context(), h.ids[user])
	h.must(err)
	t, err := a.Tree(h.Context())
	h.must(err)
	var all []string
	for _, m := range t.All() {
		v, err := a.View(h.Context(), m.ID)
		h.must(err)
		s, err := v.Snapshot(h.Context())
		h.must(err)
		for r, err := range s.Records(h.Context(), imap.UIDSet{{First: 1, Last: 1000}}, mailstore.WantEnvelope) {
			h.must(err)
			flags := strings.Trim(string(r.Flags.Append(nil, s.Keywords())), "()")
			all = append(all, strings.TrimSpace(fmt.Sprintf("%s:%s %s", m.Name, r.Subject, flags)))
		}
		v.Close()
	}
	return strings.Join(all, ", ")
}

func TestRules(t *testing.T) {
	const delivered = "delivered 250 2.1.5"
	for _, c := range []struct {
		name, script string
		before       string // everybody's
		after        string
		status       string // delivered, if empty
		onward       string
		stored       string
	}{
		{name: "keep", script: `keep;`, stored: "INBOX:hello"},
		{name: "discard", script: `discard;`},
		{name: "fileinto", script: `require "fileinto"; fileinto "Lists";`, stored: "Lists:hello"},
		{name: "fileinto nowhere", script: `require "fileinto"; fileinto "Nowhere";`, stored: "INBOX:hello"},
		{name: "fileinto and make", script: `require ["fileinto","mailbox"]; fileinto :create "New/Box";`, stored: "New/Box:hello"},
		{name: "copy", script: `require ["fileinto","copy"]; fileinto :copy "Lists";`, stored: "INBOX:hello, Lists:hello"},
		{name: "flags", script: `require ["imap4flags","fileinto"]; fileinto :flags ["\\Seen","$Work"] "Lists"; keep;`,
			stored: "INBOX:hello, Lists:hello \\Seen $Work"},
		{name: "special use", script: `require ["fileinto","special-use"]; fileinto :specialuse "\\Archive" "x";`, stored: "Archive:hello"},
		{name: "twice into one", script: `require "fileinto"; fileinto "Lists"; fileinto "Lists";`, stored: "Lists:hello"},
		{name: "redirect", script: `redirect "far@else.test";`, onward: "ann@else.test>far@else.test   env"},
		{name: "reject", script: `require "reject"; reject "not you";`, status: "failed 550 5.7.1"},
		{name: "vacation", script: `require "vacation"; vacation "away";`, onward: ">ann@else.test NEVER  ", stored: "INBOX:hello"},
		{name: "vacation with a copy of it", script: `require ["vacation","fcc"]; vacation :fcc "Sent" "away";`,
			onward: ">ann@else.test NEVER  ", stored: "INBOX:hello, Sent:Auto: hello"},
		{name: "notify", script: `require "enotify"; notify "mailto:far@else.test"; discard;`, onward: "alice@ours.test>far@else.test NEVER  "},
		{name: "edited", script: `require ["editheader","fileinto","copy"]; addheader "Subject" "new"; deleteheader :index 2 "Subject"; keep;`, stored: "INBOX:new"},
		{name: "fault", script: `require ["variables","fileinto"]; set "n" ""; fileinto "${n}";`,
			stored: "INBOX:hello, INBOX:Your mail rules (main) have an error"},
		{name: "before and own", before: `require "imap4flags"; addflag "$Site"; keep;`, script: `require "fileinto"; fileinto "Lists";`, stored: "Lists:hello"},
		{name: "flags from before", before: `require "imap4flags"; addflag "$Site";`, script: `keep;`, stored: "INBOX:hello $Site"},
		{name: "before has the last word", before: `discard;`, script: `keep;`},
		{name: "behind", script: `if header :is "subject" "other" { discard; }`, after: `require "fileinto"; fileinto "Archive";`, stored: "Archive:hello"},
		{name: "not behind what is filed", script: `require "fileinto"; fileinto "Lists";`, after: `require "fileinto"; fileinto "Archive";`, stored: "Lists:hello"},
		{name: "edited before", before: `require "editheader"; addheader "X-Site" "yes";`,
			script: `require "fileinto"; if header "x-site" "yes" { fileinto "Lists"; }`, stored: "Lists:hello"},
		{name: "reject behind a redirect", before: `require "copy"; redirect :copy "far@else.test";`, script: `require "reject"; reject "no";`,
			onward: "ann@else.test>far@else.test   env", stored: "INBOX:hello, INBOX:Your mail rules (main) have an error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newRuled(t)
			if c.before != "" {
				h.around("site", c.before, scripts.Before)
			}
			if c.after != "" {
				h.around("late", c.after, scripts.After)
			}
			if c.script != "" {
				h.script("alice", c.script)
			}
			statuses, onward := h.deliver(h.options, h.text(hello))
			if c.status == "" {
				c.status = delivered
			}
			if got := strings.Join(statuses, ","); got != c.status {
				t.Errorf("status %q, want %q", got, c.status)
			}
			if got := strings.Join(onward, ","); got != c.onward {
				t.Errorf("onward %q, want %q", got, c.onward)
			}
			if got := h.stored("alice"); got != c.stored {
				t.Errorf("stored %q, want %q", got, c.stored)
			}
			h.counts() // checks the store
		})
	}
}

// What must happen once happens once: answers, notices of duplicates, redirected mail.
func TestRulesRemember(t *testing.T) {
	for _, c := range []struct{ name, script, first, second, stored string }{
		{"vacation", `require "vacation"; vacation "away"; discard;`, ">ann@else.test NEVER  ", "", ""},
		{"redirect", `redirect "far@else.test";`, "ann@else.test>far@else.test   env", "", "INBOX:hello"},
		{"redirect and file", `require "fileinto"; redirect "far@else.test"; fileinto "Lists";`, "ann@else.test>far@else.test   env", "", "Lists:hello, Lists:hello"},
		{"duplicate", `require ["duplicate","enotify"]; if not duplicate { notify "mailto:far@else.test"; }`, "alice@ours.test>far@else.test NEVER  ", "", "INBOX:hello, INBOX:hello"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newRuled(t)
			h.script("alice", c.script)
			for i, want := range []string{c.first, c.second} {
				if _, onward := h.deliver(h.options, h.text(hello)); strings.Join(onward, ",") != want {
					t.Errorf("message %d: onward %q, want %q", i, onward, want)
				}
			}
			if got := h.stored("alice"); got != c.stored {
				t.Errorf("stored %q, want %q", got, c.stored)
			}
		})
	}
}

// Of many messages that arrive at once only one is answered.
func TestRulesAtOnce(t *testing.T) {
	h := newRuled(t)
	h.script("alice", `require "vacation"; vacation "away";`)
	d := h.options
	d.Directory, d.Store = h.dir, h.store
	deliverer := New(d)
	var wg sync.WaitGroup
	var mu sync.Mutex
	answers := 0
	for range 20 {
		m := h.text(hello)
		wg.Go(func() {
			sent := 0
			err := h.commit.Commit(h.Context(), func(ctx context.Context, u *mailflow.Unit) error {
				deliverer.Prepare(ctx, m, []int{0}, u)
				sent = len(u.TakeOnward())
				return nil
			})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			answers += sent
		})
	}
	wg.Wait()
	if answers != 1 {
		t.Errorf("%d answers to 20 messages of one sender", answers)
	}
	if got := h.counts(); got != "alice/INBOX=20 full/INBOX=1" {
		t.Error(got)
	}
}

// A full mailbox takes nothing: neither a part of the copies nor an answer.
func TestRulesFull(t *testing.T) {
	h := newRuled(t)
	h.script("full", `require ["vacation","fileinto","copy"]; vacation "away"; fileinto :copy "Archive";`)
	m := h.text(hello)
	m.Recipients[0].Address = addr("full@ours.test")
	statuses, onward := h.deliver(h.options, m)
	if len(onward) != 0 || statuses[0] != "delayed 452 4.2.2" {
		t.Errorf("%q, onward %q", statuses, onward)
	}
}

// An owner is told of a fault once, and again of another one.
func TestRulesFaultTold(t *testing.T) {
	h := newRuled(t)
	h.script("alice", "require [\"variables\",\"fileinto\"];\nset \"n\" \"\";\nfileinto \"${n}\";")
	for range 3 {
		h.deliver(h.options, h.text(hello))
	}
	if got := strings.Count(h.stored("alice"), "have an error"); got != 1 {
		t.Errorf("told %d times: %s", got, h.stored("alice"))
	}
}

// The body that a rule reads is the message's, and an edited one is what is stored.
func TestRulesBody(t *testing.T) {
	h := newRuled(t)
	h.script("alice", `require ["body","editheader"]; if body :contains "body" { addheader "X-Seen" "yes"; }`)
	h.deliver(h.options, h.text(hello))
	a, err := h.store.Account(h.Context(), h.ids["alice"])
	h.must(err)
	inbox, err := a.Inbox(h.Context())
	h.must(err)
	v, err := a.View(h.Context(), inbox)
	h.must(err)
	defer v.Close()
	s, err := v.Snapshot(h.Context())
	h.must(err)
	for r, err := range s.Records(h.Context(), imap.UIDSet{{First: 1, Last: 1}}, mailstore.WantStructure) {
		h.must(err)
		body, err := a.Open(h.Context(), r.Body)
		h.must(err)
		text, err := io.ReadAll(io.NewSectionReader(body, 0, body.Size()))
		h.must(err)
		body.Close()
		if !strings.HasPrefix(string(text), "X-Seen: yes\r\n") || !strings.HasSuffix(string(text), "\r\n\r\nbody\r\n") {
			t.Errorf("%q", text)
		}
	}
}

// Memories are forgotten when they are over.
func TestMemoryForgets(t *testing.T) {
	h := newRuled(t)
	a, err := h.store.Account(h.Context(), h.ids["alice"])
	h.must(err)
	now := time.Now()
	remember := func(k string, at time.Time) error {
		return h.commit.Commit(h.Context(), func(ctx context.Context, u *mailflow.Unit) error {
			return a.PrepareRemember(ctx, u, at, map[string]time.Time{k: at.Add(time.Hour)}, map[string]bool{k: true})
		})
	}
	h.must(remember("a", now))
	h.must(remember("a", now.Add(30*time.Minute)))
	for _, c := range []struct {
		after time.Duration
		want  bool
	}{{time.Minute, true}, {80 * time.Minute, true}, {91 * time.Minute, false}} {
		if got, err := a.Remembers(h.Context(), "a", now.Add(c.after)); err != nil || got != c.want {
			t.Errorf("after %v: %v, %v", c.after, got, err)
		}
	}
	h.must(remember("b", now.Add(2*time.Hour)))
	if got, err := a.Remembers(h.Context(), "a", now); err != nil || got {
		t.Errorf("what is over is still there: %v", err)
	}
}
