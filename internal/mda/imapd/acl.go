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

// ErrNoSubject is an identifier that names nobody.
var ErrNoSubject = errors.New("imapd: no such user or group")

// ParseIdentifier reads an identifier as it is meant by people of an organisation and a
// domain. ErrNoSubject.
func ParseIdentifier(ctx context.Context, d Directory, org, domain, identifier string) (mailstore.Subject, error) {
	rest, negative := strings.CutPrefix(identifier, "-")
	out := mailstore.Subject{Negative: negative}
	if imap.EqualFold(rest, imap.ACLAnyone) {
		out.Kind = mailstore.SubjectAnyone
		return out, nil
	}
	name, group := strings.CutPrefix(rest, groupMark)
	if !group {
		name, group = strings.CutPrefix(rest, groupWord)
	}
	if !strings.Contains(name, "@") {
		if id, err := hlc.Parse(name); err == nil && !group {
			out.Kind, out.Account = mailstore.SubjectAccount, id
			return out, nil
		}
		name += "@" + domain
	}
	a, err := address.Parse(name)
	if err != nil {
		return out, fmt.Errorf("%w: %q", ErrNoSubject, identifier)
	}
	if group {
		out.Kind = mailstore.SubjectGroup
		out.Group, err = d.GroupKey(ctx, org, a)
	} else {
		var account directory.Account
		account, err = d.AccountByAddress(ctx, a)
		out.Kind, out.Account = mailstore.SubjectAccount, account.ID
		if err == nil && account.Org != org {
			err = directory.ErrNotFound
		}
	}
	if errors.Is(err, directory.ErrNotFound) {
		return out, fmt.Errorf("%w: %q", ErrNoSubject, identifier)
	}
	return out, err
}

// FormatIdentifier writes a subject as ParseIdentifier reads it.
func FormatIdentifier(ctx context.Context, d Directory, x mailstore.Subject) (string, error) {
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
	a, err := d.Account(ctx, x.Account)
	switch {
	case errors.Is(err, directory.ErrNotFound):
		return mark + x.Account.String(), nil
	case err != nil:
		return "", fmt.Errorf("account of an access control list: %w", err)
	}
	return mark + a.Login.String(), nil
}

// subject reads an identifier for the user.
func (s *Session) subject(ctx context.Context, identifier string) (mailstore.Subject, error) {
	d := s.backend.o.Directory
	if d == nil {
		return mailstore.Subject{}, imap.No(imap.CodeCannot, "Mailboxes cannot be shared here")
	}
	x, err := ParseIdentifier(ctx, d, s.who.Org, s.who.Login.Domain, identifier)
	if errors.Is(err, ErrNoSubject) {
		return x, imap.No("", "There is no such user or group here")
	}
	return x, err
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
	d := s.backend.o.Directory
	if d == nil { // there is nobody else
		return []imap.ACLEntry{{Identifier: s.who.Login.String(), Rights: imap.RightsAll}}, nil
	}
	grants := p.mailbox.ACL
	if p.prefix != sharedPrefix {
		owner := mailstore.Subject{Kind: mailstore.SubjectAccount, Account: p.account.ID()}
		grants = append(mailstore.ACL{{Subject: owner, Rights: imap.RightsAll}}, grants...)
	}
	out := make([]imap.ACLEntry, 0, len(grants))
	for _, g := range grants {
		id, err := FormatIdentifier(ctx, d, g.Subject)
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
