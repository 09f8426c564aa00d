// Package scripts keeps Sieve scripts: those of each account, of which one may be active,
// and those of an organisation or of everybody, some of which run before or after it.
//
// The main type is [Store]. Each change is one durable commit; only what compiles is
// stored. [Store.Stack] is what delivery asks: the sources that run for an account, in
// order, each with a version by which what was compiled of it can be kept. The package
// compiles and runs nothing itself.
//
// RFC 5804 (1.4 the active script, 1.5 quotas, 1.6 names), RFC 6609 (include: personal and
// global scripts).
package scripts

import (
	"context"
	"errors"
	"fmt"
	"time"

	"postroad/internal/directory"
	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
)

// AccountID names an account.
type AccountID = mailflow.AccountID

// Version names one content of one script; no other content ever has it.
type Version = hlc.ID

// Limits. Those of Options may be lower.
const (
	ScriptMax    = 1_000_000 // octets in a script: with its keys it fits one commit (kv.BatchMax)
	ScriptsMax   = 64        // scripts of one owner, unless Options say otherwise
	ScriptsRoof  = 1_000     // what Options may say
	cacheBytes   = 32 << 20  // octets of sources held in memory, unless Options say otherwise
	ownersCached = 10_000    // lists of scripts held in memory
)

// The closed set of errors; test with errors.Is. Whatever else goes wrong wraps
// ErrTemporary; mailstore.ErrNoAccount is for an account that is gone.
var (
	ErrNoScript  = errors.New("scripts: no such script")
	ErrExists    = errors.New("scripts: exists already")
	ErrActive    = errors.New("scripts: the active script may not be deleted")
	ErrName      = errors.New("scripts: not a script name")
	ErrTooMany   = errors.New("scripts: too many scripts")
	ErrTooLarge  = errors.New("scripts: the script is too large")
	ErrEmpty     = errors.New("scripts: the script is empty")
	ErrScript    = errors.New("scripts: the script does not compile")
	ErrPosition  = errors.New("scripts: accounts have an active script, others run before or after it")
	ErrFull      = errors.New("scripts: the disk is nearly full")
	ErrDamaged   = errors.New("scripts: a record is damaged")
	ErrTemporary = errors.New("scripts: not possible now")
)

// CompileError is what the compiler said of a script; it is an ErrScript.
type CompileError struct{ Err error }

func (e *CompileError) Error() string { return ErrScript.Error() + ": " + e.Err.Error() }

// Unwrap returns ErrScript and the compiler's error.
func (e *CompileError) Unwrap() []error { return []error{ErrScript, e.Err} }

// Options are what a Store works with.
type Options struct {
	Committer *mailflow.Committer
	Clock     *hlc.Clock
	// Compile tells whether a script is valid. Warnings and the error's text are for who
	// wrote it, with line numbers.
	Compile func(source []byte) (warnings string, err error)
	// Organisation returns the organisation of an account.
	Organisation func(ctx context.Context, id AccountID) (string, error)

	ScriptMax  int   // octets in a script; 0, or above the constant: the constant
	ScriptsMax int   // scripts of one owner; 0: the constant; at most ScriptsRoof
	CacheBytes int64 // octets of sources held in memory; 0: 32 MB
}

// Owner says whose scripts are meant.
type Owner struct {
	scope Scope
	space kv.Space
	guard *kv.Guard // that the owner is there; nil: the caller knows
}

// Scope is how far a script reaches.
type Scope uint8

// The scopes.
const (
	Personal     Scope = iota + 1 // one account
	Organisation                  // all accounts of an organisation
	Global                        // all accounts
)

// OfAccount are the scripts of an account.
func OfAccount(id AccountID) Owner {
	space, guard := mailstore.Guest(id)
	return Owner{Personal, space, &guard}
}

// OfOrganisation are the scripts of an organisation, which the caller knows to be there.
func OfOrganisation(name string) Owner {
	return Owner{scope: Organisation, space: directory.OrgSpace(name)}
}

// OfEverybody are the scripts of the installation.
func OfEverybody() Owner { return Owner{scope: Global, space: directory.RootSpace()} }

// Position says when a script of an organisation or of everybody runs.
type Position uint8

// The positions.
const (
	OnInclude Position = iota // only when another script includes it
	Before                    // before the account's active script
	After                     // after it

	generated // before an account's own, and written by us: see generated.go
)

// Script is what is known of a stored script.
type Script struct {
	Name      string
	SizeBytes int64
	Changed   time.Time // of the content
	Version   Version
	Active    bool     // of an account: the one that runs
	Position  Position // of others
	Order     int      // among those of one position and owner; the name decides next
}

// Source is a script's content; it is shared and never changed.
type Source struct {
	Scope   Scope
	Name    string
	Version Version
	Text    []byte
}

// Stack is what runs for an account, in this order.
type Stack struct {
	Before []*Source // everybody's, then the organisation's, then what we write for the account
	User   *Source   // nil: none is active
	After  []*Source // the organisation's, then everybody's
	// State is another one after any change to a script that the account runs or may
	// include: a key for what was compiled of the stack.
	State State
}

// Empty tells that nothing runs: the mail is kept.
func (s *Stack) Empty() bool { return len(s.Before) == 0 && s.User == nil && len(s.After) == 0 }

// State names the scripts of everybody, of an organisation and of an account at one moment.
type State [3]hlc.ID

// storageError puts an error of the engine into the closed set.
func storageError(what string, err error) error {
	if err == nil {
		return nil
	}
	for _, e := range closedSet {
		if errors.Is(err, e) {
			return err
		}
	}
	if errors.Is(err, kv.ErrFull) {
		return fmt.Errorf("%s: %w", what, ErrFull)
	}
	return fmt.Errorf("%s: %w: %w", what, ErrTemporary, err)
}

var closedSet = []error{ErrNoScript, ErrExists, ErrActive, ErrName, ErrTooMany, ErrTooLarge, ErrEmpty, ErrScript,
	ErrPosition, ErrFull, ErrDamaged, ErrTemporary, mailstore.ErrNoAccount}
