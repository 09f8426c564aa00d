package kvtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"postroad/internal/kv"
)

// model is a space as plain maps, written without a look at any engine.
type model struct {
	version   uint64
	keys      map[string]string
	counters  map[string]int64
	sequences map[string]uint64
}

// world is all spaces, and the results of idempotent commits by "space 0 once".
type world struct {
	spaces map[kv.Space]*model
	once   map[string]map[kv.Space]kv.Result
}

func (m *model) clone() *model {
	c := &model{version: m.version, keys: map[string]string{}, counters: map[string]int64{}, sequences: map[string]uint64{}}
	for k, v := range m.keys {
		c.keys[k] = v
	}
	for k, v := range m.counters {
		c.counters[k] = v
	}
	for k, v := range m.sequences {
		c.sequences[k] = v
	}
	return c
}

func (w *world) space(s kv.Space) *model {
	if w.spaces[s] == nil {
		w.spaces[s] = (&model{}).clone()
	}
	return w.spaces[s]
}

// commit does what the contract says; the error is one of the package's.
func (w *world) commit(batches []kv.Batch) ([]kv.Result, error) {
	if results := w.seen(batches); results != nil {
		return results, nil
	}
	for _, b := range batches {
		for _, g := range b.Guards {
			v, present := w.space(b.Space).keys[string(g.Key)]
			ok := map[kv.GuardKind]bool{
				kv.GuardAbsent:  !present,
				kv.GuardPresent: present,
				kv.GuardEquals:  present && v == string(g.Value),
				kv.GuardVersion: w.space(b.Space).version == uint64(g.Version),
			}[g.Kind]
			if !ok {
				return nil, kv.ErrConflict
			}
		}
	}
	after := make([]*model, len(batches))
	results := make([]kv.Result, len(batches))
	for i, b := range batches {
		after[i] = w.space(b.Space).clone()
		r, err := after[i].change(b)
		if err != nil {
			return nil, err
		}
		results[i] = r
	}
	for i, b := range batches {
		w.spaces[b.Space] = after[i]
		if b.Once != nil {
			kept := map[kv.Space]kv.Result{}
			for j, r := range results {
				if j == i || batches[j].Once == nil {
					kept[batches[j].Space] = r
				}
			}
			w.once[string(b.Space)+"\x00"+string(b.Once)] = kept
		}
	}
	return results, nil
}

// seen gives the first commit's results where one of its keys was seen.
func (w *world) seen(batches []kv.Batch) []kv.Result {
	var results []kv.Result
	for i, b := range batches {
		first, ok := w.once[string(b.Space)+"\x00"+string(b.Once)]
		if !ok || b.Once == nil {
			continue
		}
		if results == nil {
			results = make([]kv.Result, len(batches))
		}
		for j := range batches {
			if i == j || batches[j].Once == nil {
				results[j] = first[batches[j].Space]
			}
		}
	}
	for i := range results {
		results[i].Already = true
	}
	return results
}

// change does one batch whose guards hold.
func (m *model) change(b kv.Batch) (kv.Result, error) {
	var r kv.Result
	for _, a := range b.Adds {
		if a.N > 0 && a.Limit > 0 && m.counters[string(a.Key)]+a.N > a.Limit {
			return r, kv.ErrLimit
		}
		m.counters[string(a.Key)] += a.N
	}
	for _, k := range b.Takes {
		next := m.sequences[string(k.Key)] + 1
		if k.AtLeast > next {
			next = k.AtLeast
		}
		r.Taken = append(r.Taken, next)
		m.sequences[string(k.Key)] = next + uint64(k.N) - 1
	}
	if !b.Quiet {
		m.version++
	}
	r.Version = kv.Version(m.version)
	for _, g := range b.Ranges {
		for k := range m.keys {
			if k >= string(g.From) && (len(g.To) == 0 || k < string(g.To)) {
				delete(m.keys, k)
			}
		}
	}
	for _, k := range b.Deletes {
		delete(m.keys, string(k))
	}
	for _, p := range b.Puts {
		key, value := []byte(string(p.Key)), []byte(string(p.Value))
		for _, at := range p.Places {
			n := m.version
			if !at.Version {
				n = r.Taken[at.Take] + uint64(at.Plus)
			}
			full := binary.BigEndian.AppendUint64(nil, n)
			if at.InValue {
				copy(value[at.Offset:], full[8-at.Width:])
			} else {
				copy(key[at.Offset:], full[8-at.Width:])
			}
		}
		m.keys[string(key)] = string(value)
	}
	return r, nil
}

