package deliver

import (
	"fmt"
	"testing"

	"postroad/internal/mailstore"
)

// TestReply: what the other side is told of each error of the store. What a delivery
// cannot meet by its own doing is temporary: the mail stays where it is.
func TestReply(t *testing.T) {
	const later = "451 4.3.0"
	rows := map[error]string{
		mailstore.ErrOverQuota:   "452 4.2.2",
		mailstore.ErrFull:        "452 4.3.1",
		mailstore.ErrTooLarge:    "552 5.3.4",
		mailstore.ErrNoAccount:   later,
		mailstore.ErrNoMailbox:   later,
		mailstore.ErrNoMessage:   later,
		mailstore.ErrExists:      later,
		mailstore.ErrUse:         later,
		mailstore.ErrName:        later,
		mailstore.ErrHasChildren: later,
		mailstore.ErrInUse:       later,
		mailstore.ErrRights:      "550 5.7.1",
		mailstore.ErrLimit:       later,
		mailstore.ErrDamaged:     later,
		mailstore.ErrTemporary:   later,
	}
	reply := func(o Options, err error) string {
		r := New(o).reply(fmt.Errorf("what was done: %w", err)).Reply
		return fmt.Sprintf("%d %s", r.Code, r.Enhanced)
	}
	for _, err := range mailstore.Errors() {
		want, ok := rows[err]
		if !ok {
			t.Errorf("%v has no row", err)
			continue
		}
		if got := reply(Options{}, err); got != want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
	if got := reply(Options{RejectFull: true}, mailstore.ErrOverQuota); got != "552 5.2.2" {
		t.Errorf("full for good: %q", got)
	}
}
