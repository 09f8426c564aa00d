package blobtest

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"postroad/internal/blob"
	"postroad/internal/kv/hlc"
)

// Durable is a store that outlives its process, with what a test does to it. Each
// function closes the store it is given where that is still open.
type Durable struct {
	// Open opens an empty store.
	Open func(t *testing.T) blob.Store
	// Crash cuts the power and opens what is left: all that was synced, and of the rest a
	// part that depends on seed.
	Crash func(t *testing.T, s blob.Store, seed uint64) blob.Store
	// Damage changes one octet of what is stored at the location, where n chooses which.
	Damage func(t *testing.T, s blob.Store, l blob.Location, n int)
}

// RunDurable tests what Run cannot.
func RunDurable(t *testing.T, d Durable) {
	t.Run("what was synced survives a crash", d.testCrash)
	t.Run("damage is found", d.testDamage)
}

func (d Durable) testCrash(t *testing.T) {
	ctx := context.Background()
	clock := hlc.NewClock(1)
	for seed := range uint64(4) {
		s := &suite{Store: d.Open(t), clock: clock}
		var kept, staged, deleted []body
		for round := range 3 {
			sizes := []int{100, 9000, 33_000, 300_000}
			if round == int(seed%3) {
				sizes = append(sizes, 5<<20)
			}
			for i, n := range sizes {
				b := s.put(t, Octets(seed+uint64(i+round), n))
				switch (uint64(i+round) + seed) % 3 {
				case 0:
					if err := s.Sync(ctx, b.location); err != nil {
						t.Fatalf("sync: %v", err)
					}
					kept = append(kept, b)
				case 1:
					staged = append(staged, b)
				case 2:
					if err := s.Sync(ctx, b.location); err != nil {
						t.Fatalf("sync: %v", err)
					}
					if err := s.Delete(ctx, b.location); err != nil {
						t.Fatalf("delete: %v", err)
					}
					deleted = append(deleted, b)
				}
			}
			s.Store = d.Crash(t, s.Store, seed)
			for _, b := range kept {
				same(t, s, b)
			}
			maybe := append(append([]body(nil), staged...), deleted...)
			for _, b := range maybe {
				octets, err := read(s, b.location)
				if err == nil && !bytes.Equal(octets, b.octets) {
					t.Fatalf("%s reads wrong octets without an error", b.id)
				}
			}
			d.testListAfterCrash(t, s, kept, maybe)
		}
		if err := s.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
	}
}

// testListAfterCrash expects all that is kept in the list, and nothing that never was;
// what may be left over can be deleted.
func (d Durable) testListAfterCrash(t *testing.T, s blob.Store, kept, maybe []body) {
	known := map[blob.ID]bool{}
	for _, b := range maybe {
		known[b.id] = false
	}
	for _, b := range kept {
		known[b.id] = true
	}
	seen := 0
	for info, err := range s.List(context.Background()) {
		if err != nil {
			t.Fatalf("list: %v", err)
		}
		keep, ok := known[info.ID]
		if !ok {
			t.Fatalf("%s was never put", info.ID)
		}
		if keep {
			seen++
		} else if err := s.Delete(context.Background(), info.Location); err != nil {
			t.Fatalf("delete: %v", err)
		}
	}
	if seen != len(kept) {
		t.Fatalf("%d blobs listed of %d kept", seen, len(kept))
	}
}

func (d Durable) testDamage(t *testing.T) {
	ctx := context.Background()
	s := &suite{Store: d.Open(t), clock: hlc.NewClock(1)}
	defer s.Close()
	for i, n := range []int{0, 100, 33_000, 70_000, 300_000} {
		for at := range 12 {
			bad := s.put(t, Octets(uint64(i+at), n))
			good := s.put(t, Octets(uint64(i+at+1), n))
			if err := s.Sync(ctx, bad.location, good.location); err != nil {
				t.Fatalf("sync: %v", err)
			}
			d.Damage(t, s.Store, bad.location, at)
			if _, err := read(s, bad.location); !errors.Is(err, blob.ErrDamaged) {
				t.Errorf("%d octets, damaged at place %d: %v", n, at, err)
			}
			same(t, s, good)
		}
	}
}
