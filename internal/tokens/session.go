package tokens

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
	"unicode/utf8"

	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
)

// Session is a person's, in one browser.
type Session struct {
	ID         hlc.ID
	Account    AccountID
	Client     string     // what the browser calls itself
	Address    netip.Addr // from where it was used last
	How        string     // "password", "password+code", "password+passkey", "passkey"
	Remembered bool
	Created    time.Time
	Used       time.Time // to touchAfter
	Expires    time.Time
	Fresh      time.Time // the last proof of who it is
}

// IsFresh tells whether credentials may be changed now.
func (s *Session) IsFresh(now time.Time) bool {
	return now.Sub(s.Fresh) < FreshFor && s.Fresh.Sub(now) <= skew
}

type sessionRecord struct {
	Hash       []byte    `json:"hash"`
	Client     string    `json:"client,omitempty"`
	How        string    `json:"how"`
	Remembered bool      `json:"remembered,omitempty"`
	Created    time.Time `json:"created"`
	Expires    time.Time `json:"expires"`
	Fresh      time.Time `json:"fresh"`
}

// useRecord is when and from where something was used last.
type useRecord struct {
	Used    time.Time  `json:"used"`
	Address netip.Addr `json:"address,omitzero"`
}

func (r *sessionRecord) span(u *useRecord) span {
	s := span{created: r.Created, expires: r.Expires, used: r.Created, idle: SessionIdle}
	if r.Remembered {
		s.idle = RememberedIdle
	}
	if u != nil && u.Used.After(s.used) {
		s.used = u.Used
	}
	return s
}

func (r *sessionRecord) session(account AccountID, id hlc.ID, u *useRecord) Session {
	s := Session{ID: id, Account: account, Client: r.Client, How: r.How, Remembered: r.Remembered,
		Created: r.Created, Used: r.span(u).used, Expires: r.Expires, Fresh: r.Fresh}
	if u != nil {
		s.Address = u.Address
	}
	return s
}

// shortened cuts a text that a stranger gave to what is kept.
func shortened(text string) string {
	if len(text) > nameMax {
		text = text[:nameMax]
	}
	for !utf8.ValidString(text) && len(text) > 0 {
		text = text[:len(text)-1]
	}
	return text
}

// StartSession begins a session of who has just proved who he is: Account, Client, Address,
// How and Remembered are the caller's, the rest is filled in. Over SessionsMax the one
// unused the longest ends.
func (s *Store) StartSession(ctx context.Context, n Session) (Token, Session, error) {
	at := now()
	life := SessionMax
	if n.Remembered {
		life = RememberedMax
	}
	r := sessionRecord{Client: shortened(n.Client), How: n.How, Remembered: n.Remembered, Created: at, Expires: at.Add(life), Fresh: at}
	p := parsed{kind: kindSession, account: n.Account, id: s.Clock.Next(), secret: newSecret()}
	r.Hash = hash(p.secret)
	use := useRecord{at, n.Address}
	err := s.edit(ctx, n.Account, func(e *editor) error {
		if err := e.makeRoom(at, SessionsMax, e.sessions); err != nil {
			return err
		}
		if err := e.put(key(partUse, p.id), use); err != nil {
			return err
		}
		return e.put(key(partSession, p.id), r)
	})
	if err != nil {
		return Token{}, Session{}, fmt.Errorf("start a session: %w", err)
	}
	return p.token(), r.session(n.Account, p.id, &use), nil
}

// entry is a session or a grant as the rules for room and age see it.
type entry struct {
	part byte
	id   hlc.ID
	span span
}

// sessions lists an account's sessions.
func (e *editor) sessions() ([]entry, error) {
	var list []entry
	err := eachSession(e.snap, func(id hlc.ID, r *sessionRecord, u *useRecord) error {
		list = append(list, entry{partSession, id, r.span(u)})
		return nil
	})
	return list, err
}

// makeRoom ends what is over, and beyond that what was unused the longest, so that one
// more is at most limit. Two at once may miss one another; the next one makes up for it.
func (e *editor) makeRoom(at time.Time, limit int, list func() ([]entry, error)) error {
	all, err := list()
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b entry) int {
		if x, y := a.span.over(at), b.span.over(at); x != y {
			if x {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.span.used.UnixNano(), b.span.used.UnixNano())
	})
	for i, x := range all {
		if x.span.over(at) || len(all)-i >= limit {
			e.remove(key(x.part, x.id), key(partUse, x.id))
		}
	}
	return nil
}

