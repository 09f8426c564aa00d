package mailstore

import (
	"fmt"
	"slices"
	"testing"
)

// TestEmailsSort sorts messages of several mailboxes together, also those that came after
// the sort keys were read.
func TestEmailsSort(t *testing.T) {
	f := newFixture(t)
	ctx, owner := t.Context(), Reader{ID: 1}
	mail := func(box, subject, from string, size int) {
		text := fmt.Sprintf("Subject: %s\r\nFrom: %s@x\r\nMessage-ID: <%s-%s@x>\r\nDate: Mon, 1 Jan 2024 10:00:%02d +0000\r\n\r\n%*d\r\n",
			subject, from, subject, from, size%60, size, 1)
		got(f.a.Append(ctx, f.box(box).ID, f.message(text)))(t)
	}
	mail("INBOX", "b", "zed", 30)
	mail("Archive", "Re: a", "ann", 20)
	mail("Sent", "c", "bob", 10)
	got(f.a.Copy(ctx, f.box("INBOX").ID, set("1"), f.box("Sent").ID))(t)
	check := func(name, want string, by ...EmailOrder) {
		t.Helper()
		e := got(f.a.Emails(ctx, owner))(t)
		places := slices.Collect(e.All())
		slices.SortFunc(places, func(a, b int) int { return int(int64(e.Message(a)) - int64(e.Message(b))) })
		before := slices.Clone(places)
		have := ""
		for _, p := range got(e.Sort(ctx, places, by))(t) {
			r := got(f.a.Record(ctx, e.Message(p), WantEnvelope))(t)
			have += string(r.Subject[len(r.Subject)-1:])
		}
		if have != want || !slices.Equal(before, places) {
			t.Errorf("%s: %s, want %s", name, have, want)
		}
	}
	check("nothing", "bac")
	check("subject", "abc", EmailOrder{By: SortSubject})
	check("subject reversed", "cba", EmailOrder{By: SortSubject, Reverse: true})
	check("from", "acb", EmailOrder{By: SortFrom})
	check("size", "cab", EmailOrder{By: SortSize})
	check("date", "cab", EmailOrder{By: SortDate})
	check("a value, then from", "cab", EmailOrder{Value: func(int) uint64 { return 0 }}, EmailOrder{By: SortSize})
	mail("Trash", "aa", "carl", 25)
	got(f.a.Expunge(ctx, f.box("Archive").ID, set("1"), true))(t)
	must(t, f.a.Sweep(ctx))
	mail("Trash", "d", "al", 1)
	check("more, and fewer", "abcd", EmailOrder{By: SortSubject})
	check("value reversed", "dacb", EmailOrder{Value: func(p int) uint64 { return uint64(p) }, Reverse: true})
	e := got(f.a.Emails(ctx, owner))(t)
	for id, n := range map[string]int{"b-zed@x": 1, "Re: a-ann@x": 0, "aa-carl@x": 1, "none": 0} {
		if at := got(e.WithMessageID(ctx, id))(t); len(at) != n {
			t.Errorf("Message-ID %s is at %v", id, at)
		}
	}
}

// TestSorted compares a list in chunks with a plain one.
func TestSorted(t *testing.T) {
	compare := func(a, b int) int { return a - b }
	var plain []int
	list := newSorted(plain)
	for step := range 200 {
		var in, out []int
		for i := range 1 + step*37%900 {
			if n := (step*7919 + i*104729) % 20_000; !slices.Contains(in, n) {
				in = append(in, n)
			}
		}
		if step%3 == 2 {
			in, out = nil, in
		}
		slices.Sort(in)
		slices.Sort(out)
		in = slices.DeleteFunc(in, func(n int) bool { _, there := slices.BinarySearch(plain, n); return there })
		before, was := list, slices.Clone(plain)
		list = list.without(out, compare)
		list = list.with(in, compare)
		plain = append(slices.DeleteFunc(plain, func(n int) bool { _, there := slices.BinarySearch(out, n); return there }), in...)
		slices.Sort(plain)
		if !slices.Equal(slices.Concat(list.chunks...), plain) || !slices.Equal(slices.Concat(before.chunks...), was) || list.len() != len(plain) {
			t.Fatalf("step %d: %d items, want %d", step, list.len(), len(plain))
		}
		for _, c := range list.chunks {
			if len(c) > sortedMax || len(c) == 0 {
				t.Fatalf("a chunk of %d", len(c))
			}
		}
		for i, n := range plain {
			if k, found := list.search(func(m int) int { return m - n }); !found || k != i || list.at(i) != n {
				t.Fatalf("%d is at %d, want %d", n, k, i)
			}
		}
	}
}
