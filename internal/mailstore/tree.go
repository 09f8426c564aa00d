package mailstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"postroad/imap"
	"postroad/internal/kv"
)

// Mailbox is one mailbox; it is not changed.
type Mailbox struct {
	ID          MailboxID
	Parent      MailboxID // 0: at the top
	Name        string    // the whole name, NFC; INBOX in capitals
	UIDValidity uint32
	Role        imap.MailboxAttr // \Drafts …, empty: none (RFC 6154)
	SortOrder   uint32           // where a client shows it among others (RFC 8621, 2)
	Subscribed  bool
	HasChildren bool
	Recovery    *Recovery // of a recoverable mailbox only
	ACL         ACL       // who besides the owner may do what

	level string // last level of the name
	raw   []byte // the record, for guards
}

// Tree is all mailboxes of an account at one moment; it is not changed.
type Tree struct {
	stamp         []byte // value of the t key: the tree is right as long as it stands
	version       kv.Version
	validity      uint32 // the last UIDVALIDITY given
	all           []*Mailbox
	byID          map[MailboxID]*Mailbox
	byName        map[string]*Mailbox
	subscriptions []string
	inbox         *Mailbox
	recoverable   []*Mailbox
	scope         string // in which the account shares mailboxes; empty: it never has
}

// All returns the mailboxes, INBOX first, then in the order of their names; a parent
// before its children. The slice is shared.
func (t *Tree) All() []*Mailbox { return t.all }

// Name finds a mailbox by name, in any case for INBOX, nil when there is none.
func (t *Tree) Name(name string) *Mailbox {
	if m := t.byName[name]; m != nil {
		return m
	}
	clean, err := CleanName(name)
	if err != nil {
		return nil
	}
	return t.byName[clean]
}

// ID finds a mailbox by id, a recoverable one too, nil when there is none.
func (t *Tree) ID(id MailboxID) *Mailbox { return t.byID[id] }

// Role finds the mailbox with a special use, nil when there is none.
func (t *Tree) Role(r imap.MailboxAttr) *Mailbox {
	for _, m := range t.all {
		if r != "" && m.Role == r {
			return m
		}
	}
	return nil
}

// Inbox is INBOX.
func (t *Tree) Inbox() *Mailbox { return t.inbox }

// Subscriptions returns all subscribed names in order, those without a mailbox too
// (RFC 9051, 6.3.7). The slice is shared.
func (t *Tree) Subscriptions() []string { return t.subscriptions }

// The stamp of the tree: format, version of the last change, last UIDVALIDITY.
const stampVersionOffset = 1

func stampPut(validity uint32) kv.Put {
	v := make([]byte, 1+8, 1+8+4)
	v[0] = format1
	v = binary.BigEndian.AppendUint32(v, validity)
	return kv.Put{Key: treeKey, Value: v, Places: []kv.Place{{InValue: true, Offset: stampVersionOffset, Width: 8, Version: true}}}
}

// record is the value of the mailbox's b key. The place among its siblings stands at the
// end, where it is not 0.
func (m *Mailbox) record() []byte {
	v := append(make([]byte, 0, 32+len(m.level)), format1)
	v = binary.BigEndian.AppendUint64(v, uint64(m.Parent))
	v = binary.BigEndian.AppendUint32(v, m.UIDValidity)
	v = appendText(v, string(m.Role))
	v = appendText(v, m.level)
	if m.SortOrder != 0 {
		v = binary.AppendUvarint(v, uint64(m.SortOrder))
	}
	return v
}

// Level is the last level of the name.
func (m *Mailbox) Level() string { return m.level }

func readMailbox(id MailboxID, v []byte) (*Mailbox, error) {
	r := newReader(v)
	m := &Mailbox{ID: id, raw: bytes.Clone(v), Parent: r.id(), UIDValidity: r.uint32()}
	m.Role, m.level = imap.MailboxAttr(r.text()), string(r.text())
	if len(r.b) > 0 {
		m.SortOrder = uint32(r.count(SortOrderMax))
	}
	return m, r.err("record of mailbox " + id.String())
}

