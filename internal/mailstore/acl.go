package mailstore

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"postroad/imap"
	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
	"postroad/internal/mailflow"
)

// Who may do what with a mailbox (RFC 4314). The list of a mailbox lies beside its record
// and changes with the tree, so that the tree that a session has in memory decides without
// another read. Entries name accounts by their ids, which nobody gets a second time, and
// groups by their addresses; who is a member is asked when rights are, so a group that
// changes needs no list to be written anew.

// Limits of access control lists.
const (
	ACLMax       = 128 // entries of one mailbox: one record, within kv.ValueMax
	GroupKeyMax  = 320 // octets of a group's name: the longest address (RFC 5321, 4.5.3.1)
	scopeMaxByte = 32  // octets of the name of a scope
)

// SubjectKind says whom an entry of an access control list is for.
type SubjectKind byte

// The kinds.
const (
	SubjectAccount SubjectKind = 'u'
	SubjectGroup   SubjectKind = 'g'
	SubjectAnyone  SubjectKind = 'a' // every account of the owner's organisation; for the post right, strangers too
)

// Subject is whom an entry of an access control list is for.
type Subject struct {
	Kind     SubjectKind
	Account  AccountID // of SubjectAccount
	Group    string    // of SubjectGroup: its address, folded
	Negative bool      // the rights are taken away (RFC 4314, 2)
}

// Grant is one entry.
type Grant struct {
	Subject
	Rights imap.Rights
}

// ACL is the access control list of a mailbox, in an order of its own; it is not changed.
type ACL []Grant

// Reader is who asks for rights.
type Reader struct {
	// ID is the reader's account; 0: somebody from outside, for whom only "anyone" counts.
	ID AccountID
	// Member tells whether the reader is in a group. It may be nil where ID is 0.
	Member func(ctx context.Context, group string) (bool, error)
}

// Rights returns what a reader may do: the union of what the entries give that are for
// him, less all that negative ones take (RFC 4314, 2). Its error is Member's.
func (l ACL) Rights(ctx context.Context, r Reader) (imap.Rights, error) {
	var give, take imap.Rights
	for _, g := range l {
		if !g.Negative && give.Has(g.Rights) {
			continue // nothing new: spares the question who is a member
		}
		is, err := g.means(ctx, r)
		switch {
		case err != nil:
			return 0, err
		case is && g.Negative:
			take |= g.Rights
		case is:
			give |= g.Rights
		}
	}
	return give &^ take, nil
}

// means tells whether a subject is the reader.
func (s *Subject) means(ctx context.Context, r Reader) (bool, error) {
	switch s.Kind {
	case SubjectAnyone:
		return true, nil
	case SubjectAccount:
		return r.ID != 0 && s.Account == r.ID, nil
	case SubjectGroup:
		if r.ID == 0 || r.Member == nil {
			return false, nil
		}
		return r.Member(ctx, s.Group)
	}
	return false, nil
}

// Rights returns what a reader may do with a mailbox of the account's tree. The owner may
// do everything, whatever the list says, so that he cannot be locked out.
func (a *Account) Rights(ctx context.Context, m *Mailbox, r Reader) (imap.Rights, error) {
	if r.ID == a.id {
		return imap.RightsAll, nil
	}
	return m.ACL.Rights(ctx, r)
}

// change returns the list with the rights of one subject changed. An entry without rights
// goes.
func (l ACL) change(s Subject, op imap.RightsOp, rights imap.Rights) ACL {
	out := make(ACL, 0, len(l)+1)
	var have imap.Rights
	for _, g := range l {
		if g.Subject == s {
			have = g.Rights
		} else {
			out = append(out, g)
		}
	}
	if have = have.Change(op, rights); have != 0 {
		out = append(out, Grant{s, have})
	}
	slices.SortFunc(out, compareGrants)
	return out
}

