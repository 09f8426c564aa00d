package kvtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"postroad/internal/kv"
)

func orderInBatch(t *testing.T, e *Store) {
	commit(t, e, put("s", "a", "1", "b", "1", "c", "1", "d", "1"))
	b := put("s", "a", "2", "b", "2")
	b.Guards = []kv.Guard{{Kind: kv.GuardPresent, Key: []byte("c")}} // checked before the deletes
	b.Deletes = [][]byte{[]byte("b"), []byte("c"), []byte("missing")}
	b.Ranges = []kv.Range{{From: []byte("a"), To: []byte("b")}, {From: []byte("z"), To: []byte("a")}}
	commit(t, e, b)
	got := list(t, snapshot(t, e, "s"), kv.Range{})
	if diff := cmp.Diff([]string{"a=2", "b=2", "d=1"}, got); diff != "" {
		t.Error(diff)
	}
	commit(t, e, put("s", "d", "first", "d", "last"))
	want(t, e, "s", "d", "last")
}

func allOrNothing(t *testing.T, e *Store) {
	good := put("a", "k", "1")
	good.Takes = []kv.Take{{Key: []byte("q"), N: 1}}
	good.Adds = []kv.Add{{Key: []byte("c"), N: 1}}
	for name, c := range map[string]struct {
		bad  kv.Batch
		want error
	}{
		"guard": {kv.Batch{Space: "b", Guards: []kv.Guard{{Kind: kv.GuardPresent, Key: []byte("k")}}}, kv.ErrConflict},
		"limit": {kv.Batch{Space: "z", Adds: []kv.Add{{Key: []byte("c"), N: 2, Limit: 1}}}, kv.ErrLimit},
	} {
		refused(t, e, c.want, good, c.bad)
		refused(t, e, c.want, c.bad, good)
		if get(t, e, "a", "k") != "-" || sequence(t, e, "a", "q") != 0 || counter(t, e, "a", "c") != 0 || version(t, e, "a") != 0 {
			t.Errorf("%s: a refused commit left something behind", name)
		}
	}
	r := commit(t, e, put("z", "k", "1"), good, put("b", "k", "1"))
	if r[0].Version != 1 || r[1].Version != 1 || r[1].Taken[0] != 1 || r[2].Version != 1 {
		t.Errorf("results %v", r)
	}
	e.reopen(t)
	for _, s := range []kv.Space{"a", "b", "z"} {
		want(t, e, s, "k", "1")
	}
}

func quiet(t *testing.T, e *Store) {
	b := put("s", "k", "1")
	b.Quiet = true
	if r := commit(t, e, b); r[0].Version != 0 {
		t.Errorf("a quiet commit made version %d", r[0].Version)
	}
	commit(t, e, put("s", "k", "2"))
	b.Takes = []kv.Take{{Key: []byte("q"), N: 1}}
	if r := commit(t, e, b); r[0].Version != 1 || r[0].Taken[0] != 1 {
		t.Errorf("a quiet commit gave %v", r)
	}
	if v := version(t, e, "s"); v != 1 {
		t.Errorf("version %d, want 1", v)
	}
	e.reopen(t)
	want(t, e, "s", "k", "1")
}

func versions(t *testing.T, e *Store) {
	const many = 3000
	names := make([]kv.Space, many)
	wants := make([]kv.Version, many)
	for i := range names {
		names[i] = kv.Space(fmt.Sprintf("a/%04d", i))
		if i%10 == 0 {
			wants[i] = 1
			commit(t, e, put(names[i], "k", "v"))
		}
	}
	wants[0] = 2
	if r := commit(t, e, kv.Batch{Space: names[0]}); r[0].Version != 2 {
		t.Errorf("an empty batch made version %d, want 2", r[0].Version)
	}
	for range 2 {
		got, err := e.Versions(ctx, names...)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, wants) {
			t.Error("versions differ")
		}
		e.reopen(t)
	}
	if snap := snapshot(t, e, names[0]); snap.Version() != 2 {
		t.Errorf("snapshot of version %d, want 2", snap.Version())
	}
}

