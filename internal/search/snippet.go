package search

import "unicode/utf8"

// Mark is a range of octets of a text.
type Mark struct{ Start, End int }

// marksMost bounds the marks of a text.
const marksMost = 1000

// Marks returns where in a text of some field the words of a query stand, in order and
// apart.
func (q *Query) Marks(field Field, text []byte) []Mark {
	var marks []Mark
	var starts [phraseWords]int64 // of the last terms, in a ring
	n := 0
	not := q.denied()
	w := q.bind(allLanguages).watch(field, func(i int, last token, words int) {
		if not[i] || len(marks) == marksMost {
			return
		}
		m := Mark{int(starts[(n-words)%phraseWords]), int(last.end)}
		for len(marks) > 0 && marks[len(marks)-1].End >= m.Start {
			m.Start = min(m.Start, marks[len(marks)-1].Start)
			m.End = max(m.End, marks[len(marks)-1].End)
			marks = marks[:len(marks)-1]
		}
		marks = append(marks, m)
	})
	t := tokenizer{emit: func(k token) {
		starts[n%phraseWords] = k.start
		n++
		w.token(k)
	}}
	t.feed(text)
	t.finish()
	return marks
}

// denied are the leaves that stand behind NOT.
func (q *Query) denied() []bool {
	not := make([]bool, len(q.leaves))
	var walk func(n *node, under bool)
	walk = func(n *node, under bool) {
		if n.op == opLeaf {
			not[n.leaf] = under
		}
		for i := range n.kids {
			walk(&n.kids[i], under != (n.op == opNot))
		}
	}
	walk(&q.root, false)
	return not
}

// Snippet returns a part of a text of about most octets around the words of a query, and
// where they stand in it. Without any of them it is the beginning.
func (q *Query) Snippet(field Field, text []byte, most int) (string, []Mark) {
	marks := q.Marks(field, text)
	from := 0
	if len(marks) > 0 && len(text) > most {
		from = max(0, min(marks[0].Start-most/4, len(text)-most))
	}
	for from > 0 && from < len(text) && !utf8.RuneStart(text[from]) {
		from++
	}
	to := min(len(text), from+most)
	for to > from && to < len(text) && !utf8.RuneStart(text[to]) {
		to--
	}
	var in []Mark
	for _, m := range marks {
		if m.Start >= from && m.End <= to {
			in = append(in, Mark{m.Start - from, m.End - from})
		}
	}
	return string(text[from:to]), in
}
