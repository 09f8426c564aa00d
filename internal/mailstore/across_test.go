package mailstore

import (
	"errors"
	"fmt"
	"io"
	"testing"
)

// TestTransfer copies and moves mail between two accounts.
func TestTransfer(t *testing.T) {
	for _, c := range []struct {
		name   string
		move   bool
		n      int
		reader AccountID
		keep   Flags
		want   string // flags of the first message there, as the reader has it
	}{
		{name: "copy from somebody", n: 3, reader: 2, want: `\Seen \Flagged k`},
		{name: "copy to somebody", n: 3, reader: 1, want: `\Seen \Flagged k`},
		{name: "copy many", n: 60, reader: 2, want: `\Seen \Flagged k`},
		{name: "copy less flags", n: 2, reader: 2, keep: Flagged | KeywordFlags, want: `\Seen`},
		{name: "move", move: true, n: 3, reader: 2, want: `\Seen \Flagged k`},
		{name: "move many", move: true, n: 60, reader: 1, want: `\Seen \Flagged k`},
		{name: "move without seen", move: true, n: 2, reader: 1, keep: Seen, want: `\Flagged k`},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			ctx := t.Context()
			other := &fixture{TB: t, s: f.s, a: f.account(2, Quota{})}
			f.append("INBOX", c.n, Flagged)
			all := set(fmt.Sprintf("1:%d", c.n+5))
			for _, who := range []AccountID{1, 2} {
				got(f.a.StoreFlags(ctx, f.box("INBOX").ID, all, FlagChange{Mode: FlagsAdd, Flags: Seen, Keywords: []string{"k"}, Reader: who}))(t)
			}
			before := f.snapshot("INBOX")
			tr := &Transfer{From: f.a, Source: f.box("INBOX").ID, UIDs: all, To: other.a, Dest: other.box("Archive").ID, Reader: c.reader, Keep: c.keep}
			do := tr.Copy
			if c.move {
				do = tr.Move
			}
			out := got(do(ctx))(t)
			if out.Source.Count() != uint64(c.n) || out.Dest.Count() != uint64(c.n) || out.UIDValidity != other.box("Archive").UIDValidity {
				t.Errorf("%+v", out)
			}
			left := c.n
			if c.move {
				left = 0
			}
			if f.snapshot("INBOX").Len() != left {
				t.Errorf("%d messages are left", f.snapshot("INBOX").Len())
			}
			v := got(other.a.ViewAs(ctx, other.box("Archive").ID, c.reader))(t)
			defer v.Close()
			there := got(v.Snapshot(ctx))(t)
			if there.Len() != c.n {
				t.Fatalf("%d messages have come", there.Len())
			}
			if flags := string(there.Row(0).Flags.Append(nil, there.Keywords())); flags != c.want {
				t.Errorf("flags %q, want %q", flags, c.want)
			}
			if there.Row(0).ID == before.Row(0).ID || there.Row(0).InternalDate != before.Row(0).InternalDate {
				t.Error("id or internal date of the first message")
			}
			must(t, f.a.Sweep(ctx))
			f.sound()
			other.sound()
			r := got(there.Record(ctx, there.UID(c.n-1), WantStructure))(t)
			body := got(other.a.Open(ctx, r.Body))(t)
			text := got(io.ReadAll(io.NewSectionReader(body, 0, body.Size())))(t)
			body.Close()
			f.want("the last message", string(text), fmt.Sprintf("From: Ann <ann@example.org>\r\nTo: bob@example.net\r\nSubject: number %d\r\nMessage-ID: <%d@example.org>\r\n\r\nbody %d\r\n", c.n, c.n, c.n))
		})
	}
}

// TestTransferRefused: what cannot all be copied is not copied at all.
func TestTransferRefused(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	other := &fixture{TB: t, s: f.s, a: f.account(2, Quota{Messages: 2})}
	f.append("INBOX", 3, 0)
	tr := &Transfer{From: f.a, Source: f.box("INBOX").ID, UIDs: set("1:3"), To: other.a, Dest: other.box("INBOX").ID, Reader: 2}
	if _, err := tr.Copy(ctx); !errors.Is(err, ErrOverQuota) || other.snapshot("INBOX").Len() != 0 {
		t.Errorf("over quota: %v, %d messages", err, other.snapshot("INBOX").Len())
	}
	if _, err := tr.Move(ctx); !errors.Is(err, ErrOverQuota) || f.snapshot("INBOX").Len() != 3 {
		t.Errorf("over quota: %v, %d messages left", err, f.snapshot("INBOX").Len())
	}
	tr.Dest = 12345
	if _, err := tr.Copy(ctx); !errors.Is(err, ErrNoMailbox) {
		t.Errorf("no mailbox: %v", err)
	}
	f.sound()
	other.sound()
}
