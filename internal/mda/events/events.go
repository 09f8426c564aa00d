// Package events runs Sieve scripts when mail programs change mailboxes: after APPEND, COPY
// and MOVE into one, and after flags of its messages have changed.
//
// The main type is [Events]. A mailbox names its script in the annotation
// /shared/imapsieve/script; where it has none the account's own annotation of that name
// counts (RFC 6785, 2.3.1). The script is one of the account's, active or not.
//
// Scripts run within the command, after its commit and before its OK: nobody but who made
// the change waits for them, nothing is left to be done when the server stops, and the
// client is told of what they changed at once. What goes wrong is logged, and faults of the script
// are told to its owner as those in delivery are; the command has succeeded all the same. A script's own fileinto and \Deleted are no events, and flags that
// it sets in a new message are one that is not followed by another (2.2.3, 2.2.4, 3.3), so
// there are no loops.
//
// The package parses no commands and decides nothing that sieve decides. RFC 6785.
package events

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"postroad/imap"
	"postroad/internal/blob"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/mda/rules"
	"postroad/internal/scripts"
	"postroad/message"
	"postroad/sieve"
)

// Entry is the annotation that names the script of a mailbox (RFC 6785, 2.3.1).
const Entry = "/shared/imapsieve/script"

// Causes of events (RFC 6785, 4.3). A MOVE is a COPY (RFC 6851, 3.1).
const (
	Append = "APPEND"
	Copy   = "COPY"
	Flag   = "FLAG"
)

// timeMax bounds the scripts that one command runs, which may have changed very many
// messages. A client that goes away does not end them.
const timeMax = time.Minute

// Options are what Events work with.
type Options struct {
	Scripts   *scripts.Store
	Rules     *rules.Runner
	Submitter mailflow.Submitter // for what scripts send
	Bodies    *blob.Bodies
	Committer *mailflow.Committer
	Owner     func(ctx context.Context, id mailstore.AccountID) (sieve.Owner, error)
	Host      string
	Log       *slog.Logger // nil: slog.Default
}

// Events runs scripts. Its methods may be called at once; those of a nil Events do nothing.
type Events struct{ o Options }

// New returns Events.
func New(o Options) *Events {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Events{o}
}

// Actor is who changes a mailbox.
type Actor struct{ User, Email string }

// Watch is a change of a mailbox that a script is to be told of. A nil Watch is for those
// that nobody asked to be told of.
type Watch struct {
	events  *Events
	account *mailstore.Account
	mailbox mailstore.MailboxID
	cause   string
	actor   Actor
	script  *scripts.Source
	before  *mailstore.Snapshot // of Flag: the flags as they were
}

// Watch begins a change: before the commit for Flag, at any time for others. It returns nil
// where the mailbox has no script.
func (e *Events) Watch(ctx context.Context, a *mailstore.Account, mailbox mailstore.MailboxID, cause string, actor Actor) *Watch {
	if e == nil {
		return nil
	}
	w := &Watch{events: e, account: a, mailbox: mailbox, cause: cause, actor: actor}
	err := w.begin(ctx)
	if err != nil {
		e.o.Log.Error("the script of a mailbox cannot be run", "account", a.ID(), "mailbox", mailbox, "error", err)
	}
	if err != nil || w.script == nil {
		return nil
	}
	return w
}

// begin finds the script. An entry that is there counts even if it is of no use (RFC 6785,
// 2.3.1).
func (w *Watch) begin(ctx context.Context) error {
	name, ok, err := w.account.Annotation(ctx, w.mailbox, 0, Entry)
	if err == nil && !ok {
		name, ok, err = w.account.Annotation(ctx, 0, 0, Entry)
	}
	if err != nil || !ok || len(name) == 0 {
		return err
	}
	source, err := w.events.o.Scripts.Get(ctx, scripts.OfAccount(w.account.ID()), string(name))
	if errors.Is(err, scripts.ErrNoScript) {
		return nil
	}
	if err != nil {
		return err
	}
	if w.cause == Flag {
		if w.before, err = w.snapshot(ctx); err != nil {
			return err
		}
	}
	w.script = source
	return nil
}

// snapshot reads the mailbox as it is now.
func (w *Watch) snapshot(ctx context.Context) (*mailstore.Snapshot, error) {
	view, err := w.account.View(ctx, w.mailbox)
	if err != nil {
		return nil, err
	}
	defer view.Close()
	return view.Snapshot(ctx)
}

// Happened runs the script on each message that the command has changed, one after the
// other.
func (w *Watch) Happened(ctx context.Context, uids imap.UIDSet) {
	if w == nil || len(uids) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeMax)
	defer cancel()
	log := w.events.o.Log.With("account", w.account.ID(), "script", w.script.Name)
	now, err := w.snapshot(ctx)
	if err != nil {
		log.Error("the script of a mailbox was not run", "error", err)
		return
	}
	for uid := range uids.All() {
		if ctx.Err() != nil {
			log.Warn("the script of a mailbox took too long: it has not seen all messages", "from", uid)
			return
		}
		if err := w.message(ctx, now, uid); err != nil {
			log.Error("the script of a mailbox failed", "uid", uid, "error", err)
		}
	}
}

