package deliver

import (
	"bytes"
	"context"
	"fmt"

	"postroad/address"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/mda/rules"
	"postroad/message"
	"postroad/sieve"
	"postroad/smtp"
)

// What rules write to others goes onward with the null return path, so that nothing
// answers it (RFC 5230, 5.1; RFC 5436, 2.7).

// answer sends a vacation answer.
func (d *delivery) answer(ctx context.Context, v *sieve.Vacation) error {
	text, err := v.Compose(message.NewMessageID(d.o.Host), d.now)
	if err != nil {
		return fmt.Errorf("write an answer: %w", err)
	}
	return d.send(ctx, text, address.Address{}, v.Fcc, v.To)
}

// notify sends a notification.
func (d *delivery) notify(ctx context.Context, n *sieve.Notify) error {
	text, err := n.Compose(message.NewMessageID(d.o.Host), d.now)
	if err != nil {
		return fmt.Errorf("write a notification: %w", err)
	}
	return d.send(ctx, text, n.ReturnPath, n.Fcc, n.Recipients...)
}

// send lets a written message go onward, and keeps a copy where the script wants one
// (RFC 8580).
func (d *delivery) send(ctx context.Context, text []byte, from address.Address, fcc *sieve.Target, to ...address.Address) error {
	w, err := d.write(ctx, bytes.NewReader(text), int64(len(text)))
	if err != nil {
		return err
	}
	m := &mailflow.Mail{ReturnPath: from, Body: w.body, Message: w.parsed, Received: d.now,
		Origin: mailflow.Origin{Protocol: "sieve", Helo: d.o.Host, Account: d.filing.id}, EightBit: w.parsed.EightBit}
	for _, a := range to {
		m.Recipients = append(m.Recipients, mailflow.Recipient{Address: a, Notify: smtp.NotifyNever})
		m.SMTPUTF8 = m.SMTPUTF8 || a.NeedsUTF8()
	}
	d.u.Onward(m)
	if fcc == nil {
		return nil
	}
	id, err := d.target(ctx, fcc)
	if err != nil {
		return err
	}
	d.copies = append(d.copies, copyOf{written: w, flags: fcc.Flags, boxes: []mailstore.MailboxID{id}})
	return nil
}

// tell puts a message about a fault of a script into its owner's INBOX, once in a while.
func (d *delivery) tell(ctx context.Context, f *rules.Failure) error {
	d.o.Log.Warn("a rule went wrong; the mail is kept", "id", d.m.ID, "account", d.filing.id, "script", f.Script.Name, "error", f.Err)
	if !f.Personal() {
		return nil
	}
	told, err := d.account.Remembers(ctx, f.Mark(), d.now)
	if err != nil || told {
		return err
	}
	d.remember[f.Mark()] = d.now.Add(rules.FaultToldFor)
	c := rules.Complaint{Host: d.o.Host, To: d.filing.address, Now: d.now, Subject: d.m.Message.Subject}
	text, err := c.Text(f)
	if err != nil {
		return err
	}
	w, err := d.write(ctx, bytes.NewReader(text), int64(len(text)))
	if err != nil {
		return err
	}
	d.copies = append(d.copies, copyOf{written: w, boxes: []mailstore.MailboxID{d.tree.Inbox().ID}})
	return nil
}
