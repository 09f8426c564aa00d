package admin

import (
	"context"
	"errors"
	"fmt"

	"postroad/internal/blob"
	"postroad/internal/directory"
	"postroad/internal/mailstore"
)

// CheckRequest is the argument of check.
type CheckRequest struct {
	Account string `json:"account,omitempty"` // only this one, with its bodies
}

// Checked is what check gives.
type Checked struct {
	Accounts int64    `json:"accounts"`
	Bodies   int64    `json:"bodies"`
	Octets   int64    `json:"octets"`
	Faults   int64    `json:"faults"`
	Lines    []string `json:"lines,omitempty"` // the first checkLinesMax faults
}

const checkLinesMax = 1000

func (c *Checked) fault(format string, args ...any) {
	c.Faults++
	if len(c.Lines) < checkLinesMax {
		c.Lines = append(c.Lines, fmt.Sprintf(format, args...))
	}
}

// check verifies every index against every message, and every body's checksum.
func (v *Verbs) check(ctx context.Context, in CheckRequest, progress func(Progress)) (*Checked, error) {
	c := new(Checked)
	if in.Account != "" {
		a, err := v.find(ctx, in.Account)
		if err != nil {
			return nil, err
		}
		return c, v.checkAccount(ctx, a, true, c)
	}
	total := int64(0)
	if err := v.each(ctx, "", func(directory.Account) error { total++; return nil }); err != nil {
		return nil, err
	}
	err := v.each(ctx, "", func(a directory.Account) error {
		progress(Progress{"accounts", c.Accounts, total})
		return v.checkAccount(ctx, a, false, c)
	})
	if err != nil {
		return nil, err
	}
	err = v.Collector.Check(ctx, func(f blob.Finding) { c.fault("body: %s", f) }, func(p blob.CheckProgress) {
		c.Bodies, c.Octets = p.Bodies, p.Octets
		progress(Progress{"bodies", int64(p.Spaces), int64(p.SpacesAll)})
	})
	return c, err
}

// checkAccount verifies one account; all errors of the check itself come back.
func (v *Verbs) checkAccount(ctx context.Context, a directory.Account, bodies bool, c *Checked) error {
	c.Accounts++
	mail, err := v.Mail.Account(ctx, a.ID)
	if errors.Is(err, mailstore.ErrNoAccount) {
		if !a.Disabled {
			c.fault("account %s (%s): it has no mailboxes", a.ID, a.Login)
		}
		return nil
	}
	if err != nil {
		return err
	}
	return mail.Check(ctx, bodies, func(f mailstore.Finding) {
		c.fault("account %s (%s): mailbox %s, UID %d, message %s: %s", a.ID, a.Login, f.Mailbox, f.UID, f.Message, f.Text)
	})
}
