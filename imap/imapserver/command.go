package imapserver

import (
	"context"
	"errors"
	"time"

	"postroad/imap"
	"postroad/sasl"
)

// command is one command on its way: its tag, what it may do, and its arguments.
type command struct {
	*imap.Decoder
	tag string
	uid bool // UID FETCH and its kin
	*verb
	polled bool // updates were told, or none must be
}

// verb is a row of the table of commands.
type verb struct {
	name   string
	states state // in which it is allowed
	// expunge: untagged EXPUNGE may come with it, by number (RFC 9051, 7.5.1). With UID it
	// always may.
	expunge bool
	// streams: its literals are not gathered, the command reads them.
	streams bool
	needs   extension // what the session must be, else there is no such command
	run     func(*Conn, *command) error
}

const (
	always   = notAuthenticated | authenticated | selected
	loggedIn = authenticated | selected
)

// verbs are the commands by name, and uidVerbs those behind UID.
var verbs, uidVerbs map[string]*verb

func init() {
	verbs, uidVerbs = map[string]*verb{}, map[string]*verb{}
	for _, v := range []verb{
		{"CAPABILITY", always, true, false, 0, (*Conn).cmdCapability},
		{"NOOP", always, true, false, 0, (*Conn).cmdNoop},
		{"LOGOUT", always, false, false, 0, (*Conn).cmdLogout},
		{"ID", always, true, false, 0, (*Conn).cmdID},
		{"STARTTLS", notAuthenticated, false, false, 0, (*Conn).cmdStartTLS},
		{"AUTHENTICATE", notAuthenticated, false, false, 0, (*Conn).cmdAuthenticate},
		{"LOGIN", notAuthenticated, false, false, 0, (*Conn).cmdLogin},
		{"ENABLE", authenticated, false, false, 0, (*Conn).cmdEnable},
		{"COMPRESS", loggedIn, false, false, 0, (*Conn).cmdCompress},
		{"SELECT", loggedIn, false, false, 0, (*Conn).cmdSelect},
		{"EXAMINE", loggedIn, false, false, 0, (*Conn).cmdExamine},
		{"CREATE", loggedIn, true, false, 0, (*Conn).cmdCreate},
		{"DELETE", loggedIn, true, false, 0, (*Conn).cmdDelete},
		{"RENAME", loggedIn, true, false, 0, (*Conn).cmdRename},
		{"SUBSCRIBE", loggedIn, true, false, 0, (*Conn).cmdSubscribe},
		{"UNSUBSCRIBE", loggedIn, true, false, 0, (*Conn).cmdUnsubscribe},
		{"LIST", loggedIn, true, false, 0, (*Conn).cmdList},
		{"LSUB", loggedIn, true, false, 0, (*Conn).cmdLsub},
		{"NAMESPACE", loggedIn, true, false, 0, (*Conn).cmdNamespace},
		{"STATUS", loggedIn, true, false, 0, (*Conn).cmdStatus},
		{"APPEND", loggedIn, true, true, 0, (*Conn).cmdAppend},
		{"IDLE", loggedIn, true, false, 0, (*Conn).cmdIdle},
		{"CHECK", selected, true, false, 0, (*Conn).cmdNoop},
		{"CLOSE", selected, false, false, 0, (*Conn).cmdClose},
		{"UNSELECT", selected, false, false, 0, (*Conn).cmdUnselect},
		{"EXPUNGE", selected, true, false, 0, (*Conn).cmdExpunge},
		{"SEARCH", selected, false, false, 0, (*Conn).cmdSearch},
		{"FETCH", selected, false, false, 0, (*Conn).cmdFetch},
		{"STORE", selected, false, false, 0, (*Conn).cmdStore},
		{"COPY", selected, true, false, 0, (*Conn).cmdCopy},
		{"MOVE", selected, true, false, 0, (*Conn).cmdMove},
		{"SORT", selected, false, false, extOrder, (*Conn).cmdSort},
		{"THREAD", selected, false, false, extOrder, (*Conn).cmdThread},
		{"CANCELUPDATE", selected, true, false, extContext, (*Conn).cmdCancelUpdate},
		{"ESEARCH", loggedIn, false, false, extMulti, (*Conn).cmdESearch},
		{"SETACL", loggedIn, true, false, extACL, (*Conn).cmdSetACL},
		{"DELETEACL", loggedIn, true, false, extACL, (*Conn).cmdDeleteACL},
		{"GETACL", loggedIn, true, false, extACL, (*Conn).cmdGetACL},
		{"LISTRIGHTS", loggedIn, true, false, extACL, (*Conn).cmdListRights},
		{"MYRIGHTS", loggedIn, true, false, extACL, (*Conn).cmdMyRights},
		{"GETQUOTA", loggedIn, true, false, extQuota, (*Conn).cmdGetQuota},
		{"GETQUOTAROOT", loggedIn, true, false, extQuota, (*Conn).cmdGetQuotaRoot},
		{"SETQUOTA", loggedIn, true, false, extQuotaSet, (*Conn).cmdSetQuota},
		{"GETMETADATA", loggedIn, true, false, extMetadata, (*Conn).cmdGetMetadata},
		{"SETMETADATA", loggedIn, true, false, extMetadata, (*Conn).cmdSetMetadata},
	} {
		verbs[v.name] = &v
	}
	for _, name := range []string{"EXPUNGE", "SEARCH", "FETCH", "STORE", "COPY", "MOVE", "SORT", "THREAD"} {
		v := *verbs[name]
		v.expunge = true
		uidVerbs[name] = &v
	}
}

