package mailstore

import (
	"cmp"
	"iter"
	"slices"
	"strings"

	"postroad/imap"
	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
)

// Emails is every message of an account that a reader may see, each once however many
// mailboxes it is in, at one moment. It is not changed, needs no closing, and is shared by
// all who ask: Account.Emails brings the newest one forward by what changed.
//
// A message has a place, a small number that it keeps from one Emails to the next of the
// same account, mostly; it means something in the Emails that it came from only. Places
// have holes: loop over All or Received.
//
// Besides the columns of the mailboxes, which views share, it takes about 40 octets a
// message.
type Emails struct {
	account *Account
	cell    *emailsCell
	reader  AccountID // 0: somebody from outside; the owner: everything
	version kv.Version
	tree    *Tree
	sight   *sight

	boxes  []emailBox           // by number; those of mailboxes that are gone stay empty
	number map[MailboxID]uint16 // of the others
	trash  MailboxID

	pages []*emailPage
	size  int // places in use, holes included
	dead  int // holes

	byID     sorted[uint32] // places by message id
	received sorted[uint32] // places by received date, oldest first
	threads  sorted[uint32] // places by thread, then as received
	further  sorted[further]
	strange  []ThreadID // threads whose first message has no place: see threadID

	order *emailOrder // sort keys, shared by all of the account and reader
}

// emailBox is one mailbox of an Emails.
type emailBox struct {
	snapshot *Snapshot // nil: not there any more
	received sorted[uint32]
	counts   Counts
}

// pageMax is the number of messages in a page: what a change of one message copies, 6 KB.
const pageMax = 256

// emailPage is the columns of pageMax places. Only the newest page grows, behind what is
// seen of it; the others are copied to be changed.
type emailPage struct {
	id     []MessageID
	date   []uint32 // received: seconds since 1970 UTC; 0: not within them, see its row
	thread []uint32 // number of the thread, see threadID
	uid    []uint32 // of its first entry
	box    []uint16 // number of the mailbox of its first entry
	bits   []byte
}

// The bits of a message: system flags as JMAP has them (all of its entries \Seen, some of
// them with the others), and what is found elsewhere.
const (
	bitSeen     = byte(Seen)
	bitAnswered = byte(Answered)
	bitFlagged  = byte(Flagged)
	bitDraft    = byte(Draft)
	bitFlags    = bitSeen | bitAnswered | bitFlagged | bitDraft

	bitDead    = 1 << 5 // no message is here
	bitJoined  = 1 << 6 // its own thread has joined another one
	bitFurther = 1 << 7 // it has entries beside the first one
)

// further is an entry of a message beside its first one.
type further struct {
	place uint32
	uid   uint32
	box   uint16
}

func compareFurther(a, b further) int {
	return cmp.Or(cmp.Compare(a.place, b.place), cmp.Compare(a.box, b.box), cmp.Compare(a.uid, b.uid))
}

// Email is one message of an Emails.
type Email struct {
	ID        EmailID
	Thread    ThreadID // of the conversation as a whole, whatever joined it
	Received  int64    // internal date, seconds since 1970 UTC
	Size      uint32   // octets
	Flags     Flags    // system flags without \Deleted: \Seen when all entries have it (the reader's own in another one's account), others when one has
	Keywords  []string // all others of its entries, in lower case and order (RFC 8621, 4.1.1)
	Mailboxes []MailboxID
}

// EmailID names a message as those see it for whom the thread of a message never changes
// (RFC 8621, 4.1.1): when its thread joins another one, the message gets another EmailID.
// See docs/decisions/0006-threads-join.md.
type EmailID struct {
	Message MessageID
	Joined  ThreadID // the thread that the message's own has come to belong to; 0: its own
}

// String writes the id for clients: that of the message, and behind "-" that of the thread.
func (id EmailID) String() string {
	if id.Joined == 0 {
		return FormatEmailID(id.Message)
	}
	return FormatEmailID(id.Message) + "-" + id.Joined.String()
}

