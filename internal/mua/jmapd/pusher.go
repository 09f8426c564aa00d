package jmapd

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"postroad/internal/directory"
	"postroad/internal/kv/hlc"
	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/objects"
	"postroad/jmap"
	"postroad/jmap/webpush"
)

// How push services are treated.
const (
	pushesMax   = 16               // requests at once
	pushGap     = 2 * time.Second  // between two requests for one subscription
	pushGapMax  = 10 * time.Minute // after "429 Too Many Requests"
	retryMin    = 30 * time.Second
	retryMax    = 2 * time.Hour
	failuresMax = 30 // in a row; then the subscription is destroyed
	changeTTL   = 24 * time.Hour
	codeTTL     = time.Hour
	codeTries   = 5
	sweepEvery  = time.Hour // expired subscriptions are looked for
)

// pusher keeps the subscriptions and tells push services of changes.
type pusher struct {
	server *Server
	house  *access.House
	log    *slog.Logger
	client *http.Client
	key    *webpush.Key
	public string
	now    func() time.Time
	places chan struct{} // one for each request at once

	mu      sync.Mutex
	ctx     context.Context // mu; nil: run has not begun, or has ended
	work    sync.WaitGroup  // goroutines of targets; added to under mu
	targets map[hlc.ID]*target
	creates map[mailstore.AccountID]*made
}

// made is how many subscriptions an account has made since a time.
type made struct {
	since time.Time
	n     int
}

// target is a subscription that is pushed to. Its states: waiting for a change (no
// goroutine), and pushing (one goroutine, until there is nothing left to tell).
type target struct {
	p       *pusher
	account mailstore.AccountID
	id      hlc.ID

	mu       sync.Mutex
	sub      *subscription // mu; replaced, not changed
	seen     *jmap.Follower
	stop     func() // mu; ends the watch
	ended    bool   // mu
	dirty    bool   // mu
	busy     bool   // mu
	failures int    // of the goroutine
	gap      time.Duration
}

func newPusher(ctx context.Context, s *Server) (*pusher, error) {
	p := &pusher{server: s, house: s.house, log: s.log, client: pushClient(s.o.PushNetworks, s.o.PushTLS), now: time.Now,
		places: make(chan struct{}, pushesMax), targets: map[hlc.ID]*target{}, creates: map[mailstore.AccountID]*made{}}
	var err error
	if p.key, err = p.readKey(ctx); err != nil {
		return nil, err
	}
	p.public, err = p.key.Public()
	return p, err
}

// allow counts a subscription that is made.
func (p *pusher) allow(id mailstore.AccountID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	for a, m := range p.creates {
		if now.Sub(m.since) > createsTime {
			delete(p.creates, a)
		}
	}
	m := p.creates[id]
	if m == nil {
		m = &made{since: now}
		p.creates[id] = m
	}
	m.n++
	return m.n <= createsMax
}

// run pushes until ctx is done. What was there before it began is told of as changed: what
// became of it meanwhile nobody knows.
func (p *pusher) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p.mu.Lock()
	p.ctx = ctx
	p.mu.Unlock()
	defer p.end()
	for {
		if err := p.load(ctx); err != nil && ctx.Err() == nil {
			p.log.Error("read push subscriptions", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(sweepEvery):
		}
	}
}

// end waits for all goroutines.
func (p *pusher) end() {
	p.mu.Lock()
	p.ctx = nil
	all := p.targets
	p.targets = map[hlc.ID]*target{}
	p.mu.Unlock()
	for _, t := range all {
		t.end()
	}
	p.work.Wait()
	p.client.CloseIdleConnections()
}

// load follows all subscriptions and destroys those that are over.
func (p *pusher) load(ctx context.Context) error {
	accounts, err := p.accounts(ctx)
	if err != nil {
		return err
	}
	for _, account := range accounts {
		list, _, err := p.house.Objects.All(ctx, account, objects.PushSubscription, 0, 0)
		if errors.Is(err, mailstore.ErrNoAccount) {
			continue
		}
		if err != nil {
			return err
		}
		for _, o := range list {
			s, err := parseSubscription(o)
			if err != nil {
				return err
			}
			if !p.now().Before(s.Expires) {
				if err := p.destroy(ctx, account, o.ID); err != nil {
					return err
				}
				continue
			}
			p.follow(account, o.ID, s)
		}
	}
	return nil
}

// follow begins to push to a subscription, or learns that it has changed.
func (p *pusher) follow(account mailstore.AccountID, id hlc.ID, s *subscription) {
	p.mu.Lock()
	if p.ctx == nil {
		p.mu.Unlock()
		return // run will find it
	}
	t := p.targets[id]
	if t == nil {
		t = &target{p: p, account: account, id: id, gap: pushGap}
		p.targets[id] = t
	}
	ctx := p.ctx
	p.mu.Unlock()
	t.learn(ctx, s)
}

