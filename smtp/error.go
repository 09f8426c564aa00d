package smtp

import (
	"fmt"
	"strings"
)

// Error is a reply of class 4 or 5 as an error: what it says is fit for strangers. Cause
// is for the log alone.
type Error struct {
	Reply Reply
	Cause error
}

// NewError returns an error with a reply of one line.
func NewError(code int, enhanced EnhancedCode, text string) *Error {
	return &Error{Reply: Reply{Code: code, Enhanced: enhanced, Lines: []string{text}}}
}

// Errorf is NewError with a formatted text.
func Errorf(code int, enhanced EnhancedCode, format string, args ...any) *Error {
	return NewError(code, enhanced, fmt.Sprintf(format, args...))
}

// With returns a copy of e that carries the cause for the log.
func (e *Error) With(cause error) *Error {
	return &Error{Reply: e.Reply, Cause: cause}
}

// Error returns the reply on one line, with the cause behind it.
func (e *Error) Error() string {
	s := e.Reply.String()
	if e.Cause != nil {
		s += " (" + e.Cause.Error() + ")"
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Temporary tells whether the same request may succeed later.
func (e *Error) Temporary() bool { return e.Reply.Temporary() }

// String returns the reply on one line, as logs and DSNs show it: "550 5.1.1 No such user".
func (r Reply) String() string {
	s := fmt.Sprintf("%03d", r.Code)
	if !r.Enhanced.IsZero() {
		s += " " + r.Enhanced.String()
	}
	if text := strings.Join(r.Lines, " "); text != "" {
		s += " " + text
	}
	return s
}
