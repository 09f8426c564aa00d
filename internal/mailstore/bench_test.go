package mailstore

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"postroad/imap"
	"postroad/internal/blob"
	"postroad/internal/mailflow"
)

// benchCount is the size of the mailbox that the benchmarks work on.
const benchCount = 100_000

var allUIDs = imap.UIDSet{{First: 1, Last: ^uint32(0)}}

// big is a mailbox of benchCount messages on disk. Their bodies are one and the same.
func big(b *testing.B) *fixture { return bigOf(b, benchCount) }

// bigOf is big with so many messages.
func bigOf(b *testing.B, count int) *fixture {
	engine, blobs := engines["diskkv"](b)
	f := &fixture{TB: b, s: newStore(b, engine, blobs)}
	f.a = f.account(1, Quota{})
	inbox := f.box("INBOX").ID
	for at := 0; at < count; at += 2000 {
		var in []*Incoming
		for i := range min(2000, count-at) {
			in = append(in, f.message(benchText(at+i)))
		}
		// As deliveries do it: each an entry of its own, but many in a commit.
		for len(in) > 0 {
			n := min(len(in), stageCount)
			got(f.a.Append(b.Context(), inbox, in[:n]...))(b)
			in = in[n:]
		}
	}
	return f
}

func benchText(i int) string {
	return fmt.Sprintf("Received: from mx.example.org by mail.example.net with ESMTPS id abc%d;\r\n Mon, 1 Jan 2024 10:00:00 +0000\r\n"+
		"From: \"Ann Example\" <ann.example@example.org>\r\nTo: Bob <bob@example.net>\r\nCc: carol@example.com\r\n"+
		"Subject: The figures of week %d and what they mean\r\nMessage-ID: <%d.abcdefgh@mail.example.org>\r\n"+
		"Date: Mon, 1 Jan 2024 09:59:58 +0000\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n%s\r\n", i, i%52, i, strings.Repeat("Some text. ", 10))
}

// BenchmarkMailbox measures the figures of design 7 on 100,000 messages.
func BenchmarkMailbox(b *testing.B) {
	f := big(b)
	ctx := context.Background()
	inbox, trash := f.box("INBOX").ID, f.box("Trash").ID
	b.Run("status", func(b *testing.B) {
		for b.Loop() {
			got(f.a.Status(ctx, inbox))(b)
		}
	})
	cold := func(b *testing.B) {
		for b.Loop() {
			l := &live{account: f.a, mailbox: inbox}
			got(l.refresh(ctx))(b)
		}
	}
	b.Run("select cold, not packed", cold)
	b.Run("pack", func(b *testing.B) {
		for b.Loop() {
			must(b, f.a.Sweep(ctx))
		}
	})
	b.Run("select cold", cold)
	benchBlocks(b, f, inbox)
	v := got(f.a.View(ctx, inbox))(b)
	defer v.Close()
	b.Run("select warm", func(b *testing.B) {
		for b.Loop() {
			got(v.Snapshot(ctx))(b)
		}
	})
	fetch := func(b *testing.B) {
		s := got(v.Snapshot(ctx))(b)
		for b.Loop() {
			n := 0
			for r, err := range s.Records(ctx, allUIDs, WantEnvelope) {
				must(b, err)
				n += len(r.Envelope)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(s.Len()), "ns/message")
	}
	b.Run("fetch", fetch)
	b.Run("store 10000", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			got(f.a.StoreFlags(ctx, inbox, set("1000:10999"), FlagChange{Mode: FlagsAdd + StoreMode(i%2), Flags: Seen}))(b)
		}
	})
	b.Run("store 1", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			uid := uint32(i*7%benchCount + 1)
			got(f.a.StoreFlags(ctx, inbox, imap.UIDSet{{First: uid, Last: uid}}, FlagChange{Mode: FlagsAdd + StoreMode(i/benchCount%2), Flags: Flagged}))(b)
		}
	})
	b.Run("refresh after store 1", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			b.StopTimer()
			uid := uint32(i*7%benchCount + 1)
			got(f.a.StoreFlags(ctx, inbox, imap.UIDSet{{First: uid, Last: uid}}, FlagChange{Mode: FlagsAdd + StoreMode(i%2), Flags: Answered}))(b)
			b.StartTimer()
			got(v.Snapshot(ctx))(b)
		}
	})
	benchTransfers(b, f, inbox, trash)
	b.Run("fetch after moves", func(b *testing.B) {
		got(f.a.Move(ctx, inbox, set("1:50000"), trash))(b)
		got(f.a.Move(ctx, trash, allUIDs, inbox))(b)
		fetch(b)
	})
}

