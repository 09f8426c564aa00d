package mailstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"postroad/imap"
	"postroad/internal/blob"
	"postroad/internal/blob/memblob"
	"postroad/internal/blob/segblob"
	"postroad/internal/kv"
	"postroad/internal/kv/diskkv"
	"postroad/internal/kv/hlc"
	"postroad/internal/kv/memkv"
	"postroad/internal/mailflow"
	"postroad/message"
)

// engines are what the tests run on.
var engines = map[string]func(t testing.TB) (kv.Engine, blob.Store){
	"memkv": func(t testing.TB) (kv.Engine, blob.Store) { return memkv.New(), memblob.New() },
	"diskkv": func(t testing.TB) (kv.Engine, blob.Store) {
		dir := t.TempDir()
		e, err := diskkv.Open(diskkv.Options{Dir: dir + "/kv", Watermark: 1 << 20, Ballast: -1})
		if err != nil {
			t.Fatal(err)
		}
		b, err := segblob.Open(dir+"/blobs", segblob.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return e, b
	},
}

// nodes numbers the clocks, so that no two of them give the same id.
var nodes atomic.Uint32

// newStore is a store over an engine that is closed with the test.
func newStore(t testing.TB, e kv.Engine, b blob.Store) *Store {
	clock := hlc.NewClock(uint16(nodes.Add(1)))
	t.Cleanup(func() {
		e.Close()
		b.Close()
	})
	return New(Options{Committer: &mailflow.Committer{Engine: e, Bodies: blob.NewBodies(e, b, clock)}, Clock: clock})
}

// fixture is an account in memory.
type fixture struct {
	testing.TB
	s *Store
	a *Account
	n int
}

func newFixture(t testing.TB) *fixture {
	f := &fixture{TB: t, s: newStore(t, memkv.New(), memblob.New())}
	f.a = f.account(1, Quota{})
	return f
}

func (f *fixture) account(id AccountID, q Quota) *Account {
	f.Helper()
	must(f, f.s.Create(f.Context(), id, q))
	return got(f.s.Account(f.Context(), id))(f)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func got[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		must(t, err)
		return v
	}
}

// message stages a message.
func (f *fixture) message(text string) *Incoming {
	f.Helper()
	return stage(f, f.s, text)
}

func stage(t testing.TB, s *Store, text string) *Incoming {
	t.Helper()
	b := got(s.o.Committer.Bodies.Stage(context.Background(), strings.NewReader(text), 1<<30))(t)
	m := got(message.Parse(strings.NewReader(text), message.Limits{}))(t)
	return &Incoming{Body: b, Message: m, InternalDate: time.Unix(1_600_000_000, 0)}
}

// text is a message of its own.
func (f *fixture) text() string {
	f.n++
	return fmt.Sprintf("From: Ann <ann@example.org>\r\nTo: bob@example.net\r\nSubject: number %d\r\nMessage-ID: <%d@example.org>\r\n\r\nbody %d\r\n", f.n, f.n, f.n)
}

// append puts n messages into a mailbox and returns the first UID.
func (f *fixture) append(name string, n int, flags Flags) uint32 {
	f.Helper()
	var first uint32
	for at := 0; at < n; at += stageCount {
		uid := got(f.a.Append(f.Context(), f.box(name).ID, f.messages(min(stageCount, n-at), flags)...))(f)[0].UID
		if at == 0 {
			first = uid
		}
	}
	return first
}

func (f *fixture) messages(n int, flags Flags) (in []*Incoming) {
	for range n {
		m := f.message(f.text())
		m.Flags = flags
		in = append(in, m)
	}
	return in
}

func (f *fixture) box(name string) *Mailbox {
	f.Helper()
	m := got(f.a.Tree(f.Context()))(f).Name(name)
	if m == nil {
		f.Fatalf("no mailbox %q", name)
	}
	return m
}

func (f *fixture) snapshot(name string) *Snapshot {
	f.Helper()
	v := got(f.a.View(f.Context(), f.box(name).ID))(f)
	defer v.Close()
	return got(v.Snapshot(f.Context()))(f)
}

// uids lists a mailbox as "uid:flags" words.
func (f *fixture) list(name string) string {
	f.Helper()
	s := f.snapshot(name)
	var w []string
	for _, r := range s.Rows(0, s.Len()) {
		w = append(w, fmt.Sprintf("%d:%s", r.UID, r.Flags.Append(nil, s.Keywords())))
	}
	return strings.Join(w, ",")
}

func (f *fixture) want(what, got, want string) {
	f.Helper()
	if got != want {
		f.Fatalf("%s: got %q, want %q", what, got, want)
	}
}

// sound fails where Check finds something, before and after a sweep.
func (f *fixture) sound() {
	f.Helper()
	sound(f, f.a)
}

func sound(t testing.TB, a *Account) {
	t.Helper()
	for range 2 {
		must(t, a.Check(context.Background(), true, func(x Finding) { t.Errorf("check: %v", x) }))
		must(t, a.Sweep(context.Background()))
	}
}

func set(s string) imap.UIDSet {
	u, err := imap.ParseUIDSet(s)
	if err != nil {
		panic(err)
	}
	return u
}

func TestCreateAccount(t *testing.T) {
	f := newFixture(t)
	var names []string
	tree := got(f.a.Tree(t.Context()))(t)
	validity := map[uint32]bool{}
	for _, m := range tree.All() {
		names = append(names, m.Name+string(m.Role))
		if !m.Subscribed || validity[m.UIDValidity] {
			t.Errorf("%+v", m)
		}
		validity[m.UIDValidity] = true
	}
	f.want("names", strings.Join(names, " "), `INBOX Archive\Archive Drafts\Drafts Junk\Junk Sent\Sent Trash\Trash`)
	if err := f.s.Create(t.Context(), 1, Quota{}); !errors.Is(err, ErrExists) {
		t.Errorf("second create: %v", err)
	}
	if _, err := f.s.Account(t.Context(), 2); !errors.Is(err, ErrNoAccount) {
		t.Errorf("unknown account: %v", err)
	}
	f.sound()
}

func TestAppendAndFlags(t *testing.T) {
	f := newFixture(t)
	f.append("inbox", 3, 0)
	f.append("INBOX", 1, Seen)
	inbox := f.box("INBOX").ID
	f.want("appended", f.list("INBOX"), `1:,2:,3:,4:\Seen`)

	s := got(f.a.StoreFlags(t.Context(), inbox, set("1:2,4,9"), FlagChange{Mode: FlagsAdd, Flags: Seen, Keywords: []string{"$Forwarded"}}))(t)
	f.want("changed", s.Changed.String(), "1:2,4")
	f.want("added", f.list("INBOX"), `1:\Seen $Forwarded,2:\Seen $Forwarded,3:,4:\Seen $Forwarded`)
	before := s.ModSeq

	got(f.a.StoreFlags(t.Context(), inbox, set("2:3"), FlagChange{Mode: FlagsReplace, Flags: Flagged}))(t)
	f.want("replaced", f.list("INBOX"), `1:\Seen $Forwarded,2:\Flagged,3:\Flagged,4:\Seen $Forwarded`)
	s = got(f.a.StoreFlags(t.Context(), inbox, set("1:4"), FlagChange{Mode: FlagsRemove, Keywords: []string{"$forwarded", "unknown"}, UnchangedSince: before, Conditional: true}))(t)
	f.want("modified", s.Modified.String(), "2:3")
	f.want("removed", f.list("INBOX"), `1:\Seen,2:\Flagged,3:\Flagged,4:\Seen`)
	version := f.snapshot("INBOX").HighestModSeq()
	s = got(f.a.StoreFlags(t.Context(), inbox, set("1"), FlagChange{Mode: FlagsAdd, Flags: Seen}))(t)
	f.want("same", s.Same.String(), "1")
	if f.snapshot("INBOX").HighestModSeq() != version {
		t.Error("a STORE that changes nothing moved HIGHESTMODSEQ")
	}
	st := got(f.a.Status(t.Context(), inbox))(t)[0]
	if st.Messages != 4 || st.Unseen != 2 || st.UIDNext != 5 || st.HighestModSeq != version || st.Size == 0 {
		t.Errorf("status %+v", st)
	}
	f.sound()
}

func TestExpunge(t *testing.T) {
	f := newFixture(t)
	f.append("INBOX", 300, 0)
	inbox := f.box("INBOX").ID
	since := f.snapshot("INBOX").HighestModSeq()
	got(f.a.StoreFlags(t.Context(), inbox, set("2:299"), FlagChange{Mode: FlagsAdd, Flags: Deleted}))(t)
	e := got(f.a.Expunge(t.Context(), inbox, set("1:290,400:500"), false))(t)
	f.want("expunged", e.UIDs.String(), "2:290")
	f.want("rest", f.snapshot("INBOX").UIDs(0, 99).String(), "1,291:300")
	f.sound()
	e = got(f.a.Expunge(t.Context(), inbox, set("1:4294967295"), true))(t)
	f.want("forced", e.UIDs.String(), "1,291:300")
	f.want("vanished", got(f.snapshot("INBOX").Vanished(t.Context(), since, nil))(t).String(), "1:300")
	f.want("vanished late", got(f.snapshot("INBOX").Vanished(t.Context(), e.ModSeq-1, set("1:295")))(t).String(), "1,291:295")
	f.sound()
	f.append("INBOX", 1, 0)
	f.want("UID not used again", f.list("INBOX"), "301:")
	if _, u, _ := f.a.Quota(t.Context()); u.Messages != 1 {
		t.Errorf("quota %+v", u)
	}
	f.nothingLeft(1)
}

// nothingLeft counts the records that are there after a sweep.
func (f *fixture) nothingLeft(messages int) {
	f.Helper()
	snap := got(f.a.snapshot(f.Context()))(f)
	defer snap.Close()
	for _, k := range []byte{keyList, keyMessage, keyEntryOf, keyMember, keyMessageID, keyGarbage, keyTodo, keyPending, keyStaged, keySort, keyJoined} {
		n := 0
		for range snap.Scan(kv.Prefix([]byte{k})) {
			n++
		}
		want := 0
		switch k {
		case keyList, keyMessage, keyMessageID, keySort:
			want = messages
		}
		if n != want {
			f.Errorf("%d records of kind %c are left, want %d", n, k, want)
		}
	}
}

func TestCopyAndMove(t *testing.T) {
	f := newFixture(t)
	f.append("INBOX", 400, Flagged)
	f.append("Archive", 5, 0)
	inbox, archive := f.box("INBOX").ID, f.box("Archive").ID
	got(f.a.StoreFlags(t.Context(), inbox, set("3"), FlagChange{Mode: FlagsAdd, Keywords: []string{"a", "b"}}))(t)
	got(f.a.StoreFlags(t.Context(), archive, set("3"), FlagChange{Mode: FlagsAdd, Keywords: []string{"b"}}))(t)

	c := got(f.a.Copy(t.Context(), inbox, set("1:3,500"), archive))(t)
	f.want("copied", c.Source.String()+" to "+c.Dest.String(), "1:3 to 6:8")
	f.want("archive", f.list("Archive"), `1:,2:,3:b,4:,5:,6:\Flagged,7:\Flagged,8:\Flagged b a`)
	f.sound()
	id := f.snapshot("Archive").Row(7).ID
	at := got(f.a.Locations(t.Context(), id))(t)
	if !slices.Equal(at, []Location{{inbox, 3}, {archive, 8}}) {
		t.Errorf("locations %v", at)
	}
	c = got(f.a.Move(t.Context(), inbox, set("1:350"), archive))(t)
	f.want("moved", c.Source.String()+" to "+c.Dest.String(), "1:350 to 9:358")
	f.want("left", f.snapshot("INBOX").UIDs(0, 999).String(), "351:400")
	if at := got(f.a.Locations(t.Context(), id))(t); !slices.Equal(at, []Location{{archive, 8}, {archive, 11}}) {
		t.Errorf("locations before the sweep %v", at)
	}
	f.sound()
	if at := got(f.a.Locations(t.Context(), id))(t); !slices.Equal(at, []Location{{archive, 8}, {archive, 11}}) {
		t.Errorf("locations %v", at)
	}
	c = got(f.a.Move(t.Context(), archive, set("8,11"), archive))(t)
	f.want("moved within", c.Source.String()+" to "+c.Dest.String(), "8,11 to 359:360")
	f.sound()
	got(f.a.Expunge(t.Context(), archive, set("1:1000"), true))(t)
	f.sound()
	f.nothingLeft(50)
}

func TestOverQuota(t *testing.T) {
	f := newFixture(t)
	f.a = f.account(7, Quota{Bytes: 1000, Messages: 5})
	n := len(f.text())
	for f.n = 0; (f.n+1)*n <= 1000 && f.n < 5; {
		f.append("INBOX", 1, 0)
	}
	if _, err := f.a.Append(t.Context(), f.box("INBOX").ID, f.message(f.text())); !errors.Is(err, ErrOverQuota) {
		t.Errorf("append: %v", err)
	}
	if _, err := f.a.Copy(t.Context(), f.box("INBOX").ID, set("1"), f.box("Sent").ID); !errors.Is(err, ErrOverQuota) {
		t.Errorf("copy: %v", err)
	}
	if err := f.a.Room(t.Context(), int64(n), 1); !errors.Is(err, ErrOverQuota) {
		t.Errorf("room: %v", err)
	}
	got(f.a.Move(t.Context(), f.box("INBOX").ID, set("1"), f.box("Sent").ID))(t)
	must(t, f.a.SetQuota(t.Context(), Quota{}))
	f.append("INBOX", 1, 0)
	f.sound()
}

func TestStagedAppend(t *testing.T) {
	f := newFixture(t)
	all := got(f.a.Append(t.Context(), f.box("INBOX").ID, f.messages(100, 0)...))(t)
	if all[99].UID != 100 || all[99].ID == 0 || all[99].Thread == 0 || all[99].ModSeq != f.snapshot("INBOX").HighestModSeq() {
		t.Errorf("appended %+v", all[99])
	}
	f.want("all there", f.snapshot("INBOX").UIDs(0, 999).String(), "1:100")
	f.sound()
	f.a = f.account(9, Quota{Messages: 150})
	f.append("INBOX", 100, 0)
	in := f.messages(100, 0)
	if _, err := f.a.Append(t.Context(), f.box("INBOX").ID, in...); !errors.Is(err, ErrOverQuota) {
		t.Errorf("over quota: %v", err)
	}
	// One that is refused only at the end leaves nothing behind.
	must(t, f.a.SetQuota(t.Context(), Quota{}))
	in[99].Keywords = []string{""}
	if _, err := f.a.Append(t.Context(), f.box("INBOX").ID, in...); !errors.Is(err, ErrTooLarge) {
		t.Errorf("bad keyword: %v", err)
	}
	f.want("none there", f.snapshot("INBOX").UIDs(0, 999).String(), "1:100")
	f.sound()
	f.nothingLeftButEntries(100)
}

func (f *fixture) nothingLeftButEntries(messages int) {
	f.Helper()
	snap := got(f.a.snapshot(f.Context()))(f)
	defer snap.Close()
	n := 0
	for range snap.Scan(kv.Prefix([]byte{keyMessage})) {
		n++
	}
	if n != messages {
		f.Errorf("%d message records, want %d", n, messages)
	}
	if e := got(any1(snap, kv.Prefix([]byte{keyPending})))(f); e != nil {
		f.Errorf("pending %q is left", e.Key)
	}
}

func TestRecords(t *testing.T) {
	f := newFixture(t)
	var huge strings.Builder
	huge.WriteString("From: x@example.org\r\nSubject: huge\r\nTo: ")
	for i := range 3000 {
		fmt.Fprintf(&huge, "Somebody %d <somebody-%d@example.org>,\r\n ", i, i)
	}
	huge.WriteString("z@example.org\r\n\r\nbody\r\n")
	f.append("INBOX", 600, 0)
	got(f.a.Append(t.Context(), f.box("INBOX").ID, f.message(huge.String())))(t)
	got(f.a.Move(t.Context(), f.box("INBOX").ID, set("100:200"), f.box("Sent").ID))(t)
	got(f.a.Move(t.Context(), f.box("Sent").ID, set("1:1000"), f.box("INBOX").ID))(t)
	s := f.snapshot("INBOX")
	if s.Len() != 601 {
		t.Fatalf("%d messages", s.Len())
	}
	n := 0
	for r, err := range s.Records(t.Context(), set("1:4294967295"), WantEnvelope|WantStructure) {
		must(t, err)
		if r.Index != n || r.Row != s.Row(n) {
			t.Fatalf("record %d is %+v", n, r)
		}
		n++
		body := got(f.a.Open(t.Context(), r.Body))(t)
		octets := got(io.ReadAll(io.NewSectionReader(body, 0, body.Size())))(t)
		body.Close()
		m := got(message.Parse(strings.NewReader(string(octets)), message.Limits{}))(t)
		f.want("envelope", string(r.Envelope), string(imap.AppendEnvelope(nil, m)))
		f.want("body structure", string(r.BodyStructure), string(imap.AppendBodyStructure(nil, m.Root, true)))
		f.want("subject", string(r.Subject), m.Subject)
		if r.Missing || r.Truncated != (m.Subject == "huge") || int(r.Size) != len(octets) {
			t.Fatalf("%+v", r)
		}
		got(message.Decode(r.Structure))(t)
		one := got(s.Record(t.Context(), r.UID, WantEnvelope))(t)
		f.want("one envelope", string(one.Envelope), string(r.Envelope))
	}
	if n != 601 {
		t.Fatalf("%d records", n)
	}
	got(f.a.Expunge(t.Context(), f.box("INBOX").ID, set("601"), true))(t)
	f.sound()
	for r, err := range s.Records(t.Context(), set("601"), WantStructure) {
		must(t, err)
		if !r.Missing {
			t.Errorf("a swept message is there: %+v", r)
		}
	}
}

func TestThreads(t *testing.T) {
	f := newFixture(t)
	mail := func(id, subject, refs string) ThreadID {
		text := fmt.Sprintf("Subject: %s\r\nMessage-ID: <%s>\r\nReferences: %s\r\n\r\nx\r\n", subject, id, refs)
		return got(f.a.Append(t.Context(), f.box("INBOX").ID, f.message(text)))(t)[0].Thread
	}
	first := mail("1@x", "Lunch?", "")
	cases := []struct {
		name, id, subject, refs string
		joins                   bool
	}{
		{"a reply", "2@x", "Re: Lunch?", "<1@x>", true},
		{"a reply in German to a reply", "3@x", "AW: Re[2]: [list] lunch?", "<1@x> <2@x>", true},
		{"another subject", "4@x", "Dinner", "<1@x>", false},
		{"no references", "5@x", "Lunch?", "", false},
		{"a reply to one never seen", "6@x", "Re: Lunch?", "<missing@x> <1@x>", true},
		{"the missing one, late", "missing@x", "Lunch?", "", true},
		{"the same again", "1@x", "Lunch?", "", true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := mail(c.id, c.subject, c.refs) == first; got != c.joins {
				t.Errorf("joins %v, want %v", got, c.joins)
			}
		})
	}
	if all := got(f.a.Thread(t.Context(), first))(t); len(all) != 6 {
		t.Errorf("thread has %d messages", len(all))
	}
	// A message that is gone is still known to those who reply to it, until all are gone.
	got(f.a.Expunge(t.Context(), f.box("INBOX").ID, set("1:2"), true))(t)
	f.sound()
	if mail("9@x", "Re: Lunch?", "<2@x>") != first {
		t.Error("a reply to an expunged message starts a thread")
	}
	got(f.a.Expunge(t.Context(), f.box("INBOX").ID, set("1:100"), true))(t)
	f.sound()
	f.nothingLeft(0)
	if mail("1@x", "Lunch?", "") == first {
		t.Error("the thread is still there")
	}
}

func TestDeleteAccount(t *testing.T) {
	f := newFixture(t)
	f.append("INBOX", 250, 0)
	body := got(f.snapshot("INBOX").Record(t.Context(), 1, WantStructure))(t).Body
	must(t, f.s.Delete(t.Context(), 1))
	if _, err := f.s.Account(t.Context(), 1); !errors.Is(err, ErrNoAccount) {
		t.Errorf("account: %v", err)
	}
	if _, err := f.a.Tree(t.Context()); !errors.Is(err, ErrNoAccount) {
		t.Errorf("tree: %v", err)
	}
	snap := got(f.a.snapshot(t.Context()))(t)
	defer snap.Close()
	if e := got(any1(snap, kv.Range{}))(t); e != nil {
		t.Errorf("key %q is left", e.Key)
	}
	c := blob.NewCollector(f.s.o.Committer.Bodies, blob.CollectorOptions{})
	got(c.Collect(t.Context()))(t)
	if _, err := f.a.Open(t.Context(), body); err == nil {
		t.Log("the body may stay for a grace period")
	}
	must(t, f.s.Create(t.Context(), 1, Quota{}))
	f.a = got(f.s.Account(t.Context(), 1))(t)
	f.append("INBOX", 1, 0)
	f.sound()
}
