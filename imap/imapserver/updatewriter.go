package imapserver

import (
	"strconv"

	"postroad/imap"
)

// UpdateWriter writes what happened to the selected mailbox, in the forms that the client
// has enabled. It is valid until the method that was given it returns.
type UpdateWriter struct {
	c       *Conn
	uid     bool          // the command is a UID command: FETCH responses have the UID
	silent  bool          // STORE with .SILENT: FLAGS is left out
	expunge bool          // messages may go
	gone    imap.UIDSet   // expunged, not yet written: QRESYNC
	context contextUpdate // of search results, not yet written
}

// Exists tells the number of messages after some were added.
func (w *UpdateWriter) Exists(n uint32) {
	w.flush()
	w.c.exists = n
	b := append(w.c.out, "* "...)
	b = strconv.AppendUint(b, uint64(n), 10)
	b = append(b, " EXISTS\r\n"...)
	if !w.c.rev2 {
		// RFC 3501, 7.3.2: RECENT comes with EXISTS. No message is recent here: the flag could
		// not be kept right among many sessions, and IMAP4rev2 has none.
		b = append(b, "* 0 RECENT\r\n"...)
	}
	w.c.out = b
	_ = w.c.spill() // an error is kept and ends the command
}

// Expunged tells that a message has gone: seq is its sequence number after those told
// before have gone. With QRESYNC it becomes VANISHED (RFC 7162, 3.2.10).
func (w *UpdateWriter) Expunged(seq, uid uint32) {
	if !w.expunge {
		panic("imapserver: the session tells an expunge where RFC 9051, 7.5.1, forbids it")
	}
	w.flushContext()
	w.c.exists--
	if w.c.qresync {
		w.gone.Add(uid)
		return
	}
	b := append(w.c.out, "* "...)
	b = strconv.AppendUint(b, uint64(seq), 10)
	w.c.out = append(b, " EXPUNGE\r\n"...)
	_ = w.c.spill()
}

// Flags tells the flags of a message, and its mod-sequence.
func (w *UpdateWriter) Flags(seq, uid uint32, modSeq uint64, flags []imap.Flag) {
	uidToo := w.uid || w.c.qresync || w.c.rev2 // RFC 7162, 3.2.4; RFC 9051, 7.5.2
	if w.silent && !w.c.condStore {
		return
	}
	w.flush()
	f := FetchWriter{c: w.c, uid: uidToo}
	f.Begin(seq, uid)
	if !w.silent {
		f.Flags(flags)
	}
	if w.c.condStore {
		f.ModSeq(modSeq)
	}
	_ = f.End()
}

// MailboxFlags tells that the flags in use have changed (RFC 9051, 7.3.5).
func (w *UpdateWriter) MailboxFlags(flags, permanent []imap.Flag) {
	w.flush()
	b := imap.AppendFlags(append(w.c.out, "* FLAGS "...), flags)
	b = append(b, "\r\n* OK [PERMANENTFLAGS "...)
	b = imap.AppendFlags(b, permanent)
	w.c.out = append(b, "] Flags permitted\r\n"...)
}

// Copied tells where MOVE has put messages, before they are told to have gone (RFC 6851,
// 4.3).
func (w *UpdateWriter) Copied(d *CopyData) {
	w.flush()
	if code := copyCode(d); code != "" {
		b := append(w.c.out, "* OK ["...)
		b = append(b, code...)
		w.c.out = append(b, "] Moved\r\n"...)
	}
}

// flush writes what Expunged, ContextAdd and ContextRemove have gathered.
func (w *UpdateWriter) flush() {
	w.flushContext()
	if len(w.gone) > 0 {
		w.c.vanished("* VANISHED ", w.gone)
		w.gone = w.gone[:0]
	}
}

// vanishedRangesMax bounds the ranges of one VANISHED response, to keep lines short.
const vanishedRangesMax = 500

// vanished writes UIDs behind head, in as many lines as it takes.
func (c *Conn) vanished(head string, uids imap.UIDSet) {
	for len(uids) > 0 {
		n := min(len(uids), vanishedRangesMax)
		c.out = append(c.out, head...)
		c.out = uids[:n].Append(c.out)
		c.out = append(c.out, "\r\n"...)
		uids = uids[n:]
		_ = c.spill()
	}
}

// copyCode is the response code of COPY and MOVE, or nothing.
func copyCode(d *CopyData) string {
	if d == nil || d.UIDValidity == 0 || len(d.Source) == 0 {
		return ""
	}
	b := append([]byte("COPYUID "), strconv.FormatUint(uint64(d.UIDValidity), 10)...)
	b = d.Source.Append(append(b, ' '))
	return string(d.Dest.Append(append(b, ' ')))
}