// scan lists a range as list does.
func (m *model) scan(r kv.Range) []string {
	keys := []string{}
	for k := range m.keys {
		if k >= string(r.From) && (len(r.To) == 0 || k < string(r.To)) {
			keys = append(keys, k)
		}
	}
	sort.Strings(keys)
	if r.Reverse {
		slices.Reverse(keys)
	}
	if r.Limit > 0 && len(keys) > r.Limit {
		keys = keys[:r.Limit]
	}
	for i, k := range keys {
		keys[i] = k + "=" + m.keys[k]
	}
	return keys
}

// Agree makes random commits on every engine and the model, which must give the same
// results, errors and contents at each step, with the engines reopened now and then.
func Agree(t *testing.T, factories ...Factory) {
	steps := 40
	if Race {
		steps = 6
	}
	rapid.Check(t, func(t *rapid.T) {
		w := &world{spaces: map[kv.Space]*model{}, once: map[string]map[kv.Space]kv.Result{}}
		var engines []*Store
		for _, open := range factories {
			engines = append(engines, open(t, time.Now))
		}
		for range rapid.IntRange(1, steps).Draw(t, "steps") {
			if rapid.IntRange(0, 29).Draw(t, "reopen") == 0 {
				for _, e := range engines {
					e.reopen(t)
				}
			}
			batches := drawBatches(t, w)
			want, wantErr := w.commit(batches)
			for i, e := range engines {
				got, err := e.Commit(ctx, batches...)
				if !errors.Is(err, wantErr) {
					t.Fatalf("engine %d: error %v, want %v, of %+v", i, err, wantErr, batches)
				}
				if diff := cmp.Diff(want, got); diff != "" && err == nil {
					t.Fatalf("engine %d: results differ: %s", i, diff)
				}
				compare(t, i, e, w, drawRange(t))
			}
		}
	})
}

// spaceNames are such that one is the beginning of the other.
var spaceNames = []kv.Space{"a", "a/1", "b"}

// key draws from few keys, so that commits meet.
var key = rapid.Map(rapid.StringMatching(`[ab]?[ab\xff]{0,2}`), func(s string) []byte { return []byte(s) })

// name draws the name of a counter or sequence.
var name = rapid.Map(rapid.SampledFrom([]string{"", "n", "m"}), func(s string) []byte { return []byte(s) })

// drawRange draws any range, upside down ones included.
func drawRange(t *rapid.T) kv.Range {
	r := kv.Range{Reverse: rapid.Bool().Draw(t, "reverse"), Limit: rapid.IntRange(0, 3).Draw(t, "limit")}
	if rapid.Bool().Draw(t, "from") {
		r.From = key.Draw(t, "from key")
	}
	if rapid.Bool().Draw(t, "to") {
		r.To = key.Draw(t, "to key")
	}
	return r
}

// drawBatches draws a commit to one to three spaces.
func drawBatches(t *rapid.T, w *world) []kv.Batch {
	names := rapid.Permutation(spaceNames).Draw(t, "spaces")
	var batches []kv.Batch
	for _, s := range names[:rapid.IntRange(1, len(names)).Draw(t, "batches")] {
		batches = append(batches, drawBatch(t, s, w.space(s)))
	}
	return batches
}

// few draws up to n of something, mostly none.
func few(t *rapid.T, label string, n int, draw func()) {
	for range max(0, rapid.IntRange(-n, n).Draw(t, label)) {
		draw()
	}
}

// drawBatch draws one batch. Guards mostly hold.
func drawBatch(t *rapid.T, s kv.Space, m *model) kv.Batch {
	b := kv.Batch{Space: s, Quiet: rapid.Bool().Draw(t, "quiet")}
	if rapid.IntRange(0, 5).Draw(t, "once") == 0 {
		b.Once = []byte(fmt.Sprint("once", rapid.IntRange(0, 3).Draw(t, "once key")))
	}
	few(t, "guards", 2, func() { b.Guards = append(b.Guards, drawGuard(t, m)) })
	few(t, "adds", 2, func() {
		b.Adds = append(b.Adds, kv.Add{Key: name.Draw(t, "counter"), N: rapid.Int64Range(-5, 10).Draw(t, "n"), Limit: rapid.SampledFrom([]int64{0, 0, 20}).Draw(t, "limit")})
	})
	few(t, "takes", 2, func() {
		b.Takes = append(b.Takes, kv.Take{Key: name.Draw(t, "sequence"), N: rapid.Uint32Range(0, 3).Draw(t, "n"), AtLeast: rapid.Uint64Range(0, 20).Draw(t, "at least")})
	})
	few(t, "deletes", 2, func() { b.Deletes = append(b.Deletes, key.Draw(t, "delete")) })
	few(t, "ranges", 1, func() { b.Ranges = append(b.Ranges, drawRange(t)) })
	few(t, "puts", 4, func() { b.Puts = append(b.Puts, drawPut(t, len(b.Takes))) })
	return b
}

