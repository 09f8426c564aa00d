package main

import (
	"context"
	"fmt"
	"strings"

	"postroad/internal/admin"
)

type aclCommand struct {
	Show   aclShow   `cmd:"" help:"Show who may do what with a mailbox."`
	Set    aclSet    `cmd:"" help:"Give or take rights."`
	Delete aclDelete `cmd:"" help:"Remove an entry."`
}

// Help is the text below the usage.
func (aclCommand) Help() string {
	return `A mailbox is named OWNER/MAILBOX, a public one Shared/MAILBOX. Rights are the letters of
RFC 4314: l look up, r read, s keep one's own seen state, w write flags, i insert, p post by
mail, k create below, x delete the mailbox, t mark as deleted, e expunge, a administer.

Examples:
  postroad acl show alice@example.org/INBOX
  postroad acl set alice@example.org/Projects bob@example.org lrs
  postroad acl set alice@example.org/Projects '$team@example.org' +wite
  postroad acl set Shared/News anyone lrsp
  postroad acl delete alice@example.org/Projects bob@example.org`
}

// mailboxArg is a mailbox as the command line names it.
type mailboxArg string

// ref takes the name apart. An owner's address may have slashes before its "@".
func (m mailboxArg) ref(org string) (admin.MailboxRef, error) {
	text := string(m)
	if rest, public := strings.CutPrefix(text, "Shared/"); public {
		return admin.MailboxRef{Org: org, Mailbox: rest}, nil
	}
	from := strings.IndexByte(text, '@') + 1
	owner, mailbox, ok := strings.Cut(text[from:], "/")
	if !ok || mailbox == "" || from+len(owner) == 0 {
		return admin.MailboxRef{}, &exitError{exitUsage, fmt.Errorf("%q is not OWNER/MAILBOX", text)}
	}
	return admin.MailboxRef{Account: text[:from] + owner, Mailbox: mailbox}, nil
}

// printACL shows an access control list.
func (p *program) printACL(a *admin.ACL) error {
	return p.print(a, func() {
		rows := [][]string{{"IDENTIFIER", "RIGHTS"}}
		for _, g := range a.Grants {
			rows = append(rows, []string{g.Identifier, g.Rights})
		}
		p.table(rows)
	})
}

// changeACL runs a verb that gives back the list.
func (p *program) changeACL(ctx context.Context, verb string, m mailboxArg, org, identifier, rights string) error {
	ref, err := m.ref(org)
	if err != nil {
		return err
	}
	var out admin.ACL
	if err := p.call(ctx, verb, admin.ACLChange{MailboxRef: ref, Identifier: identifier, Rights: rights}, &out, nil); err != nil {
		return err
	}
	return p.printACL(&out)
}

type aclShow struct {
	Mailbox mailboxArg `arg:"" help:"OWNER/MAILBOX, or Shared/MAILBOX."`
	Org     string     `name:"organisation" placeholder:"NAME" help:"Whose public mailbox it is. Default: the default organisation."`
}

// Help is the text below the usage.
func (aclShow) Help() string { return "Example:\n  postroad acl show alice@example.org/INBOX" }

func (a aclShow) Run(ctx context.Context, p *program) error {
	ref, err := a.Mailbox.ref(a.Org)
	if err != nil {
		return err
	}
	var out admin.ACL
	if err := p.call(ctx, "acl.show", ref, &out, nil); err != nil {
		return err
	}
	return p.printACL(&out)
}

type aclSet struct {
	Mailbox    mailboxArg `arg:"" help:"OWNER/MAILBOX, or Shared/MAILBOX."`
	Identifier string     `arg:"" help:"Address of an account, $ADDRESS of a group, or anyone. Behind - the rights are taken away from whoever has them."`
	Rights     string     `arg:"" help:"Letters; behind + they are added, behind - taken away from the entry."`
	Org        string     `name:"organisation" placeholder:"NAME" help:"Whose public mailbox it is. Default: the default organisation."`
}

// Help is the text below the usage.
func (aclSet) Help() string {
	return `Before what begins with "-" write "--".

Examples:
  postroad acl set alice@example.org/Projects bob@example.org lrs
  postroad acl set alice@example.org/Projects bob@example.org -- -s
  postroad acl set Shared/News -- -carol@example.org p`
}

func (a aclSet) Run(ctx context.Context, p *program) error {
	return p.changeACL(ctx, "acl.set", a.Mailbox, a.Org, a.Identifier, a.Rights)
}

type aclDelete struct {
	Mailbox    mailboxArg `arg:"" help:"OWNER/MAILBOX, or Shared/MAILBOX."`
	Identifier string     `arg:"" help:"As it is shown."`
	Org        string     `name:"organisation" placeholder:"NAME" help:"Whose public mailbox it is. Default: the default organisation."`
}

// Help is the text below the usage.
func (aclDelete) Help() string {
	return "Example:\n  postroad acl delete alice@example.org/Projects bob@example.org"
}

func (a aclDelete) Run(ctx context.Context, p *program) error {
	return p.changeACL(ctx, "acl.delete", a.Mailbox, a.Org, a.Identifier, "")
}

type sharedCommand struct {
	List   sharedList   `cmd:"" default:"withargs" help:"List the public mailboxes."`
	Add    sharedAdd    `cmd:"" help:"Make a public mailbox."`
	Delete sharedDelete `cmd:"" help:"Delete a public mailbox with its messages."`
}

