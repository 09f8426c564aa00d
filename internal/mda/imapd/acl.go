package imapd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"postroad/address"
	"postroad/imap"
	"postroad/imap/imapserver"
	"postroad/internal/directory"
	"postroad/internal/kv/hlc"
	"postroad/internal/mailstore"
)

// Identifiers of access control lists: "anyone", an account's address, a group's address
// behind "$" (as in the examples of RFC 4314) or "group:" (as Cyrus has it), each behind
// "-" where the rights are taken away. An address without domain is of the user's own. An
// account that is gone shows by its id, so that its entry can be deleted.

const groupMark, groupWord = "$", "group:"

var errNoSubject = imap.No("", "There is no such user or group here")

// subject reads an identifier.
func (s *Session) subject(ctx context.Context, identifier string) (mailstore.Subject, error) {
	d := s.backend.o.Directory
	if d == nil {
		return mailstore.Subject{}, imap.No(imap.CodeCannot, "Mailboxes cannot be shared here")
	}
	rest, negative := strings.CutPrefix(identifier, "-")
	out := mailstore.Subject{Negative: negative}
	if imap.EqualFold(rest, imap.ACLAnyone) {
		out.Kind = mailstore.SubjectAnyone
		return out, nil
	}
	group, is := strings.CutPrefix(rest, groupMark)
	if !is {
		group, is = strings.CutPrefix(rest, groupWord)
	}
	if id, err := hlc.Parse(rest); err == nil && !is && !strings.Contains(rest, "@") {
		out.Kind, out.Account = mailstore.SubjectAccount, id
		return out, nil
	}
	if !strings.Contains(group, "@") {
		group += "@" + s.who.Login.Domain
	}
	a, err := address.Parse(group)
	if err != nil {
		return out, errNoSubject
	}
	if is {
		out.Kind = mailstore.SubjectGroup
		out.Group, err = d.GroupKey(ctx, s.who.Org, a)
	} else {
		var account directory.Account
		account, err = d.AccountByAddress(ctx, a)
		out.Kind, out.Account = mailstore.SubjectAccount, account.ID
		if err == nil && account.Org != s.who.Org {
			err = directory.ErrNotFound
		}
	}
	if errors.Is(err, directory.ErrNotFound) {
		return out, errNoSubject
	}
	return out, err
}

// identifier writes a subject.
func (s *Session) identifier(ctx context.Context, x mailstore.Subject) (string, error) {
	mark := ""
	if x.Negative {
		mark = "-"
	}
	switch x.Kind {
	case mailstore.SubjectAnyone:
		return mark + imap.ACLAnyone, nil
	case mailstore.SubjectGroup:
		return mark + groupMark + x.Group, nil
	}
	login, err := s.login(ctx, x.Account)
	return mark + login, err
}

// login is an account's address, its id when it is gone.
func (s *Session) login(ctx context.Context, id mailstore.AccountID) (string, error) {
	if s.backend.o.Directory == nil {
		return s.who.Login.String(), nil // there is nobody else
	}
	a, err := s.backend.o.Directory.Account(ctx, id)
	switch {
	case errors.Is(err, directory.ErrNotFound):
		return id.String(), nil
	case err != nil:
		return "", fmt.Errorf("account of an access control list: %w", err)
	}
	return a.Login.String(), nil
}

// SetACL changes the rights of an identifier (RFC 4314, 3.1).
func (s *Session) SetACL(ctx context.Context, mailbox, identifier string, op imap.RightsOp, rights imap.Rights) error {
	p, err := s.enter(ctx, cmdSetACL, mailbox, imap.CodeNonExistent)
	if err != nil {
		return err
	}
	x, err := s.subject(ctx, identifier)
	if err != nil {
		return err
	}
	return answer(p.account.SetACL(ctx, s.who.Org, p.mailbox.ID, x, op, rights))
}

// DeleteACL removes the entry of an identifier (RFC 4314, 3.2).
func (s *Session) DeleteACL(ctx context.Context, mailbox, identifier string) error {
	p, err := s.enter(ctx, cmdDeleteACL, mailbox, imap.CodeNonExistent)
	if err != nil {
		return err
	}
	x, err := s.subject(ctx, identifier)
	if err != nil {
		return err
	}
	return answer(p.account.SetACL(ctx, s.who.Org, p.mailbox.ID, x, imap.RightsReplace, imap.RightsNone))
}

// GetACL returns the entries, the owner's first (RFC 4314, 3.3).
func (s *Session) GetACL(ctx context.Context, mailbox string) ([]imap.ACLEntry, error) {
	p, err := s.enter(ctx, cmdGetACL, mailbox, imap.CodeNonExistent)
	if err != nil {
		return nil, err
	}
	var out []imap.ACLEntry
	if p.prefix != sharedPrefix {
		owner, err := s.login(ctx, p.account.ID())
		if err != nil {
			return nil, err
		}
		out = append(out, imap.ACLEntry{Identifier: owner, Rights: imap.RightsAll})
	}
	for _, g := range p.mailbox.ACL {
		id, err := s.identifier(ctx, g.Subject)
		if err != nil {
			return nil, err
		}
		out = append(out, imap.ACLEntry{Identifier: id, Rights: g.Rights})
	}
	return out, nil
}

// ListRights tells what an identifier can be granted: each right by itself, of which the
// owner has all in any case (RFC 4314, 3.4).
func (s *Session) ListRights(ctx context.Context, mailbox, identifier string) (*imapserver.ListRightsData, error) {
	p, err := s.enter(ctx, cmdListRights, mailbox, imap.CodeNonExistent)
	if err != nil {
		return nil, err
	}
	x, err := s.subject(ctx, identifier)
	if err != nil {
		return nil, err
	}
	if x.Kind == mailstore.SubjectAccount && x.Account == p.account.ID() {
		return &imapserver.ListRightsData{Required: imap.RightsAll}, nil
	}
	d := &imapserver.ListRightsData{}
	for bit := imap.Rights(1); bit <= imap.RightsAll; bit <<= 1 {
		d.Tied = append(d.Tied, bit)
	}
	return d, nil
}

// MyRights returns the rights of the user (RFC 4314, 3.5).
func (s *Session) MyRights(ctx context.Context, mailbox string) (imap.Rights, error) {
	p, err := s.enter(ctx, cmdMyRights, mailbox, imap.CodeNonExistent)
	if err != nil {
		return 0, err
	}
	return p.rights, nil
}
