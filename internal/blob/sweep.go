package blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"postroad/internal/kv"
)

// sweepStep is how many blobs of the store are compared with the records at a time.
const sweepStep = 4096

// Sweep removes from the store what has no record: blobs staged before a crash or an
// error and never committed. It leaves alone what is younger than the grace, which may
// still be on its way into a commit. It returns how many it removed.
func (c *Collector) Sweep(ctx context.Context) (int, error) {
	removed := 0
	err := c.orphans(ctx, func(o []Info) error {
		l := make([]Location, len(o))
		for i := range o {
			l[i] = o[i].Location
		}
		if err := c.bodies.store.Delete(ctx, l...); err != nil {
			return fmt.Errorf("delete orphaned blobs: %w", err)
		}
		removed += len(o)
		return nil
	})
	return removed, err
}

// orphans calls found with the blobs of the store that have no record and are older than
// the grace.
func (c *Collector) orphans(ctx context.Context, found func([]Info) error) error {
	// What the store lists was put before this instant, so the records read afterwards
	// hold all that was committed; the grace covers what is in between.
	limit := time.Now().Add(-c.options.OrphanGrace)
	var step [spaceCount][]Info
	n := 0
	for info, err := range c.bodies.store.List(ctx) {
		if err != nil {
			return fmt.Errorf("list the store: %w", err)
		}
		if info.ID.Time().After(limit) {
			continue
		}
		i := spaceIndex(info.ID)
		step[i] = append(step[i], info)
		if n++; n < sweepStep {
			continue
		}
		n = 0
		if err := c.compare(ctx, &step, found); err != nil {
			return err
		}
	}
	return c.compare(ctx, &step, found)
}

// compare looks up the records of one step, a snapshot for each space, and clears it.
func (c *Collector) compare(ctx context.Context, step *[spaceCount][]Info, found func([]Info) error) error {
	var orphans []Info
	for i := range step {
		if len(step[i]) == 0 {
			continue
		}
		o, err := c.withoutRecord(ctx, spaceName(i), step[i])
		if err != nil {
			return err
		}
		orphans = append(orphans, o...)
		step[i] = step[i][:0]
	}
	if len(orphans) == 0 {
		return nil
	}
	return found(orphans)
}

// withoutRecord returns those of the blobs, all of one space, whose record is missing or
// names another place.
func (c *Collector) withoutRecord(ctx context.Context, s kv.Space, blobs []Info) ([]Info, error) {
	snapshot, err := c.bodies.engine.Snapshot(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("look up records: %w", err)
	}
	defer snapshot.Close()
	var orphans []Info
	for i := range blobs {
		v, err := snapshot.Get(recordKey(blobs[i].ID))
		if errors.Is(err, kv.ErrNotFound) {
			orphans = append(orphans, blobs[i])
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look up records: %w", err)
		}
		_, _, location, err := decodeRecord(v)
		if err == nil && !bytes.Equal(location, blobs[i].Location) {
			orphans = append(orphans, blobs[i])
		}
	}
	return orphans, nil
}
