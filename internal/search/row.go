package search

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"postroad/internal/kv"
)

// row are some wanted that are to stand side by side: term behind term in one text.
type row struct {
	first, count int // in wanted
	fields       Fields
	broken       bool // they need not stand so

	// By the gap before a term: which of the wanted may stand behind it, and which do so
	// for certain, by bits.
	allow, sure [gaps]uint32
}

// anyGaps makes a row of words with whatever between them.
func anyGaps(count int) row {
	r := row{count: count}
	for g := range r.allow {
		r.allow[g], r.sure[g] = ^uint32(0), ^uint32(0)
	}
	return r
}

// gap takes what stands in a needle before wanted n. first tells that it begins the
// needle: a text may have more before it.
func (r *row) gap(n int, between []byte, first bool) {
	bit := uint32(1) << n
	if first && len(between) == 0 {
		for g := range r.allow {
			r.allow[g] |= bit
			r.sure[g] |= bit
		}
		return
	}
	g := uint8(gapOther)
	switch len(between) {
	case 0:
		g = gapNone
	case 1:
		g = gapOf[between[0]]
	}
	r.allow[g] |= bit
	if g != gapOther {
		r.sure[g] |= bit
	}
	if first {
		r.allow[gapOther] |= bit
	}
}

// matters tells whether more can be said of the wanted than that all of them are there.
func (r *row) matters() bool {
	return !r.broken && (r.count > 1 || r.count == 1 && r.allow[gapNone]&1 == 0)
}

func (f *finding) addRow(r row, first int, fields Fields) int {
	r.first, r.fields = first, fields
	for _, w := range f.wanted[first : first+r.count] {
		w.inRow = true
	}
	f.rows = append(f.rows, r)
	return len(f.rows) - 1
}

// rowSets are the documents of a segment that may have a row in a field, and those that
// have it; nil: none.
type rowSets struct{ may, sure [len(allFields)]set }

// Bounds of what is read to prove a row in a segment; over them its documents are looked
// into.
const (
	rowTerms = 4096    // terms of one wanted
	rowBits  = 1 << 30 // of all of them
	// openBits is how many bits of occurrences take as long to read as to look into a
	// message.
	openBits = 50_000
	// partLeast is the least part of a stream that is kept with the piece it was read in.
	partLeast = 4 << 10
)

// errLate ends a proof that takes too long.
var errLate = errors.New("late")

// inRows proves rows in a segment.
func (f *finding) inRows(snap kv.Snapshot, s *segment, hits segmentHits, deadline time.Time) ([]rowSets, error) {
	all := make([]rowSets, len(f.rows))
	p := rowProof{s: s, deadline: deadline}
	for i := range f.rows {
		for field := range allFields {
			var err error
			if all[i].may[field], all[i].sure[field], err = p.prove(snap, &f.rows[i], hits, field); err != nil {
				return nil, fmt.Errorf("where terms stand: %w", err)
			}
		}
	}
	return all, nil
}

// rowProof proves rows in one segment.
type rowProof struct {
	s        *segment
	deadline time.Time
	unions   []union
	docs     []uint32       // of all cursors
	found    [][]occurrence // of each wanted, in the document at hand
	marks    []uint64       // positions, by bits
	last     []uint32       // positions that are marked
}

// prove finds the documents that have a row in a field.
func (p *rowProof) prove(snap kv.Snapshot, r *row, hits segmentHits, field int) (may, sure set, err error) {
	candidates := together(hits, r.first, r.count, field)
	if candidates == nil {
		return nil, nil, nil
	}
	bits := 0
	for n := r.first; n < r.first+r.count; n++ {
		if hits[n][field].many {
			return candidates, nil, nil
		}
		for _, t := range hits[n][field].terms {
			bits += t.bits
		}
	}
	if bits > rowBits || bits > candidates.count()*openBits {
		return candidates, nil, nil
	}
	if err := p.open(snap, r, hits, field); err != nil {
		return nil, nil, err
	}
	may, sure = newSet(p.s.docs), newSet(p.s.docs)
	n := 0
	candidates.each(func(doc uint32) {
		if n++; n%lookupTerms == 0 && err == nil && time.Now().After(p.deadline) {
			err = errLate
		}
		if err != nil {
			return
		}
		var state State
		if state, err = p.in(r, doc); state != No {
			may.add(doc)
		}
		if state == Yes {
			sure.add(doc)
		}
	})
	if err == errLate { // what was found so far does not count, as always then
		return candidates, nil, nil
	}
	return may, sure, err
}

