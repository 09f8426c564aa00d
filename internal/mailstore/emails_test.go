package mailstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"postroad/imap"
	"postroad/internal/blob/memblob"
	"postroad/internal/kv/memkv"
)

// plainEmail is a message as views and records tell of it one by one.
type plainEmail struct {
	entries  []Location
	flags    Flags
	keywords map[string]bool
	thread   ThreadID
	joined   bool
	date     int64
}

// plainEmails is what Emails is to be, made the long way.
type plainEmails struct {
	tree *Tree
	all  map[MessageID]*plainEmail
}

func readPlain(t testing.TB, a *Account, r Reader) *plainEmails {
	t.Helper()
	ctx := context.Background()
	p := &plainEmails{tree: got(a.Tree(ctx))(t), all: map[MessageID]*plainEmail{}}
	for _, m := range p.tree.All() {
		if !got(a.Rights(ctx, m, r))(t).Has(imap.RightLookup | imap.RightRead) {
			continue
		}
		v := got(a.ViewAs(ctx, m.ID, r.ID))(t)
		s := got(v.Snapshot(ctx))(t)
		v.Close()
		for _, row := range s.Rows(0, s.Len()) {
			p.add(s, &row)
		}
	}
	snap := got(a.snapshot(ctx))(t)
	defer snap.Close()
	for id, m := range p.all {
		record := got(a.Record(ctx, id, WantEnvelope))(t)
		m.thread = got(readFamily(snap, record.Thread))(t).root()
		m.joined = m.thread != record.Thread
	}
	return p
}

func (p *plainEmails) add(s *Snapshot, row *Row) {
	m := p.all[row.ID]
	if m == nil {
		m = &plainEmail{flags: Seen, keywords: map[string]bool{}, date: row.InternalDate}
		p.all[row.ID] = m
	}
	m.entries = append(m.entries, Location{s.Mailbox(), row.UID})
	if row.Flags&Seen == 0 {
		m.flags &^= Seen
	}
	m.flags |= row.Flags & (Answered | Flagged | Draft)
	for i, k := range s.Keywords() {
		if row.Flags&Keyword(i) != 0 {
			m.keywords[strings.ToLower(k)] = true
		}
	}
}

// in are the messages of a mailbox, 0: of all, newest first.
func (p *plainEmails) in(mailbox MailboxID) []MessageID {
	var ids []MessageID
	for id, m := range p.all {
		if mailbox == 0 || slices.ContainsFunc(m.entries, func(l Location) bool { return l.Mailbox == mailbox }) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b MessageID) int {
		if d := p.all[b].date - p.all[a].date; d != 0 {
			return int(d)
		}
		return int(int64(b) - int64(a))
	})
	return ids
}

func (m *plainEmail) in(mailbox MailboxID) bool {
	return slices.ContainsFunc(m.entries, func(l Location) bool { return l.Mailbox == mailbox })
}

func (m *plainEmail) only(mailbox MailboxID) bool {
	return !slices.ContainsFunc(m.entries, func(l Location) bool { return l.Mailbox != mailbox })
}

// counts counts a mailbox as RFC 8621, 2, tells it.
func (p *plainEmails) counts(mailbox MailboxID) (c Counts) {
	trash := MailboxID(0)
	if m := p.tree.Role(imap.AttrTrash); m != nil {
		trash = m.ID
	}
	threads, unread := map[ThreadID]bool{}, map[ThreadID]bool{}
	for _, m := range p.all {
		isUnread := m.flags&(Seen|Draft) == 0
		if m.in(mailbox) {
			threads[m.thread] = true
			c.Emails++
			if isUnread {
				c.UnreadEmails++
			}
		}
		if isUnread && (mailbox == trash && m.in(trash) || mailbox != trash && !m.only(trash)) {
			unread[m.thread] = true
		}
	}
	c.Threads = len(threads)
	for id := range unread {
		if threads[id] {
			c.UnreadThreads++
		}
	}
	return c
}