// drawGuard draws a guard; where it can it asks for what is so.
func drawGuard(t *rapid.T, m *model) kv.Guard {
	g := kv.Guard{Key: key.Draw(t, "guard"), Version: kv.Version(m.version)}
	v, present := m.keys[string(g.Key)]
	switch wrong := rapid.IntRange(0, 9).Draw(t, "wrong") == 0; {
	case rapid.IntRange(0, 3).Draw(t, "version") == 0:
		g.Kind = kv.GuardVersion
		if wrong {
			g.Version++
		}
	case present == wrong:
		g.Kind = kv.GuardAbsent
	case rapid.Bool().Draw(t, "equals"):
		g.Kind, g.Value = kv.GuardEquals, []byte(v)
	default:
		g.Kind = kv.GuardPresent
	}
	return g
}

// drawPut draws a put, some with places.
func drawPut(t *rapid.T, takes int) kv.Put {
	p := kv.Put{Key: key.Draw(t, "key"), Value: []byte(strings.Repeat("v", rapid.IntRange(0, 12).Draw(t, "size")))}
	if rapid.Bool().Draw(t, "key place") {
		p.Key = []byte("a--------")
		p.Places = append(p.Places, drawPlace(t, takes, kv.Place{Offset: 1, Width: 8}))
	}
	if len(p.Value) >= 4 && rapid.Bool().Draw(t, "value place") {
		p.Places = append(p.Places, drawPlace(t, takes, kv.Place{InValue: true, Offset: len(p.Value) - 4, Width: 4}))
	}
	return p
}

func drawPlace(t *rapid.T, takes int, at kv.Place) kv.Place {
	at.Version = takes == 0 || rapid.Bool().Draw(t, "version place")
	if !at.Version {
		at.Take = rapid.IntRange(0, takes-1).Draw(t, "take")
		at.Plus = rapid.Uint32Range(0, 3).Draw(t, "plus")
	}
	return at
}

// compare looks at everything an engine shows.
func compare(t TB, i int, e *Store, w *world, r kv.Range) {
	t.Helper()
	wantSpaces := []string{}
	versions, err := e.Versions(ctx, spaceNames...)
	if err != nil {
		t.Fatalf("engine %d: versions: %v", i, err)
	}
	for j, s := range spaceNames {
		m := w.space(s)
		if versions[j] != kv.Version(m.version) {
			t.Fatalf("engine %d: space %q at version %d, want %d", i, s, versions[j], m.version)
		}
		written := m.version > 0 || len(m.keys) > 0
		for _, n := range m.counters {
			written = written || n != 0
		}
		for _, n := range m.sequences {
			written = written || n != 0
		}
		if written {
			wantSpaces = append(wantSpaces, string(s))
		}
		compareSpace(t, i, e, s, m, r)
	}
	gotSpaces := []string{}
	for s, err := range e.Spaces(ctx, "") {
		if err != nil {
			t.Fatalf("engine %d: spaces: %v", i, err)
		}
		gotSpaces = append(gotSpaces, string(s))
	}
	if diff := cmp.Diff(wantSpaces, gotSpaces); diff != "" {
		t.Fatalf("engine %d: spaces differ: %s", i, diff)
	}
}

// compareSpace looks at one space through a snapshot.
func compareSpace(t TB, i int, e *Store, s kv.Space, m *model, r kv.Range) {
	t.Helper()
	snap, err := e.Snapshot(ctx, s)
	if err != nil {
		t.Fatalf("engine %d: snapshot: %v", i, err)
	}
	defer snap.Close()
	if snap.Version() != kv.Version(m.version) {
		t.Fatalf("engine %d: snapshot of %q at version %d, want %d", i, s, snap.Version(), m.version)
	}
	for _, r := range []kv.Range{{}, r} {
		if diff := cmp.Diff(m.scan(r), list(t, snap, r)); diff != "" {
			t.Fatalf("engine %d: space %q, range %+v: %s", i, s, r, diff)
		}
	}
	for _, k := range []string{"", "n", "m"} {
		n, err1 := snap.Counter([]byte(k))
		q, err2 := snap.Sequence([]byte(k))
		if err := errors.Join(err1, err2); err != nil || n != m.counters[k] || q != m.sequences[k] {
			t.Fatalf("engine %d: space %q: counter %d, sequence %d, want %d, %d (%v)", i, s, n, q, m.counters[k], m.sequences[k], err)
		}
		v, err := snap.Get([]byte(k))
		if want, ok := m.keys[k]; ok != (err == nil) || string(v) != want {
			t.Fatalf("engine %d: space %q, key %q: %q, %v, want %q", i, s, k, v, err, want)
		}
	}
}
