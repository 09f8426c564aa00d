package server

import (
	"context"
	"errors"
	"net/http"
	"time"

	"postroad/internal/kv/diskkv"
	"postroad/internal/mta/queue"
	"postroad/internal/telemetry"
)

// metricsTimeout bounds a scrape: reading its request and writing the answer.
const metricsTimeout = 30 * time.Second

// figure is one value that is read when somebody asks.
type figure struct {
	name, help string
	counter    bool
	value      func() float64
}

// figures are read from the parts' own statistics; nothing is counted twice.
func (s *Server) figures() []figure {
	q := func(f func(queue.Stats) int64) func() float64 {
		return func() float64 { return float64(f(s.Queue.Stats())) }
	}
	e := func(f func(diskkv.Stats) uint64) func() float64 {
		return func() float64 { return float64(f(s.Engine.Stats())) }
	}
	return []figure{
		{"queue_submitted_total", "Mails taken responsibility for.", true, q(func(s queue.Stats) int64 { return s.Submitted })},
		{"queue_refused_total", "Mails answered with an error.", true, q(func(s queue.Stats) int64 { return s.Refused })},
		{"queue_notices_total", "Delivery status notifications made.", true, q(func(s queue.Stats) int64 { return s.Notices })},
		{"queue_attempts_total", "Deliveries tried by transports.", true, q(func(s queue.Stats) int64 { return s.Attempts })},
		{"queue_errors_total", "Errors of the queue itself.", true, q(func(s queue.Stats) int64 { return s.Errors })},
		{"queue_delivered_total", "Recipients handed to the next server.", true, q(func(s queue.Stats) int64 { return s.Delivered })},
		{"queue_deferred_total", "Recipients put off.", true, q(func(s queue.Stats) int64 { return s.Deferred })},
		{"queue_failed_total", "Recipients given up.", true, q(func(s queue.Stats) int64 { return s.Failed })},
		{"queue_active", "Deliveries under way.", false, q(func(s queue.Stats) int64 { return int64(s.Active) })},
		{"queue_items_in_memory", "Items near their time.", false, q(func(s queue.Stats) int64 { return int64(s.InMemory) })},
		{"kv_commits_total", "Durable commits.", true, e(func(s diskkv.Stats) uint64 { return s.Commits })},
		{"kv_conflicts_total", "Commits refused by a guard and prepared anew.", true, e(func(s diskkv.Stats) uint64 { return s.Conflicts })},
		{"kv_full_total", "Commits refused for want of disk space.", true, e(func(s diskkv.Stats) uint64 { return s.Full })},
		{"disk_free_bytes", "Octets left on the disk of the data directory.", false, func() float64 {
			free, err := freeBytes(s.config.DataDirectory)
			if err != nil {
				s.log.Error("metrics", "error", err)
			}
			return float64(free)
		}},
		{"panics_total", "Sessions that panicked.", true, func() float64 { return float64(s.panics.Load()) }},
		{"http_requests_total", "Requests over HTTP.", true, func() float64 { return float64(s.asked.Load()) }},
		{"jmap_streams", "Open event sources and WebSockets.", false, func() float64 { return float64(s.jmap.Streams()) }},
		{"connections", "Connections of mail programs.", false, func() float64 {
			s.limiter.mu.Lock()
			defer s.limiter.mu.Unlock()
			return float64(s.limiter.all)
		}},
	}
}

// metricsDoor serves /metrics.
func (s *Server) metricsDoor(l Listener) running {
	m := telemetry.NewMetrics()
	m.Register(telemetry.PebbleCollector(s.Engine.Metrics))
	for _, f := range s.figures() {
		if f.counter {
			m.CounterFunc(f.name, f.help, f.value)
		} else {
			m.GaugeFunc(f.name, f.help, f.value)
		}
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", m.Handler())
	h := &http.Server{Handler: mux, ReadTimeout: metricsTimeout, WriteTimeout: metricsTimeout, IdleTimeout: metricsTimeout}
	shutdown := func(ctx context.Context) error {
		err := h.Shutdown(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			return errors.Join(err, h.Close())
		}
		return err
	}
	return running{door: l.Door, serve: h.Serve, shutdown: shutdown, closed: http.ErrServerClosed, listener: l}
}