// benchBlocks measures a staged copy of all, and a load from the blocks that it makes.
func benchBlocks(b *testing.B, f *fixture, inbox MailboxID) {
	ctx := context.Background()
	b.Run("copy all, staged", func(b *testing.B) {
		for b.Loop() {
			got(f.a.Expunge(ctx, f.box("Sent").ID, allUIDs, true))(b)
			got(f.a.Copy(ctx, inbox, allUIDs, f.box("Sent").ID))(b)
		}
		must(b, f.a.Sweep(ctx))
	})
	b.Run("select cold, blocks of long ago", func(b *testing.B) {
		for b.Loop() {
			l := &live{account: f.a, mailbox: f.box("Sent").ID}
			if s := got(l.refresh(ctx))(b); s.Len() != benchCount {
				b.Fatal(s.Len())
			}
		}
	})
}

// benchTransfers measures copying, moving and removing 10,000 messages.
func benchTransfers(b *testing.B, f *fixture, inbox, trash MailboxID) {
	ctx := context.Background()
	b.Run("copy 10000", func(b *testing.B) {
		for b.Loop() {
			got(f.a.Copy(ctx, inbox, set("1000:10999"), trash))(b)
		}
	})
	b.Run("expunge 10000", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			c := got(f.a.Copy(ctx, inbox, set("1000:10999"), trash))(b)
			b.StartTimer()
			got(f.a.Expunge(ctx, trash, c.Dest, true))(b)
		}
	})
	b.Run("move 10000", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			c := got(f.a.Copy(ctx, inbox, set("1000:10999"), trash))(b)
			b.StartTimer()
			got(f.a.Move(ctx, trash, c.Dest, f.box("Archive").ID))(b)
		}
	})
	b.Run("sweep 10000", func(b *testing.B) {
		must(b, f.a.Sweep(ctx))
		for b.Loop() {
			b.StopTimer()
			c := got(f.a.Copy(ctx, inbox, set("1000:10999"), trash))(b)
			got(f.a.Expunge(ctx, trash, c.Dest, true))(b)
			b.StartTimer()
			must(b, f.a.Sweep(ctx))
		}
	})
}

// BenchmarkDelivery prepares and commits one small message at a time, body included.
func BenchmarkDelivery(b *testing.B) {
	engine, blobs := engines["diskkv"](b)
	f := &fixture{TB: b, s: newStore(b, engine, blobs)}
	var accounts []*Account
	for i := range 100 {
		accounts = append(accounts, f.account(AccountID(i+1), Quota{}))
	}
	text := benchText(1)
	parsed := f.message(text).Message
	b.SetParallelism(16)
	b.RunParallel(func(p *testing.PB) {
		for i := 0; p.Next(); i++ {
			a := accounts[i%len(accounts)]
			body, err := f.s.o.Committer.Bodies.Stage(b.Context(), strings.NewReader(text), 1<<20)
			must(b, err)
			must(b, deliver(f.s, a, body, &Incoming{Message: parsed, InternalDate: time.Now()}))
		}
	})
}

func deliver(s *Store, a *Account, body blob.Body, in *Incoming) error {
	in.Body = body
	return s.o.Committer.Commit(context.Background(), func(ctx context.Context, u *mailflow.Unit) error {
		t, err := a.Tree(ctx)
		if err != nil {
			return err
		}
		_, err = a.PrepareAppend(ctx, u, in, t.Inbox().ID)
		return err
	})
}
