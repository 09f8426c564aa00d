package mailstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"

	"postroad/imap"
	"postroad/internal/kv"
)

// Several changes of the tree in one commit, as JMAP makes them (RFC 8621, 2.5): what
// counts is that the tree is right at the end, so that two mailboxes can change names, or a
// use can go from one to another (RFC 8620, 5.3). The tree is edited in memory; what cannot
// stand is taken out until the rest can, and the rest is written.

// TreeEditsMax is how many mailboxes one EditTree changes: what it writes must fit in a
// batch (kv.BatchKeysMax).
const TreeEditsMax = 40

// SortOrderMax is the largest place of a mailbox among its siblings (RFC 8621, 2).
const SortOrderMax = 1<<31 - 1

// Errors of single edits, beside ErrName, ErrUse, ErrExists, ErrNoMailbox, ErrHasChildren,
// ErrNotEmpty, ErrInUse and ErrLimit; EditTree returns no others.
var (
	ErrLoop   = errors.New("mailstore: a mailbox would be below itself")
	ErrParent = errors.New("mailstore: no such mailbox to be above")
	ErrTaken  = errors.New("mailstore: another mailbox has that special use")
)

// TreeEdit is what is to become of one mailbox. Fields that are nil stay as they are.
type TreeEdit struct {
	ID     MailboxID
	Create bool // with an id of NewMailboxID; Name is needed
	Delete bool
	Empty  bool // delete it only when no message is in it that is not marked \Deleted

	Parent     *MailboxID        // 0: none; one may be that is made by the same call
	Name       *string           // the last level
	Role       *imap.MailboxAttr // empty: none; one that another mailbox has is ErrExists
	SortOrder  *uint32
	Subscribed *bool
	ACL        *ACL
}

// EditError tells why an edit was not made.
type EditError struct {
	Err   error
	Other MailboxID // the mailbox that has the name or the use; 0: none
}

func (e *EditError) Error() string { return e.Err.Error() }

// Unwrap gives the member of the closed set, or one of the errors of edits.
func (e *EditError) Unwrap() error { return e.Err }

// NewMailboxID makes an id for a mailbox that an edit is to make.
func (a *Account) NewMailboxID() MailboxID { return a.store.o.Clock.Next() }

// EditTree makes edits, of different mailboxes, in one commit. The result has an error for
// each edit that was not made, nil for the others. Scope is that of SetACL; it is needed
// where an edit has an ACL.
func (a *Account) EditTree(ctx context.Context, scope string, edits []TreeEdit) ([]*EditError, error) {
	if len(edits) > TreeEditsMax {
		return nil, fmt.Errorf("%w: %d changes of mailboxes", ErrLimit, len(edits))
	}
	var refused []*EditError
	err := a.changeTree(ctx, "change mailboxes", func(g *grow) error {
		var err error
		s := &sketch{grow: g, edits: edits, refused: make([]*EditError, len(edits)), holds: map[int]bool{}}
		if refused, err = s.settle(); err != nil {
			return err
		}
		return s.write(scope)
	})
	return refused, err
}

// sketch is a tree that edits are tried on.
type sketch struct {
	*grow
	edits   []TreeEdit
	refused []*EditError // by edit; nil: it stands
	holds   map[int]bool // edits that are to delete only what is empty, and is not
	now     map[MailboxID]*sketched
}

// sketched is a mailbox of the sketch.
type sketched struct {
	Mailbox
	edit    int // that changes it, -1: none
	deleted bool
}

// settle takes edits out until the others stand together. Each round takes out one at
// least.
func (s *sketch) settle() ([]*EditError, error) {
	if err := s.full(); err != nil {
		return nil, err
	}
	for {
		s.draw()
		out := false
		for _, check := range []func(int) *EditError{s.checkPlace, s.checkName, s.checkRole, s.checkDelete} {
			for i := range s.edits {
				if s.refused[i] == nil && !out {
					s.refused[i] = check(i)
					out = s.refused[i] != nil
				}
			}
		}
		if !out {
			return s.refused, nil
		}
	}
}

// full takes out, once, what would be refused in any tree.
func (s *sketch) full() error {
	room := MailboxesMax - len(s.tree.all)
	for i := range s.edits {
		e := &s.edits[i]
		m := s.tree.ID(e.ID)
		switch {
		case e.Create && m != nil:
			return fmt.Errorf("%w: mailbox %s", ErrExists, e.ID)
		case e.Create && room == 0:
			s.refuse(i, fmt.Errorf("%w: %d mailboxes", ErrLimit, MailboxesMax))
		case e.Create:
			room--
		case m == nil || m.Recovery != nil:
			s.refuse(i, ErrNoMailbox)
		case m == s.tree.inbox && (e.Delete || e.Parent != nil || e.Name != nil || e.Role != nil):
			s.refuse(i, ErrInUse)
		}
		if e.ACL != nil && len(*e.ACL) > ACLMax {
			s.refuse(i, fmt.Errorf("%w: %d entries in an access control list", ErrLimit, ACLMax))
		}
	}
	return s.notEmpty()
}

