package jmapd

import (
	"context"
	"runtime/debug"
	"sync"

	"postroad/internal/directory"
	"postroad/internal/kv"
	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/jmap"
)

// hub tells many watchers of changes in spaces: one goroutine a space that is watched, none
// a watcher. It is the protocol's Changes. What changed is not followed: watchers compare
// states.
type hub struct {
	house  *access.House
	states func(ctx context.Context, u *access.User) (jmap.States, error)

	mu     sync.Mutex
	spaces map[kv.Space]*watched // mu
}

// watched is a space with those who want to know.
type watched struct {
	cancel context.CancelFunc
	calls  map[*follow]func() // hub.mu
}

func newHub(h *access.House) *hub { return &hub{house: h, spaces: map[kv.Space]*watched{}} }

// States implements jmap.Changes.
func (h *hub) States(ctx context.Context, user any) (jmap.States, error) {
	return h.states(ctx, user.(*access.User))
}

// follow is one watcher: a user, whose accounts may become others while he watches.
type follow struct {
	hub    *hub
	user   *access.User
	notify func()

	mu      sync.Mutex
	stopped bool              // mu
	spaces  map[kv.Space]bool // mu
	again   bool              // mu; who shares has changed
	busy    bool              // mu; a goroutine looks who shares
}

// Watch implements jmap.Changes.
func (h *hub) Watch(ctx context.Context, user any, notify func()) (stop func(), err error) {
	f := &follow{hub: h, user: user.(*access.User), notify: notify, spaces: map[kv.Space]bool{}}
	// Whom he may see changes with what is shared in his organisation, and with its groups.
	for _, s := range []kv.Space{mailstore.Shares(f.user.Org), directory.OrgSpace(f.user.Org)} {
		if err := f.join(s, f.shared); err != nil {
			f.stop()
			return nil, err
		}
	}
	if err := f.refresh(ctx); err != nil {
		f.stop()
		return nil, err
	}
	return f.stop, nil
}

// join has call called after changes of a space.
func (f *follow) join(space kv.Space, call func()) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopped || f.spaces[space] {
		return nil
	}
	f.hub.mu.Lock()
	defer f.hub.mu.Unlock()
	w := f.hub.spaces[space]
	if w == nil {
		ctx, cancel := context.WithCancel(context.Background())
		hints, err := f.hub.house.Committer.Engine.Watch(ctx, space)
		if err != nil {
			cancel()
			return err
		}
		w = &watched{cancel: cancel, calls: map[*follow]func(){}}
		f.hub.spaces[space] = w
		go f.hub.tell(w, hints)
	}
	w.calls[f] = call
	f.spaces[space] = true
	return nil
}

// leave ends join; f.mu is held.
func (f *follow) leave(space kv.Space) {
	f.hub.mu.Lock()
	defer f.hub.mu.Unlock()
	delete(f.spaces, space)
	w := f.hub.spaces[space]
	if w == nil {
		return
	}
	if delete(w.calls, f); len(w.calls) == 0 {
		delete(f.hub.spaces, space)
		w.cancel() // ends its goroutine, which nobody waits for: it holds nothing
	}
}

// tell passes hints on.
func (h *hub) tell(w *watched, hints <-chan kv.Version) {
	for range hints {
		h.mu.Lock()
		calls := make([]func(), 0, len(w.calls))
		for _, call := range w.calls {
			calls = append(calls, call)
		}
		h.mu.Unlock()
		for _, call := range calls {
			call()
		}
	}
}

func (f *follow) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopped = true
	for s := range f.spaces {
		f.leave(s)
	}
}

// refresh watches the accounts that the user may use now, and no other.
func (f *follow) refresh(ctx context.Context) error {
	accounts, err := f.hub.house.Accounts(ctx, f.user)
	if err != nil {
		return err
	}
	now := map[kv.Space]bool{mailstore.Shares(f.user.Org): true, directory.OrgSpace(f.user.Org): true}
	for _, a := range accounts {
		space, _ := mailstore.Guest(a.ID())
		now[space] = true
		if err := f.join(space, f.notify); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for s := range f.spaces {
		if !now[s] {
			f.leave(s)
		}
	}
	return nil
}

// shared looks again who shares with the user, beside the goroutine that tells of it.
func (f *follow) shared() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.again = true
	if !f.busy {
		f.busy = true
		go f.look()
	}
}

func (f *follow) look() {
	defer func() {
		if v := recover(); v != nil {
			f.hub.house.Log.Error("a look at who shares panicked", "panic", v, "stack", string(debug.Stack()))
		}
	}()
	for {
		f.mu.Lock()
		if !f.again || f.stopped {
			f.busy = false
			f.mu.Unlock()
			return
		}
		f.again = false
		f.mu.Unlock()
		if err := f.refresh(context.Background()); err != nil {
			f.hub.house.Log.Error("look who shares", "user", f.user.Login.String(), "error", err)
		}
		f.notify()
	}
}
