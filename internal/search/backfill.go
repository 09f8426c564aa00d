package search

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"postroad/internal/kv"
	"postroad/message"
)

// complete is the back-fill's mark when every message has been looked at.
const complete = MessageID(math.MaxUint64)

// PrepareNew adds to the batch that makes an account that no message lacks its terms.
func PrepareNew(b *kv.Batch) { b.Puts = append(b.Puts, backfillPut(complete)) }

func backfillPut(to MessageID) kv.Put {
	return kv.Put{Key: backfillKey, Value: binary.BigEndian.AppendUint64([]byte{format}, uint64(to))}
}

// readBackfill reads from which message on some may have no terms.
func readBackfill(snap kv.Snapshot) (MessageID, error) {
	v, err := get(snap, backfillKey)
	if v == nil || outdated(v) {
		return 0, err
	}
	if len(v) != 9 || v[0] != format {
		return 0, fmt.Errorf("%w: mark of the back-fill", ErrDamaged)
	}
	return MessageID(binary.BigEndian.Uint64(v[1:])), nil
}

// Work is what there is to do with an index.
type Work struct {
	Records int         // messages that are in no segment, at most workRecords
	Pending []MessageID // messages whose terms are still to come, at most workPending
	From    MessageID   // messages from this one on may have no terms, all below have
	Whole   bool        // there are none without
}

// Bounds of what Work tells.
const (
	workRecords = 256
	workPending = 64
)

// Work looks for something to do.
func (x *Index) Work(ctx context.Context) (w Work, err error) {
	err = x.snapshot(ctx, func(snap kv.Snapshot) (err error) {
		w, err = ReadWork(snap)
		return err
	})
	return w, err
}

// ReadWork is Work in a snapshot of the account.
func ReadWork(snap kv.Snapshot) (w Work, err error) {
	if w.From, err = readBackfill(snap); err != nil {
		return w, err
	}
	w.Whole = w.From == complete
	var last MessageID
	for e, err := range snap.Scan(kindRange(keyRecord)) {
		if err != nil {
			return w, fmt.Errorf("scan: %w", err)
		}
		id, err := keyID(e.Key)
		if err != nil {
			return w, err
		}
		if id == last { // the next piece
			continue
		}
		last = id
		if w.Records++; w.Records == workRecords {
			break
		}
		if Record(e.Value).Pending() && len(w.Pending) < workPending {
			w.Pending = append(w.Pending, id)
		}
	}
	return w, nil
}

// Known returns a Found that knows places and nothing else.
func (x *Index) Known(ctx context.Context) (*Found, error) { return x.Find(ctx, nil, nil) }

// Complete writes all terms of a message whose record was put off, or that has none. m
// and r are as for NewRecord.
func (x *Index) Complete(ctx context.Context, id MessageID, m *message.Message, r io.ReaderAt) error {
	pieces, err := longRecord(m, r)
	if err != nil {
		return err
	}
	// The first piece last: until then the record counts as not there.
	for n := len(pieces) - 1; n > 0; n-- {
		b := kv.Batch{Space: x.Space, Quiet: true, Puts: []kv.Put{
			{Key: recordKey(id, 0), Value: pendingRecord}, {Key: recordKey(id, n), Value: pieces[n]}}}
		if _, err := x.Engine.Commit(ctx, b); err != nil {
			return fmt.Errorf("write terms: %w", err)
		}
	}
	b := kv.Batch{Space: x.Space, Quiet: true, Puts: []kv.Put{{Key: recordKey(id, 0), Value: pieces[0]}}}
	if _, err := x.Engine.Commit(ctx, b); err != nil {
		return fmt.Errorf("write terms: %w", err)
	}
	return nil
}

// longRecord makes the pieces of a record, whatever the length of the text.
func longRecord(m *message.Message, r io.ReaderAt) ([][]byte, error) {
	b := builders.Get().(*Builder)
	defer builders.Put(b)
	err := b.read(m, r, LongTextMax)
	if err == ErrTooLong {
		b.flags, err = b.flags|recordOpaque|recordLoose, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the texts of a message: %w", err)
	}
	return b.pieces(), nil
}

// Reached writes that all messages below one have their terms; 0 is: all there are.
func (x *Index) Reached(ctx context.Context, below MessageID) error {
	if below == 0 {
		below = complete
	}
	_, err := x.Engine.Commit(ctx, kv.Batch{Space: x.Space, Quiet: true, Puts: []kv.Put{backfillPut(below)}})
	return err
}

// Forget takes the whole index away, so that it is made anew. Messages are found by
// looking into them meanwhile.
func (x *Index) Forget(ctx context.Context) error {
	b := kv.Batch{Space: x.Space, Quiet: true, Ranges: []kv.Range{kv.Prefix([]byte{keySpace})}, Puts: []kv.Put{backfillPut(0)}}
	if _, err := x.Engine.Commit(ctx, b); err != nil {
		return fmt.Errorf("take the index away: %w", err)
	}
	return nil
}
