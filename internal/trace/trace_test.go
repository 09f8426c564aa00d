package trace

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
	"postroad/internal/kv/memkv"
	"postroad/internal/mailflow"
)

var ctx = context.Background()

// commit prepares events, in as many calls as groups, and commits them as one unit.
func commit(t testing.TB, e kv.Engine, groups ...[]Event) {
	t.Helper()
	c := mailflow.Committer{Engine: e}
	err := c.Commit(ctx, func(_ context.Context, u *mailflow.Unit) error {
		for _, g := range groups {
			Prepare(u, g...)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// find ends the test over an error and gives the mails found.
func find(t testing.TB, e kv.Engine, what string) []mailflow.ID {
	t.Helper()
	found, err := Find(ctx, e, what)
	if err != nil {
		t.Fatal(err)
	}
	var ids []mailflow.ID
	for _, f := range found {
		ids = append(ids, f.Mail)
	}
	return ids
}

// at is an instant after the mail's id, as the record keeps it.
func at(id mailflow.ID, d time.Duration) time.Time { return id.Time().Add(d) }

// story is a mail's life.
func story(id mailflow.ID) []Event {
	return []Event{
		{Time: at(id, 0), Mail: id, Kind: Accepted, Detail: Detail{
			MessageID: "<Abc.1@Example.ORG>", Sender: "Alice@example.org", Recipients: []string{"bob@example.net", "Carol@example.net"},
			Protocol: "smtp", Client: "192.0.2.1:2525", TLS: "TLS1.3", Size: 4096}},
		{Time: at(id, time.Millisecond), Mail: id, Kind: Judged, Detail: Detail{Check: "spf", Verdict: "pass", Text: "192.0.2.1 is allowed"}},
		{Time: at(id, 2*time.Millisecond), Mail: id, Kind: Routed, Detail: Detail{Recipients: []string{"carol@example.net"}, Transport: "smtp", NextHop: "mx.example.net"}},
		{Time: at(id, 3*time.Millisecond), Mail: id, Kind: Delivered, Detail: Detail{Recipients: []string{"bob@example.net"}, Account: 77, Mailbox: "INBOX", UID: 9}},
		{Time: at(id, 4*time.Millisecond), Mail: id, Kind: Delayed, Detail: Detail{RemoteMTA: "mx.example.net", Reply: "451 4.3.0 later", NextTry: at(id, time.Hour).UTC(), Related: 5, Rule: "vacation"}},
	}
}

func TestStory(t *testing.T) {
	e := memkv.New()
	defer e.Close()
	clock := hlc.NewClock(1)
	id := clock.Next()
	events := story(id)
	commit(t, e, events[:2], events[2:4])
	commit(t, e, events[4:])
	other := story(clock.Next())[:1]
	other[0].MessageID, other[0].Recipients = "<other@example.org>", []string{"dave@example.net"}
	commit(t, e, other)
	for _, what := range []string{id.String(), "<abc.1@example.org>", "Abc.1@EXAMPLE.org", " bob@example.net ", "<carol@example.net>"} {
		found, err := Find(ctx, e, what)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]Timeline{{Mail: id, Events: events}}, found); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
	if got := find(t, e, "alice@example.org"); len(got) != 2 || got[0] != other[0].Mail || got[1] != id {
		t.Errorf("the sender's mails: %v", got)
	}
	for _, what := range []string{"", "<>", "nobody@example.net", hlc.NewClock(2).Next().String(), "abc.1"} {
		if got := find(t, e, what); len(got) != 0 {
			t.Errorf("%q found %v", what, got)
		}
	}
}

// TestCost: a delivery in which several packages tell of themselves costs two small puts
// in one space, quiet and blind.
func TestCost(t *testing.T) {
	u := new(mailflow.Unit)
	id := hlc.NewClock(1).Next()
	for _, e := range story(id) {
		Prepare(u, e)
	}
	b := u.Quiet(space(id))
	if len(b.Puts) != 2 || !b.Quiet || len(b.Guards)+len(b.Adds)+len(b.Takes)+len(b.Deletes)+len(b.Ranges) > 0 || b.Once != nil {
		t.Errorf("batch %+v", b)
	}
	size := 0
	for _, p := range b.Puts {
		size += len(p.Key) + len(p.Value)
	}
	if size > 500 {
		t.Errorf("%d octets", size)
	}
	Prepare(u, Event{Mail: id, Kind: Held})
	if b := u.Quiet(space(id)); len(b.Puts) != 2 {
		t.Errorf("%d puts after one more event", len(b.Puts))
	}
}

func TestTimeIsNow(t *testing.T) {
	e := memkv.New()
	defer e.Close()
	id := hlc.NewClock(1).Next()
	commit(t, e, []Event{{Mail: id, Kind: Held}})
	got, err := Load(ctx, e, id)
	if err != nil || len(got.Events) != 1 || time.Since(got.Events[0].Time).Abs() > time.Minute {
		t.Errorf("%v, %v", got, err)
	}
}

// TestManyRecipients: a mail for a thousand recipients with long names is kept whole.
func TestManyRecipients(t *testing.T) {
	e := memkv.New()
	defer e.Close()
	id := hlc.NewClock(1).Next()
	events := story(id)
	events[0].Recipients = nil
	for i := range 1000 {
		events[0].Recipients = append(events[0].Recipients, fmt.Sprintf("%s%d@example.net", strings.Repeat("x", 200), i))
	}
	commit(t, e, events)
	for _, what := range []string{id.String(), events[0].Recipients[999], "Bob@example.net"} {
		found, err := Find(ctx, e, what)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]Timeline{{Mail: id, Events: events}}, found); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
}

// TestHostileTexts: what strangers wrote is cut, not refused.
func TestHostileTexts(t *testing.T) {
	e := memkv.New()
	defer e.Close()
	id := hlc.NewClock(1).Next()
	long := strings.Repeat("\xff\x00<", 100_000)
	var events []Event
	for range 300 {
		events = append(events, Event{Time: at(id, 0), Mail: id, Kind: Accepted, Detail: Detail{
			MessageID: long, Sender: long, Recipients: []string{long}, Client: long, TLS: long, Reply: long, Text: long,
		}})
	}
	for n := range 3 {
		commit(t, e, events[n*100:n*100+100])
	}
	got, err := Load(ctx, e, id)
	if err != nil || len(got.Events) != 300 || len(got.Events[299].Text) != textMax {
		t.Errorf("%d events, %v", len(got.Events), err)
	}
}

// TestTooManyEvents: a unit with more events than fit into its records is still committed.
func TestTooManyEvents(t *testing.T) {
	u := new(mailflow.Unit)
	id := hlc.NewClock(1).Next()
	text := strings.Repeat("x", textMax)
	for range partsMax * recordMax / textMax * 2 {
		Prepare(u, Event{Mail: id, Kind: Judged, Detail: Detail{Text: text}})
	}
	b := u.Quiet(space(id))
	if len(b.Puts) != partsMax {
		t.Errorf("%d puts", len(b.Puts))
	}
}

func TestFindGivesTheNewest(t *testing.T) {
	e := memkv.New()
	defer e.Close()
	clock := hlc.NewClock(1)
	var ids []mailflow.ID
	for range 3 * FindMax {
		id := clock.Next()
		ids = append(ids, id)
		commit(t, e, []Event{{Mail: id, Kind: Accepted, Detail: Detail{Sender: "a@example.org"}}})
	}
	got := find(t, e, "a@example.org")
	if len(got) != FindMax {
		t.Fatalf("%d found", len(got))
	}
	for i, id := range got {
		if id != ids[len(ids)-1-i] {
			t.Fatalf("the %dth is %v, want the newest first", i, id)
		}
	}
}

// TestHashesMeet: two terms with one hash are not taken for each other.
func TestHashesMeet(t *testing.T) {
	seen := map[[hashSize]byte]string{}
	var one, other string
	for i := 0; one == ""; i++ {
		term := fmt.Sprintf("%d@example.org", i)
		h := hashOf(term)
		if seen[h] != "" {
			one, other = seen[h], term
		}
		seen[h] = term
	}
	e := memkv.New()
	defer e.Close()
	clock := hlc.NewClock(1)
	id := clock.Next()
	commit(t, e, []Event{{Mail: id, Kind: Accepted, Detail: Detail{Sender: one}}})
	if got := find(t, e, one); len(got) != 1 {
		t.Errorf("%s: %v", one, got)
	}
	if got := find(t, e, other); len(got) != 0 {
		t.Errorf("%s, which has the hash of %s: %v", other, one, got)
	}
}

func TestShards(t *testing.T) {
	clock := hlc.NewClock(1)
	used := map[kv.Space]int{}
	for range 4096 {
		used[space(clock.Next())]++
	}
	if len(used) != shards {
		t.Errorf("%d spaces used: %v", len(used), used)
	}
	for _, s := range spaces {
		if used[s] == 0 {
			t.Errorf("space %s is not used", s)
		}
	}
}

func TestTrim(t *testing.T) {
	e := memkv.New()
	defer e.Close()
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var ids []mailflow.ID
	for hour := range 100 {
		id := hlc.At(start.Add(time.Duration(hour)*time.Hour)) | mailflow.ID(hour)<<10
		ids = append(ids, id)
		commit(t, e, []Event{{Mail: id, Kind: Accepted, Detail: Detail{Sender: "a@example.org"}}})
	}
	before := start.Add(40 * time.Hour)
	for range 2 {
		if err := Trim(ctx, e, before); err != nil {
			t.Fatal(err)
		}
		if got := find(t, e, "a@example.org"); len(got) != 60 || got[59] != ids[40] {
			t.Fatalf("%d mails left, want 60", len(got))
		}
	}
	if got := find(t, e, ids[39].String()); len(got) != 0 {
		t.Error("a trimmed mail is found by its id")
	}
	stopped, cancel := context.WithCancel(ctx)
	cancel()
	if err := Trim(stopped, e, start.Add(1000*time.Hour)); !errors.Is(err, context.Canceled) {
		t.Errorf("a stopped trim: %v", err)
	}
	if err := Trim(ctx, e, start.Add(1000*time.Hour)); err != nil {
		t.Fatal(err)
	}
	for s := range e.Spaces(ctx, "t/") {
		t.Errorf("space %s is not empty", s)
	}
}

func TestEventString(t *testing.T) {
	id := hlc.At(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	var lines []string
	for _, e := range story(id) {
		lines = append(lines, e.String())
	}
	want := strings.TrimSpace(`
2026-01-02T03:04:05.000Z accepted message-id="<Abc.1@Example.ORG>" sender="Alice@example.org" protocol="smtp" client="192.0.2.1:2525" tls="TLS1.3" size=4096 recipients="bob@example.net,Carol@example.net"
2026-01-02T03:04:05.001Z judged check="spf" verdict="pass" text="192.0.2.1 is allowed"
2026-01-02T03:04:05.002Z routed transport="smtp" next-hop="mx.example.net" recipients="carol@example.net"
2026-01-02T03:04:05.003Z delivered account=000000000002d mailbox="INBOX" uid=9 recipients="bob@example.net"
2026-01-02T03:04:05.004Z delayed rule="vacation" remote-mta="mx.example.net" reply="451 4.3.0 later" related=0000000000005 next-try=2026-01-02T04:04:05Z
`)
	if diff := cmp.Diff(want, strings.Join(lines, "\n")); diff != "" {
		t.Error(diff)
	}
	for k := Accepted; k <= Cancelled; k++ {
		if strings.HasPrefix(k.String(), "kind") {
			t.Errorf("kind %d has no name", k)
		}
	}
	if Kind(0).String() != "kind 0" || Kind(200).String() != "kind 200" {
		t.Error("an unknown kind has a name")
	}
}

// TestEveryFieldIsKept: a field added to Detail must be written and read.
func TestEveryFieldIsKept(t *testing.T) {
	id := hlc.NewClock(1).Next()
	e := Event{Time: at(id, time.Second), Mail: id, Kind: Attempt}
	v := reflect.ValueOf(&e.Detail).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Interface().(type) {
		case string:
			f.SetString(v.Type().Field(i).Name)
		case []string:
			f.Set(reflect.ValueOf([]string{"one", "two"}))
		case int64:
			f.SetInt(int64(i + 1))
		case time.Time:
			f.Set(reflect.ValueOf(at(id, time.Minute).UTC()))
		default:
			f.SetUint(uint64(i + 1))
		}
	}
	parts := e.encode()
	got, err := parseRecord(id, append([]byte{recordFormat}, parts[0]...), nil)
	if err != nil || len(parts) != 1 {
		t.Fatalf("%d parts, %v", len(parts), err)
	}
	if diff := cmp.Diff([]Event{e}, got); diff != "" {
		t.Error(diff)
	}
}

func TestDamagedRecord(t *testing.T) {
	id := hlc.NewClock(1).Next()
	for _, e := range story(id) {
		record := append([]byte{recordFormat}, e.encode()[0]...)
		for n := range record {
			if n == 1 {
				continue // a record without events
			}
			if events, err := parseRecord(id, record[:n], nil); !errors.Is(err, errDamaged) {
				t.Errorf("%d octets of %d read as %v (%v)", n, len(record), events, err)
			}
		}
	}
	if _, err := parseRecord(id, []byte{99}, nil); !errors.Is(err, errDamaged) {
		t.Errorf("a foreign format: %v", err)
	}
}

func FuzzParseRecord(f *testing.F) {
	id := hlc.NewClock(1).Next()
	record := []byte{recordFormat}
	for _, e := range story(id) {
		for _, part := range e.encode() {
			record = append(record, part...)
		}
	}
	f.Add(record)
	f.Add([]byte{recordFormat, 1, 0, tagText, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, record []byte) {
		events, err := parseRecord(id, record, nil)
		if err != nil {
			return
		}
		for _, e := range events {
			for _, part := range e.encode() {
				if _, err := parseRecord(id, append([]byte{recordFormat}, part...), nil); err != nil {
					t.Errorf("what was read does not read again: %v", err)
				}
			}
		}
	})
}

func BenchmarkPrepare(b *testing.B) {
	id := hlc.NewClock(1).Next()
	events := story(id)
	b.ReportAllocs()
	for b.Loop() {
		Prepare(new(mailflow.Unit), events[:4]...)
	}
}

func BenchmarkFind(b *testing.B) {
	e := memkv.New()
	defer e.Close()
	clock := hlc.NewClock(1)
	const mails = 20_000
	for range mails / 500 {
		var events []Event
		for range 500 {
			id := clock.Next()
			events = append(events, Event{Mail: id, Kind: Accepted, Detail: Detail{MessageID: id.String() + "@example.org", Sender: "a@example.org"}})
		}
		commit(b, e, events)
	}
	b.ResetTimer()
	for b.Loop() {
		if found := find(b, e, "nobody@example.org"); len(found) != 0 {
			b.Fatal(found)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/mails, "ns/mail")
}
