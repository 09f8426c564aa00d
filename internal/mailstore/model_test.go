package mailstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"postroad/imap"
	"postroad/internal/blob"
	"postroad/internal/blob/memblob"
	"postroad/internal/kv"
	"postroad/internal/kv/memkv"
)

// faulty is an engine that conflicts and fails on purpose.
type faulty struct {
	kv.Engine
	conflict, fail atomic.Int32 // so many of the next commits do
	skip           atomic.Int32 // commits that are let through first
}

var errBroken = errors.New("the disk broke")

func (f *faulty) Commit(ctx context.Context, b ...kv.Batch) ([]kv.Result, error) {
	if f.skip.Add(-1) < 0 {
		if f.fail.Add(-1) >= 0 {
			return nil, errBroken
		}
		if f.conflict.Add(-1) >= 0 {
			return nil, &kv.ConflictError{Space: b[0].Space}
		}
	}
	return f.Engine.Commit(ctx, b...)
}

// modelRow is what the model knows of an entry.
type modelRow struct {
	flags    Flags
	keywords string
	body     string // Message-ID, to tell messages apart
	modseq   uint64
}

// modelBox is a mailbox as plain maps.
type modelBox struct {
	id       MailboxID
	next     uint32
	rows     map[uint32]modelRow
	vanished map[uint32]uint64 // mod-sequence of their end
	aside    []modelRow        // recoverable: UIDs from 1 on
	back     map[int]bool      // those of them that were brought back
}

// model runs random operations through two Stores over one engine, as two processes would,
// and keeps in step with plain maps.
type model struct {
	t        testing.TB
	engine   *faulty
	accounts [2]*Account // of one account, by two stores
	boxes    [3]*modelBox
	sessions []*session
	n, steps int
	names    map[MessageID]string
	undelete bool
}

// session is a client with a mailbox selected, which believes what it is told.
type session struct {
	box  *modelBox
	view *View
	snap *Snapshot
	rows []Row // as told
}

func newModel(t testing.TB, engine kv.Engine, undelete bool) *model {
	m := &model{t: t, engine: &faulty{Engine: engine}, names: map[MessageID]string{}, undelete: undelete}
	ctx := context.Background()
	blobs := memblob.New()
	for i := range m.accounts {
		s := newStore(t, m.engine, blobs)
		if undelete {
			s.o.Undelete = time.Hour
		}
		if i == 0 {
			must(t, s.Create(ctx, 1, Quota{}))
		}
		m.accounts[i] = got(s.Account(ctx, 1))(t)
	}
	for i, name := range []string{"INBOX", "Archive", "Trash"} {
		box := got(m.accounts[0].Tree(ctx))(t).Name(name)
		m.boxes[i] = &modelBox{id: box.ID, next: 1, rows: map[uint32]modelRow{}, vanished: map[uint32]uint64{}, back: map[int]bool{}}
	}
	return m
}

func (m *model) account(r *rapid.T) *Account {
	return m.accounts[rapid.IntRange(0, 1).Draw(r, "store")]
}
func (m *model) box(r *rapid.T, label string) *modelBox {
	return m.boxes[rapid.IntRange(0, len(m.boxes)-1).Draw(r, label)]
}

// uids draws a set of UIDs, some of which may not be there.
func (m *model) uids(r *rapid.T, b *modelBox) imap.UIDSet {
	var s imap.UIDSet
	for range rapid.IntRange(1, 4).Draw(r, "ranges") {
		first := rapid.Uint32Range(1, b.next+3).Draw(r, "first")
		s.AddRange(first, first+rapid.Uint32Range(0, 40).Draw(r, "length"))
	}
	return s
}

func (b *modelBox) within(s imap.UIDSet) []uint32 {
	var out []uint32
	for uid := range b.rows {
		if s.Contains(uid) {
			out = append(out, uid)
		}
	}
	slices.Sort(out)
	return out
}

// fault arranges for conflicts, which nobody may notice, and perhaps for a failure, after
// which nothing may have happened.
func (m *model) fault(r *rapid.T) (fails bool) {
	m.engine.conflict.Store(int32(rapid.SampledFrom([]int{0, 0, 0, 1, 3}).Draw(r, "conflicts")))
	fails = rapid.IntRange(0, 9).Draw(r, "fails") == 0
	if fails {
		m.engine.skip.Store(int32(rapid.IntRange(0, 2).Draw(r, "after")))
		m.engine.fail.Store(1)
	}
	return fails
}

