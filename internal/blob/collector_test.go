package blob_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"postroad/internal/blob"
	"postroad/internal/blob/blobtest"
	"postroad/internal/blob/memblob"
	"postroad/internal/kv"
	"postroad/internal/kv/diskkv"
	"postroad/internal/kv/hlc"
	"postroad/internal/kv/memkv"
)

func collector(h *house) *blob.Collector {
	return blob.NewCollector(h.Bodies, blob.CollectorOptions{})
}

// collect fails the test unless exactly want bodies go.
func collect(t *testing.T, c *blob.Collector, want int) {
	t.Helper()
	if n, err := c.Collect(context.Background()); n != want || err != nil {
		t.Errorf("collected %d bodies, not %d: %v", n, want, err)
	}
}

func TestCollect(t *testing.T) {
	for _, n := range []int{100, 20_000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			h := newHouse()
			c := collector(h)
			octets := blobtest.Octets(1, n)
			b := h.link(t, h.stage(t, octets), "a/1/1")
			collect(t, c, 0)

			h.link(t, b, "a/2/7") // a copy
			h.unlink(t, b, "a/1/1")
			collect(t, c, 0)
			h.reads(t, b, octets)

			h.unlink(t, b, "a/2/7")
			h.reads(t, b, octets) // until the collector comes
			collect(t, c, 1)
			collect(t, c, 0)
			if _, err := h.octets(b); !errors.Is(err, blob.ErrNotFound) {
				t.Errorf("a collected body: %v", err)
			}
			if h.keys(t) != 0 || h.blobs(t) != 0 {
				t.Errorf("left: %d keys, %d blobs", h.keys(t), h.blobs(t))
			}
		})
	}
}

// TestCollectMoved: a commit that gives a body from one holder to another keeps it.
func TestCollectMoved(t *testing.T) {
	h := newHouse()
	octets := blobtest.Octets(1, 20_000)
	b := h.link(t, h.stage(t, octets), "q/1")
	move := func(string) (kv.Space, func(*kv.Batch)) {
		s, drop := b.Unlink("q/1")
		_, keep := b.Link("a/1/1")
		return s, func(batch *kv.Batch) { drop(batch); keep(batch) }
	}
	if err := h.commit(nil, "", move); err != nil {
		t.Fatal(err)
	}
	c := collector(h)
	collect(t, c, 0)
	h.reads(t, b, octets)
	h.unlink(t, b, "a/1/1")
	collect(t, c, 1)
}

// interposed runs a function before a commit, once.
type interposed struct {
	kv.Engine
	before func()
}

func (e *interposed) Commit(ctx context.Context, b ...kv.Batch) ([]kv.Result, error) {
	if f := e.before; f != nil {
		e.before = nil
		f()
	}
	return e.Engine.Commit(ctx, b...)
}

// TestLinkMeanwhile: a link made between the collector's look and its commit keeps the
// body, and others of the same step go nevertheless.
func TestLinkMeanwhile(t *testing.T) {
	engine := &interposed{Engine: memkv.New()}
	h := newHouseOver(engine)
	octets := blobtest.Octets(1, 20_000)
	var all []blob.Body
	space := kv.Space("")
	for len(all) < 3 { // three of one space
		b := h.stage(t, octets)
		if space == "" || b.Space() == space {
			space = b.Space()
			all = append(all, h.link(t, b, "a/1/1"))
		}
	}
	for _, b := range all {
		h.unlink(t, b, "a/1/1")
	}
	engine.before = func() {
		h.link(t, all[1], "a/2/2")
		h.link(t, all[2], "a/2/3")
		h.unlink(t, all[2], "a/2/3") // marked anew
	}
	c := collector(h)
	collect(t, c, 1)
	h.reads(t, all[1], octets)
	collect(t, c, 1)
	h.reads(t, all[1], octets)
	h.unlink(t, all[1], "a/2/2")
	collect(t, c, 1)
	if h.keys(t) != 0 {
		t.Errorf("%d keys are left", h.keys(t))
	}
}

// failing is a store whose Delete fails while it is told to.
type failing struct {
	*memblob.Store
	err error
}

func (s *failing) Delete(ctx context.Context, l ...blob.Location) error {
	if s.err != nil {
		return s.err
	}
	return s.Store.Delete(ctx, l...)
}

