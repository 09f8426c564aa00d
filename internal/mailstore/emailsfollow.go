package mailstore

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"

	"postroad/internal/kv"
)

// editsMax is how many messages that changed are taken into an Emails, besides half of
// those that it has; with more it is loaded anew.
const editsMax = 4096

// boxesMax is how many numbers of mailboxes are given before an Emails is loaded anew.
const boxesMax = math.MaxUint16

// emailsEdit makes an Emails of an older one and what changed.
type emailsEdit struct {
	old, e *Emails
	snap   kv.Snapshot
	edits  map[MessageID]*emailEdit
	copied map[int]bool        // pages that are e's own
	grown  bool                // the last page may be pushed to
	number map[ThreadID]uint32 // of threads looked for

	gone, added []uint32            // places
	moved       []uint32            // to another thread
	in, out     map[uint16][]uint32 // places by mailbox
	furtherIn   []further
	furtherOut  []further
	counted     map[ThreadID]bool // threads to be counted anew
}

// emailEdit is what became of one message.
type emailEdit struct {
	id      MessageID
	place   uint32
	there   bool // it was in the old one
	in, out []entryAt
	joined  bool // its thread joined another one
}

// follow makes the Emails of now; nil when it is better loaded anew.
func (e *Emails) follow(snap kv.Snapshot, now *emailsNow) (*Emails, error) {
	fresh := *e
	d := &emailsEdit{old: e, e: &fresh, snap: snap, edits: map[MessageID]*emailEdit{}, copied: map[int]bool{},
		number: map[ThreadID]uint32{}, in: map[uint16][]uint32{}, out: map[uint16][]uint32{}, counted: map[ThreadID]bool{}}
	fresh.version = snap.Version()
	fresh.take(now)
	fresh.boxes, fresh.pages = slices.Clone(e.boxes), slices.Clone(e.pages)
	if !d.mailboxes(now) {
		return nil, nil
	}
	for _, id := range now.log.joined {
		for _, p := range e.ThreadMembers(id) {
			d.edit(e.Message(p)).joined = true
		}
	}
	if len(d.edits) > editsMax+e.Len()/2 || e.dead > editsMax+e.Len()/2 {
		return nil, nil
	}
	for _, id := range slices.Sorted(maps.Keys(d.edits)) {
		if err := d.apply(d.edits[id]); err != nil {
			return nil, err
		}
	}
	d.lists()
	d.count()
	return &fresh, nil
}

// mailboxes finds the entries that changed.
func (d *emailsEdit) mailboxes(now *emailsNow) bool {
	renumbered := false
	own := func() {
		if !renumbered {
			renumbered = true
			d.e.number = maps.Clone(d.e.number)
		}
	}
	for i := range d.old.boxes {
		was := d.old.boxes[i].snapshot
		if was == nil {
			continue
		}
		is := now.snapshots[was.mailbox]
		if is == was {
			continue
		}
		if is == nil || is.validity != was.validity {
			own()
			delete(d.e.number, was.mailbox)
			d.e.boxes[i] = emailBox{}
			d.leave(uint16(i), was)
			continue
		}
		d.e.boxes[i].snapshot = is
		d.changed(uint16(i), was, is)
	}
	for _, id := range now.sight.readable {
		if _, known := d.e.number[id]; known {
			continue
		}
		if len(d.e.boxes) >= boxesMax {
			return false
		}
		own()
		s := now.snapshots[id]
		n := d.e.addBox(id, s)
		for _, r := range s.Rows(0, s.n) {
			d.enter(n, &r)
		}
	}
	return true
}

// leave takes note that all messages of a mailbox have left it.
func (d *emailsEdit) leave(box uint16, was *Snapshot) {
	for _, r := range was.Rows(0, was.n) {
		e := d.edit(r.ID)
		e.out = append(e.out, entryAt{box, r.UID})
	}
}

func (d *emailsEdit) enter(box uint16, r *Row) {
	e := d.edit(r.ID)
	e.in = append(e.in, entryAt{box, r.UID})
}