// outcome tells whether the operation was done. One that was to fail may have been
// through before the failing commit.
func (m *model) outcome(r *rapid.T, fails bool, err error) bool {
	m.engine.fail.Store(0)
	m.engine.conflict.Store(0)
	m.engine.skip.Store(0)
	if err != nil && (!fails || !errors.Is(err, errBroken)) {
		r.Fatalf("operation failed: %v", err)
	}
	return err == nil
}

func (m *model) appendSome(r *rapid.T) {
	a, b := m.account(r), m.box(r, "mailbox")
	n := rapid.SampledFrom([]int{1, 1, 1, 2, 40}).Draw(r, "messages")
	var in []*Incoming
	var rows []modelRow
	for range n {
		m.n++
		id := fmt.Sprintf("<%d@x>", m.n)
		msg := stage(m.t, a.store, fmt.Sprintf("Message-ID: %s\r\nReferences: <%d@x>\r\nSubject: s\r\n\r\n%d", id, m.n-m.n%3, m.n))
		row := modelRow{body: id}
		if m.n%2 == 0 {
			msg.Flags, row.flags = Seen, Seen
		}
		if m.n%5 == 0 {
			msg.Keywords, row.keywords = []string{"k1"}, "k1"
		}
		in, rows = append(in, msg), append(rows, row)
	}
	fails := m.fault(r)
	out, err := a.Append(context.Background(), b.id, in...)
	if !m.outcome(r, fails, err) {
		return
	}
	for i, o := range out {
		if o.UID != b.next {
			r.Fatalf("UID %d, want %d", o.UID, b.next)
		}
		rows[i].modseq = o.ModSeq
		m.names[o.ID] = rows[i].body
		b.rows[o.UID] = rows[i]
		b.next++
	}
}

func (m *model) store(r *rapid.T) {
	a, b := m.account(r), m.box(r, "mailbox")
	uids := m.uids(r, b)
	c := FlagChange{Mode: StoreMode(rapid.IntRange(0, 2).Draw(r, "mode")),
		Flags: Flags(rapid.Uint64Range(0, 31).Draw(r, "flags"))}
	if k := rapid.SampledFrom([]string{"", "", "k1", "k2"}).Draw(r, "keyword"); k != "" {
		c.Keywords = []string{k}
	}
	if rapid.Bool().Draw(r, "conditional") {
		c.Conditional, c.UnchangedSince = true, rapid.Uint64Range(0, 200).Draw(r, "unchangedsince")
	}
	fails := m.fault(r)
	s, err := a.StoreFlags(context.Background(), b.id, uids, c)
	if !m.outcome(r, fails, err) {
		return
	}
	var changed, modified imap.UIDSet
	for _, uid := range b.within(uids) {
		row := b.rows[uid]
		if c.Conditional && row.modseq > c.UnchangedSince {
			modified.Add(uid)
			continue
		}
		after := c.apply(row)
		if after != row {
			changed.Add(uid)
			after.modseq = s.ModSeq
			b.rows[uid] = after
		}
	}
	if s.Changed.String() != changed.String() || s.Modified.String() != modified.String() {
		r.Fatalf("changed %v, modified %v; want %v, %v", s.Changed, s.Modified, changed, modified)
	}
}

// apply is the change on a row of the model.
func (c *FlagChange) apply(row modelRow) modelRow {
	words := map[string]bool{}
	for _, k := range []string{"k1", "k2"} {
		has := row.keywords == k || row.keywords == "k1 k2"
		given := len(c.Keywords) == 1 && c.Keywords[0] == k
		switch c.Mode {
		case FlagsReplace:
			has = given
		case FlagsAdd:
			has = has || given
		case FlagsRemove:
			has = has && !given
		}
		if has {
			words[k] = true
		}
	}
	switch c.Mode {
	case FlagsReplace:
		row.flags = c.Flags
	case FlagsAdd:
		row.flags |= c.Flags
	case FlagsRemove:
		row.flags &^= c.Flags
	}
	row.keywords = ""
	for _, k := range []string{"k1", "k2"} {
		if words[k] {
			if row.keywords != "" {
				row.keywords += " "
			}
			row.keywords += k
		}
	}
	return row
}

