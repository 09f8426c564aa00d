package telemetry

import (
	"strconv"

	"github.com/cockroachdb/pebble/v2"
	"github.com/prometheus/client_golang/prometheus"
)

// pebbleFigure is one figure of the store.
type pebbleFigure struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func(*pebble.Metrics) float64
}

// describe names a figure of the store.
func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, "store", name), help, labels, nil)
}

// pebbleFigures are what an administrator watches: room, work that is behind, and whether
// the caches fit.
var pebbleFigures = []pebbleFigure{
	{describe("disk_bytes", "Octets of the store on the disk."), prometheus.GaugeValue,
		func(m *pebble.Metrics) float64 { return float64(m.DiskSpaceUsage()) }},
	{describe("wal_bytes", "Octets of live write-ahead log: what a start after a crash replays."), prometheus.GaugeValue,
		func(m *pebble.Metrics) float64 { return float64(m.WAL.Size) }},
	{describe("wal_written_bytes_total", "Octets written to the write-ahead log."), prometheus.CounterValue,
		func(m *pebble.Metrics) float64 { return float64(m.WAL.BytesWritten) }},
	{describe("memtable_bytes", "Octets of memtables."), prometheus.GaugeValue,
		func(m *pebble.Metrics) float64 { return float64(m.MemTable.Size) }},
	{describe("flushes_total", "Memtables written to tables."), prometheus.CounterValue,
		func(m *pebble.Metrics) float64 { return float64(m.Flush.Count) }},
	{describe("compactions_total", "Compactions done."), prometheus.CounterValue,
		func(m *pebble.Metrics) float64 { return float64(m.Compact.Count) }},
	{describe("compactions_running", "Compactions going on."), prometheus.GaugeValue,
		func(m *pebble.Metrics) float64 { return float64(m.Compact.NumInProgress) }},
	{describe("compaction_debt_bytes", "Octets to compact before the store is in shape."), prometheus.GaugeValue,
		func(m *pebble.Metrics) float64 { return float64(m.Compact.EstimatedDebt) }},
	{describe("read_amplification", "Tables that a look-up may have to ask."), prometheus.GaugeValue,
		func(m *pebble.Metrics) float64 { return float64(m.ReadAmp()) }},
	{describe("cache_bytes", "Octets in the block cache."), prometheus.GaugeValue,
		func(m *pebble.Metrics) float64 { return float64(m.BlockCache.Size) }},
	{describe("cache_hits_total", "Blocks found in the cache."), prometheus.CounterValue,
		func(m *pebble.Metrics) float64 { return float64(m.BlockCache.Hits) }},
	{describe("cache_misses_total", "Blocks read from the disk."), prometheus.CounterValue,
		func(m *pebble.Metrics) float64 { return float64(m.BlockCache.Misses) }},
}

// The figures of each level.
var (
	pebbleLevelBytes   = describe("level_bytes", "Octets of tables, by level.", "level")
	pebbleLevelWritten = describe("level_written_bytes_total", "Octets written by flushes and compactions, by level.", "level")
)

// pebbleCollector asks the store when it is asked.
type pebbleCollector struct{ metrics func() *pebble.Metrics }

// PebbleCollector gives the figures of a Pebble store, read when they are asked for. The
// function must answer until the collector's registry is asked no more.
func PebbleCollector(metrics func() *pebble.Metrics) prometheus.Collector {
	return pebbleCollector{metrics}
}

// Describe implements prometheus.Collector.
func (c pebbleCollector) Describe(to chan<- *prometheus.Desc) {
	for _, f := range pebbleFigures {
		to <- f.desc
	}
	to <- pebbleLevelBytes
	to <- pebbleLevelWritten
}

// Collect implements prometheus.Collector.
func (c pebbleCollector) Collect(to chan<- prometheus.Metric) {
	m := c.metrics()
	for _, f := range pebbleFigures {
		to <- prometheus.MustNewConstMetric(f.desc, f.kind, f.read(m))
	}
	for i := range m.Levels {
		level := strconv.Itoa(i)
		to <- prometheus.MustNewConstMetric(pebbleLevelBytes, prometheus.GaugeValue, float64(m.Levels[i].TablesSize), level)
		written := m.Levels[i].TableBytesFlushed + m.Levels[i].TableBytesCompacted
		to <- prometheus.MustNewConstMetric(pebbleLevelWritten, prometheus.CounterValue, float64(written), level)
	}
}
