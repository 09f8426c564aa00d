// Package imapclient speaks IMAP with a server: enough to log in, read, change and add
// mail, for tests, crash runs and moving mail in.
//
// The main type is [Client]. It sends one command at a time and keeps no picture of the
// mailbox; responses come as words, literals of messages as streams. It renders nothing.
//
// RFC 3501, 9051; 2177, 3502, 4315, 4731, 4959, 4978, 5161, 5256, 6851, 7162, 7888.
package imapclient

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/flate"

	"postroad/imap"
	"postroad/sasl"
)

// Client is a connection to a server. One goroutine uses it at a time.
type Client struct {
	conn net.Conn
	tls  *tls.Conn
	in   *reader
	out  *bufio.Writer
	zip  *flate.Writer // COMPRESS; writes to raw
	raw  *bufio.Writer
	tag  int
	caps []string // in upper case, as told last; nil: not told
	utf8 bool

	// Greeting is the server's first response.
	Greeting *Response
	// Timeout bounds the wait for each response; 0: none.
	Timeout time.Duration
	// Update, if not nil, is called with every untagged response.
	Update func(*Response)
}

// New reads the greeting of a server on conn. With BYE it fails.
func New(conn net.Conn) (*Client, error) {
	c := &Client{conn: conn, Timeout: 30 * time.Second}
	c.attach(conn)
	g, err := c.read()
	if err != nil {
		return nil, fmt.Errorf("read the greeting: %w", err)
	}
	if g.Status != imap.OK && g.Status != imap.PREAUTH {
		return nil, refused("greeting", g)
	}
	c.Greeting = g
	return c, nil
}

// Dial connects to a server; with config TLS begins at once.
func Dial(ctx context.Context, address string, config *tls.Config) (*Client, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	var t *tls.Conn
	if config != nil {
		t = tls.Client(conn, withName(config, address))
		if err := t.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, err
		}
		conn = t
	}
	c, err := New(conn)
	if err != nil {
		conn.Close()
		return nil, err
	}
	c.tls = t
	return c, nil
}

func withName(config *tls.Config, address string) *tls.Config {
	if config.ServerName != "" || config.InsecureSkipVerify {
		return config
	}
	config = config.Clone()
	if host, _, err := net.SplitHostPort(address); err == nil {
		config.ServerName = host
	}
	return config
}

func (c *Client) attach(rw io.ReadWriter) {
	c.in = &reader{b: bufio.NewReaderSize(rw, 16<<10)}
	c.out = bufio.NewWriterSize(rw, 16<<10)
}

// Close closes the connection without LOGOUT.
func (c *Client) Close() error { return c.conn.Close() }

// Error is a command that the server answered with NO or BAD, or a connection that it
// ended with BYE.
type Error struct {
	Command string
	Status  imap.Status
	Code    string
	Text    string
}

func (e *Error) Error() string {
	code := ""
	if e.Code != "" {
		code = " [" + e.Code + "]"
	}
	return "imapclient: " + e.Command + ": " + string(e.Status) + code + " " + e.Text
}

func refused(command string, r *Response) error {
	return &Error{command, r.Status, r.Code, r.Text}
}

// read reads one response.
func (c *Client) read() (*Response, error) {
	if c.Timeout > 0 && c.in.b.Buffered() == 0 {
		if err := c.conn.SetReadDeadline(time.Now().Add(c.Timeout)); err != nil {
			return nil, err
		}
	}
	r, err := c.in.next()
	if err != nil {
		return nil, err
	}
	switch {
	case strings.HasPrefix(r.Code, "CAPABILITY "):
		c.caps = strings.Fields(strings.ToUpper(r.Code[len("CAPABILITY "):]))
	case r.Name == "CAPABILITY":
		c.caps = nil
		for _, v := range r.Values {
			c.caps = append(c.caps, strings.ToUpper(v.Text))
		}
	}
	if r.Tag == "*" && c.Update != nil {
		c.Update(r)
	}
	return r, nil
}

// flush sends what was written.
func (c *Client) flush() error {
	if c.Timeout > 0 {
		if err := c.conn.SetWriteDeadline(time.Now().Add(c.Timeout)); err != nil {
			return err
		}
	}
	if err := c.out.Flush(); err != nil {
		return err
	}
	if c.zip == nil {
		return nil
	}
	if err := c.zip.Flush(); err != nil {
		return err
	}
	return c.raw.Flush()
}

// start writes tag and command without CRLF.
func (c *Client) start(command string) string {
	c.tag++
	tag := "A" + strconv.Itoa(c.tag)
	// A failed write shows at the next Flush.
	_, _ = c.out.WriteString(tag + " " + command)
	return tag
}

// finish sends a command's end and reads responses up to its tagged one. name is for
// errors.
func (c *Client) finish(tag, name string) ([]*Response, error) {
	_, _ = c.out.WriteString("\r\n")
	if err := c.flush(); err != nil {
		return nil, err
	}
	return c.collect(tag, name)
}

// collect reads responses up to the tagged one, which stands last. With NO or BAD it is
// an *Error. FETCH responses whose literals streamed are left out.
func (c *Client) collect(tag, name string) ([]*Response, error) {
	var all []*Response
	var bye *Response
	for {
		r, err := c.read()
		if err != nil {
			if bye != nil {
				return all, refused(name, bye)
			}
			return all, fmt.Errorf("imapclient: %s: %w", name, err)
		}
		if r.Status == imap.BYE {
			bye = r
		}
		all = append(all, r)
		if r.Tag != tag {
			continue
		}
		if r.Status != imap.OK {
			return all, refused(name, r)
		}
		return all, nil
	}
}

