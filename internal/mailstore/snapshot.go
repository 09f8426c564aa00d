package mailstore

import (
	"iter"
	"slices"
	"sort"

	"postroad/imap"
	"postroad/internal/kv"
)

// segmentMax is the number of messages in one segment of columns. A change of flags
// copies the flags and mod-sequences of its segment: 16 KB.
const segmentMax = 1024

// rowBytes is what the columns hold of a message.
const rowBytes = 4 + 8 + 4 + 8 + 4 + 8 + 8

// segment is the columns of some messages in the order of their UIDs. Readers have it
// without a lock: what they can see of it is never changed. Only the newest segment of a
// view grows, behind what its readers see.
type segment struct {
	uid   []uint32
	id    []MessageID
	saved []uint32
	date  []int64
	size  []uint32

	flags  []Flags // copied before they are changed
	modseq []uint64
	gone   []bool // of a snapshot that holds expunged messages; nil: none
}

func (g *segment) len() int { return len(g.uid) }

func (g *segment) row(i int) Row {
	return Row{UID: g.uid[i], ID: g.id[i], Flags: g.flags[i], ModSeq: g.modseq[i], SaveDate: int64(g.saved[i]),
		InternalDate: g.date[i], Size: g.size[i], Gone: g.gone != nil && g.gone[i]}
}

// newSegment makes room for n messages.
func newSegment(n int) *segment {
	return &segment{uid: make([]uint32, 0, n), id: make([]MessageID, 0, n), saved: make([]uint32, 0, n),
		date: make([]int64, 0, n), size: make([]uint32, 0, n), flags: make([]Flags, 0, n), modseq: make([]uint64, 0, n)}
}

// room is the columns of a whole segment in one piece, that a load writes to by place.
type room struct {
	uid    [segmentMax]uint32
	id     [segmentMax]MessageID
	saved  [segmentMax]uint32
	date   [segmentMax]int64
	size   [segmentMax]uint32
	flags  [segmentMax]Flags
	modseq [segmentMax]uint64
}

// put writes a message to a place.
func (m *room) put(i int, r *Row) {
	m.uid[i], m.id[i], m.saved[i] = r.UID, r.ID, uint32(r.SaveDate)
	m.date[i], m.size[i], m.flags[i], m.modseq[i] = r.InternalDate, r.Size, r.Flags, r.ModSeq
}

// segment is the first n messages; those to come go to the places behind.
func (m *room) segment(n int) *segment {
	return &segment{uid: m.uid[:n], id: m.id[:n], saved: m.saved[:n], date: m.date[:n], size: m.size[:n],
		flags: m.flags[:n], modseq: m.modseq[:n]}
}

// push adds a message at the end.
func (g *segment) push(r *Row) {
	if r.Gone && g.gone == nil {
		g.gone = make([]bool, g.len(), cap(g.uid))
	}
	if g.gone != nil {
		g.gone = append(g.gone, r.Gone)
	}
	g.uid, g.id = append(g.uid, r.UID), append(g.id, r.ID)
	g.saved, g.date, g.size = append(g.saved, uint32(r.SaveDate)), append(g.date, r.InternalDate), append(g.size, r.Size)
	g.flags, g.modseq = append(g.flags, r.Flags), append(g.modseq, r.ModSeq)
}

// Row is one message in a mailbox.
type Row struct {
	UID          uint32
	ID           MessageID
	Flags        Flags
	ModSeq       uint64
	SaveDate     int64 // seconds since 1970 UTC (RFC 8514)
	InternalDate int64 // seconds since 1970 UTC
	Size         uint32
	Gone         bool // held by [Snapshot.Advance] though it is expunged
}

// Snapshot is a mailbox at one moment; it is not changed and needs no closing. Messages
// are numbered from 0 in the order of their UIDs: index+1 is the sequence number.
type Snapshot struct {
	account  *Account
	order    *order // of all snapshots of the mailbox; nil where nobody sorts
	mailbox  MailboxID
	validity uint32
	next     uint32 // UIDNEXT
	highest  uint64
	version  kv.Version
	keywords []string
	segments []*segment
	starts   []int32 // index of the first message of each segment
	n        int
}

