package mailstore

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"postroad/imap"
	"postroad/internal/kv"
	"postroad/internal/mailflow"
	"postroad/message"
)

// ordered is an account whose messages the test knows, to compare orders with.
type ordered struct {
	*fixture
	r    *rand.Rand
	sent map[MessageID]*message.Message
	keys map[MessageID]*keyRow // of sent
}

func newOrdered(t testing.TB) *ordered {
	o := &ordered{fixture: newFixture(t), r: rand.New(rand.NewPCG(5, 6)), sent: map[MessageID]*message.Message{}, keys: map[MessageID]*keyRow{}}
	o.s.keyAge = -time.Second // ids of this moment are old enough
	return o
}

func (o *ordered) pick(of ...string) string { return of[o.r.IntN(len(of))] }

// text is a message with an answer's header, or with some fields missing.
func (o *ordered) text() string {
	o.n++
	var b strings.Builder
	field := func(name, value string) {
		if o.r.IntN(8) > 0 {
			fmt.Fprintf(&b, "%s: %s\r\n", name, value)
		}
	}
	who := func() string {
		return o.pick("Ann <zoe@example.org>", "bob@example.net", "=?utf-8?q?=C3=9Cte?= <ute@example.com>", "\"anna\" <carl@example.org>",
			"friends: dora@example.org;", "undisclosed:;", "Ann <ann@example.net>, x@y.example")
	}
	field("From", who())
	field("To", who())
	field("Cc", who())
	field("Subject", o.pick("", "Re: ", "[list] ", "Fwd: ")+o.pick("apples", "Äpfel", "BANANAS", "bananas", "zebra", "")+o.pick("", " (fwd)"))
	field("Date", fmt.Sprintf("%d Feb 2024 10:00:%02d %+03d00", 1+o.r.IntN(3), o.r.IntN(60), o.r.IntN(9)-4))
	field("Message-ID", fmt.Sprintf("<%d@example.org>", o.r.IntN(o.n+2)))
	field("References", fmt.Sprintf("<%d@example.org> <%d@example.org>", o.r.IntN(o.n+2), o.r.IntN(o.n+2)))
	field("In-Reply-To", fmt.Sprintf("Your letter <%d@example.org>", o.r.IntN(o.n+2)))
	return b.String() + "\r\n" + strings.Repeat("x", o.r.IntN(50)) + "\r\n"
}

// add appends n messages to a mailbox, at once.
func (o *ordered) add(box string, n int) {
	o.Helper()
	var in []*Incoming
	for range n {
		m := o.message(o.text())
		m.InternalDate = time.Unix(1_700_000_000+int64(o.r.IntN(20_000_000)), 0)
		in = append(in, m)
	}
	for i, a := range got(o.a.Append(o.Context(), o.box(box).ID, in...))(o) {
		o.sent[a.ID], o.keys[a.ID] = in[i].Message, sortKeys(a.ID, in[i].Message)
	}
}

// plain is what a message is sorted by, made from the message itself.
func (o *ordered) plain(s *Snapshot) []*plainMessage {
	var all []*plainMessage
	for i, row := range s.Rows(0, s.Len()) {
		k := o.keys[row.ID]
		m := &plainMessage{seq: i, sent: row.InternalDate, subject: k.text[textSubject], reply: k.reply, id: normalMessageID(o.sent[row.ID].MessageID)}
		if k.dated {
			m.sent = k.sent
		}
		for _, h := range k.parents {
			m.refs = append(m.refs, fmt.Sprint(h))
		}
		if m.id != "" {
			m.id = fmt.Sprint(threadHash(m.id, ""))
		}
		all = append(all, m)
	}
	return all
}

// compare compares every order of a mailbox with that of the plain messages.
func (o *ordered) compare(s *Snapshot) {
	o.Helper()
	plain := o.plain(s)
	text := func(column int) func(a, b int) int {
		return func(a, b int) int {
			return strings.Compare(o.keys[s.Row(a).ID].text[column], o.keys[s.Row(b).ID].text[column])
		}
	}
	by := map[SortBy]func(a, b int) int{
		SortArrival: func(a, b int) int { return cmp.Compare(s.Row(a).InternalDate, s.Row(b).InternalDate) },
		SortSize:    func(a, b int) int { return cmp.Compare(s.Row(a).Size, s.Row(b).Size) },
		SortDate:    func(a, b int) int { return cmp.Compare(plain[a].sent, plain[b].sent) },
		SortSubject: text(textSubject), SortFrom: text(textFrom), SortTo: text(textTo), SortCc: text(textCc),
		SortDisplayFrom: text(textDisplayFrom), SortDisplayTo: text(textDisplayTo),
	}
	for first, less := range by {
		second := SortBy(o.r.IntN(len(by)))
		want := make([]int, s.Len())
		for i := range want {
			want[i] = i
		}
		slices.SortStableFunc(want, func(a, b int) int { return cmp.Or(less(a, b), -by[second](a, b)) })
		have := got(s.Sort(o.Context(), allUIDs, []SortCriterion{{By: first}, {By: second, Reverse: true}}))(o)
		if !slices.Equal(have, want) {
			o.Fatalf("by %d, reverse %d: got %v, want %v", first, second, have, want)
		}
	}
	for algorithm := range ThreadOrderedSubject + 1 {
		have := got(s.Threads(o.Context(), allUIDs, algorithm))(o)
		if want := plainThreads(o.plain(s), algorithm); !slices.Equal(have, want) {
			o.Fatalf("algorithm %d: got %v, want %v", algorithm, have, want)
		}
	}
}

