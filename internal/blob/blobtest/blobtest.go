// Package blobtest is the contract of blob.Store as tests: every store runs them.
//
// The main functions are [Run], for any store, and [RunDurable], for those that outlive
// the process.
package blobtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"postroad/internal/blob"
	"postroad/internal/kv/hlc"
)

// max is a limit that no test reaches unless it means to.
const max = 64 << 20

// Run tests a store. open returns an empty one, which Run closes.
func Run(t *testing.T, open func(*testing.T) blob.Store) {
	tests := []struct {
		name string
		test func(*testing.T, *suite)
	}{
		{"every size comes back", testSizes},
		{"random operations agree with a model", testModel},
		{"concurrent puts and reads", testConcurrent},
		{"an error of the reader leaves nothing", testReaderError},
		{"over the size given", testTooLarge},
		{"a cancelled put leaves nothing", testCancelled},
		{"deleting twice, or what is unknown, is no error", testDelete},
		{"one reader serves many goroutines", testSharedReader},
		{"a reader outlives the deletion of its blob", testDeleteWhileReading},
		{"bounds of ReadAt", testReadBounds},
		{"nothing works after Close", testClosed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := &suite{Store: open(t), clock: hlc.NewClock(1)}
			defer func() {
				if err := s.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			}()
			test.test(t, s)
		})
	}
}

// suite is a store under test.
type suite struct {
	blob.Store
	clock *hlc.Clock
}

// body is a blob that was put.
type body struct {
	id       blob.ID
	location blob.Location
	octets   []byte
}

// put stores octets, in reads of changing sizes.
func (s *suite) put(t testing.TB, octets []byte) body {
	t.Helper()
	b, err := s.tryPut(octets)
	if err != nil {
		t.Fatalf("put %d octets: %v", len(octets), err)
	}
	return b
}

func (s *suite) tryPut(octets []byte) (body, error) {
	id := s.clock.Next()
	l, n, err := s.Put(context.Background(), id, &pieces{octets: octets}, max)
	if err == nil && n != int64(len(octets)) {
		err = fmt.Errorf("put says %d octets, not %d", n, len(octets))
	}
	if err == nil && (len(l) == 0 || len(l) > blob.LocationMax) {
		err = fmt.Errorf("location of %d octets", len(l))
	}
	return body{id, l, octets}, err
}

// read returns the whole blob.
func read(s blob.Store, l blob.Location) ([]byte, error) {
	r, err := s.Open(context.Background(), l)
	if err != nil {
		return nil, err
	}
	octets, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
	if err == nil && int64(len(octets)) != r.Size() {
		err = fmt.Errorf("read %d octets of %d", len(octets), r.Size())
	}
	return octets, errors.Join(err, r.Close())
}

// same fails the test unless the blob reads as it was put.
func same(t testing.TB, s blob.Store, b body) {
	t.Helper()
	octets, err := read(s, b.location)
	if err != nil {
		t.Fatalf("read %s: %v", b.id, err)
	}
	if !bytes.Equal(octets, b.octets) {
		t.Fatalf("%s: %d octets read are not the %d put", b.id, len(octets), len(b.octets))
	}
}

// listed fails the test unless exactly these blobs are listed.
func listed(t testing.TB, s blob.Store, want ...body) {
	t.Helper()
	all := map[blob.ID]blob.Info{}
	for info, err := range s.List(context.Background()) {
		if err != nil {
			t.Fatalf("list: %v", err)
		}
		if _, twice := all[info.ID]; twice {
			t.Errorf("%s is listed twice", info.ID)
		}
		all[info.ID] = info
	}
	for _, b := range want {
		info, ok := all[b.id]
		if !ok {
			t.Errorf("%s is not listed", b.id)
			continue
		}
		if info.Size != int64(len(b.octets)) || !bytes.Equal(info.Location, b.location) {
			t.Errorf("%s is listed as %v", b.id, info)
		}
		delete(all, b.id)
	}
	if len(all) > 0 {
		t.Errorf("listed, but not there: %v", slices.Collect(maps.Keys(all)))
	}
}

