package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"postroad/internal/admin"
	"postroad/internal/scripts"
	"postroad/internal/server"
	"postroad/sieve"
)

type sieveCommand struct {
	Check      sieveCheck      `cmd:"" help:"Tell what is wrong with scripts in files."`
	Test       sieveTest       `cmd:"" help:"Explain what scripts do with a message, or would have done with the last days' mail."`
	List       sieveList       `cmd:"" help:"List scripts."`
	Show       sieveShow       `cmd:"" help:"Print a script."`
	Put        sievePut        `cmd:"" help:"Store a script."`
	Activate   sieveActivate   `cmd:"" help:"Let a script run."`
	Deactivate sieveDeactivate `cmd:"" help:"Let a script run no more."`
	Event      sieveEvent      `cmd:"" help:"Let a script run when mail programs change mailboxes."`
	Remove     sieveRemove     `cmd:"" help:"Remove a script that is not active."`
}

// Help is the text below the usage.
func (sieveCommand) Help() string {
	return `Sieve scripts file, forward and answer mail as it comes. For each message everybody's scripts
run first that are placed before, then the organisation's, the account's own active one, and
the organisation's and everybody's that are placed after. A script that does not keep the
message is the last.

Examples:
  postroad sieve check rules.sieve
  postroad sieve test message.eml --script rules.sieve
  postroad sieve put main rules.sieve --account alice@example.org --activate
  postroad sieve test --account alice@example.org --replay 7d`
}

// sieveOwner says whose scripts are meant.
type sieveOwner struct {
	Account      string `xor:"owner" required:"" placeholder:"ADDRESS" help:"Those of an account, by address or id."`
	Organisation string `xor:"owner" required:"" placeholder:"NAME" help:"Those of an organisation."`
	Everybody    bool   `xor:"owner" required:"" help:"Those of all accounts."`
}

func (o *sieveOwner) owner() admin.SieveOwner {
	return admin.SieveOwner{Account: o.Account, Org: o.Organisation, Everybody: o.Everybody}
}

func (o *sieveOwner) ref(name string) admin.SieveRef {
	return admin.SieveRef{SieveOwner: o.owner(), Name: name}
}

// sievePosition says when the script of an organisation or of everybody runs.
type sievePosition struct {
	Before *int `xor:"position" placeholder:"ORDER" help:"Run it before the accounts' own, the lowest order first."`
	After  *int `xor:"position" placeholder:"ORDER" help:"Run it after the accounts' own, the lowest order first."`
}

// place fills in the position; false when none is given.
func (s *sievePosition) place(in *admin.SieveActivate) bool {
	switch {
	case s.Before != nil:
		in.Runs, in.Order = "before", *s.Before
	case s.After != nil:
		in.Runs, in.Order = "after", *s.After
	}
	return in.Runs != ""
}

// content reads a file, or standard input for "-", of at most so many octets.
func (p *program) content(name string, most int64) ([]byte, error) {
	in := p.in
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, most+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(data)) > most {
		return nil, &exitError{exitData, fmt.Errorf("%s has more than %d octets", name, most)}
	}
	return data, nil
}

// sieveFault is a fault of a script in a file.
type sieveFault struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
	Text   string `json:"text"`
}

func (f sieveFault) String() string {
	return fmt.Sprintf("%s:%d:%d: %s", f.File, f.Line, f.Column, f.Text)
}

// script reads a script and finds its faults.
func (p *program) script(name string) ([]byte, []sieveFault, error) {
	source, err := p.content(name, scripts.ScriptMax)
	if err != nil {
		return nil, nil, err
	}
	faults := []sieveFault{}
	_, wrong := sieve.Compile(source, server.SieveOptions())
	for _, e := range wrong {
		faults = append(faults, sieveFault{name, e.Line, e.Column, e.Text})
	}
	return source, faults, nil
}

