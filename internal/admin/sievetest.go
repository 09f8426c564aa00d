package admin

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"postroad/address"
	"postroad/internal/directory"
	"postroad/internal/mailstore"
	"postroad/internal/mda/rules"
	"postroad/internal/scripts"
	"postroad/message"
	"postroad/sieve"
)

// SieveMessageMax is the largest message that a script is tried on, in octets: it crosses
// the socket in one argument.
const SieveMessageMax = 10 << 20

// stepsMax bounds the steps that are told of one test.
const stepsMax = 10_000

// SieveTest is a message and the script that is asked about it.
type SieveTest struct {
	Account   string   `json:"account,omitempty"` // whose mailboxes and memory are asked
	Script    []byte   `json:"script,omitempty"`  // nil: all that run for the account
	Message   []byte   `json:"message"`
	From      string   `json:"from,omitempty"`      // return path; empty: what the message says
	To        string   `json:"to,omitempty"`        // recipient; empty: the account, or what the message says
	Mailboxes []string `json:"mailboxes,omitempty"` // without an account: those that are there besides INBOX
}

// SieveStep is one step of a script.
type SieveStep struct {
	Script string `json:"script,omitempty"`
	Line   int    `json:"line"`
	Depth  int    `json:"depth"`
	Text   string `json:"text"`
}

// SieveTested is what scripts do with a message, and why.
type SieveTested struct {
	From    string        `json:"from"` // as it was tried
	To      string        `json:"to"`
	Steps   []SieveStep   `json:"steps"`
	Actions []SieveAction `json:"actions"`
	Faults  []string      `json:"faults,omitempty"` // of scripts that went wrong
}

// step adds a step.
func (t *SieveTested) step(script string, s sieve.Step) {
	if len(t.Steps) == stepsMax {
		return
	}
	if s.Script != "" {
		script = s.Script
	}
	t.Steps = append(t.Steps, SieveStep{script, s.Line, s.Depth, s.Text})
}

// trial is a message that is tried.
type trial struct {
	body    io.ReaderAt
	message *message.Message
	env     sieve.Envelope
}

// newTrial takes a message apart.
func newTrial(in *SieveTest) (*trial, error) {
	if len(in.Message) > SieveMessageMax {
		return nil, &Error{Invalid, fmt.Sprintf("the message is larger than %d octets", SieveMessageMax)}
	}
	m, err := message.Parse(bytes.NewReader(in.Message), message.Limits{})
	if err != nil {
		return nil, invalid("the message: %v", err)
	}
	t := &trial{body: bytes.NewReader(in.Message), message: m}
	if t.env.ReturnPath, err = returnPath(t.body, m); err != nil {
		return nil, err
	}
	if in.From != "" {
		if t.env.ReturnPath, _, err = address.ParsePath("<" + trimPath(in.From) + ">"); err != nil {
			return nil, invalid("address %q: %v", in.From, err)
		}
	}
	if in.To != "" {
		t.env.Recipient, err = parse(in.To)
	}
	return t, err
}

// trimPath takes the angle brackets off.
func trimPath(s string) string {
	if n := len(s); n >= 2 && s[0] == '<' && s[n-1] == '>' {
		return s[1 : n-1]
	}
	return s
}

// returnPath is what the message says of its envelope: Return-Path where it was delivered
// before (RFC 5321, 4.4), else the author.
func returnPath(body io.ReaderAt, m *message.Message) (address.Address, error) {
	block := make([]byte, m.Root.Header.Size())
	if _, err := body.ReadAt(block, m.Root.Header.Start); err != nil && err != io.EOF {
		return address.Address{}, fmt.Errorf("read the header: %w", err)
	}
	for f := range message.Fields(block) {
		if f.Is("Return-Path") {
			if a, _, err := address.ParsePath(f.Unfolded()); err == nil {
				return a, nil
			}
		}
	}
	for _, box := range m.From.Mailboxes() {
		if a, err := box.Address(); err == nil {
			return a, nil
		}
	}
	return address.Address{}, nil
}