// pieces is a reader that gives little at a time, in changing portions.
type pieces struct {
	octets []byte
	n      int
	err    error // at the end; nil: io.EOF
}

func (p *pieces) Read(buffer []byte) (int, error) {
	sizes := [...]int{1, 7, 0, 4096, 100_000, 13}
	n := copy(buffer[:min(len(buffer), sizes[p.n%len(sizes)])], p.octets)
	p.n++
	p.octets = p.octets[n:]
	if len(p.octets) > 0 {
		return n, nil
	}
	if p.err != nil {
		return n, p.err
	}
	return n, io.EOF
}

// octetsMax is the most that Octets can give.
const octetsMax = 16 << 20

// text and noise are what Octets cuts from: making octets anew for each test would take
// longer than the tests.
var (
	text = sync.OnceValue(func() []byte {
		const words = "Received: from mail by post with esmtp; the quick brown fox\r\n"
		r := rand.New(rand.NewPCG(1, 1))
		octets := make([]byte, octetsMax+len(words))
		for i := 0; i < octetsMax; {
			i += copy(octets[i:], words[r.IntN(len(words)):])
		}
		return octets[:octetsMax]
	})
	noise = sync.OnceValue(func() []byte {
		octets := make([]byte, octetsMax)
		rand.NewChaCha8([32]byte{1}).Read(octets) // returns no error
		return octets
	})
)

// Octets returns n octets, others for each seed: text that compresses, and for odd seeds
// noise that does not. They are not to be changed.
func Octets(seed uint64, n int) []byte {
	from := text()
	if seed%2 == 1 {
		from = noise()
	}
	at := int(seed * 7919 % uint64(octetsMax-n))
	return slices.Clip(from[at : at+n])
}

// Sizes are the sizes of blobs near every border that a store is likely to have.
var Sizes = []int{0, 1, 63, 64, 100, 4095, 4096, 4097, 8 << 10, 33_000,
	64<<10 - 1, 64 << 10, 64<<10 + 1, 128 << 10, 200_000,
	256<<10 - 1, 256 << 10, 256<<10 + 1, 1 << 20, 5<<20 + 17}

func testSizes(t *testing.T, s *suite) {
	var all []body
	for i, n := range Sizes {
		for _, seed := range []uint64{uint64(2 * i), uint64(2*i + 1)} {
			b := s.put(t, Octets(seed, n))
			same(t, s, b)
			all = append(all, b)
		}
	}
	var locations []blob.Location
	for _, b := range all {
		locations = append(locations, b.location)
	}
	if err := s.Sync(context.Background(), locations...); err != nil {
		t.Fatalf("sync: %v", err)
	}
	for _, b := range all {
		same(t, s, b)
	}
	listed(t, s, all...)
}

