package mailstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"postroad/internal/blob"
	"postroad/internal/kv"
	"postroad/internal/mailflow"
)

// Finding is something that Check found wrong.
type Finding struct {
	Account AccountID
	Mailbox MailboxID // 0: the account as a whole
	UID     uint32    // 0: none in particular
	Message MessageID // 0: none in particular
	Text    string
}

func (f Finding) String() string {
	s := "account " + f.Account.String()
	if f.Mailbox != 0 {
		s += " mailbox " + FormatMailboxID(f.Mailbox)
	}
	if f.UID != 0 {
		s += fmt.Sprintf(" UID %d", f.UID)
	}
	if f.Message != 0 {
		s += " message " + FormatEmailID(f.Message)
	}
	return s + ": " + f.Text
}

// checked is what Check knows of a message.
type checked struct {
	home    Location
	named   map[Location]bool // by o keys; nil: none
	body    blob.Body
	list    bool
	message bool
	pending bool // staged
	live    int  // entries in mailboxes
	size    uint32
}

// names tells whether an index of the message has the place.
func (c *checked) names(at Location) bool { return c.home == at || c.named[at] }

// check is one run over an account.
type check struct {
	*sweep
	found     func(Finding)
	messages  map[MessageID]*checked
	leftovers bool
	todo      map[Location]bool // blocks whose o keys are still to be written
}

// Check verifies every index of the account against every message, in one snapshot, and
// that each message's body is there. With bodies set each body is read to its end and so
// its checksum verified. An error is returned only when the check itself fails.
func (a *Account) Check(ctx context.Context, bodies bool, found func(Finding)) error {
	s, err := a.beginSweep(ctx, new(mailflow.Unit))
	if err != nil {
		return err
	}
	c := &check{sweep: s, found: found, messages: map[MessageID]*checked{}, todo: map[Location]bool{}}
	if err = c.indexes(); err == nil {
		err = c.sharing(ctx)
	}
	s.close()
	if err != nil {
		return storageError("check the account", err)
	}
	if err := c.checkIndex(ctx, bodies); err != nil {
		return err
	}
	return c.bodies(ctx, bodies)
}

// report tells of a finding.
func (c *check) report(mailbox MailboxID, uid uint32, m MessageID, format string, args ...any) {
	c.found(Finding{Account: c.a.id, Mailbox: mailbox, UID: uid, Message: m, Text: fmt.Sprintf(format, args...)})
}

func (c *check) indexes() error {
	var err error
	if c.leftovers, err = hasLeftovers(c.snap); err != nil {
		return err
	}
	for _, step := range []func() error{c.listRecords, c.messageRecords, c.entriesOf, c.pending, c.todos, c.sortKeys, c.annotations} {
		if err := step(); err != nil {
			return err
		}
	}
	var total tally
	for _, m := range slices.Concat(c.tree.All(), c.tree.Recoverable()) {
		n, err := c.mailbox(m)
		if err != nil {
			return err
		}
		if m.Recovery != nil {
			continue
		}
		total.messages += n.messages
		total.octets += n.octets
	}
	_, used, err := readQuota(c.snap)
	if err != nil {
		return err
	}
	if used.Bytes != total.octets || used.Messages != total.messages {
		c.report(0, 0, 0, "quota counts %d octets in %d messages, mailboxes have %d in %d", used.Bytes, used.Messages, total.octets, total.messages)
	}
	c.verdicts()
	return nil
}

// each calls f for the entries with a key of a kind; a record that cannot be read is a
// finding.
func (c *check) each(kind byte, f func(k, v []byte) error) error {
	for e, err := range c.snap.Scan(kv.Prefix([]byte{kind})) {
		if err != nil {
			return fmt.Errorf("scan: %w", err)
		}
		if err := f(e.Key, e.Value); err != nil {
			c.report(0, 0, 0, "key %x: %v", e.Key, err)
		}
	}
	return nil
}

func (c *check) message(id MessageID) *checked {
	m := c.messages[id]
	if m == nil {
		m = &checked{}
		c.messages[id] = m
	}
	return m
}

func (c *check) listRecords() error {
	return c.each(keyList, func(k, v []byte) error {
		id, _ := keyID(k)
		var r Record
		home, _, err := r.readList(v)
		m := c.message(id)
		m.list, m.home = true, home
		return err
	})
}

func (c *check) messageRecords() error {
	return c.each(keyMessage, func(k, v []byte) error {
		id, _ := keyID(k)
		var r Record
		_, _, err := r.readMessage(v)
		m := c.message(id)
		m.message, m.body = true, r.Body
		return err
	})
}

func (c *check) entriesOf() error {
	return c.each(keyEntryOf, func(k, _ []byte) error {
		r := reader{b: k[1:]}
		m := c.message(r.id())
		if m.named == nil {
			m.named = map[Location]bool{}
		}
		m.named[Location{r.id(), r.uint32()}] = true
		return r.err("entry of a message")
	})
}

