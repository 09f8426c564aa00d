package diskkv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"postroad/internal/kv"
)

// onceKept is how long results of idempotent commits are remembered. They lie by weeks, so
// that a week is forgotten by deleting one range.
const onceKept = 7 * 24 * time.Hour

const kindOnce = 'o'

// errOnceDamaged means that a remembered result does not read.
var errOnceDamaged = errors.New("diskkv: damaged result of an idempotent commit")

// week is the number of the week in which results are kept.
func week(at time.Time) int64 { return at.Unix() / int64(onceKept/time.Second) }

// appendWeek starts the Pebble keys of one week's results.
func appendWeek(buf []byte, w int64) []byte {
	return binary.BigEndian.AppendUint32(append(buf[:0], 0, kindOnce), uint32(w))
}

// onceKey is where the result of a batch lies.
func onceKey(buf []byte, w int64, s *space, once []byte) []byte {
	return append(append(appendWeek(buf, w), s.prefix...), once...)
}

// seen looks for the batches' idempotency keys and takes over the results of the first
// commit: under each key, its own batch's and those of the batches without a key.
func (c *commit) seen() (bool, error) {
	any := false
	for i := range c.batches {
		if c.batches[i].Once == nil {
			continue
		}
		results, err := c.remembered(c.spaces[i], c.batches[i].Once)
		if err != nil {
			return false, err
		}
		if results == nil {
			continue
		}
		any = true
		for j := range c.batches {
			if j == i || c.batches[j].Once == nil {
				c.results[j] = results[c.batches[j].Space]
			}
		}
	}
	if any {
		for j := range c.results {
			c.results[j].Already = true
		}
		c.e.stats.repeats.Add(1)
	}
	return any, nil
}

// remembered gives what is kept under one idempotency key, nil when it was not seen. The
// week to come is asked as well: the machine's clock may have jumped back.
func (c *commit) remembered(s *space, once []byte) (map[kv.Space]kv.Result, error) {
	now := c.e.options.Now()
	for w := week(now) - 1; w <= week(now)+1; w++ {
		c.key = onceKey(c.key, w, s, once)
		value, err := c.e.read(c.key)
		if errors.Is(err, kv.ErrNotFound) {
			continue
		} else if err != nil {
			return nil, err
		}
		at, results, err := parseResults(value)
		if err != nil {
			return nil, err
		}
		if now.Sub(at) <= onceKept {
			return results, nil
		}
	}
	return nil, nil
}

// remember writes the results down under each idempotency key: its own batch's and those
// of the batches that have no key themselves.
func (c *commit) remember() error {
	for i := range c.batches {
		once := c.batches[i].Once
		if once == nil {
			continue
		}
		now := c.e.options.Now()
		value := binary.AppendVarint(nil, now.UnixNano())
		for j := range c.batches {
			if j == i || c.batches[j].Once == nil {
				value = appendResult(value, c.batches[j].Space, &c.results[j])
			}
		}
		c.key = onceKey(c.key, week(now), c.spaces[i], once)
		if err := c.writes.Set(c.key, value, nil); err != nil {
			return err
		}
	}
	return nil
}

// appendResult writes one result: space, version, taken numbers.
func appendResult(buf []byte, s kv.Space, r *kv.Result) []byte {
	buf = binary.AppendUvarint(buf, uint64(len(s)))
	buf = append(buf, s...)
	buf = binary.AppendUvarint(buf, uint64(r.Version))
	buf = binary.AppendUvarint(buf, uint64(len(r.Taken)))
	for _, n := range r.Taken {
		buf = binary.AppendUvarint(buf, n)
	}
	return buf
}

// parseResults reads what remember wrote.
func parseResults(value []byte) (time.Time, map[kv.Space]kv.Result, error) {
	nanos, n := binary.Varint(value)
	if n <= 0 {
		return time.Time{}, nil, errOnceDamaged
	}
	rest := reader{value[n:], true}
	results := map[kv.Space]kv.Result{}
	for len(rest.buf) > 0 && rest.ok {
		name := rest.take(rest.uvarint())
		r := kv.Result{Version: kv.Version(rest.uvarint())}
		for left := rest.uvarint(); left > 0 && rest.ok; left-- {
			r.Taken = append(r.Taken, rest.uvarint())
		}
		results[kv.Space(name)] = r
	}
	if !rest.ok {
		return time.Time{}, nil, errOnceDamaged
	}
	return time.Unix(0, nanos), results, nil
}

// reader reads varints until something is wrong.
type reader struct {
	buf []byte
	ok  bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.buf)
	if n <= 0 {
		r.buf, r.ok = nil, false
		return 0
	}
	r.buf = r.buf[n:]
	return v
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.buf)) {
		r.buf, r.ok = nil, false
		return nil
	}
	taken := r.buf[:n]
	r.buf = r.buf[n:]
	return taken
}

// purgeOnce forgets the weeks that nobody looks at any more. It need not be durable: what
// comes back after a crash is purged again.
func (e *Engine) purgeOnce() error {
	lower, upper := appendWeek(nil, 0), appendWeek(nil, week(e.options.Now())-1)
	it, err := e.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return err
	}
	any := it.First()
	if err := errors.Join(it.Error(), it.Close()); err != nil || !any {
		return err
	}
	if err := e.db.DeleteRange(lower, upper, pebble.NoSync); err != nil {
		return fmt.Errorf("purge: %w", err)
	}
	return nil
}
