package mailstore

import (
	"errors"
	"strconv"
	"strings"
)

// State is a moment in the history of one kind of things, as those who follow its changes
// know it: the mod-sequence of a commit, all of whose changes they were told of. The zero
// value is before everything.
type State struct {
	ModSeq uint64
	// N is a place within the next commit, up to which they were told too. Of mail it is the
	// id of a mailbox, message or thread; objects (internal/objects) count.
	N uint64
	// Scope tells what a reader in another one's account could see: with another scope his
	// state cannot be compared. 0 is the owner's, who sees everything.
	Scope uint32
	// Since is the state from which a reader goes through changes in several steps, while
	// there are more: what was created after it is new to him.
	Since *State
}

// ErrState says that a text is not a state.
var ErrState = errors.New("mailstore: not a state")

// After tells whether s comes after other.
func (s State) After(other State) bool {
	return s.ModSeq > other.ModSeq || s.ModSeq == other.ModSeq && s.N > other.N
}

// String writes the state for a client: "12", "12.3", with "~" and its scope, and within
// several steps with ":" and the state that they began at.
func (s State) String() string {
	out := s.moment()
	if s.Scope != 0 {
		out += "~" + strconv.FormatUint(uint64(s.Scope), 36)
	}
	if s.Since != nil {
		out += ":" + s.Since.moment()
	}
	return out
}

// moment writes mod-sequence and place.
func (s State) moment() string {
	out := strconv.FormatUint(s.ModSeq, 10)
	if s.N > 0 {
		out += "." + strconv.FormatUint(s.N, 10)
	}
	return out
}

// ParseState reads what String wrote; ErrState.
func ParseState(text string) (State, error) {
	text, since, stepwise := strings.Cut(text, ":")
	text, scope, scoped := strings.Cut(text, "~")
	s, err := parseMoment(text)
	if err != nil {
		return State{}, err
	}
	if scoped {
		n, err := strconv.ParseUint(scope, 36, 32)
		if err != nil || n == 0 {
			return State{}, ErrState
		}
		s.Scope = uint32(n)
	}
	if stepwise {
		from, err := parseMoment(since)
		if err != nil || from.After(s) {
			return State{}, ErrState
		}
		from.Scope = s.Scope
		s.Since = &from
	}
	return s, nil
}

func parseMoment(text string) (s State, err error) {
	modseq, n, exact := strings.Cut(text, ".")
	if s.ModSeq, err = strconv.ParseUint(modseq, 10, 64); err != nil {
		return State{}, ErrState
	}
	if exact {
		if s.N, err = strconv.ParseUint(n, 10, 64); err != nil {
			return State{}, ErrState
		}
	}
	return s, nil
}
