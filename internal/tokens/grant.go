package tokens

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
)

// Grant is what a user gave to a program. Its states:
//
//	offered    the user has agreed, the program has a code
//	given      the program has exchanged the code for tokens
//	ended      the record is gone: by the user, by RFC 7009, by a code or a refresh token
//	           that came twice, or since nothing of it lives any more
type Grant struct {
	ID      hlc.ID
	Account AccountID
	Client  string // its id
	Name    string // what it calls itself
	Scopes  []string
	Offline bool // it may renew its tokens while the user is away
	Created time.Time
	Used    time.Time // to touchAfter
	Address netip.Addr
}

// Offer is what the user agreed to, and what the program must show for it.
type Offer struct {
	Grant
	Redirect  string // where the code goes; the program must name it again
	Challenge string // of S256 (RFC 7636, 4.2)
}

// Tokens are what a program is given.
type Tokens struct {
	Grant
	Access        Token
	AccessExpires time.Time
	Refresh       Token // none unless Offline
}

type grantRecord struct {
	Client  string         `json:"client"`
	Name    string         `json:"name,omitempty"`
	Scopes  []string       `json:"scopes"`
	Offline bool           `json:"offline,omitempty"`
	Created time.Time      `json:"created"`
	Code    *codeRecord    `json:"code,omitempty"`
	Access  []accessRecord `json:"access,omitempty"`

	// All refresh tokens of a grant share the family's secret; each has one of its own. So
	// one that was used long ago is known for what it is without a list of all.
	Family  []byte    `json:"family,omitempty"`
	Refresh []byte    `json:"refresh,omitempty"` // the one that may come next
	Before  []byte    `json:"before,omitempty"`  // the one that it replaced …
	Rotated time.Time `json:"rotated,omitzero"`  // … and when
}

type codeRecord struct {
	Hash      []byte    `json:"hash"`
	Redirect  string    `json:"redirect"`
	Challenge string    `json:"challenge"`
	Expires   time.Time `json:"expires"`
	Used      bool      `json:"used,omitempty"`
}

type accessRecord struct {
	Hash    []byte    `json:"hash"`
	Scopes  []string  `json:"scopes,omitempty"` // where they are fewer than the grant's
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
}

func (a *accessRecord) alive(at time.Time) bool {
	return at.Before(a.Expires) && a.Created.Sub(at) <= skew
}

