package managesieve

import (
	"context"
	"errors"
)

// state is a set of states (RFC 5804, 2).
type state uint8

const (
	nonAuthenticated state = 1 << iota
	authenticated
	always = nonAuthenticated | authenticated
)

// command is a keyword's entry.
type command struct {
	states state
	// kinds are the arguments: s string, n number, x script. least of them must be there.
	kinds string
	least int
	do    func(c *Conn, ctx context.Context, args []argument) error
}

// commands are all keywords (RFC 5804, 4). The error of a command ends the connection.
var commands = map[string]command{
	"CAPABILITY": {always, "", 0, (*Conn).doCapability},
	"LOGOUT":     {always, "", 0, (*Conn).doLogout},
	"NOOP":       {always, "s", 0, (*Conn).doNoop},

	"AUTHENTICATE": {nonAuthenticated, "ss", 1, (*Conn).doAuthenticate},
	"STARTTLS":     {nonAuthenticated, "", 0, (*Conn).doStartTLS},

	"HAVESPACE":      {authenticated, "sn", 2, (*Conn).doHaveSpace},
	"PUTSCRIPT":      {authenticated, "sx", 2, (*Conn).doPutScript},
	"CHECKSCRIPT":    {authenticated, "x", 1, (*Conn).doCheckScript},
	"LISTSCRIPTS":    {authenticated, "", 0, (*Conn).doListScripts},
	"SETACTIVE":      {authenticated, "s", 1, (*Conn).doSetActive},
	"GETSCRIPT":      {authenticated, "s", 1, (*Conn).doGetScript},
	"DELETESCRIPT":   {authenticated, "s", 1, (*Conn).doDeleteScript},
	"RENAMESCRIPT":   {authenticated, "ss", 2, (*Conn).doRenameScript},
	"UNAUTHENTICATE": {authenticated, "", 0, (*Conn).doUnauthenticate},
}

// keywordMax is the length of the longest keyword.
const keywordMax = len("UNAUTHENTICATE")

// state is the present one.
func (c *Conn) state() state {
	if c.scripts != nil {
		return authenticated
	}
	return nonAuthenticated
}

// roomFor tells how many octets a literal may have beyond what every command may: a script
// after the log-in.
func (c *Conn) roomFor(keyword string, i int) int64 {
	cmd := commands[keyword]
	if cmd.states&c.state() != 0 && i < len(cmd.kinds) && cmd.kinds[i] == 'x' {
		return c.server.options.ScriptMax
	}
	return 0
}

// next reads and does one command.
func (c *Conn) next(ctx context.Context) error {
	skip := int64(skipMax)
	if c.scripts == nil {
		skip = skipMaxEarly
	}
	keyword, args, err := c.in.readCommand(skip, c.roomFor)
	var wrong *syntaxError
	switch {
	case errors.As(err, &wrong) && wrong.fatal:
		c.bye("", wrong.text)
		return nil
	case errors.As(err, &wrong):
		c.misuse(wrong.text)
		return nil
	case err != nil:
		return err
	}
	return c.command(ctx, keyword, args)
}

// command does one command.
func (c *Conn) command(ctx context.Context, keyword string, args []argument) error {
	cmd, known := commands[keyword]
	switch {
	case !known:
		c.misuse("Unknown command")
		return nil
	case cmd.states&c.state() == 0 && c.scripts != nil:
		c.misuse("You are logged in already")
		return nil
	case cmd.states&c.state() == 0:
		c.misuse("Log in first")
		return nil
	case len(args) < cmd.least || len(args) > len(cmd.kinds):
		c.misuse("Wrong number of arguments")
		return nil
	}
	for i, a := range args {
		switch kind := cmd.kinds[i]; {
		case a.number != (kind == 'n'):
			c.misuse("Strings and numbers are not where they should be")
			return nil
		case a.huge && kind == 'x':
			c.no(CodeQuotaMaxSize, "The script is too large")
			return nil
		case a.huge:
			c.misuse("A literal is too long")
			return nil
		}
	}
	return cmd.do(c, ctx, args)
}

// name reads a script name; what is none is answered.
func (c *Conn) name(a argument) (string, bool) {
	name, err := CleanName(string(a.text))
	if err != nil {
		c.no("", "That cannot be the name of a script")
		return "", false
	}
	return name, true
}
