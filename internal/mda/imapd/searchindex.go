package imapd

import (
	"cmp"
	"context"
	"io"
	"slices"

	"postroad/imap"
	"postroad/internal/mailstore"
	"postroad/internal/search"
)

// Bounds of what the index is asked.
const (
	// indexFrom is how many messages must be open for the index to be asked: a few are
	// faster looked into.
	indexFrom = 16
	// indexKeys is how many keys it is asked for; what more there are is looked for in the
	// messages.
	indexKeys = 32
)

// indexed is what the index is asked for a SEARCH, and what it answered.
type indexed struct {
	needles []*search.Needle
	fuzzy   []*search.Query
	slots   map[*imap.SearchKey]int // among needles
	queries map[*imap.SearchKey]*search.Query
	order   map[*imap.SearchKey]int // among fuzzy

	found  *search.Found // nil: not asked
	place  search.Place  // of the message at hand
	points map[*imap.SearchKey]int
	scores map[uint32]uint8 // by UID
}

// keyFields are the fields of the index that a key is looked for in.
var keyFields = map[imap.SearchOp]search.Fields{
	imap.SearchFrom: search.FieldsOf(search.FieldFrom), imap.SearchTo: search.FieldsOf(search.FieldTo),
	imap.SearchCc: search.FieldsOf(search.FieldCc), imap.SearchBcc: search.FieldsOf(search.FieldBcc),
	imap.SearchSubject: search.FieldsOf(search.FieldSubject), imap.SearchHeader: search.FieldsOf(search.FieldHeader),
	imap.SearchBody: search.FieldsOf(search.FieldBody), imap.SearchText: search.FieldsOf(search.FieldHeader, search.FieldBody),
}

// add notes the keys that are for the index; fuzzy those under FUZZY (RFC 6203, 3), which
// changes nothing for keys that are not of text, and for HEADER.
func (x *indexed) add(k *imap.SearchKey, fuzzy bool) {
	fuzzy = fuzzy || k.Op == imap.SearchFuzzy
	for i := range k.Keys {
		x.add(&k.Keys[i], fuzzy)
	}
	fields, ok := keyFields[k.Op]
	if !ok {
		return
	}
	if fuzzy && k.Op != imap.SearchHeader {
		x.addFuzzy(k, fields)
		return
	}
	text := k.Text
	if k.Op == imap.SearchHeader {
		if !search.SearchedName(k.Field) {
			return
		}
		if text == "" {
			text = k.Field + ": "
		}
	}
	if len(x.needles) >= indexKeys {
		return
	}
	if x.slots == nil {
		x.slots = map[*imap.SearchKey]int{}
	}
	x.slots[k] = len(x.needles)
	x.needles = append(x.needles, search.NewNeedle(fields, text))
}

func (x *indexed) addFuzzy(k *imap.SearchKey, fields search.Fields) {
	if x.queries == nil {
		x.queries, x.order, x.points, x.scores = map[*imap.SearchKey]*search.Query{}, map[*imap.SearchKey]int{}, map[*imap.SearchKey]int{}, map[uint32]uint8{}
	}
	if k.Op == imap.SearchText {
		fields = search.Everywhere
	}
	x.queries[k] = search.Words(fields, k.Text)
	if len(x.fuzzy) < indexKeys {
		x.order[k] = len(x.fuzzy)
		x.fuzzy = append(x.fuzzy, x.queries[k])
	}
}

