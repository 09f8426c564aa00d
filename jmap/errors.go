package jmap

import (
	"encoding/json"
	"fmt"
	"maps"
)

// MethodError is an error at the level of a method (RFC 8620, 3.6.2).
type MethodError struct {
	Type        string
	Description string         // for people; may be empty
	Extra       map[string]any // further members; may be nil
}

func (e *MethodError) Error() string {
	if e.Description == "" {
		return "jmap: " + e.Type
	}
	return "jmap: " + e.Type + ": " + e.Description
}

// Is compares by type.
func (e *MethodError) Is(target error) bool {
	t, ok := target.(*MethodError)
	return ok && t.Type == e.Type
}

// MarshalJSON writes the arguments of an "error" response.
func (e *MethodError) MarshalJSON() ([]byte, error) {
	return marshalError(e.Type, e.Description, e.Extra)
}

// The errors of RFC 8620 at the level of a method. Any other error that a method returns is
// told to the client as serverFail, without its text, and is given to the log.
var (
	ErrServerUnavailable           = &MethodError{Type: "serverUnavailable"}           // 3.6.2: try again later
	ErrServerFail                  = &MethodError{Type: "serverFail"}                  // 3.6.2
	ErrServerPartialFail           = &MethodError{Type: "serverPartialFail"}           // 3.6.2: the client must resynchronise
	ErrUnknownMethod               = &MethodError{Type: "unknownMethod"}               // 3.6.2
	ErrInvalidArguments            = &MethodError{Type: "invalidArguments"}            // 3.6.2
	ErrInvalidResultReference      = &MethodError{Type: "invalidResultReference"}      // 3.6.2
	ErrForbidden                   = &MethodError{Type: "forbidden"}                   // 3.6.2
	ErrAccountNotFound             = &MethodError{Type: "accountNotFound"}             // 3.6.2
	ErrAccountNotSupportedByMethod = &MethodError{Type: "accountNotSupportedByMethod"} // 3.6.2
	ErrAccountReadOnly             = &MethodError{Type: "accountReadOnly"}             // 3.6.2
	ErrRequestTooLarge             = &MethodError{Type: "requestTooLarge"}             // 5.1, 5.3
	ErrStateMismatch               = &MethodError{Type: "stateMismatch"}               // 5.3
	ErrCannotCalculateChanges      = &MethodError{Type: "cannotCalculateChanges"}      // 5.2, 5.6
	ErrAnchorNotFound              = &MethodError{Type: "anchorNotFound"}              // 5.5
	ErrUnsupportedSort             = &MethodError{Type: "unsupportedSort"}             // 5.5
	ErrUnsupportedFilter           = &MethodError{Type: "unsupportedFilter"}           // 5.5
	ErrTooManyChanges              = &MethodError{Type: "tooManyChanges"}              // 5.6
	ErrFromAccountNotFound         = &MethodError{Type: "fromAccountNotFound"}         // 5.4
	ErrFromAccountNotSupported     = &MethodError{Type: "fromAccountNotSupportedByMethod"}
)

// InvalidArguments says which argument is wrong and why.
func InvalidArguments(format string, a ...any) *MethodError {
	return &MethodError{Type: "invalidArguments", Description: fmt.Sprintf(format, a...)}
}

// With is the error with a description.
func (e *MethodError) With(format string, a ...any) *MethodError {
	return &MethodError{Type: e.Type, Description: fmt.Sprintf(format, a...), Extra: e.Extra}
}

// SetError says why one object was not created, updated or destroyed (RFC 8620, 5.3).
type SetError struct {
	Type        string
	Description string
	Properties  []string       // of invalidProperties
	Extra       map[string]any // further members, such as existingId; may be nil
}

func (e *SetError) Error() string { return "jmap: " + e.Type + ": " + e.Description }

// MarshalJSON writes the error.
func (e *SetError) MarshalJSON() ([]byte, error) {
	extra := e.Extra
	if e.Properties != nil {
		extra = maps.Clone(extra)
		if extra == nil {
			extra = map[string]any{}
		}
		extra["properties"] = e.Properties
	}
	return marshalError(e.Type, e.Description, extra)
}

// NewSetError returns a SetError of a type with a description.
func NewSetError(kind, format string, a ...any) *SetError {
	return &SetError{Type: kind, Description: fmt.Sprintf(format, a...)}
}

// InvalidProperties names the properties that are wrong, and why (RFC 8620, 5.3).
func InvalidProperties(names []string, format string, a ...any) *SetError {
	return &SetError{Type: "invalidProperties", Description: fmt.Sprintf(format, a...), Properties: names}
}

// The types of SetError in RFC 8620, 5.3 and 5.4.
const (
	SetForbidden         = "forbidden"
	SetOverQuota         = "overQuota"
	SetTooLarge          = "tooLarge"
	SetRateLimit         = "rateLimit"
	SetNotFound          = "notFound"
	SetInvalidPatch      = "invalidPatch"
	SetWillDestroy       = "willDestroy"
	SetInvalidProperties = "invalidProperties"
	SetSingleton         = "singleton"
	SetAlreadyExists     = "alreadyExists"
)

// marshalError writes an error object.
func marshalError(kind, description string, extra map[string]any) ([]byte, error) {
	m := make(map[string]any, len(extra)+2)
	maps.Copy(m, extra)
	m["type"] = kind
	if description != "" {
		m["description"] = description
	}
	return json.Marshal(m)
}
