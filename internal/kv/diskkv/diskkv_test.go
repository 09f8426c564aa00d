package diskkv

import (
	"log/slog"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"postroad/internal/kv"
	"postroad/internal/kv/kvtest"
	"postroad/internal/kv/memkv"
)

// quietLog keeps what tests provoke out of their output.
var quietLog = slog.New(slog.DiscardHandler)

// open opens a store or ends the test; its end closes it.
func open(t kvtest.TB, o Options) *Engine {
	t.Helper()
	if o.Logger == nil {
		o.Logger = quietLog
	}
	if o.Dir == "" {
		o.Dir = "store"
	}
	if o.Fatal == nil {
		o.Fatal = func(err error) { t.Errorf("the store failed: %v", err) }
	}
	e, err := Open(o)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// onMemory is a factory of stores in a file system in memory, with tables and caches so
// small that they overflow.
func onMemory(t kvtest.TB, now func() time.Time) *kvtest.Store {
	fs := vfs.NewMem()
	o := Options{FS: fs, Now: now, HotSpaces: 1}
	e := open(t, o)
	return &kvtest.Store{Engine: e, Reopen: func(t kvtest.TB) kv.Engine {
		if err := e.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
		e = open(t, o)
		return e
	}}
}

// model is a factory of the engine in memory.
func model(t kvtest.TB, now func() time.Time) *kvtest.Store {
	return &kvtest.Store{Engine: memkv.NewAt(now)}
}

func TestContract(t *testing.T) { kvtest.Run(t, onMemory) }

func TestContractOnTheDisk(t *testing.T) {
	kvtest.Run(t, func(tb kvtest.TB, now func() time.Time) *kvtest.Store {
		o := Options{Dir: t.TempDir(), Now: now}
		e := open(tb, o)
		return &kvtest.Store{Engine: e, Reopen: func(tb kvtest.TB) kv.Engine {
			if err := e.Close(); err != nil {
				tb.Fatalf("close: %v", err)
			}
			e = open(tb, o)
			return e
		}}
	})
}

func TestAgreesWithTheModel(t *testing.T) { kvtest.Agree(t, onMemory, model) }