// TestInterrupted: a collection cut between the record and the store is finished by the
// next one.
func TestInterrupted(t *testing.T) {
	store := &failing{Store: memblob.New()}
	engine := memkv.New()
	h := &house{blob.NewBodies(engine, store, hlc.NewClock(1)), engine, store.Store}
	b := h.link(t, h.stage(t, blobtest.Octets(1, 20_000)), "a/1/1")
	h.unlink(t, b, "a/1/1")
	c := collector(h)
	store.err = errors.New("power cut")
	if _, err := c.Collect(context.Background()); !errors.Is(err, store.err) {
		t.Fatalf("collect: %v", err)
	}
	if _, err := h.octets(blob.Body{ID: b.ID, Size: b.Size}); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("the record is still there: %v", err)
	}
	if err := h.commit(nil, "a/2/1", b.Link); !errors.Is(err, kv.ErrConflict) {
		t.Errorf("link of a dying body: %v", err)
	}
	store.err = nil
	collect(t, c, 0)
	if h.keys(t) != 0 || h.blobs(t) != 0 {
		t.Errorf("left: %d keys, %d blobs", h.keys(t), h.blobs(t))
	}
}

// TestFullDisk: what deletes makes room, so it goes on when the disk is full.
func TestFullDisk(t *testing.T) {
	var free atomic.Uint64
	free.Store(1 << 40)
	engine, err := diskkv.Open(diskkv.Options{Dir: t.TempDir(), FreeBytes: func() (uint64, error) { return free.Load(), nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	h := newHouseOver(engine)
	var space kv.Space
	var all []blob.Body
	for len(all) < 150 { // of one space: more than a step takes
		b := h.stage(t, blobtest.Octets(1, 9000))
		if space == "" {
			space = b.Space()
		}
		if b.Space() != space {
			h.Discard(b)
			continue
		}
		all = append(all, recorded(t, b))
		s, link := b.Link("a/1/1")
		_, unlink := b.Unlink("a/1/1")
		batch := kv.Batch{Space: s, Quiet: true}
		link(&batch)
		batch.Puts = batch.Puts[:1] // the record alone, and the mark
		unlink(&batch)
		if _, err := engine.Commit(context.Background(), batch); err != nil {
			t.Fatal(err)
		}
	}
	free.Store(100 << 20)
	for start := time.Now(); ; { // the engine looks now and then
		err := h.commit(nil, "a/1/1", h.stage(t, blobtest.Octets(1, 8000)).Link)
		if errors.Is(err, kv.ErrFull) {
			break
		}
		if err != nil || time.Since(start) > 10*time.Second {
			t.Fatalf("the disk is not full: %v", err)
		}
	}
	collect(t, collector(h), len(all))
}

// TestManyMarks: more marks than a step takes.
func TestManyMarks(t *testing.T) {
	h := newHouse()
	n := 0
	for range 160 * 64 { // about 160 in each space
		b := h.stage(t, []byte("x"))
		h.link(t, b, "a/1/1")
		h.unlink(t, b, "a/1/1")
		n++
	}
	c := collector(h)
	collect(t, c, n)
	if h.keys(t) != 0 {
		t.Errorf("%d keys are left", h.keys(t))
	}
}

// TestRandomHolders makes, copies, moves and drops links at random and collects now and
// then; what has a link can always be read, and in the end nothing else is left.
func TestRandomHolders(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := newHouse()
		c := collector(h)
		type item struct {
			body   blob.Body
			octets []byte
			links  map[string]bool
		}
		var items []*item
		holder := func(t *rapid.T) string { return fmt.Sprintf("a/1/%d", rapid.IntRange(1, 4).Draw(t, "holder")) }
		pick := func(t *rapid.T) *item {
			var live []*item
			for _, i := range items {
				if len(i.links) > 0 {
					live = append(live, i)
				}
			}
			if len(live) == 0 {
				t.Skip("nothing is linked")
			}
			return rapid.SampledFrom(live).Draw(t, "body")
		}
		must := func(t *rapid.T, err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		actions := map[string]func(*rapid.T){
			"stage": func(t *rapid.T) {
				octets := blobtest.Octets(rapid.Uint64().Draw(t, "seed"), rapid.SampledFrom(sizes[:7]).Draw(t, "size"))
				b, err := h.Stage(context.Background(), bytes.NewReader(octets), 1<<30)
				must(t, err)
				if rapid.Bool().Draw(t, "discard") {
					h.Discard(b)
					return
				}
				to := holder(t)
				must(t, h.commit([]blob.Body{b}, to, b.Link))
				b, _, err = blob.DecodeBody(b.AppendBinary(nil))
				must(t, err)
				items = append(items, &item{b, octets, map[string]bool{to: true}})
			},
			"copy": func(t *rapid.T) {
				i, to := pick(t), holder(t)
				must(t, h.commit(nil, to, i.body.Link))
				i.links[to] = true
			},
			"drop": func(t *rapid.T) {
				i := pick(t)
				from := rapid.SampledFrom(slices.Sorted(maps.Keys(i.links))).Draw(t, "from")
				must(t, h.commit(nil, from, i.body.Unlink))
				delete(i.links, from)
			},
			"collect": func(t *rapid.T) {
				_, err := c.Collect(context.Background())
				must(t, err)
			},
			"": func(t *rapid.T) {
				for _, i := range items {
					got, err := h.octets(i.body)
					if len(i.links) > 0 && (err != nil || !bytes.Equal(got, i.octets)) {
						t.Fatalf("a linked body: %v", err)
					}
				}
			},
		}
		t.Repeat(actions)
		_, err := c.Collect(context.Background())
		must(t, err)
		blobs := 0
		for _, i := range items {
			if len(i.links) == 0 {
				if _, err := h.octets(i.body); !errors.Is(err, blob.ErrNotFound) {
					t.Fatalf("a body without links: %v", err)
				}
			} else if i.body.Size > blob.InlineMax {
				blobs++
			}
		}
		n := 0
		for range h.store.List(context.Background()) {
			n++
		}
		if n != blobs {
			t.Fatalf("%d blobs in the store, not %d", n, blobs)
		}
	})
}

// TestConcurrentHolders: many link and unlink while a collector runs.
func TestConcurrentHolders(t *testing.T) {
	h := newHouse()
	c := collector(h)
	octets := blobtest.Octets(1, 9000)
	b := h.link(t, h.stage(t, octets), "a/0/1")
	stop := make(chan bool)
	var background, group sync.WaitGroup
	background.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if _, err := c.Collect(context.Background()); err != nil {
					t.Errorf("collect: %v", err)
				}
			}
		}
	})
	for w := range 4 {
		group.Go(func() {
			for i := range 100 {
				holder := fmt.Sprintf("a/%d/%d", w+1, i)
				if err := h.commit(nil, holder, b.Link); err != nil {
					t.Errorf("link: %v", err)
				}
				if err := h.commit(nil, holder, b.Unlink); err != nil {
					t.Errorf("unlink: %v", err)
				}
			}
		})
	}
	group.Wait()
	close(stop)
	background.Wait()
	h.reads(t, b, octets)
	h.unlink(t, b, "a/0/1")
	collect(t, c, 1)
	if h.keys(t) != 0 {
		t.Errorf("%d keys are left", h.keys(t))
	}
}

