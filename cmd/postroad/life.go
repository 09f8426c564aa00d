package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"postroad/internal/admin"
)

type undeleteCommand struct {
	Account string        `arg:"" help:"Address or id."`
	Mailbox string        `placeholder:"NAME" help:"Only what was deleted of this mailbox. Default: everything."`
	Since   time.Duration `placeholder:"TIME" help:"Only what was deleted in the last so much time, such as 36h."`
	List    bool          `help:"Tell what could be brought back, and do nothing."`
}

// Help is the text below the usage.
func (undeleteCommand) Help() string {
	return `Brings back what was expunged, and deleted mailboxes, for as long as the configuration
says (keep.undelete). Messages come to the end of their mailbox, which is made again when
it is gone. Users find the same over IMAP below "Recently Deleted".

Examples:
  postroad undelete alice@example.org --list
  postroad undelete alice@example.org --mailbox INBOX --since 24h`
}

func (u undeleteCommand) Run(ctx context.Context, p *program) error {
	if u.List {
		return u.list(ctx, p)
	}
	in := admin.Undelete{Account: u.Account, Mailbox: u.Mailbox}
	if u.Since > 0 {
		in.Since = time.Now().Add(-u.Since)
	}
	var out []admin.Undeleted
	if err := p.call(ctx, "undelete", in, &out, nil); err != nil {
		return err
	}
	return p.print(out, func() {
		for _, m := range out {
			p.say("%d messages are back in %s.", m.Messages, m.Mailbox)
		}
		if len(out) == 0 {
			p.say("There is nothing to be brought back.")
		}
	})
}

func (u undeleteCommand) list(ctx context.Context, p *program) error {
	var list []admin.Deleted
	if err := p.call(ctx, "undelete.list", admin.AccountRef{Account: u.Account}, &list, nil); err != nil {
		return err
	}
	return p.print(list, func() {
		rows := [][]string{{"MAILBOX", "MESSAGES", "SIZE", "DELETED"}}
		for _, m := range list {
			at := ""
			if m.Whole {
				at = when(m.At)
			}
			rows = append(rows, []string{m.Mailbox, strconv.FormatInt(m.Messages, 10), octets(m.Bytes), at})
		}
		p.table(rows)
	})
}

type retentionCommand struct {
	List retentionList `cmd:"" default:"withargs" help:"List the rules of an account's mailboxes."`
	Set  retentionSet  `cmd:"" help:"Give a mailbox a rule of its own."`
}

// Help is the text below the usage.
func (retentionCommand) Help() string {
	return `A rule says how long messages stay in a mailbox, and how many: "30d", "1000 messages",
"4w, 1000 messages", or "none" to keep all whatever the configuration says for its special
use. What goes can be undeleted. Users set the annotation /shared/vendor/postroad/retention.

Examples:
  postroad retention list alice@example.org
  postroad retention set alice@example.org Trash 30d`
}

type retentionList struct {
	Account string `arg:"" help:"Address or id."`
}

// Help is the text below the usage.
func (retentionList) Help() string { return "Example:\n  postroad retention list alice@example.org" }

func (r retentionList) Run(ctx context.Context, p *program) error {
	var list []admin.Retention
	if err := p.call(ctx, "retention.list", admin.AccountRef{Account: r.Account}, &list, nil); err != nil {
		return err
	}
	return p.print(list, func() {
		rows := [][]string{{"MAILBOX", "RULE", "ITS OWN"}}
		for _, m := range list {
			rows = append(rows, []string{m.Mailbox, m.Rule, yes(m.Own)})
		}
		p.table(rows)
	})
}

type retentionSet struct {
	Account string `arg:"" help:"Address or id."`
	Mailbox string `arg:"" help:"Name of the mailbox."`
	Rule    string `arg:"" help:"The rule; \"\" takes the mailbox's own away."`
}

// Help is the text below the usage.
func (retentionSet) Help() string {
	return "Examples:\n  postroad retention set alice@example.org Trash 30d\n  postroad retention set alice@example.org Lists \"4w, 1000 messages\""
}

func (r retentionSet) Run(ctx context.Context, p *program) error {
	var out admin.Retention
	in := admin.Retention{Account: r.Account, Mailbox: r.Mailbox, Rule: r.Rule}
	if err := p.call(ctx, "retention.set", in, &out, nil); err != nil {
		return err
	}
	return p.print(out, func() { p.say("The rule of %s is: %s.", out.Mailbox, out.Rule) })
}