// count fills in starts and n.
func (s *Snapshot) count() {
	s.starts = make([]int32, len(s.segments))
	s.n = 0
	for i, g := range s.segments {
		s.starts[i] = int32(s.n)
		s.n += g.len()
	}
}

// Mailbox is the mailbox's id.
func (s *Snapshot) Mailbox() MailboxID { return s.mailbox }

// Len is the number of messages, those held though expunged included.
func (s *Snapshot) Len() int { return s.n }

// at finds the segment of an index and the place in it.
func (s *Snapshot) at(i int) (*segment, int) {
	// Where no segment before has lost messages it is this one.
	if k := i / segmentMax; k < len(s.starts) && int(s.starts[k]) <= i && i-int(s.starts[k]) < s.segments[k].len() {
		return s.segments[k], i - int(s.starts[k])
	}
	k := sort.Search(len(s.starts), func(k int) bool { return int(s.starts[k]) > i }) - 1
	return s.segments[k], i - int(s.starts[k])
}

// Row returns a message by index.
func (s *Snapshot) Row(i int) Row {
	g, k := s.at(i)
	return g.row(k)
}

// UID returns the UID at an index.
func (s *Snapshot) UID(i int) uint32 {
	g, k := s.at(i)
	return g.uid[k]
}

// Index returns the index of a UID; where there is no such message, false and the index
// that it would have.
func (s *Snapshot) Index(uid uint32) (int, bool) {
	k := sort.Search(len(s.segments), func(k int) bool { return s.segments[k].uid[0] > uid }) - 1
	if k < 0 {
		return 0, false
	}
	i, found := slices.BinarySearch(s.segments[k].uid, uid)
	return int(s.starts[k]) + i, found
}

// Rows yields the messages with index from ≤ i < to.
func (s *Snapshot) Rows(from, to int) iter.Seq2[int, Row] {
	return func(yield func(int, Row) bool) {
		to = min(to, s.n)
		if from >= to {
			return
		}
		k := sort.Search(len(s.starts), func(k int) bool { return int(s.starts[k]) > from }) - 1
		for i := from; i < to; k++ {
			g := s.segments[k]
			for j := i - int(s.starts[k]); j < g.len() && i < to; i, j = i+1, j+1 {
				if !yield(i, g.row(j)) {
					return
				}
			}
		}
	}
}

// UIDs returns the UIDs of the messages with index from ≤ i < to as a set.
func (s *Snapshot) UIDs(from, to int) imap.UIDSet {
	var set imap.UIDSet
	for _, r := range s.Rows(from, to) {
		set.Add(r.UID)
	}
	return set
}

// UIDNext is the UID that the next message will have at least.
func (s *Snapshot) UIDNext() uint32 { return s.next }

// UIDValidity of the mailbox.
func (s *Snapshot) UIDValidity() uint32 { return s.validity }

// HighestModSeq of the mailbox (RFC 7162, 3.1.2.1).
func (s *Snapshot) HighestModSeq() uint64 { return s.highest }

// Version is that of the account at which the snapshot is right.
func (s *Snapshot) Version() uint64 { return uint64(s.version) }

// Keywords is the mailbox's table of keywords; the slice is shared.
func (s *Snapshot) Keywords() []string { return s.keywords }

// Delta is what is new in a snapshot against the one before.
type Delta struct {
	Expunged []uint32    // indexes in the old snapshot, descending: EXPUNGE index+1 each (RFC 9051, 7.5.1)
	Vanished imap.UIDSet // the same as UIDs
	Changed  []int       // indexes in the new snapshot whose flags or mod-sequence are other than before
	Added    int         // messages at the end of the new snapshot
	Keywords bool        // the table of keywords grew
}

// Empty tells that there is nothing to tell.
func (d *Delta) Empty() bool {
	return len(d.Expunged) == 0 && len(d.Changed) == 0 && d.Added == 0 && !d.Keywords
}

