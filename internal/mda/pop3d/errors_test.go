package pop3d

import (
	"errors"
	"fmt"
	"testing"

	"postroad/internal/mailstore"
	"postroad/pop3"
)

// TestClosedSet: what a client is told of each error of the store. Those of which POP3 has no
// command that could meet them are ours: logged, and SYS/TEMP (RFC 3206).
func TestClosedSet(t *testing.T) {
	const ours = "ours"
	rows := map[error]string{
		mailstore.ErrNoAccount:   "SYS/PERM",
		mailstore.ErrNoMailbox:   "SYS/PERM",
		mailstore.ErrNoMessage:   "",
		mailstore.ErrFull:        "SYS/TEMP",
		mailstore.ErrExists:      ours,
		mailstore.ErrUse:         ours,
		mailstore.ErrName:        ours,
		mailstore.ErrHasChildren: ours,
		mailstore.ErrInUse:       ours,
		mailstore.ErrRights:      ours,
		mailstore.ErrOverQuota:   ours,
		mailstore.ErrTooLarge:    ours,
		mailstore.ErrLimit:       ours,
		mailstore.ErrDamaged:     ours,
		mailstore.ErrTemporary:   ours,
	}
	for _, err := range mailstore.Errors() {
		want, ok := rows[err]
		if !ok {
			t.Errorf("%v has no row", err)
			continue
		}
		got := ours
		var told *pop3.Error
		if errors.As(answer(fmt.Errorf("what was done: %w", err)), &told) {
			got = string(told.Code)
		}
		if got != want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
}
