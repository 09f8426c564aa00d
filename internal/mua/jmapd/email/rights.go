package email

import (
	"encoding/json"
	"slices"

	"postroad/imap"
	"postroad/jmap"
)

// mailboxRight is one member of MailboxRights and the rights of RFC 4314 that it stands
// for, all of which are needed (RFC 8621, 2).
type mailboxRight struct {
	name string
	acl  imap.Rights
}

// mailboxRights are those of RFC 8621, 2, and the one to share.
var mailboxRights = []mailboxRight{
	{"mayReadItems", imap.RightLookup | imap.RightRead},
	{"mayAddItems", imap.RightInsert},
	{"mayRemoveItems", imap.RightDeleteMsgs | imap.RightExpunge},
	{"maySetSeen", imap.RightSeen},
	{"maySetKeywords", imap.RightWrite},
	{"mayCreateChild", imap.RightCreate},
	{"mayRename", imap.RightDelete},
	{"mayDelete", imap.RightDelete},
	{"maySubmit", imap.RightPost},
	{mayShare, imap.RightAdminister},
}

// mayShare is a member only for who uses CapabilityShare.
const mayShare = "mayShare"

// formatRights writes rights as MailboxRights. INBOX is neither renamed nor deleted
// (RFC 8621, 2.6 shows it so).
func formatRights(r imap.Rights, inbox, share bool) map[string]bool {
	out := make(map[string]bool, len(mailboxRights))
	for _, m := range mailboxRights {
		out[m.name] = r.Has(m.acl) && !(inbox && m.acl == imap.RightDelete)
	}
	if !share {
		delete(out, mayShare)
	}
	return out
}

// parseRights reads MailboxRights that somebody is to have who had some before: a member
// that says what was so leaves the letters of RFC 4314 behind it alone. Who has any right
// may look the mailbox up. A member that is missing is false.
func parseRights(raw json.RawMessage, before imap.Rights) (imap.Rights, *jmap.SetError) {
	var given map[string]*bool
	if err := json.Unmarshal(raw, &given); err != nil || given == nil {
		return 0, jmap.InvalidProperties([]string{"shareWith"}, "not an object of rights")
	}
	for name := range given {
		if !slices.ContainsFunc(mailboxRights, func(m mailboxRight) bool { return m.name == name }) {
			return 0, jmap.InvalidProperties([]string{"shareWith"}, "%q is no right", name)
		}
	}
	rename, remove := given["mayRename"], given["mayDelete"]
	if (rename != nil && *rename) != (remove != nil && *remove) {
		return 0, jmap.InvalidProperties([]string{"shareWith"}, "mayRename and mayDelete are one right")
	}
	after := before
	for _, m := range mailboxRights {
		on := given[m.name] != nil && *given[m.name]
		switch {
		case on == before.Has(m.acl):
		case on:
			after |= m.acl
		default:
			after &^= m.acl &^ imap.RightLookup
		}
	}
	if after&^imap.RightLookup == 0 {
		return 0, nil
	}
	return after | imap.RightLookup, nil
}
