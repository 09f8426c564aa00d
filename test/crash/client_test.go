package crash

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"postroad/test/peer"
)

// imapConn is a client that does only what these tests need, so that nothing stands
// between them and what the server said.
type imapConn struct {
	c   net.Conn
	r   *bufio.Reader
	tag int
}

// dial opens a connection; its reads fail after a minute.
func dial(addr string) (net.Conn, *bufio.Reader, error) {
	c, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		return nil, nil, err
	}
	c.SetDeadline(time.Now().Add(time.Minute))
	return c, bufio.NewReaderSize(c, 64<<10), nil
}

func dialIMAP(addr, user string) (*imapConn, error) {
	c, r, err := dial(addr)
	if err != nil {
		return nil, err
	}
	i := &imapConn{c: c, r: r}
	if _, err := r.ReadString('\n'); err != nil {
		c.Close()
		return nil, err
	}
	if _, err := i.command("LOGIN %s %s", user, peer.Password); err != nil {
		c.Close()
		return nil, err
	}
	return i, nil
}

// refused is a command that the server answered NO or BAD: it did nothing.
type refused struct{ line string }

func (e *refused) Error() string { return "refused: " + e.line }

// command sends a command and returns its responses, untagged ones and the tagged OK, each
// with its literals in it.
func (i *imapConn) command(format string, args ...any) ([]string, error) {
	if err := i.send(format, args...); err != nil {
		return nil, err
	}
	return i.responses()
}

func (i *imapConn) send(format string, args ...any) error {
	i.tag++
	i.c.SetDeadline(time.Now().Add(time.Minute))
	_, err := fmt.Fprintf(i.c, "t%d %s\r\n", i.tag, fmt.Sprintf(format, args...))
	return err
}

// responses reads until the tagged response.
func (i *imapConn) responses() ([]string, error) {
	var all []string
	for {
		line, err := i.response()
		if err != nil {
			return nil, err
		}
		all = append(all, line)
		if strings.HasPrefix(line, fmt.Sprintf("t%d ", i.tag)) {
			if !strings.HasPrefix(line, fmt.Sprintf("t%d OK", i.tag)) {
				return all, &refused{line}
			}
			return all, nil
		}
	}
}

// response reads one response with its literals.
func (i *imapConn) response() (string, error) {
	var b strings.Builder
	for {
		line, err := i.r.ReadString('\n')
		if err != nil {
			return "", err
		}
		b.WriteString(line)
		line = strings.TrimRight(line, "\r\n")
		open := strings.LastIndexByte(line, '{')
		if open < 0 || !strings.HasSuffix(line, "}") {
			return b.String(), nil
		}
		n, err := strconv.Atoi(line[open+1 : len(line)-1])
		if err != nil {
			return b.String(), nil
		}
		if _, err := io.CopyN(&b, i.r, int64(n)); err != nil {
			return "", err
		}
	}
}

// appendMessage appends one message with a non-synchronising literal and returns its UID.
func (i *imapConn) appendMessage(mailbox, flags, text string) (uint32, error) {
	if err := i.send("APPEND %s (%s) {%d+}\r\n%s", mailbox, flags, len(text), text); err != nil {
		return 0, err
	}
	all, err := i.responses()
	if err != nil {
		return 0, err
	}
	_, uid := code(all[len(all)-1], "APPENDUID")
	if len(uid) != 1 {
		return 0, fmt.Errorf("no APPENDUID in %q", all)
	}
	return uid[0], nil
}

// code reads the sets of a response code, "[COPYUID 38 1:2 5,7]": the last one and the one
// before it.
func code(line, name string) (source, last []uint32) {
	_, rest, ok := strings.Cut(line, "["+name+" ")
	if !ok {
		return nil, nil
	}
	rest, _, _ = strings.Cut(rest, "]")
	f := strings.Fields(rest)
	if len(f) > 2 {
		source = set(f[1])
	}
	return source, set(f[len(f)-1])
}

// set expands "1:3,7".
func set(s string) (all []uint32) {
	for _, r := range strings.Split(s, ",") {
		from, to, ok := strings.Cut(r, ":")
		if !ok {
			to = from
		}
		a, err1 := strconv.ParseUint(from, 10, 32)
		b, err2 := strconv.ParseUint(to, 10, 32)
		if err1 != nil || err2 != nil {
			return nil
		}
		for n := a; n <= b; n++ {
			all = append(all, uint32(n))
		}
	}
	return all
}

// smtpConn is a client for SMTP and LMTP.
type smtpConn struct {
	c net.Conn
	r *bufio.Reader
}

func dialSMTP(addr, hello string) (*smtpConn, error) {
	c, r, err := dial(addr)
	if err != nil {
		return nil, err
	}
	s := &smtpConn{c, r}
	if _, err := s.reply(); err != nil {
		c.Close()
		return nil, err
	}
	if _, err := s.command(hello + " client.test"); err != nil {
		c.Close()
		return nil, err
	}
	return s, nil
}

func (s *smtpConn) command(line string) (string, error) {
	s.c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(s.c, line+"\r\n"); err != nil {
		return "", err
	}
	return s.reply()
}

// reply reads one reply; 4yz and 5yz are refused.
func (s *smtpConn) reply() (string, error) {
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			return "", err
		}
		if len(line) < 4 {
			return "", fmt.Errorf("reply %q", line)
		}
		if line[3] == '-' {
			continue
		}
		if line[0] != '2' && line[0] != '3' {
			return line, &refused{line}
		}
		return line, nil
	}
}

// deliver sends one message and returns an error unless every recipient was acknowledged.
func (s *smtpConn) deliver(text string, lmtp bool, to ...string) error {
	lines := []string{"MAIL FROM:<sender@far.test>"}
	for _, r := range to {
		lines = append(lines, "RCPT TO:<"+r+">")
	}
	for _, l := range append(lines, "DATA") {
		if _, err := s.command(l); err != nil {
			s.command("RSET")
			return err
		}
	}
	replies := 1
	if lmtp {
		replies = len(to)
	}
	if _, err := io.WriteString(s.c, text+".\r\n"); err != nil {
		return err
	}
	var refusal error
	for ; replies > 0; replies-- {
		_, err := s.reply()
		var no *refused
		if err != nil && !errors.As(err, &no) {
			return err
		}
		refusal = errors.Join(refusal, err)
	}
	return refusal
}
