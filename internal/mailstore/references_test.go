package mailstore

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// plainMessage is a message as the textbook implementation has it.
type plainMessage struct {
	seq     int // −1: a dummy
	sent    int64
	id      string
	refs    []string
	subject string
	reply   bool

	parent   *plainMessage
	children []*plainMessage
}

func (m *plainMessage) dummy() bool { return m.seq < 0 }

// above tells whether m is x or above it.
func (m *plainMessage) above(x *plainMessage) bool {
	for ; x != nil; x = x.parent {
		if x == m {
			return true
		}
	}
	return false
}

func (m *plainMessage) unlink() {
	if m.parent != nil {
		m.parent.children = slices.DeleteFunc(m.parent.children, func(c *plainMessage) bool { return c == m })
		m.parent = nil
	}
}

func (m *plainMessage) link(parent *plainMessage) {
	if !m.above(parent) {
		m.parent = parent
		parent.children = append(parent.children, m)
	}
}

// bySent compares siblings; a dummy is where its first child is.
func bySent(a, b *plainMessage) int {
	for a.dummy() {
		a = slices.MinFunc(a.children, bySent)
	}
	for b.dummy() {
		b = slices.MinFunc(b.children, bySent)
	}
	return cmp.Or(cmp.Compare(a.sent, b.sent), cmp.Compare(a.seq, b.seq))
}

// plainReferences is REFERENCES word by word (RFC 5256, 3); the comments are its steps.
func plainReferences(messages []*plainMessage) []*plainMessage {
	byID := map[string]*plainMessage{}
	for i, m := range messages { // 1 A: unique Message-IDs
		if m.id == "" || byID[m.id] != nil {
			m.id = fmt.Sprintf("unique %d", i)
		}
		byID[m.id] = m
	}
	for _, m := range messages {
		var last *plainMessage
		for _, ref := range m.refs { // 1 A
			x := byID[ref]
			if x == nil {
				x = &plainMessage{seq: -1, id: ref}
				byID[ref] = x
			}
			if last != nil && x.parent == nil {
				x.link(last)
			}
			last = x
		}
		m.unlink() // 1 B
		if last != nil {
			m.link(last)
		}
	}
	root := &plainMessage{seq: -1} // 2
	for _, m := range byID {
		if m.parent == nil {
			root.children = append(root.children, m)
		}
	}
	root.children = plainPrune(root.children, true) // 3
	return root.children
}

func plainPrune(siblings []*plainMessage, top bool) []*plainMessage {
	var out []*plainMessage
	for _, m := range siblings {
		m.children = plainPrune(m.children, false)
		switch {
		case !m.dummy():
			out = append(out, m)
		case len(m.children) == 0:
		case !top || len(m.children) == 1:
			out = append(out, m.children...)
		default:
			out = append(out, m)
		}
	}
	return out
}

// plainSubjects is steps 4 and 5.
func plainSubjects(roots []*plainMessage) []*plainMessage {
	slices.SortFunc(roots, bySent)
	subject := func(m *plainMessage) string {
		if m.dummy() {
			return slices.MinFunc(m.children, bySent).subject
		}
		return m.subject
	}
	table := map[string]*plainMessage{}
	for _, m := range roots { // 5 B
		s := subject(m)
		if s == "" {
			continue
		}
		t := table[s]
		if t == nil || !t.dummy() && (m.dummy() || t.reply && !m.reply) {
			table[s] = m
		}
	}
	drop := func(m *plainMessage) {
		roots = slices.DeleteFunc(slices.Clone(roots), func(r *plainMessage) bool { return r == m })
	}
	for _, m := range slices.Clone(roots) { // 5 C
		s := subject(m)
		t := table[s]
		if s == "" || t == m || !slices.Contains(roots, m) {
			continue
		}
		switch {
		case t.dummy() && m.dummy():
			t.children = append(t.children, m.children...)
			drop(m)
		case t.dummy(), m.reply && !t.reply:
			t.children = append(t.children, m)
			drop(m)
		default:
			d := &plainMessage{seq: -1, children: []*plainMessage{t, m}}
			table[s] = d
			drop(t)
			drop(m)
			roots = append(roots, d)
		}
	}
	return roots
}

// plainList is step 6.
func plainList(siblings []*plainMessage, depth int, out []Threaded) []Threaded {
	slices.SortFunc(siblings, bySent)
	for _, m := range siblings {
		out = plainList(m.children, depth+1, append(out, Threaded{m.seq, depth}))
	}
	return out
}

func plainNewest(m *plainMessage) (newest *plainMessage) {
	newest = m
	for _, c := range m.children {
		if n := plainNewest(c); newest.dummy() || cmp.Or(cmp.Compare(newest.sent, n.sent), cmp.Compare(newest.seq, n.seq)) < 0 {
			newest = n
		}
	}
	return newest
}

// plainThreads is what Threads must give.
func plainThreads(messages []*plainMessage, by ThreadAlgorithm) []Threaded {
	switch by {
	case ThreadReferences:
		return plainList(plainSubjects(plainReferences(messages)), 0, nil)
	case ThreadRefs:
		roots := plainReferences(messages)
		slices.SortFunc(roots, func(a, b *plainMessage) int {
			return bySent(plainNewest(a), plainNewest(b))
		})
		var out []Threaded
		for _, r := range roots {
			out = plainList([]*plainMessage{r}, 0, out)
		}
		return out
	}
	sorted := slices.Clone(messages)
	slices.SortStableFunc(sorted, func(a, b *plainMessage) int {
		return cmp.Or(strings.Compare(a.subject, b.subject), cmp.Compare(a.sent, b.sent))
	})
	var roots []*plainMessage
	for _, m := range sorted {
		if n := len(roots); n > 0 && roots[n-1].subject == m.subject {
			roots[n-1].children = append(roots[n-1].children, m)
		} else {
			roots = append(roots, m)
		}
	}
	return plainList(roots, 0, nil)
}

