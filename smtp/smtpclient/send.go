package smtpclient

import (
	"context"
	"errors"
	"io"

	"postroad/address"
	"postroad/smtp"
)

// Message is what Send sends: the envelope of RFC 5321, 2.3.1, and the content.
type Message struct {
	ReturnPath address.Address
	Recipients []Recipient
	// Params go along as far as the server's extensions allow. Body8BitMIME and SMTPUTF8
	// say what the content needs: where that is not offered nothing is sent. Size is
	// filled in.
	Params smtp.MailParams
	// Content is read once, to its end. Its lines end in CRLF.
	Content io.Reader
	Size    int64 // of Content in octets, −1: not known
}

// Recipient is one recipient of a message.
type Recipient struct {
	Address address.Address
	Params  smtp.RcptParams
}

// Result is what became of one recipient.
type Result struct {
	Reply smtp.Reply // Code 0: not known, the connection failed before
	Local bool       // the reply is ours: the message was not offered to the server
}

// Replies of our own making.
var (
	needs8Bit   = smtp.NewError(554, smtp.EnhancedCode{5, 6, 3}, "Content has 8-bit data, which the next server does not take")
	needsBinary = smtp.NewError(554, smtp.EnhancedCode{5, 6, 3}, "Content is binary, which the next server does not take")
	needsUTF8   = smtp.NewError(553, smtp.EnhancedCode{5, 6, 7}, "Message needs SMTPUTF8, which the next server does not offer")
	tooLarge    = smtp.NewError(552, smtp.EnhancedCode{5, 3, 4}, "Message is larger than the next server takes")
	tooMany     = smtp.NewError(452, smtp.EnhancedCode{4, 5, 3}, "More recipients than the next server takes at once")
	badContent  = smtp.NewError(554, smtp.EnhancedCode{5, 6, 0}, "Content has a bare CR, LF or NUL")
)

// pipelineMax is the number of recipients whose commands go out before their replies are
// read, so that neither side's buffers fill while both write (RFC 2920, 3.1).
const pipelineMax = 100

// Send sends one message: MAIL, RCPT, DATA in one write where the server allows that, and
// BDAT in place of DATA where it offers that. There is one result per recipient, in
// order. With an error the connection is of no more use and results without a code are
// not known: the server may have taken the message.
func (c *Client) Send(ctx context.Context, m *Message) ([]Result, error) {
	defer c.guard(ctx)()
	t := &transaction{c: c, ctx: ctx, m: m, results: make([]Result, len(m.Recipients))}
	if e := c.refuse(m); e != nil {
		t.local(e)
		return t.results, nil
	}
	if !t.checkUTF8() {
		return t.results, nil
	}
	if err := c.ready(); err != nil {
		return t.results, err
	}
	c.sent++
	err := t.run()
	if errors.Is(err, errAnswered) {
		return t.results, nil
	}
	if err != nil && c.closing != nil {
		// The server said why it hung up.
		t.fill(Result{Reply: *c.closing})
		err = nil
	}
	return t.results, err
}

// refuse tells what the server's extensions cannot carry.
func (c *Client) refuse(m *Message) *smtp.Error {
	e := c.caps.Extensions
	needs := m.Params.Needs()
	if m.ReturnPath.NeedsUTF8() {
		needs |= smtp.SMTPUTF8
	}
	switch {
	case needs.Has(smtp.SMTPUTF8) && !e.Has(smtp.SMTPUTF8):
		return needsUTF8
	case needs.Has(smtp.BinaryMIME) && (!e.Has(smtp.BinaryMIME|smtp.Chunking) || c.options.NoChunking):
		return needsBinary
	case needs.Has(smtp.EightBitMIME) && !e.Has(smtp.EightBitMIME):
		return needs8Bit
	case c.caps.SizeMax > 0 && m.Size > c.caps.SizeMax:
		return tooLarge // RFC 1870, 6.1
	}
	return nil
}

