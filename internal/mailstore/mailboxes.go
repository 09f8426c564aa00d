package mailstore

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"postroad/imap"
	"postroad/internal/kv"
	"postroad/internal/mailflow"
)

// uses are the special uses that a mailbox can have. The others of RFC 6154 name views of
// all mail, which no mailbox is.
var uses = []imap.MailboxAttr{"", imap.AttrArchive, imap.AttrDrafts, imap.AttrImportant, imap.AttrJunk, imap.AttrMemos,
	imap.AttrScheduled, imap.AttrSent, imap.AttrSnoozed, imap.AttrTrash}

// CanBe tells whether a mailbox can have a special use.
func CanBe(role imap.MailboxAttr) bool { return role != "" && slices.Contains(uses, role) }

// subscriptionsMoved is how many subscriptions a RENAME takes along; where there are more
// they stay with the old names.
const subscriptionsMoved = 400

// grow is a change of the tree under preparation. The stamp is guarded, so that nobody
// else's change gets between what was read and the commit.
type grow struct {
	*work
	validity uint32
	made     []*Mailbox
	acls     map[MailboxID]ACL // changed access control lists
	scope    string            // in which the account begins to share; empty: no change
}

// changeTree commits a change of the tree.
func (a *Account) changeTree(ctx context.Context, what string, change func(g *grow) error) error {
	return a.commit(ctx, what, func(ctx context.Context, u *mailflow.Unit) error {
		w, err := a.begin(ctx, u)
		if err != nil {
			return err
		}
		defer w.close()
		g := &grow{work: w, validity: w.tree.validity}
		if err := change(g); err != nil {
			return err
		}
		g.putACLs()
		if u.Empty() {
			return nil
		}
		b := w.batch()
		b.Guards = append(b.Guards, guardValue(treeKey, w.tree.stamp, true))
		b.Puts = append(b.Puts, stampPut(g.validity))
		s, id := a.store, a.id
		u.After(a.space, func(r kv.Result) { s.moved(id, r.Version, nil) })
		return nil
	})
}

// find finds a mailbox, those made by this change included.
func (g *grow) find(name string) *Mailbox {
	for _, m := range g.made {
		if m.Name == name {
			return m
		}
	}
	return g.tree.byName[name]
}

// create makes a mailbox and those above it that are missing.
func (g *grow) create(name string) (*Mailbox, error) {
	return g.createAs(name, g.a.store.o.Clock.Next())
}

// createAs is create for a mailbox that has an id already.
func (g *grow) createAs(name string, id MailboxID) (*Mailbox, error) {
	parent, level := splitName(name)
	m := &Mailbox{Name: name, level: level}
	var above *Mailbox
	if parent != "" {
		if above = g.find(parent); above == nil {
			var err error
			if above, err = g.create(parent); err != nil {
				return nil, err
			}
		}
		m.Parent = above.ID
	}
	if isRecoverableName(name) {
		return nil, fmt.Errorf("%w: %q is for what was deleted", ErrName, name)
	}
	if len(g.tree.all)+len(g.made) >= MailboxesMax {
		return nil, fmt.Errorf("%w: %d mailboxes", ErrLimit, MailboxesMax)
	}
	g.validity = g.a.store.validity(g.validity)
	m.ID, m.UIDValidity = id, g.validity
	if above != nil {
		g.inherit(m, above)
	}
	g.made = append(g.made, m)
	g.put(m)
	return m, nil
}

// put writes a mailbox's record and logs it.
func (g *grow) put(m *Mailbox) {
	b := g.batch()
	old := g.tree.ID(m.ID)
	was := imap.MailboxAttr("")
	if old != nil {
		was = old.Role
	}
	if was != m.Role && (was == imap.AttrTrash || m.Role == imap.AttrTrash) {
		logMailboxAs(b, m.ID, mailboxTrash)
	}
	if p := pending(b, key(keyMailbox, m.ID)); p != nil {
		p.Value = m.record()
		return
	}
	b.Puts = append(b.Puts, kv.Put{Key: key(keyMailbox, m.ID), Value: m.record()})
	what := byte(mailboxMade)
	if old != nil && old.Recovery == nil {
		what = mailboxChanged
	}
	logMailboxAs(b, m.ID, what)
}

