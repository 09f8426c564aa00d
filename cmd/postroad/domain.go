package main

import (
	"context"

	"postroad/internal/admin"
)

type domainCommand struct {
	List   domainList   `cmd:"" default:"withargs" help:"List domains."`
	Add    domainAdd    `cmd:"" help:"Make a domain ours."`
	Change domainChange `cmd:"" help:"Change catch-all or separator of a domain."`
	Remove domainRemove `cmd:"" help:"Give a domain up; it must have no addresses any more."`
}

// Help is the text below the usage.
func (domainCommand) Help() string {
	return `Examples:
  postroad domain add example.org
  postroad domain add example.net --alias-of example.org
  postroad domain change example.org --catch-all office@example.org
  postroad domain list`
}

type domainList struct {
	Org string `name:"organisation" placeholder:"NAME" help:"Only those of this organisation."`
}

// Help is the text below the usage.
func (domainList) Help() string { return "Example:\n  postroad domain list --json" }

func (d domainList) Run(ctx context.Context, p *program) error {
	var list []admin.Domain
	if err := p.call(ctx, "domain.list", admin.Within{Org: d.Org}, &list, nil); err != nil {
		return err
	}
	return p.print(list, func() {
		rows := [][]string{{"DOMAIN", "ALIAS OF", "CATCH-ALL", "SEPARATOR", "ORGANISATION"}}
		for _, d := range list {
			rows = append(rows, []string{d.Name, d.AliasOf, value(d.CatchAll), value(d.Separator), d.Org})
		}
		p.table(rows)
	})
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

type domainAdd struct {
	Name      string  `arg:"" help:"The domain."`
	Org       string  `name:"organisation" placeholder:"NAME" help:"Whose it is. Default: the default organisation."`
	AliasOf   string  `placeholder:"DOMAIN" help:"All addresses of that domain hold here too."`
	CatchAll  *string `placeholder:"ADDRESS" help:"Gets what nobody else does."`
	Separator *string `placeholder:"TEXT" help:"Between user and detail of a sub-address. Default: +"`
}

// Help is the text below the usage.
func (domainAdd) Help() string {
	return "Examples:\n  postroad domain add example.org\n  postroad domain add example.net --alias-of example.org"
}

func (d domainAdd) Run(ctx context.Context, p *program) error {
	in := admin.Domain{Name: d.Name, Org: d.Org, AliasOf: d.AliasOf, CatchAll: d.CatchAll, Separator: d.Separator}
	var out admin.Domain
	if err := p.call(ctx, "domain.add", in, &out, nil); err != nil {
		return err
	}
	return p.print(out, func() { p.say("%s is ours.", out.Name) })
}

type domainChange struct {
	Name      string  `arg:"" help:"The domain."`
	CatchAll  *string `placeholder:"ADDRESS" help:"Gets what nobody else does; \"\" for none."`
	Separator *string `placeholder:"TEXT" help:"Between user and detail of a sub-address; \"\" for none."`
}

// Help is the text below the usage.
func (domainChange) Help() string {
	return "Example:\n  postroad domain change example.org --catch-all \"\""
}

func (d domainChange) Run(ctx context.Context, p *program) error {
	var out admin.Domain
	if err := p.call(ctx, "domain.change", admin.Domain{Name: d.Name, CatchAll: d.CatchAll, Separator: d.Separator}, &out, nil); err != nil {
		return err
	}
	return p.print(out, func() { p.say("%s is changed.", out.Name) })
}

type domainRemove struct {
	Name string `arg:"" help:"The domain."`
}

// Help is the text below the usage.
func (domainRemove) Help() string { return "Example:\n  postroad domain remove example.net" }

func (d domainRemove) Run(ctx context.Context, p *program) error {
	if err := p.call(ctx, "domain.remove", admin.Named{Name: d.Name}, nil, nil); err != nil {
		return err
	}
	return p.print(admin.Nothing{}, func() { p.say("%s is given up.", d.Name) })
}
