package submit

import (
	"context"

	"postroad/internal/directory"
	"postroad/message"
)

// mend checks the header and makes it fit to go (RFC 6409, 8): every From address must be
// the user's own, or one that he may send with; Date and Message-ID are added where they are missing (8.1, 8.3); blind
// copies and what only servers may write is taken out.
//
// Who sends on behalf of somebody names himself in Sender (RFC 5322, 3.6.2); where it is
// missing it is added (RFC 6409, 8.1).
func (s *Submitter) mend(ctx context.Context, who directory.Principal, block []byte) ([]byte, error) {
	var has struct{ date, id bool }
	var senders []message.Field
	from, right := 0, directory.SendAs
	for f := range message.Fields(block) {
		switch {
		case f.Is("From"):
			from++
			var err error
			if right, err = s.checkFrom(ctx, who, f); err != nil {
				return nil, err
			}
		case f.Is("Sender"):
			senders = append(senders, f)
		case f.Is("Date"):
			has.date = true
		case f.Is("Message-ID"):
			has.id = true
		}
	}
	// RFC 5322, 3.6: one From. With two, readers would choose which one to believe.
	if from != 1 {
		return nil, errNoFrom
	}
	var add message.Header
	if right == directory.SendOnBehalf {
		switch err := s.checkSender(ctx, who, senders); {
		case err != nil:
			return nil, err
		case len(senders) == 0:
			add.AddAddresses("Sender", message.AddressList{{Kind: message.KindMailbox, Name: who.Name, Local: who.Login.Local, Host: who.Login.Domain}})
		}
	}
	block = message.RemoveFields(block, "Bcc", "Resent-Bcc", "Return-Path")
	if !has.date {
		add.AddDate("Date", s.now())
	}
	if !has.id {
		add.Add("Message-ID", message.NewMessageID(s.options.Hostname))
	}
	if fields := add.Bytes(); len(fields) > 0 {
		block = message.InsertFields(block, fields)
	}
	return block, nil
}

// checkFrom asks for each address of a From field, and returns the least right.
func (s *Submitter) checkFrom(ctx context.Context, who directory.Principal, f message.Field) (directory.SendRight, error) {
	mailboxes := message.ParseAddressList(f.Unfolded()).Mailboxes()
	if len(mailboxes) == 0 {
		return directory.SendNot, errNoFrom
	}
	least := directory.SendAs
	for _, m := range mailboxes {
		a, err := m.Address()
		if err != nil {
			return directory.SendNot, errNoFrom.With(err)
		}
		right, err := s.right(ctx, who, a)
		switch {
		case err != nil:
			return directory.SendNot, err
		case right == directory.SendNot:
			return directory.SendNot, errFrom
		}
		least = min(least, right)
	}
	return least, nil
}

// checkSender asks that Sender, where it is there, is one address of the user's own.
func (s *Submitter) checkSender(ctx context.Context, who directory.Principal, senders []message.Field) error {
	if len(senders) == 0 {
		return nil
	}
	mailboxes := message.ParseAddressList(senders[0].Unfolded()).Mailboxes()
	if len(senders) > 1 || len(mailboxes) != 1 {
		return errBehalf
	}
	a, err := mailboxes[0].Address()
	if err != nil {
		return errBehalf.With(err)
	}
	right, err := s.right(ctx, who, a)
	if err == nil && right < directory.SendAs {
		return errBehalf
	}
	return err
}