// role gives a mailbox a special use and takes it from the one that had it.
func (g *grow) role(m *Mailbox, role imap.MailboxAttr) error {
	if !slices.Contains(uses, role) {
		return fmt.Errorf("%w: special use %q", ErrUse, role)
	}
	if m.Role == role {
		return nil
	}
	if old := g.tree.Role(role); old != nil {
		without := *old
		without.Role = ""
		g.put(&without)
	}
	m.Role = role
	g.put(m)
	return nil
}

// CreateMailbox makes a mailbox and those above it that are missing (RFC 9051, 6.3.4);
// role may be empty. ErrExists, ErrName, ErrUse, ErrLimit.
func (a *Account) CreateMailbox(ctx context.Context, name string, role imap.MailboxAttr) (*Mailbox, error) {
	clean, err := CleanName(name)
	if err != nil {
		return nil, err
	}
	var made *Mailbox
	err = a.changeTree(ctx, "create a mailbox", func(g *grow) error {
		if g.find(clean) != nil {
			return fmt.Errorf("mailbox %q: %w", clean, ErrExists)
		}
		var err error
		if made, err = g.create(clean); err != nil {
			return err
		}
		return g.role(made, role)
	})
	if err != nil {
		return nil, err
	}
	t, err := a.Tree(ctx)
	if err != nil {
		return nil, err
	}
	if m := t.ID(made.ID); m != nil {
		return m, nil
	}
	return made, nil // deleted again by somebody else
}

// SetRole gives a mailbox a special use; another one loses it. Empty takes it away.
func (a *Account) SetRole(ctx context.Context, mailbox MailboxID, role imap.MailboxAttr) error {
	return a.changeTree(ctx, "set a special use", func(g *grow) error {
		m := g.tree.ID(mailbox)
		if m == nil || m.Recovery != nil {
			return ErrNoMailbox
		}
		changed := *m
		return g.role(&changed, role)
	})
}

// RenameMailbox renames a mailbox with all below it; missing ones above the new name are
// made. INBOX stays: its messages move to the new mailbox (RFC 9051, 6.3.6).
// Subscriptions go with the names.
func (a *Account) RenameMailbox(ctx context.Context, from, to string) error {
	from, err := CleanName(from)
	if err != nil {
		return fmt.Errorf("mailbox %q: %w", from, ErrNoMailbox)
	}
	if to, err = CleanName(to); err != nil {
		return err
	}
	if from == imap.Inbox {
		return a.renameInbox(ctx, to)
	}
	return a.changeTree(ctx, "rename a mailbox", func(g *grow) error {
		m := g.tree.byName[from]
		switch {
		case m == nil:
			return fmt.Errorf("mailbox %q: %w", from, ErrNoMailbox)
		case g.find(to) != nil:
			return fmt.Errorf("mailbox %q: %w", to, ErrExists)
		case strings.HasPrefix(to, from+Separator):
			return fmt.Errorf("%w: %q is below %q", ErrName, to, from)
		case isRecoverableName(to):
			return fmt.Errorf("%w: %q is for what was deleted", ErrName, to)
		}
		if err := g.checkBelow(from, to); err != nil {
			return err
		}
		moved := *m
		parent, level := splitName(to)
		moved.level, moved.Parent = level, 0
		if parent != "" {
			above := g.find(parent)
			if above == nil {
				if above, err = g.create(parent); err != nil {
					return err
				}
			}
			moved.Parent = above.ID
		}
		g.put(&moved)
		g.moveSubscriptions(from, to)
		return nil
	})
}

