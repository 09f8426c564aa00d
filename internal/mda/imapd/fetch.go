package imapd

import (
	"context"
	"errors"
	"time"

	"postroad/imap"
	"postroad/imap/imapserver"
	"postroad/internal/blob"
	"postroad/internal/mailstore"
	"postroad/internal/mda/events"
	"postroad/message"
)

// Fetch writes the items of the messages of a set, in ascending order (RFC 9051, 6.4.5).
func (s *Session) Fetch(ctx context.Context, w *imapserver.FetchWriter, set imap.NumSet, o imapserver.FetchOptions) error {
	m, err := s.current(ctx, cmdFetch)
	if err != nil {
		return err
	}
	if o.Vanished {
		if err := m.writeVanished(ctx, w, set, o.ChangedSince); err != nil {
			return err
		}
	}
	f := &fetch{session: s, mailbox: m, w: w, o: &o}
	if o.SetSeen && !m.readOnly && m.rights.Has(imap.RightSeen) {
		if err := f.setSeen(ctx, set); err != nil {
			return err
		}
		// The client has the text, and Poll tells what the script changes.
		defer func() { f.watch.Happened(ctx, f.seen) }()
	}
	if f.want() == 0 && len(o.Sections) == 0 {
		return f.rows(set)
	}
	return f.records(ctx, set)
}

// writeVanished tells which messages of a set were expunged (RFC 7162, 3.2.6). "*" is the
// largest UID that was ever given out: messages at the end may be those that have gone.
func (m *selected) writeVanished(ctx context.Context, w *imapserver.FetchWriter, set imap.NumSet, since uint64) error {
	known := set.Resolve(m.snapshot.UIDNext() - 1)
	gone, err := m.snapshot.Vanished(ctx, since, known)
	if err != nil {
		return answer(err)
	}
	if len(gone) > 0 {
		w.Vanished(gone)
	}
	return nil
}

// fetch is one FETCH under way.
type fetch struct {
	session  *Session
	mailbox  *selected
	w        *imapserver.FetchWriter
	o        *imapserver.FetchOptions
	seen     imap.UIDSet // messages that got \Seen by this FETCH
	watch    *events.Watch
	text     []byte       // reused
	header   []byte       // read last of the message at hand, reused
	headerOf message.Span // where that header is; Start −1: none was read
	missing  bool         // a message could not be given
}

// setSeen sets \Seen of the messages whose text is fetched.
func (f *fetch) setSeen(ctx context.Context, set imap.NumSet) error {
	m := f.mailbox
	var unseen imap.UIDSet
	for from, to := range m.spans(set) {
		for _, row := range m.snapshot.Rows(from, to) {
			if row.Flags&mailstore.Seen == 0 && !row.Gone && row.ModSeq > f.o.ChangedSince {
				unseen.Add(row.UID)
			}
		}
	}
	if len(unseen) == 0 {
		return nil
	}
	f.watch = f.session.watch(ctx, m.account, m.id, events.Flag)
	stored, err := m.account.StoreFlags(ctx, m.id, unseen,
		mailstore.FlagChange{Mode: mailstore.FlagsAdd, Flags: mailstore.Seen, Reader: f.session.who.ID})
	if err != nil {
		return answer(err)
	}
	next, err := m.next(ctx)
	if err != nil {
		return err
	}
	m.advance(next, true)
	f.seen = stored.Changed
	var untold imap.UIDSet
	for uid := range m.untold.All() {
		if !f.seen.Contains(uid) {
			untold.Add(uid)
		}
	}
	m.untold = untold
	return nil
}

// want says what of the stored records the items need.
func (f *fetch) want() mailstore.Want {
	var want mailstore.Want
	if f.o.Envelope || f.o.ThreadID {
		want |= mailstore.WantEnvelope
	}
	if f.o.Body || f.o.BodyStructure || len(f.o.Sections) > 0 {
		want |= mailstore.WantStructure
	}
	return want
}

// rows serves what the columns have, without reading anything.
func (f *fetch) rows(set imap.NumSet) error {
	m := f.mailbox
	for from, to := range m.spans(set) {
		for i, row := range m.snapshot.Rows(from, to) {
			if row.ModSeq <= f.o.ChangedSince || row.Gone && set.UID {
				continue
			}
			f.w.Begin(uint32(i+1), row.UID)
			f.columns(&row)
			if err := f.w.End(); err != nil {
				return err
			}
		}
	}
	return nil
}

// columns writes the items that the columns have.
func (f *fetch) columns(row *mailstore.Row) {
	o, w := f.o, f.w
	if o.Flags || len(f.seen) > 0 && f.seen.Contains(row.UID) {
		f.text = row.Flags.Append(f.text[:0], f.mailbox.snapshot.Keywords())
		w.FlagsText(f.text)
	}
	if o.ModSeq {
		w.ModSeq(row.ModSeq)
	}
	if o.InternalDate {
		w.InternalDate(time.Unix(row.InternalDate, 0).UTC())
	}
	if o.Size {
		w.Size(int64(row.Size))
	}
	if o.SaveDate {
		w.SaveDate(time.Unix(row.SaveDate, 0).UTC())
	}
	if o.EmailID {
		w.EmailID(mailstore.FormatEmailID(row.ID))
	}
}

// records serves what needs the stored records, and the messages themselves.
func (f *fetch) records(ctx context.Context, set imap.NumSet) error {
	m := f.mailbox
	var uids imap.UIDSet
	for from, to := range m.spans(set) {
		for _, row := range m.snapshot.Rows(from, to) {
			if row.ModSeq > f.o.ChangedSince && !(row.Gone && set.UID) {
				uids.Add(row.UID)
			}
		}
	}
	for r, err := range m.snapshot.Records(ctx, uids, f.want()) {
		if err != nil {
			return answer(err)
		}
		if err := f.record(ctx, r); err != nil {
			return err
		}
	}
	if f.missing {
		return imap.No(imap.CodeExpungeIssued, "Some messages are no longer there")
	}
	return nil
}

// record writes one message. What has to be opened is opened before the first octet of
// the response, so that a message that is not there costs that message only.
func (f *fetch) record(ctx context.Context, r *mailstore.Record) error {
	if r.Missing {
		f.missing = true
		return nil
	}
	o, w := f.o, f.w
	var body blob.Reader
	if len(o.Sections) > 0 {
		var err error
		body, err = f.mailbox.account.Open(ctx, r.Body)
		if errors.Is(err, blob.ErrNotFound) && r.Gone {
			f.missing = true
			return nil
		}
		if err != nil {
			return err
		}
		defer body.Close()
	}
	f.headerOf = message.Span{Start: -1} // of no message before this one
	sections, err := f.locate(r, body)
	if err != nil {
		return err
	}
	w.Begin(uint32(r.Index+1), r.UID)
	f.columns(&r.Row)
	if o.Envelope {
		w.Envelope(r.Envelope)
	}
	if o.ThreadID {
		w.ThreadID(mailstore.FormatThreadID(r.Thread))
	}
	if o.BodyStructure {
		w.BodyStructure(r.BodyStructure)
	}
	if o.Body {
		parsed, err := message.Decode(r.Structure)
		if err != nil {
			return err
		}
		f.text = imap.AppendBodyStructure(f.text[:0], parsed.Root, false)
		w.Body(f.text)
	}
	for i := range sections {
		if err := f.write(&sections[i], body); err != nil {
			return err
		}
	}
	return w.End()
}
