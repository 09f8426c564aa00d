package directory

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"postroad/address"
	"postroad/internal/kv"
	"postroad/internal/mailflow"
)

// Clock makes ids; *hlc.Clock is one.
type Clock interface{ Next() AccountID }

// Options say how a Store works; Engine, Committer and Clock must be there.
type Options struct {
	Engine    kv.Engine
	Committer *mailflow.Committer
	Clock     Clock
	Log       *slog.Logger // nil: none

	// ScramForPasswords keeps a SCRAM verifier of human passwords too, from the next time
	// they are set. It is off because such a verifier is quicker to guess at than argon2id
	// when it is stolen. App passwords always have one.
	ScramForPasswords bool
	// PasswordAlone lets the human password alone open the doors of mail programs for an
	// account that has a second factor. It is off: there, mail programs use app passwords or
	// tokens, and who knows only the password gets nowhere.
	PasswordAlone bool
	// FailureDelay is how long a failed log-in takes, 0: the constant FailureDelay.
	FailureDelay time.Duration
}

// Store is the directory kept in the engine. It is safe for concurrent use.
type Store struct {
	Options
	secret   []byte // for the salts of unknown users
	checks   chan struct{}
	verified *verifiedCache
	throttle *throttle
	unknown  argonHash // verified against when there is no account, for the time it takes

	stop context.CancelFunc
	wait sync.WaitGroup

	mu     sync.Mutex
	ctx    context.Context
	caches map[kv.Space]*cache // guarded by mu
}

var _ Directory = (*Store)(nil)

// Open returns the directory in the engine and makes the default organisation when it is
// the first time. Close ends it before the engine.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.FailureDelay == 0 {
		o.FailureDelay = FailureDelay
	}
	s := &Store{
		Options:  o,
		checks:   make(chan struct{}, checksMax()),
		verified: newVerifiedCache(),
		throttle: newThrottle(),
		unknown:  newArgon([]byte(rand.Text())),
		caches:   map[kv.Space]*cache{},
	}
	s.ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	if err := s.found(ctx); err != nil {
		s.Close()
		return nil, fmt.Errorf("open the directory: %w", err)
	}
	return s, nil
}

// Close ends the watching of versions.
func (s *Store) Close() {
	s.stop()
	s.wait.Wait()
}

// Secret makes salts for users who do not exist, the same on every node (sasl.Options).
func (s *Store) Secret() []byte { return s.secret }

// found makes what every directory has: the secret and the default organisation.
func (s *Store) found(ctx context.Context) error {
	type secret struct{ Octets []byte }
	err := s.edit(ctx, func(ctx context.Context, u *mailflow.Unit) error {
		return s.within(ctx, u, rootSpace, func(e *editor) error {
			have, err := read[secret](e, secretKey)
			if err != nil {
				return err
			}
			if have != nil {
				s.secret = have.Octets
				return nil
			}
			s.secret = make([]byte, 32)
			rand.Read(s.secret)
			if err := e.put(secretKey, secret{s.secret}); err != nil {
				return err
			}
			return e.put(orgKey(DefaultOrg), orgRecord{Name: DefaultOrg, Created: now()})
		})
	})
	return err
}

// now is the time of a record, to the second.
func now() time.Time { return time.Now().UTC().Truncate(time.Second) }

// cached returns the cache of a space, made and watched at the first call.
func (s *Store) cached(space kv.Space) *cache {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.caches[space]
	if c != nil {
		return c
	}
	c = newCache(s.Engine, space)
	s.caches[space] = c
	s.wait.Go(func() {
		// Without hints the cache asks for the version by itself, every cacheMaxAge.
		if err := c.watch(s.ctx); err != nil && s.ctx.Err() == nil {
			s.Log.Warn("directory: no hints of changes", "space", space, "error", err)
		}
	})
	return c
}

// edit commits what prepare makes and drops what the caches hold of it, so that whoever
// made a change sees it.
func (s *Store) edit(ctx context.Context, prepare func(context.Context, *mailflow.Unit) error) error {
	return s.Committer.Commit(ctx, prepare)
}

// editor changes one space within a unit. What is read through it is guarded.
type editor struct {
	u     *mailflow.Unit
	space kv.Space
	snap  kv.Snapshot
	quiet bool // what is put does not move the version: no cache holds it
}

// batch is where the editor's changes and guards go.
func (e *editor) batch() *kv.Batch {
	if e.quiet {
		return e.u.Quiet(e.space)
	}
	return e.u.Batch(e.space)
}

// within runs f with an editor of the space.
func (s *Store) within(ctx context.Context, u *mailflow.Unit, space kv.Space, f func(*editor) error) error {
	snap, err := s.Engine.Snapshot(ctx, space)
	if err != nil {
		return fmt.Errorf("read the directory: %w", err)
	}
	defer snap.Close()
	e := &editor{u: u, space: space, snap: snap}
	if err := f(e); err != nil || e.quiet {
		return err
	}
	c := s.cached(space)
	u.After(space, func(kv.Result) { c.hint() })
	return nil
}

