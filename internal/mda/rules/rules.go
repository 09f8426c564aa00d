// Package rules runs the Sieve scripts of an account over a message: those of the site and
// the organisation before, the owner's own, and those behind.
//
// The main type is [Runner], which keeps compiled scripts; what comes out is an [Outcome],
// the actions that delivery or a mailbox event has to do. A script that keeps the message
// lets the next one go on with it, as it left it; the first that does not is the last.
// A script that goes wrong counts as one that keeps: no mail is lost over a rule, and its
// owner is told.
//
// The package files nothing and sends nothing: mda/deliver and mda/imapd do.
//
// RFC 5228 (2.10.6 errors), RFC 6609 (includes), RFC 6785 (events).
package rules

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"postroad/internal/mailstore"
	"postroad/internal/scripts"
	"postroad/message"
	"postroad/sieve"
)

// Options are what a Runner works with.
type Options struct {
	Scripts     *scripts.Store
	Owner       func(ctx context.Context, id mailstore.AccountID) (sieve.Owner, error)
	Compile     sieve.Options
	Environment map[string]string // items of RFC 5183 that are the same for all mail
}

// Runner runs scripts. Its methods may be called at once.
type Runner struct {
	o     Options
	cache cache
}

// New returns a Runner.
func New(o Options) *Runner { return &Runner{o: o} }

// Mail is a message and whose rules are asked about it.
type Mail struct {
	Account     *mailstore.Account
	Body        io.ReaderAt
	Message     *message.Message
	Envelope    sieve.Envelope
	Now         time.Time
	Environment map[string]string // further items: "remote-ip", "remote-host"
	Event       *sieve.Event      // nil: it is being delivered
	Mailboxes   sieve.Mailboxes
	Memory      sieve.Memory                      // nil: what the account remembers
	Trace       func(script string, s sieve.Step) // nil: nobody asks why
}

// Outcome is what the scripts came to.
type Outcome struct {
	Actions  []sieve.Action // as sieve.Result has them, of all scripts
	Marks    []sieve.Mark
	Known    map[string]bool // keys that scripts asked for and that were remembered
	Failures []Failure
	Rules    string // the scripts that decided, for the timeline
}

// Failure is what went wrong in a script.
type Failure struct {
	Script *scripts.Source
	Err    error // *sieve.Failure, or sieve.Errors when it does not compile
}

// Run runs all scripts of the account; nil when there is none. An error is temporary.
func (r *Runner) Run(ctx context.Context, m *Mail) (*Outcome, error) {
	stack, err := r.o.Scripts.Stack(ctx, m.Account.ID())
	if err != nil || stack.Empty() {
		return nil, err
	}
	all := slices.Clone(stack.Before)
	if stack.User != nil {
		all = append(all, stack.User)
	}
	return r.RunThese(ctx, m, append(all, stack.After...)...)
}

// RunThese runs given scripts in order. One whose Version is 0 is compiled anew each time.
func (r *Runner) RunThese(ctx context.Context, m *Mail, stack ...*scripts.Source) (*Outcome, error) {
	owner, err := r.o.Owner(ctx, m.Account.ID())
	if err != nil {
		return nil, fmt.Errorf("find out whose rules: %w", err)
	}
	w := &walk{runner: r, mail: m, input: r.input(m, owner)}
	w.out.Known = map[string]bool{}
	w.input.Memory = asked{w.input.Memory, w.out.Known}
	for _, s := range stack {
		if err := w.step(ctx, s); err != nil {
			return nil, fmt.Errorf("run script %q: %w", s.Name, err)
		}
		if w.keep == nil {
			break
		}
	}
	if w.keep != nil {
		w.out.Actions = append(w.out.Actions, w.keep)
	}
	return &w.out, nil
}

// input is what every script of the stack sees at first.
func (r *Runner) input(m *Mail, owner sieve.Owner) sieve.Input {
	env := make(map[string]string, len(r.o.Environment)+len(m.Environment))
	for _, items := range []map[string]string{r.o.Environment, m.Environment} {
		for k, v := range items {
			env[k] = v
		}
	}
	remembered := m.Memory
	if remembered == nil {
		remembered = memory{m.Account, m.Now}
	}
	return sieve.Input{
		Body: m.Body, Message: m.Message, Envelope: m.Envelope, Owner: owner, Now: m.Now, Environment: env,
		Event: m.Event, Mailboxes: m.Mailboxes, Includes: includes{r, m.Account.ID()}, Memory: remembered,
	}
}

