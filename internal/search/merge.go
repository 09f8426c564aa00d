package search

import (
	"context"
	"fmt"
	"slices"

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
	slices.SortFunc(m.inputs, func(a, b *input) int {
		return slices.Compare(a.messages[:min(1, len(a.messages))], b.messages[:min(1, len(b.messages))])
	})
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
		eachCommon(messages, dead, func(int) { n++ })
		if n*deadShare >= all[i].docs {
			return []int{i}, nil
		}
	}
	return nil, nil
}

// eachCommon calls f with the places in b of what two ordered lists both have.
func eachCommon(a, b []MessageID, f func(n int)) {
	for n := 0; len(a) > 0 && n < len(b); {
		switch {
		case a[0] < b[n]:
			a = a[1:]
		case a[0] > b[n]:
			n++
		default:
			f(n)
			n++
		}
	}
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
			eachCommon(messages, dead, func(n int) { known[n] = true })
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
