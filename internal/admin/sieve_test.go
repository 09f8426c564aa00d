package admin

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"postroad/imap"
	"postroad/internal/kv/hlc"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/mda/rules"
	"postroad/internal/scripts"
	"postroad/sieve"
)

// newSieveVerbs are verbs with scripts, one organisation and one account in it.
func newSieveVerbs(t *testing.T) *Verbs {
	t.Helper()
	v := newVerbs(t)
	v.Scripts = scripts.New(scripts.Options{Committer: v.Committer, Clock: v.Directory.Clock.(*hlc.Clock),
		Compile: func(source []byte) (string, error) {
			if _, errs := sieve.Compile(source, sieve.Options{}); errs != nil {
				return "", errs
			}
			return "", nil
		},
		Organisation: func(ctx context.Context, id scripts.AccountID) (string, error) {
			a, err := v.Directory.Account(ctx, id)
			return a.Org, err
		}})
	v.Rules = rules.New(rules.Options{Scripts: v.Scripts, Owner: func(ctx context.Context, id mailstore.AccountID) (sieve.Owner, error) {
		a, err := v.Directory.Account(ctx, id)
		return sieve.Owner{Addresses: a.Addresses}, err
	}})
	for _, s := range []step{
		{"organisation.add", Organisation{"acme"}, "", ""},
		{"domain.add", Domain{Name: "example.test", Org: "acme"}, "", ""},
		{"account.add", NewAccount{Addresses: []string{"alice@example.test", "al@example.test"}, Password: "correct horse"}, "", ""},
	} {
		if err := v.Call(t.Context(), s.verb, s.in, nil, nil); err != nil {
			t.Fatal(s.verb, err)
		}
	}
	return v
}

func TestSieveVerbs(t *testing.T) {
	const alice = "alice@example.test"
	ofAlice := func(name string) SieveRef { return SieveRef{SieveOwner{Account: alice}, name} }
	ofAcme := func(name string) SieveRef { return SieveRef{SieveOwner{Org: "acme"}, name} }
	ofAll := func(name string) SieveRef { return SieveRef{SieveOwner{Everybody: true}, name} }
	for name := range map[string]bool{"here": true, "by the socket": true} {
		t.Run(name, func(t *testing.T) {
			c := callers(t, newSieveVerbs(t))[name]
			large := []byte("keep; #" + strings.Repeat("x", scripts.ScriptMax-7))
			for i, s := range []step{
				{"sieve.list", SieveOwner{Account: alice}, "[]", ""},
				{"sieve.list", SieveOwner{}, "name an account", Invalid},
				{"sieve.list", SieveOwner{Account: alice, Everybody: true}, "name an account", Invalid},
				{"sieve.list", SieveOwner{Org: "none"}, "none", NotFound},
				{"sieve.put", SievePut{ofAlice("main"), []byte("keep;")}, "active:false", ""},
				{"sieve.put", SievePut{ofAlice("main"), []byte("nonsense;")}, "line 1", Invalid},
				{"sieve.put", SievePut{ofAlice("a\x00b"), []byte("keep;")}, "name", Invalid},
				{"sieve.put", SievePut{ofAlice("empty"), nil}, "empty", Invalid},
				{"sieve.put", SievePut{ofAlice("large"), large}, "size_bytes:1e+06", ""},
				{"sieve.put", SievePut{ofAlice("large"), append(large, 'x')}, "too large", Invalid},
				{"sieve.show", ofAlice(""), "active", NotFound},
				{"sieve.activate", SieveActivate{SieveRef: ofAlice("none")}, "no such script", NotFound},
				{"sieve.activate", SieveActivate{SieveRef: ofAlice("main"), Runs: "before"}, "before or after", Invalid},
				{"sieve.activate", SieveActivate{SieveRef: ofAlice("main")}, "", ""},
				{"sieve.show", ofAlice(""), "active:true", ""},
				{"sieve.remove", ofAlice("main"), "active", InUse},
				{"sieve.activate", SieveActivate{SieveRef: ofAlice("")}, "", ""},
				{"sieve.remove", ofAlice("main"), "", ""},
				{"sieve.put", SievePut{ofAcme("org"), []byte("keep;")}, "active:false", ""},
				{"sieve.activate", SieveActivate{SieveRef: ofAcme("org"), Runs: "after", Order: 7}, "", ""},
				{"sieve.list", SieveOwner{Org: "acme"}, "runs:after", ""},
				{"sieve.put", SievePut{ofAll("site"), []byte("keep;")}, "", ""},
				{"sieve.activate", SieveActivate{SieveRef: ofAll("site"), Runs: "sometimes"}, "sometimes", Invalid},
				{"sieve.activate", SieveActivate{SieveRef: ofAll("site"), Runs: "before", Order: -1}, "", ""},
				{"sieve.show", ofAll("site"), "order:-1", ""},
				{"sieve.remove", ofAll("none"), "", NotFound},
				{"sieve.event", SieveEvent{Account: alice, Script: "large"}, "", ""},
				{"sieve.event", SieveEvent{Account: alice, Mailbox: "Junk", Script: "large"}, "", ""},
				{"sieve.event", SieveEvent{Account: alice, Mailbox: "Junk", Remove: true}, "", ""},
				{"sieve.event", SieveEvent{Account: alice, Mailbox: "None", Script: "large"}, "None", NotFound},
				{"sieve.event", SieveEvent{Account: alice, Script: "none"}, "no such script", NotFound},
				{"sieve.test", SieveTest{Account: alice, Message: make([]byte, SieveMessageMax+1)}, "larger", Invalid},
				{"sieve.test", SieveTest{Account: alice, Mailboxes: []string{"x"}}, "mailboxes", Invalid},
				{"sieve.test", SieveTest{Account: alice, Script: []byte("nonsense;")}, "line 1", Invalid},
				{"sieve.test", SieveTest{Account: alice, Message: make([]byte, SieveMessageMax)}, "keep", ""},
				{"sieve.replay", SieveReplay{Account: alice}, "how far", Invalid},
			} {
				s.check(t, i, c)
			}
		})
	}
}

