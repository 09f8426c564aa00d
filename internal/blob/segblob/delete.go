package segblob

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"postroad/internal/blob"
)

// blockSize is the unit in which a file system gives space back.
const blockSize = 4096

// Delete marks the records as dead and gives their space back. A record that somebody
// reads goes when the last reader closes; should the process end before, it is an orphan
// for the sweep. Deletions are not synced: one that a crash undoes is an orphan too.
func (s *Store) Delete(ctx context.Context, locations ...blob.Location) error {
	if err := s.ready(); err != nil {
		return err
	}
	s.deleteMu.Lock()
	defer s.deleteMu.Unlock()
	for _, l := range locations {
		if err := ctx.Err(); err != nil {
			return err
		}
		a, err := parseLocation(l)
		if err != nil {
			continue
		}
		if err := s.deleteOne(a, l); err != nil && !errors.Is(err, blob.ErrNotFound) {
			return fmt.Errorf("delete blob: %w", err)
		}
	}
	return nil
}

// deleteOne deletes one record. The caller holds deleteMu.
func (s *Store) deleteOne(a address, l blob.Location) (err error) {
	g, err := s.acquire(a.segment)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.release(g)) }()
	p := place{a.segment, a.offset}
	if s.putOff(p, l) {
		return nil
	}
	defer func() {
		s.mu.Lock()
		delete(s.reading, p)
		s.mu.Unlock()
	}()
	h, err := s.header(g, a)
	if err != nil {
		return err
	}
	if err := s.bury(g, h, a.offset); err != nil {
		return err
	}
	return s.tidy(g, h.length)
}

// putOff notes that a record with readers is to be deleted later, or else that it is
// being deleted now.
func (s *Store) putOff(p place, l blob.Location) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reading[p] > 0 {
		s.doomed[p] = append(blob.Location(nil), l...)
		return true
	}
	s.reading[p] = deleting
	return false
}

// bury writes the header of a dead record, whose length may cover others, and punches
// what is behind the header out of the file.
func (s *Store) bury(g *segment, h header, offset int64) error {
	h.state = stateDead
	var p [headerLen]byte
	h.put(p[:])
	if _, err := g.file.WriteAt(p[:], offset); err != nil {
		return fmt.Errorf("mark record: %w", err)
	}
	from := (offset + headerLen + blockSize - 1) / blockSize * blockSize
	to := (offset + aligned(h.length)) / blockSize * blockSize
	if from >= to {
		return nil
	}
	if err := punch(g.file, from, to-from); err != nil {
		return fmt.Errorf("punch hole: %w", err)
	}
	return nil
}

// tidy counts a deletion. Where half of what was live at the last count has gone, the
// segment is looked through: holes of neighbours are joined, and what is live is counted
// anew; so the looking costs in proportion to the deletions. When nothing is live the
// file goes.
func (s *Store) tidy(g *segment, length int64) error {
	s.mu.Lock()
	g.dead += length
	live := g.live
	if live == unknown {
		live = g.size / 2
	}
	due := g.dead*2 >= live
	s.mu.Unlock()
	if !due {
		return nil
	}
	active := s.isActive(g) // asked before the count: nothing is appended after it
	empty, err := s.joinHoles(g)
	if err != nil || !empty || active {
		return err
	}
	return s.remove(g)
}

// remove removes a segment without live records.
func (s *Store) remove(g *segment) error {
	s.mu.Lock()
	gone := g.gone
	g.gone = true
	delete(s.segments, g.number)
	s.mu.Unlock()
	if gone {
		return nil
	}
	if err := s.fs.Remove(s.path(segmentName(g.number))); err != nil {
		return fmt.Errorf("remove empty segment: %w", err)
	}
	return s.unpin(g)
}

// isActive tells whether records are still appended to the segment.
func (s *Store) isActive(g *segment) bool {
	s.appendMu.Lock()
	defer s.appendMu.Unlock()
	return s.active == g
}

// joinHoles makes one dead record of each run of them, and counts what is live. It tells
// whether the segment is empty beyond doubt.
func (s *Store) joinHoles(g *segment) (empty bool, err error) {
	var run header // its length grows
	var at, live int64
	members := 0
	end := func() error {
		if members > 1 {
			return s.bury(g, run, at)
		}
		return nil
	}
	c := s.scan(g)
	for r, err := range c.records() {
		if err != nil {
			return false, err
		}
		if r.state == stateDead && members > 0 && at+aligned(run.length) == r.offset {
			run.length = r.offset + r.length - at
			members++
			continue
		}
		if err := end(); err != nil {
			return false, err
		}
		members = 0
		if r.state == stateDead {
			run, at, members = r.header, r.offset, 1
		} else {
			live += r.length
		}
	}
	if err := end(); err != nil {
		return false, err
	}
	s.mu.Lock()
	g.live, g.dead = live, 0
	s.mu.Unlock()
	return live == 0 && !c.damaged, nil
}

// List yields every blob.
func (s *Store) List(ctx context.Context) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) {
		if err := s.ready(); err != nil {
			yield(blob.Info{}, err)
			return
		}
		for _, g := range s.all() {
			if !s.listSegment(ctx, g.number, yield) {
				return
			}
		}
	}
}

// listSegment yields the blobs of one segment. A file in which there is nothing, as a
// crash leaves it, is removed.
func (s *Store) listSegment(ctx context.Context, number uint64, yield func(blob.Info, error) bool) bool {
	g, err := s.acquire(number)
	if errors.Is(err, blob.ErrNotFound) {
		return true // deleted meanwhile
	}
	if err != nil {
		return yield(blob.Info{}, err)
	}
	defer func() {
		if err := s.release(g); err != nil {
			s.options.Log.Error("list blobs", "err", err)
		}
	}()
	active, live := s.isActive(g), false
	c := s.scan(g)
	for r, err := range c.records() {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			yield(blob.Info{}, err)
			return false
		}
		if r.state != stateLive {
			continue
		}
		live = true
		a := address{segment: number, offset: r.offset, length: r.length, crc: r.crc}
		if !yield(blob.Info{ID: r.id, Location: a.location(), Size: r.size}, nil) {
			return false
		}
	}
	if !live && !active && !c.damaged {
		if err := s.remove(g); err != nil {
			return yield(blob.Info{}, err)
		}
	}
	return true
}
