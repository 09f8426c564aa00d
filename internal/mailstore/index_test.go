package mailstore

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"postroad/imap"
	"postroad/internal/kv"
	"postroad/internal/search"
)

// finds is how many of the account's messages the index finds in bodies; what it does not
// know counts with unknown.
func (f *fixture) finds(needle string) (found, unknown int) {
	f.Helper()
	x := got(f.a.Index().Find(f.Context(), []*search.Needle{search.NewNeedle(search.FieldsOf(search.FieldBody), needle)}, nil))(f)
	for _, id := range got(f.a.messagesFrom(f.Context(), 0, 100_000))(f) {
		switch p := x.Place(id); {
		case p.Unknown():
			unknown++
		case x.State(p, 0) == search.Yes:
			found++
		}
	}
	return found, unknown
}

func (f *fixture) wantFinds(what, needle string, found, unknown int) {
	f.Helper()
	if n, u := f.finds(needle); n != found || u != unknown {
		f.Fatalf("%s: %d found, %d unknown, not %d and %d", what, n, u, found, unknown)
	}
}

// TestIndex follows the index through a mailbox's life.
func TestIndex(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	f.append("INBOX", 200, 0)
	f.wantFinds("at once", "body 17", 11, 0) // 17 and 170 to 179: proven by where the words stand
	f.wantFinds("at once", "body", 200, 0)
	must(t, f.a.TendIndex(ctx, nil))
	f.wantFinds("merged", "body", 200, 0)
	f.sound()

	long := "Subject: long\r\n\r\n" + strings.Repeat("many words of text\r\n", 20_000) + "atlast\r\n"
	got(f.a.Append(ctx, f.box("INBOX").ID, f.message(long)))(t)
	f.wantFinds("a long text", "atlast", 0, 1)
	must(t, f.a.TendIndex(ctx, nil))
	f.wantFinds("a long text, later", "atlast", 1, 0)

	got(f.a.Expunge(ctx, f.box("INBOX").ID, imap.UIDSet{{First: 1, Last: 150}}, true))(t)
	must(t, f.a.Sweep(ctx))
	must(t, f.a.TendIndex(ctx, nil))
	f.wantFinds("expunged", "body", 50, 0)
	w := got(f.a.Index().Work(ctx))(t)
	if w.Records > 1 || !w.Whole {
		t.Fatalf("left to do: %+v", w)
	}
	f.sound()

	steps := 0
	must(t, f.a.RebuildIndex(ctx, func(done, of int64) {
		if steps++; done > of {
			t.Errorf("%d of %d", done, of)
		}
	}))
	f.wantFinds("rebuilt", "body", 50, 0)
	f.sound()
}

// TestIndexBackfill indexes mail of a store from before the index.
func TestIndexBackfill(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	f.s.o.NoIndex = true
	f.append("INBOX", 150, 0)
	f.s.o.NoIndex = false
	_, err := f.s.engine().Commit(ctx, kv.Batch{Space: f.a.space, Ranges: []kv.Range{kv.Prefix([]byte{'x'})}})
	must(t, err)
	f.append("INBOX", 10, 0)
	f.wantFinds("before", "body", 10, 150)
	must(t, f.a.Check(ctx, true, func(x Finding) { t.Errorf("check: %v", x) }))
	must(t, f.a.TendIndex(ctx, nil))
	f.wantFinds("after", "body", 160, 0)
	f.sound()
}

// TestIndexCheck holds that check sees an index that is wrong.
func TestIndexCheck(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	f.append("INBOX", 3, 0)
	ids := got(f.a.messagesFrom(ctx, 0, 10))(t)
	put := func(b kv.Batch) {
		b.Space = f.a.space
		_, err := f.s.engine().Commit(ctx, b)
		must(t, err)
	}
	var b kv.Batch
	search.PrepareDrop(&b, ids[0])
	put(b)
	b = kv.Batch{}
	search.Prepare(&b, ids[1], search.Record{2, 0, 0, 'b', 1, 3, 'f', 'o', 'x'})
	search.Prepare(&b, 77, search.Record{2, 0, 0, 'b', 1, 3, 'f', 'o', 'x'})
	put(b)
	var all []string
	must(t, f.a.Check(ctx, true, func(x Finding) { all = append(all, x.Text) }))
	text := strings.Join(all, "\n")
	for _, want := range []string{"no terms of it", "other terms of it", "no such message"} {
		if !strings.Contains(text, want) {
			t.Errorf("no finding %q in\n%s", want, text)
		}
	}
}

// BenchmarkDeliver delivers 4 KB messages on disk with and without the index, merges
// included.
func BenchmarkDeliver(b *testing.B) {
	var words strings.Builder
	for i := range 500 {
		fmt.Fprintf(&words, "word%d ", i*i%3001)
		if i%9 == 8 {
			words.WriteString("\r\n")
		}
	}
	for _, without := range []bool{true, false} {
		b.Run(fmt.Sprintf("index=%v", !without), func(b *testing.B) {
			engine, blobs := engines["diskkv"](b)
			f := &fixture{TB: b, s: newStore(b, engine, blobs)}
			f.s.o.NoIndex = without
			f.a = f.account(1, Quota{})
			ctx, stop := context.WithCancel(b.Context())
			ran := make(chan struct{})
			go func() {
				defer close(ran)
				f.s.Run(ctx)
			}()
			inbox := f.box("INBOX").ID
			var n atomic.Int64
			var wg sync.WaitGroup
			before := processor()
			b.ResetTimer()
			for range 10 {
				wg.Go(func() {
					for i := n.Add(1); i <= int64(b.N); i = n.Add(1) {
						m := f.message(benchText(int(i)) + words.String())
						got(f.a.Append(b.Context(), inbox, m))(b)
					}
				})
			}
			wg.Wait()
			if !without {
				must(b, f.a.TendIndex(b.Context(), nil))
			}
			b.ReportMetric(float64(processor()-before)/1000/float64(b.N), "cpu-µs/message")
			stop()
			<-ran
		})
	}
}

// processor is what the process has used of the processor, in nanoseconds.
func processor() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
