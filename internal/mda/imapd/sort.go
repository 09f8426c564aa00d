package imapd

import (
	"context"
	"time"

	"postroad/imap"
	"postroad/imap/imapserver"
	"postroad/internal/mailstore"
)

// sortBy has the store's criterion of each sort key.
var sortBy = map[imap.SortBy]mailstore.SortBy{
	imap.SortArrival: mailstore.SortArrival, imap.SortCc: mailstore.SortCc, imap.SortDate: mailstore.SortDate,
	imap.SortFrom: mailstore.SortFrom, imap.SortSize: mailstore.SortSize, imap.SortSubject: mailstore.SortSubject,
	imap.SortTo: mailstore.SortTo, imap.SortDisplayFrom: mailstore.SortDisplayFrom, imap.SortDisplayTo: mailstore.SortDisplayTo,
}

// criteria puts sort keys as the store wants them.
func criteria(keys []imap.SortKey) ([]mailstore.SortCriterion, error) {
	if len(keys) > 0 && keys[0].By == imap.SortRelevancy {
		keys = keys[1:] // see indexed.sort; behind other keys there are no scores to be told apart
	}
	by := make([]mailstore.SortCriterion, len(keys))
	for i, k := range keys {
		c, known := sortBy[k.By]
		if !known {
			return nil, imap.No(imap.CodeCannot, "Not sorted by "+k.By.String())
		}
		by[i] = mailstore.SortCriterion{By: c, Reverse: k.Reverse}
	}
	return by, nil
}

// Sort finds messages and puts them in order (RFC 5256, 3; RFC 5957).
func (s *Session) Sort(ctx context.Context, keys []imap.SortKey, key *imap.SearchKey, o imapserver.SearchOptions) (*imapserver.SortData, error) {
	m, err := s.current(ctx, cmdSearch)
	if err != nil {
		return nil, err
	}
	relevancy := len(keys) > 0 && keys[0].By == imap.SortRelevancy
	by, err := criteria(keys)
	if err != nil {
		return nil, err
	}
	q := newQuery(s, m, key, time.Now())
	found, err := q.find(ctx, key, everything)
	if err != nil {
		return nil, err
	}
	order, err := m.snapshot.Sort(ctx, found, by)
	if err != nil {
		return nil, answer(err)
	}
	if relevancy {
		q.index.sort(m.snapshot, order, keys[0].Reverse)
	}
	d := &imapserver.SortData{}
	if o.Need == imapserver.NeedWindow && o.Update == "" {
		from, to := o.Window.Cut(uint64(len(order)))
		order, d.Cut = order[from:to], true
	}
	d.UIDs, d.Seqs = make([]uint32, len(order)), make([]uint32, len(order))
	for at, i := range order {
		d.UIDs[at], d.Seqs[at] = m.snapshot.UID(i), uint32(i+1)
	}
	d.Relevancy = q.index.relevancyOf(d.UIDs)
	if n := len(order); n > 0 && key.HasModSeq() {
		d.FirstModSeq, d.LastModSeq = m.snapshot.Row(order[0]).ModSeq, m.snapshot.Row(order[n-1]).ModSeq
		for _, i := range order {
			d.ModSeq = max(d.ModSeq, m.snapshot.Row(i).ModSeq)
		}
	}
	if o.Update != "" {
		d.NoUpdate = m.keep(&searchContext{tag: o.Update, key: key, sets: q.sets, by: by, members: found, order: append([]uint32(nil), d.UIDs...)})
	}
	return d, nil
}

// threadBy has the store's name of each algorithm.
var threadBy = map[imap.ThreadAlgorithm]mailstore.ThreadAlgorithm{
	imap.ThreadOrderedSubject: mailstore.ThreadOrderedSubject, imap.ThreadReferences: mailstore.ThreadReferences,
	imap.ThreadRefs: mailstore.ThreadRefs,
}

// Thread finds messages and puts them into threads (RFC 5256, 3).
func (s *Session) Thread(ctx context.Context, algorithm imap.ThreadAlgorithm, key *imap.SearchKey, uid bool) ([]imap.ThreadNode, error) {
	m, err := s.current(ctx, cmdSearch)
	if err != nil {
		return nil, err
	}
	found, err := newQuery(s, m, key, time.Now()).find(ctx, key, everything)
	if err != nil {
		return nil, err
	}
	threads, err := m.snapshot.Threads(ctx, found, threadBy[algorithm])
	if err != nil {
		return nil, answer(err)
	}
	nodes := make([]imap.ThreadNode, len(threads))
	var above []int // the nodes that the one at hand is below
	for i, t := range threads {
		above = above[:t.Depth]
		if t.Depth > 0 {
			nodes[above[t.Depth-1]].Children++
		}
		above = append(above, i)
		if t.Index >= 0 {
			nodes[i].Number = uint32(t.Index + 1)
			if uid {
				nodes[i].Number = m.snapshot.UID(t.Index)
			}
		}
	}
	return nodes, nil
}
