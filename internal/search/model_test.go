package search

import (
	"context"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"postroad/internal/kv"
	"postroad/internal/kv/memkv"
)

// errCut is a power cut.
var errCut = errors.New("cut")

// cutEngine fails all commits behind a number of them.
type cutEngine struct {
	kv.Engine
	left int // commits; below 0: without end
}

func (e *cutEngine) Commit(ctx context.Context, b ...kv.Batch) ([]kv.Result, error) {
	if e.left == 0 {
		return nil, errCut
	}
	e.left--
	return e.Engine.Commit(ctx, b...)
}

// TestModel delivers, deletes, folds, merges, cuts at any commit and rebuilds, and holds
// what is found against the texts.
func TestModel(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		engine := &cutEngine{Engine: memkv.New(), left: -1}
		f := newFixture(t, engine)
		words := []string{"fox", "foxglove", "Straße", "日本語", "a", "o'clock", "été", "longlonglonglonglonglonglonglonglonglong"}
		cut := func() { engine.left = rapid.IntRange(0, 6).Draw(r, "commits") }
		mend := func(err error) {
			if err != nil && !errors.Is(err, errCut) {
				r.Fatal(err)
			}
			engine.left = -1
			must(t, f.x.Clean(context.Background()))
		}
		r.Repeat(map[string]func(*rapid.T){
			"deliver": func(r *rapid.T) {
				for _, w := range rapid.SliceOfN(rapid.SampledFrom(words), 1, 12).Draw(r, "words") {
					f.deliver(letterTo(len(f.ids), w+" "+rapid.SampledFrom(words).Draw(r, "word")))
				}
			},
			"delete": func(r *rapid.T) {
				if len(f.ids) == 0 {
					return
				}
				i := rapid.IntRange(0, len(f.ids)-1).Draw(r, "message")
				b := kv.Batch{Space: f.x.Space}
				PrepareDrop(&b, f.ids[i])
				_, err := f.x.Engine.Commit(context.Background(), b)
				must(t, err)
				f.ids = slices.Delete(f.ids, i, i+1)
			},
			"fold": func(*rapid.T) { _, _, err := f.x.Fold(context.Background()); mend(err) },
			"fold cut off": func(*rapid.T) {
				cut()
				_, _, err := f.x.Fold(context.Background())
				mend(err)
			},
			"merge": func(*rapid.T) { _, err := f.x.Merge(context.Background()); mend(err) },
			"merge cut off": func(*rapid.T) {
				cut()
				_, err := f.x.Merge(context.Background())
				mend(err)
			},
			"": func(r *rapid.T) {
				f.compare(FieldsOf(FieldBody), rapid.SampledFrom(append(words, "ox", "ong", "本", "fox a", "")).Draw(r, "needle"))
				f.holds(r)
			},
		})
	})
}

// holds checks that the index has each message, whole, and no others but those whose
// tombstones are there.
func (f *fixture) holds(r *rapid.T) {
	must(f, f.x.snapshot(context.Background(), func(snap kv.Snapshot) error {
		has, _, err := Check(snap, func(err error) { r.Fatal(err) })
		for _, id := range f.ids {
			if c := has[id]; c == nil || c.Dead || c.Terms != f.sum(id) {
				r.Fatalf("message %s: %+v", id, c)
			}
			delete(has, id)
		}
		for id, c := range has {
			if !c.Dead {
				r.Fatalf("message %s is gone, and its terms are not", id)
			}
		}
		return err
	}))
}

// TestMergeTiers holds that segments become few and forget what is gone.
func TestMergeTiers(t *testing.T) {
	f := newFixture(t, memkv.New())
	for n := range 2 * mergeFan {
		for i := range 5 {
			f.deliver(letterTo(n*5+i, "some words here"))
		}
		_, _, err := f.x.Fold(t.Context())
		must(t, err)
	}
	f.settle()
	count := func() (segments, docs, left int) {
		must(t, f.x.snapshot(t.Context(), func(snap kv.Snapshot) error {
			all, _, err := readManifest(snap)
			for _, s := range all {
				docs += s.docs
			}
			dead, _ := readTombstones(snap)
			segments, left = len(all), len(dead)
			return err
		}))
		return segments, docs, left
	}
	if s, d, _ := count(); s >= mergeFan || d != 10*mergeFan {
		t.Fatalf("%d segments of %d messages", s, d)
	}
	b := kv.Batch{Space: f.x.Space}
	for _, id := range f.ids[:8*mergeFan] {
		PrepareDrop(&b, id)
	}
	f.ids = f.ids[8*mergeFan:]
	_, err := f.x.Engine.Commit(t.Context(), b)
	must(t, err)
	f.settle()
	if _, d, left := count(); d > 3*mergeFan || left > mergeFan {
		t.Fatalf("%d messages, %d tombstones are left", d, left)
	}
	f.compare(FieldsOf(FieldBody), "words")
}
