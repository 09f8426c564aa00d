package mailstore

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"postroad/imap"
	"postroad/internal/kv"
)

// columns are the sort keys of a mailbox by column, in the order of UIDs. Readers have
// them without a lock: what they can see is never changed; the order grows behind it.
type columns struct {
	uid       []uint32
	sent      []int64 // the internal date where there is no Date (RFC 5256, 2.2)
	bits      []byte  // rowReply, rowNamed
	msgID     []uint64
	parentsAt []uint32 // into parents
	parentsN  []uint8
	text      [textColumns][]uint32 // numbers of texts; 0 is the empty one
	parents   []uint64
	texts     int      // how many have numbers
	rank      []uint32 // of a text among all: what to compare; see texts.ranks
}

// grow adds n empty rows.
func (c *columns) grow(n int) {
	c.uid, c.sent = append(c.uid, make([]uint32, n)...), append(c.sent, make([]int64, n)...)
	c.bits, c.msgID = append(c.bits, make([]byte, n)...), append(c.msgID, make([]uint64, n)...)
	c.parentsAt, c.parentsN = append(c.parentsAt, make([]uint32, n)...), append(c.parentsN, make([]uint8, n)...)
	for i := range c.text {
		c.text[i] = append(c.text[i], make([]uint32, n)...)
	}
}

// orderNeed is what of the sort keys is asked for; each includes those before.
type orderNeed uint8

const (
	needNoKeys   orderNeed = iota
	needKeys               // dates, Message-IDs, references; subjects numbered, so that equal ones are told from others
	needSubjects           // the subjects ranked
	needTexts              // all texts ranked
)

// order has the sort keys of one mailbox for all its readers, from the first SORT or
// THREAD on. Texts besides the subject, which take most of the time, are there from when
// one was first asked for; who sorts by date or threads does without.
type order struct {
	mu      sync.Mutex // guards all below
	columns columns
	next    uint32 // UIDs below are in columns if they were there
	all     bool   // the columns of all texts are there, not only the subject's
	texts   *texts // nil: nothing was read
	bytes   int64  // octets of the blocks that texts are slices of
}

// reset forgets all that was read.
func (o *order) reset() {
	o.columns, o.next, o.all, o.texts, o.bytes = columns{}, 0, false, nil, 0
}

// Of the columns of a mailbox, rows whose messages have gone stay until they are more than
// the others.
const orderStale = 4096

// orderRowBytes is what the columns hold of a message, besides references and texts.
const orderRowBytes = 4 + 8 + 1 + 8 + 4 + 1 + 4*textColumns

// get returns the sort keys of at least the messages of a snapshot.
func (o *order) get(ctx context.Context, s *Snapshot, need orderNeed) (*columns, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.columns.uid) > 2*s.n+orderStale {
		o.reset()
	}
	return o.upTo(ctx, s.next, s.n, need, func(uint32) *Snapshot { return s })
}

// upTo returns the sort keys of the messages with UIDs below next, of which there are about
// n; those from a UID on are in the snapshot that from returns. The caller holds mu.
func (o *order) upTo(ctx context.Context, next uint32, n int, need orderNeed, from func(uid uint32) *Snapshot) (*columns, error) {
	if need == needTexts && !o.all {
		o.reset()
	}
	if o.texts == nil {
		o.texts, o.all = newTexts(n), need == needTexts
	}
	if next > o.next {
		if err := o.extend(ctx, from(o.next)); err != nil {
			o.reset()
			return nil, storageError("read sort keys", err)
		}
		o.next = next
	}
	c := &o.columns
	c.texts = len(o.texts.list)
	if need >= needSubjects && len(c.rank) < c.texts {
		c.rank = o.texts.ranks()
	}
	out := *c
	return &out, nil
}

// size is the memory it takes, in octets.
func (o *order) size() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := o.bytes + int64(len(o.columns.uid))*orderRowBytes + int64(len(o.columns.parents))*8 + int64(len(o.columns.rank))*4
	if o.texts != nil {
		n += o.texts.size()
	}
	return n
}

// wanted is a message whose row is looked for.
type wanted struct {
	id  MessageID
	row int // in columns
}

// extend adds the rows of the messages with UIDs from o.next on.
func (o *order) extend(ctx context.Context, s *Snapshot) error {
	from, _ := s.Index(o.next)
	c, base := &o.columns, len(o.columns.uid)
	c.grow(s.n - from)
	all := make([]wanted, 0, s.n-from)
	ascending := true
	for i, row := range s.Rows(from, s.n) {
		at := base + i - from
		c.uid[at], c.sent[at] = row.UID, row.InternalDate
		ascending = ascending && (len(all) == 0 || all[len(all)-1].id <= row.ID)
		all = append(all, wanted{row.ID, at})
	}
	if !ascending {
		slices.SortFunc(all, func(a, b wanted) int { return cmp.Compare(a.id, b.id) })
	}
	l := keyLoad{order: o, account: s.account, all: all, filled: make([]bool, len(all))}
	if err := l.scan(ctx); err != nil {
		return err
	}
	return l.missing(ctx, s)
}

