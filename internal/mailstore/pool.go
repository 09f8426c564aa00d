package mailstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
	"postroad/internal/mailflow"
)

// An organisation's quota is a pool that its accounts take leases from, in slices, so that
// a delivery touches the account's space alone unless a slice is used up. The rules:
//
//   - what all leases have together is never above the pool's limit, and no account is
//     ever above its lease; so the organisation never is above its quota
//   - a lease grows by a slice, or by what the pool has left, in the commit of the mail
//     that needs it
//   - when the pool has not enough left, what the leases of other accounts have unused is
//     taken back before anything is refused; so mail is refused only when the organisation
//     is full, or was less than reclaimPause ago
//   - the sweep gives back what an account has unused above a slice
//
// Each mail guards the lease that it was measured by; who shrinks a lease guards the
// account's version, and so its usage.

const (
	// sliceBytes is how many octets a lease grows by.
	sliceBytes = 16 << 20
	// sliceMessages is how many messages it grows by.
	sliceMessages = 1000
	// reclaimPause is how long an account for which nothing could be taken back finds the pool
	// full before it is looked for once more.
	reclaimPause = time.Second
)

// The lease of an account: under q, format, pool, octets, messages.
const keyLease = 'q'

var leaseKey = []byte{keyLease}

// The pool's space is the organisation's; mailstore has the keys that begin with q there:
//
//	q          limits and what is leased, octets and messages
//	q/ACCOUNT  an account with a lease
var poolKey = []byte{'q'}

const poolMembers = "q/"

func poolSpace(pool string) kv.Space { return kv.Space("o/" + pool) }

// lease is what an account may use of a pool.
type lease struct {
	pool string
	Usage
}

func (l *lease) value() []byte {
	v := appendText([]byte{format1}, l.pool)
	v = binary.AppendUvarint(v, uint64(l.Bytes))
	return binary.AppendUvarint(v, uint64(l.Messages))
}

func readLease(v []byte) (l lease, err error) {
	r := newReader(v)
	l.pool = string(r.text())
	l.Bytes, l.Messages = int64(r.uvarint()), int64(r.uvarint())
	return l, r.err("lease of a quota")
}

// pool is what the pool's record says.
type pool struct {
	limit  Quota
	leased Usage
}

func (p *pool) value() []byte {
	v := []byte{format1}
	for _, n := range [...]int64{p.limit.Bytes, p.limit.Messages, p.leased.Bytes, p.leased.Messages} {
		v = binary.AppendUvarint(v, uint64(max(0, n)))
	}
	return v
}

func parsePool(v []byte, found bool) (p pool, err error) {
	if !found {
		return p, nil
	}
	r := newReader(v)
	for _, n := range [...]*int64{&p.limit.Bytes, &p.limit.Messages, &p.leased.Bytes, &p.leased.Messages} {
		*n = int64(r.uvarint())
	}
	return p, r.err("pool of quotas")
}

// grant is how much a lease grows that needs least and would like a slice, ok false where
// the pool has not so much.
func grant(limit, leased, least, slice int64) (n int64, ok bool) {
	if least <= 0 {
		return 0, true
	}
	n = (least + slice - 1) / slice * slice
	if limit == 0 {
		return n, true
	}
	free := max(0, limit-leased)
	return min(n, free), free >= least
}

// preparePool changes a pool within a unit. What it was is guarded.
func (s *Store) preparePool(ctx context.Context, u *mailflow.Unit, name string, change func(*pool) error) error {
	space := poolSpace(name)
	if put := pending(u.Quiet(space), poolKey); put != nil {
		p, err := parsePool(put.Value, true)
		if err != nil {
			return err
		}
		if err := change(&p); err != nil {
			return err
		}
		put.Value = p.value()
		return nil
	}
	snap, err := s.engine().Snapshot(ctx, space)
	if err != nil {
		return fmt.Errorf("read a pool: %w", err)
	}
	defer snap.Close()
	raw, found, err := get(snap, poolKey)
	if err != nil {
		return err
	}
	p, err := parsePool(raw, found)
	if err != nil {
		return err
	}
	if err := change(&p); err != nil {
		return err
	}
	b := u.Quiet(space)
	b.Guards = append(b.Guards, guardValue(poolKey, raw, found))
	b.Puts = append(b.Puts, kv.Put{Key: poolKey, Value: p.value()})
	return nil
}

