package main

import (
	"context"
	"strconv"
	"strings"

	"postroad/internal/admin"
)

type accountCommand struct {
	List     accountList     `cmd:"" default:"withargs" help:"List accounts."`
	Show     accountShow     `cmd:"" help:"Show one account."`
	Add      accountAdd      `cmd:"" help:"Make an account with its mailboxes."`
	Change   accountChange   `cmd:"" help:"Change addresses, quota, or whether it is enabled."`
	Quota    accountQuota    `cmd:"" help:"Show or set the quota of an account."`
	Zone     accountZone     `cmd:"" help:"Say in which time zone its user lives."`
	Undo     accountUndo     `cmd:"" help:"Let mail wait, so that sending can be undone."`
	Password accountPassword `cmd:"" help:"Set the password."`
	App      accountApp      `cmd:"" name:"app-password" help:"Passwords for single programs."`
	Grant    accountGrant    `cmd:"" help:"Let somebody send with the addresses of an account."`
	Revoke   accountRevoke   `cmd:"" help:"Take that right away."`
	Grants   accountGrants   `cmd:"" help:"Show who has it."`
	Remove   accountRemove   `cmd:"" help:"Remove an account with all its mail."`
}

// Help is the text below the usage.
func (accountCommand) Help() string {
	return `Examples:
  postroad account add alice@example.org
  postroad account add bob@example.org --generate --quota 5GB
  printf 'secret words\n' | postroad account password alice@example.org --password-stdin
  postroad account app-password add alice@example.org phone`
}

type accountList struct {
	Org string `name:"organisation" placeholder:"NAME" help:"Only those of this organisation."`
}

// Help is the text below the usage.
func (accountList) Help() string { return "Example:\n  postroad account list" }

func (a accountList) Run(ctx context.Context, p *program) error {
	var list []admin.Account
	if err := p.call(ctx, "account.list", admin.Within{Org: a.Org}, &list, nil); err != nil {
		return err
	}
	return p.print(list, func() {
		rows := [][]string{{"LOGIN", "NAME", "ENABLED", "MESSAGES", "USED", "QUOTA"}}
		for _, a := range list {
			rows = append(rows, []string{a.Login, a.Name, yes(a.Enabled), strconv.FormatInt(a.UsedMessages, 10),
				octets(a.UsedBytes), limit(a.QuotaBytes, octets)})
		}
		p.table(rows)
	})
}

// printAccount shows one account.
func (p *program) printAccount(a *admin.Account) {
	count := func(n int64) string { return strconv.FormatInt(n, 10) }
	p.fields("login", a.Login, "id", a.ID, "name", a.Name, "organisation", a.Org, "enabled", yes(a.Enabled),
		"addresses", strings.Join(a.Addresses, ", "), "app passwords", strings.Join(a.Apps, ", "),
		"time zone", a.TimeZone, "undo", undoTime(a.UndoSeconds), "used", octets(a.UsedBytes)+" in "+count(a.UsedMessages)+" messages",
		"quota", limit(a.QuotaBytes, octets)+", "+limit(a.QuotaMessages, count)+" of messages", "created", when(a.Created))
}

type accountShow struct {
	Account string `arg:"" help:"Address or id."`
}

// Help is the text below the usage.
func (accountShow) Help() string { return "Example:\n  postroad account show alice@example.org" }

func (a accountShow) Run(ctx context.Context, p *program) error {
	var out admin.Account
	if err := p.call(ctx, "account.show", admin.AccountRef{Account: a.Account}, &out, nil); err != nil {
		return err
	}
	return p.print(out, func() { p.printAccount(&out) })
}

type accountAdd struct {
	Addresses     []string `arg:"" help:"Its addresses; the first is the login."`
	Name          string   `placeholder:"NAME" help:"Name of the person."`
	Quota         *string  `placeholder:"SIZE" help:"Octets of mail, such as 5GB."`
	QuotaMessages int64    `placeholder:"N" help:"Number of messages."`
	passwordFlags
}

// Help is the text below the usage.
func (accountAdd) Help() string {
	return passwordHelp + `

Examples:
  postroad account add alice@example.org --name "Alice Example"
  postroad account add bob@example.org robert@example.org --generate`
}

func (a accountAdd) Run(ctx context.Context, p *program) error {
	quota, err := parseSize(a.Quota)
	if err != nil {
		return err
	}
	in := admin.NewAccount{Addresses: a.Addresses, Name: a.Name, QuotaMessages: a.QuotaMessages, Generate: a.Generate}
	if quota != nil {
		in.QuotaBytes = *quota
	}
	if in.Password, in.Hash, err = a.read(p, a.Addresses[0]); err != nil {
		return err
	}
	var out admin.Password
	if err := p.call(ctx, "account.add", in, &out, nil); err != nil {
		return err
	}
	return p.print(out, func() {
		p.say("%s has an account.", out.Login)
		if out.Password != "" {
			p.say("Password: %s", out.Password)
		}
	})
}