// set fills in a row; the texts have been numbered.
func (o *order) set(at int, r *keyRow, text *[textColumns]uint32) {
	c := &o.columns
	if r.dated {
		c.sent[at] = r.sent
	}
	if r.reply {
		c.bits[at] |= rowReply
	}
	if r.named {
		c.bits[at] |= rowNamed
		c.msgID[at] = r.msgID
	}
	c.parentsAt[at], c.parentsN[at] = uint32(len(c.parents)), uint8(len(r.parents))
	c.parents = append(c.parents, r.parents...)
	for i, n := range text {
		c.text[i][at] = n
	}
}

// unnumbered stands for the number of a text that nobody has asked for.
const unnumbered = ^uint32(0)

// keyLoad reads rows for an order.
type keyLoad struct {
	order   *order
	account *Account
	all     []wanted // ascending
	filled  []bool
	at      int // in all: what is before has been looked for
	reader  keyReader
	nums    []uint32 // of the reader's texts
	blocks  int
}

// scan reads the blocks that may have the rows.
func (l *keyLoad) scan(ctx context.Context) error {
	for l.at < len(l.all) {
		snap, err := l.account.snapshot(ctx)
		if err != nil {
			return err
		}
		deadline := time.Now().Add(scanTime)
		for l.at < len(l.all) && time.Now().Before(deadline) && err == nil {
			err = l.stretch(ctx, snap, deadline)
		}
		snap.Close()
		if err != nil {
			return err
		}
	}
	if l.blocks > packAfter && l.blocks > len(l.all)/packFrom {
		l.account.packKeysLater()
	}
	return nil
}

// stretch scans from the block that has the next row, while the blocks hold some.
func (l *keyLoad) stretch(ctx context.Context, snap kv.Snapshot, deadline time.Time) error {
	first, last := l.all[l.at].id, l.all[len(l.all)-1].id
	from := key(keySort, first)
	for e, err := range snap.Scan(kv.Range{From: key(keySort), To: key(keySort, first+1), Reverse: true, Limit: 1}) {
		if err != nil {
			return fmt.Errorf("scan sort keys: %w", err)
		}
		from = slices.Clone(e.Key)
	}
	passed := 0
	for e, err := range snap.Scan(kv.Range{From: from, To: key(keySort, last+1)}) {
		if err != nil {
			return fmt.Errorf("scan sort keys: %w", err)
		}
		before := l.at
		if err := l.block(e); err != nil {
			return err
		}
		if passed++; l.at > before {
			passed = 0
		}
		if l.at == len(l.all) || passed == strideMax || passed == 0 && time.Now().After(deadline) {
			return ctx.Err()
		}
	}
	l.at = len(l.all)
	return ctx.Err()
}

// block takes the rows that are wanted out of a block.
func (l *keyLoad) block(e kv.Entry) error {
	l.blocks++
	l.nums = l.nums[:0]
	o := l.order
	o.bytes += int64(len(e.Value))
	var text [textColumns]uint32
	return l.reader.read(e.Key, e.Value, func(r *keyRow) {
		for len(l.nums) < len(l.reader.texts) {
			l.nums = append(l.nums, unnumbered)
		}
		i := l.at
		for i < len(l.all) && l.all[i].id < r.id {
			i++
		}
		if l.at > 0 && r.id <= l.all[l.at-1].id {
			// Blocks overlap where two machines' clocks were apart.
			i, _ = slices.BinarySearchFunc(l.all, r.id, func(w wanted, id MessageID) int { return cmp.Compare(w.id, id) })
		}
		for ; i < len(l.all) && l.all[i].id == r.id; i++ {
			if l.filled[i] {
				continue
			}
			for k, at := range l.reader.at {
				if text[k] = 0; at == 0 || k != textSubject && !o.all {
					continue
				}
				if l.nums[at-1] == unnumbered {
					l.nums[at-1] = o.texts.number(l.reader.texts[at-1])
				}
				text[k] = l.nums[at-1]
			}
			o.set(l.all[i].row, r, &text)
			l.filled[i] = true
		}
		l.at = max(l.at, i)
	})
}

// missing makes the rows that no block has from the message records.
func (l *keyLoad) missing(ctx context.Context, s *Snapshot) error {
	var uids imap.UIDSet
	for i, w := range l.all {
		if !l.filled[i] {
			uids = append(uids, imap.Range{First: l.order.columns.uid[w.row], Last: l.order.columns.uid[w.row]})
		}
	}
	if len(uids) == 0 {
		return nil
	}
	slices.SortFunc(uids, func(a, b imap.Range) int { return cmp.Compare(a.First, b.First) })
	o := l.order
	found := 0
	for r, err := range s.Records(ctx, uids, WantStructure) {
		if err != nil {
			return err
		}
		if r.Missing {
			continue
		}
		row, err := recordKeys(r)
		if err != nil {
			return err
		}
		at, _ := slices.BinarySearch(o.columns.uid, r.UID)
		var text [textColumns]uint32
		for i := range row.text {
			if i != textSubject && !o.all {
				continue
			}
			text[i] = o.texts.number(row.text[i])
			o.bytes += int64(len(row.text[i]))
		}
		o.set(at, row, &text)
		found++
	}
	if found > 0 {
		l.account.fillKeysLater()
	}
	return nil
}
