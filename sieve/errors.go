package sieve

import (
	"fmt"
	"slices"
	"strings"
)

// Error is one fault of a script, in words for who wrote it.
type Error struct {
	Line, Column int // from 1; the column counts octets
	Text         string
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Text)
}

// Errors are the faults of a script in the order of their lines, never an empty list that
// means something: a script without faults has nil.
type Errors []*Error

// Error implements error: one fault a line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, f := range e {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

// sorted returns the faults by place.
func (e Errors) sorted() Errors {
	slices.SortStableFunc(e, func(a, b *Error) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return e
}

// Failure is why a run ended with an error of the script, for its owner. The message is
// kept (RFC 5228, 2.10.6).
type Failure struct {
	Script string // name of the included script, empty for the one that was run
	Line   int
	Text   string
}

// Error implements error.
func (f *Failure) Error() string {
	if f.Script != "" {
		return fmt.Sprintf("script %q, line %d: %s", f.Script, f.Line, f.Text)
	}
	return fmt.Sprintf("line %d: %s", f.Line, f.Text)
}

// position is a place in the source.
type position struct{ line, column int }

func (p position) errorf(format string, args ...any) *Error {
	return &Error{Line: p.line, Column: p.column, Text: fmt.Sprintf(format, args...)}
}
