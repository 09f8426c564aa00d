package mailstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"postroad/imap"
	"postroad/internal/kv"
	"postroad/internal/mailflow"
)

// work is what one Prepare… method has at hand: what is, and the unit that changes it.
type work struct {
	ctx  context.Context // of the method that this is the work of
	a    *Account
	snap kv.Snapshot
	tree *Tree
	u    *mailflow.Unit

	unasked bool // by PreparePass: Options.Passing is not asked, and nothing is kept to be brought back
}

// begin reads where the account stands.
func (a *Account) begin(ctx context.Context, u *mailflow.Unit) (*work, error) {
	snap, err := a.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	t, err := a.treeAt(snap)
	if err != nil {
		snap.Close()
		return nil, storageError("read the mailboxes", err)
	}
	return &work{ctx: ctx, a: a, snap: snap, tree: t, u: u}, nil
}

func (w *work) close() { w.snap.Close() }

// batch is the unit's batch for the account. It is asked for anew after each use of the
// unit.
func (w *work) batch() *kv.Batch { return w.u.Batch(w.a.space) }

// quiet is batch for what by itself need not move the account's version.
func (w *work) quiet() *kv.Batch { return w.u.Quiet(w.a.space) }

// makesRoom says that the unit leads to free space: it is done on a disk that is nearly full.
func (w *work) makesRoom() { w.batch().MakesRoom = true }

// mailbox finds a mailbox and guards that it stays until the commit.
func (w *work) mailbox(id MailboxID) (*Mailbox, error) {
	m := w.tree.ID(id)
	if m == nil {
		return nil, fmt.Errorf("mailbox %s: %w", id, ErrNoMailbox)
	}
	k := m.key()
	b := w.quiet()
	if !guarded(b, k) {
		b.Guards = append(b.Guards, kv.Guard{Kind: kv.GuardPresent, Key: k})
	}
	return m, nil
}

// pending finds what the batch will write under a key, nil when nothing.
func pending(b *kv.Batch, k []byte) *kv.Put {
	for i := range b.Puts {
		if bytes.Equal(b.Puts[i].Key, k) {
			return &b.Puts[i]
		}
	}
	return nil
}

// touch gives mailboxes the commit's mod-sequence and wakes their readers after it.
func (w *work) touch(ids ...MailboxID) {
	b := w.batch()
	for _, id := range ids {
		k := key(keyHighest, id)
		if pending(b, k) != nil {
			continue
		}
		b.Puts = append(b.Puts, kv.Put{Key: k, Value: append([]byte{format1}, make([]byte, 8)...),
			Places: []kv.Place{{InValue: true, Offset: 1, Width: 8, Version: true}}})
	}
	s, id := w.a.store, w.a.id
	w.u.After(w.a.space, func(r kv.Result) { s.moved(id, r.Version, ids) })
}

// readHighest reads a mailbox's HIGHESTMODSEQ. One that was never touched has 1: the
// value may not be 0 (RFC 7162, 3.1.2.1).
func readHighest(snap kv.Snapshot, id MailboxID) (uint64, error) {
	v, found, err := get(snap, key(keyHighest, id))
	if err != nil || !found {
		return 1, err
	}
	r := newReader(v)
	n := r.uint64()
	return max(1, n), r.err("HIGHESTMODSEQ")
}

// tally is what a change does to the counters of a mailbox.
type tally struct{ messages, unseen, deleted, octets int64 }

// count adds a message with its flags, n times.
func (t *tally) count(f Flags, size uint32, n int64) {
	t.messages += n
	t.octets += n * int64(size)
	t.flags(f, n)
}

func (t *tally) flags(f Flags, n int64) {
	if f&Seen == 0 {
		t.unseen += n
	}
	if f&Deleted != 0 {
		t.deleted += n
	}
}

// add puts the tally into the batch.
func (t *tally) add(b *kv.Batch, id MailboxID) {
	for _, c := range [...]struct {
		kind byte
		n    int64
	}{{countMessages, t.messages}, {countUnseen, t.unseen}, {countDeleted, t.deleted}, {countOctets, t.octets}} {
		if c.n != 0 {
			b.Adds = append(b.Adds, kv.Add{Key: key(c.kind, id), N: c.n})
		}
	}
}

// readTally reads the counters of a mailbox.
func readTally(snap kv.Snapshot, id MailboxID) (t tally, err error) {
	for _, c := range [...]struct {
		kind byte
		n    *int64
	}{{countMessages, &t.messages}, {countUnseen, &t.unseen}, {countDeleted, &t.deleted}, {countOctets, &t.octets}} {
		if *c.n, err = snap.Counter(key(c.kind, id)); err != nil {
			return t, fmt.Errorf("counter of mailbox %s: %w", id, err)
		}
	}
	return t, nil
}