// ParseEmailID reads what String wrote; hlc.ErrFormat.
func ParseEmailID(s string) (EmailID, error) {
	own, joined, has := strings.Cut(s, "-")
	m, err := ParseObjectID('M', own)
	if err != nil || m == 0 {
		return EmailID{}, hlc.ErrFormat
	}
	id := EmailID{Message: m}
	if has {
		if id.Joined, err = hlc.Parse(joined); err != nil || id.Joined == 0 {
			return EmailID{}, hlc.ErrFormat
		}
	}
	return id, nil
}

// Counts is what a mailbox holds for a reader, each message and thread once (RFC 8621, 2).
type Counts struct {
	Emails, UnreadEmails   int // unread: neither \Seen nor \Draft
	Threads, UnreadThreads int // those in Trash are kept apart from the others, as RFC 8621, 2, wants
}

// Version is that of the account.
func (e *Emails) Version() uint64 { return uint64(e.version) }

// Len is the number of messages.
func (e *Emails) Len() int { return e.byID.len() }

// Places is above every place: the size of a table with one entry for each.
func (e *Emails) Places() int { return e.size }

// Tree is the mailboxes of the account, those that the reader may not see included.
func (e *Emails) Tree() *Tree { return e.tree }

// Visible returns the mailboxes that the reader may look up, in the order of the tree. The
// slice is shared.
func (e *Emails) Visible() []Visible { return e.sight.all }

// Find returns the place of a message.
func (e *Emails) Find(id MessageID) (int, bool) {
	k, found := e.byID.search(func(p uint32) int { return cmp.Compare(e.message(p), id) })
	if !found {
		return 0, false
	}
	return int(e.byID.at(k)), true
}

// FindID is Find for the id that clients have: false also where the message has another one
// now.
func (e *Emails) FindID(id EmailID) (int, bool) {
	p, found := e.Find(id.Message)
	return p, found && e.ID(p) == id
}

// at finds the page of a place and where it is in there.
func (e *Emails) at(p uint32) (*emailPage, int) { return e.pages[p/pageMax], int(p % pageMax) }

func (e *Emails) message(p uint32) MessageID {
	g, k := e.at(p)
	return g.id[k]
}

func (e *Emails) bits(p uint32) byte {
	g, k := e.at(p)
	return g.bits[k]
}

// strangeThread marks the number of a thread whose first message has no place.
const strangeThread = 1 << 31

// threadID is the thread of a number: named after the message at that place, or one of
// those in strange.
func (e *Emails) threadID(n uint32) ThreadID {
	if n&strangeThread != 0 {
		return e.strange[n&^strangeThread]
	}
	return e.message(n)
}

// Message returns the message at a place.
func (e *Emails) Message(place int) MessageID { return e.message(uint32(place)) }

// ID returns the id of a message for clients.
func (e *Emails) ID(place int) EmailID {
	g, k := e.at(uint32(place))
	id := EmailID{Message: g.id[k]}
	if g.bits[k]&bitJoined != 0 {
		id.Joined = e.threadID(g.thread[k])
	}
	return id
}

// Thread returns the conversation of a message.
func (e *Emails) Thread(place int) ThreadID {
	g, k := e.at(uint32(place))
	return e.threadID(g.thread[k])
}

// ThreadNumber tells conversations apart: one number each, below ThreadNumbers. It is
// quicker than Thread, and fits a table.
func (e *Emails) ThreadNumber(place int) int {
	g, k := e.at(uint32(place))
	if n := g.thread[k]; n&strangeThread == 0 {
		return int(n)
	}
	return e.size + int(g.thread[k]&^strangeThread)
}

// ThreadNumbers is above every number of a thread.
func (e *Emails) ThreadNumbers() int { return e.size + len(e.strange) }

// ThreadMembers returns the places of a conversation's messages, oldest first by received
// date (RFC 8621, 3); none for one that is not there.
func (e *Emails) ThreadMembers(id ThreadID) []int {
	from, _ := e.threads.search(func(p uint32) int {
		return cmp.Or(cmp.Compare(e.Thread(int(p)), id), 1)
	})
	var all []int
	for k := from; k < e.threads.len(); k++ {
		p := int(e.threads.at(k))
		if e.Thread(p) != id {
			break
		}
		all = append(all, p)
	}
	return all
}

