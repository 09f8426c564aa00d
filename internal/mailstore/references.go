package mailstore

import (
	"context"
	"fmt"
	"slices"

	"postroad/imap"
)

// ThreadAlgorithm is how THREAD finds conversations.
type ThreadAlgorithm uint8

// The algorithms.
const (
	// ThreadReferences is REFERENCES (RFC 5256, 3).
	ThreadReferences ThreadAlgorithm = iota
	// ThreadRefs is REFS (draft-ietf-morg-inthread): REFERENCES without looking at subjects,
	// threads in the order of their newest messages.
	ThreadRefs
	// ThreadOrderedSubject is ORDEREDSUBJECT (RFC 5256, 3).
	ThreadOrderedSubject
)

// Threaded is a message in its thread. Threads are lists of these: each message before
// those below it, siblings in order.
type Threaded struct {
	Index int // in the snapshot; -1: a parent that was not searched or is not there
	Depth int // 0: the thread begins here
}

// Threads threads the messages of uids. UIDs that are not in s are passed over. The work
// is linear in messages and references.
func (s *Snapshot) Threads(ctx context.Context, uids imap.UIDSet, by ThreadAlgorithm) ([]Threaded, error) {
	p, err := s.picked(ctx, uids, needKeys)
	if err != nil {
		return nil, err
	}
	return p.threads(by)
}

// threads threads the messages picked.
func (p *pick) threads(by ThreadAlgorithm) ([]Threaded, error) {
	f := newForest(p)
	switch by {
	case ThreadReferences, ThreadRefs:
		f.link()
		f.prune()
		if by == ThreadReferences {
			f.mergeSubjects()
		}
	case ThreadOrderedSubject:
		f.bySubject()
	default:
		return nil, fmt.Errorf("mailstore: thread algorithm %d", by)
	}
	f.attach()
	if by == ThreadRefs {
		f.rootsByNewest()
	}
	return f.list(), nil
}

// none is no node.
const none = int32(-1)

// forest is the nodes of a THREAD under way. The first n are the messages in the order of
// the mailbox; behind them are dummies.
type forest struct {
	p *pick
	n int

	byDate []uint32 // the messages by sent date, then by their sequence
	parent []int32  // of every node; none: no parent
	ids    idTable  // hash of a Message-ID → node
	climbs int      // steps upwards that may still be made in search of loops
	same   []int32  // of nodes that were linked at some time: towards one that stands for all of them
	above  []bool   // nodes that were parents at some time

	children struct{ first, last, next []int32 }
	roots    []int32
}

func newForest(p *pick) *forest {
	n := len(p.index)
	f := &forest{p: p, n: n, parent: make([]int32, n), byDate: make([]uint32, n)}
	values := make([]uint64, n)
	p.values(SortCriterion{By: SortDate}, values)
	for i := range n {
		f.parent[i], f.byDate[i] = none, uint32(i)
	}
	f.byDate = radix(f.byDate, values)
	return f
}

// real tells that a node is a message.
func (f *forest) real(x int32) bool { return int(x) < f.n }

// dummy makes a dummy message.
func (f *forest) dummy() int32 {
	f.parent = append(f.parent, none)
	return int32(len(f.parent) - 1)
}

// link is step 1 of REFERENCES: it makes the parents from the references.
func (f *forest) link() {
	c := f.p.columns
	references := 0
	for _, k := range f.p.row {
		if k >= 0 {
			references += int(c.parentsN[k])
		}
	}
	f.ids, f.climbs = newIDTable(f.n+references), climbsMax*(f.n+references)
	for i, k := range f.p.row {
		if k >= 0 && c.bits[k]&rowNamed != 0 {
			f.ids.add(c.msgID[k], int32(i)) // of several with one Message-ID the first has it
		}
	}
	f.same, f.above = make([]int32, f.n, f.n+references), make([]bool, f.n, f.n+references)
	for i := range f.same {
		f.same[i] = int32(i)
	}
	for i, k := range f.p.row {
		before := none
		if k >= 0 {
			at := c.parentsAt[k]
			for _, h := range c.parents[at : at+uint32(c.parentsN[k])] {
				place := f.ids.place(h)
				x := place.at - 1
				if x == none {
					x = f.dummy()
					f.same, f.above = append(f.same, x), append(f.above, false)
					place.hash, place.at = h, x+1
				}
				if before != none && f.parent[x] == none { // 1 A: an existing link stays
					f.setParent(x, before)
				}
				before = x
			}
		}
		f.parent[i] = none // 1 B: it gives way to the last reference
		if before != none {
			f.setParent(int32(i), before)
		}
	}
}

