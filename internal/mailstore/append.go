package mailstore

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"postroad/internal/blob"
	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
	"postroad/internal/mailflow"
	"postroad/internal/search"
	"postroad/message"
)

// Incoming is a message to be put into a mailbox.
type Incoming struct {
	Body         blob.Body
	Message      *message.Message
	Flags        Flags    // system flags
	Keywords     []string // made known to the mailbox where they are new
	InternalDate time.Time

	source *source       // of a COPY from another account; nil: none
	terms  search.Record // for the index; nil: not made yet
}

// Appended is what became of an Incoming; filled in when its unit is durable.
type Appended struct {
	Mailbox     MailboxID
	UIDValidity uint32
	UID         uint32
	ID          MessageID
	Thread      ThreadID
	ModSeq      uint64
}

// stageCount is how many messages of one APPEND a commit holds.
const stageCount = 16

// PrepareAppend adds a message to a mailbox within the unit, and to each further one. One
// Appended a mailbox, in order. With an error nothing is added to the unit. A quota that
// others use up meanwhile is found at the commit, whose error wraps kv.ErrLimit then.
func (a *Account) PrepareAppend(ctx context.Context, u *mailflow.Unit, m *Incoming, mailbox MailboxID, also ...MailboxID) ([]*Appended, error) {
	if err := a.readTerms(ctx, m); err != nil {
		return nil, err
	}
	w, err := a.begin(ctx, u)
	if err != nil {
		return nil, err
	}
	defer w.close()
	before := *w.quiet()
	all, err := w.append(ctx, m, append([]MailboxID{mailbox}, also...))
	if err != nil {
		*w.quiet() = before // the unit may be committed for others
	}
	return all, storageError("append a message", err)
}

func (w *work) append(ctx context.Context, m *Incoming, mailboxes []MailboxID) ([]*Appended, error) {
	if m.Body.Size > math.MaxUint32 {
		return nil, fmt.Errorf("%w: message of %d octets", ErrTooLarge, m.Body.Size)
	}
	boxes := make([]*Mailbox, len(mailboxes))
	for i, id := range mailboxes {
		var err error
		if boxes[i], err = w.mailbox(id); err != nil {
			return nil, err
		}
		if boxes[i].Recovery != nil {
			return nil, fmt.Errorf("mailbox %s: %w", id, ErrNoMailbox)
		}
	}
	if m.source != nil {
		if err := m.source.guard(ctx, w.u); err != nil {
			return nil, err
		}
	}
	row := Row{ID: w.a.store.o.Clock.Next(), InternalDate: m.InternalDate.Unix(), Size: uint32(m.Body.Size)}
	for _, box := range boxes {
		if err := w.pass(&Passing{To: box, Messages: []MessageID{row.ID}}); err != nil {
			return nil, err
		}
	}
	t, err := w.thread(row.ID, m.Message)
	if err != nil {
		return nil, err
	}
	all := make([]*Appended, len(boxes))
	for i, box := range boxes {
		if all[i], err = w.appendTo(box, m, row, i == 0, t); err != nil {
			return nil, err
		}
		all[i].Thread = t.thread
	}
	if err := w.charge(m.Body.Size*int64(len(boxes)), int64(len(boxes))); err != nil {
		return nil, err
	}
	w.touch(mailboxes...)
	w.u.Keep(m.Body, holder(w.a.id, row.ID))
	return all, nil
}

// appendTo adds the entry in one mailbox, and with the first one the records.
func (w *work) appendTo(box *Mailbox, m *Incoming, row Row, first bool, t threading) (*Appended, error) {
	keywords, err := w.keywords(box.ID, m.Keywords, true)
	if err != nil {
		return nil, err
	}
	row.Flags = m.Flags&System | keywords
	take := w.take(box.ID, 1)
	w.enter(box.ID, take, []Row{row})
	b := w.batch()
	if first {
		w.records(row.ID, box.ID, m, t, place(take, 0, listHomeUIDOffset, true))
	} else {
		w.entryOf(row.ID, box.ID, take, 0)
	}
	logAdded(b, changeAppended, box.ID, take, 1)
	var n tally
	n.count(row.Flags, row.Size, 1)
	n.add(b, box.ID)

	out := &Appended{Mailbox: box.ID, UIDValidity: box.UIDValidity, ID: row.ID}
	w.u.After(w.a.space, func(r kv.Result) {
		if take < len(r.Taken) { // not when the append was taken back
			out.UID, out.ModSeq = uint32(r.Taken[take]), uint64(r.Version)
		}
	})
	return out, nil
}

