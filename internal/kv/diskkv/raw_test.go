package diskkv

import (
	"fmt"
	"github.com/cockroachdb/pebble/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func BenchmarkRaw(b *testing.B) {
	body := bodies(4 << 10)
	for _, writers := range []int{1, 10, 50} {
		b.Run(fmt.Sprint(writers), func(b *testing.B) {
			e, err := Open(Options{Dir: benchDir(b)})
			if err != nil {
				b.Fatal(err)
			}
			var next atomic.Int64
			b.ResetTimer()
			before, start := cpu(b), time.Now()
			var wg sync.WaitGroup
			for range writers {
				wg.Go(func() {
					for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
						w := e.db.NewBatch()
						w.Set(fmt.Appendf(nil, "a/%d-%016x", n%100, n), body(n), nil)
						if err := w.Commit(pebble.Sync); err != nil {
							b.Error(err)
						}
						w.Close()
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "commits/s")
			b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(b.N), "cpu-µs/commit")
			m := e.Metrics()
			b.ReportMetric(float64(m.Total().TableBytesFlushed+m.Total().TableBytesCompacted)/float64(b.N), "B-tables/commit")
			e.Close()
		})
	}
}
