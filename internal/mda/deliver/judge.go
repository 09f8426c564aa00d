package deliver

import (
	"context"
	"fmt"
	"io"
	"strings"

	"postroad/internal/blob"
	"postroad/internal/mda/rules"
	"postroad/sieve"
	"postroad/smtp"
)

// judge asks the account's rules; nil when there are none.
func (d *delivery) judge(ctx context.Context) (*rules.Outcome, error) {
	if d.o.Rules == nil || d.filing.public {
		return nil, nil
	}
	body := &lazyBody{ctx: ctx, bodies: d.o.Bodies, body: d.m.Body}
	d.closers = append(d.closers, body)
	rcpt := &d.m.Recipients[d.filing.rcpt]
	m := &rules.Mail{
		Account: d.account,
		Body:    body, Message: d.m.Message,
		Envelope: sieve.Envelope{ReturnPath: d.m.ReturnPath, Recipient: rcpt.Address, OriginalRecipient: rcpt.Original,
			ID: d.m.EnvID, Notify: notifyWords(rcpt.Notify), Return: d.m.Return.String()},
		Now:       d.now,
		Mailboxes: &rules.Mailboxes{Account: d.account, Annotations: d.o.Annotations},
	}
	if by := d.m.DeliverBy; by != nil {
		m.Envelope.DeliverBy = &sieve.DeliverBy{By: d.m.Received.Add(by.Within), Return: by.Return, Trace: by.Trace}
	}
	if client := d.m.Origin.Client; client.IsValid() {
		m.Environment = map[string]string{"remote-ip": client.Addr().String()}
	}
	return d.o.Rules.Run(ctx, m)
}

// notifyWords are the words of NOTIFY= (RFC 3461, 4.1).
func notifyWords(n smtp.DSNNotify) []string {
	if n == 0 {
		return nil
	}
	return strings.Split(n.String(), ",")
}

// lazyBody opens the message when a rule reads it, and only then.
type lazyBody struct {
	ctx    context.Context
	bodies *blob.Bodies
	body   blob.Body
	open   blob.Reader
}

// ReadAt implements io.ReaderAt.
func (l *lazyBody) ReadAt(p []byte, off int64) (int, error) {
	if l.open == nil {
		r, err := l.bodies.Open(l.ctx, l.body)
		if err != nil {
			return 0, fmt.Errorf("open the message for rules: %w", err)
		}
		l.open = r
	}
	return l.open.ReadAt(p, off)
}

// Close implements io.Closer.
func (l *lazyBody) Close() error {
	if l.open == nil {
		return nil
	}
	return l.open.Close()
}

var _ io.ReaderAt = (*lazyBody)(nil)
