package directory

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"postroad/address"
	"postroad/sasl"
)

// checksMax is how many passwords are hashed at once. Each takes a core and 19 MiB.
func checksMax() int { return max(1, runtime.GOMAXPROCS(0)) }

// bounded runs f when there is room for another hash.
func (s *Store) bounded(ctx context.Context, f func()) error {
	select {
	case s.checks <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.checks }()
	f()
	return nil
}

// Authenticate implements Directory. A failure answers at a fixed time after the
// question, whatever it was that failed, and costs a hash in every case.
func (s *Store) Authenticate(ctx context.Context, c Credentials) (Principal, error) {
	start := time.Now()
	if !s.throttle.allows(c.Client, c.Login, start) {
		return Principal{}, s.fail(ctx, start, ErrThrottled)
	}
	p, err := s.check(ctx, c)
	switch {
	case errors.Is(err, ErrCredentials):
		s.throttle.failed(c.Client, c.Login, time.Now())
		return Principal{}, s.fail(ctx, start, ErrCredentials)
	case err != nil:
		return Principal{}, fmt.Errorf("log in: %w", err)
	}
	if !p.Second { // else the log-in is not over yet
		s.throttle.succeeded(c.Client, c.Login, time.Now())
	}
	return p, nil
}

// fail waits until the delay since start is over and returns err.
func (s *Store) fail(ctx context.Context, start time.Time, err error) error {
	t := time.NewTimer(s.FailureDelay - time.Since(start))
	defer t.Stop()
	select {
	case <-t.C:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-s.ctx.Done():
		return err
	}
}

// candidate is the account that somebody claims to be, with its secrets; both nil for
// nobody. A disabled account is nobody, and so is a public one.
type candidate struct {
	account *Account
	secrets *secretsRecord
}

// candidate looks a login name up.
func (s *Store) candidate(ctx context.Context, login string) (candidate, error) {
	a, err := address.Parse(login)
	if err != nil {
		return candidate{}, nil
	}
	acc, err := s.AccountByAddress(ctx, a)
	if errors.Is(err, ErrNotFound) || err == nil && (acc.Disabled || acc.Public) {
		return candidate{}, nil
	}
	if err != nil {
		return candidate{}, err
	}
	r, err := lookup[secretsRecord](ctx, s.cached(orgSpace(acc.Org)), secretsKey(acc.ID))
	if err != nil {
		return candidate{}, err
	}
	if r == nil {
		r = new(secretsRecord)
	}
	return candidate{&acc, r}, nil
}

// check finds out whether the password is one of the account's: remembered, an app's, or
// the human one.
func (s *Store) check(ctx context.Context, c Credentials) (Principal, error) {
	who, err := s.candidate(ctx, c.Login)
	if err != nil {
		return Principal{}, err
	}
	if who.account == nil || len(c.Password) > PasswordMax {
		// For the time and the work it takes with a user who is there.
		if err := s.bounded(ctx, func() { s.unknown.verify([]byte("nobody")) }); err != nil {
			return Principal{}, err
		}
		return Principal{}, ErrCredentials
	}
	p := who.account.principal()
	key := s.verified.key(p.ID, who.secrets, c.Password)
	if app, ok := s.verified.get(key); ok {
		p.App = app
		return s.admit(c, who, p)
	}
	app, ok, err := who.secrets.checkApps(c.Password)
	if err == nil && !ok {
		app = ""
		ok, err = s.checkHuman(ctx, who, c.Password)
	}
	if err != nil {
		return Principal{}, err
	}
	if !ok {
		return Principal{}, ErrCredentials
	}
	s.verified.put(key, app)
	p.App = app
	return s.admit(c, who, p)
}

// admit asks whether the right password is enough. Where it is not, the answer is that of a
// wrong one: a mail program's door must not tell who knows the password.
func (s *Store) admit(c Credentials, who candidate, p Principal) (Principal, error) {
	if p.App != "" || !who.secrets.second() {
		return p, nil
	}
	p.Second = c.Person
	if !c.Person && !s.PasswordAlone {
		return Principal{}, ErrCredentials
	}
	return p, nil
}

// verifier is the account's side of SCRAM: app passwords, then the human one.
func (r *secretsRecord) verifier() sasl.Verifier {
	v := sasl.Verifier{Salt: r.Salt, Iterations: r.Rounds}
	for _, a := range r.Apps {
		v.Keys = append(v.Keys, a.Key)
	}
	if r.Human != nil {
		v.Keys = append(v.Keys, *r.Human)
	}
	return v
}

// appOf names the app password behind a key of verifier; "" is the human one.
func (r *secretsRecord) appOf(key int) string {
	if key < len(r.Apps) {
		return r.Apps[key].Name
	}
	return ""
}

// checkApps tries the app passwords, when the password looks like one.
func (r *secretsRecord) checkApps(password string) (string, bool, error) {
	letters, ok := appForm(password)
	if !ok || len(r.Apps) == 0 {
		return "", false, nil
	}
	v := r.verifier()
	v.Keys = v.Keys[:len(r.Apps)]
	n, err := v.Check(shownForm(letters))
	if err != nil || n < 0 {
		return "", false, err
	}
	return r.appOf(n), true, nil
}