// destroy destroys a subscription; keys and URL are gone with it.
func (p *pusher) destroy(ctx context.Context, account mailstore.AccountID, id hlc.ID) error {
	p.mu.Lock()
	t := p.targets[id]
	delete(p.targets, id)
	p.mu.Unlock()
	if t != nil {
		t.end()
	}
	err := p.house.Objects.Destroy(ctx, account, objects.PushSubscription, id)
	if errors.Is(err, objects.ErrNotFound) {
		return nil
	}
	return err
}

// user is whom a subscription belongs to.
func (t *target) user(ctx context.Context, s *subscription) (*access.User, error) {
	who, err := t.p.house.Directory.Principal(ctx, t.account)
	if err != nil {
		return nil, err
	}
	who.App = s.App
	return &access.User{Principal: who, Credential: s.Credential}, nil
}

// learn takes a subscription as it is now. Once it is verified its user is watched for.
func (t *target) learn(ctx context.Context, s *subscription) {
	t.mu.Lock()
	known := t.sub != nil
	if t.seen == nil || known && !equalTypes(t.sub.Types, s.Types) {
		t.seen = jmap.NewFollower(s.Types)
	}
	t.sub = s
	watch := s.Verified && t.stop == nil && !t.ended
	t.mu.Unlock()
	if watch {
		u, err := t.user(ctx, s)
		var stop func()
		if err == nil {
			stop, err = t.p.server.hub.Watch(ctx, u, t.notify)
		}
		if err != nil {
			t.p.log.Error("watch for a push subscription", "account", t.account.String(), "error", err)
			return // the next sweep tries again
		}
		t.mu.Lock()
		if t.stop != nil || t.ended {
			t.mu.Unlock()
			stop()
			return
		}
		t.stop = stop
		t.mu.Unlock()
		if known { // it was verified just now: what is there its client knows
			if now, err := t.p.server.states(ctx, u); err == nil {
				t.mu.Lock()
				t.seen.Changes(now)
				t.mu.Unlock()
			}
		}
	}
	if watch || !s.Sent && !s.Verified {
		t.notify()
	}
}

func equalTypes(a, b []string) bool {
	if (a == nil) != (b == nil) || len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func (t *target) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	if t.stop != nil {
		t.stop()
		t.stop = nil
	}
}

// notify has something pushed, by one goroutine.
func (t *target) notify() {
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dirty = true
	if t.busy || t.ended || t.p.ctx == nil {
		return
	}
	t.busy = true
	t.p.work.Add(1)
	go t.pump(t.p.ctx)
}

