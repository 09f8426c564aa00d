package server

import (
	"context"
	"errors"
	"time"

	"postroad/internal/directory"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/outbox"
	"postroad/internal/snooze"
)

// openOutbox opens what is kept of mail that was sent and of mail that comes back. The queue is opened after it, and
// tells it; nothing is taken back before.
func (s *Store) openOutbox(context.Context) error {
	s.Outbox = &outbox.Store{Committer: s.Committer, Mail: s.Mail, Objects: s.Objects, Directory: s.Directory, Log: s.log}
	s.Snooze = snooze.New(s.Committer, s.Mail, s.log)
	s.Snooze.Zone = s.zone
	return nil
}

// passing does what hangs on messages that go into or out of Scheduled and Snoozed.
func (s *Store) passing(ctx context.Context, u *mailflow.Unit, p *mailstore.Passing) error {
	return errors.Join(s.Outbox.Passing(ctx, u, p), s.Snooze.Passing(ctx, u, p))
}

// zone is where an account's mornings are. Mail whose account has gone from the directory is
// about to go itself.
func (s *Store) zone(ctx context.Context, id mailstore.AccountID) (*time.Location, error) {
	a, err := s.Directory.Account(ctx, id)
	if errors.Is(err, directory.ErrNotFound) {
		return time.Local, nil
	}
	if err != nil {
		return nil, err
	}
	return a.Location()
}