// equal fails where an Emails is not what it is to be.
func (p *plainEmails) equal(t testing.TB, e *Emails) {
	t.Helper()
	if e.Len() != len(p.all) {
		t.Fatalf("%d messages, want %d", e.Len(), len(p.all))
	}
	threads := map[ThreadID][]MessageID{}
	for id, want := range p.all {
		at, found := e.Find(id)
		if !found {
			t.Fatalf("message %s is not there", id)
		}
		m := e.Email(at)
		keywords := slices.Sorted(maps.Keys(want.keywords))
		if m.ID.Message != id || m.Thread != want.thread || (m.ID.Joined != 0) != want.joined || m.Received != want.date ||
			m.Flags != want.flags || !slices.Equal(m.Keywords, keywords) {
			t.Fatalf("message %+v, want %+v with %q", m, want, keywords)
		}
		if back := got(ParseEmailID(m.ID.String()))(t); back != m.ID {
			t.Fatalf("id %v is read as %v", m.ID, back)
		}
		for _, k := range keywords {
			if !e.Keyword(strings.ToUpper(k)).Has(at) {
				t.Fatalf("keyword %s is not found", k)
			}
		}
		if e.Keyword("$seen").Has(at) != (want.flags&Seen != 0) || e.Keyword("nosuch").Has(at) {
			t.Fatal("keywords are not told right")
		}
		entries := e.Entries(at)
		slices.SortFunc(entries, compareLocations)
		slices.SortFunc(want.entries, compareLocations)
		if !slices.Equal(entries, want.entries) {
			t.Fatalf("entries %v, want %v", entries, want.entries)
		}
		threads[want.thread] = append(threads[want.thread], id)
	}
	p.orders(t, e, threads)
}

func compareLocations(a, b Location) int {
	return strings.Compare(fmt.Sprintf("%016x%08x", uint64(a.Mailbox), a.UID), fmt.Sprintf("%016x%08x", uint64(b.Mailbox), b.UID))
}

// orders compares orders, threads and counts.
func (p *plainEmails) orders(t testing.TB, e *Emails, threads map[ThreadID][]MessageID) {
	t.Helper()
	for _, box := range append([]MailboxID{0}, slices.Collect(maps.Keys(e.number))...) {
		want := p.in(box)
		list := e.Received(box)
		var have []MessageID
		for place := range list.All() {
			have = append(have, e.Message(place))
		}
		if !slices.Equal(have, want) || list.Len() != len(want) {
			t.Fatalf("mailbox %s: order %v, want %v", box, have, want)
		}
		for i, id := range want {
			if e.Message(list.At(i)) != id {
				t.Fatalf("%d in mailbox %s is another one", i, box)
			}
			if k, found := list.Index(list.At(i)); !found || k != i {
				t.Fatalf("index %d in mailbox %s is %d %v", i, box, k, found)
			}
		}
		if box != 0 && e.Counts(box) != p.counts(box) {
			t.Fatalf("mailbox %s: counts %+v, want %+v", box, e.Counts(box), p.counts(box))
		}
	}
	numbers := map[int]ThreadID{}
	for id, members := range threads {
		var have []MessageID
		for _, place := range e.ThreadMembers(id) {
			have = append(have, e.Message(place))
			n := e.ThreadNumber(place)
			if other, used := numbers[n]; used && other != id || n < 0 || n >= e.ThreadNumbers() {
				t.Fatalf("threads %s and %s have number %d", id, other, n)
			}
			numbers[n] = id
		}
		slices.SortFunc(members, func(a, b MessageID) int {
			if d := p.all[a].date - p.all[b].date; d != 0 {
				return int(d)
			}
			return int(int64(a) - int64(b))
		})
		if !slices.Equal(have, members) {
			t.Fatalf("thread %s has %v, want %v", id, have, members)
		}
	}
	if len(numbers) != len(threads) {
		t.Fatalf("%d numbers of %d threads", len(numbers), len(threads))
	}
}

