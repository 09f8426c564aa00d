package queue

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"postroad/address"
	"postroad/internal/kv"
	"postroad/internal/mailflow"
	"postroad/smtp"
)

// Limits of lists.
const (
	ListMax       = 1000 // items in one answer of List
	cancelRounds  = 10   // times that Cancel looks for more
	itemsOfMax    = 5000 // items of one mail
	shardReadStep = 2000 // items of a shard that are looked at under one snapshot
)

// ErrCursor is returned by List for a cursor that it did not make.
var ErrCursor = errors.New("queue: not a cursor of a list")

// Listed is an item as people see it.
type Listed struct {
	ID         ItemID
	Hop        string // "example.net", "[192.0.2.1]:2525", "lmtp:…", "local", "route"
	State      State
	ReturnPath address.Address
	Recipients []ListedRecipient
	SizeBytes  int64
	Priority   int
	Origin     mailflow.Origin
	EnvID      string
	Received   time.Time
	Due        time.Time // next try; of what is held zero
	Expires    time.Time
	LastTry    time.Time // zero: none yet
	Attempts   int
	Warned     bool   // the sender was told of the delay
	Reason     string // why it is still here, "" when it was not tried
}

// ListedRecipient is a recipient that is left.
type ListedRecipient struct {
	Address address.Address
	Last    smtp.Reply // of the last try; Code 0: none
	MTA     string     // who said so
}

// State is what an item is doing.
type State string

// The states.
const (
	StateActive   State = "active"   // a delivery is under way
	StateReady    State = "ready"    // waits for its turn
	StateDeferred State = "deferred" // waits for its next try
	StateTimed    State = "timed"    // FUTURERELEASE, or sending can still be undone
	StateHeld     State = "held"     // by an administrator
)

// Filter selects items; empty fields select all.
type Filter struct {
	Mail      mailflow.ID
	State     State
	Sender    string // return path, or a part of it
	Recipient string // address of some recipient, or a part of it
	Hop       string // next hop as listed, or a part of it
}

func (f *Filter) match(l *Listed) bool {
	if f.Mail != 0 && l.ID.Mail != f.Mail || f.State != "" && l.State != f.State || !strings.Contains(l.Hop, f.Hop) {
		return false
	}
	if f.Sender != "" && !contains(l.ReturnPath, f.Sender) {
		return false
	}
	if f.Recipient == "" {
		return true
	}
	for i := range l.Recipients {
		if contains(l.Recipients[i].Address, f.Recipient) {
			return true
		}
	}
	return false
}

func contains(a address.Address, part string) bool {
	return strings.Contains(strings.ToLower(a.String()), strings.ToLower(part))
}

// List gives up to max items that match, in no particular order over shards, and the
// cursor with which to go on; "" at the end.
func (q *Queue) List(ctx context.Context, f Filter, cursor string, max int) ([]Listed, string, error) {
	if max <= 0 || max > ListMax {
		max = ListMax
	}
	shard, key, err := parseCursor(cursor)
	if err != nil {
		return nil, "", err
	}
	var list []Listed
	for ; shard < shardCount; shard, key = shard+1, nil {
		if f.Mail != 0 && spaceNames[shard] != spaceOf(f.Mail) {
			continue
		}
		for done := false; !done; {
			var items []*item
			if items, key, err = q.readShard(ctx, spaceNames[shard], key); err != nil {
				return nil, "", err
			}
			done = key == nil
			for _, it := range items {
				l := q.listed(it)
				if !f.match(&l) {
					continue
				}
				if list = append(list, l); len(list) == max {
					return list, formatCursor(shard, it.id), nil
				}
			}
		}
	}
	return list, "", nil
}

// readShard reads items behind a key and returns the key behind which to go on, nil at
// the end.
func (q *Queue) readShard(ctx context.Context, space kv.Space, behind []byte) (items []*item, last []byte, err error) {
	snapshot, err := q.commit.Engine.Snapshot(ctx, space)
	if err != nil {
		return nil, nil, err
	}
	defer snapshot.Close()
	r := kv.Prefix([]byte{keyItem})
	if behind != nil {
		r.From = append(bytes.Clone(behind), 0)
	}
	r.Limit = shardReadStep
	n := 0
	for e, err := range snapshot.Scan(r) {
		if err != nil {
			return nil, nil, err
		}
		if n++; n == shardReadStep {
			last = bytes.Clone(e.Key)
		}
		id, ok := parseItemKey(e.Key)
		it, err := decodeItem(id, e.Value)
		if !ok || err != nil {
			q.log.Error("queue item is damaged", "space", space, "id", id)
			continue
		}
		items = append(items, it)
	}
	return items, last, nil
}

