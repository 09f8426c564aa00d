package kvtest

import (
	"bytes"
	"errors"
	"math"
	"testing"

	"postroad/internal/kv"
)

func guardAbsent(t *testing.T, e *Store) {
	b := put("s", "k", "1")
	b.Guards = []kv.Guard{{Kind: kv.GuardAbsent, Key: []byte("k")}}
	commit(t, e, b)
	refused(t, e, kv.ErrConflict, b)
	commit(t, e, kv.Batch{Space: "s", Deletes: [][]byte{[]byte("k")}})
	commit(t, e, b)
}

func guardPresent(t *testing.T, e *Store) {
	b := put("s", "other", "1")
	b.Guards = []kv.Guard{{Kind: kv.GuardPresent, Key: []byte("k")}}
	refused(t, e, kv.ErrConflict, b)
	want(t, e, "s", "other", "-")
	commit(t, e, put("s", "k", ""))
	commit(t, e, b)
	e.reopen(t)
	commit(t, e, b)
}

func guardEquals(t *testing.T, e *Store) {
	b := put("s", "k", "2")
	b.Guards = []kv.Guard{{Kind: kv.GuardEquals, Key: []byte("k"), Value: []byte("1")}}
	refused(t, e, kv.ErrConflict, b)
	commit(t, e, put("s", "k", "1"))
	commit(t, e, b)
	refused(t, e, kv.ErrConflict, b)
	want(t, e, "s", "k", "2")
	long := string(bytes.Repeat([]byte("x"), 5000))
	commit(t, e, put("s", "k", long))
	b.Guards[0].Value = []byte(long)
	commit(t, e, b)
	refused(t, e, kv.ErrConflict, b)
	b.Guards[0].Value = nil
	refused(t, e, kv.ErrConflict, b) // no value is not an empty one's guard
	commit(t, e, put("s", "k", ""))
	commit(t, e, b)
}

func guardVersion(t *testing.T, e *Store) {
	b := put("s", "k", "1")
	b.Guards = []kv.Guard{{Kind: kv.GuardVersion, Version: 0}}
	commit(t, e, b)
	refused(t, e, kv.ErrConflict, b)
	e.reopen(t)
	refused(t, e, kv.ErrConflict, b)
	b.Guards[0].Version = 1
	commit(t, e, b)
}

// guardsAfterChanges: a guard that was asked once is asked again after each way in which
// its key can change.
func guardsAfterChanges(t *testing.T, e *Store) {
	present := kv.Batch{Space: "s", Guards: []kv.Guard{{Kind: kv.GuardPresent, Key: []byte("k1")}}}
	absent := kv.Batch{Space: "s", Guards: []kv.Guard{{Kind: kv.GuardAbsent, Key: []byte("k1")}}}
	quietly := func(b kv.Batch) kv.Batch { b.Quiet = true; return b }
	placed := kv.Batch{Space: "s", Takes: []kv.Take{{Key: []byte("q"), N: 1}}, Puts: []kv.Put{{
		Key: []byte("k----"), Value: []byte("v"), Places: []kv.Place{{Offset: 1, Width: 4}},
	}}}
	for _, c := range []struct {
		name   string
		change kv.Batch
		there  bool
	}{
		{"put", put("s", "k1", "v"), true},
		{"delete", kv.Batch{Space: "s", Deletes: [][]byte{[]byte("k1")}}, false},
		{"quiet put", quietly(put("s", "k1", "v")), true},
		{"quiet delete", quietly(kv.Batch{Space: "s", Deletes: [][]byte{[]byte("k1")}}), false},
		{"put again", put("s", "k1", "v"), true},
		{"range delete", kv.Batch{Space: "s", Ranges: []kv.Range{{From: []byte("k"), To: []byte("l")}}}, false},
		{"quiet put again", quietly(put("s", "k1", "v")), true},
		{"quiet range delete", quietly(kv.Batch{Space: "s", Ranges: []kv.Range{{From: []byte("k"), To: []byte("l")}}}), false},
	} {
		commit(t, e, c.change)
		holds, fails := present, absent
		if !c.there {
			holds, fails = absent, present
		}
		if _, err := e.Commit(ctx, holds); err != nil {
			t.Errorf("after %s: %v", c.name, err)
		}
		if _, err := e.Commit(ctx, fails); !errors.Is(err, kv.ErrConflict) {
			t.Errorf("after %s: %v, want a conflict", c.name, err)
		}
	}
	free := kv.Batch{Space: "s", Guards: []kv.Guard{{Kind: kv.GuardAbsent, Key: []byte("k\x00\x00\x00\x01")}}}
	commit(t, e, free)
	commit(t, e, placed)
	refused(t, e, kv.ErrConflict, free)
}