type accountChange struct {
	Account       string   `arg:"" help:"Address or id."`
	Name          *string  `placeholder:"NAME" help:"Name of the person."`
	Quota         *string  `placeholder:"SIZE" help:"Octets of mail; 0 for the default."`
	QuotaMessages *int64   `placeholder:"N" help:"Number of messages; 0 for the default."`
	Enable        bool     `xor:"enable" help:"Let it log in and get mail."`
	Disable       bool     `xor:"enable" help:"Refuse log-ins and mail; nothing is deleted."`
	AddAddress    []string `placeholder:"ADDRESS" help:"One more address."`
	RemoveAddress []string `placeholder:"ADDRESS" help:"One address less."`
}

// Help is the text below the usage.
func (accountChange) Help() string {
	return `Examples:
  postroad account change bob@example.org --quota 10GB
  postroad account change bob@example.org --add-address robert@example.org
  postroad account change bob@example.org --disable`
}

func (a accountChange) Run(ctx context.Context, p *program) error {
	quota, err := parseSize(a.Quota)
	if err != nil {
		return err
	}
	in := admin.AccountChange{Account: a.Account, Name: a.Name, QuotaBytes: quota, QuotaMessages: a.QuotaMessages,
		AddAddresses: a.AddAddress, RemoveAddresses: a.RemoveAddress}
	if a.Enable || a.Disable {
		in.Enabled = &a.Enable
	}
	var out admin.Account
	if err := p.call(ctx, "account.change", in, &out, nil); err != nil {
		return err
	}
	return p.print(out, func() { p.printAccount(&out) })
}

type accountPassword struct {
	Account string `arg:"" help:"Address or id."`
	passwordFlags
}

// Help is the text below the usage.
func (accountPassword) Help() string {
	return passwordHelp + "\n\nExamples:\n  postroad account password alice@example.org\n  postroad account password alice@example.org --generate"
}

func (a accountPassword) Run(ctx context.Context, p *program) error {
	in := admin.PasswordChange{Account: a.Account, Generate: a.Generate}
	var err error
	if in.Password, in.Hash, err = a.read(p, a.Account); err != nil {
		return err
	}
	var out admin.Password
	if err := p.call(ctx, "account.password", in, &out, nil); err != nil {
		return err
	}
	return p.print(out, func() {
		p.say("The password of %s is set.", out.Login)
		if out.Password != "" {
			p.say("Password: %s", out.Password)
		}
	})
}

type accountRemove struct {
	Account string `arg:"" help:"Address or id."`
	Yes     bool   `help:"Do not ask."`
}

// Help is the text below the usage.
func (accountRemove) Help() string {
	return "All its mail goes. If it is interrupted, run it again.\n\nExample:\n  postroad account remove bob@example.org"
}

func (a accountRemove) Run(ctx context.Context, p *program) error {
	if !a.Yes {
		if err := p.confirm("Remove " + a.Account + " with all its mail?"); err != nil {
			return err
		}
	}
	if err := p.call(ctx, "account.remove", admin.AccountRef{Account: a.Account}, nil, nil); err != nil {
		return err
	}
	return p.print(admin.Nothing{}, func() { p.say("%s is removed.", a.Account) })
}

type accountApp struct {
	List   appList   `cmd:"" help:"List the app passwords of an account."`
	Add    appAdd    `cmd:"" help:"Make an app password; it is shown once."`
	Revoke appRevoke `cmd:"" help:"End an app password."`
}

// Help is the text below the usage.
func (accountApp) Help() string {
	return `An app password is made at random for one program. It can be revoked without the others
noticing, and is checked much faster than a password of people.

Examples:
  postroad account app-password add alice@example.org phone
  postroad account app-password revoke alice@example.org phone`
}

type appList struct {
	Account string `arg:"" help:"Address or id."`
}

// Help is the text below the usage.
func (appList) Help() string {
	return "Example:\n  postroad account app-password list alice@example.org"
}

func (a appList) Run(ctx context.Context, p *program) error {
	var list []admin.AppPassword
	if err := p.call(ctx, "app.list", admin.AccountRef{Account: a.Account}, &list, nil); err != nil {
		return err
	}
	return p.print(list, func() {
		rows := [][]string{{"NAME", "CREATED"}}
		for _, a := range list {
			rows = append(rows, []string{a.Name, when(a.Created)})
		}
		p.table(rows)
	})
}

type appAdd struct {
	Account string `arg:"" help:"Address or id."`
	Name    string `arg:"" help:"Name of the program or device."`
}

// Help is the text below the usage.
func (appAdd) Help() string {
	return "Example:\n  postroad account app-password add alice@example.org phone"
}

func (a appAdd) Run(ctx context.Context, p *program) error {
	var out admin.AppPassword
	if err := p.call(ctx, "app.add", admin.App{Account: a.Account, Name: a.Name}, &out, nil); err != nil {
		return err
	}
	return p.print(out, func() { p.say("Password: %s", out.Password) })
}

type appRevoke struct {
	Account string `arg:"" help:"Address or id."`
	Name    string `arg:"" help:"Name of the program or device."`
}

// Help is the text below the usage.
func (appRevoke) Help() string {
	return "Example:\n  postroad account app-password revoke alice@example.org phone"
}

func (a appRevoke) Run(ctx context.Context, p *program) error {
	if err := p.call(ctx, "app.revoke", admin.App{Account: a.Account, Name: a.Name}, nil, nil); err != nil {
		return err
	}
	return p.print(admin.Nothing{}, func() { p.say("%s can no longer log in to %s.", a.Name, a.Account) })
}
