package scripts

import (
	"context"
	"errors"
	"fmt"
	"math"

	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/managesieve"
)

// Store keeps scripts. All methods may be called at once.
type Store struct {
	o     Options
	cache cache
}

// New returns a Store.
func New(o Options) *Store {
	if o.ScriptMax <= 0 || o.ScriptMax > ScriptMax {
		o.ScriptMax = ScriptMax
	}
	if o.ScriptsMax <= 0 {
		o.ScriptsMax = ScriptsMax
	}
	o.ScriptsMax = min(o.ScriptsMax, ScriptsRoof)
	if o.CacheBytes == 0 {
		o.CacheBytes = cacheBytes
	}
	return &Store{o: o, cache: cache{shelves: map[kv.Space]*shelf{}, sources: map[Version]*Source{}, max: o.CacheBytes}}
}

func (s *Store) engine() kv.Engine { return s.o.Committer.Engine }

// List returns the scripts of an owner by name.
func (s *Store) List(ctx context.Context, o Owner) ([]Script, error) {
	r, err := s.read(ctx, o, nil)
	if err != nil {
		return nil, storageError("list scripts", err)
	}
	defer r.close()
	list := make([]Script, len(r.shelf.all))
	for i := range r.shelf.all {
		list[i] = r.shelf.script(&r.shelf.all[i])
	}
	return list, nil
}

// State names the scripts of an owner at one moment: another one after any change.
func (s *Store) State(ctx context.Context, o Owner) (hlc.ID, error) {
	r, err := s.read(ctx, o, nil)
	if err != nil {
		return 0, storageError("read the state of scripts", err)
	}
	defer r.close()
	return r.shelf.change, nil
}

// Get returns the content of a script, ErrNoScript when there is none.
func (s *Store) Get(ctx context.Context, o Owner, name string) (*Source, error) {
	r, err := s.read(ctx, o, nil)
	if err != nil {
		return nil, storageError("read a script", err)
	}
	defer r.close()
	of := r.shelf.find(name)
	if of == nil {
		return nil, ErrNoScript
	}
	source, err := r.source(ctx, of)
	return source, storageError("read a script", err)
}

// Active returns the name of the script that runs for an account, "" for none.
func (s *Store) Active(ctx context.Context, id AccountID) (string, error) {
	r, err := s.read(ctx, OfAccount(id), nil)
	if err != nil {
		return "", storageError("read the active script", err)
	}
	defer r.close()
	if of := r.shelf.activeScript(); of != nil {
		return of.name, nil
	}
	return "", nil
}

// Check compiles a script: a *CompileError tells what is wrong with it.
func (s *Store) Check(content []byte) (warnings string, err error) {
	switch {
	case len(content) == 0:
		return "", ErrEmpty
	case len(content) > s.o.ScriptMax:
		return "", ErrTooLarge
	}
	warnings, err = s.o.Compile(content)
	if err != nil {
		return "", &CompileError{err}
	}
	return warnings, nil
}

// Room tells whether a script of a size could be put: nil, ErrTooLarge or ErrTooMany.
func (s *Store) Room(ctx context.Context, o Owner, name string, sizeBytes int64) error {
	if sizeBytes > int64(s.o.ScriptMax) {
		return ErrTooLarge
	}
	r, err := s.read(ctx, o, nil)
	if err != nil {
		return storageError("count scripts", err)
	}
	defer r.close()
	return s.roomOn(r.shelf, name)
}

func (s *Store) roomOn(have *shelf, name string) error {
	if have.find(name) == nil && len(have.all) >= s.o.ScriptsMax {
		return ErrTooMany
	}
	return nil
}

// Put stores a script that compiles, in place of the one of that name, which stays active
// or at its position.
func (s *Store) Put(ctx context.Context, o Owner, name string, content []byte) (warnings string, err error) {
	if err := checkName(name); err != nil {
		return "", err
	}
	if warnings, err = s.Check(content); err != nil {
		return "", err
	}
	version := s.o.Clock.Next()
	err = s.change(ctx, o, "put a script", func(e *edit) error {
		if err := s.roomOn(e.shelf, name); err != nil {
			return err
		}
		r := record{id: version, name: name}
		if old := e.shelf.find(name); old != nil {
			r = *old
			e.batch.Ranges = append(e.batch.Ranges, kv.Prefix(contentKey(old.version)))
		}
		r.version, r.size = version, int64(len(content))
		e.put(&r)
		e.batch.Puts = append(e.batch.Puts, contentPuts(version, content)...)
		return nil
	})
	return warnings, err
}