func spacesApart(t *testing.T, e *Store) {
	for _, s := range []kv.Space{"a", "a/", "a/1", "a/10", "b", "a\xff"} {
		b := put(s, "k", string(s), "", "empty key")
		b.Adds = []kv.Add{{Key: []byte("k"), N: 1}}
		b.Takes = []kv.Take{{Key: []byte("k"), N: 1}}
		if r := commit(t, e, b); r[0].Version != 1 || r[0].Taken[0] != 1 {
			t.Errorf("space %q: %v", s, r)
		}
	}
	commit(t, e, kv.Batch{Space: "a/1", Ranges: []kv.Range{{}}})
	for _, s := range []kv.Space{"a", "a/", "a/10", "b", "a\xff"} {
		got := list(t, snapshot(t, e, s), kv.Range{})
		if diff := cmp.Diff([]string{"=empty key", "k=" + string(s)}, got); diff != "" {
			t.Error(diff)
		}
	}
	if got := list(t, snapshot(t, e, "a/1"), kv.Range{}); len(got) != 0 {
		t.Errorf("left after a delete of all: %q", got)
	}
	if counter(t, e, "a/1", "k") != 1 || sequence(t, e, "a/1", "k") != 1 || version(t, e, "a/1") != 2 {
		t.Error("a range delete took counters, sequences or the version")
	}
}

func scans(t *testing.T, e *Store) {
	commit(t, e, put("s", "a", "1", "ab", "2", "b", "3", "b\x00", "4", "b\xff", "5", "b\xff\xff", "6", "c", "7"))
	snap := snapshot(t, e, "s")
	for _, c := range []struct {
		name string
		r    kv.Range
		want string
	}{
		{"all", kv.Range{}, "1234567"},
		{"all reverse", kv.Range{Reverse: true}, "7654321"},
		{"from", kv.Range{From: []byte("b")}, "34567"},
		{"to", kv.Range{To: []byte("b")}, "12"},
		{"from to", kv.Range{From: []byte("ab"), To: []byte("b\xff")}, "234"},
		{"from to reverse", kv.Range{From: []byte("ab"), To: []byte("b\xff"), Reverse: true}, "432"},
		{"prefix", kv.Prefix([]byte("b")), "3456"},
		{"prefix of the last octet", kv.Prefix([]byte("b\xff")), "56"},
		{"limit", kv.Range{Limit: 2}, "12"},
		{"limit reverse", kv.Range{Limit: 2, Reverse: true}, "76"},
		{"limit beyond", kv.Range{From: []byte("c"), Limit: 5}, "7"},
		{"empty", kv.Range{From: []byte("b"), To: []byte("b")}, ""},
		{"upside down", kv.Range{From: []byte("c"), To: []byte("a")}, ""},
		{"upside down reverse", kv.Range{From: []byte("c"), To: []byte("a"), Reverse: true}, ""},
		{"behind all", kv.Range{From: []byte("d")}, ""},
	} {
		var got strings.Builder
		for _, entry := range list(t, snap, c.r) {
			got.WriteByte(entry[len(entry)-1])
		}
		if got.String() != c.want {
			t.Errorf("%s: %q, want %q", c.name, got.String(), c.want)
		}
	}
	for range snap.Scan(kv.Range{}) {
		break // leaving the loop early is no error
	}
	for entry, err := range snap.Scan(kv.Range{}) {
		if err != nil {
			t.Fatal(err)
		}
		if v, err := snap.Get(entry.Key); err != nil || !bytes.Equal(v, entry.Value) {
			t.Errorf("get within a scan: %q, %v", v, err)
		}
	}
}

func rangeDeletes(t *testing.T, e *Store) {
	b := kv.Batch{Space: "s"}
	for i := range 500 {
		b.Puts = append(b.Puts, kv.Put{Key: fmt.Appendf(nil, "%03d", i), Value: []byte("v")})
	}
	commit(t, e, b)
	commit(t, e, kv.Batch{Space: "s", Ranges: []kv.Range{
		{From: []byte("100"), To: []byte("200")}, {From: []byte("400")}, {From: []byte("000"), To: []byte("100"), Limit: 1},
	}})
	for range 2 {
		snap := snapshot(t, e, "s")
		got := list(t, snap, kv.Range{})
		snap.Close()
		if len(got) != 200 || got[0] != "200=v" || got[199] != "399=v" {
			t.Errorf("%d entries left, %q to %q", len(got), got[0], got[len(got)-1])
		}
		e.reopen(t)
	}
	commit(t, e, put("s", "150", "again"))
	want(t, e, "s", "150", "again")
}

