package mailstore

import "context"

// EmailOrder is one of the criteria by which Emails.Sort sorts.
type EmailOrder struct {
	By      SortBy
	Value   func(place int) uint64 // if not nil what is compared, instead of By
	Reverse bool
}

// emailOrder has the sort keys of all messages of an Emails.
type emailOrder struct{}

func (o *emailOrder) size() int64 { return 0 }

// Sort returns places in order: by the first criterion, among equals by the next one, and
// at last as they are given. Texts compare by i;unicode-casemap. The slice given is not
// changed.
func (e *Emails) Sort(ctx context.Context, places []int, by []EmailOrder) ([]int, error) {
	return nil, ErrTemporary
}

// WithMessageID returns the places of the messages that have a Message-ID, without angle
// brackets, in no order.
func (e *Emails) WithMessageID(ctx context.Context, id string) ([]int, error) {
	return nil, ErrTemporary
}
