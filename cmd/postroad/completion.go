package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

// completions write the script for each shell.
var completions = map[string]func(io.Writer, *kong.Node) error{
	"bash": bashCompletion,
	"zsh": func(w io.Writer, root *kong.Node) error {
		if _, err := io.WriteString(w, "#compdef postroad\nautoload -U +X bashcompinit && bashcompinit\n"); err != nil {
			return err
		}
		return bashCompletion(w, root)
	},
	"fish": fishCompletion,
}

// place is one point of the command tree and what may follow there.
type place struct {
	path     string // " queue list"
	node     *kong.Node
	commands []*kong.Node
	flags    []*kong.Flag
}

// places lists the tree, the root first.
func places(n *kong.Node, path string, flags []*kong.Flag) []place {
	flags = append(flags[:len(flags):len(flags)], n.Flags...)
	here := place{path: path, node: n, flags: flags}
	var below []place
	for _, c := range n.Children {
		if c.Hidden {
			continue
		}
		here.commands = append(here.commands, c)
		below = append(below, places(c, path+" "+c.Name, flags)...)
	}
	return append([]place{here}, below...)
}

// bashCompletion follows the words up to the cursor down the tree and offers what may
// come there.
func bashCompletion(w io.Writer, root *kong.Node) error {
	var known, offers strings.Builder
	for _, p := range places(root, "", nil) {
		if p.path != "" {
			fmt.Fprintf(&known, "%q) path=\"$path $w\" ;;\n", p.path)
		}
		var words []string
		for _, c := range p.commands {
			words = append(words, c.Name)
		}
		for _, f := range p.flags {
			words = append(words, "--"+f.Name)
		}
		fmt.Fprintf(&offers, "%q) words=%q ;;\n", p.path, strings.Join(words, " "))
	}
	_, err := fmt.Fprintf(w, `_postroad() {
local cur="${COMP_WORDS[COMP_CWORD]}" path="" words="" w
for w in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
case "$path $w" in
%sesac
done
case "$path" in
%sesac
COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -o default -F _postroad postroad
`, known.String(), offers.String())
	return err
}

// fishCompletion offers the same with a line of help for each word.
func fishCompletion(w io.Writer, root *kong.Node) error {
	quote := func(s string) string {
		return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
	}
	var b strings.Builder
	b.WriteString("function __postroad_at\nset -l words (commandline -opc)[2..-1]\n" +
		"set -l path (string match -v -- '-*' $words)\ntest \"$path\" = \"$argv\"\nend\ncomplete -c postroad -f\n")
	for _, p := range places(root, "", nil) {
		at := quote("__postroad_at" + p.path)
		for _, c := range p.commands {
			fmt.Fprintf(&b, "complete -c postroad -n %s -a %s -d %s\n", at, quote(c.Name), quote(c.Help))
		}
		for _, f := range p.flags {
			fmt.Fprintf(&b, "complete -c postroad -n %s -l %s -d %s\n", at, quote(f.Name), quote(f.Help))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
