package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"postroad/internal/admin"
	"postroad/internal/blob"
	"postroad/internal/blob/segblob"
	"postroad/internal/config"
	"postroad/internal/directory"
	"postroad/internal/kv/diskkv"
	"postroad/internal/kv/hlc"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/mda/rules"
	"postroad/internal/mta/queue"
	"postroad/internal/objects"
	"postroad/internal/outbox"
	"postroad/internal/scripts"
	"postroad/internal/snooze"
)

// Store is everything that is kept, open in this process, and the parts of the house that
// work on it without a client. One process at a time has a data directory open.
type Store struct {
	Engine    *diskkv.Engine
	Blobs     *segblob.Store
	Clock     *hlc.Clock
	Bodies    *blob.Bodies
	Committer *mailflow.Committer
	Directory *directory.Store
	Mail      *mailstore.Store
	Scripts   *scripts.Store
	Objects   *objects.Store
	Rules     *rules.Runner
	Collector *blob.Collector
	Queue     *queue.Queue
	Outbox    *outbox.Store
	Snooze    *snooze.Store

	config  *config.Config
	log     *slog.Logger
	closers []func() error // in the order of opening
}

// node is this machine's number for ids. A second machine on the same store would have
// another one.
const node = 1

// lockWait is how long an open store may be waited for: a command at work on it.
const lockWait = 10 * time.Second

// OpenStore opens what is in the data directory, which is made when it is missing.
func OpenStore(ctx context.Context, c *config.Config, log *slog.Logger) (*Store, error) {
	s := &Store{config: c, log: log}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open the store in %s: %w", c.DataDirectory, err), s.Close())
	}
	return s, nil
}

// open opens the parts from the ground up.
func (s *Store) open(ctx context.Context) error {
	dir := s.config.DataDirectory
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, step := range []struct {
		name string
		open func(context.Context) error
	}{
		{"keys", s.openKeys}, {"bodies", s.openBodies}, {"directory", s.openDirectory},
		{"mail", s.openMail}, {"scripts", s.openScripts}, {"outbox", s.openOutbox}, {"queue", s.openQueue},
	} {
		if err := step.open(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

// closing remembers what Close has to do.
func (s *Store) closing(f func() error) { s.closers = append(s.closers, f) }

func (s *Store) openKeys(ctx context.Context) error {
	dir := filepath.Join(s.config.DataDirectory, "keys")
	o := diskkv.Options{Dir: dir, Watermark: uint64(s.config.Limits.DiskReserve), Logger: s.log}
	var err error
	for deadline := time.Now().Add(lockWait); ; {
		if s.Engine, err = diskkv.Open(o); !errors.Is(err, unix.EAGAIN) || time.Now().After(deadline) {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lockWait / 100):
		}
	}
	if errors.Is(err, unix.EAGAIN) {
		return fmt.Errorf("another process has it open: %w", err)
	}
	if err != nil {
		return err
	}
	s.closing(s.Engine.Close)
	return nil
}

func (s *Store) openBodies(ctx context.Context) error {
	var err error
	o := segblob.Options{Reserve: int64(s.config.Limits.DiskReserve), Log: s.log}
	if s.Blobs, err = segblob.Open(filepath.Join(s.config.DataDirectory, "bodies"), o); err != nil {
		return err
	}
	s.closing(s.Blobs.Close)
	if s.Clock, err = hlc.Open(ctx, s.Engine, node); err != nil {
		return fmt.Errorf("clock: %w", err)
	}
	s.closing(s.Clock.Close)
	s.Bodies = blob.NewBodies(s.Engine, s.Blobs, s.Clock)
	s.Committer = &mailflow.Committer{Engine: s.Engine, Bodies: s.Bodies}
	s.Collector = blob.NewCollector(s.Bodies, blob.CollectorOptions{Log: s.log})
	return nil
}

func (s *Store) openDirectory(ctx context.Context) error {
	var err error
	s.Directory, err = directory.Open(ctx, directory.Options{
		Engine: s.Engine, Committer: s.Committer, Clock: s.Clock, Log: s.log,
		ScramForPasswords: s.config.Login.ScramForPasswords, FailureDelay: s.config.Login.FailureDelay.Std(),
		PasswordAlone: s.config.Login.PasswordAlone,
	})
	if err != nil {
		return err
	}
	s.closing(func() error { s.Directory.Close(); return nil })
	return nil
}

func (s *Store) openMail(context.Context) error {
	s.Mail = mailstore.New(s.mailOptions())
	s.Objects = &objects.Store{Committer: s.Committer, Clock: s.Clock}
	return nil
}

// Close closes what is open, the last first.
func (s *Store) Close() error {
	var err error
	for i := len(s.closers) - 1; i >= 0; i-- {
		err = errors.Join(err, s.closers[i]())
	}
	s.closers = nil
	return err
}

// Verbs are the verbs of administration over the store.
func (s *Store) Verbs() *admin.Verbs {
	return &admin.Verbs{
		Directory: s.Directory, Mail: s.Mail, Committer: s.Committer, Queue: s.Queue, Collector: s.Collector,
		Outbox: s.Outbox, Scripts: s.Scripts, Rules: s.Rules, Annotations: rules.Annotated,
		Status: s.status, Tracer: s.timeline,
		Quota: directory.Limits{QuotaBytes: int64(s.config.Limits.Quota)},
	}
}

// status is what is known of a store that may not be served.
func (s *Store) status(ctx context.Context) (admin.Status, error) {
	stats, engine := s.Queue.Stats(), s.Engine.Stats()
	length, err := s.Queue.Length(ctx)
	if err != nil {
		return admin.Status{}, err
	}
	free, err := freeBytes(s.config.DataDirectory)
	return admin.Status{
		Version: Version(), Hostname: hostname(s.config),
		Queue: admin.QueueStatus{Items: length, Active: stats.Active, Submitted: stats.Submitted,
			Delivered: stats.Delivered, Deferred: stats.Deferred, Failed: stats.Failed},
		Store: admin.StoreStatus{Commits: engine.Commits, Conflicts: engine.Conflicts, FreeBytes: free},
	}, err
}

// freeBytes is what the file system of a directory has left for us.
func freeBytes(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return int64(st.Bavail) * st.Bsize, nil
}