// loop serves commands in their order until the connection ends.
func (c *Conn) loop() {
	for c.state != loggedOut && c.err == nil {
		timeout := c.server.timeoutAfter
		if c.state == notAuthenticated {
			timeout = c.server.timeoutBefore
		}
		ready, err := c.in.wait(timeout)
		if err == nil && !ready {
			continue // woken by something that no longer matters
		}
		if err == nil {
			c.begin()
			c.in.deadline = time.Time{}
			if c.state == notAuthenticated {
				c.in.deadline = time.Now().Add(timeout)
			}
			err = c.serve()
		}
		if err != nil {
			c.end(err)
			return
		}
	}
}

// end says why the server closes the connection, where there is somebody to hear it.
func (c *Conn) end(err error) {
	switch {
	case errors.Is(err, errStopping):
		c.bye(imap.CodeUnavailable, "Server is shutting down")
	case errors.Is(err, errTooLong):
		c.bye(imap.CodeTooBig, "Command line too long")
	case isTimeout(err) && c.err == nil:
		c.bye("", "Idle for too long")
	}
}

// limit returns how long a command may be, in octets.
func (c *Conn) limit() int {
	if c.state == notAuthenticated {
		return lineBytesBefore
	}
	return lineBytesAfter
}

// serve reads and answers one command. Its error ends the connection.
func (c *Conn) serve() error {
	in := &c.in
	in.line = in.line[:0]
	// An initial response may make AUTHENTICATE longer than other commands (RFC 4954, 4).
	limit := max(c.limit(), sasl.LineMax)
	if err := in.readLine(limit); err != nil {
		return err
	}
	cmd, err := c.parseCommand(in.line)
	if len(in.line) > c.limit() && (cmd.verb == nil || cmd.name != "AUTHENTICATE") {
		return errTooLong
	}
	if err == nil && !(cmd.streams && c.streamsNow(cmd)) {
		err = c.gather(cmd)
	}
	if err != nil {
		return c.refuse(cmd, err)
	}
	return c.execute(cmd)
}

// parseCommand reads tag and name. With an error the tag may be all there is.
func (c *Conn) parseCommand(line []byte) (*command, error) {
	cmd := &command{tag: "*"}
	if k := len(line); k < 2 || line[k-2] != '\r' {
		return cmd, imap.Bad("Lines end with CRLF")
	}
	d := imap.NewDecoder(line[:len(line)-2])
	d.SetUTF8(c.utf8)
	cmd.Decoder = d
	tag := d.Tag()
	if !d.OK() {
		return cmd, syntaxError(d)
	}
	d.SP()
	name := d.Keyword()
	if d.OK() {
		cmd.tag = tag
	}
	table := verbs
	if name == "UID" {
		cmd.uid = true
		table = uidVerbs
		d.SP()
		name = d.Keyword()
	}
	if !d.OK() {
		cmd.tag = tag
		return cmd, syntaxError(d)
	}
	if cmd.verb = table[name]; cmd.verb == nil || cmd.needs&^c.extends != 0 {
		return cmd, imap.Bad("No such command")
	}
	if c.state&cmd.states == 0 {
		return cmd, imap.Bad(cmd.name + " is not allowed in this state")
	}
	return cmd, nil
}

// streamsNow tells whether the literal at the end of the line is a message. The mailbox
// name before it may be a literal too, which is gathered.
func (c *Conn) streamsNow(cmd *command) bool {
	return !cmd.Next(' ') || cmd.Pos()+1 >= len(c.in.line) || c.in.line[cmd.Pos()+1] != '{'
}

// gather reads the literals of a command, and the lines behind them, into in.line.
func (c *Conn) gather(cmd *command) error {
	in := &c.in
	for {
		l, ok := parseLiteralEnd(in.line)
		if !ok {
			break
		}
		if l.size > int64(c.limit()-len(in.line)) {
			return cmd.tooBig()
		}
		if l.sync {
			c.text("+ OK\r\n")
		}
		if err := in.readLiteral(int(l.size)); err != nil {
			return err
		}
		start := len(in.line)
		if err := in.readLine(c.limit()); err != nil {
			return err
		}
		if k := len(in.line); k-start < 2 || in.line[k-2] != '\r' {
			return imap.Bad("Lines end with CRLF")
		}
		if cmd.streams {
			break // the mailbox name of APPEND; what follows is a message
		}
	}
	cmd.reread(in.line)
	return nil
}

