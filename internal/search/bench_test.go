package search

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"postroad/internal/kv"
	"postroad/internal/kv/diskkv"
	"postroad/message"
)

var benchMessages = flag.Int("search.messages", 100_000, "messages of the benchmarks")

// writer makes letters of words that follow Zipf's law, as those of natural text do.
type writer struct {
	r     *rand.Rand
	zipf  *rand.Zipf
	words []string
}

func newWriter(seed int64, vocabulary int) *writer {
	w := &writer{r: rand.New(rand.NewSource(seed))}
	for len(w.words) < vocabulary {
		var b strings.Builder
		for n := 1 + w.r.Intn(4); n > 0; n-- {
			b.WriteString([]string{"ba", "ko", "ri", "ten", "lu", "sta", "mer", "i", "no", "gra", "fe", "ul", "dis", "pa", "or", "wen"}[w.r.Intn(16)])
		}
		if w.r.Intn(3) == 0 {
			fmt.Fprintf(&b, "%c%c", 'a'+w.r.Intn(26), 'a'+w.r.Intn(26))
		}
		w.words = append(w.words, b.String())
	}
	w.zipf = rand.NewZipf(w.r, 1.1, 4, uint64(vocabulary-1))
	return w
}

func (w *writer) word() string { return w.words[w.zipf.Uint64()] }

// letter is a message of about so many octets.
func (w *writer) letter(i, octets int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "Return-Path: <%s@%s.example>\r\nReceived: from mx.%s.example by mail.example.net with ESMTPS id %x;\r\n Mon, 1 Jan 2024 10:00:00 +0000\r\n", w.word(), w.word(), w.word(), w.r.Int63n(1<<40))
	fmt.Fprintf(&b, "From: \"%s %s\" <%s@%s.example>\r\nTo: Bob <bob@example.net>\r\nSubject: %s %s %s %s\r\nMessage-ID: <%d.%d@mail.example.org>\r\n", w.word(), w.word(), w.word(), w.word(), w.word(), w.word(), w.word(), w.word(), i, w.r.Intn(1<<30))
	fmt.Fprintf(&b, "Date: Mon, 1 Jan 2024 09:59:58 +0000\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n")
	if i%1000 == 11 {
		b.WriteString("the zanzibarword of the island is here\r\n")
	}
	for col := 0; b.Len() < octets; {
		s := w.word()
		b.WriteString(s)
		if col += len(s) + 1; col > 66 {
			b.WriteString("\r\n")
			col = 0
		} else {
			b.WriteByte(' ')
		}
	}
	return append(b.Bytes(), '\r', '\n')
}

// BenchmarkRecord is what the index costs a delivery of 4 KB, but for the octets of its
// record in the log.
func BenchmarkRecord(b *testing.B) {
	w := newWriter(1, 50_000)
	raw := w.letter(1, 4096)
	m, err := message.Parse(bytes.NewReader(raw), message.Limits{})
	must(b, err)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	size := 0
	for b.Loop() {
		r, err := NewRecord(m, bytes.NewReader(raw))
		must(b, err)
		size = len(r)
	}
	b.ReportMetric(float64(size), "octets/record")
}

// built is what building an index took.
type built struct {
	octets       int64 // of text
	cost, merges time.Duration
}

// build makes the index of many messages, as deliveries and the background do.
func (f *fixture) build(w *writer, n int) (all built) {
	f.Helper()
	ctx := context.Background()
	for at := 0; at < n; {
		batch := kv.Batch{Space: f.x.Space}
		for ; at < n && len(batch.Puts) < 128; at++ {
			raw := w.letter(at, 4096)
			all.octets += int64(len(raw))
			m, err := message.Parse(bytes.NewReader(raw), message.Limits{})
			must(f, err)
			start := cpu()
			r, err := NewRecord(m, bytes.NewReader(raw))
			all.cost += cpu() - start
			must(f, err)
			id := f.x.Clock.Next()
			Prepare(&batch, id, r)
			f.ids = append(f.ids, id)
		}
		_, err := f.x.Engine.Commit(ctx, batch)
		must(f, err)
		if at%foldRecords == 0 || at == n {
			start := cpu()
			_, _, err := f.x.Fold(ctx)
			must(f, err)
			f.merge()
			all.merges += cpu() - start
		}
	}
	return all
}

// merge merges until there is nothing to do.
func (f *fixture) merge() {
	f.Helper()
	for more := true; more; {
		var err error
		more, err = f.x.Merge(context.Background())
		must(f, err)
	}
}

