// Package memkv is a kv.Engine in memory: for tests, and the plain model against which the
// engines on disks are compared. It does everything under one lock and keeps no secrets.
//
// The main type is [Engine]. Nothing outlives the process; Checkpoint is refused.
package memkv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"postroad/internal/kv"
)

// onceKept is how long results of idempotent commits are remembered.
const onceKept = 7 * 24 * time.Hour

// Engine is a kv.Engine in memory.
type Engine struct {
	now func() time.Time

	mu     sync.Mutex // orders everything
	spaces map[kv.Space]*space
	closed atomic.Bool // snapshots look at it without the lock
}

// space is the state of one space. Snapshots share its maps' contents by copy.
type space struct {
	version   kv.Version
	entries   entries
	shared    bool // entries is in a snapshot: copy before a change
	counters  map[string]int64
	sequences map[string]uint64
	once      map[string]once
	watchers  map[chan kv.Version]struct{}
}

// once is what an idempotent commit gave.
type once struct {
	at      time.Time
	results map[kv.Space]kv.Result
}

// New makes an empty engine.
func New() *Engine { return NewAt(time.Now) }

// NewAt makes an empty engine with the machine's clock given, which ages Once.
func NewAt(now func() time.Time) *Engine {
	return &Engine{now: now, spaces: map[kv.Space]*space{}}
}

// entries are keys and values in key order.
type entries []kv.Entry

// find gives the index of key, or where it would be.
func (e entries) find(key []byte) (int, bool) {
	return slices.BinarySearchFunc(e, key, func(x kv.Entry, k []byte) int { return bytes.Compare(x.Key, k) })
}

// within gives the part of e in r.
func (e entries) within(r kv.Range) entries {
	from, _ := e.find(r.From)
	to := len(e)
	if len(r.To) > 0 {
		to, _ = e.find(r.To)
	}
	if from >= to {
		return nil
	}
	return e[from:to]
}

// space gives the state of a space, made at first use.
func (e *Engine) space(name kv.Space) *space {
	s := e.spaces[name]
	if s == nil {
		s = &space{
			counters: map[string]int64{}, sequences: map[string]uint64{},
			once: map[string]once{}, watchers: map[chan kv.Version]struct{}{},
		}
		e.spaces[name] = s
	}
	return s
}

// Commit implements kv.Engine.
func (e *Engine) Commit(ctx context.Context, batches ...kv.Batch) ([]kv.Result, error) {
	if err := kv.Check(batches); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed.Load() {
		return nil, kv.ErrClosed
	}
	if results := e.seen(batches); results != nil {
		return results, nil
	}
	drafts := make([]*draft, len(batches))
	results := make([]kv.Result, len(batches))
	for i := range batches {
		if err := e.space(batches[i].Space).check(&batches[i]); err != nil {
			return nil, err
		}
	}
	for i := range batches {
		d, err := e.space(batches[i].Space).draft(&batches[i])
		if err != nil {
			return nil, err
		}
		drafts[i], results[i] = d, d.result
	}
	for i, d := range drafts {
		e.space(batches[i].Space).apply(&batches[i], d)
	}
	e.remember(batches, results)
	return results, nil
}

// seen gives the results of the first commit when a Once of the batches was seen: under
// each, its own batch's and those of the batches without one.
func (e *Engine) seen(batches []kv.Batch) []kv.Result {
	any, results := false, make([]kv.Result, len(batches))
	for i := range batches {
		o, ok := e.space(batches[i].Space).once[string(batches[i].Once)]
		if batches[i].Once == nil || !ok || e.now().Sub(o.at) > onceKept {
			continue
		}
		any = true
		for j := range batches {
			if j == i || batches[j].Once == nil {
				results[j] = o.results[batches[j].Space]
				results[j].Taken = slices.Clone(results[j].Taken)
			}
		}
	}
	if !any {
		return nil
	}
	for j := range results {
		results[j].Already = true
	}
	return results
}

// remember keeps the results under each Once of the batches.
func (e *Engine) remember(batches []kv.Batch, results []kv.Result) {
	for i := range batches {
		if batches[i].Once == nil {
			continue
		}
		o := once{at: e.now(), results: map[kv.Space]kv.Result{}}
		for j, r := range results {
			if j == i || batches[j].Once == nil {
				r.Taken = slices.Clone(r.Taken)
				o.results[batches[j].Space] = r
			}
		}
		e.space(batches[i].Space).once[string(batches[i].Once)] = o
	}
}

// check tells whether the guards of b hold.
func (s *space) check(b *kv.Batch) error {
	for _, g := range b.Guards {
		i, present := s.entries.find(g.Key)
		var holds bool
		switch g.Kind {
		case kv.GuardAbsent:
			holds = !present
		case kv.GuardPresent:
			holds = present
		case kv.GuardEquals:
			holds = present && bytes.Equal(s.entries[i].Value, g.Value)
		case kv.GuardVersion:
			holds = s.version == g.Version
		}
		if !holds {
			return &kv.ConflictError{Space: b.Space, Guard: g}
		}
	}
	return nil
}

// draft is what a batch will do, worked out and not yet done.
type draft struct {
	counters  map[string]int64
	sequences map[string]uint64
	puts      entries
	result    kv.Result
}

