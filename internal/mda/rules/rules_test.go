package rules

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postroad/address"
	"postroad/internal/blob"
	"postroad/internal/blob/memblob"
	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
	"postroad/internal/kv/memkv"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/scripts"
	"postroad/message"
	"postroad/sieve"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// house is an account with scripts around it.
type house struct {
	*testing.T
	mail    *mailstore.Account
	scripts *scripts.Store
	runner  *Runner
	engine  *failing
	owner   error // what looking up the owner comes to
}

// failing is an engine whose snapshots can fail.
type failing struct {
	kv.Engine
	err error
}

func (f *failing) Snapshot(ctx context.Context, s kv.Space) (kv.Snapshot, error) {
	if f.err != nil {
		return nil, f.err
	}
	return f.Engine.Snapshot(ctx, s)
}

func (f *failing) Versions(ctx context.Context, s ...kv.Space) ([]kv.Version, error) {
	if f.err != nil {
		return nil, f.err
	}
	return f.Engine.Versions(ctx, s...)
}

func (h *house) must(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

func newHouse(t *testing.T) *house {
	h := &house{T: t, engine: &failing{Engine: memkv.New()}}
	clock := hlc.NewClock(1)
	t.Cleanup(func() { clock.Close(); h.engine.Close() })
	committer := &mailflow.Committer{Engine: h.engine, Bodies: blob.NewBodies(h.engine, memblob.New(), clock)}
	store := mailstore.New(mailstore.Options{Committer: committer, Clock: clock})
	id := clock.Next()
	h.must(store.Create(t.Context(), id, mailstore.Quota{}))
	var err error
	h.mail, err = store.Account(t.Context(), id)
	h.must(err)
	h.scripts = scripts.New(scripts.Options{Committer: committer, Clock: clock,
		Compile:      func([]byte) (string, error) { return "", nil }, // also what is faulty
		Organisation: func(context.Context, scripts.AccountID) (string, error) { return "acme", nil }})
	h.runner = New(Options{Scripts: h.scripts, Environment: map[string]string{"name": "postroad", "host": "mx"},
		Owner: func(context.Context, mailstore.AccountID) (sieve.Owner, error) {
			return sieve.Owner{Addresses: []address.Address{{Local: "alice", Domain: "ours.test"}}}, h.owner
		}})
	return h
}

const hello = "From: ann@else.test\r\nTo: alice@ours.test\r\nSubject: hello\r\nMessage-ID: <1@else.test>\r\n\r\nbody\r\n"

func (h *house) message() *Mail {
	h.Helper()
	m, err := message.Parse(strings.NewReader(hello), message.Limits{})
	h.must(err)
	return &Mail{Account: h.mail, Body: strings.NewReader(hello), Message: m, Now: time.Now(), Mailboxes: &Mailboxes{Account: h.mail, Annotations: Annotated},
		Envelope: sieve.Envelope{ReturnPath: address.Address{Local: "ann", Domain: "else.test"}, Recipient: address.Address{Local: "alice", Domain: "ours.test"}}}
}

// put stores a script: of "own", "org" or "all"; it runs at a position, or is active.
func (h *house) put(whose, name, text string, at scripts.Position, order int) {
	h.Helper()
	owner := map[string]scripts.Owner{"own": scripts.OfAccount(h.mail.ID()), "org": scripts.OfOrganisation("acme"), "all": scripts.OfEverybody()}[whose]
	_, err := h.scripts.Put(h.Context(), owner, name, []byte(text))
	h.must(err)
	if whose != "own" {
		h.must(h.scripts.Place(h.Context(), owner, name, at, order))
	}
}

// outcome is what came out, in short.
func outcome(o *Outcome) string {
	if o == nil {
		return "no rules"
	}
	var words []string
	for _, a := range o.Actions {
		switch a := a.(type) {
		case *sieve.Keep:
			words = append(words, strings.TrimSpace("keep "+strings.Join(a.Flags, " ")))
		case *sieve.FileInto:
			words = append(words, "fileinto "+a.Mailbox)
		default:
			words = append(words, strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", a), "*sieve.")))
		}
	}
	for i := range o.Failures {
		words = append(words, "FAILED "+o.Failures[i].Script.Name)
	}
	return strings.Join(words, ", ")
}

// Everybody's scripts, the organisation's, the owner's, and back (by order, then name).
func TestStackOrder(t *testing.T) {
	h := newHouse(t)
	run := func() string {
		t.Helper()
		o, err := h.runner.Run(t.Context(), h.message())
		h.must(err)
		return outcome(o)
	}
	if got := run(); got != "no rules" {
		t.Errorf("without scripts: %s", got)
	}
	flag := func(f string) string { return `require "imap4flags"; addflag "` + f + `";` }
	h.put("all", "z", flag("all-before-1"), scripts.Before, 1)
	h.put("all", "a", flag("all-before-2"), scripts.Before, 2)
	h.put("org", "o", flag("org-before"), scripts.Before, 1)
	h.put("org", "p", flag("org-after"), scripts.After, 1)
	h.put("all", "y", flag("all-after"), scripts.After, 1)
	h.put("all", "inc", flag("never"), scripts.OnInclude, 0)
	var order []string
	m := h.message()
	m.Trace = func(script string, _ sieve.Step) {
		if len(order) == 0 || order[len(order)-1] != script {
			order = append(order, script)
		}
	}
	_, err := h.runner.Run(t.Context(), m)
	h.must(err)
	if got := strings.Join(order, " "); got != "z a o p y" {
		t.Errorf("order %q", got)
	}
	if got := run(); got != "keep all-after" { // a script that sets flags says what they are
		t.Errorf("outcome %q", got)
	}
	h.put("own", "mine", `require "fileinto"; fileinto "Lists";`, 0, 0)
	h.must(h.scripts.Activate(t.Context(), h.mail.ID(), "mine"))
	if got := run(); got != "fileinto Lists" {
		t.Errorf("outcome %q", got)
	}
}

func TestRunThese(t *testing.T) {
	for _, c := range []struct {
		name  string
		stack []string
		want  string
	}{
		{"none", nil, ""},
		{"one that does not keep is the last", []string{`discard;`, `redirect "far@else.test";`}, "discard"},
		{"one that does not compile keeps", []string{`nonsense;`}, "keep, FAILED 0"},
		{"and the next runs", []string{`nonsense;`, `discard;`}, "discard, FAILED 0"},
		{"a fault keeps", []string{`require "fileinto"; require "variables"; set "n" ""; fileinto "${n}";`, `require "fileinto"; fileinto "x";`}, "fileinto x, FAILED 0"},
		{"flags stay", []string{`require "imap4flags"; addflag "a";`, `keep;`}, "keep a"},
		{"copies and keep", []string{`require ["copy","fileinto"]; fileinto :copy "x";`, `keep;`}, "fileinto x, keep"},
		{"reject behind a copy", []string{`require ["copy","fileinto"]; fileinto :copy "x";`, `require "reject"; reject "no";`}, "fileinto x, keep, FAILED 1"},
		{"environment", []string{`require "environment"; if allof(environment "remote-ip" "192.0.2.1", environment "name" "postroad") { discard; }`}, "discard"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t)
			m := h.message()
			m.Environment = map[string]string{"remote-ip": "192.0.2.1"}
			var stack []*scripts.Source
			for i, s := range c.stack {
				stack = append(stack, &scripts.Source{Name: fmt.Sprint(i), Text: []byte(s)})
			}
			o, err := h.runner.RunThese(t.Context(), m, stack...)
			h.must(err)
			if got := outcome(o); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
			if len(h.runner.cache.all) != 0 {
				t.Error("a script without a version was kept")
			}
		})
	}
}

