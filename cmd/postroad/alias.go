package main

import (
	"context"
	"strings"

	"postroad/internal/admin"
)

// Kinds, as package admin has them.
const (
	kindAlias = "alias"
	kindGroup = "group"
)

type aliasCommand struct {
	List   aliasList   `cmd:"" default:"withargs" help:"List aliases."`
	Add    aliasAdd    `cmd:"" help:"Make an alias."`
	Change aliasChange `cmd:"" help:"Add or remove targets."`
	Remove aliasRemove `cmd:"" help:"Remove an alias."`
}

// Help is the text below the usage.
func (aliasCommand) Help() string {
	return `Mail to an alias goes to its targets; failures go to the sender.

Examples:
  postroad alias add info@example.org alice@example.org bob@example.net
  postroad alias change info@example.org --add carol@example.org --remove bob@example.net
  postroad alias list`
}

type groupCommand struct {
	List   groupList   `cmd:"" default:"withargs" help:"List groups."`
	Add    groupAdd    `cmd:"" help:"Make a group."`
	Change groupChange `cmd:"" help:"Change members, name or owner."`
	Remove groupRemove `cmd:"" help:"Remove a group."`
}

// Help is the text below the usage.
func (groupCommand) Help() string {
	return `Mail to a group goes to its members, who may be anywhere; failures go to its owner.

Examples:
  postroad group add team@example.org alice@example.org x@elsewhere.org --owner alice@example.org
  postroad group change team@example.org --add bob@example.org
  postroad group list`
}

// listAliases lists one kind.
func (p *program) listAliases(ctx context.Context, kind, org string) error {
	var list []admin.Alias
	if err := p.call(ctx, "alias.list", admin.AliasList{Kind: kind, Org: org}, &list, nil); err != nil {
		return err
	}
	return p.print(list, func() {
		rows := [][]string{{"ADDRESS", "NAME", "OWNER", "MEMBERS"}}
		for _, a := range list {
			rows = append(rows, []string{a.Address, a.Name, a.Owner, strings.Join(a.Members, ", ")})
		}
		p.table(rows)
	})
}

// putAlias adds or changes one and prints it.
func (p *program) putAlias(ctx context.Context, verb string, in any) error {
	var out admin.Alias
	if err := p.call(ctx, verb, in, &out, nil); err != nil {
		return err
	}
	return p.print(out, func() { p.say("%s: %s", out.Address, strings.Join(out.Members, ", ")) })
}

func (p *program) removeAlias(ctx context.Context, kind, address string) error {
	if err := p.call(ctx, "alias.remove", admin.AliasRef{Kind: kind, Address: address}, nil, nil); err != nil {
		return err
	}
	return p.print(admin.Nothing{}, func() { p.say("%s is removed.", address) })
}

type aliasList struct {
	Org string `name:"organisation" placeholder:"NAME" help:"Only those of this organisation."`
}

// Help is the text below the usage.
func (aliasList) Help() string { return "Example:\n  postroad alias list" }

func (a aliasList) Run(ctx context.Context, p *program) error {
	return p.listAliases(ctx, kindAlias, a.Org)
}

type groupList struct {
	Org string `name:"organisation" placeholder:"NAME" help:"Only those of this organisation."`
}

// Help is the text below the usage.
func (groupList) Help() string { return "Example:\n  postroad group list" }

func (g groupList) Run(ctx context.Context, p *program) error {
	return p.listAliases(ctx, kindGroup, g.Org)
}

type aliasAdd struct {
	Address string   `arg:"" help:"Address of the alias."`
	Targets []string `arg:"" help:"Where its mail goes."`
}

// Help is the text below the usage.
func (aliasAdd) Help() string {
	return "Example:\n  postroad alias add info@example.org alice@example.org"
}

func (a aliasAdd) Run(ctx context.Context, p *program) error {
	return p.putAlias(ctx, "alias.add", admin.Alias{Kind: kindAlias, Address: a.Address, Members: a.Targets})
}

type groupAdd struct {
	Address string   `arg:"" help:"Address of the group."`
	Members []string `arg:"" optional:"" help:"Its members, of ours or from elsewhere."`
	Name    string   `placeholder:"NAME" help:"Name of the group."`
	Owner   string   `placeholder:"ADDRESS" help:"Gets failures of deliveries; may send as the group."`
}

// Help is the text below the usage.
func (groupAdd) Help() string {
	return "Example:\n  postroad group add team@example.org alice@example.org --owner alice@example.org"
}

func (g groupAdd) Run(ctx context.Context, p *program) error {
	return p.putAlias(ctx, "alias.add", admin.Alias{Kind: kindGroup, Address: g.Address, Members: g.Members, Name: g.Name, Owner: g.Owner})
}

type aliasChange struct {
	Address string   `arg:"" help:"Address of the alias."`
	Add     []string `placeholder:"ADDRESS" help:"One more target."`
	Remove  []string `placeholder:"ADDRESS" help:"One target less."`
}

// Help is the text below the usage.
func (aliasChange) Help() string {
	return "Example:\n  postroad alias change info@example.org --add bob@example.org"
}

func (a aliasChange) Run(ctx context.Context, p *program) error {
	return p.putAlias(ctx, "alias.change", admin.AliasChange{Kind: kindAlias, Address: a.Address, Add: a.Add, Remove: a.Remove})
}

type groupChange struct {
	Address string   `arg:"" help:"Address of the group."`
	Add     []string `placeholder:"ADDRESS" help:"One more member."`
	Remove  []string `placeholder:"ADDRESS" help:"One member less."`
	Name    *string  `placeholder:"NAME" help:"Name of the group."`
	Owner   *string  `placeholder:"ADDRESS" help:"Gets failures of deliveries; \"\" for none."`
}

// Help is the text below the usage.
func (groupChange) Help() string {
	return "Example:\n  postroad group change team@example.org --add bob@example.org --owner \"\""
}

func (g groupChange) Run(ctx context.Context, p *program) error {
	return p.putAlias(ctx, "alias.change", admin.AliasChange{Kind: kindGroup, Address: g.Address, Add: g.Add, Remove: g.Remove, Name: g.Name, Owner: g.Owner})
}

type aliasRemove struct {
	Address string `arg:"" help:"Address of the alias."`
}

// Help is the text below the usage.
func (aliasRemove) Help() string { return "Example:\n  postroad alias remove info@example.org" }

func (a aliasRemove) Run(ctx context.Context, p *program) error {
	return p.removeAlias(ctx, kindAlias, a.Address)
}

type groupRemove struct {
	Address string `arg:"" help:"Address of the group."`
}

// Help is the text below the usage.
func (groupRemove) Help() string { return "Example:\n  postroad group remove team@example.org" }

func (g groupRemove) Run(ctx context.Context, p *program) error {
	return p.removeAlias(ctx, kindGroup, g.Address)
}