func (c *check) pending() error {
	return c.each(keyPending, func(_, v []byte) error {
		r := newReader(v)
		r.octet()
		for len(r.b) > 0 {
			c.message(r.id()).pending = true
		}
		return r.err("staged messages")
	})
}

func (c *check) todos() error {
	return c.each(keyTodo, func(k, _ []byte) error {
		mailbox, _ := keyID(k)
		uid, ok := keyNumber(k)
		if !ok {
			return ErrDamaged
		}
		c.todo[Location{mailbox, uid}] = true
		return nil
	})
}

// mailbox checks one mailbox and returns what is in it.
func (c *check) mailbox(box *Mailbox) (n tally, err error) {
	var head Snapshot
	l := &live{account: c.a, mailbox: box.ID}
	if err := l.head(c.snap, &head); err != nil {
		return n, err
	}
	states, err := readStates(c.snap, box.ID)
	if err != nil {
		return n, err
	}
	known := System
	for i := range head.keywords {
		known |= Keyword(i)
	}
	last := uint32(0)
	for e, err := range c.snap.Scan(kv.Prefix(key(keyEntry, box.ID))) {
		if err != nil {
			return n, err
		}
		first, _ := keyNumber(e.Key)
		todo := c.todo[Location{box.ID, first}]
		err = readBlock(c.snap, first, e.Value, func(r *Row) {
			if r.UID <= last || r.UID >= head.next {
				c.report(box.ID, r.UID, r.ID, "UID behind %d, UIDNEXT %d", last, head.next)
			}
			last = r.UID
			row := *r
			if s := states.at(r.UID); s != nil {
				row.Flags, row.ModSeq, row.Gone = s.flags, s.modseq, s.gone
			}
			if row.ModSeq > head.highest {
				c.report(box.ID, r.UID, r.ID, "mod-sequence %d above HIGHESTMODSEQ %d", row.ModSeq, head.highest)
			}
			if row.Gone {
				return
			}
			n.count(row.Flags, row.Size, 1)
			if row.Flags&^known != 0 {
				c.report(box.ID, r.UID, r.ID, "flags %#x are not in the table of keywords", row.Flags&^known)
			}
			c.entry(Location{box.ID, r.UID}, &row, todo)
		})
		if err != nil {
			c.report(box.ID, first, 0, "%v", err)
		}
	}
	counted, err := readTally(c.snap, box.ID)
	if err == nil && counted != n {
		c.report(box.ID, 0, 0, "counters say %+v, entries %+v", counted, n)
	}
	return n, err
}

// entry checks a live entry against its message.
func (c *check) entry(at Location, row *Row, todo bool) {
	m := c.messages[row.ID]
	if m == nil || !m.list || !m.message {
		c.report(at.Mailbox, at.UID, row.ID, "there is no record of the message")
		return
	}
	m.live++
	m.size = row.Size
	if !todo && !m.names(at) {
		c.report(at.Mailbox, at.UID, row.ID, "the message does not know of the entry")
	}
	delete(m.named, at)
	if m.home == at {
		m.home = Location{}
	}
}

// verdicts checks the messages once all entries are known.
func (c *check) verdicts() {
	for id, m := range c.messages {
		if m.list != m.message {
			c.report(0, 0, id, "one of the two records is missing")
			continue
		}
		if m.live == 0 && !m.pending && !c.leftovers {
			c.report(0, 0, id, "in no mailbox, and nothing will sweep it")
		}
		for at := range m.named {
			if live, err := c.live(at); (live || err != nil) && !c.leftovers {
				c.report(at.Mailbox, at.UID, id, "the message names an entry that is not there (%v)", err)
			}
		}
		if live, err := c.live(m.home); (live || err != nil) && m.home.UID != 0 && !c.leftovers {
			c.report(m.home.Mailbox, m.home.UID, id, "the message names an entry that is not there (%v)", err)
		}
	}
}

// bodies checks that the bodies are there.
func (c *check) bodies(ctx context.Context, read bool) error {
	for id, m := range c.messages {
		if err := ctx.Err(); err != nil {
			return err
		}
		if m.live == 0 || !m.message {
			continue
		}
		err := c.body(ctx, m, read)
		switch {
		case err == nil:
		case errors.Is(err, blob.ErrNotFound) || errors.Is(err, blob.ErrDamaged):
			// Expunged and swept since the snapshot is no finding.
			if _, gone := c.a.anywhere(ctx, id); !errors.Is(gone, ErrNoMessage) {
				c.report(0, 0, id, "body: %v", err)
			}
		default:
			return storageError("check a body", err)
		}
	}
	return nil
}

func (c *check) body(ctx context.Context, m *checked, read bool) error {
	if uint32(m.body.Size) != m.size {
		return fmt.Errorf("%w: %d octets, the entry says %d", blob.ErrDamaged, m.body.Size, m.size)
	}
	r, err := c.a.store.o.Committer.Bodies.Open(ctx, m.body)
	if err != nil {
		return err
	}
	defer r.Close()
	if read {
		_, err = io.Copy(io.Discard, io.NewSectionReader(r, 0, r.Size()))
	}
	return err
}
