package imapserver

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"time"

	"postroad/imap"
	"postroad/message"
)

// FetchWriter writes FETCH responses into the connection's buffer, without allocating:
// Begin, the items, End for each message. Prepared bytes are copied at once, literals
// stream. It is valid until Fetch returns.
type FetchWriter struct {
	c   *Conn
	uid bool // UID was asked for
	sep bool // an item stands before the next

	open    bool // between Begin and End
	start   int  // of the open response in the buffer
	flushes int  // of the connection when it began
}

// Begin starts the response of one message, with its UID if that was asked for.
func (w *FetchWriter) Begin(seq, uid uint32) {
	w.sep, w.open, w.start, w.flushes = false, true, len(w.c.out), w.c.flushes
	b := append(w.c.out, "* "...)
	b = strconv.AppendUint(b, uint64(seq), 10)
	b = append(b, " FETCH ("...)
	if w.uid {
		b = append(b, "UID "...)
		b = strconv.AppendUint(b, uint64(uid), 10)
		w.sep = true
	}
	w.c.out = b
}

// End finishes the response of one message. An error says that the connection is gone:
// the session may stop.
func (w *FetchWriter) End() error {
	w.open = false
	w.c.out = append(w.c.out, ")\r\n"...)
	return w.c.spill()
}

// abandon takes back a response that was begun and, because of an error, not ended. If
// some of it has gone to the client already, the connection cannot go on.
func (w *FetchWriter) abandon(err error) error {
	switch {
	case !w.open:
		return err
	case w.flushes != w.c.flushes:
		return w.c.fail(fmt.Errorf("FETCH response without end: %w", err))
	}
	w.open = false
	w.c.out = w.c.out[:w.start]
	return err
}

// item appends an item's name and a space, and returns the buffer.
func (w *FetchWriter) item(name string) []byte {
	b := w.c.out
	if w.sep {
		b = append(b, ' ')
	}
	w.sep = true
	return append(b, name...)
}

// Flags writes FLAGS.
func (w *FetchWriter) Flags(flags []imap.Flag) {
	w.c.out = imap.AppendFlags(w.item("FLAGS "), flags)
}

// FlagsText writes FLAGS from prepared text, `\Seen $Forwarded`.
func (w *FetchWriter) FlagsText(text []byte) {
	b := append(w.item("FLAGS ("), text...)
	w.c.out = append(b, ')')
}

// InternalDate writes INTERNALDATE.
func (w *FetchWriter) InternalDate(t time.Time) {
	w.c.out = imap.AppendDateTime(w.item("INTERNALDATE "), t)
}

// Size writes RFC822.SIZE, in octets.
func (w *FetchWriter) Size(size int64) {
	w.c.out = strconv.AppendInt(w.item("RFC822.SIZE "), size, 10)
}

// Envelope writes ENVELOPE from what imap.AppendEnvelope made.
func (w *FetchWriter) Envelope(text []byte) {
	w.c.out = append(w.item("ENVELOPE "), text...)
}

// BodyStructure writes BODYSTRUCTURE from what imap.AppendBodyStructure made.
func (w *FetchWriter) BodyStructure(text []byte) {
	w.c.out = append(w.item("BODYSTRUCTURE "), text...)
}

// Body writes BODY from what imap.AppendBodyStructure made without extension data.
func (w *FetchWriter) Body(text []byte) {
	w.c.out = append(w.item("BODY "), text...)
}

// ModSeq writes MODSEQ (RFC 7162, 3.1.4.2).
func (w *FetchWriter) ModSeq(n uint64) {
	b := strconv.AppendUint(w.item("MODSEQ ("), n, 10)
	w.c.out = append(b, ')')
}

// SaveDate writes SAVEDATE, NIL for the zero time (RFC 8514, 4.3).
func (w *FetchWriter) SaveDate(t time.Time) {
	b := w.item("SAVEDATE ")
	if t.IsZero() {
		w.c.out = append(b, "NIL"...)
		return
	}
	w.c.out = imap.AppendDateTime(b, t)
}

// EmailID writes EMAILID (RFC 8474, 5.1).
func (w *FetchWriter) EmailID(id string) {
	b := append(w.item("EMAILID ("), id...)
	w.c.out = append(b, ')')
}

