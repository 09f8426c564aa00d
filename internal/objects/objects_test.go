package objects

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"postroad/internal/blob"
	"postroad/internal/blob/memblob"
	"postroad/internal/kv/hlc"
	"postroad/internal/kv/memkv"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
)

type house struct {
	Store
	account mailstore.AccountID
}

func newHouse(t interface {
	Fatal(...any)
	Cleanup(func())
}) *house {
	engine, clock := memkv.New(), hlc.NewClock(1)
	t.Cleanup(func() { engine.Close() })
	c := &mailflow.Committer{Engine: engine, Bodies: blob.NewBodies(engine, memblob.New(), clock)}
	h := &house{Store{Committer: c, Clock: clock}, clock.Next()}
	mail := mailstore.New(mailstore.Options{Committer: c, Clock: clock})
	if err := mail.Create(context.Background(), h.account, mailstore.Quota{}); err != nil {
		t.Fatal(err)
	}
	return h
}

// client is what somebody knows who follows the changes, in steps.
type client struct {
	state State
	known map[hlc.ID]string
}

// follow takes the changes in steps of limit, and reads what they name.
func (c *client) follow(t *rapid.T, h *house, limit int) {
	ctx := context.Background()
	ch, err := h.Changes(ctx, h.account, ContactCard, c.state, limit)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(ch.Created) + len(ch.Updated) + len(ch.Destroyed); limit > 0 && n > limit {
		t.Fatalf("%d changes where at most %d were asked for", n, limit)
	}
	for _, id := range append(ch.Created, ch.Updated...) {
		c.known[id] = ""
		if list, err := h.Get(ctx, h.account, ContactCard, id); err != nil {
			t.Fatal(err)
		} else if len(list) == 1 {
			c.known[id] = string(list[0].Value)
		}
	}
	for _, id := range ch.Updated {
		if _, ok := c.known[id]; !ok {
			t.Fatalf("update of %s, which was never told of", id)
		}
	}
	for _, id := range ch.Destroyed {
		delete(c.known, id)
	}
	if c.state, err = ParseState(ch.State.String()); err != nil {
		t.Fatal(err)
	}
	if ch.More != (c.state.Since != nil) {
		t.Fatalf("state %v with more %v", ch.State, ch.More)
	}
	if ch.More {
		c.follow(t, h, limit)
	}
}

// TestChanges compares clients that follow the changes now and then, in steps of any size,
// with what is there.
func TestChanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h, ctx := newHouse(t), context.Background()
		model := map[hlc.ID]string{}
		clients := []*client{{known: map[hlc.ID]string{}}, {known: map[hlc.ID]string{}}}
		var ids []hlc.ID
		for step := range rapid.IntRange(1, 40).Draw(t, "steps") {
			value := fmt.Sprint("value ", step)
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0, 1:
				id, err := h.Create(ctx, h.account, ContactCard, []byte(value))
				if err != nil {
					t.Fatal(err)
				}
				model[id], ids = value, append(ids, id)
			case 2:
				if len(ids) > 0 {
					h.change(t, model, rapid.SampledFrom(ids).Draw(t, "id"), value)
				}
			case 3:
				if len(ids) > 0 {
					id := rapid.SampledFrom(ids).Draw(t, "id")
					err := h.Destroy(ctx, h.account, ContactCard, id)
					if _, there := model[id]; there != (err == nil) || err != nil && !errors.Is(err, ErrNotFound) {
						t.Fatalf("destroy: %v", err)
					}
					delete(model, id)
				}
			case 4:
				rapid.SampledFrom(clients).Draw(t, "client").follow(t, h, rapid.IntRange(0, 3).Draw(t, "limit"))
			}
		}
		for _, c := range clients {
			c.follow(t, h, 0)
			if fmt.Sprint(c.known) != fmt.Sprint(model) {
				t.Fatalf("a client knows\n%v\nand there is\n%v", c.known, model)
			}
		}
		if s, err := h.State(ctx, h.account, Identity); err != nil || s != (State{}) {
			t.Fatalf("state of a kind without objects: %v %v", s, err)
		}
	})
}

// change updates an object in the store and the model.
func (h *house) change(t *rapid.T, model map[hlc.ID]string, id hlc.ID, value string) {
	err := h.Update(context.Background(), h.account, ContactCard, id, func([]byte) ([]byte, error) { return []byte(value), nil })
	if _, there := model[id]; there != (err == nil) || err != nil && !errors.Is(err, ErrNotFound) {
		t.Fatalf("update: %v", err)
	}
	if err == nil {
		model[id] = value
	}
}

