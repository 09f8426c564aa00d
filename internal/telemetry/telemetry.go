// Package telemetry is how the program tells of itself: the log, the metrics, and the type
// of values that neither may show.
//
// [NewLogger] makes the slog.Logger of the program, [Metrics] holds its Prometheus
// registry, [Secret] prints as stars. The package knows no other part of the house, except
// that [PebbleCollector] reads the figures of the store. Timelines of messages are the
// trace package's.
package telemetry

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// LogOptions are how the log is written.
type LogOptions struct {
	Format string // "text" or "json"; empty: text
	Level  string // "debug", "info", "warn" or "error"; empty: info
}

// NewLogger makes a logger that writes to w, one line an event.
func NewLogger(w io.Writer, o LogOptions) (*slog.Logger, error) {
	level := slog.LevelInfo
	if o.Level != "" {
		if err := level.UnmarshalText([]byte(o.Level)); err != nil {
			return nil, fmt.Errorf("log level %q is none of debug, info, warn, error", o.Level)
		}
	}
	h := &slog.HandlerOptions{Level: level}
	switch strings.ToLower(o.Format) {
	case "", "text":
		return slog.New(slog.NewTextHandler(w, h)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, h)), nil
	}
	return nil, fmt.Errorf("log format %q is neither text nor json", o.Format)
}
