// Package objects keeps the small things of an account that are not mail: identities,
// submissions, contacts, subscriptions to push, settings. Each is a value of some octets
// under a kind and an id; each kind has a state and a log of changes of its own, so that
// /changes of JMAP (RFC 8620, 5.2) costs what has changed.
//
// The main type is [Store]. Methods named Prepare… add their share to a mailflow.Unit and
// change nothing by themselves. The package does not know what the values mean.
package objects

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
)

// Kind is a sort of objects.
type Kind byte

// The kinds; a letter once used is never used for anything else.
const (
	Identity         Kind = 'i' // RFC 8621, 6
	Submission       Kind = 's' // RFC 8621, 7
	Vacation         Kind = 'v' // RFC 8621, 8
	PushSubscription Kind = 'p' // RFC 8620, 7.2
	AddressBook      Kind = 'b' // RFC 9610, 2
	ContactCard      Kind = 'c' // RFC 9610, 3
	ShareNotice      Kind = 'n' // RFC 9670, 3
	Setting          Kind = 'o' // our own: settings of the web mail
	Job              Kind = 'j' // our own: import, export, changes by query
	JobPart          Kind = 'k' // our own: ids that a job has still to do
	Snooze           Kind = 'z' // messages that come back
	Upload           Kind = 'u' // RFC 8620, 6.1: octets that nothing refers to yet
	Mailbox          Kind = 'm' // what JMAP keeps of a mailbox besides the mail store
)

// ValueMax is the largest value, in octets: what a record may have, less our own header.
const ValueMax = kv.ValueMax - 64

// Errors; test with errors.Is. A commit meets kv.ErrConflict when somebody else changed the
// same object meanwhile; mailflow.Committer prepares anew then.
var (
	ErrNotFound  = errors.New("objects: no such object")
	ErrTooLarge  = errors.New("objects: the value is too large")
	ErrNoChanges = errors.New("objects: the log does not reach back to that state")
	ErrDamaged   = errors.New("objects: a record is damaged")
	ErrState     = errors.New("objects: not a state")
)

// Store keeps objects. All methods may be called at once.
type Store struct {
	Committer *mailflow.Committer
	Clock     *hlc.Clock
	// TombstonesMax is how many destroyed objects of a kind an account remembers; a client
	// that was away for longer reads all anew (RFC 8620, 5.2, cannotCalculateChanges). 0:
	// DefaultTombstonesMax.
	TombstonesMax int64
}

// DefaultTombstonesMax is what Store.TombstonesMax is unless it says otherwise.
const DefaultTombstonesMax = 10_000

// Object is one object; it is not changed.
type Object struct {
	ID      hlc.ID
	Value   []byte
	Created State // when it was made
	Updated State // when it was changed last
}

// State is a moment in the history of a kind: the mod-sequence of a commit and a place
// within it. The zero value is before everything. States of an object are in order.
type State struct {
	ModSeq uint64
	N      uint16
	// Since is the state from which a reader goes through changes in several steps, while
	// there are more: what was created after it is new to him.
	Since *State
}

// after tells whether s comes after other.
func (s State) after(other State) bool {
	return s.ModSeq > other.ModSeq || s.ModSeq == other.ModSeq && s.N > other.N
}

// String writes the state for a client: "12", "12.3", with ":" and another state behind it
// within several steps.
func (s State) String() string {
	out := strconv.FormatUint(s.ModSeq, 10)
	if s.N > 0 {
		out += "." + strconv.FormatUint(uint64(s.N), 10)
	}
	if s.Since != nil {
		out += ":" + State{ModSeq: s.Since.ModSeq, N: s.Since.N}.String()
	}
	return out
}

// ParseState reads what String wrote; ErrState.
func ParseState(text string) (State, error) {
	at, since, stepwise := strings.Cut(text, ":")
	modseq, n, exact := strings.Cut(at, ".")
	var s State
	var err error
	if s.ModSeq, err = strconv.ParseUint(modseq, 10, 64); err != nil {
		return State{}, ErrState
	}
	if exact {
		place, err := strconv.ParseUint(n, 10, 16)
		if err != nil {
			return State{}, ErrState
		}
		s.N = uint16(place)
	}
	if stepwise {
		from, err := ParseState(since)
		if err != nil || from.Since != nil || from.after(s) {
			return State{}, ErrState
		}
		s.Since = &from
	}
	return s, nil
}

// snapshot opens an account's space.
func (s *Store) snapshot(ctx context.Context, account mailstore.AccountID) (kv.Snapshot, error) {
	space, _ := mailstore.Guest(account)
	snap, err := s.Committer.Engine.Snapshot(ctx, space)
	if err != nil {
		return nil, fmt.Errorf("read objects: %w", err)
	}
	if err := mailstore.Lives(snap); err != nil {
		return nil, errors.Join(err, snap.Close())
	}
	return snap, nil
}

// Get returns objects by their ids; those that are not there are left out.
func (s *Store) Get(ctx context.Context, account mailstore.AccountID, kind Kind, ids ...hlc.ID) ([]*Object, error) {
	snap, err := s.snapshot(ctx, account)
	if err != nil {
		return nil, err
	}
	defer snap.Close()
	list := make([]*Object, 0, len(ids))
	for _, id := range ids {
		o, err := read(snap, kind, id)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, o)
	}
	return list, nil
}

// One returns one object; ErrNotFound.
func (s *Store) One(ctx context.Context, account mailstore.AccountID, kind Kind, id hlc.ID) (*Object, error) {
	list, err := s.Get(ctx, account, kind, id)
	if err == nil && len(list) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return list[0], nil
}

// All returns the objects of a kind, at most limit (0: all), by id from after on, and the
// state of the kind at the same moment.
func (s *Store) All(ctx context.Context, account mailstore.AccountID, kind Kind, after hlc.ID, limit int) ([]*Object, State, error) {
	snap, err := s.snapshot(ctx, account)
	if err != nil {
		return nil, State{}, err
	}
	defer snap.Close()
	state, err := last(snap, kind)
	if err != nil {
		return nil, State{}, err
	}
	r := kv.Prefix(prefix(partObject, kind))
	if after > 0 {
		r.From = objectKey(kind, after+1)
	}
	r.Limit = limit
	var list []*Object
	for e, err := range snap.Scan(r) {
		if err != nil {
			return nil, State{}, fmt.Errorf("read objects: %w", err)
		}
		o, err := parse(e.Key, e.Value)
		if err != nil {
			return nil, State{}, err
		}
		list = append(list, o)
	}
	return list, state, nil
}

// State returns the state of a kind.
func (s *Store) State(ctx context.Context, account mailstore.AccountID, kind Kind) (State, error) {
	snap, err := s.snapshot(ctx, account)
	if err != nil {
		return State{}, err
	}
	defer snap.Close()
	return last(snap, kind)
}