func (s *sketch) refuse(i int, err error) {
	if s.refused[i] == nil {
		s.refused[i] = &EditError{Err: err}
	}
}

// notEmpty finds out what has messages, where only what has none is to be deleted, or
// something waits there. The counters are those of the commit, because deleting guards
// HIGHESTMODSEQ.
func (s *sketch) notEmpty() error {
	for i := range s.edits {
		e := &s.edits[i]
		waits := e.Delete && s.watched(s.tree.ID(e.ID))
		if !e.Delete || !e.Empty && !waits || s.refused[i] != nil {
			continue
		}
		n, err := readTally(s.snap, e.ID)
		if err != nil {
			return err
		}
		s.holds[i] = e.Empty && n.messages > n.deleted
		if waits && n.messages > 0 && !s.holds[i] {
			s.refuse(i, fmt.Errorf("%w: what waits in it must leave it first", ErrInUse))
		}
	}
	return nil
}

// draw lays the edits that stand over the tree.
func (s *sketch) draw() {
	s.now = make(map[MailboxID]*sketched, len(s.tree.all)+len(s.edits))
	for _, m := range s.tree.all {
		s.now[m.ID] = &sketched{Mailbox: *m, edit: -1}
	}
	for i := range s.edits {
		if s.refused[i] != nil {
			continue
		}
		e := &s.edits[i]
		m := s.now[e.ID]
		if m == nil {
			m = &sketched{Mailbox: Mailbox{ID: e.ID}}
			s.now[e.ID] = m
		}
		m.edit, m.deleted = i, e.Delete
		given(&m.Parent, e.Parent)
		given(&m.Role, e.Role)
		given(&m.SortOrder, e.SortOrder)
		given(&m.Subscribed, e.Subscribed)
		given(&m.ACL, e.ACL)
		if e.Name != nil {
			m.level = norm.NFC.String(*e.Name)
		}
	}
	for _, m := range s.now {
		if s.moves(m) || m.edit >= 0 && s.edits[m.edit].Create {
			m.Name = ""
		}
	}
}

