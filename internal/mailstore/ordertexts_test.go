package mailstore

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestTexts numbers texts in an order of chance, in two helpings, against a map, and
// compares their ranks with a plain sort.
func TestTexts(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	texts, known := newTexts(0), map[string]uint32{"": 0}
	for helping := range 2 {
		for range 5000 {
			s := strings.Repeat("x", r.IntN(12)) + fmt.Sprint(r.IntN(3000))
			n := texts.number(s)
			if want, there := known[s]; there && n != want || !there && int(n) != len(known) {
				t.Fatalf("number of %q: %d; known %d, %t, of %d", s, n, want, there, len(known))
			}
			known[s] = n
		}
		sorted := slices.Sorted(slices.Values(texts.list))
		for n, rank := range texts.ranks() {
			if sorted[rank] != texts.list[n] {
				t.Fatalf("helping %d: rank of %q is %d, of %q in truth", helping, texts.list[n], rank, sorted[rank])
			}
		}
	}
	if len(texts.list) != len(known) {
		t.Errorf("%d texts, want %d", len(texts.list), len(known))
	}
}

// TestUvarints reads numbers by sevens as encoding/binary does one by one.
func TestUvarints(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 2000 {
		var want, got [7]uint64
		var b []byte
		for k := range want {
			want[k] = r.Uint64() >> r.IntN(64)
			b = binary.AppendUvarint(b, want[k])
		}
		whole := reader{b: append(slices.Clone(b), 7)}
		if whole.uvarints(&got); got != want || whole.bad || len(whole.b) != 1 {
			t.Fatalf("read %v, bad %t, %d left; want %v", got, whole.bad, len(whole.b), want)
		}
		cut := reader{b: b[:r.IntN(len(b))]}
		if cut.uvarints(&got); !cut.bad {
			t.Fatalf("%d of %d octets were read as a whole row", len(b), len(b))
		}
	}
	for name, b := range map[string][]byte{
		"over 64 bits":  append(slices.Repeat([]byte{0xff}, 9), 2),
		"never at end":  slices.Repeat([]byte{0x80}, 40),
		"eleven octets": append(slices.Repeat([]byte{0x80}, 10), 0, 0, 0, 0, 0, 0, 0),
	} {
		var v [7]uint64
		if rd := (reader{b: b}); !func() bool { rd.uvarints(&v); return rd.bad }() {
			t.Errorf("%s: read as %v", name, v)
		}
	}
}

// TestSortNeeds sorts by date alone first, then by texts, then after a delivery: what was
// left out is read when it is asked for.
func TestSortNeeds(t *testing.T) {
	f := newFixture(t)
	inbox := f.box("INBOX").ID
	add := func(subject, day string) {
		got(f.a.Append(t.Context(), inbox, f.message("From: "+subject[len(subject)-1:]+day+"@x.test\r\nSubject: "+subject+"\r\nDate: "+day+" Jan 2024 10:00:00 +0000\r\n\r\nx\r\n")))(t)
	}
	add("b", "3")
	add("a", "2")
	add("Re: b", "1")
	v := got(f.a.View(t.Context(), inbox))(t)
	defer v.Close()
	check := func(by SortBy, want ...int) {
		t.Helper()
		s := got(v.Snapshot(t.Context()))(t)
		if order := got(s.Sort(t.Context(), allUIDs, []SortCriterion{{By: by}}))(t); !slices.Equal(order, want) {
			t.Errorf("sorted by %d: %v, want %v", by, order, want)
		}
	}
	check(SortDate, 2, 1, 0)
	check(SortSubject, 1, 0, 2)
	if v.live.order.all {
		t.Error("all texts were read for a SORT by date or subject")
	}
	check(SortFrom, 1, 2, 0)
	check(SortSubject, 1, 0, 2)
	add("aa", "4")
	check(SortDate, 2, 1, 0, 3)
	check(SortSubject, 1, 3, 0, 2)
	if n := len(got(got(v.Snapshot(t.Context()))(t).Threads(t.Context(), allUIDs, ThreadOrderedSubject))(t)); n != 4 {
		t.Errorf("%d messages in threads, want 4", n)
	}
}