func guardError(t *testing.T, e *Store) {
	b := kv.Batch{Space: "s", Guards: []kv.Guard{
		{Kind: kv.GuardAbsent, Key: []byte("a")}, {Kind: kv.GuardPresent, Key: []byte("b")},
	}}
	err := refused(t, e, kv.ErrConflict, put("r", "k", "1"), b)
	var conflict *kv.ConflictError
	if !errors.As(err, &conflict) || conflict.Space != "s" || string(conflict.Guard.Key) != "b" {
		t.Errorf("error %v does not name the guard", err)
	}
}

func adds(t *testing.T, e *Store) {
	add := func(n int64) kv.Batch {
		return kv.Batch{Space: "s", Adds: []kv.Add{{Key: []byte("c"), N: n}}}
	}
	if n := counter(t, e, "s", "c"); n != 0 {
		t.Errorf("counter of nothing: %d", n)
	}
	for _, c := range []struct{ n, want int64 }{{5, 5}, {-7, -2}, {2, 0}, {math.MaxInt64, math.MaxInt64}, {-1, math.MaxInt64 - 1}} {
		commit(t, e, add(c.n))
		if n := counter(t, e, "s", "c"); n != c.want {
			t.Errorf("after %+d: %d, want %d", c.n, n, c.want)
		}
		e.reopen(t)
		if n := counter(t, e, "s", "c"); n != c.want {
			t.Errorf("after %+d, opened again: %d, want %d", c.n, n, c.want)
		}
	}
	refused(t, e, kv.ErrLimit, add(2))
}

func addsLimit(t *testing.T, e *Store) {
	add := func(n, limit int64) kv.Batch {
		b := put("s", "k", "v")
		b.Adds = []kv.Add{{Key: []byte("c"), N: n, Limit: limit}}
		return b
	}
	commit(t, e, add(10, 10))
	err := refused(t, e, kv.ErrLimit, add(1, 10))
	var limit *kv.LimitError
	if !errors.As(err, &limit) || limit.Value != 10 || limit.Space != "s" || limit.Add.N != 1 {
		t.Errorf("error %v does not tell the counter as it stands", err)
	}
	commit(t, e, add(1, 0))  // no limit
	commit(t, e, add(-1, 5)) // a shrinking add is never refused, wherever it ends
	commit(t, e, add(0, 5))  // nor one that changes nothing
	if n := counter(t, e, "s", "c"); n != 10 {
		t.Errorf("counter %d, want 10", n)
	}
	if v := version(t, e, "s"); v != 4 {
		t.Errorf("version %d, want the refused commit not counted", v)
	}
}

func addsTwice(t *testing.T, e *Store) {
	c := kv.Add{Key: []byte("c"), N: 3, Limit: 5}
	refused(t, e, kv.ErrLimit, kv.Batch{Space: "s", Adds: []kv.Add{c, c}})
	if n := counter(t, e, "s", "c"); n != 0 {
		t.Errorf("counter %d after a refusal", n)
	}
	commit(t, e, kv.Batch{Space: "s", Adds: []kv.Add{c, {Key: c.Key, N: -2}, {Key: c.Key, N: 4, Limit: 5}}})
	if n := counter(t, e, "s", "c"); n != 5 {
		t.Errorf("counter %d, want 5", n)
	}
}

// take is a batch that draws from "q".
func take(n uint32, atLeast uint64) kv.Batch {
	return kv.Batch{Space: "s", Takes: []kv.Take{{Key: []byte("q"), N: n, AtLeast: atLeast}}}
}

func takes(t *testing.T, e *Store) {
	for i, c := range []struct {
		n     uint32
		first uint64
	}{{1, 1}, {3, 2}, {1, 5}} {
		if i == 2 {
			e.reopen(t)
		}
		if r := commit(t, e, take(c.n, 0)); r[0].Taken[0] != c.first {
			t.Errorf("take %d gave %d, want %d", c.n, r[0].Taken[0], c.first)
		}
	}
	b := take(2, 0)
	b.Takes = append(b.Takes, kv.Take{Key: []byte("p"), N: 1}, kv.Take{Key: []byte("q"), N: 1})
	if r := commit(t, e, b)[0].Taken; r[0] != 6 || r[1] != 1 || r[2] != 8 {
		t.Errorf("three takes gave %d", r)
	}
	if n := sequence(t, e, "s", "q"); n != 8 {
		t.Errorf("last number %d, want 8", n)
	}
}

