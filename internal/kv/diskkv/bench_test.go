package diskkv

import (
	"context"
	"crypto/rand"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"postroad/internal/kv"
)

// benchDir is on a real disk; /tmp may be memory.
func benchDir(b *testing.B) string {
	b.Helper()
	return filepath.Join(b.TempDir(), "store")
}

// cpu is what the process has used so far, user and system.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// bodies are values that do not compress, more than fit into the processor's cache.
func bodies(size int) func(n int64) []byte {
	pool := make([]byte, 16<<20)
	rand.Read(pool)
	return func(n int64) []byte {
		at := int(n*int64(size)) % (len(pool) - size)
		return pool[at : at+size]
	}
}

// delivery is a commit as a delivery makes it: a body, an entry under a UID and the
// version, quota, a quiet record elsewhere.
func delivery(space kv.Space, n int64, body []byte) []kv.Batch {
	return []kv.Batch{
		{
			Space:  space,
			Guards: []kv.Guard{{Kind: kv.GuardAbsent, Key: []byte("gone")}},
			Adds:   []kv.Add{{Key: []byte("quota"), N: int64(len(body)), Limit: 1 << 50}},
			Takes:  []kv.Take{{Key: []byte("uid"), N: 1}},
			Puts: []kv.Put{
				{Key: fmt.Appendf(nil, "m/%016x", n), Value: body},
				{Key: []byte("e/0000"), Value: make([]byte, 48), Places: []kv.Place{
					{Offset: 2, Width: 4}, {InValue: true, Offset: 8, Width: 8, Version: true}}},
			},
		},
		{Space: "t/0", Quiet: true, Puts: []kv.Put{{Key: fmt.Appendf(nil, "%016x", n), Value: make([]byte, 100)}}},
	}
}

func BenchmarkCommit(b *testing.B) {
	const size = 4 << 10
	body := bodies(size)
	for _, spaces := range []int{1, 100} {
		for _, writers := range []int{1, 10, 50} {
			b.Run(fmt.Sprintf("spaces=%d/writers=%d", spaces, writers), func(b *testing.B) {
				e, err := Open(Options{Dir: benchDir(b)})
				if err != nil {
					b.Fatal(err)
				}
				defer e.Close()
				var next atomic.Int64
				b.ResetTimer()
				before, start := cpu(b), time.Now()
				var wg sync.WaitGroup
				for range writers {
					wg.Go(func() {
						for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
							space := kv.Space(fmt.Sprintf("a/%d", n%int64(spaces)))
							if _, err := e.Commit(context.Background(), delivery(space, n, body(n))...); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "commits/s")
				b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(b.N), "cpu-µs/commit")
			})
		}
	}
}

// BenchmarkReopen measures opening after kill -9 with as much log as there can be.
func BenchmarkReopen(b *testing.B) {
	body := bodies(4 << 10)
	dir := benchDir(b)
	e, err := Open(Options{Dir: dir})
	if err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	b.ResetTimer()
	for i := range b.N {
		for n := range int64(7000) { // about 28 MB: a full memtable and most of the next
			if _, err := e.Commit(context.Background(), delivery("a/1", int64(i)*7000+n, body(n))...); err != nil {
				b.Fatal(err)
			}
		}
		copied := dir + fmt.Sprint(i)
		if err := e.Checkpoint(context.Background(), copied); err != nil { // with its log, as a crash leaves it
			b.Fatal(err)
		}
		b.StartTimer()
		again, err := Open(Options{Dir: copied, FS: vfs.Default})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		b.ReportMetric(float64(again.Metrics().WAL.Files), "logs")
		if err := again.Close(); err != nil {
			b.Fatal(err)
		}
	}
	if err := e.Close(); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkSnapshotGet(b *testing.B) {
	e, err := Open(Options{Dir: benchDir(b)})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	if _, err := e.Commit(context.Background(), delivery("a/1", 1, []byte("x"))...); err != nil {
		b.Fatal(err)
	}
	key := fmt.Appendf(nil, "m/%016x", 1)
	for b.Loop() {
		s, err := e.Snapshot(context.Background(), "a/1")
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.Get(key); err != nil {
			b.Fatal(err)
		}
		s.Close()
	}
}

func BenchmarkScan(b *testing.B) {
	e, err := Open(Options{Dir: benchDir(b)})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	const entries = 100_000
	for n := 0; n < entries; n += 500 {
		batch := kv.Batch{Space: "a/1"}
		for i := range 500 {
			batch.Puts = append(batch.Puts, kv.Put{Key: fmt.Appendf(nil, "e/%08x", n+i), Value: make([]byte, 48)})
		}
		if _, err := e.Commit(context.Background(), batch); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		s, err := e.Snapshot(context.Background(), "a/1")
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		for _, err := range s.Scan(kv.Prefix([]byte("e/"))) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n != entries {
			b.Fatalf("%d entries", n)
		}
		s.Close()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/entries, "ns/entry")
}