// draft works out adds, takes and places of b.
func (s *space) draft(b *kv.Batch) (*draft, error) {
	d := &draft{counters: map[string]int64{}, sequences: map[string]uint64{}}
	for _, a := range b.Adds {
		value, ok := d.counters[string(a.Key)]
		if !ok {
			value = s.counters[string(a.Key)]
		}
		after, ok := a.Apply(value)
		if !ok {
			return nil, &kv.LimitError{Space: b.Space, Add: a, Value: value}
		}
		d.counters[string(a.Key)] = after
	}
	for _, k := range b.Takes {
		last, ok := d.sequences[string(k.Key)]
		if !ok {
			last = s.sequences[string(k.Key)]
		}
		first, after, ok := k.Apply(last)
		if !ok {
			return nil, fmt.Errorf("space %q, sequence %q: %w: no numbers left", b.Space, k.Key, kv.ErrTooLarge)
		}
		d.sequences[string(k.Key)] = after
		d.result.Taken = append(d.result.Taken, first)
	}
	d.result.Version = s.version
	if !b.Quiet {
		d.result.Version++
	}
	for i := range b.Puts {
		p := kv.Entry{Key: bytes.Clone(b.Puts[i].Key), Value: append([]byte{}, b.Puts[i].Value...)}
		if err := b.Puts[i].Fill(p.Key, p.Value, d.result.Version, d.result.Taken); err != nil {
			return nil, fmt.Errorf("space %q: %w", b.Space, err)
		}
		d.puts = append(d.puts, p)
	}
	return d, nil
}

// apply does what the draft says.
func (s *space) apply(b *kv.Batch, d *draft) {
	for k, v := range d.counters {
		s.counters[k] = v
		if v == 0 {
			delete(s.counters, k)
		}
	}
	for k, v := range d.sequences {
		s.sequences[k] = v
		if v == 0 {
			delete(s.sequences, k)
		}
	}
	if s.shared && len(b.Ranges)+len(b.Deletes)+len(d.puts) > 0 {
		s.entries, s.shared = slices.Clone(s.entries), false
	}
	for _, r := range b.Ranges {
		part := s.entries.within(r)
		if len(part) > 0 {
			from, _ := s.entries.find(part[0].Key)
			s.entries = slices.Delete(s.entries, from, from+len(part))
		}
	}
	for _, k := range b.Deletes {
		if i, ok := s.entries.find(k); ok {
			s.entries = slices.Delete(s.entries, i, i+1)
		}
	}
	for _, p := range d.puts {
		if i, ok := s.entries.find(p.Key); ok {
			s.entries[i] = p
		} else {
			s.entries = slices.Insert(s.entries, i, p)
		}
	}
	if s.version == d.result.Version {
		return
	}
	s.version = d.result.Version
	for w := range s.watchers {
		select {
		case <-w:
		default:
		}
		w <- s.version
	}
}

// Snapshot implements kv.Engine.
func (e *Engine) Snapshot(ctx context.Context, name kv.Space) (kv.Snapshot, error) {
	if err := errors.Join(ctx.Err(), kv.CheckSpace(name)); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed.Load() {
		return nil, kv.ErrClosed
	}
	s := e.space(name)
	s.shared = true
	snap := &Snapshot{version: s.version, entries: s.entries, counters: map[string]int64{}, sequences: map[string]uint64{}, ended: &e.closed}
	for k, v := range s.counters {
		snap.counters[k] = v
	}
	for k, v := range s.sequences {
		snap.sequences[k] = v
	}
	return snap, nil
}

// Versions implements kv.Engine.
func (e *Engine) Versions(ctx context.Context, names ...kv.Space) ([]kv.Version, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed.Load() {
		return nil, kv.ErrClosed
	}
	versions := make([]kv.Version, len(names))
	for i, name := range names {
		if err := kv.CheckSpace(name); err != nil {
			return nil, err
		}
		if s := e.spaces[name]; s != nil {
			versions[i] = s.version
		}
	}
	return versions, nil
}

// Watch implements kv.Engine.
func (e *Engine) Watch(ctx context.Context, name kv.Space) (<-chan kv.Version, error) {
	if err := errors.Join(ctx.Err(), kv.CheckSpace(name)); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed.Load() {
		return nil, kv.ErrClosed
	}
	s, w := e.space(name), make(chan kv.Version, 1)
	s.watchers[w] = struct{}{}
	context.AfterFunc(ctx, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(s.watchers, w)
		close(w)
	})
	return w, nil
}

// Spaces implements kv.Engine.
func (e *Engine) Spaces(ctx context.Context, prefix kv.Space) iter.Seq2[kv.Space, error] {
	return func(yield func(kv.Space, error) bool) {
		names, err := e.names(prefix)
		for _, name := range names {
			if ctx.Err() != nil {
				break
			}
			if !yield(name, nil) {
				return
			}
		}
		if err := errors.Join(err, ctx.Err()); err != nil {
			yield("", err)
		}
	}
}

// names lists the spaces that were written to, in order.
func (e *Engine) names(prefix kv.Space) ([]kv.Space, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed.Load() {
		return nil, kv.ErrClosed
	}
	var names []kv.Space
	for name, s := range e.spaces {
		written := s.version > 0 || len(s.entries) > 0 || len(s.counters) > 0 || len(s.sequences) > 0
		if written && strings.HasPrefix(string(name), string(prefix)) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// Checkpoint implements kv.Engine; there is nothing to copy to a disk.
func (e *Engine) Checkpoint(context.Context, string) error {
	return fmt.Errorf("memkv: checkpoint: %w", errors.ErrUnsupported)
}

// Close implements kv.Engine.
func (e *Engine) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed.Load() {
		return kv.ErrClosed
	}
	e.closed.Store(true)
	return nil
}

var _ kv.Engine = (*Engine)(nil)