// Help is the text below the usage.
func (sharedCommand) Help() string {
	return `Public mailboxes belong to the organisation. Mail programs show them below "Shared/" to
whom they give rights: see postroad acl. Mail to ADDRESS+MAILBOX goes there from senders who
have the right to post (p).

Examples:
  postroad shared add News --address shared@example.org
  postroad shared add Offers --anyone lrsp
  postroad shared list
  postroad shared delete Offers --yes`
}

type sharedList struct {
	Org string `name:"organisation" placeholder:"NAME" help:"Whose. Default: the default organisation."`
}

// Help is the text below the usage.
func (sharedList) Help() string { return "Example:\n  postroad shared list" }

func (s sharedList) Run(ctx context.Context, p *program) error {
	var list []admin.ACL
	if err := p.call(ctx, "shared.list", admin.Within{Org: s.Org}, &list, nil); err != nil {
		return err
	}
	return p.print(list, func() {
		rows := [][]string{{"MAILBOX", "ACCOUNT", "RIGHTS"}}
		for _, a := range list {
			var grants []string
			for _, g := range a.Grants {
				grants = append(grants, g.Identifier+" "+g.Rights)
			}
			rows = append(rows, []string{"Shared/" + a.Mailbox, a.Account, strings.Join(grants, ", ")})
		}
		p.table(rows)
	})
}

type sharedAdd struct {
	Mailbox string `arg:"" help:"Its name, without Shared/."`
	Address string `placeholder:"ADDRESS" help:"Address of the account that has the public mailboxes; needed with the first one."`
	Anyone  string `default:"lrs" placeholder:"RIGHTS" help:"Rights of everybody in the organisation; \"\" for none. Default: ${default}"`
	Org     string `name:"organisation" placeholder:"NAME" help:"Whose. Default: the default organisation."`
}

// Help is the text below the usage.
func (sharedAdd) Help() string {
	return "Examples:\n  postroad shared add News --address shared@example.org\n  postroad shared add Offers --anyone lrsp"
}

func (s sharedAdd) Run(ctx context.Context, p *program) error {
	var out admin.ACL
	in := admin.NewShared{Org: s.Org, Mailbox: s.Mailbox, Address: s.Address, Anyone: s.Anyone}
	if err := p.call(ctx, "shared.add", in, &out, nil); err != nil {
		return err
	}
	return p.print(out, func() { p.say("Shared/%s is made, in the account %s.", out.Mailbox, out.Account) })
}

type sharedDelete struct {
	Mailbox string `arg:"" help:"Its name, without Shared/."`
	Org     string `name:"organisation" placeholder:"NAME" help:"Whose. Default: the default organisation."`
	Yes     bool   `help:"Do it: its messages go too."`
}

// Help is the text below the usage.
func (sharedDelete) Help() string { return "Example:\n  postroad shared delete Offers --yes" }

func (s sharedDelete) Run(ctx context.Context, p *program) error {
	if !s.Yes {
		return &exitError{exitUsage, fmt.Errorf("this deletes Shared/%s with all its messages; say --yes", s.Mailbox)}
	}
	if err := p.call(ctx, "shared.delete", admin.MailboxRef{Org: s.Org, Mailbox: s.Mailbox}, nil, nil); err != nil {
		return err
	}
	return p.print(admin.Nothing{}, func() { p.say("Shared/%s is deleted.", s.Mailbox) })
}

type accountGrant struct {
	Account string `arg:"" help:"Whose addresses."`
	To      string `arg:"" help:"Who may send with them: address of an account, $ADDRESS of a group."`
	Right   string `arg:"" enum:"send-as,on-behalf" help:"send-as: like addresses of their own; on-behalf: with themselves as Sender."`
}

// Help is the text below the usage.
func (accountGrant) Help() string {
	return "Examples:\n  postroad account grant boss@example.org alice@example.org on-behalf\n  postroad account grant office@example.org '$team@example.org' send-as"
}

func (a accountGrant) Run(ctx context.Context, p *program) error {
	return p.grants(ctx, "account.grant", admin.SendGrant{Account: a.Account, To: a.To, Right: a.Right})
}

type accountRevoke struct {
	Account string `arg:"" help:"Whose addresses."`
	To      string `arg:"" help:"Who may send with them no longer."`
}

// Help is the text below the usage.
func (accountRevoke) Help() string {
	return "Example:\n  postroad account revoke boss@example.org alice@example.org"
}

func (a accountRevoke) Run(ctx context.Context, p *program) error {
	return p.grants(ctx, "account.revoke", admin.SendGrant{Account: a.Account, To: a.To})
}

type accountGrants struct {
	Account string `arg:"" help:"Whose addresses."`
}

// Help is the text below the usage.
func (accountGrants) Help() string { return "Example:\n  postroad account grants boss@example.org" }

func (a accountGrants) Run(ctx context.Context, p *program) error {
	return p.grants(ctx, "account.grants", admin.AccountRef{Account: a.Account})
}

// grants runs a verb that gives back who may send with an account's addresses.
func (p *program) grants(ctx context.Context, verb string, in any) error {
	var list []admin.SendGrant
	if err := p.call(ctx, verb, in, &list, nil); err != nil {
		return err
	}
	return p.print(list, func() {
		rows := [][]string{{"WHO", "MAY"}}
		for _, g := range list {
			rows = append(rows, []string{g.To, g.Right})
		}
		p.table(rows)
	})
}
