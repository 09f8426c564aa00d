package kvtest

import (
	"bytes"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"postroad/internal/kv"
)

func limits(t *testing.T, e *Store) {
	long := func(n int) []byte { return bytes.Repeat([]byte("x"), n) }
	sized := func(puts, size int) kv.Batch {
		b := kv.Batch{Space: "s"}
		for i := range puts {
			b.Puts = append(b.Puts, kv.Put{Key: fmt.Appendf(nil, "%04d", i), Value: long(size)})
		}
		return b
	}
	for _, c := range []struct {
		name string
		b    kv.Batch
		ok   bool
	}{
		{"longest key", kv.Batch{Space: "s", Puts: []kv.Put{{Key: long(kv.KeyMax)}}}, true},
		{"key too long", kv.Batch{Space: "s", Puts: []kv.Put{{Key: long(kv.KeyMax + 1)}}}, false},
		{"deleted key too long", kv.Batch{Space: "s", Deletes: [][]byte{long(kv.KeyMax + 1)}}, false},
		{"guarded key too long", kv.Batch{Space: "s", Guards: []kv.Guard{{Kind: kv.GuardAbsent, Key: long(kv.KeyMax + 1)}}}, false},
		{"counter too long", kv.Batch{Space: "s", Adds: []kv.Add{{Key: long(kv.KeyMax + 1)}}}, false},
		{"sequence too long", kv.Batch{Space: "s", Takes: []kv.Take{{Key: long(kv.KeyMax + 1)}}}, false},
		{"range too long", kv.Batch{Space: "s", Ranges: []kv.Range{{From: long(kv.KeyMax + 1)}}}, false},
		{"once too long", kv.Batch{Space: "s", Once: long(kv.KeyMax + 1)}, false},
		{"largest value", kv.Batch{Space: "s", Puts: []kv.Put{{Key: []byte("k"), Value: long(kv.ValueMax)}}}, true},
		{"value too large", kv.Batch{Space: "s", Puts: []kv.Put{{Key: []byte("k"), Value: long(kv.ValueMax + 1)}}}, false},
		{"largest batch", sized(16, kv.ValueMax-4), true},
		{"batch too large", sized(17, kv.ValueMax-4), false},
		{"most keys", sized(kv.BatchKeysMax, 1), true},
		{"too many keys", sized(kv.BatchKeysMax+1, 1), false},
		{"longest name", kv.Batch{Space: kv.Space(strings.Repeat("s", kv.SpaceMax))}, true},
		{"name too long", kv.Batch{Space: kv.Space(strings.Repeat("s", kv.SpaceMax+1))}, false},
	} {
		if c.ok {
			if _, err := e.Commit(ctx, c.b); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		before := version(t, e, "s")
		refused(t, e, kv.ErrTooLarge, c.b)
		if version(t, e, "s") != before {
			t.Errorf("%s: something was written", c.name)
		}
	}
}

func malformed(t *testing.T, e *Store) {
	place := func(at kv.Place) kv.Batch {
		return kv.Batch{Space: "s", Takes: []kv.Take{{Key: []byte("q"), N: 1}}, Puts: []kv.Put{{
			Key: []byte("k---"), Value: []byte("--------"), Places: []kv.Place{at},
		}}}
	}
	for name, b := range map[string][]kv.Batch{
		"no name":             {{}},
		"zero in the name":    {{Space: "a\x00b"}},
		"space twice":         {{Space: "a"}, {Space: "b"}, {Space: "a"}},
		"guard of no kind":    {{Space: "s", Guards: []kv.Guard{{Key: []byte("k")}}}},
		"guard of what kind":  {{Space: "s", Guards: []kv.Guard{{Kind: 99, Key: []byte("k")}}}},
		"place width":         {place(kv.Place{InValue: true, Width: 2})},
		"place below":         {place(kv.Place{InValue: true, Offset: -1, Width: 4})},
		"place behind value":  {place(kv.Place{InValue: true, Offset: 5, Width: 4})},
		"place behind key":    {place(kv.Place{Offset: 1, Width: 4})},
		"place of no take":    {place(kv.Place{InValue: true, Width: 4, Take: 1})},
		"place of take below": {place(kv.Place{InValue: true, Width: 4, Take: -1})},
	} {
		if _, err := e.Commit(ctx, b...); err == nil {
			t.Errorf("%s: no error", name)
		} else {
			refused(t, e, kv.ErrInvalid, b...)
		}
	}
	if _, err := e.Snapshot(ctx, ""); err == nil {
		t.Error("snapshot of no space")
	}
	if _, err := e.Versions(ctx, "a", ""); err == nil {
		t.Error("version of no space")
	}
}

// idempotent is a batch with a Once that would change something each time.
func idempotent(s kv.Space, once string) kv.Batch {
	return kv.Batch{
		Space: s, Once: []byte(once),
		Adds:  []kv.Add{{Key: []byte("c"), N: 1}},
		Takes: []kv.Take{{Key: []byte("q"), N: 2}, {Key: []byte("p"), N: 1, AtLeast: 500}},
	}
}

func once(t *testing.T, open Factory) {
	e := open(t, time.Now)
	commit(t, e, put("s", "moves", "the version"))
	first := commit(t, e, idempotent("s", "key"))
	if first[0].Already {
		t.Error("the first commit was answered Already")
	}
	first[0].Already = true
	for i := range 3 {
		again := commit(t, e, idempotent("s", "key"))
		if diff := cmp.Diff(first, again); diff != "" {
			t.Errorf("time %d: %s", i, diff)
		}
		commit(t, e, put("s", "moves", "the version"))
		e.reopen(t)
	}
	if n, q := counter(t, e, "s", "c"), sequence(t, e, "s", "q"); n != 1 || q != 2 {
		t.Errorf("counter %d, sequence %d: done more than once", n, q)
	}
	for _, b := range []kv.Batch{idempotent("s", "other key"), idempotent("other", "key"), idempotent("s", "")} {
		if r := commit(t, e, b); r[0].Already {
			t.Errorf("space %q, once %q: answered Already", b.Space, b.Once)
		}
	}
	failing := idempotent("s", "failing")
	failing.Guards = []kv.Guard{{Kind: kv.GuardPresent, Key: []byte("missing")}}
	refused(t, e, kv.ErrConflict, failing)
	failing.Guards = nil
	if r := commit(t, e, failing); r[0].Already {
		t.Error("a refused commit was remembered")
	}
	failing.Guards = []kv.Guard{{Kind: kv.GuardPresent, Key: []byte("missing")}}
	if r := commit(t, e, failing); !r[0].Already {
		t.Error("guards were asked before Once")
	}
}

func onceSpaces(t *testing.T, e *Store) {
	plain := kv.Batch{Space: "plain", Takes: []kv.Take{{Key: []byte("q"), N: 1}}}
	first := commit(t, e, plain, idempotent("s", "key"), idempotent("t", "key"))
	commit(t, e, put("s", "k", "v"), put("plain", "k", "v"))
	for i := range first {
		first[i].Already = true
	}
	e.reopen(t)
	if diff := cmp.Diff(first, commit(t, e, plain, idempotent("s", "key"), idempotent("t", "key"))); diff != "" {
		t.Error(diff)
	}
	// One that was seen speaks for the whole commit.
	r := commit(t, e, idempotent("s", "key"), idempotent("new", "new"), put("plain", "k", "w"))
	if !r[0].Already || !r[1].Already || !r[2].Already || version(t, e, "new") != 0 {
		t.Errorf("half of a commit was done: %v", r)
	}
	want(t, e, "plain", "k", "v")
}

func onceAges(t *testing.T, open Factory) {
	const week = 7 * 24 * time.Hour
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name    string
		after   time.Duration
		already bool
	}{
		{"at once", 0, true},
		{"nearly a week", week - time.Minute, true},
		{"more than a week", week + time.Minute, false},
		{"a month", 30 * 24 * time.Hour, false},
		{"the clock jumped back a day", -24 * time.Hour, true},
	} {
		for day := range 7 { // wherever the week begins
			var after atomic.Int64
			at := now.Add(time.Duration(day) * 24 * time.Hour)
			e := open(t, func() time.Time { return at.Add(time.Duration(after.Load())) })
			commit(t, e, idempotent("s", "key"))
			after.Store(int64(c.after))
			e.reopen(t)
			if r := commit(t, e, idempotent("s", "key")); r[0].Already != c.already {
				t.Errorf("%s, day %d: Already is %v", c.name, day, r[0].Already)
			}
		}
	}
}