// BenchmarkExpunge takes nine messages of ten away and tells what is left of the index.
func BenchmarkExpunge(b *testing.B) {
	e, err := diskkv.Open(diskkv.Options{Dir: b.TempDir()})
	must(b, err)
	f := newFixture(b, e)
	w := newWriter(1, 50_000)
	f.build(w, *benchMessages)
	_, dictionary, postings := f.size()
	find := func() float64 {
		used := cpu()
		for range 10 {
			_, err := f.x.Find(context.Background(), []*Needle{NewNeedle(FieldsOf(FieldBody), w.words[300])}, nil)
			must(b, err)
		}
		return float64((cpu() - used).Microseconds()) / 10_000
	}
	before := find()
	for part := range slices.Chunk(f.ids, 400) {
		drop := kv.Batch{Space: f.x.Space}
		for i, id := range part {
			if i%10 != 0 {
				PrepareDrop(&drop, id)
			}
		}
		_, err := e.Commit(context.Background(), drop)
		must(b, err)
	}
	dead := find()
	used := cpu()
	f.merge()
	b.ReportMetric((cpu() - used).Seconds(), "merge-cpu-s")
	b.ReportMetric(before, "find-before-ms")
	b.ReportMetric(dead, "find-dead-ms")
	b.ReportMetric(find(), "find-after-ms")
	_, d, p := f.size()
	b.ReportMetric(float64(dictionary+postings)/1e6, "before-MB")
	b.ReportMetric(float64(d+p)/1e6, "after-MB")
	must(b, f.x.snapshot(context.Background(), func(snap kv.Snapshot) error {
		left, err := readTombstones(snap)
		b.ReportMetric(float64(len(left)), "tombstones")
		return err
	}))
}

// BenchmarkIndex builds the index of many messages on disk and asks it.
func BenchmarkIndex(b *testing.B) {
	e, err := diskkv.Open(diskkv.Options{Dir: b.TempDir()})
	must(b, err)
	f := newFixture(b, e)
	ctx := context.Background()
	w := newWriter(1, 50_000)
	n := *benchMessages
	all := f.build(w, n)
	keys, dictionary, postings := f.size()
	b.Run("build", func(b *testing.B) {
		for b.Loop() {
		}
		b.ReportMetric(float64(all.cost.Microseconds())/float64(n), "record-µs/message")
		b.ReportMetric(float64(all.merges.Microseconds())/float64(n), "merge-µs/message")
		b.ReportMetric(float64(dictionary+postings)/float64(all.octets), "index/text")
		b.ReportMetric(float64(dictionary)/1e6, "dictionary-MB")
		b.ReportMetric(float64(keys), "keys")
	})
	body, text := FieldsOf(FieldBody), FieldsOf(FieldHeader, FieldBody)
	for _, c := range []struct {
		name   string
		fields Fields
		needle string
	}{{"body rare word", body, "zanzibarword"}, {"text rare word", text, "zanzibarword"}, {"body common word", body, w.words[3]}, {"body two letters", body, "st"},
		{"body one letter", body, "a"}, {"body phrase", body, "of the island"}, {"body none", body, "qqqq"}, {"body end", body, "barword of"},
		{"body common phrase", body, w.words[0] + " " + w.words[1]}, {"text common phrase", text, w.words[0] + " " + w.words[1]},
		{"body common phrase of three", body, w.words[1] + " " + w.words[2] + " " + w.words[0]}, {"body phrase half common", body, w.words[0] + " " + w.words[200]}} {
		b.Run(c.name, func(b *testing.B) {
			hits, open := 0, 0
			used := cpu()
			for b.Loop() {
				found, err := f.x.Find(ctx, []*Needle{NewNeedle(c.fields, c.needle)}, nil)
				must(b, err)
				hits, open = 0, 0
				for _, id := range f.ids {
					switch found.State(found.Place(id), 0) {
					case Yes:
						hits++
					case Maybe:
						open++
					}
				}
			}
			b.ReportMetric(float64(hits), "hits")
			b.ReportMetric(float64(open), "left-open")
			b.ReportMetric(float64((cpu()-used).Microseconds())/1000/float64(b.N), "cpu-ms/query")
		})
	}
	for _, text := range []string{"zanzibarwords", "\"of the island\"", w.words[3] + " " + w.words[50], "\"" + w.words[0] + " " + w.words[1] + "\"", "ba*", "-" + w.words[3]} {
		b.Run("query "+text, func(b *testing.B) {
			used := cpu()
			for b.Loop() {
				_, err := f.x.Find(ctx, nil, []*Query{ParseQuery(text)})
				must(b, err)
			}
			b.ReportMetric(float64((cpu()-used).Microseconds())/1000/float64(b.N), "cpu-ms/query")
		})
	}
}

// cpu is what the process has used of the processor: the time of others on a busy machine
// does not count.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// size counts the keys of the index, and the octets of its parts.
func (f *fixture) size() (keys int, dictionary, postings int64) {
	f.Helper()
	must(f, f.x.snapshot(context.Background(), func(snap kv.Snapshot) error {
		for e, err := range snap.Scan(kv.Prefix([]byte{keySpace})) {
			must(f, err)
			keys++
			if n := int64(len(e.Key) + len(e.Value)); e.Key[1] == keyPostings || e.Key[1] == keyPlaces || e.Key[1] == keyRecord {
				postings += n
			} else {
				dictionary += n
			}
		}
		return nil
	}))
	return keys, dictionary, postings
}