func formatCursor(shard int, id ItemID) string {
	return hex.EncodeToString(append([]byte{byte(shard)}, itemKey(id)...))
}

func parseCursor(s string) (shard int, key []byte, err error) {
	if s == "" {
		return 0, nil, nil
	}
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != 14 {
		return 0, nil, ErrCursor
	}
	return int(b[0]), b[1:], nil
}

// listed gives an item as people see it.
func (q *Queue) listed(it *item) Listed {
	l := Listed{
		ID: it.id, Hop: routeName(it.hop), ReturnPath: it.mail.ReturnPath, SizeBytes: it.mail.Body.Size,
		Priority: it.mail.Priority, Origin: it.mail.Origin, EnvID: it.mail.EnvID, Received: it.mail.Received,
		Due: it.due, Expires: it.expires, LastTry: it.lastTry, Attempts: it.attempts, Warned: it.warned,
	}
	for i, r := range it.mail.Recipients {
		l.Recipients = append(l.Recipients, ListedRecipient{r.Address, it.last[i].Reply, it.last[i].RemoteMTA})
		if l.Reason == "" && it.last[i].Action != 0 {
			l.Reason = it.last[i].Reply.String()
		}
	}
	l.State = q.state(it)
	if l.State == StateHeld {
		l.Due = time.Time{}
	}
	if why, until, down := q.scheduler.whyDown(it.hop); down && l.State == StateReady {
		l.State, l.Due, l.Reason = StateDeferred, until, why.Reply.String()
	}
	return l
}

func (q *Queue) state(it *item) State {
	q.scheduler.mu.Lock()
	e := q.scheduler.entries[it.id]
	active := e != nil && e.state == stateActive
	q.scheduler.mu.Unlock()
	now := time.Now()
	switch {
	case active:
		return StateActive
	case it.held:
		return StateHeld
	case !it.due.After(now):
		return StateReady
	case it.attempts == 0 && it.mail.HoldUntil.After(now):
		return StateTimed
	}
	return StateDeferred
}

// Show gives one item; mailflow.ErrNoMail when it is not there.
func (q *Queue) Show(ctx context.Context, id ItemID) (Listed, error) {
	it, err := q.load(ctx, id)
	if err != nil {
		return Listed{}, fmt.Errorf("show %s: %w", id, err)
	}
	if it == nil {
		return Listed{}, mailflow.ErrNoMail
	}
	return q.listed(it), nil
}

// Retry makes an item due now, and its next hop be tried though it was down. What is held
// stays held.
func (q *Queue) Retry(ctx context.Context, id ItemID) error {
	err := q.verb(ctx, id, func(ctx context.Context, p *plan, it *item) (*item, error) {
		if it.held {
			return it, nil
		}
		next := *it
		next.due, next.mail.HoldUntil = p.now, time.Time{}
		p.change(it, &next)
		return &next, nil
	})
	if err != nil {
		return err
	}
	it, err := q.load(ctx, id)
	if it != nil {
		q.scheduler.revive(it.hop)
	}
	return err
}

// Hold keeps an item from being tried, and from expiring, until it is released.
func (q *Queue) Hold(ctx context.Context, id ItemID) error {
	return q.verb(ctx, id, func(ctx context.Context, p *plan, it *item) (*item, error) {
		if it.held {
			return it, nil
		}
		next := *it
		next.held = true
		p.change(it, &next)
		p.q.record(p.u, Event{Kind: EventHeld, Item: it.id, Mail: &it.mail, Hop: it.hop})
		return &next, nil
	})
}

// Release undoes Hold; the item is due at once. It gets at least one try even if its time
// passed meanwhile.
func (q *Queue) Release(ctx context.Context, id ItemID) error {
	return q.verb(ctx, id, func(ctx context.Context, p *plan, it *item) (*item, error) {
		if !it.held {
			return it, nil
		}
		next := *it
		next.held, next.due = false, p.now
		p.change(it, &next)
		p.q.record(p.u, Event{Kind: EventReleased, Item: it.id, Mail: &it.mail, Hop: it.hop})
		return &next, nil
	})
}

// Delete takes an item away without telling the sender.
func (q *Queue) Delete(ctx context.Context, id ItemID) error {
	return q.verb(ctx, id, func(ctx context.Context, p *plan, it *item) (*item, error) {
		p.remove(it)
		p.q.record(p.u, Event{Kind: EventDeleted, Item: it.id, Mail: &it.mail, Hop: it.hop})
		return nil, p.withdrawn(ctx, &it.mail)
	})
}

