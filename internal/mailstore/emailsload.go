package mailstore

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"postroad/imap"
	"postroad/internal/kv"
)

// loadEmails makes an Emails from nothing: it walks all columns, and reads the thread of
// each message that does not begin one.
func loadEmails(c *emailsCell, snap kv.Snapshot, now *emailsNow) (*Emails, error) {
	e := &Emails{account: c.account, cell: c, reader: c.reader, version: snap.Version(), order: &emailOrder{}}
	e.take(now)
	l := emailsLoad{e: e, snap: snap}
	for _, id := range now.sight.readable {
		e.addBox(id, now.snapshots[id])
	}
	l.gather()
	if err := l.readThreads(); err != nil {
		return nil, err
	}
	l.fill()
	l.sort()
	e.recount()
	return e, nil
}

// take takes over what is one for all messages.
func (e *Emails) take(now *emailsNow) {
	e.tree, e.sight = now.tree, now.sight
	e.trash = 0
	if m := e.tree.Role(imap.AttrTrash); m != nil {
		e.trash = m.ID
	}
}

// addBox gives a mailbox a number.
func (e *Emails) addBox(id MailboxID, s *Snapshot) uint16 {
	if e.number == nil {
		e.number = map[MailboxID]uint16{}
	}
	n := uint16(len(e.boxes))
	e.boxes, e.number[id] = append(e.boxes, emailBox{snapshot: s}), n
	return n
}

// emailsLoad is an Emails under way.
type emailsLoad struct {
	e       *Emails
	snap    kv.Snapshot
	rows    []loadRow // by message
	members []memberOf
	joined  map[ThreadID]ThreadID // each thread that joined to the one that it joined
	strange map[ThreadID]uint32
	further []further
}

// loadRow is one entry.
type loadRow struct {
	id    MessageID
	date  int64
	flags Flags
	uid   uint32
	box   uint16
}

// memberOf is the thread of a message that does not begin one.
type memberOf struct {
	id     MessageID
	thread ThreadID
}

// gather reads the entries of all mailboxes.
func (l *emailsLoad) gather() {
	n := 0
	for i := range l.e.boxes {
		n += l.e.boxes[i].snapshot.n
	}
	l.rows = make([]loadRow, 0, n)
	for i := range l.e.boxes {
		for _, g := range l.e.boxes[i].snapshot.segments {
			for k := range g.uid {
				l.rows = append(l.rows, loadRow{g.id[k], g.date[k], g.flags[k], g.uid[k], uint16(i)})
			}
		}
	}
	slices.SortFunc(l.rows, func(a, b loadRow) int {
		return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.box, b.box), cmp.Compare(a.uid, b.uid))
	})
}

// readThreads reads which messages belong to threads that others began, and which threads
// have joined others.
func (l *emailsLoad) readThreads() error {
	for e, err := range l.snap.Scan(kv.Prefix([]byte{keyMember})) {
		if err != nil {
			return fmt.Errorf("scan threads: %w", err)
		}
		if len(e.Key) != 1+8+8 || len(e.Value) < 2 {
			return fmt.Errorf("%w: member of a thread %q", ErrDamaged, e.Key)
		}
		thread, id := ThreadID(binary.BigEndian.Uint64(e.Key[1:])), MessageID(binary.BigEndian.Uint64(e.Key[9:]))
		if e.Value[1] == memberLives && id != thread {
			l.members = append(l.members, memberOf{id, thread})
		}
	}
	slices.SortFunc(l.members, func(a, b memberOf) int { return cmp.Compare(a.id, b.id) })
	l.joined = map[ThreadID]ThreadID{}
	for e, err := range l.snap.Scan(kv.Prefix([]byte{keyJoined})) {
		if err != nil {
			return fmt.Errorf("scan joined threads: %w", err)
		}
		id, ok := keyID(e.Key)
		r := newReader(e.Value)
		to := r.id()
		if r.bad || !ok || to >= id {
			return fmt.Errorf("%w: thread that joined %q", ErrDamaged, e.Key)
		}
		l.joined[id] = to
	}
	return nil
}

// root is the conversation that a thread belongs to. It goes as far as threadRoot does.
func (l *emailsLoad) root(id ThreadID) ThreadID {
	for range familyMax {
		to, joined := l.joined[id]
		if !joined {
			break
		}
		id = to
	}
	return id
}

