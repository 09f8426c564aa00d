package mailstore

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"postroad/internal/kv"
)

// orderText is message i of a mailbox that is worth sorting: three of four answer one of
// the last hundred, with the references that mail programs write.
func orderText(r *rand.Rand, i int, refs [][]string) (string, []string) {
	words := strings.Fields("report meeting invoice question about the new server figures of week holiday plan draft agenda minutes budget release")
	var parents []string
	subject := fmt.Sprintf("%s %s %s %d", words[r.IntN(len(words))], words[r.IntN(len(words))], words[r.IntN(len(words))], i)
	if i > 0 && r.IntN(4) > 0 {
		p := i - 1 - r.IntN(min(i, 100))
		parents = append(parents, refs[p]...)
		subject = "Re: thread of " + parents[0]
	}
	id := fmt.Sprintf("<%d.%x@mail%d.example.org>", i, r.Uint64(), r.IntN(50))
	head := fmt.Sprintf("From: \"Person %d\" <person%d@example.org>\r\nTo: Bob <bob@example.net>\r\nSubject: %s\r\nMessage-ID: %s\r\n"+
		"Date: Mon, %d Jan 2024 %02d:%02d:%02d +0%d00\r\n", r.IntN(2000), r.IntN(2000), subject, id, 1+r.IntN(28), r.IntN(24), r.IntN(60), r.IntN(60), r.IntN(9))
	if len(parents) > 0 {
		head += "References: " + strings.Join(parents, "\r\n ") + "\r\nIn-Reply-To: " + parents[len(parents)-1] + "\r\n"
	}
	if len(parents) > 9 {
		parents = append(parents[:1:1], parents[len(parents)-8:]...)
	}
	return head + "\r\nbody\r\n", append(parents[:len(parents):len(parents)], id)
}

// BenchmarkOrder measures SORT and THREAD on 100,000 messages (design 7), on disk.
func BenchmarkOrder(b *testing.B) {
	engine, blobs := engines["diskkv"](b)
	f := &fixture{TB: b, s: newStore(b, engine, blobs)}
	f.s.keyAge = -1e9
	f.a = f.account(1, Quota{})
	inbox := f.box("INBOX").ID
	r, refs := rand.New(rand.NewPCG(1, 2)), make([][]string, benchCount)
	var in []*Incoming
	for i := range benchCount {
		var text string
		text, refs[i] = orderText(r, i, refs)
		if in = append(in, f.message(text)); len(in) == stageCount {
			got(f.a.Append(b.Context(), inbox, in...))(b)
			in = in[:0]
		}
	}
	ctx := context.Background()
	cold := func(use func(*Snapshot)) func(b *testing.B) {
		return func(b *testing.B) {
			for b.Loop() {
				l := &live{account: f.a, mailbox: inbox}
				s := got(l.refresh(ctx))(b)
				if use != nil {
					use(s)
				}
			}
		}
	}
	date := func(s *Snapshot) { got(s.Sort(ctx, allUIDs, []SortCriterion{{By: SortDate}}))(b) }
	b.Run("sort date, cold, not packed", cold(date))
	must(b, f.a.Sweep(ctx))
	f.a.packKeysLater()
	must(b, f.a.Sweep(ctx))
	var octets, blocks int
	snap := got(f.a.snapshot(ctx))(b)
	for e := range snap.Scan(kv.Prefix([]byte{keySort})) {
		octets += len(e.Key) + len(e.Value)
		blocks++
	}
	snap.Close()
	b.Logf("%d blocks, %d octets a message", blocks, octets/benchCount)
	b.Run("select, cold", cold(nil))
	b.Run("sort date, cold", cold(date))
	b.Run("sort subject, cold", cold(func(s *Snapshot) { got(s.Sort(ctx, allUIDs, []SortCriterion{{By: SortSubject}}))(b) }))
	b.Run("thread references, cold", cold(func(s *Snapshot) { got(s.Threads(ctx, allUIDs, ThreadReferences))(b) }))
	v := got(f.a.View(ctx, inbox))(b)
	defer v.Close()
	s := got(v.Snapshot(ctx))(b)
	for by, name := range []string{"arrival", "date", "size", "subject", "from", "to", "cc", "displayfrom", "displayto"} {
		b.Run("sort "+name+", warm", func(b *testing.B) {
			for b.Loop() {
				got(s.Sort(ctx, allUIDs, []SortCriterion{{By: SortBy(by)}}))(b)
			}
		})
	}
	b.Run("sort subject date, warm", func(b *testing.B) {
		for b.Loop() {
			got(s.Sort(ctx, allUIDs, []SortCriterion{{By: SortSubject}, {By: SortDate, Reverse: true}}))(b)
		}
	})
	for by, name := range []string{"references", "refs", "orderedsubject"} {
		b.Run("thread "+name+", warm", func(b *testing.B) {
			for b.Loop() {
				got(s.Threads(ctx, allUIDs, ThreadAlgorithm(by)))(b)
			}
		})
	}
	b.Run("sort subject after a delivery", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			text, _ := orderText(r, benchCount-1, refs)
			got(f.a.Append(ctx, inbox, f.message(text)))(b)
			b.StartTimer()
			got(got(v.Snapshot(ctx))(b).Sort(ctx, allUIDs, []SortCriterion{{By: SortSubject}}))(b)
		}
	})
}
