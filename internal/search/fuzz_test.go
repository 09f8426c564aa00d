package search

import (
	"bytes"
	"testing"
	"unicode/utf8"
)

// FuzzBlock feeds the readers of what is stored: nothing may go wrong but ErrDamaged.
func FuzzBlock(f *testing.F) {
	var block []byte
	w := &termWriter{docs: 100, put: func(_, v []byte) error { block = v; return nil }}
	for _, t := range []string{"a", "abc", "abd", "b"} {
		must(f, w.add(FieldBody, []byte(t), []uint32{1, 5, 99}, nil))
	}
	must(f, w.endBlock())
	f.Add(block)
	f.Add([]byte(pendingRecord))
	f.Add([]byte("\x02\x00\x00b\x02\x01\x02of\x01\x03the\x03\x00S\x01\x01a"))
	f.Add(appendManifest(nil, []segment{{id: 7, docs: 3, languages: 1}}))
	f.Add(appendPostings(nil, []uint32{0, 1, 2, 3}, 4))
	f.Fuzz(func(t *testing.T, v []byte) {
		terms := 0
		_, _, err := eachInBlock(v, nil, func(k *found) bool {
			terms++
			return true
		})
		if err == nil && terms > len(v) {
			t.Fatalf("%d terms of %d octets", terms, len(v))
		}
		var r recordReader
		new := [len(allFields)]int{}
		r.term = func(f, n int, term []byte) {
			if new[f]++; n != new[f]-1 || len(term) == 0 {
				t.Fatalf("term %d of %d: %q", n, new[f], term)
			}
		}
		r.token = func(f, n int, o occurrence) {
			if n < 0 || n >= new[f] || o.gap() >= gaps {
				t.Fatalf("term %d of %d, gap %d", n, new[f], o.gap())
			}
		}
		_ = r.piece(v) // nothing may go wrong but ErrDamaged
		places := occurrenceReader{octets: v, end: 8 * len(v)}
		for {
			all, known, err := places.next(nil)
			if err != nil {
				break
			}
			if known == (len(all) == 0) || len(all) > occurrencesMax || places.at > places.end {
				t.Fatalf("%d occurrences, %t, to %d of %d", len(all), known, places.at, places.end)
			}
		}
		docs, last := 0, -1
		if err := readPostings(v, 1000, func(n uint32) {
			if int(n) <= last || n >= 1000 {
				t.Fatalf("document %d behind %d", n, last)
			}
			last = int(n)
			docs++
		}); err == nil && docs != postingsCount(v) && v[0]&1 == 0 {
			t.Fatalf("%d documents, not %d", docs, postingsCount(v))
		}
	})
}

// FuzzNeedle holds that a needle cut from a text is found in the text's terms.
func FuzzNeedle(f *testing.F) {
	f.Add("The quick brown fox", 4, 9)
	f.Add("日本語テキスト", 3, 12)
	f.Add("naïve\xff café \u0301x", 2, 9)
	f.Fuzz(func(t *testing.T, text string, from, to int) {
		if from < 0 || to > len(text) || from > to || len(text) > 4096 {
			return
		}
		var terms [][]byte
		k := tokenizer{emit: func(k token) {
			if len(k.text) == 0 || len(k.text) > termMax || k.start >= k.end {
				t.Fatalf("term %q of %d to %d", k.text, k.start, k.end)
			}
			terms = append(terms, bytes.Clone(k.text))
		}}
		k.feed([]byte(text))
		k.finish()
		n := NewNeedle(FieldsOf(FieldBody), text[from:to])
		if !utf8.ValidString(text) { // needles of IMAP are UTF-8, what is cut may not be
			return
		}
		for i := range n.pieces {
			w := n.pieces[i].wanted(n.fields)
			there := false
			for _, term := range terms {
				plain := appendPlain(nil, term)
				match, _ := w.match(FieldBody, recordTermKey(plain, term), plain, term)
				there = there || match
			}
			if !there {
				t.Fatalf("piece %q of %q is in none of %q", n.pieces[i].text, text[from:to], terms)
			}
		}
	})
}

// FuzzQuery holds that any text is a query, within bounds, and that marks are in order.
func FuzzQuery(f *testing.F) {
	for _, s := range []string{"a b", `"a b" OR -c*`, "((((", "from:x NOT", "NOT NOT a", ") ( )", "to:\"x", "日本 語*", "- a", "a OR"} {
		f.Add(s, "Some text: a b c, 日本語")
	}
	f.Fuzz(func(t *testing.T, text, in string) {
		q := ParseQuery(text)
		if len(q.leaves) > queryLeaves {
			t.Fatalf("%d words", len(q.leaves))
		}
		snippet, marks := q.Snippet(FieldBody, []byte(in), 20)
		end := 0
		for _, m := range marks {
			if m.Start < end || m.End <= m.Start || m.End > len(snippet) {
				t.Fatalf("marks %v in %q", marks, snippet)
			}
			end = m.End
		}
	})
}
