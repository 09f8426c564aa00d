package tokens

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"postroad/internal/kv"
)

// onceMax is for how long at most something may be kept from happening again.
const onceMax = time.Hour

// onceRecord says until when a mark is needed.
type onceRecord struct {
	Until time.Time `json:"until"`
}

// Once marks that what has a name (a challenge that was answered) happened, until a time
// when it is of no worth any more, at most onceMax ahead. ErrReused: it had happened before.
// Only who has proved something may make marks, or strangers could fill the store.
func (s *Store) Once(ctx context.Context, account AccountID, name string, until time.Time) error {
	sum := sha256.Sum256([]byte(name))
	k := string(partOnce) + hex.EncodeToString(sum[:])
	if end := time.Now().Add(onceMax); until.After(end) {
		until = end
	}
	return s.edit(ctx, account, func(e *editor) error {
		have, err := read[onceRecord](e, k)
		if err != nil {
			return err
		}
		if have != nil {
			return ErrReused
		}
		if err := e.sweepOnce(time.Now()); err != nil {
			return err
		}
		return e.put(k, onceRecord{until.UTC()})
	})
}

// sweepOnce removes marks that nobody needs.
func (e *editor) sweepOnce(at time.Time) error {
	return scan(e.snap, string(partOnce), func(rest string, r *onceRecord) error {
		if at.After(r.Until) {
			e.remove(string(partOnce) + rest)
		}
		return nil
	})
}

// Swept is what a sweep found.
type Swept struct {
	Accounts int // looked at
	Ended    int // sessions and grants thrown away
	Gone     int // accounts that are no more, with all they had
}

// Sweep throws away what is over, in all accounts, and all that accounts had which are no
// more: exists tells which are.
func (s *Store) Sweep(ctx context.Context, exists func(context.Context, AccountID) (bool, error)) (Swept, error) {
	var n Swept
	for name, err := range s.Committer.Engine.Spaces(ctx, spacePrefix) {
		if err != nil {
			return n, fmt.Errorf("sweep tokens: %w", err)
		}
		id, err := parseSpace(name)
		if err != nil {
			return n, err
		}
		n.Accounts++
		there, err := exists(ctx, id)
		if err != nil {
			return n, fmt.Errorf("sweep tokens: %w", err)
		}
		if !there {
			n.Gone++
			if err := s.Forget(ctx, id); err != nil {
				return n, err
			}
			continue
		}
		ended, err := s.sweepAccount(ctx, id)
		if err != nil {
			return n, err
		}
		n.Ended += ended
	}
	return n, nil
}

// Forget throws away all that an account had.
func (s *Store) Forget(ctx context.Context, account AccountID) error {
	_, err := s.Committer.Engine.Commit(ctx, kv.Batch{Space: space(account), Quiet: true, Ranges: []kv.Range{{}}, MakesRoom: true})
	if err != nil {
		return fmt.Errorf("forget the tokens of account %s: %w", account, err)
	}
	return nil
}

// sweepAccount throws away what is over, and uses that stayed behind.
func (s *Store) sweepAccount(ctx context.Context, account AccountID) (ended int, err error) {
	err = s.edit(ctx, account, func(e *editor) error {
		ended = 0
		at := time.Now()
		sessions, err := e.sessions()
		if err != nil {
			return err
		}
		grants, err := e.grants()
		if err != nil {
			return err
		}
		lives := map[string]bool{}
		for _, x := range append(sessions, grants...) {
			if !x.span.over(at) {
				lives[x.id.String()] = true
				continue
			}
			ended++
			e.remove(key(x.part, x.id), key(partUse, x.id))
		}
		err = scan(e.snap, string(partUse), func(rest string, _ *useRecord) error {
			if !lives[rest] {
				e.remove(string(partUse) + rest)
			}
			return nil
		})
		return errors.Join(err, e.sweepOnce(at))
	})
	if errors.Is(err, kv.ErrTooLarge) {
		err = fmt.Errorf("account %s has more tokens than one commit can end: %w", account, err)
	}
	return ended, err
}
