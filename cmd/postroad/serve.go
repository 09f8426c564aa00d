package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"postroad/internal/config"
	"postroad/internal/server"
)

type serveCommand struct{}

// Help is the text below the usage.
func (serveCommand) Help() string {
	return `Listens on 25, 587, 465, 143, 993, 110 and 995 unless configured otherwise. Started by root
it binds the ports, then serves as the configured user without privileges. It stops on
SIGTERM or SIGINT after the commands under way were answered.

Examples:
  postroad serve
  postroad --config ./postroad.toml serve`
}

func (serveCommand) Run(ctx context.Context, p *program) error {
	c, err := p.load()
	if err != nil {
		return err
	}
	if err := server.Confine(p.cli.ConfigFile, c); err != nil {
		return err
	}
	log, err := server.NewLogger(&c.Log)
	if err != nil {
		return err
	}
	if server.NeedsParent() {
		return server.RunParent(ctx, c, log)
	}
	return serve(ctx, c, log, nil)
}

// serve serves in this process, on listeners of a parent or its own, until a signal.
func serve(ctx context.Context, c *config.Config, log *slog.Logger, ready func(*server.Server)) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	// A closed terminal does not end a server; files are read anew by themselves.
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
	listeners, err := server.Inherited()
	if err == nil && listeners == nil {
		listeners, err = server.Bind(ctx, c)
	}
	if err != nil {
		return err
	}
	return server.Serve(ctx, c, listeners, log, ready)
}

type demoCommand struct {
	Dir   string `placeholder:"DIR" type:"path" help:"Where to keep everything. Default: postroad-demo under the state directory of the user."`
	Ports int    `name:"ports-from" default:"2000" help:"SMTP is at this number plus 525, IMAP plus 143, and so on."`
}

// Help is the text below the usage.
func (demoCommand) Help() string {
	return `Starts the whole system on 127.0.0.1 with the domain example.test, the accounts alice and
bob, a certificate made for the occasion and a few messages, and prints what to type into
Mutt and Thunderbird. A second start finds what the first one left.

Examples:
  postroad demo
  postroad demo --dir /tmp/try --ports-from 12000`
}

func (d demoCommand) Run(ctx context.Context, p *program) error {
	dir := d.Dir
	if dir == "" {
		state := os.Getenv("XDG_STATE_HOME")
		if state == "" {
			home, err := os.UserHomeDir()
			if err != nil {
				return err
			}
			state = filepath.Join(home, ".local", "state")
		}
		dir = filepath.Join(state, "postroad-demo")
	}
	demo := server.NewDemo(dir, d.Ports)
	failed := make(chan error, 1)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	c := demo.Config()
	log, err := server.NewLogger(&c.Log)
	if err != nil {
		return err
	}
	err = serve(ctx, c, log, func(s *server.Server) {
		// The doors are open already; what fails now ends them.
		err := demo.Fill(ctx, s)
		if err == nil {
			err = demo.Explain(p.out, s)
		}
		if err != nil {
			failed <- err
			stop()
		}
	})
	select {
	case cause := <-failed:
		return cause
	default:
		return err
	}
}