// TrySieve runs a script without any account: nothing is remembered, and the mailboxes are
// those of the argument. o is what the script may use.
func TrySieve(ctx context.Context, in SieveTest, o sieve.Options) (*SieveTested, error) {
	script, faults := sieve.Compile(in.Script, o)
	if faults != nil {
		return nil, &Error{Invalid, faults.Error()}
	}
	t, err := newTrial(&in)
	if err != nil {
		return nil, err
	}
	if in.To == "" {
		for _, box := range t.message.To.Mailboxes() {
			if t.env.Recipient, err = box.Address(); err == nil {
				break
			}
		}
	}
	out := &SieveTested{From: t.env.ReturnPath.String(), To: t.env.Recipient.String(), Steps: []SieveStep{}}
	boxes := listed(in.Mailboxes)
	result, err := script.Run(ctx, &sieve.Input{Body: t.body, Message: t.message, Envelope: t.env,
		Owner: sieve.Owner{Addresses: []address.Address{t.env.Recipient}}, Mailboxes: boxes,
		Trace: func(s sieve.Step) { out.step("", s) }})
	if err != nil {
		return nil, err
	}
	out.Actions = describe(result.Actions, func(target *sieve.Target) (string, bool) {
		ok, _ := boxes.MailboxExists(ctx, target.Mailbox) // never an error
		return target.Mailbox, ok
	})
	if result.Failure != nil {
		out.Faults = []string{result.Failure.Error()}
	}
	return out, nil
}

// listed are the mailboxes of a test without an account: names, and nothing else.
type listed []string

// MailboxExists implements sieve.Mailboxes.
func (l listed) MailboxExists(_ context.Context, name string) (bool, error) {
	clean, err := mailstore.CleanName(name)
	return err == nil && (clean == "INBOX" || slices.Contains(l, clean)), nil
}

// MailboxIDExists implements sieve.Mailboxes.
func (listed) MailboxIDExists(context.Context, string) (bool, error) { return false, nil }

// SpecialUse implements sieve.Mailboxes.
func (listed) SpecialUse(context.Context, string, string) (bool, error) { return false, nil }

// Metadata implements sieve.Mailboxes.
func (listed) Metadata(context.Context, string, string) (string, bool, error) { return "", false, nil }

// sieveTest tells what an account's scripts do with a message. It changes nothing.
func (v *Verbs) sieveTest(ctx context.Context, in SieveTest) (*SieveTested, error) {
	if len(in.Mailboxes) > 0 {
		return nil, invalid("the mailboxes are those of the account")
	}
	a, err := v.find(ctx, in.Account)
	if err != nil {
		return nil, err
	}
	r, err := v.rehearsal(ctx, &a, in.Script)
	if err != nil {
		return nil, err
	}
	t, err := newTrial(&in)
	if err != nil {
		return nil, err
	}
	if in.To == "" {
		t.env.Recipient = a.Login
	}
	out := &SieveTested{From: t.env.ReturnPath.String(), To: t.env.Recipient.String(), Steps: []SieveStep{}}
	m := r.mail(t, time.Now())
	m.Trace = out.step
	outcome, err := r.run(ctx, m)
	if err != nil {
		return nil, err
	}
	out.Actions, out.Faults = describe(outcome.Actions, inTree(r.tree)), faultsOf(outcome)
	return out, nil
}

// rehearsal runs scripts of an account without doing what they say.
type rehearsal struct {
	verbs  *Verbs
	mail0  rules.Mail
	tree   *mailstore.Tree
	script *scripts.Source // nil: all that run
}

func (v *Verbs) rehearsal(ctx context.Context, a *directory.Account, script []byte) (*rehearsal, error) {
	mail, err := v.Mail.Account(ctx, a.ID)
	if err != nil {
		return nil, err
	}
	r := &rehearsal{verbs: v, mail0: rules.Mail{Account: mail, Mailboxes: &rules.Mailboxes{Account: mail, Annotations: v.Annotations}}}
	if r.tree, err = mail.Tree(ctx); err != nil {
		return nil, err
	}
	if script != nil {
		if _, err := v.Scripts.Check(script); err != nil {
			return nil, err
		}
		r.script = &scripts.Source{Scope: scripts.Personal, Text: script}
	}
	return r, nil
}

// mail is a trial as rules see it.
func (r *rehearsal) mail(t *trial, now time.Time) *rules.Mail {
	m := r.mail0
	m.Body, m.Message, m.Envelope, m.Now = t.body, t.message, t.env, now
	return &m
}

// run asks the rules. Without any the mail is kept.
func (r *rehearsal) run(ctx context.Context, m *rules.Mail) (*rules.Outcome, error) {
	if r.script != nil {
		return r.verbs.Rules.RunThese(ctx, m, r.script)
	}
	outcome, err := r.verbs.Rules.Run(ctx, m)
	if err == nil && outcome == nil {
		outcome = &rules.Outcome{Actions: []sieve.Action{&sieve.Keep{Implicit: true}}}
	}
	return outcome, err
}

// faultsOf are the faults of an outcome in words.
func faultsOf(o *rules.Outcome) []string {
	var out []string
	for i := range o.Failures {
		text := o.Failures[i].Err.Error()
		if name := o.Failures[i].Script.Name; name != "" {
			text = name + ": " + text
		}
		out = append(out, text)
	}
	return out
}
