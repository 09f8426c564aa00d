package blob_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"postroad/internal/blob"
	"postroad/internal/blob/blobtest"
	"postroad/internal/blob/memblob"
	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
	"postroad/internal/kv/memkv"
)

// house is what bodies need, and the changes of one commit.
type house struct {
	*blob.Bodies
	engine kv.Engine
	store  *memblob.Store
}

func newHouse() *house {
	return newHouseOver(memkv.New())
}

func newHouseOver(engine kv.Engine) *house {
	store := memblob.New()
	return &house{blob.NewBodies(engine, store, hlc.NewClock(1)), engine, store}
}

// change is a Link or Unlink of a body.
type change func(holder string) (kv.Space, func(*kv.Batch))

// commit makes the changes of one holder durable, as mailflow does.
func (h *house) commit(bodies []blob.Body, holder string, changes ...change) error {
	if err := h.Sync(context.Background(), bodies...); err != nil {
		return err
	}
	batches := map[kv.Space]*kv.Batch{}
	for _, c := range changes {
		s, apply := c(holder)
		if batches[s] == nil {
			batches[s] = &kv.Batch{Space: s, Quiet: true}
		}
		apply(batches[s])
	}
	var all []kv.Batch
	for _, b := range batches {
		all = append(all, *b)
	}
	_, err := h.engine.Commit(context.Background(), all...)
	return err
}

// stage stages octets.
func (h *house) stage(t testing.TB, octets []byte) blob.Body {
	t.Helper()
	b, err := h.Stage(context.Background(), bytes.NewReader(octets), 1<<30)
	if err != nil {
		t.Fatalf("stage: %v", err)
	}
	return b
}

// link commits a body to a holder and returns it as a record would hold it.
func (h *house) link(t testing.TB, b blob.Body, holder string) blob.Body {
	t.Helper()
	if err := h.commit([]blob.Body{b}, holder, b.Link); err != nil {
		t.Fatalf("link: %v", err)
	}
	return recorded(t, b)
}

func (h *house) unlink(t testing.TB, b blob.Body, holder string) {
	t.Helper()
	if err := h.commit(nil, holder, b.Unlink); err != nil {
		t.Fatalf("unlink: %v", err)
	}
}

// recorded is the body after a way through a record.
func recorded(t testing.TB, b blob.Body) blob.Body {
	t.Helper()
	got, rest, err := blob.DecodeBody(append(b.AppendBinary(nil), "rest"...))
	if err != nil || string(rest) != "rest" {
		t.Fatalf("decode: %v, rest %q", err, rest)
	}
	if got.ID != b.ID || got.Size != b.Size || got.Staged() {
		t.Fatalf("decoded %+v", got)
	}
	return got
}

// octets reads a body.
func (h *house) octets(b blob.Body) ([]byte, error) {
	r, err := h.Open(context.Background(), b)
	if err != nil {
		return nil, err
	}
	p, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
	return p, errors.Join(err, r.Close())
}

// reads fails the test unless the body has these octets.
func (h *house) reads(t testing.TB, b blob.Body, want []byte) {
	t.Helper()
	if got, err := h.octets(b); err != nil || !bytes.Equal(got, want) {
		t.Errorf("body %s: %d octets of %d: %v", b.ID, len(got), len(want), err)
	}
}

// keys counts the keys of all bodies.
func (h *house) keys(t testing.TB) (n int) {
	t.Helper()
	for s, err := range h.engine.Spaces(context.Background(), "b/") {
		if err != nil {
			t.Fatal(err)
		}
		snapshot, err := h.engine.Snapshot(context.Background(), s)
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range snapshot.Scan(kv.Range{}) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		snapshot.Close()
	}
	return n
}

