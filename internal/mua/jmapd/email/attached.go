package email

import (
	"context"
	"sync"

	"postroad/internal/mailstore"
	"postroad/message"
)

// attachedMax is how many messages' attachments are known at most, over all accounts; a
// message takes about 20 octets.
const attachedMax = 2_000_000

// attached remembers which messages have attachments, which never changes: for the filter
// hasAttachment of Email/query, which would read every structure again each time.
type attached struct {
	mu    sync.Mutex // guards all below
	known map[mailstore.AccountID]map[mailstore.MessageID]bool
	size  int
}

// get tells of messages of an account whether they have attachments. The map is shared by
// nobody.
func (t *attached) get(ctx context.Context, a *mailstore.Account, ids []mailstore.MessageID) (map[mailstore.MessageID]bool, error) {
	out := make(map[mailstore.MessageID]bool, len(ids))
	var missing []mailstore.MessageID
	t.mu.Lock()
	known := t.known[a.ID()]
	for _, id := range ids {
		if has, ok := known[id]; ok {
			out[id] = has
		} else {
			missing = append(missing, id)
		}
	}
	t.mu.Unlock()
	fresh := make(map[mailstore.MessageID]bool, len(missing))
	for r, err := range a.Records(ctx, missing, mailstore.WantStructure) {
		if err != nil {
			return nil, err
		}
		if !r.Missing {
			m, err := message.Decode(r.Structure)
			if err != nil {
				return nil, err
			}
			fresh[missing[r.Index]] = m.HasAttachment
		}
		out[missing[r.Index]] = fresh[missing[r.Index]]
	}
	t.put(a.ID(), fresh)
	return out, nil
}

// put remembers what was read. Above the bound all else is forgotten.
func (t *attached) put(a mailstore.AccountID, fresh map[mailstore.MessageID]bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.size+len(fresh) > attachedMax {
		t.known, t.size = nil, 0
	}
	if t.known == nil {
		t.known = map[mailstore.AccountID]map[mailstore.MessageID]bool{}
	}
	if t.known[a] == nil {
		t.known[a] = map[mailstore.MessageID]bool{}
	}
	before := len(t.known[a])
	for id, has := range fresh {
		t.known[a][id] = has
	}
	t.size += len(t.known[a]) - before
}
