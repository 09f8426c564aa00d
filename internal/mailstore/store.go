package mailstore

import (
	"container/list"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"postroad/imap"
	"postroad/internal/kv"
	"postroad/internal/mailflow"
	"postroad/internal/search"
)

// Store keeps accounts. All methods may be called at once.
type Store struct {
	o Options

	mu       sync.Mutex
	accounts map[AccountID]*Account // cached
	sweeps   []due                  // accounts with leftovers, soonest first
	dueSet   map[AccountID]bool     // the same
	wake     chan struct{}          // tells Run of a new sweep

	warnings  map[AccountID]bool      // of mu: accounts to be warned of their quota
	fullUntil map[AccountID]time.Time // of mu: accounts for which no pool had anything to take back
	slice     Usage                   // by which leases grow

	views  viewCache
	emails emailsCache

	terms    termCache
	indexing *schedule

	keyAge time.Duration // of message ids whose sort keys are packed: none older will come
}

// New returns a Store. Run does its work in the background.
func New(o Options) *Store {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Poll == 0 {
		o.Poll = 5 * time.Second
	}
	if o.ViewBytes == 0 {
		o.ViewBytes = 64 << 20
	}
	if o.EmailBytes == 0 {
		o.EmailBytes = 64 << 20
	}
	if o.LifeEvery == 0 {
		o.LifeEvery = time.Hour
	}
	if o.IndexAfter == 0 {
		o.IndexAfter = 20 * time.Second
	}
	if o.SweepAfter == 0 {
		o.SweepAfter = time.Minute
	}
	return &Store{o: o, accounts: map[AccountID]*Account{}, dueSet: map[AccountID]bool{}, wake: make(chan struct{}, 1),
		warnings: map[AccountID]bool{}, fullUntil: map[AccountID]time.Time{}, slice: Usage{sliceBytes, sliceMessages},
		views: viewCache{max: o.ViewBytes}, emails: emailsCache{max: o.EmailBytes, order: list.New()}, keyAge: keyAge, indexing: newSchedule()}
}

func (s *Store) engine() kv.Engine { return s.o.Committer.Engine }

// Account is the mail of one account. All methods may be called at once.
type Account struct {
	store *Store
	id    AccountID
	space kv.Space

	mu       sync.Mutex
	tree     *Tree                     // cached
	live     map[MailboxID]*live       // loaded views
	watch    map[chan<- struct{}]bool  // of Notify
	seen     kv.Version                // newest version that readers were told of
	opened   int                       // views open, channels of watch
	unpacked map[MailboxID]int         // entries added since they were packed
	sortKeys keyWork                   // what is to be done to sort keys in the background
	records  int                       // written since they were folded, about
	emails   map[AccountID]*emailsCell // by reader
	sweepMu  sync.Mutex                // one sweep at a time
	indexMu  sync.Mutex                // one merge at a time
}

// ID names the account.
func (a *Account) ID() AccountID { return a.id }

// specialFolders are made with every account (RFC 6154).
var specialFolders = []struct {
	name string
	role imap.MailboxAttr
}{
	{imap.Inbox, ""},
	{"Drafts", imap.AttrDrafts},
	{"Sent", imap.AttrSent},
	{"Junk", imap.AttrJunk},
	{"Trash", imap.AttrTrash},
	{"Archive", imap.AttrArchive},
}

// PrepareCreate makes an account with INBOX and the special folders, all subscribed.
// ErrExists when it is there.
func (s *Store) PrepareCreate(ctx context.Context, u *mailflow.Unit, id AccountID, q Quota) error {
	snap, err := s.engine().Snapshot(ctx, space(id))
	if err != nil {
		return storageError("create account", err)
	}
	defer snap.Close()
	stamp, found, err := get(snap, treeKey)
	if err != nil {
		return storageError("create account", err)
	}
	old, deleted, err := get(snap, accountKey)
	if err != nil {
		return storageError("create account", err)
	}
	if found || deleted {
		return fmt.Errorf("create account %s: %w", id, ErrExists)
	}
	b := u.Batch(space(id))
	b.Guards = append(b.Guards, guardValue(treeKey, stamp, found), guardValue(accountKey, old, deleted))
	validity := s.validity(0)
	for i, f := range specialFolders {
		m := Mailbox{ID: s.o.Clock.Next(), UIDValidity: validity + uint32(i), Role: f.role, level: f.name}
		b.Puts = append(b.Puts, kv.Put{Key: key(keyMailbox, m.ID), Value: m.record()},
			kv.Put{Key: subscriptionKey(f.name), Value: []byte{format1}})
	}
	search.PrepareNew(b)
	b.Puts = append(b.Puts, stampPut(validity+uint32(len(specialFolders)-1)), q.put())
	if q.Pool == "" {
		return nil
	}
	return storageError("create account", s.prepareMember(ctx, u, id, q.Pool, Usage{}))
}

// validity is a UIDVALIDITY never given before in an account: the time in seconds, or
// above the last one (RFC 9051, 2.3.1.1).
func (s *Store) validity(last uint32) uint32 {
	return max(last+1, uint32(s.o.Clock.Next().Time().Unix()))
}

// Create is PrepareCreate, committed.
func (s *Store) Create(ctx context.Context, id AccountID, q Quota) error {
	err := s.o.Committer.Commit(ctx, func(ctx context.Context, u *mailflow.Unit) error {
		return s.PrepareCreate(ctx, u, id, q)
	})
	return storageError("create account", err)
}

