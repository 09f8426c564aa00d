package dns

import (
	"errors"
	"fmt"
)

// The kinds of failures; test with errors.Is. Every error of a Resolver is one of them.
var (
	ErrNXDomain  = errors.New("no such name")                // the name does not exist
	ErrNoData    = errors.New("no record of this type")      // the name exists
	ErrTemporary = errors.New("no answer at this time")      // timeout, SERVFAIL, refused
	ErrBogus     = errors.New("DNSSEC validation failed")    // an answer exists that must not be used
	ErrName      = errors.New("not a name the DNS can have") // nothing was asked
)

// Error says what was asked and why there is no answer.
type Error struct {
	Name string
	Type Type
	Kind error // one of the kinds
	Err  error // what led there, may be nil
}

func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("dns: %s %s: %v (%v)", e.Name, e.Type, e.Kind, e.Err)
	}
	return fmt.Sprintf("dns: %s %s: %v", e.Name, e.Type, e.Kind)
}

// Unwrap gives the kind and the cause.
func (e *Error) Unwrap() []error {
	if e.Err != nil {
		return []error{e.Kind, e.Err}
	}
	return []error{e.Kind}
}

// IsNotFound tells whether err says for sure that there is no such record.
func IsNotFound(err error) bool {
	return errors.Is(err, ErrNXDomain) || errors.Is(err, ErrNoData)
}

// IsTemporary tells whether asking later may give another result. A bogus answer counts:
// zones are mended, and mail waits (RFC 7672, 2.1.1).
func IsTemporary(err error) bool {
	return err != nil && !IsNotFound(err) && !errors.Is(err, ErrName)
}