// validScript reads a script that must be without faults, which are told else.
func (p *program) validScript(name string) ([]byte, error) {
	source, faults, err := p.script(name)
	if err == nil && len(faults) > 0 {
		lines := make([]string, len(faults))
		for i, f := range faults {
			lines[i] = f.String()
		}
		err = &exitError{exitData, errors.New("the script does not compile\n" + strings.Join(lines, "\n"))}
	}
	return source, err
}

type sieveCheck struct {
	Files []string `arg:"" name:"file" help:"Scripts; - is standard input."`
}

// Help is the text below the usage.
func (sieveCheck) Help() string {
	return `Needs no server. Each fault is one line, FILE:LINE:COLUMN: TEXT. It ends with 65
(EX_DATAERR) when there is one.

Example:
  postroad sieve check ~/rules/*.sieve`
}

func (c sieveCheck) Run(p *program) error {
	all := []sieveFault{}
	for _, name := range c.Files {
		_, faults, err := p.script(name)
		if err != nil {
			return err
		}
		all = append(all, faults...)
	}
	err := p.print(all, func() {
		for _, f := range all {
			p.say("%s", f)
		}
	})
	if err == nil && len(all) > 0 {
		err = &exitError{exitData, fmt.Errorf("%d faults", len(all))}
	}
	return err
}

type sieveList struct{ sieveOwner }

// Help is the text below the usage.
func (sieveList) Help() string {
	return "Examples:\n  postroad sieve list --account alice@example.org\n  postroad sieve list --everybody"
}

func (s sieveList) Run(ctx context.Context, p *program) error {
	var list []admin.SieveScript
	if err := p.call(ctx, "sieve.list", s.owner(), &list, nil); err != nil {
		return err
	}
	return p.print(list, func() {
		rows := [][]string{{"NAME", "RUNS", "OCTETS", "CHANGED"}}
		for _, one := range list {
			runs := yes(one.Active)
			if one.Runs != "" {
				runs = one.Runs + " " + strconv.Itoa(one.Order)
			}
			rows = append(rows, []string{one.Name, runs, strconv.FormatInt(one.SizeBytes, 10), when(one.Changed)})
		}
		p.table(rows)
	})
}

type sieveShow struct {
	Name string `arg:"" optional:"" help:"Its name. Default: an account's active one."`
	sieveOwner
}

// Help is the text below the usage.
func (sieveShow) Help() string {
	return "Examples:\n  postroad sieve show --account alice@example.org\n  postroad sieve show main --account alice@example.org > main.sieve"
}

func (s sieveShow) Run(ctx context.Context, p *program) error {
	var out admin.SieveScript
	if err := p.call(ctx, "sieve.show", s.ref(s.Name), &out, nil); err != nil {
		return err
	}
	if p.cli.JSON {
		return p.print(out, nil)
	}
	_, err := p.out.Write(out.Content)
	return err
}

type sievePut struct {
	Name string `arg:"" help:"Its name; one of that name is replaced and runs as before."`
	File string `arg:"" help:"The script; - is standard input."`
	sieveOwner
	Activate bool `xor:"position" help:"Make it the account's active one."`
	sievePosition
}

// Help is the text below the usage.
func (sievePut) Help() string {
	return `A script of an organisation or of everybody runs for its accounts when it is placed before or
after theirs, and else where it is included.

Examples:
  postroad sieve put main rules.sieve --account alice@example.org --activate
  postroad sieve put spam spam.sieve --everybody --before 10`
}

func (s sievePut) Run(ctx context.Context, p *program) error {
	if s.Activate && s.Account == "" {
		return &exitError{exitUsage, errors.New("--activate is for an account; say --before or --after")}
	}
	in := admin.SieveActivate{SieveRef: s.ref(s.Name)}
	placed := s.place(&in)
	if placed && s.Account != "" {
		return &exitError{exitUsage, errors.New("--before and --after are not for an account; say --activate")}
	}
	source, err := p.validScript(s.File)
	if err != nil {
		return err
	}
	var out admin.SieveScript
	if err := p.call(ctx, "sieve.put", admin.SievePut{SieveRef: s.ref(s.Name), Content: source}, &out, nil); err != nil {
		return err
	}
	if placed || s.Activate {
		if err := p.call(ctx, "sieve.activate", in, nil, nil); err != nil {
			return err
		}
		out.Active, out.Runs, out.Order = true, in.Runs, in.Order
	}
	out.Content = nil // which the caller has
	return p.print(out, func() { p.say("%s is stored. It runs: %s.", out.Name, yes(out.Active)) })
}