// fill gives each message a place.
func (l *emailsLoad) fill() {
	e := l.e
	at := 0 // in members
	var roots []ThreadID
	for i := 0; i < len(l.rows); {
		first, from := &l.rows[i], i
		bits := byte(first.flags) & bitFlags
		for i++; i < len(l.rows) && l.rows[i].id == first.id; i++ {
			f := byte(l.rows[i].flags) & bitFlags
			bits = bits&f&bitSeen | (bits|f)&^bitSeen
			l.further = append(l.further, further{uint32(e.size), l.rows[i].uid, l.rows[i].box})
		}
		if i-from > 1 {
			bits |= bitFurther
		}
		for at < len(l.members) && l.members[at].id < first.id {
			at++
		}
		own := first.id
		if at < len(l.members) && l.members[at].id == first.id {
			own = l.members[at].thread
		}
		root := l.root(own)
		if root != own {
			bits |= bitJoined
		}
		roots = append(roots, root)
		e.push(first.id, first.date, entryAt{first.box, first.uid}, bits)
	}
	l.strange = map[ThreadID]uint32{}
	for p, root := range roots {
		g, k := e.at(uint32(p))
		g.thread[k] = l.threadNumber(root)
	}
}

// threadNumber is the number of a thread: the place of the message that it is named after,
// if that is there. Places are in the order of ids.
func (l *emailsLoad) threadNumber(root ThreadID) uint32 {
	e := l.e
	lo, hi := 0, e.size
	for lo < hi {
		if mid := (lo + hi) / 2; e.message(uint32(mid)) < root {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo < e.size && e.message(uint32(lo)) == root {
		return uint32(lo)
	}
	n, known := l.strange[root]
	if !known {
		n = strangeThread | uint32(len(e.strange))
		e.strange, l.strange[root] = append(e.strange, root), n
	}
	return n
}

// push adds a message at a new place. Its thread is to be filled in.
func (e *Emails) push(id MessageID, date int64, at entryAt, bits byte) uint32 {
	p := uint32(e.size)
	if p%pageMax == 0 {
		e.pages = append(e.pages, &emailPage{id: make([]MessageID, 0, pageMax), date: make([]uint32, 0, pageMax),
			thread: make([]uint32, 0, pageMax), uid: make([]uint32, 0, pageMax), box: make([]uint16, 0, pageMax),
			bits: make([]byte, 0, pageMax)})
	}
	g := e.pages[len(e.pages)-1]
	g.id, g.date, g.thread = append(g.id, id), append(g.date, shortDate(date)), append(g.thread, 0)
	g.uid, g.box, g.bits = append(g.uid, at.uid), append(g.box, at.box), append(g.bits, bits)
	e.size++
	return p
}

// shortDate is a date as a page has it.
func shortDate(date int64) uint32 {
	if date <= 0 || date > math.MaxUint32 {
		return 0
	}
	return uint32(date)
}

// sort makes the orders.
func (l *emailsLoad) sort() {
	e := l.e
	const sign = 1 << 63
	places := make([]uint32, e.size)
	values := make([]uint64, e.size)
	for p := range places {
		places[p], values[p] = uint32(p), uint64(e.ReceivedAt(p))^sign
	}
	e.byID = newSorted(slices.Clone(places))
	received := radix(places, values) // among equals by id, as the places are
	e.received = newSorted(slices.Clone(received))
	for p := range values {
		values[p] = uint64(e.Thread(p))
	}
	e.further = newSorted(l.further)
	in := make([][]uint32, len(e.boxes))
	for _, p := range received {
		for at := range e.entries(p) {
			if list := in[at.box]; len(list) == 0 || list[len(list)-1] != p {
				in[at.box] = append(in[at.box], p)
			}
		}
	}
	for i := range in {
		e.boxes[i].received = newSorted(slices.Clip(in[i]))
	}
	e.threads = newSorted(radix(received, values))
}

// bytes is what an Emails holds besides the columns of the mailboxes.
func (e *Emails) bytes() int64 {
	lists := e.byID.bytes(4) + e.received.bytes(4) + e.threads.bytes(4) + e.further.bytes(12)
	for i := range e.boxes {
		lists += 80 + e.boxes[i].received.bytes(4)
	}
	return lists + int64(len(e.pages))*pageMax*23 + int64(len(e.strange))*8 + e.order.size()
}

// bytes is what a list holds whose items have so many octets.
func (s *sorted[T]) bytes(item int64) int64 { return int64(s.n)*item + int64(len(s.chunks))*28 }
