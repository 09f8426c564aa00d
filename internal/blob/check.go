package blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"postroad/internal/kv"
)

// The check's steps.
const (
	checkStep   = 256       // records or links looked at in one snapshot
	checkBuffer = 256 << 10 // octets read at a time
)

// FindingKind says what is wrong.
type FindingKind string

// The kinds of findings.
const (
	FindingUnreadable FindingKind = "unreadable" // the octets of a body are missing or damaged: mail is lost
	FindingNoBody     FindingKind = "no body"    // a link's body is not there: mail is lost
	FindingNoLink     FindingKind = "no link"    // a body that nothing needs and the collector does not know of
	FindingOrphan     FindingKind = "orphan"     // a blob without record; the collector's sweep removes it
)

// Finding is one thing found wrong.
type Finding struct {
	Kind   FindingKind
	ID     ID
	Holder string // of a link
	Err    error  // of an unreadable body
}

// String says it in one line.
func (f Finding) String() string {
	s := fmt.Sprintf("body %s: %s", f.ID, f.Kind)
	if f.Holder != "" {
		s += fmt.Sprintf(" (holder %s)", f.Holder)
	}
	if f.Err != nil {
		s += ": " + f.Err.Error()
	}
	return s
}

// CheckProgress is how far a check is.
type CheckProgress struct {
	Spaces, SpacesAll int   // looked through, of all
	Bodies            int64 // read to their end
	Octets            int64 // read
}

// Check reads every body to its end, holds every link against its body and looks for
// blobs without record. What it finds goes to found; progress, which may be nil, is told
// now and then. The error is the check's own: it could not go on.
func (c *Collector) Check(ctx context.Context, found func(Finding), progress func(CheckProgress)) error {
	if progress == nil {
		progress = func(CheckProgress) {}
	}
	k := &check{collector: c, found: found, progress: progress, buffer: make([]byte, checkBuffer)}
	k.state.SpacesAll = spaceCount
	for i := range spaceCount {
		if err := k.space(ctx, spaceName(i)); err != nil {
			return fmt.Errorf("check bodies of space %s: %w", spaceName(i), err)
		}
		k.state.Spaces++
		progress(k.state)
	}
	err := c.orphans(ctx, func(o []Info) error {
		for i := range o {
			found(Finding{Kind: FindingOrphan, ID: o[i].ID})
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("check for orphaned blobs: %w", err)
	}
	return nil
}

// check is one run of Check.
type check struct {
	collector *Collector
	found     func(Finding)
	progress  func(CheckProgress)
	state     CheckProgress
	buffer    []byte
}

// space checks the records and the links of one space, a bounded step at a time, so that
// no snapshot lives long.
func (k *check) space(ctx context.Context, s kv.Space) error {
	steps := []struct {
		kind byte
		step func(context.Context, kv.Space, kv.Range) ([]byte, error)
	}{{keyRecord, k.records}, {keyLink, k.links}}
	for _, part := range steps {
		r := kv.Prefix([]byte{part.kind})
		r.Limit = checkStep
		for r.From != nil {
			next, err := part.step(ctx, s, r)
			if err != nil {
				return err
			}
			r.From = next
			k.progress(k.state)
		}
	}
	return nil
}

// large is a body to be read in the store once the snapshot is closed.
type large struct {
	id       ID
	size     int64
	location Location
}

// records checks one step of records and returns where to go on, nil at the end.
func (k *check) records(ctx context.Context, s kv.Space, r kv.Range) (next []byte, err error) {
	bodies, next, err := k.look(ctx, s, r)
	if err != nil {
		return nil, err
	}
	for _, b := range bodies {
		err := k.read(ctx, b)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err == nil {
			k.state.Bodies++
			k.state.Octets += b.size
			continue
		}
		// It may have been collected since the snapshot; then it has no record now.
		if _, again := k.collector.bodies.record(ctx, b.id); errors.Is(again, ErrNotFound) {
			continue
		}
		k.found(Finding{Kind: FindingUnreadable, ID: b.id, Err: err})
	}
	return next, nil
}

// look reads a step of records: small bodies are checked on the spot, large ones
// returned.
func (k *check) look(ctx context.Context, s kv.Space, r kv.Range) (bodies []large, next []byte, err error) {
	snapshot, err := k.collector.bodies.engine.Snapshot(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	defer snapshot.Close()
	n := 0
	for e, err := range snapshot.Scan(r) {
		if err != nil {
			return nil, nil, err
		}
		n++
		next = append(bytes.Clone(e.Key), 0)
		id, ok := keyID(e.Key)
		if !ok {
			continue
		}
		_, size, location, err := decodeRecord(e.Value)
		switch {
		case err != nil:
			k.found(Finding{Kind: FindingUnreadable, ID: id, Err: err})
		case location == nil:
			k.state.Bodies++
			k.state.Octets += size
		default:
			bodies = append(bodies, large{id, size, bytes.Clone(location)})
		}
		if err := k.needed(snapshot, id); err != nil {
			return nil, nil, err
		}
	}
	if n < r.Limit {
		next = nil
	}
	return bodies, next, nil
}

// needed reports a body that has neither link nor mark: nothing would ever collect it.
func (k *check) needed(snapshot kv.Snapshot, id ID) error {
	links := kv.Prefix(linkKey(id, ""))
	links.Limit = 1
	for _, err := range snapshot.Scan(links) {
		return err
	}
	_, err := snapshot.Get(markKey(id))
	if errors.Is(err, kv.ErrNotFound) {
		k.found(Finding{Kind: FindingNoLink, ID: id})
		return nil
	}
	return err
}

// read reads a large body to its end.
func (k *check) read(ctx context.Context, b large) error {
	r, err := k.collector.bodies.store.Open(ctx, b.location)
	if err != nil {
		return err
	}
	defer r.Close()
	if r.Size() != b.size {
		return fmt.Errorf("%w: %d octets are stored, %d recorded", ErrDamaged, r.Size(), b.size)
	}
	for off := int64(0); off < b.size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := r.ReadAt(k.buffer[:min(int64(len(k.buffer)), b.size-off)], off)
		off += int64(n)
		if err != nil && !(err == io.EOF && off == b.size) {
			return err
		}
	}
	return nil
}

// links checks one step of links and returns where to go on, nil at the end.
func (k *check) links(ctx context.Context, s kv.Space, r kv.Range) (next []byte, err error) {
	snapshot, err := k.collector.bodies.engine.Snapshot(ctx, s)
	if err != nil {
		return nil, err
	}
	defer snapshot.Close()
	n := 0
	for e, err := range snapshot.Scan(r) {
		if err != nil {
			return nil, err
		}
		n++
		next = append(bytes.Clone(e.Key), 0)
		id, ok := keyID(e.Key)
		if !ok {
			continue
		}
		_, err := snapshot.Get(recordKey(id))
		if errors.Is(err, kv.ErrNotFound) {
			k.found(Finding{Kind: FindingNoBody, ID: id, Holder: string(e.Key[keyLen:])})
			continue
		}
		if err != nil {
			return nil, err
		}
	}
	if n < r.Limit {
		next = nil
	}
	return next, nil
}
