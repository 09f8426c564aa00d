package kvtest_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"postroad/internal/kv"
	"postroad/internal/kv/diskkv"
	"postroad/internal/kv/hlc"
	"postroad/internal/kv/memkv"
)

// TestNothingIsLeftRunning: closed engines, watches and clocks leave no goroutine behind.
// It has a process of its own, without the stores that fault tests leave for dead.
func TestNothingIsLeftRunning(t *testing.T) {
	defer goleak.VerifyNone(t)
	disk, err := diskkv.Open(diskkv.Options{Dir: filepath.Join(t.TempDir(), "store"), Watermark: 1 << 20, Ballast: -1, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []kv.Engine{disk, memkv.New()} {
		ctx, cancel := context.WithCancel(context.Background())
		hints, err := e.Watch(ctx, "s")
		if err != nil {
			t.Fatal(err)
		}
		clock, err := hlc.Open(ctx, e, 0)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			b := kv.Batch{Space: "s", Puts: []kv.Put{{Key: fmt.Append(nil, clock.Next()), Value: make([]byte, 100*i)}}}
			if _, err := e.Commit(ctx, b); err != nil {
				t.Fatal(err)
			}
		}
		cancel()
		for range hints { // until it is closed
		}
		if err := clock.Close(); err != nil {
			t.Error(err)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
}
