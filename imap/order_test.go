package imap

import (
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestSortKeys(t *testing.T) {
	for _, test := range []struct {
		text, printed string
		want          []SortKey
	}{
		{"(SUBJECT)", "(SUBJECT)", []SortKey{{By: SortSubject}}},
		{"(subject REVERSE Date)", "(SUBJECT REVERSE DATE)", []SortKey{{By: SortSubject}, {SortDate, true}}},
		{"(ARRIVAL CC FROM SIZE TO DISPLAYFROM DISPLAYTO RELEVANCY)", "(ARRIVAL CC FROM SIZE TO DISPLAYFROM DISPLAYTO RELEVANCY)",
			[]SortKey{{By: SortArrival}, {By: SortCc}, {By: SortFrom}, {By: SortSize}, {By: SortTo},
				{By: SortDisplayFrom}, {By: SortDisplayTo}, {By: SortRelevancy}}},
	} {
		d := NewDecoder([]byte(test.text))
		got := d.SortKeys()
		d.End()
		if d.Err() != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %+v, %v", test.text, got, d.Err())
		}
		if printed := FormatSortKeys(got); printed != test.printed {
			t.Errorf("%s printed %s", test.text, printed)
		}
	}
	for _, bad := range []string{
		"", "()", "(", "(DATE", "(REVERSE)", "(REVERSE REVERSE DATE)", "(DATE  TO)", "(NONE)", "DATE", "(DATE )",
		"(" + strings.Repeat("TO ", SortKeysMax) + "TO)",
	} {
		d := NewDecoder([]byte(bad))
		d.SortKeys()
		d.End()
		if d.OK() {
			t.Errorf("%s was taken for sort keys", bad)
		}
	}
	if s := SortBy(200).String(); s != "" {
		t.Errorf("a key that is none is called %q", s)
	}
}

func TestAppendOrdered(t *testing.T) {
	for _, test := range []struct {
		numbers []uint32
		want    string
	}{
		{nil, ""},
		{[]uint32{5}, "5"},
		{[]uint32{23765, 23764, 23763, 23761}, "23765,23764,23763,23761"},
		{[]uint32{5, 3, 2, 1}, "5,3,2,1"},
		{[]uint32{10, 11, 12, 7, 8}, "10:12,7:8"},
		{[]uint32{1<<32 - 1, 1}, "4294967295,1"},
	} {
		if got := string(AppendOrdered(nil, test.numbers)); got != test.want {
			t.Errorf("%v: %s, want %s", test.numbers, got, test.want)
		}
	}
}

func TestWindow(t *testing.T) {
	for _, test := range []struct {
		text     string
		n        uint64
		from, to uint64
	}{
		{"1:500", 1000, 0, 500},
		{"500:1", 1000, 0, 500},
		{"23500:24000", 23764, 23499, 23764},
		{"24000:24500", 23764, 0, 0},
		{"-1:-100", 23764, 23664, 23764},
		{"-100:-1", 23764, 23664, 23764},
		{"-1:-1", 1, 0, 1},
		{"-3:-9", 5, 0, 3},
		{"-6:-9", 5, 0, 0},
		{"1:1", 0, 0, 0},
		{"-1:-4294967295", 3, 0, 3},
		{"4294967295:1", 3, 0, 3},
	} {
		d := NewDecoder([]byte(test.text))
		w := d.Window()
		d.End()
		if d.Err() != nil {
			t.Errorf("%s: %v", test.text, d.Err())
		}
		if from, to := w.Cut(test.n); from != test.from || to != test.to {
			t.Errorf("%s of %d: %d to %d, want %d to %d", test.text, test.n, from, to, test.from, test.to)
		}
		if w.String() != test.text || w.IsZero() {
			t.Errorf("%s printed %s", test.text, w)
		}
	}
	for _, bad := range []string{"", "1", "1:", ":1", "0:1", "1:0", "-0:-1", "1:-1", "-1:1", "1:*", "--1:-1", "1:4294967296", "1 : 2"} {
		d := NewDecoder([]byte(bad))
		w := d.Window()
		d.End()
		if d.OK() || !w.IsZero() && bad != "1 : 2" {
			t.Errorf("%s was taken for %s", bad, w)
		}
	}
}

// TestWindowCut compares with the obvious way to do it.
func TestWindowCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var set UIDSet
		for _, n := range rapid.SliceOfN(rapid.Uint32Range(1, 60), 0, 40).Draw(t, "numbers") {
			set.Add(n)
		}
		sign := rapid.SampledFrom([]int64{1, -1}).Draw(t, "sign")
		w := Window{sign * rapid.Int64Range(1, 50).Draw(t, "first"), sign * rapid.Int64Range(1, 50).Draw(t, "last")}
		var want UIDSet
		place, count := int64(0), int64(set.Count())
		for n := range set.All() {
			place++
			at := place
			if sign < 0 {
				at = place - count - 1
			}
			if at >= min(w.First, w.Last) && at <= max(w.First, w.Last) {
				want.Add(n)
			}
		}
		if got := w.CutSet(set); got.String() != want.String() {
			t.Fatalf("%s of %s: %s, want %s", w, set, got, want)
		}
	})
}

