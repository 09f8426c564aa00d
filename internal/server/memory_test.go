package server

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"
)

// memorySink keeps the compiler from leaving an allocation out.
var memorySink []byte

// TestMemoryIsGivenBack: what was used and dropped is collected soon, though nobody
// allocates.
func TestMemoryIsGivenBack(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- giveMemoryBack(ctx) }()
	collected := make(chan struct{})
	memorySink = make([]byte, 2*memoryWorth)
	runtime.AddCleanup(&memorySink[0], func(struct{}) { close(collected) }, struct{}{})
	memorySink = nil
	select {
	case <-collected:
	case <-time.After(20 * memoryInterval):
		t.Error("it was not collected")
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