// prepareMember makes an account that has no lease a member of a pool; used is what it has.
func (s *Store) prepareMember(ctx context.Context, u *mailflow.Unit, id AccountID, name string, used Usage) error {
	l := lease{name, used}
	b := u.Quiet(space(id))
	b.Puts = append(b.Puts, kv.Put{Key: leaseKey, Value: l.value()})
	p := u.Quiet(poolSpace(name))
	p.Puts = append(p.Puts, kv.Put{Key: memberKey(id), Value: []byte{format1}})
	if used == (Usage{}) {
		return nil
	}
	return s.preparePool(ctx, u, name, func(p *pool) error { p.lend(used); return nil })
}

func (p *pool) lend(n Usage) {
	p.leased.Bytes += n.Bytes
	p.leased.Messages += n.Messages
}

func memberKey(id AccountID) []byte { return []byte(poolMembers + id.String()) }

// errPoolFull says that the organisation, not the account, is over quota.
var errPoolFull = fmt.Errorf("%w: the organisation's quota is used up", ErrOverQuota)

// leased returns the limits that the account's lease sets, grown where it does not reach
// for what will be used; zero without a pool.
func (w *work) leased(need Usage) (Quota, error) {
	raw, found, err := get(w.snap, leaseKey)
	if err != nil {
		return Quota{}, err
	}
	b := w.quiet()
	put := pending(b, leaseKey)
	if put != nil {
		raw = put.Value
	}
	if !guarded(b, leaseKey) {
		b.Guards = append(b.Guards, guardValue(leaseKey, raw, found))
	}
	if !found {
		return Quota{}, nil
	}
	l, err := readLease(raw)
	if err != nil {
		return Quota{}, err
	}
	if more := (Usage{need.Bytes - l.Bytes, need.Messages - l.Messages}); more.Bytes > 0 || more.Messages > 0 {
		if err := w.extend(&l, more); err != nil {
			return Quota{}, err
		}
		b = w.quiet()
		if put = pending(b, leaseKey); put != nil {
			put.Value = l.value()
		} else {
			b.Puts = append(b.Puts, kv.Put{Key: leaseKey, Value: l.value()})
		}
	}
	return Quota{Bytes: l.Bytes, Messages: l.Messages}, nil
}

// guarded tells whether the batch guards a key already.
func guarded(b *kv.Batch, k []byte) bool {
	for i := range b.Guards {
		if bytes.Equal(b.Guards[i].Key, k) {
			return true
		}
	}
	return false
}

// extend lets a lease grow by more at least.
func (w *work) extend(l *lease, more Usage) error {
	s := w.a.store
	grow := func(p *pool) error {
		octets, ok1 := grant(p.limit.Bytes, p.leased.Bytes, more.Bytes, s.slice.Bytes)
		messages, ok2 := grant(p.limit.Messages, p.leased.Messages, more.Messages, s.slice.Messages)
		if !ok1 || !ok2 {
			return errPoolFull
		}
		p.lend(Usage{octets, messages})
		l.Bytes, l.Messages = l.Bytes+octets, l.Messages+messages
		return nil
	}
	err := s.preparePool(w.ctx, w.u, l.pool, grow)
	if !errors.Is(err, errPoolFull) {
		return err
	}
	freed, reclaimErr := s.reclaim(w.ctx, l.pool, w.a.id, more)
	if reclaimErr != nil {
		return reclaimErr
	}
	if !freed {
		return err
	}
	return s.preparePool(w.ctx, w.u, l.pool, grow)
}

// reclaim takes back what the leases of other accounts have unused, until a pool has so
// much left. It tells whether it took anything. What it commits is right whatever becomes
// of the unit that it is done for.
func (s *Store) reclaim(ctx context.Context, name string, but AccountID, want Usage) (freed bool, err error) {
	s.mu.Lock()
	full := time.Now().Before(s.fullUntil[but])
	s.mu.Unlock()
	if full {
		return false, nil
	}
	ids, err := s.members(ctx, name)
	if err != nil {
		return false, err
	}
	for _, id := range ids {
		if id == but {
			continue
		}
		n, err := s.shrink(ctx, id, Usage{})
		if err != nil && !errors.Is(err, kv.ErrConflict) && !errors.Is(err, ErrNoAccount) {
			return freed, err
		}
		freed = freed || n != (Usage{})
		p, err := s.readPool(ctx, name)
		if err != nil {
			return freed, err
		}
		if n != (Usage{}) && p.has(want) {
			return true, nil
		}
	}
	if !freed {
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.fullUntil) >= accountsCached {
			clear(s.fullUntil)
		}
		s.fullUntil[but] = time.Now().Add(reclaimPause)
	}
	return freed, nil
}