func TestThreads(t *testing.T) {
	for _, test := range []struct {
		text  string
		nodes []ThreadNode
	}{
		{"", nil},
		{"(2)(3 6 (4 23)(44 7 96))", []ThreadNode{{2, 0}, {3, 1}, {6, 2}, {4, 1}, {23, 0}, {44, 1}, {7, 1}, {96, 0}}},
		{"((3)(5))", []ThreadNode{{0, 2}, {3, 0}, {5, 0}}},
		{"(1 ((2)(3))(4))", []ThreadNode{{1, 2}, {0, 2}, {2, 0}, {3, 0}, {4, 0}}},
		{"(((1)(2))(3))", []ThreadNode{{0, 2}, {0, 2}, {1, 0}, {2, 0}, {3, 0}}},
	} {
		d := NewDecoder([]byte(test.text))
		if got := d.ThreadList(); d.Err() != nil || !reflect.DeepEqual(got, test.nodes) {
			t.Errorf("%s: %v, %v", test.text, got, d.Err())
		}
		if err := CheckThreads(test.nodes); err != nil {
			t.Errorf("%s: %v", test.text, err)
		}
		if got := string(AppendThreads(nil, test.nodes)); got != test.text {
			t.Errorf("%s printed %s", test.text, got)
		}
	}
	for name, test := range map[string]struct {
		nodes []ThreadNode
		want  string
	}{
		"an only child without number":     {[]ThreadNode{{1, 1}, {0, 2}, {2, 0}, {3, 0}}, "(1 (2)(3))"},
		"a root without number, one child": {[]ThreadNode{{0, 1}, {2, 0}}, "(2)"},
		"a chain of them":                  {[]ThreadNode{{0, 1}, {0, 1}, {2, 1}, {0, 1}, {3, 0}}, "(2 3)"},
	} {
		if got := string(AppendThreads(nil, test.nodes)); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
	for _, bad := range []string{
		"(", ")", "()", "(1", "1", "(1))", "(1 2", "(0)", "(1 (2)", "(1 (2) 3)", "((1)(2)3)", "(1(", "(1)x", "(*)", "(1)) (",
	} {
		d := NewDecoder([]byte(bad))
		if got := d.ThreadList(); d.OK() {
			t.Errorf("%s was taken for %v", bad, got)
		}
	}
	for _, bad := range [][]ThreadNode{
		{{1, 1}}, {{0, 0}}, {{1, 2}, {2, 0}}, {{1, 1 << 31}, {2, 1 << 31}, {3, 1 << 31}}, {{1, 1}, {0, 0}}, {{1, 0}, {2, 1}},
	} {
		if CheckThreads(bad) == nil {
			t.Errorf("%v was taken for whole threads", bad)
		}
	}
}

// TestThreadDepth nests deeper than any stack would bear.
func TestThreadDepth(t *testing.T) {
	const depth = 200_000
	nodes := make([]ThreadNode, 0, 2*depth+1)
	for range depth {
		nodes = append(nodes, ThreadNode{1, 2}, ThreadNode{2, 0})
	}
	nodes = append(nodes, ThreadNode{3, 0})
	text := AppendThreads(nil, nodes)
	d := NewDecoder(text)
	if got := d.ThreadList(); !reflect.DeepEqual(got, nodes) {
		t.Fatalf("%d nodes came back, %v", len(got), d.Err())
	}
}

func TestParseThreadAlgorithm(t *testing.T) {
	for _, a := range []ThreadAlgorithm{ThreadOrderedSubject, ThreadReferences, ThreadRefs} {
		if got, ok := ParseThreadAlgorithm(strings.ToLower(a.String())); !ok || got != a {
			t.Errorf("%s: %s, %t", a, got, ok)
		}
	}
	for _, bad := range []string{"", "REFERENCE", "REF"} {
		if a, ok := ParseThreadAlgorithm(bad); ok {
			t.Errorf("%q was taken for %s", bad, a)
		}
	}
	if s := ThreadAlgorithm(99).String(); s != "" {
		t.Errorf("an algorithm that is none is called %q", s)
	}
}

// FuzzThreads reads threads; what is read can be written and is the same again.
func FuzzThreads(f *testing.F) {
	for _, s := range []string{"(2)(3 6 (4 23)(44 7 96))", "((3)(5))", "(1 ((2)(3))(4))", "(1", "(((1)))"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d := NewDecoder([]byte(text))
		nodes := d.ThreadList()
		if !d.OK() {
			return
		}
		if err := CheckThreads(nodes); err != nil {
			t.Fatal(err)
		}
		printed := AppendThreads(nil, nodes)
		d = NewDecoder(printed)
		again := d.ThreadList()
		if !d.OK() || string(AppendThreads(nil, again)) != string(printed) {
			t.Fatalf("%q printed %q, then %q, %v", text, printed, AppendThreads(nil, again), d.Err())
		}
	})
}
