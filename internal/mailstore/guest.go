package mailstore

import "postroad/internal/kv"

// Guest is for packages that keep records of their own in an account's space, under a
// prefix that keys.go names: the space, and a guard that the account lives. Delete takes
// such records away with all the rest, and a commit with the guard that comes after it
// meets a conflict, which Lives explains.
func Guest(id AccountID) (kv.Space, kv.Guard) {
	return space(id), kv.Guard{Kind: kv.GuardPresent, Key: treeKey}
}

// Lives tells whether the account of a space is there: nil or ErrNoAccount.
func Lives(snap kv.Snapshot) error {
	_, found, err := get(snap, treeKey)
	if err == nil && !found {
		err = ErrNoAccount
	}
	return storageError("open account", err)
}

// Shares is the space that moves when somebody of a scope shares something with others, or
// no longer does: for those who watch what a reader may see.
func Shares(scope string) kv.Space { return shareSpace(scope) }
