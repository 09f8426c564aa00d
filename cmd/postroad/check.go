package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"postroad/internal/admin"
	"postroad/internal/server"
)

type checkCommand struct {
	Account string `arg:"" optional:"" help:"Only this account, by address or id."`
}

// Help is the text below the usage.
func (checkCommand) Help() string {
	return `Reads everything that is stored. It changes nothing and may run while the server works. It
ends with 65 (EX_DATAERR) when something is wrong.

Examples:
  postroad check
  postroad check alice@example.org --json`
}

func (c checkCommand) Run(ctx context.Context, p *program) error {
	bar := p.newBar()
	var out admin.Checked
	err := p.call(ctx, "check", admin.CheckRequest{Account: c.Account}, &out, bar.progress)
	bar.finish()
	if err != nil {
		return err
	}
	err = p.print(out, func() {
		for _, l := range out.Lines {
			p.say("%s", l)
		}
		p.say("%d accounts, %d bodies (%s): %d faults", out.Accounts, out.Bodies, octets(out.Octets), out.Faults)
	})
	if err == nil && out.Faults > 0 {
		err = &exitError{exitData, fmt.Errorf("%d faults", out.Faults)}
	}
	return err
}

// bar shows progress on a terminal, and nothing elsewhere.
type bar struct {
	out  io.Writer
	step string
	bar  *progressbar.ProgressBar
}

func (p *program) newBar() *bar {
	if f, ok := p.errOut.(*os.File); ok && term.IsTerminal(int(f.Fd())) && !p.cli.JSON {
		return &bar{out: f}
	}
	return &bar{}
}

func (b *bar) progress(to admin.Progress) {
	if b.out == nil {
		return
	}
	if to.Step != b.step {
		b.finish()
		total := to.Total
		if total == 0 {
			total = -1
		}
		b.step = to.Step
		b.bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(b.out), progressbar.OptionSetDescription(to.Step), progressbar.OptionClearOnFinish())
	}
	_ = b.bar.Set64(to.Done) // only paint
}

func (b *bar) finish() {
	if b.bar != nil {
		_ = b.bar.Finish() // only paint
	}
}

type traceCommand struct {
	Message string `arg:"" help:"Queue id, or Message-ID with or without angle brackets."`
}

// Help is the text below the usage.
func (traceCommand) Help() string {
	return "Examples:\n  postroad trace 0a1b2c3d4e5f6\n  postroad trace '<20260102.1@example.org>'"
}

func (t traceCommand) Run(ctx context.Context, p *program) error {
	var events []admin.TraceEvent
	if err := p.call(ctx, "trace", admin.TraceRef{Message: t.Message}, &events, nil); err != nil {
		return err
	}
	return p.print(events, func() {
		for _, e := range events {
			var fields []string
			for _, k := range slices.Sorted(maps.Keys(e.Fields)) {
				fields = append(fields, k+"="+strconv.Quote(e.Fields[k]))
			}
			p.say("%s  %s  %-10s %s", when(e.At), e.Mail, e.What, strings.Join(fields, " "))
		}
	})
}

type statusCommand struct{}

// Help is the text below the usage.
func (statusCommand) Help() string { return "Example:\n  postroad status --json" }

func (statusCommand) Run(ctx context.Context, p *program) error {
	var s admin.Status
	if err := p.call(ctx, "status", admin.Nothing{}, &s, nil); err != nil {
		return err
	}
	return p.print(s, func() {
		started := when(s.Started)
		if started == "" {
			started = "not serving"
		}
		p.fields("version", s.Version, "hostname", s.Hostname, "started", started, "confinement", s.Sandbox,
			"queue", fmt.Sprintf("%d items, %d active", s.Queue.Items, s.Queue.Active),
			"since the start", fmt.Sprintf("%d submitted, %d delivered, %d deferred, %d failed", s.Queue.Submitted, s.Queue.Delivered, s.Queue.Deferred, s.Queue.Failed),
			"free", octets(s.Store.FreeBytes))
		for _, door := range slices.Sorted(maps.Keys(s.Listeners)) {
			p.fields("  "+door, strings.Join(s.Listeners[door], ", "))
		}
	})
}

type versionCommand struct{}

// Help is the text below the usage.
func (versionCommand) Help() string { return "Example:\n  postroad version" }

func (versionCommand) Run(p *program) error {
	return p.print(map[string]string{"version": server.Version()}, func() { p.say("postroad %s", server.Version()) })
}

type completionCommand struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help is the text below the usage.
func (completionCommand) Help() string {
	return `Examples:
  postroad completion bash > /etc/bash_completion.d/postroad
  postroad completion zsh > "${fpath[1]}/_postroad"
  postroad completion fish > ~/.config/fish/completions/postroad.fish`
}

func (c completionCommand) Run(p *program) error {
	write, ok := completions[c.Shell]
	if !ok {
		return errors.New("no such shell")
	}
	return write(p.out, p.kong.Model.Node)
}