// drawMessages draws a mailbox: a forest of answers among few Message-IDs, some of which
// no message has, some several; references are cut, in disorder, and run in circles.
func drawMessages(t *rapid.T) []*plainMessage {
	n := rapid.IntRange(0, 24).Draw(t, "messages")
	ids := rapid.IntRange(1, 2*n+1).Draw(t, "ids")
	id := func(what string) string { return fmt.Sprintf("%d@example.org", rapid.IntRange(0, ids).Draw(t, what)) }
	var all []*plainMessage
	for i := range n {
		m := &plainMessage{seq: i, sent: int64(rapid.IntRange(0, n).Draw(t, "sent")), reply: rapid.Bool().Draw(t, "reply"),
			subject: rapid.SampledFrom([]string{"", "A", "B", "C", "D", "E", "F", "G"}).Draw(t, "subject")}
		if rapid.IntRange(0, 5).Draw(t, "named") > 0 {
			m.id = id("id")
		}
		for range rapid.IntRange(0, 4).Draw(t, "refs") {
			m.refs = append(m.refs, id("ref"))
		}
		if i > 0 && rapid.Bool().Draw(t, "answer") { // as mail programs do it
			p := all[rapid.IntRange(0, i-1).Draw(t, "parent")]
			m.refs = append(slices.Clone(p.refs), p.id)
			m.refs = slices.DeleteFunc(m.refs, func(s string) bool { return s == "" })
		}
		all = append(all, m)
	}
	return all
}

// pickOf makes what Threads works on of messages.
func pickOf(messages []*plainMessage) *pick {
	c := &columns{}
	c.grow(len(messages))
	p := &pick{columns: c}
	numbers := map[string]uint32{"": 0}
	for i, m := range messages {
		c.sent[i] = m.sent
		if m.reply {
			c.bits[i] |= rowReply
		}
		if m.id != "" {
			c.bits[i] |= rowNamed
			c.msgID[i] = threadHash(m.id, "")
		}
		c.parentsAt[i], c.parentsN[i] = uint32(len(c.parents)), uint8(len(m.refs))
		for _, r := range m.refs {
			c.parents = append(c.parents, threadHash(r, ""))
		}
		if _, known := numbers[m.subject]; !known {
			numbers[m.subject] = uint32(len(numbers))
		}
		c.text[textSubject][i] = numbers[m.subject]
		p.index, p.row = append(p.index, uint32(i)), append(p.row, int32(i))
		p.date, p.size = append(p.date, 0), append(p.size, 0)
	}
	c.texts = len(numbers)
	return p
}

// TestThreadsRandom compares the three algorithms with a textbook implementation on
// random mailboxes.
func TestThreadsRandom(t *testing.T) {
	for by, name := range []string{"REFERENCES", "REFS", "ORDEREDSUBJECT"} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				all := drawMessages(t)
				got, err := pickOf(all).threads(ThreadAlgorithm(by))
				if err != nil {
					t.Fatal(err)
				}
				if want := plainThreads(all, ThreadAlgorithm(by)); !slices.Equal(got, want) {
					t.Fatalf("got  %v\nwant %v", got, want)
				}
			})
		})
	}
}

// TestThreadsHostile threads a long chain whose end every other message claims for its
// own answer in circles: that must not take quadratic time, nor lose a message.
func TestThreadsHostile(t *testing.T) {
	const n = 20_000
	var all []*plainMessage
	for i := range n {
		m := &plainMessage{seq: i, sent: int64(i), id: fmt.Sprint(i)}
		if i > 0 {
			m.refs = []string{fmt.Sprint(i - 1)}
		}
		if i > n/2 {
			m.refs = append(m.refs, fmt.Sprint(n/2), "0", fmt.Sprint(i-1), "0", fmt.Sprint(i-1))
		}
		all = append(all, m)
	}
	p := pickOf(all)
	start := newForest(p)
	start.link()
	if start.climbs < -2*n*8 {
		t.Errorf("%d steps beyond the limit", -start.climbs)
	}
	got, err := p.threads(ThreadReferences)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for _, m := range got {
		seen[m.Index] = true
	}
	if delete(seen, -1); len(seen) != n {
		t.Errorf("%d messages of %d", len(seen), n)
	}
}

// TestThreadsDeep threads a chain of 50,000 answers, whichever way round it came.
func TestThreadsDeep(t *testing.T) {
	const n = 50_000
	for _, backwards := range []bool{false, true} {
		var all []*plainMessage
		for i := range n {
			at := i
			if backwards {
				at = n - 1 - i
			}
			m := &plainMessage{seq: i, sent: int64(at), id: fmt.Sprint(at), subject: "A", reply: true}
			if at > 0 {
				m.refs = []string{fmt.Sprint(at - 1)}
			}
			all = append(all, m)
		}
		got, err := pickOf(all).threads(ThreadReferences)
		if err != nil || len(got) != n || got[n-1].Depth != n-1 {
			t.Fatalf("%d messages, %v", len(got), err)
		}
	}
}
