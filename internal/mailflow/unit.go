package mailflow

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"postroad/internal/blob"
	"postroad/internal/kv"
)

// retryMax is how often a unit is prepared anew when guards fail. Each retry means that
// somebody else's commit got through, so the house as a whole moves on.
const retryMax = 100

// Unit is one commit under preparation: a batch for each space and the bodies that must
// be durable before it. It is used by one goroutine.
type Unit struct {
	batches []kv.Batch
	bodies  []blob.Body
	made    []blob.Body
	after   []func([]kv.Result)
	onward  []*Mail
}

// Batch returns the unit's batch for a space, made at the first call. The pointer is
// valid until the next call of Batch or Quiet. The version moves.
func (u *Unit) Batch(s kv.Space) *kv.Batch {
	b := u.Quiet(s)
	b.Quiet = false
	return b
}

// Quiet is Batch for changes that need not move the space's version.
func (u *Unit) Quiet(s kv.Space) *kv.Batch {
	for i := range u.batches {
		if u.batches[i].Space == s {
			return &u.batches[i]
		}
	}
	u.batches = append(u.batches, kv.Batch{Space: s, Quiet: true})
	return &u.batches[len(u.batches)-1]
}

// Keep links a body to its holder ("a/ACCOUNT/MESSAGE", "q/QUEUEID") within the unit; a
// staged body is made durable before the commit.
func (u *Unit) Keep(b blob.Body, holder string) {
	s, change := b.Link(holder)
	change(u.Quiet(s))
	u.bodies = append(u.bodies, b)
}

// Drop takes a holder's link away within the unit; a body without links is collected.
func (u *Unit) Drop(b blob.Body, holder string) {
	s, change := b.Unlink(holder)
	change(u.Quiet(s))
}

// Made says that a body was staged for this unit alone: whoever commits the unit discards
// it if the unit comes to nothing, or does not keep it.
func (u *Unit) Made(b blob.Body) { u.made = append(u.made, b) }

// Try runs a part of the preparation. If it fails, what it added to the unit is taken out
// again, but for bodies that it made; its error is returned.
func (u *Unit) Try(part func() error) error {
	before := *u
	before.batches = append([]kv.Batch(nil), u.batches...)
	err := part()
	if err != nil {
		made := u.made
		*u = before
		u.made = made
	}
	return err
}

// Onward adds a mail that this unit gives rise to (a forward, a bounce); the Submitter
// routes it into the same unit.
func (u *Unit) Onward(m *Mail) { u.onward = append(u.onward, m) }

// TakeOnward returns and clears what Onward gathered.
func (u *Unit) TakeOnward() []*Mail {
	m := u.onward
	u.onward = nil
	return m
}

// After runs f with the result of the space's batch once the unit is durable. If the
// unit is not committed f never runs.
func (u *Unit) After(s kv.Space, f func(kv.Result)) {
	u.after = append(u.after, func(r []kv.Result) {
		for i := range u.batches {
			if u.batches[i].Space == s {
				f(r[i])
			}
		}
	})
}

// Empty tells whether the unit would do nothing.
func (u *Unit) Empty() bool { return len(u.batches) == 0 }

// Committer commits units: bodies first, then keys.
type Committer struct {
	Engine kv.Engine
	Bodies *blob.Bodies
}

// Commit calls prepare with an empty unit and commits what it made, durably. When
// somebody else changed what prepare had read, it is called again with a new unit, so it
// must have no effects of its own. Its error ends the work with nothing done. An empty
// unit is no commit.
func (c *Committer) Commit(ctx context.Context, prepare func(ctx context.Context, u *Unit) error) error {
	for try := 0; ; try++ {
		u := new(Unit)
		if err := prepare(ctx, u); err != nil {
			c.discard(u.made, nil)
			return err
		}
		if u.Empty() {
			c.discard(u.made, nil)
			return nil
		}
		err := c.commit(ctx, u)
		if errors.Is(err, kv.ErrConflict) && try < retryMax && ctx.Err() == nil {
			continue
		}
		return err
	}
}

// commit makes the bodies durable, then the keys, then tells those who wait.
func (c *Committer) commit(ctx context.Context, u *Unit) error {
	if err := c.Bodies.Sync(ctx, u.bodies...); err != nil {
		c.discard(u.made, nil)
		return fmt.Errorf("make bodies durable: %w", err)
	}
	results, err := c.Engine.Commit(ctx, u.batches...)
	if err != nil {
		c.discard(u.made, nil)
		return err
	}
	c.discard(u.made, u.bodies)
	for _, f := range u.after {
		f(results)
	}
	return nil
}

// discard gives up the bodies that were made for a unit, but for those that it kept.
func (c *Committer) discard(made, kept []blob.Body) {
	for _, b := range made {
		if !slices.ContainsFunc(kept, func(k blob.Body) bool { return k.ID == b.ID }) {
			c.Bodies.Discard(b)
		}
	}
}