// ReceivedAt is the internal date of a message, seconds since 1970 UTC.
func (e *Emails) ReceivedAt(place int) int64 {
	g, k := e.at(uint32(place))
	if d := g.date[k]; d != 0 {
		return int64(d)
	}
	r, _ := e.row(entryAt{g.box[k], g.uid[k]})
	return r.InternalDate
}

// entryAt is an entry by the number of its mailbox.
type entryAt struct {
	box uint16
	uid uint32
}

// row returns the row of an entry.
func (e *Emails) row(at entryAt) (Row, bool) {
	s := e.boxes[at.box].snapshot
	if s == nil {
		return Row{}, false
	}
	i, found := s.Index(at.uid)
	if !found {
		return Row{}, false
	}
	return s.Row(i), true
}

// entries yields the entries of a message.
func (e *Emails) entries(p uint32) iter.Seq[entryAt] {
	return func(yield func(entryAt) bool) {
		g, k := e.at(p)
		if g.bits[k]&bitDead != 0 || !yield(entryAt{g.box[k], g.uid[k]}) || g.bits[k]&bitFurther == 0 {
			return
		}
		from, _ := e.further.search(func(f further) int { return cmp.Or(cmp.Compare(f.place, p), 1) })
		for i := from; i < e.further.len(); i++ {
			f := e.further.at(i)
			if f.place != p || !yield(entryAt{f.box, f.uid}) {
				return
			}
		}
	}
}

// Entries returns where a message is, in the mailboxes that the reader may read, in order.
func (e *Emails) Entries(place int) []Location {
	var all []Location
	for at := range e.entries(uint32(place)) {
		all = append(all, Location{e.boxes[at.box].snapshot.mailbox, at.uid})
	}
	slices.SortFunc(all, func(a, b Location) int {
		return cmp.Or(cmp.Compare(a.Mailbox, b.Mailbox), cmp.Compare(a.UID, b.UID))
	})
	return all
}

// Mailboxes returns the mailboxes that a message is in, each once, of those that the reader
// may read.
func (e *Emails) Mailboxes(place int) []MailboxID {
	var all []MailboxID
	for at := range e.entries(uint32(place)) {
		if id := e.boxes[at.box].snapshot.mailbox; !contains(all, id) {
			all = append(all, id)
		}
	}
	slices.Sort(all)
	return all
}

// In tells whether a message is in a mailbox.
func (e *Emails) In(place int, mailbox MailboxID) bool {
	n, there := e.number[mailbox]
	if !there {
		return false
	}
	for at := range e.entries(uint32(place)) {
		if at.box == n {
			return true
		}
	}
	return false
}

// Email returns a message.
func (e *Emails) Email(place int) Email {
	g, k := e.at(uint32(place))
	m := Email{ID: e.ID(place), Thread: e.threadID(g.thread[k]), Flags: Flags(g.bits[k] & bitFlags)}
	for at := range e.entries(uint32(place)) {
		s := e.boxes[at.box].snapshot
		r, _ := e.row(at)
		m.Received, m.Size = r.InternalDate, r.Size
		if !contains(m.Mailboxes, s.mailbox) {
			m.Mailboxes = append(m.Mailboxes, s.mailbox)
		}
		if r.Flags&KeywordFlags == 0 {
			continue
		}
		for i, name := range s.keywords {
			if r.Flags&Keyword(i) == 0 {
				continue
			}
			if name = strings.ToLower(name); !slices.Contains(m.Keywords, name) {
				m.Keywords = append(m.Keywords, name)
			}
		}
	}
	slices.Sort(m.Keywords)
	slices.Sort(m.Mailboxes)
	return m
}

// Flags are the system flags of a message, as Email has them.
func (e *Emails) Flags(place int) Flags { return Flags(e.bits(uint32(place)) & bitFlags) }

// KeywordTest tells of messages whether they have one keyword.
type KeywordTest struct {
	e    *Emails
	bits byte
	mask []Flags // by number of the mailbox
}

// Keyword returns a test for a keyword, a system flag in IMAP's words ("\\Seen") or in
// JMAP's ("$seen"), in any case.
func (e *Emails) Keyword(name string) KeywordTest {
	t := KeywordTest{e: e, bits: systemKeyword(name)}
	if t.bits != 0 {
		return t
	}
	t.mask = make([]Flags, len(e.boxes))
	for i := range e.boxes {
		if s := e.boxes[i].snapshot; s != nil {
			if k := indexKeyword(s.keywords, name); k >= 0 {
				t.mask[i] = Keyword(k)
			}
		}
	}
	return t
}

