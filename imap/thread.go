package imap

import (
	"errors"
	"strconv"
)

// ThreadAlgorithm is how THREAD finds what belongs together.
type ThreadAlgorithm uint8

// The algorithms: of RFC 5256, 3, and REFS of draft-ietf-morg-inthread, which is REFERENCES
// without the joining of threads by their subjects, its threads in the order of their
// latest messages.
const (
	ThreadOrderedSubject ThreadAlgorithm = iota
	ThreadReferences
	ThreadRefs
)

// threadNames has the words in the order of the constants.
var threadNames = [...]string{"ORDEREDSUBJECT", "REFERENCES", "REFS"}

// ParseThreadAlgorithm returns the algorithm of a word; false when it is not known.
func ParseThreadAlgorithm(word string) (ThreadAlgorithm, bool) {
	for i, n := range threadNames {
		if EqualFold(word, n) {
			return ThreadAlgorithm(i), true
		}
	}
	return 0, false
}

// String returns the algorithm's word.
func (a ThreadAlgorithm) String() string {
	if int(a) < len(threadNames) {
		return threadNames[a]
	}
	return ""
}

// ThreadNode is a message in the threads of a mailbox. Threads are one slice of nodes,
// parents before their children and each child followed by all that is below it, so that a
// hundred thousand messages are one allocation: for
//
//	(3 6 (4 23)(44 7 96))
//
// it is {3, 1} {6, 2} {4, 1} {23, 0} {44, 1} {7, 1} {96, 0}.
type ThreadNode struct {
	Number   uint32 // sequence number or UID; 0: a parent that is not among those found
	Children uint32 // how many nodes are right below it
}

// ErrThreads says that nodes are no threads: the last have fewer children than they say,
// or a node without number has none.
var ErrThreads = errors.New("imap: not whole threads")

// CheckThreads tells, in linear time, whether nodes are whole threads.
func CheckThreads(nodes []ThreadNode) error {
	open := uint64(0) // nodes that are still to come below those seen
	for _, n := range nodes {
		if n.Number == 0 && n.Children == 0 {
			return ErrThreads
		}
		if open > 0 {
			open--
		}
		if open += uint64(n.Children); open > uint64(len(nodes)) {
			return ErrThreads
		}
	}
	if open > 0 {
		return ErrThreads
	}
	return nil
}

// ThreadFormat writes threads node by node, so that a large answer can be sent in pieces
// (thread-list of RFC 5256, 5). The zero value is ready. The nodes must be whole threads, see
// CheckThreads.
type ThreadFormat struct {
	open    []uint32 // of each list of siblings how many are still to come
	chain   bool     // the next node is the only child of the last one
	printed bool     // the list that is being written has a number
}

// Append appends the next node.
func (f *ThreadFormat) Append(dst []byte, n ThreadNode) []byte {
	if !f.chain {
		dst = append(dst, '(')
		f.printed = false
	}
	if n.Number != 0 { // an only child without number has nothing to tell, nor has its parent's place
		if f.printed {
			dst = append(dst, ' ')
		}
		dst = strconv.AppendUint(dst, uint64(n.Number), 10)
		f.printed = true
	}
	switch f.chain = n.Children == 1; n.Children {
	case 0:
		dst = f.close(dst)
	case 1:
	default:
		if f.printed {
			dst = append(dst, ' ')
		}
		f.open = append(f.open, n.Children)
	}
	return dst
}

// close ends a list and those that it was the last of.
func (f *ThreadFormat) close(dst []byte) []byte {
	dst = append(dst, ')')
	for k := len(f.open); k > 0; k-- {
		if f.open[k-1]--; f.open[k-1] > 0 {
			break
		}
		f.open = f.open[:k-1]
		dst = append(dst, ')')
	}
	return dst
}

// AppendThreads appends whole threads.
func AppendThreads(dst []byte, nodes []ThreadNode) []byte {
	var f ThreadFormat
	for _, n := range nodes {
		dst = f.Append(dst, n)
	}
	return dst
}

// threadOpen is a list that ReadThreads is in.
type threadOpen struct {
	last     int // the node in it that was read last; -1: none, and then siblings have no parent
	siblings bool
}

// ThreadList reads the lists of a THREAD response to the end, without recursion: nothing
// bounds how deep they nest.
func (d *Decoder) ThreadList() []ThreadNode {
	var nodes []ThreadNode
	var stack []threadOpen
	add := func(n uint32) {
		if k := len(stack) - 1; k >= 0 {
			parent := stack[k].last
			if parent < 0 && k > 0 {
				parent = stack[k-1].last
			}
			if parent >= 0 {
				nodes[parent].Children++
			}
			stack[k].last = len(nodes)
		}
		nodes = append(nodes, ThreadNode{Number: n})
	}
	for !d.Done() {
		switch {
		case d.Skip('('):
			if k := len(stack) - 1; k >= 0 && stack[k].last < 0 {
				add(0)
			}
			if k := len(stack) - 1; k >= 0 {
				stack[k].siblings = true
			}
			stack = append(stack, threadOpen{last: -1})
		case d.Skip(')'):
			if len(stack) == 0 || stack[len(stack)-1].last < 0 {
				d.Fail("expected a message number")
				return nil
			}
			stack = stack[:len(stack)-1]
		case len(stack) > 0 && stack[len(stack)-1].last >= 0 && d.Skip(' '):
		case len(stack) > 0 && !stack[len(stack)-1].siblings:
			add(d.NonZero())
		default:
			d.Fail(`expected "("`)
		}
	}
	if len(stack) > 0 {
		d.Fail(`expected ")"`)
	}
	if d.err != nil {
		return nil
	}
	return nodes
}
