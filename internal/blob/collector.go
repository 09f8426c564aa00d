package blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"postroad/internal/kv"
)

// The collector's steps.
const (
	marksPerStep      = 100              // marks looked at in one snapshot and deleted in one commit, small enough for a full disk
	collectPause      = 10 * time.Second // between rounds of Run, when little is to do
	sweepEvery        = 24 * time.Hour   // between sweeps for orphans
	sweepFirst        = time.Hour        // before the first one
	orphanGraceLeast  = time.Hour        // younger than this may still be on its way into a commit
	orphanGraceNormal = 24 * time.Hour
)

// CollectorOptions set the pace. The zero value is good.
type CollectorOptions struct {
	Pause       time.Duration // between rounds; 0: ten seconds
	SweepEvery  time.Duration // between sweeps for orphans; 0: a day
	OrphanGrace time.Duration // age below which what has no record is left alone; 0: a day, at least an hour
	Log         *slog.Logger  // nil: slog.Default
}

// Collector takes away the bodies that no link holds. Unlink leaves marks; the collector
// follows these, so its work grows with deletions and not with the store.
//
// States of a body that goes:
//
//	linked, marked   a link went away; others may be there
//	marked           no link is left: the commit that finds this so deletes the record
//	dying            record gone, mark names the location; the store gives the space back
//	gone             mark deleted
//
// A body becomes unreachable in the commit from marked to dying, guarded on the mark:
// Link changes the mark, Unlink changes it, so that nothing between look and commit goes
// unseen.
type Collector struct {
	bodies  *Bodies
	options CollectorOptions
}

// NewCollector returns a collector for the bodies.
func NewCollector(bodies *Bodies, o CollectorOptions) *Collector {
	if o.Pause <= 0 {
		o.Pause = collectPause
	}
	if o.SweepEvery <= 0 {
		o.SweepEvery = sweepEvery
	}
	if o.OrphanGrace <= 0 {
		o.OrphanGrace = orphanGraceNormal
	}
	o.OrphanGrace = max(o.OrphanGrace, orphanGraceLeast)
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Collector{bodies: bodies, options: o}
}

// Run collects, and sweeps for orphans after an hour and then once a day, until ctx is done. Errors are logged;
// the next round tries again.
func (c *Collector) Run(ctx context.Context) {
	pause := time.NewTicker(c.options.Pause)
	defer pause.Stop()
	swept := time.Now().Add(min(sweepFirst, c.options.SweepEvery) - c.options.SweepEvery)
	for {
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		if _, err := c.Collect(ctx); err != nil && ctx.Err() == nil {
			c.options.Log.Error("collect bodies without links", "err", err)
		}
		if time.Since(swept) < c.options.SweepEvery {
			continue
		}
		swept = time.Now()
		n, err := c.Sweep(ctx)
		if err != nil && ctx.Err() == nil {
			c.options.Log.Error("sweep orphaned blobs", "err", err)
		}
		if n > 0 {
			c.options.Log.Info("removed blobs that no commit took", "blobs", n)
		}
	}
}

// Collect follows all marks that are there now and returns how many bodies it took away.
func (c *Collector) Collect(ctx context.Context) (int, error) {
	total := 0
	for i := range spaceCount {
		n, err := c.collectSpace(ctx, spaceName(i))
		total += n
		if err != nil {
			return total, fmt.Errorf("collect in space %s: %w", spaceName(i), err)
		}
	}
	return total, nil
}

// collectSpace works through the marks of one space in steps.
func (c *Collector) collectSpace(ctx context.Context, s kv.Space) (int, error) {
	total := 0
	for from := []byte{keyMark}; from != nil; {
		if err := ctx.Err(); err != nil {
			return total, err
		}
		found, next, err := c.look(ctx, s, from)
		if err != nil {
			return total, err
		}
		n, err := c.take(ctx, s, found)
		total += n
		if err != nil {
			return total, err
		}
		from = next
	}
	return total, nil
}

// marked is one mark as a snapshot shows it.
type marked struct {
	id       ID
	mark     []byte
	linked   bool     // there are links: only the mark goes
	recorded bool     // there is a record
	dying    bool     // the record went in an earlier commit
	location Location // of a large body that goes
}

