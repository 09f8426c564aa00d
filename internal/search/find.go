package search

import (
	"context"
	"fmt"
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

// segmentHits has the documents of each wanted, by field; nil is none.
type segmentHits [][len(allFields)]set

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
	n := len(f.needles) + len(f.queries)
	out := &foundSegment{messages: messages, maybe: make([]set, n), yes: make([]set, n), score: make([][]uint8, len(f.queries))}
	opaque, err := s.opaque(snap)
	if err != nil {
		return nil, err
	}
	if time.Now().After(deadline) { // hits are not whole
		opaque = newSet(s.docs)
		for i := range opaque {
			opaque[i] = ^uint64(0)
		}
		clear(hits)
	}
	for i := range f.needles {
		f.needles[i].inSegment(s, hits, opaque, &out.maybe[i], &out.yes[i])
	}
	for i, q := range f.queries {
		n := len(f.needles) + i
		out.score[i] = q.inSegment(s, hits, opaque, &out.maybe[n], &out.yes[n])
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
		failed = p.each(t, out.add)
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
	err := s.eachTermFrom(l.snap, field, from, func(t *found) bool {
		plain, term := splitTermKey(t.key)
		more := false
		for _, n := range which {
			match, m := l.f.wanted[n].match(field, t.key, plain, term)
			more = more || m
			if !match {
				continue
			}
			to := &l.hits[n][l.field]
			if *to == nil {
				*to = newSet(s.docs)
			}
			if failed = l.postings.each(t, to.add); failed != nil {
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

// inSegment puts together what the pieces were found in.
func (n *boundNeedle) inSegment(s *segment, hits segmentHits, opaque set, maybe, yes *set) {
	if len(n.pieces) == 0 {
		*maybe = newSet(s.docs)
		for i := range *maybe {
			(*maybe)[i] = ^uint64(0)
		}
		return
	}
	all := newSet(s.docs)
	for i := range allFields {
		one := together(hits, n.first, len(n.pieces), i)
		if one != nil {
			all.or(one)
		}
	}
	if n.proven {
		*yes, *maybe = all, opaque
		return
	}
	if opaque != nil {
		all.or(opaque)
	}
	*maybe = all
}

// together are the documents that have all of so many wanted in one field; nil: none. The
// set may be that of the only wanted.
func together(hits segmentHits, first, count, field int) set {
	var all set
	for w := first; w < first+count; w++ {
		h := hits[w][field]
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

// inRecords looks into the messages that are in no segment yet.
func (f *finding) inRecords(ctx context.Context, snap kv.Snapshot, deadline time.Time) ([]foundRecord, error) {
	var all []foundRecord
	hits := make([]Fields, len(f.wanted))
	var plain []byte
	look := func(field Field, term []byte) {
		plain = appendPlain(plain[:0], term)
		for n, w := range f.wanted {
			if !w.fields.Has(field) {
				continue
			}
			if match, _ := w.match(field, recordTermKey(plain, term), plain, term); match {
				hits[n] |= FieldsOf(field)
			}
		}
	}
	var last foundRecord
	var flags byte
	end := func() {
		if last.id == 0 || flags&recordPending != 0 {
			return // a message whose terms are not known is nowhere
		}
		f.judge(&last, hits, flags&recordOpaque != 0)
		all = append(all, last)
	}
	for e, err := range snap.Scan(kindRange(keyRecord)) {
		if err != nil {
			return nil, fmt.Errorf("scan: %w", err)
		}
		id, err := keyID(e.Key)
		if err != nil {
			return nil, err
		}
		if id != last.id {
			end()
			if time.Now().After(deadline) || ctx.Err() != nil {
				return all, ctx.Err()
			}
			last, flags = foundRecord{id: id}, 0
			clear(hits)
		}
		got, err := eachTerm(e.Value, look)
		if err != nil {
			return nil, err
		}
		flags |= got
	}
	end()
	return all, nil
}

// recordTermKey is the dictionary's key of a term of a record.
func recordTermKey(plain, term []byte) []byte {
	if string(plain) == string(term) {
		return term
	}
	return append(append(append(make([]byte, 0, len(plain)+1+len(term)), plain...), 0), term...)
}

// judge makes states of hits.
func (f *finding) judge(r *foundRecord, hits []Fields, opaque bool) {
	r.states = make([]State, len(f.needles)+len(f.queries))
	r.scores = make([]uint8, len(f.queries))
	for i := range f.needles {
		r.states[i] = f.needles[i].state(hits)
	}
	for i, q := range f.queries {
		r.states[len(f.needles)+i], r.scores[i] = q.state(hits)
	}
	if !opaque {
		return
	}
	for i := range r.states {
		if r.states[i] == No {
			r.states[i] = Maybe
		}
	}
}
