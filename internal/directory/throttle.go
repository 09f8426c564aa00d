package directory

import (
	"container/list"
	"net/netip"
	"sync"
	"time"

	"postroad/address"
)

// Limits on failed log-ins. They fill as buckets do: a burst, then so many a time.
const (
	networkBurst  = 30 // failures of one address (IPv4) or /64 (IPv6)
	networkRefill = 30 * time.Second
	userBurst     = 60 // failures for one user name, from networks it is not known at
	userRefill    = time.Minute
	bucketsMax    = 50_000         // of each kind kept; the one unused the longest goes first
	trustFor      = 24 * time.Hour // after a good log-in its network is not limited
	loginKeyMax   = 320            // octets of a user name that tell buckets apart

	codeBurst  = 10 // codes tried for one account: three of a million are right at a time
	codeRefill = 10 * time.Minute
)

// throttle counts failed log-ins. A network with a recent good log-in is never shut out,
// and guessing at a user from elsewhere never shuts out the networks that the user is at.
type throttle struct {
	mu       sync.Mutex
	networks buckets // all guarded by mu
	users    buckets
	trusted  buckets // network, and user at network
	codes    buckets // by account: who gets here knows the password, and no network is trusted
}

func newThrottle() *throttle {
	return &throttle{networks: newBuckets(), users: newBuckets(), trusted: newBuckets(), codes: newBuckets()}
}

// networkOf is what one attacker has many addresses of.
func networkOf(a netip.Addr) string {
	a = a.Unmap()
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return ""
	}
	return p.String()
}

func userOf(login string) string {
	if a, err := address.Parse(login); err == nil {
		return a.Key()
	}
	return login[:min(len(login), loginKeyMax)]
}

// allows tells whether a log-in may be tried.
func (t *throttle) allows(client netip.Addr, login string, at time.Time) bool {
	network, user := networkOf(client), userOf(login)
	if network == "" {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.isTrusted(network, at) && t.networks.level(network, networkRefill, at) >= networkBurst {
		return false
	}
	return t.isTrusted(user+" "+network, at) || t.users.level(user, userRefill, at) < userBurst
}

func (t *throttle) isTrusted(key string, at time.Time) bool {
	b := t.trusted.get(key)
	return b != nil && at.Sub(b.at) < trustFor
}

// failed counts a failure.
func (t *throttle) failed(client netip.Addr, login string, at time.Time) {
	network, user := networkOf(client), userOf(login)
	if network == "" {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.networks.add(network, networkRefill, at)
	if !t.isTrusted(user+" "+network, at) {
		t.users.add(user, userRefill, at)
	}
}

// succeeded remembers that the network is a user's.
func (t *throttle) succeeded(client netip.Addr, login string, at time.Time) {
	network, user := networkOf(client), userOf(login)
	if network == "" {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.trusted.make(network).at = at
	t.trusted.make(user + " " + network).at = at
}

// MayTry tells whether a network may try anything more that strangers can guess at, or make us
// work for: tokens of an outside provider. TryFailed counts what failed.
func (s *Store) MayTry(client netip.Addr) bool {
	t, at, network := s.throttle, time.Now(), networkOf(client)
	if network == "" {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.isTrusted(network, at) || t.networks.level(network, networkRefill, at) < networkBurst
}

// TryFailed counts a failure against a network, see MayTry.
func (s *Store) TryFailed(client netip.Addr) {
	network := networkOf(client)
	if network == "" {
		return
	}
	s.throttle.mu.Lock()
	defer s.throttle.mu.Unlock()
	s.throttle.networks.add(network, networkRefill, time.Now())
}

// tryCode counts a try of a second factor before it is made, so that many at once are
// counted too, and tells whether it may be made.
func (t *throttle) tryCode(id AccountID, at time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.codes.level(id.String(), codeRefill, at) >= codeBurst {
		return false
	}
	t.codes.add(id.String(), codeRefill, at)
	return true
}

// rightCode forgets the tries before a right one.
func (t *throttle) rightCode(id AccountID, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.codes.make(id.String())
	b.level, b.at = 0, at
}

// bucket is a level that runs out with time.
type bucket struct {
	key   string
	level float64
	at    time.Time // when the level was that
}

// buckets is a bounded set of them, the one used last in front.
type buckets struct {
	byKey map[string]*list.Element
	order *list.List
}

func newBuckets() buckets { return buckets{map[string]*list.Element{}, list.New()} }

func (b *buckets) get(key string) *bucket {
	e := b.byKey[key]
	if e == nil {
		return nil
	}
	b.order.MoveToFront(e)
	return e.Value.(*bucket)
}

func (b *buckets) make(key string) *bucket {
	if have := b.get(key); have != nil {
		return have
	}
	if len(b.byKey) >= bucketsMax {
		last := b.order.Back()
		delete(b.byKey, last.Value.(*bucket).key)
		b.order.Remove(last)
	}
	fresh := &bucket{key: key}
	b.byKey[key] = b.order.PushFront(fresh)
	return fresh
}

// level is a bucket's level now, one less with each refill time that passed.
func (b *buckets) level(key string, refill time.Duration, at time.Time) float64 {
	have := b.get(key)
	if have == nil {
		return 0
	}
	return max(0, have.level-float64(at.Sub(have.at))/float64(refill))
}

func (b *buckets) add(key string, refill time.Duration, at time.Time) {
	level := b.level(key, refill, at) + 1
	have := b.make(key)
	have.level, have.at = level, at
}
