package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"postroad/internal/admin"
	"postroad/internal/server"
)

type sieveTest struct {
	Message string   `arg:"" optional:"" help:"The message; - is standard input."`
	Script  string   `placeholder:"FILE" help:"The script. Default: all that run for the account."`
	Account string   `placeholder:"ADDRESS" help:"Ask the mailboxes and the memory of this account."`
	Replay  string   `placeholder:"TIME" help:"Instead of a message: the account's mail of so long, such as 7d or 12h."`
	From    string   `placeholder:"ADDRESS" help:"Return path; <> is null. Default: what the message says."`
	To      string   `placeholder:"ADDRESS" help:"Recipient. Default: the account, or what the message says."`
	Mailbox []string `placeholder:"NAME" help:"Without an account: a mailbox that is there, besides INBOX."`
}

// Help is the text below the usage.
func (sieveTest) Help() string {
	return `Each step of the scripts is told with its line, then what they want done. Nothing is done, and
nothing remembered. With --account the server is asked, else nobody.

A replay lets the mail that has arrived come again, in order, and tells a line for each message.
It remembers nothing of what really happened: a sender who was answered is answered in it.

It ends with 65 (EX_DATAERR) when a script goes wrong.

Examples:
  postroad sieve test message.eml --script rules.sieve --mailbox Lists
  postroad sieve test - --account alice@example.org --from bob@example.net < message.eml
  postroad sieve test --account alice@example.org --replay 7d --script new.sieve`
}

func (s sieveTest) Run(ctx context.Context, p *program) error {
	switch {
	case s.Account == "" && (s.Script == "" || s.Replay != ""):
		return &exitError{exitUsage, errors.New("give --account, or --script and a message")}
	case (s.Message == "") == (s.Replay == ""):
		return &exitError{exitUsage, errors.New("give a message or --replay")}
	case s.Message == "-" && s.Script == "-":
		return &exitError{exitUsage, errors.New("only one of the message and the script can be standard input")}
	case s.Account != "" && len(s.Mailbox) > 0:
		return &exitError{exitUsage, errors.New("--mailbox is for a test without --account")}
	case s.Replay != "" && s.From+s.To != "":
		return &exitError{exitUsage, errors.New("--from and --to are for one message")}
	}
	var script []byte
	var err error
	if s.Script != "" {
		if script, err = p.validScript(s.Script); err != nil {
			return err
		}
	}
	if s.Replay != "" {
		return s.replay(ctx, p, script)
	}
	return s.test(ctx, p, script)
}

// test explains one message.
func (s *sieveTest) test(ctx context.Context, p *program, script []byte) error {
	text, err := p.content(s.Message, admin.SieveMessageMax)
	if err != nil {
		return err
	}
	in := admin.SieveTest{Account: s.Account, Script: script, Message: text, From: s.From, To: s.To, Mailboxes: s.Mailbox}
	out := new(admin.SieveTested)
	if s.Account == "" {
		out, err = admin.TrySieve(ctx, in, server.SieveOptions())
	} else {
		err = p.call(ctx, "sieve.test", in, out, nil)
	}
	if err != nil {
		return err
	}
	err = p.print(out, func() { p.printTested(out) })
	if err == nil && len(out.Faults) > 0 {
		err = &exitError{exitData, errors.New("a script went wrong")}
	}
	return err
}

func (p *program) printTested(t *admin.SieveTested) {
	p.say("from <%s> to <%s>", t.From, t.To)
	script := ""
	for _, step := range t.Steps {
		if step.Script != script {
			script = step.Script
			p.say("script %s", script)
		}
		p.say("%5d  %s%s", step.Line, strings.Repeat("  ", step.Depth), printable(step.Text))
	}
	for _, f := range t.Faults {
		p.say("went wrong: %s", printable(f))
	}
	p.say("What is done:")
	for _, a := range t.Actions {
		p.say("  %s", printable(a.String()))
	}
}

// parseAgo reads a time such as "7d" or "12h30m".
func parseAgo(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil && n > 0 {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	} else if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return d, nil
	}
	return 0, &exitError{exitUsage, fmt.Errorf("%q is no time such as 7d or 12h", text)}
}

// replay tells what would have been done.
func (s *sieveTest) replay(ctx context.Context, p *program, script []byte) error {
	within, err := parseAgo(s.Replay)
	if err != nil {
		return err
	}
	bar := p.newBar()
	var out admin.SieveReplayed
	err = p.call(ctx, "sieve.replay", admin.SieveReplay{Account: s.Account, Within: within, Script: script}, &out, bar.progress)
	bar.finish()
	if err != nil {
		return err
	}
	faults := 0
	err = p.print(out, func() {
		if out.More {
			p.say("The newest %d messages:", admin.SieveReplayMax)
		}
		for i := range out.Messages {
			p.say("%s", replayLine(&out.Messages[i]))
		}
		p.say("%d messages", len(out.Messages))
	})
	for i := range out.Messages {
		faults += len(out.Messages[i].Faults)
	}
	if err == nil && faults > 0 {
		err = &exitError{exitData, fmt.Errorf("a script went wrong on %d messages", faults)}
	}
	return err
}

// subjectShown is how much of a subject a line has, in characters.
const subjectShown = 40

// replayLine is one message of a replay.
func replayLine(m *admin.SieveReplayedMessage) string {
	subject := []rune(strings.Join(strings.Fields(m.Subject), " "))
	if len(subject) > subjectShown {
		subject = append(subject[:subjectShown-1], '…')
	}
	words := make([]string, len(m.Actions))
	for i, a := range m.Actions {
		words[i] = a.String()
	}
	for _, f := range m.Faults {
		words = append(words, "WRONG: "+f)
	}
	return printable(fmt.Sprintf("%s  <%s>  %s  (in %s)  %s", when(m.Arrived), m.From, string(subject), m.Mailbox, strings.Join(words, "; ")))
}

// printable is a text without what would move the cursor of a terminal: strangers write
// subjects.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '\uFFFD'
	}, text)
}
