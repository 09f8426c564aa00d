package trace

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"postroad/internal/blob"
	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
	"postroad/internal/kv/memkv"
	"postroad/internal/mailflow"
)

// opened is a trace over an engine in memory, and what records in it.
func opened(t *testing.T) (*Trace, *hlc.Clock, func(Event, string)) {
	t.Helper()
	engine, clock := memkv.New(), hlc.NewClock(1)
	t.Cleanup(func() { engine.Close() })
	tr := New(Options{Engine: engine, Clock: clock})
	c := mailflow.Committer{Engine: engine, Bodies: blob.NewBodies(engine, nil, clock)}
	return tr, clock, func(e Event, messageID string) {
		t.Helper()
		err := c.Commit(t.Context(), func(_ context.Context, u *mailflow.Unit) error {
			tr.Record(u, e, messageID)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func find(t *testing.T, tr *Trace, what string) []Event {
	t.Helper()
	events, err := tr.Find(t.Context(), what)
	if err != nil {
		t.Fatal(err)
	}
	return events
}

func TestFind(t *testing.T) {
	tr, clock, record := opened(t)
	a, b := clock.Next(), clock.Next()
	record(Event{Mail: a, What: "accepted", Fields: map[string]string{"from": "x@y.test"}}, "<1@x.test>")
	record(Event{Mail: b, What: "accepted"}, "<1@x.test>")
	record(Event{Mail: a, What: "attempt"}, "")
	ofA := []Event{{Mail: a, What: "accepted", Fields: map[string]string{"from": "x@y.test"}}, {Mail: a, What: "attempt"}}
	ignore := cmp.Options{cmpopts.IgnoreFields(Event{}, "At", "sequence"), cmpopts.EquateEmpty()}
	if d := cmp.Diff(ofA, find(t, tr, a.String()), ignore); d != "" {
		t.Error(d)
	}
	for _, id := range []string{"<1@x.test>", "1@x.test", " <1@x.test> "} {
		all := find(t, tr, id)
		if d := cmp.Diff([]Event{ofA[0], {Mail: b, What: "accepted"}, ofA[1]}, all, ignore); d != "" {
			t.Errorf("%s: %s", id, d)
		}
		if age := time.Since(all[0].At); age < -time.Second || age > time.Minute {
			t.Errorf("recorded %v ago", age)
		}
	}
	for _, id := range []string{"", "<2@x.test>", clock.Next().String()} {
		if all := find(t, tr, id); len(all) != 0 {
			t.Errorf("%q: %v", id, all)
		}
	}
}

// TestQuiet: a timeline moves no version, and a unit that is not committed leaves nothing.
func TestQuiet(t *testing.T) {
	tr, clock, record := opened(t)
	id := clock.Next()
	tr.Record(new(mailflow.Unit), Event{Mail: id, What: "never"}, "<n@x.test>")
	record(Event{Mail: id, What: "accepted"}, "<n@x.test>")
	if all := find(t, tr, id.String()); len(all) != 1 || all[0].What != "accepted" {
		t.Error(all)
	}
	v, err := tr.Engine.Versions(t.Context(), spaceOf(shardOf(id)))
	if err != nil || v[0] != 0 {
		t.Errorf("version %d, %v", v[0], err)
	}
}

func TestLongFields(t *testing.T) {
	tr, clock, record := opened(t)
	id := clock.Next()
	fields := map[string]string{"short": "kept", "long": strings.Repeat("ü", 100_000), "bad": "\xff\xfe", "controls": strings.Repeat("\x00", 20_000)}
	record(Event{Mail: id, What: "accepted", Fields: fields}, "")
	all := find(t, tr, id.String())
	if len(all) != 1 || all[0].Fields["short"] != "kept" || !strings.HasPrefix(all[0].Fields["long"], "üüü") {
		t.Errorf("%.200v", all)
	}
}

func TestTrim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(25 * 365 * day) // a bubble starts in 2000, before ids do
		tr, clock, record := opened(t)
		old := clock.Next()
		record(Event{Mail: old, What: "accepted"}, "<old@x.test>")
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- tr.Run(ctx) }()
		time.Sleep(KeepDefault - day)
		record(Event{Mail: old, What: "attempt"}, "")
		fresh := clock.Next()
		record(Event{Mail: fresh, What: "accepted"}, "<fresh@x.test>")
		synctest.Wait()
		if n := len(find(t, tr, old.String())); n != 2 {
			t.Errorf("%d events of the old one before its time", n)
		}
		if n := len(find(t, tr, "<old@x.test>")); n != 2 {
			t.Errorf("%d by Message-ID before its time", n)
		}
		time.Sleep(2*day + trimInterval)
		synctest.Wait()
		if all := find(t, tr, old.String()); len(all) != 0 {
			t.Errorf("after its time: %v", all)
		}
		if n := len(find(t, tr, "<fresh@x.test>")); n != 1 {
			t.Errorf("%d events of the fresh one", n)
		}
		left := 0
		for shard := range shardCount {
			err := tr.scan(t.Context(), shard, []kv.Range{{}}, func(kv.Entry) error { left++; return nil })
			if err != nil {
				t.Fatal(err)
			}
		}
		if left != 2 {
			t.Errorf("%d keys are left", left)
		}
		stop()
		if err := <-done; err != context.Canceled {
			t.Error(err)
		}
	})
}

func TestDamaged(t *testing.T) {
	tr, clock, _ := opened(t)
	id := clock.Next()
	for _, v := range []string{"", "\x09{}", "\x01{"} {
		_, err := tr.Engine.Commit(t.Context(), kv.Batch{Space: spaceOf(shardOf(id)), Puts: []kv.Put{{Key: eventKey(id, 1), Value: []byte(v)}}})
		if err != nil {
			t.Fatal(err)
		}
		if all, err := tr.Find(t.Context(), id.String()); err == nil {
			t.Errorf("%q: %v", v, all)
		}
	}
}

func TestShardsAreEven(t *testing.T) {
	clock := hlc.NewClock(3)
	var count [shardCount]int
	for range shardCount * 1000 {
		count[shardOf(clock.Next())]++
	}
	for s, n := range count {
		if n < 500 || n > 2000 {
			t.Errorf("shard %d has %d of %d", s, n, shardCount*1000)
		}
	}
}
