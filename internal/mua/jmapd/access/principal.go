package access

import (
	"context"
	"encoding/base64"
	"errors"

	"postroad/address"
	"postroad/internal/directory"
	"postroad/internal/mailstore"
	"postroad/jmap"
)

// Principals are those with whom something is shared (RFC 9670, 2): an account's has the
// id of the account, a group's is 'Q' and its address in base64url, and there is one for
// everybody in the organisation.

// PrincipalAnyone is everybody.
const PrincipalAnyone jmap.ID = "Y"

// groupMax is how long the address of a group can be that has an id, in octets.
const groupMax = (jmap.IDMax - 1) / 4 * 3

// PrincipalID is the id of a subject of access control lists; false for a group whose
// address is too long for one.
func PrincipalID(s mailstore.Subject) (jmap.ID, bool) {
	switch s.Kind {
	case mailstore.SubjectAccount:
		return FormatID('A', s.Account), true
	case mailstore.SubjectGroup:
		return jmap.ID("Q" + base64.RawURLEncoding.EncodeToString([]byte(s.Group))), len(s.Group) <= groupMax
	}
	return PrincipalAnyone, true
}

// Subject finds who is behind the id of a principal of an organisation; false where nobody is.
func (h *House) Subject(ctx context.Context, org string, id jmap.ID) (mailstore.Subject, bool, error) {
	if id == PrincipalAnyone {
		return mailstore.Subject{Kind: mailstore.SubjectAnyone}, true, nil
	}
	if account, ok := ParseID('A', id); ok {
		a, err := h.Directory.Account(ctx, account)
		if errors.Is(err, directory.ErrNotFound) {
			return mailstore.Subject{}, false, nil
		}
		return mailstore.Subject{Kind: mailstore.SubjectAccount, Account: account}, err == nil && a.Org == org, err
	}
	if id == "" || id[0] != 'Q' {
		return mailstore.Subject{}, false, nil
	}
	key, err := base64.RawURLEncoding.Strict().DecodeString(string(id[1:]))
	if err != nil {
		return mailstore.Subject{}, false, nil
	}
	a, err := address.Parse(string(key))
	if err != nil {
		return mailstore.Subject{}, false, nil
	}
	group, err := h.Directory.GroupKey(ctx, org, a)
	if errors.Is(err, directory.ErrNotFound) || err == nil && group != string(key) {
		return mailstore.Subject{}, false, nil
	}
	return mailstore.Subject{Kind: mailstore.SubjectGroup, Group: group}, err == nil, err
}