// blobs counts what is in the store.
func (h *house) blobs(t testing.TB) (n int) {
	t.Helper()
	for _, err := range h.store.List(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

var sizes = []int{0, 1, 100, blob.InlineMax - 1, blob.InlineMax, blob.InlineMax + 1, 2 * blob.InlineMax, 100_000}

func TestStageAndOpen(t *testing.T) {
	h := newHouse()
	large := 0
	for i, n := range sizes {
		octets := blobtest.Octets(uint64(i), n)
		b := h.stage(t, octets)
		if !b.Staged() || b.Size != int64(n) || b.IsZero() {
			t.Errorf("staged %+v", b)
		}
		h.reads(t, b, octets)
		if _, err := h.octets(blob.Body{ID: b.ID, Size: b.Size}); !errors.Is(err, blob.ErrNotFound) {
			t.Errorf("the record is there before the commit: %v", err)
		}
		got := h.link(t, b, "a/1/1")
		h.reads(t, got, octets)
		h.reads(t, blob.Body{ID: b.ID, Size: b.Size}, octets) // by the record alone
		if _, err := h.octets(blob.Body{ID: b.ID, Size: b.Size + 1}); !errors.Is(err, blob.ErrDamaged) {
			t.Errorf("a body of the wrong size: %v", err)
		}
		if n > blob.InlineMax {
			large++
		}
		if h.blobs(t) != large {
			t.Errorf("%d octets: %d blobs in the store, not %d", n, h.blobs(t), large)
		}
	}
}

func TestStageErrors(t *testing.T) {
	h := newHouse()
	cut := errors.New("the client went away")
	for _, n := range sizes {
		octets := blobtest.Octets(1, n)
		for _, want := range []error{cut, io.ErrUnexpectedEOF} {
			r := io.MultiReader(iotest.OneByteReader(bytes.NewReader(octets)), iotest.ErrReader(want))
			if _, err := h.Stage(context.Background(), r, 1<<30); err != want {
				t.Errorf("after %d octets: %v, not the reader's %v", n, err, want)
			}
		}
		if n > 0 {
			if _, err := h.Stage(context.Background(), bytes.NewReader(octets), int64(n-1)); !errors.Is(err, blob.ErrTooLarge) {
				t.Errorf("%d octets, %d allowed: %v", n, n-1, err)
			}
		}
		b, err := h.Stage(context.Background(), iotest.DataErrReader(bytes.NewReader(octets)), int64(n))
		if err != nil {
			t.Errorf("%d octets, %d allowed: %v", n, n, err)
		}
		h.Discard(b)
	}
	if h.blobs(t) != 0 {
		t.Errorf("%d blobs are left", h.blobs(t))
	}
	if _, err := h.Stage(context.Background(), stuck{}, 10); err != io.ErrNoProgress {
		t.Errorf("a reader that gives nothing: %v", err)
	}
}

// stuck is a reader that gives neither octets nor an error.
type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

// TestDiscard: what a commit took stays, whatever a late Discard says.
func TestDiscard(t *testing.T) {
	h := newHouse()
	octets := blobtest.Octets(1, 20_000)
	dropped, kept := h.stage(t, octets), h.stage(t, octets)
	got := h.link(t, kept, "a/1/1")
	h.Discard(dropped)
	h.Discard(kept)
	h.Discard(got)
	h.Discard(blob.Body{})
	if h.blobs(t) != 1 {
		t.Errorf("%d blobs", h.blobs(t))
	}
	h.reads(t, got, octets)
}

// TestOneRecord: a message for many mailboxes carries its octets once.
func TestOneRecord(t *testing.T) {
	h := newHouse()
	b := h.stage(t, blobtest.Octets(1, 5000))
	s, first := b.Link("a/1/1")
	_, second := b.Link("a/2/1")
	batch := kv.Batch{Space: s, Quiet: true}
	first(&batch)
	second(&batch)
	size := 0
	for _, p := range batch.Puts {
		size += len(p.Value)
	}
	if size > 5100 {
		t.Errorf("the batch has %d octets", size)
	}
	if len(batch.Guards) > 0 {
		t.Error("a staged body is guarded")
	}
}

// TestLinkNeedsRecord: a stored body that is gone cannot be linked anew.
func TestLinkNeedsRecord(t *testing.T) {
	h := newHouse()
	b := h.link(t, h.stage(t, blobtest.Octets(1, 100)), "a/1/1")
	h.unlink(t, b, "a/1/1")
	if n, err := blob.NewCollector(h.Bodies, blob.CollectorOptions{}).Collect(context.Background()); n != 1 || err != nil {
		t.Fatalf("collected %d: %v", n, err)
	}
	if err := h.commit(nil, "a/2/1", b.Link); !errors.Is(err, kv.ErrConflict) {
		t.Errorf("link of a collected body: %v", err)
	}
}

// TestSpread: bodies made one after the other use all spaces.
func TestSpread(t *testing.T) {
	clock := hlc.NewClock(1)
	count := map[kv.Space]int{}
	for range 6400 {
		count[blob.Body{ID: clock.Next()}.Space()]++
	}
	for s, n := range count {
		if n > 300 || !strings.HasPrefix(string(s), "b/") || len(s) != 4 {
			t.Errorf("space %s has %d of 6400", s, n)
		}
	}
	if len(count) != 64 {
		t.Errorf("%d spaces", len(count))
	}
}

func FuzzDecodeBody(f *testing.F) {
	h := newHouse()
	f.Add(h.stage(f, blobtest.Octets(1, 100)).AppendBinary(nil))
	f.Add(append(h.stage(f, blobtest.Octets(1, 20_000)).AppendBinary(nil), 1, 2, 3))
	f.Add([]byte{1})
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, p []byte) {
		b, rest, err := blob.DecodeBody(p)
		if err != nil {
			return
		}
		if len(rest) >= len(p) || !bytes.HasSuffix(p, rest) {
			t.Fatalf("%d octets follow in %d", len(rest), len(p))
		}
		again, _, err := blob.DecodeBody(b.AppendBinary(nil))
		if err != nil || again.ID != b.ID || again.Size != b.Size {
			t.Fatalf("%+v comes back as %+v: %v", b, again, err)
		}
	})
}
