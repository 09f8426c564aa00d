// Package smtpclient is the client's side of SMTP and LMTP: one connection, over which
// any number of messages go, one after the other.
//
// The main type is [Client]. The package looks no hosts up, chooses no TLS policy and
// tries nothing twice; it converts no content. What the server's extensions cannot carry
// is refused with the enhanced code of that fault.
//
// RFC 5321, 2033 (LMTP), 1870, 2034, 2852, 2920, 3030, 3207, 3461, 4865, 4954, 6152, 6531,
// 6710, 9422.
package smtpclient

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"postroad/sasl"
	"postroad/smtp"
)

// Options are a client's. Zero durations mean those of RFC 5321, 4.5.3.2.
type Options struct {
	LMTP     bool
	Hostname string // for EHLO

	Greeting time.Duration // 5 min (4.5.3.2.1)
	Command  time.Duration // MAIL, RCPT and all others: 5 min (4.5.3.2.2, 4.5.3.2.3)
	Data     time.Duration // the reply to DATA: 2 min (4.5.3.2.4)
	Block    time.Duration // one write of content: 3 min (4.5.3.2.5)
	Final    time.Duration // the reply to the content: 10 min (4.5.3.2.6)

	NoPipelining bool // even where it is offered
	NoChunking   bool
}

// The time-outs of RFC 5321, 4.5.3.2.
const (
	greetingTimeout = 5 * time.Minute
	commandTimeout  = 5 * time.Minute
	dataTimeout     = 2 * time.Minute
	blockTimeout    = 3 * time.Minute
	finalTimeout    = 10 * time.Minute
)

func (o Options) withDefaults() Options {
	setDefault(&o.Greeting, greetingTimeout)
	setDefault(&o.Command, commandTimeout)
	setDefault(&o.Data, dataTimeout)
	setDefault(&o.Block, blockTimeout)
	setDefault(&o.Final, finalTimeout)
	return o
}

func setDefault(v *time.Duration, d time.Duration) {
	if *v == 0 {
		*v = d
	}
}

// Errors of the dialogue.
var (
	// ErrInjected is clear text behind the reply to STARTTLS, which somebody put there.
	ErrInjected = errors.New("smtpclient: octets behind the reply to STARTTLS")
	// ErrDesynchronized is a reply that nobody asked for.
	ErrDesynchronized = errors.New("smtpclient: reply without a command")
	// ErrNotOffered is an extension that was asked for and is not there.
	ErrNotOffered = errors.New("smtpclient: not offered by the server")
	// ErrDead is a use of a connection that has failed.
	ErrDead = errors.New("smtpclient: the connection has failed before")
)

// Client is one connection to a server. It is used by one goroutine.
type Client struct {
	options  Options
	nc       net.Conn
	r        *bufio.Reader
	out      []byte // commands to be sent in one write
	caps     smtp.Capabilities
	greeting smtp.Reply
	esmtp    bool
	bindings *sasl.Bindings
	tlsState *tls.ConnectionState
	open     bool // a transaction was begun and needs RSET
	sent     int  // transactions
	dead     bool
	closing  *smtp.Reply // a 421 that was received
}

// New takes a connection, waits for the greeting and says EHLO, or HELO if the server does
// not know that (RFC 5321, 3.2), or LHLO. After an error the connection is closed; a
// refusal is a *smtp.Error. A *tls.Conn must have finished its handshake.
func New(ctx context.Context, nc net.Conn, o Options) (*Client, error) {
	c := &Client{options: o.withDefaults()}
	c.attach(nc)
	defer c.guard(ctx)()
	err := c.begin(ctx)
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// attach takes a connection for all that follows.
func (c *Client) attach(nc net.Conn) {
	c.nc = nc
	c.r = bufio.NewReaderSize(nc, smtp.ReplyLineMax)
	if t, ok := nc.(*tls.Conn); ok {
		state := t.ConnectionState()
		c.tlsState = &state
		c.bindings = sasl.ClientBindings(t)
	}
}

func (c *Client) begin(ctx context.Context) error {
	c.deadline(ctx, c.options.Greeting)
	r, err := c.readReply()
	if err != nil {
		return fmt.Errorf("greeting: %w", err)
	}
	if r.Code != 220 {
		return &smtp.Error{Reply: r}
	}
	c.greeting = r
	return c.hello(ctx)
}

// hello says EHLO, HELO or LHLO.
func (c *Client) hello(ctx context.Context) error {
	word := "EHLO "
	if c.options.LMTP {
		word = "LHLO "
	}
	r, err := c.command(ctx, word+c.options.Hostname)
	if err != nil {
		return err
	}
	if r.Success() {
		c.esmtp = true
		c.caps = smtp.ParseCapabilities(r.Lines)
		return nil
	}
	if c.options.LMTP || !r.Permanent() {
		return &smtp.Error{Reply: r}
	}
	c.esmtp = false
	c.caps = smtp.Capabilities{}
	if r, err = c.command(ctx, "HELO "+c.options.Hostname); err != nil {
		return err
	}
	if !r.Success() {
		return &smtp.Error{Reply: r}
	}
	return nil
}

// Capabilities returns what the server offers now.
func (c *Client) Capabilities() smtp.Capabilities { return c.caps }

// Greeting returns the server's first reply.
func (c *Client) Greeting() smtp.Reply { return c.greeting }

// TLS returns the state of the TLS layer, nil without one.
func (c *Client) TLS() *tls.ConnectionState { return c.tlsState }

// Usable tells whether another message may be sent: nothing has failed, and the server's
// limit of transactions (RFC 9422) is not reached.
func (c *Client) Usable() bool {
	return !c.dead && c.closing == nil && (c.caps.Limits.MailMax == 0 || c.sent < c.caps.Limits.MailMax)
}

// guard makes the end of ctx end the wait of a read or write. The caller calls what it
// returns when done.
func (c *Client) guard(ctx context.Context) func() bool {
	return context.AfterFunc(ctx, func() { c.nc.SetDeadline(time.Unix(1, 0)) })
}

// deadline gives the next reads and writes their time.
func (c *Client) deadline(ctx context.Context, d time.Duration) {
	c.nc.SetDeadline(time.Now().Add(d))
	if ctx.Err() != nil {
		c.nc.SetDeadline(time.Unix(1, 0))
	}
}

// fail marks the connection as of no more use.
func (c *Client) fail(err error) error {
	c.dead = true
	return err
}

// readReply reads one reply, within the limits of package smtp.
func (c *Client) readReply() (smtp.Reply, error) {
	var p smtp.ReplyParser
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			if errors.Is(err, bufio.ErrBufferFull) {
				err = smtp.ErrReplyTooLong
			}
			return smtp.Reply{}, c.fail(err)
		}
		text := strings.TrimSuffix(strings.TrimSuffix(string(line), "\n"), "\r")
		r, done, err := p.Add(text)
		if err != nil {
			return smtp.Reply{}, c.fail(err)
		}
		if done {
			if r.Code == 421 {
				c.closing = &r
			}
			return r, nil
		}
	}
}