// span of a grant: as long as its code, its access tokens, or without an end but idleness
// where it may be renewed.
func (r *grantRecord) span(u *useRecord) span {
	s := span{created: r.Created, expires: r.Created, used: r.Created, idle: RefreshIdle}
	if r.Code != nil && !r.Code.Used {
		s.expires = r.Code.Expires
	}
	for _, a := range r.Access {
		s.expires = latest(s.expires, a.Expires)
	}
	s.used = latest(s.used, r.Rotated)
	if u != nil {
		s.used = latest(s.used, u.Used)
	}
	if len(r.Refresh) > 0 {
		s.expires = s.used.Add(RefreshIdle)
	}
	return s
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func (r *grantRecord) grant(account AccountID, id hlc.ID, u *useRecord) Grant {
	g := Grant{ID: id, Account: account, Client: r.Client, Name: r.Name, Scopes: slices.Clone(r.Scopes), Offline: r.Offline,
		Created: r.Created, Used: r.span(u).used}
	if u != nil {
		g.Address = u.Address
	}
	return g
}

// NewGrant keeps what a user agreed to and returns the code for it. Account, Client, Name,
// Scopes, Offline, Redirect and Challenge are the caller's. Over GrantsMax the grant unused
// the longest ends.
func (s *Store) NewGrant(ctx context.Context, o Offer) (Token, error) {
	if len(o.Scopes) == 0 || len(o.Scopes) > ScopesMax || len(o.Redirect) > redirectMax || o.Challenge == "" || o.Client == "" {
		return Token{}, fmt.Errorf("%w: a grant without scopes, client or challenge, or with too much of them", ErrInvalid)
	}
	at := now()
	p := parsed{kind: kindCode, account: o.Account, id: s.Clock.Next(), secret: newSecret()}
	r := grantRecord{Client: o.Client, Name: shortened(o.Name), Scopes: o.Scopes, Offline: o.Offline, Created: at,
		Code: &codeRecord{Hash: hash(p.secret), Redirect: o.Redirect, Challenge: o.Challenge, Expires: at.Add(CodeLife)}}
	err := s.edit(ctx, o.Account, func(e *editor) error {
		if err := e.makeRoom(at, GrantsMax, e.grants); err != nil {
			return err
		}
		return e.put(key(partGrant, p.id), r)
	})
	if err != nil {
		return Token{}, fmt.Errorf("keep a grant: %w", err)
	}
	return p.token(), nil
}

// grants lists an account's grants.
func (e *editor) grants() ([]entry, error) {
	var list []entry
	err := eachGrant(e.snap, func(id hlc.ID, r *grantRecord, u *useRecord) error {
		list = append(list, entry{partGrant, id, r.span(u)})
		return nil
	})
	return list, err
}

func eachGrant(snap kv.Snapshot, f func(hlc.ID, *grantRecord, *useRecord) error) error {
	return scan(snap, string(partGrant), func(rest string, r *grantRecord) error {
		id, err := hlc.Parse(rest)
		if err != nil {
			return fmt.Errorf("tokens: key of a grant %q: %w", rest, err)
		}
		u, err := get[useRecord](snap, key(partUse, id))
		if err != nil {
			return err
		}
		return f(id, r, u)
	})
}

// outcome is what editing a grant came to. It is told apart from the edit's error, since
// ending a grant is a commit too.
type outcome struct {
	tokens Tokens
	err    error
}

// editGrant lets f change a grant. What f answers with an error ends the grant when end says
// so, and that is committed before the error is returned.
func (s *Store) editGrant(ctx context.Context, p parsed, f func(r *grantRecord, at time.Time) (t Tokens, end bool, err error)) (Tokens, error) {
	var out outcome
	at := now()
	err := s.edit(ctx, p.account, func(e *editor) error {
		r, err := read[grantRecord](e, key(partGrant, p.id))
		if err != nil {
			return err
		}
		if r == nil || r.Created.Sub(at) > skew {
			return ErrNotFound
		}
		t, end, err := f(r, at)
		out = outcome{t, err}
		switch {
		case end:
			e.remove(key(partGrant, p.id), key(partUse, p.id))
			return nil
		case err != nil:
			return err
		}
		return e.put(key(partGrant, p.id), r)
	})
	if err != nil {
		return Tokens{}, err
	}
	if errors.Is(out.err, ErrReused) {
		s.log().Warn("tokens: a grant ends, since its code or refresh token came twice", "account", p.account, "grant", p.id)
	}
	return out.tokens, out.err
}

// Exchange gives tokens for a code (RFC 6749, 4.1.3). check judges whether who shows the
// code is who it was for; the code is used up either way. A code that comes again ends the
// grant (RFC 6749, 4.1.2): ErrReused. Other errors: ErrNotFound, and check's.
func (s *Store) Exchange(ctx context.Context, code string, check func(Offer) error) (Tokens, error) {
	p, ok := parse(code)
	if !ok || p.kind != kindCode {
		return Tokens{}, ErrNotFound
	}
	return s.editGrant(ctx, p, func(r *grantRecord, at time.Time) (Tokens, bool, error) {
		switch {
		case r.Code == nil || !matches(r.Code.Hash, p.secret):
			return Tokens{}, false, ErrNotFound
		case r.Code.Used:
			return Tokens{}, true, ErrReused
		case !at.Before(r.Code.Expires):
			return Tokens{}, true, ErrNotFound
		}
		g := r.grant(p.account, p.id, nil)
		if err := check(Offer{g, r.Code.Redirect, r.Code.Challenge}); err != nil {
			return Tokens{}, true, err
		}
		r.Code.Used = true
		t := Tokens{Grant: g}
		if r.Offline {
			family := newSecret()
			r.Family = hash(family)
			t.Refresh = r.rotate(p, family, at)
		}
		t.Access, t.AccessExpires = r.newAccess(p, nil, at)
		return t, false, nil
	})
}

// newAccess makes an access token; nil scopes are all of the grant's.
func (r *grantRecord) newAccess(p parsed, scopes []string, at time.Time) (Token, time.Time) {
	r.Access = slices.DeleteFunc(r.Access, func(a accessRecord) bool { return !at.Before(a.Expires) })
	if n := len(r.Access) - (AccessMax - 1); n > 0 {
		r.Access = r.Access[n:]
	}
	fresh := parsed{kind: kindAccess, account: p.account, id: p.id, secret: newSecret()}
	a := accessRecord{Hash: hash(fresh.secret), Scopes: scopes, Created: at, Expires: at.Add(AccessLife)}
	r.Access = append(r.Access, a)
	return fresh.token(), a.Expires
}

// rotate makes the refresh token that may come next.
func (r *grantRecord) rotate(p parsed, family string, at time.Time) Token {
	fresh := parsed{kind: kindRefresh, account: p.account, id: p.id, family: family, secret: newSecret()}
	r.Before, r.Refresh, r.Rotated = r.Refresh, hash(fresh.secret), at
	return fresh.token()
}

// RenewGrant gives new tokens for a refresh token, which is used up (RFC 9700, 4.14.2). One
// that comes again ends the grant, ErrReused: somebody else has it. Only the last one may
// come again for retryFor, since its answer may have been lost; if a thief was quicker,
// the owner's next try ends the grant. check judges whose the token is and returns the
// scopes that the access token is to have (nil: the grant's). ErrNotFound.
func (s *Store) RenewGrant(ctx context.Context, refresh string, check func(Grant) ([]string, error)) (Tokens, error) {
	p, ok := parse(refresh)
	if !ok || p.kind != kindRefresh {
		return Tokens{}, ErrNotFound
	}
	return s.editGrant(ctx, p, func(r *grantRecord, at time.Time) (Tokens, bool, error) {
		if !matches(r.Family, p.family) {
			return Tokens{}, false, ErrNotFound
		}
		age := at.Sub(r.Rotated)
		retry := matches(r.Before, p.secret) && age >= 0 && age < retryFor
		if !matches(r.Refresh, p.secret) && !retry {
			return Tokens{}, true, ErrReused
		}
		if age >= RefreshIdle {
			return Tokens{}, true, ErrNotFound
		}
		t := Tokens{Grant: r.grant(p.account, p.id, nil)}
		scopes, err := check(t.Grant)
		if err != nil {
			return Tokens{}, false, err
		}
		before, rotated := r.Before, r.Rotated
		t.Refresh = r.rotate(p, p.family, at)
		if retry { // the token whose answer was lost is still the one before, and no longer than it was
			r.Before, r.Rotated = before, rotated
		}
		t.Access, t.AccessExpires = r.newAccess(p, scopes, at)
		if scopes != nil {
			t.Scopes = scopes
		}
		return t, false, nil
	})
}

// Access is what an access token stands for: the grant, with the token's scopes.
type Access struct {
	Grant
	Issued  time.Time
	Expires time.Time
}

// Access returns what an access token stands for and notes its use; ErrNotFound.
func (s *Store) Access(ctx context.Context, token string, client netip.Addr) (Access, error) {
	a, err := s.Inspect(ctx, token)
	if err != nil {
		return Access{}, err
	}
	if p, _ := parse(token); p.kind != kindAccess {
		return Access{}, ErrNotFound
	}
	s.touch(ctx, a.Account, partGrant, a.ID, a.Used, a.Address, client)
	return a, nil
}

// Inspect returns what an access or refresh token stands for, and notes nothing (RFC 7662).
// ErrNotFound.
func (s *Store) Inspect(ctx context.Context, token string) (Access, error) {
	p, ok := parse(token)
	if !ok || p.kind != kindAccess && p.kind != kindRefresh {
		return Access{}, ErrNotFound
	}
	at := time.Now()
	var found Access
	err := s.view(ctx, space(p.account), func(snap kv.Snapshot) error {
		r, err := get[grantRecord](snap, key(partGrant, p.id))
		if err != nil {
			return err
		}
		if r == nil || r.Created.Sub(at) > skew {
			return ErrNotFound
		}
		u, err := get[useRecord](snap, key(partUse, p.id))
		if err != nil {
			return err
		}
		found.Grant = r.grant(p.account, p.id, u)
		if p.kind == kindRefresh {
			found.Issued, found.Expires = r.Rotated, r.Rotated.Add(RefreshIdle)
			if !matches(r.Family, p.family) || !matches(r.Refresh, p.secret) || !at.Before(found.Expires) {
				return ErrNotFound
			}
			return nil
		}
		n := slices.IndexFunc(r.Access, func(a accessRecord) bool { return matches(a.Hash, p.secret) })
		if n < 0 || !r.Access[n].alive(at) {
			return ErrNotFound
		}
		found.Issued, found.Expires = r.Access[n].Created, r.Access[n].Expires
		if r.Access[n].Scopes != nil {
			found.Scopes = r.Access[n].Scopes
		}
		return nil
	})
	if err != nil {
		return Access{}, err
	}
	return found, nil
}

// Revoke ends what a token stands for: an access token alone, or with a refresh token the
// whole grant (RFC 7009, 2.1). A token of another client's, or none at all: ErrNotFound.
func (s *Store) Revoke(ctx context.Context, token, client string) error {
	p, ok := parse(token)
	if !ok || p.kind != kindAccess && p.kind != kindRefresh {
		return ErrNotFound
	}
	_, err := s.editGrant(ctx, p, func(r *grantRecord, at time.Time) (Tokens, bool, error) {
		if r.Client != client {
			return Tokens{}, false, ErrNotFound
		}
		if p.kind == kindRefresh {
			if !matches(r.Family, p.family) {
				return Tokens{}, false, ErrNotFound
			}
			return Tokens{}, true, nil // an old one of the family means the same grant
		}
		n := slices.IndexFunc(r.Access, func(a accessRecord) bool { return matches(a.Hash, p.secret) })
		if n < 0 {
			return Tokens{}, false, ErrNotFound
		}
		r.Access = slices.Delete(r.Access, n, n+1)
		return Tokens{}, r.span(nil).over(at), nil
	})
	return err
}

// Grants lists the grants of an account that live and were given, the one used last first.
func (s *Store) Grants(ctx context.Context, account AccountID) ([]Grant, error) {
	var list []Grant
	at := time.Now()
	err := s.view(ctx, space(account), func(snap kv.Snapshot) error {
		return eachGrant(snap, func(id hlc.ID, r *grantRecord, u *useRecord) error {
			if r.span(u).alive(at) && r.Code != nil && r.Code.Used {
				list = append(list, r.grant(account, id, u))
			}
			return nil
		})
	})
	slices.SortFunc(list, func(a, b Grant) int { return b.Used.Compare(a.Used) })
	return list, err
}

// EndGrant ends a grant with all its tokens. ErrNotFound.
func (s *Store) EndGrant(ctx context.Context, account AccountID, id hlc.ID) error {
	return s.end(ctx, account, partGrant, id)
}

// EndGrants ends all grants of an account.
func (s *Store) EndGrants(ctx context.Context, account AccountID) error {
	return s.edit(ctx, account, func(e *editor) error {
		list, err := e.grants()
		if err != nil {
			return err
		}
		for _, x := range list {
			e.remove(key(x.part, x.id), key(partUse, x.id))
		}
		return nil
	})
}