// transaction is one Send under way.
type transaction struct {
	c        *Client
	ctx      context.Context
	m        *Message
	results  []Result
	expected []int // the commands sent whose replies are not read yet
	mail     smtp.Reply
	data     smtp.Reply
	accepted int
	utf8     bool
}

// Commands in transaction.expected that are not recipients.
const (
	replyRSET = -1 - iota
	replyMAIL
	replyDATA
)

// fill sets all results that are not known.
func (t *transaction) fill(r Result) {
	for i := range t.results {
		if t.results[i].Reply.Code == 0 {
			t.results[i] = r
		}
	}
}

func (t *transaction) local(e *smtp.Error) { t.fill(Result{Reply: e.Reply, Local: true}) }

// checkUTF8 makes the transaction one with SMTPUTF8 if a recipient's address asks for
// that; where it is not offered, that recipient is refused. It tells whether anybody is
// left.
func (t *transaction) checkUTF8() bool {
	t.utf8 = t.m.Params.SMTPUTF8 || t.m.ReturnPath.NeedsUTF8()
	left := 0
	for i := range t.m.Recipients {
		switch {
		case !t.m.Recipients[i].Address.NeedsUTF8():
			left++
		case t.c.caps.Extensions.Has(smtp.SMTPUTF8):
			t.utf8 = true
			left++
		default:
			t.results[i] = Result{Reply: needsUTF8.Reply, Local: true}
		}
	}
	return left > 0
}

// run is the transaction in its steps.
func (t *transaction) run() error {
	chunks := t.c.caps.Extensions.Has(smtp.Chunking) && !t.c.options.NoChunking
	if err := t.envelope(!chunks); err != nil {
		return t.unknown(err)
	}
	if chunks {
		if t.accepted == 0 {
			return nil
		}
		return t.sendChunks()
	}
	switch {
	case t.data.Code == 0:
		return nil // nobody was accepted, and DATA not sent
	case t.data.Code != 354:
		if t.data.Success() {
			return t.unknown(t.c.fail(ErrDesynchronized)) // it cannot have taken what was not sent
		}
		t.forAccepted(Result{Reply: t.data})
		return nil
	case t.accepted == 0:
		// RFC 2920, 3.1: DATA went out with the rest and was not refused.
		return t.sendNothing()
	}
	return t.sendData()
}

// envelope sends MAIL and RCPT, and DATA behind them if it is to be used.
func (t *transaction) envelope(data bool) error {
	c := t.c
	c.out = c.out[:0]
	c.deadline(t.ctx, c.options.Command)
	if c.open {
		if err := t.send(replyRSET, append(c.out, "RSET\r\n"...)); err != nil {
			return err
		}
	}
	c.open = true
	if err := t.send(replyMAIL, t.appendMail(c.out)); err != nil {
		return err
	}
	if err := t.sendRecipients(); err != nil {
		return err
	}
	if data && (t.pipelined() || t.accepted > 0) {
		if err := t.send(replyDATA, append(c.out, "DATA\r\n"...)); err != nil {
			return err
		}
	}
	if err := t.sync(); err != nil {
		return err
	}
	if !t.mail.Success() {
		c.open = false
		t.fill(Result{Reply: t.mail})
		return nil
	}
	t.local(tooMany)
	return nil
}

// sendRecipients sends RCPT for each recipient that may have one, up to the server's limit
// (RFC 9422).
func (t *transaction) sendRecipients() error {
	left := len(t.m.Recipients)
	if n := t.c.caps.Limits.RcptMax; n > 0 {
		left = min(left, n)
	}
	for i := range t.m.Recipients {
		if left == 0 || t.mail.Code != 0 && !t.mail.Success() {
			return nil
		}
		if t.results[i].Reply.Code != 0 {
			continue
		}
		left--
		if err := t.send(i, t.appendRcpt(t.c.out, &t.m.Recipients[i])); err != nil {
			return err
		}
	}
	return nil
}

func (t *transaction) pipelined() bool {
	return t.c.caps.Extensions.Has(smtp.Pipelining) && !t.c.options.NoPipelining
}