// setParent links a node that has no parent, unless that made a loop.
func (f *forest) setParent(child, parent int32) {
	if f.loops(child, parent) {
		return
	}
	f.parent[child], f.above[parent] = parent, true
	f.same[f.group(child)] = f.group(parent)
}

// loops tells whether the child is the parent or above it. Only within nodes that have
// been linked with each other is it necessary to climb, and only where the child has been
// a parent: mail as programs write it hardly comes to that. Where strangers wrote mail to
// make it climb for ever, links are left out from climbsMax on, as if they made loops.
func (f *forest) loops(child, parent int32) bool {
	if child == parent {
		return true
	}
	if !f.above[child] || f.group(child) != f.group(parent) {
		return false
	}
	for x := parent; x != none; x = f.parent[x] {
		if f.climbs--; x == child || f.climbs < 0 {
			return true
		}
	}
	return false
}

// climbsMax is how many steps a message or reference is worth, in the mean.
const climbsMax = 200

// group is what stands for all nodes that have been linked with x.
func (f *forest) group(x int32) int32 {
	for f.same[x] != x {
		f.same[x] = f.same[f.same[x]]
		x = f.same[x]
	}
	return x
}

// prune is steps 2 and 3: dummies go, their children move up, but not to the root unless
// there is only one.
func (f *forest) prune() {
	for d := f.n; d < len(f.parent); d++ {
		// After this a dummy's parent is a message, or the topmost dummy above it.
		var path []int32
		x := int32(d)
		for p := f.parent[x]; p != none && !f.real(p) && f.parent[p] != none; p = f.parent[x] {
			path = append(path, x)
			x = p
		}
		for _, y := range path {
			f.parent[y] = f.parent[x]
		}
	}
	count := make([]int32, len(f.parent)-f.n)
	for x := range int32(f.n) {
		if p := f.parent[x]; p != none && !f.real(p) {
			if f.parent[p] != none {
				p = f.parent[p]
				f.parent[x] = p
			}
			if !f.real(p) {
				count[int(p)-f.n]++
			}
		}
	}
	for x := range int32(f.n) {
		if p := f.parent[x]; p != none && !f.real(p) && count[int(p)-f.n] == 1 {
			f.parent[x] = none
		}
	}
	for d := f.n; d < len(f.parent); d++ {
		f.parent[d] = none // those that are left are at the root
	}
}

// subject is the number of a message's base subject, 0 for none; reply tells whether it is
// that of a reply or a forward.
func (f *forest) subject(x int32) (n uint32, reply bool) {
	k := f.p.row[x]
	if k < 0 {
		return 0, false
	}
	return f.p.columns.text[textSubject][k], f.p.columns.bits[k]&rowReply != 0
}

// root is a child of the root in step 5.
type root struct {
	node    int32
	subject uint32
	reply   bool
}

// rootsByDate is step 4: the children of the root in order, a dummy by its first child,
// which also has the subject of the thread.
func (f *forest) rootsByDate() []root {
	roots := make([]root, 0, f.n)
	met := make([]bool, len(f.parent)-f.n)
	for _, i := range f.byDate {
		x := int32(i)
		node := x
		if p := f.parent[x]; p != none {
			if f.real(p) || met[int(p)-f.n] {
				continue
			}
			met[int(p)-f.n] = true
			node = p
		}
		subject, reply := f.subject(x)
		roots = append(roots, root{node, subject, reply})
	}
	return roots
}

// mergeSubjects is step 5 of REFERENCES: threads of one subject become one.
func (f *forest) mergeSubjects() {
	roots := f.rootsByDate()
	table := make([]int32, f.p.columns.texts) // of each subject the place in roots + 1; 0: none
	for i, r := range roots {
		if r.subject == 0 {
			continue
		}
		if at := table[r.subject]; at == 0 {
			table[r.subject] = int32(i) + 1
		} else if t := roots[at-1]; f.real(t.node) && (!f.real(r.node) || t.reply && !r.reply) {
			table[r.subject] = int32(i) + 1
		}
	}
	gone := slices.Repeat([]int32{none}, len(f.parent)-f.n) // to where the children of a dummy went
	for i := range len(roots) {
		r := roots[i]
		// One that has become a child meanwhile is no child of the root any more.
		if r.subject == 0 || f.parent[r.node] != none {
			continue
		}
		t := roots[table[r.subject]-1]
		switch {
		case t.node == r.node:
		case !f.real(r.node):
			gone[int(r.node)-f.n] = t.node // t is a dummy then: the table prefers them
		case !f.real(t.node) || r.reply && !t.reply:
			f.parent[r.node] = t.node
		default:
			d := f.dummy()
			f.parent[r.node], f.parent[t.node] = d, d
			roots = append(roots, root{d, t.subject, t.reply})
			table[r.subject] = int32(len(roots))
		}
	}
	for x := range int32(f.n) {
		if p := int(f.parent[x]) - f.n; p >= 0 && p < len(gone) && gone[p] != none {
			f.parent[x] = gone[p]
		}
	}
}