func TestIncludes(t *testing.T) {
	for _, c := range []struct{ name, include, want string }{
		{"personal", `include :personal "mine";`, "fileinto own"},
		{"personal is what is meant", `include "mine";`, "fileinto own"},
		{"global: the organisation's first", `include :global "both";`, "fileinto org"},
		{"global: else everybody's", `include :global "site";`, "fileinto all"},
		{"not across", `include :personal "site";`, "keep, FAILED main"},
		{"missing", `include :personal "none";`, "keep, FAILED main"},
		{"missing and optional", `include :personal :optional "none"; discard;`, "discard"},
		{"no name at all", `include :personal :optional "a` + "\x01" + `b"; discard;`, "keep, FAILED main"},
		{"faulty", `include :personal "faulty";`, "keep, FAILED main"},
		{"itself", `include :personal "main";`, "keep, FAILED main"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t)
			into := func(box string) string { return `require "fileinto"; fileinto "` + box + `";` }
			h.put("own", "mine", into("own"), 0, 0)
			h.put("own", "faulty", "nonsense;", 0, 0)
			h.put("org", "both", into("org"), scripts.OnInclude, 0)
			h.put("all", "both", into("all"), scripts.OnInclude, 0)
			h.put("all", "site", into("all"), scripts.OnInclude, 0)
			h.put("own", "main", `require "include"; `+c.include, 0, 0)
			h.must(h.scripts.Activate(t.Context(), h.mail.ID(), "main"))
			o, err := h.runner.Run(t.Context(), h.message())
			h.must(err)
			if got := outcome(o); got != c.want {
				t.Errorf("%q, want %q (%v)", got, c.want, o.Failures)
			}
		})
	}
}