// TestOrderOfStore sorts and threads mailboxes while messages come, are copied, moved and
// expunged, while sort keys are packed, and after some of them were lost.
func TestOrderOfStore(t *testing.T) {
	o := newOrdered(t)
	ctx := t.Context()
	views := map[string]*View{}
	for _, name := range []string{"INBOX", "Archive"} {
		v := got(o.a.View(ctx, o.box(name).ID))(t)
		defer v.Close()
		views[name] = v
	}
	for round := range 12 {
		o.add("INBOX", 1+o.r.IntN(40)) // above stageCount: staged
		o.add("Archive", 1+o.r.IntN(3))
		some := func() imap.UIDSet {
			first := uint32(1 + o.r.IntN(100))
			return imap.UIDSet{{First: first, Last: first + uint32(o.r.IntN(20))}}
		}
		got(o.a.Copy(ctx, o.box("Archive").ID, some(), o.box("INBOX").ID))(t)
		got(o.a.Move(ctx, o.box("INBOX").ID, some(), o.box("Archive").ID))(t)
		got(o.a.Expunge(ctx, o.box("INBOX").ID, some(), true))(t)
		switch round % 4 {
		case 1:
			o.a.packKeysLater()
		case 2:
			o.loseKeys()
		case 3:
			o.a.fillKeysLater()
		}
		if round%2 == 1 {
			must(t, o.a.Sweep(ctx))
		}
		for name, v := range views {
			o.compare(got(v.Snapshot(ctx))(t))
			l := &live{account: o.a, mailbox: o.box(name).ID}
			o.compare(got(l.refresh(ctx))(t)) // read anew
		}
		o.check(round%4 == 3)
	}
}

// loseKeys takes the sort keys of some messages away, as if they were older than these.
func (o *ordered) loseKeys() {
	must(o, o.a.commit(context.Background(), "lose", func(ctx context.Context, u *mailflow.Unit) error {
		snap := got(o.a.snapshot(ctx))(o)
		defer snap.Close()
		b := u.Quiet(o.a.space)
		for e := range snap.Scan(kv.Prefix([]byte{keySort})) {
			if o.r.IntN(3) == 0 {
				b.Deletes = append(b.Deletes, slices.Clone(e.Key))
			}
		}
		return nil
	}))
}

// check compares the stored sort keys with the messages: all of them have theirs, and
// nothing else has, when whole.
func (o *ordered) check(whole bool) {
	o.Helper()
	must(o, o.a.Check(o.Context(), false, func(f Finding) { o.Error(f) }))
	if !whole {
		return
	}
	snap := got(o.a.snapshot(o.Context()))(o)
	defer snap.Close()
	var have, want []MessageID
	blocks := 0
	var d keyReader
	for e := range snap.Scan(kv.Prefix([]byte{keySort})) {
		blocks++
		must(o, d.read(e.Key, e.Value, func(r *keyRow) { have = append(have, r.id) }))
	}
	for e := range snap.Scan(kv.Prefix([]byte{keyMessage})) {
		id, _ := keyID(e.Key)
		want = append(want, id)
	}
	if !slices.Equal(have, want) {
		o.Errorf("sort keys of %d messages, there are %d", len(have), len(want))
	}
	if blocks >= packFrom {
		o.Errorf("%d messages in %d blocks", len(have), blocks)
	}
}

// TestCheckFindsWrongSortKeys damages sort keys.
func TestCheckFindsWrongSortKeys(t *testing.T) {
	o := newOrdered(t)
	o.add("INBOX", 2)
	must(t, o.a.commit(t.Context(), "damage", func(ctx context.Context, u *mailflow.Unit) error {
		snap := got(o.a.snapshot(ctx))(t)
		defer snap.Close()
		b := u.Quiet(o.a.space)
		var ids []MessageID
		for e := range snap.Scan(kv.Prefix([]byte{keySort})) {
			id, _ := keyID(e.Key)
			ids = append(ids, id)
		}
		var other, nobody keyBlock
		other.add(sortKeys(ids[0], &message.Message{Subject: "another"}))
		nobody.add(sortKeys(ids[1]+1, &message.Message{}))
		b.Puts = append(b.Puts, other.put(), nobody.put(), kv.Put{Key: key(keySort, ids[1]), Value: []byte{format1, 0, 255}})
		return nil
	}))
	var found []string
	must(t, o.a.Check(t.Context(), false, func(f Finding) { found = append(found, f.Text) }))
	if len(found) != 3 {
		t.Errorf("found %q", found)
	}
}