// given sets what an edit has.
func given[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

// moves tells whether a mailbox, or one above it, is at another place than before.
func (s *sketch) moves(m *sketched) bool {
	for depth := 0; m != nil && depth <= DepthMax; depth++ {
		if m.edit >= 0 && (s.edits[m.edit].Parent != nil || s.edits[m.edit].Name != nil) {
			return true
		}
		m = s.now[m.Parent]
	}
	return false
}

// checkPlace refuses what is below nothing or below itself.
func (s *sketch) checkPlace(i int) *EditError {
	e := &s.edits[i]
	if e.Delete {
		return nil
	}
	m := s.now[e.ID]
	for up, depth := m.Parent, 1; up != 0; depth++ {
		above := s.now[up]
		switch {
		case above == nil:
			return &EditError{Err: ErrParent}
		case up == e.ID:
			return &EditError{Err: ErrLoop}
		case depth > DepthMax+len(s.edits):
			return &EditError{Err: ErrLoop} // of others above it
		}
		up = above.Parent
	}
	return nil
}

// name is the whole name of a mailbox of the sketch, whose place has been checked.
func (s *sketch) name(m *sketched) string {
	if m.Name == "" {
		levels := []string{m.level}
		for up := s.now[m.Parent]; up != nil; up = s.now[up.Parent] {
			levels = append(levels, up.level)
		}
		slices.Reverse(levels)
		m.Name = strings.Join(levels, Separator)
	}
	return m.Name
}

// checkName refuses names that are none, or that another one beside has. It is asked for
// what an edit moves with all that is below it.
func (s *sketch) checkName(i int) *EditError {
	e := &s.edits[i]
	if e.Delete || e.Name == nil && e.Parent == nil && !e.Create {
		return nil
	}
	m := s.now[e.ID]
	if err := checkLevel(m.level); err != nil || strings.Contains(m.level, Separator) {
		return &EditError{Err: fmt.Errorf("%w: %q", ErrName, m.level)}
	}
	if m.Parent == 0 && imap.EqualFold(m.level, imap.Inbox) {
		return &EditError{Err: ErrExists, Other: s.tree.inbox.ID}
	}
	if _, err := CleanName(s.name(m)); err != nil {
		return &EditError{Err: err}
	}
	if isRecoverableName(m.Name) {
		return &EditError{Err: fmt.Errorf("%w: %q is for what was deleted", ErrName, m.Name)}
	}
	for _, o := range s.now {
		if o.ID != m.ID && !o.deleted && o.Parent == m.Parent && o.level == m.level {
			return &EditError{Err: ErrExists, Other: o.ID}
		}
		if o.Name == "" && s.below(o, m.ID) {
			if _, err := CleanName(s.name(o)); err != nil {
				return &EditError{Err: err}
			}
		}
	}
	return nil
}

// below tells whether a mailbox is another one, or below it.
func (s *sketch) below(m *sketched, id MailboxID) bool {
	for depth := 0; m != nil && depth <= DepthMax+len(s.edits); depth++ {
		if m.ID == id {
			return true
		}
		m = s.now[m.Parent]
	}
	return false
}

// checkRole refuses a use that there is not, or that another mailbox has.
func (s *sketch) checkRole(i int) *EditError {
	e := &s.edits[i]
	if e.Delete || e.Role == nil || *e.Role == "" {
		return nil
	}
	if !CanBe(*e.Role) {
		return &EditError{Err: fmt.Errorf("%w: %q", ErrUse, *e.Role)}
	}
	for _, o := range s.now {
		if o.ID != e.ID && !o.deleted && o.Role == *e.Role {
			return &EditError{Err: ErrTaken, Other: o.ID}
		}
	}
	return nil
}

// checkDelete refuses to delete what others are below (RFC 9051, 7.1, HASCHILDREN), or what
// has messages.
func (s *sketch) checkDelete(i int) *EditError {
	if !s.edits[i].Delete {
		return nil
	}
	for _, o := range s.now {
		if !o.deleted && o.Parent == s.edits[i].ID {
			return &EditError{Err: ErrHasChildren}
		}
	}
	if s.holds[i] {
		return &EditError{Err: ErrNotEmpty}
	}
	return nil
}

// write puts what stands into the change.
func (s *sketch) write(scope string) error {
	for i := range s.edits {
		if s.refused[i] != nil {
			continue
		}
		e := &s.edits[i]
		m := s.now[e.ID]
		if e.Delete {
			if err := s.delete(s.tree.ID(e.ID)); err != nil {
				return err
			}
			continue
		}
		if e.Create {
			s.validity = s.a.store.validity(s.validity)
			m.UIDValidity = s.validity
			s.made = append(s.made, &m.Mailbox)
		}
		if old := s.tree.ID(e.ID); old == nil || !slices.Equal(old.record(), m.record()) {
			s.put(&m.Mailbox)
		} else {
			logMailbox(s.batch(), e.ID)
		}
	}
	if err := s.writeACLs(scope); err != nil {
		return err
	}
	s.writeSubscriptions()
	return nil
}

// writeACLs writes the lists that are given, and those that new mailboxes have from the
// ones above them (RFC 4314, 4, CREATE).
func (s *sketch) writeACLs(scope string) error {
	for _, m := range s.inOrder() {
		if m.edit < 0 || m.deleted {
			continue
		}
		e := &s.edits[m.edit]
		if e.Create && e.ACL == nil {
			if above := s.now[m.Parent]; above != nil && len(above.ACL) > 0 {
				m.ACL = above.ACL
				s.setACL(m.ID, m.ACL)
			}
			continue
		}
		if e.ACL == nil || slices.Equal(*e.ACL, s.oldACL(m.ID)) {
			continue
		}
		if err := s.shareIn(scope); err != nil {
			return err
		}
		s.setACL(m.ID, m.ACL)
	}
	return nil
}

// oldACL is the list that a mailbox had.
func (s *sketch) oldACL(id MailboxID) ACL {
	if m := s.tree.ID(id); m != nil {
		return m.ACL
	}
	return nil
}

// inOrder are the mailboxes of the sketch, parents before their children.
func (s *sketch) inOrder() []*sketched {
	all := make([]*sketched, 0, len(s.now))
	for _, m := range s.now {
		s.name(m)
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b *sketched) int { return compareNames(a.Name, b.Name) })
	return all
}

// writeSubscriptions writes what is subscribed once the names are other ones. A name
// without a mailbox goes with the mailbox that it is below.
func (s *sketch) writeSubscriptions() {
	after := map[string]bool{}
	for _, name := range s.tree.subscriptions {
		if s.tree.byName[name] == nil {
			after[s.renamed(name)] = true
		}
	}
	for _, m := range s.now {
		if m.Subscribed && !m.deleted {
			after[s.name(m)] = true
		}
	}
	var gone, fresh []string
	for _, name := range s.tree.subscriptions {
		if !after[name] {
			gone = append(gone, name)
		}
		delete(after, name)
	}
	for name := range after {
		fresh = append(fresh, name)
	}
	if len(gone) > subscriptionsMoved || len(fresh) > subscriptionsMoved {
		return
	}
	b := s.batch()
	for _, name := range gone {
		b.Deletes = append(b.Deletes, subscriptionKey(name))
	}
	for _, name := range fresh {
		b.Puts = append(b.Puts, kv.Put{Key: subscriptionKey(name), Value: []byte{format1}})
	}
}

// renamed is what becomes of a name that is not a mailbox's.
func (s *sketch) renamed(name string) string {
	for above, _ := splitName(name); above != ""; above, _ = splitName(above) {
		if old := s.tree.byName[above]; old != nil {
			if m := s.now[old.ID]; !m.deleted {
				return s.name(m) + name[len(above):]
			}
			return name
		}
	}
	return name
}