func takesAtLeast(t *testing.T, e *Store) {
	for _, c := range []struct {
		n              uint32
		atLeast, first uint64
	}{{1, 10, 10}, {2, 5, 11}, {1, 13, 13}, {1, 0, 14}, {1, math.MaxUint32 + 5, math.MaxUint32 + 5}} {
		if r := commit(t, e, take(c.n, c.atLeast)); r[0].Taken[0] != c.first {
			t.Errorf("take %d, at least %d, gave %d, want %d", c.n, c.atLeast, r[0].Taken[0], c.first)
		}
	}
}

func takesNone(t *testing.T, e *Store) {
	for i, c := range []struct{ atLeast, next, last uint64 }{{0, 1, 0}, {7, 7, 6}, {3, 7, 6}, {0, 7, 6}} {
		if r := commit(t, e, take(0, c.atLeast)); r[0].Taken[0] != c.next {
			t.Errorf("take %d gave %d, want the next number %d", i, r[0].Taken[0], c.next)
		}
		e.reopen(t)
		if n := sequence(t, e, "s", "q"); n != c.last {
			t.Errorf("take %d left %d as the last number, want %d", i, n, c.last)
		}
	}
	if r := commit(t, e, take(1, 0)); r[0].Taken[0] != 7 {
		t.Errorf("the next number is %d, want 7", r[0].Taken[0])
	}
}

func takesBeyond(t *testing.T, e *Store) {
	commit(t, e, take(1, math.MaxUint64-2))
	refused(t, e, kv.ErrTooLarge, take(3, 0))
	if r := commit(t, e, take(1, 0)); r[0].Taken[0] != math.MaxUint64-1 {
		t.Errorf("took %d", r[0].Taken[0])
	}
}

func places(t *testing.T, e *Store) {
	b := kv.Batch{
		Space: "s",
		Takes: []kv.Take{{Key: []byte("q"), N: 3, AtLeast: 100}, {Key: []byte("p"), N: 1}},
		Puts: []kv.Put{{
			Key: []byte("k----"), Value: []byte("<--------,----,--------,>"),
			Places: []kv.Place{
				{Offset: 1, Width: 4, Take: 0, Plus: 2},
				{InValue: true, Offset: 1, Width: 8, Version: true},
				{InValue: true, Offset: 10, Width: 4, Take: 1},
				{InValue: true, Offset: 15, Width: 8, Take: 0},
			},
		}},
	}
	commit(t, e, put("s", "other", "moves the version"))
	for i := range uint64(2) {
		commit(t, e, b)
		key := "k" + number(102 + 3*i)[4:]
		want(t, e, "s", key, "<"+number(2+i)+","+number(1 + i)[4:]+","+number(100+3*i)+",>")
	}
	q := kv.Batch{Space: "s", Quiet: true, Puts: []kv.Put{{
		Key: []byte("quiet"), Value: make([]byte, 8), Places: []kv.Place{{InValue: true, Width: 8, Version: true}},
	}}}
	commit(t, e, q)
	want(t, e, "s", "quiet", number(3)) // the version as it stays
}

func placesNarrow(t *testing.T, e *Store) {
	b := take(1, math.MaxUint32)
	b.Puts = []kv.Put{{Key: []byte("k----"), Places: []kv.Place{{Offset: 1, Width: 4}}}}
	b.Adds = []kv.Add{{Key: []byte("c"), N: 1}}
	commit(t, e, b)
	refused(t, e, kv.ErrTooLarge, b)
	if n, c, v := sequence(t, e, "s", "q"), counter(t, e, "s", "c"), version(t, e, "s"); n != math.MaxUint32 || c != 1 || v != 1 {
		t.Errorf("a refused commit left sequence %d, counter %d, version %d", n, c, v)
	}
	b.Puts[0].Places[0].Width = 8
	b.Puts[0].Key = []byte("k--------")
	if r := commit(t, e, b); r[0].Taken[0] != math.MaxUint32+1 {
		t.Errorf("took %d", r[0].Taken[0])
	}
}
