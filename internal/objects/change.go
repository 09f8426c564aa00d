package objects

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
)

// NewID makes an id for an object.
func (s *Store) NewID() hlc.ID { return s.Clock.Next() }

// PrepareCreate adds an object to the unit under an id of NewID. ErrTooLarge.
func (s *Store) PrepareCreate(u *mailflow.Unit, account mailstore.AccountID, kind Kind, id hlc.ID, value []byte) error {
	if len(value) > ValueMax {
		return ErrTooLarge
	}
	b := s.batch(u, account)
	k := objectKey(kind, id)
	b.Guards = append(b.Guards, kv.Guard{Kind: kv.GuardAbsent, Key: k})
	at := State{N: place(b)}
	v := append(appendState(appendState([]byte{format1}, at), at), value...)
	b.Puts = append(b.Puts,
		kv.Put{Key: k, Value: v, Places: []kv.Place{versionAt(true, 1), versionAt(true, 1+stateSize)}},
		kv.Put{Key: stateKey(partLog, kind, at), Value: logValue(at, id), Places: []kv.Place{versionAt(false, prefixSize), versionAt(true, 1)}})
	return nil
}

// PrepareUpdate gives an object, as it was read, another value within the unit. ErrTooLarge.
func (s *Store) PrepareUpdate(u *mailflow.Unit, account mailstore.AccountID, kind Kind, old *Object, value []byte) error {
	if len(value) > ValueMax {
		return ErrTooLarge
	}
	b := s.batch(u, account)
	k := objectKey(kind, old.ID)
	if p := pending(b, k); p != nil { // changed within this unit already
		p.Value = append(p.Value[:headSize:headSize], value...)
		return nil
	}
	b.Guards = append(b.Guards, kv.Guard{Kind: kv.GuardEquals, Key: k, Value: old.format()})
	b.Deletes = append(b.Deletes, stateKey(partLog, kind, old.Updated))
	at := State{N: place(b)}
	v := append(appendState(appendState([]byte{format1}, old.Created), at), value...)
	b.Puts = append(b.Puts,
		kv.Put{Key: k, Value: v, Places: []kv.Place{versionAt(true, 1+stateSize)}},
		kv.Put{Key: stateKey(partLog, kind, at), Value: logValue(old.Created, old.ID), Places: []kv.Place{versionAt(false, prefixSize)}})
	return nil
}

// PrepareDestroy takes an object, as it was read, away within the unit. Where too many are
// remembered, the oldest of them are forgotten.
func (s *Store) PrepareDestroy(ctx context.Context, u *mailflow.Unit, account mailstore.AccountID, kind Kind, old *Object) error {
	if err := s.forget(ctx, u, account, kind); err != nil {
		return err
	}
	b := s.batch(u, account)
	k := objectKey(kind, old.ID)
	b.Guards = append(b.Guards, kv.Guard{Kind: kv.GuardEquals, Key: k, Value: old.format()})
	b.Deletes = append(b.Deletes, k, stateKey(partLog, kind, old.Updated))
	at := State{N: place(b)}
	b.Puts = append(b.Puts,
		kv.Put{Key: stateKey(partTombstone, kind, at), Value: logValue(old.Created, old.ID), Places: []kv.Place{versionAt(false, prefixSize)}})
	b.Adds = append(b.Adds, kv.Add{Key: prefix(partCount, kind), N: 1})
	return nil
}

// pending finds what the batch will write under a key, nil when nothing.
func pending(b *kv.Batch, k []byte) *kv.Put {
	for i := range b.Puts {
		if bytes.Equal(b.Puts[i].Key, k) {
			return &b.Puts[i]
		}
	}
	return nil
}

// Within returns an object as it will be when the unit is committed: what PrepareCreate or
// PrepareUpdate made of it there, else what is stored. ErrNotFound. PrepareUpdate takes it
// like one that was read.
func (s *Store) Within(ctx context.Context, u *mailflow.Unit, account mailstore.AccountID, kind Kind, id hlc.ID) (*Object, error) {
	space, _ := mailstore.Guest(account)
	if p := pending(u.Quiet(space), objectKey(kind, id)); p != nil {
		return parse(p.Key, p.Value)
	}
	return s.One(ctx, account, kind, id)
}

// batch is the unit's batch for an account, which must live.
func (s *Store) batch(u *mailflow.Unit, account mailstore.AccountID) *kv.Batch {
	space, lives := mailstore.Guest(account)
	b := u.Batch(space)
	if !slices.ContainsFunc(b.Guards, func(g kv.Guard) bool { return g.Kind == lives.Kind && string(g.Key) == string(lives.Key) }) {
		b.Guards = append(b.Guards, lives)
	}
	return b
}

// forgottenAtOnce is how many tombstones go when there are too many.
const forgottenAtOnce = 100

