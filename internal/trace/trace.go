// Package trace keeps the timeline of each message: when it was accepted and from whom,
// where it went, what every server said, what administrators did to it. Its records are
// part of the commits that they tell of, so they are neither lost nor ahead of them.
//
// The main type is [Trace]. The package judges and delivers nothing; it does not record
// what strangers were refused, nor what users do with their mail.
package trace

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
	"postroad/internal/mailflow"
)

// Keys of a shard's space, by the shard of the mail:
//
//	e/ ID SEQUENCE      event, format octet first, then JSON; both ids 8 octets
//	m/ DAY HASH ID      nothing: a mail with this Message-ID came on this day
const (
	spacePrefix   = "t/"
	shardCount    = 64
	prefixEvent   = "e/"
	prefixMessage = "m/"
	hashSize      = 16
	format        = 1
)

// Limits and times.
const (
	KeepDefault  = 30 * 24 * time.Hour
	eventMax     = 8 << 10 // octets of one event; fields of a longer one are cut
	eventsMax    = 10_000  // events in one answer
	mailsMax     = 100     // mails with one Message-ID in one answer
	trimInterval = time.Hour
	day          = 24 * time.Hour
)

// Event is one step in the life of a mail.
type Event struct {
	At     time.Time
	Mail   mailflow.ID
	What   string // one word: "accepted", "queued", "attempt" …
	Fields map[string]string

	sequence hlc.ID // orders events of one millisecond
}

// Clock makes ids; *hlc.Clock is one.
type Clock interface{ Next() hlc.ID }

// Options of a Trace; Engine and Clock are needed.
type Options struct {
	Engine kv.Engine
	Clock  Clock
	Keep   time.Duration // how long events are kept, 0: KeepDefault
	Log    *slog.Logger  // nil: nothing is logged
}

// Trace records and finds events. It is safe for concurrent use.
type Trace struct{ Options }

