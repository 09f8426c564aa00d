package mailstore

import (
	"context"
	"fmt"
)

// Annotation reads one annotation of a mailbox, or with 0 of the account as a whole, as a
// reader sees it; ok is false where there is none. ErrName as Annotate has it.
func (a *Account) Annotation(ctx context.Context, mailbox MailboxID, reader AccountID, name string) (value []byte, ok bool, err error) {
	if name == EntrySpecialUse && reader == a.id && mailbox != 0 {
		t, err := a.Tree(ctx)
		if err != nil {
			return nil, false, err
		}
		m := t.ID(mailbox)
		if m == nil || m.Role == "" {
			return nil, false, nil
		}
		return []byte(m.Role), true, nil
	}
	k, err := annotationKey(mailbox, reader, name)
	if err != nil {
		return nil, false, err
	}
	snap, err := a.snapshot(ctx)
	if err != nil {
		return nil, false, err
	}
	defer snap.Close()
	v, found, err := get(snap, k)
	switch {
	case err != nil:
		return nil, false, storageError("read an annotation", err)
	case !found:
		return nil, false, nil
	case len(v) == 0 || v[0] != format1:
		return nil, false, storageError("read an annotation", fmt.Errorf("%w: annotation", ErrDamaged))
	}
	return v[1:], true, nil
}
