package search

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"io"

	"postroad/internal/kv"
	"postroad/message"
)

// Checked is what the index has of one message.
type Checked struct {
	Pending bool   // its terms are still to come
	Dead    bool   // the sweep took the message away
	Terms   uint64 // sum over its terms, to be compared with Sum
}

// Check reads the whole index in a snapshot of the account and tells what it has of each
// message, and below which message all must be there. It holds some 30 octets a message.
// fault is told of what cannot be read.
func Check(snap kv.Snapshot, fault func(error)) (has map[MessageID]*Checked, below MessageID, err error) {
	all, _, err := readManifest(snap)
	if err != nil {
		return nil, 0, err
	}
	if below, err = readBackfill(snap); err != nil {
		return nil, 0, err
	}
	has = map[MessageID]*Checked{}
	for i := range all {
		if err := all[i].check(snap, has); err != nil {
			fault(err)
		}
	}
	if err := checkRecords(snap, has, fault); err != nil {
		return nil, 0, err
	}
	dead, err := readTombstones(snap)
	for _, id := range dead {
		if c := has[id]; c != nil {
			c.Dead = true
		}
	}
	return has, below, err
}

// termSum is the part of one term in Checked.Terms.
func termSum(f Field, key []byte) uint64 {
	h := fnv.New64a()
	h.Write([]byte{byte(f)})
	h.Write(key)
	return h.Sum64()
}

// check adds up the terms of a segment's messages.
func (s *segment) check(snap kv.Snapshot, has map[MessageID]*Checked) error {
	messages, err := s.readMessages(snap)
	if err != nil {
		return err
	}
	sums := make([]uint64, s.docs)
	var last []byte
	for _, f := range append([]Field{opaqueField}, allFields[:]...) {
		p := newPostings(snap, s, f)
		last = last[:0]
		var failed error
		err := s.eachTermFrom(snap, f, nil, func(t *found) bool {
			if len(last) > 0 && bytes.Compare(last, t.key) >= 0 {
				failed = fmt.Errorf("%w: terms out of order: %q, %q", ErrDamaged, last, t.key)
				return false
			}
			last = append(last[:0], t.key...)
			sum, docs := termSum(f, t.key), 0
			failed = p.each(&t.extent, func(n uint32) { sums[n], docs = sums[n]+sum, docs+1 })
			if failed == nil {
				failed = p.checkPlaces(&t.extent, docs)
			}
			return failed == nil
		})
		if failed != nil {
			err = failed
		}
		if err != nil {
			return fmt.Errorf("segment %s: %w", s.id, err)
		}
	}
	for n, id := range messages {
		has[id] = &Checked{Terms: sums[n]}
	}
	return nil
}

// checkPlaces reads the occurrences of a term in so many documents.
func (p *postings) checkPlaces(t *extent, docs int) error {
	v, err := p.occurrences(t)
	if err != nil || t.bits == 0 {
		return err
	}
	r := occurrenceReader{octets: v, end: t.bits}
	var all []occurrence
	for range docs {
		if all, _, err = r.next(all[:0]); err != nil {
			return err
		}
	}
	if r.at != t.bits {
		return fmt.Errorf("%w: occurrences", ErrDamaged)
	}
	return nil
}

func checkRecords(snap kv.Snapshot, has map[MessageID]*Checked, fault func(error)) error {
	var last MessageID
	var r *recordSum
	for e, err := range snap.Scan(kindRange(keyRecord)) {
		if err != nil {
			return fmt.Errorf("scan: %w", err)
		}
		id, err := keyID(e.Key)
		if err != nil {
			return err
		}
		if id != last {
			r = newRecordSum()
			has[id], last = &r.Checked, id
		}
		if err := r.piece(e.Value); err != nil {
			fault(fmt.Errorf("message %s: %w", id, err))
		}
	}
	return nil
}

// recordSum adds up the terms of a record.
type recordSum struct {
	Checked
	reader recordReader
	key    []byte
}

func newRecordSum() *recordSum {
	r := &recordSum{}
	r.reader.term = func(field, _ int, text []byte) {
		r.key = appendTermKey(r.key[:0], text)
		r.Terms += termSum(allFields[field], r.key)
	}
	return r
}

// piece adds up the terms of a piece.
func (r *recordSum) piece(v []byte) error {
	if outdated(v) {
		r.Pending = true
		return nil
	}
	before := r.reader.flags
	err := r.reader.piece(v)
	if r.reader.flags&^before&recordOpaque != 0 {
		r.Terms += termSum(opaqueField, opaqueTerm)
	}
	r.Pending = r.reader.flags&recordPending != 0
	return err
}

// Sum is what Checked.Terms must be for a message.
func Sum(m *message.Message, r io.ReaderAt) (uint64, error) {
	pieces, err := longRecord(m, r)
	if err != nil {
		return 0, err
	}
	sum := newRecordSum()
	for _, p := range pieces {
		if err := sum.piece(p); err != nil {
			return 0, err
		}
	}
	return sum.Terms, nil
}