// open reads postings and occurrences of what is wanted.
func (p *rowProof) open(snap kv.Snapshot, r *row, hits segmentHits, field int) error {
	if p.marks == nil {
		p.marks = make([]uint64, positionEnd/64)
	}
	p.unions = slices.Grow(p.unions[:0], r.count)[:r.count]
	for len(p.found) < r.count {
		p.found = append(p.found, nil)
	}
	from := newPostings(snap, p.s, allFields[field])
	p.docs = p.docs[:0]
	for i := range p.unions {
		p.unions[i] = nil
		for _, t := range hits[r.first+i][field].terms {
			begin := len(p.docs)
			if err := from.each(&t, func(n uint32) { p.docs = append(p.docs, n) }); err != nil {
				return err
			}
			v, err := from.occurrences(&t)
			if err != nil {
				return err
			}
			if len(v) < partLeast {
				v = slices.Clone(v)
			} else {
				from.places.buf = nil // it is ours now
			}
			if docs := p.docs[begin:len(p.docs):len(p.docs)]; len(docs) > 0 {
				p.unions[i].push(&cursor{docs: docs, places: occurrenceReader{octets: v, end: t.bits}})
			}
		}
	}
	return nil
}

// in tells whether a document has the row.
func (p *rowProof) in(r *row, doc uint32) (State, error) {
	for i := range p.unions {
		all, known, err := p.unions[i].at(doc, p.found[i][:0])
		if err != nil {
			return No, err
		}
		if p.found[i] = all; !known {
			return Maybe, nil
		}
	}
	if p.chain(&r.sure) {
		return Yes, nil
	}
	if r.sure != r.allow && p.chain(&r.allow) {
		return Maybe, nil
	}
	return No, nil
}

// chain tells whether the wanted stand side by side, with gaps that are allowed.
func (p *rowProof) chain(allow *[gaps]uint32) bool {
	last := len(p.unions) - 1
	for i, all := range p.found[:last+1] {
		bit := uint32(1) << i
		marked := p.last
		fresh := len(marked)
		for _, o := range all {
			at := o.position()
			if allow[o.gap()]&bit == 0 || i > 0 && p.marks[(at-1)/64]&(1<<((at-1)%64)) == 0 {
				continue
			}
			if i == last {
				p.unmark(marked)
				return true
			}
			marked = append(marked, at)
		}
		p.unmark(marked[:fresh])
		for _, at := range marked[fresh:] {
			p.marks[at/64] |= 1 << (at % 64)
		}
		p.last = append(p.last[:0], marked[fresh:]...)
		if len(p.last) == 0 {
			return false
		}
	}
	return false
}

// unmark takes marks away.
func (p *rowProof) unmark(all []uint32) {
	for _, at := range all {
		p.marks[at/64] = 0
	}
	p.last = p.last[:0]
}

// cursor reads the documents of a term with the occurrences in them.
type cursor struct {
	docs   []uint32
	i      int // the next one
	places occurrenceReader
}

func (c *cursor) doc() uint32 { return c.docs[c.i] }

// union reads the terms of one wanted as if they were one. It is a heap: the first cursor
// has the least document.
type union []*cursor

func (u *union) push(c *cursor) {
	*u = append(*u, c)
	for i := len(*u) - 1; i > 0; {
		up := (i - 1) / 2
		if (*u)[up].doc() <= (*u)[i].doc() {
			return
		}
		(*u)[up], (*u)[i] = (*u)[i], (*u)[up]
		i = up
	}
}

// pass goes on to the next document of the first cursor.
func (u *union) pass() {
	h := *u
	if h[0].i++; h[0].i == len(h[0].docs) {
		h[0] = h[len(h)-1]
		h = h[:len(h)-1]
		*u = h
	}
	for i := 0; ; {
		least := i
		for down := 2*i + 1; down <= 2*i+2 && down < len(h); down++ {
			if h[down].doc() < h[least].doc() {
				least = down
			}
		}
		if least == i {
			return
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
}

// at appends the occurrences in a document, which is behind those asked for before; known
// is false where those of some term are not known.
func (u *union) at(doc uint32, dst []occurrence) (all []occurrence, known bool, err error) {
	all, known = dst, true
	for len(*u) > 0 {
		c := (*u)[0]
		at := c.doc()
		if at > doc {
			break
		}
		from, k := len(all), false
		if c.places.end > 0 {
			if all, k, err = c.places.next(all); err != nil {
				return nil, false, err
			}
		}
		if at < doc {
			all = all[:from]
		} else {
			known = known && k
		}
		u.pass()
	}
	return all, known, nil
}