// changed takes note of what changed in one mailbox.
func (d *emailsEdit) changed(box uint16, was, is *Snapshot) {
	_, delta := was.Advance(is, false)
	for _, i := range delta.Expunged {
		r := was.Row(int(i))
		e := d.edit(r.ID)
		e.out = append(e.out, entryAt{box, r.UID})
	}
	for _, r := range is.Rows(is.n-delta.Added, is.n) {
		d.enter(box, &r)
	}
	for _, i := range delta.Changed {
		d.edit(is.Row(i).ID)
	}
}

// edit returns the edit of a message.
func (d *emailsEdit) edit(id MessageID) *emailEdit {
	m := d.edits[id]
	if m == nil {
		m = &emailEdit{id: id}
		if p, there := d.old.Find(id); there {
			m.place, m.there = uint32(p), true
			d.counted[d.old.Thread(p)] = true
		}
		d.edits[id] = m
	}
	return m
}

// apply puts one message into the columns.
func (d *emailsEdit) apply(m *emailEdit) error {
	var before, after []entryAt
	if m.there {
		before = slices.Collect(d.old.entries(m.place))
	}
	for _, at := range before {
		if !slices.Contains(m.out, at) {
			after = append(after, at)
		}
	}
	after = append(after, m.in...)
	switch {
	case len(after) == 0 && !m.there:
		return nil
	case len(after) == 0:
		d.page(m.place).bits[m.place%pageMax] |= bitDead
		d.gone = append(d.gone, m.place)
		d.e.dead++
		d.entries(m.place, before, nil)
		return nil
	case !m.there:
		if err := d.create(m, after[0]); err != nil {
			return err
		}
	case m.joined:
		if err := d.join(m); err != nil {
			return err
		}
	}
	g, k := d.page(m.place), m.place%pageMax
	g.box[k], g.uid[k] = after[0].box, after[0].uid
	bits := g.bits[k]&bitJoined | bitSeen
	for _, at := range after {
		r, there := d.e.row(at)
		if !there {
			return fmt.Errorf("%w: entry %d of message %s", ErrDamaged, at.uid, m.id)
		}
		f := byte(r.Flags) & bitFlags
		bits = bits&^bitSeen | f&^bitSeen | bits&f&bitSeen
	}
	if len(after) > 1 {
		bits |= bitFurther
	}
	g.bits[k] = bits
	d.entries(m.place, before, after)
	d.counted[d.e.Thread(int(m.place))] = true
	return nil
}

// entries notes which mailboxes a message left and came to, and its further entries.
func (d *emailsEdit) entries(p uint32, before, after []entryAt) {
	if slices.Equal(before, after) {
		return
	}
	was, is := boxesOf(before), boxesOf(after)
	for _, box := range was {
		if !contains(is, box) {
			d.out[box] = append(d.out[box], p)
		}
	}
	for _, box := range is {
		if !contains(was, box) {
			d.in[box] = append(d.in[box], p)
		}
	}
	for _, at := range before[min(1, len(before)):] {
		d.furtherOut = append(d.furtherOut, further{p, at.uid, at.box})
	}
	for _, at := range after[min(1, len(after)):] {
		d.furtherIn = append(d.furtherIn, further{p, at.uid, at.box})
	}
}

// boxesOf returns the mailboxes of entries, each once.
func boxesOf(all []entryAt) []uint16 {
	var boxes []uint16
	for _, at := range all {
		if !contains(boxes, at.box) {
			boxes = append(boxes, at.box)
		}
	}
	return boxes
}

// page returns the page of a place to be changed.
func (d *emailsEdit) page(p uint32) *emailPage {
	n := int(p / pageMax)
	if !d.copied[n] {
		d.copied[n] = true
		g := d.e.pages[n]
		d.e.pages[n] = &emailPage{id: grownClone(g.id), date: grownClone(g.date), thread: grownClone(g.thread),
			uid: grownClone(g.uid), box: grownClone(g.box), bits: grownClone(g.bits)}
	}
	return d.e.pages[n]
}

