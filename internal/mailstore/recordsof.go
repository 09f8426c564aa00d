package mailstore

import (
	"context"
	"iter"
)

// Record reads what is stored of one message, wherever it is; ErrNoMessage. Of Row it has
// ID only. The slices are the caller's.
func (a *Account) Record(ctx context.Context, id MessageID, want Want) (*Record, error) {
	r := &Record{Row: Row{ID: id}}
	snap, err := a.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	derived, err := readRecord(snap, r, want)
	snap.Close()
	if err == nil && derived {
		err = a.derive(ctx, r, want)
	}
	if err == nil && r.Missing {
		err = ErrNoMessage
	}
	if err != nil {
		return nil, storageError("read a record", err)
	}
	return r, nil
}

// Records yields what is stored of messages, in the order of the ids; Index is that in ids,
// and Missing is set for those that are nowhere. Of Row it has ID only. It holds nothing
// open between two steps.
func (a *Account) Records(ctx context.Context, ids []MessageID, want Want) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		ahead := &readAhead{account: a, want: want}
		var record Record
		for i, id := range ids {
			ahead.rows, ahead.index = append(ahead.rows, Row{ID: id}), append(ahead.index, i)
			if len(ahead.rows) == recordsCount && !ahead.flush(ctx, &record, yield) {
				return
			}
		}
		ahead.flush(ctx, &record, yield)
	}
}
