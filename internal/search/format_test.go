package search

import (
	"bytes"
	"math/rand"
	"slices"
	"testing"

	"postroad/internal/kv"
	"postroad/internal/kv/memkv"
)

// TestOccurrences holds that occurrences are read as they were written, one document
// behind the other, at any bit.
func TestOccurrences(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	var w bitWriter
	var want [][]occurrence
	for range 3000 {
		n := 1 + r.Intn([]int{1, 3, 30, occurrencesMax}[r.Intn(4)])
		if r.Intn(9) == 0 {
			w.writeUnknown()
			want = append(want, nil)
			continue
		}
		var all []occurrence
		at := uint32(0)
		for range n {
			at += 1 + uint32(r.Intn([]int{1, 2, 30, 900}[r.Intn(4)]))
			all = append(all, occurrenceAt(at, uint8(r.Intn(gaps))))
		}
		w.writeOccurrences(all)
		want = append(want, all)
	}
	var moved bitWriter
	moved.write(5, 3)
	moved.copy(w.finish(), 0, w.length())
	for _, c := range []struct {
		name string
		r    occurrenceReader
	}{{"as written", occurrenceReader{octets: w.finish(), end: w.length()}}, {"copied", occurrenceReader{octets: moved.finish(), at: 3, end: moved.length()}}} {
		for i := range want {
			got, known, err := c.r.next(nil)
			if err != nil || known != (want[i] != nil) || !slices.Equal(got, want[i]) {
				t.Fatalf("%s: document %d: %v, %t, %v, not %v", c.name, i, got, known, err, want[i])
			}
		}
		if _, _, err := c.r.next(nil); c.r.at != c.r.end && err == nil {
			t.Fatalf("%s: read to %d of %d", c.name, c.r.at, c.r.end)
		}
	}
}

// TestPhrases holds that needles and queries of several words are decided by the index
// alone, in records, in segments of several merges, and not where it cannot know.
func TestPhrases(t *testing.T) {
	f := newFixture(t, memkv.New())
	texts := []string{"one of the words", "one of,the words", "of\r\nthe", "the of", "proof theory", "a@b.example o'clock e-mail", "of  the", "日本語の字 of", "of the of the of"}
	for round := range 3 * mergeFan {
		for i, text := range texts {
			f.deliver(letterTo(round*100+i, text))
		}
		if round < 2*mergeFan {
			_, _, err := f.x.Fold(t.Context())
			must(t, err)
		}
		for more := true; more; {
			var err error
			more, err = f.x.Merge(t.Context())
			must(t, err)
		}
		if round%7 == 3 { // renumbers documents, with their occurrences
			b := kv.Batch{Space: f.x.Space}
			for i := 0; i < len(f.ids)-len(texts); i += 2 {
				PrepareDrop(&b, f.ids[i])
			}
			_, err := f.x.Engine.Commit(t.Context(), b)
			must(t, err)
			var left []MessageID
			for i, id := range f.ids {
				if i%2 == 1 || i >= len(f.ids)-len(texts) {
					left = append(left, id)
				}
			}
			f.ids = left
		}
	}
	body := FieldsOf(FieldBody)
	for _, c := range []struct {
		needle string
		proven bool
	}{{"of the", true}, {"f the w", true}, {"of the of", true}, {"the of the of", true}, {"b.example o'cl", true}, {"a@b.ex", true}, {"e-mail", true},
		{"本語の字 of", true}, {"of,the", false}, {"of  the", false}, {"of the ", false}, {"no such words", true}} {
		if n := f.compare(body, c.needle); n > 0 && c.proven {
			t.Errorf("%q: %d messages are to be looked into for nothing", c.needle, n)
		}
		found, err := f.x.Find(t.Context(), []*Needle{NewNeedle(body, c.needle)}, []*Query{ParseQuery(`body:"of the"`)})
		must(t, err)
		for _, id := range f.ids {
			p := found.Place(id)
			if s := found.State(p, 0); s == Maybe && c.proven {
				t.Errorf("%q is not decided for message %s", c.needle, id)
			}
			text := f.mail[id][bytes.Index(f.mail[id], []byte("\r\n\r\n")):]
			words := bytes.Join(bytes.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == ',' || r == '\r' || r == '\n' }), []byte(" "))
			want := No
			if bytes.Contains(words, []byte("of the")) && !bytes.Contains(words, []byte("proof")) {
				want = Yes
			}
			if s := found.State(p, 1); s != want {
				t.Errorf("query: %d, not %d: %q", s, want, text)
			}
		}
	}
}

// TestOtherFormat holds that an index of the format before is made anew, and that its
// messages are looked into until then.
func TestOtherFormat(t *testing.T) {
	f := newFixture(t, memkv.New())
	f.deliver(letterTo(1, "some words"), letterTo(2, "other words"))
	f.settle()
	old := kv.Batch{Space: f.x.Space, Puts: []kv.Put{
		{Key: manifestKey, Value: []byte{1, 1, 0, 0, 0, 0, 0, 0, 0, 9, 2, 0}},
		{Key: backfillKey, Value: append([]byte{1}, backfillPut(complete).Value[1:]...)},
		{Key: idKey(keyMessages, 9), Value: []byte{1, 5, 6}},
		{Key: recordKey(f.ids[1], 0), Value: []byte{1, 0, 'b', 1, 3, 'f', 'o', 'x'}}}}
	_, err := f.x.Engine.Commit(t.Context(), old)
	must(t, err)
	f.deliver(letterTo(3, "new words"))
	found, err := f.x.Find(t.Context(), []*Needle{NewNeedle(FieldsOf(FieldBody), "words")}, nil)
	must(t, err)
	for i, want := range []State{Maybe, Maybe, Yes} {
		if s := found.State(found.Place(f.ids[i]), 0); s != want {
			t.Errorf("message %d: %d, not %d", i, s, want)
		}
	}
	w, err := f.x.Work(t.Context())
	if err != nil || w.Whole || w.From != 0 {
		t.Fatalf("to do: %+v, %v", w, err)
	}
	must(t, f.x.Clean(t.Context()))
	must(t, f.x.snapshot(t.Context(), func(snap kv.Snapshot) error {
		for e, err := range snap.Scan(kv.Prefix([]byte{keySpace})) {
			if must(t, err); outdated(e.Value) {
				t.Errorf("key %q is left", e.Key)
			}
		}
		return nil
	}))
}
