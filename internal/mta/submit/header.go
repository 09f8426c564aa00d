package submit

import (
	"context"

	"postroad/internal/directory"
	"postroad/message"
)

// mend checks the header and makes it fit to go (RFC 6409, 8): every From address must be
// the user's own; Date and Message-ID are added where they are missing (8.1, 8.3); blind
// copies and what only servers may write is taken out.
func (s *Submitter) mend(ctx context.Context, who directory.Principal, block []byte) ([]byte, error) {
	var has struct{ date, id bool }
	from := 0
	for f := range message.Fields(block) {
		switch {
		case f.Is("From"):
			from++
			if err := s.checkFrom(ctx, who, f); err != nil {
				return nil, err
			}
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
	block = message.RemoveFields(block, "Bcc", "Resent-Bcc", "Return-Path")
	var add message.Header
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

// checkFrom asks for each address of a From field.
func (s *Submitter) checkFrom(ctx context.Context, who directory.Principal, f message.Field) error {
	mailboxes := message.ParseAddressList(f.Unfolded()).Mailboxes()
	if len(mailboxes) == 0 {
		return errNoFrom
	}
	for _, m := range mailboxes {
		a, err := m.Address()
		if err != nil {
			return errNoFrom.With(err)
		}
		if err := s.check(ctx, who, a, errFrom); err != nil {
			return err
		}
	}
	return nil
}