// bySubject is ORDEREDSUBJECT: the first message of each subject has the others below it.
func (f *forest) bySubject() {
	first := slices.Repeat([]int32{none}, max(1, f.p.columns.texts))
	for _, i := range f.byDate {
		n, _ := f.subject(int32(i))
		if to := first[n]; to != none {
			f.parent[i] = to
		} else {
			first[n] = int32(i)
		}
	}
}

// attach is step 6: all siblings in order, as messages are taken by date. A dummy stands
// where its first child does.
func (f *forest) attach() {
	n := len(f.parent)
	c := &f.children
	c.first, c.last, c.next = slices.Repeat([]int32{none}, n), slices.Repeat([]int32{none}, n), slices.Repeat([]int32{none}, n)
	for _, i := range f.byDate {
		x := int32(i)
		p := f.parent[x]
		switch {
		case p == none:
			f.roots = append(f.roots, x)
			continue
		case c.first[p] == none:
			c.first[p] = x
			if !f.real(p) {
				f.roots = append(f.roots, p)
			}
		default:
			c.next[c.last[p]] = x
		}
		c.last[p] = x
	}
}

// rootsByNewest orders threads by the newest message in each, as REFS does.
func (f *forest) rootsByNewest() {
	top := slices.Repeat([]int32{none}, len(f.parent))
	find := func(x int32) int32 {
		y := x
		for top[y] == none && f.parent[y] != none {
			y = f.parent[y]
		}
		if top[y] != none {
			y = top[y]
		}
		for z := x; z != none && top[z] == none; z = f.parent[z] {
			top[z] = y
		}
		return y
	}
	seen := make([]bool, len(f.parent))
	f.roots = f.roots[:0]
	for _, i := range slices.Backward(f.byDate) {
		if r := find(int32(i)); !seen[r] {
			seen[r] = true
			f.roots = append(f.roots, r)
		}
	}
	slices.Reverse(f.roots)
}

// list puts the trees one behind the other.
func (f *forest) list() []Threaded {
	out := make([]Threaded, 0, len(f.parent))
	type place struct{ node, depth int32 }
	var stack []place // siblings still to come, outermost first
	for _, r := range f.roots {
		stack = append(stack[:0], place{r, 0})
		for len(stack) > 0 {
			at := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			index := -1
			if f.real(at.node) {
				index = int(f.p.index[at.node])
			}
			out = append(out, Threaded{index, int(at.depth)})
			if next := f.children.next[at.node]; next != none {
				stack = append(stack, place{next, at.depth})
			}
			if first := f.children.first[at.node]; first != none {
				stack = append(stack, place{first, at.depth + 1})
			}
		}
	}
	return out
}

// idTable finds the node of a Message-ID by its hash: open addressing, at most two thirds
// full. A hash and its node lie side by side, as each look is a miss of the cache.
type idTable struct {
	places []idPlace
	mask   uint64
}

type idPlace struct {
	hash uint64
	at   int32 // node + 1; 0: free
}

func newIDTable(most int) idTable {
	n := 16
	for n < most+most/2 {
		n *= 2
	}
	return idTable{places: make([]idPlace, n), mask: uint64(n - 1)}
}

// place is where a hash is or would be.
func (t *idTable) place(h uint64) *idPlace {
	i := h & t.mask
	for t.places[i].at != 0 && t.places[i].hash != h {
		i = (i + 1) & t.mask
	}
	return &t.places[i]
}

// add gives a hash its node unless it has one.
func (t *idTable) add(h uint64, node int32) {
	if p := t.place(h); p.at == 0 {
		p.hash, p.at = h, node+1
	}
}