// has tells whether the pool has so much left.
func (p *pool) has(n Usage) bool {
	return (p.limit.Bytes == 0 || p.limit.Bytes-p.leased.Bytes >= n.Bytes) &&
		(p.limit.Messages == 0 || p.limit.Messages-p.leased.Messages >= n.Messages)
}

func (s *Store) readPool(ctx context.Context, name string) (pool, error) {
	snap, err := s.engine().Snapshot(ctx, poolSpace(name))
	if err != nil {
		return pool{}, fmt.Errorf("read a pool: %w", err)
	}
	defer snap.Close()
	raw, found, err := get(snap, poolKey)
	if err != nil {
		return pool{}, err
	}
	return parsePool(raw, found)
}

// members lists the accounts that have leases of a pool.
func (s *Store) members(ctx context.Context, name string) ([]AccountID, error) {
	snap, err := s.engine().Snapshot(ctx, poolSpace(name))
	if err != nil {
		return nil, fmt.Errorf("read a pool: %w", err)
	}
	defer snap.Close()
	var ids []AccountID
	for e, err := range snap.Scan(kv.Prefix([]byte(poolMembers))) {
		if err != nil {
			return nil, fmt.Errorf("scan a pool: %w", err)
		}
		id, err := hlc.Parse(strings.TrimPrefix(string(e.Key), poolMembers))
		if err != nil {
			return nil, fmt.Errorf("%w: key of a pool %q", ErrDamaged, e.Key)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// shrink gives back what an account's lease has above its usage and so much more to spare.
// An account that changes all the time keeps what it has: kv.ErrConflict.
func (s *Store) shrink(ctx context.Context, id AccountID, spare Usage) (back Usage, err error) {
	err = s.o.Committer.Commit(ctx, func(ctx context.Context, u *mailflow.Unit) error {
		snap, err := s.engine().Snapshot(ctx, space(id))
		if err != nil {
			return err
		}
		defer snap.Close()
		back, err = s.prepareShrink(ctx, u, id, snap, spare)
		return err
	})
	if err != nil {
		return Usage{}, err
	}
	return back, nil
}

func (s *Store) prepareShrink(ctx context.Context, u *mailflow.Unit, id AccountID, snap kv.Snapshot, spare Usage) (back Usage, err error) {
	raw, found, err := get(snap, leaseKey)
	if err != nil || !found {
		return back, err
	}
	l, err := readLease(raw)
	if err != nil {
		return back, err
	}
	_, used, err := readQuota(snap)
	if err != nil {
		return back, err
	}
	back = Usage{max(0, l.Bytes-used.Bytes-spare.Bytes), max(0, l.Messages-used.Messages-spare.Messages)}
	if back == (Usage{}) {
		return back, nil
	}
	l.Bytes, l.Messages = l.Bytes-back.Bytes, l.Messages-back.Messages
	b := u.Quiet(space(id))
	b.Guards = append(b.Guards, guardValue(leaseKey, raw, true), kv.Guard{Kind: kv.GuardVersion, Version: snap.Version()})
	b.Puts = append(b.Puts, kv.Put{Key: leaseKey, Value: l.value()})
	return back, s.preparePool(ctx, u, l.pool, func(p *pool) error { p.lend(Usage{-back.Bytes, -back.Messages}); return nil })
}

// giveBack gives back what the account has unused above a slice.
func (a *Account) giveBack(ctx context.Context) error {
	s := a.store
	snap, err := a.snapshot(ctx)
	if err != nil {
		return err
	}
	raw, found, err := get(snap, leaseKey)
	_, used, err2 := readQuota(snap)
	snap.Close()
	if err = errors.Join(err, err2); err != nil || !found {
		return err
	}
	l, err := readLease(raw)
	if err != nil || l.Bytes-used.Bytes <= 2*s.slice.Bytes && l.Messages-used.Messages <= 2*s.slice.Messages {
		return err
	}
	if _, err := s.shrink(ctx, a.id, s.slice); !errors.Is(err, kv.ErrConflict) {
		return err
	}
	return nil // it is busy; a later sweep does it
}

// prepareLeave ends the membership of an account whose keys the unit takes away.
func (s *Store) prepareLeave(ctx context.Context, u *mailflow.Unit, id AccountID, snap kv.Snapshot) error {
	raw, found, err := get(snap, leaseKey)
	if err != nil || !found {
		return err
	}
	l, err := readLease(raw)
	if err != nil {
		return err
	}
	b := u.Quiet(space(id))
	b.Guards = append(b.Guards, guardValue(leaseKey, raw, true))
	p := u.Quiet(poolSpace(l.pool))
	p.Deletes = append(p.Deletes, memberKey(id))
	return s.preparePool(ctx, u, l.pool, func(p *pool) error { p.lend(Usage{-l.Bytes, -l.Messages}); return nil })
}

// Pool is the quota of an organisation.
type Pool struct {
	Limit    Quota
	Used     Usage // by its accounts
	Leased   Usage // with what they hold for mail to come
	Accounts int
}

// Pool returns the quota of an organisation and what its accounts use of it, which reads
// all of them.
func (s *Store) Pool(ctx context.Context, name string) (Pool, error) {
	p, err := s.readPool(ctx, name)
	if err != nil {
		return Pool{}, storageError("read a pool", err)
	}
	ids, err := s.members(ctx, name)
	if err != nil {
		return Pool{}, storageError("read a pool", err)
	}
	out := Pool{Limit: p.limit, Leased: p.leased, Accounts: len(ids)}
	for _, id := range ids {
		a, err := s.Account(ctx, id)
		if errors.Is(err, ErrNoAccount) {
			continue
		}
		if err != nil {
			return out, err
		}
		_, used, err := a.Quota(ctx)
		if err != nil {
			return out, err
		}
		out.Used.Bytes += used.Bytes
		out.Used.Messages += used.Messages
	}
	return out, nil
}

// poolCounted is up to how many accounts of an organisation are asked one by one for what
// they use, when one of its users asks; of larger ones he is told what they have leased.
const poolCounted = 256

// Pool returns the quota of the account's organisation and what is used of it; nothing
// where it has none. In large organisations what accounts hold for mail to come counts as
// used.
func (a *Account) Pool(ctx context.Context) (limit Quota, used Usage, err error) {
	snap, err := a.snapshot(ctx)
	if err != nil {
		return limit, used, err
	}
	raw, found, err := get(snap, leaseKey)
	snap.Close()
	if err != nil || !found {
		return limit, used, storageError("read a pool", err)
	}
	l, err := readLease(raw)
	if err != nil {
		return limit, used, storageError("read a pool", err)
	}
	p, err := a.store.readPool(ctx, l.pool)
	if err != nil || p.limit == (Quota{}) {
		return limit, used, storageError("read a pool", err)
	}
	ids, err := a.store.members(ctx, l.pool)
	if err != nil {
		return limit, used, storageError("read a pool", err)
	}
	if len(ids) > poolCounted {
		return p.limit, p.leased, nil
	}
	exact, err := a.store.Pool(ctx, l.pool)
	return exact.Limit, exact.Used, err
}

// SetPool sets the quota of an organisation; what is over it stays. Where more is leased,
// all that is unused is taken back, so that the limit holds from now on.
func (s *Store) SetPool(ctx context.Context, name string, limit Quota) error {
	var over bool
	err := s.o.Committer.Commit(ctx, func(ctx context.Context, u *mailflow.Unit) error {
		return s.preparePool(ctx, u, name, func(p *pool) error {
			p.limit = limit
			over = !p.has(Usage{})
			return nil
		})
	})
	if err != nil || !over {
		return storageError("set a pool", err)
	}
	ids, err := s.members(ctx, name)
	if err != nil {
		return storageError("set a pool", err)
	}
	for _, id := range ids {
		if _, err := s.shrink(ctx, id, Usage{}); err != nil && !errors.Is(err, ErrNoAccount) {
			return storageError("set a pool", err)
		}
	}
	return nil
}

// JoinPool makes an account a member of its organisation's pool that was made without one.
func (a *Account) JoinPool(ctx context.Context, name string) error {
	return a.commit(ctx, "join a pool", func(ctx context.Context, u *mailflow.Unit) error {
		snap, err := a.snapshot(ctx)
		if err != nil {
			return err
		}
		defer snap.Close()
		_, found, err := get(snap, leaseKey)
		if err != nil || found {
			return err
		}
		_, used, err := readQuota(snap)
		if err != nil {
			return err
		}
		b := u.Quiet(a.space)
		b.Guards = append(b.Guards, kv.Guard{Kind: kv.GuardAbsent, Key: leaseKey}, kv.Guard{Kind: kv.GuardVersion, Version: snap.Version()})
		return a.store.prepareMember(ctx, u, a.id, name, used)
	})
}
