package server

import (
	"context"
	"errors"

	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/objects"
	"postroad/internal/outbox"
	"postroad/internal/snooze"
)

// openOutbox opens what is kept of mail that was sent and of mail that comes back. The queue is opened after it, and
// tells it; nothing is taken back before.
func (s *Store) openOutbox(context.Context) error {
	s.Objects = &objects.Store{Committer: s.Committer, Clock: s.Clock}
	s.Outbox = &outbox.Store{Committer: s.Committer, Mail: s.Mail, Objects: s.Objects, Directory: s.Directory, Log: s.log}
	s.Snooze = snooze.New(s.Committer, s.Mail, s.log)
	return nil
}

// passing does what hangs on messages that go into or out of Scheduled and Snoozed.
func (s *Store) passing(ctx context.Context, u *mailflow.Unit, p *mailstore.Passing) error {
	return errors.Join(s.Outbox.Passing(ctx, u, p), s.Snooze.Passing(ctx, u, p))
}
