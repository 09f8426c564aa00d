package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"

	"postroad/internal/config"
)

// manCommand writes the manual pages of docs/man; `make man` calls it.
type manCommand struct {
	Section string `arg:"" enum:"1,5" help:"1: the command line; 5: the configuration file."`
}

// Help is the text below the usage.
func (manCommand) Help() string {
	return "Example:\n  postroad man 5 > /usr/local/share/man/man5/postroad.toml.5"
}

func (c manCommand) Run(p *program) error {
	if c.Section == "5" {
		return configPage(p.out, config.Manual())
	}
	return commandPage(p.out, p.kong.Model.Node)
}

// roff makes text fit for a line of a man(7) page: backslashes and hyphens are literal,
// and no line begins with a request.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		return `\&` + text
	}
	return text
}

// paragraphs writes text with empty lines as paragraphs; indented lines stay as they are.
func paragraphs(b *strings.Builder, text string) {
	literal := false
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		if indented := strings.HasPrefix(line, "  "); indented != literal {
			literal = indented
			b.WriteString(map[bool]string{true: ".nf\n", false: ".fi\n"}[literal])
		}
		if line == "" {
			b.WriteString(".PP\n")
			continue
		}
		b.WriteString(roff(line) + "\n")
	}
	if literal {
		b.WriteString(".fi\n")
	}
}

// commandPage writes postroad(1) from the command line's own description.
func commandPage(w io.Writer, root *kong.Node) error {
	var b strings.Builder
	b.WriteString(".TH POSTROAD 1 \"\" postroad\n.SH NAME\npostroad \\- a whole e\\-mail system in one program\n" +
		".SH SYNOPSIS\n.B postroad\n[\\fIflags\\fR] \\fIcommand\\fR [\\fIarguments\\fR]\n.SH DESCRIPTION\n")
	_, below, _ := strings.Cut(description, "\n\n") // the first paragraph is the name again
	paragraphs(&b, below)
	b.WriteString(".SH FLAGS\n")
	manFlags(&b, root.Flags)
	b.WriteString(".SH COMMANDS\n")
	for _, p := range places(root, "", nil) {
		if p.path == "" {
			continue
		}
		n := p.node
		fmt.Fprintf(&b, ".SS %s\n%s\n", roff(strings.TrimSpace(n.Summary())), roff(n.Help))
		manFlags(&b, n.Flags)
		for _, a := range n.Positional {
			fmt.Fprintf(&b, ".TP\n\\fI%s\\fR\n%s\n", roff(a.Name), roff(a.Help))
		}
		if n.Detail != "" {
			b.WriteString(".PP\n")
			paragraphs(&b, n.Detail)
		}
	}
	b.WriteString(".SH EXIT STATUS\nThose of sysexits.h: 0 when all went well, 64 for a wrong command line, 65 for data that is not\n" +
		"valid or conflicts with what is there, 67 for what does not exist, 75 for what may go well\nlater, 77 for missing rights, 78 for a wrong configuration.\n" +
		".SH FILES\n.TP\n" + roff(config.DefaultFile) + "\nThe configuration.\n.SH SEE ALSO\n.BR postroad.toml (5)\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// manFlags writes flags that are shown, with their help.
func manFlags(b *strings.Builder, flags []*kong.Flag) {
	for _, f := range flags {
		if f.Hidden {
			continue
		}
		fmt.Fprintf(b, ".TP\n.B %s\n%s\n", roff(f.String()), roff(f.Help))
	}
}

// configPage writes postroad.toml(5) from the comments over the configuration's fields.
func configPage(w io.Writer, entries []config.Entry) error {
	var b strings.Builder
	b.WriteString(".TH POSTROAD.TOML 5 \"\" postroad\n.SH NAME\npostroad.toml \\- configuration of postroad\n" +
		".SH DESCRIPTION\nThe file is TOML. Every key has a default; an empty file works. An unknown key is an error.\n.SH KEYS\n")
	for _, e := range entries {
		switch {
		case e.Array:
			fmt.Fprintf(&b, ".SS [[%s]]\n", roff(e.Key))
		case e.Default == "":
			fmt.Fprintf(&b, ".SS [%s]\n", roff(e.Key))
		default:
			fmt.Fprintf(&b, ".TP\n\\fB%s\\fR = %s\n", roff(e.Key), roff(e.Default))
		}
		for line := range strings.SplitSeq(e.Comment, "\n") {
			b.WriteString(roff(line) + "\n")
		}
	}
	b.WriteString(".SH SEE ALSO\n.BR postroad (1)\n")
	_, err := io.WriteString(w, b.String())
	return err
}