// keywords returns the bits of keywords in a mailbox; with create, new ones get a place in
// its table.
func (w *work) keywords(id MailboxID, names []string, create bool) (Flags, error) {
	if len(names) == 0 {
		return 0, nil
	}
	k := key(keyKeywords, id)
	raw, found, err := get(w.snap, k)
	if err != nil {
		return 0, err
	}
	b := w.quiet()
	put := pending(b, k)
	value := raw
	if put != nil {
		value = put.Value
	}
	table, err := readKeywords(value)
	if err != nil {
		return 0, err
	}
	known := len(table)
	var bits Flags
	for _, n := range names {
		i := indexKeyword(table, n)
		if i < 0 && create {
			if err := checkKeyword(n, len(table)); err != nil {
				return 0, err
			}
			i, table = len(table), append(table, n)
		}
		if i >= 0 {
			bits |= Keyword(i)
		}
	}
	if len(table) == known {
		return bits, nil
	}
	if put == nil {
		b.Guards = append(b.Guards, guardValue(k, raw, found))
		b.Puts = append(b.Puts, kv.Put{Key: k})
		put = &b.Puts[len(b.Puts)-1]
	}
	put.Value = []byte{format1}
	for _, n := range table {
		put.Value = appendText(put.Value, n)
	}
	return bits, nil
}

// readKeywords reads a table of keywords; no value is an empty one.
func readKeywords(v []byte) ([]string, error) {
	if len(v) == 0 {
		return nil, nil
	}
	var table []string
	r := newReader(v)
	for len(r.b) > 0 {
		table = append(table, string(r.text()))
	}
	return table, r.err("table of keywords")
}

func indexKeyword(table []string, name string) int {
	for i, t := range table {
		if imap.EqualFold(t, name) {
			return i
		}
	}
	return -1
}

// checkKeyword tells whether a keyword may be added to a table.
func checkKeyword(name string, have int) error {
	if have >= KeywordsMax {
		return fmt.Errorf("%w: %d keywords in the mailbox", ErrLimit, have)
	}
	if name == "" || len(name) > KeywordBytes {
		return fmt.Errorf("%w: keyword of %d octets", ErrTooLarge, len(name))
	}
	return nil
}

// take draws n UIDs of a mailbox and returns the take's number in the batch.
func (w *work) take(id MailboxID, n int) int {
	b := w.batch()
	b.Takes = append(b.Takes, kv.Take{Key: sequenceKey(id), N: uint32(n)})
	return len(b.Takes) - 1
}

// sequenceKey names the sequence of a mailbox's UIDs.
func sequenceKey(id MailboxID) []byte { return binary.BigEndian.AppendUint64(nil, uint64(id)) }

// place is a place for the number n of a take, four octets wide.
func place(take, n, offset int, inValue bool) kv.Place {
	return kv.Place{InValue: inValue, Offset: offset, Width: 4, Take: take, Plus: uint32(n)}
}

// enter adds entries to a mailbox, with UIDs from the take on, in blocks.
func (w *work) enter(id MailboxID, take int, rows []Row) {
	freshRows(rows)
	if len(rows) < packFrom {
		a, n := w.a, len(rows)
		w.u.After(a.space, func(kv.Result) { a.current().fresh(id, n) })
	}
	b := w.batch()
	for at := 0; at < len(rows); at += blockMax {
		b.Puts = append(b.Puts, kv.Put{
			Key:   numberKey(keyEntry, id, 0),
			Value: appendBlock(nil, rows[at:min(at+blockMax, len(rows))]),
			Places: []kv.Place{place(take, at, numberKeyOffset, false),
				{InValue: true, Offset: blockModSeqOffset, Width: 8, Version: true}},
		})
	}
}

// freshRows makes rows those of new entries, whose UIDs are not known yet.
func freshRows(rows []Row) {
	now := time.Now().Unix()
	for i := range rows {
		rows[i].ModSeq, rows[i].SaveDate, rows[i].UID = 0, now, uint32(i)
	}
}

// entryOf writes that a message is in a mailbox, with the UID n of a take.
func (w *work) entryOf(m MessageID, mailbox MailboxID, take, n int) {
	b := w.batch()
	b.Puts = append(b.Puts, kv.Put{Key: entryOfKey(m, mailbox, 0), Value: []byte{format1},
		Places: []kv.Place{place(take, n, entryOfUIDOffset, false)}})
}
