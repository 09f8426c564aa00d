package mailstore

import (
	"context"
	"errors"
	"fmt"

	"postroad/imap"
	"postroad/internal/mailflow"
)

// Passing is messages on their way into or out of a mailbox with special use \Scheduled or
// \Snoozed, where more hangs on a message than its octets: mail that waits in the queue, an
// hour at which it comes back. Options.Passing does to that what the change does to the
// message, within its unit.
type Passing struct {
	Account  *Account
	From     *Mailbox // nil: they are new to the account, or stay where they are as well
	To       *Mailbox // nil: they are expunged; From: they stay, and are touched
	Messages []MessageID
	Flags    Flags // system flags that they get in To; the asked one may add some
}

// watched tells whether Options.Passing is asked of a mailbox.
func (w *work) watched(m *Mailbox) bool {
	return w.a.store.o.Passing != nil && !w.unasked && m != nil && m.Recovery == nil && (m.Role == imap.AttrScheduled || m.Role == imap.AttrSnoozed)
}

// pass asks Options.Passing.
func (w *work) pass(p *Passing) error {
	if !w.watched(p.From) && !w.watched(p.To) {
		return nil
	}
	p.Account = w.a
	return w.a.store.o.Passing(w.ctx, w.u, p)
}

// passRows asks Options.Passing about rows that are copied or moved.
func (w *work) passRows(from, to MailboxID, rows []Row, move bool) error {
	p := Passing{To: w.tree.ID(to)}
	if move {
		p.From = w.tree.ID(from)
	}
	if !w.watched(p.From) && !w.watched(p.To) {
		return nil
	}
	for i := range rows {
		p.Messages = append(p.Messages, rows[i].ID)
	}
	err := w.pass(&p)
	for i := range rows {
		rows[i].Flags |= p.Flags & System
	}
	return err
}

func idsOf(slots []*slot) []MessageID {
	ids := make([]MessageID, len(slots))
	for i, s := range slots {
		ids[i] = s.ID
	}
	return ids
}

// Pass takes a message from one mailbox to another, or out of it, without asking
// Options.Passing: for those who know what hangs on it.
type Pass struct {
	Message  MessageID
	From     MailboxID
	To       MailboxID // 0: it only leaves From
	Copy     bool      // it stays in From
	Add      Flags     // system flags that it gets in To
	Remove   Flags     // and those that it does not take along
	Keywords []string  // that it gets in To
	Drop     []string  // keywords that it does not take along
}

// PreparePass prepares a Pass; ErrNoMessage when the message is not in From. As with other
// changes a unit has at most one of a mailbox.
func (a *Account) PreparePass(ctx context.Context, u *mailflow.Unit, p Pass) error {
	all, err := a.Locations(ctx, p.Message)
	if err != nil {
		return err
	}
	var uids imap.UIDSet
	for _, l := range all {
		if l.Mailbox == p.From {
			uids.Add(l.UID)
		}
	}
	if len(uids) == 0 {
		return fmt.Errorf("message %s: %w", p.Message, ErrNoMessage)
	}
	w, err := a.begin(ctx, u)
	if err != nil {
		return err
	}
	defer w.close()
	w.unasked = true
	if p.To == 0 {
		_, err = w.expunge(p.From, uids, true)
	} else {
		err = w.passTo(&p, uids)
	}
	return storageError("pass a message on", err)
}

// passTo enters the message into To, once.
func (w *work) passTo(p *Pass, uids imap.UIDSet) error {
	chunks, uids, err := w.chunks(p.From, uids)
	if err != nil {
		return err
	}
	var slots []*slot
	eachSlot(chunks, uids, func(_ *chunk, s *slot) {
		if s.live() && s.ID == p.Message {
			slots = append(slots, s)
		}
	})
	if len(slots) == 0 {
		return fmt.Errorf("message %s: %w", p.Message, ErrNoMessage)
	}
	slots = slots[:1]
	flags, err := w.translate(p.From, p.To)
	if err != nil {
		return err
	}
	for _, id := range []MailboxID{p.From, p.To} {
		if m, err := w.mailbox(id); err != nil || m.Recovery != nil {
			return fmt.Errorf("mailbox %s: %w", id, ErrNoMailbox)
		}
	}
	row := slots[0].Row
	if row.Flags, err = flags(slots[0].Flags); err != nil {
		return err
	}
	added, err := w.keywords(p.To, p.Keywords, true)
	if err != nil {
		return err
	}
	dropped, err := w.keywords(p.To, p.Drop, false)
	if err != nil {
		return err
	}
	row.Flags = (row.Flags | p.Add&System | added) &^ (p.Remove&System | dropped)
	rows := []Row{row}
	w.arrive(p.To, rows, new(Copied))
	w.touch(p.From, p.To)
	return w.leave(p.From, p.To, chunks, slots, rows, !p.Copy)
}

// InRole finds a message's mailbox with a special use, nil when it is in none, and counts
// its places.
func (a *Account) InRole(ctx context.Context, id MessageID, role imap.MailboxAttr) (*Mailbox, int, error) {
	t, err := a.Tree(ctx)
	if err != nil {
		return nil, 0, err
	}
	all, err := a.Locations(ctx, id)
	if err != nil {
		return nil, 0, err
	}
	for _, l := range all {
		if m := t.ID(l.Mailbox); m != nil && m.Role == role {
			return m, len(all), nil
		}
	}
	return nil, len(all), nil
}

// WithRole finds the mailbox with a special use, or makes it: under the name given, or, where
// that is taken by one with another use, with a number behind it.
func (a *Account) WithRole(ctx context.Context, role imap.MailboxAttr, name string) (*Mailbox, error) {
	for n := 1; ; n++ {
		t, err := a.Tree(ctx)
		if err != nil {
			return nil, err
		}
		if m := t.Role(role); m != nil {
			return m, nil
		}
		try := name
		if n > 1 {
			try = fmt.Sprintf("%s (%d)", name, n)
		}
		switch m := t.Name(try); {
		case m == nil:
			m, err = a.CreateMailbox(ctx, try, role)
			if err == nil {
				return m, a.Subscribe(ctx, m.Name, true)
			}
		case m.Role == "" && m != t.Inbox():
			err = a.SetRole(ctx, m.ID, role)
		}
		if err != nil && !errors.Is(err, ErrExists) && !errors.Is(err, ErrNoMailbox) || n == MailboxesMax {
			return nil, err
		}
	}
}

// PrepareKeyword sets a keyword of a message at one of its places within the unit, and tells
// whether it was set there: then nothing is done.
func (a *Account) PrepareKeyword(ctx context.Context, u *mailflow.Unit, at Location, keyword string) (was bool, err error) {
	uids := imap.UIDSet{{First: at.UID, Last: at.UID}}
	s, err := a.PrepareStoreFlags(ctx, u, at.Mailbox, uids, FlagChange{Mode: FlagsAdd, Keywords: []string{keyword}})
	if err != nil {
		return false, err
	}
	if len(s.Changed)+len(s.Same) == 0 {
		return false, fmt.Errorf("UID %d: %w", at.UID, ErrNoMessage)
	}
	return len(s.Same) > 0, nil
}
