// Package tokens keeps who is logged in: the sessions of people in the web mail, and the
// grants that they gave to programs (OAuth), with the tokens that stand for both.
//
// The main type is [Store]. A token is shown once, to whom it is for; what is kept is a
// hash. It carries the account and the id of its record, so that finding it costs one read
// in the account's own space, and 130 random bits. The package knows no passwords, asks
// nobody for consent and speaks no HTTP.
//
// Times are the machine's. A record whose making lies ahead of them was written under a
// wrong clock: it does not count while that is so, and is not thrown away for it.
//
// RFC 6749 (grants), RFC 7636 (challenges are kept, not judged), RFC 9700, 2.2 and 4.14
// (rotation of refresh tokens).
package tokens

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
	"postroad/internal/mailflow"
)

// AccountID names an account; it is the same type as directory.AccountID.
type AccountID = hlc.ID

// Errors of a Store; test with errors.Is.
var (
	ErrNotFound = errors.New("tokens: not there, ended or expired") // which of them is nobody's business
	ErrReused   = errors.New("tokens: used before")                 // somebody has a copy; what it stood for is ended
	ErrInvalid  = errors.New("tokens: not valid")
)

// Limits.
const (
	SessionsMax = 50  // of one account; the one unused the longest ends for a new one
	GrantsMax   = 100 // of one account, likewise
	AccessMax   = 8   // access tokens of one grant that live at once; the oldest ends first
	ScopesMax   = 16
	nameMax     = 200  // octets of a name to show
	redirectMax = 2000 // octets of a redirect URI
)

// Lifetimes.
const (
	SessionIdle    = 12 * time.Hour // unused for so long a session ends …
	SessionMax     = 7 * 24 * time.Hour
	RememberedIdle = 30 * 24 * time.Hour // … where its user asked to be remembered
	RememberedMax  = 90 * 24 * time.Hour
	FreshFor       = 10 * time.Minute // after a proof, credentials may be changed
	CodeLife       = time.Minute      // RFC 6749, 4.1.2: at most ten
	AccessLife     = time.Hour
	RefreshIdle    = 180 * 24 * time.Hour // unused for so long a grant ends
	retryFor       = 30 * time.Second     // the refresh token before may come again: its answer was lost on the way
	touchAfter     = 5 * time.Minute      // how exact the last use is
	skew           = 5 * time.Minute      // what the clocks of two nodes may differ
)

// Store keeps sessions and grants. All fields but Log must be there; all methods may be
// called at once.
type Store struct {
	Committer *mailflow.Committer
	Clock     *hlc.Clock
	Log       *slog.Logger // nil: none
}

func (s *Store) log() *slog.Logger {
	if s.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Log
}

// Spaces and keys.
//
//	t/ACCOUNT   sID   session
//	            gID   grant, with its code and tokens
//	            uID   when and from where either was used last
//	            xHASH what may happen once, until when
//	oauth       c/ID  client that an administrator registered
const spacePrefix kv.Space = "t/"

func space(id AccountID) kv.Space { return spacePrefix + kv.Space(id.String()) }

const (
	partSession = 's'
	partGrant   = 'g'
	partUse     = 'u'
	partOnce    = 'x'
)

func key(part byte, id hlc.ID) string { return string(part) + id.String() }

// recordFormat is the first octet of each value; what follows is JSON, whose unknown fields
// an older reader passes over.
const recordFormat = 1

func encode(v any) ([]byte, error) {
	j, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	return append([]byte{recordFormat}, j...), nil
}

func decode[T any](raw []byte) (*T, error) {
	if len(raw) == 0 || raw[0] != recordFormat {
		return nil, fmt.Errorf("tokens: a record of a format that this version does not know (% x)", raw[:min(len(raw), 1)])
	}
	v := new(T)
	if err := json.Unmarshal(raw[1:], v); err != nil {
		return nil, fmt.Errorf("tokens: decode %T: %w", *v, err)
	}
	return v, nil
}

// Token is one as it is shown. It prints as stars: only Reveal gives the text.
type Token struct{ text *string }

// Reveal gives the text, for whom the token is.
func (t Token) Reveal() string {
	if t.text == nil {
		return ""
	}
	return *t.text
}

// IsZero tells whether there is none.
func (t Token) IsZero() bool { return t.text == nil }

// Format implements fmt.Formatter: nothing shows a token by accident.
func (t Token) Format(f fmt.State, _ rune) { fmt.Fprint(f, "***") }

// LogValue implements slog.LogValuer.
func (t Token) LogValue() slog.Value { return slog.StringValue("***") }

// MarshalText implements encoding.TextMarshaler, and so covers JSON.
func (t Token) MarshalText() ([]byte, error) { return []byte("***"), nil }

// kind says what a token is for.
type kind byte

const (
	kindSession kind = 's'
	kindCode    kind = 'c'
	kindAccess  kind = 'a'
	kindRefresh kind = 'r'
)

// A token is "pr", its kind, "_", the ids of account and record, and a secret; a refresh
// token has the secret of its family before.
const (
	idLen     = 13
	secretLen = 26 // of base 32: 130 bits
	prefixLen = 4
)

// parsed is a token taken apart.
type parsed struct {
	kind    kind
	account AccountID
	id      hlc.ID
	family  string // of a refresh token
	secret  string
}

// newSecret makes one.
func newSecret() string {
	text := rand.Text() // base 32, at least 128 bits
	for len(text) < secretLen {
		text += rand.Text()
	}
	return strings.ToLower(text[:secretLen])
}

