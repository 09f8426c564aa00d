package remote

import (
	"context"
	"io"
	"time"

	"postroad/internal/mailflow"
	"postroad/smtp"
	"postroad/smtp/smtpclient"
)

// send sends the mail to the recipients that are left over a connection, and gives the
// connection back or ends it. It tells whether the server said anything. Afterwards left
// has those for whom another host may have a better answer.
func (d *delivery) send(ctx context.Context, c *conn) (answered bool) {
	var putOff []int
	pending := d.left
	for range resendMax {
		r := d.transaction(ctx, c, pending)
		answered = answered || r.answered
		putOff = append(putOff, r.putOff...)
		again := len(r.pending) > 0 && len(r.pending) < len(pending) && c.client.Usable()
		if pending = r.pending; !again {
			break
		}
	}
	d.left = append(putOff, pending...)
	if answered {
		d.sessions++
		d.asked = append(d.asked, c.addr)
	}
	c.sent++
	d.t.pool.give(c)
	return answered
}

// result is what one transaction leaves.
type result struct {
	answered bool
	putOff   []int // this server has put them off, or is gone; another may take them
	pending  []int // were over the number that the server takes at once
}

// transaction is one MAIL … DATA for some recipients. It sets the statuses of all but
// those for whom nothing is known that another host would not change.
func (d *delivery) transaction(ctx context.Context, c *conn, rcpts []int) (r result) {
	body, err := d.t.options.Bodies.Open(ctx, d.mail.Body)
	if err != nil {
		d.t.log.Error("open the body of a mail", "id", d.mail.ID, "err", err)
		d.all(rcpts, mailflow.Delayed, 451, smtp.EnhancedCode{4, 3, 0}, "The content cannot be read at this time")
		return result{answered: true}
	}
	defer body.Close()
	caps := c.client.Capabilities()
	if by := d.mail.DeliverBy; by != nil && by.Return && d.hop.Transport != lmtp && !caps.Extensions.Has(smtp.DeliverByExtension) {
		// RFC 2852, 4.1.4.1: not to be passed on to who does not know of it.
		d.all(rcpts, mailflow.Failed, 554, smtp.EnhancedCode{5, 3, 3}, "The next server does not support delivery by a given time")
		return result{answered: true}
	}
	content := &watched{r: io.NewSectionReader(body, 0, body.Size())}
	results, err := c.client.Send(ctx, d.message(caps, rcpts, content, body.Size()))
	now := time.Now()
	for k, i := range rcpts {
		code := results[k].Reply.Code
		s := d.status(c, caps, results[k], err, now)
		// A connection that was idle may have been ended meanwhile, with 421 or without a
		// word; that is no news, and a new one will do.
		stale := c.reused && (code == 421 || code == 0 && !content.ended)
		r.answered = r.answered || code != 0 && !stale
		switch {
		case stale:
			r.putOff = append(r.putOff, i)
		case code == 0 && content.ended:
			d.statuses[i] = s // in doubt: the server may have taken it
		case isTooMany(&results[k]):
			d.statuses[i] = s
			r.pending = append(r.pending, i)
		case s.Action == mailflow.Delayed:
			d.statuses[i] = s
			r.putOff = append(r.putOff, i)
		default:
			d.statuses[i] = s
		}
	}
	return r
}

// isTooMany tells whether a recipient was over the number that the server takes at once,
// and may be sent in the next transaction (RFC 5321, 4.5.3.1.10).
func isTooMany(r *smtpclient.Result) bool {
	return r.Reply.Code == 452 && r.Reply.Enhanced == smtp.EnhancedCode{4, 5, 3}
}

// all gives recipients one status of our own making.
func (d *delivery) all(rcpts []int, action mailflow.Action, code int, e smtp.EnhancedCode, text string) {
	for _, i := range rcpts {
		d.statuses[i] = mailflow.Status{Action: action, LocalMTA: true, At: time.Now(),
			Reply: smtp.Reply{Code: code, Enhanced: e, Lines: []string{text}}}
	}
}

// status makes a status of the result for one recipient.
func (d *delivery) status(c *conn, caps smtp.Capabilities, r smtpclient.Result, err error, now time.Time) mailflow.Status {
	s := mailflow.Status{Reply: r.Reply, RemoteMTA: c.host, RemoteAddr: c.addr, TLS: c.tls, LocalMTA: r.Local, At: now}
	switch {
	case r.Reply.Code == 0:
		s.Action, s.LocalMTA = mailflow.Delayed, true
		text := "The connection to " + c.host + " was lost"
		if err != nil {
			text += ": " + err.Error()
		}
		s.Reply = smtp.Reply{Code: 451, Enhanced: smtp.EnhancedCode{4, 4, 2}, Lines: []string{text}}
	case r.Reply.Success() && d.hop.Transport == lmtp:
		s.Action = mailflow.Delivered
	case r.Reply.Success():
		s.Action = mailflow.Relayed
		s.PassedOn = caps.Extensions.Has(smtp.DSN) && (d.mail.DeliverBy == nil || caps.Extensions.Has(smtp.DeliverByExtension))
	case r.Reply.Permanent():
		s.Action = mailflow.Failed
	default:
		s.Action = mailflow.Delayed
	}
	return s
}

// message is what goes over the wire for some recipients.
func (d *delivery) message(caps smtp.Capabilities, rcpts []int, content io.Reader, size int64) *smtpclient.Message {
	m := d.mail
	msg := &smtpclient.Message{ReturnPath: m.ReturnPath, Content: content, Size: size}
	msg.Params = smtp.MailParams{SMTPUTF8: m.SMTPUTF8, Return: m.Return, EnvID: m.EnvID, Priority: m.Priority, HasPriority: m.Priority != 0}
	if m.EightBit {
		msg.Params.Body = smtp.Body8BitMIME
	}
	tellDelay := false
	if m.DeliverBy != nil {
		by := *m.DeliverBy
		by.Within = time.Until(m.Received.Add(by.Within))
		msg.Params.By = &by
		tellDelay = !by.Return && !caps.Extensions.Has(smtp.DeliverByExtension)
	}
	msg.Recipients = make([]smtpclient.Recipient, len(rcpts))
	for k, i := range rcpts {
		r := &m.Recipients[i]
		notify := r.Notify
		switch {
		case !tellDelay || notify.Has(smtp.NotifyNever):
		case notify == 0: // RFC 2852, 4.1.4.2
			notify = smtp.NotifyFailure | smtp.NotifyDelay
		default:
			notify |= smtp.NotifyDelay
		}
		msg.Recipients[k] = smtpclient.Recipient{Address: r.Address, Params: smtp.RcptParams{Notify: notify, Original: r.Original}}
	}
	return msg
}

// watched is content that knows whether it was read to its end: only then may the server
// have taken the message.
type watched struct {
	r     io.Reader
	ended bool
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if err == io.EOF {
		w.ended = true
	}
	return n, err
}
