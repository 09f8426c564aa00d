package scripts

import (
	"context"

	"postroad/internal/kv"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
)

// An account may have one script that the program writes for it, such as the answer to mail
// that comes while its owner is away. It runs behind those that stand before the owner's
// active script, and beside it: whatever is active, or nothing. ManageSieve and the lists of
// scripts do not show it, and it counts for no limit: its owner changes it by what it is
// written from.

// GeneratedName is what a generated script is called in the timeline and in complaints.
const GeneratedName = "vacation response"

// PrepareGenerated puts the generated script of an account within the unit, in place of the
// one before; nil takes it away. *CompileError.
func (s *Store) PrepareGenerated(ctx context.Context, u *mailflow.Unit, id AccountID, content []byte) error {
	if content != nil {
		if _, err := s.Check(content); err != nil {
			return err
		}
	}
	o := OfAccount(id)
	r, err := s.read(ctx, o, nil)
	if err != nil {
		return storageError("put a generated script", err)
	}
	defer r.close()
	if err := mailstore.Lives(r.snap); err != nil {
		return err
	}
	e := &edit{shelf: r.shelf, batch: &kv.Batch{}, active: r.shelf.active}
	old := r.shelf.generated
	if old == nil && content == nil {
		return nil
	}
	version := s.o.Clock.Next()
	next := record{id: version, name: GeneratedName, position: generated}
	if old != nil {
		next.id = old.id
		e.batch.Ranges = append(e.batch.Ranges, kv.Prefix(contentKey(old.version)))
	}
	if content == nil {
		e.batch.Deletes = append(e.batch.Deletes, scriptKey(old.id))
	} else {
		next.version, next.size = version, int64(len(content))
		e.put(&next)
		e.batch.Puts = append(e.batch.Puts, contentPuts(version, content)...)
	}
	s.add(u.Batch(o.space), o, e)
	return nil
}