// Has tells whether a message has the keyword.
func (t KeywordTest) Has(place int) bool {
	if t.bits != 0 {
		return t.e.bits(uint32(place))&t.bits != 0
	}
	for at := range t.e.entries(uint32(place)) {
		if t.mask[at.box] == 0 {
			continue
		}
		if r, _ := t.e.row(at); r.Flags&t.mask[at.box] != 0 {
			return true
		}
	}
	return false
}

// systemKeyword is the bit of a keyword that is a system flag, 0 for others.
func systemKeyword(name string) byte {
	if name == "" || name[0] != '$' && name[0] != '\\' {
		return 0
	}
	for i, f := range systemFlags {
		if bit := byte(1) << i; bit&bitFlags != 0 && imap.EqualFold(name[1:], string(f)[1:]) {
			return bit
		}
	}
	return 0
}

// Snapshot returns a mailbox at this moment, as a View of the reader has it; nil where
// there is none, or none that he may read. Its Version may be older: it has not changed
// since.
func (e *Emails) Snapshot(mailbox MailboxID) *Snapshot {
	n, there := e.number[mailbox]
	if !there {
		return nil
	}
	return e.boxes[n].snapshot
}

// Counts returns what a mailbox holds.
func (e *Emails) Counts(mailbox MailboxID) Counts {
	n, there := e.number[mailbox]
	if !there {
		return Counts{}
	}
	return e.boxes[n].counts
}

// Received is messages in the order in which they were received, newest first.
type Received struct {
	e    *Emails
	list *sorted[uint32]
}

// Received returns the messages of a mailbox, 0: all messages, as they were received. A
// message that was appended twice to a mailbox is there once. It costs nothing, however
// many there are.
func (e *Emails) Received(mailbox MailboxID) Received {
	if mailbox == 0 {
		return Received{e, &e.received}
	}
	n, there := e.number[mailbox]
	if !there {
		return Received{e, &sorted[uint32]{}}
	}
	return Received{e, &e.boxes[n].received}
}

// Len is the number of messages.
func (r Received) Len() int { return r.list.len() }

// At returns the place of the message at an index, 0 is the newest.
func (r Received) At(i int) int { return int(r.list.at(r.list.len() - 1 - i)) }

// Index returns the index of a message by its place; where it is not there, false and the
// index that it would have.
func (r Received) Index(place int) (int, bool) {
	k, found := r.list.search(func(p uint32) int { return r.e.compareReceived(p, uint32(place)) })
	if !found {
		return r.list.len() - k, false
	}
	return r.list.len() - 1 - k, true
}

// Before returns how many of the messages were received at a time or later (seconds since
// 1970 UTC): the index of the first one that was received before it.
func (r Received) Before(at int64) int {
	k, _ := r.list.search(func(p uint32) int { return cmp.Or(cmp.Compare(r.e.ReceivedAt(int(p)), at), 1) })
	return r.list.len() - k
}

// All yields the places, newest first.
func (r Received) All() iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := len(r.list.chunks) - 1; i >= 0; i-- {
			for _, p := range slices.Backward(r.list.chunks[i]) {
				if !yield(int(p)) {
					return
				}
			}
		}
	}
}

// All yields the places of all messages, newest first.
func (e *Emails) All() iter.Seq[int] { return e.Received(0).All() }

func (e *Emails) compareReceived(a, b uint32) int {
	if a == b {
		return 0
	}
	return cmp.Or(cmp.Compare(e.ReceivedAt(int(a)), e.ReceivedAt(int(b))), cmp.Compare(e.message(a), e.message(b)))
}

func (e *Emails) compareIDs(a, b uint32) int { return cmp.Compare(e.message(a), e.message(b)) }

func (e *Emails) compareThreads(a, b uint32) int {
	return cmp.Or(cmp.Compare(e.Thread(int(a)), e.Thread(int(b))), e.compareReceived(a, b))
}
