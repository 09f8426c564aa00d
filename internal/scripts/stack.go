package scripts

import (
	"context"
	"errors"

	"postroad/internal/kv"
)

// staleMax is how often a stack is read again when scripts change meanwhile.
const staleMax = 10

// Stack returns what runs for an account. Where nothing changed but mail, it reads one key.
func (s *Store) Stack(ctx context.Context, id AccountID) (*Stack, error) {
	for try := 0; ; try++ {
		stack, err := s.stack(ctx, id)
		if errors.Is(err, errStale) && try < staleMax {
			continue
		}
		return stack, storageError("read the scripts that run", err)
	}
}

func (s *Store) stack(ctx context.Context, id AccountID) (*Stack, error) {
	all, err := s.readAll(ctx, id)
	if err != nil {
		return nil, err
	}
	defer all.close()
	global, org, own := all[0], all[1], all[2]
	stack := &Stack{State: State{global.shelf.change, org.shelf.change, own.shelf.change}}
	for _, step := range []struct {
		of   *reading
		at   Position
		list *[]*Source
	}{{global, Before, &stack.Before}, {org, Before, &stack.Before}, {org, After, &stack.After}, {global, After, &stack.After}} {
		for _, r := range step.of.shelf.placed(step.at) {
			source, err := step.of.source(ctx, r)
			if err != nil {
				return nil, err
			}
			*step.list = append(*step.list, source)
		}
	}
	if r := own.shelf.generated; r != nil {
		source, err := own.source(ctx, r)
		if err != nil {
			return nil, err
		}
		stack.Before = append(stack.Before, source)
	}
	if r := own.shelf.activeScript(); r != nil {
		stack.User, err = own.source(ctx, r)
	}
	return stack, err
}

// readings are the scripts of everybody, the account's organisation and the account.
type readings [3]*reading

func (all readings) close() {
	for _, r := range all {
		if r != nil {
			r.close()
		}
	}
}

// readAll reads the three lists. Versions of all spaces in one call tell which are known.
func (s *Store) readAll(ctx context.Context, id AccountID) (all readings, err error) {
	org, err := s.o.Organisation(ctx, id)
	if err != nil {
		return all, err
	}
	owners := [3]Owner{OfEverybody(), OfOrganisation(org), OfAccount(id)}
	var spaces [3]kv.Space
	for i, o := range owners {
		spaces[i] = o.space
	}
	versions, err := s.engine().Versions(ctx, spaces[:]...)
	if err != nil {
		return all, err
	}
	for i, o := range owners {
		if all[i], err = s.read(ctx, o, &versions[i]); err != nil {
			all.close()
			return all, err
		}
	}
	return all, nil
}

// Include returns the script that an account's script includes by name (RFC 6609, 3.2):
// its own for personal ones, else its organisation's or, where that has none, everybody's.
// ErrNoScript when there is none.
func (s *Store) Include(ctx context.Context, id AccountID, personal bool, name string) (*Source, error) {
	if personal {
		return s.Get(ctx, OfAccount(id), name)
	}
	org, err := s.o.Organisation(ctx, id)
	if err != nil {
		return nil, storageError("include a script", err)
	}
	source, err := s.Get(ctx, OfOrganisation(org), name)
	if errors.Is(err, ErrNoScript) {
		source, err = s.Get(ctx, OfEverybody(), name)
	}
	return source, err
}
