package main

import (
	"context"

	"postroad/internal/admin"
)

type accountZone struct {
	Account string `arg:"" help:"Address or id."`
	Zone    string `arg:"" help:"Name in the IANA database, such as Europe/Berlin; \"\" for the server's."`
}

// Help is the text below the usage.
func (accountZone) Help() string {
	return `Messages that are moved into Snoozed without a date come back in the morning of this zone.

Examples:
  postroad account zone alice@example.org Europe/Berlin
  postroad account zone alice@example.org ""`
}

func (a accountZone) Run(ctx context.Context, p *program) error {
	var out admin.Account
	if err := p.call(ctx, "account.change", admin.AccountChange{Account: a.Account, TimeZone: &a.Zone}, &out, nil); err != nil {
		return err
	}
	return p.print(out, func() { p.printAccount(&out) })
}
