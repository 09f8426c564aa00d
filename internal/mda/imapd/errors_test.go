package imapd

import (
	"errors"
	"fmt"
	"testing"

	"postroad/imap"
	"postroad/internal/mailstore"
)

// TestAnswer: what a client is told of each error of the store.
func TestAnswer(t *testing.T) {
	rows := map[error]string{
		mailstore.ErrNoAccount:   "BYE UNAVAILABLE",
		mailstore.ErrNoMailbox:   "NO NONEXISTENT",
		mailstore.ErrNoMessage:   "NO EXPUNGEISSUED",
		mailstore.ErrExists:      "NO ALREADYEXISTS",
		mailstore.ErrUse:         "NO USEATTR",
		mailstore.ErrName:        "NO CANNOT",
		mailstore.ErrHasChildren: "NO HASCHILDREN",
		mailstore.ErrInUse:       "NO CANNOT",
		mailstore.ErrRights:      "NO NOPERM",
		mailstore.ErrOverQuota:   "NO OVERQUOTA",
		mailstore.ErrTooLarge:    "NO TOOBIG",
		mailstore.ErrLimit:       "NO LIMIT",
		mailstore.ErrFull:        "NO OVERQUOTA",
		mailstore.ErrDamaged:     "ours", // the server logs it and answers UNAVAILABLE
		mailstore.ErrTemporary:   "ours",
	}
	for _, err := range mailstore.Errors() {
		want, ok := rows[err]
		if !ok {
			t.Errorf("%v has no row", err)
			continue
		}
		got := "ours"
		var told *imap.Error
		if errors.As(answer(fmt.Errorf("what was done: %w", err)), &told) {
			got = fmt.Sprintf("%s %s", told.Status, told.Code)
		}
		if got != want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
}