// afterEpoch lets the virtual time, which begins in 2000, pass the epoch of the ids.
func afterEpoch() { time.Sleep(26 * 366 * 24 * time.Hour) }

func TestSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		afterEpoch()
		h := newHouse()
		c := blob.NewCollector(h.Bodies, blob.CollectorOptions{OrphanGrace: 2 * time.Hour})
		octets := blobtest.Octets(1, 20_000)
		kept := h.link(t, h.stage(t, octets), "a/1/1")
		h.stage(t, octets) // and then the power went
		sweep := func(want int) {
			t.Helper()
			if n, err := c.Sweep(context.Background()); n != want || err != nil {
				t.Errorf("swept %d, not %d: %v", n, want, err)
			}
		}
		sweep(0)
		time.Sleep(3 * time.Hour)
		onItsWay := h.stage(t, octets)
		sweep(1)
		sweep(0)
		h.reads(t, kept, octets)
		h.reads(t, h.link(t, onItsWay, "a/1/2"), octets)
	})
}

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		afterEpoch()
		h := newHouse()
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan bool)
		go func() {
			blob.NewCollector(h.Bodies, blob.CollectorOptions{Pause: 10 * time.Minute}).Run(ctx)
			close(done)
		}()
		b := h.link(t, h.stage(t, blobtest.Octets(1, 20_000)), "a/1/1")
		h.unlink(t, b, "a/1/1")
		h.stage(t, blobtest.Octets(1, 20_000))
		time.Sleep(time.Hour)
		if h.keys(t) != 0 || h.blobs(t) != 1 {
			t.Errorf("after an hour: %d keys, %d blobs", h.keys(t), h.blobs(t))
		}
		time.Sleep(49 * time.Hour)
		if h.blobs(t) != 0 {
			t.Errorf("after two days: %d blobs", h.blobs(t))
		}
		cancel()
		<-done
	})
}

func TestCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		afterEpoch()
		h := newHouse()
		c := collector(h)
		stage := func(n int, holder string) blob.Body {
			return h.link(t, h.stage(t, blobtest.Octets(uint64(n), n)), holder)
		}
		var octets int64
		for i := range 20 {
			for _, n := range []int{100, 20_000, 600_000} {
				stage(n, fmt.Sprintf("a/1/%d", i))
				octets += int64(n)
			}
		}
		check := func() []string {
			var lines []string
			var last blob.CheckProgress
			err := c.Check(context.Background(), func(f blob.Finding) { lines = append(lines, f.String()) },
				func(p blob.CheckProgress) { last = p })
			if err != nil {
				t.Fatalf("check: %v", err)
			}
			if last.Spaces != last.SpacesAll || last.Bodies < 60 || last.Octets < octets {
				t.Errorf("progress ended at %+v", last)
			}
			slices.Sort(lines)
			return lines
		}
		if lines := check(); lines != nil {
			t.Fatalf("found in a sound house: %q", lines)
		}

		lost := stage(20_000, "a/2/1") // its octets go
		gone := stage(100, "a/2/2")    // its record goes
		left := stage(100, "a/2/3")    // its link goes without a mark
		for info := range h.store.List(context.Background()) {
			if info.ID == lost.ID {
				if err := h.store.Delete(context.Background(), info.Location); err != nil {
					t.Fatal(err)
				}
			}
		}
		key := func(kind byte, b blob.Body, holder string) []byte {
			k := fmt.Appendf(nil, "%c%s", kind, "        ")
			for i := range 8 {
				k[1+i] = byte(b.ID >> (56 - 8*i))
			}
			return append(k, holder...)
		}
		for b, k := range map[*blob.Body][]byte{&gone: key('r', gone, ""), &left: key('l', left, "a/2/3")} {
			if _, err := h.engine.Commit(context.Background(), kv.Batch{Space: b.Space(), Deletes: [][]byte{k}, Quiet: true}); err != nil {
				t.Fatal(err)
			}
		}
		orphan := h.stage(t, blobtest.Octets(1, 20_000))
		time.Sleep(25 * time.Hour)
		want := []string{
			fmt.Sprintf("body %s: unreadable: blob: no such blob", lost.ID),
			fmt.Sprintf("body %s: no body (holder a/2/2)", gone.ID),
			fmt.Sprintf("body %s: no link", left.ID),
			fmt.Sprintf("body %s: orphan", orphan.ID),
		}
		slices.Sort(want)
		if lines := check(); !slices.Equal(lines, want) {
			t.Errorf("found\n%s\nnot\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
		}
	})
}

// TestDamagedRecord: an inline record that changed on the disk is not given out.
func TestDamagedRecord(t *testing.T) {
	h := newHouse()
	b := h.stage(t, blobtest.Octets(1, 100))
	s, link := b.Link("a/1/1")
	batch := kv.Batch{Space: s, Quiet: true}
	link(&batch)
	v := bytes.Clone(batch.Puts[0].Value)
	for i := range v {
		v[i] ^= 1
		batch.Puts[0].Value = v
		if _, err := h.engine.Commit(context.Background(), batch); err != nil {
			t.Fatal(err)
		}
		if _, err := h.octets(blob.Body{ID: b.ID, Size: b.Size}); !errors.Is(err, blob.ErrDamaged) {
			t.Errorf("octet %d changed: %v", i, err)
		}
		v[i] ^= 1
	}
}

// moving is a store in which a blob goes to another place.
type moving struct {
	*memblob.Store
	old blob.Location
}

func (s *moving) Open(ctx context.Context, l blob.Location) (blob.Reader, error) {
	if bytes.Equal(l, s.old) {
		return nil, blob.ErrNotFound
	}
	return s.Store.Open(ctx, l)
}

// TestMoved: a record that names an old place is read by the body's own record.
func TestMoved(t *testing.T) {
	store := &moving{Store: memblob.New()}
	engine := memkv.New()
	h := &house{blob.NewBodies(engine, store, hlc.NewClock(1)), engine, store.Store}
	octets := blobtest.Octets(1, 20_000)
	b := h.link(t, h.stage(t, octets), "a/1/1")
	for info := range store.List(context.Background()) {
		store.old = info.Location
	}
	l, n, err := store.Put(context.Background(), b.ID, bytes.NewReader(octets), 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	s, link := b.Link("a/1/1")
	batch := kv.Batch{Space: s, Quiet: true}
	link(&batch)
	record := append([]byte{1, 's'}, byte(n&0x7f|0x80), byte(n>>7&0x7f|0x80), byte(n>>14))
	batch.Puts = []kv.Put{{Key: batch.Guards[0].Key, Value: append(record, l...)}}
	if _, err := engine.Commit(context.Background(), batch); err != nil {
		t.Fatal(err)
	}
	h.reads(t, b, octets)
}
