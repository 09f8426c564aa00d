package diskkv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/cockroachdb/pebble/v2"

	"postroad/internal/kv"
)

// Versions implements kv.Engine.
func (e *Engine) Versions(ctx context.Context, names ...kv.Space) ([]kv.Version, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := e.enter(); err != nil {
		return nil, err
	}
	defer e.leave()
	versions := make([]kv.Version, len(names))
	for i, name := range names {
		if err := kv.CheckSpace(name); err != nil {
			return nil, err
		}
		v, err := e.durable(name)
		if err != nil {
			return nil, err
		}
		versions[i] = v
	}
	return versions, nil
}

// durable gives the newest synced version of a space. A space that is not hot has nothing
// on its way to the disk; whether it became hot while the store was read is asked after.
func (e *Engine) durable(name kv.Space) (kv.Version, error) {
	if v, ok := e.hotVersion(name); ok {
		return v, nil
	}
	n, err := e.readNumber(prefixOf(name), kindVersion, nil)
	if err != nil {
		return 0, err
	}
	if v, ok := e.hotVersion(name); ok {
		return v, nil
	}
	return kv.Version(n), nil
}

// hotVersion gives the durable version of a space that is in memory.
func (e *Engine) hotVersion(name kv.Space) (kv.Version, bool) {
	s := e.table.find(name)
	if s == nil {
		return 0, false
	}
	defer e.table.release(s)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.durable, s.loaded
}

// Watch implements kv.Engine.
func (e *Engine) Watch(ctx context.Context, name kv.Space) (<-chan kv.Version, error) {
	if err := errors.Join(ctx.Err(), kv.CheckSpace(name)); err != nil {
		return nil, err
	}
	if err := e.enter(); err != nil {
		return nil, err
	}
	defer e.leave()
	s := e.table.acquire(name)
	if err := s.load(e); err != nil {
		e.table.release(s)
		return nil, err
	}
	w := make(chan kv.Version, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watchers == nil {
		s.watchers = map[chan kv.Version]struct{}{}
	}
	s.watchers[w] = struct{}{}
	context.AfterFunc(ctx, func() {
		s.mu.Lock()
		delete(s.watchers, w)
		close(w)
		s.mu.Unlock()
		e.table.release(s)
	})
	return w, nil
}

// spacesAtOnce is how many names are listed before the store is let go for a while.
const spacesAtOnce = 1000

// Spaces implements kv.Engine.
func (e *Engine) Spaces(ctx context.Context, prefix kv.Space) iter.Seq2[kv.Space, error] {
	return func(yield func(kv.Space, error) bool) {
		from := []byte(prefix)
		for {
			names, err := e.listSpaces(ctx, prefix, from)
			for _, name := range names {
				if !yield(name, nil) {
					return
				}
			}
			if err != nil {
				yield("", err)
				return
			}
			if len(names) < spacesAtOnce {
				return
			}
			from = past(names[len(names)-1])
		}
	}
}

// past is the least Pebble key above all of a space's.
func past(s kv.Space) []byte { return append([]byte(s), 1) }

// listSpaces gives the first names at or above from. An empty entry into the log is synced
// after the picture was taken, so that everything in the picture is durable.
func (e *Engine) listSpaces(ctx context.Context, prefix kv.Space, from []byte) ([]kv.Space, error) {
	if err := e.enter(); err != nil {
		return nil, err
	}
	defer e.leave()
	if len(from) == 0 {
		from = []byte{1} // what belongs to no space begins with a zero octet
	}
	it, err := e.db.NewIter(&pebble.IterOptions{LowerBound: from})
	if err != nil {
		return nil, fmt.Errorf("list spaces: %w", err)
	}
	defer it.Close()
	if err := e.syncLog(); err != nil {
		return nil, err
	}
	var names []kv.Space
	for ok := it.First(); ok && len(names) < spacesAtOnce; {
		if err := ctx.Err(); err != nil {
			return names, err
		}
		name, _, found := bytes.Cut(it.Key(), []byte{0})
		if !found {
			return names, fmt.Errorf("list spaces: foreign key %q in the store", it.Key())
		}
		if !bytes.HasPrefix(name, []byte(prefix)) {
			break
		}
		names = append(names, kv.Space(name))
		ok = it.SeekGE(past(kv.Space(name)))
	}
	if err := it.Error(); err != nil {
		return names, fmt.Errorf("list spaces: %w", err)
	}
	return names, nil
}

// syncLog makes everything durable that was applied before.
func (e *Engine) syncLog() error {
	if err := e.db.LogData(nil, pebble.Sync); err != nil {
		err = fmt.Errorf("sync the log: %w", err)
		e.fail(err)
		return err
	}
	return nil
}
