package kv

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
)

// SpaceMax is the longest name of a space, in octets.
const SpaceMax = 64

// Check tells what is wrong with the batches of one commit before anything is done:
// ErrTooLarge or ErrInvalid. Every engine asks it first.
func Check(batches []Batch) error {
	for i := range batches {
		b := &batches[i]
		if err := CheckSpace(b.Space); err != nil {
			return err
		}
		for j := range i {
			if batches[j].Space == b.Space {
				return fmt.Errorf("%w: two batches for space %q", ErrInvalid, b.Space)
			}
		}
		if err := b.check(); err != nil {
			return fmt.Errorf("space %q: %w", b.Space, err)
		}
	}
	return nil
}

// CheckSpace tells whether s may name a space.
func CheckSpace(s Space) error {
	switch {
	case len(s) > SpaceMax:
		return fmt.Errorf("%w: space name of %d octets", ErrTooLarge, len(s))
	case s == "" || strings.IndexByte(string(s), 0) >= 0:
		return fmt.Errorf("%w: space name %q", ErrInvalid, s)
	}
	return nil
}

// check looks at one batch.
func (b *Batch) check() error {
	keys := len(b.Guards) + len(b.Adds) + len(b.Takes) + len(b.Puts) + len(b.Deletes) + len(b.Ranges)
	if keys > BatchKeysMax {
		return fmt.Errorf("%w: %d keys in a batch", ErrTooLarge, keys)
	}
	t := tally{}
	t.key(b.Once)
	for _, g := range b.Guards {
		if g.Kind < GuardAbsent || g.Kind > GuardVersion {
			return fmt.Errorf("%w: guard of kind %d", ErrInvalid, g.Kind)
		}
		t.key(g.Key)
		t.value(g.Value)
	}
	for _, a := range b.Adds {
		t.key(a.Key)
	}
	for _, k := range b.Takes {
		t.key(k.Key)
	}
	for _, k := range b.Deletes {
		t.key(k)
	}
	for _, r := range b.Ranges {
		t.key(r.From)
		t.key(r.To)
	}
	for i := range b.Puts {
		t.key(b.Puts[i].Key)
		t.value(b.Puts[i].Value)
		if err := b.checkPlaces(&b.Puts[i]); err != nil {
			return err
		}
	}
	return t.verdict()
}

// tally adds up what a batch holds.
type tally struct{ total, longestKey, longestValue int }

func (t *tally) key(k []byte) {
	t.total += len(k)
	t.longestKey = max(t.longestKey, len(k))
}

func (t *tally) value(v []byte) {
	t.total += len(v)
	t.longestValue = max(t.longestValue, len(v))
}

// verdict compares with the limits of every engine.
func (t *tally) verdict() error {
	switch {
	case t.longestKey > KeyMax:
		return fmt.Errorf("%w: key of %d octets", ErrTooLarge, t.longestKey)
	case t.longestValue > ValueMax:
		return fmt.Errorf("%w: value of %d octets", ErrTooLarge, t.longestValue)
	case t.total > BatchMax:
		return fmt.Errorf("%w: batch of %d octets", ErrTooLarge, t.total)
	}
	return nil
}

// checkPlaces tells whether every place of p lies within it and names a take.
func (b *Batch) checkPlaces(p *Put) error {
	for _, at := range p.Places {
		room := len(p.Key)
		if at.InValue {
			room = len(p.Value)
		}
		switch {
		case at.Width != 4 && at.Width != 8:
			return fmt.Errorf("%w: place %d octets wide", ErrInvalid, at.Width)
		case at.Offset < 0 || at.Offset > room-at.Width:
			return fmt.Errorf("%w: place at %d of %d octets", ErrInvalid, at.Offset, room)
		case !at.Version && (at.Take < 0 || at.Take >= len(b.Takes)):
			return fmt.Errorf("%w: place for take %d of %d", ErrInvalid, at.Take, len(b.Takes))
		}
	}
	return nil
}

// Fill writes the numbers of the places of p into key and value, which are copies of p.Key
// and p.Value. A number too large for its place is ErrTooLarge: a mailbox has no more UIDs
// (RFC 9051, 2.3.1.1).
func (p *Put) Fill(key, value []byte, version Version, taken []uint64) error {
	for _, at := range p.Places {
		n := uint64(version)
		if !at.Version {
			n = taken[at.Take] + uint64(at.Plus)
		}
		to := key
		if at.InValue {
			to = value
		}
		to = to[at.Offset : at.Offset+at.Width]
		if at.Width == 8 {
			binary.BigEndian.PutUint64(to, n)
			continue
		}
		if n > math.MaxUint32 {
			return fmt.Errorf("%w: number %d in 4 octets", ErrTooLarge, n)
		}
		binary.BigEndian.PutUint32(to, uint32(n))
	}
	return nil
}

// Apply tells what the counter becomes when the add meets value, or false where the add
// must be refused.
func (a *Add) Apply(value int64) (int64, bool) {
	if a.N <= 0 {
		if value < math.MinInt64-a.N {
			return math.MinInt64, true // a shrinking add is never refused
		}
		return value + a.N, true
	}
	if value > math.MaxInt64-a.N || a.Limit > 0 && value+a.N > a.Limit {
		return value, false
	}
	return value + a.N, true
}

// Apply tells the first number that the take draws from a sequence whose last number is
// last, and the last number then; false where the sequence has no numbers left.
func (k *Take) Apply(last uint64) (first, after uint64, ok bool) {
	if last == math.MaxUint64 {
		return 0, last, false
	}
	first = max(last+1, k.AtLeast)
	if uint64(k.N) > math.MaxUint64-first {
		return 0, last, false
	}
	return first, first - 1 + uint64(k.N), true
}