type orgCommand struct {
	List  orgList  `cmd:"" default:"withargs" help:"List organisations."`
	Add   orgAdd   `cmd:"" help:"Make an organisation."`
	Quota orgQuota `cmd:"" help:"Show or set the quota of an organisation."`
}

// Help is the text below the usage.
func (orgCommand) Help() string {
	return `Examples:
  postroad org list
  postroad org quota default --bytes 500GB`
}

type orgList struct{}

// Help is the text below the usage.
func (orgList) Help() string { return "Example:\n  postroad org list" }

func (orgList) Run(ctx context.Context, p *program) error {
	var list []admin.Organisation
	if err := p.call(ctx, "organisation.list", admin.Nothing{}, &list, nil); err != nil {
		return err
	}
	return p.print(list, func() {
		rows := [][]string{{"ORGANISATION"}}
		for _, o := range list {
			rows = append(rows, []string{o.Name})
		}
		p.table(rows)
	})
}

type orgAdd struct {
	Name string `arg:"" help:"Small letters, digits, hyphens."`
}

// Help is the text below the usage.
func (orgAdd) Help() string { return "Example:\n  postroad org add example" }

func (o orgAdd) Run(ctx context.Context, p *program) error {
	var out admin.Organisation
	if err := p.call(ctx, "organisation.add", admin.Organisation{Name: o.Name}, &out, nil); err != nil {
		return err
	}
	return p.print(out, func() { p.say("%s is there.", out.Name) })
}

type orgQuota struct {
	Name     string  `arg:"" help:"The organisation."`
	Bytes    *string `placeholder:"SIZE" help:"Octets of mail of all its accounts, such as 500GB; 0 for no limit."`
	Messages *int64  `placeholder:"N" help:"Number of messages of all its accounts; 0 for no limit."`
}

// Help is the text below the usage.
func (orgQuota) Help() string {
	return `Mail for an organisation that is full is refused as for a full mailbox, whatever the quotas of
its accounts. What is over a quota stays.

Examples:
  postroad org quota default
  postroad org quota default --bytes 500GB`
}

func (o orgQuota) Run(ctx context.Context, p *program) error {
	size, err := parseSize(o.Bytes)
	if err != nil {
		return err
	}
	var out admin.OrgQuota
	in := admin.OrgQuota{Org: o.Name, QuotaBytes: size, QuotaMessages: o.Messages}
	if err := p.call(ctx, "organisation.quota", in, &out, nil); err != nil {
		return err
	}
	return p.print(out, func() {
		count := func(n int64) string { return strconv.FormatInt(n, 10) }
		p.fields("organisation", out.Org, "accounts", strconv.Itoa(out.Accounts),
			"used", octets(out.UsedBytes)+" in "+count(out.UsedMessages)+" messages",
			"leased", octets(out.LeasedBytes)+", "+count(out.LeasedMessages)+" of messages",
			"quota", limit(*out.QuotaBytes, octets)+", "+limit(*out.QuotaMessages, count)+" of messages")
	})
}

type accountQuota struct {
	Account  string  `arg:"" help:"Address or id."`
	Bytes    *string `placeholder:"SIZE" help:"Octets of mail, such as 5GB; 0 for the default."`
	Messages *int64  `placeholder:"N" help:"Number of messages; 0 for the default."`
}

// Help is the text below the usage.
func (accountQuota) Help() string {
	return "Examples:\n  postroad account quota alice@example.org\n  postroad account quota alice@example.org --bytes 5GB"
}

func (a accountQuota) Run(ctx context.Context, p *program) error {
	size, err := parseSize(a.Bytes)
	if err != nil {
		return err
	}
	var out admin.Account
	if size == nil && a.Messages == nil {
		err = p.call(ctx, "account.show", admin.AccountRef{Account: a.Account}, &out, nil)
	} else {
		err = p.call(ctx, "account.change", admin.AccountChange{Account: a.Account, QuotaBytes: size, QuotaMessages: a.Messages}, &out, nil)
	}
	if err != nil {
		return err
	}
	return p.print(out, func() {
		p.fields("login", out.Login, "octets", usage(out.UsedBytes, out.QuotaBytes, octets),
			"messages", usage(out.UsedMessages, out.QuotaMessages, func(n int64) string { return strconv.FormatInt(n, 10) }))
	})
}

// usage writes what is used of a limit.
func usage(used, of int64, write func(int64) string) string {
	if of == 0 {
		return write(used) + " of no limit"
	}
	return fmt.Sprintf("%s of %s, %d%%", write(used), write(of), int64(float64(used)/float64(of)*100))
}
