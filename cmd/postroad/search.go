package main

import (
	"context"

	"postroad/internal/admin"
)

type searchCommand struct {
	Rebuild searchRebuildCommand `cmd:"" help:"Make the full-text index anew."`
}

// Help is the text below the usage.
func (searchCommand) Help() string { return "Example:\n  postroad search rebuild alice@example.org" }

type searchRebuildCommand struct {
	Account string `arg:"" optional:"" help:"Only this account, by address or id."`
}

// Help is the text below the usage.
func (searchRebuildCommand) Help() string {
	return `Takes the full-text index away and makes it from the mail. Needed only when ` + "`postroad check`" + `
finds it damaged. It may run while the server works: mail is found meanwhile, only slower.
Broken off, it goes on in the background of the server.

Examples:
  postroad search rebuild
  postroad search rebuild alice@example.org`
}

func (c searchRebuildCommand) Run(ctx context.Context, p *program) error {
	bar := p.newBar()
	var out admin.Rebuilt
	err := p.call(ctx, "search.rebuild", admin.SearchRequest{Account: c.Account}, &out, bar.progress)
	bar.finish()
	if err != nil {
		return err
	}
	return p.print(out, func() { p.say("%d accounts, %d messages", out.Accounts, out.Messages) })
}
