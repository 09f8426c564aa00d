package access

import (
	"encoding/base64"

	"postroad/internal/mailstore"
	"postroad/jmap"
)

// Letters of the ids of principals (RFC 9670, 2).
const (
	principalAccount = 'R' // and the account's id
	principalGroup   = 'Q' // and the group's key in base64url
)

// PrincipalID is the id of the principal that a subject of an access control list is. There
// is none for anyone, and for a group whose address is too long for an id.
func PrincipalID(s mailstore.Subject) (jmap.ID, bool) {
	var id jmap.ID
	switch s.Kind {
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
	if account, ok := ParseID(principalAccount, id); ok {
		return mailstore.Subject{Kind: mailstore.SubjectAccount, Account: account}, true
	}
	if len(id) < 2 || id[0] != principalGroup || !id.Valid() {
		return mailstore.Subject{}, false
	}
	key, err := base64.RawURLEncoding.DecodeString(string(id[1:]))
	return mailstore.Subject{Kind: mailstore.SubjectGroup, Group: string(key)}, err == nil && len(key) > 0
}
