package search

import (
	"bytes"
	"io"
)

// boundQuery is a query with the terms of its words, for one account.
type boundQuery struct {
	*Query
	first   []int // of the words of each leaf, in wanted
	rows    []int // of each leaf, −1: it is one word
	matches [][]func(f Field, plain, term []byte) bool
}

// weights tell how much a word in a field says, for Score.
var weights = [len(allFields)]int{4, 3, 2, 2, 2, 1, 1, 2}

const weightMax = 4

// inflected are the fields whose words have forms; names have none.
var inflected = FieldsOf(FieldSubject, FieldBody, FieldFile)

// formMax is how many octets longer than its stem a form of a word may be.
const formMax = 12

func (f *finding) addQuery(q *Query, of languages) {
	b := q.bind(of)
	for i, l := range q.leaves {
		b.first = append(b.first, len(f.wanted))
		for n := range l.words {
			f.wanted = append(f.wanted, l.wanted(n, of, b.matches[i][n]))
		}
		row := -1
		if n := len(l.words); n > 1 {
			row = f.addRow(anyGaps(n), b.first[i], l.fields)
		}
		b.rows = append(b.rows, row)
	}
	f.queries = append(f.queries, b)
}

// bind makes what the words match, in texts of these languages.
func (q *Query) bind(of languages) *boundQuery {
	b := &boundQuery{Query: q}
	for _, l := range q.leaves {
		var all []func(f Field, plain, term []byte) bool
		for n := range l.words {
			all = append(all, l.match(n, of))
		}
		b.matches = append(b.matches, all)
	}
	return b
}

// begins tells whether any word that begins like word n will do.
func (l *leaf) begins(n int) bool { return l.prefix && n == len(l.words)-1 }

// forms makes the stems of word n, none where endings count.
func (l *leaf) forms(n int, of languages) stems {
	w := &l.words[n]
	if l.phrase || w.pair || l.begins(n) || len(l.words) > 1 {
		return stems{prefix: string(w.plain)}
	}
	return stemsOf(w.term, of)
}

// match tells which terms word n stands for.
func (l *leaf) match(n int, of languages) func(f Field, plain, term []byte) bool {
	w := &l.words[n]
	switch {
	case w.lone():
		return func(_ Field, plain, _ []byte) bool { return bytes.Contains(plain, w.plain) }
	case l.begins(n):
		return func(_ Field, plain, _ []byte) bool { return bytes.HasPrefix(plain, w.plain) }
	}
	s := l.forms(n, of)
	return func(f Field, plain, term []byte) bool {
		return bytes.Equal(plain, w.plain) ||
			s.of != 0 && inflected.Has(f) && len(plain) <= len(s.prefix)+formMax && bytes.HasPrefix(plain, []byte(s.prefix)) && s.same(term)
	}
}

// lone is a rune of a script without spaces that stands alone in the query: in a text it
// is one of a pair.
func (w *queryWord) lone() bool { return w.pair && runeOffset(w.term, 1) == len(w.term) }

// wanted are the terms of word n.
func (l *leaf) wanted(n int, of languages, match func(f Field, plain, term []byte) bool) *wanted {
	w := &wanted{fields: l.fields}
	if l.words[n].lone() {
		w.match = func(f Field, _, plain, term []byte) (bool, bool) { return match(f, plain, term), true }
		return w
	}
	w.from = []byte(l.forms(n, of).prefix)
	w.match = func(f Field, _, plain, term []byte) (bool, bool) {
		return match(f, plain, term), bytes.HasPrefix(plain, w.from)
	}
	return w
}

// inSegment makes sets and scores of what the words were found in.
func (b *boundQuery) inSegment(s *segment, hits segmentHits, rows []rowSets, opaque set, maybe, yes *set) []uint8 {
	may, sure := make([]set, len(b.leaves)), make([]set, len(b.leaves))
	points := make([]uint16, s.docs)
	for i, l := range b.leaves {
		may[i], sure[i] = newSet(s.docs), newSet(s.docs)
		best := make([]uint8, s.docs)
		for f := range allFields {
			one, proven := fieldSets(hits, rows, b.first[i], len(l.words), b.rows[i], f)
			if one == nil {
				continue
			}
			may[i].or(one)
			if proven != nil {
				sure[i].or(proven)
			}
			one.each(func(n uint32) {
				if int(n) < s.docs {
					best[n] = max(best[n], uint8(weights[f]))
				}
			})
		}
		if opaque != nil {
			may[i].or(opaque)
		}
		for n, p := range best {
			points[n] += uint16(p)
		}
	}
	*maybe, *yes = b.root.sets(s.docs, may, sure)
	score := make([]uint8, s.docs)
	for n, p := range points {
		score[n] = b.score(int(p))
	}
	return score
}

