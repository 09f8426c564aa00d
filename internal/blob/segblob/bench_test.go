package segblob

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"postroad/internal/blob"
	"postroad/internal/blob/blobtest"
)

// mailLike makes octets that compress as mail does: base64 for the most part.
func mailLike(n int) []byte {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	octets := bytes.Clone(blobtest.Octets(2, n))
	r := rand.New(rand.NewPCG(3, 4))
	for i := n / 8; i < n; i++ {
		octets[i] = digits[r.IntN(64)]
		if i%78 == 0 {
			octets[i] = '\n'
		}
	}
	return octets
}

func BenchmarkPutSync(b *testing.B) {
	octets := mailLike(33_000)
	for _, writers := range []int{1, 10, 50} {
		b.Run(fmt.Sprintf("33KB/%d", writers), func(b *testing.B) {
			s := openStore(b, b.TempDir(), Options{})
			defer s.Close()
			b.SetBytes(int64(len(octets)))
			b.ReportAllocs()
			var group sync.WaitGroup
			next := make(chan bool, 100)
			for range writers {
				group.Go(func() {
					for range next {
						l, _, err := s.Put(context.Background(), testClock.Next(), bytes.NewReader(octets), 1<<20)
						if err == nil {
							err = s.Sync(context.Background(), l)
						}
						if err != nil {
							b.Error(err)
						}
					}
				})
			}
			for b.Loop() {
				next <- true
			}
			close(next)
			group.Wait()
		})
	}
}

func BenchmarkPut(b *testing.B) {
	for _, n := range []int{10_000, 33_000, 1 << 20} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			octets := mailLike(n)
			s := openStore(b, b.TempDir(), Options{})
			defer s.Close()
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				put(b, s, octets)
			}
		})
	}
}

func BenchmarkReadAt(b *testing.B) {
	octets := mailLike(33_000)
	s := openStore(b, b.TempDir(), Options{})
	defer s.Close()
	var all []blob.Location
	for range 1000 {
		_, l := put(b, s, octets)
		all = append(all, l)
	}
	buffer := make([]byte, 64<<10)
	b.Run("open+33KB", func(b *testing.B) {
		b.SetBytes(int64(len(octets)))
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			r, err := s.Open(context.Background(), all[i%len(all)])
			if err != nil {
				b.Fatal(err)
			}
			if n, _ := r.ReadAt(buffer, 0); n != len(octets) {
				b.Fatal(n)
			}
			r.Close()
			i++
		}
	})
	b.Run("1KB", func(b *testing.B) {
		r, err := s.Open(context.Background(), all[0])
		if err != nil {
			b.Fatal(err)
		}
		defer r.Close()
		b.ReportAllocs()
		for b.Loop() {
			if _, err := r.ReadAt(buffer[:1024], 7000); err != nil {
				b.Fatal(err)
			}
		}
	})
}
