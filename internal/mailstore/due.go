package mailstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
	"postroad/internal/mailflow"
)

// When time next has work in an account is kept as data, so that a pass opens only those
// accounts: under L in the account, and in the order of time in a space of all accounts.
//
// The time is never too late. It is that of the oldest message that a rule of age will take,
// or that can be brought back; where there is none, as if one had come just now, since all
// that comes later is younger. Rules of number can have work after any delivery: an account
// with one is looked at in each pass. Who changes a rule, or which mailbox has a special
// use, makes the account due at once.
//
// The space has d TIME ACCOUNT, and under o the options from which the times were made. If
// they are others than those of now all accounts are looked at once.
const (
	keyDue        = 'L' // of the account: format, seconds since 1970
	keyDueTime    = 'd'
	lifeSpace     = kv.Space("life")
	lifeBatch     = 1000 // accounts read ahead
	dueKeyLen     = 1 + 8 + 8
	dueAccountOff = 1 + 8
)

var (
	dueKey         = []byte{keyDue}
	lifeOptionsKey = []byte{'o'}
)

// dueTimeKey is the key of an account in the order of time.
func dueTimeKey(at int64, id AccountID) []byte {
	k := binary.BigEndian.AppendUint64([]byte{keyDueTime}, uint64(at))
	return binary.BigEndian.AppendUint64(k, uint64(id))
}

// readDue reads when an account is due.
func readDue(snap kv.Snapshot) (at int64, raw []byte, err error) {
	raw, found, err := get(snap, dueKey)
	if err != nil || !found {
		return 0, nil, err
	}
	r := newReader(raw)
	at = int64(r.uint64())
	return at, raw, r.err("when an account is due")
}

// prepareDue makes an account due at a time; raw is what its L key had, nil for nothing.
func prepareDue(u *mailflow.Unit, id AccountID, raw []byte, before, at int64) {
	b := u.Quiet(space(id))
	b.Guards = append(b.Guards, guardValue(dueKey, raw, raw != nil))
	b.Puts = append(b.Puts, kv.Put{Key: dueKey, Value: binary.BigEndian.AppendUint64([]byte{format1}, uint64(at))})
	l := u.Quiet(lifeSpace)
	if raw != nil {
		l.Deletes = append(l.Deletes, dueTimeKey(before, id))
	}
	l.Puts = append(l.Puts, kv.Put{Key: dueTimeKey(at, id), Value: []byte{format1}})
}

// due makes the account due at once.
func (w *work) due() error {
	if pending(w.quiet(), dueKey) != nil {
		return nil
	}
	at, raw, err := readDue(w.snap)
	now := time.Now().Unix()
	if err != nil || raw != nil && at <= now {
		return err
	}
	prepareDue(w.u, w.a.id, raw, at, now)
	return nil
}

// settle makes the account due again when the work that was done for it is due next, unless
// somebody has made it due meanwhile.
func (a *Account) settle(ctx context.Context, was []byte, next time.Time) error {
	return a.commit(ctx, "when time has work", func(ctx context.Context, u *mailflow.Unit) error {
		snap, err := a.snapshot(ctx)
		if err != nil {
			return err
		}
		defer snap.Close()
		if _, _, err := readAccount(snap); err != nil {
			return err
		}
		before, raw, err := readDue(snap)
		if err != nil || !slices.Equal(raw, was) || raw != nil && before == next.Unix() {
			return err
		}
		prepareDue(u, a.id, raw, before, next.Unix())
		return nil
	})
}

// life does what time asks for in an account and notes when it will next.
func (s *Store) life(ctx context.Context, id AccountID) error {
	a, err := s.Account(ctx, id)
	if err != nil {
		return err
	}
	snap, err := a.snapshot(ctx)
	if err != nil {
		return err
	}
	_, was, err := readDue(snap)
	was = slices.Clone(was)
	snap.Close()
	if err != nil {
		return err
	}
	next, err := a.life(ctx, time.Now())
	if err != nil {
		return err
	}
	return a.settle(ctx, was, next)
}