// score is 1 to 100 of the points of all words.
func (q *Query) score(points int) uint8 {
	return uint8(1 + 99*points/max(1, weightMax*len(q.leaves)))
}

// sets are the documents that may fit, and those that do.
func (n *node) sets(docs int, may, sure []set) (m, s set) {
	if n.op == opLeaf {
		return append(set(nil), may[n.leaf]...), append(set(nil), sure[n.leaf]...)
	}
	if n.op == opNot {
		m, s = n.kids[0].sets(docs, may, sure)
		for i := range m {
			m[i], s[i] = ^s[i], ^m[i]
		}
		return m, s
	}
	m, s = newSet(docs), newSet(docs)
	if n.op == opAnd {
		for i := range m {
			m[i], s[i] = ^uint64(0), ^uint64(0)
		}
	}
	for i := range n.kids {
		km, ks := n.kids[i].sets(docs, may, sure)
		if n.op == opAnd {
			m.and(km)
			s.and(ks)
		} else {
			m.or(km)
			s.or(ks)
		}
	}
	return m, s
}

// best is the weight of the best of some fields.
func best(f Fields) int {
	w := 0
	for i := range allFields {
		if f&(1<<i) != 0 {
			w = max(w, weights[i])
		}
	}
	return w
}

// state puts the states of leaves together.
func (n *node) state(of []State) State {
	switch n.op {
	case opLeaf:
		return of[n.leaf]
	case opNot:
		return Yes - n.kids[0].state(of)
	case opOr:
		s := No
		for i := range n.kids {
			s = max(s, n.kids[i].state(of))
		}
		return s
	}
	s := Yes
	for i := range n.kids {
		s = min(s, n.kids[i].state(of))
	}
	return s
}

// allLanguages are tried where nothing is known of an account's mail.
const allLanguages = latin | cyrillic

// Judge decides about a message by its texts, which each gives as EachText does. The
// score is 1 to 100.
func (q *Query) Judge(each func(fields Fields, f func(Field, io.Reader) error) error) (fits bool, score int, err error) {
	b := q.bind(allLanguages)
	hits := make([]Fields, len(q.leaves))
	var fields Fields
	for _, l := range q.leaves {
		fields |= l.fields
	}
	chunk := make([]byte, chunkOctets)
	err = each(fields, func(f Field, text io.Reader) error {
		w := b.watch(f, func(i int, _ token, _ int) { hits[i] |= FieldsOf(f) })
		t := tokenizer{emit: w.token}
		limit := int64(LongTextMax)
		if err := t.read(text, chunk, &limit); err != nil && err != ErrTooLong {
			return err
		}
		return nil
	})
	states := make([]State, len(q.leaves))
	points := 0
	for i, h := range hits {
		if h != 0 {
			states[i] = Yes
		}
		points += best(h)
	}
	return q.root.state(states) == Yes, int(q.score(points)), err
}

// watcher finds the leaves of a query in a text.
type watcher struct {
	b     *boundQuery
	field Field
	found func(leaf int, last token, words int)
	rows  []uint32 // by leaf: which of its words the last terms were, in a row
	plain []byte
}

func (b *boundQuery) watch(in Field, f func(leaf int, last token, words int)) *watcher {
	return &watcher{b: b, field: in, found: f, rows: make([]uint32, len(b.leaves))}
}

// token takes a term of the text.
func (w *watcher) token(t token) {
	w.plain = appendPlain(w.plain[:0], t.text)
	for i, l := range w.b.leaves {
		if !l.fields.Has(w.field) {
			continue
		}
		var row uint32
		for n, match := range w.b.matches[i] {
			if (n == 0 || w.rows[i]&(1<<(n-1)) != 0) && match(w.field, w.plain, t.text) {
				row |= 1 << n
			}
		}
		w.rows[i] = row
		if row&(1<<(len(l.words)-1)) != 0 {
			w.found(i, t, len(l.words))
		}
	}
}