// tooBig refuses a literal that does not fit into a command.
func (cmd *command) tooBig() error {
	if cmd.name == "SETMETADATA" {
		return errMetadataSize // RFC 5464, 4.3
	}
	return imap.No(imap.CodeTooBig, "Literal too long")
}

// reread continues on a line that has grown.
func (cmd *command) reread(line []byte) { cmd.Decoder.Continue(line[:len(line)-2]) }

// refuse answers a command that is not executed: its synchronising literal will not be
// sent, others are read and thrown away (RFC 7888, 4).
func (c *Conn) refuse(cmd *command, err error) error {
	var answer *imap.Error
	if !errors.As(err, &answer) {
		return err
	}
	if err := c.throwAway(); err != nil {
		return err
	}
	return c.answer(cmd.tag, answer)
}

// throwAway reads what is left of a refused command. in.line ends with its last line.
func (c *Conn) throwAway() error {
	for left := c.discardMax(); ; {
		l, ok := parseLiteralEnd(c.in.line)
		if !ok || l.sync {
			return nil
		}
		if l.size > left {
			c.bye(imap.CodeTooBig, "Literal too long")
			return errClosed
		}
		left -= l.size
		if err := c.in.discard(l.size); err != nil {
			return err
		}
		c.in.line = c.in.line[:0]
		if err := c.in.readLine(c.limit()); err != nil {
			return err
		}
	}
}

// discardMax bounds the octets of literals that are thrown away for one command.
func (c *Conn) discardMax() int64 {
	if c.state == notAuthenticated {
		return lineBytesBefore
	}
	return c.server.messageBytes
}

// execute runs a command and writes the response that ends it.
func (c *Conn) execute(cmd *command) error {
	err := cmd.run(c, cmd)
	if c.err != nil {
		return c.err
	}
	if c.in.broken != nil {
		return c.in.broken
	}
	if errors.Is(err, errClosed) {
		return err
	}
	if err != nil {
		answer := c.toAnswer(cmd.name, err)
		if c.state == selected && !cmd.polled && answer.Status == imap.NO {
			if err := c.poll(cmd.expunge); err != nil {
				answer = c.toAnswer("poll", err)
			}
		}
		return c.answer(cmd.tag, answer)
	}
	if c.state != notAuthenticated {
		c.bad = 0
	}
	return c.err
}

// poll lets the session tell what has changed.
func (c *Conn) poll(expunge bool) error {
	w := &UpdateWriter{c: c, expunge: expunge}
	err := c.session.Poll(c.ctx, w, PollOptions{Expunge: expunge})
	w.flush()
	return err
}

// toAnswer makes the answer of an error. What is not meant for the client is logged.
func (c *Conn) toAnswer(doing string, err error) *imap.Error {
	var answer *imap.Error
	if errors.As(err, &answer) {
		return answer
	}
	if !errors.Is(err, context.Canceled) {
		c.log.Error("IMAP command failed", "command", doing, "err", err)
	}
	return imap.No(imap.CodeUnavailable, "Temporary failure, please try again later")
}

// answer writes a refusal, and closes the connection after too many bad commands.
func (c *Conn) answer(tag string, e *imap.Error) error {
	if e.Status == imap.BYE {
		c.bye(e.Code, e.Text)
		return nil
	}
	c.tagged(tag, e.Status, e.Code, e.Text)
	if e.Status == imap.BAD || c.state == notAuthenticated {
		if c.bad++; c.bad >= badCommandsMax {
			c.bye("", "Too many bad commands")
		}
	}
	return c.err
}

// syntaxError is the answer to what could not be parsed.
func syntaxError(d *imap.Decoder) error {
	if err := d.Err(); err != nil {
		return imap.Bad("Syntax error: " + err.Error())
	}
	return nil
}

// args ends the reading of a command's arguments.
func (cmd *command) args() error {
	cmd.End()
	return syntaxError(cmd.Decoder)
}

// ok writes a command's tagged OK after the updates that may come with it.
func (c *Conn) ok(cmd *command, code imap.Code) error {
	if c.state == selected {
		cmd.polled = true
		if err := c.poll(cmd.expunge); err != nil {
			return err
		}
	}
	c.done(cmd, code)
	return nil
}

// done writes a command's tagged OK.
func (c *Conn) done(cmd *command, code imap.Code) {
	name := cmd.name
	if cmd.uid {
		name = "UID " + name
	}
	c.tagged(cmd.tag, imap.OK, code, name+" completed")
}
