// Package faultkv is an engine that fails on purpose, for tests of what stands on one.
//
// The main type is [Engine], which wraps another engine and does to chosen operations what
// a [Fault] says. Files that fail are internal/kv/faultfs; this is the seam above.
package faultkv

import (
	"context"
	"errors"
	"iter"
	"strings"
	"sync"
	"time"

	"postroad/internal/kv"
)

// ErrBroken is a failure that is in no contract: a broken disk, a lost connection.
var ErrBroken = errors.New("faultkv: broken on purpose")

// Fault says what goes wrong. The zero Fault is none.
type Fault struct {
	Spaces string // only in spaces whose names start so; empty: in all

	Commit   error // of every commit; nothing is written
	Snapshot error // of every snapshot
	Versions error // of every look at versions
	Scan     error // of every scan of a snapshot, after its first entry

	// Conflicts is how many commits find that a guard does not hold; below 0: all.
	Conflicts int
	// Lost is how many commits are written and answered by ErrBroken all the same: their
	// outcome is not known.
	Lost int
	// Slow is how long each commit and snapshot takes longer.
	Slow time.Duration
}

// Engine fails as its Fault says. All methods may be called at once.
type Engine struct {
	kv.Engine

	mu    sync.Mutex
	fault Fault
}

// New returns an engine over another one, without faults.
func New(e kv.Engine) *Engine { return &Engine{Engine: e} }

// Set has all that follows go wrong in this way.
func (e *Engine) Set(f Fault) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.fault = f
}

// in returns the fault that is set, none for other spaces.
func (e *Engine) in(spaces ...kv.Space) Fault {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range spaces {
		if strings.HasPrefix(string(s), e.fault.Spaces) {
			return e.fault
		}
	}
	return Fault{}
}

// count takes one of a number of faults; below 0 they do not end.
func (e *Engine) count(n *int) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if *n > 0 {
		*n--
		return true
	}
	return *n < 0
}

// wait is Slow.
func wait(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// Commit implements kv.Engine.
func (e *Engine) Commit(ctx context.Context, b ...kv.Batch) ([]kv.Result, error) {
	spaces := make([]kv.Space, len(b))
	for i := range b {
		spaces[i] = b[i].Space
	}
	f := e.in(spaces...)
	if err := wait(ctx, f.Slow); err != nil {
		return nil, err
	}
	switch {
	case f.Commit != nil:
		return nil, f.Commit
	case f.Conflicts != 0 && e.count(&e.fault.Conflicts):
		return nil, &kv.ConflictError{Space: b[0].Space}
	case f.Lost != 0 && e.count(&e.fault.Lost):
		if _, err := e.Engine.Commit(ctx, b...); err != nil {
			return nil, err
		}
		return nil, ErrBroken
	}
	return e.Engine.Commit(ctx, b...)
}

// Snapshot implements kv.Engine.
func (e *Engine) Snapshot(ctx context.Context, s kv.Space) (kv.Snapshot, error) {
	f := e.in(s)
	if err := wait(ctx, f.Slow); err != nil {
		return nil, err
	}
	if f.Snapshot != nil {
		return nil, f.Snapshot
	}
	snap, err := e.Engine.Snapshot(ctx, s)
	if err != nil || f.Scan == nil {
		return snap, err
	}
	return &snapshot{snap, f.Scan}, nil
}

// Versions implements kv.Engine.
func (e *Engine) Versions(ctx context.Context, s ...kv.Space) ([]kv.Version, error) {
	if f := e.in(s...); f.Versions != nil {
		return nil, f.Versions
	}
	return e.Engine.Versions(ctx, s...)
}

// snapshot is one whose scans break off.
type snapshot struct {
	kv.Snapshot
	err error
}

// Scan implements kv.Snapshot.
func (s *snapshot) Scan(r kv.Range) iter.Seq2[kv.Entry, error] {
	return func(yield func(kv.Entry, error) bool) {
		for e, err := range s.Snapshot.Scan(r) {
			if !yield(e, err) {
				return
			}
			break
		}
		yield(kv.Entry{}, s.err)
	}
}