func (p parsed) token() Token {
	text := "pr" + string(p.kind) + "_" + p.account.String() + p.id.String() + p.family + p.secret
	return Token{&text}
}

// Ours tells whether a text has the form of a token of ours, whatever it is worth.
func Ours(text string) bool {
	_, ok := parse(text)
	return ok
}

// parse takes a token apart.
func parse(text string) (parsed, bool) {
	if len(text) < prefixLen || text[:2] != "pr" || text[3] != '_' {
		return parsed{}, false
	}
	p := parsed{kind: kind(text[2])}
	want := prefixLen + 2*idLen + secretLen
	switch p.kind {
	case kindSession, kindCode, kindAccess:
	case kindRefresh:
		want += secretLen
	default:
		return parsed{}, false
	}
	if len(text) != want {
		return parsed{}, false
	}
	var err1, err2 error
	p.account, err1 = hlc.Parse(text[prefixLen : prefixLen+idLen])
	p.id, err2 = hlc.Parse(text[prefixLen+idLen : prefixLen+2*idLen])
	rest := text[prefixLen+2*idLen:]
	if err1 != nil || err2 != nil || p.account == 0 || p.id == 0 || strings.Trim(rest, "abcdefghijklmnopqrstuvwxyz234567") != "" {
		return parsed{}, false
	}
	if p.kind == kindRefresh {
		p.family, rest = rest[:secretLen], rest[secretLen:]
	}
	p.secret = rest
	return p, true
}

// hash is what is kept of a secret. It has too many bits to be guessed, so that one round is enough.
func hash(secret string) []byte {
	h := sha256.Sum256([]byte(secret))
	return h[:]
}

func matches(kept []byte, secret string) bool {
	return len(kept) > 0 && subtle.ConstantTimeCompare(kept, hash(secret)) == 1
}

// editor changes one account's space within a unit. Nobody watches these spaces, so that
// all of it is quiet.
type editor struct {
	u     *mailflow.Unit
	space kv.Space
	snap  kv.Snapshot
}

// edit commits what f makes in an account's space.
func (s *Store) edit(ctx context.Context, id AccountID, f func(*editor) error) error {
	return s.editSpace(ctx, space(id), f)
}

func (s *Store) editSpace(ctx context.Context, space kv.Space, f func(*editor) error) error {
	return s.Committer.Commit(ctx, func(ctx context.Context, u *mailflow.Unit) error {
		snap, err := s.Committer.Engine.Snapshot(ctx, space)
		if err != nil {
			return fmt.Errorf("read tokens: %w", err)
		}
		defer snap.Close()
		return f(&editor{u, space, snap})
	})
}

// view runs f with a picture of a space.
func (s *Store) view(ctx context.Context, space kv.Space, f func(kv.Snapshot) error) error {
	snap, err := s.Committer.Engine.Snapshot(ctx, space)
	if err != nil {
		return fmt.Errorf("read tokens: %w", err)
	}
	defer snap.Close()
	return f(snap)
}

// get reads a record, nil when there is none.
func get[T any](snap kv.Snapshot, key string) (*T, error) {
	raw, err := snap.Get([]byte(key))
	if errors.Is(err, kv.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read tokens: %w", err)
	}
	return decode[T](raw)
}

// read is get within an edit: what was read is guarded.
func read[T any](e *editor, key string) (*T, error) {
	b := e.u.Quiet(e.space)
	raw, err := e.snap.Get([]byte(key))
	if errors.Is(err, kv.ErrNotFound) {
		b.Guards = append(b.Guards, kv.Guard{Kind: kv.GuardAbsent, Key: []byte(key)})
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read tokens: %w", err)
	}
	b.Guards = append(b.Guards, kv.Guard{Kind: kv.GuardEquals, Key: []byte(key), Value: raw})
	return decode[T](raw)
}

func (e *editor) put(key string, record any) error {
	raw, err := encode(record)
	if err != nil {
		return err
	}
	b := e.u.Quiet(e.space)
	b.Puts = append(b.Puts, kv.Put{Key: []byte(key), Value: raw})
	return nil
}

func (e *editor) remove(keys ...string) {
	b := e.u.Quiet(e.space)
	for _, k := range keys {
		b.Deletes = append(b.Deletes, []byte(k))
	}
}

// scan yields the records under a prefix with the rest of their keys.
func scan[T any](snap kv.Snapshot, prefix string, f func(rest string, r *T) error) error {
	for entry, err := range snap.Scan(kv.Prefix([]byte(prefix))) {
		if err != nil {
			return fmt.Errorf("read tokens: %w", err)
		}
		r, err := decode[T](entry.Value)
		if err != nil {
			return fmt.Errorf("%w (key %q)", err, entry.Key)
		}
		if err := f(string(entry.Key[len(prefix):]), r); err != nil {
			return err
		}
	}
	return nil
}

// span is when something lives.
type span struct {
	created time.Time
	expires time.Time
	used    time.Time // the last time, at least created
	idle    time.Duration
}

// over tells whether the time is past; then it may be thrown away.
func (s span) over(now time.Time) bool {
	return !now.Before(s.expires) || now.Sub(s.used) >= s.idle
}

// alive tells whether it counts.
func (s span) alive(now time.Time) bool {
	return !s.over(now) && s.created.Sub(now) <= skew
}

// now is the time of a record, to the second.
func now() time.Time { return time.Now().UTC().Truncate(time.Second) }