// pump pushes until nothing is left to tell.
func (t *target) pump(ctx context.Context) {
	defer t.p.work.Done()
	defer func() {
		if v := recover(); v != nil {
			if t.p.server.o.Panicked != nil {
				t.p.server.o.Panicked(v, debug.Stack())
			}
			t.mu.Lock()
			t.busy = false
			t.mu.Unlock()
		}
	}()
	for {
		t.mu.Lock()
		if !t.dirty || t.ended || ctx.Err() != nil {
			t.busy = false
			t.mu.Unlock()
			return
		}
		t.dirty = false
		sub := t.sub
		t.mu.Unlock()
		wait := t.once(ctx, sub)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// once pushes what is to be told now and returns how long to wait before the next time.
func (t *target) once(ctx context.Context, s *subscription) time.Duration {
	select {
	case t.p.places <- struct{}{}:
		defer func() { <-t.p.places }()
	case <-ctx.Done():
		return 0
	}
	u, err := t.user(ctx, s)
	if err == nil {
		err = t.p.server.lives(ctx, u)
	}
	switch {
	case errors.Is(err, errEnded), errors.Is(err, directory.ErrNotFound), !t.p.now().Before(s.Expires):
		t.over(ctx, "its time or its credential is over")
		return 0
	case err != nil:
		return t.failed(ctx, err)
	case !s.Verified:
		return t.pushCode(ctx, s)
	}
	now, err := t.p.server.states(ctx, u)
	if err != nil {
		return t.failed(ctx, err)
	}
	t.mu.Lock()
	before := *t.seen
	changed := t.seen.Changes(now)
	t.mu.Unlock()
	for _, part := range split(changed) {
		if err := t.push(ctx, s, jmap.FormatStateChange(part), changeTTL, urgency(part)); err != nil {
			t.mu.Lock()
			*t.seen = before // nothing is told until all is
			t.mu.Unlock()
			return t.failed(ctx, err)
		}
	}
	t.failures = 0
	return t.gap
}

// pushCode pushes the verification (RFC 8620, 7.2.2), once.
func (t *target) pushCode(ctx context.Context, s *subscription) time.Duration {
	if s.Sent {
		return 0
	}
	body, err := json.Marshal(map[string]string{"@type": "PushVerification", "pushSubscriptionId": string(access.FormatID('P', t.id)), "verificationCode": s.Code})
	if err == nil {
		err = t.push(ctx, s, body, codeTTL, webpush.High)
	}
	if err != nil && t.failures+1 < codeTries {
		return t.failed(ctx, err)
	}
	t.failures = 0
	// Given up counts as sent: RFC 8620, 8.6, has us not bother who did not ask.
	err = t.p.house.Objects.Update(ctx, t.account, objects.PushSubscription, t.id, func(value []byte) ([]byte, error) {
		kept := new(subscription)
		if err := json.Unmarshal(value, kept); err != nil {
			return nil, err
		}
		kept.Sent = true
		return json.Marshal(kept)
	})
	if err != nil && !errors.Is(err, objects.ErrNotFound) && ctx.Err() == nil {
		t.p.log.Error("note that a verification was pushed", "error", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sub == s { // nobody changed it meanwhile
		sent := *s
		sent.Sent = true
		t.sub = &sent
	}
	return t.gap
}

// split makes messages that can be encrypted of changes that may be too many for one.
func split(changed jmap.States) []jmap.States {
	if len(changed) == 0 {
		return nil
	}
	if len(changed) == 1 || len(jmap.FormatStateChange(changed)) <= webpush.PlainMax {
		return []jmap.States{changed}
	}
	var parts []jmap.States
	for account, types := range changed {
		parts = append(parts, jmap.States{account: types})
	}
	return parts
}

// urgency of a change (RFC 8030, 5.3): new mail is what people wait for.
func urgency(changed jmap.States) webpush.Urgency {
	level := webpush.Low
	for _, types := range changed {
		if _, ok := types["EmailDelivery"]; ok {
			return webpush.High
		}
		if _, ok := types["Email"]; ok {
			level = webpush.Normal
		}
	}
	return level
}

// answer is what a push service said when it did not take a message.
type answer struct {
	status int
	after  time.Duration // Retry-After; 0: not said
}

func (a *answer) Error() string { return "the push service answered " + strconv.Itoa(a.status) }

// push makes one request.
func (t *target) push(ctx context.Context, s *subscription, body []byte, ttl time.Duration, u webpush.Urgency) error {
	keys, err := s.keys()
	if err != nil {
		return err
	}
	m := webpush.Message{Endpoint: s.URL, Keys: keys, Body: body, Type: "application/json", TTL: ttl, Urgency: u,
		Key: t.p.key, Subject: "mailto:postmaster@" + t.p.house.Host}
	r, err := m.Request(ctx, t.p.now())
	if err != nil {
		return err
	}
	w, err := t.p.client.Do(r)
	if err != nil {
		return err
	}
	defer w.Body.Close()
	_, _ = io.CopyN(io.Discard, w.Body, pushBodyMax) // so that the connection can be used again; what it says is of no account
	if w.StatusCode >= 200 && w.StatusCode < 300 {
		return nil
	}
	a := &answer{status: w.StatusCode}
	if seconds, err := strconv.ParseUint(w.Header.Get("Retry-After"), 10, 20); err == nil {
		a.after = min(time.Duration(seconds)*time.Second, retryMax)
	}
	return a
}

// failed tells how long to wait after a failure, and gives a subscription up that is gone.
func (t *target) failed(ctx context.Context, err error) time.Duration {
	if ctx.Err() != nil {
		return 0
	}
	t.failures++
	wait := min(retryMin<<min(t.failures-1, 20), retryMax)
	var a *answer
	if errors.As(err, &a) {
		switch a.status {
		case http.StatusNotFound, http.StatusGone: // RFC 8030, 7.3
			t.over(ctx, "it is gone")
			return 0
		case http.StatusTooManyRequests: // RFC 8620, 7.2: less often from now on
			t.gap = min(2*t.gap, pushGapMax)
		}
		wait = max(wait, a.after)
	}
	t.p.log.Info("a push failed", "account", t.account.String(), "try", t.failures, "wait", wait, "error", err)
	if t.failures >= failuresMax {
		t.over(ctx, "it failed too often")
		return 0
	}
	t.mu.Lock()
	t.dirty = true
	t.mu.Unlock()
	return wait + rand.N(wait/4+1)
}

// over destroys the subscription.
func (t *target) over(ctx context.Context, why string) {
	t.p.log.Info("a push subscription ends", "account", t.account.String(), "reason", why)
	if err := t.p.destroy(ctx, t.account, t.id); err != nil && ctx.Err() == nil {
		t.p.log.Error("destroy a push subscription", "account", t.account.String(), "error", err)
	}
}