// checkHuman tries the human password. One kept in an old scheme is hashed anew.
func (s *Store) checkHuman(ctx context.Context, who candidate, password string) (bool, error) {
	var v verifier = s.unknown // an account without a password takes as long as one with
	if who.secrets.Hash != "" {
		var err error
		if v, err = parseHash(who.secrets.Hash); err != nil {
			return false, fmt.Errorf("stored hash of account %s: %w", who.account.ID, err)
		}
	}
	ok := false
	err := s.bounded(ctx, func() {
		prepared := preparePassword(password)
		ok = v.verify(prepared)
		if !ok && !v.current() && string(prepared) != password {
			ok = v.verify([]byte(password)) // made elsewhere, of what was typed
		}
	})
	if err != nil || !ok || who.secrets.Hash == "" {
		return false, err
	}
	if !v.current() {
		s.upgrade(ctx, who, password)
	}
	return true, nil
}

// upgrade replaces an imported hash by argon2id, now that the password is known. The
// log-in does not depend on it.
func (s *Store) upgrade(ctx context.Context, who candidate, password string) {
	var h string
	err := s.bounded(ctx, func() { h = newArgon(preparePassword(password)).String() })
	if err == nil {
		err = s.changeSecrets(ctx, who.account.ID, func(r *secretsRecord) error {
			if r.Hash == who.secrets.Hash {
				r.Hash = h
			}
			return nil
		})
	}
	if err != nil {
		s.Log.Warn("directory: an imported password hash was not replaced", "account", who.account.ID, "error", err)
	}
}

// SASL returns the backend of log-ins from one client. Identities are Principals.
func (s *Store) SASL(client netip.Addr) sasl.Backend { return &saslBackend{s, client} }

type saslBackend struct {
	store  *Store
	client netip.Addr
}

// Password implements sasl.Backend. Nobody may act as somebody else.
func (b *saslBackend) Password(ctx context.Context, authzid, user, password string) (any, error) {
	if authzid != "" && !sameLogin(authzid, user) {
		user = "" // fails, as late as any failure
	}
	p, err := b.store.Authenticate(ctx, Credentials{Login: user, Password: password, Client: b.client})
	if errors.Is(err, ErrCredentials) {
		return nil, sasl.ErrCredentials
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

func sameLogin(a, b string) bool {
	x, err1 := address.Parse(a)
	y, err2 := address.Parse(b)
	return err1 == nil && err2 == nil && x.Equal(y)
}

// Verifier implements sasl.Backend.
func (b *saslBackend) Verifier(ctx context.Context, authzid, user string) (sasl.Verifier, error) {
	s, start := b.store, time.Now()
	if !s.throttle.allows(b.client, user, start) {
		return sasl.Verifier{}, s.fail(ctx, start, ErrThrottled)
	}
	who, err := s.candidate(ctx, user)
	if err != nil {
		return sasl.Verifier{}, fmt.Errorf("log in: %w", err)
	}
	var v sasl.Verifier
	if who.account != nil && (authzid == "" || sameLogin(authzid, user)) {
		v = who.secrets.verifier()
		if who.secrets.second() && !s.PasswordAlone {
			v.Keys = v.Keys[:len(who.secrets.Apps)]
		}
	}
	v.Finish = func(ctx context.Context, key int) (any, error) {
		if key < 0 || key >= len(v.Keys) {
			s.throttle.failed(b.client, user, time.Now())
			return nil, s.fail(ctx, time.Now(), sasl.ErrCredentials)
		}
		s.throttle.succeeded(b.client, user, time.Now())
		p := who.account.principal()
		p.App = who.secrets.appOf(key)
		return p, nil
	}
	return v, nil
}

const (
	verifiedMax = 10_000          // log-ins remembered
	verifiedAge = 5 * time.Minute // for how long
)

// verifiedCache remembers passwords that were right, so that a mail program with five
// connections costs one hash. It holds a MAC under a key that dies with the process, of
// the password and of the stored secrets: when those change, nothing is found any more.
type verifiedCache struct {
	secret [32]byte

	mu      sync.Mutex
	entries map[verifiedKey]verifiedEntry // guarded by mu
}

type verifiedKey [sha256.Size]byte

type verifiedEntry struct {
	app   string
	until time.Time
}

func newVerifiedCache() *verifiedCache {
	c := &verifiedCache{entries: map[verifiedKey]verifiedEntry{}}
	rand.Read(c.secret[:])
	return c
}

func (c *verifiedCache) key(id AccountID, r *secretsRecord, password string) verifiedKey {
	h := hmac.New(sha256.New, c.secret[:])
	fmt.Fprintf(h, "%s\x00%q\x00%q\x00", id, r.Hash, password)
	for _, a := range r.Apps {
		h.Write(a.Key.StoredKey)
	}
	return verifiedKey(h.Sum(nil))
}

func (c *verifiedCache) get(k verifiedKey) (app string, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[k]
	return e.app, ok && time.Now().Before(e.until)
}

func (c *verifiedCache) put(k verifiedKey, app string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.entries) >= verifiedMax {
		clear(c.entries) // one hash a user is the price; rare
	}
	c.entries[k] = verifiedEntry{app, time.Now().Add(verifiedAge)}
}
