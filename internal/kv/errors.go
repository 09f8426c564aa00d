package kv

import (
	"errors"
	"fmt"
)

// Errors that every engine returns; test with errors.Is.
var (
	ErrNotFound = errors.New("kv: no such key")
	ErrConflict = errors.New("kv: a guard does not hold")
	ErrLimit    = errors.New("kv: counter over its limit")
	ErrTooLarge = errors.New("kv: over a limit of size")
	ErrFull     = errors.New("kv: the disk is nearly full") // deletes of keys are still taken
	ErrInvalid  = errors.New("kv: malformed batch")
	ErrClosed   = errors.New("kv: engine is closed")
)

// ConflictError says which guard did not hold. The caller reads again and tries at once.
type ConflictError struct {
	Space Space
	Guard Guard
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("%v: space %q, key %q", ErrConflict, e.Space, e.Guard.Key)
}

// Unwrap makes errors.Is(err, ErrConflict) hold.
func (e *ConflictError) Unwrap() error { return ErrConflict }

// LimitError says which counter would have gone over its limit.
type LimitError struct {
	Space Space
	Add   Add
	Value int64 // as it stands
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%v: space %q, counter %q at %d, %+d asked, limit %d", ErrLimit, e.Space, e.Add.Key, e.Value, e.Add.N, e.Add.Limit)
}

// Unwrap makes errors.Is(err, ErrLimit) hold.
func (e *LimitError) Unwrap() error { return ErrLimit }