// checkName holds names to what managesieve.CleanName returns.
func checkName(name string) error {
	if clean, err := managesieve.CleanName(name); err != nil || clean != name {
		return fmt.Errorf("%w: %.40q", ErrName, name)
	}
	return nil
}

// Delete deletes a script that is not active.
func (s *Store) Delete(ctx context.Context, o Owner, name string) error {
	return s.changeOne(ctx, o, "delete a script", name, func(e *edit, r *record) error {
		if r.id == e.shelf.active {
			return ErrActive
		}
		e.batch.Deletes = append(e.batch.Deletes, scriptKey(r.id))
		e.batch.Ranges = append(e.batch.Ranges, kv.Prefix(contentKey(r.version)))
		return nil
	})
}

// Rename gives a script another name that nothing has; the same one is ErrExists. The
// active script stays active.
func (s *Store) Rename(ctx context.Context, o Owner, from, to string) error {
	if err := checkName(to); err != nil {
		return err
	}
	return s.changeOne(ctx, o, "rename a script", from, func(e *edit, r *record) error {
		if e.shelf.find(to) != nil {
			return ErrExists
		}
		r.name = to
		e.put(r)
		return nil
	})
}

// Activate makes an account's script the one that runs; "" is for none.
func (s *Store) Activate(ctx context.Context, id AccountID, name string) error {
	return s.change(ctx, OfAccount(id), "activate a script", func(e *edit) error {
		e.active = 0
		if name != "" {
			r := e.shelf.find(name)
			if r == nil {
				return ErrNoScript
			}
			e.active = r.id
		}
		e.same = e.active == e.shelf.active
		return nil
	})
}

// Place says when a script of an organisation or of everybody runs, and where among those
// that run then; an account's is ErrPosition.
func (s *Store) Place(ctx context.Context, o Owner, name string, p Position, order int) error {
	if o.scope == Personal || p > After || order < math.MinInt32/2 || order > math.MaxInt32/2 {
		return ErrPosition
	}
	return s.changeOne(ctx, o, "place a script", name, func(e *edit, r *record) error {
		r.position, r.order = p, order
		e.put(r)
		return nil
	})
}

// edit is one change under preparation.
type edit struct {
	shelf  *shelf // as it is
	batch  *kv.Batch
	active hlc.ID // as it will be
	same   bool   // nothing changes
}

func (e *edit) put(r *record) {
	e.batch.Puts = append(e.batch.Puts, kv.Put{Key: scriptKey(r.id), Value: r.value()})
}

// change commits what f makes of an owner's scripts, guarded by what it saw.
func (s *Store) change(ctx context.Context, o Owner, what string, f func(*edit) error) error {
	err := s.o.Committer.Commit(ctx, func(ctx context.Context, u *mailflow.Unit) error {
		r, err := s.read(ctx, o, nil)
		if err != nil {
			return err
		}
		defer r.close()
		if o.guard != nil {
			if err := mailstore.Lives(r.snap); err != nil {
				return err
			}
		}
		e := &edit{shelf: r.shelf, batch: &kv.Batch{}, active: r.shelf.active}
		if err := f(e); err != nil || e.same {
			return err
		}
		s.add(u.Batch(o.space), o, e)
		return nil
	})
	return storageError(what, err)
}

// add puts the change into the unit's batch: guards, the stamp, the rest.
func (s *Store) add(b *kv.Batch, o Owner, e *edit) {
	if o.guard != nil {
		b.Guards = append(b.Guards, *o.guard)
	}
	was := kv.Guard{Kind: kv.GuardAbsent, Key: stampKey}
	if e.shelf.stamp != nil {
		was = kv.Guard{Kind: kv.GuardEquals, Key: stampKey, Value: e.shelf.stamp}
	}
	b.Guards = append(b.Guards, was)
	b.Puts = append(append(b.Puts, e.batch.Puts...), kv.Put{Key: stampKey, Value: stampValue(s.o.Clock.Next(), e.active)})
	b.Deletes = append(b.Deletes, e.batch.Deletes...)
	b.Ranges = append(b.Ranges, e.batch.Ranges...)
}

// changeOne is change for a script that must be there; f gets a copy of its record.
func (s *Store) changeOne(ctx context.Context, o Owner, what, name string, f func(*edit, *record) error) error {
	return s.change(ctx, o, what, func(e *edit) error {
		r := e.shelf.find(name)
		if r == nil {
			return ErrNoScript
		}
		own := *r
		return f(e, &own)
	})
}

// errStale tells that a script changed between the reading of the list and its content.
var errStale = errors.New("scripts: the list of scripts is old")