func (m *model) expunge(r *rapid.T) {
	a, b := m.account(r), m.box(r, "mailbox")
	uids, force := m.uids(r, b), rapid.Bool().Draw(r, "force")
	fails := m.fault(r)
	e, err := a.Expunge(context.Background(), b.id, uids, force)
	if !m.outcome(r, fails, err) {
		return
	}
	var gone imap.UIDSet
	for _, uid := range b.within(uids) {
		if force || b.rows[uid].flags&Deleted != 0 {
			gone.Add(uid)
			if row := b.rows[uid]; m.undelete {
				row.flags &^= Deleted
				b.aside = append(b.aside, row)
			}
			delete(b.rows, uid)
			b.vanished[uid] = e.ModSeq
		}
	}
	if e.UIDs.String() != gone.String() {
		r.Fatalf("expunged %v, want %v", e.UIDs, gone)
	}
}

// bringBack undeletes messages, which come to the end of their mailbox.
func (m *model) bringBack(r *rapid.T) {
	a, b := m.account(r), m.box(r, "mailbox")
	if len(b.aside) == 0 {
		return
	}
	first := rapid.IntRange(1, len(b.aside)).Draw(r, "first")
	last := first + rapid.IntRange(0, 10).Draw(r, "length")
	fails := m.fault(r)
	out, err := a.Undelete(context.Background(), b.id|recoverableBit, imap.UIDSet{{First: uint32(first), Last: uint32(last)}})
	if !m.outcome(r, fails, err) {
		return
	}
	n := 0
	for i := first; i <= min(last, len(b.aside)); i++ {
		if b.back[i] {
			continue
		}
		b.back[i] = true
		row := b.aside[i-1]
		row.modseq = out.ModSeq
		b.rows[b.next] = row
		b.next++
		n++
	}
	if out.Messages != n {
		r.Fatalf("brought back %d messages, want %d", out.Messages, n)
	}
}

func (m *model) transfer(r *rapid.T) {
	a, from, to := m.account(r), m.box(r, "from"), m.box(r, "to")
	uids := m.uids(r, from)
	how := rapid.SampledFrom([]string{"copy", "move", "staged copy"}).Draw(r, "how")
	fails := m.fault(r)
	var c *Copied
	var err error
	switch how {
	case "copy":
		c, err = a.Copy(context.Background(), from.id, uids, to.id)
	case "move":
		c, err = a.Move(context.Background(), from.id, uids, to.id)
	case "staged copy":
		c, err = a.copyStaged(context.Background(), from.id, uids, to.id)
	}
	if !m.outcome(r, fails, err) {
		return
	}
	var source, dest imap.UIDSet
	for _, uid := range from.within(uids) {
		source.Add(uid)
		row := from.rows[uid]
		row.modseq = c.ModSeq
		if how == "move" {
			delete(from.rows, uid)
			from.vanished[uid] = c.ModSeq
		}
		to.rows[to.next] = row
		dest.Add(to.next)
		to.next++
	}
	if c.Source.String() != source.String() || c.Dest.String() != dest.String() {
		r.Fatalf("%s %v to %v, want %v to %v", how, c.Source, c.Dest, source, dest)
	}
}

func (m *model) sweep(r *rapid.T) {
	a := m.account(r)
	fails := m.fault(r)
	m.outcome(r, fails, a.Sweep(context.Background()))
	if rapid.Bool().Draw(r, "pack") {
		fails = m.fault(r)
		m.outcome(r, fails, a.pack(context.Background(), m.box(r, "packed").id))
	}
}

// look opens a session or brings one up to date.
func (m *model) look(r *rapid.T) {
	if len(m.sessions) < 4 {
		b := m.box(r, "mailbox")
		v, err := m.account(r).View(context.Background(), b.id)
		if err != nil {
			r.Fatal(err)
		}
		m.t.Cleanup(v.Close)
		m.sessions = append(m.sessions, &session{box: b, view: v, snap: &Snapshot{}})
	}
	s := m.sessions[rapid.IntRange(0, len(m.sessions)-1).Draw(r, "session")]
	hold := rapid.Bool().Draw(r, "hold")
	now, err := s.view.Snapshot(context.Background())
	if err != nil {
		r.Fatal(err)
	}
	m.compare(r, s.box, now)
	s.advance(r, now, hold)
}

