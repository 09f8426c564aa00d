// Command postroad is a whole e-mail system in one program: it serves SMTP, submission,
// LMTP, IMAP and POP3, and administers what it serves.
//
// Each command of the line is a type with a Run method, in a file of its own subject. The
// verbs themselves are in internal/admin; this package reads arguments, prints, and turns
// errors into the exit codes of sysexits.h.
package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/alecthomas/kong"

	"postroad/internal/admin"
	"postroad/internal/config"
	"postroad/internal/server"
)

// cli is the command line.
type cli struct {
	ConfigFile string `name:"config" short:"c" placeholder:"FILE" env:"POSTROAD_CONFIG" type:"path" help:"Configuration file. Default: /etc/postroad/postroad.toml where it is there, else the built-in defaults."`
	JSON       bool   `name:"json" help:"Print results as JSON."`

	Serve      serveCommand      `cmd:"" help:"Serve mail."`
	Demo       demoCommand       `cmd:"" help:"Serve a domain with two accounts on loopback, to try things out."`
	Config     configCommand     `cmd:"" name:"config" help:"Check, show or explain the configuration."`
	Domain     domainCommand     `cmd:"" help:"Domains of ours."`
	Account    accountCommand    `cmd:"" help:"Accounts: who has a mailbox."`
	Alias      aliasCommand      `cmd:"" help:"Aliases: addresses that stand for others."`
	Group      groupCommand      `cmd:"" help:"Groups: lists of members, with an owner who gets the failures."`
	Sieve      sieveCommand      `cmd:"" help:"Sieve scripts: what is done with mail as it comes."`
	ACL        aclCommand        `cmd:"" name:"acl" help:"Access control lists: who may use whose mailboxes."`
	Shared     sharedCommand     `cmd:"" help:"Public mailboxes of an organisation."`
	Org        orgCommand        `cmd:"" name:"org" help:"Organisations and their quotas."`
	Retention  retentionCommand  `cmd:"" help:"How long messages stay in mailboxes."`
	Undelete   undeleteCommand   `cmd:"" help:"Bring deleted mail back."`
	Queue      queueCommand      `cmd:"" help:"Mail that waits."`
	Trace      traceCommand      `cmd:"" help:"Tell what became of a message."`
	Search     searchCommand     `cmd:"" help:"The full-text index."`
	Check      checkCommand      `cmd:"" help:"Verify every index against every message, and every checksum."`
	Status     statusCommand     `cmd:"" help:"Tell how the server is doing."`
	Version    versionCommand    `cmd:"" help:"Print the version."`
	Completion completionCommand `cmd:"" help:"Print completion for a shell."`
	Man        manCommand        `cmd:"" hidden:"" help:"Print a manual page."`
}

// program is what commands have in common.
type program struct {
	cli    *cli
	kong   *kong.Kong
	in     io.Reader
	out    io.Writer
	errOut io.Writer
}

const description = `A whole e-mail system in one program.

Commands that look at or change what is served ask the running server over the socket in
its data directory. When none is running they open the store themselves.`

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// run parses the arguments, runs the command and returns the exit code.
func run(args []string, in io.Reader, out, errOut io.Writer) int {
	p := &program{cli: new(cli), in: in, out: out, errOut: errOut}
	exited := -1
	k, err := kong.New(p.cli, kong.Name("postroad"), kong.Description(description), kong.Writers(out, errOut),
		kong.Exit(func(code int) { exited = code }), kong.UsageOnError(), kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}))
	if err != nil {
		fmt.Fprintln(errOut, "postroad:", err)
		return exitSoftware
	}
	p.kong = k
	ctx, err := k.Parse(args)
	if exited >= 0 { // --help
		return exited
	}
	if err != nil {
		fmt.Fprintf(errOut, "postroad: %v\nSee: postroad --help\n", err)
		return exitUsage
	}
	ctx.BindTo(context.Background(), (*context.Context)(nil))
	if err := ctx.Run(p); err != nil {
		return p.fail(err)
	}
	return exitOK
}

// load reads the configuration.
func (p *program) load() (*config.Config, error) {
	c, err := config.Find(p.cli.ConfigFile)
	if err != nil {
		return nil, &exitError{exitConfig, err}
	}
	return c, nil
}

// call runs a verb: in the server where one is running, else on the store.
func (p *program) call(ctx context.Context, verb string, in, out any, progress func(admin.Progress)) error {
	c, err := p.load()
	if err != nil {
		return err
	}
	client, err := admin.Dial(ctx, admin.Socket(c.DataDirectory))
	switch {
	case err == nil:
		defer client.Close()
		return client.Call(ctx, verb, in, out, progress)
	case !nobodyServes(err):
		return fmt.Errorf("ask the server: %w", err)
	}
	if err := mayOpen(c.DataDirectory); err != nil {
		return err
	}
	log, err := server.NewLogger(&config.Log{Level: "warn"})
	if err != nil {
		return err
	}
	store, err := server.OpenStore(ctx, c, log)
	if err != nil {
		return err
	}
	err = store.Verbs().Call(ctx, verb, in, out, progress)
	if closeErr := store.Close(); err == nil {
		err = closeErr
	}
	return err
}
