package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// passwordFlags say where a password comes from. It never comes from the command line
// itself, which every user of the machine can read.
type passwordFlags struct {
	Generate      bool `xor:"password" help:"Make a password and print it."`
	PasswordStdin bool `xor:"password" help:"Read the password from the first line of standard input."`
	HashStdin     bool `xor:"password" help:"Read a hash from standard input: crypt(3) or {SCHEME} as LDAP servers and Dovecot have it."`
}

const passwordHelp = "Without one of the password flags the password is asked for on the terminal."

// inputMax is the longest line read from standard input, in octets.
const inputMax = 4096

// read returns a password or a hash, none when one is to be generated.
func (f *passwordFlags) read(p *program, who string) (password, hash string, err error) {
	switch {
	case f.Generate:
		return "", "", nil
	case f.PasswordStdin:
		password, err = p.line()
		return password, "", err
	case f.HashStdin:
		hash, err = p.line()
		return "", hash, err
	}
	password, err = p.askPassword(who)
	return password, "", err
}

// line reads the first line of standard input.
func (p *program) line() (string, error) {
	text, err := bufio.NewReader(io.LimitReader(p.in, inputMax)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	text = strings.TrimRight(text, "\r\n")
	if text == "" {
		return "", &exitError{exitData, errors.New("standard input is empty")}
	}
	return text, nil
}

// terminal returns standard input where it is one.
func (p *program) terminal() (*os.File, error) {
	f, ok := p.in.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil, &exitError{exitUsage, errors.New("standard input is no terminal: give --password-stdin or --generate, or --yes to what would be asked")}
	}
	return f, nil
}

// askPassword asks twice.
func (p *program) askPassword(who string) (string, error) {
	f, err := p.terminal()
	if err != nil {
		return "", err
	}
	var answers [2]string
	for i, question := range []string{"Password for " + who + ": ", "Again: "} {
		fmt.Fprint(p.errOut, question)
		text, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(p.errOut)
		if err != nil {
			return "", fmt.Errorf("read the password: %w", err)
		}
		answers[i] = string(text)
	}
	if answers[0] != answers[1] {
		return "", &exitError{exitData, errors.New("the two are not the same")}
	}
	return answers[0], nil
}

// confirm asks for a yes.
func (p *program) confirm(question string) error {
	if _, err := p.terminal(); err != nil {
		return err
	}
	fmt.Fprint(p.errOut, question+" [y/N] ")
	answer, err := p.line()
	if err == nil && (strings.EqualFold(answer, "y") || strings.EqualFold(answer, "yes")) {
		return nil
	}
	return &exitError{exitTempFail, errors.New("not done")}
}
