package scripts

import (
	"context"
	"sync"

	"postroad/internal/kv"
)

// cache holds lists of scripts by space, and sources by version. Both are bounded; map
// order is random enough to choose what goes.
type cache struct {
	mu      sync.Mutex
	shelves map[kv.Space]*shelf
	sources map[Version]*Source
	bytes   int64 // of sources
	max     int64
}

func (c *cache) shelf(space kv.Space) *shelf {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.shelves[space]
}

// keepShelf puts a list into the cache, unless a newer one is there.
func (c *cache) keepShelf(space kv.Space, s *shelf) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.shelves[space]; old != nil && old.at > s.at {
		return
	}
	for other := range c.shelves {
		if len(c.shelves) < ownersCached {
			break
		}
		delete(c.shelves, other)
	}
	c.shelves[space] = s
}

func (c *cache) source(v Version) *Source {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sources[v]
}

func (c *cache) keepSource(s *Source) {
	c.mu.Lock()
	defer c.mu.Unlock()
	size := int64(len(s.Text))
	if size > c.max {
		return
	}
	if old := c.sources[s.Version]; old != nil {
		c.bytes -= int64(len(old.Text))
		delete(c.sources, s.Version)
	}
	for v, other := range c.sources {
		if c.bytes+size <= c.max {
			break
		}
		c.bytes -= int64(len(other.Text))
		delete(c.sources, v)
	}
	c.sources[s.Version] = s
	c.bytes += size
}

// reading is one space being read: its list, and a snapshot where one was needed.
type reading struct {
	store *Store
	owner Owner
	shelf *shelf
	snap  kv.Snapshot // nil: the list came from the cache
}

// read opens the scripts of an owner; version is the space's, if the caller knows.
func (s *Store) read(ctx context.Context, o Owner, version *kv.Version) (*reading, error) {
	r := &reading{store: s, owner: o, shelf: s.cache.shelf(o.space)}
	if version != nil && r.shelf != nil && r.shelf.at == *version {
		return r, nil
	}
	return r, r.open(ctx)
}

// open reads the list anew.
func (r *reading) open(ctx context.Context) error {
	r.close()
	snap, err := r.store.engine().Snapshot(ctx, r.owner.space)
	if err != nil {
		return err
	}
	r.snap = snap
	if r.shelf, err = readShelf(snap, r.shelf); err != nil {
		r.close()
		return err
	}
	r.store.cache.keepShelf(r.owner.space, r.shelf)
	return nil
}

func (r *reading) close() {
	if r.snap != nil {
		r.snap.Close()
		r.snap = nil
	}
}

// source returns the content of a script. The list may be older than the snapshot that is
// opened here; a content that is gone since is found under errStale.
func (r *reading) source(ctx context.Context, of *record) (*Source, error) {
	if c := r.store.cache.source(of.version); c != nil && c.Name == of.name {
		return c, nil
	}
	if r.snap == nil {
		was := r.shelf.change
		if err := r.open(ctx); err != nil {
			return nil, err
		}
		if r.shelf.change != was {
			return nil, errStale
		}
	}
	text, err := readContent(r.snap, of)
	if err != nil {
		return nil, err
	}
	c := &Source{Scope: r.owner.scope, Name: of.name, Version: of.version, Text: text}
	r.store.cache.keepSource(c)
	return c, nil
}