// ask asks the index about the open messages, and takes those out that it can decide. It
// sees all that was committed before, so that a message is found by the command after its
// 250.
func (q *query) ask(ctx context.Context, key *imap.SearchKey, open, found *imap.UIDSet) error {
	x := &q.index
	if len(x.needles)+len(x.fuzzy) == 0 || open.Count() < indexFrom {
		return nil
	}
	var err error
	if x.found, err = q.mailbox.account.Index().Find(ctx, x.needles, x.fuzzy); err != nil {
		// The messages are there all the same.
		q.session.backend.o.Log.Error("the index of an account cannot be used; a rebuild helps", "account", q.mailbox.account.ID(), "error", err)
		x.found = nil
		return ctx.Err()
	}
	var left, matched imap.UIDSet
	snapshot := q.mailbox.snapshot
	for _, r := range *open {
		from, _ := snapshot.Index(r.First)
		to, there := snapshot.Index(r.Last)
		if there {
			to++
		}
		for _, row := range snapshot.Rows(from, to) {
			if row.Gone {
				continue
			}
			q.row = row
			q.locate()
			switch q.judge(key) {
			case yes:
				matched.Add(row.UID)
				q.rate()
			case unknown:
				left.Add(row.UID)
			}
		}
	}
	found.AddSet(matched)
	*open = left
	return nil
}

// locate finds the message at hand in what the index answered.
func (q *query) locate() {
	if q.index.found != nil {
		q.index.place = q.index.found.Place(q.row.ID)
	}
	clear(q.index.points)
}

// judgeIndex tells what the index knows of a key for the message at hand.
func (q *query) judgeIndex(k *imap.SearchKey) truth {
	x := &q.index
	if x.found == nil {
		return unknown
	}
	if n, ok := x.order[k]; ok {
		t := truthOfState(x.found.State(x.place, len(x.needles)+n))
		if t == yes {
			x.points[k] = x.found.Score(x.place, n)
		}
		return t
	}
	n, ok := x.slots[k]
	if !ok {
		return unknown
	}
	t := truthOfState(x.found.State(x.place, n))
	if t == yes && k.Op != imap.SearchBody && k.Op != imap.SearchText {
		return unknown // the index has the field as it stands too, the key is about ENVELOPE
	}
	return t
}

func truthOfState(s search.State) truth {
	switch s {
	case search.No:
		return no
	case search.Yes:
		return yes
	}
	return unknown
}

// judgeFuzzy decides by the texts of the message.
func (q *query) judgeFuzzy(k *imap.SearchKey, f *search.Query) truth {
	if q.body == nil {
		return unknown
	}
	m := q.message()
	if m == nil {
		return no
	}
	fits, score, err := f.Judge(func(fields search.Fields, do func(search.Field, io.Reader) error) error {
		return search.EachText(m, q.body, fields, do)
	})
	q.err = err
	if fits {
		q.index.points[k] = score
	}
	return truthOf(fits)
}

// rate keeps the score of the message at hand: the mean of those of the FUZZY keys that
// it matched.
func (q *query) rate() {
	if q.index.scores == nil {
		return
	}
	sum := 0
	for _, p := range q.index.points {
		sum += p
	}
	q.index.scores[q.row.UID] = uint8(max(1, sum/max(1, len(q.index.points))))
}

// relevancy has the score of each UID, in order; nil without FUZZY (RFC 6203, 4).
func (x *indexed) relevancy(found imap.UIDSet) []uint8 {
	if x.queries == nil {
		return nil
	}
	out := []uint8{}
	for uid := range found.All() {
		out = append(out, max(1, x.scores[uid]))
	}
	return out
}

// SearchesFuzzily implements imapserver.FuzzySearcher.
func (s *Session) SearchesFuzzily() bool { return true }

// relevancyOf is relevancy for UIDs in any order.
func (x *indexed) relevancyOf(uids []uint32) []uint8 {
	if x.queries == nil {
		return nil
	}
	out := make([]uint8, len(uids))
	for i, uid := range uids {
		out[i] = max(1, x.scores[uid])
	}
	return out
}

// sort puts what fits best first, or last (RFC 6203, 5); what fits equally stays in order.
func (x *indexed) sort(snapshot *mailstore.Snapshot, order []int, reverse bool) {
	slices.SortStableFunc(order, func(a, b int) int {
		c := cmp.Compare(x.scores[snapshot.UID(b)], x.scores[snapshot.UID(a)])
		if reverse {
			return -c
		}
		return c
	})
}
