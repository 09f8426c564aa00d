package imapd

import (
	"context"
	"errors"

	"postroad/imap"
	"postroad/imap/imapserver"
	"postroad/internal/mailstore"
)

var _ imapserver.Annotator = (*Session)(nil)

// annotated finds what a METADATA command is about; id 0 is the server, whose annotations
// are kept with the account (RFC 5464, 4.1). On what was deleted there are none to set.
func (s *Session) annotated(ctx context.Context, name string) (*mailstore.Mailbox, error) {
	if name == "" {
		return &mailstore.Mailbox{}, nil
	}
	return s.mailbox(ctx, name, imap.CodeNonExistent)
}

// GetMetadata implements imapserver.Annotator.
func (s *Session) GetMetadata(ctx context.Context, name string, o imapserver.MetadataOptions) ([]imap.MetadataEntry, error) {
	m, err := s.annotated(ctx, name)
	if err != nil {
		return nil, err
	}
	all, err := s.account.Annotations(ctx, m.ID, s.account.ID())
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
	m, err := s.annotated(ctx, name)
	if err != nil {
		return err
	}
	set := make([]mailstore.Annotation, len(entries))
	for i, e := range entries {
		if name == "" && imap.MetadataMatches("/shared", e.Name, imap.MetadataDepthInfinity) {
			return imap.No(imap.CodeNoPerm, "The server's annotations are its administrator's")
		}
		set[i] = mailstore.Annotation{Name: e.Name, Value: e.Value}
	}
	err = s.account.Annotate(ctx, m.ID, s.account.ID(), set)
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
