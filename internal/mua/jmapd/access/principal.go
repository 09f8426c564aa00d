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

// Ids of principals (RFC 9670, 2): an account's has the id of the account, a group's is 'Q'
// and its key in base64url.
const (
	principalAccount = 'A'
	principalGroup   = 'Q'

	// PrincipalAnyone is everybody in the organisation.
	PrincipalAnyone jmap.ID = "Y"
)

// PrincipalID is the id of the principal that a subject of an access control list is. There
// is none for a group whose address is too long for an id.
func PrincipalID(s mailstore.Subject) (jmap.ID, bool) {
	var id jmap.ID
	switch s.Kind {
	case mailstore.SubjectAnyone:
		return PrincipalAnyone, true
	case mailstore.SubjectAccount:
		return FormatID(principalAccount, s.Account), true
	case mailstore.SubjectGroup:
		id = jmap.ID(string(principalGroup) + base64.RawURLEncoding.EncodeToString([]byte(s.Group)))
	}
	return id, id.Valid()
}

// ParsePrincipal is the subject that an id of a principal stands for; whether there is such
// an account or group is not asked.
func ParsePrincipal(id jmap.ID) (mailstore.Subject, bool) {
	if id == PrincipalAnyone {
		return mailstore.Subject{Kind: mailstore.SubjectAnyone}, true
	}
	if account, ok := ParseID(principalAccount, id); ok {
		return mailstore.Subject{Kind: mailstore.SubjectAccount, Account: account}, true
	}
	if len(id) < 2 || id[0] != principalGroup || !id.Valid() {
		return mailstore.Subject{}, false
	}
	key, err := base64.RawURLEncoding.DecodeString(string(id[1:]))
	return mailstore.Subject{Kind: mailstore.SubjectGroup, Group: string(key)}, err == nil && len(key) > 0
}

// Subject finds who is behind the id of a principal of an organisation; false where nobody
// is.
func (h *House) Subject(ctx context.Context, org string, id jmap.ID) (mailstore.Subject, bool, error) {
	s, ok := ParsePrincipal(id)
	if !ok || s.Kind == mailstore.SubjectAnyone {
		return s, ok, nil
	}
	if s.Kind == mailstore.SubjectAccount {
		a, err := h.Directory.Account(ctx, s.Account)
		if errors.Is(err, directory.ErrNotFound) {
			return s, false, nil
		}
		return s, err == nil && a.Org == org, err
	}
	a, err := address.Parse(s.Group)
	if err != nil {
		return s, false, nil
	}
	key, err := h.Directory.GroupKey(ctx, org, a)
	if errors.Is(err, directory.ErrNotFound) {
		return s, false, nil
	}
	return s, err == nil && key == s.Group, err
}
