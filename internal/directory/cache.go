package directory

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"postroad/internal/kv"
)

const (
	cacheMax    = 65_536      // records of one space kept decoded, absent ones included
	cacheMaxAge = time.Minute // after which the version is asked for again, hint or no hint
)

// cache holds decoded records of one space, all of one version. A hint that the version
// moved makes the next read ask; then everything is dropped. Records that are in it are
// never changed.
type cache struct {
	engine kv.Engine
	space  kv.Space
	hints  atomic.Uint64 // how many came: the version may have moved with each

	mu      sync.RWMutex
	version kv.Version
	seen    uint64 // hints that had come before the version was read
	checked time.Time
	records map[string]any // nil value: known to be absent
}

func newCache(engine kv.Engine, space kv.Space) *cache {
	return &cache{engine: engine, space: space, records: map[string]any{}}
}

// hint says that the version may have moved: what is held is not used again before the
// version was read.
func (c *cache) hint() { c.hints.Add(1) }

// watch passes the engine's hints on until ctx is done.
func (c *cache) watch(ctx context.Context) error {
	hints, err := c.engine.Watch(ctx, c.space)
	if err != nil {
		return fmt.Errorf("watch %q: %w", c.space, err)
	}
	for range hints {
		c.hint()
	}
	return ctx.Err()
}

// held returns a record that is in the cache and current.
func (c *cache) held(key string) (any, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.seen != c.hints.Load() || time.Since(c.checked) > cacheMaxAge {
		return nil, false
	}
	v, ok := c.records[key]
	return v, ok
}

// keep puts a record read at a version, after so many hints, into the cache. A snapshot
// that is older than what is held is left alone.
func (c *cache) keep(version kv.Version, hints uint64, key string, v any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if version < c.version {
		return
	}
	if version > c.version || len(c.records) >= cacheMax {
		c.version, c.records = version, map[string]any{}
	}
	c.records[key] = v
	c.seen = max(c.seen, hints)
	c.checked = time.Now()
}

// lookup returns a record by key, nil when there is none. What it points to is shared
// and must not be changed.
func lookup[T any](ctx context.Context, c *cache, key string) (*T, error) {
	if v, ok := c.held(key); ok {
		t, _ := v.(*T)
		return t, nil
	}
	t, err := c.load(ctx, key, func(raw []byte) (any, error) { return decode[T](raw) })
	if err != nil {
		return nil, err
	}
	r, _ := t.(*T)
	return r, nil
}

// load reads a record from the engine and keeps it.
func (c *cache) load(ctx context.Context, key string, decode func([]byte) (any, error)) (any, error) {
	hints := c.hints.Load() // before the read: one that comes meanwhile is not lost
	snap, err := c.engine.Snapshot(ctx, c.space)
	if err != nil {
		return nil, fmt.Errorf("read the directory: %w", err)
	}
	defer snap.Close()
	var v any
	raw, err := snap.Get([]byte(key))
	switch {
	case errors.Is(err, kv.ErrNotFound):
	case err != nil:
		return nil, fmt.Errorf("read the directory: %w", err)
	default:
		if v, err = decode(raw); err != nil {
			return nil, fmt.Errorf("%w (space %q, key %q)", err, c.space, key)
		}
	}
	c.keep(snap.Version(), hints, key, v)
	return v, nil
}

// moment is a state of the cache: what was computed in one holds as long as the cache is
// in it.
type moment struct {
	hints   uint64
	version kv.Version
}

func (c *cache) moment() moment {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return moment{c.hints.Load(), c.version}
}

// remember puts what was computed of records of one moment into the cache, unless that has
// passed.
func (c *cache) remember(at moment, key string, v any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == at.hints && c.hints.Load() == at.hints && c.version == at.version && len(c.records) < cacheMax {
		c.records[key] = v
	}
}

// renew makes the cache current, so that records read next are of one version unless
// another change comes.
func (c *cache) renew(ctx context.Context) error {
	hints := c.hints.Load()
	versions, err := c.engine.Versions(ctx, c.space)
	if err != nil {
		return fmt.Errorf("version of the directory: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if versions[0] > c.version {
		c.version, c.records = versions[0], map[string]any{}
	}
	if versions[0] == c.version {
		c.seen, c.checked = max(c.seen, hints), time.Now()
	}
	return nil
}