func testModel(t *testing.T, s *suite) {
	ctx := context.Background()
	model := map[blob.ID]body{}
	pick := func(t *rapid.T) body {
		ids := slices.Sorted(maps.Keys(model))
		if len(ids) == 0 {
			t.Skip("nothing there")
		}
		return model[rapid.SampledFrom(ids).Draw(t, "blob")]
	}
	rapid.Check(t, func(t *rapid.T) {
		for id, b := range model { // each run begins with nothing, so that it can be shrunk
			if err := s.Delete(ctx, b.location); err != nil {
				t.Fatalf("delete: %v", err)
			}
			delete(model, id)
		}
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				n := rapid.IntRange(0, 150_000).Draw(t, "size")
				b, err := s.tryPut(Octets(rapid.Uint64().Draw(t, "seed"), n))
				if err != nil {
					t.Fatalf("put: %v", err)
				}
				model[b.id] = b
			},
			"readAt": func(t *rapid.T) {
				b := pick(t)
				r, err := s.Open(ctx, b.location)
				if err != nil {
					t.Fatalf("open: %v", err)
				}
				defer r.Close()
				for range 4 {
					off := rapid.Int64Range(0, int64(len(b.octets))).Draw(t, "offset")
					p := make([]byte, rapid.IntRange(0, 150_000).Draw(t, "length"))
					n, err := r.ReadAt(p, off)
					want := b.octets[off:min(off+int64(len(p)), int64(len(b.octets)))]
					if !bytes.Equal(p[:n], want) {
						t.Fatalf("ReadAt(%d octets, %d) gave %d wrong octets, not %d: %v", len(p), off, n, len(want), err)
					}
					if n < len(p) && err != io.EOF || n == len(p) && err != nil && err != io.EOF {
						t.Fatalf("ReadAt(%d octets, %d) = %d, %v", len(p), off, n, err)
					}
				}
			},
			"sync": func(t *rapid.T) {
				if err := s.Sync(ctx, pick(t).location); err != nil {
					t.Fatalf("sync: %v", err)
				}
			},
			"delete": func(t *rapid.T) {
				b := pick(t)
				if err := s.Delete(ctx, b.location); err != nil {
					t.Fatalf("delete: %v", err)
				}
				delete(model, b.id)
				if _, err := s.Open(ctx, b.location); !errors.Is(err, blob.ErrNotFound) {
					t.Fatalf("open of a deleted blob: %v", err)
				}
			},
		})
	})
	for _, b := range model {
		same(t, s, b)
	}
	listed(t, s, slices.Collect(maps.Values(model))...)
}

func testConcurrent(t *testing.T, s *suite) {
	const writers, each = 8, 12
	var mu sync.Mutex
	var all []body
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 2))
			for i := range each {
				b, err := s.tryPut(Octets(uint64(w*each+i), r.IntN(400_000)))
				if err == nil {
					err = s.Sync(context.Background(), b.location)
				}
				if err != nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
				mu.Lock()
				all = append(all, b)
				other := all[r.IntN(len(all))]
				mu.Unlock()
				if octets, err := read(s, other.location); err != nil || !bytes.Equal(octets, other.octets) {
					t.Errorf("writer %d reads another's blob: %v", w, err)
				}
			}
		})
	}
	group.Wait()
	if len(all) != writers*each {
		t.Fatalf("%d blobs put", len(all))
	}
	listed(t, s, all...)
}

func testReaderError(t *testing.T, s *suite) {
	kept := s.put(t, Octets(2, 20_000))
	for _, n := range Sizes {
		for _, cut := range []error{errors.New("the client went away"), io.ErrUnexpectedEOF} {
			r := &pieces{octets: Octets(uint64(n), n), err: cut}
			_, _, err := s.Put(context.Background(), s.clock.Next(), r, max)
			if err != cut {
				t.Errorf("after %d octets: error %v, not the reader's own", n, err)
			}
		}
	}
	same(t, s, kept)
	listed(t, s, kept)
}

func testTooLarge(t *testing.T, s *suite) {
	for _, n := range Sizes {
		octets := Octets(uint64(n), n)
		b := s.clock.Next()
		if l, _, err := s.Put(context.Background(), b, bytes.NewReader(octets), int64(n)); err != nil {
			t.Errorf("%d octets, %d allowed: %v", n, n, err)
		} else if err := s.Delete(context.Background(), l); err != nil {
			t.Errorf("delete: %v", err)
		}
		if n == 0 {
			continue
		}
		_, _, err := s.Put(context.Background(), s.clock.Next(), bytes.NewReader(octets), int64(n-1))
		if !errors.Is(err, blob.ErrTooLarge) {
			t.Errorf("%d octets, %d allowed: %v", n, n-1, err)
		}
	}
	listed(t, s)
}

func testCancelled(t *testing.T, s *suite) {
	ctx, cancel := context.WithCancel(context.Background())
	r := readerFunc(func(p []byte) (int, error) {
		cancel()
		return len(p), nil
	})
	if _, _, err := s.Put(ctx, s.clock.Next(), r, max); !errors.Is(err, context.Canceled) {
		t.Errorf("put: %v", err)
	}
	listed(t, s)
}

