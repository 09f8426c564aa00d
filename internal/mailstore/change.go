package mailstore

import (
	"encoding/binary"
	"fmt"
	"slices"

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
	changeLeft     changeKind = 'l' // the threads of messages that a record before it tells to have vanished
	changeMailbox  changeKind = 'm' // a mailbox made, renamed, deleted, given a role, a subscription, rights
	changeSeen     changeKind = 's' // a reader's own \Seen of UIDs, in another one's mailbox
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

// What a record of changeMailbox tells. One without it is of a mailbox that changed.
const (
	mailboxMade    = 'c'
	mailboxChanged = 'u'
	mailboxGone    = 'd'
	mailboxTrash   = 't' // it changed, and became Trash or is it no more: all counts of threads do with it
	mailboxUntold  = 'x' // more of its messages came or went than records tell
)

// logMailbox tells of a mailbox that changed.
func logMailbox(b *kv.Batch, mailbox MailboxID) { logMailboxAs(b, mailbox, mailboxChanged) }

// logMailboxAs tells what became of a mailbox.
func logMailboxAs(b *kv.Batch, mailbox MailboxID, what byte) {
	logChange(b, append(newChange(changeMailbox, mailbox), what))
}

// logSeen tells of messages that a reader has read, or not.
func logSeen(b *kv.Batch, mailbox MailboxID, reader AccountID, uids imap.UIDSet) {
	var part imap.UIDSet
	n := 0
	write := func() {
		v := binary.BigEndian.AppendUint64(newChange(changeSeen, mailbox), uint64(reader))
		logChange(b, appendSet(v, part))
		part, n = nil, 0
	}
	for uid := range uids.All() {
		part.Add(uid)
		if n++; n == changeUIDsMax {
			write()
		}
	}
	if n > 0 {
		write()
	}
}

// changesTold is how many messages of a mailbox that goes or comes back as a whole are told
// of; and rangesTold in how many stretches of UIDs.
const (
	changesTold = 20_000
	rangesTold  = 200
)

// logGone tells of the messages of a mailbox that goes away.
func (w *work) logGone(mailbox MailboxID, s *Snapshot) error {
	slots := make([]*slot, 0, s.n)
	for _, r := range s.Rows(0, s.n) {
		slots = append(slots, &slot{Row: r})
	}
	logSlots(w.batch(), changeVanished, mailbox, slots)
	return w.logLeft(mailbox, slots)
}

// logThere tells of the messages of a mailbox that is there again.
func logThere(b *kv.Batch, mailbox MailboxID, s *Snapshot) {
	uids := s.UIDs(0, s.n)
	if len(uids) > rangesTold {
		logMailboxAs(b, mailbox, mailboxUntold)
		return
	}
	for _, r := range uids {
		v := binary.BigEndian.AppendUint32(newChange(changeCopied, mailbox), r.First)
		logChange(b, binary.AppendUvarint(v, uint64(r.Last-r.First)+1))
	}
}

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
	ids     []MessageID   // of changeVanished, changeLeft, changeJoined
	threads [][2]ThreadID // of changeLeft: a message's own and the one that had joined
	reader  AccountID     // of changeSeen
	what    byte          // of changeMailbox
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
	case changeLeft:
		r.left(c)
	case changeSeen:
		c.reader = r.id()
		c.uids = r.set()
	case changeMailbox:
		if c.what = mailboxChanged; len(r.b) > 0 {
			c.what = r.octet()
		}
	default:
		r.fail()
	}
	if !ok {
		r.fail()
	}
	return c, r.err("record of the change log")
}

// logLeft tells of the threads that messages were in which vanish in the same commit: once
// they are swept nothing else tells.
func (w *work) logLeft(mailbox MailboxID, slots []*slot) error {
	ids := make([]MessageID, len(slots))
	for i, s := range slots {
		ids[i] = s.ID
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	own := make([]ThreadID, len(ids))
	err := scanIDs(w.snap, keyList, ids, func(i int, e kv.Entry) error {
		var r Record
		_, _, err := r.readList(e.Value)
		own[i] = r.Thread
		return err
	})
	if err != nil {
		return err
	}
	for at := 0; at < len(ids); at += changeUIDsMax {
		v := newChange(changeLeft, mailbox)
		var before MessageID
		for i := at; i < min(at+changeUIDsMax, len(ids)); i++ {
			if own[i] == 0 {
				return fmt.Errorf("%w: no list record of message %s", ErrDamaged, ids[i])
			}
			root, err := threadRoot(own[i], func(k []byte) ([]byte, bool, error) { return get(w.snap, k) })
			if err != nil {
				return err
			}
			v = binary.AppendUvarint(v, uint64(ids[i]-before))
			v = binary.AppendVarint(v, int64(ids[i])-int64(own[i]))
			v = binary.AppendUvarint(v, uint64(own[i]-root))
			before = ids[i]
		}
		logChange(w.batch(), v)
	}
	return nil
}

// left reads what logLeft wrote.
func (r *reader) left(c *change) {
	var id MessageID
	for len(r.b) > 0 {
		id += MessageID(r.uvarint())
		own := ThreadID(int64(id) - r.varint())
		root := own - ThreadID(r.uvarint())
		c.ids, c.threads = append(c.ids, id), append(c.threads, [2]ThreadID{own, root})
	}
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
