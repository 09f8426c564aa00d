package mailstore

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"postroad/imap"
	"postroad/internal/kv"
)

// What was expunged or deleted can be brought back for Options.Undelete. It lies in
// mailboxes of their own, the recoverable ones, which have entries, flags and UIDs as
// others do, and so are read, copied from and swept as others are. Only their record is
// another one, under u instead of b:
//
//	expunging   moves entries to the recoverable mailbox of the mailbox they were in; its
//	            id is that of the mailbox with the highest bit set. When they came there
//	            (SaveDate) is when they were expunged
//	deleting    a mailbox makes itself recoverable, in one small commit: the u record takes
//	            the place of the b record
//	bringing    back moves entries, or makes the b record again
//	purging     expunges from recoverable mailboxes, for good
//
// Tree.All does not have them, the quota does not count them; Options.UndeleteBytes bounds
// them. See docs/decisions/0009-undelete.md.

// RecoverableRoot is the name above all recoverable mailboxes; no other one may have it.
const RecoverableRoot = "Recently Deleted"

// recoverableBit is set in the id of a mailbox for what was expunged from the one without
// it. Ids are times (hlc): none reaches it before the year 10889.
const recoverableBit MailboxID = 1 << 63

// keyRecoverable begins the key of a recoverable mailbox's record.
const keyRecoverable = 'u'

// Recovery is what there is to know of a recoverable mailbox beside its entries.
type Recovery struct {
	Deleted bool             // a deleted mailbox; otherwise what was expunged from one
	Name    string           // of the mailbox that it was, or whose messages these were
	Role    imap.MailboxAttr // of a deleted one
	At      time.Time        // of the deletion; zero otherwise
}

// The octet behind the format of a u value.
const (
	recoverableExpunged = 'e'
	recoverableDeleted  = 'd'
)

// recoverableRecord is the value of a recoverable mailbox's u key.
func (m *Mailbox) recoverableRecord() []byte {
	r := m.Recovery
	v := append(make([]byte, 0, 32+len(r.Name)), format1, recoverableExpunged)
	var at uint64
	if r.Deleted {
		v[1], at = recoverableDeleted, uint64(r.At.Unix())
	}
	v = binary.BigEndian.AppendUint32(v, m.UIDValidity)
	v = binary.BigEndian.AppendUint64(v, at)
	v = appendText(v, string(r.Role))
	return appendText(v, r.Name)
}

func readRecoverable(id MailboxID, v []byte) (*Mailbox, error) {
	r := newReader(v)
	kind := r.octet()
	m := &Mailbox{ID: id, raw: slices.Clone(v), UIDValidity: r.uint32(), Recovery: &Recovery{Deleted: kind == recoverableDeleted}}
	if at := r.uint64(); m.Recovery.Deleted {
		m.Recovery.At = time.Unix(int64(at), 0)
	}
	m.Recovery.Role, m.Recovery.Name = imap.MailboxAttr(r.text()), string(r.text())
	if kind != recoverableExpunged && kind != recoverableDeleted {
		r.fail()
	}
	return m, r.err("record of recoverable mailbox " + id.String())
}

// key is that of the mailbox's record.
func (m *Mailbox) key() []byte {
	if m.Recovery != nil {
		return key(keyRecoverable, m.ID)
	}
	return key(keyMailbox, m.ID)
}

// readRecoverables reads the recoverable mailboxes into the tree.
func (t *Tree) readRecoverables(snap kv.Snapshot) error {
	for e, err := range snap.Scan(kv.Prefix([]byte{keyRecoverable})) {
		if err != nil {
			return fmt.Errorf("scan recoverable mailboxes: %w", err)
		}
		id, _ := keyID(e.Key)
		m, err := readRecoverable(id, e.Value)
		if err != nil {
			return err
		}
		t.byID[id] = m
		t.recoverable = append(t.recoverable, m)
	}
	return nil
}

// nameRecoverables names the recoverable mailboxes after those that they come from. Where
// two have one name, the younger one has a number behind it.
func (t *Tree) nameRecoverables() {
	for _, m := range t.recoverable {
		if from := t.byID[m.ID&^recoverableBit]; !m.Recovery.Deleted && from != nil && from.Recovery == nil {
			renamed := *m.Recovery
			renamed.Name = from.Name
			m.Recovery = &renamed
		}
	}
	slices.SortFunc(t.recoverable, func(a, b *Mailbox) int {
		return cmp.Or(compareNames(a.Recovery.Name, b.Recovery.Name), cmp.Compare(a.UIDValidity, b.UIDValidity))
	})
	taken := map[string]bool{}
	for _, m := range t.recoverable {
		name := RecoverableRoot + Separator + m.Recovery.Name
		m.Name = name
		for n := 2; taken[m.Name]; n++ {
			m.Name = fmt.Sprintf("%s (%d)", name, n)
		}
		taken[m.Name] = true
	}
}

// Recoverable returns the mailboxes that hold what can be brought back, in the order of
// their names. The slice is shared.
func (t *Tree) Recoverable() []*Mailbox { return t.recoverable }

// RecoverableName finds a recoverable mailbox by its whole name, nil when there is none.
func (t *Tree) RecoverableName(name string) *Mailbox {
	for _, m := range t.recoverable {
		if m.Name == name {
			return m
		}
	}
	return nil
}

// isRecoverableName tells whether a name is the recoverable mailboxes' own.
func isRecoverableName(name string) bool {
	return name == RecoverableRoot || strings.HasPrefix(name, RecoverableRoot+Separator)
}

// keeps tells whether what is expunged from a mailbox can be brought back.
func (w *work) keeps(mailbox MailboxID) bool {
	m := w.tree.ID(mailbox)
	return w.a.store.o.Undelete > 0 && m != nil && m.Recovery == nil
}

// recoverableOf makes sure that there is a recoverable mailbox for what a mailbox loses.
func (w *work) recoverableOf(mailbox MailboxID) MailboxID {
	id := mailbox | recoverableBit
	b := w.batch()
	if w.tree.ID(id) != nil || pending(b, key(keyRecoverable, id)) != nil {
		return id
	}
	m := &Mailbox{ID: id, UIDValidity: w.a.store.validity(w.tree.validity), Recovery: &Recovery{Name: w.tree.ID(mailbox).Name}}
	b.Puts = append(b.Puts, kv.Put{Key: m.key(), Value: m.recoverableRecord()})
	w.stampTree(m.UIDValidity)
	return id
}

// stampTree writes that the tree is another one, which nobody else changed meanwhile.
func (w *work) stampTree(validity uint32) {
	b := w.batch()
	if p := pending(b, treeKey); p != nil {
		*p = stampPut(validity)
		return
	}
	b.Guards = append(b.Guards, guardValue(treeKey, w.tree.stamp, true))
	b.Puts = append(b.Puts, stampPut(validity))
}

// setAside enters expunged messages into the recoverable mailbox of the one they were in.
// \Deleted is taken off: brought back with it they would go again at the next EXPUNGE.
func (w *work) setAside(mailbox MailboxID, gone []*slot) error {
	to := w.recoverableOf(mailbox)
	flags, err := w.translate(mailbox, to)
	if err != nil {
		return err
	}
	rows := make([]Row, len(gone))
	for i, s := range gone {
		rows[i] = s.Row
		if rows[i].Flags, err = flags(s.Flags &^ Deleted); err != nil {
			return err
		}
	}
	w.arrive(to, rows, new(Copied))
	w.touch(to)
	return nil
}