// readerFunc is a reader.
type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func testDelete(t *testing.T, s *suite) {
	ctx := context.Background()
	kept, gone := s.put(t, Octets(1, 30_000)), s.put(t, Octets(2, 30_000))
	for range 2 {
		if err := s.Delete(ctx, gone.location, blob.Location("unheard of"), nil); err != nil {
			t.Fatalf("delete: %v", err)
		}
	}
	if _, err := s.Open(ctx, gone.location); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("open of a deleted blob: %v", err)
	}
	if _, err := s.Open(ctx, blob.Location("unheard of")); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("open of an unknown location: %v", err)
	}
	same(t, s, kept)
	listed(t, s, kept)
}

func testSharedReader(t *testing.T, s *suite) {
	b := s.put(t, Octets(4, 500_000))
	r, err := s.Open(context.Background(), b.location)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	defer r.Close()
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 3))
			for range 50 {
				off := rng.IntN(len(b.octets))
				p := make([]byte, rng.IntN(len(b.octets)-off))
				if _, err := r.ReadAt(p, int64(off)); err != nil {
					t.Errorf("ReadAt: %v", err)
				}
				if !bytes.Equal(p, b.octets[off:off+len(p)]) {
					t.Errorf("ReadAt(%d octets, %d) is wrong", len(p), off)
				}
			}
		})
	}
	group.Wait()
}

func testDeleteWhileReading(t *testing.T, s *suite) {
	ctx := context.Background()
	for _, n := range []int{20_000, 300_000, 5 << 20} {
		b := s.put(t, Octets(5, n))
		r, err := s.Open(ctx, b.location)
		if err != nil {
			t.Fatalf("open: %v", err)
		}
		if err := s.Delete(ctx, b.location); err != nil {
			t.Fatalf("delete: %v", err)
		}
		octets, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
		if err != nil || !bytes.Equal(octets, b.octets) {
			t.Errorf("%d octets: the reader was cut off: %v", n, err)
		}
		if err := r.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if _, err := s.Open(ctx, b.location); !errors.Is(err, blob.ErrNotFound) {
			t.Errorf("open after the last reader closed: %v", err)
		}
	}
	listed(t, s)
}

func testReadBounds(t *testing.T, s *suite) {
	b := s.put(t, Octets(6, 1000))
	r, err := s.Open(context.Background(), b.location)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	defer r.Close()
	p := make([]byte, 10)
	tests := []struct {
		name string
		off  int64
		n    int
		eof  bool
	}{
		{"at the end", 1000, 0, true},
		{"behind the end", 5000, 0, true},
		{"across the end", 995, 5, true},
		{"up to the end", 990, 10, false},
	}
	for _, test := range tests {
		n, err := r.ReadAt(p, test.off)
		if n != test.n || err != nil && err != io.EOF || test.eof != (err == io.EOF) && test.eof {
			t.Errorf("%s: %d, %v", test.name, n, err)
		}
	}
	if _, err := r.ReadAt(p, -1); err == nil || err == io.EOF {
		t.Errorf("negative offset: %v", err)
	}
}

func testClosed(t *testing.T, s *suite) {
	ctx := context.Background()
	b := s.put(t, Octets(7, 10_000))
	if err := s.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	if _, err := s.tryPut(b.octets); err == nil {
		t.Error("put succeeds")
	}
	if _, err := s.Open(ctx, b.location); err == nil {
		t.Error("open succeeds")
	}
	if err := s.Sync(ctx, b.location); err == nil {
		t.Error("sync succeeds")
	}
	if err := s.Delete(ctx, b.location); err == nil {
		t.Error("delete succeeds")
	}
	for _, err := range s.List(ctx) {
		if err == nil {
			t.Error("list succeeds")
		}
	}
}
