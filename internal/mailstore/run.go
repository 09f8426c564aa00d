package mailstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"postroad/internal/kv"
	"postroad/internal/mailflow"
)

// due is an account to be swept.
type due struct {
	id AccountID
	at time.Time
}

// startupStep is how many accounts Run looks at in one go when it starts.
const startupStep = 100

// sweepLater has Run sweep the account after a while.
func (s *Store) sweepLater(id AccountID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dueSet[id] {
		return
	}
	s.dueSet[id] = true
	s.sweeps = append(s.sweeps, due{id, time.Now().Add(s.o.SweepAfter)})
	if len(s.sweeps) == 1 {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// nextSweep takes the next account off the list when its time has come; else it returns
// how long that is.
func (s *Store) nextSweep() (AccountID, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.sweeps) == 0 {
		return 0, time.Hour
	}
	first := s.sweeps[0]
	if wait := time.Until(first.at); wait > 0 {
		return 0, wait
	}
	s.sweeps = s.sweeps[1:]
	delete(s.dueSet, first.id)
	return first.id, 0
}

// Run wakes readers when accounts were changed by others and sweeps what expunged
// messages left, until ctx is done. Without it nothing is lost, only later.
func (s *Store) Run(ctx context.Context) error {
	var beside sync.WaitGroup
	beside.Go(func() { s.poll(ctx) })
	beside.Go(func() { s.live(ctx) })
	beside.Go(func() { s.runIndexing(ctx) })
	defer beside.Wait()
	s.findLeftovers(ctx)
	for ctx.Err() == nil {
		if id := s.nextWarning(); id != 0 {
			s.warnOne(ctx, id)
			continue
		}
		id, wait := s.nextSweep()
		if id != 0 {
			s.sweepOne(ctx, id)
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-s.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
	return ctx.Err()
}

func (s *Store) sweepOne(ctx context.Context, id AccountID) {
	a, err := s.Account(ctx, id)
	if err == nil {
		err = a.Sweep(ctx)
	}
	if err != nil && !errors.Is(err, ErrNoAccount) && ctx.Err() == nil {
		s.o.Log.Error("sweep of an account failed; it is tried again", "account", id, "error", err)
		s.sweepLater(id)
	}
}

// findLeftovers looks for what a crash left unswept in accounts that nobody opens.
func (s *Store) findLeftovers(ctx context.Context) {
	n := 0
	for name, err := range s.engine().Spaces(ctx, "a/") {
		if err != nil || ctx.Err() != nil {
			return
		}
		id, ok := accountOf(name)
		if !ok {
			continue
		}
		snap, err := s.engine().Snapshot(ctx, name)
		if err != nil {
			return
		}
		found, err1 := hasLeftovers(snap)
		indexing, err2 := hasIndexing(snap)
		snap.Close()
		if found && err1 == nil {
			s.sweepLater(id)
		}
		if indexing && err2 == nil {
			s.indexing.later(id, 0)
		}
		if n++; n%startupStep == 0 {
			select {
			case <-ctx.Done():
			case <-time.After(10 * time.Millisecond): // nobody waits for this
			}
		}
	}
}

// poll compares the versions of watched accounts with what their readers were told, for
// changes that another process made.
func (s *Store) poll(ctx context.Context) {
	tick := time.NewTicker(s.o.Poll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.pollOnce(ctx)
		}
	}
}

func (s *Store) pollOnce(ctx context.Context) {
	var watched []*Account
	var spaces []kv.Space
	s.mu.Lock()
	for _, a := range s.accounts {
		if a.watched() {
			watched, spaces = append(watched, a), append(spaces, a.space)
		}
	}
	s.mu.Unlock()
	if len(spaces) == 0 {
		return
	}
	versions, err := s.engine().Versions(ctx, spaces...)
	if err != nil {
		if ctx.Err() == nil {
			s.o.Log.Warn("versions of accounts cannot be read", "error", err)
		}
		return
	}
	for i, a := range watched {
		a.moved(versions[i], nil, false)
	}
}

// watched tells whether somebody waits for changes.
func (a *Account) watched() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.watch) > 0 {
		return true
	}
	for _, l := range a.live {
		if len(l.watch)+len(l.calls) > 0 {
			return true
		}
	}
	return false
}

// moved tells the readers of an account, if there are any, of a commit to mailboxes.
func (s *Store) moved(id AccountID, v kv.Version, mailboxes []MailboxID) {
	if a := s.cached(id); a != nil {
		a.moved(v, mailboxes, true)
	}
}