// write sends what is in out.
func (c *Client) write() error {
	_, err := c.nc.Write(c.out)
	c.out = c.out[:0]
	if err != nil {
		return c.fail(err)
	}
	return nil
}

// command sends one line and reads its reply.
func (c *Client) command(ctx context.Context, line string) (smtp.Reply, error) {
	if err := c.ready(); err != nil {
		return smtp.Reply{}, err
	}
	c.deadline(ctx, c.options.Command)
	c.out = append(append(c.out[:0], line...), '\r', '\n')
	if err := c.write(); err != nil {
		return smtp.Reply{}, err
	}
	return c.readReply()
}

// ready tells whether a command may be sent.
func (c *Client) ready() error {
	if c.dead {
		return ErrDead
	}
	if c.r.Buffered() > 0 {
		// A server that hangs up on an idle client says 421 first.
		r, err := c.readReply()
		if err == nil && r.Code == 421 {
			c.dead = true
			return &smtp.Error{Reply: r}
		}
		return c.fail(ErrDesynchronized)
	}
	return nil
}

// StartTLS changes to TLS (RFC 3207) and says hello again. A refusal is a *smtp.Error
// and leaves the connection usable; after any other error it is not.
func (c *Client) StartTLS(ctx context.Context, config *tls.Config) error {
	defer c.guard(ctx)()
	if !c.caps.Extensions.Has(smtp.StartTLS) {
		return fmt.Errorf("%w: STARTTLS", ErrNotOffered)
	}
	r, err := c.command(ctx, "STARTTLS")
	if err != nil {
		return err
	}
	if r.Code != 220 {
		return &smtp.Error{Reply: r}
	}
	// What came along with the reply came in the clear and would be taken for a reply
	// under TLS.
	if c.r.Buffered() > 0 {
		return c.fail(ErrInjected)
	}
	c.deadline(ctx, c.options.Command)
	t := tls.Client(c.nc, config)
	if err := t.HandshakeContext(ctx); err != nil {
		return c.fail(fmt.Errorf("TLS handshake: %w", err))
	}
	c.attach(t)
	// RFC 3207, 4.2: what the server said before counts no more.
	c.caps = smtp.Capabilities{}
	return c.hello(ctx)
}

// Reset ends a transaction that was begun.
func (c *Client) Reset(ctx context.Context) error {
	defer c.guard(ctx)()
	r, err := c.command(ctx, "RSET")
	if err != nil {
		return err
	}
	if !r.Success() {
		return &smtp.Error{Reply: r}
	}
	c.open = false
	return nil
}

// Noop asks whether the connection is alive.
func (c *Client) Noop(ctx context.Context) error {
	defer c.guard(ctx)()
	r, err := c.command(ctx, "NOOP")
	if err == nil && !r.Success() {
		err = &smtp.Error{Reply: r}
	}
	return err
}

// quitTimeout is how long the reply to QUIT is waited for.
const quitTimeout = 5 * time.Second

// Quit says QUIT and closes. The answer changes nothing, so errors are not told.
func (c *Client) Quit(ctx context.Context) {
	defer c.guard(ctx)()
	if c.ready() == nil && c.closing == nil {
		c.deadline(ctx, quitTimeout)
		c.out = append(c.out[:0], "QUIT\r\n"...)
		if c.write() == nil {
			c.readReply()
		}
	}
	c.Close()
}

// Close closes the connection without a word.
func (c *Client) Close() error {
	c.dead = true
	return c.nc.Close()
}
