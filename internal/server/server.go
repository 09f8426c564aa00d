// Package server builds the program from its configuration: it opens the store, binds the
// doors, gives up privileges, serves, and stops without losing anybody's command.
//
// The main types are [Store], everything that is kept, and [Server], the doors over it.
// The package has no mail logic of its own: it only joins the parts of the house, and is
// the only one that reads the configuration.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"postroad/internal/admin"
	"postroad/internal/certs"
	"postroad/internal/config"
	"postroad/internal/mda/events"
	"postroad/internal/mda/imapd"
	"postroad/internal/mda/pop3d"
	"postroad/internal/mua/jmapd"
	"postroad/internal/mua/jmapd/email"
	"postroad/internal/mua/jmapd/own"
	"postroad/internal/mua/login"
	"postroad/internal/telemetry"
)

// stopTimeout is how long sessions may take to come to an end.
const stopTimeout = 10 * time.Second

// version is set by the linker.
var version string

// Version is the program's: what was built, of which commit.
func Version() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return "devel-" + s.Value[:min(len(s.Value), 12)]
			}
		}
	}
	return "devel"
}

// hostname is the configured name, else what the system says.
func hostname(c *config.Config) string {
	if c.Hostname != "" {
		return c.Hostname
	}
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "localhost"
	}
	if !strings.Contains(name, ".") {
		// The system often knows the short name only; the resolver may know the long one.
		if long, err := net.LookupCNAME(name); err == nil && strings.HasPrefix(long, name+".") {
			return strings.TrimSuffix(long, ".")
		}
	}
	return name
}

// NewLogger makes the log that the configuration asks for, on standard error.
func NewLogger(c *config.Log) (*slog.Logger, error) {
	return telemetry.NewLogger(os.Stderr, telemetry.LogOptions{Format: c.Format, Level: c.Level})
}

// Server is the doors over an open store.
type Server struct {
	*Store
	Listeners Listeners
	Certs     *certs.Manager

	imap    *imapd.Backend
	pop3    *pop3d.Backend
	events  *events.Events
	email   *email.Methods
	own     *own.Methods
	images  *own.ImageProxy
	gate    *login.Gate
	jmap    *jmapd.Server
	limiter *limiter
	asked   atomic.Int64 // requests over HTTP
	panics  atomic.Int64
	started time.Time
	doors   []running
}

// running is one protocol server with the listener it serves.
type running struct {
	door     Door
	serve    func(net.Listener) error
	shutdown func(context.Context) error
	closed   error // what serve returns after shutdown
	listener Listener
}

// Serve opens the store and serves the listeners, which it closes, until ctx is done. ready
// is called once all doors are open.
func Serve(ctx context.Context, c *config.Config, ls Listeners, log *slog.Logger, ready func(*Server)) error {
	defer ls.Close()
	store, err := OpenStore(ctx, c, log)
	if err != nil {
		return err
	}
	s := &Server{Store: store, Listeners: ls, started: time.Now(),
		limiter: newLimiter(c.Limits.Connections, c.Limits.AddressConnections)}
	err = s.build()
	if err == nil {
		err = s.run(ctx, ready)
	}
	return errors.Join(err, store.Close())
}

// build makes certificates and protocol servers.
func (s *Server) build() error {
	c := s.config
	o := certs.Options{Directory: s.config.DataDirectory + "/certs", Names: []string{hostname(c), "localhost", "127.0.0.1", "::1"}, Log: s.log}
	for _, p := range c.TLS.Certificates {
		o.Files = append(o.Files, certs.Files{Certificate: p.Certificate, Key: p.Key})
	}
	var err error
	if s.Certs, err = certs.New(o); err != nil {
		return err
	}
	s.backends()
	if err := s.openGate(); err != nil {
		return fmt.Errorf("log-ins over HTTP: %w", err)
	}
	if err := s.openJMAP(); err != nil {
		return fmt.Errorf("JMAP: %w", err)
	}
	for _, l := range s.Listeners {
		if l.Door == DoorAdmin {
			continue
		}
		r, err := s.door(l)
		if err != nil {
			return fmt.Errorf("door %s: %w", l.Door, err)
		}
		s.doors = append(s.doors, r)
	}
	return nil
}

// run serves until ctx is done or something fails, then stops in the order that lets every
// command under way come to its answer: doors, deliveries, the rest.
func (s *Server) run(ctx context.Context, ready func(*Server)) error {
	inner, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	var background, doors sync.WaitGroup
	failed := make(chan error, 1)
	fail := func(what string, err error) {
		if err == nil || errors.Is(err, context.Canceled) {
			return
		}
		select {
		case failed <- fmt.Errorf("%s: %w", what, err):
		default:
		}
	}
	verbs := s.Verbs()
	verbs.Status = s.status
	for _, b := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"certificates", s.Certs.Run}, {"mail store", s.Mail.Run}, {"queue", s.Queue.Run}, {"snooze", s.Snooze.Run}, {"trace", s.trimTraces},
		{"memory", giveMemoryBack}, {"push", s.jmap.Run}, {"uploads", s.email.Run}, {"tokens", s.sweepTokens}, {"jobs", s.own.Run},
		{"collector", func(ctx context.Context) error { s.Collector.Run(ctx); return nil }},
		{"administration", func(ctx context.Context) error { return verbs.Serve(ctx, s.Listeners[0]) }},
	} {
		background.Go(func() { fail(b.name, b.run(inner)) })
	}
	for _, d := range s.doors {
		doors.Go(func() { fail(string(d.door), d.serveListener()) })
	}
	s.log.Info("serving", "version", Version(), "hostname", hostname(s.config), "doors", s.addresses(), "confinement", confinement())
	if ready != nil {
		ready(s)
	}
	var err error
	select {
	case <-ctx.Done():
		s.log.Info("stopping")
	case err = <-failed:
	}
	s.shutdown()
	doors.Wait()
	stop(context.Canceled)
	background.Wait()
	return err
}

// shutdown ends the sessions of all doors at once.
func (s *Server) shutdown() {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	var wait sync.WaitGroup
	for _, d := range s.doors {
		wait.Go(func() {
			if err := d.shutdown(ctx); err != nil {
				s.log.Warn("sessions were cut off", "door", d.door, "error", err)
			}
		})
	}
	wait.Wait()
}

// addresses lists what is listened at.
func (s *Server) addresses() map[string][]string {
	all := map[string][]string{}
	for _, l := range s.Listeners {
		all[string(l.Door)] = append(all[string(l.Door)], l.Addr().String())
	}
	return all
}

// status is the store's, with what only a server knows.
func (s *Server) status(ctx context.Context) (admin.Status, error) {
	status, err := s.Store.status(ctx)
	status.Started, status.Listeners, status.Sandbox = s.started, s.addresses(), confinement()
	return status, err
}
