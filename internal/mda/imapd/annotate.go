package imapd

import (
	"context"
	"errors"
	"slices"

	"postroad/imap"
	"postroad/imap/imapserver"
	"postroad/internal/mailstore"
)

var _ imapserver.Annotator = (*Session)(nil)

// annotated finds what a METADATA command is about; id 0 is the server, whose annotations
// are kept with the account (RFC 5464, 4.1). Private entries are the reader's own.
func (s *Session) annotated(ctx context.Context, c command, name string) (*place, error) {
	if name == "" {
		return &place{account: s.account, mailbox: &mailstore.Mailbox{}}, nil
	}
	return s.enter(ctx, c, name, imap.CodeNonExistent)
}

// GetMetadata implements imapserver.Annotator.
func (s *Session) GetMetadata(ctx context.Context, name string, o imapserver.MetadataOptions) ([]imap.MetadataEntry, error) {
	p, err := s.annotated(ctx, cmdGetMetadata, name)
	if err != nil {
		return nil, err
	}
	all, err := p.account.Annotations(ctx, p.mailbox.ID, s.who.ID)
	if err != nil {
		return nil, answer(err)
	}
	if admin := s.backend.o.AdminURI; name == "" && admin != "" {
		all = append(all, mailstore.Annotation{Name: "/shared/admin", Value: []byte(admin)})
	}
	var out []imap.MetadataEntry
	for _, n := range all {
		for _, asked := range o.Names {
			if imap.MetadataMatches(asked, n.Name, o.Depth) {
				out = append(out, imap.MetadataEntry{Name: n.Name, Value: n.Value})
				break
			}
		}
	}
	return out, nil
}

// SetMetadata implements imapserver.Annotator. What the server says to all is not a user's
// to change.
func (s *Session) SetMetadata(ctx context.Context, name string, entries []imap.MetadataEntry) error {
	c := cmdGetMetadata
	set := make([]mailstore.Annotation, len(entries))
	for i, e := range entries {
		if imap.MetadataMatches("/shared", e.Name, imap.MetadataDepthInfinity) {
			c = cmdSetMetadata
		}
		set[i] = mailstore.Annotation{Name: e.Name, Value: e.Value}
	}
	if name == "" && c == cmdSetMetadata {
		return imap.No(imap.CodeNoPerm, "The server's annotations are its administrator's")
	}
	p, err := s.annotated(ctx, c, name)
	if err != nil {
		return err
	}
	if p.mailbox.Recovery != nil {
		return errRecoverable
	}
	if p.foreign() && slices.ContainsFunc(entries, func(e imap.MetadataEntry) bool { return e.Name == mailstore.EntrySpecialUse }) {
		return errNoPerm // it is the owner's (RFC 6154, 5.4)
	}
	err = p.account.Annotate(ctx, p.mailbox.ID, s.who.ID, set)
	switch {
	case errors.Is(err, mailstore.ErrLimit):
		return imap.No(imap.CodeMetadataTooMany, "Too many annotations")
	case errors.Is(err, mailstore.ErrTooLarge):
		return imap.No(imap.CodeTooBig, "The name or the value is too long")
	case errors.Is(err, mailstore.ErrUse):
		return imap.No(imap.CodeCannot, "The annotation cannot have that value")
	}
	return answer(err)
}
