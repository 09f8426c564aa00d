package outbox

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"postroad/address"
	"postroad/imap"
	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
)

// Scheduled finds or makes the mailbox in which mail waits.
func (s *Store) Scheduled(ctx context.Context, a *mailstore.Account) (*mailstore.Mailbox, error) {
	m, err := a.WithRole(ctx, imap.AttrScheduled, "Scheduled")
	if err != nil {
		return nil, fmt.Errorf("mailbox of mail that waits: %w", err)
	}
	return m, nil
}

// PrepareShown links a message that is in Scheduled, or will be within the unit, with the
// mail that waits.
func (s *Store) PrepareShown(u *mailflow.Unit, account mailstore.AccountID, message mailstore.MessageID, mail mailflow.ID) {
	b := batch(u, account)
	b.Puts = append(b.Puts, kv.Put{Key: linkKey(message, mail), Value: []byte{format1}},
		kv.Put{Key: waitsKey(mail), Value: binary.BigEndian.AppendUint64([]byte{format1}, uint64(message))})
}

// Show returns what adds to the unit of a mail from an account, which waits, that it does:
// the message as its sender is to see it in Scheduled, its submission and the link between
// the two.
func (s *Store) Show(ctx context.Context, m *mailflow.Mail, shown *mailstore.Incoming) (func(ctx context.Context, u *mailflow.Unit, m *mailflow.Mail, statuses []mailflow.Status) error, error) {
	a, err := s.Mail.Account(ctx, m.Origin.Account)
	if err != nil {
		return nil, err
	}
	identity, err := s.IdentityOf(ctx, a.ID(), m.ReturnPath)
	if err != nil {
		return nil, err
	}
	box, err := s.Scheduled(ctx, a)
	if err != nil {
		return nil, err
	}
	sub := &Submission{Identity: identity, From: Address{Email: m.ReturnPath.String()}}
	named := map[string]bool{}
	for i := range m.Recipients {
		if k := m.Recipients[i].Address.Key(); !named[k] {
			named[k] = true
			sub.To = append(sub.To, Recipient{Address: Address{Email: m.Recipients[i].Address.String()}, Delivered: Queued})
		}
	}
	if err := sub.Fits(); err != nil {
		return nil, err
	}
	return func(ctx context.Context, u *mailflow.Unit, m *mailflow.Mail, statuses []mailflow.Status) error {
		added, err := a.PrepareAppend(ctx, u, shown, box.ID)
		if err != nil {
			return err
		}
		made := *sub
		made.Email, made.Thread = mailstore.FormatEmailID(added[0].ID), mailstore.FormatThreadID(added[0].Thread)
		s.PrepareShown(u, a.ID(), added[0].ID, m.ID)
		return s.PrepareSubmission(ctx, u, a, &made, m, statuses)
	}, nil
}

// PrepareShow shows a message of the account in Scheduled, if it is not there, and links it.
func (s *Store) PrepareShow(ctx context.Context, u *mailflow.Unit, a *mailstore.Account, scheduled mailstore.MailboxID, message mailstore.MessageID, mail mailflow.ID) error {
	all, err := a.Locations(ctx, message)
	if err != nil {
		return err
	}
	from := all[0].Mailbox
	for _, l := range all {
		if l.Mailbox == scheduled {
			from = 0
		}
	}
	if from != 0 {
		err = a.PreparePass(ctx, u, mailstore.Pass{Message: message, From: from, To: scheduled, Copy: true})
	}
	s.PrepareShown(u, a.ID(), message, mail)
	return err
}

// links reads as which mails a message waits.
func (s *Store) links(ctx context.Context, account mailstore.AccountID, message mailstore.MessageID) ([]mailflow.ID, error) {
	snap, err := s.snapshot(ctx, account)
	if err != nil {
		return nil, err
	}
	defer snap.Close()
	var mails []mailflow.ID
	for e, err := range snap.Scan(kv.Prefix(linkPrefix(message))) {
		if err != nil {
			return nil, fmt.Errorf("read what waits: %w", err)
		}
		if len(e.Key) == 2+8+8 {
			mails = append(mails, hlc.ID(binary.BigEndian.Uint64(e.Key[10:])))
		}
	}
	return mails, nil
}