// deliverTo puts messages into an account, the first the oldest, one minute apart.
func deliverTo(t *testing.T, v *Verbs, first time.Time, role string, texts ...string) *mailstore.Account {
	t.Helper()
	a, err := v.find(t.Context(), "alice@example.test")
	if err != nil {
		t.Fatal(err)
	}
	mail, err := v.Mail.Account(t.Context(), a.ID)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := mail.Tree(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	box := tree.Inbox()
	if role != "" {
		box = rules.BySpecialUse(tree, role)
	}
	for i, text := range texts {
		body, m, err := mailflow.Arrive(t.Context(), v.Committer.Bodies, nil, strings.NewReader(text), mailflow.ContentLimits{Size: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		in := &mailstore.Incoming{Body: body, Message: m, InternalDate: first.Add(time.Duration(i) * time.Minute)}
		if _, err := mail.Append(t.Context(), box.ID, in); err != nil {
			t.Fatal(err)
		}
	}
	return mail
}

// mailFrom is a message.
func mailFrom(from, to, subject string) string {
	return fmt.Sprintf("Return-Path: <%s>\r\nFrom: %s\r\nTo: %s\r\nSubject: %s\r\nMessage-ID: <%s.%s>\r\n\r\nbody\r\n", from, from, to, subject, subject, from)
}

// A replay does what would have been done when the mail came, each message once and in
// order, and leaves no trace.
func TestSieveReplay(t *testing.T) {
	v := newSieveVerbs(t)
	now := time.Now()
	deliverTo(t, v, now.Add(-48*time.Hour), "", mailFrom("old@else.test", "alice@example.test", "old"))
	deliverTo(t, v, now.Add(-2*time.Hour), `\Junk`, mailFrom("ann@else.test", "al@example.test", "first"))
	deliverTo(t, v, now.Add(-3*time.Hour), `\Sent`, mailFrom("alice@example.test", "far@else.test", "mine"))
	mail := deliverTo(t, v, now.Add(-time.Hour), "", mailFrom("ann@else.test", "alice@example.test", "second"),
		mailFrom("bob@else.test", "alice@example.test", "[list] third"))
	inbox, err := mail.Inbox(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tree, err := mail.Tree(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := mail.Copy(t.Context(), inbox, imap.UIDSet{{First: 1, Last: ^uint32(0)}}, rules.BySpecialUse(tree, `\Archive`).ID); err != nil {
		t.Fatal(err)
	}
	script := []byte(`require ["vacation", "fileinto", "envelope"];
		if header :contains "subject" "[list]" { fileinto "Archive"; }
		elsif envelope :localpart "to" "al" { discard; }
		else { vacation "away"; }`)
	for i := range 2 { // nothing is remembered from the first to the second
		var out SieveReplayed
		var steps int
		err := v.Call(t.Context(), "sieve.replay", SieveReplay{Account: "al@example.test", Within: 24 * time.Hour, Script: script}, &out,
			func(p Progress) {
				steps++
				if p.Total != 3 {
					t.Errorf("progress %+v", p)
				}
			})
		if err != nil || out.More || steps != 3 {
			t.Fatal(err, out, steps)
		}
		var got []string
		for _, m := range out.Messages {
			got = append(got, fmt.Sprintf("%s %s: %v", m.Mailbox, m.Subject, m.Actions))
		}
		want := `Junk first: [discard]|INBOX second: [answer ann@else.test: "Auto: second" keep]|INBOX [list] third: [file into "Archive"]`
		if s := strings.Join(got, "|"); s != want {
			t.Errorf("replay %d:\n%s\nwant\n%s", i, s, want)
		}
	}
	var all SieveReplayed // the account's own stack, which is empty
	if err := v.Call(t.Context(), "sieve.replay", SieveReplay{Account: "al@example.test", Within: 72 * time.Hour}, &all, nil); err != nil {
		t.Fatal(err)
	}
	if len(all.Messages) != 4 || all.Messages[0].Subject != "old" || all.Messages[0].Actions[0].Action != "keep" {
		t.Errorf("%+v", all.Messages)
	}
}

// A test asks the account's real memory and mailboxes, and changes neither.
func TestSieveTestAccount(t *testing.T) {
	v := newSieveVerbs(t)
	mail := deliverTo(t, v, time.Now(), "")
	in := SieveTest{Account: "alice@example.test", Message: []byte(mailFrom("ann@else.test", "alice@example.test", "hello")),
		Script: []byte(`require ["vacation", "fileinto", "mailbox", "special-use"]; vacation "away"; fileinto :specialuse "\\Archive" "x"; fileinto :create "New"; keep;`)}
	run := func() string {
		t.Helper()
		out, err := v.sieveTest(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(out.Actions)
	}
	want := `[answer ann@else.test: "Auto: hello" file into "Archive" file into "New", which is made keep]`
	for range 2 {
		if got := run(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	tree, err := mail.Tree(t.Context())
	if err != nil || tree.Name("New") != nil {
		t.Errorf("a mailbox was made: %v", err)
	}
	// What delivery remembers counts.
	m := rules.Mail{Account: mail, Body: bytes.NewReader(in.Message), Now: time.Now()}
	trial, err := newTrial(&in)
	if err != nil {
		t.Fatal(err)
	}
	trial.env.Recipient, _ = parse(in.Account)
	m.Message, m.Envelope = trial.message, trial.env
	outcome, err := v.Rules.RunThese(t.Context(), &m, &scripts.Source{Text: in.Script})
	if err != nil || len(outcome.Marks) != 1 {
		t.Fatal(err, outcome)
	}
	err = v.Committer.Commit(t.Context(), func(ctx context.Context, u *mailflow.Unit) error {
		return mail.PrepareRemember(ctx, u, m.Now, map[string]time.Time{outcome.Marks[0].Key: m.Now.Add(time.Hour)}, nil)
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := run(); strings.Contains(got, "answer") {
		t.Errorf("answered again: %s", got)
	}
}