// create gives a message a place.
func (d *emailsEdit) create(m *emailEdit, at entryAt) error {
	v, found, err := get(d.snap, key(keyList, m.id))
	if err != nil {
		return err
	}
	var list Record
	if !found {
		return fmt.Errorf("%w: no list record of message %s", ErrDamaged, m.id)
	}
	if _, _, err := list.readList(v); err != nil {
		return err
	}
	root, err := d.root(list.Thread)
	if err != nil {
		return err
	}
	var bits byte
	if root != list.Thread {
		bits = bitJoined
	}
	if k := len(d.e.pages) - 1; !d.grown && k >= 0 {
		last := *d.e.pages[k] // grows behind what is seen of the old one
		d.e.pages[k] = &last
	}
	d.grown = true
	r, _ := d.e.row(at)
	m.place = d.e.push(m.id, r.InternalDate, at, bits)
	d.added = append(d.added, m.place)
	n := d.threadNumber(root)
	if n == noThread {
		n = m.place
		if root != m.id {
			n = strangeThread | uint32(len(d.e.strange))
			d.e.strange = append(d.e.strange, root)
		}
		d.number[root] = n
	}
	d.page(m.place).thread[m.place%pageMax] = n
	return nil
}

// join puts a message into the conversation that its thread joined.
func (d *emailsEdit) join(m *emailEdit) error {
	root, err := d.root(d.old.Thread(int(m.place)))
	if err != nil {
		return err
	}
	n := d.threadNumber(root)
	if n == noThread {
		n = strangeThread | uint32(len(d.e.strange))
		d.e.strange = append(d.e.strange, root)
		d.number[root] = n
	}
	g, k := d.page(m.place), m.place%pageMax
	g.thread[k] = n
	g.bits[k] |= bitJoined
	d.moved = append(d.moved, m.place)
	return nil
}

func (d *emailsEdit) root(id ThreadID) (ThreadID, error) {
	return threadRoot(id, func(k []byte) ([]byte, bool, error) { return get(d.snap, k) })
}

// noThread says that a thread has no number.
const noThread = ^uint32(0)

// threadNumber finds the number that a thread has, by a message of it or by the one that it
// is named after.
func (d *emailsEdit) threadNumber(root ThreadID) uint32 {
	if n, known := d.number[root]; known {
		return n
	}
	n := noThread
	if k, _ := d.old.threads.search(func(p uint32) int { return cmp.Or(cmp.Compare(d.old.Thread(int(p)), root), 1) }); k < d.old.threads.len() {
		if p := d.old.threads.at(k); d.old.Thread(int(p)) == root {
			g, i := d.old.at(p)
			n = g.thread[i]
		}
	}
	if n == noThread {
		if p, there := d.old.Find(root); there {
			n = uint32(p)
		}
	}
	if n != noThread {
		d.number[root] = n
	}
	return n
}

// lists brings the orders forward.
func (d *emailsEdit) lists() {
	old, e := d.old, d.e
	gone, added := d.gone, d.added
	rethreaded := slices.Clone(d.moved)
	change := func(list sorted[uint32], out, in []uint32, was, is func(a, b uint32) int) sorted[uint32] {
		out, in = slices.SortedFunc(slices.Values(out), was), slices.SortedFunc(slices.Values(in), is)
		list = list.without(out, was)
		return list.with(in, is)
	}
	e.byID = change(old.byID, gone, added, old.compareIDs, e.compareIDs)
	e.received = change(old.received, gone, added, old.compareReceived, e.compareReceived)
	e.threads = change(old.threads, slices.Concat(gone, rethreaded), slices.Concat(added, rethreaded), old.compareThreads, e.compareThreads)
	for i := range e.boxes {
		if e.boxes[i].snapshot != nil {
			e.boxes[i].received = change(e.boxes[i].received, d.out[uint16(i)], d.in[uint16(i)], old.compareReceived, e.compareReceived)
		}
	}
	slices.SortFunc(d.furtherOut, compareFurther)
	slices.SortFunc(d.furtherIn, compareFurther)
	e.further = old.further.without(d.furtherOut, compareFurther)
	e.further = e.further.with(d.furtherIn, compareFurther)
}

// count brings the counts forward, by the threads of which anything changed.
func (d *emailsEdit) count() {
	if d.old.trash != d.e.trash {
		d.e.recount()
		return
	}
	for id := range d.counted {
		d.old.countInto(d.e, id, -1)
		d.e.countInto(d.e, id, 1)
	}
}
