package jmap

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"hash/fnv"
	"slices"
	"sync"
	"time"
)

// Changes tells what of a user's accounts changes (RFC 8620, 7). Methods may be called at once.
type Changes interface {
	// Watch calls notify after anything may have changed that the user sees, until stop is
	// called. A change that is durable before Watch returns need not be told; no later one
	// is left out, but several may be told as one. notify does not block, and stop does not
	// wait for it.
	Watch(ctx context.Context, user any, notify func()) (stop func(), err error)
	// States returns the states of all data types in all accounts that the user may use.
	States(ctx context.Context, user any) (States, error)
}

// States are the states of data types, by account and name of the type.
type States map[ID]map[string]string

// pushGap is the least time between two pushes to one client: what changes within it is
// pushed as one change, and still within the tenth of a second that a push may take.
const pushGap = 50 * time.Millisecond

// FormatStateChange writes a StateChange object (RFC 8620, 7.1).
func FormatStateChange(changed States) []byte { return new(Follower).format(changed, false) }

// stateChange is a StateChange object (RFC 8620, 7.1).
type stateChange struct {
	AtType    string `json:"@type"`
	Changed   States `json:"changed"`
	PushState string `json:"pushState,omitempty"` // RFC 8887, 4.3.5.1
}

// digest stands for one state in what a client is told it has seen. It has 48 bits.
type digest uint64

const digestSize = 6

// digestOf is always the same: clients bring digests back after a restart.
func digestOf(account ID, kind, state string) digest {
	h := fnv.New64a()
	for _, part := range []string{string(account), kind, state} {
		h.Write([]byte(part))
		h.Write([]byte{0})
	}
	sum := h.Sum64()
	return digest(sum>>48^sum) & (1<<48 - 1)
}

// digests are those of all states, in order.
func (s States) digests() []digest {
	var list []digest
	for account, types := range s {
		for kind, state := range types {
			list = append(list, digestOf(account, kind, state))
		}
	}
	slices.Sort(list)
	return list
}

// Follower is what one client has seen, and which types it wants to see. It is small, and
// not to be used by several at once.
type Follower struct {
	types []string // nil: all
	seen  []digest // in order
}

// NewFollower returns one that wants to see some types, nil: all, and has seen nothing.
func NewFollower(types []string) *Follower { return &Follower{types: types} }

// Changes returns the states that the client has not seen, and takes them as seen.
func (f *Follower) Changes(now States) States {
	changed := States{}
	for account, types := range now {
		for kind, state := range types {
			if f.types != nil && !slices.Contains(f.types, kind) {
				continue
			}
			if _, ok := slices.BinarySearch(f.seen, digestOf(account, kind, state)); ok {
				continue
			}
			if changed[account] == nil {
				changed[account] = map[string]string{}
			}
			changed[account][kind] = state
		}
	}
	f.seen = now.digests()
	return changed
}

// tokenMax is how many states are told one by one in a token. Of more only a sum is told:
// whoever comes back with another sum is told everything.
const tokenMax = 128

const (
	tokenList = 'l'
	tokenSum  = 's'
)

// token writes what the client has seen: what RFC 8620, 7.3, has as the id of an event and
// RFC 8887, 4.3.5.1, as pushState.
func (f *Follower) token() string {
	var raw []byte
	for _, d := range f.seen {
		raw = binary.BigEndian.AppendUint64(raw, uint64(d))
		raw = append(raw[:len(raw)-8], raw[len(raw)-digestSize:]...)
	}
	if len(f.seen) <= tokenMax {
		return string(tokenList) + base64.RawURLEncoding.EncodeToString(raw)
	}
	h := fnv.New64a()
	h.Write(raw)
	return string(tokenSum) + base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// resume makes f a Follower that has seen what a token says. One that is not ours says
// nothing: the client is told everything.
func (f *Follower) resume(token string, now States) {
	f.seen = nil
	if token == "" {
		return
	}
	raw, err := base64.RawURLEncoding.DecodeString(token[1:])
	switch {
	case err != nil || len(raw) > tokenMax*digestSize:
	case token[0] == tokenSum:
		all := Follower{seen: now.digests()}
		if all.token() == token {
			f.seen = all.seen
		}
	case token[0] == tokenList && len(raw)%digestSize == 0:
		for ; len(raw) > 0; raw = raw[digestSize:] {
			f.seen = append(f.seen, digest(binary.BigEndian.Uint64(append([]byte{0, 0}, raw[:digestSize]...))))
		}
		slices.Sort(f.seen)
	}
}

// format writes a StateChange.
func (f *Follower) format(changed States, withToken bool) []byte {
	c := stateChange{AtType: "StateChange", Changed: changed}
	if withToken {
		c.PushState = f.token()
	}
	raw, err := json.Marshal(c)
	if err != nil { // maps of strings always can be written
		return []byte(`{"@type":"StateChange","changed":{}}`)
	}
	return raw
}

// streams are the open EventSources and WebSockets.
type streams struct {
	gate
	end chan struct{} // closed by Shutdown

	mu    sync.Mutex
	ended bool                   // mu
	open  map[streaming]struct{} // mu; those that the HTTP server no longer knows of
	wait  sync.WaitGroup         // for them
}

// streaming is a stream that the HTTP server no longer knows of.
type streaming interface{ end(ctx context.Context) }

// add counts one in; false: it is too late.
func (t *streams) add(k streaming) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return false
	}
	t.open[k] = struct{}{}
	t.wait.Add(1)
	return true
}

func (t *streams) remove(k streaming) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.open, k)
	t.wait.Done()
}

// Shutdown ends all streams; requests under way on a WebSocket are answered first, while
// ctx lasts. Requests over HTTP are net/http's to wait for.
func (s *Server) Shutdown(ctx context.Context) error {
	t := &s.streams
	t.mu.Lock()
	if !t.ended {
		t.ended = true
		close(t.end)
	}
	for k := range t.open {
		go k.end(ctx)
	}
	t.mu.Unlock()
	done := make(chan struct{})
	go func() { t.wait.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Streams is the number of open EventSources and WebSockets.
func (s *Server) Streams() int {
	g := &s.streams.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	n := 0
	for _, of := range g.users {
		n += of
	}
	return n
}

// recheck tells whether the user of a stream may still have it.
func (s *Server) recheck(ctx context.Context, user any) error {
	if s.o.Recheck == nil {
		return nil
	}
	return s.o.Recheck(ctx, user)
}