// house is an account with an owner, a guest and a member of a group, changed at random
// through two stores.
type house struct {
	t        testing.TB
	accounts [2]*Account
	readers  []Reader
	member   bool // the guest is in the group
	n        int
	boxes    []string
}

// drawn is a test whose failures are those of what rapid drew, so that it finds a short way
// there.
type drawn struct {
	testing.TB
	r *rapid.T
}

func (d drawn) Fatal(args ...any)                 { d.r.Fatal(args...) }
func (d drawn) Fatalf(format string, args ...any) { d.r.Fatalf(format, args...) }

const (
	houseOwner = AccountID(1)
	houseGuest = AccountID(2)
)

func newHouse(t testing.TB) *house {
	h := &house{t: t, boxes: []string{"INBOX", "Archive", "Trash", "Extra"}}
	engine, blobs := memkv.New(), memblob.New()
	for i := range h.accounts {
		s := newStore(t, engine, blobs)
		s.o.Undelete = 1 << 40
		if i == 0 {
			must(t, s.Create(context.Background(), houseOwner, Quota{}))
		}
		h.accounts[i] = got(s.Account(context.Background(), houseOwner))(t)
	}
	h.readers = []Reader{{ID: houseOwner}, {ID: houseGuest, Member: func(context.Context, string) (bool, error) { return h.member, nil }}}
	return h
}

func (h *house) account(r *rapid.T) *Account {
	return h.accounts[rapid.IntRange(0, 1).Draw(r, "store")]
}

func (h *house) reader(r *rapid.T) Reader {
	return h.readers[rapid.IntRange(0, 1).Draw(r, "reader")]
}

// box draws a mailbox that is there.
func (h *house) box(r *rapid.T, label string) *Mailbox {
	all := got(h.accounts[0].Tree(context.Background()))(h.t)
	m := all.Name(rapid.SampledFrom(h.boxes).Draw(r, label))
	if m == nil {
		return all.Inbox()
	}
	return m
}

func (h *house) uids(r *rapid.T) imap.UIDSet {
	first := rapid.Uint32Range(1, 12).Draw(r, "first")
	return imap.UIDSet{{First: first, Last: first + rapid.Uint32Range(0, 6).Draw(r, "length")}}
}

// may fails for errors that are not to be expected.
func (h *house) may(err error, expected ...error) {
	h.t.Helper()
	for _, e := range expected {
		if errors.Is(err, e) {
			return
		}
	}
	must(h.t, err)
}

func (h *house) append(r *rapid.T) {
	a, box := h.account(r), h.box(r, "mailbox")
	for range rapid.SampledFrom([]int{1, 1, 3}).Draw(r, "messages") {
		h.n++
		refs := ""
		for range rapid.IntRange(0, 2).Draw(r, "references") {
			refs += fmt.Sprintf(" <%d@x>", rapid.IntRange(1, h.n+2).Draw(r, "reference"))
		}
		in := stage(h.t, a.store, fmt.Sprintf("Message-ID: <%d@x>\r\nReferences:%s\r\nSubject: s\r\n\r\n%d", h.n, refs, h.n))
		in.InternalDate = in.InternalDate.AddDate(0, 0, rapid.SampledFrom([]int{0, 0, 1, -1, -60 * 365}).Draw(r, "days"))
		if h.n%3 == 0 {
			in.Flags, in.Keywords = Seen|Draft, []string{"Kw1"}
		}
		got(a.Append(context.Background(), box.ID, in))(h.t)
	}
}