// All runs a verb (Retry, Hold …) over every item that matches now, and returns how many
// it was done to. Items that end meanwhile do not count.
func (q *Queue) All(ctx context.Context, f Filter, verb func(ctx context.Context, id ItemID) error) (n int, err error) {
	cursor := ""
	for {
		var list []Listed
		if list, cursor, err = q.List(ctx, f, cursor, ListMax); err != nil {
			return n, err
		}
		for i := range list {
			err := verb(ctx, list[i].ID)
			switch {
			case err == nil:
				n++
			case !errors.Is(err, mailflow.ErrNoMail):
				return n, err
			}
		}
		if cursor == "" {
			return n, nil
		}
	}
}

// verb changes one item while no delivery of it is under way. f puts the change into the
// plan and returns the item as it is then: it itself, a next form, or nil.
func (q *Queue) verb(ctx context.Context, id ItemID, f func(ctx context.Context, p *plan, it *item) (*item, error)) error {
	e, err := q.scheduler.claim(ctx, id)
	if err != nil {
		return err
	}
	var it, next *item
	err = q.run(ctx, func(ctx context.Context, p *plan) error {
		if it, err = q.load(ctx, id); err != nil {
			return err
		}
		next = nil
		if it != nil {
			next, err = f(ctx, p, it)
		}
		return err
	})
	switch {
	case err != nil:
		q.scheduler.settle(e, it)
		return fmt.Errorf("queue item %s: %w", id, err)
	case it == nil:
		q.scheduler.settle(e, nil)
		return mailflow.ErrNoMail
	}
	q.scheduler.settle(e, next)
	return nil
}

// itemsOf reads the items of one mail.
func (q *Queue) itemsOf(ctx context.Context, id mailflow.ID) ([]*item, error) {
	snapshot, err := q.commit.Engine.Snapshot(ctx, spaceOf(id))
	if err != nil {
		return nil, err
	}
	defer snapshot.Close()
	r := kv.Prefix(itemKey(ItemID{Mail: id})[:9])
	r.Limit = itemsOfMax
	var items []*item
	for e, err := range snapshot.Scan(r) {
		if err != nil {
			return nil, err
		}
		itemID, ok := parseItemKey(e.Key)
		it, err := decodeItem(itemID, e.Value)
		if !ok || err != nil {
			return nil, errFormat
		}
		items = append(items, it)
	}
	return items, nil
}

// readItem reads one item, nil when it is not there.
func readItem(snapshot kv.Snapshot, id ItemID) (*item, error) {
	v, err := snapshot.Get(itemKey(id))
	if errors.Is(err, kv.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return decodeItem(id, v)
}

// Status implements mailflow.Submitter: the last status of each recipient that is left.
func (q *Queue) Status(ctx context.Context, id mailflow.ID) ([]mailflow.Status, error) {
	items, err := q.itemsOf(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("status of %s: %w", id, err)
	}
	if len(items) == 0 {
		return nil, mailflow.ErrNoMail
	}
	var statuses []mailflow.Status
	for _, it := range items {
		for _, s := range it.last {
			if s.Action == 0 {
				s = queued(it.mail.Received)
			}
			statuses = append(statuses, s)
		}
	}
	return statuses, nil
}

// Cancel implements mailflow.Submitter. Where a delivery is under way it waits for its
// end: what was sent by then cannot be taken back and does not count.
func (q *Queue) Cancel(ctx context.Context, id mailflow.ID) (int, error) {
	cancelled, found := 0, false
	for range cancelRounds { // an item may have been split between look and claim
		items, err := q.itemsOf(ctx, id)
		if err != nil {
			return cancelled, fmt.Errorf("cancel %s: %w", id, err)
		}
		if len(items) == 0 {
			break
		}
		found = true
		for _, it := range items {
			n := 0
			err := q.verb(ctx, it.id, func(ctx context.Context, p *plan, it *item) (*item, error) {
				n = len(it.mail.Recipients)
				p.remove(it)
				p.q.record(p.u, Event{Kind: EventCancelled, Item: it.id, Mail: &it.mail, Hop: it.hop})
				return nil, p.withdrawn(ctx, &it.mail)
			})
			switch {
			case err == nil:
				cancelled += n
			case !errors.Is(err, mailflow.ErrNoMail):
				return cancelled, err
			}
		}
	}
	if !found {
		return 0, mailflow.ErrNoMail
	}
	return cancelled, nil
}