// records adds the list record, the message record, the sort keys and the terms.
func (w *work) records(id MessageID, home MailboxID, m *Incoming, t threading, places ...kv.Place) {
	var keys keyBlock
	keys.add(sortKeys(id, m.Message))
	b := w.quiet()
	b.Puts = append(b.Puts,
		kv.Put{Key: key(keyList, id), Value: appendList(nil, home, t.thread, m), Places: places},
		kv.Put{Key: key(keyMessage, id), Value: appendMessage(nil, t.thread, t.hashes, m)},
		keys.put())
	search.Prepare(b, id, m.terms)
	a, pending := w.a, m.terms.Pending()
	w.u.After(a.space, func(kv.Result) { a.current().indexed(pending) })
}

// Append puts messages into a mailbox, all or none (RFC 3502). UIDs are in their order
// and without gaps.
func (a *Account) Append(ctx context.Context, mailbox MailboxID, m ...*Incoming) ([]*Appended, error) {
	if len(m) == 0 {
		return nil, nil
	}
	if len(m) > stageCount {
		return a.appendStaged(ctx, mailbox, m)
	}
	var all []*Appended
	err := a.commit(ctx, "append", func(ctx context.Context, u *mailflow.Unit) error {
		all = all[:0]
		for _, in := range m {
			one, err := a.PrepareAppend(ctx, u, in, mailbox)
			if err != nil {
				return err
			}
			all = append(all, one...)
		}
		return nil
	})
	if errors.Is(err, ErrTooLarge) && len(m) > 1 {
		return a.appendStaged(ctx, mailbox, m)
	}
	if err != nil {
		return nil, err
	}
	return all, nil
}

// staging is an APPEND of many messages: their records are written first, under an id in
// p that makes the sweep take them away again if nothing comes of it; one commit then
// enters them all.
type staging struct {
	a       *Account
	id      hlc.ID
	mailbox MailboxID
	in      []*Incoming
	ids     []MessageID
	threads []ThreadID
}

// pendingIDs is how many messages one p key names.
const pendingIDs = 1024

func (a *Account) appendStaged(ctx context.Context, mailbox MailboxID, m []*Incoming) ([]*Appended, error) {
	s := &staging{a: a, id: a.store.o.Clock.Next(), mailbox: mailbox, in: m}
	all, err := s.run(ctx)
	if err != nil {
		// What this leaves behind if it fails too, the sweep finds by the p keys.
		if err := a.dropStaged(context.WithoutCancel(ctx), s.id, true); err != nil {
			a.store.o.Log.Warn("staged messages are left to the sweep", "account", a.id, "error", err)
		}
		return nil, err
	}
	return all, nil
}

func (s *staging) run(ctx context.Context) ([]*Appended, error) {
	var octets int64
	for _, in := range s.in {
		octets += in.Body.Size
	}
	if err := s.a.Room(ctx, octets, int64(len(s.in))); err != nil {
		return nil, err
	}
	for at, n := 0, stageCount; at < len(s.in); {
		part := s.in[at:min(at+n, len(s.in))]
		err := s.stage(ctx, part)
		if errors.Is(err, ErrTooLarge) && n > 1 {
			n = 1
			continue
		}
		if err != nil {
			return nil, err
		}
		at += len(part)
	}
	return s.reveal(ctx)
}