// The account record: format, state, quota.
const (
	accountLives = 'l'
	accountDies  = 'd' // Delete has begun
)

func (q Quota) put() kv.Put {
	v := []byte{format1, accountLives}
	v = binary.AppendUvarint(v, uint64(max(0, q.Bytes)))
	v = binary.AppendUvarint(v, uint64(max(0, q.Messages)))
	return kv.Put{Key: accountKey, Value: v}
}

// readAccount reads the account record.
func readAccount(snap kv.Snapshot) (q Quota, raw []byte, err error) {
	raw, found, err := get(snap, accountKey)
	if err != nil {
		return q, nil, err
	}
	if !found {
		return q, nil, ErrNoAccount
	}
	r := newReader(raw)
	if r.octet() == accountDies {
		return q, raw, ErrNoAccount
	}
	q.Bytes, q.Messages = int64(r.uvarint()), int64(r.uvarint())
	return q, raw, r.err("account record")
}

// Account returns an account, ErrNoAccount when there is none.
func (s *Store) Account(ctx context.Context, id AccountID) (*Account, error) {
	s.mu.Lock()
	a := s.accounts[id]
	s.mu.Unlock()
	if a != nil {
		return a, nil
	}
	snap, err := s.engine().Snapshot(ctx, space(id))
	if err != nil {
		return nil, storageError("open account", err)
	}
	defer snap.Close()
	if _, _, err := readAccount(snap); err != nil {
		return nil, storageError(fmt.Sprintf("open account %s", id), err)
	}
	leftovers, err := hasLeftovers(snap)
	if err != nil {
		return nil, storageError("open account", err)
	}
	indexing, err := hasIndexing(snap)
	if err != nil {
		s.o.Log.Error("the index of an account cannot be read; a rebuild helps", "account", id, "error", err)
	}
	a = s.keep(&Account{store: s, id: id, space: space(id), seen: snap.Version()})
	if leftovers {
		s.sweepLater(id)
	}
	if indexing {
		s.indexing.later(id, s.o.IndexAfter)
	}
	return a, nil
}

// keep caches an account, or returns the one that is cached already.
func (s *Store) keep(a *Account) *Account {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.accounts[a.id]; old != nil {
		return old
	}
	if len(s.accounts) >= accountsCached {
		s.evict()
	}
	s.accounts[a.id] = a
	return a
}

// evict drops some accounts that nobody has open. Map order is random enough.
func (s *Store) evict() {
	n := 0
	for id, a := range s.accounts {
		if a.idle() {
			delete(s.accounts, id)
			if n++; n == accountsCached/16 {
				return
			}
		}
	}
}

// idle tells that nothing hangs on this object but caches.
func (a *Account) idle() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.opened == 0 && len(a.live) == 0
}

// current returns the object that the Store has for the account: a itself, unless it was
// evicted while its owner had nothing open.
func (a *Account) current() *Account { return a.store.keep(a) }

// cached returns the account if it is in the cache.
func (s *Store) cached(id AccountID) *Account {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accounts[id]
}

func (s *Store) forget(id AccountID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.accounts, id)
}

// snapshot opens the account's space.
func (a *Account) snapshot(ctx context.Context) (kv.Snapshot, error) {
	snap, err := a.store.engine().Snapshot(ctx, a.space)
	if err != nil {
		return nil, storageError("read the account", err)
	}
	return snap, nil
}

// commit runs a prepare function until it is through, and puts its error into the closed
// set.
func (a *Account) commit(ctx context.Context, what string, prepare func(ctx context.Context, u *mailflow.Unit) error) error {
	var err error
	for range limitTries {
		// Who was first past a limit took what was left of it: prepared anew the change finds
		// a larger lease, or the quota full.
		if err = a.store.o.Committer.Commit(ctx, prepare); !errors.Is(err, kv.ErrLimit) {
			break
		}
	}
	return storageError(what, err)
}

// limitTries is how often a change is prepared that others leave no room for at its commit.
const limitTries = 100

// Quota returns limits and what is used.
func (a *Account) Quota(ctx context.Context) (Quota, Usage, error) {
	snap, err := a.snapshot(ctx)
	if err != nil {
		return Quota{}, Usage{}, err
	}
	defer snap.Close()
	q, u, err := readQuota(snap)
	return q, u, storageError("read the quota", err)
}

func readQuota(snap kv.Snapshot) (q Quota, u Usage, err error) {
	if q, _, err = readAccount(snap); err != nil {
		return q, u, err
	}
	if u.Bytes, err = snap.Counter(quotaBytesKey); err != nil {
		return q, u, err
	}
	u.Messages, err = snap.Counter(quotaMessagesKey)
	return q, u, err
}

// SetQuota changes the limits; what is over them stays.
func (a *Account) SetQuota(ctx context.Context, q Quota) error {
	return a.commit(ctx, "set the quota", func(ctx context.Context, u *mailflow.Unit) error {
		snap, err := a.snapshot(ctx)
		if err != nil {
			return err
		}
		defer snap.Close()
		_, raw, err := readAccount(snap)
		if err != nil {
			return err
		}
		b := u.Quiet(a.space)
		b.Guards = append(b.Guards, guardValue(accountKey, raw, true))
		b.Puts = append(b.Puts, q.put())
		return nil
	})
}