// checkBelow tells whether all names below a renamed mailbox stay within the limits.
func (g *grow) checkBelow(from, to string) error {
	for _, m := range g.tree.all {
		if rest, below := strings.CutPrefix(m.Name, from+Separator); below {
			if _, err := CleanName(to + Separator + rest); err != nil {
				return err
			}
		}
	}
	return nil
}

func (g *grow) moveSubscriptions(from, to string) {
	var moved [][2]string
	for _, s := range g.tree.subscriptions {
		if s == from || strings.HasPrefix(s, from+Separator) {
			moved = append(moved, [2]string{s, to + s[len(from):]})
		}
	}
	if len(moved) > subscriptionsMoved {
		return
	}
	b := g.batch()
	for _, m := range moved {
		b.Deletes = append(b.Deletes, subscriptionKey(m[0]))
		b.Puts = append(b.Puts, kv.Put{Key: subscriptionKey(m[1]), Value: []byte{format1}})
	}
}

func subscriptionKey(name string) []byte { return append([]byte{keySubscription}, name...) }

// renameInbox makes the new mailbox and moves all messages there, some at a time; each is
// in one of the two at every moment.
func (a *Account) renameInbox(ctx context.Context, to string) error {
	m, err := a.CreateMailbox(ctx, to, "")
	if err != nil {
		return err
	}
	t, err := a.Tree(ctx)
	if err != nil {
		return err
	}
	_, err = a.Move(ctx, t.Inbox().ID, imap.UIDSet{{First: 1, Last: ^uint32(0)}}, m.ID)
	return err
}

// DeleteMailbox deletes a mailbox and its messages. ErrHasChildren (RFC 9051, 7.1,
// HASCHILDREN), ErrInUse for INBOX. The subscription stays (RFC 9051, 6.3.7).
func (a *Account) DeleteMailbox(ctx context.Context, name string) error {
	clean, err := CleanName(name)
	if err != nil {
		return fmt.Errorf("mailbox %q: %w", name, ErrNoMailbox)
	}
	return a.changeTree(ctx, "delete a mailbox", func(g *grow) error {
		m := g.tree.byName[clean]
		switch {
		case m == nil:
			return fmt.Errorf("mailbox %q: %w", clean, ErrNoMailbox)
		case m == g.tree.inbox:
			return fmt.Errorf("mailbox %q: %w", clean, ErrInUse)
		case m.HasChildren:
			return fmt.Errorf("mailbox %q: %w", clean, ErrHasChildren)
		}
		return g.delete(m)
	})
}

// delete takes a mailbox away; what was in it is swept later. The guard on HIGHESTMODSEQ
// makes the counters those of the commit.
func (g *grow) delete(m *Mailbox) error {
	k := key(keyHighest, m.ID)
	highest, found, err := get(g.snap, k)
	if err != nil {
		return err
	}
	n, err := readTally(g.snap, m.ID)
	if err != nil {
		return err
	}
	if n.messages > 0 && g.watched(m) {
		return fmt.Errorf("%w: what waits in %s must leave it first", ErrInUse, m.Name)
	}
	b := g.batch()
	b.Guards = append(b.Guards, guardValue(k, highest, found))
	b.Deletes = append(b.Deletes, key(keyMailbox, m.ID))
	b.Ranges = append(b.Ranges, kv.Prefix(key(keySeen, m.ID)))
	if len(m.ACL) > 0 {
		g.setACL(m.ID, nil) // RFC 4314, 4, DELETE
	}
	if g.keeps(m.ID) && n.messages > 0 {
		g.setMailboxAside(m)
	} else {
		g.discard(m, n)
	}
	g.keepName(m)
	if err := g.tellGone(m, n); err != nil {
		return err
	}
	id, s := g.a.id, g.a.store
	g.u.After(g.a.space, func(r kv.Result) { s.moved(id, r.Version, []MailboxID{m.ID}) })
	return g.charge(-n.octets, -n.messages)
}

