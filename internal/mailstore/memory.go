package mailstore

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"postroad/internal/kv"
	"postroad/internal/mailflow"
)

// What the rules of an account have to remember (whom they have answered, which message
// they have seen) is a hash with the second until which it is remembered. It is written by
// the commit of the message that it is about, and guarded by it: of two messages that
// arrive at once only one finds that nothing was remembered.

// The second octet of a memory key.
const (
	memoryKey    = 'k'
	memoryExpiry = 'x'
)

// memoryForget is how many memories that are over one unit takes away: more than it adds,
// so that there is no end of them only while they are valid.
const memoryForget = 16

// memoryHash is what is kept of a key.
func memoryHash(k string) []byte {
	h := sha256.Sum256([]byte(k))
	return h[:16]
}

func memoryKeyOf(hash []byte) []byte { return append([]byte{keyMemory, memoryKey}, hash...) }

func memoryExpiryKey(until int64, hash []byte) []byte {
	k := binary.BigEndian.AppendUint64([]byte{keyMemory, memoryExpiry}, uint64(until))
	return append(k, hash...)
}

// readMemory reads until when a memory lasts, in seconds since 1970 UTC.
func readMemory(v []byte) (int64, error) {
	r := newReader(v)
	until := int64(r.uint64())
	return until, r.err("memory of rules")
}

// Remembers tells whether a key was remembered and is not over at the time now.
func (a *Account) Remembers(ctx context.Context, k string, now time.Time) (bool, error) {
	snap, err := a.snapshot(ctx)
	if err != nil {
		return false, err
	}
	defer snap.Close()
	v, found, err := get(snap, memoryKeyOf(memoryHash(k)))
	if err != nil || !found {
		return false, storageError("read the memory of rules", err)
	}
	until, err := readMemory(v)
	return err == nil && until > now.Unix(), storageError("read the memory of rules", err)
}

// PrepareRemember adds to the unit that keys are remembered until their times. Known are
// those that the caller has found remembered; one that is remembered now and was not then
// makes the unit conflict, so that it is prepared anew, and so does another unit that
// remembers it meanwhile. What is over goes away, some of it at a time.
func (a *Account) PrepareRemember(ctx context.Context, u *mailflow.Unit, now time.Time, until map[string]time.Time, known map[string]bool) error {
	snap, err := a.snapshot(ctx)
	if err != nil {
		return err
	}
	defer snap.Close()
	b := u.Quiet(a.space)
	for k, t := range until {
		if err := remember(snap, b, memoryHash(k), now.Unix(), t.Unix(), known[k]); err != nil {
			return storageError("remember for rules", err)
		}
	}
	over := kv.Range{From: []byte{keyMemory, memoryExpiry}, To: memoryExpiryKey(now.Unix(), nil), Limit: memoryForget}
	for e, err := range snap.Scan(over) {
		if err != nil {
			return storageError("forget for rules", fmt.Errorf("scan: %w", err))
		}
		if err := forget(snap, b, append([]byte(nil), e.Key...)); err != nil {
			return storageError("forget for rules", err)
		}
	}
	return nil
}

// remember writes one memory, in place of one that is over, or known.
func remember(snap kv.Snapshot, b *kv.Batch, hash []byte, now, until int64, known bool) error {
	k := memoryKeyOf(hash)
	old, found, err := get(snap, k)
	if err != nil {
		return err
	}
	b.Guards = append(b.Guards, guardValue(k, old, found))
	if found {
		was, err := readMemory(old)
		if err != nil {
			return err
		}
		if was > now && !known {
			b.Guards = append(b.Guards, kv.Guard{Kind: kv.GuardAbsent, Key: k}) // came since the caller asked
		}
		b.Deletes = append(b.Deletes, memoryExpiryKey(was, hash))
	}
	b.Puts = append(b.Puts,
		kv.Put{Key: k, Value: binary.BigEndian.AppendUint64([]byte{format1}, uint64(until))},
		kv.Put{Key: memoryExpiryKey(until, hash), Value: []byte{format1}})
	return nil
}

// forget takes away the memory that an expiry key names, unless it was renewed since or the
// batch writes it.
func forget(snap kv.Snapshot, b *kv.Batch, expiry []byte) error {
	if len(expiry) < 10 {
		return fmt.Errorf("%w: key of a memory %q", ErrDamaged, expiry)
	}
	k := memoryKeyOf(expiry[10:])
	if pending(b, k) != nil {
		return nil
	}
	v, found, err := get(snap, k)
	if err != nil {
		return err
	}
	b.Deletes = append(b.Deletes, expiry)
	if !found {
		return nil
	}
	until, err := readMemory(v)
	if err != nil {
		return err
	}
	if uint64(until) == binary.BigEndian.Uint64(expiry[2:10]) {
		b.Guards = append(b.Guards, guardValue(k, v, true))
		b.Deletes = append(b.Deletes, k)
	}
	return nil
}