// Do sends a command as it is and returns all responses, the tagged one last. With NO or
// BAD the error is an *Error besides.
func (c *Client) Do(command string) ([]*Response, error) {
	name, _, _ := strings.Cut(command, " ")
	return c.finish(c.start(command), name)
}

// Has tells whether the server has a capability, asking it if it has not told yet.
func (c *Client) Has(cap imap.Capability) (bool, error) {
	if c.caps == nil {
		if _, err := c.Do("CAPABILITY"); err != nil {
			return false, err
		}
	}
	return slices.Contains(c.caps, strings.ToUpper(string(cap))), nil
}

// StartTLS begins TLS.
func (c *Client) StartTLS(ctx context.Context, config *tls.Config) error {
	if _, err := c.Do("STARTTLS"); err != nil {
		return err
	}
	if c.in.b.Buffered() > 0 {
		return errors.New("imapclient: the server spoke behind STARTTLS")
	}
	if err := c.conn.SetDeadline(time.Time{}); err != nil {
		return err
	}
	t := tls.Client(c.conn, config)
	if err := t.HandshakeContext(ctx); err != nil {
		return err
	}
	c.conn, c.tls, c.caps = t, t, nil
	c.attach(t)
	return nil
}

// Login logs in with LOGIN.
func (c *Client) Login(user, password string) error {
	return c.strings("LOGIN", user, password)
}

// Authenticate logs in with a mechanism.
func (c *Client) Authenticate(mechanism sasl.Client) error {
	initial, err := mechanism.Start()
	if err != nil {
		return err
	}
	command := "AUTHENTICATE " + mechanism.Mechanism()
	if initial != nil {
		if text := base64.StdEncoding.EncodeToString(initial); text != "" {
			command += " " + text
		} else {
			command += " ="
		}
	}
	tag := c.start(command + "\r\n")
	if err := c.flush(); err != nil {
		return err
	}
	for {
		r, err := c.read()
		switch {
		case err != nil:
			return err
		case r.Tag == tag && r.Status == imap.OK:
			return mechanism.Finish()
		case r.Tag == tag:
			return refused("AUTHENTICATE", r)
		case r.Tag != "+":
			continue
		}
		if err := c.respond(mechanism, r.Text); err != nil {
			return err
		}
	}
}

// respond answers a challenge.
func (c *Client) respond(mechanism sasl.Client, text string) error {
	challenge, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return fmt.Errorf("%w: challenge: %w", errSyntax, err)
	}
	response, err := mechanism.Next(challenge)
	if err != nil {
		return err
	}
	_, _ = c.out.WriteString(base64.StdEncoding.EncodeToString(response) + "\r\n")
	return c.flush()
}

// Bindings returns the TLS layer for mechanisms that bind to it, nil without TLS.
func (c *Client) Bindings() *sasl.Bindings {
	if c.tls == nil {
		return nil
	}
	return sasl.ClientBindings(c.tls)
}

// strings sends a command whose arguments are strings, by literals where they must be.
func (c *Client) strings(name string, args ...string) error {
	tag := c.start(name)
	for _, a := range args {
		_ = c.out.WriteByte(' ')
		if err := c.argument(tag, name, a); err != nil {
			return err
		}
	}
	_, err := c.finish(tag, name)
	return err
}

// argument writes a string.
func (c *Client) argument(tag, name, s string) error {
	b := imap.AppendAString(nil, s)
	if len(b) == 0 || b[0] != '{' {
		_, _ = c.out.Write(b)
		return nil
	}
	return c.literal(tag, name, int64(len(s)), strings.NewReader(s))
}

// literal sends a synchronising literal. If the server answers the command instead, that
// is the error.
func (c *Client) literal(tag, name string, size int64, r io.Reader) error {
	_, _ = c.out.WriteString("{" + strconv.FormatInt(size, 10) + "}\r\n")
	if err := c.flush(); err != nil {
		return err
	}
	for {
		a, err := c.read()
		if err != nil {
			return err
		}
		if a.Tag == tag {
			return refused(name, a)
		}
		if a.Tag == "+" {
			break
		}
	}
	if n, err := io.CopyN(c.out, r, size); err != nil {
		return fmt.Errorf("send %d octets of a literal, %d sent: %w", size, n, err)
	}
	return nil
}

// Compress turns compression on (RFC 4978).
func (c *Client) Compress() error {
	if _, err := c.Do("COMPRESS DEFLATE"); err != nil {
		return err
	}
	raw := bufio.NewWriterSize(c.conn, 16<<10)
	zip, err := flate.NewWriter(raw, flate.BestSpeed)
	if err != nil {
		return err
	}
	c.zip, c.raw = zip, raw
	c.in = &reader{b: bufio.NewReaderSize(flate.NewReader(c.in.b), 16<<10)}
	c.out = bufio.NewWriterSize(zip, 16<<10)
	return nil
}

// Logout says good bye and closes the connection.
func (c *Client) Logout() error {
	_, err := c.Do("LOGOUT")
	// The server may have closed first, which is no failure.
	_ = c.conn.Close()
	return err
}
