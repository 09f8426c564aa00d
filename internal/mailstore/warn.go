package mailstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"postroad/internal/kv"
	"postroad/internal/mailflow"
	"postroad/message"
)

// A warning is a message into INBOX when a quota is used to a part that Options.WarnPercent
// names. Which part the account was warned of last is written down in the commit of the
// warning itself, so there is one for each crossing, whatever happens: a crossing that a
// crash hid is seen at the next delivery. The sweep forgets it when usage has gone down.
// The warning counts as any message; one that does not fit is tried again later.

// keyWarned is under which the part is written down: format, percent.
const keyWarned = 'W'

var warnedKey = []byte{keyWarned}

// Warning is what a warning tells.
type Warning struct {
	Account AccountID
	Percent int // that was crossed
	Quota   Quota
	Usage   Usage
}

// percent is how much of the quota is used, of octets or messages, whichever is more.
func (q Quota) percent(u Usage) int {
	part := func(used, limit int64) int {
		if limit <= 0 {
			return 0
		}
		return int(float64(used) / float64(limit) * 100)
	}
	return max(part(u.Bytes, q.Bytes), part(u.Messages, q.Messages))
}

// crossed is the highest of the parts to be warned of that usage has come to, 0 for none.
func (s *Store) crossed(q Quota, u Usage) (percent int) {
	is := q.percent(u)
	for _, p := range s.o.WarnPercent {
		if is >= p {
			percent = max(percent, p)
		}
	}
	return percent
}

// readWarned reads what the account was warned of last.
func readWarned(snap kv.Snapshot) (percent int, raw []byte, found bool, err error) {
	raw, found, err = get(snap, warnedKey)
	if err != nil || !found {
		return 0, nil, false, err
	}
	r := newReader(raw)
	return r.count(100), raw, true, r.err("warning of a quota")
}

func putWarned(percent int) kv.Put {
	return kv.Put{Key: warnedKey, Value: []byte{format1, byte(percent)}}
}

// watchQuota has the account warned, after the commit, when it crosses a part.
func (w *work) watchQuota(q Quota, will Usage) error {
	s, id := w.a.store, w.a.id
	percent := s.crossed(q, will)
	if percent == 0 {
		return nil
	}
	warned, _, _, err := readWarned(w.snap)
	if err != nil || percent <= warned {
		return err
	}
	w.u.After(w.a.space, func(kv.Result) { s.warnLater(id) })
	return nil
}

// warnLater has Run warn an account.
func (s *Store) warnLater(id AccountID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.warnings[id] = true
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// nextWarning takes an account that is to be warned, 0 where there is none.
func (s *Store) nextWarning() AccountID {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.warnings {
		delete(s.warnings, id)
		return id
	}
	return 0
}

// warnOne warns an account in the background.
func (s *Store) warnOne(ctx context.Context, id AccountID) {
	a, err := s.Account(ctx, id)
	if err == nil {
		err = a.warn(ctx)
	}
	if err != nil && !errors.Is(err, ErrNoAccount) && !errors.Is(err, ErrOverQuota) && ctx.Err() == nil {
		s.o.Log.Error("a warning of a quota could not be given", "account", id, "error", err)
	}
}

// warn puts a warning into INBOX if one is due, or forgets the last when usage went down.
func (a *Account) warn(ctx context.Context) error {
	s := a.store
	if len(s.o.WarnPercent) == 0 || s.o.Warning == nil {
		return nil
	}
	w, due, err := a.warning(ctx)
	if err != nil || !due {
		return err
	}
	text, err := s.o.Warning(ctx, w)
	if err != nil {
		return fmt.Errorf("write a warning: %w", err)
	}
	parsed, err := message.Parse(strings.NewReader(text), message.Limits{})
	if err != nil {
		return fmt.Errorf("write a warning: %w", err)
	}
	body, err := s.o.Committer.Bodies.Stage(ctx, strings.NewReader(text), int64(len(text)))
	if err != nil {
		return storageError("write a warning", err)
	}
	defer s.o.Committer.Bodies.Discard(body) // a body that a commit took is left alone
	in := &Incoming{Body: body, Message: parsed, InternalDate: time.Now()}
	err = a.commit(ctx, "warn of a quota", func(ctx context.Context, u *mailflow.Unit) error {
		now, due, err := a.prepareWarned(ctx, u)
		if err != nil || !due {
			return err
		}
		if now.Percent != w.Percent {
			return errChanged
		}
		inbox, err := a.Inbox(ctx)
		if err != nil {
			return err
		}
		_, err = a.PrepareAppend(ctx, u, in, inbox)
		return err
	})
	if errors.Is(err, errChanged) {
		s.warnLater(a.id)
		return nil
	}
	return err
}

// warning tells whether a warning is due, and writes down when usage went down.
func (a *Account) warning(ctx context.Context) (w Warning, due bool, err error) {
	err = a.commit(ctx, "look at a quota", func(ctx context.Context, u *mailflow.Unit) error {
		scratch := new(mailflow.Unit)
		if w, due, err = a.prepareWarned(ctx, scratch); err != nil || due {
			return err
		}
		_, _, err = a.prepareWarned(ctx, u)
		return err
	})
	return w, due, err
}

// prepareWarned writes down what the account has come to, if that is other than what it
// was warned of; due tells that it is more.
func (a *Account) prepareWarned(ctx context.Context, u *mailflow.Unit) (w Warning, due bool, err error) {
	snap, err := a.snapshot(ctx)
	if err != nil {
		return w, false, err
	}
	defer snap.Close()
	q, used, err := readQuota(snap)
	if err != nil {
		return w, false, err
	}
	warned, raw, found, err := readWarned(snap)
	if err != nil {
		return w, false, err
	}
	w = Warning{Account: a.id, Percent: a.store.crossed(q, used), Quota: q, Usage: used}
	if w.Percent == warned {
		return w, false, nil
	}
	b := u.Quiet(a.space)
	b.Guards = append(b.Guards, guardValue(warnedKey, raw, found))
	b.Puts = append(b.Puts, putWarned(w.Percent))
	return w, w.Percent > warned, nil
}
