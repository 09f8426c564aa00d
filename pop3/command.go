package pop3

import (
	"bytes"
	"context"
)

// state is a set of states of RFC 1939, 3.
type state uint8

const (
	authorization state = 1 << iota
	transaction
)

// command is a keyword's entry.
type command struct {
	states state
	do     func(c *Conn, ctx context.Context, args []byte) error
}

// commands are all keywords. The error of a command ends the connection.
var commands = map[string]command{
	"QUIT": {authorization | transaction, (*Conn).doQuit},
	"CAPA": {authorization | transaction, (*Conn).doCapa},
	"LANG": {authorization | transaction, (*Conn).doLang},

	"USER": {authorization, (*Conn).doUser},
	"PASS": {authorization, (*Conn).doPass},
	"AUTH": {authorization, (*Conn).doAuth},
	"STLS": {authorization, (*Conn).doStls},
	"UTF8": {authorization, (*Conn).doUTF8},

	"STAT": {transaction, (*Conn).doStat},
	"LIST": {transaction, (*Conn).doList},
	"UIDL": {transaction, (*Conn).doUidl},
	"RETR": {transaction, (*Conn).doRetr},
	"TOP":  {transaction, (*Conn).doTop},
	"DELE": {transaction, (*Conn).doDele},
	"RSET": {transaction, (*Conn).doRset},
	"NOOP": {transaction, (*Conn).doNoop},
}

// keywordMax is the length of the longest keyword (RFC 1939, 3: three or four).
const keywordMax = 4

// command does one command.
func (c *Conn) command(ctx context.Context, line []byte) error {
	keyword, args, _ := bytes.Cut(line, []byte{' '})
	var word [keywordMax]byte
	if len(keyword) > keywordMax {
		c.misuse("Unknown command")
		return nil
	}
	for i, b := range keyword {
		if 'a' <= b && b <= 'z' {
			b -= 'a' - 'A'
		}
		word[i] = b
	}
	cmd, known := commands[string(word[:len(keyword)])]
	now := authorization
	if c.maildrop != nil {
		now = transaction
	}
	switch {
	case !known:
		c.misuse("Unknown command")
		return nil
	case cmd.states&now == 0 && now == transaction:
		c.misuse("You are logged in already")
		return nil
	case cmd.states&now == 0:
		c.misuse("Log in first")
		return nil
	}
	return cmd.do(c, ctx, args)
}

// noArguments answers a command that should have none and has.
func (c *Conn) noArguments(args []byte) bool {
	if len(bytes.TrimRight(args, " ")) == 0 {
		return true
	}
	c.misuse("No arguments are allowed")
	return false
}

// messageMax bounds the digits of a message number.
const messageMax = 1 << 31

// number reads a decimal number.
func number(p []byte) (int, bool) {
	if len(p) == 0 {
		return 0, false
	}
	n := 0
	for _, b := range p {
		if b < '0' || b > '9' || n > messageMax {
			return 0, false
		}
		n = n*10 + int(b-'0')
	}
	return n, true
}

// message reads a message number as an index; a message that is not there, or is marked
// as deleted, is answered.
func (c *Conn) message(p []byte) (int, bool) {
	n, ok := number(p)
	switch {
	case !ok:
		c.misuse("Not a message number")
	case n < 1 || n > c.maildrop.Len():
		c.errLine("", "No such message")
	case c.isDeleted(n - 1):
		c.errLine("", "Message is deleted")
	default:
		return n - 1, true
	}
	return 0, false
}

func (c *Conn) isDeleted(i int) bool { return c.deleted != nil && c.deleted[i] }
