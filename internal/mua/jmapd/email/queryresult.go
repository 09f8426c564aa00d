package email

import (
	"slices"
	"sync"

	"postroad/internal/mailstore"
)

// result is the messages of a query in order, at one moment; it is not changed.
type result struct {
	e        *mailstore.Emails
	states   mailstore.States   // of e, but for a plain one
	received mailstore.Received // of a plain one
	plain    bool               // all of a mailbox, or of the account, as they were received
	oldest   bool               // of a plain one: the oldest first
	members  []int              // that match, newest first
	list     []uint32           // places, in order
}

func (r *result) len() int {
	if r.plain {
		return r.received.Len()
	}
	return len(r.list)
}

// at is the place of the message at an index.
func (r *result) at(i int) int {
	switch {
	case !r.plain:
		return int(r.list[i])
	case r.oldest:
		return r.received.At(r.received.Len() - 1 - i)
	}
	return r.received.At(i)
}

// index is the index of a message.
func (r *result) index(place int) (int, bool) {
	if !r.plain {
		i := slices.Index(r.list, uint32(place))
		return i, i >= 0
	}
	i, there := r.received.Index(place)
	if r.oldest {
		i = r.received.Len() - 1 - i
	}
	return i, there
}

// indexes is index for many places: -1 for those that are not there.
func (r *result) indexes(places []int) []int {
	out := make([]int, len(places))
	if r.plain || len(places) < 16 {
		for k, p := range places {
			i, there := r.index(p)
			if out[k] = i; !there {
				out[k] = -1
			}
		}
		return out
	}
	at := make([]int32, r.e.Places())
	for i, p := range r.list {
		at[p] = int32(i) + 1
	}
	for k, p := range places {
		out[k] = int(at[p]) - 1
	}
	return out
}

// bytes is what the result takes, in octets.
func (r *result) bytes() int64 { return int64(len(r.members))*8 + int64(len(r.list))*4 + 500 }

// owner is whose messages, and for whom.
type owner struct{ account, reader mailstore.AccountID }

// Bounds of what is kept besides the octets of results.
const (
	resultsMax = 2000
	heldOfOne  = 16  // moments of one owner's messages
	heldMax    = 512 // of all
)

// results keeps the results of recent queries, so that another window of one costs nothing,
// and the messages of recent moments, so that what changed in a result since can be told
// exactly. Both share most of their memory with what the mail store has.
type results struct {
	max int64

	mu    sync.Mutex // guards all below
	bytes int64
	list  []kept // least recently used first
	held  []held // oldest first
}

type kept struct {
	of  owner
	key string
	r   *result
}

type held struct {
	of    owner
	state string
	e     *mailstore.Emails
}

func newResults(max int64) *results { return &results{max: max} }

// get returns the newest result of a query that is kept; nil: none.
func (t *results) get(of owner, key string) *result {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := len(t.list) - 1; i >= 0; i-- {
		if k := t.list[i]; k.of == of && k.key == key {
			t.list = append(slices.Delete(t.list, i, i+1), k)
			return k.r
		}
	}
	return nil
}

// put keeps a result in place of an older one of the same query.
func (t *results) put(of owner, key string, r *result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.list = slices.DeleteFunc(t.list, func(k kept) bool {
		same := k.of == of && k.key == key
		if same {
			t.bytes -= k.r.bytes() + int64(len(key))
		}
		return same
	})
	t.list = append(t.list, kept{of, key, r})
	t.bytes += r.bytes() + int64(len(key))
	for (t.bytes > t.max || len(t.list) > resultsMax) && len(t.list) > 0 {
		t.bytes -= t.list[0].r.bytes() + int64(len(t.list[0].key))
		t.list = slices.Delete(t.list, 0, 1)
	}
}

// hold keeps the messages of a moment.
func (t *results) hold(of owner, state string, e *mailstore.Emails) {
	t.mu.Lock()
	defer t.mu.Unlock()
	oldest, n := -1, 0
	for i := range t.held {
		h := &t.held[i]
		if h.of != of {
			continue
		}
		if h.state == state {
			h.e = e
			return
		}
		if oldest < 0 {
			oldest = i
		}
		n++
	}
	if n >= heldOfOne {
		t.held = slices.Delete(t.held, oldest, oldest+1)
	} else if len(t.held) >= heldMax {
		t.held = slices.Delete(t.held, 0, 1)
	}
	t.held = append(t.held, held{of, state, e})
}

// at returns the messages of a moment; nil where they are not kept.
func (t *results) at(of owner, state string) *mailstore.Emails {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.held {
		if h := &t.held[i]; h.of == of && h.state == state {
			return h.e
		}
	}
	return nil
}