// look reads up to marksPerStep marks and what is known of their bodies. next is where
// to go on, nil at the end.
func (c *Collector) look(ctx context.Context, s kv.Space, from []byte) (found []marked, next []byte, err error) {
	snapshot, err := c.bodies.engine.Snapshot(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	defer snapshot.Close()

	marks := kv.Prefix([]byte{keyMark})
	marks.From, marks.Limit = from, marksPerStep
	for e, err := range snapshot.Scan(marks) {
		if err != nil {
			return nil, nil, err
		}
		if id, ok := keyID(e.Key); ok {
			found = append(found, marked{id: id, mark: bytes.Clone(e.Value)})
		}
		next = append(bytes.Clone(e.Key), 0)
	}
	if len(found) < marksPerStep {
		next = nil
	}
	for i := range found {
		if err := found[i].read(snapshot); err != nil {
			return nil, nil, err
		}
	}
	return found, next, nil
}

// read finds out whether the marked body has links and where it lies.
func (m *marked) read(snapshot kv.Snapshot) error {
	if len(m.mark) > 2 && m.mark[1] == markDying {
		m.dying, m.location = true, Location(m.mark[2:])
		return nil
	}
	links := kv.Prefix(linkKey(m.id, ""))
	links.Limit = 1
	for _, err := range snapshot.Scan(links) {
		if err != nil {
			return err
		}
		m.linked = true
		return nil
	}
	v, err := snapshot.Get(recordKey(m.id))
	if errors.Is(err, kv.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	m.recorded = true
	_, _, m.location, err = decodeRecord(v)
	if errors.Is(err, ErrDamaged) {
		// Nobody needs it any more; an unreadable location leaves an orphan for the sweep.
		return nil
	}
	return err
}

// take deletes what was found unlinked: first the records, then the octets in the store,
// then the marks of these. A mark that changed since the look is somebody else's news:
// its body is left to the next round.
func (c *Collector) take(ctx context.Context, s kv.Space, found []marked) (int, error) {
	buried, err := c.buryAll(ctx, s, found)
	if err != nil {
		return 0, err
	}
	taken := 0
	var locations []Location
	// The id of a dying body has no record and never gets one again, so its mark is ours.
	last := kv.Batch{Space: s, Quiet: true}
	for i := range buried {
		if buried[i].recorded {
			taken++
		}
		if buried[i].location != nil {
			locations = append(locations, buried[i].location)
			last.Deletes = append(last.Deletes, markKey(buried[i].id))
		}
	}
	if len(locations) == 0 {
		return taken, nil
	}
	if err := c.bodies.store.Delete(ctx, locations...); err != nil {
		return taken, fmt.Errorf("delete from the store: %w", err)
	}
	if _, err := c.bodies.engine.Commit(ctx, last); err != nil {
		return taken, fmt.Errorf("delete marks: %w", err)
	}
	return taken, nil
}

// bury adds to the batch what one mark calls for.
func (m *marked) bury(b *kv.Batch) {
	if m.dying {
		return
	}
	key := markKey(m.id)
	b.Guards = append(b.Guards, kv.Guard{Kind: kv.GuardEquals, Key: key, Value: m.mark})
	if m.recorded {
		b.Deletes = append(b.Deletes, recordKey(m.id))
	}
	if m.location == nil {
		b.Deletes = append(b.Deletes, key)
		return
	}
	dying := append([]byte{formatVersion, markDying}, m.location...)
	b.Puts = append(b.Puts, kv.Put{Key: key, Value: dying})
}

// buryAll buries what was found in one commit. When a guard fails it leaves that body out
// and tries again; it returns those that went through.
func (c *Collector) buryAll(ctx context.Context, s kv.Space, found []marked) ([]marked, error) {
	for {
		b := kv.Batch{Space: s, Quiet: true}
		for i := range found {
			found[i].bury(&b)
		}
		if len(b.Guards) == 0 {
			return found, nil
		}
		_, err := c.bodies.engine.Commit(ctx, b)
		if err == nil {
			return found, nil
		}
		var conflict *kv.ConflictError
		if !errors.As(err, &conflict) {
			return nil, fmt.Errorf("delete records: %w", err)
		}
		id, _ := keyID(conflict.Guard.Key)
		before := len(found)
		found = slices.DeleteFunc(found, func(m marked) bool { return m.id == id })
		if len(found) == before {
			return nil, fmt.Errorf("delete records: %w", err)
		}
	}
}
