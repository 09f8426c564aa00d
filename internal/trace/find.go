package trace

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
	"postroad/internal/mailflow"
)

const (
	// FindMax is how many timelines Find gives, the newest.
	FindMax = 100
	// scanStep is how many digests are read in one snapshot.
	scanStep = 20_000
	// eventsMax is how many records of one mail are read.
	eventsMax = 10_000
	// trimStep is how much of the past one commit of Trim forgets, in time of the ids.
	trimStep = time.Hour
)

// Find gives the timelines of the mails with that queue id, Message-ID, sender or
// recipient, newest first, FindMax at the most.
func Find(ctx context.Context, engine kv.Engine, what string) ([]Timeline, error) {
	if id, err := hlc.Parse(what); err == nil {
		t, err := Load(ctx, engine, id)
		if err != nil || len(t.Events) > 0 {
			return []Timeline{t}, err
		}
	}
	term := fold(what)
	if term == "" {
		return nil, nil
	}
	var ids []mailflow.ID
	for _, s := range spaces {
		found, err := candidates(ctx, engine, s, hashOf(term))
		if err != nil {
			return nil, err
		}
		ids = append(ids, found...)
	}
	slices.Sort(ids)
	slices.Reverse(ids)
	var found []Timeline
	for _, id := range slices.Compact(ids) {
		t, err := Load(ctx, engine, id)
		if err != nil {
			return found, err
		}
		if t.about(term) {
			if found = append(found, t); len(found) == FindMax {
				break
			}
		}
	}
	return found, nil
}

// about tells whether the mail has the term, and not only a term with the same hash.
func (t Timeline) about(term string) bool {
	for i := range t.Events {
		for has := range t.Events[i].terms() {
			if has == term {
				return true
			}
		}
	}
	return false
}

// candidates scans the digests of one space, newest first, for as many mails as Find may
// give. It lets the snapshot go now and then.
func candidates(ctx context.Context, engine kv.Engine, s kv.Space, hash [hashSize]byte) ([]mailflow.ID, error) {
	var ids []mailflow.ID
	r := kv.Prefix([]byte{keyDigest})
	r.Reverse, r.Limit = true, scanStep
	for {
		n := 0
		err := read(ctx, engine, s, func(snap kv.Snapshot) error {
			for entry, err := range snap.Scan(r) {
				if err != nil {
					return err
				}
				n++
				r.To = append([]byte(nil), entry.Key...) // where the next snapshot goes on
				id, ok := idOf(entry.Key)
				if !ok || !holds(entry.Value, hash) || len(ids) > 0 && ids[len(ids)-1] == id {
					continue
				}
				if ids = append(ids, id); len(ids) == FindMax {
					return nil
				}
			}
			return nil
		})
		if err != nil || n < scanStep || len(ids) == FindMax {
			return ids, err
		}
	}
}

// idOf reads the mail's id from a key.
func idOf(key []byte) (mailflow.ID, bool) {
	if len(key) < 9 {
		return 0, false
	}
	return mailflow.ID(binary.BigEndian.Uint64(key[1:])), true
}

// read runs f with a snapshot of a space.
func read(ctx context.Context, engine kv.Engine, s kv.Space, f func(kv.Snapshot) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	snap, err := engine.Snapshot(ctx, s)
	if err != nil {
		return fmt.Errorf("read trace: %w", err)
	}
	if err := errors.Join(f(snap), snap.Close()); err != nil {
		return fmt.Errorf("read trace: %w", err)
	}
	return nil
}

// Load gives the timeline of one mail; it has no events when nothing is known.
func Load(ctx context.Context, engine kv.Engine, id mailflow.ID) (Timeline, error) {
	t := Timeline{Mail: id}
	r := kv.Prefix(prefix(keyEvents, id))
	r.Limit = eventsMax
	err := read(ctx, engine, space(id), func(snap kv.Snapshot) error {
		for entry, err := range snap.Scan(r) {
			if err != nil {
				return err
			}
			if t.Events, err = parseRecord(id, entry.Value, t.Events); err != nil {
				return err
			}
		}
		return nil
	})
	slices.SortStableFunc(t.Events, func(a, b Event) int { return a.Time.Compare(b.Time) })
	return t, err
}

// Trim forgets the mails that were accepted before an instant. It commits in steps, each
// of which forgets at most an hour's mail of one space, and may be stopped and called
// again at any time.
func Trim(ctx context.Context, engine kv.Engine, before time.Time) error {
	for _, s := range spaces {
		for {
			more, err := trimSome(ctx, engine, s, hlc.At(before))
			if err != nil {
				return fmt.Errorf("trim trace: %w", err)
			}
			if !more {
				break
			}
		}
	}
	return nil
}

// trimSome forgets the oldest mail of a space below an id and tells whether there was any.
func trimSome(ctx context.Context, engine kv.Engine, s kv.Space, below mailflow.ID) (bool, error) {
	oldest := below
	err := read(ctx, engine, s, func(snap kv.Snapshot) error {
		for _, kind := range []byte{keyEvents, keyDigest} {
			for entry, err := range snap.Scan(kv.Range{From: []byte{kind}, To: prefix(kind, below), Limit: 1}) {
				if err != nil {
					return err
				}
				if id, ok := idOf(entry.Key); ok {
					oldest = min(oldest, id)
				}
			}
		}
		return nil
	})
	if err != nil || oldest == below {
		return false, err
	}
	to := min(below, hlc.At(oldest.Time().Add(trimStep)))
	b := kv.Batch{Space: s, Quiet: true}
	for _, kind := range []byte{keyEvents, keyDigest} {
		b.Ranges = append(b.Ranges, kv.Range{From: []byte{kind}, To: prefix(kind, to)})
	}
	_, err = engine.Commit(ctx, b)
	return true, err
}
