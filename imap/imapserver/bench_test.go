package imapserver

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"postroad/imap"
	"postroad/message"
)

// preparedSession answers FETCH from prepared bytes, as a store would.
type preparedSession struct {
	fakeSession
	envelope []byte
	flags    []imap.Flag
	date     time.Time
	n        int
}

func (s *preparedSession) Fetch(_ context.Context, w *FetchWriter, _ imap.NumSet, _ FetchOptions) error {
	for i := range s.n {
		w.Begin(uint32(i+1), uint32(i+1))
		w.Flags(s.flags)
		w.Envelope(s.envelope)
		w.InternalDate(s.date)
		w.Size(4096)
		if err := w.End(); err != nil {
			return err
		}
	}
	return nil
}

// BenchmarkFetch writes FETCH 1:* (UID FLAGS ENVELOPE INTERNALDATE RFC822.SIZE) of 100,000
// messages; the figure a message is reported besides.
func BenchmarkFetch(b *testing.B) {
	store := newFakeStore()
	fill(store)
	m := store.mailboxes["INBOX"].messages[0]
	session := &preparedSession{fakeSession: fakeSession{store: store}, n: 100_000,
		envelope: imap.AppendEnvelope(nil, m.parsed), flags: []imap.Flag{imap.FlagSeen, "$Forwarded"}, date: m.date}
	for _, compress := range []bool{false, true} {
		b.Run(map[bool]string{false: "plain", true: "compressed"}[compress], func(b *testing.B) {
			c := &Conn{server: newServer(b, store, nil), net: &scriptConn{}, session: session, state: selected, exists: 100_000}
			c.in.conn = c
			if compress {
				c.deflate = &deflater{c.net}
			}
			b.ReportAllocs()
			for b.Loop() {
				c.begin()
				cmd, err := c.parseCommand([]byte("a UID FETCH 1:* (UID FLAGS ENVELOPE INTERNALDATE RFC822.SIZE)\r\n"))
				if err != nil {
					b.Fatal(err)
				}
				if err := c.execute(cmd); err != nil {
					b.Fatal(err)
				}
				_ = c.flush()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(session.n), "ns/message")
		})
	}
}

func (s *preparedSession) Poll(context.Context, *UpdateWriter, PollOptions) error { return nil }

// BenchmarkFetchBody streams a message of 1 MB.
func BenchmarkFetchBody(b *testing.B) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	c := &Conn{server: newServer(b, newFakeStore(), nil), net: &scriptConn{}}
	c.begin()
	w := &FetchWriter{c: c}
	s := &imap.Section{}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		w.Begin(1, 1)
		if err := w.Section(s, bytes.NewReader(body), message.Span{End: int64(len(body))}); err != nil {
			b.Fatal(err)
		}
		_ = w.End()
	}
}

// BenchmarkCommand parses the commands that mail programs send most.
func BenchmarkCommand(b *testing.B) {
	for name, line := range map[string]string{
		"NOOP":   "a1 NOOP\r\n",
		"FETCH":  "a1 UID FETCH 1:1000,2000:3000 (UID FLAGS RFC822.SIZE BODY.PEEK[HEADER.FIELDS (From To Subject Date)])\r\n",
		"STORE":  "a1 UID STORE 4711 +FLAGS.SILENT (\\Seen)\r\n",
		"SEARCH": "a1 UID SEARCH UNDELETED SINCE 1-Feb-1994 NOT FROM \"Smith\"\r\n",
	} {
		b.Run(name, func(b *testing.B) {
			store := newFakeStore()
			session := &preparedSession{fakeSession: fakeSession{store: store, selected: store.mailboxes["INBOX"]}}
			c := &Conn{server: newServer(b, store, nil), net: &scriptConn{}, session: session, state: selected}
			c.in.conn = c
			b.ReportAllocs()
			for b.Loop() {
				c.begin()
				cmd, err := c.parseCommand([]byte(line))
				if err != nil {
					b.Fatal(err)
				}
				if err := c.execute(cmd); err != nil {
					b.Fatal(err)
				}
				c.out = c.out[:0]
			}
		})
	}
}

// BenchmarkCompressedSize tells how small FETCH responses become.
func BenchmarkCompressedSize(b *testing.B) {
	text := crlf(strings.Repeat(messageMixed+messagePlain, 20))
	var z counter
	d := &deflater{&z}
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		z = 0
		if _, err := d.Write(text[:min(len(text), spillBytes)]); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(z)/float64(min(len(text), spillBytes)), "ratio")
}

type counter int

func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }

var _ io.Writer = (*counter)(nil)
