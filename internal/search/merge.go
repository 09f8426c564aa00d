package search

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"postroad/internal/kv"
)

// Merge does the next useful thing with segments: makes one of several, or writes one
// anew without what is gone. It tells whether it did something.
func (x *Index) Merge(ctx context.Context) (bool, error) {
	var all []segment
	var raw []byte
	var dead []MessageID
	messages := map[int][]MessageID{}
	var chosen []int
	err := x.snapshot(ctx, func(snap kv.Snapshot) (err error) {
		if all, raw, err = readManifest(snap); err != nil {
			return err
		}
		if dead, err = readTombstones(snap); err != nil {
			return err
		}
		if chosen, err = choose(snap, all, dead); err != nil {
			return err
		}
		for _, i := range chosen {
			if messages[i], err = all[i].readMessages(snap); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	if len(chosen) == 0 {
		return false, x.dropTombstones(ctx, all, raw, dead)
	}
	m := &merging{x: x, dead: dead}
	for _, i := range chosen {
		m.inputs = append(m.inputs, &input{segment: all[i], messages: messages[i]})
	}
	by, err := m.run(ctx)
	if err != nil {
		return false, err
	}
	if err := x.replace(ctx, &kv.Batch{}, raw, all, m.segments(), by); err != nil {
		return false, err
	}
	return true, x.forget(ctx, m.dropped)
}

// readTombstones reads the messages that are gone, in order.
func readTombstones(snap kv.Snapshot) (dead []MessageID, err error) {
	r := kindRange(keyTombstone)
	r.Limit = tombstonesMax
	for e, err := range snap.Scan(r) {
		if err != nil {
			return nil, fmt.Errorf("scan: %w", err)
		}
		id, err := keyID(e.Key)
		if err != nil {
			return nil, err
		}
		dead = append(dead, id)
	}
	return dead, nil
}

// tier is the class of size of a segment.
func tier(docs int) int {
	t := 0
	for n := foldRecords; docs > n; n *= mergeFan {
		t++
	}
	return t
}

// choose picks the segments to be merged: many of one tier, or one with many dead.
func choose(snap kv.Snapshot, all []segment, dead []MessageID) ([]int, error) {
	tiers := map[int][]int{}
	for i := range all {
		t := tier(all[i].docs)
		if tiers[t] = append(tiers[t], i); len(tiers[t]) < mergeFan {
			continue
		}
		docs, chosen := 0, []int(nil)
		for _, j := range tiers[t] {
			if docs+all[j].docs <= segmentDocsMax {
				docs += all[j].docs
				chosen = append(chosen, j)
			}
		}
		if len(chosen) > 1 {
			return chosen, nil
		}
		tiers[t] = tiers[t][1:]
	}
	if len(dead) == 0 {
		return nil, nil
	}
	for i := range all {
		messages, err := all[i].readMessages(snap)
		if err != nil {
			return nil, err
		}
		n := 0
		for _, id := range dead {
			if position(messages, id) >= 0 {
				n++
			}
		}
		if n*deadShare >= all[i].docs {
			return []int{i}, nil
		}
	}
	return nil, nil
}

// dropTombstones takes away tombstones of messages that no segment has.
func (x *Index) dropTombstones(ctx context.Context, all []segment, raw []byte, dead []MessageID) error {
	if len(dead) == 0 {
		return nil
	}
	known := make([]bool, len(dead))
	for i := range all {
		err := x.snapshot(ctx, func(snap kv.Snapshot) error {
			messages, err := all[i].readMessages(snap)
			for n, id := range dead {
				known[n] = known[n] || position(messages, id) >= 0
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	var needless []MessageID
	for n, id := range dead {
		if !known[n] {
			needless = append(needless, id)
		}
	}
	return x.forget(ctx, needless, guard(manifestKey, raw))
}

// forget deletes tombstones.
func (x *Index) forget(ctx context.Context, ids []MessageID, guards ...kv.Guard) error {
	for part := range slices.Chunk(ids, dropKeys) {
		b := kv.Batch{Space: x.Space, Quiet: true, Guards: guards}
		for _, id := range part {
			b.Deletes = append(b.Deletes, idKey(keyTombstone, id))
		}
		if _, err := x.Engine.Commit(ctx, b); err != nil {
			return fmt.Errorf("forget messages: %w", err)
		}
	}
	return nil
}

// input is a segment that is merged.
type input struct {
	segment
	messages []MessageID
	renumber []int32 // old number of a document → new one, −1: it is gone

	field Field
	terms []mergeTerm // read ahead
	at    int
	from  []byte // where to read on; nil: at the end of the field
	ended bool
}

// mergeTerm is a term read ahead, its documents renumbered.
type mergeTerm struct {
	key  []byte
	docs []uint32
}

// merging makes one segment of several.
type merging struct {
	x       *Index
	inputs  []*input
	dead    []MessageID
	dropped []MessageID
	docs    []uint32
}

func (m *merging) segments() []segment {
	var all []segment
	for _, in := range m.inputs {
		all = append(all, in.segment)
	}
	return all
}

// number gives the documents their new numbers, in the order of messages.
func (m *merging) number() []MessageID {
	var all []MessageID
	for _, in := range m.inputs {
		for _, id := range in.messages {
			if _, dead := slices.BinarySearch(m.dead, id); dead {
				m.dropped = append(m.dropped, id)
			} else {
				all = append(all, id)
			}
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	for _, in := range m.inputs {
		in.renumber = make([]int32, len(in.messages))
		for i, id := range in.messages {
			in.renumber[i] = int32(position(all, id))
		}
	}
	return all
}

// mergeAhead is how many terms and how many documents of them are read ahead of each
// input.
const (
	mergeAhead     = 2048
	mergeAheadDocs = 1 << 18
)

// fill reads terms of an input ahead.
func (in *input) fill(ctx context.Context, x *Index) error {
	in.terms, in.at = in.terms[:0], 0
	if in.ended {
		return nil
	}
	return x.snapshot(ctx, func(snap kv.Snapshot) error {
		deadline := time.Now().Add(scanTime)
		p := newPostings(snap, &in.segment, in.field)
		docs := 0
		var failed error
		full := false
		err := in.eachTermFrom(snap, in.field, in.from, func(t *found) bool {
			if len(in.terms) >= mergeAhead || docs > mergeAheadDocs || len(in.terms) > 0 && time.Now().After(deadline) {
				in.from, full = append(in.from[:0], t.key...), true
				return false
			}
			mt := mergeTerm{key: bytes.Clone(t.key)}
			failed = p.each(t, func(n uint32) {
				if to := in.renumber[n]; to >= 0 {
					mt.docs = append(mt.docs, uint32(to))
				}
			})
			docs += len(mt.docs)
			in.terms = append(in.terms, mt)
			return failed == nil
		})
		in.ended = !full
		if failed != nil {
			return failed
		}
		return err
	})
}

// run writes the new segment.
func (m *merging) run(ctx context.Context) (segment, error) {
	messages := m.number()
	w, err := m.x.newSegment(ctx, messages)
	if err != nil {
		return segment{}, err
	}
	fields := append([]Field{opaqueField}, allFields[:]...)
	slices.Sort(fields)
	for _, f := range fields {
		if err := m.field(ctx, w, f); err != nil {
			return segment{}, err
		}
	}
	return w.finish(ctx)
}

// field merges the dictionaries of one field.
func (m *merging) field(ctx context.Context, w *segmentWriter, f Field) error {
	for _, in := range m.inputs {
		in.field, in.from, in.ended = f, nil, false
		if err := in.fill(ctx, m.x); err != nil {
			return err
		}
	}
	for {
		var least []byte
		for _, in := range m.inputs {
			if in.at < len(in.terms) && (least == nil || bytes.Compare(in.terms[in.at].key, least) < 0) {
				least = in.terms[in.at].key
			}
		}
		if least == nil {
			return nil
		}
		if err := m.term(ctx, w, f, least); err != nil {
			return err
		}
	}
}

// term writes the least term with the documents of all inputs.
func (m *merging) term(ctx context.Context, w *segmentWriter, f Field, key []byte) error {
	m.docs = m.docs[:0]
	for _, in := range m.inputs {
		if in.at == len(in.terms) || !bytes.Equal(in.terms[in.at].key, key) {
			continue
		}
		m.docs = append(m.docs, in.terms[in.at].docs...)
		in.at++
	}
	if !slices.IsSorted(m.docs) {
		slices.Sort(m.docs)
	}
	m.docs = slices.Compact(m.docs)
	if len(m.docs) > 0 {
		if err := w.add(f, key, m.docs); err != nil {
			return err
		}
	}
	for _, in := range m.inputs {
		if in.at == len(in.terms) && !in.ended {
			if err := in.fill(ctx, m.x); err != nil {
				return err
			}
		}
	}
	return nil
}