// message runs the script on one message.
func (w *Watch) message(ctx context.Context, now *mailstore.Snapshot, uid uint32) error {
	r, err := now.Record(ctx, uid, mailstore.WantStructure)
	if errors.Is(err, mailstore.ErrNoMessage) || err == nil && r.Missing {
		return nil // expunged since
	}
	if err != nil {
		return err
	}
	e := &event{watch: w, uid: uid, cause: w.cause, flags: flagsOf(&r.Row, now), now: time.Now(), body: r.Body}
	if w.cause == Flag {
		e.changed = e.flags
		if i, ok := w.before.Index(uid); ok {
			was := w.before.Row(i)
			e.changed = difference(flagsOf(&was, w.before), e.flags)
		}
		if len(e.changed) == 0 {
			return nil
		}
	}
	if e.message, err = message.Decode(r.Structure); err != nil {
		return err
	}
	if e.reader, err = w.account.Open(ctx, r.Body); err != nil {
		return err
	}
	defer e.reader.Close()
	return e.run(ctx)
}

// run runs the script and does what it says; flags that it set in a new message are an event
// once more (RFC 6785, 2.2.3).
func (e *event) run(ctx context.Context) error {
	set, err := e.once(ctx)
	if err != nil || e.cause == Flag || set == nil {
		return err
	}
	e.changed = difference(e.flags, set)
	e.flags, e.cause = set, Flag
	if len(e.changed) == 0 {
		return nil
	}
	_, err = e.once(ctx)
	return err
}

// once runs the script once. set is the flags that it gave the message, nil if none.
func (e *event) once(ctx context.Context) (set []string, err error) {
	w := e.watch
	if e.tree, err = w.account.Tree(ctx); err != nil {
		return nil, err
	}
	box := e.tree.ID(w.mailbox)
	if box == nil {
		return nil, fmt.Errorf("mailbox %s: %w", w.mailbox, mailstore.ErrNoMailbox)
	}
	outcome, err := w.events.o.Rules.RunThese(ctx, &rules.Mail{
		Account: w.account, Body: e.reader, Message: e.message, Now: e.now,
		Mailboxes: &rules.Mailboxes{Account: w.account, Annotations: rules.Annotated},
		Event: &sieve.Event{Cause: e.cause, User: w.actor.User, Email: w.actor.Email, Mailbox: box.Name,
			ChangedFlags: e.changed, Flags: e.flags},
	}, w.script)
	if err != nil {
		return nil, err
	}
	for i := range outcome.Failures {
		w.events.o.Log.Warn("the script of a mailbox went wrong; the message is left alone", "account", w.account.ID(),
			"script", w.script.Name, "mailbox", box.Name, "uid", e.uid, "error", outcome.Failures[i].Err)
		if err := e.tell(ctx, &outcome.Failures[i]); err != nil {
			return nil, err
		}
	}
	set, err = e.perform(ctx, outcome)
	if errors.Is(err, mailstore.ErrNoMailbox) || errors.Is(err, mailstore.ErrName) { // only the script can be put right
		err = errors.Join(err, e.tell(ctx, &rules.Failure{Script: w.script, Err: err}))
	}
	return set, err
}

// tell puts a message about a fault of the script into its owner's INBOX, once in a while;
// it is remembered in the commit that does. That is no event: no mail program did it.
func (e *event) tell(ctx context.Context, f *rules.Failure) error {
	o, a := &e.watch.events.o, e.watch.account
	if !f.Personal() {
		return nil
	}
	told, err := a.Remembers(ctx, f.Mark(), e.now)
	if err != nil || told {
		return err
	}
	owner, err := o.Owner(ctx, a.ID())
	if err != nil {
		return err
	}
	c := rules.Complaint{Host: o.Host, Now: e.now, Subject: e.message.Subject, Event: true}
	if len(owner.Addresses) > 0 {
		c.To = owner.Addresses[0]
	}
	text, err := c.Text(f)
	if err != nil {
		return err
	}
	body, m, err := e.write(ctx, bytes.NewReader(text), int64(len(text)))
	if err != nil {
		return err
	}
	defer o.Bodies.Discard(body) // one that a commit took is left alone
	return o.Committer.Commit(ctx, func(ctx context.Context, u *mailflow.Unit) error {
		in := &mailstore.Incoming{Body: body, Message: m, InternalDate: e.now}
		if _, err := a.PrepareAppend(ctx, u, in, e.tree.Inbox().ID); err != nil {
			return err
		}
		return a.PrepareRemember(ctx, u, e.now, map[string]time.Time{f.Mark(): e.now.Add(rules.FaultToldFor)}, map[string]bool{f.Mark(): true})
	})
}
