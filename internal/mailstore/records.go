package mailstore

import (
	"context"
	"iter"
	"time"

	"postroad/imap"
	"postroad/internal/kv"
)

// recordsOctets is how many octets of records are read ahead; a record has 56 KB at most.
const recordsOctets = 256 << 10

// scanTime is how long one snapshot of the engine is used; kv allows four seconds.
const scanTime = 2 * time.Second

// recordsCount is how many records are read ahead.
const recordsCount = 512

// strideMax is how many records of other messages a scan passes over before looking for
// the next one is cheaper.
const strideMax = 24

// readAhead is a stretch of records that were read in one snapshot.
type readAhead struct {
	account *Account
	want    Want
	rows    []Row
	index   []int
	lists   []span // of buf; from -1: missing
	bodies  []span
	buf     []byte
	ids     []MessageID
}

type span struct{ from, to int }

// Records yields what is stored of the messages in uids, in order of UID. It holds
// nothing open between two steps, however slow the loop is.
func (s *Snapshot) Records(ctx context.Context, uids imap.UIDSet, want Want) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		a := &readAhead{account: s.account, want: want}
		var record Record
		for _, r := range uids {
			from, _ := s.Index(r.First)
			to, found := s.Index(r.Last)
			if found {
				to++
			}
			for i, row := range s.Rows(from, to) {
				a.rows, a.index = append(a.rows, row), append(a.index, i)
				if len(a.rows) == recordsCount && !a.flush(ctx, &record, yield) {
					return
				}
			}
		}
		a.flush(ctx, &record, yield)
	}
}

// flush reads and yields the rows gathered; it tells whether to go on.
func (a *readAhead) flush(ctx context.Context, r *Record, yield func(*Record, error) bool) bool {
	for done := 0; done < len(a.rows); {
		n, err := a.read(ctx, a.rows[done:])
		if err != nil {
			yield(nil, storageError("read records", err))
			return false
		}
		for i := range n {
			*r = Record{Index: a.index[done+i], Row: a.rows[done+i]}
			if err := a.record(ctx, r, i); err != nil {
				yield(nil, storageError("read records", err))
				return false
			}
			if !yield(r, nil) {
				return false
			}
		}
		done += n
	}
	a.rows, a.index = a.rows[:0], a.index[:0]
	return true
}

// record makes the record of row i of what was read.
func (a *readAhead) record(ctx context.Context, r *Record, i int) error {
	derived := false
	if a.want&WantEnvelope != 0 {
		if a.lists[i].from < 0 {
			r.Missing = true
			return nil
		}
		_, d, err := r.readList(a.buf[a.lists[i].from:a.lists[i].to])
		if err != nil {
			return err
		}
		derived = d
	}
	if a.want&WantStructure != 0 {
		if a.bodies[i].from < 0 {
			*r = Record{Index: r.Index, Row: r.Row, Missing: true}
			return nil
		}
		_, d, err := r.readMessage(a.buf[a.bodies[i].from:a.bodies[i].to])
		if err != nil {
			return err
		}
		derived = derived || d
	}
	if !derived {
		return nil
	}
	return a.account.deriveRecord(ctx, r, a.want)
}

// deriveRecord makes the large parts of a record from the body, which it looks up first
// where the message record was not asked for.
func (a *Account) deriveRecord(ctx context.Context, r *Record, want Want) error {
	if want&WantStructure == 0 {
		snap, err := a.snapshot(ctx)
		if err != nil {
			return err
		}
		v, found, err := get(snap, key(keyMessage, r.ID))
		snap.Close()
		if err != nil {
			return err
		}
		if !found {
			*r = Record{Index: r.Index, Row: r.Row, Missing: true}
			return nil
		}
		var m Record
		if _, _, err := m.readMessage(v); err != nil {
			return err
		}
		r.Body = m.Body
	}
	return a.derive(ctx, r, want)
}

// read reads as many of the rows as the buffer is meant for, at least one.
func (a *readAhead) read(ctx context.Context, rows []Row) (n int, err error) {
	a.buf, a.lists, a.bodies = a.buf[:0], a.lists[:0], a.bodies[:0]
	if a.want == 0 {
		return len(rows), nil
	}
	snap, err := a.account.snapshot(ctx)
	if err != nil {
		return 0, err
	}
	defer snap.Close()
	deadline := time.Now().Add(scanTime)
	for n < len(rows) && len(a.buf) < recordsOctets && time.Now().Before(deadline) {
		end := ascending(rows, n)
		if a.want&WantEnvelope != 0 {
			if err := a.stretch(snap, keyList, rows[n:end], &a.lists); err != nil {
				return 0, err
			}
		}
		if a.want&WantStructure != 0 {
			if err := a.stretch(snap, keyMessage, rows[n:end], &a.bodies); err != nil {
				return 0, err
			}
		}
		n = end
	}
	return n, nil
}

// stretchMax is how many records one scan reads.
const stretchMax = 64

// ascending is the end of the rows from n on whose message ids ascend, as those of
// messages do that stay where they were delivered.
func ascending(rows []Row, n int) int {
	end := n + 1
	for end < len(rows) && end-n < stretchMax && rows[end].ID > rows[end-1].ID {
		end++
	}
	return end
}

// stretch reads the records of rows with ascending ids.
func (a *readAhead) stretch(snap kv.Snapshot, kind byte, rows []Row, spans *[]span) error {
	base := len(*spans)
	a.ids = a.ids[:0]
	for i := range rows {
		a.ids = append(a.ids, rows[i].ID)
		*spans = append(*spans, span{from: -1})
	}
	return scanIDs(snap, kind, a.ids, func(i int, e kv.Entry) error {
		from := len(a.buf)
		a.buf = append(a.buf, e.Value...)
		(*spans)[base+i] = span{from, len(a.buf)}
		return nil
	})
}

// scanIDs calls f for each entry whose key is of the kind and begins with one of the ids,
// which ascend, and the id's index. It scans where the keys lie close, and seeks where
// they do not.
func scanIDs(snap kv.Snapshot, kind byte, ids []MessageID, f func(i int, e kv.Entry) error) error {
	for i := 0; i < len(ids); {
		passed := 0
		r := kv.Range{From: key(kind, ids[i]), To: key(kind, ids[len(ids)-1]+1)}
		ended := true
		for e, err := range snap.Scan(r) {
			if err != nil {
				return err
			}
			id, _ := keyID(e.Key)
			for i < len(ids) && ids[i] < id {
				i++
			}
			if i == len(ids) {
				break
			}
			if ids[i] != id {
				if passed++; passed == strideMax {
					ended = false
					break
				}
				continue
			}
			passed = 0
			if err := f(i, e); err != nil {
				return err
			}
		}
		if ended {
			return nil
		}
	}
	return nil
}

// Record reads one message by UID; ErrNoMessage. The slices are the caller's.
func (s *Snapshot) Record(ctx context.Context, uid uint32, want Want) (*Record, error) {
	i, found := s.Index(uid)
	if !found {
		return nil, ErrNoMessage
	}
	r := &Record{Index: i, Row: s.Row(i)}
	if want == 0 {
		return r, nil
	}
	snap, err := s.account.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	derived, err := readRecord(snap, r, want)
	snap.Close()
	if err == nil && derived {
		err = s.account.derive(ctx, r, want)
	}
	if err == nil && r.Missing {
		err = ErrNoMessage
	}
	if err != nil {
		return nil, storageError("read a record", err)
	}
	return r, nil
}
