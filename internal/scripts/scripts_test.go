package scripts

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"postroad/internal/blob"
	"postroad/internal/blob/memblob"
	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
	"postroad/internal/kv/memkv"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
)

// house is a store over memory with one account of organisation "acme".
type house struct {
	*Store
	mail   *mailstore.Store
	engine kv.Engine
	clock  *hlc.Clock
	alice  AccountID
}

func newHouse(t testing.TB, change func(*Options)) *house {
	t.Helper()
	h := &house{engine: memkv.New(), clock: hlc.NewClock(1)}
	committer := &mailflow.Committer{Engine: h.engine, Bodies: blob.NewBodies(h.engine, memblob.New(), h.clock)}
	h.mail = mailstore.New(mailstore.Options{Committer: committer, Clock: h.clock})
	h.alice = h.account(t)
	o := Options{Committer: committer, Clock: h.clock,
		Compile: func(source []byte) (string, error) {
			if strings.Contains(string(source), "wrong") {
				return "", errors.New("line 1: wrong")
			}
			return "", nil
		},
		Organisation: func(context.Context, AccountID) (string, error) { return "acme", nil },
	}
	if change != nil {
		change(&o)
	}
	h.Store = New(o)
	return h
}

func (h *house) account(t testing.TB) AccountID {
	t.Helper()
	id := h.clock.Next()
	if err := h.mail.Create(context.Background(), id, mailstore.Quota{}); err != nil {
		t.Fatal(err)
	}
	return id
}

// put stores a script that must be taken.
func (h *house) put(t testing.TB, o Owner, name, text string) {
	t.Helper()
	if _, err := h.Put(t.Context(), o, name, []byte(text)); err != nil {
		t.Fatalf("put %s: %v", name, err)
	}
}

func TestErrors(t *testing.T) {
	h := newHouse(t, func(o *Options) { o.ScriptsMax, o.ScriptMax = 2, 100 })
	ctx, own := t.Context(), OfAccount(h.alice)
	h.put(t, own, "a", "keep;")
	h.put(t, own, "b", "keep;")
	if err := h.Activate(ctx, h.alice, "a"); err != nil {
		t.Fatal(err)
	}
	put := func(name, text string) error {
		_, err := h.Put(ctx, own, name, []byte(text))
		return err
	}
	_, getErr := h.Get(ctx, own, "c")
	for _, test := range []struct {
		name      string
		got, want error
	}{
		{"too many", put("c", "keep;"), ErrTooMany},
		{"as many as before", put("b", "stop;"), nil},
		{"too large", put("b", strings.Repeat("#", 101)), ErrTooLarge},
		{"largest", put("b", strings.Repeat("#", 100)), nil},
		{"empty", put("b", ""), ErrEmpty},
		{"wrong", put("b", "wrong"), ErrScript},
		{"no name", put("", "keep;"), ErrName},
		{"not in form C", put("u\u0308", "keep;"), ErrName},
		{"room for one more", h.Room(ctx, own, "c", 1), ErrTooMany},
		{"room for a large one", h.Room(ctx, own, "a", 101), ErrTooLarge},
		{"room for another content", h.Room(ctx, own, "a", 100), nil},
		{"get nothing", getErr, ErrNoScript},
		{"delete nothing", h.Delete(ctx, own, "c"), ErrNoScript},
		{"delete the active one", h.Delete(ctx, own, "a"), ErrActive},
		{"rename nothing", h.Rename(ctx, own, "c", "d"), ErrNoScript},
		{"rename onto another", h.Rename(ctx, own, "a", "b"), ErrExists},
		{"rename onto itself", h.Rename(ctx, own, "a", "a"), ErrExists},
		{"rename to nothing", h.Rename(ctx, own, "a", ""), ErrName},
		{"activate nothing", h.Activate(ctx, h.alice, "c"), ErrNoScript},
		{"place an account's", h.Place(ctx, own, "a", Before, 0), ErrPosition},
		{"place nothing", h.Place(ctx, OfEverybody(), "a", Before, 0), ErrNoScript},
		{"nobody", h.Activate(ctx, 12345, ""), mailstore.ErrNoAccount},
	} {
		if !errors.Is(test.got, test.want) {
			t.Errorf("%s: %v, want %v", test.name, test.got, test.want)
		}
	}
	var wrong *CompileError
	if err := put("b", "wrong"); !errors.As(err, &wrong) || wrong.Err.Error() != "line 1: wrong" {
		t.Errorf("what the compiler said is lost: %v", err)
	}
	list, err := h.List(ctx, own)
	if err != nil || len(list) != 2 || !list[0].Active || list[1].SizeBytes != 100 {
		t.Errorf("list %+v, %v", list, err)
	}
}