// read returns a record, nil when there is none, and guards that it stays so.
func read[T any](e *editor, key string) (*T, error) {
	raw, err := e.snap.Get([]byte(key))
	b := e.batch()
	if errors.Is(err, kv.ErrNotFound) {
		b.Guards = append(b.Guards, kv.Guard{Kind: kv.GuardAbsent, Key: []byte(key)})
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the directory: %w", err)
	}
	b.Guards = append(b.Guards, kv.Guard{Kind: kv.GuardEquals, Key: []byte(key), Value: raw})
	return decode[T](raw)
}

// unchanged guards that nothing at all changes in the space: for what was scanned.
func (e *editor) unchanged() {
	b := e.batch()
	b.Guards = append(b.Guards, kv.Guard{Kind: kv.GuardVersion, Version: e.snap.Version()})
}

func (e *editor) put(key string, record any) error {
	raw, err := encode(record)
	if err != nil {
		return err
	}
	b := e.batch()
	b.Puts = append(b.Puts, kv.Put{Key: []byte(key), Value: raw})
	return nil
}

func (e *editor) remove(key string) {
	b := e.batch()
	b.Deletes = append(b.Deletes, []byte(key))
}

// scan yields the records under a prefix to f until it says stop; at most ListMax.
func scan[T any](e kv.Snapshot, prefix string, f func(key []byte, r *T) error) error {
	r := kv.Prefix([]byte(prefix))
	r.Limit = ListMax
	for entry, err := range e.Scan(r) {
		if err != nil {
			return fmt.Errorf("read the directory: %w", err)
		}
		record, err := decode[T](entry.Value)
		if err != nil {
			return fmt.Errorf("%w (key %q)", err, entry.Key)
		}
		if err := f(entry.Key, record); err != nil {
			return err
		}
	}
	return nil
}

// scanSpace scans the records of a space under a prefix.
func scanSpace[T any](ctx context.Context, s *Store, space kv.Space, prefix string, f func(key []byte, r *T) error) error {
	snap, err := s.Engine.Snapshot(ctx, space)
	if err != nil {
		return fmt.Errorf("read the directory: %w", err)
	}
	defer snap.Close()
	return scan(snap, prefix, f)
}

// AddOrganisation makes a tenant.
func (s *Store) AddOrganisation(ctx context.Context, name string) (Organisation, error) {
	if !validOrg(name) {
		return Organisation{}, fmt.Errorf("%w: organisation %q: 1 to %d small letters, digits, hyphens", ErrInvalid, name, OrgNameMax)
	}
	o := orgRecord{Name: name, Created: now()}
	err := s.edit(ctx, func(ctx context.Context, u *mailflow.Unit) error {
		return s.within(ctx, u, rootSpace, func(e *editor) error {
			have, err := read[orgRecord](e, orgKey(name))
			if err != nil {
				return err
			}
			if have != nil {
				return fmt.Errorf("%w: organisation %s", ErrExists, name)
			}
			return e.put(orgKey(name), o)
		})
	})
	if err != nil {
		return Organisation{}, err
	}
	return o.organisation()
}

// Organisations lists the tenants.
func (s *Store) Organisations(ctx context.Context) ([]Organisation, error) {
	var all []Organisation
	err := scanSpace(ctx, s, rootSpace, orgKey(""), func(_ []byte, r *orgRecord) error {
		o, err := r.organisation()
		all = append(all, o)
		return err
	})
	return all, err
}

// validOrg holds names to what fits a space's name and a shell.
func validOrg(name string) bool {
	return len(name) >= 1 && len(name) <= OrgNameMax &&
		strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// orgOf returns the organisation that has a domain, "" when it is not ours.
func (s *Store) orgOf(ctx context.Context, domain string) (string, error) {
	p, err := lookup[placeRecord](ctx, s.cached(rootSpace), domainKey(domain))
	if err != nil || p == nil {
		return "", err
	}
	return p.Org, nil
}

// orgMustHave is orgOf for the verbs: a domain that is not ours is an error.
func (s *Store) orgMustHave(ctx context.Context, domain string) (string, error) {
	org, err := s.orgOf(ctx, domain)
	if err == nil && org == "" {
		err = fmt.Errorf("%w: domain %s", ErrNotFound, domain)
	}
	return org, err
}

// accountOrg returns the organisation of an account.
func (s *Store) accountOrg(ctx context.Context, id AccountID) (string, error) {
	p, err := lookup[placeRecord](ctx, s.cached(rootSpace), ownerKey(id))
	if err == nil && p == nil {
		err = fmt.Errorf("%w: account %s", ErrNotFound, id)
	}
	if err != nil {
		return "", err
	}
	return p.Org, nil
}

// domainOf returns a domain's record, nil when it is not ours.
func (s *Store) domainOf(ctx context.Context, org, domain string) (*domainRecord, error) {
	return lookup[domainRecord](ctx, s.cached(orgSpace(org)), domainKey(domain))
}

// nameOf returns what an address in a domain of ours is, nil when it is nobody's.
func (s *Store) nameOf(ctx context.Context, org string, a address.Address) (*nameRecord, error) {
	return lookup[nameRecord](ctx, s.cached(orgSpace(org)), nameKey(a))
}