// ThreadID writes THREADID, NIL for an empty id (RFC 8474, 5.2).
func (w *FetchWriter) ThreadID(id string) {
	if id == "" {
		w.c.out = w.item("THREADID NIL")
		return
	}
	b := append(w.item("THREADID ("), id...)
	w.c.out = append(b, ')')
}

// Section writes BODY[…], or RFC822 and its kin, whose octets are span of r. The partial
// is applied here. NUL octets, which a literal cannot have (RFC 9051, 4.3.1), go as 0x80.
// With an error the connection is beyond repair, because the literal's size was told.
func (w *FetchWriter) Section(s *imap.Section, r io.ReaderAt, span message.Span) error {
	offset, size := s.Span(span.Size())
	w.literal(s, size, "{")
	for at, left := span.Start+offset, size; left > 0; {
		space := w.c.space()
		chunk := space[:min(int64(len(space)), left)]
		n, err := r.ReadAt(chunk, at)
		if n < len(chunk) {
			return w.c.fail(fmt.Errorf("read a message for FETCH: %w", short(err)))
		}
		noNUL(chunk)
		w.c.out = w.c.out[:len(w.c.out)+n]
		at, left = at+int64(n), left-int64(n)
		if err := w.c.spill(); err != nil {
			return err
		}
	}
	return w.c.err
}

// SectionBytes is Section for octets at hand: of HEADER.FIELDS.
func (w *FetchWriter) SectionBytes(s *imap.Section, b []byte) error {
	offset, size := s.Span(int64(len(b)))
	w.literal(s, size, "{")
	start := len(w.c.out)
	w.c.out = append(w.c.out, b[offset:offset+size]...)
	noNUL(w.c.out[start:])
	return w.c.spill()
}

// SectionNil writes NIL for a section, also of BINARY, that names nothing in the message.
func (w *FetchWriter) SectionNil(s *imap.Section) {
	w.c.out = append(s.Append(w.item("")), " NIL"...)
}

// Binary writes BINARY[…] of a part whose decoded octets are the first size of r (RFC
// 3516, 4.2). The partial is applied here. As for errors see Section.
func (w *FetchWriter) Binary(s *imap.Section, r io.Reader, size int64) error {
	offset, length := s.Span(size)
	w.literal(s, length, "~{")
	if _, err := io.CopyN(io.Discard, r, offset); err != nil {
		return w.c.fail(fmt.Errorf("decode a message for FETCH: %w", short(err)))
	}
	for left := length; left > 0; {
		space := w.c.space()
		n, err := io.ReadFull(r, space[:min(int64(len(space)), left)])
		w.c.out = w.c.out[:len(w.c.out)+n]
		if left -= int64(n); left > 0 && err != nil {
			return w.c.fail(fmt.Errorf("decode a message for FETCH: %w", short(err)))
		}
		if err := w.c.spill(); err != nil {
			return err
		}
	}
	return w.c.err
}

// BinarySize writes BINARY.SIZE[…], the decoded size in octets.
func (w *FetchWriter) BinarySize(s *imap.Section, size int64) {
	b := append(s.Append(w.item("")), ' ')
	w.c.out = strconv.AppendInt(b, size, 10)
}

// Vanished writes VANISHED (EARLIER), before any message (RFC 7162, 3.2.6).
func (w *FetchWriter) Vanished(uids imap.UIDSet) {
	w.c.vanished("* VANISHED (EARLIER) ", uids)
}

// literal writes a section's name and the start of its literal.
func (w *FetchWriter) literal(s *imap.Section, size int64, brace string) {
	b := append(s.Append(w.item("")), ' ')
	b = append(b, brace...)
	b = strconv.AppendInt(b, size, 10)
	w.c.out = append(b, "}\r\n"...)
}

// noNUL puts 0x80 for NUL.
func noNUL(b []byte) {
	for i := bytes.IndexByte(b, 0); i >= 0; i = bytes.IndexByte(b, 0) {
		b[i] = 0x80
		b = b[i+1:]
	}
}

// short is the error of a source that had less than was told.
func short(err error) error {
	if err == nil || err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
