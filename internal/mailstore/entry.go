package mailstore

import (
	"encoding/binary"
	"fmt"

	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
)

// blockMax is how many messages one block of entries holds; a message takes 13 to 40
// octets of it.
const blockMax = 512

// The octet behind the format of a value of e. Behind it stands the mod-sequence of the
// newest row, at blockModSeqOffset, filled in at commit.
const (
	blockHere   = 'h' // then the rows
	blockStaged = 's' // then id and number of the y key that has the rows
)

const blockModSeqOffset = 2

// appendBlock writes rows as a block. The mod-sequence of rows with none is filled in at
// commit, at blockModSeqOffset. UIDs count from that of the first row.
func appendBlock(dst []byte, rows []Row) []byte {
	var modseq uint64
	for i := range rows {
		modseq = max(modseq, rows[i].ModSeq)
	}
	dst = append(dst, format1, blockHere)
	dst = binary.BigEndian.AppendUint64(dst, modseq)
	dst = binary.AppendUvarint(dst, uint64(len(rows)))
	before := Row{UID: rows[0].UID, SaveDate: rows[0].SaveDate}
	dst = binary.AppendVarint(dst, before.SaveDate)
	for i := range rows {
		r := &rows[i]
		dst = binary.AppendUvarint(dst, uint64(r.UID-before.UID))
		dst = binary.AppendVarint(dst, int64(r.ID)-int64(before.ID))
		dst = binary.AppendUvarint(dst, uint64(r.Flags))
		dst = binary.AppendUvarint(dst, modseq-r.ModSeq)
		dst = binary.AppendVarint(dst, r.SaveDate-before.SaveDate)
		dst = binary.AppendVarint(dst, r.InternalDate-before.InternalDate)
		dst = binary.AppendUvarint(dst, uint64(r.Size))
		before = *r
	}
	return dst
}

// stagedBlock is the block whose rows were written under a y key before.
func stagedBlock(id hlc.ID, n uint32) []byte {
	v := make([]byte, blockModSeqOffset+8, blockModSeqOffset+8+8+4)
	v[0], v[1] = format1, blockStaged
	v = binary.BigEndian.AppendUint64(v, uint64(id))
	return binary.BigEndian.AppendUint32(v, n)
}

// readBlock calls f for each row of the block whose first UID is uid. The value v is that
// of an e key; staged rows are looked up in snap.
func readBlock(snap kv.Snapshot, uid uint32, v []byte, f func(*Row)) error {
	r := newReader(v)
	kind, modseq := r.octet(), r.uint64()
	switch kind {
	case blockHere:
	case blockStaged:
		id, n := r.id(), r.uint32()
		if r.bad {
			break
		}
		staged, found, err := get(snap, numberKey(keyStaged, id, n))
		if err != nil {
			return err
		}
		if !found {
			return fmt.Errorf("%w: no staged block %s/%d", ErrDamaged, id, n)
		}
		r = newReader(staged)
		r.octet()
		r.uint64()
	default:
		r.fail()
	}
	n := r.count(blockMax)
	row := Row{UID: uid}
	row.SaveDate = r.varint()
	var v7 [7]uint64
	for ; n > 0; n-- {
		r.uvarints(&v7)
		if r.bad {
			break
		}
		row.UID += uint32(v7[0])
		row.ID += hlc.ID(zigzag(v7[1]))
		row.Flags = Flags(v7[2])
		row.ModSeq = modseq - v7[3]
		row.SaveDate += zigzag(v7[4])
		row.InternalDate += zigzag(v7[5])
		row.Size = uint32(v7[6])
		f(&row)
	}
	return r.err("block of entries")
}

// uvarints reads the numbers of a row, in one go: opening a mailbox reads them by the
// hundred thousand.
func (r *reader) uvarints(v *[7]uint64) {
	b := r.b
	for k := range v {
		if len(b) > 0 && b[0] < 0x80 {
			v[k], b = uint64(b[0]), b[1:]
			continue
		}
		n, shift, at := uint64(0), 0, 0
		for ; at < len(b) && at < binary.MaxVarintLen64-1 && b[at] >= 0x80; at++ {
			n |= uint64(b[at]&0x7f) << shift
			shift += 7
		}
		if at == len(b) || shift == 63 && b[at] > 1 {
			r.fail()
			return
		}
		v[k], b = n|uint64(b[at])<<shift, b[at+1:]
	}
	r.b = b
}

// zigzag is the signed number that a varint stands for.
func zigzag(n uint64) int64 { return int64(n>>1) ^ -int64(n&1) }

// scanEntries calls f for each row of the mailbox with first ≤ UID ≤ last, expunged ones
// included, in order. The row is f's until it returns.
func scanEntries(snap kv.Snapshot, mailbox MailboxID, first, last uint32, f func(*Row)) error {
	within := func(row *Row) {
		if row.UID >= first && row.UID <= last {
			f(row)
		}
	}
	// The block before may reach into the range.
	before := kv.Range{From: key(keyEntry, mailbox), To: numberKey(keyEntry, mailbox, first), Reverse: true, Limit: 1}
	if _, err := scanBlocks(snap, before, within); err != nil {
		return err
	}
	_, err := scanBlocks(snap, numberRange(keyEntry, mailbox, first, last), within)
	return err
}

// scanBlocks calls f for each row of the blocks in a range and counts the blocks.
func scanBlocks(snap kv.Snapshot, r kv.Range, f func(*Row)) (blocks int, err error) {
	for e, err := range snap.Scan(r) {
		if err != nil {
			return blocks, fmt.Errorf("scan entries: %w", err)
		}
		uid, ok := keyNumber(e.Key)
		if !ok {
			return blocks, fmt.Errorf("%w: key of entries %q", ErrDamaged, e.Key)
		}
		if err := readBlock(snap, uid, e.Value, f); err != nil {
			return blocks, fmt.Errorf("mailbox entries at UID %d: %w", uid, err)
		}
		blocks++
	}
	return blocks, nil
}