// TestSeveral changes objects of several kinds in one unit: all have one mod-sequence and
// places of their own.
func TestSeveral(t *testing.T) {
	h, ctx := newHouse(t), context.Background()
	err := h.Committer.Commit(ctx, func(_ context.Context, u *mailflow.Unit) error {
		for range 5 {
			if err := h.PrepareCreate(u, h.account, Identity, h.NewID(), []byte("x")); err != nil {
				return err
			}
		}
		return h.PrepareCreate(u, h.account, AddressBook, h.NewID(), nil)
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := h.Changes(ctx, h.account, Identity, State{}, 2)
	if err != nil || len(c.Created) != 2 || !c.More {
		t.Fatalf("first step: %+v %v", c, err)
	}
	if c, err = h.Changes(ctx, h.account, Identity, c.State, 10); err != nil || len(c.Created) != 3 || c.More {
		t.Fatalf("second step: %+v %v", c, err)
	}
	if c, err = h.Changes(ctx, h.account, AddressBook, State{}, 0); err != nil || len(c.Created) != 1 {
		t.Fatalf("the other kind: %+v %v", c, err)
	}
}

// TestLimits holds size, states that never were, and accounts that are not there.
func TestLimits(t *testing.T) {
	h, ctx := newHouse(t), context.Background()
	if _, err := h.Create(ctx, h.account, Setting, make([]byte, ValueMax+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large a value: %v", err)
	}
	if _, err := h.Create(ctx, h.account, Setting, make([]byte, ValueMax)); err != nil {
		t.Errorf("the largest value: %v", err)
	}
	if _, err := h.Changes(ctx, h.account, Setting, State{ModSeq: 1 << 40}, 0); !errors.Is(err, ErrNoChanges) {
		t.Errorf("a state of the future: %v", err)
	}
	if _, _, err := h.All(ctx, h.account+1, Setting, 0, 0); !errors.Is(err, mailstore.ErrNoAccount) {
		t.Errorf("no account: %v", err)
	}
	for _, bad := range []string{"", "x", "1.", "1.70000", "1:2", "2:1:0", "-1", "1.2.3"} {
		if _, err := ParseState(bad); !errors.Is(err, ErrState) {
			t.Errorf("state %q: %v", bad, err)
		}
	}
}

// TestForget lets tombstones grow over what is remembered.
func TestForget(t *testing.T) {
	h, ctx := newHouse(t), context.Background()
	var first State
	for n := 0; n < tombstonesMax+forgottenAtOnce; n += 50 {
		ids := make([]hlc.ID, 0, 50)
		must(t, h.Committer.Commit(ctx, func(_ context.Context, u *mailflow.Unit) error {
			ids = ids[:0]
			for range 50 {
				ids = append(ids, h.NewID())
				if err := h.PrepareCreate(u, h.account, Job, ids[len(ids)-1], nil); err != nil {
					return err
				}
			}
			return nil
		}))
		if n == 0 {
			first, _ = h.State(ctx, h.account, Job)
		}
		must(t, h.Committer.Commit(ctx, func(ctx context.Context, u *mailflow.Unit) error {
			list, err := h.Get(ctx, h.account, Job, ids...)
			if err != nil {
				return err
			}
			for _, o := range list {
				if err := h.PrepareDestroy(ctx, u, h.account, Job, o); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	if _, err := h.Changes(ctx, h.account, Job, first, 0); !errors.Is(err, ErrNoChanges) {
		t.Errorf("changes since what is forgotten: %v", err)
	}
	snap, err := h.snapshot(ctx, h.account)
	must(t, err)
	defer snap.Close()
	if list, err := readLog(snap, partTombstone, Job, State{}, 0); err != nil || len(list) > tombstonesMax+50 {
		t.Errorf("%d tombstones %v", len(list), err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestTwiceInOneUnit: what a unit has made of an object is what it changes further.
func TestTwiceInOneUnit(t *testing.T) {
	h := newHouse(t)
	ctx := t.Context()
	first, err := h.Create(ctx, h.account, ContactCard, []byte("a"))
	if err != nil {
		t.Fatal(err)
	}
	made := h.NewID()
	before, err := h.State(ctx, h.account, ContactCard)
	if err != nil {
		t.Fatal(err)
	}
	err = h.Committer.Commit(ctx, func(ctx context.Context, u *mailflow.Unit) error {
		if err := h.PrepareCreate(u, h.account, ContactCard, made, []byte("x")); err != nil {
			return err
		}
		for _, more := range []string{"b", "c"} {
			for _, id := range []hlc.ID{first, made} {
				o, err := h.Within(ctx, u, h.account, ContactCard, id)
				if err != nil {
					return err
				}
				if err := h.PrepareUpdate(u, h.account, ContactCard, o, append(o.Value, more...)); err != nil {
					return err
				}
			}
		}
		_, err := h.Within(ctx, u, h.account, ContactCard, 12345)
		if !errors.Is(err, ErrNotFound) {
			return fmt.Errorf("what is not there: %w", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	list, err := h.Get(ctx, h.account, ContactCard, first, made)
	if err != nil || len(list) != 2 || string(list[0].Value) != "abc" || string(list[1].Value) != "xbc" {
		t.Fatalf("%v, %v", list, err)
	}
	c, err := h.Changes(ctx, h.account, ContactCard, before, 0)
	if err != nil || len(c.Created) != 1 || c.Created[0] != made || len(c.Updated) != 1 || c.Updated[0] != first || len(c.Destroyed) != 0 {
		t.Errorf("changes %+v, %v", c, err)
	}
	// Its history is whole: it can be changed and destroyed as ever.
	for _, id := range []hlc.ID{first, made} {
		if err := h.Update(ctx, h.account, ContactCard, id, func([]byte) ([]byte, error) { return []byte("y"), nil }); err != nil {
			t.Error(err)
		}
		if err := h.Destroy(ctx, h.account, ContactCard, id); err != nil {
			t.Error(err)
		}
	}
}
