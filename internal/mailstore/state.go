package mailstore

import (
	"encoding/binary"
	"fmt"

	"postroad/imap"
	"postroad/internal/kv"
)

// run is a stretch of one chunk whose UIDs share a state.
type run struct {
	first, last uint32 // UIDs
	flags       Flags
	gone        bool
	modseq      uint64
}

// stateStampOffset is where the mod-sequence of the newest change stands in a value of f.
// Runs that the change made have 0 for theirs.
const stateStampOffset = 1

// readState calls f for each run of a value of f, in order.
func readState(chunk uint32, v []byte, f func(run)) error {
	r := newReader(v)
	stamp := r.uint64()
	for at := chunk << chunkBits; len(r.b) > 0 && !r.bad; {
		var u run
		u.first = at + uint32(r.count(chunkSize-1))
		u.last = u.first + uint32(r.count(chunkSize-1))
		bits := r.uvarint()
		u.gone, u.flags = bits&1 != 0, Flags(bits>>1)
		if u.modseq = r.uvarint(); u.modseq == 0 {
			u.modseq = stamp
		}
		if u.last>>chunkBits != chunk {
			r.fail()
		}
		if r.bad {
			break
		}
		f(u)
		at = u.last + 1
	}
	return r.err("state of a chunk")
}

// slot is a UID of a chunk with its entry and what became of it.
type slot struct {
	Row          // as it is now; ModSeq 0 once it was changed by set or remove
	there   bool // some block has it
	stated  bool // f says something of it
	changed bool // by set or remove
}

// live tells whether the message is in the mailbox.
func (s *slot) live() bool { return s.there && !s.Gone }

// chunk is the state of 256 UIDs, read to be changed or to be relied on.
type chunk struct {
	mailbox MailboxID
	number  uint32
	raw     []byte // as read
	found   bool
	changed bool
	slots   [chunkSize]slot
}

func (c *chunk) slot(uid uint32) *slot { return &c.slots[uid&(chunkSize-1)] }

// readChunk reads the state of a chunk without its entries.
func readChunk(snap kv.Snapshot, mailbox MailboxID, number uint32) (*chunk, error) {
	c := &chunk{mailbox: mailbox, number: number}
	var err error
	if c.raw, c.found, err = get(snap, numberKey(keyState, mailbox, number)); err != nil || !c.found {
		return c, err
	}
	err = readState(number, c.raw, func(u run) {
		for uid := u.first; uid <= u.last; uid++ {
			s := c.slot(uid)
			s.stated, s.Flags, s.Gone, s.ModSeq = true, u.flags, u.gone, u.modseq
		}
	})
	if err != nil {
		return nil, fmt.Errorf("chunk %d: %w", number, err)
	}
	return c, nil
}

// enter lays an entry under the state.
func (c *chunk) enter(row *Row) {
	s := c.slot(row.UID)
	flags, gone, modseq := s.Flags, s.Gone, s.ModSeq
	s.Row, s.there = *row, true
	if s.stated {
		s.Flags, s.Gone, s.ModSeq = flags, gone, modseq
	}
}

// set gives a message other flags, with the mod-sequence of the commit.
func (c *chunk) set(s *slot, f Flags) {
	s.Flags, s.ModSeq, s.stated, s.changed, c.changed = f, 0, true, true, true
}

// remove expunges a message, with the mod-sequence of the commit. Its flags stay for who
// sweeps.
func (c *chunk) remove(s *slot) {
	s.Gone, s.ModSeq, s.stated, s.changed, c.changed = true, 0, true, true, true
}

// guard guards that nobody changed the chunk since it was read.
func (c *chunk) guard() kv.Guard {
	return guardValue(numberKey(keyState, c.mailbox, c.number), c.raw, c.found)
}

// put writes the chunk with the commit's version as stamp.
func (c *chunk) put() kv.Put {
	v := append(make([]byte, 0, 64), format1, 0, 0, 0, 0, 0, 0, 0, 0)
	at := 0
	for i := 0; i < chunkSize; {
		s := &c.slots[i]
		if !s.stated {
			i++
			continue
		}
		j := i + 1
		for j < chunkSize && s.sameState(&c.slots[j]) {
			j++
		}
		v = binary.AppendUvarint(v, uint64(i-at))
		v = binary.AppendUvarint(v, uint64(j-1-i))
		v = binary.AppendUvarint(v, s.bits())
		v = binary.AppendUvarint(v, s.ModSeq)
		i, at = j, j
	}
	return kv.Put{
		Key:    numberKey(keyState, c.mailbox, c.number),
		Value:  v,
		Places: []kv.Place{{InValue: true, Offset: stateStampOffset, Width: 8, Version: true}},
	}
}

// bits are flags and gone in one number; what is gone needs its flags no more.
func (s *slot) bits() uint64 {
	if s.Gone {
		return 1
	}
	return uint64(s.Flags) << 1
}

func (s *slot) sameState(t *slot) bool {
	return t.stated && s.ModSeq == t.ModSeq && s.bits() == t.bits()
}

// gapMax is how many UIDs that nobody asked for are read on the way, before a new scan is
// the cheaper way.
const gapMax = 128

// readChunks reads the chunks that uids lie in, in order, with the entries of these UIDs.
// It returns ErrTooLarge above max chunks.
func readChunks(snap kv.Snapshot, mailbox MailboxID, uids imap.UIDSet, max int) ([]*chunk, error) {
	var chunks []*chunk
	for _, r := range uids {
		for n := uint64(r.First >> chunkBits); n <= uint64(r.Last>>chunkBits); n++ {
			if k := len(chunks); k > 0 && chunks[k-1].number == uint32(n) {
				continue
			}
			if len(chunks) == max {
				return nil, fmt.Errorf("%w: more than %d chunks of UIDs", ErrTooLarge, max)
			}
			c, err := readChunk(snap, mailbox, uint32(n))
			if err != nil {
				return nil, err
			}
			chunks = append(chunks, c)
		}
	}
	at := 0
	for i := 0; i < len(uids); {
		first, last := uids[i].First, uids[i].Last
		for i++; i < len(uids) && uids[i].First-last < gapMax; i++ {
			last = uids[i].Last
		}
		err := scanEntries(snap, mailbox, first, last, func(row *Row) {
			for at > 0 && chunks[at].number > row.UID>>chunkBits {
				at--
			}
			for at < len(chunks)-1 && chunks[at].number < row.UID>>chunkBits {
				at++
			}
			if chunks[at].number == row.UID>>chunkBits {
				chunks[at].enter(row)
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return chunks, nil
}

// clip cuts a set down to what can be there, so that 1:* costs what the mailbox has.
func clip(uids imap.UIDSet, last uint64) imap.UIDSet {
	if last == 0 || len(uids) == 0 {
		return nil
	}
	if uint64(uids.Max()) <= last {
		return uids
	}
	return uids.Intersect(imap.UIDSet{{First: 1, Last: uint32(min(last, 1<<32-1))}})
}

// eachSlot calls f for the slots of chunks whose UIDs are in uids.
func eachSlot(chunks []*chunk, uids imap.UIDSet, f func(*chunk, *slot)) {
	i := 0
	for _, c := range chunks {
		low := c.number << chunkBits
		high := low | (chunkSize - 1)
		for i < len(uids) && uids[i].Last < low {
			i++
		}
		for j := i; j < len(uids) && uids[j].First <= high; j++ {
			for uid := max(low, uids[j].First); ; uid++ {
				f(c, c.slot(uid))
				if uid == min(high, uids[j].Last) {
					break
				}
			}
		}
	}
}
