package mailstore

import (
	"context"
	"errors"
	"fmt"

	"postroad/internal/kv"
	"postroad/internal/mailflow"
)

// What is shared besides mailboxes (address books) has an index of its own, with the same
// keys as that of mailboxes, so that an account is found by it that shares no mailbox. Who
// may do what is told by what is shared.

// keyShares is the key, in the account's space, of the record of its share keys: the scope,
// then each of them.
const keyShares = 'H'

// objectShareSpace holds who shares objects with whom in an organisation.
func objectShareSpace(scope string) kv.Space { return kv.Space("share-objects/" + scope) }

// ObjectSharers are the accounts of a scope that share something besides mailboxes with the
// reader, by id.
func (s *Store) ObjectSharers(ctx context.Context, scope string, r Reader) ([]AccountID, error) {
	return s.sharers(ctx, objectShareSpace(scope), r)
}

// PrepareObjectShares says within a unit with whom an account shares things besides
// mailboxes: all of them, in place of those that were.
func (s *Store) PrepareObjectShares(ctx context.Context, u *mailflow.Unit, scope string, id AccountID, with []Subject) error {
	if scope == "" || len(scope) > scopeMaxByte {
		return fmt.Errorf("%w: scope %q", ErrName, scope)
	}
	if len(with) > ACLMax {
		return fmt.Errorf("%w: shared with more than %d", ErrLimit, ACLMax)
	}
	space, lives := Guest(id)
	snap, err := s.engine().Snapshot(ctx, space)
	if err != nil {
		return storageError("read shares", err)
	}
	defer snap.Close()
	was, record, err := readObjectShares(snap)
	if err != nil {
		return err
	}
	v := appendText([]byte{format1}, scope)
	share := u.Batch(objectShareSpace(scope))
	now := map[string]bool{}
	for _, subject := range with {
		k := shareKey(subject, id)
		if !now[string(k)] {
			share.Puts = append(share.Puts, kv.Put{Key: k, Value: []byte{format1}})
			v = appendText(v, k)
		}
		now[string(k)] = true
	}
	for _, k := range was.keys {
		if !now[string(k)] {
			share.Deletes = append(share.Deletes, k)
		}
	}
	own := u.Batch(space)
	own.Guards = append(own.Guards, lives, guardValue([]byte{keyShares}, record, record != nil))
	own.Puts = append(own.Puts, kv.Put{Key: []byte{keyShares}, Value: v})
	return nil
}

// objectShares is the record of them.
type objectShares struct {
	scope string
	keys  [][]byte // of the share space
}

// readObjectShares reads the record, nil where there is none.
func readObjectShares(snap kv.Snapshot) (s objectShares, record []byte, err error) {
	record, err = snap.Get([]byte{keyShares})
	if errors.Is(err, kv.ErrNotFound) {
		return s, nil, nil
	}
	if err != nil {
		return s, nil, storageError("read shares", err)
	}
	r := newReader(record)
	s.scope = string(r.text())
	for len(r.b) > 0 && !r.bad {
		s.keys = append(s.keys, r.text())
	}
	return s, record, r.err("record of shares")
}

// unshareObjects takes an account that ends out of the index.
func (a *Account) unshareObjects(snap kv.Snapshot, u *mailflow.Unit) error {
	s, record, err := readObjectShares(snap)
	if err != nil || len(s.keys) == 0 {
		return err
	}
	own := u.Batch(a.space)
	own.Guards = append(own.Guards, guardValue([]byte{keyShares}, record, true))
	share := u.Batch(objectShareSpace(s.scope))
	share.Deletes = append(share.Deletes, s.keys...)
	return nil
}