// moved wakes the readers of mailboxes; all readers where commits that nobody told of lie
// between. Hints out of order wake too many, never too few.
func (a *Account) moved(v kv.Version, mailboxes []MailboxID, ours bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	missed := v > a.seen+1 || !ours && v > a.seen
	if !ours && !missed {
		return
	}
	a.seen = max(a.seen, v)
	for ch := range a.watch {
		hint(ch)
	}
	for id, l := range a.live {
		if missed || contains(mailboxes, id) {
			l.wake()
		}
	}
}

func hint(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

func contains[T comparable](ids []T, id T) bool {
	for _, i := range ids {
		if i == id {
			return true
		}
	}
	return false
}

// Notify makes ch receive after anything in the account changed: mailboxes, messages,
// flags. Stop ends it.
func (a *Account) Notify(ch chan<- struct{}) {
	a = a.current()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.watch == nil {
		a.watch = map[chan<- struct{}]bool{}
	}
	if !a.watch[ch] {
		a.watch[ch] = true
		a.opened++
	}
}

// Stop ends what Notify began.
func (a *Account) Stop(ch chan<- struct{}) {
	a = a.current()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.watch[ch] {
		delete(a.watch, ch)
		a.opened--
	}
}

// Delete removes an account with all its mail, in bounded steps; it may be called again
// after it was interrupted. Readers find ErrNoAccount from the first step on.
func (s *Store) Delete(ctx context.Context, id AccountID) error {
	a := &Account{store: s, id: id, space: space(id)}
	if old := s.cached(id); old != nil {
		a = old
	}
	a.sweepMu.Lock()
	defer a.sweepMu.Unlock()
	defer s.forget(id)
	if err := a.condemn(ctx); err != nil {
		return err
	}
	a.dropEmails()
	for more := true; more; {
		var err error
		if more, err = a.deleteSome(ctx); err != nil {
			return err
		}
	}
	return a.commit(ctx, "delete an account", func(ctx context.Context, u *mailflow.Unit) error {
		snap, err := a.snapshot(ctx)
		if err != nil {
			return err
		}
		defer snap.Close()
		b := u.Batch(a.space)
		b.Ranges = append(b.Ranges, kv.Range{})
		for _, k := range [][]byte{quotaBytesKey, quotaMessagesKey, annotationBytesKey} {
			n, err := snap.Counter(k)
			if err != nil {
				return err
			}
			b.Adds = append(b.Adds, kv.Add{Key: k, N: -n})
		}
		return s.prepareLeave(ctx, u, id, snap)
	})
}

// condemn marks the account and takes away its tree, so that every commit of mail under
// way fails by its guards.
func (a *Account) condemn(ctx context.Context) error {
	return a.commit(ctx, "delete an account", func(ctx context.Context, u *mailflow.Unit) error {
		snap, err := a.snapshot(ctx)
		if err != nil {
			return err
		}
		defer snap.Close()
		raw, found, err := get(snap, accountKey)
		if err != nil {
			return err
		}
		if !found {
			return ErrNoAccount
		}
		if newReader(raw).octet() != accountDies {
			if err := a.unshare(snap, u); err != nil {
				return err
			}
		}
		b := u.Batch(a.space)
		b.Guards = append(b.Guards, guardValue(accountKey, raw, found))
		b.Puts = append(b.Puts, kv.Put{Key: accountKey, Value: []byte{format1, accountDies}})
		b.Deletes = append(b.Deletes, treeKey)
		b.Ranges = append(b.Ranges, kv.Prefix([]byte{keyMailbox}), kv.Prefix([]byte{keyACL}))
		s, id := a.store, a.id
		u.After(a.space, func(r kv.Result) { s.moved(id, r.Version+1, nil) }) // +1: wakes all
		return nil
	})
}

// deleteSome takes some messages away.
func (a *Account) deleteSome(ctx context.Context) (more bool, err error) {
	err = a.commit(ctx, "delete messages", func(ctx context.Context, u *mailflow.Unit) error {
		snap, err := a.snapshot(ctx)
		if err != nil {
			return err
		}
		defer snap.Close()
		more = false
		r := kv.Prefix([]byte{keyMessage})
		r.Limit = 200
		for e, err := range snap.Scan(r) {
			if err != nil {
				return err
			}
			id, _ := keyID(e.Key)
			var m Record
			if _, _, err := m.readMessage(e.Value); err != nil {
				return fmt.Errorf("message %s: %w", id, err)
			}
			b := u.Batch(a.space)
			b.Deletes = append(b.Deletes, key(keyMessage, id), key(keyList, id))
			u.Drop(m.Body, holder(a.id, id))
			more = true
		}
		return nil
	})
	return more, err
}
