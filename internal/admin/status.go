package admin

import (
	"context"
	"time"
)

// Status is how the server is doing.
type Status struct {
	Version   string              `json:"version"`
	Hostname  string              `json:"hostname"`
	Started   time.Time           `json:"started,omitzero"` // zero: not serving
	Listeners map[string][]string `json:"listeners,omitempty"`
	Sandbox   string              `json:"sandbox,omitempty"`
	Queue     QueueStatus         `json:"queue"`
	Store     StoreStatus         `json:"store"`
}

// QueueStatus is the queue in figures.
type QueueStatus struct {
	Items     int64 `json:"items"`
	Active    int   `json:"active"`
	Submitted int64 `json:"submitted"` // since the start, as what follows
	Delivered int64 `json:"delivered"`
	Deferred  int64 `json:"deferred"`
	Failed    int64 `json:"failed"`
}

// StoreStatus is the store in figures, since the start.
type StoreStatus struct {
	Commits   uint64 `json:"commits"`
	Conflicts uint64 `json:"conflicts"`
	FreeBytes int64  `json:"free_bytes"`
}

func (v *Verbs) status(ctx context.Context, _ Nothing) (Status, error) { return v.Status(ctx) }

// TraceRef names a message: a queue id, or a Message-ID.
type TraceRef struct {
	Message string `json:"message"`
}

// TraceEvent is one step in the life of a message.
type TraceEvent struct {
	At     time.Time         `json:"at"`
	Mail   string            `json:"mail"` // queue id
	What   string            `json:"what"`
	Fields map[string]string `json:"fields,omitempty"`
}

func (v *Verbs) trace(ctx context.Context, in TraceRef) ([]TraceEvent, error) {
	if in.Message == "" {
		return nil, invalid("no message named")
	}
	events, err := v.Tracer(ctx, in.Message)
	if err == nil && len(events) == 0 {
		err = &Error{NotFound, "nothing is known of " + in.Message}
	}
	return events, err
}