// New returns a Trace. Run keeps it from growing without end.
func New(o Options) *Trace {
	if o.Keep == 0 {
		o.Keep = KeepDefault
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Trace{o}
}

func spaceOf(shard int) kv.Space { return kv.Space(fmt.Sprintf("%s%02x", spacePrefix, shard)) }

// shardOf spreads mails: the low bits of ids are those of the node, the high ones time.
func shardOf(id mailflow.ID) int {
	const golden = 0x9e3779b97f4a7c15
	return int(uint64(id) * golden >> 58)
}

func eventKey(id mailflow.ID, sequence hlc.ID) []byte {
	k := binary.BigEndian.AppendUint64([]byte(prefixEvent), uint64(id))
	return binary.BigEndian.AppendUint64(k, uint64(sequence))
}

// dayKey is the start of all keys of a day.
func dayKey(at time.Time) []byte {
	return binary.BigEndian.AppendUint32([]byte(prefixMessage), uint32(at.Unix()/int64(day/time.Second)))
}

// cleanMessageID is the form under which Message-IDs are found: without angle brackets.
func cleanMessageID(s string) string { return strings.Trim(strings.TrimSpace(s), "<>") }

func messagePrefix(at time.Time, messageID string) []byte {
	sum := sha256.Sum256([]byte(cleanMessageID(messageID)))
	return append(dayKey(at), sum[:hashSize]...)
}

// Record adds an event to the unit that it is part of. With a messageID the mail is found
// by it from then on. The time is filled in.
func (t *Trace) Record(u *mailflow.Unit, e Event, messageID string) {
	sequence := t.Clock.Next()
	b := u.Quiet(spaceOf(shardOf(e.Mail)))
	b.Puts = append(b.Puts, kv.Put{Key: eventKey(e.Mail, sequence), Value: encode(&e)})
	if messageID != "" {
		k := binary.BigEndian.AppendUint64(messagePrefix(sequence.Time(), messageID), uint64(e.Mail))
		b.Puts = append(b.Puts, kv.Put{Key: k, Value: []byte{format}})
	}
}

// record is an event as it is stored; mail and time are in the key.
type record struct {
	What   string            `json:"w"`
	Fields map[string]string `json:"f,omitempty"`
}

// encode writes an event within eventMax; the longest fields give way.
func encode(e *Event) []byte {
	limit := eventMax
	for {
		r := record{e.What, make(map[string]string, len(e.Fields))}
		for k, v := range e.Fields {
			r.Fields[k] = strings.ToValidUTF8(v[:min(len(v), limit)], "")
		}
		j, err := json.Marshal(r)
		if err != nil { // strings always have a JSON form
			panic(fmt.Sprintf("trace: encode: %v", err))
		}
		if len(j) < eventMax || limit == 0 {
			return append([]byte{format}, j...)
		}
		limit /= 2
	}
}

func decode(entry kv.Entry) (Event, error) {
	k := entry.Key[len(prefixEvent):]
	if len(k) != 16 || len(entry.Value) == 0 || entry.Value[0] != format {
		return Event{}, fmt.Errorf("trace: a record of an unknown format, key %x", entry.Key)
	}
	var r record
	if err := json.Unmarshal(entry.Value[1:], &r); err != nil {
		return Event{}, fmt.Errorf("trace: key %x: %w", entry.Key, err)
	}
	sequence := hlc.ID(binary.BigEndian.Uint64(k[8:]))
	return Event{At: sequence.Time(), Mail: mailflow.ID(binary.BigEndian.Uint64(k)), What: r.What, Fields: r.Fields, sequence: sequence}, nil
}

// Find returns what is known of a mail, by its id or the Message-ID of its header, in the
// order of time; nothing when nothing is known.
func (t *Trace) Find(ctx context.Context, message string) ([]Event, error) {
	mails := []mailflow.ID{}
	if id, err := hlc.Parse(message); err == nil {
		mails = append(mails, id)
	} else if mails, err = t.byMessageID(ctx, message); err != nil {
		return nil, err
	}
	var all []Event
	for _, id := range mails {
		events, err := t.events(ctx, id)
		if err != nil {
			return nil, err
		}
		all = append(all, events...)
	}
	slices.SortFunc(all, func(a, b Event) int { return cmp.Compare(a.sequence, b.sequence) })
	return all, nil
}

// events reads the events of one mail.
func (t *Trace) events(ctx context.Context, id mailflow.ID) ([]Event, error) {
	var all []Event
	r := kv.Prefix(binary.BigEndian.AppendUint64([]byte(prefixEvent), uint64(id)))
	r.Limit = eventsMax
	err := t.scan(ctx, shardOf(id), []kv.Range{r}, func(entry kv.Entry) error {
		e, err := decode(entry)
		all = append(all, e)
		return err
	})
	return all, err
}

// byMessageID looks the mails with a Message-ID up, in all shards and on all days.
func (t *Trace) byMessageID(ctx context.Context, messageID string) ([]mailflow.ID, error) {
	now := t.Clock.Next().Time()
	var ranges []kv.Range
	for at := now; at.After(now.Add(-t.Keep - day)); at = at.Add(-day) {
		r := kv.Prefix(messagePrefix(at, messageID))
		r.Limit = mailsMax
		ranges = append(ranges, r)
	}
	var mails []mailflow.ID
	for shard := range shardCount {
		err := t.scan(ctx, shard, ranges, func(entry kv.Entry) error {
			if tail := entry.Key[len(entry.Key)-8:]; len(mails) < mailsMax {
				mails = append(mails, mailflow.ID(binary.BigEndian.Uint64(tail)))
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return mails, nil
}

// scan reads ranges of a shard.
func (t *Trace) scan(ctx context.Context, shard int, ranges []kv.Range, f func(kv.Entry) error) error {
	snap, err := t.Engine.Snapshot(ctx, spaceOf(shard))
	if err != nil {
		return fmt.Errorf("read the trace: %w", err)
	}
	defer snap.Close()
	for _, r := range ranges {
		for entry, err := range snap.Scan(r) {
			if err == nil {
				err = f(entry)
			}
			if err != nil {
				return fmt.Errorf("read the trace: %w", err)
			}
		}
	}
	return nil
}

// Run forgets events of mails that came longer ago than they are kept, until ctx is done.
func (t *Trace) Run(ctx context.Context) error {
	tick := time.NewTicker(trimInterval)
	defer tick.Stop()
	for {
		if err := t.Trim(ctx); err != nil && ctx.Err() == nil {
			t.Log.Error("trace: old events stay for now", "error", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// Trim forgets what is too old now.
func (t *Trace) Trim(ctx context.Context) error {
	// Ids order by time: 22 bits of counter and node stand below the milliseconds.
	const belowTime = 22
	now := t.Clock.Next()
	last := now - hlc.ID(t.Keep/time.Millisecond)<<belowTime
	if last > now { // an epoch younger than Keep
		return nil
	}
	events := kv.Range{From: []byte(prefixEvent), To: binary.BigEndian.AppendUint64([]byte(prefixEvent), uint64(last))}
	mails := kv.Range{From: []byte(prefixMessage), To: dayKey(last.Time())}
	for shard := range shardCount {
		old := false
		for _, r := range []kv.Range{events, mails} {
			r.Limit = 1
			if err := t.scan(ctx, shard, []kv.Range{r}, func(kv.Entry) error { old = true; return nil }); err != nil {
				return err
			}
		}
		if !old {
			continue
		}
		if _, err := t.Engine.Commit(ctx, kv.Batch{Space: spaceOf(shard), Quiet: true, Ranges: []kv.Range{events, mails}}); err != nil {
			return fmt.Errorf("trim the trace: %w", err)
		}
	}
	return nil
}
