// Package admin has the verbs of administration: domains, accounts, aliases, groups, app
// passwords, Sieve scripts, queue, trace, check, status. There is one set of them, whoever asks: the
// command line, over the socket of the running server or on the store itself, and later
// pages in the browser.
//
// The main type is [Verbs]; [Client] calls the same verbs in another process. A verb takes
// one JSON object and gives one. The package decides nothing about who may call: who can
// open the socket can do all.
package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"postroad/internal/blob"
	"postroad/internal/directory"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/mda/imapd"
	"postroad/internal/mda/rules"
	"postroad/internal/mta/queue"
	"postroad/internal/outbox"
	"postroad/internal/scripts"
)

// Caller runs verbs: [Verbs] in this process, [Client] in the server's.
type Caller interface {
	// Call runs a verb with in and decodes what it gives into out; nil is none. Long work
	// tells how far it is; progress may be nil. An error of the verb is an *Error.
	Call(ctx context.Context, verb string, in, out any, progress func(Progress)) error
}

// Progress is how far long work is.
type Progress struct {
	Step  string `json:"step"`
	Done  int64  `json:"done"`
	Total int64  `json:"total"` // 0: not known
}

// Code says of what kind an error is.
type Code string

// The codes.
const (
	NotFound  Code = "not found"
	Exists    Code = "exists"
	InUse     Code = "in use"
	Invalid   Code = "invalid"   // what was asked makes no sense
	Unknown   Code = "unknown"   // no such verb
	Temporary Code = "temporary" // may be right later
	Internal  Code = "internal"  // ours
)

// Error is what went wrong with a verb.
type Error struct {
	Code Code   `json:"code"`
	Text string `json:"text"`
}

func (e *Error) Error() string { return e.Text }

// errorOf gives an error of the house its code.
func errorOf(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	code := Internal
	for _, k := range []struct {
		err  error
		code Code
	}{
		{directory.ErrNotFound, NotFound}, {mailflow.ErrNoMail, NotFound}, {mailstore.ErrNoAccount, NotFound},
		{mailstore.ErrNoMailbox, NotFound}, {imapd.ErrNoSubject, NotFound}, {mailstore.ErrOverQuota, InUse},
		{directory.ErrExists, Exists}, {mailstore.ErrExists, Exists},
		{directory.ErrInUse, InUse}, {mailstore.ErrHasChildren, InUse}, {mailstore.ErrInUse, InUse},
		{directory.ErrInvalid, Invalid}, {mailstore.ErrName, Invalid}, {mailstore.ErrRights, Invalid},
		{outbox.ErrUndo, Invalid},
		{scripts.ErrNoScript, NotFound}, {scripts.ErrExists, Exists}, {scripts.ErrActive, InUse},
		{scripts.ErrName, Invalid}, {scripts.ErrTooMany, Invalid}, {scripts.ErrTooLarge, Invalid}, {scripts.ErrEmpty, Invalid},
		{scripts.ErrScript, Invalid}, {scripts.ErrPosition, Invalid}, {scripts.ErrFull, Temporary}, {scripts.ErrTemporary, Temporary},
		{context.Canceled, Temporary}, {context.DeadlineExceeded, Temporary}, {mailstore.ErrTemporary, Temporary},
	} {
		if errors.Is(err, k.err) {
			code = k.code
			break
		}
	}
	return &Error{code, err.Error()}
}

func invalid(format string, args ...any) error { return &Error{Invalid, fmt.Sprintf(format, args...)} }

// Verbs are the verbs over a store that is open in this process.
type Verbs struct {
	Directory *directory.Store
	Mail      *mailstore.Store
	Committer *mailflow.Committer
	Queue     *queue.Queue
	Outbox    *outbox.Store
	Scripts   *scripts.Store
	Rules     *rules.Runner
	Collector *blob.Collector
	Tracer    func(ctx context.Context, message string) ([]TraceEvent, error)
	Status    func(ctx context.Context) (Status, error)
	// Annotations answer what rules that are tried ask of mailboxes; nil: there are none.
	Annotations rules.Metadata
	// Quota is that of accounts which set none.
	Quota directory.Limits
}

// Nothing is the argument or result of verbs that have none.
type Nothing struct{}

// run is a verb: JSON in, anything that has a JSON form out.
type run func(ctx context.Context, v *Verbs, in []byte, progress func(Progress)) (any, error)

// verb adapts a typed function.
func verb[In, Out any](f func(v *Verbs, ctx context.Context, in In) (Out, error)) run {
	return long(func(v *Verbs, ctx context.Context, in In, _ func(Progress)) (Out, error) { return f(v, ctx, in) })
}

