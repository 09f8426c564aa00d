package telemetry

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// namespace starts the name of every metric of ours.
const namespace = "postroad"

// Metrics holds the program's metrics. The constructors register what they make and panic
// when a name is used twice or malformed, which is a mistake in the program.
type Metrics struct{ registry *prometheus.Registry }

// NewMetrics makes a registry with the figures of the Go runtime and the process in it.
func NewMetrics() *Metrics {
	m := &Metrics{prometheus.NewRegistry()}
	m.Register(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Register adds collectors that were made elsewhere.
func (m *Metrics) Register(c ...prometheus.Collector) { m.registry.MustRegister(c...) }

// Handler serves the metrics in Prometheus's text format.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// Counter makes postroad_name, a count that only grows.
func (m *Metrics) Counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help})
	m.Register(c)
	return c
}

// Counters makes postroad_name with labels. Label values must come from a small set, never
// from strangers.
func (m *Metrics) Counters(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
	m.Register(c)
	return c
}

// Gauge makes postroad_name, a figure that is set or counts both ways.
func (m *Metrics) Gauge(name, help string) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help})
	m.Register(g)
	return g
}

// CounterFunc makes a counter that f reads when it is asked for: of what is counted already.
func (m *Metrics) CounterFunc(name, help string, f func() float64) {
	m.Register(prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, f))
}

// GaugeFunc makes postroad_name, read when it is asked for.
func (m *Metrics) GaugeFunc(name, help string, f func() float64) {
	m.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, f))
}

// secondsBuckets span a fast commit to a slow peer.
var secondsBuckets = prometheus.ExponentialBuckets(0.0005, 4, 10)

// Seconds makes postroad_name_seconds, a histogram of durations, with labels as Counters.
func (m *Metrics) Seconds(name, help string, labels ...string) *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Name: name + "_seconds", Help: help, Buckets: secondsBuckets,
	}, labels)
	m.Register(h)
	return h
}
