package search

import (
	"context"
	"fmt"
	"time"

	"postroad/internal/kv"
)

// recordLook looks into the messages that are in no segment yet.
type recordLook struct {
	f      *finding
	reader recordReader
	hits   []Fields                     // by wanted
	masks  [len(allFields)][]uint32     // by term and row: which of the row's wanted it is
	may    []Fields                     // by row: where it may be
	sure   []Fields                     // where it is
	chains []struct{ may, sure uint32 } // by row: which of its wanted the last terms were, in a row
	last   occurrence
	field  int
	plain  []byte
	all    []foundRecord
}

// inRecords looks into the messages that are in no segment yet.
func (f *finding) inRecords(ctx context.Context, snap kv.Snapshot, deadline time.Time) ([]foundRecord, error) {
	l := &recordLook{f: f, hits: make([]Fields, len(f.wanted)), may: make([]Fields, len(f.rows)), sure: make([]Fields, len(f.rows)),
		chains: make([]struct{ may, sure uint32 }, len(f.rows))}
	l.reader.term = l.term
	if len(f.rows) > 0 {
		l.reader.token = l.token
	}
	var last MessageID
	pending := true
	for e, err := range snap.Scan(kindRange(keyRecord)) {
		if err != nil {
			return nil, fmt.Errorf("scan: %w", err)
		}
		id, err := keyID(e.Key)
		if err != nil {
			return nil, err
		}
		if id != last {
			if !pending {
				l.end(last)
			}
			if time.Now().After(deadline) || ctx.Err() != nil {
				return l.all, ctx.Err()
			}
			last, pending = id, false
			l.begin()
		}
		if pending = pending || Record(e.Value).Pending(); pending {
			continue // a message whose terms are not known is nowhere
		}
		if err := l.reader.piece(e.Value); err != nil {
			return nil, err
		}
	}
	if !pending {
		l.end(last)
	}
	return l.all, nil
}

// begin begins a message.
func (l *recordLook) begin() {
	l.reader.reset()
	clear(l.hits)
	clear(l.may)
	clear(l.sure)
	clear(l.chains)
	l.last, l.field = 0, 0
	for i := range l.masks {
		l.masks[i] = l.masks[i][:0]
	}
}

// term looks at a term of the message.
func (l *recordLook) term(number, _ int, text []byte) {
	field := allFields[number]
	l.plain = appendPlain(l.plain[:0], text)
	masks := len(l.masks[number])
	for range l.f.rows {
		l.masks[number] = append(l.masks[number], 0)
	}
	for n, w := range l.f.wanted {
		if !w.fields.Has(field) {
			continue
		}
		if match, _ := w.match(field, recordTermKey(l.plain, text), l.plain, text); !match {
			continue
		}
		l.hits[n] |= 1 << number
		for i := range l.f.rows {
			if r := &l.f.rows[i]; n >= r.first && n < r.first+r.count {
				l.masks[number][masks+i] |= 1 << (n - r.first)
			}
		}
	}
}

// token looks at a term where it stands.
func (l *recordLook) token(field, number int, o occurrence) {
	follows := field == l.field && o.position() == l.last.position()+1
	l.field, l.last = field, o
	masks := l.masks[field][number*len(l.f.rows):]
	for i := range l.f.rows {
		r, c := &l.f.rows[i], &l.chains[i]
		if !follows {
			c.may, c.sure = 0, 0
		}
		c.may = (c.may<<1 | 1) & masks[i] & r.allow[o.gap()]
		c.sure = (c.sure<<1 | 1) & masks[i] & r.sure[o.gap()]
		end := uint32(1) << (r.count - 1)
		if c.may&end != 0 {
			l.may[i] |= 1 << field
		}
		if c.sure&end != 0 {
			l.sure[i] |= 1 << field
		}
	}
}

// recordTermKey is the dictionary's key of a term of a record.
func recordTermKey(plain, term []byte) []byte {
	if string(plain) == string(term) {
		return term
	}
	return append(append(append(make([]byte, 0, len(plain)+1+len(term)), plain...), 0), term...)
}

// end makes states of what was found in a message.
func (l *recordLook) end(id MessageID) {
	f := l.f
	r := foundRecord{id: id, states: make([]State, len(f.needles)+len(f.queries)), scores: make([]uint8, len(f.queries))}
	for i := range f.needles {
		r.states[i] = l.needle(&f.needles[i])
	}
	for i, q := range f.queries {
		r.states[len(f.needles)+i], r.scores[i] = l.query(q)
	}
	if l.reader.flags&recordOpaque != 0 {
		for i := range r.states {
			r.states[i] = max(r.states[i], Maybe)
		}
	}
	l.all = append(l.all, r)
}

// where tells in which fields so many wanted may be what is looked for, and where they are
// for certain.
func (l *recordLook) where(first, count, row int, fields Fields) (may, sure Fields) {
	may = fields
	for _, h := range l.hits[first : first+count] {
		may &= h
	}
	switch {
	case row >= 0 && !l.reader.loose():
		return l.may[row], l.sure[row]
	case row < 0 && count == 1:
		sure = may
	}
	return may, sure
}

// needle tells what is known of a needle.
func (l *recordLook) needle(n *boundNeedle) State {
	if len(n.pieces) == 0 {
		return Maybe
	}
	may, sure := l.where(n.first, len(n.pieces), n.row, n.fields)
	switch {
	case sure != 0 && n.proven:
		return Yes
	case may != 0:
		return Maybe
	}
	return No
}

// query tells what is known of a query, and its score.
func (l *recordLook) query(b *boundQuery) (State, uint8) {
	states := make([]State, len(b.leaves))
	points := 0
	for i, leaf := range b.leaves {
		may, sure := l.where(b.first[i], len(leaf.words), b.rows[i], leaf.fields)
		switch {
		case sure != 0:
			states[i] = Yes
		case may != 0:
			states[i] = Maybe
		}
		points += best(may)
	}
	return b.root.state(states), b.score(points)
}