// long adapts a typed function that tells its progress.
func long[In, Out any](f func(v *Verbs, ctx context.Context, in In, progress func(Progress)) (Out, error)) run {
	return func(ctx context.Context, v *Verbs, raw []byte, progress func(Progress)) (any, error) {
		var in In
		d := json.NewDecoder(bytes.NewReader(raw))
		d.DisallowUnknownFields()
		if err := d.Decode(&in); err != nil && !errors.Is(err, io.EOF) {
			return nil, invalid("the argument: %v", err)
		}
		return f(v, ctx, in, progress)
	}
}

// table has all verbs by name.
var table = map[string]run{
	"organisation.list":  verb((*Verbs).organisations),
	"organisation.add":   verb((*Verbs).addOrganisation),
	"domain.list":        verb((*Verbs).domains),
	"domain.add":         verb((*Verbs).addDomain),
	"domain.change":      verb((*Verbs).changeDomain),
	"domain.remove":      verb((*Verbs).removeDomain),
	"account.list":       verb((*Verbs).accounts),
	"account.show":       verb((*Verbs).account),
	"account.add":        verb((*Verbs).addAccount),
	"account.undo":       verb((*Verbs).setUndo),
	"account.change":     verb((*Verbs).changeAccount),
	"account.password":   verb((*Verbs).setPassword),
	"account.remove":     verb((*Verbs).removeAccount),
	"account.grant":      verb((*Verbs).grant),
	"account.revoke":     verb((*Verbs).revoke),
	"account.grants":     verb((*Verbs).grants),
	"acl.show":           verb((*Verbs).acl),
	"acl.set":            verb((*Verbs).setACL),
	"acl.delete":         verb((*Verbs).deleteACL),
	"shared.list":        verb((*Verbs).sharedList),
	"shared.add":         verb((*Verbs).addShared),
	"shared.delete":      verb((*Verbs).deleteShared),
	"app.list":           verb((*Verbs).apps),
	"app.add":            verb((*Verbs).addApp),
	"app.revoke":         verb((*Verbs).revokeApp),
	"alias.list":         verb((*Verbs).aliases),
	"alias.show":         verb((*Verbs).alias),
	"alias.add":          verb((*Verbs).addAlias),
	"alias.change":       verb((*Verbs).changeAlias),
	"alias.remove":       verb((*Verbs).removeAlias),
	"queue.list":         verb((*Verbs).queueList),
	"queue.show":         verb((*Verbs).queueShow),
	"queue.retry":        verb((*Verbs).queueRetry),
	"queue.hold":         verb((*Verbs).queueHold),
	"queue.release":      verb((*Verbs).queueRelease),
	"queue.delete":       verb((*Verbs).queueDelete),
	"trace":              verb((*Verbs).trace),
	"sieve.list":         verb((*Verbs).sieveList),
	"sieve.show":         verb((*Verbs).sieveShow),
	"sieve.put":          verb((*Verbs).sievePut),
	"sieve.activate":     verb((*Verbs).sieveActivate),
	"sieve.remove":       verb((*Verbs).sieveRemove),
	"sieve.event":        verb((*Verbs).sieveEvent),
	"sieve.test":         verb((*Verbs).sieveTest),
	"sieve.replay":       long((*Verbs).sieveReplay),
	"search.rebuild":     long((*Verbs).rebuildSearch),
	"check":              long((*Verbs).check),
	"status":             verb((*Verbs).status),
	"organisation.quota": verb((*Verbs).orgQuota),
	"undelete.list":      verb((*Verbs).deleted),
	"undelete":           verb((*Verbs).undelete),
	"retention.list":     verb((*Verbs).retentions),
	"retention.set":      verb((*Verbs).setRetention),
}

// Names lists the verbs.
func Names() []string { return slices.Sorted(maps.Keys(table)) }

// Call implements Caller.
func (v *Verbs) Call(ctx context.Context, name string, in, out any, progress func(Progress)) error {
	raw, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("encode the argument of %s: %w", name, err)
	}
	result, err := v.call(ctx, name, raw, progress)
	if err != nil {
		return err
	}
	if out == nil {
		return nil
	}
	if raw, err = json.Marshal(result); err != nil {
		return fmt.Errorf("encode the result of %s: %w", name, err)
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("decode the result of %s: %w", name, err)
	}
	return nil
}

// call runs a verb on JSON. Its error is an *Error.
func (v *Verbs) call(ctx context.Context, name string, in []byte, progress func(Progress)) (any, error) {
	f, ok := table[name]
	if !ok {
		return nil, &Error{Unknown, fmt.Sprintf("no such verb: %q", name)}
	}
	if progress == nil {
		progress = func(Progress) {}
	}
	out, err := f(ctx, v, in, progress)
	if err != nil {
		return nil, errorOf(err)
	}
	return out, nil
}
