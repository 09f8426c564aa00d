package mailstore

import (
	"context"
	"encoding/binary"
	"fmt"

	"postroad/internal/kv/hlc"
)

// sharing checks access control lists, the index by which those named in them find the
// account, and what readers have read.
func (c *check) sharing(ctx context.Context) error {
	err := c.each(keyACL, func(k, v []byte) error {
		if len(k) == 1 {
			return nil // the scope: the tree was read with it
		}
		id, ok := keyID(k)
		if !ok || c.tree.ID(id) == nil {
			return fmt.Errorf("access control list of no mailbox")
		}
		_, err := readACL(v)
		return err
	})
	if err != nil {
		return err
	}
	if err := c.each(keySeen, c.seen); err != nil {
		return err
	}
	return c.shares(ctx)
}

// seen checks one record of a reader.
func (c *check) seen(k, v []byte) error {
	id, ok := keyID(k)
	if !ok || c.tree.ID(id) == nil {
		return fmt.Errorf("seen messages of no mailbox")
	}
	if len(k) == 1+8+8 {
		return nil // its HIGHESTMODSEQ
	}
	if len(k) != 1+8+8+4 {
		return fmt.Errorf("key of seen messages")
	}
	last, err := c.snap.Sequence(sequenceKey(id))
	if err != nil {
		return err
	}
	highest, err := readSeenHighest(c.snap, id, hlc.ID(binary.BigEndian.Uint64(k[9:])))
	if err != nil {
		return err
	}
	wrong := ""
	err = readSeenChunk(binary.BigEndian.Uint32(k[17:]), v, func(r seenRun) {
		switch {
		case uint64(r.last) > last:
			wrong = fmt.Sprintf("a reader has seen UID %d, the last one is %d", r.last, last)
		case r.modseq > highest:
			wrong = fmt.Sprintf("a reader's mod-sequence %d is above his highest one, %d", r.modseq, highest)
		}
	})
	if err == nil && wrong != "" {
		c.report(id, 0, 0, "%s", wrong)
	}
	return err
}

// shares checks that everybody who is named in a list finds the account.
func (c *check) shares(ctx context.Context) error {
	all := map[Subject]bool{}
	for _, m := range c.tree.all {
		m.ACL.subjects(all)
	}
	if len(all) == 0 {
		return nil
	}
	snap, err := c.a.store.engine().Snapshot(ctx, shareSpace(c.tree.scope))
	if err != nil {
		return err
	}
	defer snap.Close()
	for s := range all {
		_, found, err := get(snap, shareKey(s, c.a.id))
		if err != nil {
			return err
		}
		if !found && c.unchanged(ctx) {
			c.report(0, 0, 0, "the index of shared mailboxes lacks %c %s %s", s.Kind, s.Account, s.Group)
		}
	}
	return nil
}

// unchanged tells that the lists are still those of the snapshot: only then does the
// index, which was read after it, belong to them.
func (c *check) unchanged(ctx context.Context) bool {
	snap, err := c.a.snapshot(ctx)
	if err != nil {
		return false
	}
	defer snap.Close()
	stamp, _, err := get(snap, treeKey)
	return err == nil && string(stamp) == string(c.tree.stamp)
}