// stage writes the records of some messages.
func (s *staging) stage(ctx context.Context, part []*Incoming) error {
	have := len(s.ids)
	return s.a.commit(ctx, "stage messages", func(ctx context.Context, u *mailflow.Unit) error {
		s.ids, s.threads = s.ids[:have], s.threads[:have]
		w, err := s.a.begin(ctx, u)
		if err != nil {
			return err
		}
		defer w.close()
		if m, err := w.mailbox(s.mailbox); err != nil || m.Recovery != nil {
			return cmp.Or(err, ErrNoMailbox)
		}
		for _, in := range part {
			if in.Body.Size > math.MaxUint32 {
				return fmt.Errorf("%w: message of %d octets", ErrTooLarge, in.Body.Size)
			}
			if in.source != nil {
				if err := in.source.guard(ctx, u); err != nil {
					return err
				}
			}
			if err := s.a.readTerms(ctx, in); err != nil {
				return err
			}
			id := s.a.store.o.Clock.Next()
			t, err := w.thread(id, in.Message)
			if err != nil {
				return err
			}
			w.records(id, 0, in, t)
			w.u.Keep(in.Body, holder(s.a.id, id))
			s.ids, s.threads = append(s.ids, id), append(s.threads, t.thread)
		}
		b := w.quiet()
		for n := have / pendingIDs; n*pendingIDs < len(s.ids); n++ {
			b.Puts = append(b.Puts, kv.Put{Key: numberKey(keyPending, s.id, uint32(n)), Value: pendingValue(s.named(n))})
		}
		return nil
	})
}

// named are the messages that p key n names.
func (s *staging) named(n int) []MessageID {
	return s.ids[n*pendingIDs : min((n+1)*pendingIDs, len(s.ids))]
}

// The octet behind the format of a p value; the messages follow. What is given up is
// marked before anything of it goes away, so that it cannot be revealed any more.
const (
	pendingLives = 'l'
	pendingDies  = 'd'
)

func pendingValue(ids []MessageID) []byte {
	v := append(make([]byte, 0, 2+8*len(ids)), format1, pendingLives)
	for _, id := range ids {
		v = binary.BigEndian.AppendUint64(v, uint64(id))
	}
	return v
}

// reveal enters all staged messages into the mailbox.
func (s *staging) reveal(ctx context.Context) ([]*Appended, error) {
	all := make([]*Appended, len(s.in))
	err := s.a.commit(ctx, "append", func(ctx context.Context, u *mailflow.Unit) error {
		w, err := s.a.begin(ctx, u)
		if err != nil {
			return err
		}
		defer w.close()
		box, err := w.mailbox(s.mailbox)
		if err != nil {
			return err
		}
		rows := make([]Row, len(s.in))
		var n tally
		for i, in := range s.in {
			keywords, err := w.keywords(box.ID, in.Keywords, true)
			if err != nil {
				return err
			}
			rows[i] = Row{ID: s.ids[i], Flags: in.Flags&System | keywords, InternalDate: in.InternalDate.Unix(), Size: uint32(in.Body.Size)}
			n.count(rows[i].Flags, rows[i].Size, 1)
			all[i] = &Appended{Mailbox: box.ID, UIDValidity: box.UIDValidity, ID: s.ids[i], Thread: s.threads[i]}
		}
		take := w.take(box.ID, len(rows))
		w.enter(box.ID, take, rows)
		w.entriesOf(box.ID, take, rows)
		b := w.batch()
		for i := 0; i*pendingIDs < len(s.ids); i++ {
			k := numberKey(keyPending, s.id, uint32(i))
			b.Guards = append(b.Guards, kv.Guard{Kind: kv.GuardEquals, Key: k, Value: pendingValue(s.named(i))})
			b.Deletes = append(b.Deletes, k)
		}
		logAdded(b, changeAppended, box.ID, take, len(rows))
		n.add(b, box.ID)
		if err := w.charge(n.octets, n.messages); err != nil {
			return err
		}
		w.touch(box.ID)
		w.u.After(w.a.space, func(r kv.Result) {
			for i := range all {
				all[i].UID, all[i].ModSeq = uint32(r.Taken[take])+uint32(i), uint64(r.Version)
			}
		})
		return nil
	})
	return all, err
}

// entriesHere is how many o keys a commit writes itself; for more it leaves a d key, and
// the sweep writes them.
const entriesHere = 64

// entriesOf writes that messages are in a mailbox, with UIDs from the take on.
func (w *work) entriesOf(mailbox MailboxID, take int, rows []Row) {
	if len(rows) <= entriesHere {
		for i := range rows {
			w.entryOf(rows[i].ID, mailbox, take, i)
		}
		return
	}
	b := w.batch()
	for at := 0; at < len(rows); at += blockMax {
		b.Puts = append(b.Puts, kv.Put{Key: numberKey(keyTodo, mailbox, 0), Value: []byte{format1},
			Places: []kv.Place{place(take, at, numberKeyOffset, false)}})
	}
	w.sweepAfter()
}
