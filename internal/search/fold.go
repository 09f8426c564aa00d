package search

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"postroad/internal/kv"
)

func appendUvarint(dst []byte, n uint64) []byte { return binary.AppendUvarint(dst, n) }

// scanTime is how long one snapshot is used; kv allows four seconds.
const scanTime = 2 * time.Second

// folding gathers records into what a segment is written from.
type folding struct {
	messages []MessageID
	keys     [][]byte       // of the records
	index    map[string]int // field and dictionary key → terms
	terms    []foldedTerm
	octets   int
	scratch  []byte
	waiting  int // records that are not folded: their terms are still to come
	skipped  MessageID
}

type foldedTerm struct {
	name string // field and key
	docs []uint32
}

// foldTerms is about how many different terms the records of a segment have.
const foldTerms = 1 << 14

// opaqueField holds one term, whose documents are always to be looked into.
const opaqueField Field = '!'

var opaqueTerm = []byte("!")

// gather reads the oldest records.
func (x *Index) gather(ctx context.Context) (*folding, error) {
	g := &folding{index: make(map[string]int, foldTerms), terms: make([]foldedTerm, 0, foldTerms)}
	err := x.snapshot(ctx, func(snap kv.Snapshot) error {
		deadline := time.Now().Add(scanTime)
		last := MessageID(0)
		for e, err := range snap.Scan(kindRange(keyRecord)) {
			if err != nil {
				return fmt.Errorf("scan: %w", err)
			}
			id, err := keyID(e.Key)
			if err != nil {
				return err
			}
			if id != last && (len(g.messages) >= foldRecords || g.octets > foldOctets || time.Now().After(deadline)) {
				break
			}
			if err := g.add(id, e); err != nil {
				return err
			}
			last = id
		}
		return nil
	})
	return g, err
}

// add takes a piece of a record.
func (g *folding) add(id MessageID, e kv.Entry) error {
	if len(e.Value) > 1 && e.Value[1]&recordPending != 0 {
		g.waiting++
		g.skipped = id
	}
	if id == g.skipped { // what is there of it is not whole
		return nil
	}
	if n := len(g.messages); n == 0 || g.messages[n-1] != id {
		g.messages = append(g.messages, id)
	}
	doc := uint32(len(g.messages) - 1)
	g.keys = append(g.keys, bytes.Clone(e.Key))
	g.octets += len(e.Value)
	flags, err := eachTerm(e.Value, func(f Field, t []byte) { g.term(f, t, doc) })
	if flags&recordOpaque != 0 {
		g.term(opaqueField, opaqueTerm, doc)
	}
	return err
}

func (g *folding) term(f Field, t []byte, doc uint32) {
	g.scratch = appendTermKey(append(g.scratch[:0], byte(f)), t)
	i, ok := g.index[string(g.scratch)]
	if !ok {
		i = len(g.terms)
		g.terms = append(g.terms, foldedTerm{name: string(g.scratch)})
		g.index[g.terms[i].name] = i
	}
	d := &g.terms[i].docs
	if n := len(*d); n == 0 || (*d)[n-1] != doc {
		*d = append(*d, doc)
	}
}

// Fold makes a segment of the oldest records. It tells how many it took, and how many
// messages wait for their terms.
func (x *Index) Fold(ctx context.Context) (folded, waiting int, err error) {
	g, err := x.gather(ctx)
	if err != nil || len(g.messages) == 0 {
		return 0, g.waiting, err
	}
	slices.SortFunc(g.terms, func(a, b foldedTerm) int { return bytes.Compare([]byte(a.name), []byte(b.name)) })
	w, err := x.newSegment(ctx, g.messages)
	if err != nil {
		return 0, 0, err
	}
	for i := range g.terms {
		t := &g.terms[i]
		if err := w.add(Field(t.name[0]), []byte(t.name[1:]), t.docs); err != nil {
			return 0, 0, err
		}
	}
	s, err := w.finish(ctx)
	if err != nil {
		return 0, 0, err
	}
	var all []segment
	var raw []byte
	err = x.snapshot(ctx, func(snap kv.Snapshot) (err error) {
		all, raw, err = readManifest(snap)
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	if len(all) >= segmentsMax {
		return 0, 0, fmt.Errorf("%w: %d segments", ErrDamaged, len(all))
	}
	return len(g.messages), g.waiting, x.replace(ctx, &kv.Batch{Deletes: g.keys}, raw, all, nil, s)
}
