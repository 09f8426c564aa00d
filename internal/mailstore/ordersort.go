package mailstore

import (
	"context"

	"postroad/imap"
)

// SortBy is what messages are sorted by.
type SortBy uint8

// The criteria of RFC 5256, 3, and RFC 5957.
const (
	SortArrival SortBy = iota // internal date
	SortDate                  // sent date, the internal date where there is none
	SortSize
	SortSubject // base subject
	SortFrom    // addr-mailbox of the first From address; likewise To, Cc
	SortTo
	SortCc
	SortDisplayFrom // display name of the first From address, or the address
	SortDisplayTo
)

// sortText is the column of texts of a criterion.
var sortText = map[SortBy]int{SortSubject: textSubject, SortFrom: textFrom, SortTo: textTo, SortCc: textCc,
	SortDisplayFrom: textDisplayFrom, SortDisplayTo: textDisplayTo}

// SortCriterion is one of the criteria by which messages are sorted.
type SortCriterion struct {
	By      SortBy
	Reverse bool
}

// Sort returns the indexes of the messages of uids in order: by the first criterion,
// among equals by the next one, and at last by their sequence (RFC 5256, 3, SORT). Texts
// compare by i;unicode-casemap, up to 500 octets of them. UIDs that are not in s are passed
// over. Sort keys are read when first asked for, and kept with the mailbox.
func (s *Snapshot) Sort(ctx context.Context, uids imap.UIDSet, by []SortCriterion) ([]int, error) {
	need := needNoKeys
	for _, c := range by {
		switch _, text := sortText[c.By]; {
		case c.By == SortSubject:
			need = max(need, needSubjects)
		case text:
			need = needTexts
		case c.By == SortDate:
			need = max(need, needKeys)
		}
	}
	p, err := s.picked(ctx, uids, need)
	if err != nil {
		return nil, err
	}
	perm := make([]uint32, len(p.index))
	for i := range perm {
		perm[i] = uint32(i)
	}
	values := make([]uint64, len(perm))
	for i := len(by) - 1; i >= 0; i-- { // the last criterion first: each sorting is stable
		p.values(by[i], values)
		perm = radix(perm, values)
	}
	out := make([]int, len(perm))
	for i, k := range perm {
		out[i] = int(p.index[k])
	}
	return out, nil
}

// pick is some messages of a snapshot with what they are sorted by.
type pick struct {
	columns *columns
	index   []uint32 // in the snapshot
	row     []int32  // in columns; -1: the message had gone before they were read
	date    []int64  // internal
	size    []uint32
}

// picked finds the messages of uids, and what is needed of their sort keys.
func (s *Snapshot) picked(ctx context.Context, uids imap.UIDSet, need orderNeed) (*pick, error) {
	p := &pick{columns: &columns{}}
	if need != needNoKeys {
		var err error
		if p.columns, err = s.order.get(ctx, s, need); err != nil {
			return nil, err
		}
	}
	n := int(min(uids.Count(), uint64(s.n)))
	index, rows := make([]uint32, 0, n), make([]int32, 0, n)
	p.date, p.size = make([]int64, 0, n), make([]uint32, 0, n)
	known, at := p.columns.uid, 0
	for _, r := range uids {
		from, _ := s.Index(r.First)
		to, found := s.Index(r.Last)
		if found {
			to++
		}
		for i := from; i < to; {
			g, j := s.at(i)
			k := min(g.len(), j+to-i)
			p.date, p.size = append(p.date, g.date[j:k]...), append(p.size, g.size[j:k]...)
			for _, uid := range g.uid[j:k] {
				for at < len(known) && known[at] < uid {
					at++
				}
				row := none
				if at < len(known) && known[at] == uid {
					row = int32(at)
				}
				index, rows = append(index, uint32(i)), append(rows, row)
				i++
			}
		}
	}
	p.index, p.row = index, rows
	return p, nil
}

// sent is the sent date of the message i.
func (p *pick) sent(i int) int64 {
	if p.row[i] < 0 {
		return p.date[i]
	}
	return p.columns.sent[p.row[i]]
}

// values fills in what a criterion compares of each message.
func (p *pick) values(c SortCriterion, values []uint64) {
	const sign = 1 << 63 // so that dates before 1970 are the smaller ones
	switch column, text := sortText[c.By]; {
	case text:
		for i, k := range p.row {
			values[i] = 0
			if k >= 0 {
				values[i] = uint64(p.columns.rank[p.columns.text[column][k]])
			}
		}
	case c.By == SortDate:
		for i := range values {
			values[i] = uint64(p.sent(i)) ^ sign
		}
	case c.By == SortSize:
		for i, size := range p.size {
			values[i] = uint64(size)
		}
	default:
		for i, date := range p.date {
			values[i] = uint64(date) ^ sign
		}
	}
	if c.Reverse {
		for i := range values {
			values[i] = ^values[i]
		}
	}
}

// radixBits is how many bits of the values one pass of radix looks at.
const radixBits = 11

// radix sorts perm, a list of places in values, by the values there; equals stay as they
// stand. It takes a pass for each 11 bits in which the values differ.
func radix(perm []uint32, values []uint64) []uint32 {
	if len(perm) < 2 {
		return perm
	}
	least, most := values[perm[0]], values[perm[0]]
	for _, k := range perm {
		least, most = min(least, values[k]), max(most, values[k])
	}
	other := make([]uint32, len(perm))
	for shift := 0; shift < 64 && (most-least)>>shift > 0; shift += radixBits {
		var starts [1<<radixBits + 1]uint32
		for _, k := range perm {
			starts[(values[k]-least)>>shift&(1<<radixBits-1)+1]++
		}
		for i := range 1 << radixBits {
			starts[i+1] += starts[i]
		}
		for _, k := range perm {
			d := (values[k] - least) >> shift & (1<<radixBits - 1)
			other[starts[d]] = k
			starts[d]++
		}
		perm, other = other, perm
	}
	return perm
}
