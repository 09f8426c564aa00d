package faultkv

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/kv"
	"postroad/internal/kv/memkv"
)

func put(e *Engine, s kv.Space, k string) error {
	_, err := e.Commit(context.Background(), kv.Batch{Space: s, Puts: []kv.Put{{Key: []byte(k), Value: []byte("v")}}})
	return err
}

func keys(e *Engine, s kv.Space) (n int, err error) {
	snap, err := e.Snapshot(context.Background(), s)
	if err != nil {
		return 0, err
	}
	defer snap.Close()
	for _, err := range snap.Scan(kv.Range{}) {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func TestFaults(t *testing.T) {
	for _, c := range []struct {
		name    string
		fault   Fault
		put     []error // of one commit after the other in space a/1
		kept    int     // keys there afterwards
		read    error
		version error
	}{
		{"none", Fault{}, []error{nil, nil}, 2, nil, nil},
		{"full", Fault{Commit: kv.ErrFull}, []error{kv.ErrFull, kv.ErrFull}, 0, nil, nil},
		{"elsewhere", Fault{Spaces: "b/", Commit: kv.ErrFull, Snapshot: ErrBroken}, []error{nil}, 1, nil, nil},
		{"conflicts", Fault{Spaces: "a/", Conflicts: 2}, []error{kv.ErrConflict, kv.ErrConflict, nil}, 1, nil, nil},
		{"conflicts for ever", Fault{Conflicts: -1}, []error{kv.ErrConflict, kv.ErrConflict}, 0, nil, nil},
		{"lost", Fault{Lost: 1}, []error{ErrBroken, nil}, 2, nil, nil},
		{"unreadable", Fault{Snapshot: ErrBroken, Versions: ErrBroken}, []error{nil}, 1, ErrBroken, ErrBroken},
		{"broken off", Fault{Scan: ErrBroken}, []error{nil, nil}, 2, ErrBroken, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := New(memkv.New())
			defer e.Close()
			e.Set(c.fault)
			for i, want := range c.put {
				if err := put(e, "a/1", string(rune('a'+i))); !errors.Is(err, want) {
					t.Errorf("commit %d: %v, want %v", i, err, want)
				}
			}
			if _, err := keys(e, "a/1"); !errors.Is(err, c.read) {
				t.Errorf("read: %v, want %v", err, c.read)
			}
			if _, err := e.Versions(t.Context(), "a/1"); !errors.Is(err, c.version) {
				t.Errorf("version: %v, want %v", err, c.version)
			}
			e.Set(Fault{})
			if n, err := keys(e, "a/1"); n != c.kept || err != nil {
				t.Errorf("%d keys, want %d, %v", n, c.kept, err)
			}
		})
	}
}

func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(memkv.New())
		defer e.Close()
		e.Set(Fault{Slow: time.Minute})
		before := time.Now()
		if err := put(e, "a/1", "k"); err != nil || time.Since(before) < time.Minute {
			t.Errorf("commit: %v after %v", err, time.Since(before))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := e.Snapshot(ctx, "a/1"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("snapshot: %v", err)
		}
	})
}
