package mailstore

import (
	"encoding/binary"
	"fmt"

	"postroad/imap"
	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
)

// changeKind is what a record of the change log tells of.
type changeKind byte

// The kinds.
const (
	changeAppended changeKind = 'a' // new messages: UIDs from a number on
	changeCopied   changeKind = 'k' // entries of messages that were there: the same
	changeFlags    changeKind = 'f' // flags of UIDs
	changeVanished changeKind = 'v' // UIDs expunged, with their messages
	changeMailbox  changeKind = 'm' // a mailbox made, renamed, deleted, given a role, a subscription, rights
	changeJoined   changeKind = 't' // a thread joined another one; the mailbox is 0, ids are the two
)

// changesKept is how many mod-sequences the log reaches back. VANISHED does not need it:
// the states of the chunks remember.
const changesKept = 100_000

// changeUIDsMax is how many UIDs one record tells of.
const changeUIDsMax = 4096

// log adds a record to the batch.
func logChange(b *kv.Batch, v []byte, places ...kv.Place) {
	k := append(key(keyChange, 0), 0, 0)
	binary.BigEndian.PutUint16(k[9:], uint16(len(b.Puts)))
	places = append(places, kv.Place{Offset: 1, Width: 8, Version: true})
	b.Puts = append(b.Puts, kv.Put{Key: k, Value: v, Places: places})
}

// newChange begins a record.
func newChange(kind changeKind, mailbox MailboxID) []byte {
	v := append(make([]byte, 0, 32), format1, byte(kind))
	return binary.BigEndian.AppendUint64(v, uint64(mailbox))
}

// logAdded tells of n entries with UIDs from a take on.
func logAdded(b *kv.Batch, kind changeKind, mailbox MailboxID, take, n int) {
	v := newChange(kind, mailbox)
	at := len(v)
	v = append(v, 0, 0, 0, 0)
	logChange(b, binary.AppendUvarint(v, uint64(n)), place(take, 0, at, true))
}

// logSlots tells of changed flags or of expunged messages.
func logSlots(b *kv.Batch, kind changeKind, mailbox MailboxID, slots []*slot) {
	for len(slots) > 0 {
		part := slots[:min(len(slots), changeUIDsMax)]
		slots = slots[len(part):]
		var uids imap.UIDSet
		for _, s := range part {
			uids.Add(s.UID)
		}
		v := appendSet(newChange(kind, mailbox), uids)
		if kind == changeVanished {
			var before MessageID
			for _, s := range part {
				v = binary.AppendVarint(v, int64(s.ID)-int64(before))
				before = s.ID
			}
		}
		logChange(b, v)
	}
}

// logMailbox tells of a mailbox.
func logMailbox(b *kv.Batch, mailbox MailboxID) { logChange(b, newChange(changeMailbox, mailbox)) }

// logJoined tells of a thread that joined another one.
func logJoined(b *kv.Batch, joined, to ThreadID) {
	v := binary.BigEndian.AppendUint64(newChange(changeJoined, 0), uint64(joined))
	logChange(b, binary.BigEndian.AppendUint64(v, uint64(to)))
}

// change is a record as it is read.
type change struct {
	modseq  uint64
	kind    changeKind
	mailbox MailboxID
	uids    imap.UIDSet
	ids     []MessageID // of changeVanished, changeJoined
}

// readChanges calls f for the changes after since, in order, until it returns false.
// complete is false when the log does not reach back so far; then f was not called.
func readChanges(snap kv.Snapshot, since uint64, f func(*change) bool) (complete bool, err error) {
	floor, err := changeFloor(snap)
	if err != nil || since < floor {
		return false, err
	}
	r := kv.Range{From: key(keyChange, hlc.ID(since+1)), To: kv.Prefix([]byte{keyChange}).To}
	for e, err := range snap.Scan(r) {
		if err != nil {
			return false, fmt.Errorf("scan changes: %w", err)
		}
		c, err := readChange(e)
		if err != nil {
			return false, err
		}
		if !f(c) {
			break
		}
	}
	return true, nil
}

// changeFloor is the mod-sequence up to which the log was trimmed: all after it is there.
func changeFloor(snap kv.Snapshot) (uint64, error) {
	n, err := snap.Sequence(changeFloorKey)
	if err != nil {
		return 0, fmt.Errorf("floor of the changes: %w", err)
	}
	return n, nil
}

// changeFloorKey names the sequence that has the floor.
var changeFloorKey = []byte{keyChange}

func readChange(e kv.Entry) (*change, error) {
	modseq, ok := keyID(e.Key)
	r := newReader(e.Value)
	c := &change{modseq: uint64(modseq), kind: changeKind(r.octet()), mailbox: r.id()}
	switch c.kind {
	case changeAppended, changeCopied:
		first := r.uint32()
		c.uids.AddRange(first, first+uint32(r.count(1<<31))-1)
	case changeFlags:
		c.uids = r.set()
	case changeVanished:
		c.uids = r.set()
		var id MessageID
		for len(r.b) > 0 {
			id += MessageID(r.varint())
			c.ids = append(c.ids, id)
		}
	case changeJoined:
		c.ids = []MessageID{r.id(), r.id()}
	case changeMailbox:
	default:
		r.fail()
	}
	if !ok {
		r.fail()
	}
	return c, r.err("record of the change log")
}

// appendSet writes a set of UIDs: how many ranges, then gaps and lengths.
func appendSet(dst []byte, s imap.UIDSet) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	var before uint32
	for _, r := range s {
		dst = binary.AppendUvarint(dst, uint64(r.First-before))
		dst = binary.AppendUvarint(dst, uint64(r.Last-r.First))
		before = r.Last
	}
	return dst
}

// set reads what appendSet wrote.
func (r *reader) set() imap.UIDSet {
	n := r.count(len(r.b))
	s := make(imap.UIDSet, 0, n)
	var before uint32
	for ; n > 0 && !r.bad; n-- {
		first := before + uint32(r.uvarint())
		before = first + uint32(r.uvarint())
		s = append(s, imap.Range{First: first, Last: before})
	}
	return s
}