// Advance compares s, which a session has told its client, with next and returns what to
// hold from now on and what to tell. With hold, expunged messages stay where they are,
// marked Gone, so that sequence numbers keep their meaning (RFC 9051, 7.5.1: no EXPUNGE
// during FETCH, STORE, SEARCH); a later Advance without hold tells of them.
func (s *Snapshot) Advance(next *Snapshot, hold bool) (*Snapshot, Delta) {
	d := Delta{Keywords: len(next.keywords) > len(s.keywords)}
	if s == next {
		return s, d
	}
	m := merge{old: s, next: next, hold: hold, delta: &d}
	m.run()
	slices.Reverse(d.Expunged)
	if len(m.out) == 0 {
		return next, d
	}
	held := *next
	held.segments = m.out
	held.count()
	return &held, d
}

// merge walks two snapshots side by side.
type merge struct {
	old, next *Snapshot
	hold      bool
	delta     *Delta

	i, j   int // segments
	oi, nj int // places in them
	oldAt  int // index in old
	at     int // index in the result
	ghosts bool
	out    []*segment // the result, once it is another one than next
	open   *segment   // its last segment, that rows are pushed to
}

func (m *merge) run() {
	for m.i < len(m.old.segments) || m.j < len(m.next.segments) {
		if m.oi == 0 && m.nj == 0 && m.i < len(m.old.segments) && m.j < len(m.next.segments) &&
			m.same(m.old.segments[m.i], m.next.segments[m.j]) {
			continue
		}
		m.step()
	}
}

// same passes over two whole segments that hold the same messages.
func (m *merge) same(a, b *segment) bool {
	n := a.len()
	if a != b {
		if a.gone != nil || n != b.len() || &a.uid[0] != &b.uid[0] {
			return false
		}
		for k := range n {
			if a.modseq[k] != b.modseq[k] {
				m.delta.Changed = append(m.delta.Changed, m.at+k)
			}
		}
	}
	m.whole(b)
	m.i, m.j, m.oldAt, m.at = m.i+1, m.j+1, m.oldAt+n, m.at+n
	return true
}

// step passes over one message.
func (m *merge) step() {
	var o, n *segment
	if m.i < len(m.old.segments) {
		o = m.old.segments[m.i]
	}
	if m.j < len(m.next.segments) {
		n = m.next.segments[m.j]
	}
	switch {
	case n == nil || o != nil && o.uid[m.oi] < n.uid[m.nj]:
		m.vanished(o)
	case o == nil || o.uid[m.oi] > n.uid[m.nj]:
		m.delta.Added++
		m.push(n)
	default:
		if o.modseq[m.oi] != n.modseq[m.nj] {
			m.delta.Changed = append(m.delta.Changed, m.at)
		}
		m.push(n)
		m.nextOld(o)
	}
}

// vanished passes over a message that is only in the old snapshot.
func (m *merge) vanished(o *segment) {
	if m.hold {
		row := o.row(m.oi)
		row.Gone = true
		if !m.ghosts {
			m.begin()
		}
		m.pushRow(&row)
		m.at++
	} else {
		m.delta.Expunged = append(m.delta.Expunged, uint32(m.oldAt))
		m.delta.Vanished.Add(o.uid[m.oi])
	}
	m.nextOld(o)
}

// push takes over a message of next.
func (m *merge) push(n *segment) {
	if m.ghosts {
		row := n.row(m.nj)
		m.pushRow(&row)
	}
	m.at++
	if m.nj++; m.nj == n.len() {
		m.j, m.nj = m.j+1, 0
	}
}

func (m *merge) nextOld(o *segment) {
	m.oldAt++
	if m.oi++; m.oi == o.len() {
		m.i, m.oi = m.i+1, 0
	}
}

// begin starts a result of its own with what was passed over of next.
func (m *merge) begin() {
	m.ghosts = true
	m.out = append(m.out, m.next.segments[:m.j]...)
	for k := range m.nj {
		row := m.next.segments[m.j].row(k)
		m.pushRow(&row)
	}
}

// whole takes over a segment of next.
func (m *merge) whole(b *segment) {
	if m.ghosts {
		m.out, m.open = append(m.out, b), nil
	}
}

func (m *merge) pushRow(r *Row) {
	if m.open == nil || m.open.len() == segmentMax {
		m.open = newSegment(64)
		m.out = append(m.out, m.open)
	}
	m.open.push(r)
}
