package mailstore

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"postroad/imap"
	"postroad/internal/blob/memblob"
	"postroad/internal/kv/memkv"
	"postroad/internal/trace"
)

// annotations lists what a reader sees as "name=value" words.
func (f *fixture) annotations(m MailboxID, reader AccountID) string {
	f.Helper()
	var w []string
	for _, n := range got(f.a.Annotations(f.Context(), m, reader))(f) {
		w = append(w, n.Name+"="+string(n.Value))
	}
	return strings.Join(w, " ")
}

func TestAnnotations(t *testing.T) {
	f := newUndelete(t, Quota{})
	m := got(f.a.CreateMailbox(t.Context(), "x", ""))(t)
	set := func(reader AccountID, words ...string) error {
		var list []Annotation
		for _, w := range words {
			name, value, found := strings.Cut(w, "=")
			n := Annotation{Name: name}
			if found {
				n.Value = []byte(value)
			}
			list = append(list, n)
		}
		return f.a.Annotate(t.Context(), m.ID, reader, list)
	}
	must(t, set(1, "/shared/comment=ours", "/private/comment=mine"))
	must(t, set(2, "/private/comment=hers"))
	must(t, f.a.Annotate(t.Context(), 0, 1, []Annotation{{"/private/comment", []byte("of all")}}))
	f.want("owner", f.annotations(m.ID, 1), "/private/comment=mine /shared/comment=ours")
	f.want("reader", f.annotations(m.ID, 2), "/private/comment=hers /shared/comment=ours")
	f.want("account", f.annotations(0, 1), "/private/comment=of all")
	must(t, set(2, "/shared/comment=", "/private/comment", "/private/none"))
	f.want("emptied", f.annotations(m.ID, 1), "/private/comment=mine /shared/comment=")
	f.want("taken away", f.annotations(m.ID, 2), "/shared/comment=")

	must(t, set(1, EntrySpecialUse+`=\Archive`))
	f.want("special use", f.annotations(m.ID, 1), `/private/comment=mine /private/specialuse=\Archive /shared/comment=`)
	if f.box("Archive").Role != "" || f.box("x").Role != imap.AttrArchive {
		t.Error("the special use did not move")
	}
	f.want("not of others", f.annotations(m.ID, 2), "/shared/comment=")
	must(t, set(1, EntrySpecialUse))

	for _, c := range []struct {
		name  string
		err   error
		words []string
	}{
		{"neither shared nor private", ErrName, []string{"/comment=x"}},
		{"no special use", ErrUse, []string{"/shared/comment=no", EntrySpecialUse + `=\Nothing`}},
		{"no retention", ErrUse, []string{"/shared/comment=no", EntryRetention + "=soon"}},
		{"long name", ErrTooLarge, []string{"/shared/" + strings.Repeat("x", AnnotationNameBytes) + "=x"}},
		{"long value", ErrTooLarge, []string{"/shared/x=" + strings.Repeat("x", AnnotationValueBytes+1)}},
	} {
		if err := set(1, c.words...); !errors.Is(err, c.err) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	f.want("untouched", f.annotations(m.ID, 1), "/private/comment=mine /shared/comment=")
	f.sound()

	// They follow the mailbox, and go when it is gone for good.
	must(t, f.a.RenameMailbox(t.Context(), "x", "y"))
	f.append("y", 1, 0)
	must(t, f.a.DeleteMailbox(t.Context(), "y"))
	got(f.a.Undelete(t.Context(), m.ID, AllUIDs()))(t)
	f.want("back", f.annotations(m.ID, 1), "/private/comment=mine /shared/comment=")
	must(t, f.a.DeleteMailbox(t.Context(), "y"))
	must(t, f.a.PurgeAll(t.Context()))
	f.sound()
	if _, err := f.a.Annotations(t.Context(), m.ID, 1); !errors.Is(err, ErrNoMailbox) {
		t.Errorf("of a purged mailbox: %v", err)
	}
	if err := set(1, "/shared/comment=x"); !errors.Is(err, ErrNoMailbox) {
		t.Errorf("to a purged mailbox: %v", err)
	}
	must(t, f.s.Delete(t.Context(), 1))
}

func TestAnnotationsBounded(t *testing.T) {
	f := newFixture(t)
	inbox := f.box("INBOX").ID
	list := make([]Annotation, AnnotationsMax)
	for i := range list {
		list[i] = Annotation{fmt.Sprintf("/shared/%d", i), []byte("x")}
	}
	must(t, f.a.Annotate(t.Context(), inbox, 1, list))
	one := []Annotation{{"/shared/more", []byte("x")}}
	if err := f.a.Annotate(t.Context(), inbox, 1, one); !errors.Is(err, ErrLimit) {
		t.Errorf("one too many: %v", err)
	}
	must(t, f.a.Annotate(t.Context(), inbox, 1, []Annotation{{"/shared/1", []byte("another")}}))
	must(t, f.a.Annotate(t.Context(), inbox, 1, append(one, Annotation{"/shared/1", nil})))
	value := []byte(strings.Repeat("x", AnnotationValueBytes))
	var err error
	for i := AccountID(2); err == nil && i < 1000; i++ {
		err = f.a.Annotate(t.Context(), inbox, i, []Annotation{{"/private/x", value}})
	}
	if !errors.Is(err, ErrOverQuota) {
		t.Errorf("too much in all: %v", err)
	}
	f.sound()
}

func TestParseRetention(t *testing.T) {
	for _, c := range []struct {
		text string
		want Retention
		back string
	}{
		{"30d", Retention{After: 30 * day}, "30d"},
		{"4w, 1000 messages", Retention{After: 28 * day, Messages: 1000}, "28d, 1000 messages"},
		{"5 messages,12h", Retention{After: 12 * time.Hour, Messages: 5}, "12h, 5 messages"},
		{"none", Retention{}, "none"},
	} {
		if r, err := ParseRetention(c.text); err != nil || r != c.want || r.String() != c.back {
			t.Errorf("%q: %+v, %q, %v", c.text, r, r, err)
		}
	}
	for _, bad := range []string{"", ",", "d", "0d", "30", "30x", "-1d", "1d,2d", "1 messages, 2 messages", "9999999d", "0 messages", "1.5d", "none, 1d"} {
		if r, err := ParseRetention(bad); !errors.Is(err, ErrUse) {
			t.Errorf("%q: %+v, %v", bad, r, err)
		}
	}
}

func FuzzParseRetention(f *testing.F) {
	for _, s := range []string{"30d", "4w, 1000 messages", "none", "5 messages,12h"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseRetention(s)
		if err != nil {
			return
		}
		if again, err := ParseRetention(r.String()); err != nil || again != r {
			t.Errorf("%q: %+v, again %+v, %v", s, r, again, err)
		}
	})
}

