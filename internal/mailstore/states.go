package mailstore

import (
	"context"
	"errors"
)

// States are those of what an Emails has: each the moment of the last change that the reader
// can see of the kind. Messages change when they come or go, and with their mailboxes and
// keywords; mailboxes also with what they hold; threads when messages come or go, and when
// they join.
type States struct{ Emails, Mailboxes, Threads State }

// knownStates are states that were found for a version. Those of the log are found by what
// came after it, which gives the same as to read the whole log.
type knownStates struct {
	version                uint64
	mail, mailboxes        uint32 // the scopes
	emails, boxes, threads uint64 // 0: not found
}

// statesFirst is how many mod-sequences of the log are looked at first for a last change.
const statesFirst = 64

// States returns the states at the moment of e.
func (e *Emails) States(ctx context.Context) (States, error) {
	k, err := e.knownStates(ctx)
	if err != nil {
		return States{}, storageError("state of the account", err)
	}
	// Where the log has none, the mailboxes still tell when they changed.
	floor := uint64(0)
	for i := range e.boxes {
		if s := e.boxes[i].snapshot; s != nil && s.highest > 1 {
			floor = max(floor, s.highest)
		}
	}
	s := States{State{ModSeq: k.emails, Scope: e.sight.mail}, State{ModSeq: k.boxes, Scope: e.sight.mailboxes},
		State{ModSeq: k.threads, Scope: e.sight.mail}}
	for _, one := range []*State{&s.Emails, &s.Mailboxes, &s.Threads} {
		if one.ModSeq == 0 {
			one.ModSeq = floor
		}
	}
	return s, nil
}

// knownStates finds the last changes that the log has.
func (e *Emails) knownStates(ctx context.Context) (knownStates, error) {
	c := e.cell
	c.statesMu.Lock()
	defer c.statesMu.Unlock()
	k := c.states
	same := k.mail == e.sight.mail && k.mailboxes == e.sight.mailboxes && k.version > 0
	if same && k.version == uint64(e.version) {
		return k, nil
	}
	if same && k.version < uint64(e.version) {
		err := e.history(ctx, k.version, func(h *history) error { return k.later(h) })
		if err == nil {
			k.version = uint64(e.version)
			c.states = k
			return k, nil
		}
		if !errors.Is(err, ErrNoChanges) {
			return k, err
		}
	}
	k, err := e.findStates(ctx)
	if err == nil && k.version >= c.states.version {
		c.states = k
	}
	return k, err
}

// findStates looks for the last changes in the log, further and further back.
func (e *Emails) findStates(ctx context.Context) (knownStates, error) {
	version := uint64(e.version)
	floor, err := e.logFloor(ctx)
	if err != nil {
		return knownStates{}, err
	}
	for back := uint64(statesFirst); ; back *= 8 {
		k := knownStates{version: version, mail: e.sight.mail, mailboxes: e.sight.mailboxes}
		from := floor
		if version > floor+back {
			from = version - back
		}
		err := e.history(ctx, from, func(h *history) error { return k.later(h) })
		if errors.Is(err, ErrNoChanges) && from > floor {
			continue // more than can be looked at, or what it needs lies further back
		}
		if errors.Is(err, ErrNoChanges) {
			err = nil // the log was cut meanwhile: there is nothing in it to be found
		}
		if err != nil || from == floor || k.emails > 0 && k.boxes > 0 && k.threads > 0 {
			return k, err
		}
	}
}

// logFloor is the mod-sequence up to which the log was cut.
func (e *Emails) logFloor(ctx context.Context) (uint64, error) {
	snap, err := e.account.snapshot(ctx)
	if err != nil {
		return 0, err
	}
	defer snap.Close()
	return changeFloor(snap)
}

// later moves the states on by a stretch of the log.
func (k *knownStates) later(h *history) error {
	k.emails, k.boxes, k.threads = max(k.emails, h.lastMail), max(k.boxes, h.lastMail, h.trash), max(k.threads, h.lastJoined)
	for _, m := range h.mailboxes {
		k.boxes = max(k.boxes, m.last)
	}
	for id, m := range h.messages {
		for _, at := range h.turns(id, m) {
			k.threads = max(k.threads, at)
		}
	}
	return nil
}

// EmailState is the state of a reader's messages now: it moves with messages that come and
// go, their mailboxes and keywords.
func (a *Account) EmailState(ctx context.Context, r Reader) (State, error) {
	s, err := a.states(ctx, r)
	return s.Emails, err
}

// MailboxState is the state of a reader's mailboxes: it moves also with what they hold.
func (a *Account) MailboxState(ctx context.Context, r Reader) (State, error) {
	s, err := a.states(ctx, r)
	return s.Mailboxes, err
}

// ThreadState is the state of a reader's threads: it moves when messages come or go, and
// when threads join.
func (a *Account) ThreadState(ctx context.Context, r Reader) (State, error) {
	s, err := a.states(ctx, r)
	return s.Threads, err
}

func (a *Account) states(ctx context.Context, r Reader) (States, error) {
	e, err := a.Emails(ctx, r)
	if err != nil {
		return States{}, err
	}
	return e.States(ctx)
}