// unlink takes a link away within the unit.
func unlink(u *mailflow.Unit, account mailstore.AccountID, message mailstore.MessageID, mail mailflow.ID) {
	b := batch(u, account)
	k := linkKey(message, mail)
	b.Guards = append(b.Guards, kv.Guard{Kind: kv.GuardPresent, Key: k})
	b.Deletes = append(b.Deletes, k, waitsKey(mail))
}

// Passing is for mailstore.Options, of messages that leave Scheduled: their mail is taken
// back in the same commit. In Drafts they are drafts again.
func (s *Store) Passing(ctx context.Context, u *mailflow.Unit, p *mailstore.Passing) error {
	if p.From == nil || p.From == p.To || p.From.Role != imap.AttrScheduled {
		return nil
	}
	for _, message := range p.Messages {
		mails, err := s.links(ctx, p.Account.ID(), message)
		if err != nil {
			return err
		}
		for _, mail := range mails {
			if err := s.recall(ctx, u, p.Account.ID(), message, mail); err != nil {
				return err
			}
			if p.To != nil && p.To.Role == imap.AttrDrafts {
				p.Flags |= mailstore.Draft
			}
		}
	}
	return nil
}

// recall takes a mail back, with its link. One that does not wait in the queue any more,
// because an administrator has taken it out there, leaves nothing but the link; that it was
// let go meanwhile the guard of the link finds out.
func (s *Store) recall(ctx context.Context, u *mailflow.Unit, account mailstore.AccountID, message mailstore.MessageID, mail mailflow.ID) error {
	err := s.Queue.PrepareCancel(ctx, u, mail)
	if err != nil && !errors.Is(err, mailflow.ErrNoMail) && !errors.Is(err, mailflow.ErrReleased) {
		return err
	}
	unlink(u, account, message, mail)
	return s.canceled(ctx, u, account, mail)
}

// canceled notes that a submission was taken back.
func (s *Store) canceled(ctx context.Context, u *mailflow.Unit, account mailstore.AccountID, mail mailflow.ID) error {
	return s.change(ctx, u, account, mail, func(sub *Submission) error {
		if sub.Undo == Pending {
			sub.Undo = Canceled
			sub.withdrawn(sub.recipients())
		}
		return nil
	})
}

// recipients are those of the submission as the queue names them.
func (sub *Submission) recipients() []mailflow.Recipient {
	all := make([]mailflow.Recipient, 0, len(sub.To))
	for i := range sub.To {
		if a, err := address.Parse(sub.To[i].Email); err == nil {
			all = append(all, mailflow.Recipient{Address: a})
		}
	}
	return all
}

// Cancel takes a submission back that is pending: the mail leaves the queue and the message
// Scheduled, to Drafts unless it is elsewhere, in one commit. ErrNotPending,
// objects.ErrNotFound.
func (s *Store) Cancel(ctx context.Context, account mailstore.AccountID, id mailflow.ID) error {
	return s.Committer.Commit(ctx, func(ctx context.Context, u *mailflow.Unit) error {
		return s.PrepareCancel(ctx, u, account, id)
	})
}

// PrepareCancel is Cancel within a unit.
func (s *Store) PrepareCancel(ctx context.Context, u *mailflow.Unit, account mailstore.AccountID, id mailflow.ID) error {
	sub, err := s.Submission(ctx, account, id)
	if err != nil {
		return err
	}
	if sub.Undo != Pending {
		return ErrNotPending
	}
	switch err := s.Queue.PrepareCancel(ctx, u, id); {
	case errors.Is(err, mailflow.ErrNoMail), errors.Is(err, mailflow.ErrReleased):
		return ErrNotPending
	case err != nil:
		return err
	}
	if err := s.canceled(ctx, u, account, id); err != nil {
		return err
	}
	return s.leave(ctx, u, account, id, imap.AttrDrafts)
}

