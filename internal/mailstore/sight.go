package mailstore

import (
	"context"
	"encoding/binary"
	"hash/fnv"

	"postroad/imap"
)

// Visible is a mailbox that a reader may look up, with what else he may do.
type Visible struct {
	*Mailbox
	Rights imap.Rights
}

// Readable tells whether he may read what is in it (RFC 8621, 2, mayReadItems).
func (v *Visible) Readable() bool { return v.Rights.Has(imap.RightLookup | imap.RightRead) }

// sight is what a reader may see of an account.
type sight struct {
	all      []Visible // in the order of the tree
	readable []MailboxID
	owner    bool

	// What tells one sight from another, for states: the mailboxes that may be read; those
	// that may be looked up, with their rights. 0 for the owner.
	mail, mailboxes uint32
}

// sightOf finds out what a reader may see.
func (a *Account) sightOf(ctx context.Context, t *Tree, r Reader) (*sight, error) {
	s := &sight{owner: r.ID == a.id}
	mail, mailboxes := fnv.New32a(), fnv.New32a()
	for _, m := range t.all {
		rights, err := a.Rights(ctx, m, r)
		if err != nil {
			return nil, err
		}
		v := Visible{m, rights}
		if !rights.Has(imap.RightLookup) {
			continue
		}
		s.all = append(s.all, v)
		id := binary.BigEndian.AppendUint64(nil, uint64(m.ID))
		mailboxes.Write(binary.BigEndian.AppendUint16(id, uint16(rights)))
		if v.Readable() {
			s.readable = append(s.readable, m.ID)
			mail.Write(id)
		}
	}
	if !s.owner {
		s.mail, s.mailboxes = max(1, mail.Sum32()), max(1, mailboxes.Sum32())
	}
	return s, nil
}