// advance believes what the delta says, and compares with what is.
func (s *session) advance(r *rapid.T, now *Snapshot, hold bool) {
	held, d := s.snap.Advance(now, hold)
	if hold && len(d.Expunged) > 0 {
		r.Fatal("expunged while held")
	}
	for _, i := range d.Expunged {
		if !d.Vanished.Contains(s.rows[i].UID) {
			r.Fatalf("UID %d is not in vanished %v", s.rows[i].UID, d.Vanished)
		}
		s.rows = slices.Delete(s.rows, int(i), int(i)+1)
	}
	if held.Len() != len(s.rows)+d.Added {
		r.Fatalf("%d messages, told of %d and %d", held.Len(), len(s.rows), d.Added)
	}
	for i := len(s.rows); i < held.Len(); i++ {
		s.rows = append(s.rows, held.Row(i))
	}
	for _, i := range d.Changed {
		s.rows[i] = held.Row(i)
	}
	for i, row := range held.Rows(0, held.Len()) {
		if _, there := now.Index(row.UID); there == row.Gone {
			r.Fatalf("UID %d gone %v", row.UID, row.Gone)
		}
		row.Gone = s.rows[i].Gone
		if row != s.rows[i] {
			r.Fatalf("row %d is %+v, told %+v", i, row, s.rows[i])
		}
		if k, found := held.Index(row.UID); !found || k != i {
			r.Fatalf("index of UID %d is %d", row.UID, k)
		}
	}
	if !hold && held.Len() != now.Len() {
		r.Fatal("something is held")
	}
	s.snap = held
}

// compare holds a snapshot against the model.
func (m *model) compare(r *rapid.T, b *modelBox, s *Snapshot) {
	if s.Len() != len(b.rows) || s.UIDNext() != b.next {
		r.Fatalf("%d messages, UIDNEXT %d; want %d, %d", s.Len(), s.UIDNext(), len(b.rows), b.next)
	}
	for _, row := range s.Rows(0, s.Len()) {
		want := b.rows[row.UID]
		have := modelRow{flags: row.Flags & System, body: m.names[row.ID], modseq: row.ModSeq}
		words := slices.Clone(s.Keywords())
		slices.Sort(words)
		for _, k := range words {
			if row.Flags&Keyword(slices.Index(s.Keywords(), k)) != 0 {
				if have.keywords != "" {
					have.keywords += " "
				}
				have.keywords += k
			}
		}
		if have != want {
			r.Fatalf("UID %d is %+v, want %+v", row.UID, have, want)
		}
	}
	since := rapid.Uint64Range(0, s.HighestModSeq()).Draw(r, "since")
	gone, err := s.Vanished(context.Background(), since, nil)
	if err != nil {
		r.Fatal(err)
	}
	var want imap.UIDSet
	for _, uid := range slices.Sorted(maps.Keys(b.vanished)) {
		if b.vanished[uid] > since {
			want.Add(uid)
		}
	}
	if gone.String() != want.String() {
		r.Fatalf("vanished since %d: %v, want %v", since, gone, want)
	}
}

func (m *model) check(r *rapid.T) {
	if m.steps++; m.steps%4 != 0 {
		return
	}
	err := m.accounts[0].Check(context.Background(), false, func(f Finding) { r.Errorf("check: %v", f) })
	if err != nil {
		r.Fatal(err)
	}
}

func TestRandomOperations(t *testing.T) {
	for name, open := range engines {
		t.Run(name, func(t *testing.T) { randomOperations(t, open, false) })
	}
	t.Run("memkv with undelete", func(t *testing.T) { randomOperations(t, engines["memkv"], true) })
}

