package mailstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"postroad/imap"
	"postroad/internal/mailflow"
	"postroad/internal/trace"
)

// Retention is for how long messages stay in a mailbox. What it takes away can be brought
// back as if its owner had expunged it. The rule of a mailbox is its annotation
// EntryRetention, else that of Options.Retention for its special use.
type Retention struct {
	After    time.Duration // since it came into the mailbox; 0: for ever
	Messages int           // at most so many, the newest; 0: any number
}

// retentionNone is the rule of a mailbox that keeps everything, whatever its special use.
const retentionNone = "none"

// The units of a rule's time.
const (
	day  = 24 * time.Hour
	week = 7 * day
)

// ParseRetention reads a rule: "30d", "1000 messages", "4w, 1000 messages", "none". Times
// are in hours (h), days (d) or weeks (w). ErrUse for anything else.
func ParseRetention(s string) (r Retention, err error) {
	bad := fmt.Errorf("%w: a retention is written 30d, 1000 messages, or both with a comma, not %q", ErrUse, s)
	if s == retentionNone {
		return r, nil
	}
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		count, messages := strings.CutSuffix(part, " messages")
		unit := time.Duration(0)
		if !messages && len(part) > 0 {
			unit = map[byte]time.Duration{'h': time.Hour, 'd': day, 'w': week}[part[len(part)-1]]
			count = part[:len(part)-1]
		}
		n, err := strconv.ParseUint(count, 10, 20)
		switch {
		case err != nil || n == 0:
			return Retention{}, bad
		case messages && r.Messages == 0:
			r.Messages = int(n)
		case unit > 0 && r.After == 0 && n <= uint64(100*365*day/unit):
			r.After = time.Duration(n) * unit
		default:
			return Retention{}, bad
		}
	}
	return r, nil
}

// String writes a rule as ParseRetention reads it.
func (r Retention) String() string {
	var parts []string
	switch {
	case r.After == 0:
	case r.After%day == 0:
		parts = append(parts, fmt.Sprintf("%dd", r.After/day))
	default:
		parts = append(parts, fmt.Sprintf("%dh", r.After/time.Hour))
	}
	if r.Messages > 0 {
		parts = append(parts, fmt.Sprintf("%d messages", r.Messages))
	}
	if len(parts) == 0 {
		return retentionNone
	}
	return strings.Join(parts, ", ")
}

// Retention returns the rule of a mailbox; own tells that it is its own, not that of its
// special use.
func (a *Account) Retention(ctx context.Context, mailbox MailboxID) (r Retention, own bool, err error) {
	w, err := a.begin(ctx, new(mailflow.Unit))
	if err != nil {
		return r, false, err
	}
	defer w.close()
	m := w.tree.ID(mailbox)
	if m == nil || m.Recovery != nil {
		return r, false, fmt.Errorf("retention of mailbox %s: %w", mailbox, ErrNoMailbox)
	}
	r, own, err = w.retention(m)
	return r, own, storageError("read a retention", err)
}