// model is what an account's scripts are by plain means.
type model struct {
	text   map[string]string
	active string
}

// TestModel runs random operations against the model; two stores over one engine, as two
// processes would be, must agree with it at each step.
func TestModel(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		h := newHouse(t, func(o *Options) { o.ScriptsMax = 3 })
		stores := []*Store{h.Store, New(h.o)}
		m := model{text: map[string]string{}}
		ctx, own := t.Context(), OfAccount(h.alice)
		name := rapid.SampledFrom([]string{"a", "b", "c", "d"})
		for range rapid.IntRange(1, 25).Draw(r, "steps") {
			s := rapid.SampledFrom(stores).Draw(r, "store")
			n := name.Draw(r, "name")
			var got, want error
			switch rapid.IntRange(0, 4).Draw(r, "operation") {
			case 0:
				text := strings.Repeat("#", rapid.SampledFrom([]int{1, 10, chunkMax, chunkMax + 1, 2*chunkMax + 5}).Draw(r, "size"))
				_, got = s.Put(ctx, own, n, []byte(text))
				want = m.put(n, text)
			case 1:
				got, want = s.Delete(ctx, own, n), m.delete(n)
			case 2:
				to := name.Draw(r, "to")
				got, want = s.Rename(ctx, own, n, to), m.rename(n, to)
			case 3:
				got, want = s.Activate(ctx, h.alice, n), m.activate(n)
			case 4:
				got, want = s.Activate(ctx, h.alice, ""), m.activate("")
			}
			if !errors.Is(got, want) {
				r.Fatalf("%v, want %v", got, want)
			}
			for _, s := range stores {
				m.compare(r, h, s)
			}
		}
		h.nothingLeftOver(r)
	})
}

func (m *model) put(n, text string) error {
	if _, known := m.text[n]; !known && len(m.text) >= 3 {
		return ErrTooMany
	}
	m.text[n] = text
	return nil
}

func (m *model) delete(n string) error {
	switch _, known := m.text[n]; {
	case !known:
		return ErrNoScript
	case m.active == n:
		return ErrActive
	}
	delete(m.text, n)
	return nil
}

func (m *model) rename(from, to string) error {
	text, known := m.text[from]
	if !known {
		return ErrNoScript
	}
	if _, known := m.text[to]; known {
		return ErrExists
	}
	delete(m.text, from)
	m.text[to] = text
	if m.active == from {
		m.active = to
	}
	return nil
}

func (m *model) activate(n string) error {
	if _, known := m.text[n]; n != "" && !known {
		return ErrNoScript
	}
	m.active = n
	return nil
}

// compare asks a store for all that the model knows.
func (m *model) compare(t *rapid.T, h *house, s *Store) {
	ctx, own := context.Background(), OfAccount(h.alice)
	list, err := s.List(ctx, own)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, one := range list {
		names = append(names, one.Name)
		source, err := s.Get(ctx, own, one.Name)
		if err != nil || string(source.Text) != m.text[one.Name] || source.Name != one.Name || source.Version != one.Version {
			t.Fatalf("%s has %d octets, want %d: %v", one.Name, one.SizeBytes, len(m.text[one.Name]), err)
		}
		if one.Active != (one.Name == m.active) || one.SizeBytes != int64(len(source.Text)) {
			t.Fatalf("%+v, active is %q", one, m.active)
		}
	}
	if !slices.Equal(names, slices.Sorted(maps.Keys(m.text))) {
		t.Fatalf("scripts %q, want %v", names, m.text)
	}
	stack, err := s.Stack(ctx, h.alice)
	if err != nil {
		t.Fatal(err)
	}
	if m.active == "" != stack.Empty() || !stack.Empty() && (stack.User.Name != m.active || string(stack.User.Text) != m.text[m.active]) {
		t.Fatalf("%q is active, but %+v runs", m.active, stack.User)
	}
	if active, err := s.Active(ctx, h.alice); err != nil || active != m.active {
		t.Fatalf("%q is active, not %q: %v", active, m.active, err)
	}
}