// tellGone logs that a mailbox goes, with what is in it.
func (g *grow) tellGone(m *Mailbox, n tally) error {
	if n.messages > changesTold {
		logMailboxAs(g.batch(), m.ID, mailboxUntold)
	} else if n.messages > 0 {
		s := &Snapshot{account: g.a, mailbox: m.ID}
		if err := s.load(g.snap); err != nil {
			return err
		}
		s.count()
		if err := g.logGone(m.ID, s); err != nil {
			return err
		}
	}
	b := g.batch()
	if m.Role == imap.AttrTrash {
		logMailboxAs(b, m.ID, mailboxTrash)
	}
	logMailboxAs(b, m.ID, mailboxGone)
	return nil
}

// discard takes away what is known of a mailbox beside its record, and leaves its entries
// to the sweep. The caller has guarded that n are its counters.
func (g *grow) discard(m *Mailbox, n tally) {
	b := g.batch()
	b.Deletes = append(b.Deletes, key(keyHighest, m.ID), key(keyKeywords, m.ID))
	back := tally{-n.messages, -n.unseen, -n.deleted, -n.octets}
	back.add(b, m.ID)
	g.garbage(garbageMailbox, m.ID, nil)
}

// Subscribe puts a name on the list of subscriptions or takes it off; the mailbox need
// not exist.
func (a *Account) Subscribe(ctx context.Context, name string, on bool) error {
	clean, err := CleanName(name)
	if err != nil {
		return err
	}
	return a.changeTree(ctx, "subscribe", func(g *grow) error {
		_, have := slices.BinarySearch(g.tree.subscriptions, clean)
		switch {
		case have == on:
			return nil
		case on && len(g.tree.subscriptions) >= MailboxesMax:
			return fmt.Errorf("%w: %d subscriptions", ErrLimit, MailboxesMax)
		case on:
			b := g.batch()
			b.Puts = append(b.Puts, kv.Put{Key: subscriptionKey(clean), Value: []byte{format1}})
		default:
			b := g.batch()
			b.Deletes = append(b.Deletes, subscriptionKey(clean))
		}
		if m := g.tree.byName[clean]; m != nil {
			logMailbox(g.batch(), m.ID)
		}
		return nil
	})
}

// Status is what STATUS tells of a mailbox (RFC 9051, 6.3.11).
type Status struct {
	Messages, Unseen, Deleted uint32
	Size                      int64 // octets (STATUS=SIZE)
	UIDNext, UIDValidity      uint32
	HighestModSeq             uint64
}

// Status reads the counters of mailboxes without loading any; one Status for each id, in
// order. ErrNoMailbox.
func (a *Account) Status(ctx context.Context, ids ...MailboxID) ([]Status, error) {
	snap, err := a.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	defer snap.Close()
	t, err := a.treeAt(snap)
	if err != nil {
		return nil, storageError("read the mailboxes", err)
	}
	all := make([]Status, 0, len(ids))
	for _, id := range ids {
		m := t.ID(id)
		if m == nil {
			return nil, fmt.Errorf("status of mailbox %s: %w", id, ErrNoMailbox)
		}
		s, err := readStatus(snap, m)
		if err != nil {
			return nil, storageError("status of mailbox "+id.String(), err)
		}
		all = append(all, s)
	}
	return all, nil
}

func readStatus(snap kv.Snapshot, m *Mailbox) (s Status, err error) {
	n, err := readTally(snap, m.ID)
	if err != nil {
		return s, err
	}
	s = Status{Messages: uint32(n.messages), Unseen: uint32(n.unseen), Deleted: uint32(n.deleted),
		Size: n.octets, UIDValidity: m.UIDValidity}
	if s.UIDNext, err = readUIDNext(snap, m.ID); err != nil {
		return s, err
	}
	s.HighestModSeq, err = readHighest(snap, m.ID)
	return s, err
}

func readUIDNext(snap kv.Snapshot, id MailboxID) (uint32, error) {
	last, err := snap.Sequence(sequenceKey(id))
	return uint32(min(last+1, 1<<32-1)), err
}