func randomOperations(t *testing.T, open func(testing.TB) (kv.Engine, blob.Store), undelete bool) {
	rapid.Check(t, func(r *rapid.T) {
		engine, _ := open(t)
		m := newModel(t, engine, undelete)
		defer engine.Close()
		r.Repeat(map[string]func(*rapid.T){
			"append":   m.appendSome,
			"store":    m.store,
			"expunge":  m.expunge,
			"transfer": m.transfer,
			"undelete": m.bringBack,
			"sweep":    m.sweep,
			"look":     m.look,
			"":         m.check,
		})
		for _, b := range m.boxes {
			fresh := &live{account: m.accounts[0], mailbox: b.id}
			s, err := fresh.refresh(context.Background())
			if err != nil {
				r.Fatal(err)
			}
			m.compare(r, b, s)
		}
		for _, s := range m.sessions {
			s.view.Close()
		}
	})
}

// Many at once: whatever happens in between, nothing is lost, doubled or half done.
func TestConcurrent(t *testing.T) {
	for name, open := range engines {
		t.Run(name, func(t *testing.T) {
			engine, _ := open(t)
			f := &fixture{TB: t, s: newStore(t, engine, memblob.New())}
			f.a = f.account(1, Quota{})
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			boxes := []MailboxID{f.box("INBOX").ID, f.box("Archive").ID}
			var wg sync.WaitGroup
			var appended, expunged atomic.Int64
			for i := range 4 {
				wg.Go(func() {
					for n := 0; ctx.Err() == nil && n < 150; n++ {
						in := stage(t, f.s, fmt.Sprintf("Message-ID: <%d.%d@x>\r\nReferences: <%d@x>\r\n\r\nx", i, n, n%7))
						if _, err := f.a.Append(t.Context(), boxes[i%2], in); err != nil {
							t.Error(err)
						}
						appended.Add(1)
					}
				})
			}
			for i := range 4 {
				wg.Go(func() {
					for n := uint32(1); ctx.Err() == nil && n < 150; n++ {
						from, to := boxes[i%2], boxes[(i+1)%2]
						_, err := f.a.Move(t.Context(), from, imap.UIDSet{{First: n, Last: n + 2}}, to)
						if err == nil {
							_, err = f.a.StoreFlags(t.Context(), to, imap.UIDSet{{First: n, Last: n + 50}}, FlagChange{Mode: StoreMode(n % 3), Flags: Seen | Deleted})
						}
						if err == nil && n%10 == 0 {
							var e *Expunged
							if e, err = f.a.Expunge(t.Context(), from, imap.UIDSet{{First: n, Last: n + 5}}, true); err == nil {
								expunged.Add(int64(e.UIDs.Count()))
							}
						}
						if err == nil && n%20 == 0 {
							err = f.a.Sweep(t.Context())
						}
						if err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			if n := int64(f.snapshot("INBOX").Len() + f.snapshot("Archive").Len()); n != appended.Load()-expunged.Load() {
				t.Errorf("%d messages, of %d appended and %d expunged", n, appended.Load(), expunged.Load())
			}
			f.sound()
			f.nothingLeftButEntries(int(appended.Load() - expunged.Load()))
		})
	}
}

// A mailbox deleted under those who write into it takes what they wrote with it, or they
// are told that it is not there.
func TestDeleteUnderWriters(t *testing.T) {
	f := &fixture{TB: t, s: newStore(t, memkv.New(), memblob.New())}
	f.a = f.account(1, Quota{})
	for range 5 {
		m := got(f.a.CreateMailbox(t.Context(), "x", ""))(t)
		f.append("INBOX", 10, 0)
		var wg sync.WaitGroup
		for i := range 3 {
			wg.Go(func() {
				for n := range 30 {
					_, err := f.a.Append(t.Context(), m.ID, stage(t, f.s, fmt.Sprintf("Subject: %d\r\n\r\n%d", i, n)))
					if err == nil && n%3 == 0 {
						_, err = f.a.Copy(t.Context(), f.box("INBOX").ID, set("1:5"), m.ID)
					}
					if err == nil && n%4 == 0 {
						_, err = f.a.Expunge(t.Context(), m.ID, set("1:9"), true)
					}
					if err != nil && !errors.Is(err, ErrNoMailbox) {
						t.Error(err)
					}
				}
			})
		}
		must(t, f.a.DeleteMailbox(t.Context(), "x"))
		wg.Wait()
		f.sound()
	}
}