func (w *work) retention(m *Mailbox) (r Retention, own bool, err error) {
	k, err := annotationKey(m.ID, 0, EntryRetention)
	if err != nil {
		return r, false, err
	}
	v, found, err := get(w.snap, k)
	if err != nil || !found {
		return w.a.store.o.Retention[m.Role], false, err
	}
	if r, err = ParseRetention(string(v[1:])); err != nil {
		return r, true, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return r, true, nil
}

// SetRetention gives a mailbox a rule of its own; nil takes it away.
func (a *Account) SetRetention(ctx context.Context, mailbox MailboxID, r *Retention) error {
	n := Annotation{Name: EntryRetention}
	if r != nil {
		n.Value = []byte(r.String())
	}
	return a.Annotate(ctx, mailbox, a.id, []Annotation{n})
}

// retain takes away what the rules of all mailboxes no longer keep, and returns when they
// will have work again; zero: never.
func (a *Account) retain(ctx context.Context, now time.Time) (next time.Time, err error) {
	t, err := a.Tree(ctx)
	if err != nil {
		return next, err
	}
	for _, m := range t.All() {
		var at time.Time
		r, _, err := a.Retention(ctx, m.ID)
		if err == nil && r != (Retention{}) {
			at, err = a.retainMailbox(ctx, m, r, now)
		}
		if err != nil && !errors.Is(err, ErrNoMailbox) {
			return next, err
		}
		next = sooner(next, at)
	}
	return next, nil
}

// sooner is the first of two times, of which zero is never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// retainMailbox does one mailbox, and returns when its rule will have work again.
func (a *Account) retainMailbox(ctx context.Context, m *Mailbox, r Retention, now time.Time) (next time.Time, err error) {
	oldest := now // of what is left, or comes from now on
	if r.Messages > 0 {
		next = now // any delivery can be one too many
	}
	status, err := a.Status(ctx, m.ID)
	if err != nil {
		return next, err
	}
	var uids imap.UIDSet
	if status[0].Messages > 0 {
		if uids, oldest, err = a.outlived(ctx, m, r, now); err != nil {
			return next, err
		}
	}
	if r.After > 0 {
		next = sooner(next, oldest.Add(r.After))
	}
	return next, a.expire(ctx, m, r, uids)
}

// outlived finds the messages that a rule no longer keeps, and when the oldest of the others
// came.
func (a *Account) outlived(ctx context.Context, m *Mailbox, r Retention, now time.Time) (uids imap.UIDSet, oldest time.Time, err error) {
	v, err := a.View(ctx, m.ID)
	if err != nil {
		return nil, now, err
	}
	defer v.Close()
	s, err := v.Snapshot(ctx)
	if err != nil {
		return nil, now, err
	}
	limit := int64(0)
	if r.After > 0 {
		limit = now.Add(-r.After).Unix()
	}
	surplus := 0
	if r.Messages > 0 {
		surplus = s.Len() - r.Messages
	}
	first := now.Unix()
	for i, row := range s.Rows(0, s.Len()) {
		if i < surplus || row.SaveDate <= limit {
			uids.Add(row.UID)
		} else {
			first = min(first, row.SaveDate)
		}
	}
	return uids, time.Unix(first, 0), nil
}

// expire takes messages away.
func (a *Account) expire(ctx context.Context, m *Mailbox, r Retention, uids imap.UIDSet) error {
	if len(uids) == 0 {
		return nil
	}
	return a.inParts(ctx, m.ID, uids, func(ctx context.Context, part imap.UIDSet) error {
		return a.commit(ctx, "keep a retention", func(ctx context.Context, u *mailflow.Unit) error {
			e, err := a.PrepareExpunge(ctx, u, m.ID, part, true)
			if err != nil || len(e.UIDs) == 0 {
				return err
			}
			trace.Prepare(u, trace.Event{Mail: a.store.o.Clock.Next(), Kind: trace.Expired, Detail: trace.Detail{
				Recipients: []string{a.id.String()}, Account: a.id, Mailbox: m.Name, Rule: r.String(),
				Text: fmt.Sprintf("%d messages: UIDs %s", e.UIDs.Count(), e.UIDs)}})
			return nil
		})
	})
}

// Life does what time asks for: retention, and the end of what can be brought back.
func (a *Account) Life(ctx context.Context) error {
	_, err := a.life(ctx, time.Now())
	return err
}

// neverDue is when an account without rules is due: once in a while, in case that somebody
// who knows of no times has changed it.
const neverDue = 30 * day

// life is Life; next is when there will be work again, or sooner.
func (a *Account) life(ctx context.Context, now time.Time) (next time.Time, err error) {
	if next, err = a.retain(ctx, now); err != nil {
		return next, storageError("retention", err)
	}
	if err := a.purge(ctx, now); err != nil {
		return next, storageError("purge", err)
	}
	kept, err := a.purgeNext(ctx, now)
	if err != nil {
		return next, storageError("purge", err)
	}
	return sooner(sooner(next, kept), now.Add(neverDue)), nil
}

// live has time do its work on the accounts that are due, now and then, until ctx is done.
func (s *Store) live(ctx context.Context) {
	tick := time.NewTicker(s.o.LifeEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := s.lifeOnce(ctx); err != nil && ctx.Err() == nil {
				s.o.Log.Error("the accounts in which time has work cannot be found; it is tried again", "error", err)
			}
		}
	}
}