func (h *house) store(r *rapid.T) {
	c := FlagChange{Mode: StoreMode(rapid.IntRange(0, 2).Draw(r, "mode")), Flags: Flags(rapid.Uint64Range(0, 31).Draw(r, "flags")), Reader: h.reader(r).ID}
	if rapid.Bool().Draw(r, "keyword") {
		c.Keywords = []string{rapid.SampledFrom([]string{"Kw1", "kw2"}).Draw(r, "word")}
	}
	got(h.account(r).StoreFlags(context.Background(), h.box(r, "mailbox").ID, h.uids(r), c))(h.t)
}

func (h *house) expunge(r *rapid.T) {
	got(h.account(r).Expunge(context.Background(), h.box(r, "mailbox").ID, h.uids(r), true))(h.t)
}

func (h *house) transfer(r *rapid.T) {
	a, from, to := h.account(r), h.box(r, "from").ID, h.box(r, "to").ID
	switch rapid.IntRange(0, 2).Draw(r, "how") {
	case 0:
		got(a.Copy(context.Background(), from, h.uids(r), to))(h.t)
	case 1:
		got(a.Move(context.Background(), from, h.uids(r), to))(h.t)
	case 2:
		got(a.copyStaged(context.Background(), from, h.uids(r), to))(h.t)
	}
}

func (h *house) mailboxes(r *rapid.T) {
	ctx, a := context.Background(), h.account(r)
	switch rapid.IntRange(0, 5).Draw(r, "what") {
	case 0:
		_, err := a.CreateMailbox(ctx, "Extra", "")
		h.may(err, ErrExists)
	case 1:
		h.may(a.DeleteMailbox(ctx, rapid.SampledFrom(h.boxes[1:]).Draw(r, "deleted")), ErrNoMailbox)
	case 2, 3:
		for _, m := range got(a.Tree(ctx))(h.t).Recoverable() {
			if rapid.Bool().Draw(r, "back") {
				_, err := a.Undelete(ctx, m.ID, AllUIDs())
				h.may(err, ErrNoMailbox)
			}
		}
	case 4:
		h.may(a.SetRole(ctx, h.box(r, "mailbox").ID, rapid.SampledFrom([]imap.MailboxAttr{"", imap.AttrTrash}).Draw(r, "role")))
	case 5:
		h.may(a.Subscribe(ctx, rapid.SampledFrom(h.boxes).Draw(r, "name"), rapid.Bool().Draw(r, "on")))
	}
}

func (h *house) share(r *rapid.T) {
	subject := rapid.SampledFrom([]Subject{{Kind: SubjectAccount, Account: houseGuest}, {Kind: SubjectGroup, Group: "g"}, {Kind: SubjectAnyone}}).Draw(r, "subject")
	rights := rapid.SampledFrom([]imap.Rights{0, imap.RightLookup, imap.RightLookup | imap.RightRead, imap.RightsAll}).Draw(r, "rights")
	must(h.t, h.account(r).SetACL(context.Background(), "org", h.box(r, "mailbox").ID, subject, imap.RightsReplace, rights))
	h.member = rapid.Bool().Draw(r, "member")
}

func (h *house) sweep(r *rapid.T) { must(h.t, h.account(r).Sweep(context.Background())) }

// look compares what one store has in memory with what is there.
func (h *house) look(r *rapid.T) {
	a, reader := h.account(r), h.reader(r)
	e := got(a.Emails(context.Background(), reader))(h.t)
	readPlain(h.t, a, reader).equal(h.t, e)
}

// steps are the random changes.
func (h *house) steps() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){"append": h.append, "append more": h.append, "store": h.store, "expunge": h.expunge,
		"transfer": h.transfer, "transfer more": h.transfer, "mailboxes": h.mailboxes, "share": h.share, "sweep": h.sweep, "look": h.look}
}

// TestEmails compares what is brought forward by changes with what is read the long way.
func TestEmails(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		t := drawn{t, r}
		h := newHouse(t)
		r.Repeat(h.steps())
		for _, a := range h.accounts {
			for _, reader := range h.readers {
				readPlain(t, a, reader).equal(t, got(a.Emails(context.Background(), reader))(t))
			}
		}
	})
}