// Compiled scripts are kept, no more than the limit, and a new version is compiled anew.
func TestCache(t *testing.T) {
	h := newHouse(t)
	c := &h.runner.cache
	for v := range scripts.Version(compiledMax + 50) {
		c.keep(v+1, compiled{})
	}
	if len(c.all) != compiledMax {
		t.Errorf("%d are kept", len(c.all))
	}
	h.put("own", "main", `discard;`, 0, 0)
	h.must(h.scripts.Activate(t.Context(), h.mail.ID(), "main"))
	run := func(want string) {
		t.Helper()
		o, err := h.runner.Run(t.Context(), h.message())
		h.must(err)
		if got := outcome(o); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	run("discard")
	source, err := h.scripts.Get(t.Context(), scripts.OfAccount(h.mail.ID()), "main")
	h.must(err)
	first, err := h.runner.compiled(source)
	h.must(err)
	if again, err := h.runner.compiled(source); err != nil || again != first {
		t.Errorf("compiled twice: %v", err)
	}
	h.put("own", "main", `keep;`, 0, 0)
	run("keep")
}

// What goes wrong in storage is no fault of a script: delivery is tried again.
func TestTemporary(t *testing.T) {
	broken := errors.New("the disk is gone")
	for _, c := range []struct {
		name, script string
		owner        bool
	}{
		{"the owner", `keep;`, true},
		{"the stack", `keep;`, false},
		{"mailboxes", `require "mailbox"; if mailboxexists "x" { keep; }`, false},
		{"annotations", `require "mboxmetadata"; if metadata "INBOX" "/private/comment" "x" { keep; }`, false},
		{"an included script", `require "include"; include "other";`, false},
		{"the memory", `require "duplicate"; if duplicate { discard; }`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t)
			h.put("own", "main", c.script, 0, 0)
			h.put("own", "other", "keep;", 0, 0)
			h.must(h.scripts.Activate(t.Context(), h.mail.ID(), "main"))
			source, err := h.scripts.Get(t.Context(), scripts.OfAccount(h.mail.ID()), "main")
			h.must(err)
			m := h.message()
			if c.owner {
				h.owner = broken
			} else {
				h.engine.err = broken
			}
			if _, err := h.runner.Run(t.Context(), m); !errors.Is(err, broken) {
				t.Errorf("the stack: %v", err)
			}
			if c.name == "the stack" {
				return
			}
			if o, err := h.runner.RunThese(t.Context(), m, source); !errors.Is(err, broken) {
				t.Errorf("%v, %+v", err, o)
			}
		})
	}
}

func TestFindAndPlace(t *testing.T) {
	h := newHouse(t)
	tree, err := h.mail.Tree(t.Context())
	h.must(err)
	archive := tree.Name("Archive")
	id := mailstore.FormatMailboxID(archive.ID)
	for _, c := range []struct {
		name   string
		target sieve.Target
		want   string // "": none
	}{
		{"name", sieve.Target{Mailbox: "Archive"}, "Archive"},
		{"INBOX in any case", sieve.Target{Mailbox: "inbox"}, "INBOX"},
		{"none", sieve.Target{Mailbox: "x"}, ""},
		{"id before name", sieve.Target{Mailbox: "Drafts", ID: id}, "Archive"},
		{"id that is none", sieve.Target{Mailbox: "Drafts", ID: "Fnone"}, "Drafts"},
		{"use before name", sieve.Target{Mailbox: "Drafts", SpecialUse: `\archive`}, "Archive"},
		{"name that has the use", sieve.Target{Mailbox: "Archive", SpecialUse: `\Archive`}, "Archive"},
		{"use that none has", sieve.Target{Mailbox: "Drafts", SpecialUse: `\Flagged`}, "Drafts"},
		{"made", sieve.Target{Mailbox: "New", Create: true}, "New"},
		{"may not be made", sieve.Target{Mailbox: "a//b", Create: true}, ""},
	} {
		m, after, err := Place(t.Context(), h.mail, tree, &c.target)
		got := ""
		if m != nil {
			got = m.Name
		}
		if err != nil || got != c.want {
			t.Errorf("%s: %q %v, want %q", c.name, got, err, c.want)
		}
		if m != nil && after.ID(m.ID) == nil {
			t.Errorf("%s: not in the tree", c.name)
		}
	}
	if now, err := h.mail.Tree(t.Context()); err != nil || !now.Name("New").Subscribed {
		t.Errorf("a new mailbox is not subscribed: %v", err)
	}
}

func TestAnnotated(t *testing.T) {
	h := newHouse(t)
	inbox, err := h.mail.Inbox(t.Context())
	h.must(err)
	h.must(h.mail.Annotate(t.Context(), inbox, h.mail.ID(), []mailstore.Annotation{{Name: "/private/comment", Value: []byte("x")}}))
	h.must(h.mail.Annotate(t.Context(), 0, h.mail.ID(), []mailstore.Annotation{{Name: "/shared/comment", Value: []byte("")}}))
	for _, c := range []struct {
		mailbox, name, want string
		ok                  bool
	}{
		{"INBOX", "/private/comment", "x", true}, {"INBOX", "/shared/comment", "", false}, {"", "/shared/comment", "", true},
		{"Drafts", "/private/specialuse", `\Drafts`, true}, {"INBOX", "/private/specialuse", "", false},
		{"Nowhere", "/private/comment", "", false}, {"INBOX", "nonsense", "", false}, {"INBOX", "/shared/" + strings.Repeat("x", 1000), "", false},
	} {
		got, ok, err := Annotated(t.Context(), h.mail, c.mailbox, c.name)
		if got != c.want || ok != c.ok || err != nil {
			t.Errorf("%s %.30s: %q %v %v", c.mailbox, c.name, got, ok, err)
		}
	}
}
