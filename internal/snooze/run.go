package snooze

import (
	"context"
	"errors"
	"fmt"
	"time"

	"postroad/imap"
	"postroad/internal/kv"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
)

// The sweep.
const (
	sweepStep  = 256         // entries read under one snapshot
	sweepLater = time.Minute // at most between two looks, and before what failed is tried again
)

// signal tells Run that something may be due earlier than it thinks.
func (s *Store) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run brings messages back at their hour until ctx is done. What was due while nothing ran
// comes back at once.
func (s *Store) Run(ctx context.Context) error {
	for {
		next := time.Now().Add(sweepLater)
		at, err := s.Sweep(ctx)
		if err != nil && ctx.Err() == nil {
			s.Log.Error("snoozed messages stay for now", "error", err)
		}
		if err == nil && !at.IsZero() && at.Before(next) {
			next = at
		}
		pause := time.NewTimer(time.Until(next))
		select {
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		case <-s.wake:
		case <-pause.C:
		}
		pause.Stop()
	}
}

// Sweep brings back what is due, and tells when something is next; zero: nothing within a
// step of what was looked at. One that cannot come back keeps no other from doing so.
func (s *Store) Sweep(ctx context.Context) (next time.Time, err error) {
	var from []byte
	for {
		now := time.Now()
		step, err2 := s.step(ctx, from)
		if err2 != nil {
			return time.Time{}, errors.Join(err, err2)
		}
		for i := range step {
			if step[i].at.After(now) {
				return step[i].at, err
			}
			if err2 := s.back(ctx, step[i]); err2 != nil {
				err = errors.Join(err, fmt.Errorf("message %s of account %s: %w", step[i].message, step[i].account, err2))
			}
			from = append(step[i].key(), 0)
		}
		if len(step) < sweepStep || ctx.Err() != nil {
			return time.Time{}, err
		}
	}
}

// step reads some entries of the due index, in order.
func (s *Store) step(ctx context.Context, from []byte) ([]due, error) {
	snap, err := s.Committer.Engine.Snapshot(ctx, dueSpace)
	if err != nil {
		return nil, fmt.Errorf("read what is due: %w", err)
	}
	defer snap.Close()
	var all []due
	for e, err := range snap.Scan(kv.Range{From: from, Limit: sweepStep}) {
		if err != nil {
			return nil, fmt.Errorf("read what is due: %w", err)
		}
		if d, ok := parseDue(e.Key); ok {
			all = append(all, d)
		}
	}
	return all, nil
}

// back brings a message back, with the end of its record in one commit.
func (s *Store) back(ctx context.Context, d due) error {
	return s.Committer.Commit(ctx, func(ctx context.Context, u *mailflow.Unit) error {
		b := u.Quiet(dueSpace)
		b.Guards = append(b.Guards, kv.Guard{Kind: kv.GuardPresent, Key: d.key()})
		b.Deletes = append(b.Deletes, d.key())
		snap, err := s.snapshot(ctx, d.account)
		if errors.Is(err, mailstore.ErrNoAccount) {
			return nil
		}
		if err != nil {
			return err
		}
		defer snap.Close()
		r, raw, err := read(snap, d.message)
		if err != nil {
			return err
		}
		if raw == nil || !r.Until.Equal(d.at) {
			return nil // left over
		}
		space, _ := mailstore.Guest(d.account)
		own := u.Batch(space)
		own.Guards = append(own.Guards, guard(recordKey(d.message), raw))
		own.Deletes = append(own.Deletes, recordKey(d.message))
		return s.pass(ctx, u, d, r)
	})
}

// pass moves the message to where it comes back.
func (s *Store) pass(ctx context.Context, u *mailflow.Unit, d due, r *Snoozed) error {
	a, err := s.Mail.Account(ctx, d.account)
	if err != nil {
		return err
	}
	from, _, err := a.InRole(ctx, d.message, imap.AttrSnoozed)
	if errors.Is(err, mailstore.ErrNoMessage) || err == nil && from == nil {
		return nil
	}
	if err != nil {
		return err
	}
	t, err := a.Tree(ctx)
	if err != nil {
		return err
	}
	p := mailstore.Pass{Message: d.message, From: from.ID, To: t.Inbox().ID}
	if m := t.ID(r.MoveTo); m != nil && m.Recovery == nil && m.ID != from.ID {
		p.To = m.ID
	}
	r.keywords(&p)
	return a.PreparePass(ctx, u, p)
}
