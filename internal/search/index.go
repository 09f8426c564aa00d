package search

import (
	"context"
	"fmt"

	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
)

// Index is the index of one account. Its methods that write are called by one goroutine
// at a time; two processes do no harm: one of them gets kv.ErrConflict.
type Index struct {
	Engine kv.Engine
	Space  kv.Space
	Clock  *hlc.Clock
}

// Bounds of one step of the merge.
const (
	foldRecords   = 512     // records that one segment is made of
	foldOctets    = 4 << 20 // octets of them
	mergeFan      = 8       // segments of about one size that become one
	writeOctets   = 192 << 10
	writeKeys     = 200
	dropKeys      = 400
	deadShare     = 4 // a segment is written anew when one in so many messages is gone
	tombstonesMax = 1 << 20
)

// segmentWriter writes a segment in small commits. It is no part of the index before the
// manifest has it; what a crash leaves is found by its mark.
type segmentWriter struct {
	x      *Index
	terms  termWriter
	batch  kv.Batch
	octets int
	info   segment
	census census
}

func (x *Index) newSegment(ctx context.Context, messages []MessageID) (*segmentWriter, error) {
	w := &segmentWriter{x: x, info: segment{id: x.Clock.Next(), docs: len(messages)}}
	w.terms = termWriter{segment: w.info.id, docs: len(messages), put: func(k, v []byte) error { return w.put(ctx, k, v) }}
	if err := w.put(ctx, idKey(keyWriting, w.info.id), []byte{format}); err != nil {
		return nil, err
	}
	if err := w.commit(ctx); err != nil {
		return nil, err
	}
	for n := 0; n*messagesPerPiece < len(messages); n++ {
		v := []byte{format}
		last := MessageID(0)
		for _, id := range messages[n*messagesPerPiece : min(len(messages), (n+1)*messagesPerPiece)] {
			v = appendUvarint(v, uint64(id-last))
			last = id
		}
		if err := w.put(ctx, pieceKey(keyMessages, w.info.id, 0, n), v); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// add writes a term; fields and keys ascend. places are its occurrences, nil where there
// are none.
func (w *segmentWriter) add(field Field, k []byte, docs []uint32, places *bitWriter) error {
	if field == FieldBody {
		w.census.count(k, len(docs))
	}
	return w.terms.add(field, k, docs, places)
}

func (w *segmentWriter) put(ctx context.Context, k, v []byte) error {
	w.batch.Puts = append(w.batch.Puts, kv.Put{Key: k, Value: v})
	w.octets += len(k) + len(v)
	if w.octets < writeOctets && len(w.batch.Puts) < writeKeys {
		return nil
	}
	return w.commit(ctx)
}

func (w *segmentWriter) commit(ctx context.Context) error {
	if len(w.batch.Puts) == 0 {
		return nil
	}
	w.batch.Space, w.batch.Quiet = w.x.Space, true
	_, err := w.x.Engine.Commit(ctx, w.batch)
	w.batch, w.octets = kv.Batch{}, 0
	if err != nil {
		return fmt.Errorf("write a segment: %w", err)
	}
	return nil
}

// finish writes what is left and tells what the manifest needs to know.
func (w *segmentWriter) finish(ctx context.Context) (segment, error) {
	if err := w.terms.endField(); err != nil {
		return segment{}, err
	}
	w.info.languages = w.census.languages(w.info.docs)
	return w.info, w.commit(ctx)
}

// replace commits that a segment stands in the manifest in the place of others, and what
// more the batch does. A segment without messages only takes the others away.
func (x *Index) replace(ctx context.Context, b *kv.Batch, raw []byte, all []segment, old []segment, by segment) error {
	gone := map[hlc.ID]bool{}
	for i := range old {
		gone[old[i].id] = true
		b.Ranges = append(b.Ranges, old[i].ranges()...)
	}
	var next []segment
	for _, s := range all {
		if !gone[s.id] {
			next = append(next, s)
		}
	}
	if by.id != 0 {
		mark := idKey(keyWriting, by.id)
		b.Guards = append(b.Guards, kv.Guard{Kind: kv.GuardPresent, Key: mark})
		b.Deletes = append(b.Deletes, mark)
		if by.docs > 0 {
			next = append(next, by)
		} else {
			b.Ranges = append(b.Ranges, by.ranges()...)
		}
	}
	b.Space, b.Quiet = x.Space, true
	b.Guards = append(b.Guards, guard(manifestKey, raw))
	b.Puts = append(b.Puts, kv.Put{Key: manifestKey, Value: appendManifest(nil, next)})
	if _, err := x.Engine.Commit(ctx, *b); err != nil {
		return fmt.Errorf("take a segment into the index: %w", err)
	}
	return nil
}

// snapshot runs f with a snapshot.
func (x *Index) snapshot(ctx context.Context, f func(snap kv.Snapshot) error) error {
	snap, err := x.Engine.Snapshot(ctx, x.Space)
	if err != nil {
		return fmt.Errorf("read the index: %w", err)
	}
	defer snap.Close()
	return f(snap)
}

// Clean takes away segments that a crash left unfinished, and an index of another format
// whole. Nothing else may merge.
func (x *Index) Clean(ctx context.Context) error {
	var left []segment
	other := false
	err := x.snapshot(ctx, func(snap kv.Snapshot) error {
		for _, k := range [][]byte{backfillKey, manifestKey} {
			v, err := get(snap, k)
			if err != nil {
				return err
			}
			other = other || outdated(v)
		}
		r := kindRange(keyWriting)
		r.Limit = 100
		for e, err := range snap.Scan(r) {
			if err != nil {
				return fmt.Errorf("scan: %w", err)
			}
			id, err := keyID(e.Key)
			if err != nil {
				return err
			}
			left = append(left, segment{id: id})
		}
		return nil
	})
	if err == nil && other {
		return x.Forget(ctx)
	}
	for _, s := range left {
		if err != nil {
			break
		}
		_, err = x.Engine.Commit(ctx, kv.Batch{Space: x.Space, Quiet: true, Ranges: s.ranges(), Deletes: [][]byte{idKey(keyWriting, s.id)}})
	}
	return err
}