// readTree reads the whole tree.
func readTree(snap kv.Snapshot) (*Tree, error) {
	stamp, found, err := get(snap, treeKey)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, ErrNoAccount
	}
	r := newReader(stamp)
	r.uint64()
	t := &Tree{stamp: stamp, version: snap.Version(), validity: r.uint32(),
		byID: map[MailboxID]*Mailbox{}, byName: map[string]*Mailbox{}}
	if err := r.err("stamp of the mailboxes"); err != nil {
		return nil, err
	}
	for e, err := range snap.Scan(kv.Prefix([]byte{keyMailbox})) {
		if err != nil {
			return nil, fmt.Errorf("scan mailboxes: %w", err)
		}
		id, _ := keyID(e.Key)
		m, err := readMailbox(id, e.Value)
		if err != nil {
			return nil, err
		}
		t.byID[id] = m
	}
	for e, err := range snap.Scan(kv.Prefix([]byte{keySubscription})) {
		if err != nil {
			return nil, fmt.Errorf("scan subscriptions: %w", err)
		}
		t.subscriptions = append(t.subscriptions, string(e.Key[1:]))
	}
	if err := t.readRecoverables(snap); err != nil {
		return nil, err
	}
	if err := readACLs(snap, t); err != nil {
		return nil, err
	}
	return t, t.link()
}

// link gives the mailboxes their names and orders them.
func (t *Tree) link() error {
	for _, m := range t.byID {
		if m.Recovery != nil {
			continue
		}
		levels := []string{m.level}
		for up := m.Parent; up != 0; {
			parent := t.byID[up]
			if parent == nil || len(levels) > DepthMax {
				return fmt.Errorf("%w: mailbox %s has no place in the tree", ErrDamaged, m.ID)
			}
			parent.HasChildren = true
			levels = append(levels, parent.level)
			up = parent.Parent
		}
		slices.Reverse(levels)
		m.Name = strings.Join(levels, Separator)
		if t.byName[m.Name] != nil {
			return fmt.Errorf("%w: two mailboxes named %q", ErrDamaged, m.Name)
		}
		t.byName[m.Name] = m
		t.all = append(t.all, m)
	}
	t.inbox = t.byName[imap.Inbox]
	if t.inbox == nil {
		return fmt.Errorf("%w: no INBOX", ErrDamaged)
	}
	for _, s := range t.subscriptions {
		if m := t.byName[s]; m != nil {
			m.Subscribed = true
		}
	}
	slices.SortFunc(t.all, func(a, b *Mailbox) int {
		return compareNames(a.Name, b.Name)
	})
	t.nameRecoverables()
	return nil
}

// compareNames orders INBOX and what is below it first, and children behind their parent.
func compareNames(a, b string) int {
	x, y := strings.Split(a, Separator), strings.Split(b, Separator)
	if (x[0] == imap.Inbox) != (y[0] == imap.Inbox) {
		if x[0] == imap.Inbox {
			return -1
		}
		return 1
	}
	return slices.Compare(x, y)
}

// Tree returns the mailboxes as they are now.
func (a *Account) Tree(ctx context.Context) (*Tree, error) {
	if t := a.cachedTree(); t != nil {
		v, err := a.store.engine().Versions(ctx, a.space)
		if err != nil {
			return nil, storageError("version of the account", err)
		}
		if v[0] == t.version {
			return t, nil
		}
	}
	snap, err := a.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	defer snap.Close()
	t, err := a.treeAt(snap)
	return t, storageError("read the mailboxes", err)
}

// Inbox returns the id of INBOX, which never changes: for deliveries, which need nothing
// else of the tree.
func (a *Account) Inbox(ctx context.Context) (MailboxID, error) {
	t := a.cachedTree()
	if t == nil {
		var err error
		if t, err = a.Tree(ctx); err != nil {
			return 0, err
		}
	}
	return t.inbox.ID, nil
}

// treeAt returns the tree as a snapshot has it, from the cache where that is right.
func (a *Account) treeAt(snap kv.Snapshot) (*Tree, error) {
	t := a.cachedTree()
	if t != nil && t.version == snap.Version() {
		return t, nil
	}
	if t != nil {
		stamp, found, err := get(snap, treeKey)
		if err != nil {
			return nil, err
		}
		if found && bytes.Equal(stamp, t.stamp) {
			same := *t
			same.version = snap.Version()
			a.keepTree(&same)
			return &same, nil
		}
	}
	t, err := readTree(snap)
	if err != nil {
		return nil, err
	}
	a.keepTree(t)
	return t, nil
}

func (a *Account) cachedTree() *Tree {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.tree
}

// keepTree caches the tree unless a newer one is there.
func (a *Account) keepTree(t *Tree) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.tree == nil || a.tree.version < t.version {
		a.tree = t
	}
}