// nothingLeftOver finds contents of scripts that are gone.
func (h *house) nothingLeftOver(t *rapid.T) {
	snap, err := h.engine.Snapshot(context.Background(), OfAccount(h.alice).space)
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	shelf, err := readShelf(snap, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := 0
	for _, r := range shelf.all {
		want += len(contentPuts(r.version, make([]byte, r.size)))
	}
	have := 0
	for _, err := range snap.Scan(kv.Prefix([]byte(contentPrefix))) {
		if err != nil {
			t.Fatal(err)
		}
		have++
	}
	if have != want {
		t.Fatalf("%d chunks are stored, %d belong to scripts", have, want)
	}
}

// TestStack: order, and a state that moves with each change and nothing else.
func TestStack(t *testing.T) {
	h := newHouse(t, nil)
	ctx := t.Context()
	own, org, all := OfAccount(h.alice), OfOrganisation("acme"), OfEverybody()
	h.put(t, own, "mine", "keep;")
	for _, o := range []Owner{org, all} {
		for _, n := range []string{"z", "a", "last", "lib"} {
			h.put(t, o, n, "# "+n)
		}
		for n, order := range map[string]int{"z": -1, "a": 2} {
			if err := h.Place(ctx, o, n, Before, order); err != nil {
				t.Fatal(err)
			}
		}
		if err := h.Place(ctx, o, "last", After, 0); err != nil {
			t.Fatal(err)
		}
	}
	h.put(t, OfOrganisation("other"), "foreign", "discard;")
	stack, err := h.Stack(ctx, h.alice)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := describe(stack), "3:z 3:a 2:z 2:a | none | 2:last 3:last"; got != want {
		t.Errorf("runs %s, want %s", got, want)
	}
	if err := h.Activate(ctx, h.alice, "mine"); err != nil {
		t.Fatal(err)
	}
	active, err := h.Stack(ctx, h.alice)
	if err != nil || active.State == stack.State || describe(active) != "3:z 3:a 2:z 2:a | 1:mine | 2:last 3:last" {
		t.Errorf("active: %s, state moved %v, %v", describe(active), active.State != stack.State, err)
	}
	if active.Before[0] != stack.Before[0] {
		t.Error("a source was read twice")
	}
	// Mail moves the version of the account, not the state.
	account, err := h.mail.Account(ctx, h.alice)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := account.CreateMailbox(ctx, "x", ""); err != nil {
		t.Fatal(err)
	}
	same, err := h.Stack(ctx, h.alice)
	if err != nil || same.State != active.State || same.User != active.User {
		t.Errorf("after other changes: state moved %v, %v", same.State != active.State, err)
	}
}

// describe writes a stack in a line.
func describe(s *Stack) string {
	one := func(c *Source) string { return fmt.Sprintf("%d:%s", c.Scope, c.Name) }
	var parts []string
	for _, c := range s.Before {
		parts = append(parts, one(c))
	}
	user := "none"
	if s.User != nil {
		user = one(s.User)
	}
	parts = append(parts, "|", user, "|")
	for _, c := range s.After {
		parts = append(parts, one(c))
	}
	return strings.Join(parts, " ")
}

// TestInclude: personal and global names are apart (RFC 6609, 3.2).
func TestInclude(t *testing.T) {
	h := newHouse(t, nil)
	h.put(t, OfAccount(h.alice), "x", "# mine")
	h.put(t, OfOrganisation("acme"), "x", "# acme's")
	h.put(t, OfEverybody(), "x", "# everybody's")
	h.put(t, OfEverybody(), "y", "# y")
	for _, test := range []struct {
		personal bool
		name     string
		want     string
		err      error
	}{
		{true, "x", "# mine", nil}, {false, "x", "# acme's", nil}, {false, "y", "# y", nil},
		{true, "y", "", ErrNoScript}, {false, "z", "", ErrNoScript},
	} {
		source, err := h.Include(t.Context(), h.alice, test.personal, test.name)
		if !errors.Is(err, test.err) || err == nil && string(source.Text) != test.want {
			t.Errorf("%+v: %v, %v", test, source, err)
		}
	}
}

// TestAtOnce: of changes at once each is done, and none lost.
func TestAtOnce(t *testing.T) {
	h := newHouse(t, nil)
	own := OfAccount(h.alice)
	var wait sync.WaitGroup
	for i := range 20 {
		wait.Go(func() { h.put(t, own, fmt.Sprint(i), "keep;") })
	}
	wait.Wait()
	list, err := h.List(t.Context(), own)
	if err != nil || len(list) != 20 {
		t.Errorf("%d scripts, %v", len(list), err)
	}
}

// TestCacheBound: sources beyond the bound go.
func TestCacheBound(t *testing.T) {
	h := newHouse(t, func(o *Options) { o.CacheBytes = 1000 })
	own := OfAccount(h.alice)
	for i := range 10 {
		h.put(t, own, fmt.Sprint(i), strings.Repeat("#", 300))
		if _, err := h.Get(t.Context(), own, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
		if h.cache.bytes > 1000 || h.cache.bytes != int64(300*len(h.cache.sources)) {
			t.Fatalf("%d octets in %d sources", h.cache.bytes, len(h.cache.sources))
		}
	}
	if len(h.cache.sources) != 3 {
		t.Errorf("%d sources are held", len(h.cache.sources))
	}
}

// TestDamaged: records that cannot be are found out.
func TestDamaged(t *testing.T) {
	for name, damage := range map[string]func(s *shelf) kv.Batch{
		"stamp": func(*shelf) kv.Batch { return kv.Batch{Puts: []kv.Put{{Key: stampKey, Value: []byte{9}}}} },
		"record": func(s *shelf) kv.Batch {
			return kv.Batch{Puts: []kv.Put{{Key: scriptKey(s.all[0].id), Value: []byte{1}}}}
		},
		"content": func(s *shelf) kv.Batch { return kv.Batch{Ranges: []kv.Range{kv.Prefix([]byte(contentPrefix))}} },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, nil)
			own := OfAccount(h.alice)
			h.put(t, own, "a", "keep;")
			b := damage(h.cache.shelfNow(t, h, own))
			b.Space = own.space
			if _, err := h.engine.Commit(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			if _, err := New(h.o).Get(t.Context(), own, "a"); !errors.Is(err, ErrDamaged) {
				t.Errorf("read: %v", err)
			}
		})
	}
}

// shelfNow reads the list of an owner.
func (c *cache) shelfNow(t *testing.T, h *house, o Owner) *shelf {
	t.Helper()
	r, err := h.read(t.Context(), o, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.close()
	return r.shelf
}

// FuzzReadRecord: what is read is written the same.
func FuzzReadRecord(f *testing.F) {
	r := record{id: 5, version: 7, size: 9, position: After, order: -3, name: "ä"}
	f.Add(scriptKey(r.id), r.value())
	f.Fuzz(func(t *testing.T, k, v []byte) {
		if len(k) < len(scriptPrefix) {
			return
		}
		r, err := readRecord(kv.Entry{Key: k, Value: v})
		if err == nil && string(r.value()) != string(v) {
			t.Errorf("%q becomes %q", v, r.value())
		}
	})
}

// BenchmarkStack is what each delivery pays while mail moves the account's version.
func BenchmarkStack(b *testing.B) {
	h := newHouse(b, nil)
	h.put(b, OfAccount(h.alice), "mine", "keep;")
	if err := h.Activate(b.Context(), h.alice, "mine"); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := h.Stack(b.Context(), h.alice); err != nil {
			b.Fatal(err)
		}
	}
}