func TestRetention(t *testing.T) {
	engine := memkv.New()
	f := &fixture{TB: t, s: newStore(t, engine, memblob.New())}
	f.s.o.Undelete = time.Hour
	f.s.o.Retention = map[imap.MailboxAttr]Retention{imap.AttrTrash: {After: 30 * day}, imap.AttrJunk: {After: day}}
	f.a = f.account(1, Quota{})
	trash, junk, inbox := f.box("Trash"), f.box("Junk"), f.box("INBOX")
	f.append("Trash", 3, 0)
	f.append("Junk", 3, 0)
	f.append("INBOX", 10, 0)
	must(t, f.a.SetRetention(t.Context(), junk.ID, &Retention{}))
	must(t, f.a.SetRetention(t.Context(), inbox.ID, &Retention{Messages: 4}))
	for _, c := range []struct {
		name string
		box  *Mailbox
		want string
		own  bool
	}{{"of the special use", trash, "30d", false}, {"its own, none", junk, "none", true}, {"its own", inbox, "4 messages", true}} {
		if r, own, err := f.a.Retention(t.Context(), c.box.ID); err != nil || r.String() != c.want || own != c.own {
			t.Errorf("%s: %v, %v, %v", c.name, r, own, err)
		}
	}
	got(f.a.retain(t.Context(), time.Now().Add(30*day-time.Minute)))(t)
	f.want("a minute before", fmt.Sprint(f.snapshot("Trash").Len(), f.snapshot("Junk").Len()), "3 3")
	f.want("newest", f.snapshot("INBOX").UIDs(0, 99).String(), "7:10")
	got(f.a.retain(t.Context(), time.Now().Add(30*day+time.Minute)))(t)
	f.want("a minute after", fmt.Sprint(f.snapshot("Trash").Len(), f.snapshot("Junk").Len()), "0 3")
	f.want("to be brought back", f.recoverable(), "INBOX:6 Trash:3")
	lines := got(trace.Find(t.Context(), engine, f.a.id.String()))(t)
	var told []string
	for _, l := range lines {
		for _, e := range l.Events {
			told = append(told, e.Mailbox+" "+e.Rule+" "+e.Text)
		}
	}
	if len(told) != 2 || !strings.Contains(strings.Join(told, ";"), "INBOX 4 messages 6 messages: UIDs 1:6") {
		t.Errorf("trace: %q", told)
	}
	must(t, f.a.SetRetention(t.Context(), inbox.ID, nil))
	if r, own, err := f.a.Retention(t.Context(), inbox.ID); err != nil || own || r != (Retention{}) {
		t.Errorf("taken away: %v, %v, %v", r, own, err)
	}
	f.sound()
}
