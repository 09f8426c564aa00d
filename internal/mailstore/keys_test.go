package mailstore

import "testing"

// No two sorts of records may have the same first octet of a key.
func TestKeysDiffer(t *testing.T) {
	const scripts, search, objects, outbox, snooze = 'S', 'x', 'O', 'U', 'Z' // of internal/scripts, internal/search …
	named := map[byte]string{}
	for _, k := range []struct {
		octet byte
		name  string
	}{
		{keyAccount, "account"}, {keyTree, "tree"}, {keyMailbox, "mailbox"}, {keySubscription, "subscription"},
		{keyHighest, "highest"}, {keyKeywords, "keywords"}, {keyEntry, "entry"}, {keyState, "state"}, {keyList, "list"},
		{keyMessage, "message"}, {keyEntryOf, "entry of"}, {keyChange, "change"}, {keyMessageID, "message-id"},
		{keyMember, "member"}, {keyJoined, "joined"}, {keyGarbage, "garbage"}, {keyTodo, "todo"}, {keyPending, "pending"},
		{keyStaged, "staged"}, {keyMemory, "memory"}, {keySort, "sort"}, {keyACL, "ACL"}, {keySeen, "seen"},
		{keyAnnotation, "annotation"}, {keyLease, "lease"}, {keyRecoverable, "recoverable"}, {keyWarned, "warned"},
		{scripts, "scripts"}, {search, "search"}, {objects, "objects"}, {outbox, "outbox"}, {snooze, "snooze"},
	} {
		if other, taken := named[k.octet]; taken {
			t.Errorf("%q is both %s and %s", k.octet, other, k.name)
		}
		named[k.octet] = k.name
	}
}