// compareGrants orders accounts, groups, anyone; negative entries behind the others.
func compareGrants(a, b Grant) int {
	order := func(k SubjectKind) int { return bytes.IndexByte([]byte("uga"), byte(k)) }
	negative := func(n bool) int {
		if n {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(negative(a.Negative), negative(b.Negative)), cmp.Compare(order(a.Kind), order(b.Kind)),
		cmp.Compare(a.Account, b.Account), cmp.Compare(a.Group, b.Group))
}

// negativeBit marks a negative subject in the octet of its kind.
const negativeBit = 0x80

// record is the value of the mailbox's A key: format, then the entries.
func (l ACL) record() []byte {
	v := []byte{format1}
	for _, g := range l {
		kind := byte(g.Kind)
		if g.Negative {
			kind |= negativeBit
		}
		v = append(v, kind)
		switch g.Kind {
		case SubjectAccount:
			v = binary.BigEndian.AppendUint64(v, uint64(g.Account))
		case SubjectGroup:
			v = appendText(v, g.Group)
		}
		v = binary.AppendUvarint(v, uint64(g.Rights))
	}
	return v
}

// readACL reads what record wrote.
func readACL(v []byte) (ACL, error) {
	r := newReader(v)
	var l ACL
	for len(r.b) > 0 {
		var g Grant
		kind := r.octet()
		g.Kind, g.Negative = SubjectKind(kind&^negativeBit), kind&negativeBit != 0
		switch g.Kind {
		case SubjectAccount:
			g.Account = r.id()
		case SubjectGroup:
			g.Group = string(r.text())
		case SubjectAnyone:
		default:
			r.fail()
		}
		g.Rights = imap.Rights(r.count(int(imap.RightsAll)))
		l = append(l, g)
	}
	return l, r.err("access control list")
}

// readACLs reads the lists of all mailboxes, and the scope in which the account shares.
func readACLs(snap kv.Snapshot, t *Tree) error {
	for e, err := range snap.Scan(kv.Prefix([]byte{keyACL})) {
		if err != nil {
			return fmt.Errorf("scan access control lists: %w", err)
		}
		if len(e.Key) == 1 {
			r := newReader(e.Value)
			t.scope = string(r.text())
			if err := r.err("scope of sharing"); err != nil {
				return err
			}
			continue
		}
		id, _ := keyID(e.Key)
		m := t.byID[id]
		if m == nil {
			continue // gives nobody anything; Check tells of it
		}
		if m.ACL, err = readACL(e.Value); err != nil {
			return fmt.Errorf("mailbox %s: %w", id, err)
		}
	}
	return nil
}

// SetACL changes the rights of a subject. Scope names the organisation within which the
// account's mailboxes are found by those they are shared with (see [Store.Sharers]); it is
// the same at every call. Rights of the owner himself cannot be changed: ErrRights. ErrLimit above
// ACLMax entries.
func (a *Account) SetACL(ctx context.Context, scope string, mailbox MailboxID, s Subject, op imap.RightsOp, rights imap.Rights) error {
	if err := a.checkSubject(scope, s); err != nil {
		return err
	}
	return a.changeTree(ctx, "set an access control list", func(g *grow) error {
		m := g.tree.ID(mailbox)
		if m == nil {
			return ErrNoMailbox
		}
		acl := m.ACL.change(s, op, rights)
		switch {
		case slices.Equal(acl, m.ACL):
			return nil
		case len(acl) > ACLMax:
			return fmt.Errorf("%w: %d entries in an access control list", ErrLimit, ACLMax)
		}
		if err := g.shareIn(scope); err != nil {
			return err
		}
		g.setACL(m.ID, acl)
		return nil
	})
}

// shareIn makes sure that the account shares in a scope.
func (g *grow) shareIn(scope string) error {
	switch {
	case scope == "" || len(scope) > scopeMaxByte:
		return fmt.Errorf("%w: scope %q", ErrName, scope)
	case g.tree.scope == "" && g.scope == "":
		b := g.batch()
		b.Puts = append(b.Puts, kv.Put{Key: []byte{keyACL}, Value: appendText([]byte{format1}, scope)})
		g.scope = scope
	case cmp.Or(g.scope, g.tree.scope) != scope:
		return fmt.Errorf("%w: the account shares in %q, not in %q", ErrRights, g.tree.scope, scope)
	}
	return nil
}

func (a *Account) checkSubject(scope string, s Subject) error {
	switch {
	case scope == "" || len(scope) > scopeMaxByte:
		return fmt.Errorf("%w: scope %q", ErrName, scope)
	case s.Kind == SubjectAccount && s.Account == a.id:
		return fmt.Errorf("%w: the owner's rights stay", ErrRights)
	case s.Kind == SubjectAccount && s.Account == 0, s.Kind == SubjectGroup && (s.Group == "" || len(s.Group) > GroupKeyMax):
		return fmt.Errorf("%w: nobody", ErrName)
	}
	return nil
}

// setACL puts a mailbox's list into the change; nil takes it away.
func (g *grow) setACL(id MailboxID, l ACL) {
	if g.acls == nil {
		g.acls = map[MailboxID]ACL{}
	}
	g.acls[id] = l
}

// inherit gives a new mailbox the list of the one above it (RFC 4314, 4, CREATE).
func (g *grow) inherit(m, parent *Mailbox) {
	if len(parent.ACL) > 0 {
		m.ACL = parent.ACL
		g.setACL(m.ID, m.ACL)
	}
}

// putACLs writes the lists that the change has, and the index of those who find the
// account by them.
func (g *grow) putACLs() {
	if len(g.acls) == 0 {
		return
	}
	before, after := map[Subject]bool{}, map[Subject]bool{}
	for _, m := range g.tree.all {
		m.ACL.subjects(before)
		if _, changed := g.acls[m.ID]; !changed {
			m.ACL.subjects(after)
		}
	}
	b := g.batch()
	changed := make([]MailboxID, 0, len(g.acls))
	for id, l := range g.acls {
		changed = append(changed, id)
		l.subjects(after)
		logMailbox(b, id)
		if len(l) == 0 {
			b.Deletes = append(b.Deletes, key(keyACL, id))
		} else {
			b.Puts = append(b.Puts, kv.Put{Key: key(keyACL, id), Value: l.record()})
		}
	}
	scope := cmp.Or(g.scope, g.tree.scope)
	share := g.u.Batch(shareSpace(scope))
	for s := range before {
		if !after[s] {
			share.Deletes = append(share.Deletes, shareKey(s, g.a.id))
		}
	}
	for s := range after {
		if !before[s] {
			share.Puts = append(share.Puts, kv.Put{Key: shareKey(s, g.a.id), Value: []byte{format1}})
		}
	}
	if len(share.Puts)+len(share.Deletes) == 0 {
		share.Quiet = true
	}
	s, id := g.a.store, g.a.id
	g.u.After(g.a.space, func(r kv.Result) { s.moved(id, r.Version, changed) })
}

// subjects adds those to whom the list gives anything.
func (l ACL) subjects(to map[Subject]bool) {
	for _, g := range l {
		if !g.Negative && g.Rights != 0 {
			to[g.Subject] = true
		}
	}
}

// shareSpace holds, for one organisation, who shares something with whom: a key for each
// subject and account. It is written by the commit that changes a list.
func shareSpace(scope string) kv.Space { return kv.Space("share/" + scope) }

// shareKey names that an account shares something with a subject.
func shareKey(s Subject, owner AccountID) []byte {
	return binary.BigEndian.AppendUint64(shareKeyPrefix(s), uint64(owner))
}

// shareKeyPrefix is the part for the subject. The zero octet keeps one group's name from
// being the beginning of another one's.
func shareKeyPrefix(s Subject) []byte {
	k := []byte{byte(s.Kind)}
	switch s.Kind {
	case SubjectAccount:
		k = binary.BigEndian.AppendUint64(k, uint64(s.Account))
	case SubjectGroup:
		k = append(append(k, s.Group...), 0)
	}
	return k
}

// Sharers returns the accounts of a scope that share some mailbox with the reader, by id;
// which ones and with what rights their trees tell. It is for readers with an account.
func (s *Store) Sharers(ctx context.Context, scope string, r Reader) ([]AccountID, error) {
	snap, err := s.engine().Snapshot(ctx, shareSpace(scope))
	if err != nil {
		return nil, storageError("read who shares", err)
	}
	defer snap.Close()
	owners := map[AccountID]bool{}
	add := func(k []byte) {
		owners[hlc.ID(binary.BigEndian.Uint64(k[len(k)-8:]))] = true
	}
	for _, subject := range []Subject{{Kind: SubjectAnyone}, {Kind: SubjectAccount, Account: r.ID}} {
		if err := scanShares(snap, shareKeyPrefix(subject), add); err != nil {
			return nil, err
		}
	}
	member := map[string]bool{} // groups asked about
	err = scanShares(snap, []byte{byte(SubjectGroup)}, func(k []byte) {
		group := string(k[1 : len(k)-9])
		in, asked := member[group]
		if !asked && r.Member != nil && err == nil {
			in, err = r.Member(ctx, group)
			member[group] = in
		}
		if in {
			add(k)
		}
	})
	if err != nil {
		return nil, storageError("read who shares", err)
	}
	delete(owners, r.ID)
	list := make([]AccountID, 0, len(owners))
	for id := range owners {
		list = append(list, id)
	}
	slices.Sort(list)
	return list, nil
}

// scanShares calls f for each key of the index under a prefix.
func scanShares(snap kv.Snapshot, prefix []byte, f func(k []byte)) error {
	for e, err := range snap.Scan(kv.Prefix(prefix)) {
		if err != nil {
			return storageError("read who shares", err)
		}
		if len(e.Key) < 9 {
			return fmt.Errorf("%w: key of who shares %q", ErrDamaged, e.Key)
		}
		f(e.Key)
	}
	return nil
}

// unshare takes an account that ends out of the index. The guard keeps a list from being
// changed meanwhile.
func (a *Account) unshare(snap kv.Snapshot, u *mailflow.Unit) error {
	t, err := readTree(snap)
	if err != nil || t.scope == "" {
		return err
	}
	b := u.Batch(a.space)
	b.Guards = append(b.Guards, guardValue(treeKey, t.stamp, true))
	all := map[Subject]bool{}
	for _, m := range t.all {
		m.ACL.subjects(all)
	}
	if len(all) == 0 {
		return nil
	}
	b = u.Batch(shareSpace(t.scope))
	for s := range all {
		b.Deletes = append(b.Deletes, shareKey(s, a.id))
	}
	return nil
}
