package mailstore

import (
	"bytes"
	"context"
	"fmt"

	"postroad/internal/kv"
	"postroad/internal/mailflow"
)

// charge adds to what the quota counts; growth is refused at the commit above the limits.
// It comes last in a Prepare method: what a lease grew by is not taken back.
func (w *work) charge(octets, messages int64) error {
	var limit Quota
	if octets > 0 || messages > 0 {
		q, used, err := readQuota(w.snap)
		if err != nil {
			return err
		}
		used.Bytes += w.added(quotaBytesKey)
		used.Messages += w.added(quotaMessagesKey)
		if err := q.room(used, octets, messages); err != nil {
			return err
		}
		will := Usage{used.Bytes + octets, used.Messages + messages}
		if err := w.watchQuota(q, will); err != nil {
			return err
		}
		leased, err := w.leased(will)
		if err != nil {
			return err
		}
		limit = Quota{Bytes: lower(q.Bytes, leased.Bytes), Messages: lower(q.Messages, leased.Messages)}
	}
	b := w.batch()
	b.Adds = append(b.Adds, kv.Add{Key: quotaBytesKey, N: octets, Limit: limit.Bytes},
		kv.Add{Key: quotaMessagesKey, N: messages, Limit: limit.Messages})
	return nil
}

// added is what the batch adds to a counter already.
func (w *work) added(counter []byte) (n int64) {
	b := w.quiet()
	for i := range b.Adds {
		if bytes.Equal(b.Adds[i].Key, counter) {
			n += b.Adds[i].N
		}
	}
	return n
}

// lower is the lower of two limits, of which 0 is none.
func lower(a, b int64) int64 {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

// Room tells whether the quotas of the account and of its organisation allow so much more:
// nil or ErrOverQuota.
func (a *Account) Room(ctx context.Context, octets, messages int64) error {
	w, err := a.begin(ctx, new(mailflow.Unit)) // which is not committed
	if err != nil {
		return err
	}
	defer w.close()
	return storageError("room of the quota", w.charge(octets, messages))
}

// room tells whether so much more is allowed.
func (q Quota) room(u Usage, octets, messages int64) error {
	if q.Bytes > 0 && u.Bytes+octets > q.Bytes || q.Messages > 0 && u.Messages+messages > q.Messages {
		return fmt.Errorf("%w: %d octets and %d messages are in use", ErrOverQuota, u.Bytes, u.Messages)
	}
	return nil
}