type sieveActivate struct {
	Name string `arg:"" help:"Its name."`
	sieveOwner
	sievePosition
}

// Help is the text below the usage.
func (sieveActivate) Help() string {
	return "Examples:\n  postroad sieve activate main --account alice@example.org\n  postroad sieve activate spam --everybody --before 10"
}

func (s sieveActivate) Run(ctx context.Context, p *program) error {
	in := admin.SieveActivate{SieveRef: s.ref(s.Name)}
	if s.place(&in) != (s.Account == "") {
		return &exitError{exitUsage, errors.New("an account's script has no order, those of others need --before or --after")}
	}
	if err := p.call(ctx, "sieve.activate", in, nil, nil); err != nil {
		return err
	}
	return p.print(admin.Nothing{}, func() { p.say("%s runs.", s.Name) })
}

type sieveDeactivate struct {
	Name string `arg:"" optional:"" help:"Its name; an account has only one that is active."`
	sieveOwner
}

// Help is the text below the usage.
func (sieveDeactivate) Help() string {
	return "Examples:\n  postroad sieve deactivate --account alice@example.org\n  postroad sieve deactivate spam --everybody"
}

func (s sieveDeactivate) Run(ctx context.Context, p *program) error {
	if (s.Name == "") != (s.Account != "") {
		return &exitError{exitUsage, errors.New("name the script of an organisation or of everybody, and only that")}
	}
	if err := p.call(ctx, "sieve.activate", admin.SieveActivate{SieveRef: s.ref(s.Name)}, nil, nil); err != nil {
		return err
	}
	return p.print(admin.Nothing{}, func() { p.say("It runs no more.") })
}

type sieveEvent struct {
	Name    string `arg:"" optional:"" help:"One of the account's scripts. Default: none runs."`
	Account string `required:"" placeholder:"ADDRESS" help:"Address or id."`
	Mailbox string `placeholder:"NAME" help:"Only this one. Default: all that name no script themselves."`
	Unset   bool   `help:"Take the setting away, so that the mailbox is like all others."`
}

// Help is the text below the usage.
func (sieveEvent) Help() string {
	return `The script runs on messages that mail programs put into the mailbox and on changes of flags; it
requires "imapsieve" (RFC 6785). It need not be the active one. Users set it for a mailbox
themselves, by the annotation /shared/imapsieve/script.

Examples:
  postroad sieve event learn --account alice@example.org --mailbox Junk
  postroad sieve event --account alice@example.org --mailbox Junk --unset`
}

func (s sieveEvent) Run(ctx context.Context, p *program) error {
	if s.Unset && s.Name != "" {
		return &exitError{exitUsage, errors.New("a script, and --unset")}
	}
	in := admin.SieveEvent{Account: s.Account, Mailbox: s.Mailbox, Script: s.Name, Remove: s.Unset}
	if err := p.call(ctx, "sieve.event", in, nil, nil); err != nil {
		return err
	}
	return p.print(admin.Nothing{}, func() { p.say("It is set.") })
}

type sieveRemove struct {
	Name string `arg:"" help:"Its name."`
	sieveOwner
}

// Help is the text below the usage.
func (sieveRemove) Help() string {
	return "Example:\n  postroad sieve remove old --account alice@example.org"
}

func (s sieveRemove) Run(ctx context.Context, p *program) error {
	if err := p.call(ctx, "sieve.remove", s.ref(s.Name), nil, nil); err != nil {
		return err
	}
	return p.print(admin.Nothing{}, func() { p.say("%s is removed.", s.Name) })
}