// walk is one way through a stack.
type walk struct {
	runner *Runner
	mail   *Mail
	input  sieve.Input
	out    Outcome
	keep   *sieve.Keep // of the last script; nil: it did not keep the message
}

// step runs the next script.
func (w *walk) step(ctx context.Context, s *scripts.Source) error {
	compiled, err := w.runner.compiled(s)
	if err != nil {
		w.fail(s, err)
		return nil
	}
	in := w.input
	in.Name = s.Name
	if w.mail.Trace != nil {
		in.Trace = func(step sieve.Step) { w.mail.Trace(s.Name, step) }
	}
	result, err := compiled.Run(ctx, &in)
	if err != nil {
		return err
	}
	if result.Failure != nil {
		w.fail(s, result.Failure)
		return nil
	}
	return w.take(s, result)
}

// fail notes what went wrong; the message is kept as the script before left it.
func (w *walk) fail(s *scripts.Source, err error) {
	w.out.Failures = append(w.out.Failures, Failure{s, err})
	if w.keep == nil {
		w.keep = &sieve.Keep{Implicit: true}
	}
}

// take takes over the actions of one script.
func (w *walk) take(s *scripts.Source, result *sieve.Result) error {
	before := w.keep
	w.keep = nil
	var actions []sieve.Action
	for _, a := range result.Actions {
		switch a := a.(type) {
		case *sieve.Keep:
			w.keep = a
			continue
		case *sieve.Reject:
			if len(w.out.Actions) > 0 {
				// RFC 5429, 2.4: what is filed or sent already cannot be refused.
				w.keep = before
				w.fail(s, &sieve.Failure{Text: "the message cannot be rejected: a script before this one has filed or sent it"})
				return nil
			}
		}
		actions = append(actions, a)
	}
	w.out.Actions = append(w.out.Actions, actions...)
	w.out.Marks = append(w.out.Marks, result.Marks...)
	if len(actions) > 0 {
		if w.out.Rules != "" {
			w.out.Rules += ", "
		}
		w.out.Rules += s.Name
	}
	if w.keep == nil {
		return nil
	}
	if before != nil && !w.keep.SetFlags {
		w.keep.Flags, w.keep.SetFlags = before.Flags, before.SetFlags
	}
	return w.edited(before)
}

// edited lets the scripts behind see the message as this one left it.
func (w *walk) edited(before *sieve.Keep) error {
	e := w.keep.Message
	if e == nil {
		if before != nil {
			w.keep.Message = before.Message
		}
		return nil
	}
	m, err := message.Parse(e.Reader(), message.Limits{})
	if err != nil {
		return fmt.Errorf("parse the message that a script changed: %w", err)
	}
	w.input.Body, w.input.Message = e, m
	return nil
}

// includes finds included scripts.
type includes struct {
	runner  *Runner
	account mailstore.AccountID
}

// Script implements sieve.Includes.
func (i includes) Script(ctx context.Context, name string, global bool) (*sieve.Script, error) {
	s, err := i.runner.o.Scripts.Include(ctx, i.account, !global, name)
	switch {
	case errors.Is(err, scripts.ErrNoScript), errors.Is(err, scripts.ErrName):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return i.runner.compiled(s)
}

// asked notes which keys were remembered when scripts asked.
type asked struct {
	sieve.Memory
	known map[string]bool
}

// Seen implements sieve.Memory.
func (a asked) Seen(ctx context.Context, key string) (bool, error) {
	seen, err := a.Memory.Seen(ctx, key)
	if seen {
		a.known[key] = true
	}
	return seen, err
}

// memory asks what the account remembers.
type memory struct {
	account *mailstore.Account
	now     time.Time
}

// Seen implements sieve.Memory.
func (m memory) Seen(ctx context.Context, key string) (bool, error) {
	return m.account.Remembers(ctx, key, m.now)
}
