package mailstore

import (
	"context"
	"slices"
)

// EmailOrder is one of the criteria by which Emails.Sort sorts.
type EmailOrder struct {
	By      SortBy
	Value   func(place int) uint64 // if not nil what is compared, instead of By
	Reverse bool
}

// emailOrder has the sort keys of all messages of an Emails by their places, in the columns
// that mailboxes have them in by UID. They are read when first asked for.
type emailOrder struct{ order order }

func (o *emailOrder) size() int64 { return o.order.size() }

// columns returns the sort keys of at least the messages of e.
func (e *Emails) columns(ctx context.Context, ranks bool) (*columns, error) {
	o := &e.order.order
	o.mu.Lock()
	defer o.mu.Unlock()
	if last := uint32(e.size) + 1; last > o.next {
		if err := o.extend(ctx, e.asMailbox(int(max(o.next, 1))-1)); err != nil {
			o.columns, o.next, o.texts, o.numbers, o.sorted = columns{}, 0, nil, nil, nil
			return nil, storageError("read sort keys", err)
		}
		o.next = last
	}
	if ranks && len(o.columns.rank) < len(o.texts) {
		o.rank()
	}
	c := o.columns
	return &c, nil
}

// asMailbox is the messages from a place on as if they were in one mailbox, by place + 1 as
// UID.
func (e *Emails) asMailbox(from int) *Snapshot {
	s := &Snapshot{account: e.account}
	for at := from; at < e.size; {
		g, k := e.at(uint32(at))
		c := newSegment(len(g.id) - k)
		for ; k < len(g.id); k++ {
			c.push(&Row{UID: uint32(at) + 1, ID: g.id[k], InternalDate: e.dateOrNone(uint32(at))})
			at++
		}
		s.segments = append(s.segments, c)
	}
	s.count()
	return s
}

// dateOrNone is ReceivedAt, 0 for a place without a message.
func (e *Emails) dateOrNone(p uint32) int64 {
	if e.bits(p)&bitDead != 0 {
		return 0
	}
	return e.ReceivedAt(int(p))
}

// Sort returns places in order: by the first criterion, among equals by the next one, and
// at last as they are given. Texts compare by i;unicode-casemap. The slice given is not
// changed. Sort keys that are not columns here are read when first asked for, and kept.
func (e *Emails) Sort(ctx context.Context, places []int, by []EmailOrder) ([]int, error) {
	columned, ranks := false, false
	for _, c := range by {
		_, text := sortText[c.By]
		ranks = ranks || text && c.Value == nil
		columned = columned || c.Value == nil && (text || c.By == SortDate)
	}
	p := &pick{columns: &columns{}, row: make([]int32, len(places)), date: make([]int64, len(places)), size: make([]uint32, len(places))}
	if columned {
		var err error
		if p.columns, err = e.columns(ctx, ranks); err != nil {
			return nil, storageError("sort", err)
		}
	}
	perm := make([]uint32, len(places))
	for i, place := range places {
		perm[i], p.row[i], p.date[i] = uint32(i), -1, e.ReceivedAt(place)
		if k, there := p.columns.place(uint32(place)); there {
			p.row[i] = k
		}
	}
	values := make([]uint64, len(places))
	for i := len(by) - 1; i >= 0; i-- { // the last criterion first: each sorting is stable
		e.values(p, places, by[i], values)
		perm = radix(perm, values)
	}
	out := make([]int, len(perm))
	for i, k := range perm {
		out[i] = places[k]
	}
	return out, nil
}

// place finds the row of a place, which nearly always stands at it.
func (c *columns) place(p uint32) (int32, bool) {
	if int(p) < len(c.uid) && c.uid[p] == p+1 {
		return int32(p), true
	}
	i, found := slices.BinarySearch(c.uid, p+1)
	return int32(i), found
}

// values fills in what a criterion compares of each message.
func (e *Emails) values(p *pick, places []int, c EmailOrder, values []uint64) {
	if c.Value == nil && c.By != SortSize {
		p.values(SortCriterion{By: c.By, Reverse: c.Reverse}, values)
		return
	}
	for i, place := range places {
		if c.Value != nil {
			values[i] = c.Value(place)
		} else {
			g, k := e.at(uint32(place))
			r, _ := e.row(entryAt{g.box[k], g.uid[k]})
			values[i] = uint64(r.Size)
		}
		if c.Reverse {
			values[i] = ^values[i]
		}
	}
}

// WithMessageID returns the places of the messages that have a Message-ID, without angle
// brackets, in no order. Ids are compared by 64 bits of a hash: who makes two alike only has
// his own messages found.
func (e *Emails) WithMessageID(ctx context.Context, id string) ([]int, error) {
	c, err := e.columns(ctx, false)
	if err != nil {
		return nil, err
	}
	var places []int
	h := threadHash(normalMessageID("<"+id+">"), "")
	for k, is := range c.msgID {
		if is != h || c.bits[k]&rowNamed == 0 || int(c.uid[k]) > e.size {
			continue
		}
		if p := c.uid[k] - 1; e.bits(p)&bitDead == 0 {
			places = append(places, int(p))
		}
	}
	return places, nil
}