func snapshotsStandStill(t *testing.T, e *Store) {
	commit(t, e, put("s", "a", "1", "b", "1"))
	before := snapshot(t, e, "s")
	b := put("s", "a", "2", "c", "2")
	b.Deletes = [][]byte{[]byte("b")}
	b.Adds = []kv.Add{{Key: []byte("n"), N: 1}}
	b.Takes = []kv.Take{{Key: []byte("n"), N: 1}}
	commit(t, e, b)
	after := snapshot(t, e, "s")
	if diff := cmp.Diff([]string{"a=1", "b=1"}, list(t, before, kv.Range{})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"a=2", "c=2"}, list(t, after, kv.Range{})); diff != "" {
		t.Error(diff)
	}
	for i, snap := range []kv.Snapshot{before, after} {
		n, err1 := snap.Counter([]byte("n"))
		q, err2 := snap.Sequence([]byte("n"))
		if err := errors.Join(err1, err2); err != nil || n != int64(i) || q != uint64(i) || snap.Version() != kv.Version(i+1) {
			t.Errorf("snapshot %d: counter %d, sequence %d, version %d, %v", i, n, q, snap.Version(), err)
		}
	}
}

func snapshotClosed(t *testing.T, e *Store) {
	commit(t, e, put("s", "a", "1", "b", "2"))
	snap, err := e.Snapshot(ctx, "s")
	if err != nil {
		t.Fatal(err)
	}
	steps := 0
	for range snap.Scan(kv.Range{}) {
		if steps++; steps == 1 {
			if err := snap.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if steps > 2 {
		t.Errorf("%d steps of a scan whose snapshot was closed", steps)
	}
	if _, err := snap.Get([]byte("a")); !errors.Is(err, kv.ErrClosed) {
		t.Errorf("get: %v", err)
	}
	if _, err := snap.Counter([]byte("a")); !errors.Is(err, kv.ErrClosed) {
		t.Errorf("counter: %v", err)
	}
	if _, err := snap.Sequence([]byte("a")); !errors.Is(err, kv.ErrClosed) {
		t.Errorf("sequence: %v", err)
	}
	for _, err := range snap.Scan(kv.Range{}) {
		if !errors.Is(err, kv.ErrClosed) {
			t.Errorf("scan: %v", err)
		}
	}
	if err := snap.Close(); !errors.Is(err, kv.ErrClosed) {
		t.Errorf("second close: %v", err)
	}
}

func valuesAreCopies(t *testing.T, e *Store) {
	b := put("s", "a", "1")
	commit(t, e, b)
	b.Puts[0].Key[0], b.Puts[0].Value[0] = 'x', 'x' // ours again once Commit has returned
	snap := snapshot(t, e, "s")
	v, err := snap.Get([]byte("a"))
	if err != nil {
		t.Fatal(err)
	}
	v[0] = 'y'
	want(t, e, "s", "a", "1")
	if v, err := snap.Get([]byte("a")); err != nil || string(v) != "1" {
		t.Errorf("%q, %v", v, err)
	}
}

func watch(t *testing.T, e *Store) {
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	hints, err := e.Watch(watching, "s")
	if err != nil {
		t.Fatal(err)
	}
	commit(t, e, put("other", "k", "1"))
	q := put("s", "k", "1")
	q.Quiet = true
	commit(t, e, q)
	select {
	case v := <-hints:
		t.Errorf("hint %d of nothing", v)
	default:
	}
	for range 3 {
		commit(t, e, put("s", "k", "1"))
	}
	// Hints come before Commit returns, or soon after.
	for v := kv.Version(0); v < 3; {
		select {
		case now := <-hints:
			if now <= v || now > 3 {
				t.Fatalf("hint %d after %d", now, v)
			}
			v = now
		case <-time.After(10 * time.Second):
			t.Fatal("no hint of the newest version")
		}
	}
	cancel()
	select {
	case _, open := <-hints:
		if open {
			t.Error("hint after the end")
		}
	case <-time.After(10 * time.Second):
		t.Error("the channel stays open when its context is done")
	}
	commit(t, e, put("s", "k", "1"))
}

func spacesListed(t *testing.T, e *Store) {
	var names []string
	for i := range 2500 {
		names = append(names, fmt.Sprintf("a/%04d", i))
	}
	names = append(names, "a", "b/1", "b/2", "\xff\xff")
	for i, name := range names {
		b := put(kv.Space(name), "k", "v")
		b.Quiet = i%2 == 0
		commit(t, e, b)
	}
	commit(t, e, kv.Batch{Space: "c", Adds: []kv.Add{{Key: []byte("c"), N: 1}}, Quiet: true})
	names = append(names, "c")
	slices.Sort(names)
	for _, prefix := range []string{"", "a", "a/", "a/00", "b/", "nothing", "\xff"} {
		var got, want []string
		for name, err := range e.Spaces(ctx, kv.Space(prefix)) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, string(name))
		}
		for _, name := range names {
			if strings.HasPrefix(name, prefix) {
				want = append(want, name)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("prefix %q: %s", prefix, diff)
		}
	}
	for range e.Spaces(ctx, "") {
		break
	}
	commit(t, e, kv.Batch{Space: "a/0000", Quiet: true, Ranges: []kv.Range{{}}})
	for name := range e.Spaces(ctx, "a/0000") {
		t.Errorf("space %q holds nothing and never moved", name)
	}
}

func emptyCommit(t *testing.T, e *Store) {
	if r, err := e.Commit(ctx); err != nil || len(r) != 0 {
		t.Errorf("no batches: %v, %v", r, err)
	}
	if r := commit(t, e, kv.Batch{Space: "s", Quiet: true}); r[0].Version != 0 {
		t.Errorf("nothing to do: %v", r)
	}
}

func cancelled(t *testing.T, e *Store) {
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := e.Commit(gone, put("s", "k", "1")); !errors.Is(err, context.Canceled) {
		t.Errorf("commit: %v", err)
	}
	if _, err := e.Snapshot(gone, "s"); !errors.Is(err, context.Canceled) {
		t.Errorf("snapshot: %v", err)
	}
	if _, err := e.Versions(gone, "s"); !errors.Is(err, context.Canceled) {
		t.Errorf("versions: %v", err)
	}
	if _, err := e.Watch(gone, "s"); !errors.Is(err, context.Canceled) {
		t.Errorf("watch: %v", err)
	}
	commit(t, e, put("t", "k", "1"))
	told := false
	for _, err := range e.Spaces(gone, "") {
		told = errors.Is(err, context.Canceled)
	}
	if !told {
		t.Error("spaces: no error")
	}
	want(t, e, "s", "k", "-")
}

func closed(t *testing.T, e *Store) {
	commit(t, e, put("s", "k", "1"))
	snap := snapshot(t, e, "s")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 50 {
			if _, err := e.Commit(ctx, put("s", "k", "1")); err != nil {
				if !errors.Is(err, kv.ErrClosed) {
					t.Errorf("commit beside close: %v", err)
				}
				return
			}
		}
	}()
	time.AfterFunc(10*time.Millisecond, func() { snap.Close() })
	if err := e.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	<-done
	if err := e.Close(); !errors.Is(err, kv.ErrClosed) {
		t.Errorf("second close: %v", err)
	}
	if _, err := snap.Get([]byte("k")); !errors.Is(err, kv.ErrClosed) {
		t.Errorf("get: %v", err)
	}
	if _, err := e.Commit(ctx, put("s", "k", "1")); !errors.Is(err, kv.ErrClosed) {
		t.Errorf("commit: %v", err)
	}
	if _, err := e.Snapshot(ctx, "s"); !errors.Is(err, kv.ErrClosed) {
		t.Errorf("snapshot: %v", err)
	}
	if _, err := e.Versions(ctx, "s"); !errors.Is(err, kv.ErrClosed) {
		t.Errorf("versions: %v", err)
	}
	if _, err := e.Watch(ctx, "s"); !errors.Is(err, kv.ErrClosed) {
		t.Errorf("watch: %v", err)
	}
	for _, err := range e.Spaces(ctx, "") {
		if !errors.Is(err, kv.ErrClosed) {
			t.Errorf("spaces: %v", err)
		}
	}
}
