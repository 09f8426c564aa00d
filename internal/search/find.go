package search

import (
	"bytes"
	"context"
	"time"

	"postroad/internal/kv"
)

// findTime is how long a Find may take; what it did not come to is to be looked into.
// kv allows a snapshot four seconds.
const findTime = 3 * time.Second

// Found is what the index knows of needles and queries, for all messages of an account.
// It holds about two bits a message and needle. It is used by one goroutine.
type Found struct {
	segments []foundSegment
	records  []foundRecord // in order
	needles  int
	at       Place // found last
}

// foundSegment is the part of one segment. A nil set is empty.
type foundSegment struct {
	messages []MessageID
	maybe    []set // by needle, then by query
	yes      []set
	score    [][]uint8 // by query; nil: nothing found
}

type foundRecord struct {
	id     MessageID
	states []State
	scores []uint8
}

// Place is where a message stands in the index.
type Place struct{ segment, document int }

// The segments of Place that are none.
const (
	inRecords = -1
	nowhere   = -2
)

// Unknown tells that the index does not know the message, or not whole: any state it has
// is Maybe.
func (p Place) Unknown() bool { return p.segment == nowhere }

// Place finds a message. Asking in the order of ids is fastest.
func (f *Found) Place(id MessageID) Place {
	if p := f.at; p.segment >= 0 {
		if m := f.segments[p.segment].messages; p.document+1 < len(m) && m[p.document+1] == id {
			f.at.document++
			return f.at
		}
	}
	for i := range f.segments {
		m := f.segments[i].messages
		if len(m) == 0 || id < m[0] || id > m[len(m)-1] {
			continue
		}
		if n := position(m, id); n >= 0 {
			f.at = Place{i, n}
			return f.at
		}
	}
	lo, hi := 0, len(f.records)
	for lo < hi {
		if mid := (lo + hi) / 2; f.records[mid].id < id {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo < len(f.records) && f.records[lo].id == id {
		return Place{inRecords, lo}
	}
	return Place{segment: nowhere}
}

// State tells what is known of needle n, or of the query that follows the needles.
func (f *Found) State(p Place, n int) State {
	switch {
	case p.segment == nowhere:
		return Maybe
	case p.segment == inRecords:
		return f.records[p.document].states[n]
	}
	s := &f.segments[p.segment]
	switch {
	case s.yes[n] != nil && s.yes[n].has(uint32(p.document)):
		return Yes
	case s.maybe[n] != nil && s.maybe[n].has(uint32(p.document)):
		return Maybe
	}
	return No
}

// Score is how well a message fits query n, 1 to 100 (RFC 6203, 4); 0 where the index
// does not find it.
func (f *Found) Score(p Place, n int) int {
	switch {
	case p.segment == nowhere:
		return 0
	case p.segment == inRecords:
		return int(f.records[p.document].scores[n])
	}
	if s := f.segments[p.segment].score[n]; s != nil {
		return int(s[p.document])
	}
	return 0
}

// Find looks needles and queries up, in one snapshot: whatever was committed before is
// seen. It holds one block of the dictionary and one piece of postings at a time.
func (x *Index) Find(ctx context.Context, needles []*Needle, queries []*Query) (*Found, error) {
	out := &Found{needles: len(needles), at: Place{segment: nowhere}}
	err := x.snapshot(ctx, func(snap kv.Snapshot) error {
		all, _, err := readManifest(snap)
		if err != nil {
			return err
		}
		f := &finding{}
		for _, n := range needles {
			f.addNeedle(n)
		}
		of := latin | cyrillic
		if len(all) > 0 {
			of = cyrillic
		}
		for i := range all {
			of |= all[i].languages
		}
		for _, q := range queries {
			f.addQuery(q, of)
		}
		deadline := time.Now().Add(findTime)
		if out.records, err = f.inRecords(ctx, snap, deadline); err != nil {
			return err
		}
		for i := range all {
			s, err := f.inSegment(ctx, snap, &all[i], deadline)
			if err != nil {
				return err
			}
			out.segments = append(out.segments, *s)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// segmentHits has what was found of each wanted, by field.
type segmentHits [][len(allFields)]hit

// hit is what was found of one wanted in one field of a segment.
type hit struct {
	docs  set // nil: nothing
	terms []extent
	many  bool // there are more terms
}

// inSegment looks into one segment.
func (f *finding) inSegment(ctx context.Context, snap kv.Snapshot, s *segment, deadline time.Time) (*foundSegment, error) {
	messages, err := s.readMessages(snap)
	if err != nil {
		return nil, err
	}
	hits := make(segmentHits, len(f.wanted))
	for i, field := range allFields {
		if err := f.inField(ctx, snap, s, i, field, hits, deadline); err != nil {
			return nil, err
		}
	}
	rows, err := f.inRows(snap, s, hits, deadline)
	if err != nil {
		return nil, err
	}
	n := len(f.needles) + len(f.queries)
	out := &foundSegment{messages: messages, maybe: make([]set, n), yes: make([]set, n), score: make([][]uint8, len(f.queries))}
	opaque, err := s.opaque(snap)
	if err != nil {
		return nil, err
	}
	if time.Now().After(deadline) { // hits are not whole
		opaque = fullSet(s.docs)
		clear(hits)
		clear(rows)
	}
	for i := range f.needles {
		f.needles[i].inSegment(s, hits, rows, opaque, &out.maybe[i], &out.yes[i])
	}
	for i, q := range f.queries {
		n := len(f.needles) + i
		out.score[i] = q.inSegment(s, hits, rows, opaque, &out.maybe[n], &out.yes[n])
	}
	return out, nil
}

// opaque are the documents that have terms which the index has not; nil: none.
func (s *segment) opaque(snap kv.Snapshot) (set, error) {
	var out set
	var failed error
	p := newPostings(snap, s, opaqueField)
	err := s.eachTermFrom(snap, opaqueField, nil, func(t *found) bool {
		out = newSet(s.docs)
		failed = p.each(&t.extent, out.add)
		return failed == nil
	})
	if failed != nil {
		err = failed
	}
	return out, err
}

// inField looks for what is wanted of one field: what begins somewhere by seeking, the
// rest in one reading of the dictionary.
func (f *finding) inField(ctx context.Context, snap kv.Snapshot, s *segment, i int, field Field, hits segmentHits, deadline time.Time) error {
	var everywhere []int
	for n, w := range f.wanted {
		if !w.fields.Has(field) {
			continue
		}
		if w.from == nil {
			everywhere = append(everywhere, n)
			continue
		}
		l := &lookup{f: f, snap: snap, postings: newPostings(snap, s, field), hits: hits, field: i, deadline: deadline, ctx: ctx}
		if err := l.run(s, field, w.from, []int{n}); err != nil {
			return err
		}
	}
	if len(everywhere) == 0 {
		return nil
	}
	l := &lookup{f: f, snap: snap, postings: newPostings(snap, s, field), hits: hits, field: i, deadline: deadline, ctx: ctx}
	return l.run(s, field, nil, everywhere)
}

// lookup is one reading of a dictionary.
type lookup struct {
	f        *finding
	snap     kv.Snapshot
	postings *postings
	hits     segmentHits
	field    int
	deadline time.Time
	ctx      context.Context
	terms    int
}

// lookupTerms is after how many terms a lookup looks at the clock.
const lookupTerms = 4096

func (l *lookup) run(s *segment, field Field, from []byte, which []int) error {
	var failed error
	ends := make([]int, len(which)) // where in the key what is wanted within it ends; 0: it is not there
	err := s.eachTermFrom(l.snap, field, from, func(t *found) bool {
		zero := bytes.IndexByte(t.key, 0)
		more := false
		for i, n := range which {
			w := l.f.wanted[n]
			if w.within != nil && zero < 0 {
				more = true
				if ends[i] > t.shared || ends[i] == 0 { // else it is in what was there before
					ends[i] = endOf(t.key, w.within, t.shared)
				}
				if ends[i] == 0 {
					continue
				}
			} else {
				if w.within != nil { // for the next one, which may begin like it
					ends[i] = endOf(t.key, w.within, 0)
				}
				plain, term := splitTermKey(t.key)
				match, m := w.match(field, t.key, plain, term)
				if more = more || m; !match {
					continue
				}
			}
			if failed = l.take(s, n, t); failed != nil {
				return false
			}
		}
		if l.terms++; l.terms%lookupTerms == 0 && (time.Now().After(l.deadline) || l.ctx.Err() != nil) {
			failed = l.ctx.Err()
			return false
		}
		return more
	})
	if failed != nil {
		return failed
	}
	return err
}

// endOf is where the first of some octets in a key ends, 0 where they are not in it. They
// do not lie whole in its first octets, shared ones.
func endOf(key, within []byte, shared int) int {
	from := max(0, shared-len(within)+1)
	if i := bytes.Index(key[from:], within); i >= 0 {
		return from + i + len(within)
	}
	return 0
}

// take takes a term that is wanted.
func (l *lookup) take(s *segment, n int, t *found) error {
	to := &l.hits[n][l.field]
	if to.docs == nil {
		to.docs = newSet(s.docs)
	}
	if l.f.wanted[n].inRow {
		if to.many = to.many || len(to.terms) >= rowTerms; !to.many {
			to.terms = append(to.terms, t.extent)
		}
	}
	return l.postings.addTo(to.docs, &t.extent)
}

// inSegment puts together what the pieces were found in.
func (n *boundNeedle) inSegment(s *segment, hits segmentHits, rows []rowSets, opaque set, maybe, yes *set) {
	if len(n.pieces) == 0 {
		*maybe = fullSet(s.docs)
		return
	}
	all, sure := newSet(s.docs), newSet(s.docs)
	for i := range allFields {
		may, proven := fieldSets(hits, rows, n.first, len(n.pieces), n.row, i)
		if may != nil {
			all.or(may)
		}
		if proven != nil && n.proven {
			sure.or(proven)
		}
	}
	if opaque != nil {
		all.or(opaque)
	}
	*maybe, *yes = all, sure
}

// fieldSets are the documents where so many wanted may be what is looked for in a field,
// and where they are for certain; nil: none.
func fieldSets(hits segmentHits, rows []rowSets, first, count, row, field int) (may, sure set) {
	if row >= 0 {
		return rows[row].may[field], rows[row].sure[field]
	}
	may = together(hits, first, count, field)
	if count == 1 {
		sure = may
	}
	return may, sure
}

// together are the documents that have all of so many wanted in one field; nil: none. The
// set may be that of the only wanted.
func together(hits segmentHits, first, count, field int) set {
	var all set
	for w := first; w < first+count; w++ {
		h := hits[w][field].docs
		switch {
		case h == nil:
			return nil
		case count == 1:
			return h
		case all == nil:
			all = append(set(nil), h...)
		default:
			all.and(h)
		}
	}
	return all
}