// Released implements mailflow.Tracker.
func (s *Store) Released(ctx context.Context, u *mailflow.Unit, m *mailflow.Mail) error {
	err := s.change(ctx, u, m.Origin.Account, m.ID, func(sub *Submission) error {
		sub.Undo = Final
		return nil
	})
	if err != nil {
		return err
	}
	return s.letGo(ctx, u, m, imap.AttrSent)
}

// letGo takes the message of a mail that waits no longer out of Scheduled. What is wrong
// with it there does not stop the mail.
func (s *Store) letGo(ctx context.Context, u *mailflow.Unit, m *mailflow.Mail, to imap.MailboxAttr) error {
	err := u.Try(func() error { return s.leave(ctx, u, m.Origin.Account, m.ID, to) })
	switch {
	case errors.Is(err, mailstore.ErrDamaged), errors.Is(err, mailstore.ErrLimit), errors.Is(err, mailstore.ErrTooLarge):
		s.Log.Error("a message stays in Scheduled though its mail does not wait any more", "account", m.Origin.Account, "mail", m.ID, "error", err)
		return nil
	case errors.Is(err, mailstore.ErrNoAccount):
		return nil
	}
	return err
}

// waiting reads which message waits as a mail, 0 when none does.
func (s *Store) waiting(ctx context.Context, account mailstore.AccountID, mail mailflow.ID) (mailstore.MessageID, error) {
	snap, err := s.snapshot(ctx, account)
	if err != nil {
		return 0, err
	}
	defer snap.Close()
	v, err := snap.Get(waitsKey(mail))
	switch {
	case errors.Is(err, kv.ErrNotFound):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("read what waits: %w", err)
	case len(v) != 1+8:
		return 0, fmt.Errorf("%w: what waits as %s", mailstore.ErrDamaged, mail)
	}
	return hlc.ID(binary.BigEndian.Uint64(v[1:])), nil
}

// leave takes the message of a mail out of Scheduled, unless it waits as another mail too.
// One that is nowhere else goes to the mailbox with a special use, or, where there is none,
// to INBOX.
func (s *Store) leave(ctx context.Context, u *mailflow.Unit, account mailstore.AccountID, mail mailflow.ID, role imap.MailboxAttr) error {
	message, err := s.waiting(ctx, account, mail)
	if err != nil || message == 0 {
		return err
	}
	mails, err := s.links(ctx, account, message)
	if err != nil {
		return err
	}
	unlink(u, account, message, mail)
	if len(mails) > 1 {
		return nil
	}
	a, err := s.Mail.Account(ctx, account)
	if err != nil {
		return err
	}
	from, places, err := a.InRole(ctx, message, imap.AttrScheduled)
	if errors.Is(err, mailstore.ErrNoMessage) || err == nil && from == nil {
		return nil
	}
	if err != nil {
		return err
	}
	pass := mailstore.Pass{Message: message, From: from.ID}
	if places == 1 {
		if err := s.onward(ctx, a, &pass, role); err != nil {
			return err
		}
	}
	return a.PreparePass(ctx, u, pass)
}

// onward sets where a message goes that is nowhere but in Scheduled: as a draft, or as what
// was sent.
func (s *Store) onward(ctx context.Context, a *mailstore.Account, pass *mailstore.Pass, role imap.MailboxAttr) error {
	t, err := a.Tree(ctx)
	if err != nil {
		return err
	}
	pass.To = t.Inbox().ID
	if m := t.Role(role); m != nil {
		pass.To = m.ID
	}
	if role == imap.AttrDrafts {
		pass.Add = mailstore.Draft
	} else {
		pass.Add, pass.Remove = mailstore.Seen, mailstore.Draft
	}
	return nil
}
