package server

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// A hashed password or the reading of a large mailbox leaves tens of megabytes that the
// runtime keeps for the next time: without work there is no collection for two minutes,
// and what one frees goes back to the system slower still. So when the program has come to
// rest the memory is given back at once.
const (
	memoryInterval = 2 * time.Second
	memoryQuiet    = 1 << 20  // octets allocated in an interval: at rest below
	memoryWorth    = 16 << 20 // octets allocated since the last time that are worth a collection
)

// giveMemoryBack looks for rest until ctx is done.
func giveMemoryBack(ctx context.Context) error {
	tick := time.NewTicker(memoryInterval)
	defer tick.Stop()
	var before, given uint64 // octets allocated by the last look, and by the last time
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		now := allocated()
		if now-before < memoryQuiet && now-given >= memoryWorth {
			debug.FreeOSMemory()
			given = now
		}
		before = now
	}
}

// allocated is how many octets were allocated since the program began.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