// forget throws the oldest tombstones away when there are too many.
func (s *Store) forget(ctx context.Context, u *mailflow.Unit, account mailstore.AccountID, kind Kind) error {
	snap, err := s.snapshot(ctx, account)
	if err != nil {
		return err
	}
	defer snap.Close()
	n, err := snap.Counter(prefix(partCount, kind))
	if err != nil || n < tombstonesMax {
		return err
	}
	oldest, err := readLog(snap, partTombstone, kind, State{}, forgottenAtOnce)
	if err != nil || len(oldest) == 0 {
		return err
	}
	b := s.batch(u, account)
	floorKey := prefix(partFloor, kind)
	if slices.ContainsFunc(b.Takes, func(t kv.Take) bool { return string(t.Key) == string(floorKey) }) {
		return nil // done already within this unit
	}
	for _, l := range oldest {
		k := stateKey(partTombstone, kind, l.at)
		b.Guards = append(b.Guards, kv.Guard{Kind: kv.GuardPresent, Key: k})
		b.Deletes = append(b.Deletes, k)
	}
	b.Adds = append(b.Adds, kv.Add{Key: prefix(partCount, kind), N: -int64(len(oldest))})
	b.Takes = append(b.Takes, kv.Take{Key: floorKey, AtLeast: oldest[len(oldest)-1].at.ModSeq + 1})
	return nil
}

// Changes are those of a kind between two states.
type Changes struct {
	Created, Updated, Destroyed []hlc.ID
	State                       State // to ask from the next time
	More                        bool  // there are more behind State
}

// Changes returns what changed since a state, at most limit objects (0: all that did).
// ErrNoChanges when that cannot be told.
func (s *Store) Changes(ctx context.Context, account mailstore.AccountID, kind Kind, since State, limit int) (*Changes, error) {
	snap, err := s.snapshot(ctx, account)
	if err != nil {
		return nil, err
	}
	defer snap.Close()
	newest, err := last(snap, kind)
	if err != nil {
		return nil, err
	}
	lowest, err := floor(snap, kind)
	if err != nil {
		return nil, err
	}
	if since.after(newest) || since.ModSeq < lowest {
		return nil, ErrNoChanges
	}
	list, err := readBoth(snap, kind, since, limit)
	if err != nil {
		return nil, err
	}
	c := &Changes{State: newest}
	origin := since
	if since.Since != nil {
		origin = *since.Since
	}
	for _, l := range list {
		c.add(l, since, origin)
	}
	if limit > 0 && len(list) == limit && newest.after(list[limit-1].at) {
		c.More, c.State = true, list[limit-1].at
		c.State.Since = &State{ModSeq: origin.ModSeq, N: origin.N}
	}
	return c, nil
}

// add sorts a record in. What was created after the origin is new to the reader; he knows
// nothing of what came and went after the step before.
func (c *Changes) add(l logged, since, origin State) {
	switch {
	case l.gone && l.created.after(since):
	case l.gone:
		c.Destroyed = append(c.Destroyed, l.id)
	case l.created.after(origin):
		c.Created = append(c.Created, l.id)
	default:
		c.Updated = append(c.Updated, l.id)
	}
}

// readBoth reads the log and the tombstones after a state, in order.
func readBoth(snap kv.Snapshot, kind Kind, since State, limit int) ([]logged, error) {
	list, err := readLog(snap, partLog, kind, since, limit)
	if err != nil {
		return nil, err
	}
	gone, err := readLog(snap, partTombstone, kind, since, limit)
	if err != nil {
		return nil, err
	}
	list = append(list, gone...)
	slices.SortFunc(list, func(a, b logged) int {
		switch {
		case b.at.after(a.at):
			return -1
		case a.at.after(b.at):
			return 1
		}
		return 0
	})
	if limit > 0 && len(list) > limit {
		list = list[:limit]
	}
	return list, nil
}

// Create is PrepareCreate, committed; it returns the new id.
func (s *Store) Create(ctx context.Context, account mailstore.AccountID, kind Kind, value []byte) (hlc.ID, error) {
	id := s.NewID()
	err := s.Committer.Commit(ctx, func(_ context.Context, u *mailflow.Unit) error {
		return s.PrepareCreate(u, account, kind, id, value)
	})
	if err != nil {
		return 0, fmt.Errorf("create an object: %w", err)
	}
	return id, nil
}

// Update lets f change the value of an object and commits that; f may be called again when
// somebody else changed it meanwhile. ErrNotFound; f's error.
func (s *Store) Update(ctx context.Context, account mailstore.AccountID, kind Kind, id hlc.ID, f func(value []byte) ([]byte, error)) error {
	return s.Committer.Commit(ctx, func(ctx context.Context, u *mailflow.Unit) error {
		old, err := s.One(ctx, account, kind, id)
		if err != nil {
			return err
		}
		value, err := f(old.Value)
		if err != nil {
			return err
		}
		return s.PrepareUpdate(u, account, kind, old, value)
	})
}

// Destroy is PrepareDestroy, committed. ErrNotFound.
func (s *Store) Destroy(ctx context.Context, account mailstore.AccountID, kind Kind, id hlc.ID) error {
	return s.Committer.Commit(ctx, func(ctx context.Context, u *mailflow.Unit) error {
		old, err := s.One(ctx, account, kind, id)
		if err != nil {
			return err
		}
		return s.PrepareDestroy(ctx, u, account, kind, old)
	})
}