// eachSession yields the sessions of an account's space.
func eachSession(snap kv.Snapshot, f func(hlc.ID, *sessionRecord, *useRecord) error) error {
	return scan(snap, string(partSession), func(rest string, r *sessionRecord) error {
		id, err := hlc.Parse(rest)
		if err != nil {
			return fmt.Errorf("tokens: key of a session %q: %w", rest, err)
		}
		u, err := get[useRecord](snap, key(partUse, id))
		if err != nil {
			return err
		}
		return f(id, r, u)
	})
}

// Session returns the session behind a token and notes its use; ErrNotFound.
func (s *Store) Session(ctx context.Context, token string, client netip.Addr) (Session, error) {
	p, ok := parse(token)
	if !ok || p.kind != kindSession {
		return Session{}, ErrNotFound
	}
	var found Session
	err := s.view(ctx, space(p.account), func(snap kv.Snapshot) error {
		r, err := get[sessionRecord](snap, key(partSession, p.id))
		if err != nil {
			return err
		}
		if r == nil || !matches(r.Hash, p.secret) {
			return ErrNotFound
		}
		u, err := get[useRecord](snap, key(partUse, p.id))
		if err != nil {
			return err
		}
		if !r.span(u).alive(time.Now()) {
			return ErrNotFound
		}
		found = r.session(p.account, p.id, u)
		return nil
	})
	if err != nil {
		return Session{}, err
	}
	s.touch(ctx, p.account, partSession, p.id, found.Used, found.Address, client)
	return found, nil
}

// touch notes a use, quietly, unless one was noted lately from the same address. What was
// asked does not fail with it.
func (s *Store) touch(ctx context.Context, account AccountID, part byte, id hlc.ID, last time.Time, was, is netip.Addr) {
	at := now()
	if age := at.Sub(last); age >= 0 && age < touchAfter && (was == is || !is.IsValid()) {
		return
	}
	raw, err := encode(useRecord{at, is})
	if err == nil {
		_, err = s.Committer.Engine.Commit(ctx, kv.Batch{Space: space(account), Quiet: true,
			Guards: []kv.Guard{{Kind: kv.GuardPresent, Key: []byte(key(part, id))}}, // or it ended just now
			Puts:   []kv.Put{{Key: []byte(key(partUse, id)), Value: raw}}})
	}
	if err != nil && ctx.Err() == nil {
		s.log().Warn("tokens: the last use was not noted", "account", account, "error", err)
	}
}

// Sessions lists the sessions of an account that live, the one used last first.
func (s *Store) Sessions(ctx context.Context, account AccountID) ([]Session, error) {
	var list []Session
	at := time.Now()
	err := s.view(ctx, space(account), func(snap kv.Snapshot) error {
		return eachSession(snap, func(id hlc.ID, r *sessionRecord, u *useRecord) error {
			if r.span(u).alive(at) {
				list = append(list, r.session(account, id, u))
			}
			return nil
		})
	})
	slices.SortFunc(list, func(a, b Session) int { return b.Used.Compare(a.Used) })
	return list, err
}

// Renew notes that the session's user has proved again who he is. ErrNotFound.
func (s *Store) Renew(ctx context.Context, account AccountID, id hlc.ID) error {
	return s.edit(ctx, account, func(e *editor) error {
		r, err := read[sessionRecord](e, key(partSession, id))
		if err == nil && r == nil {
			err = ErrNotFound
		}
		if err != nil {
			return err
		}
		r.Fresh = now()
		return e.put(key(partSession, id), r)
	})
}

// EndSession ends a session. ErrNotFound.
func (s *Store) EndSession(ctx context.Context, account AccountID, id hlc.ID) error {
	return s.end(ctx, account, partSession, id)
}

func (s *Store) end(ctx context.Context, account AccountID, part byte, id hlc.ID) error {
	return s.edit(ctx, account, func(e *editor) error {
		_, err := e.snap.Get([]byte(key(part, id)))
		if errors.Is(err, kv.ErrNotFound) {
			return ErrNotFound
		}
		if err != nil {
			return fmt.Errorf("read tokens: %w", err)
		}
		e.remove(key(part, id), key(partUse, id))
		return nil
	})
}

// EndSessions ends all sessions of an account but one (0: none is kept).
func (s *Store) EndSessions(ctx context.Context, account AccountID, but hlc.ID) error {
	return s.edit(ctx, account, func(e *editor) error {
		list, err := e.sessions()
		if err != nil {
			return err
		}
		for _, x := range list {
			if x.id != but {
				e.remove(key(x.part, x.id), key(partUse, x.id))
			}
		}
		return nil
	})
}