// lifeOnce goes through the accounts that are due, without hurry.
func (s *Store) lifeOnce(ctx context.Context) error {
	options := s.lifeOptions()
	snap, err := s.engine().Snapshot(ctx, lifeSpace)
	if err != nil {
		return err
	}
	v, _, err := get(snap, lifeOptionsKey)
	same := string(v) == options
	snap.Close()
	if err != nil {
		return err
	}
	if !same {
		if err := s.lifeOfAll(ctx); err != nil {
			return err
		}
		return s.o.Committer.Commit(ctx, func(_ context.Context, u *mailflow.Unit) error {
			b := u.Quiet(lifeSpace)
			b.Puts = append(b.Puts, kv.Put{Key: lifeOptionsKey, Value: []byte(options)})
			return nil
		})
	}
	if s.o.DiskFull != nil && s.o.DiskFull() {
		return s.lifeOfAll(ctx) // what can be brought back goes before its time
	}
	now := time.Now().Unix()
	for from := []byte{keyDueTime}; from != nil; {
		var due []dueAccount
		if due, from, err = s.due(ctx, from, now); err != nil {
			return err
		}
		for n, d := range due {
			if err := s.lifeOf(ctx, n, d.id); errors.Is(err, ErrNoAccount) {
				err = s.undue(ctx, d)
				if err != nil {
					return err
				}
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
	return nil
}

// lifeOptions are the options that say what is due.
func (s *Store) lifeOptions() string {
	var rules []string
	for role, r := range s.o.Retention {
		rules = append(rules, fmt.Sprintf("%s %s", role, r))
	}
	slices.Sort(rules)
	return fmt.Sprintf("%c%q undelete %s", format1, rules, s.o.Undelete)
}

// lifeOfAll goes through all accounts.
func (s *Store) lifeOfAll(ctx context.Context) error {
	n := 0
	for name, err := range s.engine().Spaces(ctx, "a/") {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		if id, ok := accountOf(name); ok {
			_ = s.lifeOf(ctx, n, id) // logged; it stays due
			n++
		}
	}
	return nil
}

// lifeOf does one account, the nth of a pass. Only that there is none is the caller's error.
func (s *Store) lifeOf(ctx context.Context, n int, id AccountID) error {
	if n%startupStep == startupStep-1 {
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond): // nobody waits for this
		}
	}
	err := s.life(ctx, id)
	if errors.Is(err, ErrNoAccount) {
		return ErrNoAccount
	}
	if err != nil && ctx.Err() == nil {
		s.o.Log.Error("retention of an account failed; it is tried again", "account", id, "error", err)
	}
	return nil
}

// dueAccount is an entry in the order of time.
type dueAccount struct {
	id AccountID
	at int64
}

// due reads accounts that are due, from a key on; next is where to go on, nil at the end.
func (s *Store) due(ctx context.Context, from []byte, now int64) (due []dueAccount, next []byte, err error) {
	snap, err := s.engine().Snapshot(ctx, lifeSpace)
	if err != nil {
		return nil, nil, err
	}
	defer snap.Close()
	for e, err := range snap.Scan(kv.Range{From: from, To: dueTimeKey(now+1, 0), Limit: lifeBatch}) {
		if err != nil {
			return nil, nil, fmt.Errorf("scan what is due: %w", err)
		}
		if len(e.Key) != dueKeyLen {
			return nil, nil, fmt.Errorf("%w: key of an account that is due %q", ErrDamaged, e.Key)
		}
		due = append(due, dueAccount{hlc.ID(binary.BigEndian.Uint64(e.Key[dueAccountOff:])), int64(binary.BigEndian.Uint64(e.Key[1:]))})
		next = append(slices.Clone(e.Key), 0)
	}
	if len(due) < lifeBatch {
		next = nil
	}
	return due, next, nil
}

// undue takes away the entry of an account that is there no more.
func (s *Store) undue(ctx context.Context, d dueAccount) error {
	return s.o.Committer.Commit(ctx, func(_ context.Context, u *mailflow.Unit) error {
		b := u.Quiet(lifeSpace)
		b.Deletes = append(b.Deletes, dueTimeKey(d.at, d.id))
		return nil
	})
}
