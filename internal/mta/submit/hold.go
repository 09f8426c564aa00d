package submit

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"postroad/internal/blob"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/outbox"
	"postroad/message"
	"postroad/smtp"
)

// Mail that waits, because its sender wants to be able to undo sending or has named an hour,
// is shown to him in his mailbox Scheduled: with Bcc, which what is sent does not have, so
// that he can go on with it as a draft.

// Outbox keeps what waits to be sent; *outbox.Store is one.
type Outbox interface {
	// Undo is for how long an account's mail waits.
	Undo(ctx context.Context, id mailstore.AccountID) (time.Duration, error)
	// Show returns what adds to a unit that a mail of the account waits, with the message as
	// its sender is to see it.
	Show(ctx context.Context, m *mailflow.Mail, shown *mailstore.Incoming) (func(ctx context.Context, u *mailflow.Unit, m *mailflow.Mail, statuses []mailflow.Status) error, error)
}

// Opener opens staged bodies, so that what waits can be read back; *blob.Bodies is one.
type Opener interface {
	Open(ctx context.Context, b blob.Body) (blob.Reader, error)
}

var errFull = smtp.NewError(552, smtp.EnhancedCode{5, 2, 2}, "Your mailbox is full, and mail that waits to be sent is kept there")

// waits tells whether a mail is shown in Scheduled: one that is held, of somebody.
func (s *Submitter) waits(m *mailflow.Mail) bool {
	return s.options.Outbox != nil && m.HoldUntil.After(m.Received) && m.Origin.Account != 0
}

// holdToUndo lets a mail wait that could be wished back. What programs send by themselves,
// with the null return path, nobody would.
func (s *Submitter) holdToUndo(ctx context.Context, m *mailflow.Mail) error {
	if s.options.Outbox == nil || m.ReturnPath.IsNull() || !m.HoldUntil.IsZero() {
		return nil
	}
	d, err := s.options.Outbox.Undo(ctx, m.Origin.Account)
	if err != nil {
		s.options.Logger.Error("submit: look up for how long mail waits", "account", m.Origin.Account.String(), "error", err)
		return errLookup.With(err)
	}
	if d > 0 {
		m.HoldUntil = m.Received.Add(d)
	}
	return nil
}

// show submits a mail that waits, with what is shown of it.
func (s *Submitter) show(ctx context.Context, m *mailflow.Mail, as *staged) error {
	shown, err := s.shown(ctx, m, as)
	if err != nil {
		s.options.Bodies.Discard(m.Body)
		return err
	}
	also, err := s.options.Outbox.Show(ctx, m, shown)
	if err == nil {
		_, err = s.pass(ctx, m, mailflow.SubmitOptions{Also: also})
	} else {
		s.options.Bodies.Discard(m.Body)
	}
	if err != nil {
		s.options.Bodies.Discard(shown.Body)
	}
	switch {
	case errors.Is(err, mailstore.ErrOverQuota):
		return errFull.With(err)
	case errors.Is(err, outbox.ErrTooLarge):
		return errRecipients.With(err)
	}
	return err
}

// shown stages the message as its sender sees it: what was submitted without the fields that
// the door puts on top, with Bcc for the recipients whom the header does not name.
func (s *Submitter) shown(ctx context.Context, m *mailflow.Mail, as *staged) (*mailstore.Incoming, error) {
	opener, ok := s.options.Bodies.(Opener)
	if !ok {
		return nil, errors.New("submit: staged bodies cannot be opened")
	}
	r, err := opener.Open(ctx, m.Body)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	fields := bcc(m, as.blind)
	content := io.NewSectionReader(r, int64(as.top), r.Size()-int64(as.top))
	limits := s.options.Limits
	limits.Size += int64(len(fields)) + m.Body.Size
	body, parsed, err := mailflow.Arrive(ctx, s.options.Bodies, fields, content, limits)
	if err != nil {
		return nil, err
	}
	return &mailstore.Incoming{Body: body, Message: parsed, Flags: mailstore.Seen, InternalDate: m.Received}, nil
}

// blindCopies are those whom the header names in Bcc.
func blindCopies(block []byte) message.AddressList {
	var all message.AddressList
	for f := range message.Fields(block) {
		if f.Is("Bcc") {
			all = append(all, message.ParseAddressList(f.Unfolded()).Mailboxes()...)
		}
	}
	return all
}

// bcc writes the field for the recipients whom To and Cc do not name, with the names that
// the sender had given them.
func bcc(m *mailflow.Mail, blind message.AddressList) []byte {
	named := map[string]bool{}
	for _, l := range []message.AddressList{m.Message.To, m.Message.Cc} {
		for _, one := range l.Mailboxes() {
			if a, err := one.Address(); err == nil {
				named[a.Key()] = true
			}
		}
	}
	known := map[string]message.Mailbox{}
	for _, one := range blind {
		if a, err := one.Address(); err == nil {
			known[a.Key()] = one
		}
	}
	var hidden message.AddressList
	for i := range m.Recipients {
		a := m.Recipients[i].Address
		k := a.Key()
		if named[k] {
			continue
		}
		named[k] = true
		one, ok := known[k]
		if !ok {
			one = message.Mailbox{Kind: message.KindMailbox, Local: a.Local, Host: a.Domain}
		}
		hidden = append(hidden, one)
	}
	if len(hidden) == 0 {
		return nil
	}
	h := message.Header{UTF8: m.SMTPUTF8}
	h.AddAddresses("Bcc", hidden)
	return bytes.Clone(h.Bytes())
}
