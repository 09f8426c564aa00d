package jmap

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// Problem is why a request as a whole was refused: a "problem details" object (RFC 7807),
// with the types of RFC 8620, 3.6.1. It is an error that [Options].Authenticate and
// [Options].Session may return.
type Problem struct {
	Type   string // empty: nothing beyond what the status says ("about:blank")
	Status int
	Detail string // for people
	Limit  string // of ProblemLimit: the name of the limit
}

// Types of problems (RFC 8620, 3.6.1).
const (
	ProblemUnknownCapability = "urn:ietf:params:jmap:error:unknownCapability"
	ProblemNotJSON           = "urn:ietf:params:jmap:error:notJSON"
	ProblemNotRequest        = "urn:ietf:params:jmap:error:notRequest"
	ProblemLimit             = "urn:ietf:params:jmap:error:limit"
)

func (p *Problem) Error() string { return fmt.Sprintf("jmap: %d %s: %s", p.Status, p.Type, p.Detail) }

// problem is one without a type of its own.
func problem(status int, format string, a ...any) *Problem {
	return &Problem{Status: status, Detail: fmt.Sprintf(format, a...)}
}

// badRequest is one of RFC 8620, 3.6.1.
func badRequest(kind, format string, a ...any) *Problem {
	return &Problem{Type: kind, Status: http.StatusBadRequest, Detail: fmt.Sprintf(format, a...)}
}

// overLimit is a limit of the capability object that a request would exceed.
func overLimit(limit, format string, a ...any) *Problem {
	p := badRequest(ProblemLimit, format, a...)
	p.Limit = limit
	return p
}

// problemObject is a problem as it is written.
type problemObject struct {
	AtType    string           `json:"@type,omitempty"` // RFC 8887, 4.3.4
	RequestID *json.RawMessage `json:"requestId,omitempty"`
	Type      string           `json:"type"`
	Status    int              `json:"status"`
	Title     string           `json:"title,omitempty"`
	Detail    string           `json:"detail,omitempty"`
	Limit     string           `json:"limit,omitempty"`
}

func (p *Problem) object() problemObject {
	o := problemObject{Type: p.Type, Status: p.Status, Detail: p.Detail, Limit: p.Limit}
	if o.Type == "" {
		o.Type, o.Title = "about:blank", http.StatusText(p.Status) // RFC 7807, 4.2
	}
	return o
}

// write answers with the problem.
func (p *Problem) write(w http.ResponseWriter) {
	text, err := json.Marshal(p.object())
	if err != nil {
		text = []byte("{}") // strings and numbers always can be written
	}
	h := w.Header()
	for _, name := range []string{"Content-Encoding", "Content-Length", "Etag", "Content-Disposition"} {
		h.Del(name)
	}
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(p.Status)
	w.Write(text)
}