// send takes a command, out with its line behind the ones before, and reads replies when
// it must.
func (t *transaction) send(what int, out []byte) error {
	t.c.out = out
	t.expected = append(t.expected, what)
	if !t.pipelined() || len(t.expected) >= pipelineMax {
		return t.sync()
	}
	return nil
}

// sync sends the commands and reads their replies.
func (t *transaction) sync() error {
	if len(t.expected) == 0 {
		return nil
	}
	c := t.c
	c.deadline(t.ctx, c.options.Command)
	if err := c.write(); err != nil {
		return err
	}
	for _, what := range t.expected {
		if what == replyDATA {
			c.deadline(t.ctx, c.options.Data)
		}
		r, err := c.readReply()
		if err == nil && what != replyDATA {
			err = c.settled(r)
		}
		if err != nil {
			return err
		}
		t.take(what, r)
	}
	t.expected = t.expected[:0]
	return nil
}

// take sorts a reply.
func (t *transaction) take(what int, r smtp.Reply) {
	switch what {
	case replyRSET:
	case replyMAIL:
		t.mail = r
	case replyDATA:
		t.data = r
	default:
		switch {
		case !t.mail.Success():
			// RCPT was refused for want of MAIL; what counts is what MAIL was told.
			r = t.mail
		case r.Success():
			t.accepted++
		}
		t.results[what] = Result{Reply: r}
	}
}

// forAccepted sets the result of all recipients that RCPT accepted.
func (t *transaction) forAccepted(r Result) {
	for i := range t.results {
		if t.results[i].Reply.Success() {
			t.results[i] = r
		}
	}
}

func (t *transaction) appendMail(b []byte) []byte {
	e := t.c.caps.Extensions
	p := t.m.Params
	p.Size = max(t.m.Size, 0)
	b = append(b, "MAIL FROM:"...)
	p.SMTPUTF8 = t.utf8
	b = append(b, t.m.ReturnPath.Path(t.utf8)...)
	if t.c.esmtp {
		b = p.AppendTo(b, e)
	}
	return append(b, '\r', '\n')
}

func (t *transaction) appendRcpt(b []byte, r *Recipient) []byte {
	b = append(b, "RCPT TO:"...)
	b = append(b, r.Address.Path(t.utf8)...)
	if t.c.esmtp {
		b = r.Params.AppendTo(b, t.c.caps.Extensions)
	}
	return append(b, '\r', '\n')
}

// finish reads the replies to the content: one, or for LMTP one for each accepted
// recipient (RFC 2033, 4.2).
func (t *transaction) finish() error {
	c := t.c
	c.deadline(t.ctx, c.options.Final)
	if !c.options.LMTP {
		r, err := c.readSettled()
		if err != nil {
			return t.unknown(err)
		}
		c.open = false
		t.forAccepted(Result{Reply: r})
		return nil
	}
	for i := range t.results {
		if !t.results[i].Reply.Success() {
			continue
		}
		r, err := c.readSettled()
		if err != nil {
			for ; i < len(t.results); i++ {
				if t.results[i].Reply.Success() {
					t.results[i] = Result{}
				}
			}
			return err
		}
		// A success stays one: the loop does not come back to it.
		t.results[i] = Result{Reply: r}
	}
	c.open = false
	return nil
}

// settled refuses a reply that asks for more (3yz) where there is none to give.
func (c *Client) settled(r smtp.Reply) error {
	if r.Code/100 == 3 {
		return c.fail(ErrDesynchronized)
	}
	return nil
}

// readSettled reads a reply that says yes or no.
func (c *Client) readSettled() (smtp.Reply, error) {
	r, err := c.readReply()
	if err == nil {
		err = c.settled(r)
	}
	return r, err
}

// unknown forgets the acceptance at RCPT, which says nothing about the content.
func (t *transaction) unknown(err error) error {
	t.forAccepted(Result{})
	return err
}
