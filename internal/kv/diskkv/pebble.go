package diskkv

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
)

const (
	// formatMajor pins what Pebble writes, so that a new release of it can be taken back.
	// It is raised one release after the program can read the next one.
	formatMajor = pebble.FormatTableFormatV6

	// memTableMax bounds, with memTablesMax, how much log must be replayed after kill -9:
	// see BenchmarkReopen and the figure of half a second.
	memTableMax  = 16 << 20
	memTablesMax = 3

	// tableFileBytes is the size of a table in level 0.
	tableFileBytes = 16 << 20
	// bloomBits a key: about 1 % of the look-ups of missing keys read a block in vain.
	bloomBits = 10
	// blockBytes is the size of a table's blocks. Pebble writes each with a system call of
	// its own; 4 KB, its default, costs a fifth more CPU a commit.
	blockBytes = 32 << 10
	// stallAt is how many sublevels of level 0 stop all writing. Pebble's own 12 stalls
	// for long under a burst; reading through more of them is bounded by bloom filters.
	stallAt = 32
)

// pebbleOptions are how the engine runs Pebble.
func (e *Engine) pebbleOptions() *pebble.Options {
	o := &pebble.Options{
		FS:                 e.fs,
		FormatMajorVersion: formatMajor,
		// Pebble takes its memtables out of the cache: three of 16 MB would leave nothing of 32.
		CacheSize:                   e.options.CacheBytes + memTablesMax*int64(e.options.memTableMax),
		MemTableSize:                e.options.memTableMax,
		MemTableStopWritesThreshold: memTablesMax,
		L0StopWritesThreshold:       stallAt,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 2 },
		Logger:                      logger{e},
		EventListener:               e.listener(),
	}
	o.TargetFileSizes[0] = tableFileBytes
	for i := range o.Levels {
		o.Levels[i].BlockSize = blockBytes
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(bloomBits)
	}
	o.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionBalanced })
	o.Experimental.CompactionScheduler = e.scheduler
	// Value separation stays off: there are reports of corruption open against it.
	o.Experimental.ValueSeparationPolicy = func() pebble.ValueSeparationPolicy { return pebble.ValueSeparationPolicy{} }
	return o
}

// listener logs what an administrator should know of, and nothing of the daily work.
func (e *Engine) listener() *pebble.EventListener {
	log := e.options.Logger
	return &pebble.EventListener{
		BackgroundError: func(err error) { log.Warn("store: work in the background failed and is tried again", "error", err) },
		DataCorruption: func(i pebble.DataCorruptionInfo) {
			log.Error("store: damaged data", "file", i.Path, "details", fmt.Sprint(i.Details))
		},
		WriteStallBegin: func(i pebble.WriteStallBeginInfo) { log.Debug("store: writing waits", "reason", i.Reason) },
	}
}

// commitError opens the message of the only Fatalf that comes on a committer's goroutine.
const commitError = "pebble: fatal commit error"

// errFatal unwinds a committer's goroutine after a Fatalf; Engine.apply recovers it.
var errFatal = errors.New("diskkv: the store has failed")

// logger passes Pebble's messages on, and makes the end of the engine of its Fatalf.
type logger struct{ e *Engine }

func (l logger) Infof(format string, args ...any) {
	if l.e.options.Logger.Enabled(context.Background(), levelTrace) {
		l.e.options.Logger.Log(context.Background(), levelTrace, fmt.Sprintf(format, args...))
	}
}

// levelTrace is below slog's Debug: Pebble tells of every flush.
const levelTrace = -8

func (l logger) Errorf(format string, args ...any) {
	l.e.options.Logger.Error("store: " + fmt.Sprintf(format, args...))
}

// Fatalf never returns: Pebble does not expect it to. Options.Fatal has normally ended the
// program by then; where it did not, the goroutine stands still for good.
func (l logger) Fatalf(format string, args ...any) {
	l.e.fail(fmt.Errorf(format, args...))
	if strings.HasPrefix(format, commitError) {
		panic(errFatal)
	}
	select {}
}
