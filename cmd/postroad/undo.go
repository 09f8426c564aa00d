package main

import (
	"context"
	"strconv"

	"postroad/internal/admin"
)

type accountUndo struct {
	Account string `arg:"" help:"Address or id."`
	Seconds int    `arg:"" help:"How long mail waits, 300 at most; 0: it goes at once."`
}

// Help is the text below the usage.
func (accountUndo) Help() string {
	return `Mail that the account sends waits so long in its mailbox Scheduled. Who deletes it there, or
moves it to Drafts, with any mail program, takes it back.

Examples:
  postroad account undo alice@example.org 10
  postroad account undo alice@example.org 0`
}

func (a accountUndo) Run(ctx context.Context, p *program) error {
	var out admin.Account
	if err := p.call(ctx, "account.undo", admin.Undo{Account: a.Account, Seconds: a.Seconds}, &out, nil); err != nil {
		return err
	}
	return p.print(out, func() { p.printAccount(&out) })
}

// undoTime writes for how long sending can be undone, empty: not at all.
func undoTime(seconds int) string {
	if seconds == 0 {
		return ""
	}
	return strconv.Itoa(seconds) + " s"
}
